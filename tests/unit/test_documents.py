"""What is read out of files, what is refused and why, and how text is cleaned and split."""

from __future__ import annotations

import logging
import os
import unicodedata
from typing import TYPE_CHECKING

import docx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chains.documents import (
    MAX_FILE_BYTES,
    MAX_TITLE_CHARS,
    Document,
    clean_text,
    read_document,
    read_documents,
)
from chains.errors import (
    DamagedDocumentError,
    DocumentError,
    DocumentNotFoundError,
    EmptyDocumentError,
    EncryptedDocumentError,
    ScannedDocumentError,
    UnsupportedDocumentError,
)
from chains.splitting import split_text
from tests.documents import (
    OLE_MAGIC,
    build_docx,
    build_docx_of_xml,
    build_pdf,
    build_pdf_of,
    build_scan,
    build_zip,
    encrypt_pdf,
    replace_member,
    run_xml,
    save_docx,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    Write = Callable[[str, bytes], Path]

SOUND_PDF = build_pdf(["Text of a page"])
SOUND_DOCX = build_docx("Text", [["in", "cells"]])
TEXTS = st.text(
    st.one_of(
        st.sampled_from("aZ-\u2010 \t\n\r\u00ad\u200b\u00a0\u0301\u0345.#\x0c\u2028"),
        st.characters(exclude_categories=()),  # also lone surrogates, which extraction can give
    )
)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Give a function that writes a file into a folder of its own."""

    def write_file(name: str, data: bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    return write_file


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder for all examples of a property."""
    return tmp_path_factory.mktemp("documents")


def patched(data: bytes, offset: int, patch: bytes) -> bytes:
    start = offset % len(data)
    return data[:start] + patch + data[start + len(patch) :]


def text_or_refusal(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    try:
        return read_document(path).text
    except DocumentError as error:
        return str(error)


def visible(text: str) -> str:
    return "".join(text.split())


# --- reading -------------------------------------------------------------------------------------------------------


def test_pdf_pages_are_joined_by_a_blank_line(write: Write) -> None:
    """A PDF gives the text of its pages in order, a blank line between two."""
    path = write("resume.pdf", build_pdf(["Ada Lovelace\nC++ (10 years), café", "Second page"]))
    expected = "Ada Lovelace\nC++ (10 years), café\n\nSecond page"
    assert read_document(path) == Document(path=path, text=expected, title="Ada Lovelace")


def test_docx_keeps_paragraphs_and_tables_in_order(write: Write) -> None:
    """A DOCX gives its header, then paragraphs and tables as they stand, then its footer."""
    rows = [["2019", "Analyst"], ["2021", "Lead"]]
    data = build_docx("Ada Lovelace", rows, "After the table", header="ada@example.com", footer="London")
    expected = "ada@example.com\n\nAda Lovelace\n2019\tAnalyst\n2021\tLead\nAfter the table\n\nLondon"
    assert read_document(write("resume.docx", data)).text == expected


def test_docx_cells_of_several_lines_are_columns(write: Write) -> None:
    """A table row whose cells hold several lines is laid-out text: its cells follow each other."""
    data = build_docx([["Skills\nPython\nSQL", "Experience\nAnalyst"]])
    assert read_document(write("resume.docx", data)).text == "Skills\nPython\nSQL\nExperience\nAnalyst"


def test_docx_text_outside_plain_runs_is_read(write: Write) -> None:
    """Content controls, links and tracked insertions are read; what was deleted or moved away is not."""
    body = (
        f"<w:sdt><w:sdtPr/><w:sdtContent>{run_xml('In a control')}</w:sdtContent></w:sdt>"
        "<w:p><w:hyperlink><w:r><w:t>linked</w:t></w:r></w:hyperlink>"
        "<w:ins><w:r><w:tab/><w:t>inserted</w:t></w:r></w:ins>"
        "<w:del><w:r><w:br/><w:delText>gone</w:delText></w:r></w:del>"
        "<w:moveFrom><w:r><w:t>gone</w:t></w:r></w:moveFrom> <w:r><w:noBreakHyphen/><w:t>end</w:t></w:r></w:p>"
    )
    assert read_document(write("resume.docx", build_docx_of_xml(body))).text == "In a control\nlinked\tinserted-end"


def test_docx_text_box_is_read_once(write: Write) -> None:
    """A text box is read once although Word stores it twice, in a new and an old form."""
    box = f"<w:txbxContent>{run_xml('Side bar')}</w:txbxContent>"
    body = (
        "<w:p><w:r><mc:AlternateContent>"
        f'<mc:Choice Requires="wps"><wps:txbx>{box}</wps:txbx></mc:Choice>'
        f"<mc:Fallback><w:pict><v:textbox>{box}</v:textbox></w:pict></mc:Fallback>"
        "</mc:AlternateContent></w:r><w:r><w:t>Main</w:t></w:r></w:p>"
    )
    assert read_document(write("resume.docx", build_docx_of_xml(body))).text == "Main\nSide bar"


def test_docx_header_that_repeats_is_read_once(write: Write) -> None:
    """A header of the first page that says the same as that of the others is read once."""
    document = docx.Document()
    document.add_paragraph("Body")
    section = document.sections[0]
    section.different_first_page_header_footer = True
    section.header.paragraphs[0].text = section.first_page_header.paragraphs[0].text = "Ada Lovelace"
    section.first_page_footer.paragraphs[0].text = "First page"
    assert read_document(write("a.docx", save_docx(document))).text == "Ada Lovelace\n\nBody\n\nFirst page"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_text_is_read_in_the_encodings_of_editors(write: Write, encoding: str) -> None:
    """UTF-8, UTF-8 and UTF-16 with a mark, and Windows-1252 all give the same text."""
    text = "Renée Müller\nC++ § 10 years"
    assert read_document(write("resume.txt", text.encode(encoding))).text == text


@pytest.mark.parametrize("suffix", [".md", ".markdown", ".TXT"])
def test_suffixes_of_text(write: Write, suffix: str) -> None:
    """Markdown and text are read as they are, whatever the case of the suffix."""
    assert read_document(write(f"ad{suffix}", b"# Engineer\n\n- *Python*\n")).text == "# Engineer\n\n- *Python*"


def test_first_bytes_win_over_the_suffix(write: Write) -> None:
    """A PDF or a DOCX with another suffix is read as what it is."""
    assert read_document(write("a.docx", build_pdf(["From a PDF"]))).text == "From a PDF"
    assert read_document(write("b.pdf", build_docx("From a DOCX"))).text == "From a DOCX"


def test_pdf_after_a_few_other_bytes_is_read(write: Write) -> None:
    """Bytes before the mark of a PDF, as some mail programs leave, do no harm."""
    assert read_document(write("a.pdf", b"\r\n" + build_pdf(["Text"]))).text == "Text"


def test_a_text_that_mentions_the_mark_of_a_pdf_is_text(write: Write) -> None:
    """A text file that quotes the mark of PDF files is not taken for one."""
    assert read_document(write("a.txt", b"Knows %PDF-1.7 inside out")).text == "Knows %PDF-1.7 inside out"


def test_pdf_that_only_forbids_printing_is_read(write: Write) -> None:
    """A PDF encrypted with an empty password opens without one."""
    assert read_document(write("a.pdf", encrypt_pdf(build_pdf(["Open"]), ""))).text == "Open"


def test_pages_that_were_not_read_are_logged(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    """Of a PDF with scanned pages and a page of text, the text is read and the others are named in the log."""
    with caplog.at_level(logging.WARNING):
        assert read_document(write("mixed.pdf", build_scan(3, text_on_last="Only page"))).text == "Only page"
    assert [record.getMessage() for record in caplog.records] == [
        "mixed.pdf: pages [1, 2] show images or fonts without letters and were not read"
    ]


# --- refusing ------------------------------------------------------------------------------------------------------


def refused_files() -> Sequence[object]:
    """List files that give no text: name, bytes, error, and a part of its message that helps."""
    pdf, word = build_pdf(["Text"]), build_docx("Text")
    huge = build_zip({"word/document.xml": b" " * 20_000_001})
    cases: list[tuple[str, bytes, type[DocumentError], str]] = [
        ("empty.txt", b"", EmptyDocumentError, "empty (0 bytes)"),
        ("blank.md", b" \n\t\xc2\xa0\n", EmptyDocumentError, "blank.md holds no text"),
        ("blank.pdf", build_pdf([""]), EmptyDocumentError, "holds 1 page without text: run OCR"),
        ("blank.docx", build_docx(""), EmptyDocumentError, "blank.docx holds no text"),
        ("scan.pdf", build_scan(3), ScannedDocumentError, "holds 3 page images and no text: run OCR on it first"),
        ("glyphs.pdf", build_pdf(["AB"], letterless=True), ScannedDocumentError, "do not say which letters they show"),
        (
            "scan.docx",
            replace_member(build_docx(""), "word/media/1.png", b"x"),
            ScannedDocumentError,
            "1 image and no text",
        ),
        ("locked.pdf", encrypt_pdf(pdf, "x"), EncryptedDocumentError, "save a copy without a password"),
        (
            "locked.docx",
            OLE_MAGIC + "EncryptedPackage".encode("utf-16-le"),
            EncryptedDocumentError,
            "protected by a password",
        ),
        ("old.doc", OLE_MAGIC + bytes(504), UnsupportedDocumentError, "Word 97-2003: save it as .docx or .pdf"),
        ("rich.txt", b"{\\rtf1 text}", UnsupportedDocumentError, "RTF"),
        ("photo.png", b"\x89PNG\r\n", UnsupportedDocumentError, ".docx, .markdown, .md, .pdf, .txt"),
        ("resume", b"text", UnsupportedDocumentError, "no suffix"),
        ("sheet.xlsx", build_zip({"xl/workbook.xml": b""}), UnsupportedDocumentError, "not a document of Word"),
        ("sheet.docx", build_zip({"xl/workbook.xml": b""}), DamagedDocumentError, "without word/document.xml"),
        ("page.pdf", b"<html>not found</html>", DamagedDocumentError, "lacks the mark %PDF-"),
        ("page.docx", b"<html>not found</html>", DamagedDocumentError, "no zip archive"),
        ("cut.pdf", b"%PDF-1.4\n1 0 obj", DamagedDocumentError, "export it again"),
        ("cut.docx", word[: len(word) // 2], DamagedDocumentError, "BadZipFile): save it again"),
        (
            "broken.docx",
            replace_member(word, "word/document.xml", b"<w:document"),
            DamagedDocumentError,
            "save it again",
        ),
        ("binary.txt", b"text\0more", DamagedDocumentError, "NUL bytes: save it as UTF-8"),
        ("binary.md", b"\x01\x02\xe9\xff", DamagedDocumentError, "control bytes"),
        ("cyrillic.txt", "Инженер".encode("cp1251"), DamagedDocumentError, "encoding that is not known"),
        ("odd.txt", b"r\x81sum\xe9", DamagedDocumentError, "byte 1"),
        ("bomb.docx", huge, DocumentError, "20,000,001 of them XML"),
        ("long.pdf", build_pdf(["x"] * 501), DocumentError, "501 pages, expected at most 500"),
    ]
    return [pytest.param(*case, id=case[0]) for case in cases]


@pytest.mark.parametrize(("name", "data", "error", "message"), refused_files())
def test_a_file_that_gives_no_text_says_why(
    write: Write, name: str, data: bytes, error: type[DocumentError], message: str
) -> None:
    """Each way in which a file gives no text has its own error, which names the file and what to do."""
    with pytest.raises(DocumentError) as raised:
        read_document(write(name, data))
    assert type(raised.value) is error
    assert str(raised.value).startswith(name)
    assert message in str(raised.value)


def test_a_file_over_the_limit_is_refused_unread(write: Write) -> None:
    """A file larger than the limit is refused by its size."""
    path = write("large.txt", b"")
    os.truncate(path, MAX_FILE_BYTES + 1)
    with pytest.raises(DocumentError, match=r"large\.txt holds 20,000,001 bytes, expected at most 20,000,000"):
        read_document(path)


def test_what_is_not_a_file_is_refused(tmp_path: Path) -> None:
    """A missing file, a folder, a pipe and a link in a circle are each refused without waiting."""
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "circle.txt").symlink_to(tmp_path / "circle.txt")
    with pytest.raises(DocumentNotFoundError, match="there is no file"):
        read_document(tmp_path / "missing.txt")
    with pytest.raises(DocumentNotFoundError, match="is a folder"):
        read_document(tmp_path)
    with pytest.raises(DocumentNotFoundError, match="a pipe"):
        read_document(tmp_path / "pipe.txt")
    with pytest.raises(DocumentError, match=r"circle\.txt cannot be read"):
        read_document(tmp_path / "circle.txt")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_is_refused(write: Write) -> None:
    """A file that this user may not read is refused with the advice to change its permissions."""
    path = write("secret.txt", b"text")
    path.chmod(0)
    with pytest.raises(DocumentError, match="change its permissions"):
        read_document(path)


@given(offset=st.integers(0, 10_000), patch=st.binary(min_size=1, max_size=8))
def test_damage_to_a_pdf_is_an_error_of_ours(folder: Path, offset: int, patch: bytes) -> None:
    """Whatever bytes of a PDF are overwritten, it is read or refused as a document; nothing else is raised."""
    assert text_or_refusal(folder / "damaged.pdf", patched(SOUND_PDF, offset, patch))


@given(offset=st.integers(0, 100_000), patch=st.binary(min_size=1, max_size=8))
def test_damage_to_a_docx_is_an_error_of_ours(folder: Path, offset: int, patch: bytes) -> None:
    """Whatever bytes of a DOCX are overwritten, it is read or refused as a document; nothing else is raised."""
    assert text_or_refusal(folder / "damaged.docx", patched(SOUND_DOCX, offset, patch))


# --- folders -------------------------------------------------------------------------------------------------------


def test_folders_are_walked_in_order(write: Write, tmp_path: Path) -> None:
    """A folder gives the files that are read, sorted, without hidden ones, other types and lock files of Word."""
    for name in ("b/2.md", "b/1.txt", "a.md", ".hidden.md", ".git/x.md", "b/~$1.docx", "photo.png"):
        write(f"ads/{name}", name.encode())
    assert [document.text for document in read_documents([tmp_path / "ads"])] == ["a.md", "b/1.txt", "b/2.md"]


def test_files_keep_the_order_given(write: Write) -> None:
    """Files come back in the order in which they were given, a single path as one."""
    second, first = write("2.md", b"two"), write("1.md", b"one")
    assert [document.text for document in read_documents([second, str(first)])] == ["two", "one"]
    assert [document.text for document in read_documents(str(first))] == ["one"]


def test_a_folder_without_documents_is_refused(write: Write, tmp_path: Path) -> None:
    """A folder that holds nothing to read is an error, not an empty list."""
    write("ads/photo.png", b"x")
    with pytest.raises(DocumentNotFoundError, match="holds no file that is read"):
        read_documents([tmp_path / "ads"])


def test_one_file_that_cannot_be_read_stops_the_folder(write: Write, tmp_path: Path) -> None:
    """No file of a folder is passed over in silence: one that cannot be read is an error."""
    write("ads/1.md", b"fine")
    write("ads/2.pdf", build_scan(1))
    with pytest.raises(ScannedDocumentError, match=r"2\.pdf"):
        read_documents([tmp_path / "ads"])


# --- titles --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("# Senior *C#* Developer, C++\n", "Senior *C#* Developer, C++"),
        ("## Job title\nBaker\n", "Baker"),
        ("---\ntitle: Data Engineer\n---\n", "Data Engineer"),
        ("**Position:** Nurse,  night shift", "Nurse, night shift"),
        ("CURRICULUM VITAE\n\nName: Ada Lovelace", "Ada Lovelace"),
        (".NET developer, C#", ".NET developer, C#"),
        ("Current position: Baker", "Current position: Baker"),
    ],
)
def test_title_is_the_first_line_that_says_something(text: str, title: str) -> None:
    """A title is the first line without markup and label, past headings that all resumes or ads have."""
    assert Document.from_text(text).title == title


def test_title_without_such_a_line_is_the_name_of_the_file(write: Write) -> None:
    """A file of headings and rules alone is called by its name."""
    assert read_document(write("ada.lovelace.md", b"# Resume\n***\n")).title == "ada.lovelace"


def test_title_is_bounded() -> None:
    """A long first line is cut between words, or inside a word that fills it, and marked as cut."""
    words = Document.from_text("word " * 100).title
    assert words == "word " * 22 + "word…"
    assert len(Document.from_text("w" * 500).title) == MAX_TITLE_CHARS


def test_blank_text_is_refused() -> None:
    """A text of blanks and invisible characters is no document."""
    with pytest.raises(EmptyDocumentError, match="the text holds no text"):
        Document.from_text(" \u200b\n\u00ad")


# --- cleaning ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("a\r\nb\rc\x0cd", "a\nb\nc\nd"),
        ("a  \n\n \n\n\nb", "a\n\nb"),
        ("10\u00a0years\u202fof\u3000C++", "10 years of C++"),
        ("re\u00adsume\u200b and\ufeff\x07 more", "resume and more"),
        ("cafe\u0301 x² Ⅳ", "café x² Ⅳ"),
        ("e\ufb03cient \ufb01nance", "efficient finance"),
        ("half a \ud800 pair", "half a \ufffd pair"),
        ("  indented\tand tabbed", "indented\tand tabbed"),
        ("develop-\nment of", "development of"),
        ("develop\u00ad\nment", "development"),
        ("full-\nstack and e-\nmail", "full-stack and e-mail"),
        ("AWS-\nbased", "AWS-based"),
        ("state-of-the-\nart", "state-of-the-art"),
        ("risk-averse or risk-\naverse", "risk-averse or risk-averse"),
        ("2019-\n2023, Back-\nEnd\n-\npython", "2019-\n2023, Back-\nEnd\n-\npython"),
    ],
)
def test_cleaning(text: str, cleaned: str) -> None:
    """Line ends, blanks, invisible characters, accents, ligatures and divided words come into one form."""
    assert clean_text(text) == cleaned


