"""A store around another one, which does whatever its subclass does not do itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from cache.stores.base import LeasingStore, Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from cache.stores.base import Holder


class ForwardingStore(Store):
    """Hands on what is neither read nor written whole: deleting, looking around, asking how the server is.

    Args:
        inner: the store that does it.
    """

    def __init__(self, inner: Store) -> None:
        self.inner = inner

    @override
    def mdelete(self, keys: Sequence[str]) -> None:
        self.inner.mdelete(keys)

    @override
    async def amdelete(self, keys: Sequence[str]) -> None:
        await self.inner.amdelete(keys)

    @override
    def mpeek(self, keys: Sequence[str], n_bytes: int) -> list[bytes | None]:
        return self.inner.mpeek(keys, n_bytes)

    @override
    async def ampeek(self, keys: Sequence[str], n_bytes: int) -> list[bytes | None]:
        return await self.inner.ampeek(keys, n_bytes)

    @override
    def yield_keys(self, *, prefix: str | None = None) -> Iterator[str]:
        return self.inner.yield_keys(prefix=prefix)

    @override
    def ayield_keys(self, *, prefix: str | None = None) -> AsyncIterator[str]:
        return self.inner.ayield_keys(prefix=prefix)

    @override
    def ping(self) -> None:
        self.inner.ping()

    @override
    async def aping(self) -> None:
        await self.inner.aping()

    @override
    def servers_of(self, keys: Sequence[str]) -> list[str]:
        return self.inner.servers_of(keys)

    @override
    def ping_server(self, server: str) -> None:
        self.inner.ping_server(server)

    @override
    def info(self) -> dict[str, str]:
        return self.inner.info()

    @override
    async def ainfo(self) -> dict[str, str]:
        return await self.inner.ainfo()

    @override
    def close(self) -> None:
        self.inner.close()

    @override
    async def aclose(self) -> None:
        await self.inner.aclose()


class ForwardingLeasingStore(ForwardingStore, LeasingStore):
    """The same around a store where leases can be had: they are tokens, and nobody's value.

    Args:
        inner: the store that does it.
    """

    inner: LeasingStore

    def __init__(self, inner: LeasingStore) -> None:
        super().__init__(inner)
        self.is_shared = inner.is_shared

    @override
    def renew(self, holders: Sequence[Holder], *, life_ms: int) -> list[bool]:
        return self.inner.renew(holders, life_ms=life_ms)

    @override
    async def arenew(self, holders: Sequence[Holder], *, life_ms: int) -> list[bool]:
        return await self.inner.arenew(holders, life_ms=life_ms)

    @override
    def release(self, holders: Sequence[Holder]) -> None:
        self.inner.release(holders)

    @override
    async def arelease(self, holders: Sequence[Holder]) -> None:
        await self.inner.arelease(holders)
