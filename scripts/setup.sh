#!/usr/bin/env bash
# Installs what the build needs and is missing: a C++ compiler (RocksDB) and libclang with its
# headers (bindgen). Does nothing, and asks for no rights, where both are there.
set -euo pipefail

fail() {
    echo "setup: $*" >&2
    exit 1
}

# The headers count too: with the bare library, bindgen does not find stdbool.h.
have_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] && return 0
    local lib
    for lib in /usr/lib/llvm-*/lib; do
        if compgen -G "$lib/libclang*.so*" > /dev/null && compgen -G "$lib/clang/*/include/stdbool.h" > /dev/null; then
            return 0
        fi
    done
    return 1
}

install() {
    command -v apt-get > /dev/null \
        || fail "please install: $* (this machine has no apt-get, and only Debian's package names are known here)"
    local as_root=()
    if [ "$(id -u)" != 0 ]; then
        command -v sudo > /dev/null || fail "please install as root: apt-get install --no-install-recommends $*"
        as_root=(sudo)
    fi
    echo "setup: installing $*"
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}

command -v cargo > /dev/null || fail "no cargo on the PATH: install a Rust toolchain (https://rustup.rs)"

missing=()
{ command -v c++ && command -v cc; } > /dev/null || missing+=(g++)
have_libclang || missing+=(libclang-dev)
[ ${#missing[@]} = 0 ] || install "${missing[@]}"

# A minimal toolchain has neither; `make test` needs both.
for component in rustfmt clippy; do
    if ! "cargo-${component/rustfmt/fmt}" --version > /dev/null 2>&1; then
        command -v rustup > /dev/null || fail "no $component in this Rust toolchain, and no rustup to add it"
        rustup component add "$component"
    fi
done
