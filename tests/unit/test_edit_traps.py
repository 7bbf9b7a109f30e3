"""Edits of invented resumes, each judged by a person before the checker was written."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from chains.evidence import why_unsupported
from chains.schemas import Edit
from tests.traps.edits import TRAPS, Trap

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(("resume", "trap"), [(resume, trap) for _, resume, trap in TRAPS])
def test_an_edit_is_judged_as_a_person_judged_it(resume: str, trap: Trap) -> None:
    """What is invented, raised, swapped or dropped is refused, and what says the same in other words is accepted."""
    assert (why_unsupported(resume, _edit_of(trap)) is None) == trap.is_fine


def test_the_checker_refuses_what_it_should_and_nothing_else(record_property: Callable[[str, object], None]) -> None:
    """Of what it refuses, how much is wrong (precision), and of what is wrong, how much it refuses (recall): all."""
    counts = Counter(
        (why_unsupported(resume, _edit_of(trap)) is not None, not trap.is_fine) for _, resume, trap in TRAPS
    )
    hits = counts[True, True]
    n_refused = hits + counts[True, False]
    n_wrong = hits + counts[False, True]
    record_property("precision", hits / n_refused)
    record_property("recall", hits / n_wrong)
    shown = f"precision {hits / n_refused:.3f}, recall {hits / n_wrong:.3f}"
    print(f"{len(TRAPS)} edits, {n_wrong} wrong: {shown}")  # noqa: T201  the report, with -s
    assert hits == n_refused == n_wrong


def _edit_of(trap: Trap) -> Edit:
    return Edit(original=trap.original, new=trap.new, reason="asked", evidence=trap.evidence or trap.original)


def test_the_edits_to_judge_are_many_and_of_both_verdicts() -> None:
    """A hundred and fifty edits at least, a quarter of them fine, each once."""
    assert len(set(TRAPS)) == len(TRAPS) >= 150
    verdicts = Counter(trap.is_fine for *_, trap in TRAPS)
    assert verdicts[True] * 4 >= len(TRAPS)
