"""A cache's part in the flights of its store: a missed key is computed by one caller, the others get what it stores.

What is handed from caller to caller is the entry as it is stored, so each decodes it for itself: what it gets is as
much its own as a hit is, also where the store is down and the entry was never stored.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakKeyDictionary

from cache.flight import Flights, Level, Turn, Wait, await_first, flow_to_wait, may_wait, own_lead, wait_for_first
from cache.wrappers import ByteStoreAdapter, DisabledStore, FailOpenStore, SafeStore

if TYPE_CHECKING:
    from collections.abc import Generator

    from cache.settings import CacheSettings


Command: TypeAlias = Wait


class Coalescer:
    """Has one caller compute what many miss at once.

    Args:
        level: the kind of value.
        store: what the cache stores with; where it is switched off, everybody computes for itself.
        settings: how long a caller waits.
    """

    def __init__(self, level: Level, store: SafeStore, settings: CacheSettings) -> None:
        self.flights = flights_of(store)
        self._level = level
        self._store = store
        self._wait_s = settings.flight_wait_s
        self._is_off = isinstance(store, DisabledStore)

    def ticket(self) -> int:
        """A moment, to be taken before a key is looked up."""
        return self.flights.ticket()

    def turn(self, key: str, ticket: int) -> Turn:
        """What the caller is to do about a key that it has missed; waits for whoever computes it.

        Args:
            key: what was missed.
            ticket: taken before the key was looked up.
        """
        if self._is_off:
            return None
        with contextlib.closing(self._flow(key, ticket, is_blocking=True)) as flow:
            answer = None
            while True:
                try:
                    command = flow.send(answer)
                except StopIteration as done:
                    return done.value  # type: ignore[no-any-return]  # StopIteration is not generic
                answer = self._do(command)

    async def aturn(self, key: str, ticket: int) -> Turn:
        """Asynchronous twin of `turn`."""
        if self._is_off:
            return None
        with contextlib.closing(self._flow(key, ticket, is_blocking=False)) as flow:
            answer = None
            while True:
                try:
                    command = flow.send(answer)
                except StopIteration as done:
                    return done.value  # type: ignore[no-any-return]  # as above
                answer = await self._ado(command)

    def save(self, key: str, entry: bytes, *, ttl_s: int) -> bool:
        """Store an entry and hand it to all who wait for this caller; True only when the store has confirmed it."""
        try:
            return self._store.save([(key, entry)], ttl_s=ttl_s)
        finally:  # also for a caller that is cancelled meanwhile: the entry is there
            self._land(key, entry)

    async def asave(self, key: str, entry: bytes, *, ttl_s: int) -> bool:
        """Asynchronous twin of `save`."""
        try:
            return await self._store.asave([(key, entry)], ttl_s=ttl_s)
        finally:
            self._land(key, entry)

    def part(self, key: str) -> None:
        """Leave those who wait for this caller to themselves: what it found is not to be stored."""
        lead = own_lead(self.flights, key)
        if lead is not None:
            lead.part()

    def _flow(self, key: str, ticket: int, *, is_blocking: bool) -> Generator[Command, Any, Turn]:
        may = may_wait(self._level, is_blocking=is_blocking)
        return flow_to_wait(self.flights, key, self._level, ticket=ticket, wait_s=self._wait_s, may_wait=may)

    def _do(self, command: Command) -> Any:
        match command:
            case Wait(waiters, wait_s):
                return wait_for_first(waiters, wait_s)

    async def _ado(self, command: Command) -> Any:
        match command:
            case Wait(waiters, wait_s):
                return await await_first(waiters, wait_s)

    def _land(self, key: str, entry: bytes) -> None:
        lead = own_lead(self.flights, key)
        if lead is not None:
            lead.land(entry)


def flights_of(store: SafeStore) -> Flights:
    """The flights of the store below: caches on one store share them, as they share its breaker."""
    below: object = store.inner if isinstance(store, FailOpenStore) else store
    below = below.inner if isinstance(below, ByteStoreAdapter) else below
    with _lock:
        try:
            return _flights.setdefault(below, Flights())
        except TypeError:  # a foreign store that cannot be a key: its caches do not share
            return Flights()


_flights: WeakKeyDictionary[object, Flights] = WeakKeyDictionary()
_lock = threading.Lock()
