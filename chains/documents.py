"""Reads resumes and job ads: files in, clean text out, and text cut into chunks.

PDF, DOCX, Markdown and plain text are read. What a file is, its first bytes say; the suffix decides only where they do
not. A file that gives no text is an error that says what to do: no text is ever made up, and none is left out in
silence.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import unicodedata
import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import docx
from docx.opc.part import XmlPart
from docx.oxml.ns import nsmap, qn
from pypdf import PageObject, PdfReader
from pypdf.errors import DependencyError, FileNotDecryptedError
from pypdf.generic import DictionaryObject

from chains.errors import (
    DamagedDocumentError,
    DocumentError,
    DocumentNotFoundError,
    EmptyDocumentError,
    EncryptedDocumentError,
    ScannedDocumentError,
    UnsupportedDocumentError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from docx.document import Document as WordDocument

StrPath: TypeAlias = str | os.PathLike[str]

SUFFIXES = frozenset({".docx", ".markdown", ".md", ".pdf", ".txt"})
MAX_FILE_BYTES = 20_000_000
MAX_PDF_PAGES = 500
MAX_UNZIPPED_BYTES = 100_000_000
MAX_XML_BYTES = 20_000_000  # parsed XML takes up to 16 times its size in memory
MAX_TITLE_CHARS = 120
DEFAULT_CHUNK_CHARS = 900

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Document:
    """One resume or job ad.

    Attributes:
        path: the file it was read from; None for a text that was given.
        text: what it says, as `clean_text` leaves it; never blank.
        title: its first line that says something, at most `MAX_TITLE_CHARS` characters.
    """

    path: Path | None
    text: str
    title: str

    @classmethod
    def from_text(cls, text: str, *, path: Path | None = None) -> Document:
        """Clean a text and give it a title.

        Raises:
            EmptyDocumentError: the text is blank.
        """
        cleaned = clean_text(text)
        if not cleaned:
            name = path.name if path else "the text"
            raise EmptyDocumentError(f"{name} holds no text: expected the words of a resume or a job ad")
        return cls(path=path, text=cleaned, title=_title(cleaned, path))


def read_document(path: StrPath) -> Document:
    """Read one file.

    Args:
        path: a PDF, DOCX, Markdown or text file of at most `MAX_FILE_BYTES`. Text may be UTF-8, UTF-16 with a byte
            order mark, or Windows-1252.

    Returns:
        Its text and title. Of a DOCX: headers, paragraphs, tables and text boxes in their order, footers.

    Raises:
        DocumentNotFoundError: there is no such file, or it is a folder or a device.
        UnsupportedDocumentError: neither its bytes nor its suffix are of a type that is read.
        EmptyDocumentError: it holds no text.
        ScannedDocumentError: it holds images, or fonts without letters, and no text.
        EncryptedDocumentError: it needs a password.
        DamagedDocumentError: its bytes are not what its name says.
        DocumentError: it is too large, or the system does not let it be read.
    """
    file = Path(path)
    return Document.from_text(_extract(file, _read_bytes(file)), path=file)


def read_documents(paths: Iterable[StrPath] | StrPath) -> list[Document]:
    """Read files and folders.

    Args:
        paths: files, read whatever their suffix; and folders, walked in sorted order for files with one of `SUFFIXES`.
            Hidden files and folders in them, links to folders and lock files of Word are passed over. A single path
            is taken as one.

    Returns:
        One document per file, in the order of the paths.

    Raises:
        DocumentNotFoundError: a folder has no file of a type that is read, or a path does not exist.
        DocumentError: a file cannot be read; as `read_document`, for the first such file.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else paths
    return [read_document(file) for path in given for file in _files(Path(path))]


# --- files ---------------------------------------------------------------------------------------------------------


def _files(path: Path) -> list[Path]:
    if not _is_folder(path):
        return [path]
    found = sorted(_walk(path))
    if not found:
        raise DocumentNotFoundError(f"{path} holds no file that is read: expected {_listed(SUFFIXES)}")
    return found


