"""Stores around stores."""

from __future__ import annotations

import contextlib
import time
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from cache.breaker import Breaker, Breakers, Direction
from cache.clock import Clock, SystemClock
from cache.counters import Counters
from cache.errors import StoreConnectionError, StoreError
from cache.gathering import amget_together
from cache.guard import Guard, Part
from cache.stores.base import Store
from cache.stores.forwarding import ForwardingStore
from cache.stores.tombstones import keys_to_take_back, marks_of, taken_back

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from langchain_core.stores import ByteStore

    from cache.reporting import Reporter
    from cache.stores.base import Payload
    from cache.stores.blocks import Block


class SafeStore(Store):
    """A store that never fails the one it serves, and says whether a write was confirmed."""

    @abstractmethod
    def fetch(self, keys: Sequence[str], *, expect_bytes: int = 0) -> list[bytes | None]:
        """Read as `mget` does, for whom a miss and a failure are not the same.

        Raises:
            StoreError: the store could not do it, or is left alone because it could not before.
        """

    @abstractmethod
    async def afetch(self, keys: Sequence[str], *, expect_bytes: int = 0) -> list[bytes | None]:
        """Asynchronous twin of `fetch`."""

    @abstractmethod
    def save(self, key_value_pairs: Sequence[tuple[str, Payload]], *, ttl_s: int | None) -> bool:
        """Write as `mset` does; True only when the store has confirmed it."""

    @abstractmethod
    async def asave(self, key_value_pairs: Sequence[tuple[str, Payload]], *, ttl_s: int | None) -> bool:
        """Asynchronous twin of `save`."""


class FailOpenStore(ForwardingStore, SafeStore):
    """Turns every `StoreError` into a miss, or into nothing for a write; counts it and logs it by its reason.

    Once a server cannot be reached it is left alone until a probe in the background finds it back, so that after the
    first failure nobody waits for it. Where the store inside has several servers (`Store.servers_of`), each is left
    alone by itself: of a batch, only the keys of that server are misses or are not written. Deleting and going through
    keys are not covered: there an error shows.

    Args:
        inner: the store that may fail.
        counters: where failures are counted; an operation counts once for each server that failed it.
        breakers: those of another store on the same servers; `None` makes them.
        clock: where the time comes from.
        reporter: reports what caches on this store count, for the last time when the store is closed.

    Attributes:
        guard: for whoever asks the store inside by other verbs.
    """

    def __init__(
        self,
        inner: Store,
        *,
        counters: Counters | None = None,
        breakers: Breakers | None = None,
        clock: Clock | None = None,
        reporter: Reporter | None = None,
    ) -> None:
        super().__init__(inner)
        self.counters = counters or Counters()
        self.breakers = breakers or Breakers(inner.ping_server, clock=clock or SystemClock())
        self.guard = Guard(inner, self.counters, self.breakers)
        self.reporter = reporter

    @property
    def breaker(self) -> Breaker:
        """The breaker of the only server; of several, that of keys for which no server is known."""
        return self.breakers.of("")

    @override
    def mget(self, keys: Sequence[str], *, expect_bytes: int = 0) -> list[bytes | None]:
        part = self.guard.part(keys, Direction.READ)
        if not part.positions:
            return [None] * len(keys)
        try:
            values = self.inner.mget(part.of(keys), expect_bytes=expect_bytes)
        except StoreError as error:
            values = self.guard.failed(error, Direction.READ, part)
        else:
            self.guard.succeeded(Direction.READ, part)
        return part.spread(values)

    @override
    def mget_block(self, keys: Sequence[str], *, size_bytes: int) -> list[bytes | None] | Block:
        part = self.guard.part(keys, Direction.READ)
        if not part.is_all:
            return self.mget(keys, expect_bytes=len(keys) * size_bytes)
        try:
            values = self.inner.mget_block(keys, size_bytes=size_bytes)
        except StoreError as error:
            return self.guard.failed(error, Direction.READ, part)
        self.guard.succeeded(Direction.READ, part)
        return values

    @override
    async def amget(self, keys: Sequence[str], *, expect_bytes: int = 0) -> list[bytes | None]:
        part = self.guard.part(keys, Direction.READ)
        if not part.positions:
            return [None] * len(keys)
        try:
            values = await amget_together(self.inner, part.of(keys), expect_bytes=expect_bytes)
        except StoreError as error:
            values = self.guard.failed(error, Direction.READ, part)
        else:
            self.guard.succeeded(Direction.READ, part)
        return part.spread(values)

    @override
    def fetch(self, keys: Sequence[str], *, expect_bytes: int = 0) -> list[bytes | None]:
        part = self._all(keys, Direction.READ)
        try:
            values = self.inner.mget(keys, expect_bytes=expect_bytes)
        except StoreError as error:
            self.guard.failed(error, Direction.READ, part)
            raise
        self.guard.succeeded(Direction.READ, part)
        return values

    @override
    async def afetch(self, keys: Sequence[str], *, expect_bytes: int = 0) -> list[bytes | None]:
        part = self._all(keys, Direction.READ)
        try:
            values = await self.inner.amget(keys, expect_bytes=expect_bytes)
        except StoreError as error:
            self.guard.failed(error, Direction.READ, part)
            raise
        self.guard.succeeded(Direction.READ, part)
        return values

    @override
    def mset(self, key_value_pairs: Sequence[tuple[str, Payload]], *, ttl_s: int | None = None) -> None:
        self.save(key_value_pairs, ttl_s=ttl_s)

    @override
    async def amset(self, key_value_pairs: Sequence[tuple[str, Payload]], *, ttl_s: int | None = None) -> None:
        await self.asave(key_value_pairs, ttl_s=ttl_s)

    @override
    def save(self, key_value_pairs: Sequence[tuple[str, Payload]], *, ttl_s: int | None) -> bool:
        part = self.guard.part_to_write(key_value_pairs)
        if not part.positions:
            return not key_value_pairs
        try:
            self.inner.mset(part.of(key_value_pairs), ttl_s=ttl_s)
        except StoreError as error:
            return self.guard.not_stored(error, part)
        return self.guard.stored(part)

    @override
    async def asave(self, key_value_pairs: Sequence[tuple[str, Payload]], *, ttl_s: int | None) -> bool:
        part = self.guard.part_to_write(key_value_pairs)
        if not part.positions:
            return not key_value_pairs
        try:
            await self.inner.amset(part.of(key_value_pairs), ttl_s=ttl_s)
        except StoreError as error:
            return self.guard.not_stored(error, part)
        return self.guard.stored(part)

    @override
    def replace(self, key: str, old: bytes | None, new: Payload, *, ttl_s: int) -> bool:
        part = self._all([key], Direction.WRITE)
        try:
            is_done = self.inner.replace(key, old, new, ttl_s=ttl_s)
        except StoreError as error:
            self.guard.failed(error, Direction.WRITE, part)
            raise
        return self._replaced(part, is_done=is_done)

    @override
    async def areplace(self, key: str, old: bytes | None, new: Payload, *, ttl_s: int) -> bool:
        part = self._all([key], Direction.WRITE)
        try:
            is_done = await self.inner.areplace(key, old, new, ttl_s=ttl_s)
        except StoreError as error:
            self.guard.failed(error, Direction.WRITE, part)
            raise
        return self._replaced(part, is_done=is_done)

    @override
    def close(self) -> None:
        if self.reporter:
            self.reporter.close()
        self.breakers.close()
        super().close()

    @override
    async def aclose(self) -> None:
        if self.reporter:
            await self.reporter.aclose()
        self.breakers.close()
        await super().aclose()

    def _replaced(self, part: Part, *, is_done: bool) -> bool:
        if is_done:
            return self.guard.stored(part)
        self.guard.succeeded(Direction.WRITE, part)
        return False

    def _all(self, keys: Sequence[str], direction: Direction) -> Part:
        """All keys, where no server is left alone."""
        part = self.guard.part(keys, direction)
        if not part.is_all:
            raise _left_alone()
        return part


