"""How contenders are measured: in turns, in one process, each round in another order."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.contenders.base import VectorCache
from benchmarks.speed.results import Result
from benchmarks.speed.samples import SEED
from tests.servers import ValkeyServer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.contenders.base import Contender
    from benchmarks.speed.workloads import Workload

SLOW_S = 2.0
SLOW_ROUNDS = 3
HIDDEN = ("CACHE_", "REDIS_URL", "RESUMECACHE_", "LANGSMITH_", "LANGCHAIN_")


def hide_environment() -> None:
    """Forget settings of the developer: what is measured are the defaults."""
    for name in list(os.environ):
        if name.upper().startswith(HIDDEN):
            del os.environ[name]


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

    def measure(self, workload: Workload[Any]) -> list[Result]:
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

    def _why_not(self, kind: type[Contender], workload: Workload[Any]) -> str:
        if not self._with_peers and not (kind is workload.contenders[0] or kind.is_ours):
            return "not asked for"
        if kind.installed() is None:
            return "not installed"
        if kind.needs_json and self._json_url is None:
            return "needs RedisJSON: REDIS_SEARCH_URL"
        verb = "aread" if issubclass(kind, VectorCache) else "alookup"
        return "no asyncio" if workload.is_async and not kind.has(verb) else ""

    def _open(
        self, kinds: Sequence[type[Contender]], server: ValkeyServer, workload: Workload[Any], opened: ExitStack
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

    def _play(self, workload: Workload[Any], server: ValkeyServer, number: int, runners: Sequence[Runner]) -> None:
        for runner in self._random.sample(runners, len(runners)):
            if runner.is_slow and number >= SLOW_ROUNDS:
                continue
            workload.before_turn(server)
            turn = [self._time, self._atime][workload.is_async]
            runner.times_s.append(median(turn(workload, runner.cache)))

    def _time(self, workload: Workload[Any], cache: Contender) -> list[float]:
        times_s = []
        for _ in range(workload.n_calls):
            workload.before_call(cache)
            start_s = time.perf_counter()
            workload.call(cache)
            times_s.append(time.perf_counter() - start_s)
            workload.after_call(cache)
        return times_s

    def _atime(self, workload: Workload[Any], cache: Contender) -> list[float]:
        return self._runner.run(_atimes(workload, cache))


async def _atimes(workload: Workload[Any], cache: Contender) -> list[float]:
    await workload.call(cache)  # connects
    times_s = []
    for _ in range(workload.n_calls):
        workload.before_call(cache)
        start_s = time.perf_counter()
        await workload.call(cache)
        times_s.append(time.perf_counter() - start_s)
        workload.after_call(cache)
    return times_s


def _result(workload: Workload[Any], runner: Runner) -> Result:
    limits_s = runner.limit.times_s[: len(runner.times_s)] if runner.limit else []
    return Result(workload.name, runner.cache.title, "", runner.times_s, limits_s)
