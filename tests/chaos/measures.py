"""What a long run measures, in memory that does not grow with it."""

from __future__ import annotations

import math
import os
import subprocess
import threading
from collections import Counter
from pathlib import Path

_STEP = math.log(1.05)  # a bucket is 5 % wide


class Latencies:
    """How long operations took, in buckets; from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        """Count one operation."""
        bucket = math.ceil(math.log(max(seconds, 1e-6)) / _STEP)
        with self._lock:
            self._counts[bucket] += 1

    def merge(self, other: Latencies) -> None:
        """Count those of another too, which nobody adds to any more."""
        with self._lock:
            self._counts.update(other.buckets())

    def buckets(self) -> dict[int, int]:
        """The counts as they are, for another process."""
        return dict(self._counts)

    @classmethod
    def of(cls, buckets: dict[int, int]) -> Latencies:
        """What another process has counted."""
        made = cls()
        made._counts.update(buckets)
        return made

    def quantile_ms(self, share: float) -> float:
        """The milliseconds that this share of operations stayed within, at most 5 % too high; 0 for none."""
        left = share * self._counts.total()
        for bucket, count in sorted(self._counts.items()):
            left -= count
            if left <= 0:
                return 1000 * math.exp(bucket * _STEP)
        return 0.0


def memory_mib(pid: int | None = None) -> float:
    """The memory that a process has now, this one unless another is named; 0 where it has ended."""
    number = pid or os.getpid()
    told = Path(f"/proc/{number}/statm")
    if told.exists():
        return int(told.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    asking = ["/bin/ps", "-o", "rss=", "-p", str(number)]  # as on macOS
    return int(subprocess.run(asking, capture_output=True, text=True, check=False).stdout.strip() or 0) / 2**10
