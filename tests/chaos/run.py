"""Chaos: threads and tasks use caches while the servers behind them fail, as a seeded script has it.

`python -m tests.chaos.run --operations 1000000` is the long form of what `test_chaos.py` does for some seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import itertools
import logging
import random
import resource
import sys
import threading
import time
import traceback
import warnings
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from typing_extensions import override

from tests.chaos.application import SETTINGS, Application, Operation
from tests.chaos.faults import last, on_cluster, on_server, on_the_way
from tests.proxy import FaultProxy
from tests.servers import HOST, ValkeyCluster, ValkeyServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.chaos.faults import Fault

N_THREADS, N_TASKS = 6, 12
# An operation looks up, waits for another's computation, and stores, each bounded; the rest shows a hang alone.
BOUND_S = SETTINGS.flight_wait_s + 5.0
RECOVERY_S = 30.0
CANCELLED = 0.2  # the share of a task's calls that are cancelled
MOST_TURNS = 20  # of the event loop, before a call is cancelled
N_TOLD = 20


class Topology(ABC):
    """Servers, the ways to them, and what can happen to them."""

    @property
    @abstractmethod
    def servers(self) -> Sequence[ValkeyServer]:
        """All servers."""

    @abstractmethod
    def urls(self) -> Sequence[str]:
        """One for each application."""

    @abstractmethod
    def draw(self, chance: random.Random) -> Fault:
        """Draw the next fault."""

    @abstractmethod
    def settle(self) -> None:
        """Return when all servers serve again."""

    @abstractmethod
    def close(self) -> None:
        """End all servers."""


class OneServer(Topology):
    """One server, which one application reaches directly and one through a proxy."""

    def __init__(self) -> None:
        self._server = ValkeyServer()
        self._server.start()
        self._proxy = FaultProxy(HOST, self._server.port)
        self._proxy.quiet_s = 0
        self._proxy.start()

    @property
    @override
    def servers(self) -> Sequence[ValkeyServer]:
        return [self._server]

    @override
    def urls(self) -> Sequence[str]:
        return [self._server.url, self._proxy.url]

    @override
    def draw(self, chance: random.Random) -> Fault:
        self._proxy.reset_counts()  # a long run has many commands
        on_way, at_end = on_the_way(self._proxy, chance), on_server(self._server, chance)
        return chance.choice([on_way, at_end, _both(on_way, at_end)])

    @override
    def settle(self) -> None:
        """It serves once the faults are over."""

    @override
    def close(self) -> None:
        self._proxy.close()
        self._server.stop()


class Cluster(Topology):
    """Three primaries, each with a replica, and two applications."""

    def __init__(self) -> None:
        self._cluster = ValkeyCluster(3, 3)
        self._cluster.start()

    @property
    @override
    def servers(self) -> Sequence[ValkeyServer]:
        return self._cluster.servers

    @override
    def urls(self) -> Sequence[str]:
        return [self._cluster.url] * 2

    @override
    def draw(self, chance: random.Random) -> Fault:
        return on_cluster(self._cluster, chance)

    @override
    def settle(self) -> None:
        self._cluster.wait_until_agreed()

    @override
    def close(self) -> None:
        self._cluster.stop()


TOPOLOGIES: dict[str, Callable[[], Topology]] = {"server": OneServer, "cluster": Cluster}


def _both(one: Fault, other: Fault) -> Fault:
    def begin() -> contextlib.ExitStack:
        with contextlib.ExitStack() as stack:  # the first ends, should the second not begin
            stack.enter_context(one[1]())
            stack.enter_context(other[1]())
            return stack.pop_all()

    return f"{one[0]} and {other[0]}", begin


class ChaosRun:
    """One run: workers and faults side by side, then a look at what is left.

    Args:
        topology: the servers; still running at the end.
        seed: of the faults, and of what each worker does.
        seconds: how long faults happen.
        operations: how many there are at least.

    Attributes:
        problems: what went wrong, with the fault during which it did; empty is good.
        script: the faults that there were, the last ones of a long run.
        n_done: how many operations there were.
        n_upstream: how many of them reached a model.
    """

    def __init__(self, topology: Topology, *, seed: int, seconds: float = 0.0, operations: int = 0) -> None:
        self.problems: list[str] = []
        self.script: list[str] = []
        self.n_done = 0
        self.n_upstream = 0
        self._topology = topology
        self._applications: list[Application] = []  # kept beyond their use: what they do not close shows
        self._seed = seed
        self._seconds, self._operations = seconds, operations
        self._numbers = itertools.count(1)
        self._is_over = threading.Event()
        self._fault = "no fault"

    def run(self) -> list[str]:
        """Run it all; returns the problems."""
        threads = set(threading.enumerate())
        asyncio.run(self._run())
        for server in self._topology.servers:
            self._expect(lambda: len(_clients(server)) == 1, lambda: f"clients: {_clients(server)}")  # noqa: B023  called at once
        self._expect(lambda: set(threading.enumerate()) <= threads, lambda: f"threads: {threading.enumerate()}")
        self._applications.clear()
        gc.collect()  # what was left open says so now
        return self.problems

    async def _run(self) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: self._note(f"on the loop: {context}"))
        applications = self._applications
        applications += [Application(url, f"chaos{self._seed}") for url in self._topology.urls()]
        with ThreadPoolExecutor(N_THREADS + 1) as pool:
            call = asyncio.get_running_loop().run_in_executor
            tasks = [self._work_in_task(applications, n) for n in range(N_TASKS)]
            threads = [call(pool, self._work_in_thread, applications, n) for n in range(N_THREADS)]
            await asyncio.gather(call(pool, self._fail), *tasks, *threads)
            await call(pool, self._topology.settle)
            for application in applications:
                await self._recover(application, pool)
        for application in applications:
            self.n_upstream += application.n_upstream
            await application.store.aclose()
        await self._expect_no_tasks()

    def _fail(self) -> None:
        """Have one fault after the other until there was enough."""
        chance = random.Random(self._seed)
        end_s = time.monotonic() + self._seconds
        try:
            while not self.problems and (time.monotonic() < end_s or self.n_done < self._operations):
                fault, seconds, calm_s = self._topology.draw(chance), chance.expovariate(3), chance.uniform(0, 0.3)
                self._fault = f"{fault[0]} for {seconds:.3f} s"
                self.script = [*self.script[1 - N_TOLD :], self._fault]
                last(fault, seconds)
                self._fault = f"after {self._fault}"
                time.sleep(calm_s)
        finally:
            self._is_over.set()

    def _work_in_thread(self, applications: list[Application], number: int) -> None:
        chance = random.Random(f"{self._seed} thread {number}")
        while not self._is_over.is_set():
            operation = chance.choice(chance.choice(applications).operations)
            with self._watched(operation) as judge:
                judge(operation.call())

    async def _work_in_task(self, applications: list[Application], number: int) -> None:
        chance = random.Random(f"{self._seed} task {number}")
        while not self._is_over.is_set():
            operation = chance.choice(chance.choice(applications).operations)
            is_cancelled = chance.random() < CANCELLED
            with self._watched(operation) as judge:
                if is_cancelled:
                    await self._cancel(operation, chance.randrange(MOST_TURNS), judge)
                else:
                    judge(await operation.acall())
            await asyncio.sleep(0)

    async def _cancel(self, operation: Operation, n_turns: int, judge: Callable[[object], None]) -> None:
        """Have a caller that is cancelled in the middle, or just before or after."""
        task = asyncio.ensure_future(operation.acall())
        for _ in range(n_turns):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            judge(await task)

    @contextlib.contextmanager
    def _watched(self, operation: Operation) -> Iterator[Callable[[object], None]]:
        """Note a wrong answer, an exception, and a hang."""
        fault, started_s = self._fault, time.monotonic()

        def judge(answer: object) -> None:
            if not operation.is_right(answer):
                self._note(f"{operation.name} during {fault}: got {answer!r:.300}")

        try:
            yield judge
        except Exception:  # noqa: BLE001  whatever it is, no caller may see it
            self._note(f"{operation.name} during {fault}: {traceback.format_exc()}")
        took_s = time.monotonic() - started_s
        if took_s > BOUND_S:
            self._note(f"{operation.name} during {fault}: took {took_s:.1f} s")
        self.n_done = next(self._numbers)

    async def _recover(self, application: Application, pool: ThreadPoolExecutor) -> None:
        """Everything is a hit again, in threads and in tasks."""
        call = asyncio.get_running_loop().run_in_executor
        end_s = time.monotonic() + RECOVERY_S
        missed = ["not asked"]
        while missed and time.monotonic() < end_s:
            missed = await call(pool, _missed, application)
            missed += await _amissed(application)
        if missed:
            self._note(f"no hits {RECOVERY_S} s after all faults: {missed[:5]}")

    async def _expect_no_tasks(self) -> None:
        """No task but this one is left on the loop."""
        end_s = time.monotonic() + BOUND_S
        while len(asyncio.all_tasks()) > 1 and time.monotonic() < end_s:  # noqa: ASYNC110  what is to end has no event
            await asyncio.sleep(0.01)
        if len(asyncio.all_tasks()) > 1:
            self._note(f"tasks are left: {asyncio.all_tasks()}")

    def _expect(self, holds: Callable[[], bool], message: Callable[[], str]) -> None:
        """Note that something is left, when it is still there after a while."""
        end_s = time.monotonic() + BOUND_S
        while not holds() and time.monotonic() < end_s:
            time.sleep(0.01)
        if not holds():
            self._note(f"left are {message()}")

    def _note(self, problem: str) -> None:
        if len(self.problems) < N_TOLD:
            self.problems.append(problem)


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
    """Who is connected: the one who asks, and whoever should have left."""
    lines: bytes = server.command("CLIENT", "LIST", "TYPE", "normal")
    return lines.decode().splitlines()


def _memory_mib() -> float:
    """The most memory that this process has had."""
    per_mib = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / per_mib


def main() -> int:
    """Run it from the command line; 1 when there were problems."""
    parser = argparse.ArgumentParser(description="Use caches while their servers fail.")
    parser.add_argument("--operations", type=int, default=100_000, help="how many at least")
    parser.add_argument("--topology", choices=TOPOLOGIES, default="cluster")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    options = parser.parse_args()
    warnings.simplefilter("error", ResourceWarning)
    logging.getLogger("resumecache").setLevel(logging.CRITICAL)  # failures are what a run is made of
    topology = TOPOLOGIES[options.topology]()
    started_s, memory_mib = time.monotonic(), _memory_mib()
    try:
        chaos = ChaosRun(topology, seed=options.seed, operations=options.operations)
        sys.unraisablehook = lambda unraisable: chaos.problems.append(f"not closed: {unraisable.exc_value!r}")
        threading.excepthook = lambda died: chaos.problems.append(f"{died.thread} died: {died.exc_value!r}")
        chaos.run()
    finally:
        topology.close()
    took_s = time.monotonic() - started_s
    report = [
        f"seed {options.seed}: {chaos.n_done} operations in {took_s:.0f} s, {chaos.n_upstream} requests upstream",
        f"memory: {memory_mib:.0f} MiB at the start, {_memory_mib():.0f} MiB at most",
        *([*chaos.script, *chaos.problems] if chaos.problems else ["no problems"]),
    ]
    sys.stdout.write("\n".join(report) + "\n")
    return 1 if chaos.problems else 0


if __name__ == "__main__":
    sys.exit(main())
