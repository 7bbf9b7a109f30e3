"""Edits of a resume as a person reads them on a terminal."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from rich.text import Text

from agent.display import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from agent.agent_result import AgentResult
    from chains.schemas import Edit

_STYLES = {"+": "green", "-": "red"}


def print_result(console: Console, result: AgentResult) -> None:
    """Print each edit as a diff, what is refused and why, what only a person can mend, and the score."""
    for edit in result.edits:
        print_edit(console, edit)
    for refused in result.refused:
        console.print(Text("refused: ", style="yellow") + plain(f"{refused.edit.new} ({refused.why})"), soft_wrap=True)
    for finding in result.findings:
        console.print(Text("look at: ", style="cyan") + plain(finding.advice), soft_wrap=True)
        for words in finding.words:
            console.print(plain(f"  {words}"), soft_wrap=True)
    if result.skills_missing:
        console.print(plain(f"asked and shown nowhere: {', '.join(result.skills_missing)}"), soft_wrap=True)
    n_edits = f"{len(result.edits)} edit{'' if len(result.edits) == 1 else 's'} by {result.optimized_by}"
    line = f"\nscore {result.score_before:.1f} -> {result.score_after:.1f} with {n_edits}"
    console.print(plain(f"{line}; stopped because {result.stopped_because}"), soft_wrap=True)


def print_edit(console: Console, edit: Edit) -> None:
    """Print one edit as a diff, and why it is worth while."""
    for line in diff_lines(edit):
        console.print(Text(style=_STYLES.get(line[0], "")) + plain(line), soft_wrap=True)
    console.print(plain(f"  {edit.reason}\n"), soft_wrap=True)


def diff_lines(edit: Edit) -> Iterator[str]:
    """The lines that an edit takes out, with "- " before them, and those that it brings in, with "+ "."""
    for line in difflib.ndiff(edit.original.splitlines(), edit.new.splitlines()):
        if not line.startswith("?"):
            yield line.rstrip("\n")
