"""A primary and its replica under Sentinels: the store is where the Sentinels say, and follows when that changes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from cache import CacheBackedEmbeddings, CacheSettings, store_from_url
from cache.deadline import Deadline
from cache.errors import StoreConnectionError, StoreTimeoutError
from cache.wrappers import FailOpenStore
from tests.fakes import CountingEmbeddings
from tests.integration.calling import IMPATIENT_S, PATIENT_S, World, auntil
from tests.proxy import FaultProxy
from tests.servers import HOST, ValkeySentinels, ValkeyServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cache import Store

KEY, VALUE = "emb:m:0", b"value"
HANGS_S = 2.0
ASKED = frozenset({b"SENTINEL"})
PASSWORD, SENTINEL_PASSWORD = "correct-horse", "battery/staple"

each_world = pytest.mark.parametrize("world", World)


@pytest.fixture(scope="module")
def lasting() -> Iterator[ValkeySentinels]:
    """Started once, for tests that kill nobody."""
    with ValkeySentinels() as sentinels:
        yield sentinels


@pytest.fixture
def told(lasting: ValkeySentinels) -> Iterator[FaultProxy]:
    """A Sentinel that can be told what to say."""
    lasting.servers[0].command("FLUSHALL")
    with FaultProxy(HOST, lasting.sentinels[0].port) as proxy:
        yield proxy


@pytest.fixture
def pair() -> Iterator[tuple[ValkeyServer, ValkeyServer]]:
    """Two servers that no Sentinel watches, each a primary."""
    with ValkeyServer() as one, ValkeyServer() as other:
        yield one, other


def opened(url: str, deadline_s: float = PATIENT_S) -> Store:
    return store_from_url(url, deadline=Deadline(deadline_s))


def url_of(*ports: int, login: str = "", rest: str = "/cache") -> str:
    return f"redis+sentinel://{login}{','.join(f'{HOST}:{port}' for port in ports)}{rest}"


def name_as_primary(told: FaultProxy, port: int) -> None:
    """Have the Sentinel say that the primary is there."""
    told.reply_with(b"*2\r\n$%d\r\n%b\r\n$5\r\n%d\r\n" % (len(HOST), HOST.encode(), port), only=ASKED)


async def test_a_replica_takes_over() -> None:
    """When the primary is killed lookups are misses, and then hits on its successor, with nobody's doing."""
    with ValkeySentinels() as sentinels:
        primary, replica = sentinels.servers
        async with FailOpenStore(opened(sentinels.url)) as store:
            assert store.save([(KEY, VALUE)], ttl_s=600)
            primary.command("WAIT", 1, 5000)
            assert await store.amget([KEY]) == [VALUE]
            primary.kill()
            assert store.mget([KEY]) == [None]

            async def is_hit() -> bool:
                return store.mget([KEY]) == [VALUE]

            await auntil(is_hit)
            assert await store.amget([KEY]) == [VALUE]

            async def is_saved() -> bool:
                return store.save([("new", b"1")], ttl_s=600) and await store.asave([("newer", b"2")], ttl_s=600)

            await auntil(is_saved)
            assert replica.command("MGET", "new", "newer") == [b"1", b"2"]


async def test_a_frozen_primary_is_replaced() -> None:
    """When the primary hangs, whoever had many connections to it reads from its successor before it goes on."""
    with ValkeySentinels() as sentinels:
        primary, _ = sentinels.servers
        async with FailOpenStore(opened(sentinels.url, 0.5)) as store:

            async def is_saved() -> bool:
                return store.save([(KEY, VALUE)], ttl_s=600)

            await auntil(is_saved)
            primary.command("WAIT", 1, 5000)
            await store.amget([KEY])
            primary.pause()

            async def are_hits() -> bool:
                return store.mget([KEY]) == await store.amget([KEY]) == [VALUE]

            await auntil(are_hits)


@each_world
async def test_a_primary_that_was_demoted_is_left(
    world: World, told: FaultProxy, pair: tuple[ValkeyServer, ValkeyServer]
) -> None:
    """A write that a former primary refuses goes to the new one in the same operation, and so do those after it."""
    former, new = pair
    async with opened(url_of(told.port)) as store:
        name_as_primary(told, former.port)
        await world.mset(store, [(KEY, b"old")], ttl_s=60)
        former.command("REPLICAOF", HOST, new.port)
        name_as_primary(told, new.port)
        await world.mset(store, [(KEY, VALUE), ("other", b"1")], ttl_s=60)
        assert new.command("MGET", KEY, "other") == [VALUE, b"1"]
        assert await world.mget(store, [KEY]) == [VALUE]


