"""Writes about who was forgotten: taken back on every kind of store, for one more command, and never kept unseen."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from langchain_core.stores import InMemoryByteStore

from cache.entry import ABOUT_NOBODY, Header, SubjectTags, pack_entry, tags_of
from cache.errors import ForgottenError, StoreConnectionError, StoreError
from cache.keys import tombstone_key
from cache.sealed_store import seal_store
from cache.sealing import Keyring, SealingKey
from cache.stores import MemoryStore, store_from_url
from cache.stores.base import LeasingStore
from cache.stores.tombstones import keys_to_take_back, marks_of
from cache.wrappers import ByteStoreAdapter, FailOpenStore
from tests.fakes import SeveralServers
from tests.integration.calling import World

if TYPE_CHECKING:
    from cache.stores.base import Store
    from tests.proxy import FaultProxy

TAGS = SubjectTags(candidate=b"candidat", job=b"job-----")
TOMBSTONE = tombstone_key("candidate", TAGS.candidate)
KEY, OTHER = "emb:m:" + "0" * 32, "emb:m:" + "1" * 32
TAGGED = pack_entry(Header(b"k" * 8, 1, 60, tags=TAGS), b"value")
PLAIN = pack_entry(Header(b"k" * 8, 1, 60), b"value")
RING = Keyring([SealingKey(b"\0\0\0\1", b"k" * 32)])

each_world = pytest.mark.parametrize("world", World)


def test_tags_are_read_from_entries_alone() -> None:
    """Sealed or not, as bytes or as a view; what is no entry is about nobody, whatever stands at that place."""
    [(_, sealed)] = RING.seal([(KEY, TAGGED)])
    assert tags_of(TAGGED) == tags_of(memoryview(TAGGED)) == tags_of(sealed) == TAGS
    for other in (PLAIN, b"", b"x" * 100, TAGGED[:63], memoryview(b"x" * 100)):
        assert tags_of(other) is ABOUT_NOBODY


def test_what_must_not_stay() -> None:
    """The keys of each tombstone that is there or could not be read, and no others."""
    marks = marks_of([(KEY, TAGGED), (OTHER, PLAIN)])
    assert dict(marks) == {TOMBSTONE: [KEY], tombstone_key("job", TAGS.job): [KEY]}
    assert keys_to_take_back(marks, [None, None]) == []
    assert keys_to_take_back(marks, [None, b"1"]) == [KEY]
    assert keys_to_take_back(marks, [StoreError("not read"), None]) == [KEY]


@pytest.mark.parametrize("store", [MemoryStore(), ByteStoreAdapter(InMemoryByteStore())])
@each_world
async def test_a_write_takes_itself_back(store: Store, world: World) -> None:
    """Of one call, what is about the forgotten is deleted, and what is not stays."""
    store.mset([(TOMBSTONE, str(int(time.time()) + 60).encode())])
    with pytest.raises(ForgottenError):
        await world.mset(store, [(KEY, TAGGED), (OTHER, PLAIN)])
    assert store.mget([KEY, OTHER]) == [None, PLAIN]


def test_a_store_without_expiry_knows_when_a_tombstone_is_over() -> None:
    """A foreign store keeps tombstones for ever; they say themselves until when they stand."""
    store = ByteStoreAdapter(InMemoryByteStore())
    store.mset([(TOMBSTONE, b"1000")])
    store.mset([(KEY, TAGGED)])
    assert store.mget([KEY]) == [TAGGED]


def test_a_sealed_write_takes_itself_back_too() -> None:
    """Tags stay readable in sealed entries, so the store below needs no key."""
    memory = MemoryStore()
    memory.mset([(TOMBSTONE, b"1")])
    with pytest.raises(ForgottenError):
        seal_store(memory, RING).mset([(KEY, TAGGED)])
    assert memory.mget([KEY]) == [None]


@each_world
async def test_looking_for_tombstones_is_one_more_command_in_the_same_pipeline(world: World, proxy: FaultProxy) -> None:
    """One round trip for tagged writes as for others, which ask for nothing more."""
    async with store_from_url(proxy.url) as store:
        await world.mset(store, [(KEY, PLAIN)], ttl_s=60)
        await world.mset(store, [(KEY, TAGGED)], ttl_s=60)
        await world.mset(store, [(KEY, TAGGED), (OTHER, TAGGED)], ttl_s=60)
        assert proxy.round_trips == 3
        assert proxy.commands == [b"SET", b"SET", b"MGET", b"MSETEX", b"MGET"]


@each_world
async def test_a_settled_value_is_taken_back_and_its_lease_given_back(world: World, proxy: FaultProxy) -> None:
    """Who computes about the forgotten with a lease leaves neither the value nor the lease."""
    async with store_from_url(proxy.url) as store:
        assert isinstance(store, LeasingStore)
        store.mset([(TOMBSTONE, b"1")])
        assert store.acquire(KEY, b"token", life_ms=60_000).is_held
        with pytest.raises(ForgottenError):
            await world.settle(store, [(KEY, TAGGED)], (KEY, b"token"), ttl_s=60)
        assert store.mget([KEY]) == [None]
        assert store.acquire(KEY, b"another", life_ms=1000).is_held
        store.mdelete([TOMBSTONE])


@each_world
async def test_where_tombstones_cannot_be_read_nothing_stays(world: World, proxy: FaultProxy) -> None:
    """It may be about somebody who was forgotten: the entry is deleted, and the error shows."""
    proxy.reply_with(b"-ERR no reading now\r\n", only=frozenset({b"MGET"}))
    async with store_from_url(proxy.url) as store:
        with pytest.raises(StoreError, match="no reading now"):
            await world.mset(store, [(KEY, TAGGED)], ttl_s=60)
        proxy.forward()
        assert store.mget([KEY]) == [None]


@each_world
async def test_a_forgotten_write_is_no_fault_of_the_server(world: World) -> None:
    """It counts by its name and is not stored, and the server goes on being asked."""
    memory = MemoryStore()
    memory.mset([(TOMBSTONE, b"1")])
    store = FailOpenStore(memory)
    pairs = [(KEY, TAGGED)]
    assert not (store.save(pairs, ttl_s=60) if world is World.SYNC else await store.asave(pairs, ttl_s=60))
    assert store.counters.snapshot().failures == {"forgotten": 1}
    assert store.save([(OTHER, PLAIN)], ttl_s=60)


@each_world
async def test_nobody_waits_for_tombstones_on_a_server_that_is_left_alone(world: World) -> None:
    """What cannot be checked is not written; what is about nobody is."""
    inner = SeveralServers()
    inner.failing["f"] = StoreConnectionError("gone", reason="refused")
    store = FailOpenStore(inner)
    store.mget([TOMBSTONE])
    n_asked = len(inner.asked)
    try:
        assert not (
            store.save([(KEY, TAGGED)], ttl_s=60)
            if world is World.SYNC
            else await store.asave([(KEY, TAGGED)], ttl_s=60)
        )
        assert len(inner.asked) == n_asked
        assert store.save([(OTHER, PLAIN)], ttl_s=60)
    finally:
        store.close()
