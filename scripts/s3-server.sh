#!/usr/bin/env bash
# Installs moto, an S3 server in memory that replicas are tested on, from PyPI in one fixed version into the cache
# folder of the peers; nothing else is touched. Where that is impossible it says so and ends with status 0: the
# tests then skip, loudly.
#
# env: PEERS_DIR (default ${XDG_CACHE_HOME:-~/.cache}/onggi-peers)
set -euo pipefail

version=5.2.5 # tests/it/replicas/bucket.rs names it too
peers=${PEERS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/onggi-peers}
folder=$peers/moto-$version

skip() {
    rm -rf "$folder"
    printf '\n*** s3-server: SKIPPED: %s\n*** The tests of replicas on an S3 server will not run.\n\n' "$*" >&2
    exit 0
}

# The last step of the installation makes it: a broken one is repeated.
if [ -e "$folder/complete" ]; then
    echo "s3-server: all there, in $folder"
    exit 0
fi
python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2> /dev/null || skip "no Python 3.10 or newer"
mkdir -p "$peers"
rm -rf "$folder"
python3 -m venv "$folder" > /dev/null || skip "Python has no venv (Debian: python3-venv)"
"$folder/bin/pip" install --quiet --disable-pip-version-check "moto[server]==$version" \
    || skip "moto $version cannot be fetched from PyPI"
touch "$folder/complete"
echo "s3-server: $folder/bin/moto_server"