def _is_folder(path: Path) -> bool:
    """Look at a path that may be out of reach; why it is, reading it tells."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _walk(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder, onerror=_refuse_folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith((".", "~$")) and Path(name).suffix.lower() in SUFFIXES:
                yield Path(root, name)


def _refuse_folder(error: OSError) -> None:
    raise DocumentError(f"{error.filename} cannot be listed: {error.strerror}") from error


def _read_bytes(path: Path) -> bytes:
    """Read a regular file whole, after its size was checked; a pipe or a device would never end."""
    try:
        status = path.stat()
        _check_status(path, status)
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DocumentNotFoundError(f"there is no file {path}: expected {_listed(SUFFIXES)}") from error
    except PermissionError as error:
        raise DocumentError(f"{path} may not be read by this user: change its permissions") from error
    except OSError as error:
        raise DocumentError(f"{path} cannot be read: {error.strerror}") from error


def _check_status(path: Path, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise DocumentNotFoundError(f"{path} is a folder, expected a file: give the files in it")
    if not stat.S_ISREG(status.st_mode):
        raise DocumentNotFoundError(f"{path} is a device, a pipe or a socket, expected a file")
    if status.st_size > MAX_FILE_BYTES:
        raise DocumentError(
            f"{path.name} holds {status.st_size:,} bytes, expected at most {MAX_FILE_BYTES:,}:"
            " save it with smaller images, or give the text"
        )


def _listed(suffixes: Iterable[str]) -> str:
    return ", ".join(sorted(suffixes))


# --- what a file is ------------------------------------------------------------------------------------------------

_PDF_MAGIC = b"%PDF-"
_ZIP_MAGIC = b"PK\x03\x04"
_OLE_MAGIC = bytes.fromhex("D0CF11E0A1B11AE1")
_RTF_MAGIC = b"{\\rtf"
_ENCRYPTED_STREAM = "EncryptedPackage".encode("utf-16-le")


def _extract(path: Path, data: bytes) -> str:
    suffix = path.suffix.lower()
    if not data:
        raise EmptyDocumentError(f"{path.name} is empty (0 bytes): expected a resume or a job ad")
    if data.startswith(_OLE_MAGIC):
        raise _ole_error(path, data)
    if data.startswith(_RTF_MAGIC):
        raise UnsupportedDocumentError(f"{path.name} is an RTF file: save it as .docx, .pdf or .txt")
    if _is_pdf(suffix, data):
        return _read_pdf(path, data)
    if data.startswith(_ZIP_MAGIC):
        return _read_docx(path, data)
    return _read_by_suffix(path, suffix, data)


def _is_pdf(suffix: str, data: bytes) -> bool:
    """Readers accept up to 1024 bytes before the magic; a text may quote it, so only a .pdf gets that leeway."""
    return data.startswith(_PDF_MAGIC) or (suffix == ".pdf" and _PDF_MAGIC in data[:1024])


def _read_by_suffix(path: Path, suffix: str, data: bytes) -> str:
    if suffix == ".pdf":
        raise DamagedDocumentError(f"{path.name} is not a PDF: it lacks the mark %PDF- at its start; export it again")
    if suffix == ".docx":
        raise DamagedDocumentError(f"{path.name} is not a DOCX: it is no zip archive; save it again")
    if suffix not in SUFFIXES:
        came = f"the type {suffix}" if suffix else "no suffix"
        raise UnsupportedDocumentError(f"{path.name} has {came}: expected {_listed(SUFFIXES)}")
    return _read_text(path, data)


def _ole_error(path: Path, data: bytes) -> DocumentError:
    """Tell the two uses of Microsoft's old container apart: a .docx with a password, and .doc."""
    if _ENCRYPTED_STREAM in data:
        return EncryptedDocumentError(f"{path.name} is protected by a password: save a copy without one")
    return UnsupportedDocumentError(f"{path.name} is in the format of Word 97-2003: save it as .docx or .pdf")


# --- plain text ----------------------------------------------------------------------------------------------------

_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f]")
_MAX_FOREIGN_SHARE = 0.3


def _read_text(path: Path, data: bytes) -> str:
    try:
        text = data.decode("utf-16" if data.startswith(_UTF16_MARKS) else "utf-8-sig")
    except UnicodeDecodeError:
        text = _read_windows_text(path, data)
    if "\0" in text:
        raise _not_text(path, "it holds NUL bytes")
    return text


