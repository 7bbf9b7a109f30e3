"""Bytes under a key of ours that are not its entry: a counted miss that the next write replaces."""

from __future__ import annotations

import gzip
import logging
from typing import TYPE_CHECKING

import pytest
from langchain_core.outputs import Generation

from cache import CacheBackedEmbeddings, CacheSettings, ResponseCache
from cache.codecs.payloads import MAX_PAYLOAD_BYTES
from cache.entry import Flag, Header, pack_entry
from cache.keys import key_tag
from tests.fakes import START_S, CountingEmbeddings
from tests.integration.calling import PATIENT_S, World

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers import ValkeyServer

SETTINGS = CacheSettings(deadline_ms=round(1000 * PATIENT_S))
LLM = "[('model', 'm')]"
ANSWER = [Generation(text="fine")]
LATER_S = int(START_S) + 10**8  # far from being stale whenever the test runs

# What is done to an entry, and what it is counted as.
DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "DecodeError"),
    "foreign text": (lambda _: b"somebody else's value " * 8, "DecodeError"),
    "foreign JSON": (lambda _: b'{"v": 2, "generations": []}' * 8, "DecodeError"),
    "cut in the header": (lambda raw: raw[:40], "DecodeError"),
    "header alone": (lambda raw: raw[:64], "DecodeError"),
    "cut by a byte": (lambda raw: raw[:-1], "DecodeError"),
    "cut by a number": (lambda raw: raw[:-4], "DecodeError"),
    "longer by a number": (lambda raw: raw + bytes(4), "DecodeError"),
    "longer by a MiB": (lambda raw: raw + bytes(2**20), "DecodeError"),
    "twice": (lambda raw: raw + raw, "DecodeError"),
    "a bit flipped in the payload": (lambda raw: raw[:-2] + bytes([raw[-2] ^ 1]) + raw[-1:], "DecodeError"),
    "a bit flipped in the header": (lambda raw: raw[:9] + bytes([raw[9] ^ 1]) + raw[10:], "DecodeError"),
    "a later version": (lambda raw: raw[:4] + b"\x02" + raw[5:], "EntryVersionError"),
    "an unknown flag": (lambda raw: raw[:5] + b"\x08" + raw[6:], "EntryVersionError"),
    "an unknown element type": (lambda raw: raw[:6] + b"\x09" + raw[7:], "EntryVersionError"),
}

each_world = pytest.mark.parametrize("world", World)
each_damage = pytest.mark.parametrize("name", DAMAGES)


@pytest.fixture
def server(valkey: ValkeyServer) -> ValkeyServer:
    """The server, empty."""
    valkey.command("FLUSHALL")
    return valkey


def only_key(server: ValkeyServer) -> str:
    [key] = server.command("KEYS", "*")
    return str(key, "ascii")


def damage(server: ValkeyServer, change: Callable[[bytes], bytes]) -> None:
    key = only_key(server)
    server.command("SET", key, change(server.command("GET", key)), "EX", 3600)


def opened(model: CountingEmbeddings, server: ValkeyServer) -> CacheBackedEmbeddings:
    return CacheBackedEmbeddings.from_url(model, server.url, model="m", settings=SETTINGS)


@each_world
@each_damage
async def test_a_damaged_vector_is_made_anew(name: str, world: World, server: ValkeyServer) -> None:
    """A vector's entry that is damaged is counted by what is wrong, embedded again among others, and replaced."""
    change, reason = DAMAGES[name]
    model = CountingEmbeddings()
    async with opened(model, server) as embeddings:
        await world.embed(embeddings, ["a"])
        damage(server, change)
        await world.embed(embeddings, ["b"])
        for _ in range(2):
            assert await world.embed(embeddings, ["a", "b"]) == [model.vector("a"), model.vector("b")]
        assert [request.texts for request in model.requests] == [("a",), ("b",), ("a",)]
        assert embeddings.counts().unreadable == {reason: 1}


@each_world
@each_damage
async def test_a_damaged_answer_is_made_anew(name: str, world: World, server: ValkeyServer) -> None:
    """An answer's entry that is damaged is counted by what is wrong, not found, and replaced by the next update."""
    change, reason = DAMAGES[name]
    async with ResponseCache.from_url(server.url, settings=SETTINGS) as cache:
        await world.update(cache, "question", LLM, ANSWER)
        damage(server, change)
        assert await world.lookup(cache, "question", LLM) is None
        assert cache.counts().unreadable == {reason: 1}
        await world.update(cache, "question", LLM, ANSWER)
        assert await world.lookup(cache, "question", LLM) == ANSWER


@each_world
async def test_an_entry_of_another_text_is_not_served(world: World, server: ValkeyServer) -> None:
    """A vector that was moved to the key of another text is not taken for that text's."""
    model = CountingEmbeddings()
    async with opened(model, server) as embeddings:
        await world.embed(embeddings, ["a", "b"])
        one, other = server.command("KEYS", "*")
        server.command("COPY", one, other, "REPLACE")
        assert await world.embed(embeddings, ["a", "b"]) == [model.vector("a"), model.vector("b")]
        assert embeddings.counts().unreadable == {"DecodeError": 1}