@given(TEXTS)
@example("ab-\nx-\nfoo")
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    """Cleaning is idempotent."""
    assert clean_text(clean_text(text)) == clean_text(text)


@given(TEXTS)
def test_clean_text_can_be_encoded(text: str) -> None:
    """A clean text is valid Unicode, with no carriage return and no line that ends in a blank."""
    cleaned = clean_text(text)
    assert cleaned.encode().decode() == cleaned
    assert all(line == line.rstrip() for line in cleaned.split("\n"))


@given(st.text(st.characters(categories=["L", "N", "P", "S"], max_codepoint=0x2FFF)))
def test_cleaning_keeps_visible_characters(text: str) -> None:
    """Cleaning a text of visible characters composes letters, and does nothing else to them."""
    assert clean_text(text) == unicodedata.normalize("NFC", text)


# --- splitting -----------------------------------------------------------------------------------------------------


@given(TEXTS, st.integers(1, 40))
def test_no_visible_character_is_lost(text: str, max_chars: int) -> None:
    """The chunks hold every visible character once and in order; each is stripped, not blank, and short enough."""
    chunks = split_text(text, max_chars=max_chars)
    assert visible("".join(chunks)) == visible(text)
    assert all(chunk and chunk == chunk.strip() and len(chunk) <= max_chars for chunk in chunks)


