# The runtime's image: workers, launchers, the scaler, and pods of single tasks. Anything with Python 3.11 or newer and its venv module can be the base.
ARG BASE=docker.io/library/python:3.13-slim

FROM ${BASE} AS build
WORKDIR /source
RUN python3 -m venv /build && python3 -m venv --without-pip /opt/halfstep
# Dependencies first: they are installed again only when pyproject.toml changes.
COPY pyproject.toml ./
RUN /build/bin/python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb')); \
        print(*project['build-system']['requires'], sep='\n', file=open('/build/tools', 'w')); \
        print(*project['project']['dependencies'], sep='\n', file=open('/build/dependencies', 'w'))" \
    && /build/bin/pip install --no-cache-dir --requirement /build/tools \
    && /build/bin/pip --python /opt/halfstep/bin/python install --no-cache-dir --requirement /build/dependencies \
    # The client's second, asynchronous half: 70 MB that nothing of ours imports.
    && rm -rf /opt/halfstep/lib/python3*/site-packages/kubernetes/aio
COPY . ./
RUN /build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /build/wheels . \
    && /build/bin/pip --python /opt/halfstep/bin/python install --no-cache-dir --no-deps /build/wheels/*.whl

FROM ${BASE}
LABEL org.opencontainers.image.title="halfstep" \
      org.opencontainers.image.description="A task executor for Kubernetes: worker, launcher of pods, scaler for KEDA, migrations." \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/halfstep /opt/halfstep
# Runs with a read-only root file system: nothing is written outside of /tmp, which should be an emptyDir.
ENV PATH=/opt/halfstep/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
WORKDIR /tmp
# A number, so that Kubernetes can tell that it is not root.
USER 65532:65532
ENTRYPOINT ["halfstep"]
CMD ["--help"]
