"""A real cluster of three servers: batches over all slots, servers that fail, slots that move."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from langchain_core.outputs import Generation

from cache import CacheBackedEmbeddings, CacheSettings, ResponseCache, store_from_url
from cache.admin import Admin, Status
from cache.deadline import Deadline
from cache.errors import PartialFailureError, StoreConnectionError, StoreError, StoreResponseError, StoreTimeoutError
from cache.keys import Kind
from cache.stores.cluster import ClusterStore
from cache.stores.slots import slot_of
from cache.wrappers import FailOpenStore
from tests.fakes import CountingEmbeddings
from tests.integration.calling import PATIENT_S, World, auntil, until
from tests.integration.test_loops_and_forks import FORK_WITH_TASKS, FORK_WITH_THREADS, run
from tests.proxy import FaultProxy
from tests.servers import HOST, ServerReplyError, ValkeyCluster, ValkeyServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cache import Store

BRIEF_S = 0.5  # long enough for what is there, short enough to be waited for
HANGS_S = 5.0  # half of what twenty lookups take that each wait for their deadline in turn
LLM = "[('model', 'm')]"

each_world = pytest.mark.parametrize("world", World)


@dataclass(frozen=True)
class Fronted:
    """A cluster whose servers announce proxies, each in front of itself.

    Attributes:
        cluster: the servers.
        proxies: by the port of the server that is behind.
    """

    cluster: ValkeyCluster
    proxies: dict[int, FaultProxy]

    @property
    def url(self) -> str:
        return self.cluster.url

    def proxy_of(self, key: str) -> FaultProxy:
        return self.proxies[self.cluster.owner_of(slot_of(key)).port]

    def keys_by_proxy(self, namespace: str, n: int = 300) -> dict[FaultProxy, list[str]]:
        """Keys that lie behind each proxy, of `n` in all."""
        groups: dict[FaultProxy, list[str]] = {proxy: [] for proxy in self.proxies.values()}
        owners = self.cluster.owners()
        for key in (f"{namespace}:{number}" for number in range(n)):
            groups[self.proxies[owners[slot_of(key)].port]].append(key)
        return groups


@pytest.fixture(scope="module")
def lasting() -> Iterator[Fronted]:
    """Started once; `fronted` is it, forwarding and empty."""
    proxies: dict[int, FaultProxy] = {}

    def front(server: ValkeyServer) -> int:
        if server.port not in proxies:
            proxies[server.port] = FaultProxy(HOST, server.port)
            proxies[server.port].start()
        return proxies[server.port].port

    with ValkeyCluster(front=front) as cluster:
        yield Fronted(cluster, proxies)
        for proxy in proxies.values():
            proxy.close()


@pytest.fixture
def fronted(lasting: Fronted) -> Fronted:
    """Three servers behind proxies that forward, all empty."""
    lasting.cluster.flush()
    for proxy in lasting.proxies.values():
        proxy.forward()
    return lasting


def opened(url: str, deadline_s: float = PATIENT_S) -> Store:
    return store_from_url(url, deadline=Deadline(deadline_s))


def all_of(groups: dict[FaultProxy, list[str]]) -> list[str]:
    return list(itertools.chain.from_iterable(groups.values()))


def pairs_of(keys: list[str]) -> list[tuple[str, bytes]]:
    return [(key, key.encode()) for key in keys]


async def filled(store: Store, fronted: Fronted, namespace: str) -> dict[FaultProxy, list[str]]:
    """Keys by proxy, each written with its own name."""
    groups = fronted.keys_by_proxy(namespace)
    await store.amset(pairs_of(all_of(groups)), ttl_s=60)
    return groups


async def warm(store: Store, keys: list[str]) -> None:
    """Have connections to all servers, in both worlds."""

    async def are_hits() -> bool:
        return None not in store.mget(keys) + await store.amget(keys)

    await auntil(are_hits)


@each_world
async def test_a_batch_asks_each_server_once(world: World, fronted: Fronted, namespace: str) -> None:
    """300 keys over all slots are one pipeline for each server to read, to write, to peek at and to delete (H25)."""
    async with opened(fronted.url) as store:
        groups = await filled(store, fronted, namespace)
        keys = all_of(groups)
        await warm(store, keys)
        for proxy in groups:
            proxy.quiet_s = 0.2
            proxy.reset_counts()
        await world.mget(store, keys)
        await world.mset(store, pairs_of(keys), ttl_s=60)
        await world.mpeek(store, keys, 4)
        await world.mdelete(store, keys)
        for proxy, own in groups.items():
            proxy.quiet_s = 0.002
            assert proxy.round_trips == 4
            assert proxy.commands == [name for name in (b"GET", b"SET", b"GETRANGE", b"UNLINK") for _ in own]


@each_world
async def test_a_key_lies_on_the_server_that_holds_its_slot(world: World, fronted: Fronted, namespace: str) -> None:
    """Each value is where the cluster itself looks for it, also when braces name the slot (H4)."""
    async with opened(fronted.url) as store:
        keys = [f"{namespace}:{n}" for n in range(50)] + [f"{namespace}:{{tag}}:{n}" for n in range(5)]
        await world.mset(store, pairs_of(keys), ttl_s=60)
        for key in keys:
            assert fronted.cluster.owner_of(slot_of(key)).command("GET", key) == key.encode()


@each_world
async def test_a_dead_server_costs_its_own_keys(world: World, fronted: Fronted, namespace: str) -> None:
    """When one server refuses, its keys are misses and all others hits; it alone is left alone, until it is back."""
    async with FailOpenStore(opened(fronted.url)) as store:
        groups = await filled(store, fronted, namespace)
        keys = all_of(groups)
        await warm(store, keys)
        dead, *living = groups
        dead.refuse()
        for _ in range(5):
            assert await world.mget(store, keys) == [None if key in groups[dead] else key.encode() for key in keys]
        assert store.counters.snapshot().failures == {"refused": 1}
        assert store.breakers.of(f"{HOST}:{dead.port}").is_open
        assert not any(store.breakers.of(f"{HOST}:{proxy.port}").is_open for proxy in living)
        dead.forward()
        await asyncio.to_thread(until, lambda: not store.breakers.of(f"{HOST}:{dead.port}").is_open)
        assert await world.mget(store, keys) == [key.encode() for key in keys]


@each_world
async def test_a_hanging_server_costs_one_deadline(world: World, fronted: Fronted, namespace: str) -> None:
    """When one server hangs, a batch ends at the deadline with all that the others have, and the next do not wait."""
    async with FailOpenStore(opened(fronted.url, BRIEF_S)) as store:
        groups = fronted.keys_by_proxy(namespace)
        keys = all_of(groups)
        await warm_up(store, keys)
        hanging = next(iter(groups))
        hanging.blackhole()
        expected = [None if key in groups[hanging] else key.encode() for key in keys]

        async def are_hits_elsewhere() -> bool:
            return await world.mget(store, keys) == expected

        started_s = time.monotonic()
        for _ in range(20):
            await world.mget(store, keys)
        assert time.monotonic() - started_s < HANGS_S
        await auntil(are_hits_elsewhere)
        assert store.breakers.of(f"{HOST}:{hanging.port}").is_open
        assert store.counters.snapshot().failures["timeout"] >= 1


async def warm_up(store: FailOpenStore, keys: list[str]) -> None:
    """Write and read until everything is a hit: with a short deadline the first operations may be misses."""

    async def are_written() -> bool:
        return await store.asave(pairs_of(keys), ttl_s=60)

    await auntil(are_written)
    await warm(store, keys)


async def saved(store: FailOpenStore, pairs: list[tuple[str, bytes]], world: World) -> bool:
    return store.save(pairs, ttl_s=60) if world is World.SYNC else await store.asave(pairs, ttl_s=60)


@each_world
async def test_a_write_says_whether_all_is_confirmed(world: World, fronted: Fronted, namespace: str) -> None:
    """When one server refuses, a batch is not confirmed; what the others have confirmed is there and is counted."""
    groups = fronted.keys_by_proxy(namespace)
    keys = all_of(groups)
    dead, *living = groups
    n_living = sum(len(groups[proxy]) for proxy in living)
    async with FailOpenStore(opened(fronted.url)) as store:
        store.mget(keys)
        dead.refuse()
        for _ in range(2):
            is_saved = await saved(store, pairs_of(keys), world)
            assert not is_saved
        assert store.counters.snapshot().stored == 2 * n_living
        assert await world.mget(store, keys) == [None if key in groups[dead] else key.encode() for key in keys]


@each_world
async def test_the_bare_store_says_what_failed(world: World, fronted: Fronted, namespace: str) -> None:
    """An error of a part names the server, and has with it what the others answered."""
    async with opened(fronted.url) as store:
        groups = await filled(store, fronted, namespace)
        keys = all_of(groups)
        dead = next(iter(groups))
        dead.refuse()
        with pytest.raises(PartialFailureError, match=f"{HOST}:{dead.port}") as caught:
            await world.mget(store, keys)
        assert caught.value.reason == "refused"
        assert [failure.server for failure in caught.value.failures] == [f"{HOST}:{dead.port}"]
        assert caught.value.values == [None if key in groups[dead] else key.encode() for key in keys]
        assert caught.value.n_done == len(keys) - len(groups[dead])
        with pytest.raises(StoreConnectionError) as caught_alone:
            await world.mget(store, groups[dead])
        assert caught_alone.value.server == f"{HOST}:{dead.port}"


@each_world
async def test_what_one_server_cannot_do_costs_the_keys_concerned(
    world: World, fronted: Fronted, namespace: str
) -> None:
    """When one server is full, its writes fail by that name, reads go on everywhere, and other servers are written."""
    async with FailOpenStore(opened(fronted.url)) as store:
        groups = await filled(store, fronted, namespace)
        keys = all_of(groups)
        full = next(iter(groups))
        full.reply_with(b"-OOM command not allowed when used memory > 'maxmemory'.\r\n", only=frozenset({b"SET"}))
        await world.mset(store, pairs_of(keys), ttl_s=60)
        assert store.counters.snapshot().failures == {"out_of_memory": 1}
        assert store.counters.snapshot().stored == 2 * len(keys) - len(groups[full])
        assert await world.mget(store, keys) == [key.encode() for key in keys]


@each_world
async def test_a_slot_that_has_moved_is_found(world: World, fronted: Fronted, namespace: str) -> None:
    """Keys whose slot went to another server are hits and are written there; from then on that server is asked."""
    key, cluster = f"{namespace}:moving", fronted.cluster
    async with opened(fronted.url) as store:
        await world.mset(store, [(key, b"1")], ttl_s=60)
        source = cluster.owner_of(slot_of(key))
        target = next(server for server in cluster.primaries if server is not source)
        cluster.begin_move(slot_of(key), target)
        cluster.end_move(slot_of(key), target)
        assert await world.mget(store, [key, f"{namespace}:other"]) == [b"1", None]
        fronted.proxies[source.port].reset_counts()
        await world.mset(store, [(key, b"2")], ttl_s=60)
        assert target.command("GET", key) == b"2"
        assert b"SET" not in fronted.proxies[source.port].commands


@each_world
async def test_a_slot_on_the_move_loses_nothing(world: World, fronted: Fronted, namespace: str) -> None:
    """While keys go to another server one by one, each is a hit, wherever it is; new ones are written to the target."""
    keys, cluster = [f"{namespace}:{{tag}}:{n}" for n in range(40)], fronted.cluster
    slot = slot_of(keys[0])
    async with opened(fronted.url) as store:
        await world.mset(store, pairs_of(keys), ttl_s=60)
        source = cluster.owner_of(slot)
        target = next(server for server in cluster.primaries if server is not source)
        cluster.begin_move(slot, target)
        for key in keys[:20]:
            source.command("MIGRATE", HOST, target.port, key, 0, 5000)
        assert await world.mget(store, keys) == [key.encode() for key in keys]
        await world.mset(store, [(f"{namespace}:{{tag}}:new", b"new")], ttl_s=60)
        assert target.command("ASKING") == b"OK"
        assert await world.mpeek(store, [f"{namespace}:{{tag}}:new", keys[0]], 3) == [b"new", keys[0].encode()[:3]]
        await world.mdelete(store, [keys[0], keys[39]])
        cluster.end_move(slot, target)
        assert await world.mget(store, keys) == [None, *(key.encode() for key in keys[1:39]), None]
        assert target.command("GET", f"{namespace}:{{tag}}:new") == b"new"


async def test_readers_notice_nothing_of_a_move(fronted: Fronted, namespace: str) -> None:
    """Whoever reads in threads and tasks while a slot moves, from beginning to end, has hits only."""
    keys, cluster = [f"{namespace}:{{tag}}:{n}" for n in range(50)], fronted.cluster
    misses: list[list[bytes | None]] = []
    is_over = threading.Event()
    n_reads = 0
    async with opened(fronted.url) as store:
        await store.amset(pairs_of(keys), ttl_s=60)

        def read() -> None:
            while not is_over.is_set():
                values = store.mget(keys)
                misses.extend([values] if None in values else [])

        async def aread() -> None:
            nonlocal n_reads
            while not is_over.is_set():
                values = await store.amget(keys)
                n_reads += 1
                misses.extend([values] if None in values else [])

        def move() -> None:
            source = cluster.owner_of(slot_of(keys[0]))
            target = next(server for server in cluster.primaries if server is not source)
            for one in (target, source):
                cluster.begin_move(slot_of(keys[0]), one)
                cluster.end_move(slot_of(keys[0]), one)
            is_over.set()

        await asyncio.gather(asyncio.to_thread(read), aread(), asyncio.to_thread(move))
    assert n_reads > 0
    assert misses == []


@each_world
async def test_being_sent_on_for_ever_ends(world: World, fronted: Fronted, namespace: str) -> None:
    """A server that sends on to itself again and again is an error, not a loop."""
    key = f"{namespace}:a"
    async with opened(fronted.url) as store:
        await world.mset(store, [(key, b"1")], ttl_s=60)
        proxy = fronted.proxy_of(key)
        proxy.reset_counts()
        proxy.reply_with(b"-MOVED %d :%d\r\n" % (slot_of(key), proxy.port), only=frozenset({b"GET"}))
        with pytest.raises(StoreResponseError) as caught:
            await world.mget(store, [key])
        assert caught.value.reason == "cluster"
        assert proxy.commands.count(b"GET") == 5


@each_world
async def test_a_cluster_is_found_by_any_of_its_servers(world: World, fronted: Fronted, namespace: str) -> None:
    """One server of the URL that is there is enough, whatever the others do."""
    dead, hanging, living = fronted.proxies.values()
    key = next(iter(fronted.keys_by_proxy(namespace)[living]))
    url = f"redis+cluster://{HOST}:{dead.port},{HOST}:{hanging.port},{HOST}:{living.port}"
    dead.refuse()
    hanging.blackhole()
    async with opened(url) as store:
        await world.mset(store, [(key, b"1")], ttl_s=60)
        assert await world.mget(store, [key]) == [b"1"]


@each_world
async def test_a_cluster_that_is_not_there_is_found_later(world: World, fronted: Fronted, namespace: str) -> None:
    """While no server answers, everything is a miss by its name; once they do, nobody has to do anything."""
    for proxy in fronted.proxies.values():
        proxy.refuse()
    async with FailOpenStore(opened(fronted.url)) as store:
        assert await world.mget(store, [f"{namespace}:a"]) == [None]
        assert store.counters.snapshot().failures == {"refused": 1}
        assert store.breaker.is_open
        for proxy in fronted.proxies.values():
            proxy.forward()
        await asyncio.to_thread(until, lambda: not store.breaker.is_open)
        await world.mset(store, [(f"{namespace}:a", b"1")], ttl_s=60)
        assert await world.mget(store, [f"{namespace}:a"]) == [b"1"]


@each_world
async def test_finding_the_cluster_takes_no_longer_than_the_deadline(world: World, fronted: Fronted) -> None:
    """While all servers hang, the first operation ends at its deadline."""
    for proxy in fronted.proxies.values():
        proxy.blackhole()
    async with opened(fronted.url, BRIEF_S) as store:
        started_s = time.monotonic()
        with pytest.raises(StoreTimeoutError):
            await world.mget(store, ["a", "b"])
        assert time.monotonic() - started_s < HANGS_S


@each_world
async def test_a_server_that_is_in_no_cluster_says_so(world: World, own_valkey: ValkeyServer) -> None:
    """A single server under the URL of a cluster is a failure with the server's own words."""
    async with opened(f"redis+cluster://{HOST}:{own_valkey.port}") as store:
        with pytest.raises(StoreResponseError, match="cluster support disabled") as caught:
            await world.mget(store, ["a"])
        assert caught.value.reason == "cluster"


