"""A store whose values are sealed keeps the contract of stores, and shows headers alone to whoever peeks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from typing_extensions import override

from cache import MemoryStore
from cache.deadline import Deadline
from cache.entry import HEADER_BYTES, Header, SubjectTags, pack_entry, peek_entry
from cache.keys import content_hash, key_tag
from cache.sealed_store import SealedLeasingStore, SealedStore
from cache.sealing import OVERHEAD_BYTES, Keyring, SealingKey
from cache.stores.connections import Endpoint
from cache.stores.redis import RedisStore
from tests.contract.store_contract import ExpiringStoreContract, LeasingStoreContract, each_world
from tests.fakes import FakeClock
from tests.integration.calling import PATIENT_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from cache import Store
    from cache.stores.base import LeasingStore
    from tests.integration.calling import World

KEYRING = Keyring([SealingKey(b"key1", bytes(range(32)))])


class SealedContract(ExpiringStoreContract):
    """What is sealed is whole to whoever reads it, and to whoever peeks it is its header."""

    @each_world
    @override
    async def test_a_peek_gives_the_beginning(self, store: Store, namespace: str, world: World) -> None:
        """Peeking gives times, tags and stored size of an entry, and nothing of its value."""
        key = f"{namespace}:openai:m:{content_hash('a')}"
        tags = SubjectTags(b"candidat", b"12345678")
        header = Header(key_tag(key), created_s=7, ttl_s=60, made_ms=0x55555555, tokens=0x55555555, tags=tags)
        entry = pack_entry(header, b"U" * 100)
        await world.mset(store, [(key, entry)], ttl_s=60)
        [head, absent] = await world.mpeek(store, [key, f"{namespace}:absent"], HEADER_BYTES)
        assert absent is None
        assert head is not None
        assert peek_entry(head, key_tag(key)) == (len(entry) + OVERHEAD_BYTES, tags)
        assert head[8:12] == (7).to_bytes(4, "little")
        assert head[12:16] == (60).to_bytes(4, "little")
        assert head[16:28] == bytes(12)
        assert await world.mget(store, [key]) == [entry]

    @each_world
    @override
    async def test_an_empty_value_is_none_to_a_peek(self, store: Store, namespace: str, world: World) -> None:
        """An empty value is sealed like any other, so that it has a header to peek at, and comes back empty."""
        await world.mset(store, [(f"{namespace}:empty", b"")])
        assert (await world.mpeek(store, [f"{namespace}:empty"], 4)) == [b"RCE1"]
        assert await world.mget(store, [f"{namespace}:empty"]) == [b""]


class TestSealedStoreOnMemory(SealedContract):
    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def store(self, clock: FakeClock) -> Store:
        return SealedStore(MemoryStore(clock=clock), KEYRING)

    @pytest.fixture
    def pass_time(self, clock: FakeClock) -> Callable[[float], None]:
        return clock.advance


class TestSealedStoreOnRedis(SealedContract):
    @pytest.fixture
    async def store(self, redis_url: str) -> AsyncIterator[Store]:
        async with SealedStore(
            RedisStore(Endpoint.from_url(redis_url), deadline=Deadline(PATIENT_S)), KEYRING
        ) as store:
            yield store


class TestSealedLeasesOnRedis(LeasingStoreContract):
    @pytest.fixture
    async def store(self, redis_url: str) -> AsyncIterator[LeasingStore]:
        inner = RedisStore(Endpoint.from_url(redis_url), deadline=Deadline(PATIENT_S))
        async with SealedLeasingStore(inner, KEYRING) as store:
            yield store

    @each_world
    async def test_what_is_settled_is_sealed(self, store: SealedLeasingStore, namespace: str, world: World) -> None:
        """The value that is written with a lease given back lies sealed in the store."""
        key = f"{namespace}:openai:m:0"
        await world.settle(store, [(key, b"plain words")], (key, b"one"), ttl_s=60)
        [lying] = store.inner.mget([key])
        assert lying is not None
        assert b"plain words" not in lying
        assert await world.mget(store, [key]) == [b"plain words"]
