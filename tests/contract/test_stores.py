"""Every store and every wrapper keeps the contract of stores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import fakeredis
import pytest
import redis
import redis.asyncio
from langchain_core.stores import InMemoryByteStore

from cache import MemoryStore, store_from_client, store_from_url
from cache.deadline import Deadline
from cache.errors import StoreResponseError
from cache.keys import lease_key
from cache.near import NearLeasingStore, NearStore
from cache.near_cache import NearCache
from cache.stores.base import Attempt
from cache.stores.cluster import ClusterStore
from cache.stores.connections import Endpoint
from cache.stores.embedded import EmbeddedServer
from cache.stores.leasing import replacing
from cache.stores.redis import RedisStore
from cache.stores.sentinel import SentinelEndpoint
from cache.stores.slots import slot_of
from cache.wrappers import ByteStoreAdapter, FailOpenStore
from tests.contract.store_contract import ExpiringStoreContract, LeasingStoreContract, StoreContract, each_world
from tests.fakes import FakeClock
from tests.integration.calling import PATIENT_S
from tests.servers import HOST, ValkeyCluster, ValkeySentinels
from tests.tracked import TrackedMemory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from cache import Store
    from cache.stores.base import LeasingStore
    from tests.integration.calling import World
    from tests.servers import ValkeyServer

PATIENT = Deadline(PATIENT_S)
NEAR_BYTES = 2**20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A claim that keeps an embedded server running from one test to the next."""
    with EmbeddedServer(tmp_path_factory.mktemp("embedded") / "server") as server:
        server.ensure_running()
        yield server


@pytest.fixture(scope="module")
def cluster() -> Iterator[ValkeyCluster]:
    """Three servers that share the slots."""
    with ValkeyCluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def sentinels() -> Iterator[ValkeySentinels]:
    """A primary and its replica under a Sentinel."""
    with ValkeySentinels() as sentinels:
        yield sentinels


@pytest.fixture
def raw(redis_url: str) -> Iterator[redis.Redis]:
    """A plain client of the server under test."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


class RedisContract(ExpiringStoreContract):
    """What a store on a server promises besides."""

    @each_world
    async def test_what_is_no_string_is_none(
        self, store: Store, namespace: str, world: World, raw: redis.Redis
    ) -> None:
        """A key of somebody else's that holds a list or a hash is None to reads and peeks, which go on around it."""
        raw.rpush(f"{namespace}:list", "x")
        raw.hset(f"{namespace}:hash", "field", "x")
        await world.mset(store, [(f"{namespace}:a", b"12345678")], ttl_s=60)
        keys = [f"{namespace}:{name}" for name in ("list", "a", "hash")]
        assert await world.mpeek(store, keys, 4) == [None, b"1234", None]
        assert await world.mget(store, keys) == [None, b"12345678", None]

    @each_world
    async def test_values_lie_under_their_keys_as_they_are(
        self, store: Store, namespace: str, world: World, raw: redis.Redis
    ) -> None:
        """Any other client finds the bytes under the key, with the time to live that was asked for."""
        await world.mset(store, [(f"{namespace}:a", b"\x00\xff")], ttl_s=3600)
        await world.mset(store, [(f"{namespace}:b", b"1"), (f"{namespace}:c", b"2")], ttl_s=3600)
        await world.mset(store, [(f"{namespace}:d", b"3")])
        assert raw.get(f"{namespace}:a") == b"\x00\xff"
        assert all(3500 < raw.ttl(f"{namespace}:{name}") <= 3600 for name in "abc")
        assert raw.ttl(f"{namespace}:d") == -1

    @each_world
    async def test_a_new_time_to_live_replaces_the_old(
        self, store: Store, namespace: str, world: World, raw: redis.Redis
    ) -> None:
        """A key that is written again lives as long as was said last: longer, shorter, or for good."""
        longer, shorter, forever = keys = [f"{namespace}:{name}" for name in "lsf"]
        await world.mset(store, [(key, b"1") for key in keys], ttl_s=1800)
        await world.mset(store, [(longer, b"2")], ttl_s=3600)
        await world.mset(store, [(shorter, b"2"), (f"{namespace}:x", b"2")], ttl_s=900)
        await world.mset(store, [(forever, b"2")])
        assert 1800 < raw.ttl(longer) <= 3600
        assert 0 < raw.ttl(shorter) <= 900
        assert raw.ttl(forever) == -1

    @each_world
    async def test_a_server_says_what_it_is(self, store: Store, world: World) -> None:
        """What a server says of itself is there by name, with the number of its keys."""
        found = await world.info(store)
        assert int(found["n_keys"]) >= 0
        assert "redis_version" in found


