# One image that runs any one component of the platform: docker build -t tracelab:0.1.0 .
# BASE_IMAGE may be any Debian-based image whose archive has Python 3.11 or newer. Nothing here needs BuildKit.
ARG BASE_IMAGE=debian:bookworm-slim

FROM ${BASE_IMAGE} AS python
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 \
    && apt-get clean && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin

# The dependencies change less often than the sources, and are a layer of their own. What only tests or compiles other
# people's packages is not taken along.
FROM python AS dependencies
RUN apt-get update && apt-get install -y --no-install-recommends python3-venv
RUN python3 -m venv /opt/build && /opt/build/bin/pip install --no-cache-dir --disable-pip-version-check hatchling
WORKDIR /src
COPY pyproject.toml ./
RUN /opt/build/bin/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > requirements.txt \
    && python3 -m venv /opt/tracelab \
    && /opt/tracelab/bin/pip install --no-cache-dir --disable-pip-version-check --no-compile -r requirements.txt \
    && /opt/tracelab/bin/pip uninstall --yes --quiet --disable-pip-version-check pip setuptools \
    && find /opt/tracelab/lib -type d \( -name tests -o -name test \) -prune -exec rm -rf {} + \
    && find /opt/tracelab/lib \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.h' -o -name '*.a' \) -delete \
    && (python3 -m compileall -q -j 0 /opt/tracelab/lib || echo "some templates of other people's packages are no Python")

FROM dependencies AS tracelab
COPY . .
RUN /opt/build/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation --target /opt/app . \
    && rm -rf /opt/app/bin && python3 -m compileall -q /opt/app

FROM python
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /data --shell /usr/sbin/nologin tracelab \
    && install -d -o tracelab -g tracelab -m 0750 /data && install -d -o tracelab -g tracelab -m 0755 /var/log/tracelab
COPY --from=dependencies /opt/tracelab /opt/tracelab
COPY --from=tracelab /opt/app /opt/app
ENV PATH=/opt/tracelab/bin:$PATH PYTHONPATH=/opt/app PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
ARG SOURCE=""
LABEL org.opencontainers.image.title="tracelab" org.opencontainers.image.licenses="Apache-2.0" tracelab.source="${SOURCE}"
USER tracelab
WORKDIR /data
ENTRYPOINT ["python", "-m", "tracelab.runtimes.containers.component"]
