"""Reads the text of a DOCX, as far as a person who opens it sees it. Pure."""

from __future__ import annotations

import zipfile
from io import BytesIO
from typing import TYPE_CHECKING, Any

import docx
from docx.opc.part import XmlPart
from docx.oxml.ns import nsmap, qn

from chains.errors import (
    DamagedDocumentError,
    DocumentError,
    ScannedDocumentError,
    UnsupportedDocumentError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from docx.document import Document as WordDocument

MAX_UNZIPPED_BYTES = 100_000_000
MAX_XML_BYTES = 20_000_000  # parsed XML takes up to 16 times its size in memory

_ALTERNATIVES = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"  # repeats a text box
_PARAGRAPH, _ROW, _CELL, _TEXT, _TEXT_BOX = map(qn, ("w:p", "w:tr", "w:tc", "w:t", "w:txbxContent"))
_SKIPPED = frozenset({_ALTERNATIVES, *map(qn, ("w:del", "w:moveFrom", "w:pPr", "w:rPr"))})
_MARKS = {qn("w:tab"): "\t", qn("w:ptab"): "\t", qn("w:br"): "\n", qn("w:cr"): "\n", qn("w:noBreakHyphen"): "-"}
_WORD_PART = "word/document.xml"


def read_docx(path: Path, data: bytes) -> str:
    """Give the text of a DOCX: headers, paragraphs, tables and text boxes in their order, footers.

    Raises:
        UnsupportedDocumentError: the archive holds no document of Word.
        DamagedDocumentError: it cannot be read.
        ScannedDocumentError: it holds images and no text.
        DocumentError: it unpacks to too much.
    """
    try:
        n_images = _check_archive(path, data)
        text = _docx_text(docx.Document(BytesIO(data)))
    except DocumentError:
        raise
    except Exception as error:  # zipfile, lxml and python-docx each have their own, and KeyError besides
        message = f"{path.name} is a damaged DOCX ({type(error).__name__}): save it again"
        raise DamagedDocumentError(message) from error
    if n_images and not text.strip():
        raise ScannedDocumentError(
            f"{path.name} holds {n_images} image{'' if n_images == 1 else 's'} and no text:"
            " run OCR on it first or give the text"
        )
    return text


def _check_archive(path: Path, data: bytes) -> int:
    """Check sizes before anything is unpacked, as the archive declares them; zipfile never unpacks more than that.

    Returns:
        The number of images.
    """
    with zipfile.ZipFile(BytesIO(data)) as archive:
        sizes = {item.filename: item.file_size for item in archive.infolist()}
    if _WORD_PART not in sizes:
        raise _foreign_archive(path)
    xml_bytes = sum(size for name, size in sizes.items() if name.endswith((".xml", ".rels")))
    if xml_bytes > MAX_XML_BYTES or sum(sizes.values()) > MAX_UNZIPPED_BYTES:
        raise DocumentError(
            f"{path.name} unpacks to {sum(sizes.values()):,} bytes, {xml_bytes:,} of them XML; expected at most"
            f" {MAX_UNZIPPED_BYTES:,} and {MAX_XML_BYTES:,}: save it with smaller images, or give the text"
        )
    return sum(name.startswith("word/media/") for name in sizes)


def _foreign_archive(path: Path) -> DocumentError:
    if path.suffix.lower() == ".docx":
        return DamagedDocumentError(f"{path.name} is an archive without {_WORD_PART}: save it again as .docx")
    return UnsupportedDocumentError(f"{path.name} is an archive, not a document of Word: save it as .docx or .pdf")


def _docx_text(document: WordDocument) -> str:
    body = document.element.body
    parts = [*_linked(document, "header"), "\n".join(_blocks(body)), *_linked(document, "footer")]
    return "\n\n".join(dict.fromkeys(parts))  # first-page and even-page headers often repeat the others


def _linked(document: WordDocument, kind: str) -> Iterator[str]:
    """Give the text of each header or footer: a name and an address often stand there."""
    for reference in document.element.body.iter(qn(f"w:{kind}Reference")):
        part = document.part.related_parts[reference.get(f"{{{nsmap['r']}}}id")]
        if isinstance(part, XmlPart):
            yield "\n".join(_blocks(part.element))


def _blocks(container: Any) -> Iterator[str]:
    """Give paragraphs and table rows in order, down through tables, content controls and tracked insertions.

    python-docx's own iteration leaves content controls out, in which templates for resumes keep their text.
    """
    for child in container:
        if child.tag == _PARAGRAPH:
            yield from _paragraph(child)
        elif child.tag == _ROW:
            yield _row(child)
        elif child.tag not in _SKIPPED:
            yield from _blocks(child)


def _paragraph(paragraph: Any) -> Iterator[str]:
    boxes: list[Any] = []
    yield "".join(_inline(paragraph, boxes))
    for box in boxes:
        yield from _blocks(box)


def _inline(element: Any, boxes: list[Any]) -> Iterator[str]:
    """Give the text of a paragraph piece by piece, and set its text boxes aside."""
    for child in element:
        if child.tag == _TEXT:
            yield child.text or ""
        elif child.tag == _TEXT_BOX:
            boxes.append(child)
        elif child.tag in _MARKS:
            yield _MARKS[child.tag]
        elif child.tag not in _SKIPPED and not _is_hidden(child):
            yield from _inline(child, boxes)


_RUN_FORMAT, _VANISH, _COLOUR, _SHADE, _VALUE, _FILL = map(
    qn, ("w:rPr", "w:vanish", "w:color", "w:shd", "w:val", "w:fill")
)
_FORMATS = tuple(map(qn, ("w:rPr", "w:pPr", "w:tcPr", "w:tblPr")))
_WHITE = "FFFFFF"


def _is_hidden(run: Any) -> bool:
    """Say whether a run is marked as hidden, or white where nothing is shaded around it."""
    style = run.find(_RUN_FORMAT)
    if style is None:
        return False
    vanish, colour = style.find(_VANISH), style.find(_COLOUR)
    if vanish is not None and vanish.get(_VALUE) not in {"0", "false", "off"}:
        return True
    return colour is not None and str(colour.get(_VALUE)).upper() == _WHITE and not _is_shaded(run)


def _is_shaded(run: Any) -> bool:
    around = (element.find(kind) for element in (run, *run.iterancestors()) for kind in _FORMATS)
    shades = (style.find(_SHADE) for style in around if style is not None)
    return any(str(shade.get(_FILL)).upper() not in {_WHITE, "AUTO"} for shade in shades if shade is not None)


def _row(row: Any) -> str:
    """Join the cells of a row by tabs, or by lines where a table only lays out columns of text."""
    cells = [text for cell in _cells(row) if (text := "\n".join(_blocks(cell)).strip())]
    return ("\n" if any("\n" in cell for cell in cells) else "\t").join(cells)


def _cells(row: Any) -> Iterator[Any]:
    for child in row:
        if child.tag == _CELL:
            yield child
        elif child.tag not in _SKIPPED:
            yield from _cells(child)
