"""The contract of a store: LangChain's `ByteStore` verbs, a time to live, and a few reads for administration."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from langchain_core.stores import ByteStore
from typing_extensions import override

from cache.closing import Closing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from cache.stores.blocks import Block

    Payload = bytes | memoryview
    Holder = tuple[str, bytes]  # the key of an entry, and the token of who has its lease
    Tell = Callable[[Sequence[str] | None], None]


class Store(Closing, ByteStore):
    """Bytes by key, for a bounded time.

    Every verb that takes N keys is one round trip. Every verb may raise a `StoreError`; a miss is `None`, never an
    error. Each has an `a` twin of the same meaning that never blocks the event loop. A store is reached at its first
    verb, not when it is built.
    """

    gathers_reads: bool = False
    """Whether reads that are asked for in one tick of a loop are better one: where each is a round trip."""

    @abstractmethod
    def mget(self, keys: Sequence[str], *, expect_bytes: int = 0) -> list[bytes | None]:
        """Read the values of keys, in their order; `None` where there is none.

        Args:
            keys: what to read; none is allowed and touches nothing.
            expect_bytes: how many bytes may come back, for the deadline.
        """

    @abstractmethod
    async def amget(self, keys: Sequence[str], *, expect_bytes: int = 0) -> list[bytes | None]:
        """Asynchronous twin of `mget`."""

    def mget_block(self, keys: Sequence[str], *, size_bytes: int) -> list[bytes | None] | Block:
        """Read values as `mget` does, most likely all there and of one size: then a store may give them in one piece.

        Args:
            keys: what to read.
            size_bytes: of each value.
        """
        return self.mget(keys, expect_bytes=len(keys) * size_bytes)

    async def amget_block(self, keys: Sequence[str], *, size_bytes: int) -> list[bytes | None] | Block:
        """Asynchronous twin of `mget_block`."""
        return await self.amget(keys, expect_bytes=len(keys) * size_bytes)

    @abstractmethod
    def mset(self, key_value_pairs: Sequence[tuple[str, Payload]], *, ttl_s: int | None = None) -> None:
        """Write values with one time to live in seconds; `None` keeps them until they are evicted or replaced.

        A value and its expiry are written together or not at all; the pairs of one call are not one transaction.
        """

    @abstractmethod
    async def amset(self, key_value_pairs: Sequence[tuple[str, Payload]], *, ttl_s: int | None = None) -> None:
        """Asynchronous twin of `mset`."""

    @abstractmethod
    def mdelete(self, keys: Sequence[str]) -> None:
        """Delete keys; absent ones are no error."""

    @abstractmethod
    async def amdelete(self, keys: Sequence[str]) -> None:
        """Asynchronous twin of `mdelete`."""

    def replace(self, key: str, old: bytes | None, new: Payload, *, ttl_s: int) -> bool:
        """Write a value where the present one is `old`: where nobody has changed it since it was read.

        A store that cannot have both done at once reads and then writes.

        Args:
            key: what is written.
            old: what was read; `None` where there was nothing.
            new: not empty.
            ttl_s: as of `mset`.

        Returns:
            Whether it was written; it was not where there is another value meanwhile.
        """
        if self.mget([key]) != [old]:
            return False
        self.mset([(key, new)], ttl_s=ttl_s)
        return True

    async def areplace(self, key: str, old: bytes | None, new: Payload, *, ttl_s: int) -> bool:
        """Asynchronous twin of `replace`."""
        if await self.amget([key]) != [old]:
            return False
        await self.amset([(key, new)], ttl_s=ttl_s)
        return True

    @abstractmethod
    def mpeek(self, keys: Sequence[str], n_bytes: int) -> list[bytes | None]:
        """Read the first bytes of the values of keys; `None` where there is none, or no string."""

    @abstractmethod
    async def ampeek(self, keys: Sequence[str], n_bytes: int) -> list[bytes | None]:
        """Asynchronous twin of `mpeek`."""

    @abstractmethod
    def yield_keys(self, *, prefix: str | None = None) -> Iterator[str]:
        """Go through the keys that begin with `prefix`, without blocking the server; each is given once.

        Keys that come or go meanwhile may or may not be given.
        """

    @abstractmethod
    def ayield_keys(self, *, prefix: str | None = None) -> AsyncIterator[str]:
        """Asynchronous twin of `yield_keys`."""

    @abstractmethod
    def ping(self) -> None:
        """Return when the store answers; raise a `StoreError` when it does not."""

    @abstractmethod
    async def aping(self) -> None:
        """Asynchronous twin of `ping`."""

    def info(self) -> dict[str, str]:
        """What the server says of itself, flat, with `n_keys` added; empty where there is no server."""
        return {}

    async def ainfo(self) -> dict[str, str]:
        """Asynchronous twin of `info`."""
        return {}

    def servers_of(self, keys: Sequence[str]) -> list[str]:
        """Name the server that each key is asked of, so that one that fails can be left alone, and only it.

        Asks nobody. A store on one server, and one that does not know yet, has no names: `""`. An error that is of one
        server alone bears its name (`StoreError.server`).
        """
        return [""] * len(keys)

    def ping_server(self, server: str) -> None:  # noqa: ARG002  one server has no names
        """Return when this server answers; raise a `StoreError` when it does not. Blocks; for probing."""
        self.ping()

    @override
    def close(self) -> None:
        """Give back what the store itself opened. The store can be used again afterwards."""


class Tracking(ABC):
    """Tells in the background of every key that anybody changes, deletes or lets expire, by its beginning.

    What is told comes in the order in which it happened. Whenever something may have been missed, everything is said
    to have changed.
    """

    @abstractmethod
    def want(self, prefixes: Sequence[str]) -> None:
        """Have it told of keys that begin with these, from as soon as can be; asks nobody itself."""

    @property
    @abstractmethod
    def prefixes(self) -> tuple[str, ...]:
        """The beginnings of the keys that are told of now; none while nothing is."""

    @property
    @abstractmethod
    def proven_s(self) -> float:
        """A moment, on the monotonic clock, up to which all has been told; minus infinity while nothing is."""

    @abstractmethod
    def close(self) -> None:
        """Tell of nothing any more, until something is wanted again."""


class TrackedStore(Store):
    """A store on servers that can tell which keys are changed."""

    @abstractmethod
    def track(self, tell: Tell) -> Tracking:
        """Have changes told, once something is wanted.

        Args:
            tell: called in another thread with the keys that have changed, or with `None` for all; must not block.
        """


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of trying to get the lease of a key.

    Attributes:
        is_held: whether it is the caller's; `None` where the store cannot say.
        value: of the key, read after the lease was taken: what an earlier holder has stored is there.
    """

    is_held: bool | None
    value: bytes | None = None