@each_world
async def test_an_answer_to_another_question_is_not_served(world: World, server: ValkeyServer) -> None:
    """An answer that was moved to the key of another question is not taken for it (trap H40)."""
    async with ResponseCache.from_url(server.url, settings=SETTINGS) as cache:
        await world.update(cache, "one", LLM, ANSWER)
        key = only_key(server)
        await world.update(cache, "other", LLM, [Generation(text="else")])
        [other] = set(server.command("KEYS", "*")) - {key.encode()}
        server.command("COPY", key, other, "REPLACE")
        assert await world.lookup(cache, "other", LLM) is None
        assert cache.counts().unreadable == {"DecodeError": 1}


@each_world
async def test_a_vector_is_no_answer(world: World, server: ValkeyServer) -> None:
    """A whole entry of the wrong kind under the key of an answer is not served."""
    async with (
        ResponseCache.from_url(server.url, settings=SETTINGS) as cache,
        opened(CountingEmbeddings(), server) as embeddings,
    ):
        await world.embed(embeddings, ["a"])
        vector = server.command("GET", only_key(server))
        server.command("FLUSHALL")
        await world.update(cache, "question", LLM, ANSWER)
        damage(server, lambda _: vector)
        assert await world.lookup(cache, "question", LLM) is None
        assert cache.counts().unreadable == {"DecodeError": 1}


@each_world
@pytest.mark.parametrize(
    "payload",
    [b"", b"null", b"[]", b"{}", b'{"v": 2}', b'{"v": 2, "generations": []}', b'{"v": 2, "generations": [1]}', b"\xff"],
)
async def test_an_answer_of_the_wrong_shape_is_not_served(payload: bytes, world: World, server: ValkeyServer) -> None:
    """A whole entry whose payload is no list of answers is counted and not served."""
    async with ResponseCache.from_url(server.url, settings=SETTINGS) as cache:
        await world.update(cache, "question", LLM, ANSWER)
        key = only_key(server)
        damage(server, lambda _: pack_entry(Header(key_tag(key), created_s=LATER_S, ttl_s=60), payload))
        assert await world.lookup(cache, "question", LLM) is None
        assert cache.counts().unreadable == {"DecodeError": 1}


@each_world
async def test_an_answer_of_a_later_shape_is_counted_apart(world: World, server: ValkeyServer) -> None:
    """A payload that names a version of its own that is not known is counted as that, and not served."""
    async with ResponseCache.from_url(server.url, settings=SETTINGS) as cache:
        await world.update(cache, "question", LLM, ANSWER)
        header = Header(key_tag(only_key(server)), created_s=LATER_S, ttl_s=60)
        damage(server, lambda _: pack_entry(header, b'{"v": 3, "generations": []}'))
        assert await world.lookup(cache, "question", LLM) is None
        assert cache.counts().unreadable == {"EntryVersionError": 1}


@each_world
async def test_an_answer_that_unpacks_to_too_much_is_not_served(world: World, server: ValkeyServer) -> None:
    """A small entry that would unpack to more than 64 MiB is refused while it is unpacked."""
    async with ResponseCache.from_url(server.url, settings=SETTINGS) as cache:
        await world.update(cache, "question", LLM, ANSWER)
        header = Header(key_tag(only_key(server)), created_s=LATER_S, ttl_s=60, flags=Flag.GZIP)
        bomb = gzip.compress(bytes(MAX_PAYLOAD_BYTES + 1), compresslevel=1)
        damage(server, lambda _: pack_entry(header, bomb))
        assert await world.lookup(cache, "question", LLM) is None
        assert cache.counts().unreadable == {"DecodeError": 1}


@each_world
async def test_a_list_under_a_key_is_a_miss_and_is_replaced(world: World, server: ValkeyServer) -> None:
    """Where somebody has put a list under a key of ours, the entry is a miss and the next write takes its place."""
    model = CountingEmbeddings()
    async with opened(model, server) as embeddings:
        await world.embed(embeddings, ["a"])
        key = only_key(server)
        server.command("DEL", key)
        server.command("RPUSH", key, "x")
        for _ in range(2):
            assert await world.embed(embeddings, ["a"]) == [model.vector("a")]
        assert model.n_requests == 2


@each_world
async def test_a_damaged_entry_is_named_in_the_log(
    world: World, server: ValkeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning names the key of a damaged entry, and nothing of the text that it is about."""
    async with opened(CountingEmbeddings(), server) as embeddings:
        await world.embed(embeddings, ["a private text"])
        damage(server, lambda _: b"foreign")
        with caplog.at_level(logging.DEBUG, logger="resumecache"):
            await world.embed(embeddings, ["a private text"])
        warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert len(warnings) == 1
        assert only_key(server) in warnings[0]
        assert "private" not in caplog.text
