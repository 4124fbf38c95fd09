#!/usr/bin/env bash
# Coverage-guided fuzzing with libFuzzer, on the stable toolchain: the compiler's own sanitizer
# coverage pass is all that it takes. RocksDB is not instrumented; what `make test` has built of it
# is linked again.
#
# usage: fuzz.sh [target...]    env: FUZZ_SECONDS for each target (60)
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${FUZZ_SECONDS:-60}
triple=$(rustc -vV | sed -n 's/^host: //p')
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(cd fuzz/targets && ls ./*.rs | sed 's#^\./##; s#\.rs$##')

cargo build --release --locked --bin onggi
library=$(find target/release/build -path '*librocksdb-sys-*/out/librocksdb.a' -printf '%T@ %h\n' | sort -n | tail -n 1 | cut -d ' ' -f 2)
export ROCKSDB_LIB_DIR=$PWD/$library ROCKSDB_STATIC=1

# The project's CPU flags and these: arrays of a cargo configuration add up.
flags='"-Cpasses=sancov-module", "-Cllvm-args=-sanitizer-coverage-level=4",
       "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters", "-Cllvm-args=-sanitizer-coverage-pc-table",
       "-Cllvm-args=-sanitizer-coverage-trace-compares", "-Ccodegen-units=1", "--cfg=fuzzing"'
# With an explicit target the flags stay away from build scripts, which have no libFuzzer to link.
cargo build --release --manifest-path fuzz/Cargo.toml --target-dir target/fuzz --target "$triple" \
    --config "target.$triple.rustflags = [$flags]"

for target in "${targets[@]}"; do
    corpus=target/fuzz/corpus/$target
    mkdir -p "$corpus" "target/fuzz/found/$target"
    seeds=()
    if [ -d "fuzz/seeds/$target" ]; then seeds=("fuzz/seeds/$target"); fi
    echo "== fuzz $target for $seconds s"
    "target/fuzz/$triple/release/$target" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10 \
        -artifact_prefix="target/fuzz/found/$target/" -print_final_stats=1 "$corpus" "${seeds[@]}"
done
