"""What every store promises, as tests: subclass `StoreContract` with one fixture, `store`."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import pytest

from cache.stores.base import Attempt
from cache.stores.blocks import Block
from tests.integration.calling import World, auntil

if TYPE_CHECKING:
    from collections.abc import Callable

    from cache import Store
    from cache.stores.base import LeasingStore

EVERY_BYTE = bytes(range(256))
GLOBS = ["a*", "a?", "a[bc]", "a\\", "a{b}", "a^", "a-z"]

each_world = pytest.mark.parametrize("world", World)


class StoreContract(ABC):
    """The verbs of `cache.stores.base.Store`, in both worlds; keys begin with a namespace that no other test has."""

    @abstractmethod
    @pytest.fixture
    def store(self) -> Store:
        """The store under test; what it holds in other namespaces is left alone."""

    @each_world
    async def test_values_come_in_the_order_of_their_keys(self, store: Store, namespace: str, world: World) -> None:
        """A read gives one value for each key, in order, also for a key that is asked for twice; None for none."""
        await world.mset(store, [(f"{namespace}:a", b"1"), (f"{namespace}:b", b"2")], ttl_s=60)
        keys = [f"{namespace}:{name}" for name in "baxb"]
        assert await world.mget(store, keys) == [b"2", b"1", None, b"2"]

    @each_world
    async def test_values_of_one_size_can_be_read_in_one_piece(
        self, store: Store, namespace: str, world: World
    ) -> None:
        """What is expected to be there and of one size is read as any values are, also where it is not."""
        keys = [f"{namespace}:{name}" for name in "abc"]
        await world.mset(store, [(key, key[-4:].encode()) for key in keys], ttl_s=60)
        for asked, size_bytes in ((keys, 4), (keys[:1], 4), ([], 4), (keys, 5), ([*keys, f"{namespace}:x"], 4)):
            found = await world.mget_block(store, asked, size_bytes=size_bytes)
            values = found.values() if isinstance(found, Block) else found
            assert values == [key[-4:].encode() if key in keys else None for key in asked]

    @each_world
    async def test_a_new_value_replaces_the_old(self, store: Store, namespace: str, world: World) -> None:
        """Writing a key again replaces its value, whether alone, among others, with or without a time to live."""
        key = f"{namespace}:a"
        await world.mset(store, [(key, b"old")])
        await world.mset(store, [(key, b"new")], ttl_s=60)
        assert await world.mget(store, [key]) == [b"new"]
        await world.mset(store, [(key, b"newer"), (f"{namespace}:b", b"1")], ttl_s=60)
        assert await world.mget(store, [key]) == [b"newer"]
        await world.mset(store, [(key, b"newest"), (f"{namespace}:b", b"1")])
        assert await world.mget(store, [key]) == [b"newest"]

    @each_world
    async def test_the_last_of_equal_keys_counts(self, store: Store, namespace: str, world: World) -> None:
        """A key that is written twice in one call has its last value."""
        key = f"{namespace}:a"
        await world.mset(store, [(key, b"first"), (key, b"last")], ttl_s=60)
        assert await world.mget(store, [key]) == [b"last"]

    @each_world
    async def test_nothing_to_do_is_done(self, store: Store, namespace: str, world: World) -> None:
        """Verbs that are given no keys give nothing and change nothing."""
        await world.mset(store, [(f"{namespace}:a", b"1")])
        await world.mset(store, [])
        await world.mset(store, [], ttl_s=60)
        await world.mdelete(store, [])
        assert await world.mget(store, []) == []
        assert await world.mpeek(store, [], 4) == []
        assert await world.keys(store, namespace) == [f"{namespace}:a"]

    @each_world
    async def test_values_are_bytes_of_any_kind(self, store: Store, namespace: str, world: World) -> None:
        """Every byte, line ends and an empty value come back as they were, also when given as a view."""
        values = [EVERY_BYTE, EVERY_BYTE[::-1], b"", b"\r\n", b"$-1\r\n", "ü".encode()]
        keys = [f"{namespace}:{n}" for n in range(len(values))]
        await world.mset(store, list(zip(keys, values, strict=True)), ttl_s=60)
        assert await world.mget(store, keys) == values
        await world.mset(store, [(keys[0], memoryview(EVERY_BYTE)[::-1])], ttl_s=60)
        assert await world.mget(store, keys[:1]) == [EVERY_BYTE[::-1]]

    @each_world
    async def test_what_is_read_is_bytes(self, store: Store, namespace: str, world: World) -> None:
        """A value that was written as a view of a buffer is read as bytes, and does not change with the buffer."""
        buffer = bytearray(b"before")
        await world.mset(store, [(f"{namespace}:a", memoryview(buffer))], ttl_s=60)
        buffer[:] = b"after!"
        [value] = await world.mget(store, [f"{namespace}:a"])
        assert (type(value), value) == (bytes, b"before")

    @each_world
    async def test_a_large_value_comes_back(self, store: Store, namespace: str, world: World) -> None:
        """Eight MiB are written and read in one call."""
        key, value = f"{namespace}:large", EVERY_BYTE * (8 * 2**20 // 256)
        await world.mset(store, [(key, value)], ttl_s=60)
        assert await world.mget(store, [key], expect_bytes=len(value)) == [value]
        await world.mdelete(store, [key])

    @each_world
    async def test_many_keys_go_in_one_call(self, store: Store, namespace: str, world: World) -> None:
        """Two thousand keys are written, read, gone through and deleted, each in one call."""
        keys = [f"{namespace}:{n}" for n in range(2000)]
        await world.mset(store, [(key, key.encode()) for key in keys], ttl_s=60)
        assert await world.mget(store, keys) == [key.encode() for key in keys]
        assert await world.keys(store, namespace) == sorted(keys)
        await world.mdelete(store, keys)
        assert await world.keys(store, namespace) == []

    @each_world
    async def test_deleted_keys_are_gone(self, store: Store, namespace: str, world: World) -> None:
        """Deleting takes away the given keys and no others; one that is not there is no error."""
        keys = [f"{namespace}:{name}" for name in "abc"]
        await world.mset(store, [(key, b"1") for key in keys])
        await world.mdelete(store, [keys[0], f"{namespace}:x", keys[2]])
        assert await world.mget(store, keys) == [None, b"1", None]

    @each_world
    async def test_a_peek_gives_the_beginning(self, store: Store, namespace: str, world: World) -> None:
        """Peeking gives the first bytes of each value, all of a shorter one, and None where there is none."""
        await world.mset(store, [(f"{namespace}:long", EVERY_BYTE), (f"{namespace}:short", b"\x00\x01")])
        keys = [f"{namespace}:{name}" for name in ("short", "absent", "long")]
        assert await world.mpeek(store, keys, 4) == [b"\x00\x01", None, b"\x00\x01\x02\x03"]

    @each_world
    async def test_an_empty_value_is_none_to_a_peek(self, store: Store, namespace: str, world: World) -> None:
        """Peeking at an empty value gives None: a server cannot tell it from an absent one."""
        await world.mset(store, [(f"{namespace}:empty", b"")])
        assert await world.mpeek(store, [f"{namespace}:empty"], 4) == [None]

    @each_world
    @pytest.mark.parametrize("prefix", GLOBS)
    async def test_a_prefix_is_taken_literally(self, store: Store, namespace: str, world: World, prefix: str) -> None:
        """Going through keys by a prefix gives those that begin with it, whatever a glob would make of it."""
        beginnings = [*GLOBS, "ab", "a", "b", "z" + prefix]
        await world.mset(store, [(f"{namespace}:{beginning}1", b"1") for beginning in beginnings])
        assert await world.keys(store, f"{namespace}:{prefix}") == [f"{namespace}:{prefix}1"]

    @each_world
    async def test_going_through_keys_may_end_early(self, store: Store, namespace: str, world: World) -> None:
        """Whoever stops going through keys has seen as many as wanted, and the store serves on."""
        await world.mset(store, [(f"{namespace}:{n}", b"1") for n in range(100)])
        assert len(await world.keys(store, namespace, at_most=3)) == 3
        assert await world.mget(store, [f"{namespace}:7"]) == [b"1"]

    @each_world
    async def test_keys_are_any_text(self, store: Store, namespace: str, world: World) -> None:
        """Keys with spaces, line ends, letters of any script and a zero byte are keys like others."""
        keys = sorted(f"{namespace}:{name}" for name in ("a b", "a\r\nb", "schön", "履歴書", "a\x00b", "🔑"))
        await world.mset(store, [(key, key.encode()) for key in keys], ttl_s=60)
        assert await world.mget(store, keys) == [key.encode() for key in keys]
        assert await world.keys(store, namespace) == keys

    @each_world
    async def test_a_closed_store_is_used_again(self, store: Store, namespace: str, world: World) -> None:
        """Closing gives back what was opened and forgets nothing; a second closing is no error."""
        await world.mset(store, [(f"{namespace}:a", b"1")])
        for _ in range(2):
            await world.close(store)
        assert await world.mget(store, [f"{namespace}:a"]) == [b"1"]

    async def test_both_worlds_see_the_same(self, store: Store, namespace: str) -> None:
        """What one world has written the other reads, lists and deletes."""
        key = f"{namespace}:a"
        await store.amset([(key, b"1")], ttl_s=60)
        assert store.mget([key]) == [b"1"]
        assert list(store.yield_keys(prefix=namespace)) == [key]
        store.mdelete([key])
        assert await store.amget([key]) == [None]

    async def test_callers_at_once_get_their_own(self, store: Store, namespace: str) -> None:
        """Forty callers at once, in tasks and in threads, each write and read back their own."""

        async def round_trip(n: int, world: World) -> bool:
            key = f"{namespace}:{world}{n}"
            await world.mset(store, [(key, key.encode())], ttl_s=60)
            return await world.mget(store, [key]) == [key.encode()]

        in_tasks = [round_trip(n, World.ASYNC) for n in range(20)]
        in_threads = [asyncio.to_thread(asyncio.run, round_trip(n, World.SYNC)) for n in range(20)]
        assert await asyncio.gather(*in_tasks, *in_threads) == [True] * 40

    @each_world
    async def test_a_store_that_is_there_answers(self, store: Store, world: World) -> None:
        """Asking whether the store is there returns, and raises nothing."""
        await world.ping(store)


class ExpiringStoreContract(StoreContract):
    """What a store that knows times to live promises besides."""

    @pytest.fixture
    def pass_time(self) -> Callable[[float], None]:
        """Let seconds pass; where the clock is the machine's, they pass by themselves."""
        return lambda _seconds: None

    async def test_values_expire(self, store: Store, namespace: str, pass_time: Callable[[float], None]) -> None:
        """Values written for a second, alone or among others and in both worlds, are gone after it, and others not."""
        keys = [f"{namespace}:{n}" for n in range(6)]
        store.mset([(keys[0], b"1")], ttl_s=1)
        store.mset([(keys[1], b"1"), (keys[2], b"1")], ttl_s=1)
        await store.amset([(keys[3], b"1")], ttl_s=1)
        await store.amset([(keys[4], b"1"), (keys[5], b"1")], ttl_s=1)
        kept = [f"{namespace}:kept", f"{namespace}:long"]
        store.mset([(kept[0], b"1")])
        store.mset([(kept[1], b"1")], ttl_s=3600)

        async def are_gone() -> bool:
            pass_time(1)
            return await store.amget([*keys, *kept]) == [None] * 6 + [b"1", b"1"]

        await auntil(are_gone)
        assert sorted(store.yield_keys(prefix=namespace)) == kept


