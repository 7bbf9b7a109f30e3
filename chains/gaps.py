"""What a resume lacks, in the words in which people would name it. Pure.

A gap is an asked skill that nothing in the resume shows. It is said by its name, by the ad's own words, and by the
short forms of these that the resume lacks: of "handling Orchard Yield Sheets" that is "Orchard Yield Sheets", of "KVX
and PLQ capabilities" it is "KVX". Last come single words of the requirements that stand nowhere in the resume.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from chains.adverts import ad_lines
from chains.analysis import compare
from chains.readings import read_job, read_resume
from chains.taxonomy import is_tool
from chains.words import Language, language_of, rarity, terms, words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from chains.skills import AskedSkill

__all__ = ["gap_phrases"]

MAX_PHRASES = 15
_WORDING_WORDS = 5
_SHORT_WORDS = 4
_KEYWORDS = 5
_BREAK = re.compile(r"\s*(?:[,/&()]|\b(?:and|or|und|oder|et|ou|[sș]i|sau)\b)\s*")
_GENERIC = (
    r"(?:skills?|abilit(?:y|ies)|capabilit(?:y|ies)|knowledge|experience|sectors?|industr(?:y|ies)|tools?|software|"
    r"platforms?|technolog(?:y|ies)|functionalit(?:y|ies)|functions?|services?|systems?|principles?|concepts?|"
    r"techniques?|practices?|methods?|methodolog(?:y|ies)|process(?:es)?|frameworks?|applications?|environments?|"
    r"competenc(?:y|ies)|proficiency|expertise|certifications?|certificates?|programs?|procedures?|standards?|"
    r"adherence|tasks?|activities|fields?|areas?|solutions?)"
)
_GENERIC_END = re.compile(rf"(?:\s+{_GENERIC})+\Z", re.IGNORECASE)
_GENERIC_START = re.compile(
    r"\A(?:(?:handling|using|managing|working with|implementing|developing|performing|utilizing|applying|creating|"
    r"designing|conducting|providing|various|effective|current|the|an?|their|its|new|complex|multiple|different|"
    r"(?:ability|able) to|knowledge of|experience with)\s+)+",
    re.IGNORECASE,
)
_EDGE = " .;:-*()"


def gap_phrases(resume: str, job: str, *, limit: int = MAX_PHRASES) -> list[str]:
    """Say what a resume lacks of what an ad asks.

    Args:
        resume: the resume as plain text.
        job: the ad as plain text.
        limit: the most phrases; names come first, then the ad's wordings, then short forms, then single words.

    Returns:
        Phrases without repeats whatever the case; most stand in the ad as they are said.
    """
    read = read_resume(resume)
    lacking = [f.skill for f in compare(read, read_job(job)).findings if f.shown_as is None]
    language = language_of(job)
    said = _Said(resume)
    found: dict[str, str] = {}
    named = (_names(lacking), _wordings(lacking), _short_forms(lacking, said), _as_skills(lacking))
    for group in (*named, _keywords(job, language, said)):
        for phrase in group:
            if len(found) < limit:
                found.setdefault(phrase.casefold(), phrase)
    return list(found.values())


class _Said:
    """The stems of a resume, for asking whether a phrase stands in it in some form."""

    def __init__(self, resume: str) -> None:
        self._language = language_of(resume)
        self._text = f" {' '.join(terms(resume, self._language))} "

    def lacks(self, phrase: str) -> bool:
        """True if the phrase says something and the resume does not."""
        wanted = " ".join(terms(phrase, self._language))
        return bool(wanted) and f" {wanted} " not in self._text


def _names(skills: Iterable[AskedSkill]) -> Iterator[str]:
    for skill in skills:
        yield skill.name
        yield skill.mention.text


def _wordings(skills: Iterable[AskedSkill]) -> Iterator[str]:
    return (w for skill in skills for w in skill.wordings[::-1] if len(w.split()) <= _WORDING_WORDS)


def _short_forms(skills: Iterable[AskedSkill], resume: _Said) -> Iterator[str]:
    """Yield parts of what is asked, without the words that could stand in any ad."""
    for skill in skills:
        for words_ in dict.fromkeys((skill.name, *skill.wordings)):
            for part in (words_, *_BREAK.split(words_)):
                bare = _GENERIC_START.sub("", part)
                forms = (
                    form.strip(_EDGE) for form in (part, _GENERIC_END.sub("", part), bare, _GENERIC_END.sub("", bare))
                )
                yield from (f for f in forms if len(f.split()) <= _SHORT_WORDS and resume.lacks(f))


def _as_skills(skills: Iterable[AskedSkill]) -> Iterator[str]:
    """Yield "customer service skills" where the ad has "customer service"; tools are not called so."""
    for skill in skills:
        if (
            not is_tool(skill.name)
            and not skill.name.lower().endswith("skills")
            and len(skill.name.split()) < _SHORT_WORDS - 1
        ):
            yield f"{skill.name} skills"


def _keywords(job: str, language: Language, resume: _Said) -> Iterator[str]:
    """Yield the rarest words of the title and the requirements that the resume lacks."""
    lines = [line for line in ad_lines(job) if line.kind in {"must", "nice"}]
    found = dict.fromkeys(word for line in lines for word in words(line.text, language) if resume.lacks(word))
    return iter(sorted(found, key=lambda w: -rarity(terms(w, language)[0]))[:_KEYWORDS])
