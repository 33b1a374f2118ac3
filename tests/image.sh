#!/usr/bin/env bash
# Builds what Dockerfile.alpine builds, without Docker, and runs it as Kubernetes would: the static
# binary by the Dockerfile's own cargo line, its root folder by the Dockerfile's own script, then by
# chroot with that root mounted read-only, as a uid that nobody gave a name, with nothing but a
# tmpfs to write to. As root on Debian, with Rust. Not a part of tests/run.sh: it takes minutes.
#
#   tests/image.sh            build, then run
#   tests/image.sh BINARY     run this static binary
#
#   LIFEBOAT_TEST_MINIO=PATH  the MinIO that tests/run.sh built
set -euo pipefail

most_binary_bytes=$((25 * 1024 * 1024))
most_image_bytes=$((30 * 1000 * 1000))
memory_limit=$((64 * 1024 * 1024))
uid=1234567
gid=7654321

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${LIFEBOAT_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/lifeboat-test-servers}
target=$(uname -m)-unknown-linux-musl
cd "$repository"

fail() {
    echo "tests/image.sh: $*" >&2
    exit 1
}
say() { printf '  %-34s %s\n' "$@"; }

install_missing() {
    local packages=() pair
    for pair in musl-gcc:musl-tools busybox:busybox-static openssl:openssl sqlite3:sqlite3 \
        curl:curl readelf:binutils unshare:util-linux cc:gcc; do
        command -v "${pair%%:*}" >/dev/null || packages+=("${pair##*:}")
    done
    [[ -e /usr/share/zoneinfo/Europe/Berlin ]] || packages+=(tzdata)
    [[ -e /etc/ssl/certs/ca-certificates.crt ]] || packages+=(ca-certificates)
    if ((${#packages[@]} > 0)); then
        echo "==> install ${packages[*]}"
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
            --no-install-recommends "${packages[@]}"; } >/dev/null
    fi
    if ! rustc --print target-libdir --target "$target" | xargs test -d; then
        rustup target add "$target"
    fi
}

build() {
    local command
    command=$(sed -n 's/^ *\(cargo build .*[^ \\]\) *\\\{0,1\}$/\1/p' Dockerfile.alpine)
    [[ $(wc -l <<<"$command") == 1 && $command == *--target* ]] ||
        fail "Dockerfile.alpine has not one line that begins with 'cargo build': $command"
    echo "==> $command"
    eval "$command"
    binary=${CARGO_TARGET_DIR:-target}/$target/release/lifeboat
}

((EUID == 0)) || fail "needs root, for chroot and mounts"
[[ $(uname -s) == Linux ]] || fail "needs Linux"

if [[ ${1:-} != --in-namespace ]]; then
    install_missing
    if (($# > 0)); then binary=$1; else build; fi
    # All mounts and processes end with the namespace.
    exec unshare --mount --pid --fork --kill-child --propagation private \
        "${BASH_SOURCE[0]}" --in-namespace "$(realpath "$binary")"
fi
binary=$2
mount -t proc proc /proc
minio=${LIFEBOAT_TEST_MINIO:-$(find "$cache" -maxdepth 1 -name 'minio-*' -type f | sort | tail -n 1)}
[[ -x $minio ]] || fail "no MinIO: run tests/run.sh once, or set LIFEBOAT_TEST_MINIO"
chroot=$(command -v chroot)
work=$(mktemp -d)
chmod 755 "$work"
limited=
cleanup() {
    local status=$?
    ((status == 0)) || echo "FAILED: ${step:-}"
    [[ -z ${server:-} ]] || { kill "$server" && wait "$server"; } 2>/dev/null || true
    umount -R "$root" 2>/dev/null || true
    [[ -z $limited ]] || rmdir "$limited" 2>/dev/null || true
    rm -rf "$work"
}
root=$work/root
trap cleanup EXIT

step="lay out the root folder"
sh docker/rootfs.sh "$root"
install -D -m 644 LICENSE "$root/usr/share/licenses/lifeboat/LICENSE"
install -m 755 "$binary" "$root/usr/local/bin/lifeboat"

step="sizes"
binary_bytes=$(stat -c %s "$binary")
image_bytes=$(find "$root" -type f -printf '%i %s\n' | sort -u | awk '{ sum += $2 } END { print sum }')
echo "==> $step"
say "binary" "$(awk -v b="$binary_bytes" 'BEGIN { printf "%.2f MiB", b / 1048576 }') of 25"
say "root folder" "$(awk -v b="$image_bytes" 'BEGIN { printf "%.2f MB", b / 1e6 }') of 30"
((binary_bytes <= most_binary_bytes)) || fail "the binary is too large"
((image_bytes <= most_image_bytes)) || fail "the image is too large"

step="a static, stripped program"
echo "==> $step"
for program in "$root/usr/local/bin/lifeboat" "$root/bin/busybox"; do
    ! readelf --program-headers --wide "$program" | grep -q INTERP || fail "$program has an interpreter"
    ! readelf --dynamic --wide "$program" | grep -q NEEDED || fail "$program needs libraries"
done
! readelf --sections --wide "$binary" | grep -qE '\.(symtab|debug_)' || fail "the binary is not stripped"

mkdir "$work/data"
sqlite3 "$work/app.db" "PRAGMA journal_mode=wal; CREATE TABLE t (x); WITH RECURSIVE n(i) AS \
    (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) INSERT INTO t SELECT hex(randomblob(500)) FROM n" >/dev/null

mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"

# inside COMMAND...: runs it in the image, with nothing of this environment.
inside() {
    env -i PATH=/usr/local/bin:/bin AWS_ACCESS_KEY_ID=image-test AWS_SECRET_ACCESS_KEY=image-test-secret \
        AWS_REGION=us-east-1 ${TZ:+TZ="$TZ"} "$chroot" --userspec="+$uid:+$gid" --groups= "$root" "$@"
}

step="read-only root, uid $uid without a name"
echo "==> $step"
[[ $(inside id -u) == "$uid" ]]
! inside sh -c 'echo x >/etc/lifeboat/x' 2>/dev/null || fail "the root can be written to"
! grep -q "$uid" "$root/etc/passwd"
inside lifeboat --version

step="demo"
echo "==> $step"
inside lifeboat demo >"$work/demo.log" || { cat "$work/demo.log"; fail "demo"; }
say "the whole way" "passed"
[[ -z $(ls -A "$root/tmp") ]] || fail "demo left something in /tmp"

step="time zones"
echo "==> $step"
[[ $(TZ=Asia/Kolkata inside date -d '2026-01-01 00:00' +%z) == +0530 ]] || fail "busybox knows no zones"
say "zone files" "$(find "$root/usr/share/zoneinfo" -type f -o -type l | wc -l)"

step="MinIO with TLS"
echo "==> $step"
mkdir -p "$work/certs" "$work/minio/backups"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "/CN=Image test CA" \
    -addext keyUsage=critical,keyCertSign -keyout "$work/ca.key" -out "$work/ca.pem" 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=minio \
    -keyout "$work/certs/private.key" -out "$work/minio.csr" 2>/dev/null
openssl x509 -req -in "$work/minio.csr" -CA "$work/ca.pem" -CAkey "$work/ca.key" -days 2 \
    -extfile <(echo "subjectAltName=IP:127.0.0.1") -out "$work/certs/public.crt" 2>/dev/null
for port in $(shuf -i 20000-30000 -n 20); do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
done
MINIO_ROOT_USER=image-test MINIO_ROOT_PASSWORD=image-test-secret "$minio" server --quiet \
    --certs-dir "$work/certs" --address "127.0.0.1:$port" "$work/minio" >"$work/minio.log" 2>&1 &
server=$!
curl -sf --retry 100 --retry-delay 1 --retry-connrefused --retry-max-time 60 --cacert "$work/ca.pem" \
    "https://127.0.0.1:$port/minio/health/ready" || { cat "$work/minio.log"; fail "MinIO did not start"; }

install -m 600 -o $uid -g $gid "$work/app.db" "$root/tmp/app.db"
store="s3://backups/prod?endpoint=https://127.0.0.1:$port"
save=(lifeboat backup --source sqlite:///tmp/app.db --destination "$store")
if inside "${save[@]}" >"$work/refused.log" 2>&1; then fail "a stranger's certificate was accepted"; fi
grep -qi "certificate" "$work/refused.log" || { cat "$work/refused.log"; fail "refused, but not for the certificate"; }
say "without the authority" "refused"
# The image's own list of authorities, with one more: so it is read from where the image has it.
cat "$root/etc/ssl/certs/ca-certificates.crt" "$work/ca.pem" >"$work/authorities.crt"
mount --bind "$work/authorities.crt" "$root/etc/ssl/certs/ca-certificates.crt"
say "authorities in the image" "$(grep -c BEGIN "$root/etc/ssl/certs/ca-certificates.crt") with ours"

step="backup, verify and restore"
echo "==> $step"
begin=$(date +%s.%N)
inside "${save[@]}" >"$work/backup.log" 2>&1 || { cat "$work/backup.log"; fail "backup"; }
say "backup of $(($(stat -c %s "$root/tmp/app.db") / 1048576)) MiB" "$(awk -v a="$begin" -v b="$(date +%s.%N)" 'BEGIN { printf "%.1f s", b - a }')"
inside lifeboat verify app --all --destination "$store"
inside lifeboat restore app --to /tmp/back.db --destination "$store"
[[ $(sqlite3 "$root/tmp/back.db" 'SELECT count(*) FROM t') == 100000 ]] || fail "the restored database lacks rows"
[[ $(ls -A "$root/tmp" | sort | xargs) == "app.db back.db" ]] || fail "something was left in /tmp: $(ls -A "$root/tmp")"

step="the daemon and its health check within 64 MiB"
echo "==> $step"
# Version 2 of control groups, or version 1.
cgroup=$(findmnt -n -o TARGET -t cgroup2 | head -n 1)
files=(memory.max memory.peak memory.events)
if ! grep -qw memory "$cgroup/cgroup.subtree_control" 2>/dev/null; then
    cgroup=$(findmnt -n -o TARGET -t cgroup -O memory | head -n 1)
    files=(memory.limit_in_bytes memory.max_usage_in_bytes memory.oom_control)
fi
if [[ -n $cgroup ]] && mkdir "$cgroup/lifeboat-image-$$" 2>/dev/null; then
    limited=$cgroup/lifeboat-image-$$
    echo $memory_limit >"$limited/${files[0]}"
    # Files on a tmpfs count as memory: scratch is on disk here, as an emptyDir is.
    mkdir -m 1777 "$work/disk"
    umount "$root/tmp"
    mount --bind "$work/disk" "$root/tmp"
    install -m 600 -o $uid -g $gid "$work/app.db" "$root/tmp/app.db"
    cat >"$root/tmp/config.yaml" <<CONFIG
destinations: { offsite: { type: s3, bucket: backups, prefix: daemon, endpoint: "https://127.0.0.1:$port" } }
jobs: { app: { source: { type: sqlite, path: /tmp/app.db } } }
CONFIG
    cat >"$root/tmp/life.sh" <<'LIFE'
lifeboat run --config /tmp/config.yaml &
daemon=$!
tries=0
until lifeboat status --quiet --config /tmp/config.yaml; do
    tries=$((tries + 1))
    [ $tries -lt 100 ] || exit 1
    busybox sleep 0.1
done
kill -TERM $daemon
wait $daemon
LIFE
    (
        echo $BASHPID >"$limited/cgroup.procs"
        inside sh /tmp/life.sh
    ) >"$work/daemon.log" 2>&1 || { cat "$work/daemon.log"; fail "the daemon did not save in $memory_limit bytes"; }
    grep -qx 'oom_kill 0' "$limited/${files[2]}" || fail "something was killed for want of memory"
    peak=$(cat "$limited/${files[1]}" 2>/dev/null || echo 0)
    say "a 100 MiB run, and health checks" "nothing killed; peak with page cache $((peak / 1048576)) MiB"
else
    say "NOT checked" "no memory cgroup can be made here"
fi
step=
echo
echo "OK: the image builds, fits and works"