@given(st.lists(st.text("ab", min_size=1, max_size=10)), st.integers(10, 40))
def test_a_word_that_fits_is_never_cut(words: list[str], max_chars: int) -> None:
    """A word that is no longer than a chunk stays whole."""
    assert " ".join(split_text(" ".join(words), max_chars=max_chars)).split() == words


@pytest.mark.parametrize(
    ("text", "chunks"),
    [
        ("one. two\nthree\n\nfour five", ["one. two\nthree", "four five"]),
        ("one. two three\nfour five six", ["one. two three", "four five six"]),
        ("one two three. four five six", ["one two three.", "four five six"]),
        ("one two three four five", ["one two three four", "five"]),
        ("one two three fourfi six", ["one two three fourfi", "six"]),
        ("one\n\ntwo three four five", ["one\n\ntwo three four", "five"]),
        ("a " + "b" * 25, ["a", "b" * 20, "b" * 5]),
        ("a" * 20 + "\n\n" + "b" * 20, ["a" * 20, "b" * 20]),
        ("short", ["short"]),
        (" \n ", []),
    ],
)
def test_cuts_go_where_the_text_has_a_border(text: str, chunks: list[str]) -> None:
    """With 20 characters to a chunk, the cut is at a paragraph, else a line, else a sentence, else a word."""
    assert split_text(text, max_chars=20) == chunks


