"""A cache's part in the flights of its store: a missed key is computed by one caller, the others get what it stores.

What is handed from caller to caller is the entry as it is stored, so each decodes it for itself: what it gets is as
much its own as a hit is, also where the store is down and the entry was never stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakKeyDictionary

from cache.flight import (
    Flights,
    Landed,
    Lead,
    Level,
    Turn,
    Wait,
    await_first,
    flow_to_wait,
    may_wait,
    own_lead,
    wait_for_first,
)
from cache.forking import ForkLock
from cache.leases import Lease, LeaseKeeper, SafeLeases
from cache.near import server_store
from cache.wrappers import ByteStoreAdapter, DisabledStore, FailOpenStore, SafeStore

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from cache.settings import CacheSettings
    from cache.stores.base import Attempt


_FIRST_PAUSE_S = 0.01
_LONGEST_PAUSE_S = 0.1


@dataclass(frozen=True, slots=True)
class Acquire:
    """Try to take a lease; the answer is an `Attempt`."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait for so many seconds; nothing is answered."""

    seconds: float


Command: TypeAlias = Wait | Acquire | Pause


class Coalescer:
    """Has one caller compute what many miss at once.

    Args:
        level: the kind of value.
        store: what the cache stores with; where it is switched off, everybody computes for itself.
        settings: how long a caller waits.
    """

    def __init__(self, level: Level, store: SafeStore, settings: CacheSettings) -> None:
        shared = _shared_of(store)
        self.flights = shared.flights
        self.keeper = shared.keeper
        self._level = level
        self._store = store
        self._leases = SafeLeases.of(store)
        self._wait_s = settings.flight_wait_s
        self._is_off = isinstance(store, DisabledStore)

    def ticket(self) -> int:
        """A moment, to be taken before a key is looked up."""
        return self.flights.ticket()

    def turn(self, key: str, ticket: int, known: bytes | None = None) -> Turn:
        """What the caller is to do about a key that it has missed; waits for whoever computes it.

        Args:
            key: what was missed.
            ticket: taken before the key was looked up.
            known: what was found then, and could not be used.
        """
        if self._is_off:
            return None
        with contextlib.closing(self._flow(key, ticket, known, is_blocking=True)) as flow:
            answer = None
            while True:
                try:
                    command = flow.send(answer)
                except StopIteration as done:
                    return done.value  # type: ignore[no-any-return]  # StopIteration is not generic
                answer = self._do(command)

    async def aturn(self, key: str, ticket: int, known: bytes | None = None) -> Turn:
        """Asynchronous twin of `turn`."""
        if self._is_off:
            return None
        with contextlib.closing(self._flow(key, ticket, known, is_blocking=False)) as flow:
            answer = None
            while True:
                try:
                    command = flow.send(answer)
                except StopIteration as done:
                    return done.value  # type: ignore[no-any-return]  # as above
                answer = await self._ado(command)

    def save(self, key: str, entry: bytes, *, ttl_s: int) -> bool:
        """Store an entry and hand it to all who wait for this caller; True only when the store has confirmed it."""
        return self.settle(own_lead(self.flights, key), [(key, entry)], ttl_s=ttl_s)

    async def asave(self, key: str, entry: bytes, *, ttl_s: int) -> bool:
        """Asynchronous twin of `save`."""
        return await self.asettle(own_lead(self.flights, key), [(key, entry)], ttl_s=ttl_s)

    def settle(self, lead: Lead | None, pairs: Sequence[tuple[str, bytes]], *, ttl_s: int) -> bool:
        """Store entries, among them that of a lead, which is handed to all who wait.

        Args:
            lead: what the caller leads; `None` where it is on its own.
            pairs: keys and entries.
            ttl_s: seconds that they live.

        Returns:
            Whether the store has confirmed all of them.
        """
        lease = _lease_of(lead)
        try:
            if lease is None:
                return self._store.save(pairs, ttl_s=ttl_s)
            return lease.leases.settle(lease, pairs, ttl_s=ttl_s)
        finally:  # also for a caller that is cancelled meanwhile: the entry is there
            _land(lead, pairs)

    async def asettle(self, lead: Lead | None, pairs: Sequence[tuple[str, bytes]], *, ttl_s: int) -> bool:
        """Asynchronous twin of `settle`."""
        lease = _lease_of(lead)
        try:
            if lease is None:
                return await self._store.asave(pairs, ttl_s=ttl_s)
            return await lease.leases.asettle(lease, pairs, ttl_s=ttl_s)
        finally:
            _land(lead, pairs)

    def part(self, key: str) -> None:
        """Leave those who wait for this caller to themselves: what it found is not to be stored."""
        lead = own_lead(self.flights, key)
        if lead is not None:
            lead.part()

    def finish(self) -> None:
        """Wait a moment for what is told to the store in the background, before the store is closed."""
        self.keeper.wait_until_idle(_LONGEST_PAUSE_S)

    async def afinish(self) -> None:
        """Asynchronous twin of `finish`."""
        if not self.keeper.is_idle:
            await asyncio.to_thread(self.finish)

    def _flow(self, key: str, ticket: int, known: bytes | None, *, is_blocking: bool) -> Generator[Command, Any, Turn]:
        may = may_wait(self._level, is_blocking=is_blocking)
        turn = yield from flow_to_wait(self.flights, key, self._level, ticket=ticket, wait_s=self._wait_s, may_wait=may)
        if not isinstance(turn, Lead) or self._leases is None:
            return turn
        lease = turn.held if isinstance(turn.held, Lease) else Lease(self._leases, key, self.keeper)
        turn.held, lease.lead = lease, turn
        try:
            return (yield from self._take_lease(turn, lease, known, wait_s=self._wait_s if may else 0.0))
        except BaseException:
            turn.fail()
            raise

    def _take_lease(
        self, lead: Lead, lease: Lease, known: bytes | None, *, wait_s: float
    ) -> Generator[Command, Any, Turn]:
        """Lead with the lease, or take what its holder has stored; when the time is over, lead without it."""
        until_s, pause_s = time.monotonic() + wait_s, _FIRST_PAUSE_S
        while not lease.is_held:
            lease.may_be_ours = True
            attempt: Attempt = yield Acquire(lease)
            lease.may_be_ours = attempt.is_held is not False
            if attempt.value is not None and attempt.value != known:
                lead.land(attempt.value)
                return Landed(attempt.value)
            if attempt.is_held:
                lease.keep(self._wait_s)
            elif attempt.is_held is None or time.monotonic() >= until_s:
                return lead
            else:
                yield Pause(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        return lead

    def _do(self, command: Command) -> Any:
        match command:
            case Wait(waiters, wait_s):
                return wait_for_first(waiters, wait_s)
            case Acquire(lease):
                return lease.leases.acquire(lease.key, lease.token, life_ms=self.keeper.life_ms)
            case Pause(seconds):
                return time.sleep(seconds)

    async def _ado(self, command: Command) -> Any:
        match command:
            case Wait(waiters, wait_s):
                return await await_first(waiters, wait_s)
            case Acquire(lease):
                return await lease.leases.aacquire(lease.key, lease.token, life_ms=self.keeper.life_ms)
            case Pause(seconds):
                return await asyncio.sleep(seconds)


def _lease_of(lead: Lead | None) -> Lease | None:
    held = None if lead is None else lead.held
    return held if isinstance(held, Lease) and held.may_be_ours else None


def _land(lead: Lead | None, pairs: Sequence[tuple[str, bytes]]) -> None:
    entry = None if lead is None else dict(pairs).get(lead.key)
    if lead is not None and entry is not None:
        lead.land(entry)


def flights_of(store: SafeStore) -> Flights:
    """The flights of the store below: caches on one store share them, as they share its breaker."""
    return _shared_of(store).flights


@dataclass
class _Shared:
    flights: Flights = field(default_factory=Flights)
    keeper: LeaseKeeper = field(default_factory=LeaseKeeper)


def _shared_of(store: SafeStore) -> _Shared:
    below: object = server_store(store.inner) if isinstance(store, FailOpenStore) else store
    below = below.inner if isinstance(below, ByteStoreAdapter) else below
    with _lock:
        try:
            return _by_store.setdefault(below, _Shared())
        except TypeError:  # a foreign store that cannot be a key: its caches do not share
            return _Shared()


_by_store: WeakKeyDictionary[object, _Shared] = WeakKeyDictionary()
_lock = ForkLock()
