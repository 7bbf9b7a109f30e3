"""Event loops that come, go and stall, and processes that fork: a store outlives them all."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import subprocess
import sys
import time
import weakref
from typing import TYPE_CHECKING

import pytest

from cache import store_from_url
from cache.deadline import Deadline
from cache.errors import StoreTimeoutError
from cache.wrappers import FailOpenStore
from tests.fakes import Probers
from tests.integration.calling import IMPATIENT_S, PATIENT_S, auntil, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cache import Store
    from tests.proxy import FaultProxy
    from tests.servers import ValkeyServer

KEY, VALUE = "emb:m:0", b"value"
READS = frozenset({b"MGET"})

FORK_WITH_THREADS = """
import os, sys
from cache import store_from_url
from cache.deadline import Deadline

store = store_from_url(sys.argv[1], deadline=Deadline(5.0))
keys = [f"emb:m:{n}" for n in range(200)]
store.mset([(key, key.encode()) for key in keys])
child = os.fork()
mine = keys[::2] if child else keys[1::2]
is_right = all(store.mget([key]) == [key.encode()] for key in mine)
if not child:
    os._exit(not is_right)
sys.exit(os.waitpid(child, 0)[1] or not is_right)
"""

FORK_WITH_TASKS = """
import asyncio, os, sys
from cache import store_from_url
from cache.deadline import Deadline

store = store_from_url(sys.argv[1], deadline=Deadline(5.0))
keys = [f"emb:m:{n}" for n in range(200)]

async def look_up(mine):
    found = await asyncio.gather(*(store.amget([key]) for key in mine))
    return found == [[key.encode()] for key in mine]

async def main():
    await store.amset([(key, key.encode()) for key in keys])
    child = os.fork()
    if not child:
        os._exit(not asyncio.run(look_up(keys[1::2])))
    is_child_wrong = os.waitpid(child, 0)[1]
    is_right = await look_up(keys[::2])
    await store.aclose()
    return is_child_wrong or not is_right

sys.exit(asyncio.run(main()))
"""

FORK_WHILE_DOWN = """
import logging, os, sys, time
from cache import store_from_url
from cache.deadline import Deadline
from cache.wrappers import FailOpenStore
from tests.proxy import FaultProxy

logging.disable()
host, port = sys.argv[1].removeprefix("redis://").removesuffix("/0").split(":")
with FaultProxy(host, int(port)) as proxy:
    proxy.refuse()
    store = FailOpenStore(store_from_url(sys.argv[1].replace(port, str(proxy.port)), deadline=Deadline(5.0)))
    store.mget(["k"])
    child = os.fork()
    if not child:
        end_s = time.monotonic() + 20
        while store.counters.snapshot().failures["refused"] < 2 and time.monotonic() < end_s:
            store.mget(["k"])
        os._exit(store.counters.snapshot().failures["refused"] < 2)
    sys.exit(os.waitpid(child, 0)[1])
