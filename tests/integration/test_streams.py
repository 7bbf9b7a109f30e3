"""Streams of a real client of OpenAI, recorded in a real Valkey and replayed from it."""

from __future__ import annotations

import asyncio
import itertools
import warnings
from contextlib import aclosing
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, Protocol

import openai
import pytest
from langchain_core.callbacks import get_usage_metadata_callback
from langchain_core.messages import AIMessageChunk, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, SecretStr

from cache import CacheSettings, ResponseCache, cached
from tests.integration.calling import PATIENT_S, World
from tests.openai_server import CHAT, OpenAIServer, ToolCalls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from langchain_core.runnables import Runnable

    from tests.servers import ValkeyServer

WORDS = "one two three four"
SCORE = {"score": 7, "reasons": ["Python", "Redis"]}
SCHEMA = {
    "title": "Score",
    "description": "How well it fits.",
    "type": "object",
    "properties": {"score": {"type": "integer"}, "reasons": {"type": "array", "items": {"type": "string"}}},
    "required": ["score", "reasons"],
    "additionalProperties": False,
}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
OTHER_PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}

each_world = pytest.mark.parametrize("world", World)


class Weather(BaseModel):
    """Say how the weather is."""

    place: str
    days: int = 1


WEATHER_CALLS = ToolCalls((("Weather", {"place": "Zürich", "days": 2}), ("Weather", {"place": "Bern"})))


class Start(Protocol):
    """Makes a wrapped model; each is as another process would have it."""

    def __call__(self, **changes: Any) -> ChatOpenAI: ...


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with OpenAIServer() as server:
        server.script_chat(WORDS)
        yield server


@pytest.fixture
async def started() -> AsyncIterator[list[ChatOpenAI]]:
    """Wrapped models, closed at the end with the caches under them."""
    models: list[ChatOpenAI] = []
    yield models
    for model in models:
        model.root_client.close()
        await model.root_async_client.close()
        await cache_of(model).aclose()


@pytest.fixture
def start(redis_url: str, namespace: str, provider: OpenAIServer, started: list[ChatOpenAI]) -> Start:
    settings = CacheSettings(redis_url=redis_url, namespace=namespace, deadline_ms=round(1000 * PATIENT_S))

    def start_one(**changes: Any) -> ChatOpenAI:
        started.append(wrapped(provider, settings, **changes))
        return started[-1]

    return start_one


def wrapped(provider: OpenAIServer, settings: CacheSettings, **changes: Any) -> ChatOpenAI:
    given: dict[str, Any] = {"stream_usage": True, "max_retries": 0} | changes
    model = ChatOpenAI(model="gpt-4o-mini", api_key=SecretStr("sk-test"), base_url=provider.base_url, **given)
    return cached(model, ResponseCache.from_url(settings=settings))


def cache_of(model: ChatOpenAI) -> ResponseCache:
    assert isinstance(model.cache, ResponseCache)
    return model.cache


async def streamed(world: World, runnable: Runnable[Any, Any], request: Any, **options: Any) -> list[Any]:
    """All that a runnable streams."""
    if world is World.SYNC:
        return list(runnable.stream(request, **options))
    return [item async for item in runnable.astream(request, **options)]


async def asked(world: World, runnable: Runnable[Any, Any], request: Any) -> Any:
    return runnable.invoke(request) if world is World.SYNC else await runnable.ainvoke(request)


def joined(chunks: list[AIMessageChunk]) -> AIMessageChunk:
    return reduce(add, chunks)


def said(message: Any) -> dict[str, Any]:
    """A message without what is meant to differ: its id, its usage, and the mark of a hit."""
    fields: dict[str, Any] = message.model_dump(exclude={"id", "usage_metadata"})
    fields["response_metadata"].pop("resumecache", None)
    return fields


# --- recorded and replayed -----------------------------------------------------------------------------------------


@each_world
async def test_a_second_stream_asks_nothing(world: World, start: Start, provider: OpenAIServer) -> None:
    """A stream comes from the provider once; the next has the same chunks in the same order."""
    cold = await streamed(world, start(), "count")
    warm = await streamed(world, start(), "count")
    assert provider.n_requests(CHAT) == 1
    assert joined(cold).content == WORDS
    assert [said(chunk) for chunk in warm] == [said(chunk) for chunk in cold]
    assert len([chunk for chunk in warm if chunk.content]) == 4
    assert said(joined(warm)) == said(joined(cold))


