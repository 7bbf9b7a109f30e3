"""`CacheBackedEmbeddings` on a real server: what is asked of the model, what is stored, what comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote, unquote

import numpy as np
import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.stores import ByteStore, InMemoryByteStore
from pydantic import SecretStr
from typing_extensions import override

from cache import CacheBackedEmbeddings, CacheSettings, ProviderAnswerError, StoreError, store_from_url
from cache.deadline import Deadline
from tests.fakes import BrokenStore, CountingEmbeddings, FakeClock, Fault, ProviderDownError
from tests.integration.calling import PATIENT_S, World

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.servers import ValkeyServer

PATIENT_MS = round(1000 * PATIENT_S)
SETTINGS = CacheSettings(deadline_ms=PATIENT_MS)

each_world = pytest.mark.parametrize("world", World)


@pytest.fixture
def server(valkey: ValkeyServer) -> ValkeyServer:
    """The server, empty."""
    valkey.command("FLUSHALL")
    return valkey


def opened(underlying: Embeddings, server: ValkeyServer, **options: Any) -> CacheBackedEmbeddings:
    chosen: dict[str, Any] = {"model": "m", "settings": SETTINGS} | options
    return CacheBackedEmbeddings.from_url(underlying, server.url, **chosen)


class Faceless(Embeddings):
    """A model that shows nothing of what its vectors depend on, so that another one can take its place."""

    def __init__(self, inner: CountingEmbeddings) -> None:
        self._inner = inner

    @override
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self._inner.embed_documents(texts)

    @override
    def embed_query(self, text: str) -> list[float]:
        return self._inner.embed_query(text)


class Awkward(Embeddings):
    """A model whose numbers do not fit into float32 as they are."""

    @override
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[1 / 3, -0.0, 1e-45, 1e-60, 3.4e38, len(text) / 7] for text in texts]

    @override
    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


class FolderStore(ByteStore):
    """A byte store on files, as LangChain's `LocalFileStore` is one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @override
    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        paths = [self._folder / quote(key, safe="") for key in keys]
        return [path.read_bytes() if path.exists() else None for path in paths]

    @override
    def mset(self, key_value_pairs: Sequence[tuple[str, bytes]]) -> None:
        for key, value in key_value_pairs:
            (self._folder / quote(key, safe="")).write_bytes(value)

    @override
    def mdelete(self, keys: Sequence[str]) -> None:
        for key in keys:
            (self._folder / quote(key, safe="")).unlink(missing_ok=True)

    @override
    def yield_keys(self, *, prefix: str | None = None) -> Iterator[str]:
        keys = [unquote(path.name) for path in self._folder.iterdir()]
        yield from (key for key in keys if key.startswith(prefix or ""))


@each_world
async def test_what_is_known_is_not_asked_again(world: World, server: ValkeyServer) -> None:
    """A second object, as in a second process, gets all vectors from the server and asks its model nothing."""
    model, other = CountingEmbeddings(), CountingEmbeddings()
    async with opened(model, server) as first, opened(other, server) as second:
        vectors = await world.embed(first, ["a", "b"])
        assert await world.embed(second, ["b", "a"]) == vectors[::-1] == [other.vector("b"), other.vector("a")]
        assert other.n_requests == 0
        assert (second.counts().hits, second.counts().misses) == (2, 0)


@each_world
async def test_equal_texts_are_embedded_once(world: World, server: ValkeyServer) -> None:
    """Of texts that repeat, each is sent once, and every place gets its vector."""
    model = CountingEmbeddings()
    async with opened(model, server) as embeddings:
        found = await world.embed(embeddings, ["a", "b", "a", "a", "b"])
        assert found == [model.vector(text) for text in "abaab"]
        assert [request.texts for request in model.requests] == [("a", "b")]
        assert server.command("DBSIZE") == 2


@each_world
async def test_blank_texts_are_zero_and_never_sent(world: World, server: ValkeyServer) -> None:
    """Blank texts among others are zero vectors of the model's width, are not sent and not stored."""
    model = CountingEmbeddings()
    async with opened(model, server) as embeddings:
        found = await world.embed(embeddings, ["", "a", " \n\t"])
        assert found == [[0.0] * 8, model.vector("a"), [0.0] * 8]
        assert [request.texts for request in model.requests] == [("a",)]
        assert server.command("DBSIZE") == 1


