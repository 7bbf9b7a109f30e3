"""What a failing Redis costs: the time that the cache adds to an operation, for each way of failing.

Run `python -m benchmarks.failures` in the root of the repository; it starts its own servers and takes two to
three minutes. `--json FILE` keeps all numbers, `--rounds N` repeats each fault more often, `--only NAME` plays one.

The added time is that of an operation minus the median of the same operation with `CACHE_ENABLED=0`, measured in turn
with it. Models answer at once, so nothing hides what the cache does; a negative number is a hit that was cheaper than
preparing a new entry. In each round a cache is made anew, used, and met by the fault ("warm": it has connections) or
first used when the fault is there ("cold"). The last round goes on for 200 more calls, or 5 s of them.
The proxy runs in this process: what reaches the server through it is slower by that.

It ends with exit code 1 and says why when a promise is broken: first calls that add half as much again as their
deadline, or calls without an answer from the cache that add more than a millisecond at the median. What happens in one
round alone is in the table and breaks no promise: on a busy machine any call can be held up.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import platform
import sys
import threading
import time
from abc import ABC, abstractmethod
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Self

import numpy as np
from langchain_core.caches import RETURN_VAL_TYPE, BaseCache
from langchain_core.embeddings import Embeddings
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGeneration
from langchain_openai import ChatOpenAI
from pydantic import SecretStr
from typing_extensions import override

from cache import CacheBackedEmbeddings, CacheSettings, ResponseCache
from cache.deadline import Deadline
from tests.proxy import FaultProxy
from tests.servers import HOST, ValkeyServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cache.codecs.vectors import FloatArray

WIDTH = 1536
N_DOCUMENTS = 256
N_STEADY = 200
STEADY_LIMIT_S = 5.0
N_BASE = 7
N_RECOVERIES = 3
MIN_ROUNDS = 3
SLACK = 1.5
STEADY_BOUND_MS = 1.0
PASSWORD = "correct-horse"  # noqa: S105  of a server that lives as long as this run
KILL_AFTER_S = 0.02
HANDSHAKE_S = 0.3
NO_REDIS = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"  # as behind a wrong URL
GIVE_UP_S = 20.0
HIDDEN = ("CACHE_", "REDIS_URL", "OPENAI_", "LANGSMITH_", "LANGCHAIN_")
SAMPLES = Path(__file__).resolve().parents[1] / "agent" / "samples"
PLACE_OF_NUMBER = "number-of-the-question"


class InstantModel(Embeddings):
    """A model that takes no time: its vectors are there already, as an array that costs nothing to convert."""

    def __init__(self) -> None:
        self._rows: FloatArray = np.random.default_rng(0).standard_normal((N_DOCUMENTS, WIDTH), dtype=np.float32)
        self._n_requests = 0

    @property
    def n_requests(self) -> int:
        """How often it was asked; no part of what a vector depends on."""
        return self._n_requests

    @override
    def embed_documents(self, texts: list[str]) -> FloatArray:  # type: ignore[override]  # see the class
        self._n_requests += 1
        return self._rows[: len(texts)]

    @override
    def embed_query(self, text: str) -> FloatArray:  # type: ignore[override]  # see the class
        vector: FloatArray = self.embed_documents([text])[0]
        return vector

    @override
    async def aembed_documents(self, texts: list[str]) -> FloatArray:  # type: ignore[override]  # see the class
        return self.embed_documents(texts)

    @override
    async def aembed_query(self, text: str) -> FloatArray:  # type: ignore[override]  # see the class
        return self.embed_query(text)


class Request(BaseCache):
    """What LangChain asks a cache for one chat call, taken from a real model; no request is sent.

    Attributes:
        prompt: the messages as JSON, with a place for a number that makes them new.
        llm_string: the settings of the model.
    """

    def __init__(self) -> None:
        model = ChatOpenAI(model="gpt-4o-mini", temperature=0, api_key=SecretStr("none"), cache=self)
        resume = (SAMPLES / "resumes" / "backend-engineer.md").read_text(encoding="utf-8")
        system = SystemMessage("You match resumes with job advertisements. Answer with reasons from the resume.")
        model.invoke([system, HumanMessage(f"{PLACE_OF_NUMBER}\n{resume}")])

    @override
    def lookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        self.prompt, self.llm_string = prompt, llm_string
        return ANSWER

    @override
    def update(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        """Keep nothing: every call is a hit."""

    @override
    def clear(self, **kwargs: object) -> None:
        """Keep nothing: there is nothing to clear."""


ANSWER = [
    ChatGeneration(
        message=AIMessage(
            "The candidate has run Python services with Redis for nine years, as the advertisement asks. " * 12,
            response_metadata={"finish_reason": "stop", "model_name": "gpt-4o-mini", "model_provider": "openai"},
            usage_metadata={"input_tokens": 1403, "output_tokens": 251, "total_tokens": 1654},
        )
    )
]


class Subject(ABC):
    """One cache object and the operation on it that is measured.

    Args:
        url: of the server.
        enabled: whether the cache is switched on; all other settings are the defaults.
    """

    title: ClassVar[str]
    size_bytes: ClassVar[int]

    @abstractmethod
    def __init__(self, url: str, *, enabled: bool) -> None: ...

    @staticmethod
    @abstractmethod
    def question(number: int) -> list[str]:
        """What is asked: the same for the same number, and new for another."""

    @abstractmethod
    def ask(self, question: list[str]) -> bool:
        """Do the operation; True when the cache had the answer."""

    @abstractmethod
    async def aask(self, question: list[str]) -> bool:
        """Asynchronous twin of `ask`."""

    @abstractmethod
    def close(self) -> None:
        """Give back the connections."""

    @abstractmethod
    async def aclose(self) -> None:
        """Asynchronous twin of `close`."""


class OneEmbedding(Subject):
    """A query is embedded: looked up, and stored when it was not found."""

    title = f"1 embedding of {WIDTH} numbers (embed_query)"
    size_bytes = 4 * WIDTH

    def __init__(self, url: str, *, enabled: bool) -> None:
        self._model = InstantModel()
        self._cache = CacheBackedEmbeddings.from_url(
            self._model, url, model="instant", settings=CacheSettings(enabled=enabled)
        )

    @staticmethod
    @override
    def question(number: int) -> list[str]:
        return [f"Senior Python developer with Redis, remote or Zurich, number {number}"]

    @override
    def ask(self, question: list[str]) -> bool:
        n_before = self._model.n_requests
        self._cache.embed_query(question[0])
        return self._model.n_requests == n_before

    @override
    async def aask(self, question: list[str]) -> bool:
        n_before = self._model.n_requests
        await self._cache.aembed_query(question[0])
        return self._model.n_requests == n_before

    @override
    def close(self) -> None:
        self._cache.close()

    @override
    async def aclose(self) -> None:
        await self._cache.aclose()


class ManyEmbeddings(OneEmbedding):
    """A batch of documents is embedded: one lookup, and two writes when nothing was found."""

    title = f"{N_DOCUMENTS} embeddings of {WIDTH} numbers (embed_array)"
    size_bytes = 4 * WIDTH * N_DOCUMENTS

    @staticmethod
    @override
    def question(number: int) -> list[str]:
        return [f"Part {part} of resume {number}: designed, built and ran services" for part in range(N_DOCUMENTS)]

    @override
    def ask(self, question: list[str]) -> bool:
        n_before = self._model.n_requests
        self._cache.embed_array(question)
        return self._model.n_requests == n_before

    @override
    async def aask(self, question: list[str]) -> bool:
        n_before = self._model.n_requests
        await self._cache.aembed_array(question)
        return self._model.n_requests == n_before


class ChatAnswer(Subject):
    """A chat answer is looked up, and stored when it was not found, as LangChain does around a model."""

    title = "1 chat answer (lookup; update when not found)"
    size_bytes = 1024
    request: ClassVar[Request]

    def __init__(self, url: str, *, enabled: bool) -> None:
        self._cache = ResponseCache.from_url(url, settings=CacheSettings(enabled=enabled))

    @staticmethod
    @override
    def question(number: int) -> list[str]:
        request = ChatAnswer.request
        return [request.prompt.replace(PLACE_OF_NUMBER, f"Question {number}"), request.llm_string]

    @override
    def ask(self, question: list[str]) -> bool:
        prompt, llm_string = question
        found = self._cache.lookup(prompt, llm_string)
        if found is None:
            self._cache.update(prompt, llm_string, ANSWER)
        return found is not None

    @override
    async def aask(self, question: list[str]) -> bool:
        prompt, llm_string = question
        found = await self._cache.alookup(prompt, llm_string)
        if found is None:
            await self._cache.aupdate(prompt, llm_string, ANSWER)
        return found is not None

    @override
    def close(self) -> None:
        self._cache.close()

    @override
    async def aclose(self) -> None:
        await self._cache.aclose()


SUBJECTS: tuple[type[Subject], ...] = (OneEmbedding, ChatAnswer, ManyEmbeddings)


class Call(NamedTuple):
    """One measured call.

    Attributes:
        ms: how long it took.
        is_hit: whether the cache had the answer.
    """

    ms: float
    is_hit: bool


class Blocking:
    """Calls from this thread."""

    name = "sync"

    def call(self, subject: Subject, question: list[str]) -> Call:
        """Do the operation and take its time."""
        start_s = time.perf_counter()
        is_hit = subject.ask(question)
        return Call(1000 * (time.perf_counter() - start_s), is_hit)

    def end(self, subject: Subject) -> None:
        """Close the cache."""
        subject.close()

    def close(self) -> None:
        """Nothing is held."""


class Looping:
    """Calls on an event loop in a thread of its own, which goes on between them as in a service."""

    name = "async"

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="loop")
        self._thread.start()

    def call(self, subject: Subject, question: list[str]) -> Call:
        """Do the operation and take its time, from inside the loop."""
        return asyncio.run_coroutine_threadsafe(self._call(subject, question), self._loop).result()

    async def _call(self, subject: Subject, question: list[str]) -> Call:
        start_s = time.perf_counter()
        is_hit = await subject.aask(question)
        return Call(1000 * (time.perf_counter() - start_s), is_hit)

    def end(self, subject: Subject) -> None:
        """Close the cache."""
        asyncio.run_coroutine_threadsafe(subject.aclose(), self._loop).result()

    def close(self) -> None:
        """End the loop and its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


