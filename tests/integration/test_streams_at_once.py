"""Many callers stream the same, or run the same tool, at once: one is served by the provider, and nobody hangs."""

from __future__ import annotations

import asyncio
import itertools
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from contextvars import Context
from typing import TYPE_CHECKING, Any

import pytest
from langchain.agents.middleware import ToolCallRequest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, ToolMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from pydantic import Field, PrivateAttr
from typing_extensions import override

from cache import MemoryStore, ResponseCache, cached, flight, store_from_url
from cache.coalescing import flights_of
from cache.hits import HIT_MARK
from cache.tools import ToolResultCache
from tests.fakes import PATIENCE_S
from tests.integration.calling import World, auntil
from tests.integration.flights import SETTINGS, Gate, GatedModel, N, Worker, all_wait
from tests.openai_server import CHAT, OpenAIServer
from tests.servers import HOST, free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import Runnable

    from cache import Store

WORDS = ["one ", "two ", "three"]
CUT = {"finish_reason": "length"}

each_world = pytest.mark.parametrize("world", World)


class GatedStreams(GatedModel):
    """A chat model that streams three words: the first when its gate is open, the others when the second one is."""

    ends_with: dict[str, Any] = Field(default_factory=dict)
    _rest: Gate = PrivateAttr(default_factory=Gate)

    @property
    def rest(self) -> Gate:
        return self._rest

    def open(self) -> None:
        self.gate.open()
        self.rest.open()

    @override
    def _stream(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        self.gate.wait()
        yield _chunk(0)
        self.rest.wait()
        yield _chunk(1)
        yield _chunk(2, **self.ends_with)

    @override
    async def _astream(
        self, messages: list[BaseMessage], *args: Any, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        await self.gate.await_()
        yield _chunk(0)
        await self.rest.await_()
        yield _chunk(1)
        yield _chunk(2, **self.ends_with)


class InThreads(GatedStreams):
    """It has no way of its own to stream asynchronously."""

    _astream = BaseChatModel._astream


def _chunk(n: int, **metadata: Any) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=AIMessageChunk(content=WORDS[n], response_metadata=metadata))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that keeps a chunk is not waited for, however short that is."""
    monkeypatch.setattr(flight, "_READER_S", 0.01)


def reading(world: World, threads: ThreadPoolExecutor, model: Runnable[Any, Any], n: int) -> list[asyncio.Future[Any]]:
    """So many readers of one stream, each with the list of its chunks."""
    if world is World.SYNC:
        return [asyncio.wrap_future(threads.submit(_read, model)) for _ in range(n)]
    return [asyncio.create_task(_aread(model), context=Context()) for _ in range(n)]  # not of a reader in the test


def _read(model: Runnable[Any, Any]) -> list[Any]:
    return list(model.stream("count"))


async def _aread(model: Runnable[Any, Any]) -> list[Any]:
    return [chunk async for chunk in model.astream("count")]


def words(chunks: list[Any]) -> list[str]:
    return [chunk.content for chunk in chunks if chunk.content]


def is_hit(chunks: list[Any]) -> bool:
    return any(HIT_MARK in chunk.response_metadata for chunk in chunks)


@each_world
async def test_of_many_one_is_streamed_and_the_others_replay(
    cache: ResponseCache, threads: ThreadPoolExecutor, world: World
) -> None:
    """64 readers make one call; each gets all chunks one by one, and all but one are told of a hit."""
    model = cached(GatedStreams(), cache)
    readers = reading(world, threads, model, N)
    await all_wait(cache, N - 1)
    model.open()
    streams = await asyncio.gather(*readers)
    assert [words(chunks) for chunks in streams] == [WORDS] * N
    assert (model.gate.n_requests, sum(map(is_hit, streams))) == (1, N - 1)
    assert len({chunks[0].id for chunks in streams}) == N
    counts = cache.counts()
    assert (counts.misses, counts.made, counts.hits, counts.shared) == (1, 1, N - 1, N - 1)


async def test_a_model_that_streams_in_threads_does_not_starve(
    in_memory: ResponseCache, threads: ThreadPoolExecutor
) -> None:
    """More tasks than the loop has threads read a model that only streams in threads: one call, and nobody hangs."""
    with ThreadPoolExecutor(2, thread_name_prefix="asyncio") as few:
        asyncio.get_running_loop().set_default_executor(few)
        model = cached(InThreads(), in_memory)
        readers = reading(World.ASYNC, threads, model, N)
        await all_wait(in_memory, N - 1)
        model.open()
        assert [words(chunks) for chunks in await asyncio.gather(*readers)] == [WORDS] * N
        assert model.gate.n_requests == 1


async def test_the_leader_reads_as_it_comes(in_memory: ResponseCache) -> None:
    """While the provider holds the rest back its reader has the first word, and the others wait for the whole."""
    model = cached(GatedStreams(), in_memory)
    async with aclosing(_open(model)) as stream:
        first = asyncio.ensure_future(anext(stream))
        await model.gate.arrived(1)
        others = reading(World.ASYNC, ThreadPoolExecutor(1), model, 3)
        await all_wait(in_memory, 3)
        model.gate.open()
        assert (await first).content == WORDS[0]
        assert not any(other.done() for other in others)
        rest = asyncio.ensure_future(_rest_of(stream))
        model.rest.open()
        assert words(await rest) == WORDS[1:]
    assert [words(chunks) for chunks in await asyncio.gather(*others)] == [WORDS] * 3


def _open(model: Runnable[Any, Any]) -> Any:
    return model.astream("count")


async def _rest_of(stream: AsyncIterator[Any]) -> list[Any]:
    return [chunk async for chunk in stream]


@each_world
@pytest.mark.parametrize("end", ["fails", "is left", "is dropped"])
async def test_a_leader_that_ends_is_replaced(
    in_memory: ResponseCache, threads: ThreadPoolExecutor, world: World, end: str
) -> None:
    """When a stream breaks, or its reader leaves in the middle of it, one of the others streams for all of them."""
    model = cached(GatedStreams(), in_memory)
    model.gate.open()
    stream: Any = model.astream("count") if world is World.ASYNC else model.stream("count")
    first = await anext(stream) if world is World.ASYNC else next(stream)
    assert first.content == WORDS[0]
    others = reading(world, threads, model, 8)
    await all_wait(in_memory, 8)
    if end == "is left":
        await stream.aclose() if world is World.ASYNC else stream.close()
    elif end == "fails":
        model.rest.errors.append(ValueError("no"))
    else:
        del stream
    model.rest.open()
    if end == "fails":
        with pytest.raises(ValueError, match="no"):
            await _rest_of(stream) if world is World.ASYNC else await asyncio.to_thread(list, stream)
    async with asyncio.timeout(PATIENCE_S):
        assert [words(chunks) for chunks in await asyncio.gather(*others)] == [WORDS] * 8
    assert (model.gate.n_requests, in_memory._coalescer.flights._under_way) == (2, {})


async def test_a_cancelled_leader_is_replaced(cache: ResponseCache) -> None:
    """When the task that streams is cancelled one of the others streams for all that are left."""
    model = cached(GatedStreams(), cache)
    first = asyncio.create_task(_aread(model))
    await model.gate.arrived(1)
    others = [asyncio.create_task(_aread(model)) for _ in range(N - 1)]
    await all_wait(cache, N - 1)
    first.cancel()
    await all_wait(cache, N - 2)
    model.open()
    streams = await asyncio.gather(*others)
    assert ([words(chunks) for chunks in streams], model.gate.n_requests) == ([WORDS] * (N - 1), 2)
    await asyncio.gather(first, return_exceptions=True)


@pytest.mark.parametrize("n_steps", range(30))
async def test_wherever_the_leader_is_cancelled_the_others_are_served(n_steps: int, in_memory: ResponseCache) -> None:
    """At each step of a leader's stream its cancellation leaves nobody waiting, and nothing behind."""
    model = cached(GatedStreams(), in_memory)
    model.open()
    leader, *others = [asyncio.create_task(_aread(model)) for _ in range(3)]
    for _ in range(n_steps):
        await asyncio.sleep(0)
    leader.cancel()
    async with asyncio.timeout(PATIENCE_S):
        assert [words(chunks) for chunks in await asyncio.gather(*others)] == [WORDS] * 2
    await asyncio.gather(leader, return_exceptions=True)

    async def is_nothing_left() -> bool:
        return in_memory._coalescer.flights._under_way == {}

    await auntil(is_nothing_left)


async def test_a_stream_that_is_not_kept_is_not_shared(cache: ResponseCache, threads: ThreadPoolExecutor) -> None:
    """Of a stream that was cut off nobody else gets a copy: all who wait stream for themselves, at once."""
    model = cached(GatedStreams(ends_with=CUT), cache)
    readers = reading(World.ASYNC, threads, model, 8)
    await all_wait(cache, 7)
    model.open()
    streams = await asyncio.gather(*readers)
    assert ([words(chunks) for chunks in streams], any(map(is_hit, streams))) == ([WORDS] * 8, False)
    assert model.gate.n_requests == 8


@each_world
async def test_a_reader_that_keeps_a_chunk_holds_up_nobody(
    in_memory: ResponseCache, threads: ThreadPoolExecutor, world: World, impatient: None
) -> None:
    """While the leader's reader does not go on the others stream for themselves; it gets its own to the end."""
    model = cached(GatedStreams(), in_memory)
    model.open()
    slow: Any = model.astream("count") if world is World.ASYNC else model.stream("count")
    first = await anext(slow) if world is World.ASYNC else next(slow)
    async with asyncio.timeout(PATIENCE_S):
        for chunks in await asyncio.gather(*reading(world, threads, model, 4)):
            assert words(chunks) == WORDS
    rest = await _rest_of(slow) if world is World.ASYNC else list(slow)
    assert words([first, *rest]) == WORDS


async def test_waiting_is_bounded(threads: ThreadPoolExecutor) -> None:
    """Who has waited long enough streams for itself, and the slow leader still gets its own stream."""
    quick = ResponseCache(MemoryStore(), settings=SETTINGS.model_copy(update={"flight_wait_s": 0.05}))
    model = cached(GatedStreams(), quick)
    readers = reading(World.ASYNC, threads, model, 2)
    await model.gate.arrived(2)
    model.open()
    assert [words(chunks) for chunks in await asyncio.gather(*readers)] == [WORDS] * 2


async def test_a_blocking_stream_on_the_loops_thread_does_not_wait(in_memory: ResponseCache) -> None:
    """Behind a task that streams, a blocking reader on the same thread streams for itself."""
    model = cached(GatedStreams(), in_memory)
    task = asyncio.create_task(_aread(model))
    await model.gate.arrived(1)
    model.gate.let_pass(1)
    model.rest.open()
    assert words(_read(model)) == WORDS
    model.gate.open()
    assert words(await task) == WORDS
    assert model.gate.n_requests == 2


def chain_of(model: BaseChatModel) -> Runnable[Any, Any]:
    """A chain, whose streams run in contexts of their own, which their readers do not see."""
    return RunnableLambda(lambda question: question) | model


def test_two_streams_that_one_thread_reads_by_turns_do_not_meet(in_memory: ResponseCache) -> None:
    """Two equal ones, each in the context of its chain, are both the provider's: neither waits for the other."""
    model = cached(GatedStreams(), in_memory)
    model.open()
    pairs = list(zip(chain_of(model).stream("count"), chain_of(model).stream("count"), strict=True))
    assert [words(list(chunks)) for chunks in zip(*pairs, strict=True)] == [WORDS] * 2
    assert model.gate.n_requests == 2


async def test_streams_within_streams_in_opposite_order_end(in_memory: ResponseCache, impatient: None) -> None:
    """Two readers, each of which needs within the one stream what the other one streams, both come to their end."""
    model = cached(GatedStreams(), in_memory)
    model.open()
    both_read = asyncio.Barrier(2)

    async def read_within(outer: str, inner: str) -> list[list[str]]:
        found, inside = list[Any](), list[Any]()
        async for chunk in chain_of(model).astream(outer):
            if not found:
                await both_read.wait()
                inside = [one async for one in chain_of(model).astream(inner)]
            found.append(chunk)
        return [words(found), words(inside)]

    async with asyncio.timeout(PATIENCE_S):
        found = await asyncio.gather(read_within("a", "b"), read_within("b", "a"))
    assert [*found] == [[WORDS] * 2] * 2


@pytest.fixture
def provider() -> Iterator[OpenAIServer]:
    with OpenAIServer() as provider:
        provider.script_chat("".join(WORDS))
        yield provider


async def test_of_two_processes_one_streams_once(redis_url: str, namespace: str, provider: OpenAIServer) -> None:
    """16 tasks of one process and 16 threads of another read one stream: that of a third, until it is killed."""
    provider.hang()
    leader = Worker(redis_url, provider, namespace, World.ASYNC, streams=True)
    await leader.all_wait()
    others = [Worker(redis_url, provider, namespace, world, streams=True) for world in World]
    for worker in others:
        await worker.all_wait()
    assert provider.n_requests(CHAT) == 1
    await leader.kill()

    async def another_asks() -> bool:
        return provider.n_requests(CHAT) == 2

    await auntil(another_asks)
    provider.recover()
    assert [await worker.answers() for worker in others] == [["".join(WORDS)] * 16] * 2
    assert provider.n_requests(CHAT) == 2


async def test_another_process_goes_on_where_a_reader_has_left(redis_url: str, namespace: str) -> None:
    """When a reader leaves, or keeps a chunk, another process streams in its turn; a whole stream is replayed there."""
    models = []
    for _ in range(2):
        cache = ResponseCache.from_url(redis_url, namespace=namespace, settings=SETTINGS)
        models.append(cached(GatedStreams(), cache))
    models[0].gate.open()
    models[1].open()
    stream: Any = models[0].astream("count")
    await anext(stream)
    other = asyncio.create_task(_aread(models[1]), context=Context())
    await stream.aclose()
    assert (words(await other), models[1].gate.n_requests) == (WORDS, 1)
    assert is_hit(await _aread(models[0]))
    for model in models:
        assert isinstance(model.cache, ResponseCache)
        await model.cache.aclose()


# Tools.


@tool
def weather(city: str) -> str:
    """Say the weather."""
    return city


class Tools:
    """Calls of one tool, which runs once its gate is open."""

    def __init__(self, store: Store, namespace: str) -> None:
        self.cache = ToolResultCache(store, {"weather": None}, namespace=namespace, settings=SETTINGS)
        self.gate = Gate()
        self.status = "success"
        self._ids = itertools.count()

    def calling(self, world: World, threads: ThreadPoolExecutor, n: int) -> list[asyncio.Future[Any]]:
        if world is World.SYNC:
            calls = [threads.submit(self.cache.wrap_tool_call, self._request(), self._run) for _ in range(n)]
            return [asyncio.wrap_future(call) for call in calls]
        return [asyncio.ensure_future(self.cache.awrap_tool_call(self._request(), self._arun)) for _ in range(n)]

    async def all_wait(self, n: int) -> None:
        async def holds() -> bool:
            return flights_of(self.cache.store).n_waiting() == n

        await auntil(holds)

    def _request(self) -> ToolCallRequest:
        call: Any = {"name": "weather", "args": {"city": "Bern"}, "id": f"{next(self._ids)}", "type": "tool_call"}
        runtime: Any = None
        return ToolCallRequest(tool_call=call, tool=weather, state={}, runtime=runtime)

    def _run(self, request: ToolCallRequest) -> ToolMessage:
        self.gate.wait()
        return self._message(request)

    async def _arun(self, request: ToolCallRequest) -> ToolMessage:
        await self.gate.await_()
        return self._message(request)

    def _message(self, request: ToolCallRequest) -> ToolMessage:
        status: Any = self.status
        return ToolMessage("sunny", name="weather", tool_call_id=request.tool_call["id"], status=status)


@pytest.fixture(params=["up", "down"])
async def tools(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, namespace: str
) -> AsyncIterator[Tools]:
    monkeypatch.setenv("CACHE_NAMESPACE", namespace)
    url = request.getfixturevalue("redis_url") if request.param == "up" else f"redis://{HOST}:{free_port()}/0"
    async with store_from_url(url, deadline=SETTINGS.deadline()) as store:
        yield Tools(store, namespace)


@each_world
async def test_of_many_calls_of_a_tool_one_runs(tools: Tools, threads: ThreadPoolExecutor, world: World) -> None:
    """64 identical calls run the tool once; each has the result under the id of its own call."""
    calls = tools.calling(world, threads, N)
    await tools.all_wait(N - 1)
    tools.gate.open()
    messages = await asyncio.gather(*calls)
    assert [message.content for message in messages] == ["sunny"] * N
    assert sorted(int(message.tool_call_id) for message in messages) == list(range(N))
    assert (tools.gate.n_requests, tools.cache.counts().shared, tools.cache.counts().misses) == (1, N - 1, 1)


@each_world
async def test_a_tool_that_fails_is_run_by_another(tools: Tools, threads: ThreadPoolExecutor, world: World) -> None:
    """Its error goes to the one call that ran it; one of the others runs it for all that are left."""
    tools.gate.errors.append(ValueError("no"))
    calls = tools.calling(world, threads, 8)
    await tools.all_wait(7)
    tools.gate.open()
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert [isinstance(one, ToolMessage) for one in found].count(False) == 1
    assert tools.gate.n_requests == 2


async def test_a_cancelled_run_of_a_tool_is_replaced(tools: Tools, threads: ThreadPoolExecutor) -> None:
    """When the call that runs it is cancelled one of the others runs it for all that are left."""
    [first] = tools.calling(World.ASYNC, threads, 1)
    await tools.gate.arrived(1)
    others = tools.calling(World.ASYNC, threads, 7)
    await tools.all_wait(7)
    first.cancel()
    await tools.gate.arrived(2)
    tools.gate.open()
    assert len(await asyncio.gather(*others)) == 7
    assert tools.gate.n_requests == 2


async def test_a_result_that_is_not_kept_is_not_shared(tools: Tools, threads: ThreadPoolExecutor) -> None:
    """An error that a tool reports goes to its call alone: the others run it for themselves."""
    tools.status = "error"
    calls = tools.calling(World.ASYNC, threads, 8)
    await tools.all_wait(7)
    tools.gate.open()
    await asyncio.gather(*calls)
    assert tools.gate.n_requests == 8