@each_world
async def test_only_blank_texts_are_zero_of_the_right_width(world: World, server: ValkeyServer) -> None:
    """A batch of nothing but blank texts gives zero vectors as wide as the model's."""
    async with opened(CountingEmbeddings(), server) as embeddings:
        assert await world.embed(embeddings, ["", " "]) == [[0.0] * 8] * 2


@each_world
async def test_no_texts_are_no_vectors(world: World, server: ValkeyServer) -> None:
    """An empty batch is an empty answer, and nobody is asked."""
    model = CountingEmbeddings()
    async with opened(model, server) as embeddings:
        assert await world.embed(embeddings, []) == []
        assert (await world.embed_array(embeddings, [])).shape[0] == 0
        assert model.n_requests == 0


@each_world
async def test_queries_are_kept_apart_from_documents(world: World, server: ValkeyServer) -> None:
    """A text has another entry as a query than as a document, and each is found again as what it was."""
    model = CountingEmbeddings()
    async with opened(model, server) as embeddings:
        for _ in range(2):
            assert await world.embed_query(embeddings, "a") == model.vector("a", is_query=True)
            assert await world.embed(embeddings, ["a"]) == [model.vector("a")]
        assert [request.is_query for request in model.requests] == [True, False]


@each_world
async def test_a_query_is_asked_as_a_query_in_its_own_world(world: World, server: ValkeyServer) -> None:
    """A blocking call asks the model's blocking methods, an asynchronous one the asynchronous ones."""
    model = CountingEmbeddings()
    async with opened(model, server) as embeddings:
        await world.embed_query(embeddings, "a")
        await world.embed(embeddings, ["a"])
        assert {request.is_async for request in model.requests} == {world is World.ASYNC}


@each_world
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
async def test_cold_warm_and_off_are_the_same_numbers(
    dtype: Literal["float32", "float16", "int8"], world: World, server: ValkeyServer
) -> None:
    """Bit for bit, the same array comes from the model, from the server, and with the cache switched off."""
    texts = ["a", "bb", "", "a", "ccc"]
    on, off = (
        SETTINGS.model_copy(update={"embedding_dtype": dtype}),
        CacheSettings(enabled=False, embedding_dtype=dtype),
    )
    async with opened(Awkward(), server, settings=on) as cached, opened(Awkward(), server, settings=off) as uncached:
        cold = await world.embed_array(cached, texts)
        warm = await world.embed_array(cached, texts)
        without = await world.embed_array(uncached, texts)
        assert cached.counts().hits == 3
        assert cold.tobytes() == warm.tobytes() == without.tobytes()
        assert cold.dtype == warm.dtype == without.dtype == np.float32
        assert cold.shape == warm.shape == without.shape == (5, 6)
        assert await world.embed(cached, texts) == await world.embed(uncached, texts) == cold.tolist()


@each_world
async def test_a_fleet_of_several_element_types_serves_each_its_own_numbers(world: World, server: ValkeyServer) -> None:
    """Whoever stored first, each gets what it would get alone, and float32 in the store serves all from then on."""
    spaces = {dtype: SETTINGS.model_copy(update={"embedding_dtype": dtype}) for dtype in ("int8", "float16", "float32")}
    model = CountingEmbeddings(width=9)
    alone = {
        dtype: await world.embed_array(opened(model, server, settings=each, namespace=dtype), ["a", "bb"])
        for dtype, each in spaces.items()
    }
    before = len(model.requests)
    for _ in range(2):
        for dtype, each in spaces.items():
            async with opened(model, server, settings=each) as embeddings:
                found = await world.embed_array(embeddings, ["a", "bb"])
                assert found.tobytes() == alone[dtype].tobytes()
    assert len(model.requests) == before + 3  # int8, float16 and float32 once each; nothing in the second round


