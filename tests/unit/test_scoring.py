"""Which edits are worth their while by the score alone."""

from __future__ import annotations

import asyncio

from agent.runs import Run
from agent.scoring import aclimb, climb, scores_along
from cache import CacheBackedEmbeddings, MemoryStore
from chains.schemas import Edit
from tests.fakes import CountingEmbeddings

RESUME = "Ann Example\nann@example.com\n\nSummary\nBuilds services with Python.\nKnows Redis and Docker.\n"
JOB = "Requirements:\n- Python\n- Redis\n- Docker"


def edit(original: str, new: str) -> Edit:
    return Edit(original=original, new=new, reason="shorter", evidence=original)


WORSE = edit("Knows Redis and Docker.", "Knows some tools.")
SAME = edit("Builds services with Python.", "Services with Python.")


def test_an_edit_that_lowers_the_score_is_not_made() -> None:
    """It is refused with both scores, and those after it are scored without it; both worlds agree."""
    embeddings = CacheBackedEmbeddings(Flat(), MemoryStore(), model="flat")
    run = Run.of(RESUME, JOB)
    found = climb(run, [WORSE, SAME], embeddings)
    assert found.kept == [SAME]
    assert [each.edit for each in found.refused] == [WORSE]
    assert found.refused[0].why.startswith("it would lower the score from ")
    assert found.scores == scores_along(run, [SAME], embeddings)
    assert asyncio.run(aclimb(run, [WORSE, SAME], embeddings)) == found


class Flat(CountingEmbeddings):
    """A model for which all texts mean the same, so that scores differ by the skills alone."""

    def vector(self, text: str, *, is_query: bool = False) -> list[float]:
        """The vector of any text."""
        return [1.0, 0.0]
