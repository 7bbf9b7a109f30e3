"""Edits of invented resumes, each judged by a person before the checker was written."""

from __future__ import annotations

from collections import Counter

import pytest

from chains.evidence import why_unsupported
from chains.schemas import Edit
from tests.traps.edits import TRAPS, Trap


@pytest.mark.parametrize(("resume", "trap"), [(resume, trap) for _, resume, trap in TRAPS])
def test_an_edit_is_judged_as_a_person_judged_it(resume: str, trap: Trap) -> None:
    """What is invented, raised, swapped or dropped is refused, and what says the same in other words is accepted."""
    edit = Edit(original=trap.original, new=trap.new, reason="asked", evidence=trap.evidence or trap.original)
    assert (why_unsupported(resume, edit) is None) == trap.is_fine


def test_the_edits_to_judge_are_many_and_of_both_verdicts() -> None:
    """A hundred and fifty edits at least, a quarter of them fine, each once."""
    assert len(set(TRAPS)) == len(TRAPS) >= 150
    verdicts = Counter(trap.is_fine for *_, trap in TRAPS)
    assert verdicts[True] * 4 >= len(TRAPS)
