"""What one call asks of the cache, and what it got."""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING, Any, cast

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage

from cache import CacheSettings, ConfigurationError, InvalidTTLError, MemoryStore, ResponseCache
from cache.chat import cached
from cache.control import Control, Observation, Outcome
from tests.fakes import CountingChatModel, FakeClock
from tests.integration.calling import auntil

if TYPE_CHECKING:
    from collections.abc import Generator

    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatResult
    from langchain_core.runnables import RunnableConfig

QUESTION = "How far is the moon?"


class Bench:
    """A model that answers with a new word each time, behind a cache whose time a test moves."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(clock=self.clock)
        self.cache = ResponseCache(self.store, settings=CacheSettings(), clock=self.clock)
        answers = [AIMessage(word) for word in ("one", "two", "three", "four", "five")]
        self.model = CountingChatModel(answers=answers, cache=self.cache)

    def ask(self, **changes: Any) -> str:
        """Ask with a control in the configuration of the call."""
        config: RunnableConfig = {"metadata": {"resumecache": changes}} if changes else {}
        return str(self.model.invoke(QUESTION, config).content)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_bypassed_call_neither_finds_nor_leaves_anything(bench: Bench) -> None:
    """The model is asked, and what was stored stays."""
    assert bench.ask() == "one"
    assert bench.ask(bypass=True) == "two"
    assert bench.ask() == "one"


def test_a_refreshed_call_replaces_what_is_stored(bench: Bench) -> None:
    """The model is asked, and the next call gets its answer."""
    assert bench.ask() == "one"
    assert bench.ask(refresh=True) == "two"
    assert bench.ask() == "two"


def test_an_older_answer_is_not_taken(bench: Bench) -> None:
    """An answer of just that age is, one a second older is not; the new one takes its place."""
    assert bench.ask() == "one"
    bench.clock.advance(60)
    assert bench.ask(max_age_s=60) == "one"
    bench.clock.advance(1)
    assert bench.ask(max_age_s=60) == "two"
    assert bench.ask() == "two"


def test_a_call_has_its_own_time_to_live(bench: Bench) -> None:
    """An answer lives as long as the call that stored it said."""
    assert bench.ask(ttl_s=10) == "one"
    bench.clock.advance(9)
    assert bench.ask() == "one"
    bench.clock.advance(2)
    assert bench.ask() == "two"


def test_a_context_does_the_same(bench: Bench) -> None:
    """Contexts nest, the inner one on top; after it the outer one holds again."""
    assert bench.ask() == "one"
    with bench.cache.control(refresh=True):
        assert bench.ask() == "two"
        with bench.cache.control(bypass=True):
            assert bench.ask() == "three"
        with bench.cache.control(refresh=False):
            assert bench.ask() == "two"
    assert bench.ask() == "two"


def test_the_call_goes_on_top_of_the_context(bench: Bench) -> None:
    """What a call's configuration says holds for what it names, and the context for the rest."""
    bench.ask()
    with bench.cache.control(refresh=True, ttl_s=10):
        assert bench.ask(refresh=False) == "one"
        assert bench.ask(ttl_s=20) == "two"
    bench.clock.advance(15)
    assert bench.ask() == "two"


def test_a_context_is_that_of_one_cache(bench: Bench) -> None:
    """Another cache in the same context does as always."""
    other = Bench()
    bench.ask()
    other.ask()
    with bench.cache.control(bypass=True), bench.cache.observe() as seen:
        assert other.ask() == "one"
    assert seen.requests == []


async def test_tasks_have_their_own_contexts(bench: Bench) -> None:
    """A control holds in the tasks that are started within it, and not in others."""
    bench.ask()
    ready = asyncio.Event()

    async def refreshed() -> str:
        with bench.cache.control(refresh=True):
            ready.set()
            await asyncio.sleep(0)
            answers = await asyncio.gather(bench.model.ainvoke(QUESTION))
        return str(answers[0].content)

    task = asyncio.create_task(refreshed())
    await ready.wait()
    plain = await bench.model.ainvoke(QUESTION)
    assert (plain.content, await task) == ("one", "two")


def test_generators_that_are_left_out_of_order_leave_nothing_behind(bench: Bench) -> None:
    """Two generators that ask for something in one context both cease to ask when they end, whichever ends first."""

    def asking(**changes: Any) -> Generator[Observation]:
        with bench.cache.control(**changes), bench.cache.observe() as seen:
            yield seen

    one, other = asking(bypass=True), asking(refresh=True)
    seen = [next(one), next(other)]
    one.close()
    other.close()
    assert [bench.ask(), bench.ask()] == ["one", "one"]
    assert [observation.requests for observation in seen] == [[], []]


@pytest.mark.parametrize("asks", [lambda cache: cache.control(bypass=True), lambda cache: cache.observe()])
def test_a_context_may_be_left_in_another_than_it_was_entered_in(bench: Bench, asks: Any) -> None:
    """Frameworks close generators where they please: that raises nothing."""
    manager = asks(bench.cache)
    contextvars.copy_context().run(manager.__enter__)
    contextvars.copy_context().run(manager.__exit__, None, None, None)
    assert bench.ask() == bench.ask() == "one"


@pytest.mark.parametrize(
    "changes",
    [
        {"bypass": 1},
        {"refresh": "yes"},
        {"max_age_s": -1},
        {"max_age_s": float("nan")},
        {"max_age_s": True},
        {"ttl": 1},
    ],
)
def test_a_control_that_cannot_be_used_is_an_error(bench: Bench, changes: dict[str, Any]) -> None:
    """The context manager says what it expected."""
    with pytest.raises(ConfigurationError, match="expected"), bench.cache.control(**changes):
        pass


