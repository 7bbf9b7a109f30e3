"""Reads the text of a PDF, as far as a person who opens it sees it. Pure, but for what it logs."""

from __future__ import annotations

import logging
from io import BytesIO
from typing import TYPE_CHECKING, Any

from pypdf import PageObject, PdfReader
from pypdf.errors import DependencyError, FileNotDecryptedError
from pypdf.generic import ContentStream, DictionaryObject, NameObject

from chains.errors import (
    DamagedDocumentError,
    DocumentError,
    EmptyDocumentError,
    EncryptedDocumentError,
    ScannedDocumentError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

MAX_PDF_PAGES = 500

_log = logging.getLogger(__name__)


def read_pdf(path: Path, data: bytes) -> str:
    """Give the text of a PDF, its pages apart by a blank line.

    Raises:
        EncryptedDocumentError: it needs a password.
        EmptyDocumentError: no page holds text.
        ScannedDocumentError: it holds images, or fonts without letters, and no text.
        DamagedDocumentError: it cannot be read.
        DocumentError: it has too many pages.
    """
    _silence_pypdf()
    try:
        return _pdf_text(path, _pdf_pages(path, PdfReader(BytesIO(data))))
    except DocumentError:
        raise
    except (DependencyError, FileNotDecryptedError) as error:
        raise EncryptedDocumentError(f"{path.name} is an encrypted PDF: save a copy without a password") from error
    except Exception as error:  # pypdf meets damage with AttributeError, KeyError, RecursionError and more
        raise DamagedDocumentError(f"{path.name} is a damaged PDF ({type(error).__name__}): export it again") from error


def _silence_pypdf() -> None:
    """Keep pypdf's remarks on sloppy files off the screen, unless the application has set a level itself."""
    logger = logging.getLogger("pypdf")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)


def _pdf_pages(path: Path, reader: PdfReader) -> list[PageObject]:
    n_pages = len(reader.pages)
    if n_pages > MAX_PDF_PAGES:
        raise DocumentError(
            f"{path.name} has {n_pages:,} pages, expected at most {MAX_PDF_PAGES}: give the part to read"
        )
    if not n_pages:
        raise DamagedDocumentError(f"{path.name} is a damaged PDF without a page: export it again")
    return list(reader.pages)


def _pdf_text(path: Path, pages: list[PageObject]) -> str:
    texts = [_visible_text(page) if _has_letters(page) else "" for page in pages]
    unread = [n for n, text in enumerate(texts, start=1) if not text.strip() and _shows_something(pages[n - 1])]
    if not any(text.strip() for text in texts):
        _refuse_textless_pdf(path, pages, unread)
    if unread:
        _log.warning("%s: pages %s show images or fonts without letters and were not read", path.name, unread)
    return "\n\n".join(texts)


def _refuse_textless_pdf(path: Path, pages: list[PageObject], unread: list[int]) -> None:
    remedy = "run OCR on it first (for example ocrmypdf) or give the text"
    if not unread:
        raise EmptyDocumentError(f"{path.name} holds {_counted(len(pages), 'page')} without text: {remedy}")
    n_images = sum(len(page.images) for page in pages)
    what = _counted(n_images, "page image") if n_images else "fonts that do not say which letters they show"
    raise ScannedDocumentError(f"{path.name} holds {what} and no text: {remedy}")


def _counted(n_items: int, noun: str) -> str:
    return f"{n_items} {noun}{'' if n_items == 1 else 's'}"


def _shows_something(page: PageObject) -> bool:
    return not _has_letters(page) or len(page.images) > 0


def _has_letters(page: PageObject) -> bool:
    """Say whether any font of a page maps its codes to letters; without one, extraction gives glyph numbers as text."""
    resources = page.get("/Resources", DictionaryObject()).get_object()
    fonts = resources.get("/Font", DictionaryObject()).get_object().values()
    return not fonts or any(_maps_to_letters(font.get_object()) for font in fonts)


def _maps_to_letters(font: Any) -> bool:
    return "/ToUnicode" in font or not str(font.get("/Encoding", "")).startswith("/Identity-")


# --- what a reader of the page does not see -------------------------------------------------------------------------

_SHOWS_TEXT = frozenset({b"Tj", b"TJ", b"'", b'"'})
_FILLS = frozenset({b"f", b"F", b"f*", b"B", b"B*", b"b", b"b*"})
_WHITE = {b"g": (1,), b"rg": (1, 1, 1), b"k": (0, 0, 0, 0)}
_INVISIBLE_MODE = 3
Operation = tuple[list[Any], bytes]


def _visible_text(page: PageObject) -> str:
    """Extract the text of a page without what is printed in white on white, or invisibly.

    On a page with images or coloured areas nothing is left out: white letters may stand on them, and a scan has its
    text in an invisible layer.
    """
    contents = page.get_contents()
    if contents is None:
        return page.extract_text()
    operations: list[Operation] = contents.operations
    kept = [operation for operation, is_seen in _with_visibility(operations) if is_seen]
    if len(kept) == len(operations) or _has_background(operations):
        return page.extract_text()
    _log.warning("a page holds %s pieces of text that nobody sees; they were left out", len(operations) - len(kept))
    seen = ContentStream(None, page.pdf)
    seen.operations = kept
    page[NameObject("/Contents")] = seen
    return page.extract_text()


def _with_visibility(operations: Sequence[Operation]) -> Iterator[tuple[Operation, bool]]:
    """Yield each operation, and False for those that show text nobody sees."""
    for operation, is_white, mode in _with_state(operations):
        yield operation, not (operation[1] in _SHOWS_TEXT and (is_white or mode == _INVISIBLE_MODE))


def _has_background(operations: Sequence[Operation]) -> bool:
    """Say whether a page shows an image, or an area that is not white."""
    return any(
        operation[1] in {b"Do", b"sh", b"INLINE IMAGE"} or (operation[1] in _FILLS and not is_white)
        for operation, is_white, _ in _with_state(operations)
    )


def _with_state(operations: Sequence[Operation]) -> Iterator[tuple[Operation, bool, int]]:
    """Yield each operation, whether the colour that fills letters and areas is white, and the mode of letters."""
    is_white, mode = False, 0
    saved: list[tuple[bool, int]] = []
    for operands, operator in operations:
        if operator == b"q":
            saved.append((is_white, mode))
        elif operator == b"Q" and saved:
            is_white, mode = saved.pop()
        elif operator in _WHITE:
            is_white = tuple(operands) == _WHITE[operator]
        elif operator in {b"sc", b"scn"}:
            is_white = tuple(operands) in _WHITE.values()
        elif operator == b"Tr" and operands:
            mode = int(operands[0])
        yield (operands, operator), is_white, mode