@each_world
async def test_going_through_keys_meets_each_once(world: World, fronted: Fronted, namespace: str) -> None:
    """All keys of all servers are given; when one is dead the others' are, and then the failure is told (H25)."""
    async with opened(fronted.url) as store:
        groups = await filled(store, fronted, namespace)
        keys = all_of(groups)
        assert await world.keys(store, namespace) == sorted(keys)
        dead = list(groups)[1]
        dead.refuse()
        given: list[str] = []
        with pytest.raises(PartialFailureError, match=str(dead.port)):
            await go_through(store, namespace, world, given)
        assert sorted(given) == sorted(set(keys) - set(groups[dead]))


async def go_through(store: Store, prefix: str, world: World, given: list[str]) -> None:
    """Note each key as it comes, so that those before an error are there after it."""
    if world is World.SYNC:
        for key in store.yield_keys(prefix=prefix):
            given.append(key)  # noqa: PERF402  as above
        return
    async for key in store.ayield_keys(prefix=prefix):
        given.append(key)  # noqa: PERF401  as above


@each_world
async def test_clearing_goes_over_all_servers(world: World, fronted: Fronted, namespace: str) -> None:
    """Entries of a namespace are counted and cleared wherever they lie, and no others."""
    settings = CacheSettings(namespace=namespace, deadline_ms=round(1000 * PATIENT_S))
    model = CountingEmbeddings()
    texts = [f"text {n}" for n in range(60)]
    async with opened(fronted.url) as store:
        embeddings = CacheBackedEmbeddings(model, store, model="m", settings=settings)
        await world.embed(embeddings, texts)
        foreign = [f"{namespace}:emb:m:{n}" for n in range(20)]
        await store.amset(pairs_of(foreign))
        admin = Admin(store, settings)
        stats = admin.stats() if world is World.SYNC else await admin.astats()
        assert (stats.status, stats.key_counts["embedding"]) == (Status.HEALTHY, 60)
        n_cleared = admin.clear(Kind.EMBEDDING) if world is World.SYNC else await admin.aclear(Kind.EMBEDDING)
        assert n_cleared == 60
        assert await world.keys(store, namespace) == sorted(foreign)


