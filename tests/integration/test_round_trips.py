"""How often the server is asked: once to look up, once to store, never to shake hands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from langchain_core.outputs import Generation

from cache import CacheBackedEmbeddings, CacheSettings, ResponseCache, store_from_url
from cache.deadline import Deadline
from tests.fakes import CountingEmbeddings
from tests.integration.calling import PATIENT_S, World

if TYPE_CHECKING:
    from tests.proxy import FaultProxy

SETTINGS = CacheSettings(deadline_ms=round(1000 * PATIENT_S))
TEXTS = [f"text {n}" for n in range(256)]
LLM = "[('model', 'm')]"

each_world = pytest.mark.parametrize("world", World)


@each_world
async def test_texts_that_are_all_known_cost_one_round_trip(world: World, proxy: FaultProxy) -> None:
    """Looking up 256 vectors that are all there is one MGET."""
    async with store_from_url(proxy.url, deadline=Deadline(PATIENT_S)) as store:
        embeddings = CacheBackedEmbeddings(CountingEmbeddings(), store, model="m", batch_size=256)
        await world.embed_array(embeddings, TEXTS)
        proxy.reset_counts()
        await world.embed_array(embeddings, TEXTS)
        assert embeddings.counts().hits == 256
        assert (proxy.round_trips, proxy.commands) == (1, [b"MGET"])


@each_world
async def test_texts_that_are_all_new_cost_two_round_trips(world: World, proxy: FaultProxy) -> None:
    """On a new connection, embedding a batch is one MGET and one MSETEX, and nothing to prepare the connection."""
    async with store_from_url(proxy.url, deadline=Deadline(PATIENT_S)) as store:
        embeddings = CacheBackedEmbeddings(CountingEmbeddings(), store, model="m", batch_size=256)
        await world.embed_array(embeddings, TEXTS)
        assert embeddings.counts().stored == 256
        assert (proxy.round_trips, proxy.commands) == (2, [b"MGET", b"MSETEX"])


@each_world
async def test_each_batch_is_stored_at_once(world: World, proxy: FaultProxy) -> None:
    """Of 256 new texts in batches of 100, each batch is stored by a command of its own."""
    async with store_from_url(proxy.url, deadline=Deadline(PATIENT_S)) as store:
        embeddings = CacheBackedEmbeddings(CountingEmbeddings(), store, model="m", batch_size=100)
        await world.embed_array(embeddings, TEXTS)
        assert (proxy.round_trips, proxy.commands) == (4, [b"MGET", b"MSETEX", b"MSETEX", b"MSETEX"])


@each_world
async def test_an_answer_costs_one_round_trip_each_way(world: World, proxy: FaultProxy) -> None:
    """Looking up an answer is one MGET, storing it one SET (trap H23)."""
    async with ResponseCache.from_url(proxy.url, settings=SETTINGS) as cache:
        await world.lookup(cache, "question", LLM)
        await world.update(cache, "question", LLM, [Generation(text="fine")])
        assert await world.lookup(cache, "question", LLM)
        assert (proxy.round_trips, proxy.commands) == (3, [b"MGET", b"SET", b"MGET"])


@each_world
async def test_values_without_a_time_to_live_cost_one_round_trip(world: World, proxy: FaultProxy) -> None:
    """Writing and peeking at many keys is a pipeline each: as many commands, one round trip."""
    async with store_from_url(proxy.url, deadline=Deadline(PATIENT_S)) as store:
        keys = [f"k{n}" for n in range(50)]
        await world.mset(store, [(key, b"1") for key in keys])
        assert (proxy.round_trips, proxy.commands) == (1, [b"SET"] * 50)
        proxy.reset_counts()
        await world.mpeek(store, keys, 4)
        assert (proxy.round_trips, proxy.commands) == (1, [b"GETRANGE"] * 50)


@each_world
async def test_a_server_without_msetex_is_asked_once(world: World, proxy: FaultProxy) -> None:
    """Where the server does not know MSETEX, values and expiries go out as a pipeline of SETs from then on (H23)."""
    proxy.reply_with(b"-ERR unknown command 'MSETEX', with args beginning with: 'k'\r\n", only=frozenset({b"MSETEX"}))
    async with store_from_url(proxy.url, deadline=Deadline(PATIENT_S)) as store:
        await world.mset(store, [("a", b"1"), ("b", b"2")], ttl_s=60)
        assert (proxy.round_trips, proxy.commands) == (2, [b"MSETEX", b"SET", b"SET"])
        assert await world.mget(store, ["a", "b"]) == [b"1", b"2"]
        proxy.reset_counts()
        await world.mset(store, [("a", b"3"), ("b", b"4")], ttl_s=60)
        assert (proxy.round_trips, proxy.commands) == (1, [b"SET", b"SET"])


@each_world
async def test_nothing_to_do_asks_nobody(world: World, proxy: FaultProxy) -> None:
    """Verbs without keys do not even connect."""
    async with store_from_url(proxy.url, deadline=Deadline(PATIENT_S)) as store:
        await world.mget(store, [])
        await world.mset(store, [], ttl_s=60)
        await world.mdelete(store, [])
        await world.mpeek(store, [], 4)
        assert (proxy.connections_open, proxy.commands) == (0, [])


@each_world
async def test_one_caller_uses_one_connection(world: World, proxy: FaultProxy) -> None:
    """Operations one after the other share a connection."""
    async with store_from_url(proxy.url, deadline=Deadline(PATIENT_S)) as store:
        for _ in range(20):
            await world.mget(store, ["a"])
        assert proxy.connections_open == 1
