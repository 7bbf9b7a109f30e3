"""What callers got, and what of it they should not have got."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
import traceback
from collections import Counter
from typing import TYPE_CHECKING

from tests.chaos.measures import Latencies
from tests.chaos.operations import FLIGHT_WAIT_S, PROVIDER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.chaos.application import Provider
    from tests.chaos.operations import Operation

# An operation looks up, waits for another's computation, asks, and stores, each bounded; the rest shows a hang alone.
BOUND_S = FLIGHT_WAIT_S + PROVIDER_S + 5.0
N_TOLD = 20


class Judge:
    """Counts operations, and notes what must not happen; from any thread.

    Args:
        provider: whose errors callers see while it fails; `None` where there is none.

    Attributes:
        problems: what went wrong, with the fault during which it did; empty is good.
        fault: what the servers suffer from now.
        n_done: how many operations there were.
        counts: of answers, `right`, `misses` among them, and `wrong`; of `errors`; of those that the provider has
            `refused`; of callers who were `cancelled`.
        latencies: of those who were not cancelled.
    """

    def __init__(self, provider: Provider | None = None) -> None:
        self.problems: list[str] = []
        self.fault = "no fault"
        self.n_done = 0
        self.counts: Counter[str] = Counter()
        self.latencies = Latencies()
        self._provider = provider
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)

    @contextlib.contextmanager
    def watched(self, operation: Operation) -> Iterator[Callable[[object], None]]:
        """A block that does an operation and gives the answer to what it gets: looks at it, at errors and the time."""
        fault, started_s = self.fault, time.monotonic()
        answers: list[object] = []
        try:
            yield answers.append
        except Exception as error:  # noqa: BLE001  whatever it is, no caller may see it, unless the provider fails
            if self._is_of_provider(error, operation, started_s):
                self._count("refused")
            else:
                self._count("errors")
                self.note(f"{operation.name} during {fault}: {traceback.format_exc()}")
        else:
            self._judge(operation, answers, fault)
        took_s = time.monotonic() - started_s
        if answers:
            self.latencies.add(took_s)
        if took_s > BOUND_S:
            self.note(f"{operation.name} during {fault}: took {took_s:.1f} s")
        self.n_done = next(self._numbers)

    def note(self, problem: str) -> None:
        """Note what must not happen."""
        if len(self.problems) < N_TOLD:
            self.problems.append(problem)

    def _judge(self, operation: Operation, answers: list[object], fault: str) -> None:
        if not answers:
            self._count("cancelled")
        elif not operation.is_right(answers[0]):
            self._count("wrong")
            self.note(f"{operation.name} during {fault}: got {answers[0]!r:.300}")
        else:
            self._count("right", *["misses"] * (answers[0] != operation.hit))

    def _is_of_provider(self, error: Exception, operation: Operation, started_s: float) -> bool:
        provider = self._provider
        if provider is None or not operation.asks_provider:
            return False
        return isinstance(error, provider.errors) and provider.has_failed_since(started_s)

    def _count(self, *names: str) -> None:
        with self._lock:
            self.counts.update(names)