@each_world
async def test_clearing_goes_as_far_as_servers_answer(world: World, fronted: Fronted, namespace: str) -> None:
    """With one server dead, what the others hold is cleared, and the failure is told."""
    settings = CacheSettings(namespace=namespace, deadline_ms=round(1000 * PATIENT_S))
    async with opened(fronted.url) as store:
        embeddings = CacheBackedEmbeddings(CountingEmbeddings(), store, model="m", settings=settings)
        await world.embed(embeddings, [f"text {n}" for n in range(60)])
        dead = fronted.proxies[fronted.cluster.primaries[0].port]
        dead.refuse()
        admin = Admin(store, settings)
        with pytest.raises(PartialFailureError):
            admin.clear() if world is World.SYNC else await admin.aclear()
        n_left = [server.command("DBSIZE") for server in fronted.cluster.primaries]
        assert n_left[0] > 0
        assert n_left[1:] == [0, 0]


@each_world
async def test_a_slot_that_nobody_serves_costs_its_own_keys(world: World, fronted: Fronted, namespace: str) -> None:
    """Keys of a slot that no server holds are misses by that name; all others are hits, on the same server too."""
    cluster = fronted.cluster
    async with FailOpenStore(opened(fronted.url)) as store:
        groups = await filled(store, fronted, namespace)
        keys = all_of(groups)
        lost = slot_of(f"{namespace}:lost")
        owner = cluster.owner_of(lost)
        owner.command("CLUSTER", "DELSLOTS", lost)
        try:
            expected = [key.encode() if slot_of(key) != lost else None for key in keys] + [None]
            for _ in range(3):
                assert await world.mget(store, [*keys, f"{namespace}:lost"]) == expected
            assert set(store.counters.snapshot().failures) == {"cluster_down"}
            assert not any(store.breakers.of(f"{HOST}:{proxy.port}").is_open for proxy in groups)
        finally:
            owner.command("CLUSTER", "ADDSLOTS", lost)
            await asyncio.to_thread(cluster.wait_until_agreed)