@each_world
async def test_a_replica_is_not_taken_for_the_primary(world: World, told: FaultProxy, lasting: ValkeySentinels) -> None:
    """Where a Sentinel is behind and names a server that is a replica by now, nothing is read from it."""
    name_as_primary(told, lasting.servers[1].port)
    async with opened(url_of(told.port)) as store:
        with pytest.raises(StoreConnectionError, match="is a replica") as caught:
            await world.mget(store, [KEY])
        assert caught.value.reason == "no_primary"
        told.forward()
        assert await world.mget(store, [KEY]) == [None]


@each_world
async def test_one_sentinel_that_answers_is_enough(world: World, lasting: ValkeySentinels, told: FaultProxy) -> None:
    """Sentinels that are dead are passed over, and the one that answered is asked first from then on."""
    told.refuse()
    with FaultProxy(HOST, lasting.sentinels[0].port) as living:
        async with opened(url_of(told.port, living.port)) as store:
            assert await world.mget(store, [KEY]) == [None]
            told.blackhole()
            told.reset_counts()
            await world.close(store)
            assert await world.mget(store, [KEY]) == [None]
            assert told.commands == []


@each_world
async def test_a_service_that_no_sentinel_knows_is_named(world: World, lasting: ValkeySentinels) -> None:
    """An error says which service was asked for, and what the Sentinels said."""
    url = url_of(lasting.sentinels[0].port, rest="/unheard-of")
    async with opened(url) as store:
        with pytest.raises(StoreConnectionError, match=r"'unheard-of'.*knows no service") as caught:
            await world.mget(store, [KEY])
        assert caught.value.reason == "no_primary"


@each_world
async def test_sentinels_that_are_dead_are_misses(world: World, told: FaultProxy) -> None:
    """Without any Sentinel a lookup is a miss by its name; when one is back, a hit."""
    told.refuse()
    async with FailOpenStore(opened(url_of(told.port))) as store:
        assert await world.mget(store, [KEY]) == [None]
        assert store.counters.snapshot().failures == {"refused": 1}
        told.forward()

        async def is_saved() -> bool:
            await world.mset(store, [(KEY, VALUE)], ttl_s=60)
            return await world.mget(store, [KEY]) == [VALUE]

        await auntil(is_saved)


@each_world
async def test_asking_takes_no_longer_than_the_deadline(world: World, told: FaultProxy) -> None:
    """While the Sentinel hangs, the first operation ends at its deadline."""
    told.blackhole()
    async with opened(url_of(told.port), IMPATIENT_S) as store:
        started_s = time.monotonic()
        with pytest.raises(StoreTimeoutError):
            await world.mget(store, [KEY])
        assert time.monotonic() - started_s < HANGS_S


@each_world
async def test_a_database_is_chosen_by_the_path(world: World, lasting: ValkeySentinels) -> None:
    """The number after the service is that of the database, as in `redis://`."""
    lasting.servers[0].command("FLUSHALL")
    async with opened(f"{lasting.url}/3") as store, opened(lasting.url) as plain:
        await world.mset(store, [(KEY, VALUE)], ttl_s=60)
        assert await world.mget(store, [KEY]) == [VALUE]
        assert await world.mget(plain, [KEY]) == [None]


@each_world
async def test_embeddings_live_under_sentinels(world: World, lasting: ValkeySentinels, namespace: str) -> None:
    """A cache is opened by the URL, and finds in a second object what the first has stored."""
    settings = CacheSettings(namespace=namespace, deadline_ms=round(1000 * PATIENT_S))
    texts, model = [f"text {n}" for n in range(20)], CountingEmbeddings()
    for expected in (20, 0):
        async with CacheBackedEmbeddings.from_url(model, lasting.url, model="m", settings=settings) as embeddings:
            assert await world.embed(embeddings, texts) == [model.vector(text) for text in texts]
            assert embeddings.counts().made == expected


async def test_servers_and_sentinels_have_passwords_of_their_own() -> None:
    """The password before the hosts is for the servers, the option for the Sentinels, and no message shows either."""
    args, sentinel_args = ["--requirepass", PASSWORD], ["--requirepass", SENTINEL_PASSWORD]
    with ValkeySentinels(args=args, sentinel_args=sentinel_args) as sentinels:
        login, port = f":{PASSWORD}@", sentinels.sentinels[0].port
        right = url_of(port, login=login, rest="/cache?sentinel_password=battery%2Fstaple")
        async with opened(right) as store:
            store.mset([(KEY, VALUE)], ttl_s=60)
            assert await store.amget([KEY]) == [VALUE]
        wrong = [
            url_of(port, login=login),
            url_of(port, login=login, rest="/cache?sentinel_password=wrong"),
            url_of(port, rest="/cache?sentinel_password=battery%2Fstaple"),
        ]
        for url in wrong:
            async with opened(url) as store:
                for world in World:
                    with pytest.raises(StoreConnectionError) as caught:
                        await world.mget(store, [KEY])
                    assert caught.value.reason == "auth"
                    assert PASSWORD not in str(caught.value)
                    assert "staple" not in str(caught.value)
