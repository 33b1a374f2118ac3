#!/usr/bin/env bash
# Measures Lifeboat against the tools people would use instead, in alternation, on this machine.
# Prints the minimum of RUNS wall times, the peak memory, and the ratios that the project promises.
# Needs what tests/run.sh installs (redis-server, sqlite3, zstd, rclone, MinIO, Vault), /usr/bin/time and
# about 8 GiB of disk in TMPDIR; LIFEBOAT=PATH measures a binary that is built already. `benches/run.sh redis sqlite zstd verify vault archive idle list` selects.
set -euo pipefail
cd "$(dirname "$0")/.."

RUNS=${RUNS:-5}
DUMP_MIB=${DUMP_MIB:-1024}
SNAP_MIB=${SNAP_MIB:-200}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/lifeboat-test-servers
minio=${LIFEBOAT_TEST_MINIO:-$(ls "$cache"/minio-* | tail -n 1)}
vault=${LIFEBOAT_TEST_VAULT:-$(ls "$cache"/vault-* | tail -n 1)}
work=$(mktemp -d)
pids=()
cleanup() { for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done; wait 2>/dev/null || true; rm -rf "$work"; }
trap cleanup EXIT
what=${*:-redis verify sqlite zstd vault archive idle list}
wants() { [[ " $what " == *" $1 "* ]]; }

lifeboat=${LIFEBOAT:-$PWD/target/release/lifeboat}
[ -n "${LIFEBOAT:-}" ] || cargo build --release --locked --quiet
export LC_ALL=C RUST_LOG=error AWS_ACCESS_KEY_ID=benchmark AWS_SECRET_ACCESS_KEY=benchmark-secret AWS_REGION=us-east-1
unset AWS_PROFILE AWS_SESSION_TOKEN AWS_ENDPOINT_URL AWS_CA_BUNDLE || true

free_port() { python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])'; }

# measure NAME COMMAND...: appends "seconds KiB" to $work/NAME.
measure() {
    local name=$1
    shift
    if ! /usr/bin/time -o "$work/time" -f '%e %M' "$@" >"$work/out" 2>&1; then
        echo "$name failed:" >&2
        cat "$work/out" >&2
        exit 1
    fi
    tail -n 1 "$work/time" >>"$work/$name"
}
# step EVENT NAME: takes the seconds of one step of the last run from its log.
step() { sed -n "s/.*$1.* seconds=\([0-9.]*\).*/\1 -/p" "$work/out" >>"$work/$2"; }
seconds() { sort -g "$work/$1" | head -n 1 | cut -d' ' -f1; }
peak() { cut -d' ' -f2 "$work/$1" | sort -g | tail -n 1 | awk '{ if ($1 == "-") print "-"; else printf "%.0f", $1 / 1024 }'; }
report() { printf '  %-34s %7.2f s  %5s MiB\n' "$1" "$(seconds "$2")" "$(peak "$2")"; }
ratio() { awk -v a="$(seconds "$1")" -v b="$(seconds "$2")" 'BEGIN { printf "%.2f", a / b }'; }

start_minio() {
    port=$(free_port)
    mkdir -p "$work/minio/bench"
    MINIO_ROOT_USER=$AWS_ACCESS_KEY_ID MINIO_ROOT_PASSWORD=$AWS_SECRET_ACCESS_KEY \
        "$minio" server --quiet --address "127.0.0.1:$port" "$work/minio" >"$work/minio.log" 2>&1 &
    pids+=($!)
    for _ in $(seq 100); do curl -sf "http://127.0.0.1:$port/minio/health/ready" && break || sleep 0.1; done
    s3="s3://bench/lifeboat?endpoint=http://127.0.0.1:$port"
    export RCLONE_CONFIG_B_TYPE=s3 RCLONE_CONFIG_B_PROVIDER=Minio RCLONE_CONFIG_B_ENV_AUTH=true \
        RCLONE_CONFIG_B_ENDPOINT=http://127.0.0.1:$port RCLONE_CONFIG=/dev/null
}
# MinIO keeps deleted objects for minutes.
empty_bucket() { rm -rf "$work/minio/bench/"* "$work/minio/.minio.sys/tmp/.trash/"*; }

make_dump() {
    [ -f "$work/redis/dump.rdb" ] && return
    mkdir -p "$work/redis"
    rport=$(free_port)
    redis-server --port "$rport" --bind 127.0.0.1 --dir "$work/redis" --save '' --appendonly no \
        --rdbcompression no --enable-debug-command local >"$work/redis.log" 2>&1 &
    pids+=($!)
    until redis-cli -p "$rport" ping >/dev/null 2>&1; do sleep 0.1; done
    redis-cli -p "$rport" debug populate $((DUMP_MIB * 8700)) key 100 >/dev/null
    redis-cli -p "$rport" save >/dev/null
    redis_url="redis://127.0.0.1:$rport?data_dir=$work/redis"
    cat "$work/redis/dump.rdb" >/dev/null
}

