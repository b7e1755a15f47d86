#!/usr/bin/env bash
# Measures Corosync's process groups and `unanimous bench cast` over the same three network namespaces, in turns, and
# prints one table of ratios, and JSON beside it. Installs nothing. Run as root:
#
#   bench/peers/corosync/run.sh [--quick] [--json FILE] [--program PATH]
#
# --quick: 64 B and 64 KiB, window 64, one run each. Environment: RUNS (3), SECONDS_EACH (3), FAILOVERS (3), SIZES, WINDOWS, SENDERS.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
program=$here/../../../target/release/unanimous
json=
sizes=${SIZES:-64 1024 8192 65536}
windows=${WINDOWS:-64 500}
senders=${SENDERS:-1 3}
runs=${RUNS:-3}
seconds=${SECONDS_EACH:-3}
failovers=${FAILOVERS:-3}
while [ $# -gt 0 ]; do
    case $1 in
    --quick) sizes="64 65536" windows=64 runs=1 seconds=2 failovers=1 ;;
    --json) json=$2; shift ;;
    --program) program=$2; shift ;;
    *) sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
    esac
    shift
done

fail() { echo "run.sh: $*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || fail "run it as root: it makes network namespaces"
missing=
for pair in corosync:corosync gcc:gcc ip:iproute2 unshare:util-linux python3:python3; do
    command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair##*:}"
done
[ -e /usr/include/corosync/cpg.h ] || missing="$missing libcpg-dev"
[ -z "$missing" ] || fail "something is missing; run: apt-get install$missing"
[ -x "$program" ] || fail "build the program first: cargo build --release (looked for $program)"

work=$(mktemp -d)
id=cs$$
names=("${id}n1" "${id}n2" "${id}n3")
addresses=(10.77.8.1 10.77.8.2 10.77.8.3)
nodes=()

stop_corosync() {
    local pid
    for pid in "${nodes[@]}"; do kill -9 "$pid" 2>/dev/null || true; done
    for pid in "${nodes[@]}"; do wait "$pid" 2>/dev/null || true; done
    nodes=()
}

clean_up() {
    trap - EXIT
    stop_corosync
    local pid
    for pid in $(jobs -p); do kill -9 "$pid" 2>/dev/null || true; done
    for name in "${names[@]}"; do ip netns del "$name" 2>/dev/null || true; done
    ip link del "${id}b" 2>/dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

make_namespaces() {
    ip link add "${id}b" type bridge
    ip link set "${id}b" up
    local i
    for i in 0 1 2; do
        ip netns add "${names[i]}"
        ip link add "${id}v$i" type veth peer name eth0 netns "${names[i]}"
        ip link set "${id}v$i" master "${id}b" up
        ip -n "${names[i]}" link set lo up
        ip -n "${names[i]}" addr add "${addresses[i]}/24" dev eth0
        ip -n "${names[i]}" link set eth0 up
    done
}

configuration() { # TRANSPORT CIPHER HASH
    echo "totem {
  version: 2
  cluster_name: bench
  transport: $1
  crypto_cipher: $2
  crypto_hash: $3
  keyfile: $work/authkey
}
nodelist {"
    local i
    for i in 0 1 2; do
        echo "  node {
    ring0_addr: ${addresses[i]}
    name: n$((i + 1))
    nodeid: $((i + 1))
  }"
    done
    echo "}
quorum {
  provider: corosync_votequorum
}
logging {
  to_stderr: no
  to_syslog: no
  to_logfile: yes
  logfile: /run/corosync.log
}"
}

start_corosync() { # TRANSPORT CIPHER HASH
    configuration "$@" >"$work/corosync.conf"
    local i
    for i in 0 1 2; do
        # Each has its own /run and /var/lib/corosync, so that three run on one machine.
        rm -rf "$work/n$i"
        mkdir -p "$work/n$i/run" "$work/n$i/lib"
        ip netns exec "${names[i]}" unshare -m sh -c "mount --bind '$work/n$i/run' /run &&
            mount --bind '$work/n$i/lib' /var/lib/corosync &&
            exec corosync -f -c '$work/corosync.conf'" >"$work/n$i/out" 2>&1 &
        nodes+=($!)
    done
    # A run of one message at a time returns as soon as the three nodes form one ring.
    cpg latency 64 10 >/dev/null || fail "Corosync did not form: $(tail -n 3 "$work"/n*/out "$work"/n*/run/corosync.log 2>/dev/null)"
}

# One client at each node; gives what the one at node 3 printed (throughput) or the sender's line (latency).
cpg() { # throughput SENDERS SIZE WINDOW | latency SIZE CASTS
    local i pids=() tries=0
    for i in 0 1 2; do
        local sends=0 arguments
        case $1 in
        throughput) [ "$i" -lt "$2" ] && sends=1; arguments="throughput 3 $2 $sends $3 $4 $seconds" ;;
        latency) [ "$i" = 0 ] && sends=1; arguments="latency 3 $sends $2 $3" ;;
        esac
        # The nodes answer when they are up, not before.
        (
            until ip netns exec "${names[i]}" timeout 120 "$work/cpg_bench" $arguments \
                >"$work/cpg$i" 2>"$work/cpg$i.err"; do
                tries=$((tries + 1))
                if [ $tries -ge 100 ] || ! grep -q cpg_initialize "$work/cpg$i.err"; then exit 1; fi
                sleep 0.1
            done
        ) &
        pids+=($!)
    done
    for i in "${pids[@]}"; do wait "$i" || { cat "$work"/cpg*.err >&2; return 1; }; done
    if [ "$1" = latency ]; then cat "$work/cpg0"; else cat "$work/cpg2"; fi
}

