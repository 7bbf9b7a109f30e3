"""How this project is measured: rounds of each scenario on new caches, warm and cold."""

from __future__ import annotations

import gc
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.failures.contenders import OURS
from cache.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.failures.callers import Call, Way
    from benchmarks.failures.contenders import Contender
    from benchmarks.failures.scenarios import Scenario
    from benchmarks.failures.servers import Servers

N_STEADY = 200
STEADY_LIMIT_S = 2.5
N_BASE = 7
N_RECOVERIES = 2
GIVE_UP_S = 20.0


@dataclass
class Cell:
    """What one operation met in one scenario; all times are added milliseconds.

    Attributes:
        scenario: its name.
        contender: its title.
        way: `sync` or `async`.
        deadline_ms: what one operation of this size may take.
        base_ms: what a disabled call took at the median, between the further calls.
        first_warm: of each round, the first call of a cache that was in use when the fault came.
        first_cold: of each round, the first call of a new cache during the fault.
        steady: further calls of a warm cache.
        n_steady_hits: how many of these the cache answered.
        noise: the disabled calls between these, minus their median: what the machine itself adds.
        errors: what calls raised, by class.
    """

    scenario: str
    contender: str
    way: str
    deadline_ms: float = 0.0
    base_ms: float = 0.0
    first_warm: list[float] = field(default_factory=list)
    first_cold: list[float] = field(default_factory=list)
    steady: list[float] = field(default_factory=list)
    n_steady_hits: int = 0
    noise: list[float] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)

    def note(self, call: Call) -> None:
        """Count what a call raised."""
        if call.error:
            self.errors[call.error] = self.errors.get(call.error, 0) + 1


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


@contextmanager
def opened(contenders: Sequence[Contender], way: Way) -> Iterator[Sequence[Contender]]:
    """Close them at the end."""
    try:
        yield contenders
    finally:
        for contender in contenders:
            way.end(contender)


class Play:
    """One scenario, one way of calling: its rounds, and what they gave.

    Args:
        servers: all of them.
        scenario: what goes wrong.
        way: how calls are made.
    """

    def __init__(self, servers: Servers, scenario: Scenario, way: Way) -> None:
        self._servers = servers
        self._scenario = scenario
        self._way = way
        self._numbers = count(1)
        self.recovery = Recovery(scenario.name, way.name)
        self.cells = [
            Cell(scenario.name, kind.title, way.name, 1000 * Deadline().allowed_s(kind.size_bytes)) for kind in OURS
        ]

    def run(self, n_rounds: int) -> None:
        """Play all rounds; the last one is long."""
        lasted_ms = [self._round(is_last=False) for _ in range(n_rounds - 1)]
        self.recovery.short_ms = median(lasted_ms)
        self.recovery.long_ms = self._round(is_last=True)

    def _round(self, *, is_last: bool) -> float:
        """Play one round on new caches; return how long the fault lasted, in milliseconds."""
        gc.collect()
        self._scenario.prepare(self._servers)
        with self._opened() as warm, self._opened() as cold, self._opened(enabled=False) as disabled:
            self._warm_up(warm)
            base_ms = [median(self._call(off).ms for _ in range(N_BASE)) for off in disabled]
            start_s = time.perf_counter()
            self._scenario.begin(self._servers)
            self._first_calls(warm, cold, base_ms)
            if is_last:
                self._steady_calls(warm, disabled)
            lasted_ms = 1000 * (time.perf_counter() - start_s)
            self._heal(warm[1], is_last=is_last)
        return lasted_ms

    @contextmanager
    def _opened(self, *, enabled: bool = True) -> Iterator[Sequence[Contender]]:
        url = self._scenario.url(self._servers)
        with opened([kind(url, enabled=enabled and self._scenario.enabled) for kind in OURS], self._way) as contenders:
            yield contenders

    def _warm_up(self, contenders: Sequence[Contender]) -> None:
        for contender in contenders:
            question = contender.question(0)
            end_s = time.perf_counter() + (GIVE_UP_S if self._scenario.enabled else 0)
            while not (is_hit := self._way.call(contender, question).is_hit) and time.perf_counter() < end_s:
                time.sleep(0.001)
            if is_hit is not self._scenario.enabled:
                raise RuntimeError(f"{self._scenario.name}: the server was not ready, or not left alone")

    def _call(self, contender: Contender) -> Call:
        number = next(self._numbers) if self._scenario.asks_anew else 0
        return self._way.call(contender, contender.question(number))

    def _first_calls(self, warm: Sequence[Contender], cold: Sequence[Contender], base_ms: Sequence[float]) -> None:
        """Take the first call of each; while the fault is still to come, the slowest up to the first after it."""
        slowest_ms = [0.0] * len(warm)
        is_coming = True
        while is_coming:
            is_coming = self._servers.is_killing
            calls = [self._noted(contender, cell) for contender, cell in zip(warm, self.cells, strict=True)]
            slowest_ms = [max(ms, call.ms) for ms, call in zip(slowest_ms, calls, strict=True)]
        for cell, ms, base in zip(self.cells, slowest_ms, base_ms, strict=True):
            cell.first_warm.append(ms - base)
        for cell, contender, base in zip(self.cells, cold, base_ms, strict=True):
            cell.first_cold.append(self._noted(contender, cell).ms - base)

    def _noted(self, contender: Contender, cell: Cell) -> Call:
        call = self._call(contender)
        cell.note(call)
        return call

    def _steady_calls(self, warm: Sequence[Contender], disabled: Sequence[Contender]) -> None:
        for cell, contender, off in zip(self.cells, warm, disabled, strict=True):
            pairs: list[tuple[float, Call]] = []
            end_s = time.perf_counter() + STEADY_LIMIT_S
            while len(pairs) < N_STEADY and time.perf_counter() < end_s:
                pairs.append((self._call(off).ms, self._noted(contender, cell)))
            cell.base_ms = base_ms = median(ms for ms, _ in pairs)
            cell.noise = [ms - base_ms for ms, _ in pairs]
            cell.steady = [call.ms - base_ms for _, call in pairs]
            cell.n_steady_hits = sum(call.is_hit for _, call in pairs)

    def _heal(self, contender: Contender, *, is_last: bool) -> None:
        """End the fault, and ask for something new until the cache has stored it and finds it."""
        if self._scenario.heal is None:
            return
        self._scenario.heal(self._servers)
        if not is_last and len(self.recovery.after_short) == N_RECOVERIES:
            return
        start_s = time.perf_counter()
        question = contender.question(next(self._numbers))
        while not self._way.call(contender, question).is_hit:
            if time.perf_counter() - start_s > GIVE_UP_S:
                raise RuntimeError(f"{self._scenario.name}: the cache did not come back within {GIVE_UP_S} s")
            time.sleep(0.001)
        took_ms = 1000 * (time.perf_counter() - start_s)
        if is_last:
            self.recovery.after_long = took_ms
        else:
            self.recovery.after_short.append(took_ms)