if wants redis; then
    start_minio
    make_dump
    dump=$work/redis/dump.rdb
    echo "dump of $(du -m "$dump" | cut -f1) MiB to MinIO, no compression"
    cat >"$work/redis.yaml" <<YAML
destinations: { minio: "$s3" }
jobs: { cache: { source: { type: redis, url: "redis://127.0.0.1:$rport", data_dir: "$work/redis" }, seal: { compression: none } } }
YAML
    for _ in $(seq "$RUNS"); do
        empty_bucket
        measure redis-lifeboat "$lifeboat" backup --config "$work/redis.yaml"
        empty_bucket
        measure redis-rclone rclone copyto --s3-chunk-size 16M --s3-disable-checksum "$dump" b:bench/dump.rdb
        if command -v aws >/dev/null && aws --version >/dev/null 2>&1; then
            empty_bucket
            measure redis-aws aws s3 cp --no-progress --endpoint-url "http://127.0.0.1:$port" "$dump" s3://bench/dump.rdb
        fi
    done
    report "lifeboat backup, verified" redis-lifeboat
    report "rclone copyto 16M, no MD5" redis-rclone
    best=redis-rclone
    if [ -f "$work/redis-aws" ]; then
        report "aws s3 cp" redis-aws
        [ "$(ratio redis-aws redis-rclone | cut -c1)" = 0 ] && best=redis-aws
    fi
    echo "  ratio to the faster one: $(ratio redis-lifeboat $best) (promised: at most 1.15)"
    empty_bucket
fi

if wants verify; then
    make_dump
    mkdir -p "$work/store"
    cat >"$work/verify.yaml" <<YAML
destinations: { folder: "file://$work/store" }
jobs: { cache: { source: { type: redis, url: "redis://127.0.0.1:$rport", data_dir: "$work/redis" }, seal: { compression: none } } }
YAML
    "$lifeboat" backup --config "$work/verify.yaml" >/dev/null
    echo "checking the dump offline"
    for _ in $(seq "$RUNS"); do
        measure verify-lifeboat "$lifeboat" verify cache --config "$work/verify.yaml"
        measure verify-redis redis-check-rdb "$work/redis/dump.rdb"
    done
    report "lifeboat verify, both digests" verify-lifeboat
    report "redis-check-rdb" verify-redis
    echo "  times as fast: $(ratio verify-redis verify-lifeboat) (promised: at least 3)"
    rm -rf "$work/store"
fi

make_database() {
    [ -f "$work/app.db" ] && return
    sqlite3 "$work/app.db" "PRAGMA journal_mode = wal; CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b TEXT);
        CREATE INDEX t_a ON t (a);
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2600000)
        INSERT INTO t SELECT i, hex(randomblob(12)), 'customer ' || i || ' of the lifeboat company, ' || hex(randomblob(40)) FROM n;
        PRAGMA wal_checkpoint(TRUNCATE);" >/dev/null
}

if wants sqlite; then
    make_database
    echo "SQLite database of $(du -m "$work/app.db" | cut -f1) MiB: copy and prove"
    mkdir -p "$work/store"
    cat >"$work/sqlite.yaml" <<YAML
destinations: { folder: "file://$work/store" }
scratch_dir: $work
jobs: { app: { source: { type: sqlite, path: "$work/app.db" }, seal: { compression: none } } }
YAML
    for _ in $(seq "$RUNS"); do
        rm -rf "$work/store/"* "$work/copy.db"
        measure sqlite-lifeboat env RUST_LOG=lifeboat=debug "$lifeboat" backup --config "$work/sqlite.yaml"
        step captured sqlite-capture
        measure sqlite-cli sh -c "sqlite3 $work/app.db \"VACUUM INTO '$work/copy.db'\" && sqlite3 $work/copy.db 'PRAGMA integrity_check'"
    done
    rm -rf "$work/store" "$work/copy.db"
    report "lifeboat, capture and verify only" sqlite-capture
    report "lifeboat backup, whole run" sqlite-lifeboat
    report "sqlite3 VACUUM INTO + check" sqlite-cli
    echo "  capture and verify, ratio: $(ratio sqlite-capture sqlite-cli) (promised: at most 1.2)"
fi

if wants zstd; then
    make_database
    mkdir -p "$work/store"
    threads=$(nproc)
    [ "$threads" -gt 4 ] && threads=4
    sqlite3 "$work/app.db" "VACUUM INTO '$work/plain.db'"
    echo "zstd -3 with $threads threads over $(du -m "$work/plain.db" | cut -f1) MiB"
    cat >"$work/zstd.yaml" <<YAML
