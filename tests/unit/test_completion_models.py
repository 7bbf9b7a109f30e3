"""Completion models: LangChain tells a cache what they were built with, and not what a call adds."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.language_models.llms import LLM
from langchain_core.load import dumps
from langchain_core.messages import HumanMessage
from pydantic import PrivateAttr

from cache import CacheSettings, MemoryStore, ResponseCache
from tests.fakes import CountingChatModel, FakeClock


class CountingLLM(LLM):
    """Says with what it was called."""

    model: str = "small"
    _n_calls: int = PrivateAttr(default=0)

    @property
    def _llm_type(self) -> str:
        return "counting"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": self.model}

    def _call(self, prompt: str, stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any) -> str:
        self._n_calls += 1
        return f"{prompt}, says {kwargs.get('model', self.model)}"


@pytest.fixture
def cache() -> ResponseCache:
    return ResponseCache(MemoryStore(), settings=CacheSettings())


def test_a_completion_model_is_cached(cache: ResponseCache) -> None:
    """The second call of the same prompt is a hit, also beside others in one batch."""
    model = CountingLLM(cache=cache)
    assert model.invoke("hi") == model.invoke("hi") == "hi, says small"
    assert model.generate(["hi", "ho", "hi"]).flatten()[0].generations[0][0].text == "hi, says small"
    assert model._n_calls == 2


async def test_asynchronous_calls_are_cached_too(cache: ResponseCache) -> None:
    """What one world stored, the other finds."""
    model = CountingLLM(cache=cache)
    assert await model.ainvoke("hi") == model.invoke("hi")
    assert model._n_calls == 1


async def test_a_call_with_settings_of_its_own_is_not_cached(cache: ResponseCache) -> None:
    """A bound model gets its own answer and leaves none behind, and the reason is counted."""
    model = CountingLLM(cache=cache)
    assert model.invoke("hi") == "hi, says small"
    bound = model.bind(model="large")
    assert bound.invoke("hi") == "hi, says large"
    assert await bound.ainvoke("hi") == "hi, says large"
    assert model.invoke("hi") == "hi, says small"
    assert cache.counts().skipped["hidden_settings"] >= 2


def test_another_model_is_another_request(cache: ResponseCache) -> None:
    """What the model was built with is part of the key."""
    assert CountingLLM(cache=cache).invoke("hi") != CountingLLM(model="large", cache=cache).invoke("hi")


@pytest.mark.parametrize("asks", [{"bypass": True}, {"refresh": True}, {"max_age_s": 0}])
async def test_the_configuration_of_a_call_holds_for_lookups_too(asks: dict[str, Any]) -> None:
    """LangChain asks the cache before a run begins; what the call asks of the cache is known all the same."""
    clock = FakeClock()
    cache = ResponseCache(MemoryStore(clock=clock), settings=CacheSettings(), clock=clock)
    model = CountingLLM(cache=cache)
    model.invoke("hi")
    clock.advance(1)
    model.invoke("hi", {"metadata": {"resumecache": asks}})
    clock.advance(1)
    await model.ainvoke("hi", {"metadata": {"resumecache": asks}})
    assert model._n_calls == 3


def test_prompts_that_ask_for_different_things_pass_by_the_cache(cache: ResponseCache) -> None:
    """In one call of several prompts it is not known which of them is looked up."""
    model = CountingLLM(cache=cache)
    model.invoke("hi")
    model.batch(["hi", "ho"], [{"metadata": {"resumecache": {"bypass": bypass}}} for bypass in (True, False)])
    assert model._n_calls == 3
    assert cache.counts().skipped["hidden_settings"] >= 2


def test_a_text_that_looks_like_messages_is_a_text(cache: ResponseCache) -> None:
    """Two texts that differ where messages may are two prompts, and get their own answers."""
    model = CountingLLM(cache=cache)
    one, other = (dumps([HumanMessage("What is my id?", id=name)]) for name in ("1", "2"))
    assert one in model.invoke(one)
    assert other in model.invoke(other)
    assert model._n_calls == 2


class AskingLLM(CountingLLM):
    """A completion model that is made of a chat model."""

    chat: Any = None

    def _call(self, prompt: str, stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any) -> str:
        return str(self.chat.invoke(prompt).content)


def test_a_chat_model_below_a_completion_model_is_asked_as_itself(cache: ResponseCache) -> None:
    """The settings of the outer call are no settings of the inner one, whose answer is kept."""
    chat = CountingChatModel(cache=cache)
    model = AskingLLM(chat=chat, cache=False)
    assert model.invoke("hi") == model.bind(model="large").invoke("hi") == chat.invoke("hi").content
    assert chat.n_requests == 1
    assert cache.counts().skipped == {}
