"""Whether a resume supports a change to itself. Pure.

An edit must replace words that stand in the resume, prove itself by words that stand there, and bring no number and no
skill that the resume does not have.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from chains.taxonomy import skill_names

if TYPE_CHECKING:
    from chains.schemas import Edit

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_CONTACT = re.compile(r"\S+@\S+|(?:https?://|www\.)\S+|\+?\d[\d\s()/-]{7,}\d")


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
    numbers = sorted(set(_NUMBER.findall(edit.new)) - set(_NUMBER.findall(resume)))
    if numbers:
        return f"the resume does not hold the number {numbers[0]}"
    skills = [name for name in skill_names(edit.new) if name not in set(skill_names(resume))]
    return f"the resume does not show {skills[0]}" if skills else None


def apply_edits(resume: str, edits: tuple[Edit, ...]) -> str:
    """The resume with the edits made, each at the first place where its words stand."""
    for edit in edits:
        resume = resume.replace(edit.original, edit.new, 1)
    return resume
