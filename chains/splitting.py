"""Cuts a text into chunks at its own borders. Pure."""

from __future__ import annotations

import re

DEFAULT_CHUNK_CHARS = 900

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
