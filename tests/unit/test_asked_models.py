"""Models that LangChain's strings do not tell apart, each served its own answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import langchain_openai
import openai
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import SecretStr

from cache import CacheSettings, MemoryStore, ResponseCache
from cache.chat import cached
from tests.fakes import CountingChatModel
from tests.openai_server import CHAT, Body, OpenAIServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_core.runnables import Runnable


class Bare(BaseChatModel):
    """An in-house model as many are: it says nothing of itself but its type."""

    says: str

    @property
    def _llm_type(self) -> str:
        return "in-house"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(self.says))])


class Shy(CountingChatModel):
    """A model of which one thing cannot be read before it is connected."""

    @property
    def client(self) -> object:
        raise RuntimeError("not connected")


class SameType(CountingChatModel):
    """Another class that calls itself what the first one does, and says the same of itself."""


class ChatOpenAI(langchain_openai.ChatOpenAI):
    """A house's own model under the name of LangChain's."""

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        return super()._generate([SystemMessage("Answer in German."), *messages], *args, **kwargs)


@pytest.fixture
def cache() -> ResponseCache:
    return ResponseCache(MemoryStore(), settings=CacheSettings())


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIServer]:
    """A provider that says what it was asked."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with OpenAIServer() as server:
        server.script_chat(settings_of)
        yield server


def settings_of(body: Body) -> str:
    return f"{body['model']} at {body.get('temperature')}, {len(body['messages'])} messages"


def options(provider: OpenAIServer, cache: ResponseCache) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "api_key": SecretStr("k"), "base_url": provider.base_url, "cache": cache}


@pytest.mark.parametrize("call", [{}, {"thinking": {"budget": 10}}, {"cache_control": "ephemeral"}, {"model": "m"}])
def test_a_bare_model_is_not_cached_whatever_a_call_adds(cache: ResponseCache, call: dict[str, Any]) -> None:
    """What a call says of itself says nothing of the model: two models never share an answer (traps L2, H2)."""
    asked: list[Runnable[Any, AIMessage]] = [Bare(says=word, cache=cache).bind(**call) for word in ("one", "other")]
    assert [model.invoke("q").content for model in asked] == ["one", "other"]
    assert cache.counts().skipped["unidentified_model"] >= 2


def test_a_model_that_cannot_be_read_is_not_cached(cache: ResponseCache) -> None:
    """It answers its caller, and the reason is counted."""
    model = Shy(cache=cache)
    assert [model.invoke("q").content for _ in range(2)] == ["fine"] * 2
    assert model.n_requests == 2
    assert cache.counts().skipped == {"unidentified_model": 2}


def test_two_classes_of_one_type_do_not_share(cache: ResponseCache) -> None:
    """What a model says of itself is read together with its class."""
    one = CountingChatModel(cache=cache, answers=[AIMessage("one")])
    other = SameType(cache=cache, answers=[AIMessage("other")])
    assert [model.invoke("q").content for model in (one, other, one, other)] == ["one", "other", "one", "other"]
    assert one.n_requests == other.n_requests == 1


def test_a_class_with_the_name_of_langchains_does_not_share_with_it(
    provider: OpenAIServer, cache: ResponseCache
) -> None:
    """LangChain shows a subclass by its bare name, as if it were its own."""
    models = [cls(**options(provider, cache)) for cls in (langchain_openai.ChatOpenAI, ChatOpenAI)]
    told = [str(model.invoke("q").content) for model in models * 2]
    assert [text.partition(", ")[2] for text in told] == ["1 messages", "2 messages"] * 2
    assert provider.n_requests(CHAT) == 2


async def invoked(model: BaseChatModel) -> str:
    return str(model.invoke("q").content)


async def ainvoked(model: BaseChatModel) -> str:
    return str((await model.ainvoke("q")).content)


async def batched(model: BaseChatModel) -> str:
    return str(model.batch(["q"])[0].content)


async def generated(model: BaseChatModel) -> str:
    return (await model.agenerate([[SystemMessage("q")], [SystemMessage("r")]])).generations[1][0].text


async def streamed(model: BaseChatModel) -> str:
    return "".join(str(chunk.content) for chunk in model.stream("q"))


async def astreamed(model: BaseChatModel) -> str:
    return "".join([str(chunk.content) async for chunk in model.astream("q")])


@pytest.mark.parametrize("ask", [invoked, ainvoked, batched, generated, streamed, astreamed])
async def test_a_model_that_was_changed_is_another_one(
    provider: OpenAIServer, cache: ResponseCache, ask: Callable[[BaseChatModel], Any]
) -> None:
    """A field that is set later, or in a copy, counts, though LangChain goes on showing the old one."""
    model = cached(langchain_openai.ChatOpenAI(**options(provider, cache)))
    assert (await ask(model)).startswith("gpt-4o-mini at None")
    assert (await ask(model.model_copy(update={"model_name": "gpt-4o"}))).startswith("gpt-4o at None")
    model.temperature = 0.9
    assert (await ask(model)).startswith("gpt-4o-mini at 0.9")
    await model.root_async_client.close()


def test_the_same_model_changed_back_finds_its_answer(provider: OpenAIServer, cache: ResponseCache) -> None:
    """Only what the fields are counts, and not that they were changed."""
    model = langchain_openai.ChatOpenAI(**options(provider, cache))
    for temperature in (None, 0.9, None, 0.9):
        model.temperature = temperature
        assert f"at {temperature}" in str(model.invoke("q").content)
    assert provider.n_requests(CHAT) == 2


def test_a_client_of_the_callers_own_is_another_endpoint(provider: OpenAIServer, cache: ResponseCache) -> None:
    """Where a client that was handed over sends its requests stands in no field, and counts all the same."""
    with OpenAIServer() as other:
        other.script_chat("from the other")
        found = []
        for server in (provider, other, provider, other):
            client = openai.OpenAI(base_url=server.base_url, api_key="k")
            own = {"client": client.chat.completions, "root_client": client, "async_client": object()}
            model = langchain_openai.ChatOpenAI(model="gpt-4o-mini", api_key=SecretStr("k"), cache=cache, **own)  # type: ignore[arg-type]  # as its validator allows
            found.append(model.invoke("q").content)
            client.close()
    assert found[:2] == found[2:]
    assert found[0] != found[1] == "from the other"
    assert provider.n_requests(CHAT) == 1
