import io
import itertools
import json
import re
from pathlib import Path

import docx
import pytest
from docx.table import Table
from pypdf import PdfReader

from tests.build_samples import Block, build_all, parse

SAMPLES = Path(__file__).resolve().parents[2] / "agent" / "samples"
RESUMES = sorted((SAMPLES / "resumes").glob("[!.]*"))  # macOS leaves hidden files behind
JOBS = sorted((SAMPLES / "jobs").glob("[!.]*"))
NEEDED_OF_THE_RESEARCHER = (
    "AUTOSAR",
    "ISO 26262",
    "ASIL D",
    "CAN FD",
    "MISRA",
    "AURIX",
    "CANoe",
    "ASPICE",
    "Lauterbach",
)


def pdf_pages(data: bytes) -> list[str]:
    return [page.extract_text() for page in PdfReader(io.BytesIO(data), strict=True).pages]


def docx_text(data: bytes) -> str:
    document = docx.Document(io.BytesIO(data))
    parts = [*document.iter_inner_content(), *document.sections[0].footer.paragraphs]
    return "\n".join(table_text(part) if isinstance(part, Table) else part.text for part in parts)


def table_text(table: Table) -> str:
    return "\n".join(" | ".join(cell.text for cell in row.cells) for row in table.rows)


def text_of(name: str, data: bytes) -> str:
    """Read a sample with the libraries themselves: these tests are about the files, not about our reader."""
    if name.endswith(".pdf"):
        return "\n".join(pdf_pages(data))
    return docx_text(data) if name.endswith(".docx") else data.decode("utf-8")


def sample_text(path: Path) -> str:
    return text_of(path.name, path.read_bytes())


def paragraphs(text: str) -> set[str]:
    return {" ".join(part.split()) for part in re.split(r"\n\s*\n", text)}


def expected() -> dict[str, dict[str, list[str]]]:
    judged: dict[str, dict[str, list[str]]] = json.loads((SAMPLES / "expected.json").read_text(encoding="utf-8"))
    return judged


def test_there_are_enough_resumes_and_ads_in_every_file_type() -> None:
    """At least 7 resumes cover the four types that are read, and at least 24 ads come as Markdown and plain text."""
    assert len(RESUMES) >= 7
    assert len(JOBS) >= 24
    assert {path.suffix for path in RESUMES} == {".md", ".txt", ".pdf", ".docx"}
    assert {path.suffix for path in JOBS} == {".md", ".txt"}


@pytest.mark.parametrize("path", RESUMES, ids=lambda path: path.name)
def test_a_resume_has_the_length_of_a_real_one(path: Path) -> None:
    """Every resume holds at least 250 words."""
    assert len(sample_text(path).split()) >= 250


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.name)
def test_an_ad_has_the_length_of_a_real_one(path: Path) -> None:
    """Every ad holds at least 200 words."""
    assert len(sample_text(path).split()) >= 200


@pytest.mark.parametrize("path", [*RESUMES, *JOBS], ids=lambda path: path.name)
def test_every_address_belongs_to_nobody(path: Path) -> None:
    """Every e-mail address lies in a domain that is reserved for examples (RFC 2606)."""
    domains = re.findall(r"[\w.+-]+@([\w-]+(?:\.[\w-]+)+)", sample_text(path))
    assert [d for d in domains if not re.search(r"(^|\.)example(\.com|\.net|\.org)?$", d)] == []


def test_the_pdf_has_text_on_each_of_its_pages() -> None:
    """The PDF has two pages at least, and each gives its words and its number."""
    pages = pdf_pages((SAMPLES / "resumes" / "data-scientist.pdf").read_bytes())
    assert len(pages) >= 2
    for number, page in enumerate(pages, start=1):
        assert len(page.split()) >= 100
        assert f"page {number} of {len(pages)}" in page


def test_the_nurse_has_her_skills_in_a_table() -> None:
    """The Word resume of the nurse names ventilation in a table and nowhere in a skills paragraph."""
    document = docx.Document(str(SAMPLES / "resumes" / "icu-nurse.docx"))
    assert "Mechanical ventilation" in table_text(document.tables[0])
    assert "Mechanical ventilation" not in "\n".join(p.text for p in document.paragraphs)


def test_the_long_resume_names_what_matters_only_after_three_pages() -> None:
    """What an employer looks for in the researcher's resume comes after 1,500 words."""
    text = sample_text(SAMPLES / "resumes" / "research-systems-engineer.md")
    for skill in NEEDED_OF_THE_RESEARCHER:
        before, found, _ = text.partition(skill)
        assert found
        assert len(before.split()) >= 1500


@pytest.mark.parametrize("name", sorted(build_all()))
def test_a_built_resume_is_what_its_source_gives(name: str) -> None:
    """Building the PDF and the Word files again gives the text that is stored."""
    stored = (SAMPLES / "resumes" / name).read_bytes()
    assert text_of(name, stored) == text_of(name, build_all()[name])


def test_the_pdf_is_the_same_byte_for_byte() -> None:
    """The bytes of the PDF depend on its words alone."""
    stored = (SAMPLES / "resumes" / "data-scientist.pdf").read_bytes()
    assert stored == build_all()["data-scientist.pdf"]


def test_markup_is_read_block_by_block() -> None:
    """A line of words alone continues the bullet or text above it; a blank line or a mark ends that."""
    source = "# Ann\none\ntwo\n\nthree\n- a\n  b\n- c\n| x | y\n"
    assert parse(source) == [
        Block("title", "Ann"),
        Block("text", "one two"),
        Block("text", "three"),
        Block("bullet", "a b"),
        Block("bullet", "c"),
        Block("row", "x | y"),
    ]


def test_every_resume_is_judged() -> None:
    """Each resume has one to three best ads and exactly three poor ones, and none is both."""
    judged = expected()
    assert sorted(judged) == [path.name for path in RESUMES]
    for row in judged.values():
        assert sorted(row) == ["best", "poor"]
        assert 1 <= len(row["best"]) <= 3
        assert len(set(row["poor"])) == len(row["poor"]) == 3
        assert set(row["best"]).isdisjoint(row["poor"])


def test_the_judgement_names_only_ads_that_exist() -> None:
    """Every ad named as best or poor is one of the sample ads."""
    named = {name for row in expected().values() for name in row["best"] + row["poor"]}
    assert named - {path.name for path in JOBS} == set()


def test_no_two_ads_share_a_long_paragraph() -> None:
    """No paragraph of 60 words or more stands in two ads."""
    long = {path.name: {p for p in paragraphs(sample_text(path)) if len(p.split()) >= 60} for path in JOBS}
    assert sum(map(len, long.values())) >= 24
    shared = [(a, b) for a, b in itertools.combinations(long, 2) if long[a] & long[b]]
    assert shared == []


def test_the_guide_names_every_resume() -> None:
    """The README says what each resume is for."""
    guide = (SAMPLES / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in RESUMES if f"`{path.name}`" not in guide] == []