class TestMemoryStore(ExpiringStoreContract):
    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def store(self, clock: FakeClock) -> Store:
        return MemoryStore(clock=clock)

    @pytest.fixture
    def pass_time(self, clock: FakeClock) -> Callable[[float], None]:
        return clock.advance

    @each_world
    async def test_a_new_time_to_live_replaces_the_old(
        self, store: Store, clock: FakeClock, namespace: str, world: World
    ) -> None:
        """A key that is written again lives as long as was said last: longer, shorter, or for good."""
        keys = longer, shorter, forever = [f"{namespace}:{name}" for name in "lsf"]
        await world.mset(store, [(key, b"1") for key in keys], ttl_s=10)
        await world.mset(store, [(longer, b"2")], ttl_s=20)
        await world.mset(store, [(shorter, b"2")], ttl_s=5)
        await world.mset(store, [(forever, b"2")])
        clock.advance(5)
        assert await world.mget(store, keys) == [b"2", None, b"2"]
        clock.advance(14)
        assert await world.mget(store, keys) == [b"2", None, b"2"]
        clock.advance(1)
        assert await world.mget(store, keys) == [None, None, b"2"]


class TestRedisStoreOverTcp(RedisContract):
    @pytest.fixture
    async def store(self, redis_url: str) -> AsyncIterator[Store]:
        async with store_from_url(redis_url, deadline=PATIENT) as store:
            yield store


class TestRedisStoreOverUnixSocket(RedisContract):
    @pytest.fixture
    def redis_url(self, valkey: ValkeyServer) -> str:
        return valkey.unix_url

    @pytest.fixture
    async def store(self, redis_url: str) -> AsyncIterator[Store]:
        async with store_from_url(redis_url, deadline=PATIENT) as store:
            yield store


class TestRedisStoreFromClient(RedisContract):
    @pytest.fixture
    async def store(self, redis_url: str) -> AsyncIterator[Store]:
        with redis.Redis.from_url(redis_url, decode_responses=True, socket_timeout=0.001) as client:
            async with store_from_client(client, deadline=PATIENT) as store:
                yield store


class TestRedisStoreFromAsyncClient(RedisContract):
    @pytest.fixture
    async def store(self, redis_url: str) -> AsyncIterator[Store]:
        async with (
            redis.asyncio.Redis.from_url(redis_url, decode_responses=True, protocol=3) as client,
            store_from_client(client, deadline=PATIENT) as store,
        ):
            yield store


class TestRedisStoreFromFakeredis(ExpiringStoreContract):
    @pytest.fixture
    async def store(self) -> AsyncIterator[Store]:
        client = fakeredis.FakeRedis()
        client.dbsize()  # the stand-in makes its database at the first command: two threads would make two
        async with store_from_client(client, deadline=PATIENT) as store:
            yield store


class TestClusterStore(RedisContract):
    @pytest.fixture
    def raw(self, cluster: ValkeyCluster) -> Iterator[redis.RedisCluster]:
        with redis.RedisCluster(HOST, cluster.primaries[0].port) as client:
            yield client

    @pytest.fixture
    async def store(self, cluster: ValkeyCluster) -> AsyncIterator[Store]:
        async with store_from_url(cluster.url, deadline=PATIENT) as store:
            yield store


class TestSentinelStore(RedisContract):
    @pytest.fixture
    def redis_url(self, sentinels: ValkeySentinels) -> str:
        return sentinels.servers[0].url

    @pytest.fixture
    async def store(self, sentinels: ValkeySentinels) -> AsyncIterator[Store]:
        async with store_from_url(sentinels.url, deadline=PATIENT) as store:
            yield store