destinations: { folder: "file://$work/store" }
scratch_dir: $work
jobs: { app: { source: { type: sqlite, path: "$work/plain.db", check: quick }, seal: { compression: zstd } } }
YAML
    for _ in $(seq "$RUNS"); do
        rm -rf "$work/store/"*
        measure zstd-run env RUST_LOG=lifeboat=debug "$lifeboat" backup --config "$work/zstd.yaml"
        step 'upload ended' zstd-lifeboat
        measure zstd-tool sh -c "zstd -q -3 -T$threads -c $work/plain.db >$work/plain.zst && sync $work/plain.zst"
    done
    rm -rf "$work/store" "$work"/plain.*
    report "lifeboat, seal, digests, store" zstd-lifeboat
    report "zstd, fsynced" zstd-tool
    echo "  speed, ratio: $(ratio zstd-tool zstd-lifeboat) (promised: at least 0.85)"
fi

# A Vault node whose snapshot has about SNAP_MIB: values are encrypted and do not shrink.
start_vault() {
    [ -n "${vault_addr:-}" ] && return
    local vport cport
    vport=$(free_port) cport=$(free_port)
    mkdir -p "$work/vault"
    cat >"$work/vault.hcl" <<HCL
disable_mlock = true
api_addr = "http://127.0.0.1:$vport"
cluster_addr = "https://127.0.0.1:$cport"
storage "raft" {
  path = "$work/vault"
  node_id = "bench"
}
listener "tcp" {
  address = "127.0.0.1:$vport"
  cluster_address = "127.0.0.1:$cport"
  tls_disable = true
}
HCL
    HOME=$work "$vault" server -config="$work/vault.hcl" >"$work/vault.log" 2>&1 &
    pids+=($!)
    vault_addr=http://127.0.0.1:$vport
    until curl -s "$vault_addr/v1/sys/seal-status" >/dev/null; do sleep 0.1; done
    local keys
    keys=$(curl -sf -X PUT -d '{"secret_shares":1,"secret_threshold":1}' "$vault_addr/v1/sys/init")
    export VAULT_TOKEN
    VAULT_TOKEN=$(python3 -c 'import json,sys; print(json.loads(sys.argv[1])["root_token"])' "$keys")
    curl -sf -o /dev/null -X PUT -d "{\"key\":$(python3 -c 'import json,sys; print(json.dumps(json.loads(sys.argv[1])["keys"][0]))' "$keys")}" "$vault_addr/v1/sys/unseal"
    until curl -s "$vault_addr/v1/sys/leader" | grep -q '"is_self":true'; do sleep 0.1; done
    curl -sf -H "X-Vault-Token: $VAULT_TOKEN" -d '{"type":"kv"}' "$vault_addr/v1/sys/mounts/fill"
    # Each secret is 96 KiB of random text.
    python3 -c 'import json,os,sys; json.dump({"value": os.urandom(73728 * 2 // 3).hex()}, sys.stdout)' >"$work/secret"
    curl -sf --no-progress-meter --parallel --parallel-max 16 -o /dev/null -X PUT -H "X-Vault-Token: $VAULT_TOKEN" \
        --data-binary "@$work/secret" "$vault_addr/v1/fill/[1-$((SNAP_MIB * 1024 / 96))]"
}

if wants vault; then
    [ -n "${port:-}" ] || start_minio
    start_vault
    cat >"$work/vault.yaml" <<YAML
destinations: { minio: "$s3" }
scratch_dir: $work
jobs: { vault: { source: { type: vault, address: "$vault_addr" } } }
YAML
    for _ in $(seq "$RUNS"); do
        empty_bucket
        measure vault-lifeboat env RUST_LOG=lifeboat=debug "$lifeboat" backup --config "$work/vault.yaml"
        step captured vault-capture
        measure vault-curl curl -sf -H "X-Vault-Token: $VAULT_TOKEN" -o "$work/curl.snap" "$vault_addr/v1/sys/storage/raft/snapshot"
    done
    echo "Vault snapshot of $(du -m "$work/curl.snap" | cut -f1) MiB to MinIO"
    report "lifeboat backup, verified" vault-lifeboat
    report "lifeboat, capture and verify only" vault-capture
    report "curl to a file" vault-curl
    echo "  the server is read, ratio: $(ratio vault-capture vault-curl) (promised: at most 1.05)"
    awk -v a="$(seconds vault-lifeboat)" -v b="$(seconds vault-curl)" 'BEGIN { printf "  whole run: %.2f s, promised at most 1.1 x curl + 1 s = %.2f s\n", a, 1.1 * b + 1 }'
    empty_bucket
fi

