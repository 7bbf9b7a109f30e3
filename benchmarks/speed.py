"""How near to the wire: reading and writing vectors and answers, by this project and by others.

Run `python -m benchmarks.speed` in the root of the repository; it starts its own servers and takes about three minutes.
`--only WORD` runs the workloads whose names hold a word, `--without-peers` measures the limits and this project alone,
`--rounds N` measures more often, `--json FILE` keeps all times, `--plot FILE` draws the ratios (needs matplotlib).

All contenders of a workload take turns in one process, in another order each round; a ratio is the median, over the
rounds, of a contender's time by that of the limit in the same round. The limit is redis-py with hiredis, one command,
no checks. Texts have 300 characters, and the limit hashes them too. Vectors are 1536 wide, float32; each contender
ends with an array of them and begins with what it likes best, an array or lists. What this project writes it has
looked up before, as its users do; where a library cannot tell that from a plain write, so has the other.

langchain-redis keeps its answers as RedisJSON, which Valkey does not have: it runs on the server that
`REDIS_SEARCH_URL` names, and is compared with the limit on that server.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import json
import logging
import os
import platform
import random
import string
import sys
import time
import warnings
from abc import ABC, abstractmethod
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration
from typing_extensions import override

from benchmarks.contenders.base import AnswerCache, Batch, Contender, VectorCache
from benchmarks.contenders.ours import OurAnswers, OurVectors
from benchmarks.contenders.peers import (
    CashewsAnswers,
    CashewsVectors,
    ClassicAnswers,
    ClassicVectors,
    RedisAnswers,
    RedisvlVectors,
)
from benchmarks.contenders.wire import AnswerLimit, NaiveAnswers, NaiveVectors, PipelineLimit, VectorLimit
from cache.requests import plain_llm_string
from tests.servers import ValkeyServer

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH = 1536
TEXT_CHARS = 300
MIN_ROUNDS = 7
SLOW_S = 2.0
SLOW_ROUNDS = 3
SEED = 7
SILENT = ("", "no asyncio", "not asked for")
HIDDEN = ("CACHE_", "REDIS_URL", "RESUMECACHE_", "LANGSMITH_", "LANGCHAIN_")
SAMPLES = Path(__file__).resolve().parents[1] / "agent" / "samples"
PROSE = "\n".join(path.read_text(encoding="utf-8") for path in sorted(SAMPLES.rglob("*.md")))

VECTORS: tuple[type[VectorCache], ...] = (
    VectorLimit,
    OurVectors,
    ClassicVectors,
    RedisvlVectors,
    CashewsVectors,
    NaiveVectors,
)
ANSWERS: tuple[type[AnswerCache], ...] = (
    AnswerLimit,
    OurAnswers,
    RedisAnswers,
    ClassicAnswers,
    CashewsAnswers,
    NaiveAnswers,
)


class Batches:
    """Texts that nobody has seen, and vectors for them."""

    def __init__(self) -> None:
        self._numbers = count()
        self._random = random.Random(SEED)
        self._ready: dict[int, Batch] = {}

    def new(self, n: int) -> Batch:
        """A batch of new texts; its vectors are those of all batches of that size."""
        if n not in self._ready:
            array = np.random.default_rng(SEED).standard_normal((n, WIDTH), dtype=np.float32)
            self._ready[n] = Batch([], array, array.tolist())
        ready = self._ready[n]
        return Batch([self._text() for _ in range(n)], ready.array, ready.lists)

    def _text(self) -> str:
        start = f"{next(self._numbers)} "
        return start + "".join(self._random.choices(string.ascii_lowercase + " ", k=TEXT_CHARS - len(start)))


@dataclass(frozen=True, slots=True)
class Question:
    """A request, as a `BaseCache` gets it, and its answer."""

    prompt: str
    llm_string: str
    answer: list[ChatGeneration]


def question(size_bytes: int) -> Question:
    """A question of 300 characters, and the answer of an OpenAI model of so many bytes."""
    n_tokens = size_bytes // 5
    usage = {"input_tokens": 96, "output_tokens": n_tokens, "total_tokens": 96 + n_tokens}
    details = {
        "input_token_details": {"audio": 0, "cache_read": 0},
        "output_token_details": {"audio": 0, "reasoning": 0},
    }
    said = {
        "token_usage": {"prompt_tokens": 96, "completion_tokens": n_tokens, "total_tokens": 96 + n_tokens},
        "model_provider": "openai", "model_name": "gpt-4o-mini-2024-07-18", "system_fingerprint": "fp_50906f2aac",
        "id": "chatcmpl-Dw6nMFq4l9vtDKPVPdCnVZcNTAmIj", "finish_reason": "stop", "logprobs": None,
    }  # fmt: skip
    message = AIMessage(
        content=PROSE[:size_bytes],
        additional_kwargs={"refusal": None},
        response_metadata=said,
        usage_metadata={**usage, **details},
        id="run--0",
    )
    info = {"finish_reason": "stop", "logprobs": None}
    asked = dumps([HumanMessage(PROSE[-TEXT_CHARS:])])
    return Question(
        asked, plain_llm_string("gpt-4o-mini", 0.2, 2048), [ChatGeneration(message=message, generation_info=info)]
    )


class Workload(ABC):
    """What contenders are measured at.

    Attributes:
        name: what it is called.
        n_calls: made in a turn, one after the other; their median counts.
        contenders: who takes part; the first is the limit.
        is_async: whether what `call` gives is to be awaited.
        server_args: of the Valkey server.
    """

    contenders: tuple[type[Any], ...]
    server_args: Sequence[str] = ()

    def __init__(self, name: str, n_calls: int, *, is_async: bool = False) -> None:
        self.name = name
        self.n_calls = n_calls
        self.is_async = is_async

    @abstractmethod
    def begin(self, cache: Any) -> None:
        """Store what will be read, and prove that the contender reads what it has written."""

    def before_turn(self, server: ValkeyServer) -> None:  # noqa: B027  most need none
        """Prepare a turn; not timed."""

    @abstractmethod
    def call(self, cache: Any) -> Any:
        """What is timed."""


class Reading(Workload):
    """Vectors that are all there."""

    contenders = VECTORS

    def __init__(self, batches: Batches, n: int, n_calls: int, *, is_async: bool = False) -> None:
        super().__init__(f"{n} vector hit{'s' * (n > 1)}{', asyncio' * is_async}", n_calls, is_async=is_async)
        self._batch = batches.new(n)

    @override
    def begin(self, cache: VectorCache) -> None:
        cache.write(self._batch)
        check_vectors(cache, self._batch)

    @override
    def call(self, cache: VectorCache) -> Any:
        return cache.aread(self._batch.texts) if self.is_async else cache.read(self._batch.texts)


class Writing(Workload):
    """Vectors that are not there, each time others, on an empty server."""

    contenders = VECTORS

    def __init__(self, batches: Batches, n: int) -> None:
        super().__init__(f"{n} vectors written", 1)
        self._batches, self._n = batches, n
        self._batch = batches.new(n)

    @override
    def begin(self, cache: VectorCache) -> None:
        few = self._batches.new(16)
        cache.write(few)
        check_vectors(cache, few)

    @override
    def before_turn(self, server: ValkeyServer) -> None:
        server.command("FLUSHALL", "SYNC")
        self._batch = self._batches.new(self._n)

    @override
    def call(self, cache: VectorCache) -> Any:
        return cache.write(self._batch)


class WritingWithoutMsetex(Writing):
    """The same on a server that is older than MSETEX."""

    contenders = (PipelineLimit, OurVectors)
    server_args = ("--rename-command", "MSETEX", "")

    def __init__(self, batches: Batches, n: int) -> None:
        super().__init__(batches, n)
        self.name += ", no MSETEX"


class Answering(Workload):
    """An answer that is there."""

    contenders = ANSWERS

    def __init__(self, kib: int, n_calls: int, *, is_async: bool = False) -> None:
        super().__init__(f"chat answer {kib} KB, hit{', asyncio' * is_async}", n_calls, is_async=is_async)
        self._question = question(1024 * kib)

    @override
    def begin(self, cache: AnswerCache) -> None:
        asked = self._question
        cache.update(asked.prompt, asked.llm_string, asked.answer)
        check_answer(cache, asked)

    @override
    def call(self, cache: AnswerCache) -> Any:
        lookup = cache.alookup if self.is_async else cache.lookup
        return lookup(self._question.prompt, self._question.llm_string)


class Updating(Answering):
    """An answer that is written, again and again."""

    def __init__(self, kib: int, n_calls: int) -> None:
        super().__init__(kib, n_calls)
        self.name = f"chat answer {kib} KB, update"

    @override
    def call(self, cache: AnswerCache) -> Any:
        return cache.update(self._question.prompt, self._question.llm_string, self._question.answer)


def workloads() -> list[Workload]:
    """All of them, in the order of the table."""
    batches = Batches()
    return [
        Reading(batches, 256, 3),
        Reading(batches, 2048, 1),
        Reading(batches, 1, 100),
        Reading(batches, 256, 3, is_async=True),
        Reading(batches, 1, 100, is_async=True),
        Writing(batches, 256),
        Writing(batches, 2048),
        WritingWithoutMsetex(batches, 2048),
        Answering(2, 100),
        Answering(2, 100, is_async=True),
        Answering(20, 100),
        Answering(20, 100, is_async=True),
        Updating(2, 100),
        Updating(20, 100),
    ]


class WrongAnswerError(Exception):
    """A contender does not give what it was given."""


def check_vectors(cache: VectorCache, batch: Batch) -> None:
    """Raise a `WrongAnswerError` unless a contender has these vectors, bit by bit."""
    if not np.array_equal(cache.read(batch.texts), batch.array):
        raise WrongAnswerError(f"{cache.title} reads other vectors than it has written")


def check_answer(cache: AnswerCache, asked: Question) -> None:
    """Raise a `WrongAnswerError` unless a contender has this answer."""
    found = cache.lookup(asked.prompt, asked.llm_string)
    if not found or found[0].text != asked.answer[0].text:
        raise WrongAnswerError(f"{cache.title} reads another answer than it has written")


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one contender at one workload.

    Attributes:
        workload: its name.
        contender: its title.
        why_not: why it was not measured.
        times_s: of each round, in seconds.
        limits_s: what the limit took on the same server in these rounds.
    """

    workload: str
    contender: str
    why_not: str = ""
    times_s: list[float] = field(default_factory=list)
    limits_s: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float | None:
        """The median of the times by those of the limit."""
        pairs = zip(self.times_s, self.limits_s, strict=True)
        return median(time_s / limit_s for time_s, limit_s in pairs) if self.times_s else None


