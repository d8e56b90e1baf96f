# The service for App Engine, which mounts no configuration: the image of deploy/docker/Dockerfile, with findling.toml in it.
# DIR is the directory that has it:
#   docker build -f deploy/gcp/app.Dockerfile --build-arg IMAGE=REGION-docker.pkg.dev/PROJECT/findling/findling \
#     -t REGION-docker.pkg.dev/PROJECT/findling/app DIR
ARG IMAGE=findling

FROM ${IMAGE}
COPY findling.toml /etc/findling/findling.toml
# App Engine sends requests to this port, and checks health by itself.
HEALTHCHECK NONE
CMD ["serve", "-c", "/etc/findling/findling.toml", "--host", "0.0.0.0", "--port", "8080"]