def test_a_time_to_live_that_cannot_be_used_is_an_error(bench: Bench) -> None:
    """None at all is not a time to live."""
    with pytest.raises(InvalidTTLError), bench.cache.control(ttl_s=0):
        pass


@pytest.mark.parametrize("changes", [{"bypass": 1}, {"ttl_s": 0}, {"strange": 1}, "refresh"])
def test_a_call_whose_control_cannot_be_used_passes_by_the_cache(bench: Bench, changes: Any) -> None:
    """A call may not fail for its cache, and may not get what it may not have wanted either."""
    bench.ask()
    answer = bench.model.invoke(QUESTION, {"metadata": {"resumecache": changes}})
    assert answer.content == "two"
    assert bench.ask() == "one"
    assert bench.cache.counts().skipped == {"bypass": 1}


def test_what_became_of_a_call_can_be_read(bench: Bench) -> None:
    """Hits, misses and what was not looked for, each with its key; a hit has an age."""
    with bench.cache.observe() as seen:
        bench.ask()
        bench.clock.advance(5)
        bench.ask()
        bench.ask(refresh=True)
    bench.ask()
    assert [each.outcome for each in seen.requests] == [Outcome.MISS, Outcome.HIT, Outcome.SKIPPED]
    assert (seen.hits, seen.misses, seen.skipped) == (1, 1, 1)
    assert len({each.key for each in seen.requests}) == 1
    assert seen.requests[1].age_s == 5
    assert seen.requests[2].reason == "refresh"


async def test_calls_in_threads_and_tasks_are_seen(bench: Bench) -> None:
    """`batch` and `abatch` run elsewhere and are noted here."""
    with bench.cache.observe() as seen:
        bench.model.batch([QUESTION, "Other?"])
        await bench.model.abatch([QUESTION, "Other?"])
    assert (seen.misses, seen.hits) == (2, 2)


def test_a_plain_control_changes_nothing() -> None:
    """The default asks for nothing."""
    assert Control() == Control(bypass=False, refresh=False, max_age_s=None, ttl_s=None)


@pytest.mark.parametrize(
    ("temperature", "n_requests"), [(None, 2), (0.0, 1), (0.5, 1), (0.6, 2)], ids=["none", "zero", "at", "over"]
)
def test_a_limit_on_temperature_leaves_hotter_requests_out(temperature: float | None, n_requests: int) -> None:
    """Requests over the limit are not cached, nor such whose temperature is left to the provider (trap H17)."""
    cache = ResponseCache(MemoryStore(), settings=CacheSettings(), max_temperature=0.5)
    model = CountingChatModel(cache=cache).bind(temperature=temperature)
    model.invoke(QUESTION)
    model.invoke(QUESTION)
    assert cast("Any", model).bound.n_requests == n_requests
    assert cache.counts().skipped.get("temperature", 0) == (2 if n_requests == 2 else 0)


@pytest.mark.parametrize(("cache_n", "n_requests"), [(True, 1), (False, 2)])
def test_several_answers_can_be_left_out(cache_n: bool, n_requests: int) -> None:  # noqa: FBT001  a parameter of the test
    """By default all answers to one request are kept; with `cache_n=False`, none (trap H17)."""
    cache = ResponseCache(MemoryStore(), settings=CacheSettings(), cache_n=cache_n)
    model = CountingChatModel(cache=cache, n_answers=2)
    found = [model.generate([[HumanMessage(QUESTION)]], n=2).generations[0] for _ in range(2)]
    assert [len(each) for each in found] == [2, 2]
    assert model.n_requests == n_requests


def test_streams_are_controlled_and_observed_too() -> None:
    """A wrapped model's streams are bypassed, refreshed and noted as its answers are."""
    cache = ResponseCache(MemoryStore(), settings=CacheSettings())
    model = cached(FakeListChatModel(responses=["ab", "cd", "ef"]), cache)
    seen_by: list[Observation] = []
    for changes in ({}, {}, {"refresh": True}, {"bypass": True}, {}):
        with cache.observe() as seen:
            text = "".join(chunk.text for chunk in model.stream(QUESTION, {"metadata": {"resumecache": changes}}))
        seen_by.append(seen)
        assert text == {0: "ab", 1: "ab", 2: "cd", 3: "ef", 4: "cd"}[len(seen_by) - 1]
    outcomes = [[(each.outcome, each.reason) for each in seen.requests] for seen in seen_by]
    assert outcomes == [
        [(Outcome.MISS, None)],
        [(Outcome.HIT, None)],
        [(Outcome.SKIPPED, "refresh")],
        [(Outcome.SKIPPED, "bypass")],
        [(Outcome.HIT, None)],
    ]


class Waiting(CountingChatModel):
    """A model that answers once it is let go on."""

    goes_on: Any = None

    async def _agenerate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        await self.goes_on.wait()
        return self._answer(messages)


async def test_who_gets_the_answer_of_another_caller_has_a_hit() -> None:
    """Of two that ask at once, one has missed and the other has not; nobody is told both."""
    cache = ResponseCache(MemoryStore(), settings=CacheSettings())
    model = Waiting(cache=cache, goes_on=asyncio.Event())

    async def ask() -> list[Outcome]:
        with cache.observe() as seen:
            await model.ainvoke(QUESTION)
        return [each.outcome for each in seen.requests]

    async def one_waits() -> bool:
        return cache._coalescer.flights.n_waiting() == 1

    tasks = [asyncio.create_task(ask()) for _ in range(2)]
    await auntil(one_waits)
    model.goes_on.set()
    assert sorted(await asyncio.gather(*tasks)) == [[Outcome.HIT], [Outcome.MISS]]
    assert (cache.counts().hits, cache.counts().misses, cache.counts().shared) == (1, 1, 1)
