"""What each way of failing is for a caller: a miss that is counted by its name, and nothing worse."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from langchain_core.outputs import Generation

from cache import CacheBackedEmbeddings, CacheSettings, ResponseCache, store_from_url
from cache.deadline import Deadline
from cache.wrappers import FailOpenStore
from tests.fakes import CountingEmbeddings
from tests.integration.calling import IMPATIENT_S, PATIENT_S, World, auntil, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.proxy import FaultProxy
    from tests.servers import ValkeyServer

KEY, VALUE = "emb:m:0", bytes(range(256))
LLM = "[('model', 'm')]"
ANSWER = [Generation(text="fine")]
LONG_S = 600.0


@dataclass(frozen=True)
class Fault:
    """A way to fail, and what is expected of it.

    Attributes:
        begin: brings it about.
        reason: what it is counted as.
        opens: whether the server is left alone then.
        deadline_s: over what operations may take; long where the fault shows at once.
    """

    begin: Callable[[FaultProxy], None]
    reason: str
    opens: bool = True
    deadline_s: float = PATIENT_S


def replies(text: str) -> Callable[[FaultProxy], None]:
    """Answer everything with these words."""
    return lambda proxy: proxy.reply_with(f"{text}\r\n".encode())


HANGING = {
    "swallowed": Fault(lambda proxy: proxy.blackhole(), "timeout", deadline_s=IMPATIENT_S),
    "dripping": Fault(lambda proxy: proxy.drip(1, 0.05), "timeout", deadline_s=IMPATIENT_S),
    "late": Fault(lambda proxy: proxy.delay_replies(LONG_S), "timeout", deadline_s=IMPATIENT_S),
}
BROKEN_OFF = {
    "refused": Fault(lambda proxy: proxy.refuse(), "refused"),
    "reset": Fault(lambda proxy: proxy.reset(), "connection"),
    "truncated": Fault(lambda proxy: proxy.truncate(2), "connection"),
}
UNUSABLE = {
    "loading": Fault(replies("-LOADING Redis is loading the dataset in memory"), "loading"),
    "no login": Fault(replies("-NOAUTH Authentication required."), "auth"),
    "wrong login": Fault(replies("-WRONGPASS invalid username-password pair"), "auth"),
    "cluster down": Fault(replies("-CLUSTERDOWN Hash slot not served"), "cluster_down"),
    "primary down": Fault(replies("-MASTERDOWN Link with MASTER is down"), "cluster_down"),
    "moved": Fault(replies("-MOVED 3999 127.0.0.1:6381"), "cluster"),
    "full of clients": Fault(replies("-ERR max number of clients reached"), "connection"),
}
HARMLESS = {
    "garbled": Fault(lambda proxy: proxy.garble(), "protocol"),
    "no permission": Fault(replies("-NOPERM this user has no permissions"), "no_permission", opens=False),
    "wrong type": Fault(replies("-WRONGTYPE Operation against a key"), "wrong_type", opens=False),
    "unknown error": Fault(replies("-ERR something else"), "response", opens=False),
    "number": Fault(replies(":5"), "protocol"),
    "word": Fault(replies("+SURPRISE"), "protocol"),
    "null": Fault(replies("$-1"), "protocol"),
    "null array": Fault(replies("*-1"), "protocol"),
    "empty array": Fault(replies("*0"), "protocol"),
    "array of a number": Fault(replies("*1\r\n:5"), "protocol"),
    "array of an error": Fault(replies("*1\r\n-ERR inside"), "protocol"),
    "too long an array": Fault(replies("*2\r\n$1\r\na\r\n$1\r\nb"), "protocol"),
}
FAULTS = HANGING | BROKEN_OFF | UNUSABLE | HARMLESS

each_fault = pytest.mark.parametrize("name", FAULTS)
each_world = pytest.mark.parametrize("world", World)


async def warm_store(proxy: FaultProxy, valkey: ValkeyServer, world: World, deadline_s: float) -> FailOpenStore:
    """A store with a connection that has been used, in front of a server that holds `KEY`; nothing counted yet."""
    valkey.command("SET", KEY, VALUE)
    store = FailOpenStore(store_from_url(proxy.url, deadline=Deadline(deadline_s)))

    async def is_hit() -> bool:
        return await world.mget(store, [KEY]) == [VALUE]

    await auntil(is_hit)
    return FailOpenStore(store.inner)


@each_world
@each_fault
async def test_a_fault_on_a_used_connection_is_a_counted_miss(
    name: str, world: World, proxy: FaultProxy, valkey: ValkeyServer
) -> None:
    """When the server fails, a lookup is a miss, counted by its reason, and the breaker opens where that helps."""
    fault = FAULTS[name]
    async with await warm_store(proxy, valkey, world, fault.deadline_s) as store:
        fault.begin(proxy)

        async def is_noticed() -> bool:
            assert await world.mget(store, [KEY]) == [None]
            return fault.reason in store.counters.snapshot().failures

        await auntil(is_noticed)
        assert store.breaker.is_open is fault.opens


@each_world
@each_fault
async def test_a_fault_on_the_first_connection_is_a_counted_miss(name: str, world: World, proxy: FaultProxy) -> None:
    """When the server fails from the start, reads and writes are counted and do nothing else."""
    fault = FAULTS[name]
    fault.begin(proxy)
    async with FailOpenStore(store_from_url(proxy.url, deadline=Deadline(fault.deadline_s))) as store:

        async def is_noticed() -> bool:
            assert await world.mget(store, [KEY]) == [None]
            await world.mset(store, [(KEY, VALUE)], ttl_s=60)
            return fault.reason in store.counters.snapshot().failures

        await auntil(is_noticed)
        assert store.counters.snapshot().stored == 0


@each_world
@each_fault
async def test_after_a_fault_a_probe_finds_the_server_back(
    name: str, world: World, proxy: FaultProxy, valkey: ValkeyServer
) -> None:
    """When the fault is over, the breaker closes with nobody calling, and the next lookups are hits again."""
    fault = FAULTS[name]
    async with await warm_store(proxy, valkey, world, fault.deadline_s) as store:
        fault.begin(proxy)
        await world.mget(store, [KEY])
        proxy.forward()
        await asyncio.to_thread(until, lambda: not store.breaker.is_open)

        async def is_hit() -> bool:
            values = await world.mget(store, [KEY])
            assert values in ([None], [VALUE])
            return values == [VALUE]

        await auntil(is_hit)


@each_world
@each_fault
async def test_no_fault_reaches_a_caller_of_the_embeddings(name: str, world: World, proxy: FaultProxy) -> None:
    """While the server fails, texts are embedded as if there were no cache."""
    fault, model = FAULTS[name], CountingEmbeddings()
    settings = CacheSettings(deadline_ms=round(1000 * fault.deadline_s))
    fault.begin(proxy)
    async with CacheBackedEmbeddings.from_url(model, proxy.url, model="m", settings=settings) as embeddings:
        for _ in range(3):
            assert await world.embed(embeddings, ["a", "b"]) == [model.vector("a"), model.vector("b")]
        counts = embeddings.counts()
        assert (counts.hits, counts.misses, counts.made, counts.stored) == (0, 6, 6, 0)


@each_world
@each_fault
async def test_no_fault_reaches_a_caller_of_the_responses(name: str, world: World, proxy: FaultProxy) -> None:
    """While the server fails, a lookup of an answer finds nothing and an update loses nothing but itself."""
    fault = FAULTS[name]
    settings = CacheSettings(deadline_ms=round(1000 * fault.deadline_s))
    fault.begin(proxy)
    async with ResponseCache.from_url(proxy.url, settings=settings) as cache:
        for _ in range(3):
            assert await world.lookup(cache, "question", LLM) is None
            await world.update(cache, "question", LLM, ANSWER)
        counts = cache.counts()
        assert (counts.hits, counts.misses, counts.made, counts.stored) == (0, 3, 3, 0)
        assert "internal" not in counts.failures


@each_world
@each_fault
async def test_a_fault_is_logged_once(
    name: str, world: World, proxy: FaultProxy, valkey: ValkeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    """However many lookups meet a fault, one warning names it."""
    fault = FAULTS[name]
    async with await warm_store(proxy, valkey, world, fault.deadline_s) as store:
        fault.begin(proxy)
        with caplog.at_level(logging.WARNING, logger="resumecache"):

            async def is_noticed() -> bool:
                await world.mget(store, [KEY])
                return fault.reason in store.counters.snapshot().failures

            await auntil(is_noticed)
            for _ in range(5):
                await world.mget(store, [KEY])
        assert sum(f"({fault.reason})" in record.getMessage() for record in caplog.records) == 1
