"""What came of measuring, and the table of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SILENT = ("", "no asyncio", "not asked for")


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

    @property
    def is_limit(self) -> bool:
        """Whether it is what the others are compared with."""
        return self.contender.startswith("limit")


def titles_of(results: Sequence[Result]) -> list[str]:
    """Those who were measured, beside the limits."""
    return [*dict.fromkeys(each.contender for each in results if each.ratio is not None and not each.is_limit)]


def table(results: Sequence[Result]) -> str:
    """One row for each workload, one column for each contender, in Markdown; who was not measured, and why."""
    return "\n".join(_lines(results))


def _lines(results: Sequence[Result]) -> Iterator[str]:
    titles = titles_of(results)
    yield " | ".join(("| workload", "limit", *titles)) + " |"
    yield "|---|--:|" + "--:|" * len(titles)
    for name in dict.fromkeys(result.workload for result in results):
        row = {result.contender: result for result in results if result.workload == name}
        limit = next(result for result in row.values() if result.is_limit)
        yield " | ".join((f"| {name}", _time_of(limit), *(_cell(row.get(title)) for title in titles))) + " |"
    reasons = {f"{result.contender}: {result.why_not}" for result in results if result.why_not not in SILENT}
    for reason in sorted(reasons):
        yield f"\nNot run: {reason}"


def _cell(result: Result | None) -> str:
    if result is None or result.ratio is None:
        return "-" if result is None else result.why_not
    return f"{result.ratio:.2f}x" if result.ratio < 10 else f"{result.ratio:,.0f}x"


def _time_of(result: Result) -> str:
    time_ms = 1000 * median(result.times_s)
    return f"{time_ms:.1f} ms" if time_ms >= 1 else f"{1000 * time_ms:.0f} µs"