def _left_alone() -> StoreConnectionError:
    return StoreConnectionError("the server failed and is left alone until a probe finds it back", reason="left_alone")


def _off() -> StoreError:
    return StoreError("the cache is switched off", reason="off")


class DisabledStore(SafeStore):
    """A cache that is switched off: nothing is found, nothing is kept."""

    @override
    def mget(self, keys: Sequence[str], *, expect_bytes: int = 0) -> list[bytes | None]:
        return [None] * len(keys)

    @override
    async def amget(self, keys: Sequence[str], *, expect_bytes: int = 0) -> list[bytes | None]:
        return [None] * len(keys)

    @override
    def fetch(self, keys: Sequence[str], *, expect_bytes: int = 0) -> list[bytes | None]:
        return [None] * len(keys)

    @override
    async def afetch(self, keys: Sequence[str], *, expect_bytes: int = 0) -> list[bytes | None]:
        return [None] * len(keys)

    @override
    def mset(self, key_value_pairs: Sequence[tuple[str, Payload]], *, ttl_s: int | None = None) -> None:
        """Keep nothing."""

    @override
    async def amset(self, key_value_pairs: Sequence[tuple[str, Payload]], *, ttl_s: int | None = None) -> None:
        """Keep nothing."""

    @override
    def save(self, key_value_pairs: Sequence[tuple[str, Payload]], *, ttl_s: int | None) -> bool:
        return False

    @override
    async def asave(self, key_value_pairs: Sequence[tuple[str, Payload]], *, ttl_s: int | None) -> bool:
        return False

    @override
    def replace(self, key: str, old: bytes | None, new: Payload, *, ttl_s: int) -> bool:
        raise _off()

    @override
    async def areplace(self, key: str, old: bytes | None, new: Payload, *, ttl_s: int) -> bool:
        raise _off()

    @override
    def mdelete(self, keys: Sequence[str]) -> None:
        """Nothing is there to delete."""

    @override
    async def amdelete(self, keys: Sequence[str]) -> None:
        """Nothing is there to delete."""

    @override
    def mpeek(self, keys: Sequence[str], n_bytes: int) -> list[bytes | None]:
        return [None] * len(keys)

    @override
    async def ampeek(self, keys: Sequence[str], n_bytes: int) -> list[bytes | None]:
        return [None] * len(keys)

    @override
    def yield_keys(self, *, prefix: str | None = None) -> Iterator[str]:
        yield from ()

    @override
    async def ayield_keys(self, *, prefix: str | None = None) -> AsyncIterator[str]:
        for key in list[str]():
            yield key

    @override
    def ping(self) -> None:
        """Return: nothing can fail."""

    @override
    async def aping(self) -> None:
        """Return: nothing can fail."""


