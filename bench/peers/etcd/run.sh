#!/usr/bin/env bash
# Measures etcd: three nodes on this machine's loopback, their data on one disk, every write forced to it, as etcd does by
# default. Prints one line of JSON for each load, with what the disk needs to force a write before and after it. Installs
# nothing:
#
#   bench/peers/etcd/run.sh [--quick] [--json FILE] [--dir DIR] [--program PROGRAM]
#
# --dir: on which disk (a folder is made in it, and removed; default: where this is run). --quick: two seconds each, once.
# --program: ours, measured after etcd in each row: `unanimous bench kv` (default: the one in target/release, if it is there).
# Environment: RUNS (3), SECONDS_EACH (5), SIZE (1024), OUTSTANDING ("1 64").
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target=$here/../../../target/etcd-load
program=$here/../../../target/release/unanimous
json=
disk=$PWD
runs=${RUNS:-3}
seconds=${SECONDS_EACH:-5}
size=${SIZE:-1024}
outstanding=${OUTSTANDING:-1 64}
while [ $# -gt 0 ]; do
    case $1 in
    --quick) runs=1 seconds=2 ;;
    --json) json=$(realpath -m "$2"); shift ;;
    --dir) disk=$2; shift ;;
    --program) program=$2; shift; [ -x "$program" ] || { echo "run.sh: $program is no program" >&2; exit 2; } ;;
    *) sed -n '2,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
    esac
    shift
done

fail() { echo "run.sh: $*" >&2; exit 1; }

missing=
for pair in etcd:etcd-server python3:python3; do
    command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair##*:}"
done
[ -z "$missing" ] || fail "something is missing; run: apt-get install$missing"
command -v cargo >/dev/null || fail "cargo is missing"
cargo build --quiet --release --locked --manifest-path "$here/load/Cargo.toml" --target-dir "$target"

work=$(mktemp -d "$disk/etcd-bench.XXXXXX")
nodes=()

clean_up() {
    trap - EXIT
    local pid
    for pid in "${nodes[@]}"; do kill -9 "$pid" 2>/dev/null || true; done
    for pid in "${nodes[@]}"; do wait "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# A loopback address of this run's own, so that two runs at once don't meet.
host=127.$(($$ >> 16 & 255)).$(($$ >> 8 & 255)).$(($$ & 255))
case $host in 127.0.0.[01]) host=127.1.0.1 ;; *.255) host=${host%.*}.254 ;; esac
members= endpoints=
for i in 1 2 3; do
    members="$members${members:+,}n$i=http://$host:$((2380 + i * 10))"
    endpoints="$endpoints${endpoints:+,}$host:$((2379 + i * 10))"
done
for i in 1 2 3; do
    etcd --name "n$i" --data-dir "$work/n$i" --initial-cluster "$members" --initial-cluster-state new \
        --initial-cluster-token "bench-$$" \
        --initial-advertise-peer-urls "http://$host:$((2380 + i * 10))" --listen-peer-urls "http://$host:$((2380 + i * 10))" \
        --advertise-client-urls "http://$host:$((2379 + i * 10))" --listen-client-urls "http://$host:$((2379 + i * 10))" \
        --quota-backend-bytes 8589934592 --logger zap --log-level error >"$work/n$i.log" 2>&1 &
    nodes+=($!)
done

disk() { python3 "$here/disk.py" "$work"; }

result() { # JSON
    echo "$1"
    [ -z "$json" ] || echo "$1" >>"$json"
}

measure() { # CONNECTIONS STREAMS
    local before run
    before=$(disk)
    run=$("$target/release/etcd-load" "$endpoints" --connections "$1" --streams "$2" --size "$size" --seconds "$seconds") ||
        fail "etcd did not take the load: $(tail -n 3 "$work"/n*.log)"
    result "${run%\}},\"encrypted\":false,\"disk_before_us\":$before,\"disk_after_us\":$(disk)}"
}

ours() { # OUTSTANDING SESSIONS
    [ -x "$program" ] || return 0
    for away in "" --away; do
        # A folder of the disk that is measured; etcd's nodes have nothing to do meanwhile. The socket's path has to be short.
        result "{\"system\":\"unanimous\",$("$program" bench kv --json --size "$size" --outstanding "$1" --sessions "$2" \
            --seconds "$seconds" --dir "$disk" $away | sed 's/^{//')"
    done
}

[ -z "$json" ] || : >"$json"
for run in $(seq "$runs"); do
    for n in $outstanding; do
        echo "run $run of $runs: $n outstanding, $size B" >&2
        # One connection with all, and as many connections: etcd is given what suits it better.
        measure 1 "$n"
        [ "$n" = 1 ] || measure "$n" 1
        ours "$n" 1
        [ "$n" = 1 ] || ours "$n" "$((n < 8 ? n : 8))"
    done
done
