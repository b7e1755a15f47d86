"""What the disk under a folder needs to force a write: disk.py DIR.

Writes 1,200 bytes, about what a log takes for a value of 1 KiB, one after the other and forces each with fdatasync, for a
second each way: at the end of a file that grows (`append`), and into one that has been allocated before, as etcd's log
is (`allocated`). Prints the latencies in microseconds as JSON.
"""

import json
import os
import sys
import time

SECONDS = 1.0
ALLOCATED_BYTES = 64 << 20


def measure(path, allocated):
    block = os.urandom(1200)
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    latencies = []
    try:
        if allocated:
            os.posix_fallocate(file, 0, ALLOCATED_BYTES)
            os.fsync(file)
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            began = time.perf_counter()
            os.write(file, block)
            os.fdatasync(file)
            latencies.append(time.perf_counter() - began)
    finally:
        os.close(file)
        os.unlink(path)
    latencies.sort()

    def at(share):
        return round(latencies[min(len(latencies) - 1, int(len(latencies) * share))] * 1e6)

    return {"count": len(latencies), "p50": at(0.5), "p99": at(0.99), "max": at(1)}


def main():
    path = os.path.join(sys.argv[1], "disk-probe")
    print(json.dumps({"append": measure(path, False), "allocated": measure(path, True)}))


if __name__ == "__main__":
    main()
