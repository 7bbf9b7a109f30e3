"""Time as a dependency, so that tests move it instead of sleeping."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the cache asks of time."""

    def now_s(self) -> float:
        """Seconds since the epoch, for what is stored."""

    def monotonic_s(self) -> float:
        """Seconds from an arbitrary start that never go back, for what is measured."""


class SystemClock:
    """The machine's own clocks."""

    def now_s(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic_s(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()
