"""Which section each line of a resume stands in. Pure. English, German, French and Romanian headings, in any order."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ResumeLine", "Section", "resume_lines"]

Section = Literal["head", "summary", "work", "learning", "skills", "other"]


@dataclass(frozen=True, slots=True)
class ResumeLine:
    """A line of a resume.

    Attributes:
        number: of the line, from 0.
        text: as it stands there.
        section: what the nearest known heading above it announces; "head" before the first.
        is_heading: whether the line is such a heading itself.
    """

    number: int
    text: str
    section: Section
    is_heading: bool


_HEADING = re.compile(r"[\W_]*(?:\d+[.)]\s*)?(?P<words>[^\W\d][\w &/,'\u2019-]{2,45}?)[\W_]*\Z")
_LABELLED = re.compile(r"[\W_]*(?P<words>[^\W\d][\w &/'\u2019-]{2,30}?)[*_ ]*:[*_ ]*\S")
_HEADING_WORDS = 4
# In this order: "work experience and education" tells of work.
_WORDS: dict[Section, str] = {
    "work": (
        r"experience|employment|work|career|professional history|positions|jobs?|berufserfahrung|werdegang|"
        r"beruflicher|berufspraxis|tätigkeiten|praxis|projects?|projekte|volunteer\w*|exp[ée]riences?|emplois?|"
        r"parcours professionnel|projets?|experienț[aă]|experien[tţ]a|loc de munc[aă]|proiecte|carier[aă]|"
        r"activitate profesional[aă]"
    ),
    "learning": (
        r"education|academic|qualifications?|certificat\w+|certifications?|courses?|training|publications?|awards?|"
        r"hobbies|interests|languages|references|ausbildung|bildung|bildungsweg|studium|schulbildung|schule|"
        r"weiterbildung(?:en)?|zertifikate|sprachen|hochschulbildung|formations?|dipl[oô]mes?|[ée]tudes|langues|"
        r"loisirs|centres d.int[ée]r[êe]t|educa[țţt]ie|studii|form[aă]ri|cursuri|certific[aă]ri|limbi str[aă]ine|limbi"
    ),
    "skills": (
        r"skills?|competenc(?:ies|es?)|technologies|tech stack|expertise|tools|proficienc\w+|kenntnisse|"
        r"fähigkeiten|kompetenzen|edv|comp[ée]tences|savoir.faire|outils|competen[țţt]e|abilit[aă][țţt]i|aptitudini|"
        r"cuno[sșş]tin[țţt]e"
    ),
    "summary": (
        r"summary|profile?|about me|objective|über mich|kurzprofil|zusammenfassung|profil|r[ée]sum[ée]|objectif|"
        r"[àa] propos|despre mine|obiectiv|rezumat"
    ),
    "other": (
        r"personal (?:information|details|data)|contact|persönliche daten|kontakt|coordonn[ée]es|"
        r"informations personnelles|date personale|informa[țţt]ii personale"
    ),
}
_SECTIONS = tuple((section, re.compile(rf"\b(?:{words})\b", re.IGNORECASE)) for section, words in _WORDS.items())
_PERSONAL = re.compile(rf"\b(?:{_WORDS['other']})\b", re.IGNORECASE)
# "Work history" is a heading, "Training manager" is a role: a plain line announces only if no other words stand in it.
_MODIFIERS = re.compile(
    r"\b(?:professional|relevant|other|additional|key|core|main|my|and|of|in|the|history|technical|personal|soft|hard|"
    r"background|areas?|selected|recent|previous|special|computer|&|und|der|die|weitere|sonstige|beruflicher?|"
    r"berufliche[rn]?|persönliche|fachliche|et|de|du|des|professionnelles?|techniques?|[sșş]i|profesional[aăe]|tehnice|"
    r"personale|str[aă]ine|digitale)\b",
    re.IGNORECASE,
)
_ANY_KNOWN = re.compile(rf"\b(?:{'|'.join(_WORDS.values())})\b", re.IGNORECASE)
_MARKED = re.compile(r"\s*(?:#{1,6}\s|\*\*|__)|.*:[\s*_]*\Z|[^a-zäöüéăâîșț]+\Z")


def resume_lines(resume: str) -> Iterator[ResumeLine]:
    """Yield the lines of a resume with the section that each belongs to; blank ones too."""
    section: Section = "head"
    for number, text in enumerate(resume.splitlines()):
        announced = _announced(text)
        section = announced or section
        yield ResumeLine(number, text, section, announced is not None)


def _announced(line: str) -> Section | None:
    """Return the section that a line announces: alone in its line, or as a label before the first words of it."""
    whole = _HEADING.match(line)
    if whole:
        words = whole["words"]
        return _section_of(words) if len(words.split()) <= _HEADING_WORDS and _announces(line, words) else None
    label = _LABELLED.match(line)
    words = label["words"] if label else ""
    return _section_of(words) if 0 < len(words.split()) <= _HEADING_WORDS - 2 else None


def _announces(line: str, words: str) -> bool:
    return _MARKED.match(line) is not None or not any(map(str.isalnum, _MODIFIERS.sub("", _ANY_KNOWN.sub("", words))))


def _section_of(words: str) -> Section | None:
    if _PERSONAL.search(words):
        return "other"
    return next((section for section, pattern in _SECTIONS if pattern.search(words)), None)
