# One image for the web app and for the workers: `pellucid serve` (the default) and `pellucid worker`.
# Debian 13, whose pg_dump fits the server in compose.yaml.
FROM python:3.11-slim-trixie

RUN export DEBIAN_FRONTEND=noninteractive \
 && apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends make postgresql-client \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home --uid 10001 pellucid \
 && install -d -o pellucid /srv/pellucid /data

USER pellucid
WORKDIR /srv/pellucid
COPY --chown=pellucid . .
ENV PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1 PELLUCID_HOME=/data PATH=/srv/pellucid/.venv/bin:$PATH
RUN make install

VOLUME /data
EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
  CMD python -c "import urllib.request as u; u.urlopen('http://127.0.0.1:8501/healthz', timeout=4)"
CMD ["pellucid", "serve", "--host", "0.0.0.0", "--no-browser"]
