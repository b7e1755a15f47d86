"""One table of what run.sh has measured: table.py FILE.

The file has a line of JSON for each load of a system. Of several runs the median is taken. A ratio is ours to the peer's.
"""

import json
import statistics
import sys

OURS = "unanimous"
# A letter that Postfix has accepted is in its queue; it has arrived when it is in Dovecot.
THROUGH = "Postfix and Dovecot, maildir"


def read(path):
    """(what, connections) -> system -> [(per second, p50, p99)]"""
    rows = {}
    accepted = None
    with open(path, encoding="utf-8") as file:
        for line in file:
            said = json.loads(line)
            if "drained_s" in said:
                rate = accepted["done"] / said["drained_s"]
                key = ("SMTP", accepted["connections"])
                rows.setdefault(key, {}).setdefault(THROUGH, []).append((rate, None, None))
                continue
            for row in said["rows"]:
                accepted = row
                key = (row["what"], row["connections"])
                measured = (row["per_s"]["median"], row["latency_us"]["p50"], row["latency_us"]["p99"])
                rows.setdefault(key, {}).setdefault(said["system"], []).append(measured)
    return rows


def middle(runs, at):
    values = [run[at] for run in runs if run[at] is not None]
    return statistics.median(values) if values else None


def number(value):
    return "" if value is None else f"{value:,.0f}"


def spread(runs):
    rates = [run[0] for run in runs]
    return f"{number(min(rates))} to {number(max(rates))}"


def main():
    head = ["what", "connections", "system", "a second", "of the runs", "p50 µs", "p99 µs", "ratio"]
    table = [head, ["---"] * len(head)]
    for (what, connections), systems in read(sys.argv[1]).items():
        # Ours is last, below what it is compared with.
        for system in sorted(systems, key=lambda name: name == OURS):
            runs = systems[system]
            rate = middle(runs, 0)
            ours = systems.get(OURS)
            ratio = f"{middle(ours, 0) / rate:.1f}" if ours and system != OURS else ""
            figures = [number(rate), spread(runs), number(middle(runs, 1)), number(middle(runs, 2))]
            table.append([what, str(connections), system, *figures, ratio])
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    for row in table:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |")


if __name__ == "__main__":
    main()
