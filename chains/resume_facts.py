"""The lines of a resume that no edit may change: who it is about, and posts, dates and degrees. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from chains.quantities import plain_digits
from chains.sections import resume_lines

_CONTACT = re.compile(r"\S+@\S+|(?:https?://|www\.)\S+|\b[\w-]+\.(?:com|org|net|io|dev|de)/\S+|\+?\d[\d\s()/-]{7,}\d")
_PERSONAL = re.compile(
    r"\s*(?:name|e-?mail|phone|tel\w*|mobile|address|anschrift|adresse|born|date of birth|geburtsdatum|geboren|"
    r"nationality|staatsangehörigkeit|linkedin|github|website)\s*:",
    re.IGNORECASE,
)
_YEAR = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)")
_MARKS = r"[\s\d./|(),\u2013\u2014-]*"
_ONLY_DATES = re.compile(rf"{_MARKS}(?:[^\W\d_]{{3,9}}\.?{_MARKS}){{0,3}}")  # months, "present"
_BULLET = re.compile(r"\s*[-*\u2022\u2013]\s")
_LONGEST_IDENTITY_WORDS, _LONGEST_HEADER_WORDS = 8, 16


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a text."""

    start: int
    end: int

    def cut(self, start: int, end: int) -> tuple[int, int] | None:
        """What it shares with another stretch."""
        found = max(self.start, start), min(self.end, end)
        return found if found[0] < found[1] else None


@dataclass(frozen=True, slots=True)
class ResumeFacts:
    """Where the facts of a resume stand.

    Attributes:
        identity: lines on who it is about.
        headers: lines that name a post, an employer, a school, a degree or a certificate with its dates.
        posts: each post with its dates, from its header up to the next.
    """

    identity: tuple[Span, ...]
    headers: tuple[Span, ...]
    posts: tuple[Span, ...]

    def post_of(self, at: int) -> Span | None:
        """The post that a place lies in."""
        return next((post for post in self.posts if post.start <= at < post.end), None)


@lru_cache(maxsize=64)
def resume_facts(resume: str) -> ResumeFacts:
    """Find the lines of a resume that are facts."""
    lines = _lines(resume)
    texts = [resume[line.start : line.end] for line in lines]
    headings = {line.number for line in resume_lines(resume) if line.is_heading}
    first = _end_of_head(texts, headings)
    identity = [
        line
        for at, (line, text) in enumerate(zip(lines, texts, strict=True))
        if contact_data(text) or _PERSONAL.match(text) or at < first
    ]
    found = [at for at, text in enumerate(texts) if _is_header(text) and lines[at] not in identity]
    alone = [at - 1 for at in found if at and _ONLY_DATES.fullmatch(texts[at]) and texts[at - 1].strip()]
    headers = sorted({*found, *alone} - headings)
    borders = sorted({*(at for at in headers if at - 1 not in headers), *headings, len(lines)})
    posts = [
        Span(lines[at].start, lines[end].start if end < len(lines) else len(resume))
        for at, end in pairwise(borders)
        if at in headers
    ]
    return ResumeFacts(tuple(identity), tuple(lines[at] for at in headers), tuple(posts))


def contact_data(text: str) -> list[str]:
    """Addresses and numbers by which a person is reached."""
    return [found for found in _CONTACT.findall(text) if "@" in found or "." in found or not _YEAR.search(found)]


def _lines(text: str) -> list[Span]:
    found, start = [], 0
    for line in text.splitlines(keepends=True):
        found.append(Span(start, start + len(line.rstrip("\r\n"))))
        start += len(line)
    return found


def _end_of_head(texts: list[str], headings: set[int]) -> int:
    """How many lines at the top are name, address and wishes: short ones, up to what begins the story."""
    is_reachable = False
    for at, text in enumerate(texts):
        is_story = text.rstrip().endswith(".") or len(text.split()) > _LONGEST_IDENTITY_WORDS
        is_reachable |= bool(contact_data(text))
        is_over = (not text.strip() and is_reachable) or (is_story and not contact_data(text))
        if at and (is_over or at in headings):
            return at
    return min(1, len(texts))


def _is_header(text: str) -> bool:
    """Say whether a line has a year and is no sentence of a story."""
    is_story = bool(_BULLET.match(text)) or text.rstrip().endswith((".", ";"))
    return bool(_YEAR.search(plain_digits(text))) and not is_story and len(text.split()) <= _LONGEST_HEADER_WORDS