@each_world
async def test_tool_calls_are_replayed_in_pieces(world: World, start: Start, provider: OpenAIServer) -> None:
    """Calls of tools come again in the pieces in which they came, and add up to the same calls."""
    provider.script_chat(WEATHER_CALLS)
    runs = [await streamed(world, start().bind_tools([Weather]), "weather?") for _ in range(2)]
    cold, warm = runs
    assert provider.n_requests(CHAT) == 1
    assert [chunk.tool_call_chunks for chunk in warm] == [chunk.tool_call_chunks for chunk in cold]
    assert len([chunk for chunk in warm if chunk.tool_call_chunks]) == 6
    assert joined(warm).tool_calls == joined(cold).tool_calls
    assert [call["args"] for call in joined(warm).tool_calls] == [{"place": "Zürich", "days": 2}, {"place": "Bern"}]
    assert said(joined(warm)) == said(joined(cold))


@each_world
@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
async def test_structured_output_is_replayed(method: Any, world: World, start: Start, provider: OpenAIServer) -> None:
    """An object that grows as it is streamed grows in the same steps the second time, whatever asks for it."""
    provider.script_chat(ToolCalls((("Score", SCORE),)) if method == "function_calling" else SCORE)
    runs = [
        await streamed(world, start().with_structured_output(SCHEMA, method=method), "JSON, please") for _ in range(2)
    ]
    assert provider.n_requests(CHAT) == 1
    assert runs[0] == runs[1]
    assert runs[1][-1] == SCORE


@each_world
async def test_structured_output_of_a_class_is_replayed(world: World, start: Start, provider: OpenAIServer) -> None:
    """Where a class is asked for, as a tool, the second run gives an equal object of it."""
    provider.script_chat(ToolCalls((("Weather", {"place": "Bern"}),)))
    for _ in range(2):
        structured = start().with_structured_output(Weather, method="function_calling")
        assert (await streamed(world, structured, "weather?"))[-1] == Weather(place="Bern")
    assert provider.n_requests(CHAT) == 1


@each_world
async def test_a_picture_is_part_of_the_request(world: World, start: Start, provider: OpenAIServer) -> None:
    """The same words with the same picture are replayed, and with another picture they are asked anew."""
    for picture in (PICTURE, PICTURE, OTHER_PICTURE):
        question = [HumanMessage([{"type": "text", "text": "What is this?"}, picture])]
        assert joined(await streamed(world, start(), question)).content == WORDS
    assert provider.n_requests(CHAT) == 2


@each_world
async def test_a_chain_streams_what_was_recorded(world: World, start: Start, provider: OpenAIServer) -> None:
    """A chain around the model streams the same texts the second time, without a request."""
    runs = []
    for _ in range(2):
        chain = ChatPromptTemplate.from_template("Count to {n}") | start() | StrOutputParser()
        runs.append(await streamed(world, chain, {"n": 4}))
    assert provider.n_requests(CHAT) == 1
    assert runs[0] == runs[1]
    assert [text for text in runs[1] if text] == ["one ", "two ", "three ", "four"]


async def test_the_events_of_a_replay_are_those_of_the_stream(start: Start, provider: OpenAIServer) -> None:
    """`astream_events` tells of a replay what it told of the stream: the same events with the same contents."""
    runs = []
    for _ in range(2):
        chain = ChatPromptTemplate.from_template("Count to {n}") | start() | StrOutputParser()
        events = [event async for event in chain.astream_events({"n": 4}, version="v2")]
        contents = [getattr(event["data"].get("chunk"), "content", event["data"].get("chunk")) for event in events]
        runs.append([(event["event"], content) for event, content in zip(events, contents, strict=True)])
    assert provider.n_requests(CHAT) == 1
    assert runs[0] == runs[1]
    assert ("on_chat_model_stream", "three ") in runs[1]


@each_world
async def test_protocol_events_are_replayed(world: World, start: Start, provider: OpenAIServer) -> None:
    """Of LangChain's newer events the second run has the same, but for usage, id and mark."""
    runs = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LangChain calls them beta
        for _ in range(2):
            if world is World.SYNC:
                events: list[Any] = list(start().stream_events("count", version="v3"))
            else:
                stream = await start().astream_events("count", version="v3")
                events = [event async for event in stream]
            runs.append([event for event in events if event["event"].startswith("content-block")])
    assert provider.n_requests(CHAT) == 1
    assert runs[0] == runs[1]
    assert len(runs[1]) > 4


