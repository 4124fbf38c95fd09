#!/usr/bin/env bash
# Builds the server of another commit, in a work tree and a target folder of its own below target/previous, which stay
# for the next time. The first one compiles everything, RocksDB included.
#
# usage: previous.sh COMMIT             builds it
#        previous.sh --binary COMMIT    says where it is
set -euo pipefail
cd "$(dirname "$0")/.."

binary_only=no
if [ "${1:-}" = --binary ]; then
    binary_only=yes
    shift
fi
commit=$(git rev-parse --verify --quiet "${1:?which commit}^{commit}") || { echo "previous: no commit $1" >&2; exit 1; }
folder=$PWD/target/previous
binary=$folder/onggi-$commit
if [ "$binary_only" = yes ]; then
    echo "$binary"
    exit 0
fi
[ -x "$binary" ] && { echo "previous: $binary is there"; exit 0; }
mkdir -p "$folder"
git worktree prune
[ -e "$folder/tree" ] || git worktree add --detach "$folder/tree" "$commit"
git -C "$folder/tree" checkout --quiet --detach "$commit"
(cd "$folder/tree" && CARGO_TARGET_DIR=$folder/target cargo build --release --locked --bin onggi)
cp "$folder/target/release/onggi" "$binary"
echo "previous: $binary"
