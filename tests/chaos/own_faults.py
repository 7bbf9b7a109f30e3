"""What goes wrong on the side of the callers: in their process, in their event loop, with their provider."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import os
import random
import socket
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.chaos.callers import acall, acall_all, call, local_operations
from tests.chaos.judge import Judge

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.chaos.application import Application, Provider
    from tests.chaos.faults import Fault
    from tests.chaos.operations import Operation

N_CROWD = 50  # threads, and twice as many tasks: more than there are connections
N_IN_CHILD = 20
CHILD_S = 20.0


class OwnFaults:
    """Faults of the callers' own.

    Args:
        applications: what they use.
        provider: of their models.
        judge: of the answers that they get.
        loop: where they run.
    """

    def __init__(
        self, applications: Sequence[Application], provider: Provider, judge: Judge, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._applications = applications
        self._provider = provider
        self._judge = judge
        self._loop = loop

    def draw(self, chance: random.Random) -> Fault:
        """Draw a fault."""
        self._provider.forget_requests()
        seconds, n_events, status = chance.uniform(0.02, 0.3), chance.randrange(1, 4), chance.choice((429, 500, 503))
        seed = chance.random()
        faults: dict[str, Any] = {
            "slow resolver": partial(slow_resolver, seconds),
            "blocked loop": partial(self._blocked_loop, seconds),
            "crowd": partial(self._crowded, seed),
            "fork": partial(self._forked, seed),
            f"provider answers {status}": partial(self._provider.failing, lambda server: server.fail_with(status)),
            "provider hangs": partial(self._provider.failing, lambda server: server.hang()),
            "provider cuts": partial(self._provider.failing, lambda server: server.cut_after(n_events)),
        }
        return chance.choice(list(faults.items()))

    @contextlib.contextmanager
    def _blocked_loop(self, seconds: float) -> Iterator[None]:
        """The event loop does nothing else for a while."""
        self._loop.call_soon_threadsafe(time.sleep, seconds)
        yield

    @contextlib.contextmanager
    def _crowded(self, seed: float) -> Iterator[None]:
        """Many more callers at once than there are connections."""
        chance = random.Random(seed)
        application = chance.choice(self._applications)
        threads, *tasks = [chance.choices(application.operations, k=N_CROWD) for _ in range(3)]
        crowd = asyncio.run_coroutine_threadsafe(self._gather([*tasks[0], *tasks[1]]), self._loop)
        with ThreadPoolExecutor(N_CROWD) as pool:
            list(pool.map(partial(call, judge=self._judge), threads))
        crowd.result()
        yield

    async def _gather(self, operations: Sequence[Operation]) -> None:
        await asyncio.gather(*(acall(operation, self._judge) for operation in operations))

    @contextlib.contextmanager
    def _forked(self, seed: float) -> Iterator[None]:
        """A child, made while others are in the middle of all that they do, uses the same caches."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads
            pid = os.fork()
        if pid == 0:
            os._exit(self._is_wrong_in_child(seed))
        status = os.waitpid(pid, 0)[1]
        if status:
            self._judge.note(f"a forked child ended with {os.waitstatus_to_exitcode(status)}")
        yield

    def _is_wrong_in_child(self, seed: float) -> bool:
        """Do operations with and without a loop, in a process that has one thread alone."""
        faulthandler.dump_traceback_later(CHILD_S, exit=True)  # a child that is stuck says where
        try:
            chance, judge = random.Random(seed), Judge(self._provider)
            for application in self._applications:
                threads, tasks = (chance.choices(local_operations(application), k=N_IN_CHILD) for _ in range(2))
                for operation in threads:
                    call(operation, judge)
                asyncio.run(acall_all(tasks, judge))
        except BaseException:  # noqa: BLE001  whatever it is, the parent is to hear of it
            return True
        if judge.problems:
            os.write(2, "\n".join(judge.problems).encode())
        return bool(judge.problems)


@contextlib.contextmanager
def slow_resolver(seconds: float) -> Iterator[None]:
    """Names of hosts are found late."""
    resolve = socket.getaddrinfo

    def resolve_late(*args: Any, **kwargs: Any) -> Any:
        time.sleep(seconds)
        return resolve(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", resolve_late)
        yield
