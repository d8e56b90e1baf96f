# What workers of EMR 7 run, on the system that they run it on: Amazon Linux 2023.
#   findling pack --platform emr-7                   the target `environment`: environment.tar.gz for spark.archives
#   findling pack --platform emr-7 --image NAME      the target `image`: a custom image for an application
# Both write the directory that this is built in: requirements.txt, site, models and pack.json.
ARG RELEASE=emr-7.10.0

FROM public.ecr.aws/amazonlinux/amazonlinux:2023 AS made
ARG PYTHON
# A mirror is named to the build by the variable PIP_INDEX_URL, and stays in this stage.
ARG PIP_INDEX_URL
ENV UV_PYTHON_INSTALL_DIR=/opt/python UV_LINK_MODE=copy UV_NO_CACHE=1 PIP_NO_CACHE_DIR=1
RUN dnf install -y python3-pip && python3 -m pip install uv
# The system's own Python is too old; uv's is built to run wherever it lies.
RUN uv venv --managed-python --python ${PYTHON} /opt/findling
WORKDIR /context
COPY requirements.txt ./
RUN export ${PIP_INDEX_URL:+UV_DEFAULT_INDEX=$PIP_INDEX_URL} \
    && uv pip install --python /opt/findling/bin/python --no-deps --requirement requirements.txt
COPY site /opt/findling/lib/python${PYTHON}/site-packages
COPY models models
COPY pack.json ./
RUN mkdir /made && FINDLING_MODELS=/context/models \
    /opt/findling/bin/python -m findling.pack pack.json /made/environment.tar.gz

FROM scratch AS environment
COPY --from=made /made/environment.tar.gz /

FROM made AS unpacked
RUN dnf install -y tar gzip && mkdir /environment && tar -xzf /made/environment.tar.gz -C /environment

FROM public.ecr.aws/emr-serverless/spark/${RELEASE}:latest AS image
USER root
COPY --from=unpacked /environment /opt/findling
ENV PYSPARK_PYTHON=/opt/findling/bin/python PYSPARK_DRIVER_PYTHON=/opt/findling/bin/python
USER hadoop:hadoop
