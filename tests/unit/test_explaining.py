"""Why a request has its key, and how it differs from one that was asked before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models.fake import FakeListLLM
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, SecretStr

from cache import CacheSettings, ConfigurationError, MemoryStore, ResponseCache, StoreError
from cache.errors import StoreConnectionError
from cache.explaining import MAX_BYTES, MAX_REQUESTS, Difference, RecentRequests
from cache.requests import CanonicalRequest
from tests.fakes import BrokenStore, CountingChatModel, FakeClock

if TYPE_CHECKING:
    from uuid import UUID

QUESTION = "How far is the moon?"


class Score(BaseModel):
    value: int


class Bench:
    """A model behind a cache whose time a test moves."""

    def __init__(self, **settings: Any) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(clock=self.clock)
        self.cache = ResponseCache(self.store, settings=CacheSettings(**settings), clock=self.clock)
        self.model = CountingChatModel(cache=self.cache)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def openai(**settings: Any) -> ChatOpenAI:
    """A model whose provider is nowhere: a request would fail."""
    key = SecretStr("sk-secret")
    return ChatOpenAI(**{"model": "gpt-4o-mini", "api_key": key, "base_url": "http://127.0.0.1:1/v1", **settings})


def test_a_request_that_was_never_made_is_not_stored(bench: Bench) -> None:
    """Its key is the one that the call will have, and nothing is asked of the model."""
    found = bench.cache.explain(bench.model, QUESTION)
    assert (found.is_stored, found.age_s, found.differences) == (False, None, ())
    assert bench.model.n_requests == 0
    with bench.cache.observe() as seen:
        bench.model.invoke(QUESTION)
    assert seen.requests[0].key == found.key
    assert str(found.key).startswith("openai:counting-chat:")
    assert str(found) == f"{found.key}: not stored"


def test_a_stored_answer_has_an_age(bench: Bench) -> None:
    """Seconds since it was stored, and how long it lives."""
    bench.model.invoke(QUESTION)
    bench.clock.advance(90)
    found = bench.cache.explain(bench.model, QUESTION)
    assert (found.is_stored, found.age_s, found.ttl_s) == (True, 90, 21600)
    assert "stored 90 s ago" in str(found)


def test_a_miss_says_what_is_different(bench: Bench) -> None:
    """The one setting that differs from the call before."""
    bench.model.invoke(QUESTION)
    other = CountingChatModel(cache=bench.cache, temperature=0.5)
    found = bench.cache.explain(other, QUESTION)
    assert found.differences == (Difference("parameters.called.temperature", "0.0", "0.5"),)
    assert found.asked_s == bench.clock.now_s()
    assert "parameters.called.temperature: 0.0 -> 0.5" in str(found)


def test_the_most_similar_call_is_the_one_compared_with(bench: Bench) -> None:
    """Of two earlier calls the one that differs in less; a text is shortened."""
    bench.model.invoke([HumanMessage("x" * 200), AIMessage("b"), HumanMessage("c")])
    bench.model.invoke("Something else?")
    found = bench.cache.explain(bench.model, [HumanMessage("y" * 200), AIMessage("b"), HumanMessage("c")])
    [difference] = found.differences
    assert difference.where == "messages[0].content"
    assert difference.now == f'"{"y" * 59}...'


def test_what_was_asked_and_is_gone_is_told_apart(bench: Bench) -> None:
    """The same request was made, and its answer has expired."""
    bench.model.invoke(QUESTION)
    bench.clock.advance(21600)
    found = bench.cache.explain(bench.model, QUESTION)
    assert (found.is_stored, found.differences) == (False, ())
    assert "its answer was not kept, or is gone" in str(found)


def test_what_is_not_cached_says_why(bench: Bench) -> None:
    """A setting that shows as a class's name, and one of a call that a completion model hides."""
    assert bench.cache.explain(bench.model.bind(hook=Score), QUESTION).reason == "schema_class"
    completion = FakeListLLM(responses=["x"])
    assert bench.cache.explain(completion.bind(temperature=1), QUESTION).reason == "hidden_settings"
    assert str(bench.cache.explain(bench.model.bind(hook=Score), QUESTION)) == "not cached: schema_class"


def test_an_entry_that_cannot_be_used_is_named(bench: Bench) -> None:
    """Damaged bytes under the key are no answer."""
    key = bench.cache.explain(bench.model, QUESTION).key
    assert key is not None
    bench.store.mset([(key, b"RCE1 but nothing else")])
    found = bench.cache.explain(bench.model, QUESTION)
    assert (found.is_stored, found.reason) == (False, "DecodeError")
    assert "cannot be used (DecodeError)" in str(found)


