"""A chain whose results are kept: when it is asked, what is kept of it, and for whom."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.runnables import RunnableLambda
from pydantic import BaseModel, ConfigDict

from cache import CacheSettings, MemoryStore
from cache.counters import Counters
from cache.errors import StoreConnectionError
from cache.keys import Kind, build_key
from cache.results import PairResults
from cache.wrappers import FailOpenStore
from chains.errors import PromptInputError
from chains.pair_cache import cached_results, parse_request
from tests.fakes import BrokenStore, FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.runnables import Runnable

    from cache.stores.base import Store

RESUME, JOB = "Python, Redis", "We look for Python"
PAIR = {"resume": RESUME, "job": JOB}
FOREIGN: list[Any] = ["text", [1], {"score": "high", "by": "model"}, {"score": 1}, {"score": 1, "by": "x", "more": 1}]


class Verdict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    score: int
    by: str


class CountingChain:
    """A chain that says whose request it was, and counts the requests.

    Args:
        by: who made the verdict.
        on_request: called with each request, for example to move a clock.
    """

    def __init__(self, by: str = "model", on_request: Callable[[Any], object] | None = None) -> None:
        self.by = by
        self.requests: list[Any] = []
        self._on_request = on_request

    def __call__(self, request: Any) -> Verdict:
        self.requests.append(request)
        if self._on_request:
            self._on_request(request)
        return Verdict(score=len(f"{request['resume']}{request.get('user') or ''}"), by=self.by)


class Bench:
    """One chain behind one store.

    Args:
        chain: what is asked on a miss.
        store: where results are kept.
    """

    def __init__(self, chain: CountingChain, store: Store | None = None, clock: FakeClock | None = None) -> None:
        self.store = store or MemoryStore()
        self.counters = Counters()
        self.results = PairResults(
            Kind.JOB_MATCH,
            FailOpenStore(self.store),
            variant=("v1",),
            settings=CacheSettings(),
            counters=self.counters,
            clock=clock,
        )
        self.runnable: Runnable[Any, Verdict] = cached_results(
            RunnableLambda(chain), self.results, Verdict, is_final=lambda made: made.by == "model", clock=clock
        )


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Callable[[Bench, Any], Any]:
    """Ask a bench's runnable in one of both worlds; what comes back is awaited."""

    async def asked(bench: Bench, given: Any) -> Any:
        return await bench.runnable.ainvoke(given) if request.param == "async" else bench.runnable.invoke(given)

    return asked


async def test_a_hit_does_not_ask_the_chain(ask: Callable[[Bench, Any], Any]) -> None:
    """The second request of a pair is answered without the chain, and with an equal result."""
    chain = CountingChain()
    bench = Bench(chain)
    first = await ask(bench, PAIR)
    assert await ask(bench, PAIR) == first == Verdict(score=len(RESUME), by="model")
    assert chain.requests == [PAIR]
    assert (bench.counters.snapshot().hits, bench.counters.snapshot().misses) == (1, 1)


async def test_the_chain_gets_the_request_as_it_came(ask: Callable[[Bench, Any], Any]) -> None:
    """Text and user reach the chain unchanged."""
    chain = CountingChain()
    request = {"resume": " Python \n", "job": JOB, "user": "ann"}
    await ask(Bench(chain), request)
    assert chain.requests == [request]


@pytest.mark.parametrize("other", [{"resume": RESUME + " "}, {"job": RESUME}, {"user": "ann"}, {"user": "anonymous"}])
async def test_another_text_or_user_is_another_result(ask: Callable[[Bench, Any], Any], other: dict[str, str]) -> None:
    """A pair that differs in anything is asked for itself."""
    chain = CountingChain()
    bench = Bench(chain)
    await ask(bench, PAIR)
    await ask(bench, PAIR | other)
    assert chain.requests == [PAIR, PAIR | other]


@pytest.mark.parametrize("value", FOREIGN, ids=["text", "list", "wrong_kind", "field_missing", "field_too_many"])
async def test_what_is_no_such_result_is_a_miss(ask: Callable[[Bench, Any], Any], value: Any) -> None:
    """A stored value that does not fit the schema is passed over, and the chain's result replaces it."""
    chain = CountingChain()
    bench = Bench(chain)
    bench.results.set(RESUME, JOB, value)
    made = await ask(bench, PAIR)
    assert await ask(bench, PAIR) == made
    assert len(chain.requests) == 1
    assert bench.results.get(RESUME, JOB) == {"score": len(RESUME), "by": "model"}


@pytest.mark.parametrize("spoil", [lambda raw: raw[:70], lambda raw: b"\x80" + raw, lambda _: b"{}", lambda _: b""])
async def test_bytes_that_cannot_be_read_are_a_miss(
    ask: Callable[[Bench, Any], Any], spoil: Callable[[bytes], bytes]
) -> None:
    """A cut, shifted, foreign or empty entry is counted, passed over and replaced."""
    chain = CountingChain()
    bench = Bench(chain)
    made = await ask(bench, PAIR)
    key = build_key(bench.results.key(RESUME, JOB, None))
    [raw] = bench.store.mget([key])
    bench.store.mset([(key, spoil(raw or b""))])
    assert await ask(bench, PAIR) == made
    assert len(chain.requests) == 2
    assert sum(bench.counters.snapshot().unreadable.values()) == 1
    assert await ask(bench, PAIR) == made
    assert len(chain.requests) == 2


