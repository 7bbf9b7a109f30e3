"""Many callers ask the same at once: the provider is asked once, everybody gets the answer, and nobody hangs."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest
import redis
from langchain_core.language_models import LLM, BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableLambda
from pydantic import BaseModel, PrivateAttr
from typing_extensions import override

from cache import CacheBackedEmbeddings, CacheSettings, MemoryStore, ResponseCache
from cache.coalescing import flights_of
from cache.counters import Counters
from cache.hits import HIT_MARK
from cache.keys import Kind
from cache.leases import LeaseKeeper
from cache.opening import open_store
from cache.results import PairResults
from chains.pair_cache import cached_results
from tests.fakes import PATIENCE_S, CountingEmbeddings, Fault
from tests.integration.calling import World, auntil
from tests.integration.flights import SETTINGS, Gate, GatedModel, N, Worker, all_wait, n_waiting, texts
from tests.openai_server import CHAT, OpenAIServer
from tests.servers import HOST, free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatResult
    from langchain_core.runnables import Runnable

    from tests.proxy import FaultProxy

QUICK = SETTINGS.model_copy(update={"flight_wait_s": 0.05})
CUT = AIMessage("fi", response_metadata={"finish_reason": "length"})


class GatedLLM(LLM):
    """A completion model that repeats the prompt once its gate is open."""

    _gate: Gate = PrivateAttr(default_factory=Gate)

    @property
    def gate(self) -> Gate:
        return self._gate

    @property
    @override
    def _llm_type(self) -> str:
        return "gated"

    @property
    @override
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": "gated"}

    @override
    def _call(self, prompt: str, *args: Any, **kwargs: Any) -> str:
        self._gate.wait()
        return prompt

    @override
    async def _acall(self, prompt: str, *args: Any, **kwargs: Any) -> str:
        await self._gate.await_()
        return prompt


async def test_of_many_tasks_one_asks(cache: ResponseCache) -> None:
    """64 tasks make one call; each gets the answer under an id of its own, and all but one are told of a hit."""
    model = GatedModel(cache=cache)
    tasks = [asyncio.create_task(model.ainvoke("hello")) for _ in range(N)]
    await all_wait(cache, N - 1)
    model.gate.open()
    answers = await asyncio.gather(*tasks)
    assert (texts(answers), len({answer.id for answer in answers})) == ({"fine"}, N)
    assert sum(HIT_MARK in answer.response_metadata for answer in answers) == N - 1
    assert (model.gate.n_requests, cache.counts().hits, cache.counts().shared) == (1, N - 1, N - 1)
    assert (cache.counts().misses, cache.counts().made) == (1, 1)


async def test_of_many_threads_one_asks(cache: ResponseCache, threads: ThreadPoolExecutor) -> None:
    """64 threads make one call, and each gets the answer."""
    model = GatedModel(cache=cache)
    calls = [threads.submit(model.invoke, "hello") for _ in range(N)]
    await all_wait(cache, N - 1)
    model.gate.open()
    assert texts([call.result(PATIENCE_S) for call in calls]) == {"fine"}
    assert model.gate.n_requests == 1


async def test_tasks_of_two_loops_and_threads_share_one_call(cache: ResponseCache, threads: ThreadPoolExecutor) -> None:
    """It does not matter in which world the callers live."""
    model = GatedModel(cache=cache)
    tasks = [asyncio.create_task(model.ainvoke("hello")) for _ in range(5)]
    calls = [threads.submit(model.invoke, "hello") for _ in range(5)]
    other = [threads.submit(asyncio.run, _ask(model)) for _ in range(5)]
    await all_wait(cache, 14)
    model.gate.open()
    answers = [*await asyncio.gather(*tasks), *(await asyncio.gather(*map(asyncio.wrap_future, [*calls, *other])))]
    assert (len(answers), texts(answers), model.gate.n_requests) == (15, {"fine"}, 1)


async def _ask(model: GatedModel) -> AIMessage:
    return await model.ainvoke("hello")


async def test_a_cancelled_leader_is_replaced(cache: ResponseCache) -> None:
    """When the call that asks is cancelled one of the others asks, and all others get its answer."""
    model = GatedModel(cache=cache)
    tasks = [asyncio.create_task(model.ainvoke("hello"))]
    await model.gate.arrived(1)
    tasks += [asyncio.create_task(model.ainvoke("hello")) for _ in range(N - 1)]
    await all_wait(cache, N - 1)
    tasks[0].cancel()
    await all_wait(cache, N - 2)
    model.gate.open()
    leader, *others = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(leader, asyncio.CancelledError)
    assert (texts(others), model.gate.n_requests) == ({"fine"}, 2)


async def test_cancelled_followers_harm_nobody(cache: ResponseCache) -> None:
    """When half of those who wait are cancelled, the others get the answer of the one call."""
    model = GatedModel(cache=cache)
    tasks = [asyncio.create_task(model.ainvoke("hello"))]
    await model.gate.arrived(1)
    tasks += [asyncio.create_task(model.ainvoke("hello")) for _ in range(N - 1)]
    await all_wait(cache, N - 1)
    for task in tasks[1::2]:
        task.cancel()
    await all_wait(cache, N // 2 - 1)
    model.gate.open()
    answers = [one for one in await asyncio.gather(*tasks, return_exceptions=True) if isinstance(one, AIMessage)]
    assert (len(answers), texts(answers), model.gate.n_requests) == (N // 2, {"fine"}, 1)


@pytest.mark.parametrize("n_steps", range(40))
async def test_wherever_the_leader_is_cancelled_the_others_are_answered(n_steps: int, in_memory: ResponseCache) -> None:
    """At each step of a leader's lookup and call, its cancellation leaves nobody waiting."""
    model = GatedModel(cache=in_memory)
    model.gate.open()
    leader, *others = [asyncio.create_task(model.ainvoke("hello")) for _ in range(3)]
    for _ in range(n_steps):
        await asyncio.sleep(0)
    leader.cancel()
    async with asyncio.timeout(PATIENCE_S):
        assert texts(list(await asyncio.gather(*others))) == {"fine"}
    await asyncio.gather(leader, return_exceptions=True)
    assert (n_waiting(in_memory), in_memory._coalescer.flights._under_way) == (0, {})


