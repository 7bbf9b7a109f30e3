"""`cached` around any chat model: what stays as it was, what is kept, and what is not."""

from __future__ import annotations

import threading
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk
from langchain_core.runnables import ConfigurableField
from langchain_openai import ChatOpenAI
from pydantic import SecretStr
from typing_extensions import override

from cache import CacheSettings, ConfigurationError, MemoryStore, ResponseCache, StoreError, cached
from cache.keys import is_key
from cache.streams import key_of_stream
from tests.fakes import BrokenStore, CountingChatModel, FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from cache import Store

SETTINGS = CacheSettings()
PIECES = [AIMessageChunk(content="one "), AIMessageChunk(content="two "), AIMessageChunk(content="three")]


class StreamingChatModel(CountingChatModel):
    """Streams its pieces; an exception among them is raised."""

    pieces: list[Any] = PIECES

    @override
    def _stream(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        self._requests.append(messages)
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            yield ChatGenerationChunk(message=piece.model_copy(deep=False))


class DelegatingChatModel(StreamingChatModel):
    """Streams asynchronously what it streams."""

    @override
    async def _astream(
        self, messages: list[BaseMessage], *args: Any, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._stream(messages, *args, **kwargs):
            yield chunk


class AnsweringByStream(StreamingChatModel):
    """Gives as a whole what it streams, by streaming it."""

    @override
    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Any:
        chunks = list(self._stream(messages))
        message = AIMessage("".join(str(chunk.message.content) for chunk in chunks))
        result = super()._generate(messages)
        result.generations = [ChatGeneration(message=message)]
        return result


class SeveralChatModel(StreamingChatModel):
    """Is asked for two answers at once."""

    n: int = 2


class TickingClock(FakeClock):
    """A second passes with each look at it."""

    @override
    def now_s(self) -> float:
        self.advance(1)
        return super().now_s()


def response_cache(store: Store | None = None, **changes: Any) -> ResponseCache:
    return ResponseCache(store or MemoryStore(), settings=SETTINGS, **changes)


def text_of(chunks: Any) -> str:
    return str(reduce(add, chunks).content)


async def atext_of(chunks: Any) -> str:
    return text_of([chunk async for chunk in chunks])


def open_ai(**changes: Any) -> ChatOpenAI:
    return ChatOpenAI(model="gpt-4o-mini", api_key=SecretStr("sk-test"), base_url="http://127.0.0.1:9/v1", **changes)


# --- what stays as it was ------------------------------------------------------------------------------------------


def test_a_wrapped_model_is_one_of_its_class() -> None:
    """It is an instance of the model's class, says the same of itself to a cache, and the model is left alone."""
    model = open_ai(temperature=0.5)
    wrapped = cached(model, response_cache())
    assert isinstance(wrapped, ChatOpenAI)
    assert (type(wrapped).__module__, type(wrapped).__qualname__) == (ChatOpenAI.__module__, "ChatOpenAI")
    assert wrapped.lc_id() == model.lc_id()
    assert dumps(wrapped) == dumps(model)
    assert wrapped._get_llm_string(stop=["."], seed=1) == model._get_llm_string(stop=["."], seed=1)
    assert (type(model), model.cache) == (ChatOpenAI, None)
    assert wrapped.root_client is model.root_client


def test_wrapping_twice_wraps_once() -> None:
    """A wrapped model that is wrapped again is of the same class, and keeps its cache or gets the one that is given."""
    first, second = response_cache(), response_cache()
    wrapped = cached(StreamingChatModel(), first)
    again, other = cached(wrapped), cached(wrapped, second)
    assert type(again) is type(other) is type(wrapped) is type(cached(StreamingChatModel(), first))
    assert (again.cache, other.cache, wrapped.cache) == (first, second, first)
    for model in (wrapped, again):
        assert text_of(model.stream("q")) == "one two three"
    assert wrapped.n_requests == 1
    assert first.counts().stored == 2


@pytest.mark.parametrize("given", [None, False, InMemoryCache()], ids=["none", "off", "other"])
def test_a_model_without_a_cache_is_refused(given: Any) -> None:
    """Where neither call nor model has a `ResponseCache`, the message says so."""
    with pytest.raises(ConfigurationError, match="expected a ResponseCache"):
        cached(StreamingChatModel(cache=given))


def test_a_bound_model_is_refused() -> None:
    """What is bound already is no model, and the message says in which order to go about it."""
    bound: Any = StreamingChatModel().bind(stop=["."])
    with pytest.raises(ConfigurationError, match="wrap the model first"):
        cached(bound, response_cache())


def test_the_cache_of_the_model_is_taken() -> None:
    """Without a cache in the call, the model's own one is used."""
    model = cached(StreamingChatModel(cache=response_cache()))
    assert [text_of(model.stream("q")) for _ in range(2)] == ["one two three"] * 2
    assert model.n_requests == 1


def test_copies_and_bindings_are_cached_too() -> None:
    """A copy, a binding, a configuration and a configurable field of a wrapped model share its entries."""
    model = cached(StreamingChatModel(), response_cache())
    configurable = model.configurable_fields(temperature=ConfigurableField(id="t"))
    ways: list[Any] = [model, model.model_copy(), model.with_config(tags=["x"]), model.bind(), configurable]
    assert [text_of(way.stream("q")) for way in ways] == ["one two three"] * 5
    assert model.n_requests == 1
    assert text_of(configurable.with_config(configurable={"t": 0.5}).stream("q")) == "one two three"
    assert text_of(configurable.with_config(configurable={"t": 0.0}).stream("q")) == "one two three"
    assert isinstance(model.cache, ResponseCache)
    assert model.cache.counts().made == 2


def test_a_model_that_loses_its_cache_streams_on() -> None:
    """Without a cache from one moment on, a wrapped model streams as any other."""
    model = cached(StreamingChatModel(), response_cache())
    model.cache = None
    assert [text_of(model.stream("q")) for _ in range(2)] == ["one two three"] * 2
    assert model.n_requests == 2


# --- models of all kinds -------------------------------------------------------------------------------------------


async def test_a_model_that_cannot_stream_is_cached_as_before() -> None:
    """Where a model has no stream, LangChain calls it, and that is looked up and kept once."""
    cache = response_cache()
    model = cached(CountingChatModel(), cache)
    assert [chunk.content for _ in range(2) for chunk in model.stream("q")] == ["fine"] * 2
    assert [chunk.content async for chunk in model.astream("q")] == ["fine"]
    assert model.n_requests == 1
    assert (cache.counts().misses, cache.counts().stored, cache.counts().hits) == (1, 1, 2)


@pytest.mark.parametrize("kind", [StreamingChatModel, DelegatingChatModel])
async def test_a_stream_within_a_stream_is_kept_once(kind: type[StreamingChatModel]) -> None:
    """An asynchronous stream that comes from the model's own blocking one is looked up and kept once."""
    cache = response_cache()
    model = cached(kind(), cache)
    assert [await atext_of(model.astream("q")) for _ in range(2)] == ["one two three"] * 2
    assert model.n_requests == 1
    assert (cache.counts().misses, cache.counts().stored, cache.counts().hits) == (1, 2, 1)


def test_a_call_that_streams_by_itself_is_kept_once() -> None:
    """A model that answers by streaming to itself is looked up and kept once, as the answer."""
    cache = response_cache()
    model = cached(AnsweringByStream(), cache)
    assert [model.invoke("q").content for _ in range(2)] == ["one two three"] * 2
    assert (cache.counts().misses, cache.counts().stored, cache.counts().hits) == (1, 1, 1)


def test_a_model_class_of_a_function_is_wrapped() -> None:
    """A class that only a function knows can be wrapped, as one in a notebook can."""

    class Local(StreamingChatModel):
        """Known here alone."""

        note: dict[str, int] = {}  # noqa: RUF012  a field of pydantic

    assert text_of(cached(Local(), response_cache()).stream("q")) == "one two three"


def test_a_stream_of_several_answers_is_not_cached() -> None:
    """Where several answers are asked for, a stream mixes them, and is neither kept nor replayed."""
    cache = response_cache()
    model = cached(SeveralChatModel(), cache)
    bound = cached(StreamingChatModel(), cache).bind(n=2)
    for _ in range(2):
        assert text_of(model.stream("q")) == text_of(bound.stream("q")) == "one two three"
    assert model.n_requests == 2
    assert cache.counts().stored == 0


def test_several_answers_are_not_replayed_as_one() -> None:
    """An entry that holds several answers is not what a stream is asked for."""
    cache = response_cache()
    model = cached(StreamingChatModel(n_answers=2), cache)
    assert model.invoke("q").content == "fine"
    assert text_of(model.stream("q")) == "one two three"


# --- what is not kept ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_before", [0, 2])
async def test_a_stream_that_raises_is_not_kept(n_before: int) -> None:
    """An error of the model goes to the reader, after what came before it, and nothing is kept."""
    cache = response_cache()
    model = cached(StreamingChatModel(pieces=[*PIECES[:n_before], RuntimeError("down")]), cache)
    found = []
    with pytest.raises(RuntimeError, match="down"):
        found += [chunk.content for chunk in model.stream("q")]
    with pytest.raises(RuntimeError, match="down"):
        await atext_of(model.astream("q"))
    assert cache.counts().stored == 0
    model.pieces = PIECES
    assert text_of(model.stream("q")) == "one two three"


def test_a_stream_of_nothing_is_not_kept() -> None:
    """A model that streams nothing at all fails as without a cache."""
    model = cached(StreamingChatModel(pieces=[]), response_cache())
    for _ in range(2):
        with pytest.raises(ValueError, match="No generation chunks"):
            list(model.stream("q"))
    assert model.n_requests == 2


def test_a_call_whose_arguments_broke_off_is_not_kept() -> None:
    """A call of a tool that ends in the middle of its arguments is not kept, though LangChain can read it."""
    pieces = [
        AIMessageChunk(content="", tool_call_chunks=[{"name": "f", "args": '{"a": 1, ', "id": "c", "index": 0}]),
        AIMessageChunk(content="", tool_call_chunks=[{"name": None, "args": '"b": "x', "id": None, "index": 0}]),
    ]
    cache = response_cache()
    model = cached(StreamingChatModel(pieces=pieces), cache)
    assert reduce(add, model.stream("q")).tool_calls[0]["args"] == {"a": 1, "b": "x"}
    assert cache.counts().skipped == {"invalid_tool_calls": 1}


@pytest.mark.parametrize("stranger", [threading.Lock(), object()], ids=["not_copied", "not_written"])
def test_a_chunk_with_a_foreign_object_is_passed_on(stranger: object) -> None:
    """A stream with an object in it that no entry can hold reaches its reader, each time anew."""
    pieces = [PIECES[0], AIMessageChunk(content="two", additional_kwargs={"stranger": stranger})]
    cache = response_cache()
    model = cached(StreamingChatModel(pieces=pieces), cache)
    for _ in range(2):
        assert text_of(model.stream("q")) == "one two"
    assert model.n_requests == 2
    assert cache.counts().stored == 0


@pytest.mark.parametrize(
    "error", [StoreError("broken", reason="response"), ValueError("a bug")], ids=["failing", "with_a_bug"]
)
async def test_a_broken_store_never_fails_a_stream(error: Any) -> None:
    """Whatever a store raises, a stream is what it is without a cache; once the store is healed it is kept."""
    store = BrokenStore(error)
    model = cached(DelegatingChatModel(), response_cache(store))
    assert text_of(model.stream("q")) == await atext_of(model.astream("q")) == "one two three"
    store.heal()
    for _ in range(2):
        assert text_of(model.stream("q")) == await atext_of(model.astream("q")) == "one two three"
    assert model.n_requests == 3


# --- entries -------------------------------------------------------------------------------------------------------


def test_a_stream_is_replayed_until_its_time_is_over() -> None:
    """An entry of a stream lives as long as one of an answer, and is asked for anew after that."""
    clock = FakeClock()
    model = cached(StreamingChatModel(), response_cache(MemoryStore(clock=clock), ttl_s=60, clock=clock))
    list(model.stream("q"))
    clock.advance(59)
    list(model.stream("q"))
    assert model.n_requests == 1
    clock.advance(1)
    list(model.stream("q"))
    assert model.n_requests == 2


def test_a_stream_is_as_new_as_its_answer() -> None:
    """A second that ends while a stream is kept does not make the whole answer newer: it comes in its chunks again."""
    model = cached(StreamingChatModel(), response_cache(clock=TickingClock()))
    for _ in range(2):
        assert [chunk.content for chunk in model.stream("q") if chunk.content] == ["one ", "two ", "three"]
    assert model.n_requests == 1


def test_the_newer_answer_is_given() -> None:
    """A whole answer that was kept after the stream is what a stream gives from then on, as a call does."""
    clock = FakeClock()
    cache = response_cache(MemoryStore(clock=clock), clock=clock)
    model = cached(StreamingChatModel(), cache)
    list(model.stream("q"))
    clock.advance(1)
    with cache.control(refresh=True):
        newer = model.invoke("q").content
    assert newer != "one two three"
    assert [chunk.content for chunk in model.stream("q")] == [newer]
    assert model.invoke("q").content == newer


def test_the_keys_of_a_stream_are_like_any() -> None:
    """A stream is kept under a key of the documented form, beside that of the answer, and goes with it."""
    store = MemoryStore()
    cache = response_cache(store)
    model = cached(StreamingChatModel(), cache)
    list(model.stream("q"))
    keys = list(store.yield_keys())
    assert len(keys) == 2
    assert all(is_key(key) for key in keys)
    assert {key.rpartition(":")[0] for key in keys} == {"openai:counting-chat"}
    answer = next(key for key in keys if key_of_stream(key) in keys)
    assert key_of_stream(key_of_stream(answer)) not in keys
    cache.clear()
    assert list(store.yield_keys()) == []


def test_a_damaged_stream_is_replayed_from_the_answer() -> None:
    """Where the chunks cannot be read the whole answer is given, and the damage is counted."""
    store = MemoryStore()
    cache = response_cache(store)
    model = cached(StreamingChatModel(), cache)
    list(model.stream("q"))
    chunks, _ = sorted(store.yield_keys(), key=lambda key: key_of_stream(key) in set(store.yield_keys()))
    raw = store.mget([chunks])[0]
    assert raw is not None
    store.mset([(chunks, raw[:-1] + bytes([raw[-1] ^ 1]))], ttl_s=60)
    assert [chunk.content for chunk in model.stream("q")] == ["one two three"]
    assert cache.counts().unreadable == {"DecodeError": 1}
    assert model.n_requests == 1


def test_a_stream_that_is_moved_to_the_answer_is_not_read() -> None:
    """The bytes of a stream under the key of an answer are no answer."""
    store = MemoryStore()
    cache = response_cache(store)
    model = cached(StreamingChatModel(), cache)
    list(model.stream("q"))
    chunks, answer = sorted(store.yield_keys(), key=lambda key: key_of_stream(key) in set(store.yield_keys()))
    raw = store.mget([chunks])[0]
    assert raw is not None
    store.mset([(answer, raw)], ttl_s=60)
    assert model.invoke("q").content == "fine"
    assert cache.counts().unreadable == {"DecodeError": 1}
