# PostgreSQL and PgBouncer of Debian, in place of the public images that the manifests name. Users and programs are as there.
ARG BASE
FROM ${BASE}
RUN groupadd --gid 999 postgres && useradd --uid 999 --gid 999 --home-dir /tmp --no-create-home postgres \
    && mkdir -p /etc/postgresql-common && echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf \
    && apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends postgresql pgbouncer \
    && rm -rf /var/lib/apt/lists/* /etc/ssl/private/* && mkdir -p /var/lib/postgresql/data && chown 999:999 /var/lib/postgresql/data
ENV PATH=/usr/lib/postgresql/15/bin:$PATH
USER 999:999
