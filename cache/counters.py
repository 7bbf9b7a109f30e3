"""What happened, counted in this process."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterable

from cache.forking import ForkLock


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

    @classmethod
    def of(cls, values: Any) -> Self:
        """From what `asdict` gave, as another process wrote it; what this version does not count is left out.

        Raises:
            TypeError, ValueError, AttributeError: it is something else.
        """
        counted: dict[str, Any] = {name: int(values.get(name, 0)) for name in _NUMBERS}
        for what in _REASONS:
            counted[what] = {str(reason): int(n) for reason, n in values.get(what, {}).items()}
        return cls(**counted)

    @classmethod
    def total(cls, several: Iterable[Counts]) -> Self:
        """The sum of several."""
        sums = Counters()
        for counts in several:
            values = asdict(counts)
            sums.add(**{name: values[name] for name in _NUMBERS})
            for what in _REASONS:
                for reason, n in values[what].items():
                    sums.add_reason(what, reason, n)
        return cls(**asdict(sums.snapshot()))


_REASONS = ("unreadable", "failures", "skipped")
_NUMBERS = ("hits", "misses", "near_hits", "shared", "stored", "made", "saved_ms")


class Counters:
    """Counts from any thread."""

    def __init__(self) -> None:
        self._lock = ForkLock()
        self._totals: tuple[Counters, ...] = ()
        self.reset()

    def reset(self) -> None:
        """Begin at zero, as a forked child does."""
        self._numbers: Counter[str] = Counter()
        self._reasons: dict[str, Counter[str]] = {what: Counter() for what in _REASONS}

    def add_total(self, total: Counters) -> None:
        """Have what is counted here from now on counted there too; once, however often it is said."""
        if total not in self._totals:
            self._totals += (total,)

    def add(self, **numbers: int) -> None:
        """Add to the plain numbers of `Counts`, by name."""
        with self._lock:
            for name, n in numbers.items():
                self._numbers[name] += n
        for total in self._totals:
            total.add(**numbers)

    def add_reason(self, what: str, reason: str, n: int = 1) -> None:
        """Add to one of the numbers by reason: `unreadable`, `failures` or `skipped`."""
        with self._lock:
            self._reasons[what][reason] += n
        for total in self._totals:
            total.add_reason(what, reason, n)

    def snapshot(self) -> Counts:
        """What was counted up to now."""
        with self._lock:
            values: dict[str, Any] = {what: dict(counter) for what, counter in self._reasons.items()}
            return Counts(**values | self._numbers)
