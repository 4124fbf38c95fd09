#!/usr/bin/env bash
# Builds Garage, the S3 cluster that `make garage-test` runs three nodes of, in one fixed version into the cache folder
# of the peers: a quarter of an hour, once. A program of its own under its own licence; nothing of it is linked or
# shipped. Prints where the binary is; where there is none and it cannot be built, says so loudly and fails.
#
# usage: garage.sh [BINARY to take instead]
# env: PEERS_DIR (default ${XDG_CACHE_HOME:-~/.cache}/onggi-peers)
set -euo pipefail

version=2.5.0
peers=${PEERS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/onggi-peers}
folder=$peers/garage-$version
binary=${1:-$folder/bin/garage}

if [ "$binary" = "$folder/bin/garage" ] && [ ! -x "$binary" ]; then
    echo "garage: building $version into $folder" >&2
    CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_TARGET_DIR=$folder/target \
        cargo install garage --version "$version" --locked --root "$folder" >&2 || true
    rm -rf "$folder/target"
fi
if found=$("$binary" --version 2> /dev/null); then
    echo "garage: $found" >&2
    echo "$binary"
    exit 0
fi
printf '\n*** garage: SKIPPED: %s does not run here and could not be built\n*** No test of replicas on three store nodes.\n\n' "$binary" >&2
exit 1
