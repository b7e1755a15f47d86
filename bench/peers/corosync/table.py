"""Medians of the runs and their ratios: table.py RESULTS [JSON].

table.py --wait TIME FILE...: waits until each file of `cpg_bench watch` has a view of two members after TIME, and prints
the milliseconds until the last of them.
"""

import json
import statistics
import sys
import time


def read(path):
    """The runs' numbers by what was measured."""
    rates, latencies, failovers = {}, {}, []
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            result = json.loads(line)
            system, run = result["system"], result["run"]
            if system == "failover-corosync":
                failovers.append(run["ms"])
            elif system.startswith("latency-"):
                latencies.setdefault(system.removeprefix("latency-"), []).append(run["latency_us"])
            else:
                key = (result["size"], result["senders"], result["window"])
                rates.setdefault(key, {}).setdefault(system, []).append(run["msgs_per_s"])
    return rates, latencies, failovers


def wait(since, paths):
    """The milliseconds from `since` until every file has its view."""
    patience = time.monotonic() + 60
    views = []
    while len(views) < len(paths) and time.monotonic() < patience:
        time.sleep(0.05)
        views = []
        for path in paths:
            with open(path, encoding="utf-8") as lines:
                seen = [json.loads(line) for line in lines if line.endswith("\n")]
            views += [view["at"] for view in seen if view["members"] == 2 and view["at"] > since][:1]
    if len(views) < len(paths):
        sys.exit("no view came within a minute")
    return (max(views) - since) * 1000


def main():
    if sys.argv[1] == "--wait":
        print(json.dumps({"ms": wait(float(sys.argv[2]), sys.argv[3:])}))
        return
    rates, latencies, failovers = read(sys.argv[1])
    rows = []
    for (size, senders, window), systems in sorted(rates.items()):
        median = {system: statistics.median(runs) for system, runs in systems.items()}
        ours, plain, crypto = (
            median.get(name, float("nan")) for name in ("unanimous", "corosync", "corosync-encrypted")
        )
        rows.append({
            "size": size, "senders": senders, "window": window, "unanimous": ours, "corosync": plain,
            "corosync_encrypted": crypto, "ratio": ours / plain, "ratio_encrypted": ours / crypto,
            "runs": min(len(runs) for runs in systems.values()),
        })
    times = {
        system: {what: statistics.median(run[what] for run in runs) for what in ("p50", "p99", "max")}
        for system, runs in latencies.items()
    }
    print("Totally ordered messages per second at one of three members; medians. unanimous: TLS 1.3, the first")
    print("sender away from the sequencer. Corosync: knet, without encryption and with AES-256 and SHA-256.")
    print(f"{'SIZE':>6} {'SENDERS':>8} {'WINDOW':>7} {'unanimous':>10} {'corosync':>10} {'encrypted':>10}"
          f" {'RATIO':>7} {'to encr.':>9}")
    for row in rows:
        print(f"{row['size']:>6} {row['senders']:>8} {row['window']:>7} {row['unanimous']:>10.0f}"
              f" {row['corosync']:>10.0f} {row['corosync_encrypted']:>10.0f}"
              f" {row['ratio']:>7.1f} {row['ratio_encrypted']:>9.1f}")
    print("Latency to own delivery, 1 KiB, one message at a time, us:")
    for system, time in sorted(times.items()):
        print(f"  {system:<16} p50 {time['p50']:>7.0f}  p99 {time['p99']:>7.0f}  max {time['max']:>8.0f}")
    if failovers:
        print("Corosync, kill -9 of a node to the last survivor's view, ms:",
              " ".join(f"{ms:.0f}" for ms in sorted(failovers)))
    if len(sys.argv) > 2:
        with open(sys.argv[2], "w", encoding="utf-8") as out:
            json.dump({"throughput": rows, "latency_us": times, "corosync_failover_ms": failovers}, out, indent=1)


if __name__ == "__main__":
    main()
