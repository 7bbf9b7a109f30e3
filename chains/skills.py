"""The skills that a job ad asks for and that a resume shows. Pure.

Known names come from the taxonomy. What no taxonomy has is read from the ad itself: short items of its lists of
requirements ("knowledge of design trends") and capitalised names after words like "experience with".
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chains.adverts import AdLine, ad_lines
from chains.clauses import clause_of
from chains.phrases import content_words, new_names, phrases
from chains.taxonomy import SkillMention, category, find_skills, is_tool, skill_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "AskedSkill",
    "SkillMention",
    "asked_skills",
    "content_words",
    "find_skills",
    "shown_skills",
    "skill_names",
]


@dataclass(frozen=True, slots=True)
class AskedSkill:
    """One skill that an ad asks for.

    Attributes:
        name: the canonical name, or the ad's own words where no taxonomy has it.
        must_have: False where the ad only prefers it, or only describes work that uses it.
        mention: the first place in the ad.
        wordings: the ad's ways to put it, from the whole short list item down to the bare mention, without repeats.
    """

    name: str
    must_have: bool
    mention: SkillMention
    wordings: tuple[str, ...]


def shown_skills(text: str) -> list[SkillMention]:
    """Find the mentions of known skills that their clause does not deny ("no experience with Java")."""
    return [m for m in find_skills(text) if not clause_of(text, m.start, m.end).refuses]


_SKILL_TAIL = re.compile(r"\s(?:skills?|abilit(?:y|ies)|knowledge)\b", re.IGNORECASE)
_PERSON = re.compile(
    r"\b(?:candidate|applicant|you|must|should|seeking|looking for|requires?|needs?|who|someone|bewerber|du|"
    r"sie|suchen)\b",
    re.IGNORECASE,
)


@dataclass(slots=True)
class _Entry:
    """What is known so far about one asked skill."""

    mention: SkillMention
    must_have: bool = False
    wordings: dict[str, None] = field(default_factory=dict)


def asked_skills(job: str) -> list[AskedSkill]:
    """Read the skills that an ad asks for.

    Known skills count wherever the ad speaks of the work or the person, soft ones only where it speaks of the person.
    Short items of its lists of requirements, and capitalised names after words like "experience with", count although
    no taxonomy has them. Left out: what is denied ("no Java required"), benefits, the company's portrait, legal
    notices.

    Args:
        job: the ad as plain text, English or German.

    Returns:
        Each skill once, in order of first appearance. A skill is a must-have if any place demands it: a requirement
        (without "a plus"), the title, or anything at all in an ad that lists no requirements.
    """
    lines = ad_lines(job)
    listed = any(line.kind == "must" for line in lines)
    mentions = _by_line(lines, find_skills(job))
    found: dict[str, _Entry] = {}
    for i, (line, known) in enumerate(zip(lines, mentions, strict=True)):
        if line.kind == "ignored":
            continue
        is_title = i == 0 and line.kind == "open"
        demands = line.kind in {"must", "past"} or is_title or (line.kind != "nice" and not listed)
        for mention, wordings in _asked_in_line(line, known, listed=listed):
            _note(found, job, mention, wordings, demands=demands)
    entries = sorted(found.values(), key=lambda e: e.mention.start)
    return [AskedSkill(e.mention.name, e.must_have, e.mention, tuple(e.wordings)) for e in entries]


def _by_line(lines: list[AdLine], mentions: list[SkillMention]) -> list[list[SkillMention]]:
    """Return the mentions of each line; those of headings and across line ends belong to none."""
    starts = [line.start for line in lines]
    found: list[list[SkillMention]] = [[] for _ in lines]
    for mention in mentions:
        i = bisect_right(starts, mention.start) - 1
        if i >= 0 and mention.end <= starts[i] + len(lines[i].text):
            found[i].append(mention)
    return found


def _note(found: dict[str, _Entry], job: str, mention: SkillMention, wordings: Iterable[str], *, demands: bool) -> None:
    """Add one place to what is known about a skill, unless its clause denies it or is a legal notice."""
    clause = clause_of(job, mention.start, mention.end)
    if clause.is_boilerplate or (clause.refuses and not clause.welcomes):
        return
    entry = found.setdefault(mention.name.casefold(), _Entry(mention))
    entry.must_have |= demands and not clause.refuses and not clause.prefers
    entry.wordings.update(dict.fromkeys((*wordings, mention.text)))


def _asked_in_line(
    line: AdLine, known: list[SkillMention], *, listed: bool
) -> Iterator[tuple[SkillMention, tuple[str, ...]]]:
    """Yield the skills of one line with their wordings: short items, known ones, new names."""
    short = list(phrases(line)) if line.kind in {"must", "nice"} else []
    inside = [[m for m in known if m.start < p.end and m.end > p.start] for p in short]
    new = [(p, ms) for p, ms in zip(short, inside, strict=True) if not _covered(p.core, ms)]
    items = {m: p.wordings for p, ms in zip(short, inside, strict=True) if _covered(p.core, ms) for m in ms}
    for p, ms in new:
        yield SkillMention(p.core, p.core, p.start, p.end), (*p.wordings, *(m.text for m in ms))
    taken = [(p.start, p.end) for p, _ in new]
    for m in known:
        if _counts(m, line, taken, listed=listed):
            yield m, (*items.get(m, ()), *_with_tail(line, m))
    if line.kind != "duty":
        taken += [(m.start, m.end) for m in known]
        yield from ((m, ()) for m in new_names(line, known) if not _overlaps(m, taken))


def _counts(mention: SkillMention, line: AdLine, taken: list[tuple[int, int]], *, listed: bool) -> bool:
    """Say whether a known skill is asked for by itself: a generic word may be part of an item that is."""
    if category(mention.name) == "soft" and listed and not _speaks_of_person(line):
        return False
    return is_tool(mention.name) or not _overlaps(mention, taken)


def _overlaps(mention: SkillMention, spans: list[tuple[int, int]]) -> bool:
    return any(a < mention.end and mention.start < b for a, b in spans)


def _speaks_of_person(line: AdLine) -> bool:
    return line.kind in {"must", "nice"} or (line.kind == "open" and _PERSON.search(line.text) is not None)


def _with_tail(line: AdLine, mention: SkillMention) -> Iterator[str]:
    """Yield "communication skills" where the mention is "communication"."""
    tail = _SKILL_TAIL.match(line.text, mention.end - line.start)
    if tail:
        yield mention.text + tail.group()


def _covered(core: str, inside: list[SkillMention]) -> bool:
    """Say whether known skills make up at least half of a phrase's words that carry meaning."""
    known = sum(max(1, len(content_words(m.text))) for m in inside)
    return bool(inside) and 2 * known >= len(content_words(core))
