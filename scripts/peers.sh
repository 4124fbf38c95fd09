#!/usr/bin/env bash
# Fetches what the tests run beside the server: Prometheus 3.5 and 2.42 and the node exporter, which they compare
# with, and HAProxy, which stands in front of replicas; as Debian packages, unpacked below PEERS_DIR. Nothing is
# installed and no system file is changed. Where that is impossible (no Debian archive configured, not amd64) it
# says so and ends with status 0: the tests then skip, loudly.
#
# usage: peers.sh [victoria-metrics]     with VictoriaMetrics, which only `make peers-bench` runs
# env: PEERS_DIR (default ${XDG_CACHE_HOME:-~/.cache}/onggi-peers)
set -euo pipefail

peers=${PEERS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/onggi-peers}
stable=bookworm
newer=(sid forky trixie)
wanted=${1:-}

skip() {
    printf '\n*** peers: SKIPPED: %s\n*** The tests against a real Prometheus and a real HAProxy will not run.\n\n' "$*" >&2
    exit 0
}

command -v apt-get > /dev/null && command -v dpkg > /dev/null || skip "this machine has no apt-get"
[ "$(dpkg --print-architecture)" = amd64 ] || skip "only tried on amd64"

have() { [ -x "$peers/$1" ]; }
if have prometheus/usr/bin/prometheus && have prometheus-2.42/usr/bin/prometheus \
    && have node-exporter/usr/bin/prometheus-node-exporter && have haproxy/usr/sbin/haproxy \
    && { [ -z "$wanted" ] || have "$wanted/usr/bin/$wanted"; }; then
    echo "peers: all there, in $peers"
    exit 0
fi

# The archive and its key are those that this machine already trusts.
archive() {
    local file
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -e "$file" ] || continue
        awk '/^URIs:/ { uri = $2 } /^Signed-By:/ { key = $2 }
             /^$/ { if (uri ~ /\/debian\/?$/) exit; uri = ""; key = "" }
             END { if (uri ~ /\/debian\/?$/) print uri, key }' "$file"
    done
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -e "$file" ] || continue
        awk '$1 == "deb" { for (i = 2; i <= NF; i++) if ($i ~ /^https?:.*\/debian\/?$/) print $i }' "$file"
    done
}
read -r uri key < <(archive | head -n 1) || true
[ -n "${uri:-}" ] || skip "apt knows no Debian archive here"
key=${key:-/usr/share/keyrings/debian-archive-keyring.gpg}
[ -e "$key" ] || skip "no keyring of the Debian archive at $key"

mkdir -p "$peers/apt/lists/partial"
cd "$peers"
cat > apt/debian.sources <<SOURCES
Types: deb
URIs: $uri
Suites: $stable ${newer[*]}
Components: main
Signed-By: $key
SOURCES
apt_options=(
    -o "Dir::Etc::sourcelist=$peers/apt/debian.sources" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::Lists=$peers/apt/lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=
    -o "APT::Sandbox::User=$(id -un)"
    # A mirror that was not brought up to date will do: lists and packages are signed all the same.
    -o Acquire::Check-Valid-Until=false
)
# Lists that need no place under /etc or /var, and so no rights.
apt_options+=(-o "Dir::Cache=$peers/apt" -o "Dir::State::status=/var/lib/dpkg/status")
apt-get "${apt_options[@]}" update -qq || skip "the Debian archive at $uri cannot be reached"

# The newest version of a package that begins with a prefix.
version_of() { # package prefix
    apt-cache "${apt_options[@]}" madison "$1" | awk -v prefix="$2" 'index($3, prefix) == 1 { print $3; exit }'
}

fetch() { # package=version folder
    local unpacked=$peers/$2.partial download
    download=$(mktemp -d "$peers/download.XXXXXX")
    (cd "$download" && apt-get "${apt_options[@]}" download -qq "$1")
    rm -rf "$unpacked"
    dpkg -x "$download"/*.deb "$unpacked"
    rm -rf "$download" "${peers:?}/$2"
    mv "$unpacked" "$peers/$2"
    echo "peers: $1"
}

# VictoriaMetrics of the newest suite, with the compression library that it wants beside it: trixie's is new enough
# for it, and runs on the stable suite's libc.
fetch_victoria_metrics() {
    local version
    version=$(apt-cache "${apt_options[@]}" madison libzstd1 | awk 'index($0, "trixie/") { print $3; exit }')
    if [ -n "$version" ]; then fetch "libzstd1=$version" libs; fi
    fetch_version victoria-metrics 1. victoria-metrics
}

# HAProxy of the stable suite, with the libraries beside it that few machines have.
fetch_haproxy() {
    local package version
    mkdir -p haproxy-parts
    for package in haproxy liblua5.3-0 libopentracing-c-wrapper0 libopentracing1; do
        version=$(apt-cache "${apt_options[@]}" madison "$package" | awk -v suite="$stable/" 'index($0, suite) { print $3; exit }')
        [ -n "$version" ] || { echo "*** peers: no $package in the Debian archive" >&2; return; }
        fetch "$package=$version" "haproxy-parts/$package"
    done
    rm -rf haproxy.partial haproxy
    mkdir haproxy.partial
    for package in haproxy-parts/*/; do cp -a "$package." haproxy.partial; done
    rm -rf haproxy-parts
    if ! LD_LIBRARY_PATH=$peers/haproxy.partial/usr/lib/x86_64-linux-gnu haproxy.partial/usr/sbin/haproxy -v > /dev/null; then
        echo "*** peers: $stable's HAProxy does not run here; please install haproxy" >&2
        rm -rf haproxy.partial
        return
    fi
    mv haproxy.partial haproxy
}

fetch_version() { # package prefix folder
    local version
    version=$(version_of "$1" "$2")
    if [ -n "$version" ]; then
        fetch "$1=$version" "$3"
    else
        echo "*** peers: no $1 $2* in the Debian archive any more" >&2
    fi
}

have prometheus/usr/bin/prometheus || fetch_version prometheus 3.5. prometheus
have prometheus-2.42/usr/bin/prometheus || fetch_version prometheus 2.42. prometheus-2.42
have node-exporter/usr/bin/prometheus-node-exporter || fetch_version prometheus-node-exporter 1. node-exporter
have haproxy/usr/sbin/haproxy || fetch_haproxy
[ -z "$wanted" ] || have "$wanted/usr/bin/$wanted" || fetch_victoria_metrics

# A build of a newer suite may want a newer libc than this machine has: then that suite's libc lies
# beside it, and the tests start it through that libc's loader.
for binary in prometheus/usr/bin/prometheus prometheus-2.42/usr/bin/prometheus \
    node-exporter/usr/bin/prometheus-node-exporter victoria-metrics/usr/bin/victoria-metrics; do
    have "$binary" || continue
    if ldd "$binary" 2>&1 | grep -q 'GLIBC_.* not found'; then
        have libc/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 || fetch_version libc6 2. libc
    fi
done
for binary in prometheus/usr/bin/prometheus prometheus-2.42/usr/bin/prometheus haproxy/usr/sbin/haproxy \
    victoria-metrics/usr/bin/victoria-metrics; do
    if have "$binary"; then echo "peers: $peers/$binary"; fi
done