class LeasingStore(Store):
    """A store where it can be agreed on who computes the value of a key; a lease is no entry and no key of this store.

    Of one key there are leases or replacements (`replace`), not both.

    Attributes:
        is_shared: whether other processes see it, so that there is something to agree on.
    """

    is_shared: bool = True

    @abstractmethod
    def acquire(self, key: str, token: bytes, *, life_ms: int) -> Attempt:
        """Take the lease of a key for so many milliseconds, if nobody has it, and read the key, in one round trip.

        Args:
            key: of the entry.
            token: tells one holder from another; with the same one a lease is taken again.
            life_ms: after which it ends, unless it is renewed.
        """

    @abstractmethod
    async def aacquire(self, key: str, token: bytes, *, life_ms: int) -> Attempt:
        """Asynchronous twin of `acquire`."""

    @abstractmethod
    def renew(self, holders: Sequence[Holder], *, life_ms: int) -> list[bool]:
        """Have leases live anew; False for each that is not the holder's any more."""

    @abstractmethod
    async def arenew(self, holders: Sequence[Holder], *, life_ms: int) -> list[bool]:
        """Asynchronous twin of `renew`."""

    @abstractmethod
    def release(self, holders: Sequence[Holder]) -> None:
        """Give back leases; those of other holders stay."""

    @abstractmethod
    async def arelease(self, holders: Sequence[Holder]) -> None:
        """Asynchronous twin of `release`."""

    @abstractmethod
    def settle(self, key_value_pairs: Sequence[tuple[str, Payload]], holder: Holder, *, ttl_s: int) -> None:
        """Write values as `mset` does and give back a lease, in one round trip; a lease that stays is no error."""

    @abstractmethod
    async def asettle(self, key_value_pairs: Sequence[tuple[str, Payload]], holder: Holder, *, ttl_s: int) -> None:
        """Asynchronous twin of `settle`."""