async def test_a_server_that_calls_the_cluster_down_is_left_alone(namespace: str) -> None:
    """One that has lost most others answers probes and serves nothing: it is used again when the cluster is up."""
    with ValkeyCluster() as cluster:
        owners = cluster.owners()
        survivor, *others = cluster.primaries
        key = next(one for one in map(f"{namespace}:{{}}".format, range(100)) if owners[slot_of(one)] is survivor)
        async with FailOpenStore(opened(cluster.url)) as store:
            await store.amset([(key, b"1")], ttl_s=60)
            for server in others:
                server.pause()
            await asyncio.to_thread(until, lambda: says_down(survivor, key))
            assert await store.amget([key]) == [None]
            assert store.counters.snapshot().failures == {"cluster_down": 1}
            breaker = store.breakers.of(f"{HOST}:{survivor.port}")
            assert await store.amget([key]) == [None]
            assert store.counters.snapshot().failures == {"cluster_down": 1}
            assert breaker.is_open
            for server in others:
                server.resume()
            await asyncio.to_thread(until, lambda: not breaker.is_open)
            assert await store.amget([key]) == [b"1"]


def says_down(server: ValkeyServer, key: str) -> bool:
    """Say whether a server refuses to serve a key that is its own."""
    try:
        server.command("GET", key)
    except ServerReplyError as error:
        return str(error) == "CLUSTERDOWN The cluster is down"
    return False


