#!/usr/bin/env bash
# Serves, and says before where to point Prometheus and Grafana.
# usage: run.sh [onggi serve flags...]
set -euo pipefail
cd "$(dirname "$0")/.."

address=${ONGGI_WEB_LISTEN_ADDRESS:-0.0.0.0:9595}
previous=
for argument in "$@"; do
    case $argument in --web.listen-address=*) address=${argument#*=} ;; esac
    if [ "$previous" = --web.listen-address ]; then address=$argument; fi
    previous=$argument
done
port=${address##*:}
host=$(hostname 2> /dev/null || echo localhost)

cat <<TEXT

  Prometheus, in prometheus.yml:

    remote_write:
      - url: http://$host:$port/api/v1/write
        protobuf_message: io.prometheus.write.v2.Request   # 2.0; leave the line out for 1.0

  Grafana, data source of type Prometheus:  http://$host:$port
  This server's own page:                   http://localhost:$port/

TEXT
exec target/release/onggi serve "$@"