@pytest.mark.parametrize("world", World)
async def test_a_leader_that_fails_is_replaced(cache: ResponseCache, threads: ThreadPoolExecutor, world: World) -> None:
    """An error goes to the one caller whose call it was; one of the others asks, for all that are left."""
    model = GatedModel(cache=cache)
    model.gate.errors.append(ValueError("no"))
    calls = [_called(threads, model, "hello", world) for _ in range(N)]
    await all_wait(cache, N - 1)
    model.gate.open()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(answer, ValueError) for answer in answers) == 1
    assert texts([answer for answer in answers if not isinstance(answer, ValueError)]) == {"fine"}
    assert model.gate.n_requests == 2


def _called(
    threads: ThreadPoolExecutor, model: GatedModel | GatedLLM, prompt: str, world: World
) -> asyncio.Future[Any]:
    if world is World.SYNC:
        return asyncio.wrap_future(threads.submit(model.invoke, prompt))
    return asyncio.create_task(model.ainvoke(prompt))


async def test_an_answer_that_is_not_stored_is_not_shared(cache: ResponseCache) -> None:
    """Of an answer that was cut off, nobody else gets a copy: all who wait ask for themselves, at once."""
    model = GatedModel(cache=cache, answers=[CUT, AIMessage("fine")])
    tasks = [asyncio.create_task(model.ainvoke("hello")) for _ in range(8)]
    await all_wait(cache, 7)
    model.gate.let_pass(7)
    model.gate.open()
    answers = await asyncio.gather(*tasks)
    assert [answer.content for answer in answers].count("fi") == 1
    assert not any(HIT_MARK in answer.response_metadata for answer in answers)
    assert model.gate.n_requests == 8


async def test_a_shared_answer_belongs_to_its_caller(in_memory: ResponseCache) -> None:
    """What one caller does to its answer the others do not see, and neither does the store."""
    model = GatedModel(cache=in_memory, answers=[AIMessage("fine", additional_kwargs={"list": [1]})])
    tasks = [asyncio.create_task(model.ainvoke("hello")) for _ in range(4)]
    await all_wait(in_memory, 3)
    model.gate.open()
    for answer in [*await asyncio.gather(*tasks), await model.ainvoke("hello")]:
        assert answer.additional_kwargs == {"list": [1]}
        answer.additional_kwargs["list"].append(2)


async def test_waiting_is_bounded() -> None:
    """Who has waited long enough asks for itself, and the slow leader still gets its own answer."""
    cache = ResponseCache(MemoryStore(), settings=QUICK)
    model = GatedModel(cache=cache)
    slow = asyncio.create_task(model.ainvoke("hello"))
    await asyncio.sleep(0)
    quick = asyncio.create_task(model.ainvoke("hello"))
    await model.gate.arrived(2)
    model.gate.open()
    assert texts(list(await asyncio.gather(slow, quick))) == {"fine"}


