#!/usr/bin/env bash
# The files in docker/ against what reads them: the Kubernetes schemas, Compose's own parser, HAProxy's. Whatever
# of these is not on this machine and cannot be fetched into the cache folder is named and passed over.
#
# env: PEERS_DIR (default ${XDG_CACHE_HOME:-~/.cache}/onggi-peers)
#      DOCKER_COMPOSE (a Compose of version 2; default `docker compose`)
set -euo pipefail
cd "$(dirname "$0")/.."

schemas=1.37.0 # of kubernetes-validate, and so of Kubernetes
peers=${PEERS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/onggi-peers}

passed_over() { printf '\n*** manifests: PASSED OVER: %s\n\n' "$*" >&2; }

kubernetes() {
    local tools=$peers/kubernetes-validate-$schemas
    if [ ! -e "$tools/complete" ]; then
        rm -rf "$tools"
        mkdir -p "$peers"
        python3 -m venv "$tools" > /dev/null || { passed_over "Kubernetes: no Python with venv"; return; }
        "$tools/bin/pip" install --quiet --disable-pip-version-check "kubernetes-validate==$schemas" \
            || { passed_over "Kubernetes: kubernetes-validate cannot be fetched from PyPI"; return; }
        touch "$tools/complete"
    fi
    "$tools/bin/kubernetes-validate" --strict docker/kubernetes/*.yaml docker/kubernetes/*/*.yaml
}

compose() {
    local file
    read -ra command <<< "${DOCKER_COMPOSE:-docker compose}"
    "${command[@]}" version > /dev/null 2>&1 || { passed_over "Compose: no ${command[*]}"; return; }
    for file in docker/compose*.yaml; do
        "${command[@]}" -f "$file" config --quiet
        echo "$file: valid"
    done
}

haproxy() {
    local binary=$peers/haproxy/usr/sbin/haproxy
    [ -x "$binary" ] || binary=$(PATH=$PATH:/usr/sbin:/usr/local/sbin type -P haproxy) \
        || { passed_over "HAProxy: not there; make peers fetches it"; return; }
    # Names of containers that do not exist here are warnings.
    LD_LIBRARY_PATH=$peers/haproxy/usr/lib/x86_64-linux-gnu "$binary" -c -q -f docker/haproxy/haproxy.cfg
    echo "docker/haproxy/haproxy.cfg: valid"
}

kubernetes
compose
haproxy
