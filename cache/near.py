"""`NearStore`: a store that answers from this process what it has read from its server before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self
from weakref import WeakValueDictionary

from typing_extensions import override

from cache.counters import Counters
from cache.errors import PartialFailureError, StoreError
from cache.forking import ForkLock
from cache.gathering import amget_together
from cache.near_cache import NearCache
from cache.sealed_store import SealedStore
from cache.stores.base import Attempt, LeasingStore, Store, TrackedStore
from cache.stores.forwarding import ForwardingLeasingStore, ForwardingStore

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence
    from types import TracebackType

    from cache.stores.base import Holder, Payload


class NearStore(ForwardingStore):
    """Reads what is near without a round trip, and the rest in one; keeps near what it has read.

    Only whole and fresh entries of kinds that do not change under their keys are kept; all other keys and values are
    read from the server each time. What this store deletes or writes is not served from near any more when the verb
    returns; for what others delete see `cache.near_cache`. No read that is answered from near waits for anything.

    Args:
        inner: the store on the server, or one that seals what is there; what is opened is kept.
        near: what is kept, shared by all stores of this process on the server.
        counters: where it is counted what was near.

    Attributes:
        tracked: who talks to the server, and has changes told.

    Raises:
        TypeError: changes on the server are not told.
    """

    def __init__(self, inner: Store, near: NearCache, *, counters: Counters | None = None) -> None:
        super().__init__(inner)
        tracked = server_store(inner)
        if not isinstance(tracked, TrackedStore):
            raise TypeError(f"expected a store on servers that tell of changes, got {type(tracked).__name__}")
        self.tracked = tracked
        self.near = near
        self.counters = counters or Counters()

    def counted_by(self, counters: Counters) -> NearStore:
        """The same store, counting elsewhere."""
        return _around(self.inner, self.near, counters=counters)

    @override
    def mget(self, keys: Sequence[str], *, expect_bytes: int = 0) -> list[bytes | None]:
        values = self._read_near(keys)
        if None not in values:
            return values
        with _Reading(self, keys, values) as reading:
            reading.take(self.inner.mget(reading.missing, expect_bytes=reading.share_of(expect_bytes)))
        return values

    @override
    async def amget(self, keys: Sequence[str], *, expect_bytes: int = 0) -> list[bytes | None]:
        values = self._read_near(keys)
        if None not in values:
            return values
        with _Reading(self, keys, values) as reading:
            share = reading.share_of(expect_bytes)
            reading.take(await amget_together(self.inner, reading.missing, expect_bytes=share))
        return values

    def _read_near(self, keys: Sequence[str]) -> list[bytes | None]:
        values = self.near.read(keys)
        n_near = len(values) - values.count(None)
        if n_near:
            self.counters.add(near_hits=n_near)
        return values

    @override
    def mset(self, key_value_pairs: Sequence[tuple[str, Payload]], *, ttl_s: int | None = None) -> None:
        try:
            self.inner.mset(key_value_pairs, ttl_s=ttl_s)
        finally:  # what failed may have been done
            self.near.drop([key for key, _ in key_value_pairs])

    @override
    async def amset(self, key_value_pairs: Sequence[tuple[str, Payload]], *, ttl_s: int | None = None) -> None:
        try:
            await self.inner.amset(key_value_pairs, ttl_s=ttl_s)
        finally:
            self.near.drop([key for key, _ in key_value_pairs])

    @override
    def mdelete(self, keys: Sequence[str]) -> None:
        try:
            self.inner.mdelete(keys)
        finally:
            self.near.drop(keys)

    @override
    async def amdelete(self, keys: Sequence[str]) -> None:
        try:
            await self.inner.amdelete(keys)
        finally:
            self.near.drop(keys)

    @override
    def replace(self, key: str, old: bytes | None, new: Payload, *, ttl_s: int) -> bool:
        try:
            return self.inner.replace(key, old, new, ttl_s=ttl_s)
        finally:
            self.near.drop([key])

    @override
    async def areplace(self, key: str, old: bytes | None, new: Payload, *, ttl_s: int) -> bool:
        try:
            return await self.inner.areplace(key, old, new, ttl_s=ttl_s)
        finally:
            self.near.drop([key])

    @override
    def close(self) -> None:
        self.near.leave(self.tracked)
        super().close()

    @override
    async def aclose(self) -> None:
        self.near.leave(self.tracked)
        await super().aclose()


class _Reading:
    """A block in which what is not near is read from the server.

    Args:
        store: who reads.
        keys: what is asked for.
        values: what is near, in the order of the keys; the rest is put in.

    Attributes:
        missing: the keys that are not near.
    """

    def __init__(self, store: NearStore, keys: Sequence[str], values: list[bytes | None]) -> None:
        self._values = values
        self._positions = [n for n, value in enumerate(values) if value is None]
        self.missing = [keys[n] for n in self._positions]
        self._fetch = store.near.fetching(store.tracked, self.missing)

    def share_of(self, n_bytes: int) -> int:
        """How many bytes of so many are to be read."""
        return n_bytes * len(self.missing) // len(self._values)

    def take(self, values: Sequence[bytes | None]) -> None:
        """Put what was read in its places, and keep it."""
        for position, value in zip(self._positions, values, strict=True):
            self._values[position] = value
        self._fetch.keep(self.missing, values)

    def __enter__(self) -> Self:
        self._fetch.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """A failing server does not take away what was near."""
        if isinstance(error, PartialFailureError):
            self.take(error.values)
        self._fetch.__exit__(kind, error, trace)
        n_near = len(self._values) - len(self._positions)
        if isinstance(error, StoreError) and n_near:
            failures, n_done = _outcome(error)
            raise PartialFailureError.of(failures, values=self._values, n_done=n_near + n_done) from error


def _outcome(error: StoreError) -> tuple[Sequence[StoreError], int]:
    """Who failed, and for how many keys it was done all the same."""
    return (error.failures, error.n_done) if isinstance(error, PartialFailureError) else ((error,), 0)


class NearLeasingStore(NearStore, ForwardingLeasingStore):
    """The same on a store where leases can be had.

    Args:
        inner: the store, which is a `LeasingStore`.
        near: as of `NearStore`.
        counters: as of `NearStore`.
    """

    inner: LeasingStore

    @override
    def acquire(self, key: str, token: bytes, *, life_ms: int) -> Attempt:
        return self.inner.acquire(key, token, life_ms=life_ms)

    @override
    async def aacquire(self, key: str, token: bytes, *, life_ms: int) -> Attempt:
        return await self.inner.aacquire(key, token, life_ms=life_ms)

    @override
    def settle(self, key_value_pairs: Sequence[tuple[str, Payload]], holder: Holder, *, ttl_s: int) -> None:
        try:
            self.inner.settle(key_value_pairs, holder, ttl_s=ttl_s)
        finally:
            self.near.drop([key for key, _ in key_value_pairs])

    @override
    async def asettle(self, key_value_pairs: Sequence[tuple[str, Payload]], holder: Holder, *, ttl_s: int) -> None:
        try:
            await self.inner.asettle(key_value_pairs, holder, ttl_s=ttl_s)
        finally:
            self.near.drop([key for key, _ in key_value_pairs])


def server_store(store: Store) -> Store:
    """The store below those that keep entries near or seal them: who talks to the server."""
    while isinstance(store, NearStore | SealedStore):
        store = store.inner
    return store


def near_store(inner: Store, max_bytes: int, *, server: Hashable = None) -> Store:
    """A store that keeps near what it reads; the store itself where nothing is to be kept, or changes are not told.

    Args:
        inner: the store.
        max_bytes: how much memory may be used; 0 is none.
        server: what tells the server, who is logged in there, and what opens entries from others: equal ones share
            what is kept, and the connection that changes are told on. `None` shares with nobody.
    """
    if not max_bytes or not isinstance(server_store(inner), TrackedStore):
        return inner
    near = NearCache(max_bytes) if server is None else _shared(server, max_bytes)
    return _around(inner, near)


def _around(inner: Store, near: NearCache, *, counters: Counters | None = None) -> NearStore:
    if isinstance(inner, LeasingStore):
        return NearLeasingStore(inner, near, counters=counters)
    return NearStore(inner, near, counters=counters)


def _shared(server: Hashable, max_bytes: int) -> NearCache:
    with _lock:
        near = _by_server.get((server, max_bytes))
        if near is None:
            near = _by_server[server, max_bytes] = NearCache(max_bytes)
        return near


_by_server: WeakValueDictionary[tuple[Hashable, int], NearCache] = WeakValueDictionary()
_lock = ForkLock()