Way = Blocking | Looping


class Bench:
    """The servers and what stands in front of them; a context manager that starts and stops them.

    Attributes:
        server: the one that is frozen, killed or made to refuse writes.
        proxy: in front of it, where the network fails.
        guarded_proxy: in front of a server with a password.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._killing = threading.Thread()

    def __enter__(self) -> Self:
        self.server = self._stack.enter_context(ValkeyServer())
        self.proxy = self._stack.enter_context(FaultProxy(HOST, self.server.port))
        guarded = self._stack.enter_context(ValkeyServer(["--requirepass", PASSWORD]))
        self.guarded_proxy = self._stack.enter_context(FaultProxy(HOST, guarded.port))
        self.proxy.quiet_s = self.guarded_proxy.quiet_s = 0.0
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def guarded_url(self) -> str:
        """Through `guarded_proxy`, with the password."""
        return self.guarded_proxy.url.replace("redis://", f"redis://:{PASSWORD}@")

    @property
    def is_killing(self) -> bool:
        """Whether the server is still to be killed."""
        return self._killing.is_alive()

    def kill_soon(self) -> None:
        """Kill the server from another thread while calls go on."""
        self._killing = threading.Thread(target=self._kill)
        self._killing.start()

    def revive(self) -> None:
        """Start an empty server where the killed one was."""
        self._killing.join()
        self.server.start()

    def _kill(self) -> None:
        time.sleep(KILL_AFTER_S)
        self.server.kill()


@dataclass(frozen=True)
class Scenario:
    """One way to fail.

    Attributes:
        name: what the table calls it.
        url: by which of its ways the server is reached.
        begin: brings the fault about.
        heal: ends it; `None` where there is none.
        enabled: whether the cache is switched on.
        asks_anew: whether each call is for something that is not stored, because the fault is in the writing.
    """

    name: str
    url: Callable[[Bench], str]
    begin: Callable[[Bench], object] = lambda _: None
    heal: Callable[[Bench], object] | None = None
    enabled: bool = True
    asks_anew: bool = False


def direct(bench: Bench) -> str:
    """Reach the server itself."""
    return bench.server.url


def proxied(bench: Bench) -> str:
    """Reach the server through the proxy."""
    return bench.proxy.url


def guarded(bench: Bench) -> str:
    """Reach the server with the password through its proxy."""
    return bench.guarded_url


def unproxied(bench: Bench) -> None:
    """Let everything pass again."""
    bench.proxy.forward()


SCENARIOS = (
    Scenario("disabled", direct, enabled=False),
    Scenario("healthy", direct),
    Scenario("refused", proxied, lambda bench: bench.proxy.refuse(), unproxied),
    Scenario("hung", direct, lambda bench: bench.server.pause(), lambda bench: bench.server.resume()),
    Scenario("blackholed", proxied, lambda bench: bench.proxy.blackhole(), unproxied),
    Scenario("dripping bytes", proxied, lambda bench: bench.proxy.drip(), unproxied),
    Scenario(
        "slow handshake",
        guarded,
        lambda bench: bench.guarded_proxy.slow_handshake(HANDSHAKE_S),
        lambda bench: bench.guarded_proxy.forward(),
    ),
    Scenario("reset", proxied, lambda bench: bench.proxy.reset(), unproxied),
    Scenario("garbled", proxied, lambda bench: bench.proxy.reply_with(NO_REDIS), unproxied),
    Scenario("killed in mid-run", direct, Bench.kill_soon, Bench.revive),
    Scenario(
        "read-only",
        direct,
        lambda bench: bench.server.command("REPLICAOF", HOST, 1),
        lambda bench: bench.server.command("REPLICAOF", "NO", "ONE"),
        asks_anew=True,
    ),
    Scenario(
        "out of memory",
        direct,
        lambda bench: bench.server.command("CONFIG", "SET", "maxmemory", 1),
        lambda bench: bench.server.command("CONFIG", "SET", "maxmemory", 0),
        asks_anew=True,
    ),
    Scenario(  # as during a failover: writes wait, everything else is answered
        "writes paused",
        direct,
        lambda bench: bench.server.command("CLIENT", "PAUSE", 600_000, "WRITE"),
        lambda bench: bench.server.command("CLIENT", "UNPAUSE"),
        asks_anew=True,
    ),
)


@dataclass
class Cell:
    """What one operation met in one scenario; all times are added milliseconds.

    Attributes:
        scenario: its name.
        operation: the title of the subject.
        way: `sync` or `async`.
        deadline_ms: what one operation of this size may take.
        first_warm: of each round, the first call of a cache that was in use when the fault came.
        first_cold: of each round, the first call of a new cache during the fault.
        steady: further calls of a warm cache in the last round.
        n_steady_hits: how many of these the cache answered.
        noise: the disabled calls between these, minus their median: what the machine itself adds.
    """

    scenario: str
    operation: str
    way: str
    deadline_ms: float
    first_warm: list[float] = field(default_factory=list)
    first_cold: list[float] = field(default_factory=list)
    steady: list[float] = field(default_factory=list)
    n_steady_hits: int = 0
    noise: list[float] = field(default_factory=list)


@dataclass
class Recovery:
    """How long after the end of a fault a new entry was stored and found again, in milliseconds.

    Attributes:
        scenario: its name.
        way: `sync` or `async`.
        after_short: of the first rounds.
        after_long: of the last round.
        short_ms: how long the fault lasted, at the median of the short rounds.
        long_ms: how long it lasted in the last.
    """

    scenario: str
    way: str
    after_short: list[float] = field(default_factory=list)
    after_long: float = 0.0
    short_ms: float = 0.0
    long_ms: float = 0.0


class Numbers:
    """Numbers for questions, each new."""

    def __init__(self) -> None:
        self._last = 0

    def new(self) -> int:
        """A number that was not given before."""
        self._last += 1
        return self._last


class Play:
    """One scenario, one way of calling: its rounds, and what they gave.

    Args:
        bench: the servers.
        scenario: what goes wrong.
        way: how calls are made.
    """

    def __init__(self, bench: Bench, scenario: Scenario, way: Way) -> None:
        self._bench = bench
        self._scenario = scenario
        self._way = way
        self._numbers = Numbers()
        self.recovery = Recovery(scenario.name, way.name)
        self.cells = {
            kind: Cell(scenario.name, kind.title, way.name, 1000 * Deadline().allowed_s(kind.size_bytes))
            for kind in SUBJECTS
        }

    def run(self, n_rounds: int) -> None:
        """Play all rounds; the last one is long."""
        lasted_ms = [self._round(is_last=False) for _ in range(n_rounds - 1)]
        self.recovery.short_ms = median(lasted_ms)
        self.recovery.long_ms = self._round(is_last=True)

    def _round(self, *, is_last: bool) -> float:
        """Play one round on new caches; return how long the fault lasted, in milliseconds."""
        gc.collect()
        with self._subjects() as warm, self._subjects() as cold, self._subjects(enabled=False) as disabled:
            self._warm_up(warm)
            base_ms = [median(self._call(off).ms for _ in range(N_BASE)) for off in disabled]
            start_s = time.perf_counter()
            self._scenario.begin(self._bench)
            self._first_calls(warm, cold, base_ms)
            if is_last:
                self._steady_calls(warm, disabled)
            lasted_ms = 1000 * (time.perf_counter() - start_s)
            self._heal(warm[0], is_last=is_last)
        return lasted_ms

    def _subjects(self, *, enabled: bool = True) -> _Subjects:
        return _Subjects(self._way, self._scenario.url(self._bench), enabled=enabled and self._scenario.enabled)

    def _warm_up(self, subjects: Sequence[Subject]) -> None:
        for subject in subjects:
            question = subject.question(0)
            is_hit = any(self._way.call(subject, question).is_hit for _ in range(3))
            if is_hit is not self._scenario.enabled:
                raise RuntimeError(f"{self._scenario.name}: the server was not ready, or not left alone")

    def _call(self, subject: Subject) -> Call:
        number = self._numbers.new() if self._scenario.asks_anew else 0
        return self._way.call(subject, subject.question(number))

    def _first_calls(self, warm: Sequence[Subject], cold: Sequence[Subject], base_ms: Sequence[float]) -> None:
        """Take the first call of each; while the fault is still to come, the slowest up to the first after it."""
        slowest_ms = [0.0] * len(warm)
        is_coming = True
        while is_coming:
            is_coming = self._bench.is_killing
            slowest_ms = [max(ms, self._call(subject).ms) for ms, subject in zip(slowest_ms, warm, strict=True)]
        for cell, ms, base in zip(self.cells.values(), slowest_ms, base_ms, strict=True):
            cell.first_warm.append(ms - base)
        for cell, subject, base in zip(self.cells.values(), cold, base_ms, strict=True):
            cell.first_cold.append(self._call(subject).ms - base)

    def _steady_calls(self, warm: Sequence[Subject], disabled: Sequence[Subject]) -> None:
        for cell, subject, off in zip(self.cells.values(), warm, disabled, strict=True):
            pairs: list[tuple[float, Call]] = []
            end_s = time.perf_counter() + STEADY_LIMIT_S
            while len(pairs) < N_STEADY and time.perf_counter() < end_s:
                pairs.append((self._call(off).ms, self._call(subject)))
            base_ms = median(ms for ms, _ in pairs)
            cell.noise = [ms - base_ms for ms, _ in pairs]
            cell.steady = [call.ms - base_ms for _, call in pairs]
            cell.n_steady_hits = sum(call.is_hit for _, call in pairs)

    def _heal(self, subject: Subject, *, is_last: bool) -> None:
        """End the fault, and ask for something new until the cache has stored it and finds it."""
        if self._scenario.heal is None:
            return
        self._scenario.heal(self._bench)
        if not is_last and len(self.recovery.after_short) == N_RECOVERIES:
            return
        start_s = time.perf_counter()
        question = subject.question(self._numbers.new())
        while not self._way.call(subject, question).is_hit:
            if time.perf_counter() - start_s > GIVE_UP_S:
                raise RuntimeError(f"{self._scenario.name}: the cache did not come back within {GIVE_UP_S} s")
            time.sleep(0.001)
        took_ms = 1000 * (time.perf_counter() - start_s)
        if is_last:
            self.recovery.after_long = took_ms
        else:
            self.recovery.after_short.append(took_ms)


class _Subjects:
    """One subject of each kind; a context manager that closes them."""

    def __init__(self, way: Way, url: str, *, enabled: bool) -> None:
        self._way = way
        self._subjects = [kind(url, enabled=enabled) for kind in SUBJECTS]

    def __enter__(self) -> list[Subject]:
        return self._subjects

    def __exit__(self, *_: object) -> None:
        for subject in self._subjects:
            self._way.end(subject)


def play_all(scenarios: Sequence[Scenario], n_rounds: int) -> Iterator[Play]:
    """Play scenarios, each blocking and asynchronous, and say so on standard error."""
    with Bench() as bench, closing(Looping()) as looping:
        for scenario in scenarios:
            for way in (Blocking(), looping):
                print(f"{scenario.name}, {way.name} ...", file=sys.stderr)
                bench.server.command("FLUSHALL")
                play = Play(bench, scenario, way)
                play.run(n_rounds)
                yield play


def broken_promises(cell: Cell) -> list[str]:
    """Say in words which promises a cell breaks."""
    where = f"{cell.scenario}, {cell.way}, {cell.operation}"
    bound_ms = SLACK * cell.deadline_ms
    firsts = {"warm": sorted(cell.first_warm), "cold": sorted(cell.first_cold)}
    broken = [
        f"{where}: the first call ({state}) added {ms[-1]:.0f} ms, promised is {cell.deadline_ms:.0f} ms (+ 50 %)"
        for state, ms in firsts.items()
        if ms[-2] > bound_ms
    ]
    if cell.n_steady_hits < len(cell.steady) / 2 and _is_slow(cell):
        p50_ms = percentile(cell.steady, 50)
        broken.append(f"{where}: further calls added {p50_ms:.2f} ms at the median, promised is {STEADY_BOUND_MS} ms")
    return broken


def _is_slow(cell: Cell) -> bool:
    """Say whether further calls add too much at the median, and in their quieter half too.

    On a busy machine the median of the disabled calls alone wanders by more than is promised; the quiet ones do not.
    """
    return all(
        percentile(cell.steady, percent) - percentile(cell.noise, percent) > STEADY_BOUND_MS for percent in (25, 50)
    )


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that so many percent do not exceed."""
    return float(np.percentile(values, percent, method="higher"))