@dataclass(eq=False)
class Runner:
    """One contender at work.

    Attributes:
        cache: the contender.
        limit: who it is compared with: the limit on the same server.
        times_s: of the rounds up to now.
    """

    cache: Contender
    limit: Runner | None = None
    times_s: list[float] = field(default_factory=list)

    @property
    def is_slow(self) -> bool:
        """Whether it is measured less often."""
        return bool(self.times_s) and self.times_s[0] > SLOW_S


class Bench:
    """Measures workloads.

    Args:
        n_rounds: of each.
        with_peers: whether others than the limit and this project take part.
    """

    def __init__(self, n_rounds: int, *, with_peers: bool) -> None:
        self._n_rounds = n_rounds
        self._with_peers = with_peers
        self._random = random.Random(SEED)
        self._json_url = os.environ.get("REDIS_SEARCH_URL")
        self._runner = asyncio.Runner()

    def measure(self, workload: Workload) -> list[Result]:
        """Measure all contenders of a workload, on a server of its own."""
        print(f"{workload.name} ...", file=sys.stderr)
        with ValkeyServer(workload.server_args) as server, ExitStack() as opened:
            reasons = {kind: self._why_not(kind, workload) for kind in workload.contenders}
            runners = self._open([kind for kind, reason in reasons.items() if not reason], server, workload, opened)
            gc.collect()
            gc.freeze()  # what stays is not looked through again and again
            for number in range(self._n_rounds):
                self._play(workload, server, number, runners)
            gc.unfreeze()
        measured = [_result(workload, runner) for runner in runners if runner.limit is not None]
        return measured + [Result(workload.name, kind.title, reason) for kind, reason in reasons.items() if reason]

    def _why_not(self, kind: type[Contender], workload: Workload) -> str:
        if not self._with_peers and kind not in {workload.contenders[0], OurVectors, OurAnswers}:
            return "not asked for"
        if kind.installed() is None:
            return "not installed"
        if kind.needs_json and self._json_url is None:
            return "needs RedisJSON: REDIS_SEARCH_URL"
        verb = "aread" if issubclass(kind, VectorCache) else "alookup"
        return "no asyncio" if workload.is_async and not kind.has(verb) else ""

    def _open(
        self, kinds: Sequence[type[Contender]], server: ValkeyServer, workload: Workload, opened: ExitStack
    ) -> list[Runner]:
        limit = Runner(kinds[0](server.url))
        limit.limit = limit
        runners = [limit, *(Runner(kind(server.url), limit) for kind in kinds[1:] if not kind.needs_json)]
        if self._json_url and any(kind.needs_json for kind in kinds):
            there = Runner(kinds[0](self._json_url))
            runners += [there, *(Runner(kind(self._json_url), there) for kind in kinds if kind.needs_json)]
        for runner in runners:
            opened.callback(runner.cache.close)
            opened.callback(self._runner.run, runner.cache.aclose())
            workload.begin(runner.cache)
        return runners

    def _play(self, workload: Workload, server: ValkeyServer, number: int, runners: Sequence[Runner]) -> None:
        for runner in self._random.sample(runners, len(runners)):
            if runner.is_slow and number >= SLOW_ROUNDS:
                continue
            workload.before_turn(server)
            turn = [self._time, self._atime][workload.is_async]
            runner.times_s.append(median(turn(workload, runner.cache)))

    def _time(self, workload: Workload, cache: Contender) -> list[float]:
        times_s = []
        for _ in range(workload.n_calls):
            start_s = time.perf_counter()
            workload.call(cache)
            times_s.append(time.perf_counter() - start_s)
        return times_s

    def _atime(self, workload: Workload, cache: Contender) -> list[float]:
        return self._runner.run(_atimes(workload, cache))