if wants archive; then
    start_vault
    curl -sf -H "X-Vault-Token: $VAULT_TOKEN" -o "$work/deflated.snap" "$vault_addr/v1/sys/storage/raft/snapshot"
    # As OpenBao writes it: the same archive in a gzip stream that does not compress.
    python3 - "$work/deflated.snap" "$work/stored.snap" <<'PY'
import gzip, struct, sys, zlib
data = gzip.open(sys.argv[1]).read()
pack = zlib.compressobj(0, zlib.DEFLATED, -15)
with open(sys.argv[2], "wb") as out:
    out.write(b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + pack.compress(data) + pack.flush())
    out.write(struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF))
PY
    for _ in $(seq "$RUNS"); do
        measure archive-stored "$lifeboat" verify "$work/stored.snap"
        measure archive-deflated "$lifeboat" verify "$work/deflated.snap"
        measure archive-gzip gzip -t -S .snap "$work/deflated.snap"
    done
    echo "checking snapshots of $(du -m "$work/deflated.snap" | cut -f1) MiB offline"
    report "lifeboat verify, stored" archive-stored
    report "lifeboat verify, deflated" archive-deflated
    report "gzip -t, deflated" archive-gzip
    awk -v s="$(seconds archive-stored)" -v b="$(stat -c %s "$work/stored.snap")" 'BEGIN { printf "  stored: %.0f MB/s (promised: at least 250)\n", b / s / 1e6 }'
    echo "  deflated, times as fast as gzip -t: $(ratio archive-gzip archive-deflated) (promised: at least 1)"
fi

if wants idle; then
    [ -n "${port:-}" ] || start_minio
    sqlite3 "$work/idle.db" 'CREATE TABLE t (x)'
    { echo "destinations: { minio: \"$s3\" }"
      echo "jobs:"
      for n in $(seq 20); do echo "  job$n: { source: { type: sqlite, path: \"$work/idle.db\" }, schedule: { every: 1h } }"; done
    } >"$work/idle.yaml"
    LOG_FORMAT=json RUST_LOG=lifeboat=info "$lifeboat" run --config "$work/idle.yaml" 2>"$work/idle.log" &
    daemon=$!
    pids+=("$daemon")
    until [ "$(grep -c '"outcome":"completed"' "$work/idle.log")" -ge 20 ]; do sleep 0.2; done
    sleep 5
    awk '/VmRSS/ { printf "idle daemon, 20 jobs, after their first runs: %.1f MiB (promised: at most 15)\n", $2 / 1024 }' "/proc/$daemon/status"
    kill "$daemon"
fi

if wants list; then
    [ -n "${port:-}" ] || start_minio
    sqlite3 "$work/list.db" 'CREATE TABLE t (x)'
    cat >"$work/list.yaml" <<YAML
destinations: { minio: "$s3" }
jobs: { app: { source: { type: sqlite, path: "$work/list.db" }, retention: { keep_within: 3650d } } }
YAML
    "$lifeboat" backup --config "$work/list.yaml" >/dev/null
    rclone copy "b:bench/lifeboat/app/manifests" "$work/seed"
    python3 - "$work/seed" <<'PYTHON'
import datetime, json, pathlib, sys
folder = pathlib.Path(sys.argv[1])
first = json.loads(next(folder.glob("*.json")).read_text())
for n in range(10000):
    at = datetime.datetime(2026, 1, 1) + datetime.timedelta(minutes=30 * n)
    first["id"] = at.strftime("%Y%m%dT%H%M%SZ-") + f"{n:06x}"
    first["captured_at"] = at.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    (folder / (first["id"] + ".json")).write_text(json.dumps(first, indent=2))
PYTHON
    rclone copy --transfers 16 "$work/seed" "b:bench/lifeboat/app/manifests"
    echo "10,000 backups in MinIO"
    measure list-cold "$lifeboat" list app --json --config "$work/list.yaml"
    sqlite3 "$work/list.db" 'INSERT INTO t VALUES (1)'
    measure list-run "$lifeboat" backup --config "$work/list.yaml"
    for _ in $(seq "$RUNS"); do
        measure list-lifeboat "$lifeboat" list app --json --config "$work/list.yaml"
        measure list-plan "$lifeboat" prune app --json --config "$work/list.yaml"
        measure list-store rclone lsf --files-only "b:bench/lifeboat/app/manifests"
    done
    report "the store's own listing (rclone)" list-store
    report "lifeboat list, before any index" list-cold
    report "the run that leaves the index" list-run
    report "lifeboat list" list-lifeboat
    report "lifeboat prune, the plan" list-plan
    awk -v a="$(seconds list-plan)" -v b="$(seconds list-store)" 'BEGIN { printf "  beyond the listing: %.2f s (promised: at most 2)\n", a - b }'
fi
