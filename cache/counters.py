"""What happened, counted in this process."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Counts:
    """A snapshot.

    Attributes:
        hits: lookups that were answered.
        misses: lookups that were not.
        near_hits: entries that were read without asking the server (see `cache.near`).
        shared: hits that another caller's computation answered, before the store held them.
        stored: entries handed to the store and confirmed by it.
        made: values that had to be made upstream.
        saved_ms: what making the hits had taken when they were made.
        unreadable: entries that were there and could not be used, by reason.
        failures: operations that the store could not do, by reason.
        skipped: requests that were not cached on purpose, by reason.
    """

    hits: int = 0
    misses: int = 0
    near_hits: int = 0
    shared: int = 0
    stored: int = 0
    made: int = 0
    saved_ms: int = 0
    unreadable: dict[str, int] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)


class Counters:
    """Counts from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers: Counter[str] = Counter()
        self._reasons: dict[str, Counter[str]] = {"unreadable": Counter(), "failures": Counter(), "skipped": Counter()}

    def add(self, **numbers: int) -> None:
        """Add to the plain numbers of `Counts`, by name."""
        with self._lock:
            for name, n in numbers.items():
                self._numbers[name] += n

    def add_reason(self, what: str, reason: str, n: int = 1) -> None:
        """Add to one of the numbers by reason: `unreadable`, `failures` or `skipped`."""
        with self._lock:
            self._reasons[what][reason] += n

    def snapshot(self) -> Counts:
        """What was counted up to now."""
        with self._lock:
            values: dict[str, Any] = {what: dict(counter) for what, counter in self._reasons.items()}
            return Counts(**values | self._numbers)
