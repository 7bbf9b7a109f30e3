"""An edited resume as a file: Word, Markdown, text or JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.word_edits import edit_word_file, write_word_file
from chains.evidence import apply_edits

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from agent.agent_result import AgentResult
    from chains.documents import Document
    from chains.schemas import Edit

WORD = ".docx"


def write_result(resume: Document, result: AgentResult, out: Path, made: Sequence[Edit]) -> list[Edit]:
    """Write the edited resume, or the result as JSON; which it is, the file's name says.

    Args:
        resume: as it was read.
        result: of the agent.
        out: the file; one that is there is overwritten.
        made: the edits that are made.

    Returns:
        The edits that could not be made in this file, because a Word document spreads their words over other lines.
    """
    text = apply_edits(resume.text, tuple(made))
    match out.suffix.lower():
        case ".json":
            out.write_text(result.model_dump_json(indent=2) + "\n", encoding="utf-8")
        case ".docx" if resume.path is not None and resume.path.suffix.lower() == WORD:
            return edit_word_file(resume.path, out, made)
        case ".docx":
            write_word_file(out, text)
        case _:
            out.write_text(text + "\n", encoding="utf-8")
    return []
