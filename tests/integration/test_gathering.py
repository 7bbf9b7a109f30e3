"""Reads of one tick of an event loop: one round trip, each caller's own values, and nobody's fault but the server's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from langchain_core.outputs import Generation

from cache import CacheSettings, ResponseCache, store_from_url
from cache.deadline import Deadline
from cache.errors import PartialFailureError, StoreTimeoutError
from cache.gathering import MAX_KEYS, Gathering
from cache.stores.memory import MemoryStore
from cache.wrappers import FailOpenStore
from tests.integration.calling import PATIENT_S
from tests.servers import ValkeyCluster

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.proxy import FaultProxy
    from tests.servers import ValkeyServer

KEYS = [f"k{number}" for number in range(100)]
LLM = "[('model', 'm')]"


class Noting(MemoryStore):
    """Notes what is read, waits until it is let go on, and can fail."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[int] = []
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.failure: Exception | None = None

    async def amget(self, keys: Sequence[str], *, expect_bytes: int = 0) -> list[bytes | None]:
        self.reads.append(len(keys))
        await self.goes_on.wait()
        if self.failure:
            raise self.failure
        return await super().amget(keys, expect_bytes=expect_bytes)


@pytest.fixture
def noting() -> Noting:
    store = Noting()
    store.mset([(key, key.encode()) for key in KEYS])
    return store


@pytest.fixture(scope="module")
def cluster() -> Iterator[ValkeyCluster]:
    with ValkeyCluster() as cluster:
        yield cluster


async def test_a_hundred_lookups_at_once_are_one_round_trip(proxy: FaultProxy) -> None:
    """Each task gets the answer to its own question."""
    settings = CacheSettings(deadline_ms=round(1000 * PATIENT_S))
    async with ResponseCache.from_url(proxy.url, settings=settings) as cache:
        for key in KEYS:
            await cache.aupdate(key, LLM, [Generation(text=f"answer to {key}")])
        proxy.reset_counts()
        found = await asyncio.gather(*[cache.alookup(key, LLM) for key in KEYS])
        assert [each[0].text for each in found if each] == [f"answer to {key}" for key in KEYS]
        assert (proxy.round_trips, proxy.commands) == (1, [b"MGET"])


async def test_on_a_cluster_each_node_is_asked_once(cluster: ValkeyCluster) -> None:
    """Reads of one tick are split by node again, and everybody gets the value of the own key."""
    async with FailOpenStore(store_from_url(cluster.url, deadline=Deadline(PATIENT_S))) as store:
        await store.amset([(key, key.encode()) for key in KEYS])
        found = await asyncio.gather(*[store.amget([key]) for key in KEYS])
        assert found == [[key.encode()] for key in KEYS]


async def test_caches_on_one_store_share_a_tick(noting: Noting) -> None:
    """What two callers of different caches ask for is one read; different sizes keep their places."""
    gathering = Gathering()
    parts = [KEYS[:1], KEYS[1:4], KEYS[4:4], KEYS[4:6]]
    found = await asyncio.gather(*[gathering.amget(noting, part, expect_bytes=0) for part in parts])
    assert found == [[key.encode() for key in part] for part in parts]
    assert noting.reads == [6]


async def test_who_is_alone_reads_alone(noting: Noting) -> None:
    """One after the other, each read is its own."""
    gathering = Gathering()
    for key in KEYS[:3]:
        assert await gathering.amget(noting, [key], expect_bytes=0) == [key.encode()]
    assert noting.reads == [1, 1, 1]


async def test_large_reads_go_alone(noting: Noting) -> None:
    """Nobody's small read waits for another one's large batch."""
    gathering = Gathering()
    many = [f"m{number}" for number in range(MAX_KEYS + 1)]
    reads = [gathering.amget(noting, keys, expect_bytes=0) for keys in ([KEYS[0]], many, [KEYS[1]])]
    found = await asyncio.gather(*reads)
    assert [len(each) for each in found] == [1, MAX_KEYS + 1, 1]
    assert sorted(noting.reads) == [2, MAX_KEYS + 1]


@pytest.mark.parametrize("n_cancelled", [0, 1, 2])
@pytest.mark.parametrize("when", ["before", "during"])
async def test_a_cancelled_caller_leaves_the_others_alone(noting: Noting, n_cancelled: int, when: str) -> None:
    """Whoever it is, and whether the read has begun or not."""
    gathering = Gathering()
    noting.goes_on.clear()
    tasks = [asyncio.create_task(gathering.amget(noting, [key], expect_bytes=0)) for key in KEYS[:3]]
    for _ in range(1 if when == "before" else 5):
        await asyncio.sleep(0)
    tasks[n_cancelled].cancel()
    await asyncio.sleep(0)
    noting.goes_on.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(found.pop(n_cancelled), asyncio.CancelledError)
    assert found == [[key.encode()] for key in KEYS[:3] if key != KEYS[n_cancelled]]
    assert noting.reads == [3]


async def test_an_error_reaches_all_who_asked(noting: Noting) -> None:
    """Each of them hears of it, and the next read is a new one."""
    gathering = Gathering()
    noting.failure = StoreTimeoutError("late")
    reads = [gathering.amget(noting, [key], expect_bytes=0) for key in KEYS[:3]]
    found = await asyncio.gather(*reads, return_exceptions=True)
    assert [type(each) for each in found] == [StoreTimeoutError] * 3
    noting.failure = None
    assert await gathering.amget(noting, [KEYS[0]], expect_bytes=0) == [KEYS[0].encode()]


async def test_of_a_partial_failure_each_gets_its_part(noting: Noting) -> None:
    """What was read all the same reaches the caller that asked for it."""
    gathering = Gathering()
    failure = StoreTimeoutError("late")
    noting.failure = PartialFailureError.of([failure], values=[b"0", None, b"2"], n_done=2)
    reads = [gathering.amget(noting, [key], expect_bytes=0) for key in KEYS[:3]]
    found = await asyncio.gather(*reads, return_exceptions=True)
    assert [each.values for each in found if isinstance(each, PartialFailureError)] == [[b"0"], [None], [b"2"]]


async def test_a_dead_server_is_a_miss_for_all(own_valkey: ValkeyServer) -> None:
    """A hundred lookups on a server that is killed are a hundred misses and no error."""
    async with FailOpenStore(store_from_url(own_valkey.url)) as store:
        own_valkey.kill()
        assert await asyncio.gather(*[store.amget([key]) for key in KEYS]) == [[None]] * len(KEYS)


def test_two_loops_do_not_meet(valkey: ValkeyServer) -> None:
    """A store that is used in one loop after the other gathers in each."""

    async def read() -> list[list[bytes | None]]:
        return await asyncio.gather(*[store.amget([key]) for key in KEYS[:5]])

    with FailOpenStore(store_from_url(valkey.url, deadline=Deadline(PATIENT_S))) as store:
        store.mset([(key, b"here") for key in KEYS[:5]], ttl_s=60)
        for _ in range(2):
            assert asyncio.run(read()) == [[b"here"]] * 5
