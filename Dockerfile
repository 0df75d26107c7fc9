FROM python:3.13-slim AS build
WORKDIR /app
COPY requirements.lock pyproject.toml README.md LICENSE nats.conf ./
COPY schemas schemas
COPY producers producers
COPY consumers consumers
COPY signals signals
COPY sql sql
COPY simulator simulator
COPY web web
COPY flowtape flowtape
RUN python -m venv /opt/flowtape \
 && /opt/flowtape/bin/pip install --no-cache-dir --require-hashes -r requirements.lock \
 && /opt/flowtape/bin/pip install --no-cache-dir --no-build-isolation --no-deps . \
 && /opt/flowtape/bin/python -m web.chart_library

FROM python:3.13-slim
RUN useradd --create-home flowtape && mkdir /data && chown flowtape /data
COPY --from=build /opt/flowtape /opt/flowtape
ENV PATH=/opt/flowtape/bin:$PATH PYTHONUNBUFFERED=1 NUMBA_CACHE_DIR=/data/numba
USER flowtape
WORKDIR /data
VOLUME /data
ENTRYPOINT ["flowtape"]
CMD ["--help"]