async def _atimes(workload: Workload, cache: Contender) -> list[float]:
    await workload.call(cache)  # connects
    times_s = []
    for _ in range(workload.n_calls):
        start_s = time.perf_counter()
        await workload.call(cache)
        times_s.append(time.perf_counter() - start_s)
    return times_s


def _result(workload: Workload, runner: Runner) -> Result:
    limits_s = runner.limit.times_s[: len(runner.times_s)] if runner.limit else []
    return Result(workload.name, runner.cache.title, "", runner.times_s, limits_s)


def print_table(results: Sequence[Result]) -> None:
    """Print one row for each workload, one column for each contender."""
    titles = [
        *dict.fromkeys(result.contender for result in results if result.ratio is not None and not is_limit(result))
    ]
    print("| workload | limit |", *(f"{title} |" for title in titles))
    print("|---|--:|", *("--:|" for _ in titles), sep="")
    for name in dict.fromkeys(result.workload for result in results):
        row = {result.contender: result for result in results if result.workload == name}
        limit = next(result for result in row.values() if is_limit(result))
        print(f"| {name} | {_time_of(limit)} |", *(f"{_cell(row.get(title))} |" for title in titles))
    for reason in sorted(
        {f"{result.contender}: {result.why_not}" for result in results if result.why_not not in SILENT}
    ):
        print(f"\nNot run: {reason}")


