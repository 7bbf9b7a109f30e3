"""The promises, and the numbers as text."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.failures.contenders import OURS, PEERS, Contender, OurAnswer
from benchmarks.failures.measuring import N_STEADY
from benchmarks.failures.peers import CUT_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.failures.measuring import Cell, Recovery

SLACK = 1.5
STEADY_BOUND_MS = 1.0


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that so many percent do not exceed."""
    return float(np.percentile(values, percent, method="higher"))


def broken_promises(cell: Cell) -> Iterator[str]:
    """Say in words which promises a cell breaks."""
    where = f"Redis {cell.scenario}, {cell.way}, {cell.contender}"
    if cell.errors:
        yield f"{where}: raised {cell.errors}, promised is that it never does"
    for state, values in {"warm": cell.first_warm, "cold": cell.first_cold}.items():
        ms, bound_ms = median(values), SLACK * cell.deadline_ms
        if ms > bound_ms:
            yield f"{where}: first calls ({state}) added {ms:.0f} ms at the median, not {bound_ms:.0f} ms"
    if cell.n_steady_hits < len(cell.steady) / 2 and _is_slow(cell):
        p50_ms = percentile(cell.steady, 50)
        yield f"{where}: further calls added {p50_ms:.2f} ms at the median, not {_bound_ms(cell):.1f} ms"


def _bound_ms(cell: Cell) -> float:
    """What further calls may add: a millisecond, or for a batch as much as the whole call takes without a cache."""
    return max(STEADY_BOUND_MS, cell.base_ms)


def _is_slow(cell: Cell) -> bool:
    """Say whether further calls add too much at the median, and in their quieter half too.

    On a busy machine the median of the disabled calls alone wanders by more than is promised; the quiet ones do not.
    """
    return all(
        percentile(cell.steady, percent) - percentile(cell.noise, percent) > _bound_ms(cell) for percent in (25, 50)
    )


def print_cells(cells: Sequence[Cell]) -> None:
    """Print one table of ours for each operation."""
    for kind in OURS:
        print(f"\n{kind.title}: added milliseconds")
        print(f"{'':46}  first, warm      first, cold      next {N_STEADY} calls              hits    noise")
        print(f"{'':46}  median     max   median     max      p50      p99      max       %      p99")
        for cell in cells:
            if cell.contender == kind.title:
                print(f"{cell.scenario + ', ' + cell.way:46}{_firsts(cell)}{_steady(cell)}")


def _firsts(cell: Cell) -> str:
    return "".join(f"{median(ms):8.2f}{max(ms):8.2f} " for ms in (cell.first_warm, cell.first_cold))


def _steady(cell: Cell) -> str:
    percentiles = "".join(f"{percentile(cell.steady, percent):9.3f}" for percent in (50, 99, 100))
    return f"{percentiles}{100 * cell.n_steady_hits / len(cell.steady):8.0f}{percentile(cell.noise, 99):9.3f}"


def print_recoveries(recoveries: Sequence[Recovery]) -> None:
    """Print how long the cache stays away when the fault has gone."""
    print("\nUntil a new entry is stored and found again: milliseconds after the end of the fault")
    print(f"{'':46}  fault lasted  median     max    fault lasted   once")
    for found in recoveries:
        if found.after_short:
            short = f"{found.short_ms:14.0f}{median(found.after_short):8.0f}{max(found.after_short):8.0f}"
            print(f"{found.scenario + ', ' + found.way:46}{short}{found.long_ms:16.0f}{found.after_long:7.0f}")


def print_comparison(cells: Sequence[Cell], way: str) -> None:
    """Print ours beside the others, called in one way, as Markdown."""
    kinds: list[type[Contender]] = [OurAnswer, *(kind for kind in PEERS if kind.installed())]
    heads = ["Redis is", *(head for kind in kinds for head in (f"{_name(kind)}: first call", "then"))]
    print(f"\nAdded milliseconds, {way}, p50 / p99; * where the call raised\n")
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    of = {(cell.scenario, cell.contender): cell for cell in cells if cell.way == way}
    for scenario in dict.fromkeys(cell.scenario for cell in cells):
        columns = [text for kind in kinds for text in _columns(of.get((scenario, kind.title)))]
        print(f"| {scenario} | {' | '.join(columns)} |")


def _name(kind: type[Contender]) -> str:
    return f"{kind.title} {kind.installed()}" if kind.package else "resumecache"


def _columns(cell: Cell | None) -> list[str]:
    if cell is None:
        return ["-", "-"]
    mark = " \\*" if cell.errors else ""
    return [
        f"{_in_ms(percentile(ms, 50))} / {_in_ms(percentile(ms, 99))}{mark}" for ms in (cell.first_warm, cell.steady)
    ]


def _in_ms(ms: float) -> str:
    if ms >= 1000 * CUT_S:
        return f"over {1000 * CUT_S:,.0f}"
    if ms >= 10:
        return f"{ms:,.0f}"
    return f"{ms:.1f}" if ms >= 1 else f"{max(ms, 0.0):.2f}"