def test_a_chunk_has_room_for_a_character() -> None:
    """A chunk size below one is refused."""
    with pytest.raises(ValueError, match="max_chars is 0, expected at least 1"):
        split_text("text", max_chars=0)


# --- what a reader does not see --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("contents", "text"),
    [
        ("BT /F1 12 Tf 72 720 Td (Seen) Tj ET 1 g BT /F1 9 Tf 72 700 Td (Hidden) Tj ET", "Seen"),
        ("BT /F1 12 Tf 72 720 Td (Seen) Tj ET q 1 1 1 rg BT /F1 9 Tf 72 700 Td (Hidden) Tj ET Q", "Seen"),
        ("BT /F1 12 Tf 72 720 Td (Seen) Tj ET BT 3 Tr /F1 9 Tf 72 700 Td (Hidden) Tj ET", "Seen"),
        ("q 1 g Q BT /F1 12 Tf 72 720 Td (Seen) Tj ET", "Seen"),
        ("0 0 1 rg 0 0 200 800 re f 1 g BT /F1 12 Tf 72 720 Td (On blue) Tj ET", "On blue"),
        ("/I1 Do BT 3 Tr /F1 12 Tf 72 720 Td (Under a scan) Tj ET", "Under a scan"),
    ],
    ids=["white", "white_in_a_block", "invisible", "white_given_back", "white_on_blue", "layer_of_a_scan"],
)
def test_text_of_a_pdf_that_nobody_sees_is_left_out(write: Write, contents: str, text: str) -> None:
    """White letters on white and invisible ones are left out, unless a coloured area or an image is on the page."""
    assert read_document(write("a.pdf", build_pdf_of(contents.encode()))).text == text


@pytest.mark.parametrize(
    ("style", "is_read"),
    [
        ("<w:vanish/>", False),
        ('<w:vanish w:val="0"/>', True),
        ('<w:color w:val="ffffff"/>', False),
        ('<w:color w:val="FFFFFF"/><w:shd w:val="clear" w:fill="1F3864"/>', True),
        ('<w:color w:val="FF0000"/>', True),
    ],
)
def test_text_of_a_docx_that_nobody_sees_is_left_out(write: Write, style: str, *, is_read: bool) -> None:
    """Hidden runs, and white ones without a shade behind them, are left out."""
    body = f"<w:p><w:r><w:t>Seen</w:t></w:r><w:r><w:rPr>{style}</w:rPr><w:t> too</w:t></w:r></w:p>"
    assert read_document(write("a.docx", build_docx_of_xml(body))).text == ("Seen too" if is_read else "Seen")