class LeasingStoreContract(ABC):
    """What a store promises in which it can be agreed on who computes the value of a key."""

    @abstractmethod
    @pytest.fixture
    def store(self) -> LeasingStore:
        """The store under test."""

    @pytest.fixture
    def pass_time(self) -> Callable[[float], None]:
        """Let seconds pass; where the clock is the machine's, they pass by themselves."""
        return lambda _seconds: None

    @each_world
    async def test_one_gets_the_lease_until_it_is_given_back(
        self, store: LeasingStore, namespace: str, world: World
    ) -> None:
        """The first gets it and the second does not; given back by its holder alone, it is there for the next."""
        key = f"{namespace}:openai:m:0"
        assert await world.acquire(store, key, b"one", life_ms=60_000) == Attempt(is_held=True)
        assert await world.acquire(store, key, b"two", life_ms=60_000) == Attempt(is_held=False)
        await world.release(store, [(key, b"two")])
        assert await world.acquire(store, key, b"two", life_ms=60_000) == Attempt(is_held=False)
        await world.release(store, [(key, b"one"), (key, b"three")])
        assert await world.acquire(store, key, b"two", life_ms=60_000) == Attempt(is_held=True)

    @each_world
    async def test_the_same_holder_gets_the_lease_again(
        self, store: LeasingStore, namespace: str, world: World
    ) -> None:
        """A command that is sent twice, as its reply got lost, finds its own lease."""
        key = f"{namespace}:openai:m:0"
        for _ in range(2):
            assert (await world.acquire(store, key, b"one", life_ms=60_000)).is_held

    @each_world
    async def test_the_value_is_read_with_the_lease(self, store: LeasingStore, namespace: str, world: World) -> None:
        """Whether or not the lease is got, what is stored under the key comes with it."""
        key = f"{namespace}:openai:m:0"
        await world.mset(store, [(key, EVERY_BYTE)], ttl_s=60)
        assert await world.acquire(store, key, b"one", life_ms=60_000) == Attempt(is_held=True, value=EVERY_BYTE)
        assert await world.acquire(store, key, b"two", life_ms=60_000) == Attempt(is_held=False, value=EVERY_BYTE)

    @each_world
    async def test_settling_stores_and_gives_back(self, store: LeasingStore, namespace: str, world: World) -> None:
        """All values are there with their time to live, and the lease free; that of another holder stays."""
        key, other, beside = (f"{namespace}:openai:m:{n}" for n in range(3))
        await world.acquire(store, key, b"one", life_ms=60_000)
        await world.acquire(store, other, b"two", life_ms=60_000)
        for name in (key, other):
            await world.settle(store, [(name, memoryview(EVERY_BYTE)), (beside, b"1")], (name, b"one"), ttl_s=60)
        assert await world.acquire(store, key, b"three", life_ms=60_000) == Attempt(is_held=True, value=EVERY_BYTE)
        assert await world.acquire(store, other, b"one", life_ms=60_000) == Attempt(is_held=False, value=EVERY_BYTE)
        assert await world.mget(store, [beside]) == [b"1"]

    @each_world
    async def test_a_lease_is_renewed_by_its_holder_alone(
        self, store: LeasingStore, namespace: str, world: World
    ) -> None:
        """For each lease it is said whether it is still the holder's."""
        keys = [f"{namespace}:openai:m:{n}" for n in range(3)]
        await world.acquire(store, keys[0], b"one", life_ms=60_000)
        await world.acquire(store, keys[1], b"two", life_ms=60_000)
        holders = [(key, b"one") for key in keys]
        assert await world.renew(store, holders, life_ms=60_000) == [True, False, False]
        assert await world.renew(store, [], life_ms=60_000) == []

    async def test_leases_end(self, store: LeasingStore, namespace: str, pass_time: Callable[[float], None]) -> None:
        """A lease that is not renewed is free after its life; one that is renewed for longer is not."""
        short, long = f"{namespace}:openai:m:0", f"{namespace}:openai:m:1"
        for key in (short, long):
            store.acquire(key, b"one", life_ms=500)
        assert store.renew([(long, b"one")], life_ms=3_600_000) == [True]

        async def is_free() -> bool:
            pass_time(0.5)
            return bool((await store.aacquire(short, b"two", life_ms=500)).is_held)

        await auntil(is_free)
        assert store.renew([(short, b"one"), (long, b"one")], life_ms=500) == [False, True]

    @each_world
    async def test_a_lease_is_no_entry(self, store: LeasingStore, namespace: str, world: World) -> None:
        """Whoever goes through the keys of a namespace does not meet it."""
        await world.acquire(store, f"{namespace}:openai:m:0", b"one", life_ms=60_000)
        assert await world.keys(store, f"{namespace}:") == []

    @each_world
    async def test_a_value_is_replaced_where_nobody_has_changed_it(
        self, store: LeasingStore, namespace: str, world: World
    ) -> None:
        """What was read is replaced, be it nothing; where another value is there meanwhile, that one stays."""
        key = f"{namespace}:a"
        assert await world.swap(store, key, None, EVERY_BYTE, ttl_s=60)
        assert not await world.swap(store, key, None, b"late", ttl_s=60)
        assert await world.swap(store, key, EVERY_BYTE, b"new", ttl_s=60)
        assert not await world.swap(store, key, EVERY_BYTE, b"late", ttl_s=60)
        assert await world.mget(store, [key]) == [b"new"]
        await world.mdelete(store, [key])
        assert not await world.swap(store, key, b"new", b"late", ttl_s=60)
        assert await world.mget(store, [key]) == [None]