def _read_windows_text(path: Path, data: bytes) -> str:
    """Decode as Windows-1252, which nearly every byte string fits: so only what looks like text of western Europe."""
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError as error:
        raise _not_text(path, f"byte {error.start} is of no encoding that is known") from error
    if _CONTROL.search(text):
        raise _not_text(path, "it holds control bytes")
    if sum(not char.isascii() for char in text) > _MAX_FOREIGN_SHARE * len(text):
        raise _not_text(path, "it is in an encoding that is not known")
    return text


def _not_text(path: Path, came: str) -> DamagedDocumentError:
    return DamagedDocumentError(f"{path.name} is not plain text, {came}: save it as UTF-8")


# --- PDF -----------------------------------------------------------------------------------------------------------


def _read_pdf(path: Path, data: bytes) -> str:
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
    texts = [page.extract_text() if _has_letters(page) else "" for page in pages]
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


# --- DOCX ----------------------------------------------------------------------------------------------------------

_ALTERNATIVES = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"  # repeats a text box
_PARAGRAPH, _ROW, _CELL, _TEXT, _TEXT_BOX = map(qn, ("w:p", "w:tr", "w:tc", "w:t", "w:txbxContent"))
_SKIPPED = frozenset({_ALTERNATIVES, *map(qn, ("w:del", "w:moveFrom", "w:pPr", "w:rPr"))})
_MARKS = {qn("w:tab"): "\t", qn("w:ptab"): "\t", qn("w:br"): "\n", qn("w:cr"): "\n", qn("w:noBreakHyphen"): "-"}
_WORD_PART = "word/document.xml"


def _read_docx(path: Path, data: bytes) -> str:
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
            f"{path.name} holds {_counted(n_images, 'image')} and no text: run OCR on it first or give the text"
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
        elif child.tag not in _SKIPPED:
            yield from _inline(child, boxes)


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


# --- cleaning ------------------------------------------------------------------------------------------------------