@each_world
async def test_content_in_blocks_is_replayed(world: World, start: Start, provider: OpenAIServer) -> None:
    """A model that is asked for LangChain's own blocks gives the same ones the second time, streamed or not."""
    cold, warm = [joined(await streamed(world, start(output_version="v1"), "count")) for _ in range(2)]
    whole = await asked(world, start(output_version="v1"), "count")
    assert provider.n_requests(CHAT) == 1
    assert said(warm) == said(cold)
    assert whole.content == [{"type": "text", "text": WORDS}]


async def test_both_worlds_share_streams(start: Start, provider: OpenAIServer) -> None:
    """What one world has recorded the other replays."""
    cold = await streamed(World.ASYNC, start(), "one")
    assert said(joined(await streamed(World.SYNC, start(), "one"))) == said(joined(cold))
    await streamed(World.SYNC, start(), "two")
    await streamed(World.ASYNC, start(), "two")
    assert provider.n_requests(CHAT) == 2


# --- the hit -------------------------------------------------------------------------------------------------------


@each_world
async def test_a_replay_is_marked_once_and_bills_nothing(world: World, start: Start) -> None:
    """The chunks of a replay add up to one mark, no tokens, and the original figures beside them."""
    cold = joined(await streamed(world, start(), "count"))
    warm = joined(await streamed(world, start(), "count"))
    assert cold.usage_metadata is not None
    assert cold.usage_metadata["total_tokens"] == 30
    assert "resumecache" not in cold.response_metadata
    assert warm.usage_metadata == {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    assert warm.response_metadata["resumecache"] == {"hit": True, "usage_metadata": cold.usage_metadata}


@each_world
async def test_each_replay_has_one_id_of_its_own(world: World, start: Start) -> None:
    """All chunks of a replay have one id, and no two replays have the same."""
    runs = [await streamed(world, start(), "count") for _ in range(3)]
    ids = [{chunk.id for chunk in chunks} for chunks in runs]
    assert [len(found) for found in ids] == [1, 1, 1]
    assert len(set.union(*ids)) == 3


@each_world
async def test_a_replay_costs_nothing_in_reports(world: World, start: Start) -> None:
    """LangChain's usage callback counts the tokens of the first run and none of the second."""
    totals = []
    for _ in range(2):
        with get_usage_metadata_callback() as report:
            await streamed(world, start(), "count")
        totals.append(report.usage_metadata["gpt-4o-mini"]["total_tokens"])
    assert totals == [30, 0]


@each_world
async def test_changing_a_replayed_chunk_changes_no_other(world: World, start: Start) -> None:
    """What a reader does to its chunks, when they are recorded or replayed, is not seen by the next one."""
    contents = []
    for _ in range(3):
        chunks = start().stream("count") if world is World.SYNC else None
        if chunks is not None:
            found = [spoilt(chunk) for chunk in chunks]
        else:
            found = [spoilt(chunk) async for chunk in start().astream("count")]
        contents.append("".join(found))
    assert contents == [WORDS] * 3


def spoilt(chunk: AIMessageChunk) -> str:
    """The text of a chunk, which is changed afterwards."""
    text = str(chunk.content)
    chunk.content = "spoilt"
    chunk.response_metadata.clear()
    return text


@each_world
async def test_a_conversation_with_replays_is_found_again(world: World, start: Start, provider: OpenAIServer) -> None:
    """A second turn is replayed whether the first answer in its history was streamed anew or replayed."""
    for _ in range(3):
        first = joined(await streamed(world, start(), "count"))
        await streamed(world, start(), [HumanMessage("count"), first, HumanMessage("and on?")])
    assert provider.n_requests(CHAT) == 2


# --- with what is not streamed -------------------------------------------------------------------------------------


@each_world
async def test_a_stream_answers_a_later_call(world: World, start: Start, provider: OpenAIServer) -> None:
    """What was streamed is a hit for a call that is not, and that hit equals the replay but for its id."""
    await streamed(world, start(), "count")
    whole = await asked(world, start(), "count")
    replayed = joined(await streamed(world, start(), "count"))
    assert provider.n_requests(CHAT) == 1
    mark = whole.response_metadata["resumecache"]
    assert mark == replayed.response_metadata["resumecache"]
    names = set(said(whole)) - {"type"}
    assert {name: said(whole)[name] for name in names} == {name: said(replayed)[name] for name in names}


@each_world
async def test_a_call_answers_a_later_stream(world: World, start: Start, provider: OpenAIServer) -> None:
    """What was not streamed is replayed in one chunk, with its calls of tools, marked and billed at nothing."""
    provider.script_chat(WEATHER_CALLS)
    whole = await asked(world, start().bind_tools([Weather]), "weather?")
    (chunk,) = await streamed(world, start().bind_tools([Weather]), "weather?")
    assert provider.n_requests(CHAT) == 1
    assert chunk.tool_calls == whole.tool_calls
    assert chunk.chunk_position == "last"
    assert chunk.usage_metadata["total_tokens"] == 0
    assert chunk.response_metadata["resumecache"]["usage_metadata"] == whole.usage_metadata


@each_world
async def test_a_bare_model_shares_the_answers(world: World, start: Start, provider: OpenAIServer) -> None:
    """A model that is not wrapped and has the same cache gets what the wrapped one has streamed."""
    model = start()
    await streamed(world, model, "count")
    bare = ChatOpenAI(
        model="gpt-4o-mini",
        api_key=SecretStr("sk-other"),
        base_url=provider.base_url,
        stream_usage=True,
        max_retries=0,
        cache=model.cache,
        http_client=model.http_client,
    )
    assert (await asked(world, bare, "count")).content == WORDS
    assert provider.n_requests(CHAT) == 1


@each_world
async def test_a_call_that_streams_inside_is_counted_once(world: World, start: Start, provider: OpenAIServer) -> None:
    """A call that LangChain streams for itself is looked up once and stored once, and is a hit the next time."""
    model = start(streaming=True)
    for _ in range(2):
        assert (await asked(world, model, "count")).content == WORDS
    counts = cache_of(model).counts()
    assert (counts.misses, counts.made, counts.stored, counts.hits) == (1, 1, 1, 1)
    assert provider.n_requests(CHAT) == 1
    assert provider.requests[0].body["stream"] is True


@each_world
async def test_other_settings_are_another_stream(world: World, start: Start, provider: OpenAIServer) -> None:
    """Another temperature, stop word or tool is asked for, also where the setting is changed on the model in use."""
    model = start(temperature=0.0)
    await streamed(world, model, "count")
    model.temperature = 0.5
    await streamed(world, model, "count")
    await streamed(world, model, "count", stop=["four"])
    await streamed(world, model.bind(seed=1), "count")
    await streamed(world, model.bind_tools([Weather]), "count")
    assert provider.n_requests(CHAT) == 5
    model.temperature = 0.0
    await streamed(world, model, "count")
    assert provider.n_requests(CHAT) == 5


# --- what is not kept ----------------------------------------------------------------------------------------------


async def n_kept(world: World, model: ChatOpenAI) -> int:
    """How many entries of the namespace of a model's cache there are."""
    cache = cache_of(model)
    return len([key for key in await world.keys(cache.store, "") if key.startswith(f"{cache._namespace}:")])


@each_world
async def test_a_stream_that_its_reader_left_is_not_kept(world: World, start: Start, provider: OpenAIServer) -> None:
    """A reader that stops early leaves nothing behind, and the next one is streamed the whole answer."""
    model = start()
    if world is World.SYNC:
        assert len(list(itertools.islice(model.stream("count"), 2))) == 2
    else:
        stream: Any = model.astream("count")
        async with aclosing(stream):
            async for _ in stream:
                break
    assert await n_kept(world, model) == 0
    assert joined(await streamed(world, start(), "count")).content == WORDS
    assert provider.n_requests(CHAT) == 2


@each_world
async def test_a_stream_that_was_cut_is_not_kept(world: World, start: Start, provider: OpenAIServer) -> None:
    """When the provider hangs up in the middle its error shows, and nothing is kept."""
    provider.cut_after(2)
    model = start()
    with pytest.raises(openai.APIError):
        await streamed(world, model, "count")
    assert await n_kept(world, model) == 0
    provider.recover()
    assert joined(await streamed(world, start(), "count")).content == WORDS


@each_world
@pytest.mark.parametrize("finish_reason", [None, "length", "content_filter"])
async def test_a_bad_answer_is_streamed_once(
    finish_reason: str | None, world: World, start: Start, provider: OpenAIServer
) -> None:
    """A stream that ends without a reason, or because it was cut or filtered, reaches its reader and nobody else."""
    provider.finish_reason = finish_reason
    model = start()
    assert joined(await streamed(world, model, "count")).content == WORDS
    assert await n_kept(world, model) == 0
    provider.finish_reason = "stop"
    await streamed(world, model, "count")
    assert await n_kept(world, model) == 2


@each_world
async def test_an_answer_that_is_no_json_is_not_kept(world: World, start: Start, provider: OpenAIServer) -> None:
    """Where JSON was asked for, words are not kept."""
    model = start()
    await streamed(world, model.bind(response_format={"type": "json_object"}), "JSON, please")
    assert await n_kept(world, model) == 0
    assert cache_of(model).counts().skipped == {"not_json": 1}


async def test_a_cancelled_stream_is_not_kept(start: Start, provider: OpenAIServer) -> None:
    """A task that is cancelled in the middle of a stream ends at once and leaves nothing behind."""
    provider.stall_after(2)
    model = start()
    came = asyncio.Event()

    async def read() -> None:
        async for _ in model.astream("count"):
            came.set()

    task = asyncio.create_task(read())
    await came.wait()
    while not task.done():  # a client may lose a cancellation that comes together with a chunk
        task.cancel()
        await asyncio.sleep(0)
    assert task.cancelled()
    provider.recover()
    assert await n_kept(World.ASYNC, model) == 0


# --- as it comes ---------------------------------------------------------------------------------------------------


@each_world
async def test_chunks_are_passed_on_as_they_come(world: World, start: Start, provider: OpenAIServer) -> None:
    """While the provider holds the rest back, what it has sent is there."""
    provider.stall_after(2)
    model = start()
    found = []
    if world is World.SYNC:
        chunks = model.stream("count")
        found += [next(chunks).content, next(chunks).content]
        provider.recover()
        found += [chunk.content for chunk in chunks]
    else:
        achunks = model.astream("count")
        found += [(await anext(achunks)).content, (await anext(achunks)).content]
        provider.recover()
        found += [chunk.content async for chunk in achunks]
    assert "".join(map(str, found)) == WORDS
    assert await n_kept(world, model) == 2


async def test_two_streams_at_once_do_not_meet(start: Start, provider: OpenAIServer) -> None:
    """Two streams that are read by turns in one context are kept apart, and so are two equal ones."""
    provider.script_chat(lambda body: f"about {body['messages'][-1]['content']} only")
    for _ in range(2):
        model = start()
        pairs = list(zip(model.stream("tea"), model.stream("rum"), strict=True))
        for question, chunks in zip(("tea", "rum"), zip(*pairs, strict=True), strict=True):
            assert joined(list(chunks)).content == f"about {question} only"
    assert provider.n_requests(CHAT) == 2
    both = await asyncio.gather(*(streamed(World.ASYNC, start(), "gin") for _ in range(2)))
    assert [joined(chunks).content for chunks in both] == ["about gin only"] * 2
    assert said(joined(await streamed(World.ASYNC, start(), "gin"))) == said(joined(both[0]))


# --- without a server ----------------------------------------------------------------------------------------------


@each_world
async def test_a_dead_server_stops_no_stream(
    world: World, own_valkey: ValkeyServer, provider: OpenAIServer, started: list[ChatOpenAI]
) -> None:
    """A server that is killed, before or in the middle of a stream, costs its entries and nothing else."""
    model = wrapped(provider, CacheSettings(redis_url=own_valkey.url))
    started.append(model)
    await streamed(world, model, "warm up")
    if world is World.SYNC:
        chunks = model.stream("count")
        found = [next(chunks)]
        own_valkey.kill()
        found += chunks
    else:
        achunks = model.astream("count")
        found = [await anext(achunks)]
        own_valkey.kill()
        found += [chunk async for chunk in achunks]
    assert joined(found).content == WORDS
    assert joined(await streamed(world, model, "count")).content == WORDS
    assert provider.n_requests(CHAT) == 3
    assert "internal" not in cache_of(model).counts().failures
