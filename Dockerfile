# The server and the command line in one image: `docker run -p 50051:50051 -v jobhall:/data jobhall`.
# tests/system/test_image.py runs these very instructions in a scratch folder.

FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv /opt/jobhall
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY client client
COPY server server
RUN /opt/jobhall/bin/pip install --no-cache-dir --quiet --constraint constraints.txt ".[server,cli]"

FROM python:3.13-slim
RUN useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin jobhall \
    && install --directory --owner jobhall --group jobhall /data
COPY --from=build /opt/jobhall /opt/jobhall
# A container's loopback reaches nobody, so the server is told in so many words to serve its network without
# authentication: what is published with -p, and to whom, is the operator's choice.
ENV PATH=/opt/jobhall/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    JOBHALL_LISTEN=0.0.0.0:50051 \
    JOBHALL_ALLOW_UNAUTHENTICATED_NETWORK=true \
    JOBHALL_DATABASE_URL=sqlite:////data/jobhall.db
USER jobhall
WORKDIR /data
VOLUME /data
EXPOSE 50051
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 CMD ["jobhall-server", "healthcheck"]
ENTRYPOINT ["jobhall-server"]
CMD ["serve"]
