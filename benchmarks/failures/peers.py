"""How others are measured: they may hang for a minute, so their waits overlap and are cut at a bound.

What waits takes no processor: a call that is not back soon goes on in its thread while the next contender is measured,
and so do the further calls of its own cache, as another caller would make them.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.failures.callers import Call
from benchmarks.failures.contenders import PEERS
from benchmarks.failures.measuring import Cell, opened

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future

    from benchmarks.failures.callers import Way
    from benchmarks.failures.contenders import Contender
    from benchmarks.failures.scenarios import Scenario
    from benchmarks.failures.servers import Servers

CUT_S = 10.0
GRACE_S = 0.5
ENOUGH_S = 3.0
N_STEADY = 50


class Entrant(NamedTuple):
    """A contender in a scenario.

    Attributes:
        contender: the cache.
        way: how it is called.
        cell: where its numbers go.
    """

    contender: Contender
    way: Way
    cell: Cell


class PeerPlay:
    """One scenario with all peers, in all ways.

    Args:
        servers: all of them.
        scenario: what goes wrong.
        ways: how calls are made.
    """

    def __init__(self, servers: Servers, scenario: Scenario, ways: Sequence[Way]) -> None:
        self._servers = servers
        self._scenario = scenario
        self._numbers = count(time.monotonic_ns())  # a server that is not ours keeps what was asked for before
        self._late: list[Future[Call]] = []
        kinds = [kind for kind in PEERS if kind.installed() and self._can_run(kind)]
        self._cells = {(kind, way): Cell(scenario.name, kind.title, way.name) for kind in kinds for way in ways}

    @property
    def cells(self) -> list[Cell]:
        """What was measured."""
        return list(self._cells.values())

    def run(self, n_rounds: int) -> None:
        """Play rounds until they are done or have taken long enough."""
        end_s = time.perf_counter() + ENOUGH_S
        while self._cells and n_rounds and time.perf_counter() < end_s:
            self._round()
            n_rounds -= 1

    def _can_run(self, kind: type[Contender]) -> bool:
        if not (self._scenario.enabled and self._scenario.is_one_server):
            return False
        return not kind.needs_json or (self._scenario.at_json is not None and self._servers.json_proxy is not None)

    def _round(self) -> None:
        self._servers.server.command("FLUSHALL")
        with ExitStack() as stack:
            entrants = [self._entrant(kind, way, stack) for kind, way in self._cells]
            for entrant in entrants:
                self._warm_up(entrant)
            self._begin()
            with ThreadPoolExecutor(len(entrants)) as threads:
                running = []
                for entrant in entrants:
                    running.append(threads.submit(self._measure, entrant))
                    wait(running[-1:], timeout=2 * GRACE_S)
            self._heal()
            wait(self._late)
            for done in running:
                done.result()

    def _entrant(self, kind: type[Contender], way: Way, stack: ExitStack) -> Entrant:
        proxy = self._servers.json_proxy
        url = proxy.url if kind.needs_json and proxy else self._scenario.url(self._servers)
        [contender] = stack.enter_context(opened([kind(url)], way))
        return Entrant(contender, way, self._cells[kind, way])

    def _warm_up(self, entrant: Entrant) -> None:
        question = entrant.contender.question(0)
        if not any(entrant.way.call(entrant.contender, question).is_hit for _ in range(3)):
            raise RuntimeError(f"{self._scenario.name}: {entrant.cell.contender} was not ready, or not left alone")

    def _begin(self) -> None:
        self._scenario.begin(self._servers)
        if self._scenario.at_json and self._servers.json_proxy:
            self._scenario.at_json(self._servers.json_proxy)
        while self._servers.is_killing:
            time.sleep(0.001)

    def _heal(self) -> None:
        """End the fault, and the connections on which nobody will ever answer."""
        proxies = [self._servers.proxy, self._servers.guarded_proxy, self._servers.json_proxy]
        for proxy in filter(None, proxies):
            proxy.reset()
            proxy.forward()
        if self._scenario.heal:
            self._scenario.heal(self._servers)

    def _measure(self, entrant: Entrant) -> None:
        """Take the first call, and further ones as soon as it is back or known to take long."""
        cell, end_s = entrant.cell, time.perf_counter() + ENOUGH_S
        first = self._submit(entrant)
        wait([first], timeout=GRACE_S)
        while len(cell.steady) < N_STEADY and time.perf_counter() < end_s:
            call = self._taken(self._submit(entrant), cell)
            cell.steady.append(call.ms)
            cell.n_steady_hits += call.is_hit
        cell.first_warm.append(self._taken(first, cell).ms)

    def _submit(self, entrant: Entrant) -> Future[Call]:
        number = next(self._numbers) if self._scenario.asks_anew else 0
        return entrant.way.submit(entrant.contender, entrant.contender.question(number))

    def _taken(self, future: Future[Call], cell: Cell) -> Call:
        """The call, or where it takes too long, that it was cut."""
        try:
            call = future.result(CUT_S)
        except TimeoutError:
            self._late.append(future)
            return Call(1000 * CUT_S, is_hit=False)
        cell.note(call)
        return call
