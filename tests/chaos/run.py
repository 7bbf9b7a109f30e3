"""Chaos: threads and tasks use caches while the servers behind them fail, as a seeded script has it.

`python -m tests.chaos.run --operations 1000000` is the long form of what `test_chaos.py` does for some seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import random
import sys
import threading
import time
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tests.chaos.application import Application, Provider
from tests.chaos.callers import work_in_loops, work_in_task, work_in_thread
from tests.chaos.faults import both, last
from tests.chaos.judge import BOUND_S, N_TOLD, Judge
from tests.chaos.measures import memory_mib
from tests.chaos.own_faults import OwnFaults
from tests.chaos.topologies import TOPOLOGIES, Topology
from tests.openai_server import OpenAIServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers import ValkeyServer

N_THREADS, N_TASKS = 6, 12
RECOVERY_S = 30.0
OWN = 0.3  # the share of faults beside which something goes wrong on the callers' side too
WARM = 0.25  # the share of a run after which memory should not grow
MOST_GROWTH_MIB, LONG_RUN = 48.0, 200_000  # of memory; and from how many operations on it says anything


class ChaosRun:
    """One run: callers and faults side by side, then a look at what is left.

    Args:
        topology: the servers; still running at the end.
        seed: of the faults, and of what each caller does.
        seconds: how long faults happen.
        operations: how many there are at least.

    Attributes:
        judge: of the answers.
        script: the faults that there were, the last ones of a long run.
        faults: how often there was each kind of them.
        failures: how often the stores failed their callers, by reason.
        n_upstream: how many operations reached a model.
        memory_mib: at the start of the callers, at most until they are warm, and at most after that.
        n_connections: how many were left at the end.
        took_s: how many seconds the callers called.
    """

    def __init__(self, topology: Topology, *, seed: int, seconds: float = 0.0, operations: int = 0) -> None:
        self.script: list[str] = []
        self.faults: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.n_upstream = 0
        self.n_connections = 0
        self.took_s = 0.0
        self.memory_mib = [memory_mib()] * 3
        self._topology = topology
        self._applications: list[Application] = []  # kept beyond their use: what they do not close shows
        self._seed = seed
        self._seconds, self._operations = seconds, operations
        self._is_over = threading.Event()

    def run(self) -> list[str]:
        """Run it all; returns the problems."""
        threads = set(threading.enumerate())
        with OpenAIServer() as server:
            provider = Provider(server)
            self.judge = Judge(provider)
            asyncio.run(self._run(provider))
        servers = self._topology.servers
        self._expect(lambda: not any(map(_clients, servers)), lambda: f"clients: {list(map(_clients, servers))}")
        self.n_connections = sum(len(_clients(server)) for server in servers)
        self._expect(lambda: set(threading.enumerate()) <= threads, lambda: f"threads: {threading.enumerate()}")
        self._applications.clear()
        gc.collect()  # what was left open says so now
        return self.judge.problems

    async def _run(self, provider: Provider) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self.judge.note(f"on the loop: {context}"))
        stores, namespace = self._topology.open_stores(), f"chaos{self._seed}"
        applications = self._applications
        applications += [Application(store, namespace, provider) for store in stores]
        own = OwnFaults(applications, provider, self.judge, loop)
        _import_all(applications[0])
        started_s = time.monotonic()
        given = applications, self.judge
        names = [f"{self._seed} {n}" for n in range(N_THREADS + N_TASKS)]
        with ThreadPoolExecutor(N_THREADS + 2) as pool:
            call, is_over = loop.run_in_executor, self._is_over.is_set
            tasks = [work_in_task(*given, name, is_over) for name in names[N_THREADS:]]
            threads = [call(pool, work_in_thread, *given, name, is_over) for name in names[:N_THREADS]]
            loops = call(pool, work_in_loops, *given, f"{self._seed} loops", is_over)
            await asyncio.gather(call(pool, self._fail, own), loops, *tasks, *threads)
            self.took_s = time.monotonic() - started_s
            await call(pool, self._topology.settle)
            for application in applications:
                await self._recover(application, pool)
        self.n_upstream = provider.n_asked + sum(application.n_upstream for application in applications)
        for application in applications:
            self.failures += application.failures
            await application.aclose()
        await self._expect_no_tasks()

    def _fail(self, own: OwnFaults) -> None:
        """Have one fault after the other until there was enough."""
        chance = random.Random(self._seed)
        end_s = time.monotonic() + self._seconds
        try:
            while not self.judge.problems and (time.monotonic() < end_s or self.judge.n_done < self._operations):
                fault, seconds, calm_s = self._topology.draw(chance), chance.expovariate(3), chance.uniform(0, 0.3)
                other = own.draw(chance)
                name, begin = both(fault, other) if chance.random() < OWN else fault
                self.judge.fault = f"{name} for {seconds:.3f} s"
                self.script = [*self.script[1 - N_TOLD :], self.judge.fault]
                self.faults.update(_kind(one) for one in name.split(" and "))
                last((name, begin), seconds)
                self.judge.fault = f"after {self.judge.fault}"
                time.sleep(calm_s)
                self._note_memory()
        finally:
            self._is_over.set()

    def _note_memory(self) -> None:
        is_warm = self.judge.n_done > WARM * self._operations
        for n in (1, 2) if not is_warm else (2,):
            self.memory_mib[n] = max(self.memory_mib[n], memory_mib())

    async def _recover(self, application: Application, pool: ThreadPoolExecutor) -> None:
        """Everything is a hit again, in threads and in tasks."""
        call = asyncio.get_running_loop().run_in_executor
        end_s = time.monotonic() + RECOVERY_S
        missed = ["not asked"]
        while missed and time.monotonic() < end_s:
            missed = await call(pool, _missed, application)
            missed += await _amissed(application)
        if missed:
            self.judge.note(f"no hits {RECOVERY_S} s after all faults: {missed[:5]}")

    async def _expect_no_tasks(self) -> None:
        """No task but this one is left on the loop."""
        end_s = time.monotonic() + BOUND_S
        while len(asyncio.all_tasks()) > 1 and time.monotonic() < end_s:  # noqa: ASYNC110  what is to end has no event
            await asyncio.sleep(0.01)
        if len(asyncio.all_tasks()) > 1:
            self.judge.note(f"tasks are left: {asyncio.all_tasks()}")

    def _expect(self, holds: Callable[[], bool], message: Callable[[], str]) -> None:
        """Note that something is left, when it is still there after a while."""
        end_s = time.monotonic() + BOUND_S
        while not holds() and time.monotonic() < end_s:
            time.sleep(0.01)
        if not holds():
            self.judge.note(f"left are {message()}")


def _import_all(application: Application) -> None:
    """Do all once: a process that forks while another thread imports has, in any program, a child that is stuck."""
    for operation in application.operations:
        operation.call()


def _missed(application: Application) -> list[str]:
    """Names of the operations that the cache did not serve, or all models' work, in this thread."""
    n_upstream = application.n_upstream
    missed = [one.name for one in application.operations if one.call() != one.hit]
    return missed + [f"{application.n_upstream - n_upstream} requests"] * (application.n_upstream != n_upstream)