@each_world
async def test_servers_speak_as_one(world: World, fronted: Fronted, namespace: str) -> None:
    """Numbers of keys add up over the servers; a cluster with a dead server is not healthy."""
    async with opened(fronted.url) as store:
        await filled(store, fronted, namespace)
        found = await world.info(store)
        assert (found["n_keys"], found["n_servers"]) == ("300", "3")
        await world.ping(store)
        next(iter(fronted.proxies.values())).refuse()
        with pytest.raises(PartialFailureError):
            await world.ping(store)
        with pytest.raises(StoreError):
            await world.info(store)


@each_world
async def test_embeddings_and_answers_live_in_a_cluster(world: World, fronted: Fronted, namespace: str) -> None:
    """Both caches are opened by the URL, and find in a second object what the first has stored."""
    settings = CacheSettings(namespace=namespace, deadline_ms=round(1000 * PATIENT_S))
    texts, model = [f"text {n}" for n in range(100)], CountingEmbeddings()
    for expected in (100, 0):
        async with CacheBackedEmbeddings.from_url(model, fronted.url, model="m", settings=settings) as embeddings:
            assert await world.embed(embeddings, texts) == [model.vector(text) for text in texts]
            assert embeddings.counts().made == expected
    for expected_answer in (None, [Generation(text="fine")]):
        async with ResponseCache.from_url(fronted.url, settings=settings) as cache:
            assert await world.lookup(cache, "question", LLM) == expected_answer
            await world.update(cache, "question", LLM, [Generation(text="fine")])