async def test_what_is_not_final_is_given_and_not_kept(ask: Callable[[Bench, Any], Any]) -> None:
    """A half-made result goes to its caller alone: nothing is stored, and the next request asks again."""
    chain = CountingChain(by="rules")
    bench = Bench(chain)
    assert (await ask(bench, PAIR)).by == "rules"
    assert list(bench.store.yield_keys()) == []
    chain.by = "model"
    assert (await ask(bench, PAIR)).by == "model"
    assert len(list(bench.store.yield_keys())) == 1


async def test_how_long_a_result_took_is_kept(ask: Callable[[Bench, Any], Any]) -> None:
    """The chain's 1.25 s are in the entry, and count as saved with each hit."""
    clock = FakeClock()
    bench = Bench(CountingChain(on_request=lambda _: clock.advance(1.25)), clock=clock)
    for _ in range(3):
        await ask(bench, PAIR)
    assert (bench.counters.snapshot().hits, bench.counters.snapshot().saved_ms) == (2, 2500)


async def test_what_has_expired_is_asked_again(ask: Callable[[Bench, Any], Any]) -> None:
    """A result is served for an hour, and not a second longer."""
    clock, chain = FakeClock(), CountingChain()
    bench = Bench(chain, clock=clock)
    await ask(bench, PAIR)
    clock.advance(3599)
    await ask(bench, PAIR)
    assert len(chain.requests) == 1
    clock.advance(2)
    await ask(bench, PAIR)
    assert len(chain.requests) == 2


async def test_an_error_of_the_chain_goes_to_the_caller(ask: Callable[[Bench, Any], Any]) -> None:
    """What the chain raises is raised, and nothing is kept."""

    def fail(_: Any) -> None:
        raise RuntimeError("the provider is down")

    bench = Bench(CountingChain(on_request=fail))
    with pytest.raises(RuntimeError, match="provider is down"):
        await ask(bench, PAIR)
    assert list(bench.store.yield_keys()) == []


async def test_a_dead_store_leaves_the_chain(ask: Callable[[Bench, Any], Any]) -> None:
    """Without a store each request is the chain's."""
    chain = CountingChain()
    bench = Bench(chain, BrokenStore(StoreConnectionError("gone", reason="refused")))
    for _ in range(2):
        assert (await ask(bench, PAIR)).by == "model"
    assert len(chain.requests) == 2


async def test_users_at_the_same_time_get_their_own() -> None:
    """Twenty users who ask at once get each their own result, and find it again in a batch of threads."""
    chain = CountingChain()
    bench = Bench(chain)
    requests = [PAIR | {"user": n * "x"} for n in range(1, 21)]
    expected = [Verdict(score=len(RESUME) + n, by="model") for n in range(1, 21)]
    assert await asyncio.gather(*map(bench.runnable.ainvoke, requests)) == expected
    assert bench.runnable.batch(requests) == expected
    assert await bench.runnable.abatch(requests) == expected
    assert len(chain.requests) == 20


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        ({"resume": RESUME}, "job: Field required"),
        ({"resume": RESUME, "job": ""}, "job: String should have at least 1 character"),
        ({"resume": 1, "job": JOB}, "resume: Input should be a valid string"),
        ({"resume": "\ud83d", "job": JOB}, "resume: Input should be a valid string"),
        (PAIR | {"user": ""}, "user: String should have at least 1 character"),
        (PAIR | {"user": 5}, "user: Input should be a valid string"),
        (PAIR | {"user": "x" * 201}, "user: String should have at most 200 characters"),
        (PAIR | {"usr": "ann"}, "usr: Extra inputs are not permitted"),
        (RESUME, "Input should be a valid dictionary"),
        (None, "Input should be a valid dictionary"),
    ],
)
async def test_a_wrong_request_is_an_error_that_says_what_is_wrong(
    ask: Callable[[Bench, Any], Any], request_: Any, problem: str
) -> None:
    """The error names the field and what was expected, and neither the chain nor the store is asked."""
    chain, store = CountingChain(), BrokenStore(StoreConnectionError("gone"))
    with pytest.raises(PromptInputError, match=problem) as caught:
        await ask(Bench(chain, store), request_)
    assert "expected {'resume': text, 'job': text" in str(caught.value)
    assert (chain.requests, store.asked) == ([], [])


def test_an_error_does_not_repeat_what_came() -> None:
    """Somebody's resume does not end up in a log."""
    with pytest.raises(PromptInputError) as caught:
        parse_request({"resume": ["my secret resume"], "job": JOB})
    assert "secret" not in str(caught.value)