def is_limit(result: Result) -> bool:
    """Say whether it is what the others are compared with."""
    return result.contender.startswith("limit")


def _cell(result: Result | None) -> str:
    if result is None or result.ratio is None:
        return "-" if result is None else result.why_not
    return f"{result.ratio:.2f}x" if result.ratio < 10 else f"{result.ratio:,.0f}x"


def _time_of(result: Result) -> str:
    time_ms = 1000 * median(result.times_s)
    return f"{time_ms:.1f} ms" if time_ms >= 1 else f"{1000 * time_ms:.0f} µs"


def plot(results: Sequence[Result], path: Path) -> None:
    """Draw the ratios as bars, on a logarithmic axis."""
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    names = [*dict.fromkeys(result.workload for result in results)]
    titles = [
        *dict.fromkeys(result.contender for result in results if result.ratio is not None and not is_limit(result))
    ]
    figure, axes = pyplot.subplots(figsize=(9, 0.9 * len(names) + 1.5))
    height = 0.8 / max(len(titles), 1)
    for index, title in enumerate(titles):
        mine = {result.workload: result.ratio for result in results if result.contender == title and result.ratio}
        places = [names.index(name) + (index - (len(titles) - 1) / 2) * height for name in mine]
        bars = axes.barh(places, [*mine.values()], height, label=title)
        axes.bar_label(bars, fmt=lambda ratio: f"{ratio:.2g}x", padding=2, fontsize=7)
    axes.axvline(1, color="black", linewidth=1)
    axes.set(xscale="log", xlabel="time, as a multiple of the limit (less is better)")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def hide_environment() -> None:
    """Forget settings of the developer: what is measured are the defaults."""
    for name in list(os.environ):
        if name.upper().startswith(HIDDEN):
            del os.environ[name]


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description="How near to the wire.")
    parser.add_argument("--rounds", type=int, default=MIN_ROUNDS, help=f"of each workload, at least {MIN_ROUNDS}")
    parser.add_argument("--only", metavar="WORD", action="append", help="run the workloads whose names hold this")
    parser.add_argument("--without-peers", action="store_true", help="measure the limits and this project alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all times to this file")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the ratios into this file")
    arguments = parser.parse_args()
    if arguments.rounds < MIN_ROUNDS:
        parser.error(f"--rounds: expected at least {MIN_ROUNDS}, got {arguments.rounds}")
    return arguments


def main() -> None:
    """Measure and print."""
    arguments = parse_arguments()
    hide_environment()
    logging.getLogger("resumecache").addHandler(logging.NullHandler())
    warnings.simplefilter("ignore")  # peers warn of what they will change
    start_s = time.perf_counter()
    bench = Bench(arguments.rounds, with_peers=not arguments.without_peers)
    words = arguments.only or [""]
    chosen = [each for each in workloads() if any(word in each.name for word in words)]
    results = [result for workload in chosen for result in bench.measure(workload)]
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    took_s = time.perf_counter() - start_s
    rounds = f"{arguments.rounds} rounds, {SLOW_ROUNDS} of what takes over {SLOW_S:.0f} s"
    print(f"`python -m benchmarks.speed` on {machine}, in {took_s:.0f} seconds:")
    print(f"the time of the limit, and multiples of it; medians of {rounds}.\n")
    print_table(results)
    if arguments.json:
        rows = [asdict(result) | {"ratio": result.ratio} for result in results]
        arguments.json.write_text(json.dumps({"machine": machine, "results": rows}, indent=1), encoding="utf-8")
    if arguments.plot:
        plot(results, arguments.plot)


if __name__ == "__main__":
    main()
