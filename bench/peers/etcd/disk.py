"""What the disk under a folder needs to force a write: disk.py DIR.

Writes 1,200 bytes, about what a log takes for a value of 1 KiB, at the end of a file and forces it with fdatasync, one
after the other for a second and a half; prints the latencies in microseconds as JSON.
"""

import json
import os
import sys
import time

SECONDS = 1.5


def main():
    path = os.path.join(sys.argv[1], "disk-probe")
    block = os.urandom(1200)
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    latencies = []
    try:
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
    at = lambda share: round(latencies[min(len(latencies) - 1, int(len(latencies) * share))] * 1e6)
    print(json.dumps({"count": len(latencies), "p50": at(0.5), "p99": at(0.99), "max": at(1)}))


if __name__ == "__main__":
    main()
