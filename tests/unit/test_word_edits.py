"""Edits in a Word document: the words change, the formatting does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import docx

from agent.word_edits import edit_word_file, write_word_file
from chains.documents import read_document
from chains.schemas import Edit
from tests.documents import save_docx

if TYPE_CHECKING:
    from pathlib import Path


def edit(original: str, new: str) -> Edit:
    return Edit(original=original, new=new, reason="asked", evidence=original)


def resume(path: Path) -> Path:
    """A resume whose skills stand in three runs of their own formats, and in a table."""
    document = docx.Document()
    document.add_paragraph("Mara Lindqvist")
    paragraph = document.add_paragraph("Skills: ", style="List Bullet")
    paragraph.add_run("Python").bold = True
    paragraph.add_run(", Redis, ")
    paragraph.add_run("Git").italic = True
    document.add_table(rows=1, cols=2).cell(0, 1).text = "Responsible for testing forms"
    path.write_bytes(save_docx(document))
    return path


def runs(path: Path) -> list[tuple[str, bool | None, bool | None]]:
    return [(run.text, run.bold, run.italic) for run in docx.Document(str(path)).paragraphs[1].runs]


def styles(path: Path) -> list[str | None]:
    return [each.style.name if each.style else None for each in docx.Document(str(path)).paragraphs]


def test_the_formatting_of_the_words_around_stays(tmp_path: Path) -> None:
    """What stays keeps its run, and new words take the format of the letter before them."""
    source, target = resume(tmp_path / "resume.docx"), tmp_path / "edited.docx"
    before = source.read_bytes()
    left = edit_word_file(source, target, [edit("Skills: Python, Redis, Git", "Skills: Python, Redis, SQL, Git")])
    assert left == []
    plain, bold, italic = (None, None), (True, None), (None, True)
    assert runs(target) == [("Skills: ", *plain), ("Python", *bold), (", Redis, SQL, ", *plain), ("Git", *italic)]
    assert styles(target)[1] == "List Bullet"
    assert source.read_bytes() == before


def test_words_that_reach_over_runs_are_replaced_as_a_whole(tmp_path: Path) -> None:
    """Of several runs that are replaced, the first takes the new words."""
    source, target = resume(tmp_path / "resume.docx"), tmp_path / "edited.docx"
    assert edit_word_file(source, target, [edit("Python, Redis, Git", "Git, Redis, Python")]) == []
    assert "".join(text for text, *_ in runs(target)) == "Skills: Git, Redis, Python"


def test_cells_of_tables_are_edited_too(tmp_path: Path) -> None:
    """The edited document reads as the edited text does."""
    source, target = resume(tmp_path / "resume.docx"), tmp_path / "edited.docx"
    made = edit("Responsible for testing forms", "Tested forms")
    assert edit_word_file(source, target, [made]) == []
    assert read_document(target).text == read_document(source).text.replace(made.original, made.new)


def test_what_cannot_be_placed_is_said(tmp_path: Path) -> None:
    """An edit whose words stand in no paragraph, or that changes the number of lines, is given back."""
    source, target = resume(tmp_path / "resume.docx"), tmp_path / "edited.docx"
    nowhere, split = edit("Cooking", "Baking"), edit("Mara Lindqvist", "Mara\nLindqvist")
    assert edit_word_file(source, target, [nowhere, split]) == [nowhere, split]
    assert read_document(target).text == read_document(source).text


def test_a_text_becomes_a_plain_document(tmp_path: Path) -> None:
    """Headings and bullets of Markdown become Word's own, and blank lines go."""
    write_word_file(tmp_path / "new.docx", "# Ann\n\n## Skills\n- Python\nText")
    assert styles(tmp_path / "new.docx") == ["Heading 1", "Heading 2", "List Bullet", "Normal"]
    assert read_document(tmp_path / "new.docx").text == "Ann\nSkills\nPython\nText"
