"""What the cache gains: times of the documented flows without and with it, and requests per second of a mixed load.

Run `python -m benchmarks.gains` in the root of the repository; it starts its own servers and takes about two minutes.
`--json FILE` keeps all numbers, `--rounds N` measures cold and warm times more often.

The provider is a stand-in on this machine that takes two seconds for each answer, about what a chat model takes, so
that gains scale with it; the Valkey server is a real one. A cold time is the first call in a namespace that nobody has
used, a warm one the median of the calls after it; all settings are the defaults. The load is a fixed list of calls,
played by eight tasks of one process: embeddings of 16 texts, answers, matches and optimisations in turn. Four of five
ask for what was asked before, the fifth is new. It is played with the cache, in which the earlier ones are, and with
`CACHE_ENABLED=0`.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import logging
import os
import platform
import sys
import time
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from agent.ai_service import AIService
from agent.settings import Settings
from agent.wiring import Services
from cache import CacheSettings
from tests.openai_server import OpenAIServer
from tests.servers import ValkeyServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

LATENCY_S = 2.0
WIDTH = 1536
N_TEXTS = 16
N_WARM = 20
MIN_ROUNDS = 5
N_WORKERS = 8
N_LOADS = 3
LOAD_S = 10.0
NEW_EACH = 5
N_KNOWN = 25
HIDDEN = ("CACHE_", "REDIS_URL", "OPENAI_", "RESUMECACHE_", "LANGSMITH_", "LANGCHAIN_")
SAMPLES = Path(__file__).resolve().parents[1] / "agent" / "samples"
RESUME = (SAMPLES / "resumes" / "backend-engineer.md").read_text(encoding="utf-8")
JOB = (SAMPLES / "jobs" / "backend-engineer-fintech.md").read_text(encoding="utf-8")
EXPLANATION = {"summary": "Much of what is asked is shown.", "strengths": ["Python"], "gaps": ["on-call duty"]}


async def embed(ai: AIService, number: int) -> None:
    """Embed sixteen texts of a number."""
    await ai.get_embeddings([f"Text {number}.{index}: {RESUME[:500]}" for index in range(N_TEXTS)])


async def respond(ai: AIService, number: int) -> None:
    """Ask a question of a number."""
    await ai._get_ai_response(f"Question {number}: what does this resume lack?\n{RESUME}")  # noqa: SLF001  documented


async def match(ai: AIService, number: int) -> None:
    """Match a resume of a number."""
    await ai.analyze_job_match(f"{RESUME}\nReference {number}\n", JOB)


async def optimize(ai: AIService, number: int) -> None:
    """Optimise a resume of a number."""
    await ai.optimize_resume(f"{RESUME}\nReference {number}\n", JOB)


OPERATIONS: dict[str, Callable[[AIService, int], Awaitable[None]]] = {
    f"embedding, {N_TEXTS} texts": embed,
    "answer": respond,
    "match": match,
    "optimisation": optimize,
}


@dataclass
class Times:
    """Times of one operation, in milliseconds, one for each round.

    Attributes:
        operation: its name.
        cold: of the first call.
        warm: median of the calls after it.
        n_cold: requests to the provider that the first call made.
        n_warm: requests that all others made.
    """

    operation: str
    cold: list[float] = field(default_factory=list)
    warm: list[float] = field(default_factory=list)
    n_cold: int = 0
    n_warm: int = 0


@dataclass(frozen=True)
class Load:
    """One run of the mixed load.

    Attributes:
        is_cached: whether the cache was on.
        per_second: finished calls.
        n_calls: finished calls.
        n_repeats: of them, calls that had been asked for before.
        n_requests: requests to the provider.
        failures: of the store, by reason.
    """

    is_cached: bool
    per_second: float
    n_calls: int
    n_repeats: int
    n_requests: int
    failures: dict[str, int]


class Bench:
    """The servers, and applications on them.

    Args:
        valkey: of the entries.
        provider: of the models.
    """

    def __init__(self, valkey: ValkeyServer, provider: OpenAIServer) -> None:
        self._url = valkey.url
        self.provider = provider

    def services(self, *, is_cached: bool = True) -> Services:
        """A new application in a namespace that nobody has used."""
        cache = CacheSettings(redis_url=self._url, namespace=f"b{uuid.uuid4().hex}", enabled=is_cached)
        return Services(Settings(cache=cache, openai_base_url=self.provider.base_url))

    async def time_rounds(self, n_rounds: int) -> list[Times]:
        """Measure all operations in turn, round by round."""
        times = {name: Times(name) for name in OPERATIONS}
        for number in range(n_rounds):
            print(f"round {number + 1} of {n_rounds} ...", file=sys.stderr)
            for name in OPERATIONS:
                await self._time(times[name])
        return list(times.values())

    async def _time(self, times: Times) -> None:
        call = OPERATIONS[times.operation]
        async with self.services() as services:
            ai = AIService(services)
            build(services)
            before = len(self.provider.requests)
            times.cold.append(await elapsed_ms(call(ai, 0)))
            times.n_cold = len(self.provider.requests) - before
            times.warm.append(median([await elapsed_ms(call(ai, 0)) for _ in range(N_WARM)]))
            times.n_warm += len(self.provider.requests) - before - times.n_cold

    async def play(self, *, is_cached: bool) -> Load:
        """Play the mixed load by several workers, each until the time is over and its last call has ended."""
        print(f"load, cache {'on' if is_cached else 'off'} ...", file=sys.stderr)
        async with self.services(is_cached=is_cached) as services:
            build(services)
            await self._ask_all_known(services)
            before = len(self.provider.requests)
            calls, asked = mixed_calls(), list[bool]()
            end_s = time.perf_counter() + LOAD_S
            workers = [work(AIService(services), calls, asked, end_s) for _ in range(N_WORKERS)]
            rates = await asyncio.gather(*workers)
            return Load(
                is_cached=is_cached,
                per_second=sum(rates),
                n_calls=len(asked),
                n_repeats=sum(asked),
                n_requests=len(self.provider.requests) - before,
                failures=failures_of(services),
            )

    async def _ask_all_known(self, services: Services) -> None:
        """Ask for all that the load repeats, of a provider that does not take its time."""
        self.provider.latency_s = 0.0
        ai = AIService(services)
        for name, number in itertools.product(OPERATIONS, range(N_KNOWN)):
            await OPERATIONS[name](ai, number)
        self.provider.latency_s = LATENCY_S


async def work(ai: AIService, calls: Iterator[tuple[str, int, bool]], asked: list[bool], end_s: float) -> float:
    """Take calls from the list until the time is over; return how many a second were finished."""
    start_s = time.perf_counter()
    for n_calls in itertools.count():
        if time.perf_counter() >= end_s:
            return n_calls / (time.perf_counter() - start_s)
        name, number, is_repeat = next(calls)
        await OPERATIONS[name](ai, number)
        asked.append(is_repeat)
    raise AssertionError("unreachable: the count has no end")


def mixed_calls() -> Iterator[tuple[str, int, bool]]:
    """Operations in turn, their numbers, and whether they repeat; the same list in each run."""
    names = list(OPERATIONS)
    for index in itertools.count():
        is_repeat = index % NEW_EACH != 0
        number = index // len(names) % N_KNOWN if is_repeat else N_KNOWN + index
        yield names[index % len(names)], number, is_repeat


def build(services: Services) -> None:
    """Build all that a service builds when it is first asked for: no part of what is measured."""
    for part in ("cache", "match_chain", "optimize_chain"):
        getattr(services, part)


async def elapsed_ms(call: Awaitable[None]) -> float:
    """Await a call; return how long it took."""
    start_s = time.perf_counter()
    await call
    return 1000 * (time.perf_counter() - start_s)


def failures_of(services: Services) -> dict[str, int]:
    """What the store could not do, as the caches counted it."""
    counts = (services.embeddings.counts(), services.responses.counts(), services.cache.counts())
    reasons = sorted({reason for each in counts for reason in each.failures})
    return {reason: sum(each.failures.get(reason, 0) for each in counts) for reason in reasons}


def answer(body: dict[str, Any]) -> str:
    """What the stand-in says: what the schema asks for, or a sentence."""
    schema = body.get("response_format", {}).get("json_schema", {}).get("name")
    if schema is None:
        return "It lacks a summary, and its skills are not grouped."
    return json.dumps({"edits": []} if schema == "ProposedEdits" else EXPLANATION)


async def measure(n_rounds: int) -> tuple[list[Times], list[Load]]:
    """Measure all on servers of this run's own."""
    with ValkeyServer() as valkey, OpenAIServer(latency_s=LATENCY_S) as provider:
        provider.width = WIDTH
        provider.script_chat(answer)
        bench = Bench(valkey, provider)
        times = await bench.time_rounds(n_rounds)
        loads = [await bench.play(is_cached=is_cached) for _ in range(N_LOADS) for is_cached in (False, True)]
    return times, loads


