"""Real servers that hang, die, come back empty, or want a password."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

import pytest

from cache import StoreError, store_from_url
from cache.deadline import Deadline
from cache.wrappers import FailOpenStore
from tests.integration.calling import IMPATIENT_S, PATIENT_S, World, auntil, until
from tests.proxy import FaultProxy
from tests.servers import HOST, ValkeyServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cache import Store

KEY, VALUE = "emb:m:0", b"value"
PASSWORD = "correct-horse"  # noqa: S105  of a server that lives as long as its test
HANGS_S = 2.0  # twenty lookups that each waited for their deadline in turn would be there; forty times too long

each_world = pytest.mark.parametrize("world", World)


def opened(url: str, deadline_s: float) -> Store:
    return store_from_url(url, deadline=Deadline(deadline_s))


@pytest.fixture
def locked_valkey() -> Iterator[ValkeyServer]:
    """A server that wants a password."""
    with ValkeyServer(["--requirepass", PASSWORD]) as server:
        server.command("SET", KEY, VALUE)
        yield server


@each_world
async def test_a_frozen_server_is_left_alone_until_it_goes_on(world: World, own_valkey: ValkeyServer) -> None:
    """While a server is frozen lookups are misses; when it goes on, they are hits without anybody's doing."""
    own_valkey.command("SET", KEY, VALUE)
    async with FailOpenStore(opened(own_valkey.url, IMPATIENT_S)) as store:

        async def is_hit() -> bool:
            return await world.mget(store, [KEY]) == [VALUE]

        async def is_open() -> bool:
            assert await world.mget(store, [KEY]) == [None]
            return store.breaker.is_open

        await auntil(is_hit)
        own_valkey.pause()
        await auntil(is_open)
        own_valkey.resume()
        await auntil(is_hit)


async def test_twenty_tasks_on_a_frozen_server_wait_together(own_valkey: ValkeyServer) -> None:
    """Twenty lookups at once wait for one deadline, not for twenty."""
    own_valkey.pause()
    async with FailOpenStore(opened(own_valkey.url, IMPATIENT_S)) as store:
        started_s = time.monotonic()
        assert await asyncio.gather(*(store.amget([KEY]) for _ in range(20))) == [[None]] * 20
        assert time.monotonic() - started_s < HANGS_S


def test_twenty_threads_on_a_frozen_server_wait_together(own_valkey: ValkeyServer) -> None:
    """Twenty lookups in threads wait for one deadline, not for twenty."""
    own_valkey.pause()
    found: list[list[bytes | None]] = []
    with FailOpenStore(opened(own_valkey.url, IMPATIENT_S)) as store:
        threads = [threading.Thread(target=lambda: found.append(store.mget([KEY]))) for _ in range(20)]
        started_s = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert time.monotonic() - started_s < HANGS_S
    assert found == [[None]] * 20


def test_lookups_one_after_the_other_pay_for_one_deadline(own_valkey: ValkeyServer) -> None:
    """After the first lookup that a frozen server did not answer, the others do not wait."""
    own_valkey.pause()
    with FailOpenStore(opened(own_valkey.url, IMPATIENT_S)) as store:
        started_s = time.monotonic()
        assert [store.mget([KEY]) for _ in range(100)] == [[None]] * 100
        assert time.monotonic() - started_s < HANGS_S
        assert store.counters.snapshot().failures == {"timeout": 1}


@each_world
async def test_a_server_that_came_back_empty_loses_no_operation(world: World, own_valkey: ValkeyServer) -> None:
    """With many connections left over from before, the first read and the first write after a restart succeed."""
    async with opened(own_valkey.url, PATIENT_S) as store:
        await world.mset(store, [(KEY, VALUE)])
        await asyncio.gather(*(asyncio.to_thread(store.mget, [KEY]) for _ in range(8)))
        await asyncio.gather(*(store.amget([KEY]) for _ in range(8)))
        own_valkey.restart()
        assert await world.mget(store, [KEY]) == [None]
        own_valkey.restart()
        await world.mset(store, [(KEY, VALUE)])
        assert await world.mget(store, [KEY]) == [VALUE]


