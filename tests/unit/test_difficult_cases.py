"""The score decides pairs that are hard to rank as a person would."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cache import CacheBackedEmbeddings, CacheSettings, MemoryStore
from chains.local_embeddings import LocalEmbeddings
from chains.matching import pair_parts
from chains.score import match_score
from tests.difficult_cases import CASES

if TYPE_CHECKING:
    from tests.difficult_cases import Case

CLEARLY = 2.0  # points


@pytest.fixture(scope="module")
def embeddings(clean_environment: None) -> CacheBackedEmbeddings:
    model = LocalEmbeddings()
    return CacheBackedEmbeddings(model, MemoryStore(), model=model.model, settings=CacheSettings())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_difficult_pair_is_ranked_as_a_person_would(case: Case, embeddings: CacheBackedEmbeddings) -> None:
    """Of two resumes for an ad the better one scores clearly higher, for the reason that the case gives."""
    (better,), (worse,) = pair_parts([case.better, case.worse], [case.job], embeddings=embeddings)
    assert match_score(better).score > match_score(worse).score + CLEARLY, (case.reason, better, worse)
