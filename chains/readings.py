"""What is read out of a resume and out of an ad, each by itself, so that many pairs can be compared fast. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from chains.experience import Demand, Role, demands, roles
from chains.phrases import content_words
from chains.seniority import Seniority, seniority
from chains.skills import AskedSkill, SkillMention, asked_skills, shown_skills
from chains.taxonomy import category, folded_words, implied_skills, is_tool
from chains.words import Language, Terms, language_of, phrases_of, stem, term_weights

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

__all__ = ["JobReading", "ResumeReading", "WantedSkill", "evidence_of", "read_job", "read_resume"]


@dataclass(frozen=True, slots=True)
class WantedSkill:
    """An asked skill, and what to look for in a resume.

    Attributes:
        skill: as the ad asks for it.
        wordings: the ad's ways to put it, folded; empty for a skill that the taxonomy knows by name.
        stems: sets of stems of which one sentence must have all.
    """

    skill: AskedSkill
    wordings: tuple[str, ...]
    stems: tuple[frozenset[str], ...]


@dataclass(frozen=True, slots=True)
class JobReading:
    """What an ad says.

    Attributes:
        text: the ad.
        terms: its weighted words.
        phrases: its runs of eight words.
        wanted: the skills that it asks for, in its order.
        demands: the experience that it asks for, in its order.
        level: of the advertised role; None if the ad says none.
    """

    text: str
    terms: Terms
    phrases: frozenset[str]
    wanted: tuple[WantedSkill, ...]
    demands: tuple[Demand, ...]
    level: Seniority | None


@dataclass(frozen=True, slots=True)
class ResumeReading:
    """What a resume says.

    Attributes:
        text: the resume.
        terms: its weighted words.
        phrases: its runs of eight words.
        skills: the first mention of each skill that it shows; of an implied skill, that of the one that implies it.
        folded: its lines, folded, one a line and each between blanks.
        sentences: its sentences.
        places: for each stem the numbers of the sentences that have it.
        roles: what was done, and when.
        level: of the latest role; None if no title says one.
    """

    text: str
    terms: Terms
    phrases: frozenset[str]
    skills: Mapping[str, SkillMention]
    folded: str
    sentences: tuple[str, ...]
    places: Mapping[str, frozenset[int]]
    roles: tuple[Role, ...]
    level: Seniority | None


def read_job(text: str) -> JobReading:
    """Read an ad."""
    language = language_of(text)
    return JobReading(
        text=text,
        terms=term_weights(text, language),
        phrases=phrases_of(text),
        wanted=tuple(_wanted(skill, language) for skill in asked_skills(text)),
        demands=tuple(demands(text)),
        level=seniority(text, is_job=True),
    )


def _wanted(skill: AskedSkill, language: Language) -> WantedSkill:
    """Say what shows a skill. Of a tool's name one word in another form is not enough: "go" is no sign of Go."""
    is_known = category(skill.name) is not None
    wordings = (skill.name, *skill.wordings) if is_known else skill.wordings
    fewest = 2 if is_tool(skill.name) else 1
    stems = dict.fromkeys(s for s in (_stems(w, language) for w in (skill.name, *wordings)) if len(s) >= fewest)
    folded = () if is_known else tuple(filter(None, (" ".join(folded_words(w)) for w in skill.wordings)))
    return WantedSkill(skill, folded, tuple(stems))


_DENIED = re.compile(
    r"\b(?:except(?:ing| for)?|excluding|with the exception of|minus|without|lack of|apart from|"
    r"no (?:prior |previous )?(?:experience|knowledge)(?: (?:with|in|of))?|"
    r"not (?:familiar|experienced|proficient) (?:with|in)|"
    r"ohne|außer|keine? (?:Erfahrung|Kenntnisse)|sans|f[aă]r[aă])\b"
    r"[^,.;\n]*?(?=[,.;\n]|\Z|\b(?:but|using|by|while|aber)\b)",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"\n|(?<=[.;!?])\s")


def read_resume(text: str, *, today: date | None = None) -> ResumeReading:
    """Read a resume.

    Args:
        text: the resume as plain text.
        today: what "present" means in its dates. With None it is the latest month that the resume itself names, so that
            the result depends on the text alone and does not drift from day to day.
    """
    language = language_of(text)
    sentences = tuple(part.strip() for part in _SENTENCE_END.split(text) if part and not part.isspace())
    places: defaultdict[str, set[int]] = defaultdict(set)
    for number, sentence in enumerate(sentences):
        for found in _stems(_DENIED.sub(" ", sentence), language):
            places[found].add(number)
    return ResumeReading(
        text=text,
        terms=term_weights(text, language),
        phrases=phrases_of(text),
        skills=_shown(text),
        folded="\n".join(f" {' '.join(folded_words(_DENIED.sub(' ', line)))} " for line in text.splitlines()),
        sentences=sentences,
        places={found: frozenset(numbers) for found, numbers in places.items()},
        roles=tuple(roles(text, today=today)),
        level=seniority(text, is_job=False),
    )


def _shown(text: str) -> dict[str, SkillMention]:
    found: dict[str, SkillMention] = {}
    mentions = shown_skills(text)
    for mention in mentions:
        found.setdefault(mention.name, mention)
    for mention in mentions:
        for name in implied_skills(mention.name):
            found.setdefault(name, mention)
    return found


_STEM_LENGTH = 8


@lru_cache(maxsize=1 << 16)
def _family(word: str, language: Language) -> str:
    """Cut a word down to what its family shares, beyond its stem: "maintaining" and "maintenance" are "mainte"."""
    return stem(word, language)[:_STEM_LENGTH]


def _stems(text: str, language: Language) -> frozenset[str]:
    return frozenset(_family(word, language) for word in content_words(text))


# --- Is an asked skill shown? ---------------------------------------------------------------------------------------


def evidence_of(wanted: WantedSkill, resume: ResumeReading) -> str | None:
    """Return the words of a resume that show an asked skill, exactly as they stand there; None if nothing shows it.

    It is shown by its name, by one of the ad's wordings whatever the case and the plural, or by one sentence that has
    all its meaningful words in some form ("managed budgets" for "budget management").
    """
    mention = resume.skills.get(wanted.skill.name)
    if mention is not None:
        return mention.text
    if wanted.wordings:
        said = _line_with(wanted.wordings, resume)
        if said is not None:
            return said
    return next((resume.sentences[min(at)] for at in (_common(s, resume) for s in wanted.stems) if at), None)


def _line_with(wordings: tuple[str, ...], resume: ResumeReading) -> str | None:
    """Return the line of a resume that has one of the wordings."""
    for wording in wordings:
        at = resume.folded.find(f" {wording} ")
        if at >= 0:
            return resume.text.splitlines()[resume.folded.count("\n", 0, at)].strip()
    return None


def _common(stems: frozenset[str], resume: ResumeReading) -> frozenset[int]:
    """Return the numbers of the sentences that have all stems."""
    found: frozenset[int] | None = None
    for one in stems:
        at = resume.places.get(one)
        if at is None:
            return frozenset()
        found = at if found is None else found & at
    return found or frozenset()
