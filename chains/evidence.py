"""Whether a resume supports a change to itself. Pure.

An edit must replace words that stand in the resume, prove itself by words that stand there, and bring no number, no
skill, no name and no rank that the resume does not have. A name is told by its capitals, so at the start of a sentence
one in plain capitals passes, and in German, where every noun has one, all but those after "bei".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from chains.schemas import RefusedEdit
from chains.taxonomy import find_skills, skill_names, starts_sentence

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from chains.schemas import Edit

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_CONTACT = re.compile(r"\S+@\S+|(?:https?://|www\.)\S+|\+?\d[\d\s()/-]{7,}\d")
_REACH = 12  # characters before an edit that say whether it begins a sentence
_WORD = re.compile(r"[^\W\d_]{2,}")
_GERMAN = re.compile(r"\b(?:und|der|die|mit|für|bei)\b")
_ENGLISH = re.compile(r"\b(?:and|the|with|for|of|at)\b")
_GERMAN_EMPLOYER = re.compile(r"\bbei (?:de[rmn] )?\Z", re.IGNORECASE)
# What raises a person: numbers in words, ranks, degrees.
_CLAIMS = frozenset(
    {
        "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "dozen", "twenty",
        "thirty", "forty", "fifty", "hundred", "thousand", "million", "billion", "doubled", "tripled", "halved",
        "senior", "principal", "head", "director", "manager", "chief", "bachelor", "master", "doctor", "doctorate",
        "diploma", "degree", "certified", "licensed",
    }
)  # fmt: skip


def why_unsupported(resume: str, edit: Edit) -> str | None:
    """One sentence on why a resume does not support an edit, or `None` when it does."""
    if not edit.original.strip() or edit.original not in resume:
        return "the words to be replaced do not stand in the resume"
    if not edit.new.strip() or edit.new == edit.original:
        return "nothing would change"
    if not edit.evidence.strip() or edit.evidence not in resume:
        return "the evidence does not stand in the resume"
    if set(_CONTACT.findall(edit.original)) != set(_CONTACT.findall(edit.new)):
        return "it would change contact data"
    return _what_is_invented(resume, edit)


def _what_is_invented(resume: str, edit: Edit) -> str | None:
    number = next(unknown_numbers(edit.new, resume), None)
    if number:
        return f"the resume does not hold the number {number}"
    skills = [name for name in skill_names(edit.new) if name not in set(skill_names(resume))]
    if skills:
        return f"the resume does not show {skills[0]}"
    before = resume[: resume.index(edit.original)][-_REACH:]
    claim = next(unknown_claims(edit.new, resume, before=before), None)
    return f"the resume does not say {claim}" if claim else None


def unknown_numbers(text: str, source: str) -> Iterator[str]:
    """Yield the numbers of a text that its source does not hold, in the order of their digits."""
    yield from sorted(set(_NUMBER.findall(text)) - set(_NUMBER.findall(source)))


def unknown_claims(text: str, source: str, *, before: str = "") -> Iterator[str]:
    """Yield names, ranks and numbers in words that a source does not hold; a skill's name is not judged here.

    Args:
        text: what is claimed.
        source: what may prove it.
        before: what stands in front of the text; it says whether the first word begins a sentence.
    """
    whole = before + text
    said = {_base(found.group()) for found in _WORD.finditer(source)}
    skills = {at for skill in find_skills(whole) for at in range(skill.start, skill.end)}
    is_german = len(_GERMAN.findall(source)) > len(_ENGLISH.findall(source))
    for found in _WORD.finditer(whole, len(before)):
        word = found.group()
        if _base(word) in said or found.start() in skills:
            continue
        if word.casefold() in _CLAIMS or _is_name(whole, found, is_german=is_german):
            yield word


def _is_name(text: str, found: re.Match[str], *, is_german: bool) -> bool:
    """Say whether a word is written as a name where it stands: "McKinsey" anywhere, "Siemens" in mid-sentence."""
    word = found.group()
    if any(letter.isupper() for letter in word[1:]):
        return True
    if not word[0].isupper() or starts_sentence(text, found.start()):
        return False
    return not is_german or _GERMAN_EMPLOYER.search(text, 0, found.start()) is not None


def _base(word: str) -> str:
    """A word without case and plural: "APIs" is "api"."""
    return word.casefold().removesuffix("s")


def sort_edits(resume: str, edits: Iterable[Edit]) -> tuple[list[Edit], list[RefusedEdit]]:
    """Which edits the resume supports, made one after the other, and which are refused and why; each counts once."""
    kept: list[Edit] = []
    refused: list[RefusedEdit] = []
    edited = resume
    for edit in dict.fromkeys(edits):
        why = why_unsupported(resume, edit)
        if why is None and edit.original not in edited:
            why = "an earlier edit has changed these words"
        if why is None:
            kept.append(edit)
            edited = apply_edits(edited, (edit,))
        else:
            refused.append(RefusedEdit(edit=edit, why=why))
    return kept, refused


def apply_edits(resume: str, edits: tuple[Edit, ...]) -> str:
    """The resume with the edits made, each at the first place where its words stand."""
    for edit in edits:
        resume = resume.replace(edit.original, edit.new, 1)
    return resume
