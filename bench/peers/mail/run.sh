#!/usr/bin/env bash
# Measures Dovecot (LMTP and IMAP, to maildir and to mdbox) and Postfix in front of it, and `unanimous bench mail` in turns with
# them: the same client, the same disk, one run. Prints one table with ratios. Runs as root, because Dovecot and Postfix
# do; configures, stores and logs in a folder of its own, on a loopback address of its own, and installs nothing:
#
#   bench/peers/mail/run.sh [--quick] [--json FILE] [--dir DIR] [--program PROGRAM]
#
# --dir: on which disk (a folder is made in it, and removed; default: /tmp). Others than root have to get there. --quick: two
# seconds each, once. --program: ours, which is also the client (default: the one in target/release).
# Environment: RUNS (3), SECONDS_EACH (4), SIZE (4096), CONNECTIONS ("20,200"), PEERS ("maildir mdbox postfix").
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
program=$here/../../../target/release/unanimous
json=
disk=/tmp
runs=${RUNS:-3}
seconds=${SECONDS_EACH:-4}
size=${SIZE:-4096}
connections=${CONNECTIONS:-20,200}
peers=${PEERS:-maildir mdbox postfix}
while [ $# -gt 0 ]; do
    case $1 in
    --quick) runs=1 seconds=2 ;;
    --json) json=$(realpath -m "$2"); shift ;;
    --dir) disk=$2; shift ;;
    --program) program=$2; shift ;;
    *) sed -n '2,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
    esac
    shift
done

fail() { echo "run.sh: $*" >&2; exit 1; }

missing=
for pair in /usr/sbin/dovecot:dovecot-core /usr/lib/dovecot/lmtp:dovecot-lmtpd /usr/lib/dovecot/imap:dovecot-imapd \
    /usr/sbin/postfix:postfix /usr/bin/python3:python3; do
    [ -x "${pair%%:*}" ] || missing="$missing ${pair##*:}"
done
[ -z "$missing" ] || fail "something is missing; run: apt-get install$missing"
[ "$(id -u)" = 0 ] || fail "run this as root"
[ -x "$program" ] || fail "$program is not there; run: cargo build --release"

work=$(mktemp -d "$disk/mail-bench.XXXXXX")
chmod 755 "$work"
results=$work/results

clean_up() {
    trap - EXIT
    stop_postfix
    stop_dovecot
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# A loopback address of this run's own, so that two runs at once don't meet.
host=127.$(($$ >> 16 & 255)).$(($$ >> 8 & 255)).$(($$ & 255))
case $host in 127.0.0.[01]) host=127.1.0.1 ;; *.255) host=${host%.*}.254 ;; esac
lmtp=$host:2424 imap=$host:11143 smtp=$host:2525

within() { # SECONDS COMMAND...: until it succeeds
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || fail "this never came true: $*; $(tail -n 3 "$work"/*.log 2>/dev/null)"
        sleep 0.05
    done
}

listens() { # HOST:PORT
    (exec 3<>"/dev/tcp/${1%:*}/${1##*:}") 2>/dev/null
}

start_dovecot() { # maildir|mdbox
    mkdir -p "$work/dovecot/base" "$work/dovecot/state" "$work/mail"
    chown 5000:5000 "$work/mail"
    local location='maildir:~/Maildir'
    [ "$1" = maildir ] || location='mdbox:~/mdbox'
    sed "s#@WORK@#$work#g; s#@HOST@#$host#g; s#@LOCATION@#$location#" "$here/dovecot.conf.in" >"$work/dovecot.conf"
    /usr/sbin/dovecot -c "$work/dovecot.conf"
    within 10 listens "$lmtp"
    within 10 listens "$imap"
}

gone() { # PID
    ! kill -0 "$1" 2>/dev/null
}

# Stops the process that a file names, if there is one, and waits until it is gone.
stop() { # FILE
    [ -f "$1" ] || return 0
    local pid
    pid=$(tr -d ' ' <"$1")
    kill "$pid" 2>/dev/null || return 0
    within 20 gone "$pid"
}

stop_dovecot() {
    stop "$work/dovecot/base/master.pid"
    rm -rf "$work/dovecot" "$work/mail"
}

start_postfix() {
    local etc=$work/postfix/etc spool=$work/postfix/spool data=$work/postfix/data
    mkdir -p "$etc" "$spool" "$data"
    chown postfix "$data"
    local from file
    for from in /usr/share/postfix /etc/postfix; do
        for file in postfix-files dynamicmaps.cf post-install postfix-script postfix-files.d dynamicmaps.cf.d; do
            [ ! -e "$from/$file" ] || cp -r "$from/$file" "$etc/"
        done
    done
    sed "s#@WORK@#$work#g; s#@HOST@#$host#g; s#@LMTP@#$lmtp#g" "$here/main.cf.in" >"$etc/main.cf"
    # SMTP on a port of its own; nothing in a jail.
    sed -E "s/^smtp      inet .*/$smtp inet n - n - - smtpd/; s/^([a-z]+ +unix +[-yn]+ +[-yn]+ +)y/\1n/" \
        /usr/share/postfix/master.cf.dist >"$etc/master.cf"
    postfix -c "$etc" start >"$work/start.log" 2>&1 || fail "Postfix does not start: $(cat "$work/start.log" "$work/postfix.log" 2>/dev/null)"
    within 10 listens "$smtp"
}

stop_postfix() {
    [ -d "$work/postfix" ] || return 0
    stop "$work/postfix/spool/pid/master.pid"
    rm -rf "$work/postfix"
}

drained() {
    [ -z "$(find "$work"/postfix/spool/{incoming,active,deferred,maildrop} -type f 2>/dev/null | head -n 1)" ]
}

load() { # SYSTEM ARGS...: what the client says, with the system's name
    local system=$1
    shift
    local said
    said=$("$program" bench mail --json --size "$size" --seconds "$seconds" --rounds 1 --dir "$disk" "$@") ||
        fail "$system did not take the load: $(tail -n 3 "$work"/*.log 2>/dev/null)"
    echo "{\"system\":\"$system\",${said#\{}" >>"$results"
}

measure_dovecot() { # maildir|mdbox
    start_dovecot "$1"
    load "Dovecot, $1" --connections "$connections" --against "lmtp=$lmtp,imap=$imap"
    stop_dovecot
}

# What Postfix accepts, and, from the first letter until its queue is empty, what has arrived in Dovecot.
measure_postfix() {
    start_dovecot maildir
    start_postfix
    local n began
    for n in ${connections//,/ }; do
        began=$(date +%s.%N)
        load Postfix --connections "$n" --against "smtp=$smtp"
        within 600 drained
        echo "{\"system\":\"Postfix and Dovecot, maildir\",\"drained_s\":$(python3 -c "print($(date +%s.%N) - $began)")}" >>"$results"
    done
    stop_postfix
    stop_dovecot
}

for run in $(seq "$runs"); do
    for peer in $peers; do
        echo "run $run of $runs: $peer" >&2
        case $peer in
        maildir | mdbox) measure_dovecot "$peer" ;;
        postfix) measure_postfix ;;
        *) fail "PEERS: maildir, mdbox and postfix are known, not $peer" ;;
        esac
    done
    echo "run $run of $runs: unanimous" >&2
    load unanimous --connections "$connections"
done
[ -z "$json" ] || cp "$results" "$json"
python3 "$here/table.py" "$results"