class TestFailOpenStoreOnCluster(TestClusterStore):
    @pytest.fixture
    async def store(self, cluster: ValkeyCluster) -> AsyncIterator[Store]:
        async with FailOpenStore(store_from_url(cluster.url, deadline=PATIENT)) as store:
            yield store


class TestEmbeddedStore(RedisContract):
    @pytest.fixture
    def redis_url(self, server: EmbeddedServer) -> str:
        return f"unix://{server.socket_path}"

    @pytest.fixture
    async def store(self, server: EmbeddedServer) -> AsyncIterator[Store]:
        async with store_from_url(f"embedded://{server.directory}", deadline=PATIENT) as store:
            yield store


class TestFailOpenStoreOnMemory(TestMemoryStore):
    @pytest.fixture
    def store(self, clock: FakeClock) -> Store:
        return FailOpenStore(MemoryStore(clock=clock))


class TestFailOpenStoreOnRedis(RedisContract):
    @pytest.fixture
    async def store(self, redis_url: str) -> AsyncIterator[Store]:
        async with FailOpenStore(store_from_url(redis_url, deadline=PATIENT)) as store:
            yield store


class TestNearStoreOnMemory(TestMemoryStore):
    @pytest.fixture
    def store(self, clock: FakeClock) -> Store:
        return NearStore(TrackedMemory(clock=clock), NearCache(NEAR_BYTES, clock=clock))


class TestNearStoreOnRedis(RedisContract):
    @pytest.fixture
    async def store(self, redis_url: str) -> AsyncIterator[Store]:
        async with near_leasing_store(redis_url) as store:
            yield store


class TestNearStoreOnCluster(TestClusterStore):
    @pytest.fixture
    async def store(self, cluster: ValkeyCluster) -> AsyncIterator[Store]:
        bare = ClusterStore.from_url(cluster.url, deadline=PATIENT)
        async with FailOpenStore(NearStore(bare, NearCache(NEAR_BYTES))) as store:
            yield store


def near_leasing_store(url: str) -> NearLeasingStore:
    return NearLeasingStore(RedisStore(Endpoint.from_url(url), deadline=PATIENT), NearCache(NEAR_BYTES))


