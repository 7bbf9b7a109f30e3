"""Whether a resume supports a change to itself. Pure.

An edit replaces words that stand in the resume and quotes the words that prove it. What the new words claim must be
claimed by the words that they replace, or by the quoted ones; of two posts, neither proves anything of the other.
Who the person is, and posts, employers, titles, dates, degrees and certificates never change.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chains.claims import ORDERS, dropped_limit, raised_claim
from chains.quantities import dates, plain_digits, quantities
from chains.resume_facts import contact_data, resume_facts
from chains.schemas import RefusedEdit
from chains.taxonomy import find_skills, is_tool, skill_names, starts_sentence
from chains.words import language_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from chains.resume_facts import Span
    from chains.schemas import Edit
    from chains.words import Language

_UNSEEN = frozenset({"Cf", "Cc", "Co"})  # formats, controls, private use
_REACH = 12  # characters before an edit that say whether it begins a sentence
_WORD = re.compile(r"[^\W\d_]{2,}")
_BETWEEN = re.compile(r"[\W_]+")
_GERMAN_EMPLOYER = re.compile(r"\b(?:bei|für|von) (?:de[rmn] )?\Z", re.IGNORECASE)
_PAIR = re.compile(r"(?:from|von|de) (\S+) (?:to|auf|à|a) (\S+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Case:
    """An edit, with what may prove it: the words that it replaces, and the quoted ones if they are of the same post."""

    resume: str
    original: str
    new: str
    evidence: str
    start: int
    language: Language

    @property
    def sources(self) -> tuple[str, str]:
        return self.original, self.evidence

    @property
    def source(self) -> str:
        return f"{self.original}\n{self.evidence}"

    def fragments(self, spans: Sequence[Span]) -> list[str]:
        """What the edit replaces of some stretches."""
        cuts = (span.cut(self.start, self.start + len(self.original)) for span in spans)
        return [self.resume[cut[0] : cut[1]] for cut in cuts if cut]


def why_unsupported(resume: str, edit: Edit) -> str | None:
    """One sentence on why a resume does not support an edit, or `None` when it does."""
    if not edit.original.strip() or edit.original not in resume:
        return "the words to be replaced do not stand in the resume"
    if not edit.new.strip() or edit.new == edit.original:
        return "nothing would change"
    if not edit.evidence.strip() or edit.evidence not in resume:
        return "the evidence does not stand in the resume"
    case = _case(resume, edit)
    return next((why for check in _CHECKS if (why := check(case))), None)


def _case(resume: str, edit: Edit) -> _Case:
    start = resume.index(edit.original)
    post = resume_facts(resume).post_of(start)
    proof = edit.evidence if post is None or edit.evidence in resume[post.start : post.end] else ""
    return _Case(resume, edit.original, edit.new, proof, start, language_of(resume))


def _hidden_characters(case: _Case) -> str | None:
    if any(
        unicodedata.category(c) in {"Cf", "Cc", "Co"} and c not in "\n\t" and c not in case.original for c in case.new
    ):
        return "it holds characters that nobody sees"
    mixed = next((word for word in _WORD.findall(case.new) if len(_scripts(word)) > 1), None)
    return f"{mixed} mixes alphabets" if mixed else None


def _scripts(word: str) -> set[str]:
    return {unicodedata.name(c, "?").split()[0] for c in word if c.isalpha()}


def _identity(case: _Case) -> str | None:
    facts = resume_facts(case.resume)
    if any(fragment not in case.new for fragment in case.fragments(facts.identity)):
        return "it would change who the resume is about"
    if set(contact_data(case.original)) != set(contact_data(case.new)):
        return "it would change contact data"
    whole = "".join(case.fragments(facts.identity))
    return "it would add to who the resume is about" if whole.strip() == case.original.strip() else None


def _facts(case: _Case) -> str | None:
    """Posts and degrees stay word for word; marks and spaces around them may change."""
    fragments = case.fragments(resume_facts(case.resume).headers)
    new = _bare(case.new)
    lost = next((fragment for fragment in fragments if _bare(fragment) not in new), None)
    if lost:
        return f"it would change a post, date or degree: {lost.strip()}"
    if fragments and _bare("\n".join(fragments)) == _bare(case.original) != new:
        return f"it would add to a post, date or degree: {fragments[0].strip()}"
    added = [date for date in dates(case.new) if date not in dates(case.source)]
    return f"the resume does not say {added[0]} of this" if added else None


def _bare(text: str) -> str:
    return " ".join(_BETWEEN.sub(" ", text.casefold()).split())


def _orders(case: _Case) -> str | None:
    found = ORDERS.search(case.new)
    return f"it talks to its reader: {found.group()}" if found and found.group() not in case.original else None


def _numbers(case: _Case) -> str | None:
    known = quantities(case.original, case.language) + quantities(case.evidence, case.language)
    new = quantities(case.new, case.language)
    for quantity in new:
        if not any(quantity.is_same(source) for source in known):
            return f"the resume does not hold the number {quantity.value:f} of this"
    if dropped := [q for q in quantities(case.original, case.language) if q.value not in {each.value for each in new}]:
        return f"it would drop the number {dropped[0].value:f}"
    pairs = {pair for source in case.sources for pair in _PAIR.findall(plain_digits(source))}
    turned = next((pair for pair in _PAIR.findall(plain_digits(case.new)) if pair[::-1] in pairs), None)
    return f"it turns around from {turned[1]} to {turned[0]}" if turned else None


def _skills(case: _Case) -> str | None:
    proved = {*skill_names(case.original), *skill_names(case.evidence)}
    new = find_skills(case.new)
    if invented := [skill.name for skill in new if skill.name not in proved and not _stands(skill.text, case.source)]:
        return f"the evidence does not show {invented[0]}"
    kept = {skill.name for skill in new}
    dropped = [name for name in skill_names(case.original) if is_tool(name) and name not in kept]
    return f"it would drop {dropped[0]}" if dropped else None


def _stands(words: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(words)}(?!\w)", text) is not None


def _names(case: _Case) -> str | None:
    before = case.resume[: case.start][-_REACH:]
    name = next(_unknown_names(case.new, case.source, before, is_german=case.language == "german"), None)
    return f"the resume does not say {name} of this" if name else None


def _unknown_names(text: str, source: str, before: str, *, is_german: bool) -> Iterator[str]:
    """A name is told by its capitals: one at the start of a sentence passes, and in German most nouns do."""
    whole = before + text
    said = {_base(found.group()) for found in _WORD.finditer(source)}
    skills = {at for skill in find_skills(whole) for at in range(skill.start, skill.end)}
    for found in _WORD.finditer(whole, len(before)):
        is_known = _base(found.group()) in said or found.start() in skills
        if not is_known and _is_name(whole, found, is_german=is_german):
            yield found.group()


def unknown_numbers(text: str, source: str) -> Iterator[str]:
    """Yield the numbers and dates of a text that its source does not hold, whatever they count."""
    language = language_of(source)
    known = {quantity.value for quantity in quantities(source, language)}
    yield from (f"{quantity.value:f}" for quantity in quantities(text, language) if quantity.value not in known)
    yield from (date for date in dates(text) if date not in dates(source))


def unknown_claims(text: str, source: str) -> Iterator[str]:
    """Yield names, ranks and degrees that a source does not hold; a skill's name is not judged here."""
    yield from _unknown_names(text, source, "", is_german=language_of(source) == "german")
    raised = raised_claim(text, source, groups=("rank", "degree", "honours"))
    yield from [raised] if raised else []


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


def _claims(case: _Case) -> str | None:
    if raised := raised_claim(case.new, *case.sources):
        return f"the resume does not say {raised} of this"
    dropped = dropped_limit(case.original, case.new)
    return f"it would drop a limit: {dropped}" if dropped else None


_CHECKS: tuple[Callable[[_Case], str | None], ...] = (
    _hidden_characters, _identity, _facts, _orders, _numbers, _skills, _names, _claims,
)  # fmt: skip


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