async def _ask_each(model: GatedModel, n: int) -> None:
    """Have so many tasks ask, and return once each has made a call of its own."""
    tasks = [asyncio.create_task(model.ainvoke("hello")) for _ in range(n)]
    await model.gate.arrived(n)
    model.gate.open()
    await asyncio.gather(*tasks)


async def test_with_no_time_to_wait_everybody_asks() -> None:
    """`CACHE_FLIGHT_WAIT_S=0` lets nobody wait."""
    cache = ResponseCache(MemoryStore(), settings=SETTINGS.model_copy(update={"flight_wait_s": 0.0}))
    model = GatedModel(cache=cache)
    await _ask_each(model, 4)


async def test_a_cache_that_is_switched_off_shares_nothing() -> None:
    """With the kind switched off, each caller asks."""
    cache = ResponseCache(MemoryStore(), settings=CacheSettings(openai_response_enabled=False))
    model = GatedModel(cache=cache)
    await _ask_each(model, 4)


# What was seen to hang.


@pytest.mark.parametrize("kind", [GatedModel, GatedLLM])
async def test_two_batches_in_opposite_order_do_not_wait_for_each_other(
    kind: type[GatedModel | GatedLLM], in_memory: ResponseCache, threads: ThreadPoolExecutor
) -> None:
    """`generate([a, b])` beside `generate([b, a])`, and their asynchronous twins, end with the right answers."""
    for n in range(20):
        model = kind(cache=in_memory)
        model.gate.open()
        words = [[f"a{n}", f"b{n}"], [f"b{n}", f"a{n}"]]
        batches: Any = [[[HumanMessage(text)] for text in batch] for batch in words] if kind is GatedModel else words
        calls = [asyncio.wrap_future(threads.submit(model.generate, batch)) for batch in batches]
        tasks = [asyncio.create_task(model.agenerate(batch)) for batch in batches]
        async with asyncio.timeout(PATIENCE_S):
            results = await asyncio.gather(*calls, *tasks)
        assert all(len(result.generations) == 2 for result in results)
        if isinstance(model, GatedLLM):
            assert [[one[0].text for one in result.generations] for result in results] == batches * 2


class Meeting(ResponseCache):
    """A cache where the first lookups of two threads meet before either of them goes on."""

    def __init__(self) -> None:
        super().__init__(MemoryStore(), settings=SETTINGS)
        self._both_lead = threading.Barrier(2)
        self._of_thread = threading.local()

    @override
    def lookup(self, prompt: str, llm_string: str) -> Any:
        found = super().lookup(prompt, llm_string)
        if not hasattr(self._of_thread, "has_met"):
            self._of_thread.has_met = True
            self._both_lead.wait(PATIENCE_S)
        return found


async def test_two_batches_that_lead_what_the_other_wants_ask_for_themselves(threads: ThreadPoolExecutor) -> None:
    """When each of two completion calls leads one prompt and wants the other's, neither waits."""
    model = GatedLLM(cache=Meeting())
    calls = [asyncio.wrap_future(threads.submit(model.generate, batch)) for batch in (["a", "b"], ["b", "a"])]
    await model.gate.arrived(2)  # neither has found what the other would only store later
    model.gate.open()
    results = await asyncio.gather(*calls)
    assert [[one[0].text for one in result.generations] for result in results] == [["a", "b"], ["b", "a"]]
    assert model.gate.n_requests == 4


@pytest.mark.parametrize("kind", [GatedModel, GatedLLM])
async def test_a_batch_that_asks_the_same_twice_does_not_wait_for_itself(
    kind: type[GatedModel | GatedLLM], in_memory: ResponseCache, threads: ThreadPoolExecutor
) -> None:
    """`generate([p, p])` ends in both worlds: a completion model looks both up before it asks for either."""
    model = kind(cache=in_memory)
    model.gate.open()
    batch: Any = [[HumanMessage("p")]] * 2 if isinstance(model, GatedModel) else ["p"] * 2
    async with asyncio.timeout(PATIENCE_S):
        first = await asyncio.wrap_future(threads.submit(model.generate, batch))
        in_memory.clear()
        second = await model.agenerate(batch)
    assert [len(result.generations) for result in (first, second)] == [2, 2]
    assert in_memory._coalescer.flights._under_way == {}