class TestByteStoreAdapter(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return ByteStoreAdapter(InMemoryByteStore())

    @each_world
    async def test_values_are_kept_whatever_time_they_were_given(
        self, store: Store, namespace: str, world: World
    ) -> None:
        """A foreign store knows no times to live: a value with one is kept like any other."""
        await world.mset(store, [(f"{namespace}:a", b"1")], ttl_s=1)
        assert await world.mget(store, [f"{namespace}:a"]) == [b"1"]

    @each_world
    async def test_a_value_that_was_changed_is_not_replaced(self, store: Store, namespace: str, world: World) -> None:
        """A foreign store is asked what is there, and then written to."""
        key = f"{namespace}:a"
        assert await world.swap(store, key, None, b"1", ttl_s=60)
        assert not await world.swap(store, key, None, b"2", ttl_s=60)
        assert await world.swap(store, key, b"1", b"3", ttl_s=60)
        assert await world.mget(store, [key]) == [b"3"]


class TestLeasesInMemory(LeasingStoreContract):
    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def store(self, clock: FakeClock) -> LeasingStore:
        return MemoryStore(clock=clock)

    @pytest.fixture
    def pass_time(self, clock: FakeClock) -> Callable[[float], None]:
        return clock.advance


class TestLeasesNear(LeasingStoreContract):
    @pytest.fixture
    async def store(self, redis_url: str) -> AsyncIterator[LeasingStore]:
        async with near_leasing_store(redis_url) as store:
            yield store


class TestLeasesOnRedis(LeasingStoreContract):
    @pytest.fixture
    async def store(self, redis_url: str) -> AsyncIterator[LeasingStore]:
        async with RedisStore(Endpoint.from_url(redis_url), deadline=PATIENT) as store:
            yield store

    async def test_a_server_that_has_forgotten_its_scripts_gives_back(
        self, store: LeasingStore, namespace: str, raw: redis.Redis
    ) -> None:
        """After a restart or SCRIPT FLUSH a lease is renewed and given back as before."""
        key = f"{namespace}:openai:m:0"
        store.acquire(key, b"one", life_ms=60_000)
        assert store.renew([(key, b"one")], life_ms=60_000) == [True]
        raw.script_flush()
        assert store.renew([(key, b"one")], life_ms=60_000) == [True]
        raw.script_flush()
        await store.arelease([(key, b"one")])
        assert raw.exists(lease_key(key)) == 0

    def test_a_lease_ends_by_itself(self, store: LeasingStore, namespace: str, raw: redis.Redis) -> None:
        """It never stands without an expiry, and holds the token of its holder."""
        key = f"{namespace}:openai:m:0"
        store.acquire(key, b"one", life_ms=60_000)
        assert raw.get(lease_key(key)) == b"one"
        assert 59_000 < raw.pttl(lease_key(key)) <= 60_000

    def test_a_replacement_that_is_sent_twice_is_done_once(
        self, store: LeasingStore, namespace: str, raw: redis.Redis
    ) -> None:
        """When its reply got lost, the second try says that it was done; for another one it is too late."""
        key = f"{namespace}:session:0"
        [command] = replacing(key, None, b"new", 60)
        [other] = replacing(key, None, b"new", 60)
        sent: Any = raw.execute_command
        assert [sent(*one) for one in (command, command, other)] == [1, 1, 0]
        assert (raw.get(key), 0 < raw.ttl(key) <= 60) == (b"new", True)
        assert 0 < raw.pttl(lease_key(key)) <= 10_000

    @each_world
    async def test_what_no_lease_can_be_is_nobodys(
        self, store: LeasingStore, namespace: str, raw: redis.Redis, world: World
    ) -> None:
        """Where something else stands in the place of a lease it is not got, the error shows, and values are stored."""
        key = f"{namespace}:openai:m:0"
        raw.lpush(lease_key(key), "x")
        assert await world.acquire(store, key, b"one", life_ms=1000) == Attempt(is_held=False)
        with pytest.raises(StoreResponseError):
            await world.renew(store, [(key, b"one")], life_ms=1000)
        with pytest.raises(StoreResponseError):
            await world.release(store, [(key, b"one")])
        await world.settle(store, [(key, b"value")], (key, b"one"), ttl_s=60)
        assert raw.get(key) == b"value"


class TestLeasesOnCluster(LeasingStoreContract):
    @pytest.fixture
    async def store(self, cluster: ValkeyCluster) -> AsyncIterator[LeasingStore]:
        async with ClusterStore.from_url(cluster.url, deadline=PATIENT) as store:
            yield store

    @each_world
    async def test_leases_of_all_servers_are_kept_in_one_go(
        self, store: LeasingStore, namespace: str, world: World, cluster: ValkeyCluster
    ) -> None:
        """Leases lie with their keys; a batch over all servers is renewed and given back, each by its own holder."""
        keys = [f"{namespace}:openai:m:{n}" for n in range(30)]
        assert len({cluster.owner_of(slot_of(lease_key(key))).port for key in keys}) == 3
        for key in keys:
            assert slot_of(lease_key(key)) == slot_of(key)
            await world.acquire(store, key, b"one", life_ms=60_000)
        holders = [(key, b"two" if n % 3 else b"one") for n, key in enumerate(keys)]
        assert await world.renew(store, holders, life_ms=60_000) == [token == b"one" for _, token in holders]
        await world.release(store, holders)
        found = [(await world.acquire(store, key, b"three", life_ms=60_000)).is_held for key in keys]
        assert found == [token == b"one" for _, token in holders]


class TestLeasesOnSentinel(LeasingStoreContract):
    @pytest.fixture
    async def store(self, sentinels: ValkeySentinels) -> AsyncIterator[LeasingStore]:
        async with RedisStore(SentinelEndpoint.from_url(sentinels.url), deadline=PATIENT) as store:
            yield store