def test_the_parts_are_what_the_key_is_made_of() -> None:
    """Namespace, model, settings and messages are there as plain data, and the key of the provider is not."""
    found = Bench(namespace="acme").cache.explain(openai(temperature=0.3, seed=7), QUESTION)
    assert (found.parts["namespace"], found.parts["model"]) == ("acme", "gpt-4o-mini")
    assert found.parts["parameters"]["built"]["temperature"] == 0.3
    assert found.parts["parameters"]["endpoints"] == {"openai_api_base": "http://127.0.0.1:1/v1"}
    assert found.parts["messages"] == [{"class": "HumanMessage", "content": QUESTION, "type": "human"}]
    assert "sk-secret" not in str(found.parts)


def test_bound_models_and_prompts_are_seen_through(bench: Bench) -> None:
    """A prompt, tools and structured output in front of the model and around it are part of the request."""
    prompt = ChatPromptTemplate.from_messages([("system", "Be brief."), ("human", "{question}")])
    chain = prompt | openai().with_structured_output(Score)
    found = bench.cache.explain(chain, {"question": QUESTION})
    assert [message["content"] for message in found.parts["messages"]] == ["Be brief.", QUESTION]
    assert len(found.parts["parameters"]["schema"]) == 64
    tooled = bench.cache.explain(openai().bind_tools([Score], tool_choice="any"), QUESTION)
    assert tooled.parts["parameters"]["called"]["tools"][0]["function"]["name"] == "Score"


def test_what_is_no_model_is_an_error(bench: Bench) -> None:
    """Something that only may call a model cannot be explained without calling it."""
    with pytest.raises(ConfigurationError, match="expected a model"):
        bench.cache.explain(RunnableLambda(lambda text: text), QUESTION)


async def test_a_failing_store_shows(bench: Bench) -> None:
    """Who asks why wants to know: here it is an error, and no miss."""
    broken = ResponseCache(BrokenStore(StoreConnectionError("refused")), settings=CacheSettings())
    with pytest.raises(StoreError):
        broken.explain(bench.model, QUESTION)
    with pytest.raises(StoreError):
        await broken.aexplain(bench.model, QUESTION)


async def test_the_asynchronous_twin_says_the_same(bench: Bench) -> None:
    """Stored or not, and of what."""
    bench.model.invoke(QUESTION)
    for model in (bench.model, bench.model.bind(temperature=1), bench.model.bind(hook=Score)):
        assert await bench.cache.aexplain(model, QUESTION) == bench.cache.explain(model, QUESTION)


def test_explaining_counts_nothing(bench: Bench) -> None:
    """Neither hits nor misses, and no callbacks of the cache's own."""

    class Handler(BaseCallbackHandler):
        errors: list[UUID] = []  # noqa: RUF012  one handler

        def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
            self.errors.append(run_id)

    handler = Handler()
    bench.cache.explain(CountingChatModel(callbacks=[handler]), QUESTION)
    assert handler.errors == []
    counts = bench.cache.counts()
    assert (counts.hits, counts.misses, counts.made, counts.skipped) == (0, 0, 0, {})


def test_so_many_requests_are_kept_and_no_more() -> None:
    """The oldest go first, by number and by bytes."""
    recent = RecentRequests()
    for number in range(MAX_REQUESTS + 1):
        recent.add(CanonicalRequest("m", b"{}", b"text:%d" % number), float(number))
    found = recent.most_similar(CanonicalRequest("m", b"{}", b"text:0"))
    assert found is not None
    assert found[1] != ()
    recent.add(CanonicalRequest("m", b"{}", b"text:" + b"x" * MAX_BYTES), 1.0)
    assert recent.most_similar(CanonicalRequest("m", b"{}", b"text:1")) is None


@pytest.mark.parametrize(
    ("name", "value"), [("temperature", 0.9), ("model_name", "gpt-4o"), ("max_tokens", 5), ("seed", 1)]
)
def test_a_setting_that_was_changed_after_the_first_call_is_part_of_the_key(
    bench: Bench, name: str, value: Any
) -> None:
    """LangChain shows a model to its caches as it was when it was first used; the settings that are sent count."""
    model = openai(temperature=0.3, max_tokens=9, seed=7)
    before = bench.cache.explain(model, QUESTION)
    setattr(model, name, value)
    after = bench.cache.explain(model, QUESTION)
    assert after.key != before.key
    assert after.parts["model"] == ("gpt-4o" if name == "model_name" else "gpt-4o-mini")
    setattr(model, name, getattr(openai(temperature=0.3, max_tokens=9, seed=7), name))
    assert bench.cache.explain(model, QUESTION).key == before.key
