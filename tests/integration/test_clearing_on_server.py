"""Clearing on a server that others use too: only what is ours, and only what was meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from langchain_core.outputs import Generation

from cache import CacheBackedEmbeddings, CacheSettings, ResponseCache, StoreError, store_from_url
from cache.clearing import aclear_entries, clear_entries
from cache.deadline import Deadline
from tests.fakes import CountingEmbeddings
from tests.integration.calling import PATIENT_S, World

if TYPE_CHECKING:
    from tests.proxy import FaultProxy
    from tests.servers import ValkeyServer

SETTINGS = CacheSettings(deadline_ms=round(1000 * PATIENT_S))
LLM = "[('model', 'm')]"
HASH = "0" * 32
# Keys that look like ours, or like what a careless pattern would match.
FOREIGN = {
    f"openai:m:{HASH}": b"a string of somebody else's",
    "openai:m:nohash": b"RCE1 no key of ours",
    "openai": b"1",
    "openai:": b"1",
    "openai:m": b"1",
    f"xopenai:m:{HASH}": b"RCE1",
    f"openaix:m:{HASH}": b"RCE1",
    f"OPENAI:m:{HASH}": b"RCE1",
    f"openai:m:{HASH.replace('0', 'A')}": b"RCE1 not in our spelling",
    "user:1": b"1",
}

each_world = pytest.mark.parametrize("world", World)


@pytest.fixture
def server(valkey: ValkeyServer) -> ValkeyServer:
    """The server, empty."""
    valkey.command("FLUSHALL")
    return valkey


def keys(server: ValkeyServer) -> set[bytes]:
    """All keys but those of counts."""
    found: list[bytes] = server.command("KEYS", "*")
    return {key for key in found if b"stats" not in key.split(b":")[:2]}


async def fill(server: ValkeyServer, world: World, namespace: str | None = None, n_answers: int = 1) -> None:
    """Store answers and a vector in a namespace."""
    async with ResponseCache.from_url(server.url, namespace=namespace, settings=SETTINGS) as cache:
        for n in range(n_answers):
            await world.update(cache, f"question {n}", LLM, [Generation(text="fine")])
    async with CacheBackedEmbeddings.from_url(
        CountingEmbeddings(), server.url, model="m", namespace=namespace, settings=SETTINGS
    ) as embeddings:
        await world.embed(embeddings, ["text"])


async def clear(cache: ResponseCache, world: World) -> None:
    return cache.clear() if world is World.SYNC else await cache.aclear()


@each_world
async def test_answers_of_one_namespace_are_cleared_and_nothing_else(world: World, server: ValkeyServer) -> None:
    """Clearing deletes a namespace's answers; its vectors and other namespaces stay, also those with globs in them."""
    others = [None, "b", "a*", "*", "[a]", "aa"]
    for tenant in ["a", *others]:
        await fill(server, world, tenant)
    before = keys(server)
    async with ResponseCache.from_url(server.url, namespace="a", settings=SETTINGS) as cache:
        await clear(cache, world)
    gone = before - keys(server)
    assert len(gone) == 1
    assert gone.pop().startswith(b"a:openai:m:")


@each_world
@pytest.mark.parametrize("namespace", ["*", "a?", "[a]", "a\\", "a:b", "a b", "ü"])
async def test_a_namespace_of_any_characters_clears_only_itself(
    namespace: str, world: World, server: ValkeyServer
) -> None:
    """A namespace with pattern characters in it clears its own answers and no others."""
    for tenant in (namespace, "a", "ab", "other"):
        await fill(server, world, tenant)
    async with ResponseCache.from_url(server.url, namespace=namespace, settings=SETTINGS) as cache:
        await clear(cache, world)
        assert await world.lookup(cache, "question 0", LLM) is None
    assert len(keys(server)) == 7


@each_world
async def test_foreign_keys_stay(world: World, server: ValkeyServer) -> None:
    """Strings of others under keys like ours, keys that only resemble ours, lists and hashes are all still there."""
    for key, value in FOREIGN.items():
        server.command("SET", key, value)
    server.command("RPUSH", f"openai:list:{HASH}", "x")
    server.command("HSET", f"openai:hash:{HASH}", "field", "x")
    before = keys(server)
    await fill(server, world, n_answers=3)
    async with ResponseCache.from_url(server.url, settings=SETTINGS) as cache:
        await clear(cache, world)
        assert await world.lookup(cache, "question 0", LLM) is None
    left = keys(server)
    assert before <= left
    assert len(left - before) == 1  # the vector
    assert {key: server.command("GET", key) for key in FOREIGN} == FOREIGN


@each_world
async def test_an_answer_is_cleared_although_it_is_damaged(world: World, server: ValkeyServer) -> None:
    """An entry that begins like ours is deleted, whatever became of the rest of it."""
    server.command("SET", f"openai:m:{HASH}", b"RCE1 and nothing more")
    async with ResponseCache.from_url(server.url, settings=SETTINGS) as cache:
        await clear(cache, world)
    assert server.command("DBSIZE") == 0


@each_world
async def test_many_entries_are_cleared_in_bounded_steps(world: World, proxy: FaultProxy, valkey: ValkeyServer) -> None:
    """Two and a half thousand entries go in steps, by commands that do not block the server; the number is given."""
    pairs = [part for n in range(2500) for part in (f"openai:m:{n:032x}", b"RCE1 entry")]
    valkey.command("MSET", *pairs)
    async with store_from_url(proxy.url, deadline=Deadline(PATIENT_S)) as store:
        if world is World.SYNC:
            assert clear_entries(store, "openai:") == 2500
        else:
            assert await aclear_entries(store, "openai:") == 2500
    assert valkey.command("DBSIZE") == 0
    assert set(proxy.commands) == {b"SCAN", b"GETRANGE", b"UNLINK"}
    assert proxy.commands.count(b"UNLINK") == 3


@each_world
async def test_clearing_a_server_that_is_down_shows(world: World, proxy: FaultProxy) -> None:
    """Unlike lookups and updates, clearing raises when the server cannot be reached: it must not seem done."""
    proxy.refuse()
    async with ResponseCache.from_url(proxy.url, settings=SETTINGS) as cache:
        with pytest.raises(StoreError):
            await clear(cache, world)
