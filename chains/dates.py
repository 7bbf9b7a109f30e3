"""The dated stretches of work in a resume. Pure. English, German, French and Romanian."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chains.sections import resume_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import date

__all__ = ["Stretch", "total_months", "work_stretches"]

_MONTH_NAMES = (
    "jan january januar jän jänner janvier janv ianuarie ian", "feb february februar février fevrier févr februarie",
    "mar march mär märz mrz mars martie", "apr april avril avr aprilie", "may mai",
    "jun june juni juin iunie iun", "jul july juli juillet juil iulie iul", "aug august août aout",
    "sep sept september septembre septembrie", "oct october okt oktober octobre octombrie",
    "nov november novembre noiembrie noi", "dec december dez dezember décembre decembre déc decembrie",
)  # fmt: skip
_MONTHS = {name: i for i, names in enumerate(_MONTH_NAMES) for name in names.split()}
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
_YEAR = r"(?:19[5-9]\d|20[0-4]\d)"


def _date_pattern(tag: str) -> str:
    """Return the pattern of a date, its groups tagged so that one expression can hold two."""
    return (
        rf"(?:(?P<isoyear{tag}>{_YEAR})[-/](?P<iso{tag}>0[1-9]|1[0-2])(?![\d/])|"
        rf"(?:(?P<name{tag}>{_MONTH})\b\.?,?\s+(?:\d{{1,2}},\s+)?|(?:\d{{1,2}}\.)?(?P<number{tag}>0?[1-9]|"
        rf"1[0-2])\s?[./]\s?)?"
        rf"(?P<year{tag}>{_YEAR})(?!\d))"
    )


_NOW = (
    r"(?P<now>present|current(?:ly)?|now|today|date|ongoing|heute|aktuell|jetzt|laufend|dato|"
    r"pr[ée]sent|aujourd.hui|actuel(?:lement)?|ce jour|en cours|[iî]n prezent|prezent|azi)\b"
)
_DATE = re.compile(rf"(?<![\w/.-]){_date_pattern('')}", re.IGNORECASE)
_RANGE = re.compile(
    rf"(?<![\d/.-])(?P<between>between\s+|zwischen\s+|entre\s+)?{_date_pattern('1')}\s*"
    rf"(?:-+|\u2013|\u2014|\u2212|\bto\b|\buntil\b|\btill\b|\bthrough\b|\bbis\b|\bà\b|\bau\b|"
    rf"\bp[aâ]n[aă] (?:la|[iî]n)\b|"
    rf"(?(between)\band\b|(?!))|(?(between)\bund\b|(?!))|(?(between)\bet\b|(?!)))\s*"
    rf"(?:{_date_pattern('2')}|{_NOW})",
    re.IGNORECASE,
)
_SINCE = re.compile(
    rf"\b(?:seit|since|depuis|[iî]ncep[aâ]nd (?:cu|din))\s+(?:dem\s+)?{_date_pattern('1')}", re.IGNORECASE
)
_STUDY = re.compile(
    r"\b(?:bachelor\w*|master(?:'s| of|studium)?|b\.?\s?sc|m\.?\s?sc|b\.?a\.|m\.?a\.|mba|ph\.?\s?d|diplom|"
    r"degree|university|college|high school|universität|hochschule|gymnasium|abitur|studium|student|gpa|universit[ée]|"
    r"lyc[ée]e|licence|baccalaur[ée]at|universitatea|liceul?|facultatea|licen[țţt][aă])\b",
    re.IGNORECASE,
)
_LONGEST_MONTHS = 60 * 12
_MIDYEAR = 6


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of work in months since year 0, `start <= month < end`, and the number of the line that dates it."""

    start: int
    end: int
    line: int


def work_stretches(resume: str, *, today: date | None = None) -> list[Stretch]:
    """Return every stretch of work that is dated, in order of the text; those of education and courses are left out.

    Args:
        resume: the resume as plain text.
        today: what "present" means; with None the latest month that the resume names.
    """
    present = today.year * 12 + today.month if today else _latest(resume)
    found = []
    for i, line in _work_lines(resume):
        for m in _RANGE.finditer(line):
            end = present if m["now"] else _month(m, "2", ends=True)
            found.append(Stretch(_month(m, "1", ends=False), end, i))
        found += [Stretch(_month(m, "1", ends=False), present, i) for m in _SINCE.finditer(line)]
    return [s for s in found if s.start <= s.end <= s.start + _LONGEST_MONTHS]


def total_months(stretches: Iterable[Stretch]) -> int:
    """Return how many months stretches cover; a month in several of them counts once."""
    months, reached = 0, 0
    for one in sorted(stretches, key=lambda s: (s.start, s.end)):
        months += max(0, one.end - max(one.start, reached))
        reached = max(reached, one.end)
    return months


def _month(m: re.Match[str], tag: str, *, ends: bool) -> int:
    """Return a date in months. A month is whole: as an end it is included. A bare year is its middle."""
    year = int(m[f"year{tag}"] or m[f"isoyear{tag}"])
    name, number = m[f"name{tag}"], m[f"number{tag}"] or m[f"iso{tag}"]
    if not name and not number:
        return year * 12 + _MIDYEAR
    return year * 12 + (_MONTHS[name.lower()] if name else int(number) - 1) + ends


def _latest(resume: str) -> int:
    """Return the latest month that the text names, as an end."""
    return max((_month(m, "", ends=True) for m in _DATE.finditer(resume)), default=0)


def _work_lines(resume: str) -> Iterator[tuple[int, str]]:
    """Yield the lines that can tell of work, with their numbers."""
    for line in resume_lines(resume):
        if line.section != "learning" and (line.section == "work" or not _STUDY.search(line.text)):
            yield line.number, line.text
