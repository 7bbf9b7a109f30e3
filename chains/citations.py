"""Whether what a language model says of a pair is held by its two texts. Pure.

A statement may name only skills, numbers, ranks and names that stand there, may quote only what stands there, and may
not contradict what was computed: a strength is shown by the resume, a gap is not.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from chains.evidence import unknown_claims, unknown_numbers
from chains.schemas import RefusedStatement
from chains.taxonomy import implied_skills, skill_names

if TYPE_CHECKING:
    from chains.schemas import MatchExplanation, MatchResult

__all__ = ["checked_explanation", "why_unheld"]

Kind = Literal["summary", "strength", "gap"]

_QUOTE = re.compile(r'"([^"]{3,})"|\u201c([^\u201d]{3,})\u201d|\u201e([^\u201c]{3,})\u201c|\u00ab([^\u00bb]{3,})\u00bb')
_BLANKS = re.compile(r"\s+")


def checked_explanation(
    explanation: MatchExplanation, result: MatchResult, resume: str, job: str
) -> tuple[MatchResult, bool]:
    """Put a model's explanation into a computed result, as far as the texts hold it.

    Args:
        explanation: by the model.
        result: as computed; its own words stay where the model's do not hold.
        resume: the text that the model saw.
        job: the same.

    Returns:
        The result, with what was refused and why, and whether anything of the model's was kept.
    """
    kinds: tuple[tuple[Kind, list[str]], ...] = (
        ("summary", [explanation.summary]),
        ("strength", explanation.strengths),
        ("gap", explanation.gaps),
    )
    judged = [(kind, said, why_unheld(said, kind, result, resume, job)) for kind, all_ in kinds for said in all_]
    kept = {kind: tuple(said for of, said, why in judged if of == kind and why is None) for kind, _ in kinds}
    refused = tuple(RefusedStatement(statement=said, why=why) for _, said, why in judged if why is not None)
    changed = result.model_copy(
        update={
            "explanation": next(iter(kept["summary"]), result.explanation),
            "strengths": kept["strength"] or result.strengths,
            "gaps": kept["gap"] or result.gaps,
            "refused": refused,
        }
    )
    return changed, any(kept.values())


def why_unheld(statement: str, kind: Kind, result: MatchResult, resume: str, job: str) -> str | None:
    """One sentence on why the texts do not hold a statement, or `None` where they do."""
    if not statement.strip():
        return "it says nothing"
    source = f"{resume}\n{job}"
    quoted = next((q for q in _quotes(statement) if q not in _plain(source)), None)
    if quoted is not None:
        return f"neither text says {quoted!r}"
    number = next(unknown_numbers(statement, f"{source}\n{_computed(result)}"), None)
    if number is not None:
        return f"neither text holds the number {number}"
    return _wrong_skill(statement, kind, result, resume, job) or _unknown(statement, source)


def _quotes(statement: str) -> list[str]:
    return [_plain(next(filter(None, found))) for found in _QUOTE.findall(statement)]


def _plain(text: str) -> str:
    return _BLANKS.sub(" ", text).casefold()


def _computed(result: MatchResult) -> str:
    """The numbers that were computed, which a model is told and may repeat."""
    return f"{result.explanation} {result.years_resume} {result.years_required}"


def _wrong_skill(statement: str, kind: Kind, result: MatchResult, resume: str, job: str) -> str | None:
    named = skill_names(statement)
    shown = {*skill_names(resume), *result.skills_present}
    shown.update(*(implied_skills(name) for name in tuple(shown)))
    asked = {*skill_names(job), *result.skills_present, *result.skills_missing}
    if kind == "strength":
        lacking = [name for name in named if name not in shown]
        return f"the resume does not show {lacking[0]}" if lacking else None
    if kind == "gap" and named and all(name in result.skills_present for name in named):
        return f"the resume shows {named[0]}"
    foreign = [name for name in named if name not in shown and name not in asked]
    return f"neither text names {foreign[0]}" if foreign else None


def _unknown(statement: str, source: str) -> str | None:
    claim = next(unknown_claims(statement, source), None)
    return f"neither text says {claim}" if claim else None