unanimous() { # SENDERS SIZE WINDOW LATENCY_CASTS [more flags]
    local n=$1 size=$2 window=$3 casts=$4
    shift 4
    "$program" bench cast --json --senders "$n" --size "$size" --window "$window" --seconds "$seconds" \
        --latency-casts "$casts" --netns "$(IFS=,; echo "${names[*]}")" \
        --addresses "$(IFS=,; echo "${addresses[*]}")" "$@"
}

# Kills a node's Corosync; prints how long the clients at the others waited for their view, in ms.
failover() {
    local i at watchers=()
    start_corosync knet none none
    for i in 0 1 2; do
        ip netns exec "${names[i]}" "$work/cpg_bench" watch 3 >"$work/watch$i" &
        watchers+=($!)
    done
    for i in 0 1 2; do until grep -q '"members":3' "$work/watch$i"; do sleep 0.05; done; done
    at=$(python3 -c 'import time; print(time.clock_gettime(time.CLOCK_MONOTONIC))')
    kill -9 "${nodes[2]}"
    # A member that joined sees two members before it sees three: only what comes after the kill counts.
    python3 "$here/table.py" --wait "$at" "$work/watch0" "$work/watch1"
    for i in "${watchers[@]}"; do kill -9 "$i" 2>/dev/null || true; done
    stop_corosync
}

note() { # SYSTEM SENDERS SIZE WINDOW JSON
    echo "{\"system\":\"$1\",\"senders\":$2,\"size\":$3,\"window\":$4,\"run\":$5}" >>"$work/results"
}

every_load() { # COMMAND...: called with SENDERS SIZE WINDOW for each
    local size n window
    for size in $sizes; do for n in $senders; do for window in $windows; do
        echo "  $* : $n sender(s), $size B, window $window" >&2
        "$@" "$n" "$size" "$window"
    done; done; done
}

ours() { note unanimous "$1" "$2" "$3" "$(unanimous "$1" "$2" "$3" 0 --away)"; }
theirs() { local system=$1; shift; note "$system" "$1" "$2" "$3" "$(cpg throughput "$1" "$2" "$3")"; }

gcc -O2 -Wall -Wextra -o "$work/cpg_bench" "$here/cpg_bench.c" -lcpg
head -c 128 /dev/urandom >"$work/authkey"
chmod 400 "$work/authkey"
make_namespaces

for run in $(seq "$runs"); do
    echo "run $run of $runs" >&2
    every_load ours
    note latency-unanimous 1 1024 1 "$(unanimous 1 1024 1 2000 --away)"
    start_corosync knet none none
    every_load theirs corosync
    note latency-corosync-knet 1 1024 1 "$(cpg latency 1024 2000)"
    stop_corosync
    start_corosync knet aes256 sha256
    every_load theirs corosync-encrypted
    stop_corosync
    start_corosync udpu none none
    note latency-corosync-udpu 1 1024 1 "$(cpg latency 1024 2000)"
    stop_corosync
done

for trial in $(seq "$failovers"); do
    echo "failover $trial of $failovers" >&2
    failover >"$work/waited"
    note failover-corosync 0 0 0 "$(cat "$work/waited")"
done
[ "$failovers" = 0 ] || "$program" bench failover --trials "$failovers" >&2

python3 "$here/table.py" "$work/results" ${json:+"$json"}