def print_times(times: Sequence[Times]) -> None:
    """Print one row for each operation."""
    print("| operation | cold | warm | gain | requests to the provider, cold and warm |")
    print("|---|--:|--:|--:|--:|")
    for each in times:
        cold_ms, warm_ms = median(each.cold), median(each.warm)
        gain = float(f"{cold_ms / warm_ms:.2g}")
        requests = f"{each.n_cold} and {each.n_warm}"
        print(f"| {each.operation} | {cold_ms:,.0f} ms | {warm_ms:.2f} ms | {gain:,.0f}x | {requests} |")


def print_loads(loads: Sequence[Load]) -> None:
    """Print requests per second without and with the cache."""
    off, on = (median(each.per_second for each in loads if each.is_cached is is_cached) for is_cached in (False, True))
    print(f"| load: {N_WORKERS} workers, {1 - 1 / NEW_EACH:.0%} repeats | cache off | cache on | gain |")
    print("|---|--:|--:|--:|")
    print(f"| calls per second | {off:.1f} | {on:.1f} | {on / off:.1f}x |")


def hide_environment() -> None:
    """Forget settings of the developer: what is measured are the defaults, over no proxy."""
    for name in list(os.environ):
        if name.upper().startswith(HIDDEN):
            del os.environ[name]
    os.environ["NO_PROXY"] = "127.0.0.1"


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gains", description="What the cache gains.")
    parser.add_argument("--rounds", type=int, default=MIN_ROUNDS, help=f"of cold and warm, at least {MIN_ROUNDS}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers to this file")
    arguments = parser.parse_args()
    if arguments.rounds < MIN_ROUNDS:
        parser.error(f"--rounds: expected at least {MIN_ROUNDS}, got {arguments.rounds}")
    return arguments


def main() -> None:
    """Measure and print."""
    arguments = parse_arguments()
    hide_environment()
    logging.getLogger("resumecache").addHandler(logging.NullHandler())  # failures are counted and printed
    start_s = time.perf_counter()
    times, loads = asyncio.run(measure(arguments.rounds))
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(
        f"`python -m benchmarks.gains --rounds {arguments.rounds}` on {machine}, in {time.perf_counter() - start_s:.0f}"
    )
    print(f"seconds: medians of {arguments.rounds} rounds, and of {N_LOADS} loads of {LOAD_S:.0f} s; a provider that")
    print(f"takes {LATENCY_S:.0f} s for each answer, a Valkey server on the same machine.\n")
    print_times(times)
    print()
    print_loads(loads)
    if failures := [each.failures for each in loads if each.failures]:
        print(f"\nThe store failed and was passed by: {failures}")
    if arguments.json:
        numbers = {"times": [*map(asdict, times)], "loads": [*map(asdict, loads)]}
        arguments.json.write_text(json.dumps({"machine": machine, "latency_s": LATENCY_S, **numbers}, indent=1))


if __name__ == "__main__":
    main()
