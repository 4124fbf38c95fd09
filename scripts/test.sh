#!/usr/bin/env bash
# The checks of `make test`, each with its duration; ends with the sum of cargo's own closing lines.
set -euo pipefail
cd "$(dirname "$0")/.."

durations=()
stage() { # name command...
    local name=$1 started=$SECONDS
    shift
    echo "== $name: $*"
    "$@"
    durations+=("$(printf '%-14s %5d s' "$name" $((SECONDS - started)))")
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
# What the proofs count, and what they had to skip, is part of the output.
tests() { cargo test --release --locked -- --show-output 2>&1 | tee "$log"; }
# Without them the tests against a real Prometheus, behind a real HAProxy and on an S3 server are skipped.
peers() {
    scripts/peers.sh || echo "*** peers: could not be fetched; no test against a real Prometheus" >&2
    scripts/s3-server.sh || echo "*** peers: no test on an S3 server" >&2
}

stage format cargo fmt --check
stage lints cargo clippy --release --locked --all-targets -- -D warnings
stage documentation env RUSTDOCFLAGS="-D warnings" cargo doc --release --locked --no-deps --document-private-items
stage peers peers
stage tests tests

echo
echo "== durations"
printf '   %s\n' "${durations[@]}"
awk '/^test result:/ { passed += $4; failed += $6; skipped += $8 }
     END { printf "\n%d passed, %d failed, %d skipped\n", passed, failed, skipped }' "$log"