async def test_a_blocking_call_on_the_loops_thread_does_not_wait_for_a_task(in_memory: ResponseCache) -> None:
    """Behind a task that asks, a blocking call on the same thread asks for itself: the task could not go on."""
    model = GatedModel(cache=in_memory)
    task = asyncio.create_task(model.ainvoke("hello"))
    await model.gate.arrived(1)
    model.gate.let_pass(1)
    assert model.invoke("hello").content == "fine"
    model.gate.open()
    assert (await task).content == "fine"
    assert model.gate.n_requests == 2


class BlockingModel(GatedModel):
    """A model that needs a thread of the loop's pool in the end, as LangChain does for one without `_agenerate`."""

    @override
    async def _agenerate(self, *args: Any, **kwargs: Any) -> ChatResult:
        await self.gate.await_()
        return await BaseChatModel._agenerate(self, *args, **kwargs)


async def test_threads_of_the_loops_pool_do_not_starve_the_task_they_ask_beside(in_memory: ResponseCache) -> None:
    """A task whose model needs a thread gets one, though more blocking calls of the same than there are threads run."""
    with ThreadPoolExecutor(2, thread_name_prefix="asyncio") as few:
        asyncio.get_running_loop().set_default_executor(few)
        model = BlockingModel(cache=in_memory)
        task = asyncio.create_task(model.ainvoke("hello"))
        await model.gate.arrived(1)
        calls = [asyncio.create_task(asyncio.to_thread(model.invoke, "hello")) for _ in range(8)]
        await model.gate.arrived(3)
        model.gate.open()
        assert texts(list(await asyncio.gather(task, *calls))) == {"fine"}


@pytest.mark.parametrize("world", World)
async def test_a_batch_whose_first_request_fails_holds_up_nobody(
    in_memory: ResponseCache, threads: ThreadPoolExecutor, world: World
) -> None:
    """When the first of many in one call fails, who waits for it asks next, though the others' end is never told."""
    batch: list[list[BaseMessage]] = [[HumanMessage(f"{n}")] for n in range(20)]
    model = GatedModel(cache=in_memory)
    model.gate.errors.append(ValueError("no"))
    if world is World.ASYNC:
        first: asyncio.Future[Any] = asyncio.create_task(model.agenerate(batch))
    else:
        first = asyncio.wrap_future(threads.submit(model.generate, batch))
    await model.gate.arrived(1)
    second = _called(threads, model, "0", World.SYNC)
    await all_wait(in_memory, 1)
    model.gate.open()
    with pytest.raises(ValueError, match="no"):
        await first
    async with asyncio.timeout(PATIENCE_S):
        assert (await second).content == "fine"


@pytest.mark.parametrize("world", World)
async def test_a_completion_model_asks_once_for_all(
    in_memory: ResponseCache, threads: ThreadPoolExecutor, world: World
) -> None:
    """Its run begins after the lookup and ends before the update, and all get the one answer all the same."""
    model = GatedLLM(cache=in_memory)
    calls = [_called(threads, model, "hello", world) for _ in range(N)]
    await all_wait(in_memory, N - 1)
    model.gate.open()
    assert await asyncio.gather(*calls) == ["hello"] * N
    assert model.gate.n_requests == 1


@pytest.mark.parametrize("world", World)
async def test_a_completion_model_that_fails_is_replaced_at_once(
    in_memory: ResponseCache, threads: ThreadPoolExecutor, world: World
) -> None:
    """When its run fails, another asks: also where the task that had asked goes on with other things."""
    model = GatedLLM(cache=in_memory)
    model.gate.errors.append(ValueError("no"))
    is_over = asyncio.Event()

    async def ask_first() -> None:
        with pytest.raises(ValueError, match="no"):
            await _called(threads, model, "hello", world)
        await is_over.wait()

    async def ask_first_in_task() -> None:
        with pytest.raises(ValueError, match="no"):
            await model.ainvoke("hello")
        await is_over.wait()

    first = asyncio.create_task(ask_first() if world is World.SYNC else ask_first_in_task())
    await model.gate.arrived(1)
    others = [_called(threads, model, "hello", world) for _ in range(7)]
    await all_wait(in_memory, 7)
    model.gate.open()
    async with asyncio.timeout(PATIENCE_S):
        assert await asyncio.gather(*others) == ["hello"] * 7
    is_over.set()
    await first
    assert model.gate.n_requests == 2


async def test_a_task_that_goes_on_for_ever_collects_nothing(in_memory: ResponseCache) -> None:
    """Each of its calls leaves the task as it was."""
    model = GatedLLM(cache=in_memory)
    model.gate.open()
    task = asyncio.current_task()
    assert task is not None
    before = len(task._callbacks or [])
    for n in range(50):
        await model.ainvoke(f"{n}")
    assert len(task._callbacks or []) == before


