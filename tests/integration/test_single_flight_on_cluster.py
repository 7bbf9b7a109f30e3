"""Many callers ask the same at once, and what they agree by lies on a cluster or behind Sentinels."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

import pytest

from cache import ResponseCache
from cache.hits import HIT_MARK
from cache.leases import LeaseKeeper
from cache.service import CacheService, SyncCacheService
from tests.integration.calling import World, auntil
from tests.integration.flights import SETTINGS, GatedModel, Worker, all_wait, texts
from tests.openai_server import CHAT, OpenAIServer
from tests.servers import ValkeyCluster, ValkeySentinels

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.servers import ValkeyServer


@pytest.fixture(scope="module")
def cluster() -> Iterator[ValkeyCluster]:
    """Started once, for tests that kill none of its servers."""
    with ValkeyCluster() as cluster:
        yield cluster


@pytest.fixture
def provider() -> Iterator[OpenAIServer]:
    with OpenAIServer() as provider:
        yield provider


class Caches:
    """Caches that know nothing of each other but their servers, as in several processes, each under a model."""

    def __init__(self, url: str, namespace: str) -> None:
        self._url, self._namespace = url, namespace
        self._stack = AsyncExitStack()

    async def model(self) -> GatedModel:
        """A model in a process of its own, so to speak."""
        cache = ResponseCache.from_url(self._url, namespace=self._namespace, settings=SETTINGS)
        return GatedModel(cache=await self._stack.enter_async_context(cache))

    async def aclose(self) -> None:
        await self._stack.aclose()


@pytest.fixture
async def caches(cluster: ValkeyCluster, namespace: str) -> AsyncIterator[Caches]:
    caches = Caches(cluster.url, namespace)
    yield caches
    await caches.aclose()


def cache_of(model: GatedModel) -> ResponseCache:
    assert isinstance(model.cache, ResponseCache)
    return model.cache


def leases(server: ValkeyServer, namespace: str) -> list[bytes]:
    found: list[bytes] = server.command("KEYS", f"lease:{{{namespace}:*")
    return found


async def no_lease_left(cluster: ValkeyCluster, namespace: str) -> None:
    """Return when all leases have been given back, which is done in the background."""

    async def holds() -> bool:
        return not any(leases(server, namespace) for server in cluster.primaries)

    await auntil(holds)


async def test_of_four_processes_one_asks_until_it_is_killed(
    cluster: ValkeyCluster, namespace: str, provider: OpenAIServer
) -> None:
    """Of 4 processes with 16 callers each one makes one call; when it is killed, another makes one for all others."""
    provider.hang()
    leader = Worker(cluster.url, provider, namespace, World.ASYNC)
    await leader.all_wait()
    others = [Worker(cluster.url, provider, namespace, world) for world in [*World, World.SYNC]]
    for worker in others:
        await worker.all_wait()
    assert provider.n_requests(CHAT) == 1
    await leader.kill()

    async def another_asks() -> bool:
        return provider.n_requests(CHAT) == 2

    await auntil(another_asks)
    provider.recover()
    assert [await worker.answers() for worker in others] == [["fine"] * 16] * 3
    assert provider.n_requests(CHAT) == 2


async def test_leases_of_all_servers_are_renewed_and_given_back(
    cluster: ValkeyCluster, namespace: str, caches: Caches
) -> None:
    """Over many of its lives each lease keeps another process waiting, wherever it lies; in the end none is left."""
    first, second = await caches.model(), await caches.model()
    for model in (first, second):
        cache_of(model)._coalescer.keeper = LeaseKeeper(life_s=1.5)  # a busy machine may hold up its thread for a while
    questions = [f"question {n}" for n in range(40)]
    leading = [asyncio.create_task(first.ainvoke(question)) for question in questions]
    await first.gate.arrived(len(questions))
    assert [len(leases(server, namespace)) > 0 for server in cluster.primaries] == [True] * 3
    waiting = [asyncio.create_task(second.ainvoke(question)) for question in questions]
    before = n_scripts(cluster)

    async def have_outlived_themselves() -> bool:
        return n_scripts(cluster) >= before + 6 * len(questions)  # twice their life

    await auntil(have_outlived_themselves)
    first.gate.open()
    answers = await asyncio.gather(*leading, *waiting)
    assert (texts(answers), second.gate.n_requests) == ({"fine"}, 0)
    assert sum(HIT_MARK in answer.response_metadata for answer in answers) == len(questions)
    await no_lease_left(cluster, namespace)


def n_scripts(cluster: ValkeyCluster) -> int:
    """How many scripts the servers have run: one for each renewal of a lease."""
    lines = [server.command("INFO", "commandstats").decode() for server in cluster.primaries]
    counts = [line for text in lines for line in text.splitlines() if line.startswith("cmdstat_eval:")]
    return sum(int(line.partition("calls=")[2].partition(",")[0]) for line in counts)


async def test_a_slot_that_moves_takes_its_leases_along(cluster: ValkeyCluster, namespace: str, caches: Caches) -> None:
    """Who has a lease keeps it while its slot goes to another server, and gives it back there."""
    first, second = await caches.model(), await caches.model()
    task = asyncio.create_task(first.ainvoke("hello"))
    await first.gate.arrived(1)
    source = next(server for server in cluster.primaries if leases(server, namespace))
    target = next(server for server in cluster.primaries if server is not source)
    [lease] = leases(source, namespace)
    slot = source.command("CLUSTER", "KEYSLOT", lease)
    cluster.begin_move(slot, target)
    other = asyncio.create_task(second.ainvoke("hello"))
    await asyncio.to_thread(cluster.end_move, slot, target)
    assert leases(target, namespace) == [lease]
    first.gate.open()
    answers = await asyncio.gather(task, other)
    assert (texts([*answers]), second.gate.n_requests) == ({"fine"}, 0)
    await no_lease_left(cluster, namespace)


async def test_the_server_of_a_lease_dies(namespace: str) -> None:
    """Nobody hangs: with the lease lost, each process asks once, and everybody gets the answer."""
    with ValkeyCluster() as own:
        caches = Caches(own.url, namespace)
        first, second = await caches.model(), await caches.model()
        leading = [asyncio.create_task(first.ainvoke("hello"))]
        await first.gate.arrived(1)
        waiting = [asyncio.create_task(second.ainvoke("hello")) for _ in range(4)]
        await all_wait(cache_of(second), 3)
        next(server for server in own.primaries if leases(server, namespace)).kill()
        await second.gate.arrived(1)
        leading += [asyncio.create_task(first.ainvoke("hello")) for _ in range(3)]
        await all_wait(cache_of(first), 3)
        for model in (first, second):
            model.gate.open()
        async with asyncio.timeout(10):
            assert texts(list(await asyncio.gather(*leading, *waiting))) == {"fine"}
        assert (first.gate.n_requests, second.gate.n_requests) == (1, 1)
        await caches.aclose()


async def test_processes_agree_behind_sentinels(namespace: str) -> None:
    """The primary that Sentinels name keeps the leases; when it dies each process asks once, and nobody hangs."""
    with ValkeySentinels() as sentinels:
        caches = Caches(sentinels.url, namespace)
        first, second = await caches.model(), await caches.model()
        leading = asyncio.create_task(first.ainvoke("hello"))
        await first.gate.arrived(1)
        waiting = [asyncio.create_task(second.ainvoke("hello")) for _ in range(4)]
        await all_wait(cache_of(second), 3)
        first.gate.open()
        assert texts(list(await asyncio.gather(leading, *waiting))) == {"fine"}
        assert (first.gate.n_requests, second.gate.n_requests) == (1, 0)
        first, second = await caches.model(), await caches.model()
        leading = asyncio.create_task(first.ainvoke("bye"))
        await first.gate.arrived(1)
        waiting = [asyncio.create_task(second.ainvoke("bye")) for _ in range(4)]
        await all_wait(cache_of(second), 3)
        sentinels.servers[0].kill()
        await second.gate.arrived(1)
        for model in (first, second):
            model.gate.open()
        async with asyncio.timeout(10):
            assert texts(list(await asyncio.gather(leading, *waiting))) == {"fine"}
        await caches.aclose()


async def test_of_changes_at_once_none_is_lost_while_a_slot_moves(cluster: ValkeyCluster, namespace: str) -> None:
    """Tasks and threads of two services append to one session, while its slot goes to another server: all are there."""
    settings = SETTINGS.model_copy(update={"namespace": namespace})
    async with CacheService.from_url(cluster.url, settings=settings) as service:
        with SyncCacheService.from_url(cluster.url, settings=settings) as other:
            await service.cache_session("abc", [])
            source = next(server for server in cluster.primaries if server.command("KEYS", f"{namespace}:*"))
            target = next(server for server in cluster.primaries if server is not source)
            [key] = source.command("KEYS", f"{namespace}:*")
            slot = source.command("CLUSTER", "KEYSLOT", key)
            cluster.begin_move(slot, target)
            tasks = [service.update_session("abc", partial(appended, n=n)) for n in range(10)]
            with ThreadPoolExecutor(11) as threads:
                move = threads.submit(cluster.end_move, slot, target)
                calls = [threads.submit(other.update_session, "abc", partial(appended, n=n)) for n in range(10, 20)]
                confirmed = await asyncio.gather(*tasks, *map(asyncio.wrap_future, calls))
            move.result()
            assert confirmed == [True] * 20
            assert sorted(await service.get_session("abc") or []) == list(range(20))


def appended(found: list[int] | None, *, n: int) -> list[int]:
    return [*(found or []), n]
