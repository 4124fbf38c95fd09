#!/usr/bin/env bash
# Fuzzes the parameters of every endpoint from the description that the server itself serves
# (`/api/v1/openapi.yaml`): no status that is not described, no 500, every answer of the described type and
# shape. Schemathesis comes from PyPI in one fixed version, into a cache folder; nothing is installed. Where
# that is impossible it says so and ends with status 0.
#
# env: SCHEMATHESIS_BINARY (target/release/onggi), SCHEMATHESIS_EXAMPLES (50, cases of each operation at most),
#      SCHEMATHESIS_SEED (of the clock)
set -euo pipefail
cd "$(dirname "$0")/.."

version=4.32.5
binary=${SCHEMATHESIS_BINARY:-target/release/onggi}
examples=${SCHEMATHESIS_EXAMPLES:-50}
seed=${SCHEMATHESIS_SEED:-$(date +%s)}
tools=${XDG_CACHE_HOME:-$HOME/.cache}/onggi-peers/schemathesis-$version

skip() {
    printf '\n*** schemathesis: SKIPPED: %s\n\n' "$*" >&2
    exit 0
}

if [ ! -x "$tools/bin/st" ]; then
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2> /dev/null || skip "no Python 3.10 or newer"
    rm -rf "$tools"
    python3 -m venv "$tools" || skip "Python has no venv (Debian: python3-venv)"
    "$tools/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$version" \
        || { rm -rf "$tools"; skip "schemathesis $version cannot be fetched from PyPI"; }
fi
[ -x "$binary" ] || { echo "schemathesis: no $binary; make build" >&2; exit 1; }

folder=$(mktemp -d)
port=$("$tools/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$binary" serve --web.listen-address="127.0.0.1:$port" --storage.path="$folder/data" --memory.limit=1GiB \
    --tenancy.enabled --web.enable-admin-api > "$folder/log" 2>&1 &
server=$!
trap 'kill "$server" 2> /dev/null || true; wait "$server" 2> /dev/null || true; rm -rf "$folder"' EXIT
is_ready() { curl --silent --fail --output /dev/null "http://127.0.0.1:$port/-/ready"; }
for _ in $(seq 300); do
    if is_ready || ! kill -0 "$server" 2> /dev/null; then break; fi
    sleep 0.1
done
is_ready || { echo "schemathesis: the server did not come up" >&2; cat "$folder/log" >&2; exit 1; }
"$tools/bin/python" scripts/schemathesis_seed.py "http://127.0.0.1:$port" fuzz

# A timeout of the asker's own making is a 503, here as in Prometheus.
cat > "$folder/schemathesis.toml" <<'TOML'
[checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 503]
TOML

# Quitting would end the run, and a live stream has no end. Run in the folder, for what it leaves behind.
hooks=$PWD/scripts/schemathesis_hooks.py
status=0
cd "$folder"
SCHEMATHESIS_HOOKS=$hooks "$tools/bin/st" --config-file schemathesis.toml run "http://127.0.0.1:$port/api/v1/openapi.yaml" \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance \
    --exclude-path /-/quit --exclude-path /api/v1/notifications/live \
    --header 'X-Scope-OrgID: fuzz' --phases examples,coverage,fuzzing --continue-on-failure \
    --max-examples "$examples" --seed "$seed" --request-timeout 30 --suppress-health-check all || status=$?

if ! kill -0 "$server" 2> /dev/null; then
    echo "schemathesis: the server is gone" >&2
    tail -n 20 "$folder/log" >&2
    exit 1
fi
if grep -E 'panicked|ended by a panic' "$folder/log" >&2; then
    exit 1
fi
exit "$status"
