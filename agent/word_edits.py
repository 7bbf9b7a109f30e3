"""Edits made in a Word document, whose formatting stays: only the characters that differ are replaced."""

from __future__ import annotations

import re
from itertools import takewhile
from typing import TYPE_CHECKING, Any, NamedTuple

import docx
from docx.oxml.ns import qn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from docx.document import Document as WordDocument

    from chains.schemas import Edit

_PARAGRAPH, _RUN, _TEXT = map(qn, ("w:p", "w:r", "w:t"))
_BLANKS = frozenset(map(qn, ("w:tab", "w:br", "w:cr", "w:ptab")))
_SPACE = "{http://www.w3.org/XML/1998/namespace}space"


class _Char(NamedTuple):
    """One character of a paragraph, the element that holds it and its place there; a tab or a break has none."""

    char: str
    node: Any | None
    at: int = 0


def edit_word_file(source: Path, target: Path, edits: Sequence[Edit]) -> list[Edit]:
    """Make edits in a copy of a DOCX, and say which of them could not be made.

    An edit of several lines is made where it keeps their number, each line in its own paragraph.

    Args:
        source: the resume.
        target: the copy.
        edits: in their order.
    """
    document = docx.Document(str(source))
    left = [edit for edit in edits if not _made(document, edit)]
    document.save(str(target))
    return left


def write_word_file(target: Path, text: str) -> None:
    """A plain DOCX of a text: a paragraph for each line, Markdown's headings and bullets as Word's own."""
    document = docx.Document()
    for line in text.splitlines():
        if heading := re.match(r"(#{1,6})\s+(.*)", line):
            document.add_heading(heading[2], level=len(heading[1]))
        elif bullet := re.match(r"\s*[-*•]\s+(.*)", line):
            document.add_paragraph(bullet[1], style="List Bullet")
        elif line.strip():
            document.add_paragraph(line)
    document.save(str(target))


def _made(document: WordDocument, edit: Edit) -> bool:
    old, new = edit.original.splitlines(), edit.new.splitlines()
    changes = [(before, after) for before, after in zip(old, new, strict=False) if before != after]
    if len(old) != len(new) or any(_place(document, before) is None for before, _ in changes):
        return False
    for before, after in changes:
        _replace(_place(document, before) or [], after.strip())
    return True


def _place(document: WordDocument, words: str) -> list[_Char] | None:
    """The characters of the first place where words stand, however they are spaced."""
    pattern = re.compile(r"\s+".join(map(re.escape, words.split())))
    for paragraph in document.element.body.iter(_PARAGRAPH):
        chars = list(_chars(paragraph))
        if found := pattern.search("".join(char.char for char in chars)):
            return chars[found.start() : found.end()]
    return None


def _chars(paragraph: Any) -> Iterator[_Char]:
    """The characters of a paragraph, without those of the text boxes that hang on it."""
    for element in paragraph.iter(_TEXT, *_BLANKS):
        if next(element.iterancestors(_PARAGRAPH)) is not paragraph:
            continue
        if element.tag == _TEXT:
            yield from (_Char(char, element, at) for at, char in enumerate(element.text or ""))
        elif element.getparent().tag == _RUN:  # a tab stop of the paragraph's own settings is no tab
            yield _Char("\t", None)


def _replace(place: list[_Char], new: str) -> None:
    """Put other words in a place; those that stay at its beginning and end keep the format of each letter."""
    old = "".join(char.char for char in place)
    n_first = _n_shared(old, new)
    n_last = _n_shared(reversed(old[n_first:]), reversed(new[n_first:]))
    end = len(place) - n_last
    gone = [char for char in place[n_first:end] if char.node is not None]
    node, at = _insertion(gone, place[:n_first], place[end:])
    for each in dict.fromkeys([node, *(char.node for char in gone)]):
        cut = {char.at for char in gone if char.node is each}
        chars = ["" if index in cut else char for index, char in enumerate(each.text or "")]
        if each is node:
            chars.insert(at, new[n_first : len(new) - n_last])
        each.text = "".join(chars)
        each.set(_SPACE, "preserve")


def _insertion(gone: list[_Char], before: list[_Char], after: list[_Char]) -> tuple[Any, int]:
    """Where new words go: to what they replace, or else behind the letter before them."""
    if gone:
        return gone[0].node, gone[0].at
    last = next((char for char in reversed(before) if char.node is not None), None)
    if last is not None:
        return last.node, last.at + 1
    return next((char.node, char.at) for char in after if char.node is not None)


def _n_shared(first: Iterable[str], second: Iterable[str]) -> int:
    """How many characters two texts begin with in common."""
    pairs = zip(first, second, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
