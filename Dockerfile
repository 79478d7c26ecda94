# One image that runs any one component of the platform: docker build -t tracelab .
# Any Debian-based image with Python 3.11 or newer in its archive will do as BASE_IMAGE. Nothing here needs BuildKit.
ARG BASE_IMAGE=debian:bookworm-slim

FROM ${BASE_IMAGE} AS build
RUN apt-get update && apt-get install -y --no-install-recommends python3 python3-venv && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/tracelab
WORKDIR /src
# The dependencies change less often than the sources: they are a layer of their own.
COPY pyproject.toml ./
RUN /opt/tracelab/bin/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > requirements.txt \
    && /opt/tracelab/bin/pip install --no-cache-dir --disable-pip-version-check -r requirements.txt
COPY . .
# Tests of other people's packages, and what only builds packages, are not taken along. Modules are compiled once, here.
RUN /opt/tracelab/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps . \
    && /opt/tracelab/bin/pip uninstall --yes --quiet --disable-pip-version-check pip setuptools \
    && find /opt/tracelab/lib -type d \( -name tests -o -name test \) -prune -exec rm -rf {} + \
    && find /opt/tracelab/lib \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.h' \) -delete \
    && python3 -m compileall -q -j 0 /opt/tracelab/lib || true

FROM ${BASE_IMAGE}
RUN apt-get update && apt-get install -y --no-install-recommends python3 && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /data --shell /usr/sbin/nologin tracelab \
    && install -d -o tracelab -g tracelab -m 0750 /data && install -d -o tracelab -g tracelab -m 0755 /var/log/tracelab
COPY --from=build /opt/tracelab /opt/tracelab
ARG SOURCE=""
LABEL org.opencontainers.image.title="tracelab" org.opencontainers.image.licenses="Apache-2.0" tracelab.source="${SOURCE}"
ENV PATH=/opt/tracelab/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER tracelab
WORKDIR /data
ENTRYPOINT ["python", "-m", "tracelab.runtimes.containers.component"]
