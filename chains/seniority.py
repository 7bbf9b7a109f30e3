"""The level of a role, as its title says it. Pure. English and German."""

from __future__ import annotations

import re
from typing import Literal

from chains.adverts import ad_lines
from chains.dates import work_stretches

__all__ = ["Seniority", "seniority"]

Seniority = Literal["intern", "junior", "mid", "senior", "lead", "head"]

# From the highest down: a "Senior Director" is a head.
_LEVELS: tuple[tuple[Seniority, re.Pattern[str]], ...] = (
    ("head", re.compile(
        r"\bhead of\b|\b(?:director|vice president|chief|cto|ceo|cfo|coo|cio|ciso)\b|\bV\.?P\b|"
        r"\w*leiter(?:in)?\b(?<!teamleiter)"
        r"(?<!teamleiterin)(?<!projektleiter)(?<!projektleiterin)|geschäftsführ", re.IGNORECASE)),
    ("lead", re.compile(
        r"\b(?:lead(?!\s+(?:gen|qual|to|time|nurtur|manag|conver))|principal|team ?leader|teamleiter(?:in)?|"
        r"teamleitung|supervisor|foreman|"
        r"staff (?:\w+ )?engineer)\b", re.IGNORECASE)),
    ("senior", re.compile(r"\b(?:senior(?!\s+(?:care|living|citizen|housing))|sr)\b", re.IGNORECASE)),
    ("mid", re.compile(r"\b(?:mid[- ]?level|mid[- ]?senior|intermediate|midweight)\b", re.IGNORECASE)),
    ("junior", re.compile(
        r"\b(?:junior|jr|entry[- ]level|graduate (?=\w*\s*(?:engineer|developer|analyst|program|scheme|"
        r"trainee))|"
        r"berufseinsteiger(?:in)?|berufsanfänger(?:in)?)\b", re.IGNORECASE)),
    ("intern", re.compile(
        r"\b(?:intern|internship|trainee|apprentice(?:ship)?|working student|praktikant(?:in)?|praktikum|"
        r"werkstudent(?:in)?|"
        r"auszubildende[rn]?|azubi)\b", re.IGNORECASE)),
)  # fmt: skip
_WANTED = re.compile(
    r"\b(?:looking for|seeking|hiring|search(?:ing)? for|suchen(?: wir)?|need)\s+(?:an?\s+|"
    r"eine[nr]?\s+)?(?P<role>[^.\n,;]{3,60})",
    re.IGNORECASE,
)
_TITLE_WORDS = 14
_HEADLINES = 4


def _level(text: str) -> Seniority | None:
    return next((level for level, pattern in _LEVELS if pattern.search(text)), None)


def seniority(text: str, *, is_job: bool) -> Seniority | None:
    """Return the level of a role: "intern", "junior", "mid", "senior", "lead" or "head".

    Of an ad, the title's, else that of "we are looking for a senior ..."; of a resume, that of the role with the latest
    end, else of the headline. None where no title says a level; a plain title is not taken for "mid".
    """
    return _level_of_job(text) if is_job else _level_of_resume(text)


def _level_of_job(job: str) -> Seniority | None:
    lines = ad_lines(job)
    title = next((line.text for line in lines if line.text.strip()), "")
    wanted = (_level(m["role"]) for line in lines for m in _WANTED.finditer(line.text) if line.kind != "ignored")
    named = _level(title) if len(title.split()) <= _TITLE_WORDS else None
    return named or next((level for level in wanted if level), None)


def _level_of_resume(resume: str) -> Seniority | None:
    lines = resume.splitlines()
    spans = work_stretches(resume)
    if spans:
        last = max(spans, key=lambda s: (s.end, -s.line))
        near = [lines[i] for i in (last.line, last.line - 1, last.line + 1) if 0 <= i < len(lines)]
        titles = [line for line in near if len(line.split()) <= _TITLE_WORDS]
        level = next((found for found in map(_level, titles) if found), None)
        if level:
            return level
    heads = [line for line in lines if line.strip()][:_HEADLINES]
    return next((found for found in map(_level, heads) if found), None)
