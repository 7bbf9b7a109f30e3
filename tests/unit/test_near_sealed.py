"""What is near of a sealed store, of vectors of other types, and of entries that change under their keys."""

from __future__ import annotations

import numpy as np
import pytest

from cache import CacheBackedEmbeddings, CacheSettings
from cache.coalescing import flights_of
from cache.counters import Counters
from cache.keys import Kind
from cache.near import NearLeasingStore, NearStore, near_store, server_store
from cache.near_cache import NearCache
from cache.opening import bare_store, near_of, store_for
from cache.sealed_store import SealedStore, seal_store
from cache.sealing import Keyring, SealingKey
from cache.wrappers import FailOpenStore
from tests.fakes import CountingEmbeddings
from tests.integration.calling import World
from tests.tracked import TrackedMemory, answer_of, key_of

BYTES = 2**20
KEY = key_of(0)
ENTRY, NEWER = answer_of(KEY), answer_of(KEY, fill=b"y")
RING, OTHER_RING = (Keyring([SealingKey(bytes((number,)) * 4, bytes((number,)) * 32)]) for number in (1, 2))
TEXTS = ["Python", "Redis", "Zurich"]

each_world = pytest.mark.parametrize("world", World)


@pytest.fixture
def server() -> TrackedMemory:
    """Holds what is sealed; changes made in it directly are somebody else's."""
    return TrackedMemory()


@pytest.fixture
def near(server: TrackedMemory) -> NearLeasingStore:
    """A near store around a sealed one, that has changes told."""
    near = near_store(seal_store(server, RING), BYTES)
    assert isinstance(near, NearLeasingStore)
    near.mset([(KEY, ENTRY)], ttl_s=600)
    near.mget([key_of(999)])
    server.read.clear()
    return near


@each_world
async def test_what_is_near_of_a_sealed_store_is_opened(
    near: NearLeasingStore, server: TrackedMemory, world: World
) -> None:
    """The value is sealed on the server and whole to who reads it, the second time without asking for it."""
    for _ in range(2):
        assert await world.mget(near, [KEY]) == [ENTRY]
    assert server.read == [[KEY]]
    [lying] = server.mget([KEY])
    assert lying is not None
    assert ENTRY not in lying
    assert near.counters.snapshot().near_hits == 1


@each_world
async def test_a_replacement_is_read_at_once(near: NearLeasingStore, world: World) -> None:
    """A value that was replaced, or settled with a lease, is not served from near any more."""
    await world.mget(near, [KEY])
    assert not await world.swap(near, KEY, NEWER, ENTRY, ttl_s=60)
    assert await world.swap(near, KEY, ENTRY, NEWER, ttl_s=60)
    assert await world.mget(near, [KEY]) == [NEWER]
    await world.settle(near, [(KEY, ENTRY)], (KEY, b"one"), ttl_s=60)
    assert await world.mget(near, [KEY]) == [ENTRY]


@each_world
async def test_what_does_not_open_is_not_near(near: NearLeasingStore, server: TrackedMemory, world: World) -> None:
    """A plain entry on the server is no entry to who has keys, and is asked for again each time."""
    server.mset([(KEY, ENTRY)])
    server.tracking.tell([KEY])
    for _ in range(2):
        assert await world.mget(near, [KEY]) != [ENTRY]
    assert server.read == [[KEY], [KEY]]


def test_caches_on_a_sealed_near_store_share_what_is_below(near: NearLeasingStore, server: TrackedMemory) -> None:
    """They share flights with those on the bare server, keep near together, and the bare store below is sealed."""
    store = FailOpenStore(near)
    view = store_for(Kind.OPENAI_RESPONSE, store, CacheSettings(), Counters())
    assert near_of(view) is near.near
    assert isinstance(bare_store(view), SealedStore)
    assert server_store(near) is server
    assert flights_of(view) is flights_of(FailOpenStore(server))


def test_what_one_has_opened_is_not_near_to_who_has_other_keys(
    server: TrackedMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache with keys of its own asks the server, on a store whose values were opened with others."""
    near = NearStore(seal_store(server, RING), NearCache(BYTES))
    monkeypatch.setattr(CacheSettings, "keyring", lambda _: OTHER_RING)
    settings = CacheSettings(key_secret="s" * 32)
    view = store_for(Kind.OPENAI_RESPONSE, FailOpenStore(near), settings, Counters())
    assert near_of(view) is None
    assert isinstance(view, FailOpenStore)
    assert isinstance(view.inner, SealedStore)
    assert (view.inner.keyring, view.inner.inner) == (OTHER_RING, server)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_vectors_of_each_type_are_the_same_from_near(server: TrackedMemory, dtype: str) -> None:
    """Made, read from the server and read from near, the numbers are the same, and nothing is asked in the end."""
    settings = CacheSettings(embedding_dtype=dtype)
    model = CountingEmbeddings()
    cache = CacheBackedEmbeddings(
        model, FailOpenStore(NearStore(server, NearCache(BYTES))), model="m", settings=settings
    )
    made, read = cache.embed_array(TEXTS), cache.embed_array(TEXTS)
    n_read = len(server.read)
    assert np.array_equal(made, read)
    assert np.array_equal(made, cache.embed_array(TEXTS))
    assert len(server.read) == n_read
    assert cache.counts().near_hits == len(TEXTS)


def test_vectors_of_one_type_serve_who_asks_for_another_as_from_the_server(server: TrackedMemory) -> None:
    """Near float32 vectors are rounded to who asks for float16, as those on the server are."""
    store = FailOpenStore(NearStore(server, NearCache(BYTES)))
    exact = CacheBackedEmbeddings(CountingEmbeddings(), store, model="m", settings=CacheSettings())
    rounding = CacheBackedEmbeddings(
        CountingEmbeddings(), store, model="m", settings=CacheSettings(embedding_dtype="float16")
    )
    for _ in range(3):
        vectors = exact.embed_array(TEXTS)
    assert exact.counts().near_hits > 0
    assert np.array_equal(rounding.embed_array(TEXTS), vectors.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("beginning", ["session:", "health:", "stats:", "corpus:c:"])
def test_what_changes_under_its_key_is_not_near(server: TrackedMemory, beginning: str) -> None:
    """Sessions, health, counts and corpora are asked of the server each time."""
    key = key_of(0, before=beginning)
    near = NearStore(server, NearCache(BYTES))
    near.mget([KEY])
    near.mset([(key, answer_of(key))])
    server.read.clear()
    for _ in range(3):
        near.mget([key])
    assert server.read == [[key]] * 3


def test_a_block_is_read_from_near(near: NearLeasingStore, server: TrackedMemory) -> None:
    """Values that are asked for in one piece are near too."""
    for _ in range(2):
        assert near.mget_block([KEY], size_bytes=len(ENTRY)) == [ENTRY]
    assert server.read == [[KEY]]


def test_a_store_that_tells_nothing_is_none_to_be_near_to() -> None:
    """Around a store whose changes are not told there is no near store, sealed or not."""
    below = FailOpenStore(TrackedMemory())
    with pytest.raises(TypeError, match="FailOpenStore"):
        NearStore(seal_store(below, RING), NearCache(BYTES))
