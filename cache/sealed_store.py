"""Stores whose values are sealed on the way in and opened on the way out, whatever kind of entry they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from cache.errors import PartialFailureError
from cache.sealing import OVERHEAD_BYTES, Keyring
from cache.stores.base import Attempt, LeasingStore, Store
from cache.stores.forwarding import ForwardingLeasingStore, ForwardingStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cache.stores.base import Holder, Payload


class SealedStore(ForwardingStore):
    """Seals what is written and opens what is read; peeking sees headers, which stay readable.

    What does not open is given as bytes that are no entry, so that whoever reads it counts it as unreadable: what was
    forged, moved to another key or changed, and also what is plain, as everybody could have written it.

    Args:
        inner: where sealed values live.
        keyring: seals and opens.
    """

    def __init__(self, inner: Store, keyring: Keyring) -> None:
        super().__init__(inner)
        self.keyring = keyring
        self.gathers_reads = inner.gathers_reads

    @override
    def mget(self, keys: Sequence[str], *, expect_bytes: int = 0) -> list[bytes | None]:
        try:
            found = self.inner.mget(keys, expect_bytes=_sealed_size(keys, expect_bytes))
        except PartialFailureError as error:
            error.values = self.keyring.open(keys, error.values)
            raise
        return self.keyring.open(keys, found)

    @override
    async def amget(self, keys: Sequence[str], *, expect_bytes: int = 0) -> list[bytes | None]:
        try:
            found = await self.inner.amget(keys, expect_bytes=_sealed_size(keys, expect_bytes))
        except PartialFailureError as error:
            error.values = self.keyring.open(keys, error.values)
            raise
        return self.keyring.open(keys, found)

    @override
    def mset(self, key_value_pairs: Sequence[tuple[str, Payload]], *, ttl_s: int | None = None) -> None:
        self.inner.mset(self.keyring.seal(key_value_pairs), ttl_s=ttl_s)

    @override
    async def amset(self, key_value_pairs: Sequence[tuple[str, Payload]], *, ttl_s: int | None = None) -> None:
        await self.inner.amset(self.keyring.seal(key_value_pairs), ttl_s=ttl_s)

    @override
    def replace(self, key: str, old: bytes | None, new: Payload, *, ttl_s: int) -> bool:
        """Replace what lies there if it opens to `old`: the same value is sealed to other bytes each time."""
        [lying] = self.inner.mget([key])
        if self.keyring.open([key], [lying]) != [old]:
            return False
        return self.inner.replace(key, lying, self._sealed(key, new), ttl_s=ttl_s)

    @override
    async def areplace(self, key: str, old: bytes | None, new: Payload, *, ttl_s: int) -> bool:
        [lying] = await self.inner.amget([key])
        if self.keyring.open([key], [lying]) != [old]:
            return False
        return await self.inner.areplace(key, lying, self._sealed(key, new), ttl_s=ttl_s)

    def _sealed(self, key: str, value: Payload) -> bytes:
        [(_, sealed)] = self.keyring.seal([(key, value)])
        return sealed


class SealedLeasingStore(SealedStore, ForwardingLeasingStore):
    """The same where leases are agreed on: a lease is a random token and is not sealed, the value that it is for is.

    Args:
        inner: where sealed values and leases live.
        keyring: seals and opens.
    """

    inner: LeasingStore

    @override
    def acquire(self, key: str, token: bytes, *, life_ms: int) -> Attempt:
        return self._opened(key, self.inner.acquire(key, token, life_ms=life_ms))

    @override
    async def aacquire(self, key: str, token: bytes, *, life_ms: int) -> Attempt:
        return self._opened(key, await self.inner.aacquire(key, token, life_ms=life_ms))

    @override
    def settle(self, key_value_pairs: Sequence[tuple[str, Payload]], holder: Holder, *, ttl_s: int) -> None:
        self.inner.settle(self.keyring.seal(key_value_pairs), holder, ttl_s=ttl_s)

    @override
    async def asettle(self, key_value_pairs: Sequence[tuple[str, Payload]], holder: Holder, *, ttl_s: int) -> None:
        await self.inner.asettle(self.keyring.seal(key_value_pairs), holder, ttl_s=ttl_s)

    def _opened(self, key: str, attempt: Attempt) -> Attempt:
        [value] = self.keyring.open([key], [attempt.value])
        return Attempt(attempt.is_held, value)


def seal_store(store: Store, keyring: Keyring | None) -> Store:
    """The store with its values sealed by these keys, if there are any, whatever keys they were sealed by before."""
    if keyring is None or (isinstance(store, SealedStore) and store.keyring == keyring):
        return store
    bare = unsealed_store(store)
    return SealedLeasingStore(bare, keyring) if isinstance(bare, LeasingStore) else SealedStore(bare, keyring)


def unsealed_store(store: Store) -> Store:
    """The store below one that seals: what it holds is sealed, and whoever puts something plain there is not read."""
    return store.inner if isinstance(store, SealedStore) else store


def _sealed_size(keys: Sequence[str], expect_bytes: int) -> int:
    return expect_bytes + OVERHEAD_BYTES * len(keys) if expect_bytes else 0