@each_world
async def test_an_array_is_the_callers_own(world: World, server: ValkeyServer) -> None:
    """Writing into a returned array changes no later answer, cold or warm."""
    model = CountingEmbeddings()
    async with opened(model, server) as embeddings:
        for _ in range(3):
            found = await world.embed_array(embeddings, ["a", "b"])
            assert found.tolist() == [model.vector("a"), model.vector("b")]
            found[:] = 0


@each_world
async def test_an_error_of_the_model_keeps_earlier_batches(world: World, server: ValkeyServer) -> None:
    """When the second batch fails the error goes to the caller, and the first batch is not embedded again."""
    model = CountingEmbeddings(faults={1: Fault.ERROR})
    async with store_from_url(server.url, deadline=Deadline(PATIENT_S)) as store:
        embeddings = CacheBackedEmbeddings(model, store, model="m", batch_size=2)
        with pytest.raises(ProviderDownError):
            await world.embed(embeddings, ["a", "b", "c", "d"])
        assert server.command("DBSIZE") == 2
        assert await world.embed(embeddings, ["a", "b", "c", "d"]) == [model.vector(text) for text in "abcd"]
        assert [request.texts for request in model.requests] == [("a", "b"), ("c", "d"), ("c", "d")]


@each_world
@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.ERROR])
async def test_an_unusable_answer_is_refused_and_not_stored(fault: Fault, world: World, server: ValkeyServer) -> None:
    """An answer that is short, long, ragged, not finite, of another width or no numbers stores nothing and shows."""
    model = CountingEmbeddings(faults={1: fault})
    async with opened(model, server) as embeddings:
        await world.embed(embeddings, ["known"])
        with pytest.raises(ProviderAnswerError):
            await world.embed(embeddings, ["a", "known", "b"])
        assert server.command("DBSIZE") == 1
        assert await world.embed(embeddings, ["a"]) == [model.vector("a")]


@each_world
@pytest.mark.parametrize("fault", [Fault.NAN, Fault.INFINITE, Fault.RAGGED, Fault.OTHER_WIDTH, Fault.NOT_NUMBERS])
async def test_an_unusable_answer_to_a_query_is_refused(fault: Fault, world: World, server: ValkeyServer) -> None:
    """What is refused for documents is refused for a query."""
    model = CountingEmbeddings(faults={1: fault})
    async with opened(model, server) as embeddings:
        await world.embed(embeddings, ["known"])
        with pytest.raises(ProviderAnswerError):
            await world.embed_query(embeddings, "a")
        assert server.command("DBSIZE") == 1


@each_world
async def test_hits_of_another_width_are_embedded_again(world: World, server: ValkeyServer) -> None:
    """When the model has become wider, what was stored before is a miss and is replaced; nothing is of two widths."""
    narrow, wide = CountingEmbeddings(4), CountingEmbeddings(6)
    async with opened(Faceless(narrow), server) as before, opened(Faceless(wide), server) as after:
        await world.embed(before, ["a", "b"])
        assert await world.embed(after, ["a", "b", "c"]) == [wide.vector(text) for text in "abc"]
        n_requests = wide.n_requests
        assert await world.embed(after, ["a", "b", "c"]) == [wide.vector(text) for text in "abc"]
        assert wide.n_requests == n_requests


@each_world
async def test_a_hit_of_another_width_alone_is_embedded_again(world: World, server: ValkeyServer) -> None:
    """Once the width is known, a batch of nothing but narrower hits is embedded again."""
    narrow, wide = CountingEmbeddings(4), CountingEmbeddings(6)
    async with opened(Faceless(narrow), server) as before, opened(Faceless(wide), server) as after:
        await world.embed(before, ["a"])
        await world.embed(after, ["b"])
        assert await world.embed(after, ["a"]) == [wide.vector("a")]
        assert (after.counts().hits, after.counts().misses) == (0, 2)


