"""Completion models: LangChain tells a cache what they were built with, and not what a call adds."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.language_models.llms import LLM
from pydantic import PrivateAttr

from cache import CacheSettings, MemoryStore, ResponseCache


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
