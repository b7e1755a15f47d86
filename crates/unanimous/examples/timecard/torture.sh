#!/usr/bin/env bash
# Runs the time-card service on a cluster of this machine, kills members and sites with SIGKILL every few seconds,
# and checks every answer to QUERIES queries with the files. Exit status 0: all complete and right.
#
#   cargo build --release --bin unanimous && cargo build --release -p unanimous --example timecard
#   crates/unanimous/examples/timecard/torture.sh [QUERIES [MEMBER_SECONDS [SITE_SECONDS]]]
set -euo pipefail

queries=${1:-100000}
member_seconds=${2:-2}
site_seconds=${3:-7}
root=$(cd "$(dirname "$0")/../../../.." && pwd)
target=${TARGET_DIR:-$root/target/${PROFILE:-release}}
work=$(mktemp -d)
members=4

"$target/unanimous" up --respawn --dir "$work/cluster" > "$work/up.out" 2>&1 &
up=$!
finish() {
    touch "$work/over"
    kill "$up" $(cat "$work"/member-*.pid 2> /dev/null) 2> /dev/null || true
    wait 2> /dev/null || true
    echo "kills: $(cat "$work/kills" 2> /dev/null | sort | uniq -c | tr '\n' ' ')"
    echo "what members and sites said is in $work"
}
trap finish EXIT

for _ in $(seq 1 300); do
    [ -f "$work/cluster/cluster.json" ] && break
    sleep 0.1
done

# A member that ends, for whatever reason, is started again. Each prefers another site.
member() {
    local sites=()
    for step in 0 1 2; do
        sites+=(--site "unix:$work/cluster/site-$((($1 + step) % 3 + 1))/session.sock")
    done
    until [ -e "$work/over" ]; do
        "$target/examples/timecard" "${sites[@]}" serve >> "$work/member-$1.out" 2>&1 &
        echo $! > "$work/member-$1.pid"
        wait $! 2> /dev/null || true
        sleep 0.2
    done
}
for number in $(seq 1 "$members"); do
    member "$number" &
done

kill_members() {
    until [ -e "$work/over" ]; do
        sleep "$member_seconds"
        kill -KILL "$(cat "$work/member-$((RANDOM % members + 1)).pid")" 2> /dev/null && echo member >> "$work/kills"
    done
}
kill_sites() {
    until [ -e "$work/over" ]; do
        sleep "$site_seconds"
        local site=$((RANDOM % 3 + 1))
        # The site says in its own file who it is in this life.
        local running
        running=$(find "$work/cluster/site-$site" -name running.json -exec cat {} + | head -n 1)
        [[ $running =~ \"pid\":([0-9]+) ]] || continue
        kill -KILL "${BASH_REMATCH[1]}" 2> /dev/null && echo "site-$site" >> "$work/kills"
    done
}
kill_members &
kill_sites &

"$target/examples/timecard" --dir "$work/cluster" torture --queries "$queries" --patience 120 \
    ${VERBOSE:+--verbose}