_LINE_ENDS = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028]")
_INVISIBLE = re.compile(
    r"[\x00-\x08\x0e-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e007f]"
)
_SPACES = re.compile(r"[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_BLANK_LINES = re.compile(r"\n{3,}")
_LIGATURES = str.maketrans(
    {"\ufb00": "ff", "\ufb01": "fi", "\ufb02": "fl", "\ufb03": "ffi", "\ufb04": "ffl", "\ufb05": "st", "\ufb06": "st"}
)
_HYPHENS = ("-", "\u2010")
_COMPOUND = re.compile(r"\b[^\W\d_]{1,30}-[^\W\d_]{1,30}")
_LAST_WORD = re.compile(r"[^\W\d_]+(?=.\Z)")
_FIRST_WORD = re.compile(r"[^\W\d_]+")
_COMPOUND_START = re.compile(
    r"client|cloud|cross|cutting|data|detail|fast|front|full|hands|high|results|self|third|well", re.IGNORECASE
)


def clean_text(text: str) -> str:
    """Bring a text into one form, without a change to what it says. Pure, and doing it twice changes nothing more.

    Lines end in LF and in no blank; at most one blank line stands between two others; spaces of all kinds are plain
    spaces; invisible characters are gone; ligatures are letters; letters are composed (NFC, which leaves C++, x² and
    full-width letters alone); a word that was divided at the end of a line is whole. Lone surrogates become U+FFFD.
    """
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    text = _LINE_ENDS.sub("\n", text).replace("\u2029", "\n\n").replace("\u00ad\n", "")
    text = _SPACES.sub(" ", _INVISIBLE.sub("", text)).translate(_LIGATURES)
    lines = unicodedata.normalize("NFC", text).split("\n")
    text = _BLANK_LINES.sub("\n\n", "\n".join(line.rstrip() for line in lines))
    return _join_divided(text).strip()


def _join_divided(text: str) -> str:
    """Make words whole that were divided at the end of a line."""
    if not any(f"{hyphen}\n" in text for hyphen in _HYPHENS):
        return text
    lines = text.split("\n")
    compounds = set(_COMPOUND.findall(text.lower()))
    pieces = []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if line.endswith(_HYPHENS) and line[-2:-1].isalpha() and following[:1].isalpha() and following[0].islower():
            pieces.append(line if _is_compound(line, following, compounds) else line[:-1])
        else:
            pieces.append(line + "\n")
    return "".join(pieces)[:-1]


def _is_compound(line: str, following: str, compounds: set[str]) -> bool:
    """Say whether a hyphen belongs to the word, as in full-stack, e-mail, AWS-based, or in a word seen elsewhere."""
    left = _first(_LAST_WORD, line[-32:])
    right = _first(_FIRST_WORD, following[:30])
    before = line[-2 - len(left) : -1 - len(left)]
    return (
        len(left) == 1
        or left.isupper()
        or _COMPOUND_START.fullmatch(left) is not None
        or before in _HYPHENS
        or f"{left}-{right}".lower() in compounds
    )


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found.group() if found else ""


# --- titles --------------------------------------------------------------------------------------------------------

_LABEL = re.compile(r"\A(?:job title|title|position|role|name)\s*:\s*", re.IGNORECASE)
_HEADING = re.compile(
    r"(?:job )?title|position|role|name|r[eé]sum[eé]|curriculum vitae|cv|job description|personal information"
    r"|contact(?: information)?|lebenslauf|stellenanzeige",
    re.IGNORECASE,
)
_MARKUP = "#*_>=-|`~ \t"
_MARKUP_AFTER = "*_=|`~ \t"  # not # and +, with which names of languages end


def _title(text: str, path: Path | None) -> str:
    """Take the first line that is more than markup or a heading that every resume or ad has."""
    for line in text.split("\n"):
        title = _without_markup(_LABEL.sub("", _without_markup(line)))
        if any(map(str.isalnum, title)) and not _HEADING.fullmatch(title.rstrip(": ")):
            return _shortened(title)
    return _shortened(path.stem if path else text.split("\n", maxsplit=1)[0])


def _without_markup(line: str) -> str:
    return " ".join(line.lstrip(_MARKUP).rstrip(_MARKUP_AFTER).split())


def _shortened(title: str) -> str:
    if len(title) <= MAX_TITLE_CHARS:
        return title
    start = title[: MAX_TITLE_CHARS - 1]
    return f"{start.rsplit(' ', 1)[0]}…"


# --- splitting -----------------------------------------------------------------------------------------------------

_BORDERS = tuple(
    re.compile(border)
    for border in (
        r"\n[^\S\n]*\n",  # paragraphs
        r"\n",  # lines
        r"(?<=[.!?…。])\s|(?<=[.!?][\"')\]\u201d\u2019])\s",  # sentences
        r"\s",  # words
    )
)
_VISIBLE = re.compile(r"\S")


def split_text(text: str, *, max_chars: int = DEFAULT_CHUNK_CHARS) -> list[str]:
    """Cut a text into chunks, each as long as fits. Pure.

    A cut goes where the text itself has a border: between paragraphs, else lines, else sentences, else words, looked
    for in the second half of a chunk so that chunks do not become tiny. Only a word longer than a chunk is cut itself.

    Args:
        text: any text; best as `clean_text` leaves it.
        max_chars: the most characters in a chunk, at least 1.

    Returns:
        Chunks in the order of the text, stripped, none blank. Every visible character of the text is in exactly one of
        them. A blank text gives none.

    Raises:
        ValueError: `max_chars` is below 1.
    """
    if max_chars < 1:
        raise ValueError(f"max_chars is {max_chars}, expected at least 1")
    chunks = []
    found = _VISIBLE.search(text)
    while found:
        start = found.start()
        end = _chunk_end(text, start, max_chars)
        chunks.append(text[start:end].rstrip())
        found = _VISIBLE.search(text, end)
    return chunks


def _chunk_end(text: str, start: int, max_chars: int) -> int:
    if len(text) - start <= max_chars:
        return len(text)
    limit = start + max_chars + 1  # blanks right after a full chunk are a border too
    for border in _BORDERS:
        if end := _last(border, text, start + max_chars // 2, limit):
            return end
    return _last(_BORDERS[-1], text, start, limit) or start + max_chars


def _last(border: re.Pattern[str], text: str, start: int, limit: int) -> int | None:
    ends = [found.start() for found in border.finditer(text, start, limit)]
    return ends[-1] if ends else None