def print_cells(cells: Sequence[Cell]) -> None:
    """Print one table for each operation."""
    for kind in SUBJECTS:
        print(f"\n{kind.title}: added milliseconds")
        print(f"{'':24}  first, warm      first, cold      next {N_STEADY} calls              hits    noise")
        print(f"{'':24}  median     max   median     max      p50      p99      max       %      p99")
        for cell in cells:
            if cell.operation == kind.title:
                print(f"{cell.scenario + ', ' + cell.way:24}{_firsts(cell)}{_steady(cell)}")


def _firsts(cell: Cell) -> str:
    return "".join(f"{median(ms):8.2f}{max(ms):8.2f} " for ms in (cell.first_warm, cell.first_cold))


def _steady(cell: Cell) -> str:
    percentiles = "".join(f"{percentile(cell.steady, percent):9.3f}" for percent in (50, 99, 100))
    return f"{percentiles}{100 * cell.n_steady_hits / len(cell.steady):8.0f}{percentile(cell.noise, 99):9.3f}"


def print_recoveries(recoveries: Sequence[Recovery]) -> None:
    """Print how long the cache stays away when the fault has gone."""
    print("\nUntil a new entry is stored and found again: milliseconds after the end of the fault")
    print(f"{'':24}  fault lasted  median     max    fault lasted   once")
    for found in recoveries:
        if found.after_short:
            short = f"{found.short_ms:14.0f}{median(found.after_short):8.0f}{max(found.after_short):8.0f}"
            print(f"{found.scenario + ', ' + found.way:24}{short}{found.long_ms:16.0f}{found.after_long:7.0f}")


