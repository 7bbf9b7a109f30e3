"""The exact keys and bytes in Redis: what other versions of this cache, and other programs, find there.

The literals were worked out with `struct`, `hashlib` and `zlib` from the tables in `cache.entry` and `cache.keys`. A
change here is a change of format: it needs a new version, or it makes misses of all that users have stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.outputs import Generation
from typing_extensions import override

from cache import CacheBackedEmbeddings, CacheSettings, ResponseCache, store_from_url
from cache.deadline import Deadline
from tests.fakes import FakeClock
from tests.integration.calling import PATIENT_S, World

if TYPE_CHECKING:
    from tests.servers import ValkeyServer

each_world = pytest.mark.parametrize("world", World)

EMBEDDING_KEY = b"acme:emb:text-embedding-3-small:e2551dbad6198245ca19df84b37bed90"
EMBEDDING_ENTRY = bytes.fromhex(
    "52434531"  # RCE1
    "01 00 01 00"  # version 1, no flags, float32
    "00d2496b"  # created 1,800,000,000 s after the epoch
    "803a0900"  # lives 604,800 s
    "0c000000"  # took 12 ms
    "00000000"  # of no known number of tokens
    "2ef9e43e"  # 1 / norm = 1 / sqrt(5)
    "00000000"  # sealed by no key
    "2dbcb92553b58a64"  # tag of the key
    "0000000000000000"  # of no candidate
    "0000000000000000"  # of no job
    "08000000"  # 8 bytes follow
    "6b45bd9a"  # with this, all words add up to 0
    "0000803f 000000c0"  # 1.0, -2.0
)
RESPONSE_KEY = b"openai:gpt-4o:1890b057ff5ba7494b4bcd455a163b24"
RESPONSE_PAYLOAD = '{"v":2,"generations":[{"info":{"finish_reason":"stop"},"n_bytes":11}]}\nA résumé.'.encode()
RESPONSE_ENTRY = (
    bytes.fromhex(
        "52434531"  # RCE1
        "01 00 00 00"  # version 1, no flags, bytes
        "00d2496b"  # created 1,800,000,000 s after the epoch
        "60540000"  # lives 21,600 s
        "00000000 00000000 00000000 00000000"  # no known time or tokens, no norm, no seal
        "7fe8010a9469e4e9"  # tag of the key
        "0000000000000000 0000000000000000"  # of no candidate and no job
        "52000000"  # 82 bytes follow
        "374ebdc9"  # CRC-32 of all but this
    )
    + RESPONSE_PAYLOAD
)


class Fixed(Embeddings):
    """A model that takes 12 ms for the vector (1, -2)."""

    __module__ = "example"  # part of the key

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock

    @override
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self._clock.advance(0.012)
        return [[1.0, -2.0] for _ in texts]

    @override
    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


@pytest.fixture
def server(valkey: ValkeyServer) -> ValkeyServer:
    """The server, empty."""
    valkey.command("FLUSHALL")
    return valkey


@each_world
async def test_a_vector_is_stored_as_documented(world: World, server: ValkeyServer) -> None:
    """The one key of an embedding, its bytes and its expiry are the documented ones."""
    clock = FakeClock()
    async with store_from_url(server.url, deadline=Deadline(PATIENT_S)) as store:
        embeddings = CacheBackedEmbeddings(
            Fixed(clock), store, model="text-embedding-3-small", namespace="acme", clock=clock
        )
        await world.embed(embeddings, ["Python developer"])
    assert server.command("KEYS", "*") == [EMBEDDING_KEY]
    assert server.command("GET", EMBEDDING_KEY) == EMBEDDING_ENTRY
    assert 604_700 < server.command("TTL", EMBEDDING_KEY) <= 604_800


@each_world
async def test_an_answer_is_stored_as_documented(world: World, server: ValkeyServer) -> None:
    """The one key of an answer, its bytes and its expiry are the documented ones."""
    async with store_from_url(server.url, deadline=Deadline(PATIENT_S)) as store:
        cache = ResponseCache(store, clock=FakeClock(), settings=CacheSettings())
        answer = [Generation(text="A résumé.", generation_info={"finish_reason": "stop"})]
        await world.update(cache, "Who are you?", "[('model', 'gpt-4o'), ('temperature', 0.0)]", answer)
    assert server.command("KEYS", "*") == [RESPONSE_KEY]
    assert server.command("GET", RESPONSE_KEY) == RESPONSE_ENTRY
    assert 21_500 < server.command("TTL", RESPONSE_KEY) <= 21_600


@each_world
async def test_what_is_stored_as_documented_is_read(world: World, server: ValkeyServer) -> None:
    """Entries that another process has written are hits."""
    clock = FakeClock()
    server.command("MSET", EMBEDDING_KEY, EMBEDDING_ENTRY, RESPONSE_KEY, RESPONSE_ENTRY)
    async with store_from_url(server.url, deadline=Deadline(PATIENT_S)) as store:
        embeddings = CacheBackedEmbeddings(
            Fixed(clock), store, model="text-embedding-3-small", namespace="acme", clock=clock
        )
        assert await world.embed(embeddings, ["Python developer"]) == [[1.0, -2.0]]
        assert (embeddings.counts().hits, embeddings.counts().saved_ms) == (1, 12)
        cache = ResponseCache(store, clock=clock)
        found = await world.lookup(cache, "Who are you?", "[('model', 'gpt-4o'), ('temperature', 0.0)]")
        assert found == [Generation(text="A résumé.", generation_info={"finish_reason": "stop"})]