async def _amissed(application: Application) -> list[str]:
    """Asynchronous twin of `_missed`."""
    n_upstream = application.n_upstream
    missed = [one.name for one in application.operations if await one.acall() != one.hit]
    return missed + [f"{application.n_upstream - n_upstream} requests"] * (application.n_upstream != n_upstream)


def _clients(server: ValkeyServer) -> list[str]:
    """Who is connected and should have left: neither the one who asks, nor a Sentinel."""
    lines: bytes = server.command("CLIENT", "LIST", "TYPE", "normal")
    return [line for line in lines.decode().splitlines() if "cmd=client|list" not in line and "sentinel" not in line]


def _kind(fault: str) -> str:
    """The kind of a fault: its name without numbers."""
    return " ".join(word for word in fault.split() if not any(map(str.isdigit, word)) and word != "server")


def report(chaos: ChaosRun) -> str:
    """What a run has shown, in few lines."""
    counts, n_done, took_s = chaos.judge.counts, chaos.judge.n_done, chaos.took_s
    start, warm, most = chaos.memory_mib
    quantiles = (chaos.judge.latencies.quantile_ms(share) for share in (0.5, 0.99))
    lines = [
        f"operations  {n_done:,} in {took_s:.0f} s, {n_done / took_s:,.0f} a second, {counts['cancelled']:,} cancelled",
        f"answers     right {counts['right']:,}, misses among them {counts['misses']:,}, wrong {counts['wrong']}",
        f"errors      {counts['errors']}, and {counts['refused']:,} of the provider while it failed",
        f"computed    {chaos.n_upstream:,} by the models",
        "latency     p50 {:.2f} ms, p99 {:.1f} ms".format(*quantiles),
        f"faults      {chaos.faults.total():,}: {_listed(chaos.faults)}",
        f"failures    {chaos.failures.total():,}: {_listed(chaos.failures)}",
        f"memory      {start:.0f} MiB at the start, {warm:.0f} when warm, {most - warm:+.1f} at most after that",
        f"left        {chaos.n_connections} connections",
    ]
    return "\n".join(lines)


def _listed(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in counter.most_common())


def main() -> int:
    """Run it from the command line; 1 when there were problems."""
    parser = argparse.ArgumentParser(description="Use caches while their servers fail.")
    parser.add_argument("--operations", type=int, default=100_000, help="how many at least")
    parser.add_argument("--topology", choices=TOPOLOGIES, default="cluster")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    options = parser.parse_args()
    warnings.simplefilter("error", ResourceWarning)
    for name in ("resumecache", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # failures are what a run is made of
    topology = TOPOLOGIES[options.topology]()
    died: list[str] = []
    try:
        chaos = ChaosRun(topology, seed=options.seed, operations=options.operations)
        sys.unraisablehook = lambda unraisable: died.append(f"not closed: {unraisable.exc_value!r}")
        threading.excepthook = lambda thread: died.append(f"{thread.thread} died: {thread.exc_value!r}")
        problems = [*chaos.run(), *died]
    finally:
        topology.close()
    _, warm, most = chaos.memory_mib
    if options.operations >= LONG_RUN and most - warm > MOST_GROWTH_MIB:
        problems.append(f"memory grew by {most - warm:.0f} MiB")
    sys.stdout.write(f"seed {options.seed} on a {options.topology}\n{report(chaos)}\n")
    sys.stdout.write("\n".join([*chaos.script, *problems] if problems else ["no problems"]) + "\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
