"""Compare a resume with a job ad, in words that can be checked. Pure and deterministic: same texts, same result.

What is compared: the skills that the ad asks for, the years of experience, the level of the role. Nothing is guessed:
what a text does not say is None.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from chains.experience import years_of_experience, years_required
from chains.seniority import Seniority, seniority
from chains.skills import AskedSkill, asked_skills, content_words, shown_skills
from chains.taxonomy import category, folded_words, implied_skills, is_tool

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import date

__all__ = [
    "PairAnalysis",
    "Seniority",
    "analyse_pair",
    "explain",
    "missing_skills",
    "seniority",
    "years_of_experience",
    "years_required",
]

_MUST_WEIGHT, _NICE_WEIGHT = 2, 1


@dataclass(frozen=True, slots=True)
class PairAnalysis:
    """What a resume shows of what an ad asks.

    Attributes:
        asked: names of the asked skills, in the ad's order.
        present: those that the resume shows, in the same order.
        missing: those that it does not show, in the same order.
        must_have_missing: the missing ones that the ad demands rather than prefers.
        seniority_resume: level of the latest role; None if no title says one.
        seniority_job: level of the advertised role; None if the ad says none.
        years_resume: years of experience; None if the resume names neither dates nor years.
        years_required: years that the ad demands at least; None if it names no number.
        coverage: share of the asked skills that is present, in [0, 1], a must-have counting twice; None if nothing is
            asked, because then there is no share.
    """

    asked: tuple[str, ...]
    present: tuple[str, ...]
    missing: tuple[str, ...]
    must_have_missing: tuple[str, ...]
    seniority_resume: Seniority | None
    seniority_job: Seniority | None
    years_resume: float | None
    years_required: float | None
    coverage: float | None


def analyse_pair(resume: str, job: str, *, today: date | None = None) -> PairAnalysis:
    """Compare a resume with an ad.

    Args:
        resume: the resume as plain text.
        job: the ad as plain text.
        today: what "present" means in the resume's dates. With None it is the latest month that the resume itself
            names, so that the result depends on the two texts alone and does not drift from day to day.
    """
    asked = asked_skills(job)
    lacking = {id(skill) for skill in _lacking(resume, asked)}
    missing = [skill for skill in asked if id(skill) in lacking]
    present = [skill for skill in asked if id(skill) not in lacking]
    return PairAnalysis(
        asked=_names(asked),
        present=_names(present),
        missing=_names(missing),
        must_have_missing=_names(skill for skill in missing if skill.must_have),
        seniority_resume=seniority(resume, is_job=False),
        seniority_job=seniority(job, is_job=True),
        years_resume=years_of_experience(resume, today=today),
        years_required=years_required(job),
        coverage=_weight(present) / _weight(asked) if asked else None,
    )


def missing_skills(resume: str, job: str) -> list[AskedSkill]:
    """Return the asked skills that the resume does not show, with the ad's wordings, in the ad's order."""
    return _lacking(resume, asked_skills(job))


def _names(skills: Iterable[AskedSkill]) -> tuple[str, ...]:
    return tuple(skill.name for skill in skills)


def _weight(skills: Sequence[AskedSkill]) -> int:
    return sum(_MUST_WEIGHT if skill.must_have else _NICE_WEIGHT for skill in skills)


# --- Is an asked skill shown? ---------------------------------------------------------------------------------------

_SENTENCE_END = re.compile(r"\n|(?<=[.;!?])\s")
_SUFFIX = re.compile(
    r"(?:i[sz]ations?|ations?|itions?|ments?|ness|[ae]nces?|[ai]bilit(?:y|ies)|it(?:y|ies)|ing(?:s|ly)?|"
    r"ive(?:ly)?|ical(?:ly)?|"
    r"al(?:ly)?|ics?|[eo]rs?|ed|ly|ies|es|s|e|y|[ai]ble)\Z"
)
_STEM_LENGTH = 5
_SHORTEST_STEM = 4


def _lacking(resume: str, asked: list[AskedSkill]) -> list[AskedSkill]:
    """Return the skills that neither a name, nor a wording, nor the words of one sentence of the resume shows."""
    names = {m.name for m in shown_skills(resume)}
    names.update(*(implied_skills(name) for name in tuple(names)))
    words = f" {' '.join(folded_words(resume))} "
    sentences = [_stems(part) for part in _SENTENCE_END.split(resume)]
    return [
        skill
        for skill in asked
        if skill.name not in names and not _is_said(skill, words) and not _is_paraphrased(skill, sentences)
    ]


def _is_said(skill: AskedSkill, words: str) -> bool:
    """Say whether the resume has one of the ad's wordings, whatever the case and the plural."""
    folded = (" ".join(folded_words(wording)) for wording in skill.wordings)
    return category(skill.name) is None and any(f" {wording} " in words for wording in folded if wording)


def _is_paraphrased(skill: AskedSkill, sentences: list[frozenset[str]]) -> bool:
    """Say whether one sentence has the stems of all meaningful words ("managed budgets" for "budget management").

    Of a tool's name one word is not enough: "go" is no sign of Go.
    """
    wordings = (skill.name,) if category(skill.name) is None else (skill.name, *skill.wordings)
    fewest = 2 if is_tool(skill.name) else 1
    wanted = [stems for stems in map(_stems, wordings) if len(stems) >= fewest]
    return any(stems <= sentence for stems in wanted for sentence in sentences)


@lru_cache(maxsize=1 << 15)
def _stem(word: str) -> str:
    """Cut a word down to what its family shares: "managing", "management" and "manager" are "manag"."""
    word = word if word.endswith("ss") else word.removesuffix("s")
    for _ in range(2):
        shorter = _SUFFIX.sub("", word)
        if len(shorter) < _SHORTEST_STEM:
            break
        word = shorter
    return word[:_STEM_LENGTH]


def _stems(text: str) -> frozenset[str]:
    return frozenset(map(_stem, content_words(text)))


# --- In words -------------------------------------------------------------------------------------------------------

_SHOWN_NAMES = 6


def explain(analysis: PairAnalysis) -> str:
    """Put an analysis into one to three sentences; the same analysis always gives the same words."""
    return " ".join(filter(None, (_on_skills(analysis), _on_years(analysis), _on_level(analysis))))


def _on_skills(analysis: PairAnalysis) -> str:
    if not analysis.asked:
        return "The ad names no skills to compare."
    count = f"Shows {len(analysis.present)} of {len(analysis.asked)} asked skills"
    shown = f": {_enumerate(analysis.present)}" if analysis.present else ""
    return f"{count}{shown}{_on_missing(analysis)}."


def _on_missing(analysis: PairAnalysis) -> str:
    must = analysis.must_have_missing
    nice = tuple(name for name in analysis.missing if name not in must)
    parts = [f"{_enumerate(must)} (must-have)" if must else "", f"{_enumerate(nice)} (nice to have)" if nice else ""]
    return f"; missing: {', '.join(filter(None, parts))}" if must or nice else ""


def _enumerate(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN_NAMES
    return ", ".join(names[:_SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")


def _on_years(analysis: PairAnalysis) -> str:
    asked, shown = analysis.years_required, analysis.years_resume
    if asked is None:
        return ""
    resume = "names no dates" if shown is None else f"shows about {round(shown, 1):g}"
    return f"Asks for {asked:g}+ years, the resume {resume}."


def _on_level(analysis: PairAnalysis) -> str:
    job, resume = analysis.seniority_job, analysis.seniority_resume
    return (
        f"The role is {job} level, the latest one in the resume {resume}." if job and resume and job != resume else ""
    )