"""


@pytest.fixture
def probers() -> Probers:
    return Probers()


def patient(url: str) -> Store:
    return store_from_url(url, deadline=Deadline(PATIENT_S))


def run(script: str, url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", script, url],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_one_store_serves_one_loop_after_the_other(proxy: FaultProxy) -> None:
    """A store that is used in `asyncio.run` again and again, and never closed, works and leaves no connection (H27)."""
    store = patient(proxy.url)
    asyncio.run(store.amset([(KEY, VALUE)]))
    assert [asyncio.run(store.amget([KEY])) for _ in range(5)] == [[VALUE]] * 5
    proxy.wait_for_connections(0)


def test_a_store_is_used_in_two_loops_at_once(proxy: FaultProxy) -> None:
    """Two loops that live at the same time have connections of their own."""
    store = patient(proxy.url)
    with asyncio.Runner() as one, asyncio.Runner() as other:
        one.run(store.amset([(KEY, VALUE)]))
        assert other.run(store.amget([KEY])) == one.run(store.amget([KEY])) == [VALUE]


def test_a_store_is_used_with_and_without_a_loop(proxy: FaultProxy) -> None:
    """What is written without a loop is read in one, and the other way round."""
    with patient(proxy.url) as store:
        store.mset([(KEY, VALUE)])
        assert asyncio.run(store.amget([KEY])) == [VALUE]
        asyncio.run(store.amset([(KEY, b"new")]))
        assert store.mget([KEY]) == [b"new"]


def test_many_loops_do_not_pile_up(proxy: FaultProxy) -> None:
    """Of thirty loops, each with several lookups at once, no connection is left, and the store holds on to one loop."""
    store = patient(proxy.url)
    loops: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()

    async def look_up() -> None:
        loops.add(asyncio.get_running_loop())
        await asyncio.gather(*(store.amget([KEY]) for _ in range(4)))

    for _ in range(30):
        asyncio.run(look_up())
    proxy.wait_for_connections(0)
    gc.collect()
    assert len(loops) <= 1


async def test_a_store_is_used_after_it_was_closed(proxy: FaultProxy) -> None:
    """Closing gives back all connections of this loop; the next operation opens new ones."""
    store = patient(proxy.url)
    await store.amset([(KEY, VALUE)])
    store.mget([KEY])
    await store.aclose()
    await asyncio.to_thread(proxy.wait_for_connections, 0)
    assert await store.amget([KEY]) == [VALUE]
    assert store.mget([KEY]) == [VALUE]
    await store.aclose()


async def test_a_reply_that_came_while_the_loop_was_busy_is_a_hit(valkey: ValkeyServer) -> None:
    """When the loop is blocked past the deadline, an answer that came meanwhile counts."""
    valkey.command("SET", KEY, VALUE)
    async with FailOpenStore(store_from_url(valkey.url, deadline=Deadline(IMPATIENT_S))) as store:

        async def is_hit() -> bool:
            return await store.amget([KEY]) == [VALUE]

        await auntil(is_hit)
        lookup = asyncio.create_task(store.amget([KEY]))
        await asyncio.sleep(0)
        time.sleep(3 * IMPATIENT_S)  # noqa: ASYNC251  a loop that is blocked is what this is about
        assert await lookup == [VALUE]


async def test_a_time_out_of_a_busy_loop_does_not_count_against_the_server(proxy: FaultProxy, probers: Probers) -> None:
    """When the loop is blocked past the deadline and no answer came, the loop is named, and the server stays in use."""
    inner = store_from_url(proxy.url, deadline=Deadline(IMPATIENT_S))

    async def answers() -> bool:
        return await FailOpenStore(inner).amget([KEY]) == [None] and proxy.connections_open > 0

    await auntil(answers)
    async with FailOpenStore(inner) as store:
        held = proxy.hold_next_reply(only=READS)
        lookup = asyncio.create_task(store.amget([KEY]))
        for _ in range(5):  # until it has been sent
            await asyncio.sleep(0)
        time.sleep(3 * IMPATIENT_S)  # noqa: ASYNC251  as above
        assert await lookup == [None]
        held.release()
        assert store.counters.snapshot().failures == {"loop_late": 1}
        await asyncio.to_thread(probers.join)
        assert not store.breaker.is_open


@pytest.mark.parametrize("script", [FORK_WITH_THREADS, FORK_WITH_TASKS, FORK_WHILE_DOWN])
def test_a_forked_child_and_its_parent_both_go_on(script: str, proxy: FaultProxy) -> None:
    """After a fork, both use the store with connections and a breaker of their own, and no warning (H27)."""
    done = run(script, proxy.url)
    assert (done.returncode, done.stderr) == (0, "")


@contextlib.asynccontextmanager
async def busy_loop() -> AsyncIterator[None]:
    """A loop that comes late to all that it does."""
    busy = True

    async def keep_busy() -> None:
        while busy:
            time.sleep(0.015)  # noqa: ASYNC251  blocking the loop is what this is about
            await asyncio.sleep(0)

    task = asyncio.create_task(keep_busy())
    try:
        yield
    finally:
        busy = False
        await task


async def test_a_busy_loop_does_not_make_a_frozen_server_wait_for_ever(own_valkey: ValkeyServer) -> None:
    """A loop that is late again and again lets an operation go on for a moment, and then it ends all the same."""
    async with store_from_url(own_valkey.url, deadline=Deadline(base_s=IMPATIENT_S)) as store:
        await store.aping()
        own_valkey.pause()
        async with busy_loop():
            try:
                with pytest.raises(StoreTimeoutError):
                    async with asyncio.timeout(20):
                        await store.amget(["key"])
            finally:
                own_valkey.resume()


async def test_a_frozen_server_beside_a_busy_loop_is_left_alone(own_valkey: ValkeyServer) -> None:
    """Whoever cannot tell a late loop from a dead server has it asked in the background, and stops waiting for it."""
    inner = store_from_url(own_valkey.url, deadline=Deadline(base_s=IMPATIENT_S))
    await auntil(lambda: is_hit_or_miss(inner))
    async with FailOpenStore(inner) as store:
        own_valkey.pause()
        async with busy_loop():
            try:
                assert await store.amget([KEY]) == [None]
                assert store.counters.snapshot().failures == {"loop_late": 1}
                await asyncio.to_thread(until, lambda: store.breaker.is_open)
                assert await store.amget([KEY]) == [None]
                assert store.counters.snapshot().failures == {"loop_late": 1}
            finally:
                own_valkey.resume()
        await asyncio.to_thread(until, lambda: not store.breaker.is_open)


async def is_hit_or_miss(store: Store) -> bool:
    """Say whether the server answers."""
    with contextlib.suppress(StoreTimeoutError):
        return await store.amget([KEY]) == [None]
    return False
