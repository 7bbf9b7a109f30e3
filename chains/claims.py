"""Words that make a person more than another word would: part or lead, level, limit, gain, title. Pure.

A claim is a group of words that say the same; an edit may change the word and not the group.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_FLAGS = re.IGNORECASE

HELPED = re.compile(
    r"\b(?:help(?:ed|ing|s)?|assist(?:ed|ing|s)?|support(?:ed|ing|s)?|contribut\w+|involved|took part|taking part|"
    r"participat\w+|collaborat\w+|mitarbeit\w*|mitgewirkt|mitgearbeitet|unterstütz\w+|beteilig\w+|half|mitwirk\w*|"
    r"wirkte\b.*\bmit|aid(?:ed|ing)?|particip\w+|contribu\w+|aid[ée]\w*|colabor\w+|apoy\w+)\b",
    _FLAGS,
)
"""A part in what others did."""

_GAINED = {
    "down": r"reduc\w+|decreas\w+|lower\w*|cut|cuts|cutting|fell|fall\w*|drop\w*|sav(?:ed|es|ing)|"
    r"shr[aiu]nk|senk\w+|gesenkt|reduzier\w+|spart\w*",
    "up": r"increas\w+|rais(?:ed|es|ing)|rose|grew|grow\w*|doubl\w+|tripl\w+|boost\w*|steiger\w+|"
    r"gesteigert|erhöh\w+|verdoppel\w+",
    "better": r"improv\w+|enhanc\w+|optimi[sz]\w+|tun(?:ed|es|ing)|streamlin\w+|accelerat\w+|verbesser\w+|"
    r"optimier\w+",
}
_LED = {
    "lead": r"led|leads?|leading|head(?:ed|ing|s)?|spearhead\w*|direct(?:ed|ing|s)|leit(?:ete|eten|ung|"
    r"er|erin|ung)|geleitet|chair\w*|dirig\w+",
    "manage": r"manag(?:e|ed|es|ing|er|ers|ement)|supervis\w+|overs(?:aw|ee\w*)|führung|führten?(?!.*\bein\b)",
    "answer for": r"own(?:ed|s|ing)?|responsible|accountable|in charge|verantwort\w+|zuständig\w*",
    "devise": r"architect(?:ed|ing)|design(?:ed|ing|s)?|found(?:ed|er)|pioneer\w*|invent\w+|konzipier\w+|"
    r"entwarf|entworfen|gründe\w+",
}
_TITLES = {
    "rank": r"senior|sr|principal|staff|chief|head|director|vp|president|cto|ceo|cfo|partner|master|"
    r"junior|intern",
    "architect": r"architects?", "engineer": r"engineers?|engineering manager", "analyst": r"analysts?",
    "scientist": r"scientists?", "consultant": r"consultants?", "manager": r"managers?|management",
    "specialist": r"specialists?|"
    r"experts?", "officer": r"officers?", "nurse": r"nurses?", "doctor": r"doctors?|physicians?",
    "chief in German": r"leiter(?:in)?|chef(?:in)?|geschäftsführer(?:in)?",
}  # fmt: skip
_LEVELS = {
    "high level": r"expert\w*|advanced|fluent|native|proficien\w+|master(?:y|ed)|excellent|in-depth|deep|extensive|"
    r"verhandlungssicher|fließend|muttersprach\w+|sehr gut|umfassend\w*|fortgeschritten\w*",
    "degree": r"bachelor\w*|b\.?sc|m\.?sc|mba|ph\.?d|doctorate|diplom\w*|degree|licen[cs]ed|chartered|"
    r"certifi\w+|accredited",
    "honours": r"distinction|honou?rs|cum laude|award\w*|auszeichnung|prize",
}
_AMOUNTS = {
    "at least": r"over|more than|at least|above|exceeding|minimum|über|mehr als|mindestens|plus de|más de",
    "many": r"dozens|hundreds|thousands|millions|numerous|countless|several|multiple|many|various|dutzende|hunderte|"
    r"tausende|zahlreiche\w*|mehrere\w*",
    "share": r"half|halved|third|quarter|doubled?|tripled?|twice|halbier\w+|verdoppel\w+|verdreifach\w+|"
    r"hälfte|drittel",
    "per time": r"(?:a|per|each|every|pro) (?:second|minute|hour|day|week|month|quarter|year)|täglich|daily|"
    r"hourly",
}
RAISED = {
    name: re.compile(rf"(?<!\w)(?:{words})(?!\w)", _FLAGS)
    for groups in (_GAINED, _LED, _TITLES, _LEVELS, _AMOUNTS)
    for name, words in groups.items()
}
"""Groups of words that an edit may not bring in."""

_LIMITS = {
    "up to": r"up to|at most|maximum|bis zu|höchstens",
    "about": r"about|around|approximately|nearly|almost|roughly|rund|etwa|ca|circa|knapp",
    "basic": r"basic|beginner|elementary|some knowledge|grundkenntnisse|in training|trainee",
    "towards": r"moves? into|moving into|transition\w*|aspiring|career change\w*",
}
LIMITS = {name: re.compile(rf"(?<!\w)(?:{words})(?!\w)", _FLAGS) for name, words in _LIMITS.items()}
"""Groups of words that an edit may not leave out."""

ORDERS = re.compile(
    r"\b(?:ignore|disregard|forget)\b.{0,30}\b(?:instruction|prompt|rule|above)|\bsystem prompt\b|"
    r"\b(?:rate|score|rank|hire)\b.{0,20}\b(?:candidate|applicant|resume)",
    _FLAGS,
)
"""Words to whoever reads a resume with a language model."""


def raised_claim(new: str, *sources: str, groups: Iterable[str] = RAISED) -> str | None:
    """The first words of a text that claim what no source claims, or nothing.

    Args:
        new: the text.
        sources: what may prove it.
        groups: those of `RAISED` to look at.
    """
    for pattern in map(RAISED.__getitem__, groups):
        found = pattern.search(new)
        if found and not any(pattern.search(source) for source in sources):
            return found.group()
    return None


def dropped_limit(original: str, new: str) -> str | None:
    """The first words of the original that hold a claim down and that the new words leave out, or nothing."""
    if (found := HELPED.search(original)) and len(HELPED.findall(new)) < len(HELPED.findall(original)):
        return found.group()
    for pattern in LIMITS.values():
        if (found := pattern.search(original)) and not pattern.search(new):
            return found.group()
    return None
