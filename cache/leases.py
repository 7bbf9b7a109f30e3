"""Leases: how processes agree on who computes the value of a key.

A lease names its holder by a random token and ends by itself soon after a holder has died. As long as one computes, a
thread in the background renews what is held, and gives back what is not needed any more, so that no caller pays for it.
Without an answer of the store there is no lease, and each process computes once.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
import uuid
import weakref
from collections import defaultdict
from typing import TYPE_CHECKING

from cache.breaker import Direction
from cache.errors import StoreError
from cache.stores.base import Attempt, LeasingStore
from cache.wrappers import FailOpenStore, SafeStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cache.flight import Lead
    from cache.guard import Part
    from cache.stores.base import Holder, Payload

_log = logging.getLogger("resumecache")
LIFE_S = 3.0
_RENEWALS_IN_LIFE = 3


class SafeLeases:
    """The leases of a store that fails open: where it cannot be asked there is none; failures are counted.

    Args:
        store: what the cache stores with.
        inner: the store below it.
    """

    def __init__(self, store: FailOpenStore, inner: LeasingStore) -> None:
        self._store = store
        self._inner = inner
        self._guard = store.guard

    @classmethod
    def of(cls, store: SafeStore) -> SafeLeases | None:
        """The leases of a store; `None` where it has none, or nobody else to agree with."""
        if not isinstance(store, FailOpenStore):
            return None
        inner = store.inner
        return cls(store, inner) if isinstance(inner, LeasingStore) and inner.is_shared else None

    def acquire(self, key: str, token: bytes, *, life_ms: int) -> Attempt:
        """Try to take a lease (see `LeasingStore.acquire`)."""
        with self._guarded([key]) as part:
            if part.positions:
                return self._inner.acquire(key, token, life_ms=life_ms)
        return Attempt(is_held=None)

    async def aacquire(self, key: str, token: bytes, *, life_ms: int) -> Attempt:
        """Asynchronous twin of `acquire`."""
        with self._guarded([key]) as part:
            if part.positions:
                return await self._inner.aacquire(key, token, life_ms=life_ms)
        return Attempt(is_held=None)

    def renew(self, leases: list[Lease], *, life_ms: int) -> list[bool]:
        """Have leases live anew; False for each that is known to be lost."""
        part = self._guard.part([lease.key for lease in leases], Direction.WRITE)
        if not part.positions:
            return [True] * len(leases)
        try:
            are_held: list[bool | None] = [*self._inner.renew(_holders(part.of(leases)), life_ms=life_ms)]
        except StoreError as error:
            are_held = self._guard.failed(error, Direction.WRITE, part)
        else:
            self._guard.succeeded(Direction.WRITE, part)
        return [is_held is not False for is_held in part.spread(are_held)]

    def release(self, leases: list[Lease]) -> None:
        """Give back leases; one that the store cannot be told of ends by itself."""
        with self._guarded([lease.key for lease in leases]) as part:
            if part.positions:
                self._inner.release(_holders(part.of(leases)))

    def settle(self, lease: Lease, pairs: Sequence[tuple[str, Payload]], *, ttl_s: int) -> bool:
        """Write values and give back a lease; True only when the store has confirmed all of them."""
        if not self._guard.part([lease.key], Direction.WRITE).positions:
            return self._store.save(pairs, ttl_s=ttl_s)
        part = self._guard.part([key for key, _ in pairs], Direction.WRITE)
        try:
            self._inner.settle(part.of(pairs), lease.holder, ttl_s=ttl_s)
        except StoreError as error:
            return self._guard.not_stored(error, part)
        lease.settled()
        return self._guard.stored(part)

    async def asettle(self, lease: Lease, pairs: Sequence[tuple[str, Payload]], *, ttl_s: int) -> bool:
        """Asynchronous twin of `settle`."""
        if not self._guard.part([lease.key], Direction.WRITE).positions:
            return await self._store.asave(pairs, ttl_s=ttl_s)
        part = self._guard.part([key for key, _ in pairs], Direction.WRITE)
        try:
            await self._inner.asettle(part.of(pairs), lease.holder, ttl_s=ttl_s)
        except StoreError as error:
            return self._guard.not_stored(error, part)
        lease.settled()
        return self._guard.stored(part)

    @contextlib.contextmanager
    def _guarded(self, keys: list[str]) -> Iterator[Part]:
        """What may be asked for; an error of the store ends the block, and is counted."""
        part = self._guard.part(keys, Direction.WRITE)
        try:
            yield part
        except StoreError as error:
            self._guard.failed(error, Direction.WRITE, part)
        else:
            self._guard.succeeded(Direction.WRITE, part)


def _holders(leases: Sequence[Lease]) -> list[Holder]:
    return [lease.holder for lease in leases]


class Lease:
    """The lease of one key for one computation, whoever in this process leads it.

    Args:
        leases: of the store where it stands.
        key: of the entry.
        keeper: renews it and gives it back.

    Attributes:
        token: tells it from those of other holders.
        is_held: whether it is renewed.
        may_be_ours: whether the store may know it; a command whose answer got lost may have been done.
        lead: of the caller that computes.
    """

    def __init__(self, leases: SafeLeases, key: str, keeper: LeaseKeeper) -> None:
        self.leases = leases
        self.key = key
        self.token = uuid.uuid4().hex.encode()
        self.is_held = False
        self.may_be_ours = False
        self.lead: Lead | None = None
        self._keeper = keeper

    @property
    def is_stalled(self) -> bool:
        """Whether nobody knows when its holder will go on (see `Lead.is_stalled`)."""
        return self.lead is not None and self.lead.is_stalled

    @property
    def holder(self) -> Holder:
        """The key and the token."""
        return self.key, self.token

    def keep(self, for_s: float) -> None:
        """Have it renewed, for so many seconds at most: a holder that hangs may not keep it for ever."""
        self.is_held = True
        self._keeper.keep(self, until_s=time.monotonic() + for_s)

    def settled(self) -> None:
        """Take note that it was given back with the value."""
        self.is_held = self.may_be_ours = False
        self._keeper.forget(self)

    def give_back(self) -> None:
        """Have it given back in the background."""
        if self.may_be_ours:
            self.is_held = self.may_be_ours = False
            self._keeper.give_back(self)


class LeaseKeeper:
    """Renews leases and gives them back, in a thread that lives while there is something to do.

    Args:
        life_s: seconds that a lease lives; it is renewed at a third of that.
    """

    def __init__(self, *, life_s: float = LIFE_S) -> None:
        self.life_ms = round(1000 * life_s)
        self._pause_s = life_s / _RENEWALS_IN_LIFE
        self._renew_all()
        _keepers.add(self)

    def _renew_all(self) -> None:
        """Start with nothing, as a forked child must: what its parent holds the parent renews."""
        self._changed = threading.Condition()
        self._held: dict[Lease, float] = {}
        self._to_release: list[Lease] = []
        self._is_running = False

    def keep(self, lease: Lease, *, until_s: float) -> None:
        """Renew a lease until then, on the monotonic clock."""
        with self._changed:
            self._held[lease] = until_s
            self._start()

    def forget(self, lease: Lease) -> None:
        """Renew a lease no longer."""
        with self._changed:
            self._held.pop(lease, None)

    def give_back(self, lease: Lease) -> None:
        """Renew a lease no longer, and tell the store."""
        with self._changed:
            self._held.pop(lease, None)
            self._to_release.append(lease)
            self._start()
            self._changed.notify_all()

    @property
    def is_idle(self) -> bool:
        """Whether all that was given back has been told to the store."""
        return not self._to_release

    def wait_until_idle(self, wait_s: float) -> None:
        """Wait until all that was given back has been told to the store, at most so many seconds."""
        with self._changed:
            self._changed.wait_for(lambda: not self._to_release, wait_s)

    def _start(self) -> None:
        if self._is_running:
            return
        try:
            threading.Thread(target=self._run, name="resumecache-leases", daemon=True).start()
        except RuntimeError:  # no thread to be had, as at the end of the process: leases end by themselves
            self._to_release.clear()
            return
        self._is_running = True

    def _run(self) -> None:
        renew_s = time.monotonic() + self._pause_s
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._to_release, renew_s - time.monotonic())
                releasing = list(self._to_release)
                is_due = time.monotonic() >= renew_s
                if not releasing and is_due and not self._held:
                    self._is_running = False
                    return
            try:
                self._release(releasing)
                if is_due:
                    self._renew()
            except Exception:  # noqa: BLE001  whatever it is, the thread goes on: leases end by themselves
                _log.warning("leases could not be told to the store", exc_info=True)
            if is_due:
                renew_s = time.monotonic() + self._pause_s

    def _release(self, leases: list[Lease]) -> None:
        try:
            for store, some in _by_store(leases).items():
                store.release(some)
        finally:
            with self._changed:
                del self._to_release[: len(leases)]
                self._changed.notify_all()

    def _renew(self) -> None:
        now_s = time.monotonic()
        with self._changed:
            rows = self._held.items()
            self._held = {lease: until_s for lease, until_s in rows if now_s < until_s and not lease.is_stalled}
            held = list(self._held)
        for store, some in _by_store(held).items():
            for lease, is_held in zip(some, store.renew(some, life_ms=self.life_ms), strict=True):
                if not is_held:  # it had ended, and another process may compute too: both answers are right
                    self.forget(lease)


def _by_store(leases: list[Lease]) -> dict[SafeLeases, list[Lease]]:
    """Leases by their store: one round trip each."""
    found: defaultdict[SafeLeases, list[Lease]] = defaultdict(list)
    for lease in leases:
        found[lease.leases].append(lease)
    return found


_keepers: weakref.WeakSet[LeaseKeeper] = weakref.WeakSet()


def _renew_after_fork() -> None:
    for keeper in list(_keepers):
        keeper._renew_all()  # noqa: SLF001  a lock held by another thread at the fork would stay locked


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_renew_after_fork)
