"""What a reader would tell a person about a resume beside single edits: no words of it are changed. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from chains.analysis import analyse_pair
from chains.quantities import quantities
from chains.schemas import Finding
from chains.taxonomy import find_skills
from chains.words import language_of

if TYPE_CHECKING:
    from collections.abc import Iterator

_BULLET = re.compile(r"(?m)^\s*[-*\u2022\u2013]\s+(?P<words>\S.*(?:\n[ \t]+\S.*)*)")
_LONGEST_WORDS, _SHORTEST_WORDS = 1000, 150
_MANY, _FEW = 0.7, 4
_BURIED = 0.5
_SHOWN = 5


def resume_findings(resume: str, job: str) -> tuple[Finding, ...]:
    """What is worth a look, the same for the same texts: no outcomes, buried must-haves, length.

    Args:
        resume: the resume.
        job: the ad.
    """
    return (*_without_outcome(resume), *_buried(resume, job), *_length(resume))


def _without_outcome(resume: str) -> Iterator[Finding]:
    """Bullets without a number, if they are most of them: what was done is there, what came of it is not."""
    language = language_of(resume)
    bullets = [" ".join(found["words"].split()) for found in _BULLET.finditer(resume)]
    plain = [bullet for bullet in bullets if not quantities(bullet, language)]
    if len(bullets) >= _FEW and len(plain) >= _MANY * len(bullets):
        advice = f"{len(plain)} of {len(bullets)} bullets name no number: say how much or how often, where you know it."
        yield Finding(kind="no outcome", words=tuple(plain[:_SHOWN]), advice=advice)


def _buried(resume: str, job: str) -> Iterator[Finding]:
    """Asked skills that stand in the second half of the resume only."""
    present = set(analyse_pair(resume, job).present)
    first: dict[str, int] = {}
    for mention in find_skills(resume):
        first.setdefault(mention.name, mention.start)
    late = [name for name, start in first.items() if name in present and start > _BURIED * len(resume)]
    if late:
        advice = (
            "Asked by the ad, and first said in the second half of the resume: name them in the summary or the skills."
        )
        yield Finding(kind="buried", words=tuple(late), advice=advice)


def _length(resume: str) -> Iterator[Finding]:
    n_words = len(resume.split())
    if n_words > _LONGEST_WORDS:
        yield Finding(
            kind="length", advice=f"{n_words} words: most readers expect two pages, about {_LONGEST_WORDS} words."
        )
    elif n_words < _SHORTEST_WORDS:
        yield Finding(kind="length", advice=f"{n_words} words: less than {_SHORTEST_WORDS} leave most questions open.")
