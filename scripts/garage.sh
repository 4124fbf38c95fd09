#!/usr/bin/env bash
# Whether there is a Garage, the S3 cluster that `make garage-test` runs three nodes of; says loudly where there is
# none. It is a program of its own under its own licence, a quarter of an hour to build, and fetched by nobody here:
#   cargo install garage --version 2.5.0 --root FOLDER     and then: make garage-test GARAGE=FOLDER/bin/garage
#
# usage: garage.sh BINARY
set -euo pipefail

binary=${1:?which binary}
if version=$("$binary" --version 2> /dev/null); then
    echo "garage: $version"
    exit 0
fi
printf '\n*** garage: SKIPPED: no %s on this machine\n*** cargo install garage --version 2.5.0 --root FOLDER, then make garage-test GARAGE=FOLDER/bin/garage\n\n' "$binary" >&2
exit 1