async def test_who_only_looks_is_not_waited_for(in_memory: ResponseCache) -> None:
    """A lookup without a model's call leads nothing and waits for nobody: it says what is there."""
    model = GatedModel(cache=in_memory)
    model.gate.open()
    seen: list[tuple[str, str]] = []

    class Seeing(ResponseCache):
        @override
        def lookup(self, prompt: str, llm_string: str) -> Any:
            seen.append((prompt, llm_string))
            return super().lookup(prompt, llm_string)

    model.cache = Seeing(MemoryStore(), settings=SETTINGS)
    await asyncio.to_thread(model.invoke, "hello")
    [request] = seen
    assert await in_memory.alookup(*request) is None
    assert in_memory.lookup(*request) is None
    assert in_memory._coalescer.flights._under_way == {}


# Results and embeddings.


class Verdict(BaseModel):
    score: int


class Pairs:
    """A chain behind a gate whose results are kept."""

    def __init__(self, url: str, namespace: str) -> None:
        self.gate = Gate()
        self.counters = Counters()
        self.is_final = True
        self.store = open_store(SETTINGS, url=url)
        self.results = PairResults(
            Kind.JOB_MATCH, self.store, variant=("1",), settings=SETTINGS, counters=self.counters, namespace=namespace
        )
        chain = RunnableLambda(self._run, afunc=self._arun)
        self.runnable: Runnable[Any, Verdict] = cached_results(
            chain, self.results, Verdict, is_final=lambda _: self.is_final
        )

    def _run(self, _: Any) -> Verdict:
        self.gate.wait()
        return Verdict(score=7)

    async def _arun(self, _: Any) -> Verdict:
        await self.gate.await_()
        return Verdict(score=7)

    async def all_wait(self, n: int) -> None:
        async def holds() -> bool:
            return flights_of(self.store).n_waiting() == n

        await auntil(holds)


PAIR = {"resume": "Python", "job": "We look for Python"}


@pytest.fixture(params=["up", "down"])
async def pairs(request: pytest.FixtureRequest, namespace: str) -> AsyncIterator[Pairs]:
    url = request.getfixturevalue("redis_url") if request.param == "up" else f"redis://{HOST}:{free_port()}/0"
    pairs = Pairs(url, namespace)
    async with pairs.store:
        yield pairs


