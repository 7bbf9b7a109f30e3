"""Many callers on few connections: each gets its own answer, also when others are cancelled or must wait."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from cache import StoreError, store_from_url
from cache.deadline import Deadline
from cache.stores.pools import MAX_CONNECTIONS
from cache.wrappers import FailOpenStore
from tests.integration.calling import IMPATIENT_S, PATIENT_S, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cache import Store
    from tests.proxy import FaultProxy, HeldReply
    from tests.servers import ValkeyServer

READS = frozenset({b"MGET"})
N_LOOKUPS = 300
# One store, two deadlines: who says that a MiB may come back waits long, everybody else gives up at once.
TWO_DEADLINES = Deadline(base_s=IMPATIENT_S, per_mib_s=4 * PATIENT_S)
MIB = 2**20


def key_of(n: int) -> str:
    return f"emb:m:{n}"


@pytest.fixture
def named(proxy: FaultProxy, valkey: ValkeyServer) -> FaultProxy:
    """A proxy in front of a server where each key holds its own name."""
    valkey.command("MSET", *(part for n in range(N_LOOKUPS) for part in (key_of(n), key_of(n))))
    return proxy


@pytest.fixture
def held(named: FaultProxy) -> Iterator[list[HeldReply]]:
    """As many held replies as there are connections; released at the end."""
    replies = [named.hold_next_reply(only=READS) for _ in range(MAX_CONNECTIONS)]
    yield replies
    for reply in replies:
        reply.release()


def patient(proxy: FaultProxy) -> Store:
    return store_from_url(proxy.url, deadline=Deadline(PATIENT_S))


async def test_each_of_many_tasks_gets_its_own_value(named: FaultProxy) -> None:
    """Three hundred lookups at once in tasks each give the value of their key, over a bounded number of connections."""
    async with patient(named) as store:
        found = await asyncio.gather(*(store.amget([key_of(n)]) for n in range(N_LOOKUPS)))
        assert found == [[key_of(n).encode()] for n in range(N_LOOKUPS)]
        assert named.connections_open <= MAX_CONNECTIONS


def test_each_of_many_threads_gets_its_own_value(named: FaultProxy) -> None:
    """Three hundred lookups in 64 threads all give the value of their own key, over a bounded number of connections."""
    with patient(named) as store, ThreadPoolExecutor(64) as threads:
        found = list(threads.map(lambda n: store.mget([key_of(n)]), range(N_LOOKUPS)))
        assert found == [[key_of(n).encode()] for n in range(N_LOOKUPS)]
        assert named.connections_open <= MAX_CONNECTIONS


async def test_tasks_and_threads_share_a_store(named: FaultProxy) -> None:
    """One store serves tasks and threads at the same time, each with its own value."""
    async with patient(named) as store:
        in_threads = [asyncio.to_thread(store.mget, [key_of(n)]) for n in range(50)]
        in_tasks = [store.amget([key_of(n)]) for n in range(50, 100)]
        found = await asyncio.gather(*in_threads, *in_tasks)
        assert found == [[key_of(n).encode()] for n in range(100)]


async def test_tasks_on_an_exhausted_pool_miss_and_the_others_are_answered(
    named: FaultProxy, held: list[HeldReply]
) -> None:
    """A task that finds all connections busy is a miss counted as such; the busy ones still get their own values."""
    store = FailOpenStore(store_from_url(named.url, deadline=TWO_DEADLINES))
    async with store:
        busy = [asyncio.create_task(store.amget([key_of(n)], expect_bytes=MIB)) for n in range(MAX_CONNECTIONS)]
        for reply in held:
            await asyncio.to_thread(reply.wait)
        assert await store.amget([key_of(99)]) == [None]
        assert store.counters.snapshot().failures == {"pool_exhausted": 1}
        assert not store.breaker.is_open
        for reply in held:
            reply.release()
        assert await asyncio.gather(*busy) == [[key_of(n).encode()] for n in range(MAX_CONNECTIONS)]


def test_threads_on_an_exhausted_pool_miss_and_the_others_are_answered(
    named: FaultProxy, held: list[HeldReply]
) -> None:
    """A thread that finds all connections busy is a miss counted as such; the busy ones still get their own values."""
    store = FailOpenStore(store_from_url(named.url, deadline=TWO_DEADLINES))
    with store, ThreadPoolExecutor(MAX_CONNECTIONS) as threads:
        busy = [threads.submit(store.mget, [key_of(n)], expect_bytes=MIB) for n in range(MAX_CONNECTIONS)]
        for reply in held:
            reply.wait()
        assert store.mget([key_of(99)]) == [None]
        assert store.counters.snapshot().failures == {"pool_exhausted": 1}
        assert not store.breaker.is_open
        for reply in held:
            reply.release()
        assert [one.result() for one in busy] == [[key_of(n).encode()] for n in range(MAX_CONNECTIONS)]


async def test_a_task_that_waits_is_served_when_another_is_done(named: FaultProxy, held: list[HeldReply]) -> None:
    """A task that waits for a connection gets the first that becomes free, and its own value over it."""
    async with store_from_url(named.url, deadline=TWO_DEADLINES) as store:
        tasks = [asyncio.create_task(store.amget([key_of(n)], expect_bytes=MIB)) for n in range(MAX_CONNECTIONS + 1)]
        for reply in held:
            await asyncio.to_thread(reply.wait)
        held[5].release()
        done, _ = await asyncio.wait([tasks[-1]], timeout=PATIENT_S)
        assert [task.result() for task in done] == [[key_of(MAX_CONNECTIONS).encode()]]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_task_that_waits_is_served_when_another_is_cancelled(named: FaultProxy, held: list[HeldReply]) -> None:
    """When a busy connection is given up with its cancelled caller, a new one is made for the task that waits."""
    async with store_from_url(named.url, deadline=TWO_DEADLINES) as store:
        busy = [asyncio.create_task(store.amget([key_of(n)], expect_bytes=MIB)) for n in range(MAX_CONNECTIONS)]
        for reply in held:
            await asyncio.to_thread(reply.wait)
        waiting = asyncio.create_task(store.amget([key_of(99)], expect_bytes=MIB))
        await asyncio.sleep(0)
        busy[5].cancel()
        assert await asyncio.wait_for(waiting, PATIENT_S) == [key_of(99).encode()]
        for reply in held:
            reply.release()
        assert (await asyncio.gather(*busy, return_exceptions=True))[7] == [key_of(7).encode()]


def test_a_thread_that_waits_is_served_when_another_is_done(named: FaultProxy, held: list[HeldReply]) -> None:
    """A thread that waits for a connection gets the first that becomes free, and its own value over it."""
    with store_from_url(named.url, deadline=TWO_DEADLINES) as store, ThreadPoolExecutor(64) as threads:
        busy = [threads.submit(store.mget, [key_of(n)], expect_bytes=MIB) for n in range(MAX_CONNECTIONS)]
        for reply in held:
            reply.wait()
        waiting = threads.submit(store.mget, [key_of(99)], expect_bytes=MIB)
        held[5].release()
        assert waiting.result(PATIENT_S) == [key_of(99).encode()]
        for reply in held:
            reply.release()
        assert [one.result() for one in busy] == [[key_of(n).encode()] for n in range(MAX_CONNECTIONS)]


@pytest.mark.parametrize("n_steps", range(12))
async def test_a_cancelled_lookup_leaves_its_reply_to_nobody(n_steps: int, named: FaultProxy) -> None:
    """Wherever a lookup is cancelled, the next ones on the same store get their own values."""
    async with patient(named) as store:
        await store.amget([key_of(0)])
        held = named.hold_next_reply(only=READS)
        cancelled = asyncio.create_task(store.amget([key_of(1)]))
        for _ in range(n_steps):
            await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        following = [asyncio.create_task(store.amget([key_of(n)])) for n in (2, 3)]
        held.release()
        assert await asyncio.gather(*following) == [[key_of(n).encode()] for n in (2, 3)]


@pytest.mark.parametrize("after_ms", [0, 1, 2, 3, 5, 8, 13])
async def test_cancelling_half_of_all_lookups_mixes_up_no_reply(after_ms: int, named: FaultProxy) -> None:
    """When every other of many concurrent lookups is cancelled on its way, all that are left get their own values."""
    named.delay_replies(0.005, only=READS)
    async with patient(named) as store:
        for n in range(3):  # on new connections, then on used ones
            tasks = [asyncio.create_task(store.amget([key_of(100 * n + m)])) for m in range(64)]
            await asyncio.sleep(after_ms / 1000)
            for task in tasks[::2]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            found = {m: task.result() for m, task in enumerate(tasks) if not task.cancelled()}
            assert found.keys() >= set(range(1, 64, 2))
            assert found == {m: [key_of(100 * n + m).encode()] for m in found}


async def test_cancelled_lookups_use_up_no_connections(named: FaultProxy, held: list[HeldReply]) -> None:
    """After more lookups were cancelled than there are connections, the store serves as before."""
    async with patient(named) as store:
        for _ in range(2):
            tasks = [asyncio.create_task(store.amget([key_of(n)])) for n in range(2 * MAX_CONNECTIONS)]
            await asyncio.sleep(0.02)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for reply in held:
            reply.release()
        found = await asyncio.gather(*(store.amget([key_of(n)]) for n in range(64)))
        assert found == [[key_of(n).encode()] for n in range(64)]


async def test_a_late_reply_reaches_nobody(named: FaultProxy) -> None:
    """A reply that comes after its lookup gave up is not taken for the answer to the next."""
    async with store_from_url(named.url, deadline=TWO_DEADLINES) as store:
        held = named.hold_next_reply(only=READS)
        with pytest.raises(StoreError):
            await store.amget([key_of(1)])
        held.release()
        assert await store.amget([key_of(2)], expect_bytes=MIB) == [key_of(2).encode()]


def test_a_late_reply_reaches_no_thread(named: FaultProxy) -> None:
    """A reply that comes after a blocking lookup gave up is not taken for the answer to the next."""
    with store_from_url(named.url, deadline=TWO_DEADLINES) as store:
        held = named.hold_next_reply(only=READS)
        with pytest.raises(StoreError):
            store.mget([key_of(1)])
        held.release()
        assert store.mget([key_of(2)], expect_bytes=MIB) == [key_of(2).encode()]


def test_threads_that_fail_use_up_no_connections(named: FaultProxy) -> None:
    """After more lookups timed out than there are connections, the store serves as before."""
    with store_from_url(named.url, deadline=TWO_DEADLINES) as store:
        named.blackhole(only=READS)
        threads = [threading.Thread(target=_fail, args=(store,)) for _ in range(2 * MAX_CONNECTIONS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        named.forward()
        until(lambda: store.mget([key_of(1)], expect_bytes=MIB) == [key_of(1).encode()])


def test_who_is_under_way_when_a_store_is_closed_leaves_no_connection(named: FaultProxy) -> None:
    """A thread that waits for its reply while the store is closed gets it, and then its connection is closed too."""
    with ThreadPoolExecutor() as threads, patient(named) as store:
        held = named.hold_next_reply(only=READS)
        lookup = threads.submit(store.mget, [key_of(1)])
        held.wait()
        store.close()
        held.release()
        assert lookup.result(PATIENT_S) == [key_of(1).encode()]
        named.wait_for_connections(0)
        assert store.mget([key_of(2)]) == [key_of(2).encode()]


def test_a_connection_that_comes_after_the_closing_is_not_kept(named: FaultProxy) -> None:
    """A connection that is still being made when its caller has given up and the store is closed is closed at once."""
    store = store_from_url(named.url.removesuffix("0") + "1", deadline=Deadline(IMPATIENT_S))
    held = named.hold_next_reply(only=frozenset({b"SELECT"}))
    _fail(store)
    held.wait()
    store.close()
    held.release()
    named.wait_for_connections(0)


def _fail(store: Store) -> None:
    with pytest.raises(StoreError):
        store.mget([key_of(0)])
