"""Reads resumes and job ads: files in, clean text out, and text cut into chunks.

PDF, DOCX, Markdown and plain text are read. What a file is, its first bytes say; the suffix decides only where they do
not. A file that gives no text is an error that says what to do: no text is ever made up, and none is left out in
silence.
"""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from chains.docx_text import read_docx
from chains.errors import (
    DamagedDocumentError,
    DocumentError,
    DocumentNotFoundError,
    EmptyDocumentError,
    EncryptedDocumentError,
    UnsupportedDocumentError,
)
from chains.pdf_text import read_pdf

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

StrPath: TypeAlias = str | os.PathLike[str]

SUFFIXES = frozenset({".docx", ".markdown", ".md", ".pdf", ".txt"})
MAX_FILE_BYTES = 20_000_000
MAX_TITLE_CHARS = 120


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
        Its text and title, without letters that nobody sees. Of a DOCX: headers, paragraphs, tables and text boxes in
        their order, footers.

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
        return read_pdf(path, data)
    if data.startswith(_ZIP_MAGIC):
        return read_docx(path, data)
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