async def test_of_many_that_ask_for_a_pair_one_computes(pairs: Pairs, threads: ThreadPoolExecutor) -> None:
    """32 tasks and 32 threads make one run of the chain, and get equal results that are not one object."""
    tasks = [asyncio.create_task(pairs.runnable.ainvoke(PAIR)) for _ in range(N // 2)]
    calls = [asyncio.wrap_future(threads.submit(pairs.runnable.invoke, PAIR)) for _ in range(N // 2)]
    await pairs.all_wait(N - 1)
    pairs.gate.open()
    found = await asyncio.gather(*tasks, *calls)
    assert (found, pairs.gate.n_requests) == ([Verdict(score=7)] * N, 1)
    assert len({id(one) for one in found}) == N
    assert pairs.counters.snapshot().shared == N - 1


@pytest.mark.parametrize("is_cancelled", [True, False])
async def test_a_pair_whose_leader_ends_is_computed_by_another(pairs: Pairs, *, is_cancelled: bool) -> None:
    """When the run that computes fails or is cancelled, one of the others computes for all that are left."""
    pairs.gate.errors += [] if is_cancelled else [ValueError("no")]
    tasks = [asyncio.create_task(pairs.runnable.ainvoke(PAIR))]
    await pairs.gate.arrived(1)
    tasks += [asyncio.create_task(pairs.runnable.ainvoke(PAIR)) for _ in range(N - 1)]
    await pairs.all_wait(N - 1)
    if is_cancelled:
        tasks[0].cancel()
    pairs.gate.open()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [one for one in found if isinstance(one, Verdict)] == [Verdict(score=7)] * (N - 1)
    assert pairs.gate.n_requests == 2


async def test_a_result_that_is_not_kept_is_not_shared(pairs: Pairs) -> None:
    """A half-made result goes to its caller alone: the others compute for themselves."""
    pairs.is_final = False
    tasks = [asyncio.create_task(pairs.runnable.ainvoke(PAIR)) for _ in range(8)]
    await pairs.all_wait(7)
    pairs.gate.open()
    await asyncio.gather(*tasks)
    assert pairs.gate.n_requests == 8


class GatedEmbeddings(CountingEmbeddings):
    """An embedding model that answers once its gate is open."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._gate = Gate()

    @override
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self._gate.wait()
        return super().embed_documents(texts)

    @override
    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        await self._gate.await_()
        return await super().aembed_documents(texts)


def embeddings_on(url: str, namespace: str, model: GatedEmbeddings) -> CacheBackedEmbeddings:
    return CacheBackedEmbeddings.from_url(model, url, model="m", namespace=namespace, settings=SETTINGS)


async def n_places(embeddings: CacheBackedEmbeddings, n: int) -> None:
    async def holds() -> bool:
        assert embeddings.space.flights is not None
        return embeddings.space.flights.n_waiting() == n

    await auntil(holds)


@pytest.mark.parametrize("is_up", [True, False])
async def test_a_text_that_many_want_is_embedded_once(
    redis_url: str, namespace: str, threads: ThreadPoolExecutor, *, is_up: bool
) -> None:
    """Tasks and threads that want overlapping texts have each text embedded once, and get arrays of their own."""
    model = GatedEmbeddings()
    url = redis_url if is_up else f"redis://{HOST}:{free_port()}/0"
    async with embeddings_on(url, namespace, model) as embeddings:
        first = asyncio.create_task(embeddings.aembed_array(["a", "b"]))
        await model._gate.arrived(1)
        tasks = [asyncio.create_task(embeddings.aembed_array(["b", "a"])) for _ in range(31)]
        calls = [asyncio.wrap_future(threads.submit(embeddings.embed_array, ["a", "c"])) for _ in range(32)]
        await model._gate.arrived(2)
        await n_places(embeddings, 31 * 2 + 32 + 31)
        model._gate.open()
        arrays = await asyncio.gather(first, *tasks, *calls)
    for array, names in zip(arrays, ["ab", *["ba"] * 31, *["ac"] * 32], strict=True):
        np.testing.assert_array_equal(array, np.array([model.vector(name) for name in names], dtype=np.float32))
        array[:] = 0.0
    assert sorted(text for request in model.requests for text in request.texts) == ["a", "b", "c"]


@pytest.mark.parametrize("is_cancelled", [True, False])
async def test_texts_whose_leader_ends_are_embedded_by_others(
    redis_url: str, namespace: str, *, is_cancelled: bool
) -> None:
    """When the request of the leader fails or is cancelled, the others embed what is missing, in any order, and end."""
    model = GatedEmbeddings(faults={} if is_cancelled else {0: Fault.ERROR})
    async with embeddings_on(redis_url, namespace, model) as embeddings:
        first = asyncio.create_task(embeddings.aembed_array(["a", "b", "c"]))
        await model._gate.arrived(1)
        tasks = [asyncio.create_task(embeddings.aembed_array(list(order))) for order in ("abc", "cba", "bac") * 5]
        await n_places(embeddings, 45)
        if is_cancelled:
            first.cancel()
        model._gate.open()
        async with asyncio.timeout(PATIENCE_S):
            arrays = await asyncio.gather(*tasks)
        await asyncio.gather(first, return_exceptions=True)
    for array, order in zip(arrays, ("abc", "cba", "bac") * 5, strict=True):
        np.testing.assert_array_equal(array, np.array([model.vector(name) for name in order], dtype=np.float32))
    good = [request for request in model.requests if is_cancelled or request is not model.requests[0]]
    assert sorted(text for request in good for text in request.texts) == ["a", "b", "c"]


# Several processes.


@pytest.fixture
def provider() -> Iterator[OpenAIServer]:
    with OpenAIServer() as provider:
        yield provider


async def test_of_four_processes_one_asks_once(redis_url: str, namespace: str, provider: OpenAIServer) -> None:
    """In 4 processes with 16 callers each, 64 callers make one call."""
    provider.hang()
    workers = [Worker(redis_url, provider, namespace, world) for world in [*World, *World]]
    for worker in workers:
        await worker.all_wait()
    provider.recover()
    assert [await worker.answers() for worker in workers] == [["fine"] * 16] * 4
    assert provider.n_requests(CHAT) == 1


async def test_a_process_that_is_killed_is_replaced(redis_url: str, namespace: str, provider: OpenAIServer) -> None:
    """When the process that asks is killed, another asks once its lease has ended, and answers all that are left."""
    provider.hang()
    leader = Worker(redis_url, provider, namespace, World.ASYNC)
    await leader.all_wait()
    others = [Worker(redis_url, provider, namespace, world) for world in World]
    for worker in others:
        await worker.all_wait()
    await leader.kill()

    async def another_asks() -> bool:
        return provider.n_requests(CHAT) == 2

    await auntil(another_asks)
    provider.recover()
    assert [await worker.answers() for worker in others] == [["fine"] * 16] * 2
    assert provider.n_requests(CHAT) == 2


class Two:
    """Two caches that know nothing of each other but the server, as in two processes."""

    def __init__(self, url: str, namespace: str, settings: CacheSettings = SETTINGS) -> None:
        self.caches = [ResponseCache.from_url(url, namespace=namespace, settings=settings) for _ in range(2)]
        self.models = [GatedModel(cache=cache) for cache in self.caches]
        self._raw = redis.Redis.from_url(url)
        self._namespace = namespace

    def leases(self) -> list[bytes]:
        return list(self._raw.scan_iter(f"lease:{{{self._namespace}:*"))

    def n_scripts(self) -> int:
        """How many scripts the server has run: one for each renewal."""
        return int(self._raw.info("commandstats").get("cmdstat_eval", {"calls": 0})["calls"])

    async def no_lease(self) -> None:
        """Return when all leases have been given back."""

        async def holds() -> bool:
            return not self.leases()

        await auntil(holds)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for cache in self.caches:
            await cache.aclose()
        self._raw.close()


async def test_another_process_takes_what_the_first_has_stored(redis_url: str, namespace: str) -> None:
    """Whoever finds the lease taken asks the store until the answer is there; afterwards no lease is left."""
    async with Two(redis_url, namespace) as two:
        first = asyncio.create_task(two.models[0].ainvoke("hello"))
        await two.models[0].gate.arrived(1)
        others = [asyncio.create_task(two.models[1].ainvoke("hello")) for _ in range(4)]
        await all_wait(two.caches[1], 3)
        two.models[0].gate.open()
        answers = await asyncio.gather(first, *others)
        assert (texts(answers), two.models[1].gate.n_requests) == ({"fine"}, 0)
        await two.no_lease()
        assert sum(HIT_MARK in answer.response_metadata for answer in answers) == 4


@pytest.mark.parametrize("end", ["cancelled", "failed", "refused"])
async def test_a_leader_that_ends_gives_the_lease_back(redis_url: str, namespace: str, end: str) -> None:
    """When a process has nothing to share the next one asks at once, not only when the lease has ended by itself."""
    async with Two(redis_url, namespace) as two:
        first = asyncio.create_task(two.models[0].ainvoke("hello"))
        await two.models[0].gate.arrived(1)
        second = asyncio.create_task(two.models[1].ainvoke("hello"))
        two.models[1].gate.open()
        if end == "cancelled":
            first.cancel()
        elif end == "failed":
            two.models[0].gate.errors.append(ValueError("no"))
        else:
            two.models[0].answers = [CUT]
        two.models[0].gate.open()
        await asyncio.gather(first, return_exceptions=True)
        assert (await second).content == "fine"
        await two.no_lease()
        assert two.models[1].gate.n_requests == 1


async def test_a_lease_goes_over_to_the_next_leader_of_its_process(redis_url: str, namespace: str) -> None:
    """When a leader is cancelled and others of its process wait, the process keeps the lease."""
    async with Two(redis_url, namespace) as two:
        first = asyncio.create_task(two.models[0].ainvoke("hello"))
        await two.models[0].gate.arrived(1)
        second = asyncio.create_task(two.models[0].ainvoke("hello"))
        await all_wait(two.caches[0], 1)
        lease = two._raw.get(two.leases()[0])
        first.cancel()
        await two.models[0].gate.arrived(2)
        assert two._raw.get(two.leases()[0]) == lease
        two.models[0].gate.open()
        assert (await second).content == "fine"
        assert two.leases() == []


async def test_waiting_for_another_process_is_bounded(redis_url: str, namespace: str) -> None:
    """Who has waited long enough for another process asks for itself."""
    async with Two(redis_url, namespace, QUICK) as two:
        slow = asyncio.create_task(two.models[0].ainvoke("hello"))
        await two.models[0].gate.arrived(1)
        two.models[1].gate.open()
        assert (await two.models[1].ainvoke("hello")).content == "fine"
        two.models[0].gate.open()
        assert (await slow).content == "fine"


async def test_a_blocking_call_on_a_loops_thread_does_not_wait_for_another_process(
    redis_url: str, namespace: str
) -> None:
    """It asks for itself, as behind a task of its own process."""
    async with Two(redis_url, namespace) as two:
        slow = asyncio.create_task(two.models[0].ainvoke("hello"))
        await two.models[0].gate.arrived(1)
        two.models[1].gate.open()
        assert two.models[1].invoke("hello").content == "fine"
        two.models[0].gate.open()
        await slow


async def test_a_lease_is_renewed_while_its_holder_computes(redis_url: str, namespace: str) -> None:
    """A call that takes longer than a lease lives is still the only one."""
    async with Two(redis_url, namespace) as two:
        for cache in two.caches:
            cache._coalescer.keeper = LeaseKeeper(life_s=0.3)
        first = asyncio.create_task(two.models[0].ainvoke("hello"))
        await two.models[0].gate.arrived(1)
        second = asyncio.create_task(two.models[1].ainvoke("hello"))
        before = two.n_scripts()

        async def has_outlived_itself() -> bool:
            return two.n_scripts() >= before + 6  # twice its life

        await auntil(has_outlived_itself)
        two.models[0].gate.open()
        assert texts(list(await asyncio.gather(first, second))) == {"fine"}
        assert two.models[1].gate.n_requests == 0


async def test_a_batch_in_opposite_order_in_another_process_ends(redis_url: str, namespace: str) -> None:
    """`generate([a, b])` here and `generate([b, a])` there do not wait for each other."""
    async with Two(redis_url, namespace) as two:
        for n in range(10):
            llms = [GatedLLM(cache=cache) for cache in two.caches]
            for llm in llms:
                llm.gate.open()
            async with asyncio.timeout(PATIENCE_S):
                results = await asyncio.gather(
                    llms[0].agenerate([f"a{n}", f"b{n}"]), llms[1].agenerate([f"b{n}", f"a{n}"])
                )
            found = [[one[0].text for one in result.generations] for result in results]
            assert found == [[f"a{n}", f"b{n}"], [f"b{n}", f"a{n}"]]


@pytest.mark.parametrize("world", World)
async def test_a_miss_costs_one_round_trip_more_and_a_hit_none(
    proxy: FaultProxy, namespace: str, world: World, threads: ThreadPoolExecutor
) -> None:
    """A miss looks, takes the lease, and stores and gives it back in one; a hit looks."""
    async with ResponseCache.from_url(proxy.url, namespace=namespace, settings=SETTINGS) as cache:
        model = GatedModel(cache=cache)
        model.gate.open()
        await _called(threads, model, "hello", world)
        assert (proxy.round_trips, proxy.commands) == (3, [b"MGET", b"SET", b"GET", b"GET", b"SET", b"EVAL"])
        proxy.reset_counts()
        await _called(threads, model, "hello", world)
        assert (proxy.round_trips, proxy.commands) == (1, [b"MGET"])


@pytest.mark.parametrize("command", [b"SET", b"EVAL"])
async def test_where_leases_are_refused_each_process_asks_once(
    proxy: FaultProxy, namespace: str, command: bytes
) -> None:
    """A server that lets nobody take or give back a lease costs no answer."""
    proxy.reply_with(b"-NOPERM not allowed\r\n", only=frozenset({command}))
    async with ResponseCache.from_url(proxy.url, namespace=namespace, settings=SETTINGS) as cache:
        model = GatedModel(cache=cache)
        tasks = [asyncio.create_task(model.ainvoke("hello")) for _ in range(8)]
        await all_wait(cache, 7)
        model.gate.open()
        assert texts(list(await asyncio.gather(*tasks))) == {"fine"}
        assert model.gate.n_requests == 1


def test_a_forked_child_leads_for_itself(redis_url: str, namespace: str) -> None:
    """A child that is forked while its parent asks knows nothing of it, and both get their answers."""
    script = """
import os, sys
from cache import CacheSettings, ResponseCache
from langchain_core.messages import AIMessage
from tests.fakes import CountingChatModel

class Forking(CountingChatModel):
    def _generate(self, *args, **kwargs):
        child = os.fork()
        if not child:
            other = CountingChatModel(cache=cache, model_name="other")
            os._exit(other.invoke("hello").content != "fine")
        if os.waitpid(child, 0)[1]:
            raise RuntimeError("the child failed")
        return super()._generate(*args, **kwargs)

cache = ResponseCache.from_url(sys.argv[1], namespace=sys.argv[2], settings=CacheSettings(deadline_ms=5000))
assert Forking(cache=cache).invoke("hello").content == "fine"
cache.close()
"""
    done = subprocess.run(
        [sys.executable, "-c", script, redis_url, namespace], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