@each_world
async def test_no_failure_of_a_server_reaches_a_caller(world: World, fronted: Fronted, namespace: str) -> None:
    """With one server dead, its texts are embedded anew and all others are hits."""
    settings = CacheSettings(namespace=namespace, deadline_ms=round(1000 * PATIENT_S))
    texts, model = [f"text {n}" for n in range(100)], CountingEmbeddings()
    async with CacheBackedEmbeddings.from_url(model, fronted.url, model="m", settings=settings) as embeddings:
        await world.embed(embeddings, texts)
        dead = next(iter(fronted.proxies.values()))
        n_lost = fronted.cluster.primaries[0].command("DBSIZE")
        dead.refuse()
        for _ in range(2):
            assert await world.embed(embeddings, texts) == [model.vector(text) for text in texts]
        counts = embeddings.counts()
        assert (counts.made, counts.hits) == (100 + 2 * n_lost, 2 * (100 - n_lost))
        assert 0 < n_lost < 100


@pytest.mark.parametrize("script", [FORK_WITH_THREADS, FORK_WITH_TASKS])
def test_a_forked_child_and_its_parent_both_go_on(script: str, fronted: Fronted) -> None:
    """After a fork, parent and child use the cluster with connections and threads of their own, without a warning."""
    done = run(script, fronted.url)
    assert (done.returncode, done.stderr) == (0, "")