def hide_environment() -> None:
    """Forget settings of the developer: what is measured are the defaults, and nothing is traced."""
    for name in list(os.environ):
        if name.upper().startswith(HIDDEN):
            del os.environ[name]


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.failures", description="Costs of a failing Redis.")
    parser.add_argument("--rounds", type=int, default=7, help=f"how often each fault is met, at least {MIN_ROUNDS}")
    parser.add_argument("--only", choices=[scenario.name for scenario in SCENARIOS], help="play this scenario alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers to this file")
    arguments = parser.parse_args()
    if arguments.rounds < MIN_ROUNDS:
        parser.error(f"--rounds: expected at least {MIN_ROUNDS}, got {arguments.rounds}")
    return arguments


def main() -> int:
    """Measure, print, and return 1 when a promise is broken."""
    arguments = parse_arguments()
    hide_environment()
    logging.getLogger("resumecache").addHandler(logging.NullHandler())  # what it says is no part of the table
    ChatAnswer.request = Request()
    gc.freeze()  # collecting all that is imported takes longer than any deadline here, with and without a cache
    start_s = time.perf_counter()
    scenarios = [scenario for scenario in SCENARIOS if arguments.only in {None, scenario.name}]
    plays = list(play_all(scenarios, arguments.rounds))
    cells = [cell for play in plays for cell in play.cells.values()]
    recoveries = [play.recovery for play in plays]
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{machine}; {arguments.rounds} rounds in {time.perf_counter() - start_s:.0f} s")
    print_cells(cells)
    print_recoveries(recoveries)
    broken = [words for cell in cells for words in broken_promises(cell)]
    print("\n" + "\n".join(broken or ["No promise was broken."]))
    if arguments.json:
        numbers = {"cells": [*map(asdict, cells)], "recoveries": [*map(asdict, recoveries)]}
        arguments.json.write_text(json.dumps({"machine": machine, **numbers, "broken": broken}, indent=1))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