class ByteStoreAdapter(Store):
    """Any LangChain `ByteStore` as a store of ours.

    It knows no time to live, so entries are kept until somebody deletes them; what is too old is still not served,
    as each entry says itself how long it may be.

    Args:
        inner: the store; whatever it raises is a `StoreError` here.
    """

    def __init__(self, inner: ByteStore) -> None:
        self.inner = inner

    @override
    def mget(self, keys: Sequence[str], *, expect_bytes: int = 0) -> list[bytes | None]:
        with _foreign_errors():
            return _checked(self.inner.mget(keys), len(keys))

    @override
    async def amget(self, keys: Sequence[str], *, expect_bytes: int = 0) -> list[bytes | None]:
        with _foreign_errors():
            return _checked(await self.inner.amget(keys), len(keys))

    @override
    def mset(self, key_value_pairs: Sequence[tuple[str, Payload]], *, ttl_s: int | None = None) -> None:
        with _foreign_errors():
            self.inner.mset([(key, bytes(value)) for key, value in key_value_pairs])
        if marks := marks_of(key_value_pairs):
            lost = keys_to_take_back(marks, _standing(self.mget(list(marks))))
            self.mdelete(lost)
            if lost:
                raise taken_back()

    @override
    async def amset(self, key_value_pairs: Sequence[tuple[str, Payload]], *, ttl_s: int | None = None) -> None:
        with _foreign_errors():
            await self.inner.amset([(key, bytes(value)) for key, value in key_value_pairs])
        if marks := marks_of(key_value_pairs):
            lost = keys_to_take_back(marks, _standing(await self.amget(list(marks))))
            await self.amdelete(lost)
            if lost:
                raise taken_back()

    @override
    def mdelete(self, keys: Sequence[str]) -> None:
        with _foreign_errors():
            self.inner.mdelete(keys)

    @override
    async def amdelete(self, keys: Sequence[str]) -> None:
        with _foreign_errors():
            await self.inner.amdelete(keys)

    @override
    def mpeek(self, keys: Sequence[str], n_bytes: int) -> list[bytes | None]:
        return [(value or b"")[:n_bytes] or None for value in self.mget(keys)]

    @override
    async def ampeek(self, keys: Sequence[str], n_bytes: int) -> list[bytes | None]:
        return [(value or b"")[:n_bytes] or None for value in await self.amget(keys)]

    @override
    def yield_keys(self, *, prefix: str | None = None) -> Iterator[str]:
        with _foreign_errors():
            yield from self.inner.yield_keys(prefix=prefix)

    @override
    async def ayield_keys(self, *, prefix: str | None = None) -> AsyncIterator[str]:
        with _foreign_errors():
            async for key in self.inner.ayield_keys(prefix=prefix):
                yield key

    @override
    def ping(self) -> None:
        self.mget(["ping"])

    @override
    async def aping(self) -> None:
        await self.amget(["ping"])


def _standing(tombstones: list[bytes | None]) -> list[bytes | None]:
    """Those whose time is not over, which each says itself: this store keeps them for ever."""
    now = time.time()
    return [one if one is not None and not (one.isdigit() and int(one) < now) else None for one in tombstones]


def _checked(values: Any, n: int) -> list[bytes | None]:
    """What a foreign store read, if it is what the contract says; a client that decodes gives text, for example."""
    if not isinstance(values, list) or len(values) != n:
        raise TypeError(f"expected a list of {n} values, got {type(values).__name__}")
    if strange := [value for value in values if value is not None and not isinstance(value, bytes)]:
        raise TypeError(f"expected bytes, got {type(strange[0]).__name__}")
    return values


@contextlib.contextmanager
def _foreign_errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise StoreError(f"{type(error).__name__}: {error}", reason="foreign_store") from error