@each_world
@pytest.mark.parametrize(
    "other",
    [
        {"model": "n"},
        {"namespace": "tenant"},
        {"settings": CacheSettings(deadline_ms=PATIENT_MS, key_secret=SecretStr("anything"))},
        {"settings": CacheSettings(deadline_ms=PATIENT_MS, openai_base_url="http://elsewhere/v1")},
    ],
    ids=["model", "namespace", "secret", "endpoint"],
)
async def test_what_differs_does_not_meet(other: dict[str, Any], world: World, server: ValkeyServer) -> None:
    """Another model, tenant, key secret or endpoint finds nothing of what was stored, and overwrites none of it."""
    mine, theirs = CountingEmbeddings(), CountingEmbeddings()
    async with opened(mine, server) as one, opened(theirs, server, **other) as two:
        for _ in range(2):
            await world.embed(one, ["a"])
            await world.embed(two, ["a"])
        assert (mine.n_requests, theirs.n_requests, server.command("DBSIZE")) == (1, 1, 2)


@each_world
async def test_an_entry_is_served_as_long_as_it_lives(world: World, server: ValkeyServer) -> None:
    """An entry past its time to live is a miss even where the server still has it, and is then replaced."""
    clock, model = FakeClock(), CountingEmbeddings()
    async with store_from_url(server.url, deadline=Deadline(PATIENT_S)) as store:
        embeddings = CacheBackedEmbeddings(model, store, model="m", ttl_s=60, clock=clock)
        await world.embed(embeddings, ["a"])
        clock.advance(59)
        await world.embed(embeddings, ["a"])
        assert model.n_requests == 1
        clock.advance(1)
        await world.embed(embeddings, ["a"])
        assert model.n_requests == 2
        clock.advance(59)
        await world.embed(embeddings, ["a"])
        assert model.n_requests == 2


@each_world
async def test_any_byte_store_will_do(world: World, tmp_path: Path) -> None:
    """Built as LangChain's class of the same name, over its stores of bytes in memory or on files, texts are found."""
    for store in (InMemoryByteStore(), FolderStore(tmp_path)):
        model = CountingEmbeddings()
        embeddings = CacheBackedEmbeddings.from_bytes_store(model, store, namespace=model.model, batch_size=2)
        for _ in range(2):
            assert await world.embed(embeddings, ["a", "b", "c"]) == [model.vector(text) for text in "abc"]
        assert [request.texts for request in model.requests] == [("a", "b"), ("c",)]
        assert len(list(store.yield_keys(prefix="emb:counting:"))) == 3


@each_world
async def test_a_broken_store_is_as_no_store(world: World) -> None:
    """While the store fails, texts are embedded anew; once it is healed, they are found."""
    store, model = BrokenStore(StoreError("broken", reason="response")), CountingEmbeddings()
    embeddings = CacheBackedEmbeddings(model, store, model="m", settings=SETTINGS)
    for _ in range(2):
        assert await world.embed(embeddings, ["a"]) == [model.vector("a")]
    assert embeddings.counts().failures == {"response": 4}
    store.heal()
    for _ in range(2):
        assert await world.embed(embeddings, ["a"]) == [model.vector("a")]
    assert (model.n_requests, embeddings.counts().hits) == (3, 1)


@each_world
async def test_a_store_that_refuses_writes_is_read(world: World) -> None:
    """When only writes fail, the answer is right and lookups are still made."""
    store, model = BrokenStore(StoreError("broken", reason="read_only"), verbs={"mset"}), CountingEmbeddings()
    embeddings = CacheBackedEmbeddings(model, store, model="m", settings=SETTINGS)
    for _ in range(3):
        assert await world.embed(embeddings, ["a"]) == [model.vector("a")]
    assert store.n_asked("mget") + store.n_asked("amget") == 3
    assert embeddings.counts().stored == 0


class DecodingStore(InMemoryByteStore):
    """A byte store that gives text, as one over a client that decodes does."""

    @override
    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        return ["text" for _ in keys]  # type: ignore[misc]  # on purpose


@each_world
async def test_a_byte_store_that_gives_no_bytes_is_as_no_store(world: World) -> None:
    """What a foreign store gives instead of bytes never reaches the caller: it is counted as that store's fault."""
    model = CountingEmbeddings()
    embeddings = CacheBackedEmbeddings.from_bytes_store(model, DecodingStore(), namespace=model.model)
    for _ in range(2):
        assert await world.embed(embeddings, ["a"]) == [model.vector("a")]
    assert embeddings.counts().failures["foreign_store"] >= 1
