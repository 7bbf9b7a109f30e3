from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.score import coverage_percent, match_score, semantic_percent

cosines = st.floats(-1, 1)
shares = st.floats(0, 1)
numbers_of_skills = st.integers(1, 100)


@pytest.mark.parametrize(
    ("cosine", "percent"),
    [(-1.0, 0.0), (0.0, 0.0), (0.1, 0.0), (0.275, 25.0), (0.45, 50.0), (0.8, 100.0), (1.0, 100.0)],
)
def test_cosines_are_spread_from_unrelated_to_same(cosine: float, percent: float) -> None:
    """A cosine of 0.1 or less is 0, one of 0.8 or more is 100, and half way between them is 50."""
    assert semantic_percent(cosine) == percent


@pytest.mark.parametrize(("coverage", "percent"), [(0.0, 0.0), (1 / 3, 33.3), (1.0, 100.0), (None, None)])
def test_a_share_is_a_percentage(coverage: float | None, percent: float | None) -> None:
    """A share of skills is shown as percent with one decimal, and no share as nothing."""
    assert coverage_percent(coverage) == percent


@pytest.mark.parametrize(
    ("cosine", "coverage", "n_asked", "score"),
    [
        (0.45, None, 0, 50.0),  # nothing is asked: the meaning alone
        (0.8, 0.0, 3, 75.0),  # weight 0.5 * 3 / 6 = 0.25: 0.75 * 100
        (0.8, 0.0, 9, 62.5),  # weight 0.5 * 9 / 12 = 0.375: 0.625 * 100
        (0.1, 1.0, 1, 12.5),  # weight 0.5 * 1 / 4 = 0.125: 0.125 * 100
        (0.45, 0.5, 12, 50.0),  # both parts say 50
        (0.275, 0.75, 3, 37.5),  # 0.75 * 25 + 0.25 * 75
    ],
)
def test_the_score_weighs_meaning_and_skills(cosine: float, coverage: float | None, n_asked: int, score: float) -> None:
    """The more skills an ad asks for, the more their coverage weighs, up to half."""
    assert match_score(cosine, coverage, n_asked) == score


@given(cosine=cosines, coverage=st.none() | shares, n_asked=numbers_of_skills)
def test_the_score_lies_between_its_parts(cosine: float, coverage: float | None, n_asked: int) -> None:
    """A score has at most one decimal, is within 0 and 100, and lies between the two numbers shown beside it."""
    score = match_score(cosine, coverage, n_asked)
    semantic, covered = semantic_percent(cosine), coverage_percent(coverage)
    parts = [semantic] if covered is None else [semantic, covered]
    assert 0 <= min(parts) <= score <= max(parts) <= 100
    assert score == round(score, 1)


@given(low=cosines, high=cosines, coverage=st.none() | shares, n_asked=numbers_of_skills)
def test_a_closer_meaning_never_lowers_the_score(low: float, high: float, coverage: float | None, n_asked: int) -> None:
    """With the same skills, the greater cosine has the same or the greater score."""
    low, high = sorted((low, high))
    assert match_score(low, coverage, n_asked) <= match_score(high, coverage, n_asked)


@given(cosine=cosines, low=shares, high=shares, n_asked=numbers_of_skills)
def test_more_skills_never_lower_the_score(cosine: float, low: float, high: float, n_asked: int) -> None:
    """With the same meaning, the greater share of skills has the same or the greater score."""
    low, high = sorted((low, high))
    assert match_score(cosine, low, n_asked) <= match_score(cosine, high, n_asked)


@given(cosine=cosines, n_asked=numbers_of_skills)
def test_skills_weigh_at_most_half(cosine: float, n_asked: int) -> None:
    """With no asked skill shown, more than half of what the meaning alone gives is left; both are rounded."""
    assert match_score(cosine, 0.0, n_asked) >= semantic_percent(cosine) / 2 - 0.1
