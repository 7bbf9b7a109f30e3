"""Which part of a batch is asked for: the keys of servers that are not left alone; and who failed at it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from cache.breaker import Breakers, Direction
from cache.errors import PartialFailureError, StoreError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from cache.counters import Counters
    from cache.stores.base import Store

T = TypeVar("T")
_FIRST = range(1)


class Part(NamedTuple):
    """What is asked for of a batch.

    Attributes:
        n_keys: how many keys the batch has.
        positions: which of them are asked for.
        servers: the servers that are asked.
    """

    n_keys: int
    positions: Sequence[int]
    servers: Collection[str]

    @property
    def is_all(self) -> bool:
        """Whether nothing of the batch is left out."""
        return len(self.positions) == self.n_keys

    def of(self, batch: Sequence[T]) -> Sequence[T]:
        """What is asked for."""
        return batch if self.is_all else [batch[n] for n in self.positions]

    def spread(self, values: list[T | None]) -> list[T | None]:
        """The values at their places in the batch, and `None` elsewhere."""
        if self.is_all:
            return values
        spread: list[T | None] = [None] * self.n_keys
        for position, value in zip(self.positions, values, strict=True):
            spread[position] = value
        return spread


class Guard:
    """Stands before a store that may fail: each of its servers that does is left alone by itself.

    Args:
        store: says which server a key is on.
        counters: where failures are counted; an operation counts once for each server that failed it.
        breakers: one for each server.
    """

    def __init__(self, store: Store, counters: Counters, breakers: Breakers) -> None:
        self._store = store
        self._counters = counters
        self._breakers = breakers

    def part(self, keys: Sequence[str], direction: Direction) -> Part:
        """Those keys whose servers are not left alone."""
        names = self._store.servers_of(keys)
        if len(names) == 1 and self._breakers.of(names[0]).allows(direction):  # the most common case, without detours
            return Part(1, _FIRST, names)
        servers = set(names)
        allowed = {name for name in servers if self._breakers.of(name).allows(direction)}
        if len(allowed) == len(servers):
            return Part(len(keys), range(len(keys)), allowed)
        return Part(len(keys), [n for n, name in enumerate(names) if name in allowed], allowed)

    def succeeded(self, direction: Direction, part: Part, *, but: Sequence[StoreError] = ()) -> None:
        """Take note of servers that did what they were asked: all but those that failed."""
        for server in set(part.servers) - {failure.server for failure in but} if but else part.servers:
            self._breakers.of(server).succeeded(direction)

    def failed(self, error: StoreError, direction: Direction, part: Part) -> list[Any]:
        """Take note of who failed and who did not.

        Returns:
            What was answered all the same, for each key that was asked for; `None` where nothing was.
        """
        failures = error.failures if isinstance(error, PartialFailureError) else (error,)
        for failure in failures:
            self._counters.add_reason("failures", failure.reason)
            self._breakers.of(failure.server).failed(failure, direction)
        if not isinstance(error, PartialFailureError):
            return [None] * len(part.positions)
        self.succeeded(direction, part, but=failures)
        return error.values

    def stored(self, part: Part) -> bool:
        """Take note of a write that was done; whether nothing was left out."""
        self.succeeded(Direction.WRITE, part)
        self._counters.add(stored=len(part.positions))
        return part.is_all

    def not_stored(self, error: StoreError, part: Part) -> bool:
        """Take note of a write that was not done, or not for all keys; False."""
        self.failed(error, Direction.WRITE, part)
        self._counters.add(stored=error.n_done if isinstance(error, PartialFailureError) else 0)
        return False
