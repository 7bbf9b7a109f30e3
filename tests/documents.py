"""Builds small PDF and DOCX files for tests, whole ones and broken ones."""

from __future__ import annotations

import zipfile
from io import BytesIO
from typing import TYPE_CHECKING

import docx
from docx.oxml import parse_xml
from pypdf import PdfReader, PdfWriter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from docx.document import Document as WordDocument

OLE_MAGIC = bytes.fromhex("D0CF11E0A1B11AE1")
_NAMESPACES = " ".join(
    f'xmlns:{prefix}="{uri}"'
    for prefix, uri in {
        "w": "http://schemas.openxmlformats.org/wordprocessingml/2006/main",
        "mc": "http://schemas.openxmlformats.org/markup-compatibility/2006",
        "wps": "http://schemas.microsoft.com/office/word/2010/wordprocessingShape",
        "v": "urn:schemas-microsoft-com:vml",
    }.items()
)
_HELVETICA = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>"
_LETTERLESS = (
    b"<</Type/Font/Subtype/Type0/BaseFont/AAAAAA+Own/Encoding/Identity-H/DescendantFonts[<</Type/Font"
    b"/Subtype/CIDFontType2/BaseFont/AAAAAA+Own/CIDSystemInfo<</Registry(Adobe)/Ordering(Identity)/Supplement 0>>>>]>>"
)
_PIXEL = b"/Type/XObject/Subtype/Image/Width 1/Height 1/ColorSpace/DeviceGray/BitsPerComponent 8"


def build_pdf(pages: Sequence[str], *, letterless: bool = False) -> bytes:
    """Write a PDF with one page per text, one line of print per line; its font can lack letters, as some do."""
    contents = [_stream(_shown(page)) for page in pages]
    return _assemble(contents, b"/Font<</F1 3 0 R>>", _LETTERLESS if letterless else _HELVETICA)


def build_pdf_of(contents: bytes) -> bytes:
    """Write a PDF of one page with these drawing operators; it has the font /F1 and the image /I1."""
    resources = b"/Font<</F1 3 0 R>>/XObject<</I1 4 0 R>>"
    return _assemble([_stream(contents)], resources, _HELVETICA, _stream(b"\xff", _PIXEL))


def build_scan(n_pages: int, *, text_on_last: str = "") -> bytes:
    """Write a PDF whose pages each show one image, as a scanner does; the last can have text besides."""
    contents = [_stream(b"/I1 Do") for _ in range(n_pages - bool(text_on_last))]
    if text_on_last:
        contents.append(_stream(_shown(text_on_last)))
    return _assemble(contents, b"/Font<</F1 3 0 R>>/XObject<</I1 4 0 R>>", _HELVETICA, _stream(b"\xff", _PIXEL))


def encrypt_pdf(data: bytes, password: str) -> bytes:
    """Encrypt a PDF; with an empty password it opens for everyone and only forbids, say, printing."""
    writer = PdfWriter(clone_from=PdfReader(BytesIO(data)))
    writer.encrypt(password, owner_password="owner", algorithm="RC4-128")  # noqa: S106 - the password of a fixture
    buffer = BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


def build_docx(*blocks: str | Sequence[Sequence[str]], header: str = "", footer: str = "") -> bytes:
    """Write a DOCX: a string becomes a paragraph, rows of cells become a table."""
    document = docx.Document()
    for block in blocks:
        if isinstance(block, str):
            document.add_paragraph(block)
        else:
            _add_table(document, block)
    section = document.sections[0]
    section.header.paragraphs[0].text = header
    section.footer.paragraphs[0].text = footer
    return save_docx(document)


def save_docx(document: WordDocument) -> bytes:
    """Give the bytes of a document of python-docx."""
    buffer = BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def build_docx_of_xml(body: str) -> bytes:
    """Write a DOCX whose body is this WordprocessingML."""
    document = docx.Document()
    for element in parse_xml(f"<w:body {_NAMESPACES}>{body}</w:body>"):
        document.element.body.insert(len(document.element.body) - 1, element)
    return save_docx(document)


def run_xml(text: str) -> str:
    """Give a paragraph with one run, in WordprocessingML."""
    return f'<w:p><w:r><w:t xml:space="preserve">{text}</w:t></w:r></w:p>'


def replace_member(data: bytes, name: str, content: bytes) -> bytes:
    """Give a zip archive with one file of it changed or added."""
    with zipfile.ZipFile(BytesIO(data)) as archive:
        members = {item.filename: archive.read(item) for item in archive.infolist()}
    return build_zip(members | {name: content})


def build_zip(members: dict[str, bytes]) -> bytes:
    """Write a zip archive."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _add_table(document: WordDocument, rows: Sequence[Sequence[str]]) -> None:
    table = document.add_table(rows=len(rows), cols=len(rows[0]))
    for row, texts in zip(table.rows, rows, strict=True):
        for cell, text in zip(row.cells, texts, strict=True):
            cell.text = text


def _shown(text: str) -> bytes:
    """Give the operators that print a text in WinAnsi from the top left corner of a page down."""
    escaped = text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
    lines = (b"(" + line.encode("cp1252") + b") Tj T*" for line in escaped.split("\n"))
    return b"BT /F1 10 Tf 12 TL 40 800 Td " + b" ".join(lines) + b" ET" if text else b""


def _stream(data: bytes, entries: bytes = b"") -> bytes:
    return b"<<%s/Length %d>>stream\n%s\nendstream" % (entries, len(data), data)


def _assemble(contents: Sequence[bytes], resources: bytes, *shared: bytes) -> bytes:
    """Number and join the objects: catalogue, page tree, shared ones, then a page and its content in turn."""
    first = 3 + len(shared)
    kids = b" ".join(b"%d 0 R" % (first + 2 * n) for n in range(len(contents)))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Count %d/MediaBox[0 0 595 842]/Kids[%s]/Resources<<%s>>>>" % (len(contents), kids, resources),
        *shared,
    ]
    for n, content in enumerate(contents):
        objects += [b"<</Type/Page/Parent 2 0 R/Contents %d 0 R>>" % (first + 2 * n + 1), content]
    return _with_table(objects)


def _with_table(objects: Sequence[bytes]) -> bytes:
    data, offsets = b"%PDF-1.4\n", []
    for number, item in enumerate(objects, start=1):
        offsets.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, item)
    rows = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(objects) + 1
    table = b"xref\n0 %d\n0000000000 65535 f \n%s" % (size, rows)
    return data + table + b"trailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (size, len(data))
