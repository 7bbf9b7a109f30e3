"""Every form of request in every way of asking: a real `ChatOpenAI`, cold and warm, on real servers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, SecretStr

from cache import CacheSettings, ResponseCache, cached
from cache.hits import HIT_MARK
from tests.integration.calling import PATIENT_S
from tests.openai_server import CHAT, OpenAIServer, ToolCalls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from langchain_core.runnables import Runnable

    from tests.openai_server import Body

    Way = Callable[[Runnable[Any, Any], Any], Any]

# The client of OpenAI says so of each object that it has parsed from a stream.
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")

RESPONSES = "/v1/responses"
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
)
IMAGE = HumanMessage([{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": PIXEL}}])
HISTORY = [SystemMessage("Be brief."), HumanMessage("Hello."), AIMessage("Hello."), HumanMessage("How far is it?")]
TOOL = {
    "title": "weather", "description": "The weather.", "type": "object",
    "properties": {"city": {"type": "string"}}, "required": ["city"],
}  # fmt: skip


class Score(BaseModel):
    """How well it fits."""

    points: int
    reason: str


def answer(body: Body) -> str | ToolCalls:
    """What fits the request: calls of the tools that are there, the object that is asked for, or a text."""
    if tools := body.get("tools"):
        name = tools[0]["function"]["name"]
        return ToolCalls(((name, {"city": "Rome"} if name == "weather" else {"points": 7, "reason": "It fits."}),))
    return json.dumps({"points": 7, "reason": "It fits."}) if "response_format" in body else "It is far."


FORMS: dict[str, Callable[[ChatOpenAI], Runnable[Any, Any]]] = {
    "plain": lambda model: model,
    "tools": lambda model: model.bind_tools([TOOL]),
    "json_schema": lambda model: model.with_structured_output(Score),
    "json_schema, raw": lambda model: model.with_structured_output(Score, include_raw=True),
    "json_schema as a dict": lambda model: model.with_structured_output(Score.model_json_schema()),
    "json_mode": lambda model: model.with_structured_output(Score, method="json_mode"),
    "function_calling": lambda model: model.with_structured_output(Score, method="function_calling"),
    "a chain": lambda model: ChatPromptTemplate.from_messages([("placeholder", "{it}")]) | model | StrOutputParser(),
}
INPUTS: dict[str, Any] = {"a text": "How far is it?", "a conversation": HISTORY, "an image": [IMAGE]}


async def stream(runnable: Runnable[Any, Any], given: Any) -> Any:
    return _joined(list(runnable.stream(given)))


async def astream(runnable: Runnable[Any, Any], given: Any) -> Any:
    return _joined([part async for part in runnable.astream(given)])


async def astream_events(runnable: Runnable[Any, Any], given: Any) -> Any:
    events = [event async for event in runnable.astream_events(given)]
    return events[-1]["data"]["output"]


def _joined(parts: list[Any]) -> Any:
    """What a stream adds up to; an object that was parsed while it came is its last state."""
    if not isinstance(parts[0], BaseMessage | str):
        return parts if isinstance(parts[0], dict) and "raw" in parts[0] else parts[-1]
    joined = parts[0]
    for part in parts[1:]:
        joined += part
    return joined


async def invoke(runnable: Runnable[Any, Any], given: Any) -> Any:
    return runnable.invoke(given)


async def ainvoke(runnable: Runnable[Any, Any], given: Any) -> Any:
    return await runnable.ainvoke(given)


async def batch(runnable: Runnable[Any, Any], given: Any) -> Any:
    return runnable.batch([given])


async def abatch(runnable: Runnable[Any, Any], given: Any) -> Any:
    return await runnable.abatch([given])


WAYS: list[Way] = [invoke, ainvoke, batch, abatch, stream, astream, astream_events]


def same_for_the_caller(value: Any) -> Any:
    """A result without what is meant to differ between an answer and its hit."""
    if isinstance(value, BaseMessage):
        fields = value.model_dump(exclude={"id", "usage_metadata"})
        said = fields["response_metadata"]
        return fields | {"response_metadata": {k: v for k, v in said.items() if k not in {HIT_MARK, "token_usage"}}}
    if isinstance(value, dict):
        return {name: same_for_the_caller(item) for name, item in value.items()}
    return [same_for_the_caller(item) for item in value] if isinstance(value, list) else value


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with OpenAIServer() as server:
        server.script_chat(answer)
        yield server


@pytest.fixture
async def cache(redis_url: str, namespace: str) -> AsyncIterator[ResponseCache]:
    settings = CacheSettings(deadline_ms=round(1000 * PATIENT_S))
    async with ResponseCache.from_url(redis_url, namespace=namespace, settings=settings) as cache:
        yield cache


class Build(Protocol):
    """Builds a model, as another application would."""

    def __call__(self, **settings: Any) -> ChatOpenAI: ...


@pytest.fixture
async def model(provider: OpenAIServer, cache: ResponseCache) -> AsyncIterator[Build]:
    built: list[ChatOpenAI] = []

    def build(**settings: Any) -> ChatOpenAI:
        key = SecretStr("sk-kept-to-ourselves")
        built.append(ChatOpenAI(model="gpt-4o-mini", api_key=key, base_url=provider.base_url, **settings))
        return cached(built[-1], cache)

    yield build
    for each in built:
        each.root_client.close()
        await each.root_async_client.close()


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("form", FORMS)
async def test_the_second_time_is_as_the_first_and_asks_nobody(
    form: str, way: Way, provider: OpenAIServer, model: Build
) -> None:
    """Another application that asks the same in the same way gets the same, and the provider no request."""
    given: Any = {"it": ["How far is it?"]} if form == "a chain" else "How far is it?"
    cold = await way(FORMS[form](model()), given)
    n_asked = provider.n_requests(CHAT)
    warm = await way(FORMS[form](model()), given)
    assert same_for_the_caller(warm) == same_for_the_caller(cold)
    assert provider.n_requests(CHAT) == n_asked > 0


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("given", INPUTS)
async def test_every_kind_of_message_is_found_again(given: str, way: Way, provider: OpenAIServer, model: Build) -> None:
    """A text, a conversation and an image: each is answered from the cache the second time."""
    cold = await way(model(), INPUTS[given])
    n_asked = provider.n_requests(CHAT)
    warm = await way(model(), INPUTS[given])
    assert same_for_the_caller(warm) == same_for_the_caller(cold)
    assert provider.n_requests(CHAT) == n_asked > 0


@pytest.mark.parametrize("way", [invoke, ainvoke, batch, abatch], ids=lambda way: way.__name__)
async def test_reasoning_is_found_again(way: Way, provider: OpenAIServer, model: Build) -> None:
    """Answers of the Responses API keep their blocks, with the reasoning that led to them."""
    settings: dict[str, Any] = {"use_responses_api": True, "output_version": "responses/v1"}
    cold = await way(model(**settings), "How far is it?")
    n_asked = provider.n_requests(RESPONSES)
    warm = await way(model(**settings), "How far is it?")
    first = warm[0] if isinstance(warm, list) else warm
    assert [block["type"] for block in first.content] == ["reasoning", "text"]
    assert same_for_the_caller(warm) == same_for_the_caller(cold)
    assert provider.n_requests(RESPONSES) == n_asked > 0
