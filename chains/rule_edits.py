"""Edits that follow without a language model. Pure."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from chains.analysis import analyse_pair
from chains.schemas import Edit
from chains.taxonomy import SkillMention, category, find_skills, skill_names

if TYPE_CHECKING:
    from collections.abc import Iterator

_SKILL_LINE_NAMES = 3  # a line that names so many skills is a list of skills
_LIST_START = re.compile(r"[-*•·]|[^,.]{1,40}:")
_ITEM_BORDER = re.compile(r"[,;|/]")
_SENTENCE = re.compile(r"[^\n.!?;]+")
_PLAIN_LIST = re.compile(r"(?P<label>[^,.:]{1,40}:\s*|[-*•·]\s+)(?P<items>[^():;|]+)")
_DEEDS = {
    "administering": ("administered", "administer"), "analysing": ("analysed", "analyse"),
    "analyzing": ("analyzed", "analyze"), "building": ("built", "build"), "coordinating": ("coordinated", "coordinate"),
    "creating": ("created", "create"), "developing": ("developed", "develop"),
    "implementing": ("implemented", "implement"),
    "installing": ("installed", "install"), "maintaining": ("maintained", "maintain"),
    "managing": ("managed", "manage"), "monitoring": ("monitored", "monitor"), "operating": ("operated", "operate"),
    "organising": ("organised", "organise"), "organizing": ("organized", "organize"), "planning": ("planned", "plan"),
    "preparing": ("prepared", "prepare"), "running": ("ran", "run"), "scheduling": ("scheduled", "schedule"),
    "teaching": ("taught", "teach"), "testing": ("tested", "test"), "training": ("trained", "train"),
    "writing": ("wrote", "write"),
}  # fmt: skip
_PASSIVE = re.compile(
    r"(?P<office>\b(?:Was responsible|Responsible) for|\b(?:Was involved|Involved) in) "
    rf"(?P<deed>{'|'.join(_DEEDS)})(?P<rest>\b[^\n]*)"
)


def edits_by_rule(resume: str, job: str) -> list[Edit]:
    """Edits without a language model, each of other words than the rest.

    Asked skills that the text proves are put where skills are looked for, those that are listed come first, and lines
    begin with what was done.

    Args:
        resume: the resume; each edit's words stand in it.
        job: the ad.
    """
    return [*_skill_list_edits(resume, job), *_active_edits(resume)]


def _skill_list_edits(resume: str, job: str) -> list[Edit]:
    """At most one edit for each list of skills: asked ones of its kind that only other lines name, or its order."""
    lines = _skill_lines(resume)
    listed = frozenset[str]().union(*lines.values())
    shown = {mention.name: mention for mention in reversed(find_skills(resume))}
    present = analyse_pair(resume, job).present
    wanted = [shown[name] for name in present if name in shown and name not in listed]
    edits = []
    for line, names in lines.items():
        added = [mention for mention in wanted if category(mention.name) == _kind_of(names)]
        wanted = [mention for mention in wanted if mention not in added]
        if added:
            edits.append(_listing(resume, line, added))
        elif moved := _moved_up(line, frozenset(present)):
            edits.append(moved)
    return edits


def _listing(resume: str, line: str, added: list[SkillMention]) -> Edit:
    names = ", ".join(mention.name for mention in added)
    return Edit(
        original=line,
        new=f"{line}, {', '.join(mention.text for mention in added)}",
        reason=f"The ad asks for {names}, which the resume shows but does not list among its skills.",
        evidence=_sentence_of(resume, added[0].start),
    )


def _kind_of(names: frozenset[str]) -> str | None:
    """The category that more than half of a list's skills have, or one that no skill has."""
    [(kind, n_names)] = Counter(category(name) for name in names).most_common(1)
    return kind if n_names > len(names) / 2 else "mixed"


def _skill_lines(resume: str) -> dict[str, frozenset[str]]:
    """The lines that list skills rather than tell a story, and what they list."""
    lines = (line.strip() for line in resume.splitlines() if "," in line)
    named = {line: frozenset(mention.name for mention in find_skills(line)) for line in lines}
    return {
        line: names
        for line, names in named.items()
        if len(names) >= max(_SKILL_LINE_NAMES, len(_ITEM_BORDER.findall(line)) / 2) and _is_whole(line)
    }


def _is_whole(line: str) -> bool:
    """Say whether a list begins and ends on its line: with a bullet or a label, and not in mid-sentence."""
    return bool(_LIST_START.match(line)) and line[-1] not in ".,;" and line.count("(") == line.count(")")


def _sentence_of(text: str, at: int) -> str:
    return next(found.group().strip() for found in _SENTENCE.finditer(text) if found.start() <= at < found.end())


def _moved_up(line: str, asked: frozenset[str]) -> Edit | None:
    """The list with the asked skills first, if they are not there yet; a list with brackets keeps its order."""
    found = _PLAIN_LIST.fullmatch(line)
    if found is None:
        return None
    items = [item.strip() for item in found["items"].split(",")]
    wanted = [item for item in items if asked.intersection(skill_names(item))]
    new = found["label"] + ", ".join([*wanted, *(item for item in items if item not in wanted)])
    is_list = len(items) >= _SKILL_LINE_NAMES and len(skill_names(found["items"])) > len(items) / 2
    if not is_list or not wanted or items[: len(wanted)] == wanted or len(set(items)) < len(items):
        return None
    reason = f"The ad asks for {', '.join(wanted)}; readers see the first words of a list."
    return Edit(original=line, new=new, reason=reason, evidence=line)


def _active_edits(resume: str) -> Iterator[Edit]:
    """Lines that begin with an office ("responsible for maintaining") begin with the deed, or with the help in it."""
    for found in _PASSIVE.finditer(resume):
        past, base = _DEEDS[found["deed"].casefold()]
        new = past.capitalize() if "esponsible" in found["office"] else f"Helped {base}"
        reason = "A line that begins with what was done is read faster, and says the same."
        yield Edit(original=found.group(), new=f"{new}{found['rest']}", reason=reason, evidence=found.group())
