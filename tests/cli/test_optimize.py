"""`resumecache optimize` as a person runs it, on files of their own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import docx
import pytest
from typer.testing import CliRunner

from agent import cli
from chains.documents import read_document
from tests.traps.resumes import ENGINEER

if TYPE_CHECKING:
    from pathlib import Path

JOB = "Backend engineer. You bring Docker and PostgreSQL; Kubernetes. You test and build software."
MEMORY = ("--url", "memory://")


@pytest.fixture
def pair(tmp_path: Path) -> tuple[str, str]:
    """A resume and an ad as files."""
    resume, job = tmp_path / "resume.md", tmp_path / "job.txt"
    resume.write_text(ENGINEER, encoding="utf-8")
    job.write_text(JOB, encoding="utf-8")
    return str(resume), str(job)


def ran(*arguments: str, says: str | None = None) -> tuple[int, str]:
    """The exit code and what was printed."""
    done = CliRunner().invoke(cli.app, ["optimize", *arguments, *MEMORY], input=says)
    return done.exit_code, done.output


def test_edits_are_shown_as_diffs_with_the_score(pair: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """What goes and what comes stand below each other; by default no file is written."""
    assert cli.run(["optimize", *pair, *MEMORY]) == 0
    printed = capsys.readouterr().out
    assert "\n- Was involved in building a REST API" in f"\n{printed}"
    assert "+ Helped build a REST API for 200 customers in Java and Spring Boot." in printed
    assert "by rules; stopped because nothing more is gained" in printed


def test_all_edits_are_written(pair: tuple[str, str], tmp_path: Path) -> None:
    """The edited resume is the resume with the edits made, and the resume itself stays."""
    out = tmp_path / "edited.md"
    code, _ = ran(*pair, "--apply", "all", "--out", str(out))
    assert code == 0
    assert "- Helped build a REST API for 200 customers" in out.read_text(encoding="utf-8")
    assert (tmp_path / "resume.md").read_text(encoding="utf-8") == ENGINEER


def test_refused_by_a_person_is_not_made(pair: tuple[str, str], tmp_path: Path) -> None:
    """Each edit is asked for; what is not wanted is neither in the file nor in the score."""
    out = tmp_path / "edited.json"
    code, _ = ran(*pair, "--apply", "ask", "--out", str(out), says="n\n" * 9)
    assert code == 0
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["edits"] == []
    assert {each["why"] for each in found["refused"]} == {"it was not approved"}
    assert found["score_before"] == found["score_after"]


def test_a_word_resume_stays_a_word_document(tmp_path: Path, pair: tuple[str, str]) -> None:
    """The edits are made in a copy that reads as the edited text."""
    document = docx.Document()
    for line in ENGINEER.splitlines():
        document.add_paragraph(line)
    source, out = tmp_path / "resume.docx", tmp_path / "edited.docx"
    document.save(str(source))
    code, printed = ran(str(source), pair[1], "--apply", "all", "--out", str(out))
    assert (code, "not made" in printed) == (0, False)
    assert "Helped build a REST API" in read_document(out).text


@pytest.mark.parametrize(
    "options", [("--out", "x.pdf"), ("--out", "x.md"), ("--apply", "some")], ids=["suffix", "no edits", "apply"]
)
def test_what_makes_no_sense_is_refused(pair: tuple[str, str], options: tuple[str, ...]) -> None:
    """A wrong option ends with 2 and writes nothing."""
    assert ran(*pair, *options)[0] == 2


def test_the_resume_is_never_overwritten(pair: tuple[str, str]) -> None:
    """Its own name is refused as the place of the result."""
    assert ran(*pair, "--apply", "all", "--out", pair[0])[0] == 2