def test_loops_leave_no_connection(fronted: Fronted, namespace: str) -> None:
    """A store that is used in `asyncio.run` again and again, and never closed, leaves no connection open."""
    store = opened(fronted.url)
    groups = fronted.keys_by_proxy(namespace)
    keys = all_of(groups)
    asyncio.run(store.amset(pairs_of(keys), ttl_s=60))
    assert [asyncio.run(store.amget(keys)) for _ in range(3)] == [[key.encode() for key in keys]] * 3
    for proxy in groups:
        proxy.wait_for_connections(0)


async def test_a_closed_store_leaves_neither_connections_nor_threads(fronted: Fronted, namespace: str) -> None:
    """Closing gives back the connections to all servers and ends the threads that exchanged with them."""
    before = set(threading.enumerate())
    async with opened(fronted.url) as store:
        groups = await filled(store, fronted, namespace)
        await asyncio.to_thread(store.mget, all_of(groups))
    for proxy in groups:
        await asyncio.to_thread(proxy.wait_for_connections, 0)

    def left() -> list[str]:
        return [one.name for one in set(threading.enumerate()) - before if one.name.startswith("resumecache")]

    await asyncio.to_thread(until, lambda: left() == [])


async def test_a_server_that_left_is_let_go(fronted: Fronted, namespace: str) -> None:
    """When a server is known under another address, the connections to the old one are closed in both worlds."""
    server = fronted.cluster.primaries[0]
    with FaultProxy(HOST, server.port) as new:
        async with opened(fronted.url) as store:
            assert isinstance(store, ClusterStore)
            groups = await filled(store, fronted, namespace)
            keys = all_of(groups)
            await warm(store, keys)
            old = fronted.proxies[server.port]
            fronted.proxies[server.port] = new
            server.command("CONFIG", "SET", "cluster-announce-port", new.port)
            try:
                await asyncio.to_thread(fronted.cluster.wait_until_agreed)

                async def has_left() -> bool:
                    store._topology.ask_for_refresh()
                    return old.connections_open == 0

                await auntil(has_left)
                assert store.mget(keys) == await store.amget(keys) == [key.encode() for key in keys]
                assert new.connections_open > 0
            finally:
                fronted.proxies[server.port] = old
                server.command("CONFIG", "SET", "cluster-announce-port", old.port)
                await asyncio.to_thread(fronted.cluster.wait_until_agreed)


@each_world
async def test_threads_and_tasks_get_their_own(world: World, fronted: Fronted, namespace: str) -> None:
    """Many callers at once, each with a batch over all servers, get each their own values (H29)."""
    async with opened(fronted.url) as store:

        async def round_trip(n: int) -> bool:
            keys = [f"{namespace}:{n}:{m}" for m in range(20)]
            await world.mset(store, pairs_of(keys), ttl_s=60)
            return await world.mget(store, keys) == [key.encode() for key in keys]

        if world is World.ASYNC:
            found = await asyncio.gather(*(round_trip(n) for n in range(60)))
        else:
            found = await asyncio.gather(*(asyncio.to_thread(asyncio.run, round_trip(n)) for n in range(60)))
        assert found == [True] * 60


async def test_a_replica_takes_over(namespace: str) -> None:
    """When a server is killed its keys are misses, the others hits; soon its replica holds them, in both worlds."""
    with ValkeyCluster(n_replicas=1) as cluster:
        keys = [f"{namespace}:{n}" for n in range(100)]
        killed = cluster.primaries[0]
        own = {key for key in keys if cluster.owner_of(slot_of(key)) is killed}
        async with FailOpenStore(opened(cluster.url)) as store:
            await store.asave(pairs_of(keys), ttl_s=600)
            killed.command("WAIT", 1, 5000)
            await warm(store, keys)
            killed.kill()
            assert store.mget(keys) == [None if key in own else key.encode() for key in keys]
            assert await store.amget(keys) == [None if key in own else key.encode() for key in keys]

            async def has_taken_over() -> bool:
                values = store.mget(keys)
                assert [value for key, value in zip(keys, values, strict=True) if key not in own].count(None) == 0
                return None not in values

            await auntil(has_taken_over)
            assert await store.amget(keys) == [key.encode() for key in keys]
            assert store.save(pairs_of(keys), ttl_s=600)
            assert await store.asave(pairs_of(keys), ttl_s=600)
