"""`resumecache optimize`: edits for a resume and a job, each shown as a diff, made where they are wanted."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from agent.cli_options import Output, Resume, Url, patient_settings, store_url
from agent.errors import OutputFileError

if TYPE_CHECKING:
    from agent.agent_result import AgentResult
    from chains.documents import Document
    from chains.schemas import Edit

_out = Output()
_err = Console(stderr=True)


class Apply(StrEnum):
    """Which edits are made."""

    ALL = "all"
    ASK = "ask"
    NONE = "none"


Job = Annotated[Path, typer.Argument(help="The job ad: PDF, DOCX, Markdown or text.")]
WhichEdits = Annotated[Apply, typer.Option("--apply", help="Make all edits, ask for each, or only show them.")]
OutFile = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="Where the edited resume goes: .docx (formatting kept where the resume is one), .md, .txt or .json.",
    ),
]


def optimize(
    resume: Resume,
    job: Job,
    *,
    apply: WhichEdits = Apply.NONE,
    out: OutFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print data instead of diffs.")] = False,
    url: Url = None,
) -> None:
    """Say better what a resume already shows of what a job asks for; nothing is invented."""
    from agent.editing_display import print_edit, print_result  # noqa: PLC0415  --help need not wait for libraries
    from agent.settings import Settings  # noqa: PLC0415  same
    from agent.wiring import Services  # noqa: PLC0415  same
    from chains.documents import read_document  # noqa: PLC0415  same

    _check_out(resume, out, apply)
    texts = read_document(resume), read_document(job)
    with Services(Settings(cache=patient_settings()), url=store_url(url)) as services:
        agent = services.resume_agent
        found = agent.run(texts[0].text, texts[1].text)
        if apply is Apply.ASK:
            chosen = [edit for edit in found.edits if _is_wanted(edit, print_edit)]
            found = agent.chosen(texts[0].text, texts[1].text, found, chosen)
    if as_json:
        _out.out(found.model_dump_json(indent=2), highlight=False)
    else:
        print_result(_out, found)
    if out is not None:
        _write(texts[0], found, out, made=() if apply is Apply.NONE else found.edits)


def _is_wanted(edit: Edit, show: Any) -> bool:
    show(_err, edit)
    return typer.confirm("Make this edit?", default=True, err=True)


def _check_out(resume: Path, out: Path | None, apply: Apply) -> None:
    if out is None:
        return
    if out.suffix.lower() not in {".docx", ".json", ".md", ".markdown", ".txt"}:
        raise typer.BadParameter(f"expected .docx, .md, .txt or .json, got {out.name}", param_hint="--out")
    if out.suffix.lower() != ".json" and apply is Apply.NONE:
        raise typer.BadParameter("it needs --apply all or --apply ask: no edit would be in it", param_hint="--out")
    if out.exists() and resume.exists() and out.samefile(resume):
        raise typer.BadParameter("expected another file than the resume, which stays as it is", param_hint="--out")


def _write(resume: Document, found: AgentResult, out: Path, *, made: tuple[Edit, ...]) -> None:
    """Write the result.

    Raises:
        OutputFileError: the file cannot be written.
    """
    from agent.editing_files import write_result  # noqa: PLC0415  as above

    try:
        left = write_result(resume, found, out, made)
    except OSError as error:
        raise OutputFileError(f"cannot write {out.name}: {error.strerror}") from error
    for edit in left:
        _err.print(f"not made in {out.name}, do it by hand: {edit.original!r} -> {edit.new!r}", markup=False)
