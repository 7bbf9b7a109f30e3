"""Callers: threads, tasks, and event loops that come and go, each doing one operation after the other."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.chaos.application import Application
    from tests.chaos.judge import Judge
    from tests.chaos.operations import Operation

CANCELLED = 0.2  # the share of a task's calls that are cancelled
MOST_TURNS = 20  # of the event loop, before a call is cancelled
N_IN_LOOP = 200  # operations before an event loop ends


def work_in_thread(applications: Sequence[Application], judge: Judge, seed: str, is_over: Callable[[], bool]) -> None:
    """Call, and call again, until all is over."""
    chance = random.Random(seed)
    while not is_over():
        call(chance.choice(chance.choice(applications).operations), judge)


async def work_in_task(
    applications: Sequence[Application], judge: Judge, seed: str, is_over: Callable[[], bool]
) -> None:
    """Asynchronous twin of `work_in_thread`, of which some calls are cancelled."""
    chance = random.Random(seed)
    while not is_over():
        operation = chance.choice(chance.choice(applications).operations)
        if chance.random() < CANCELLED:
            await _cancel(operation, chance.randrange(MOST_TURNS), judge)
        else:
            await acall(operation, judge)
        await asyncio.sleep(0)


def work_in_loops(applications: Sequence[Application], judge: Judge, seed: str, is_over: Callable[[], bool]) -> None:
    """Call in one event loop after the other, beside the one that lasts."""
    chance = random.Random(seed)
    while not is_over():
        operations = [chance.choice(local_operations(chance.choice(applications))) for _ in range(N_IN_LOOP)]
        asyncio.run(acall_all(operations, judge))


def local_operations(application: Application) -> list[Operation]:
    """Operations that are not bound to one event loop or process, as those of the provider's clients are."""
    return [one for one in application.operations if not one.asks_provider]


def call(operation: Operation, judge: Judge) -> None:
    """Do an operation and have the answer judged."""
    with judge.watched(operation) as answered:
        answered(operation.call())


async def acall(operation: Operation, judge: Judge) -> None:
    """Asynchronous twin of `call`."""
    with judge.watched(operation) as answered:
        answered(await operation.acall())


async def acall_all(operations: Sequence[Operation], judge: Judge) -> None:
    """Do operations one after the other."""
    for operation in operations:
        await acall(operation, judge)


async def _cancel(operation: Operation, n_turns: int, judge: Judge) -> None:
    """Have a caller that is cancelled in the middle, or just before or after."""
    with judge.watched(operation) as answered:
        task = asyncio.ensure_future(operation.acall())
        for _ in range(n_turns):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            answered(await task)