@each_world
async def test_a_server_that_died_is_found_again(world: World, own_valkey: ValkeyServer) -> None:
    """While the server is dead lookups are misses, counted as refused; once it is started again, writes are kept."""
    async with FailOpenStore(opened(own_valkey.url, PATIENT_S)) as store:
        await world.mset(store, [(KEY, VALUE)])
        own_valkey.kill()
        assert await world.mget(store, [KEY]) == [None]
        assert store.counters.snapshot().failures == {"refused": 1}
        own_valkey.start()
        await asyncio.to_thread(until, lambda: not store.breaker.is_open)
        await world.mset(store, [(KEY, VALUE)])
        assert await world.mget(store, [KEY]) == [VALUE]


async def test_a_server_killed_under_load_gives_no_wrong_value(own_valkey: ValkeyServer) -> None:
    """Whatever is in flight when the server dies and comes back, each lookup is a miss or its own value."""
    keys = [f"emb:m:{n}" for n in range(20)]
    own_valkey.command("MSET", *(part for key in keys for part in (key, key)))
    async with FailOpenStore(opened(own_valkey.url, PATIENT_S)) as store:
        wrong: list[tuple[str, bytes | None]] = []
        is_over = False

        async def look_up(key: str) -> None:
            while not is_over:
                [value] = await store.amget([key])
                if value not in (None, key.encode()):
                    wrong.append((key, value))
                await asyncio.sleep(0)

        tasks = [asyncio.create_task(look_up(key)) for key in keys]
        for _ in range(2):
            await asyncio.sleep(0.05)
            await asyncio.to_thread(own_valkey.restart)
        is_over = True
        await asyncio.gather(*tasks)
    assert wrong == []


@each_world
@pytest.mark.parametrize("login", ["", ":wrong@", "nobody:wrong@"])
async def test_a_login_that_is_refused_is_counted(login: str, world: World, locked_valkey: ValkeyServer) -> None:
    """Without the right password a lookup is a miss, counted as a matter of login, and no message shows a password."""
    url = locked_valkey.url.replace("redis://", f"redis://{login}")
    async with FailOpenStore(opened(url, PATIENT_S)) as store:
        assert await world.mget(store, [KEY]) == [None]
        assert store.counters.snapshot().failures == {"auth": 1}
        assert store.breaker.is_open


@each_world
async def test_a_password_in_the_url_is_used(world: World, locked_valkey: ValkeyServer) -> None:
    """With the right password a lookup is a hit."""
    async with opened(locked_valkey.url.replace("redis://", f"redis://:{PASSWORD}@"), PATIENT_S) as store:
        assert await world.mget(store, [KEY]) == [VALUE]


@each_world
async def test_no_error_shows_a_password(world: World, own_valkey: ValkeyServer) -> None:
    """An error of a server that hangs names the server and not the password to it."""
    own_valkey.pause()
    async with opened(own_valkey.url.replace("redis://", f"redis://:{PASSWORD}@"), IMPATIENT_S) as store:
        with pytest.raises(StoreError) as caught:
            await world.mget(store, [KEY])
        assert PASSWORD not in str(caught.value)


@each_world
async def test_a_slow_handshake_serves_the_next(world: World, locked_valkey: ValkeyServer) -> None:
    """A login that takes longer than the deadline is a miss; its connection is kept and serves later lookups."""
    with FaultProxy(HOST, locked_valkey.port) as proxy:
        proxy.slow_handshake(0.3)
        url = proxy.url.replace("redis://", f"redis://:{PASSWORD}@")
        async with FailOpenStore(opened(url, IMPATIENT_S)) as store:
            assert await world.mget(store, [KEY]) == [None]

            async def is_hit() -> bool:
                return await world.mget(store, [KEY]) == [VALUE]

            await auntil(is_hit)
            assert proxy.commands.count(b"AUTH") <= 4


@each_world
async def test_whoever_tries_again_at_once_is_served(world: World, proxy: FaultProxy) -> None:
    """A caller whose connection failed and that asks again in the same moment has a new one made for it."""
    async with opened(proxy.url, PATIENT_S) as store:
        proxy.refuse()
        with pytest.raises(StoreError) as caught:
            await world.mget(store, [KEY])
        assert caught.value.reason == "refused"
        proxy.forward()
        assert await world.mget(store, [KEY]) == [None]
