"""A ranking as a person reads it on a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console

    from agent.ranking import RankingReport
    from chains.schemas import MatchResult

_MAX_SKILLS = 6


def print_report(console: Console, report: RankingReport, *, explain: bool = False) -> None:
    """Print the table, the explanations if they are wanted, and what the cache did."""
    console.print(_table(report))
    if explain:
        for result in report.ranking:
            console.print(plain(f"\n{result.rank}. {_title(result)}: {result.explanation}"))
    console.print(plain(f"\n{report.cache.line()}"), soft_wrap=True)


def _table(report: RankingReport) -> Table:
    table = Table(show_edge=False, pad_edge=False)
    table.add_column("#", justify="right")
    table.add_column("job", overflow="fold", ratio=3)
    table.add_column("score", justify="right")
    table.add_column("present", overflow="fold", ratio=4)
    table.add_column("missing", overflow="fold", ratio=4)
    for result in report.ranking:
        present, missing = _names(result.skills_present), _names(result.skills_missing)
        table.add_row(str(result.rank), plain(_title(result)), f"{result.score:.1f}", plain(present), plain(missing))
    return table


def plain(text: str) -> Text:
    """Words of files as they are: no markup in an "Engineer [m/f/d]", and no orders to the terminal."""
    return Text("".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in text))


def _title(result: MatchResult) -> str:
    return result.title or Path(result.source or "").name


def _names(skills: tuple[str, ...]) -> str:
    more = len(skills) - _MAX_SKILLS
    return ", ".join(skills[:_MAX_SKILLS]) + (f" +{more}" if more > 0 else "")
