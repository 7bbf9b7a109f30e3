from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.score import WEIGHTS, Parts, Points, match_score, meaning_share, percent, words_share

shares = st.floats(0, 1)
parts = st.builds(
    Parts,
    meaning=st.floats(-1, 1),
    words=shares,
    skills=st.none() | shares,
    n_skills=st.integers(0, 100),
    experience=st.none() | shares,
    n_demands=st.integers(0, 20),
    n_terms=st.integers(0, 300),
    copied=shares,
)


@pytest.mark.parametrize(
    ("cosine", "share"), [(-1.0, 0.0), (0.0, 0.0), (0.1, 0.0), (0.3, 0.25), (0.5, 0.5), (0.9, 1.0), (1.0, 1.0)]
)
def test_cosines_are_spread_from_unrelated_to_same(cosine: float, share: float) -> None:
    """A cosine of 0.1 or less is 0, one of 0.9 or more is 1, and half way between them is a half."""
    assert meaning_share(cosine) == pytest.approx(share)


@pytest.mark.parametrize(("cosine", "share"), [(0.0, 0.0), (0.35, 0.5), (0.7, 1.0), (1.0, 1.0)])
def test_words_are_the_same_from_a_cosine_of_seven_tenths(cosine: float, share: float) -> None:
    """No resume repeats an ad: 0.7 of its direction is all of it."""
    assert words_share(cosine) == pytest.approx(share)


@pytest.mark.parametrize(("share", "shown"), [(0.0, 0.0), (1 / 3, 33.33), (1.0, 100.0), (None, None)])
def test_a_share_is_a_percentage(share: float | None, shown: float | None) -> None:
    """A share is shown as percent with two decimals, and no share as nothing."""
    assert percent(share) == shown


@pytest.mark.parametrize(
    ("pair", "points"),
    [
        # Nothing is asked: meaning and words share 100 as 30 to 25.
        (Parts(meaning=0.9, words=0.7), Points(54.55, 45.45, 0.0, 0.0)),
        (Parts(meaning=0.5, words=0.35), Points(27.27, 22.73, 0.0, 0.0)),
        # Three skills have half of their 25 points, one demand half of its 20: 77.5 are left to the other two.
        (
            Parts(meaning=0.9, words=0.7, skills=1.0, n_skills=3, experience=1.0, n_demands=1),
            Points(42.27, 35.23, 12.5, 10.0),
        ),
        (
            Parts(meaning=0.9, words=0.7, skills=0.5, n_skills=3, experience=0.0, n_demands=1),
            Points(42.27, 35.23, 6.25, 0.0),
        ),
        # Of what is copied from the ad a fifth is let pass, of the rest half is left.
        (Parts(meaning=0.9, words=0.7, copied=0.6), Points(27.27, 22.73, 0.0, 0.0)),
        # Of no words at all only the meaning is judged.
        (Parts(meaning=0.5, words=0.0, skills=0.0, n_skills=9, n_terms=0), Points(50.0, 0.0, 0.0, 0.0)),
    ],
)
def test_points_are_the_weighted_shares(pair: Parts, points: Points) -> None:
    """The more an ad asks for, the more skills and experience weigh, and the less the resume says, the less."""
    assert match_score(pair) == points


def test_the_weights_are_shares_of_one() -> None:
    """What the parts can give at most adds up to the whole."""
    assert sum(WEIGHTS.values()) == pytest.approx(1)


@given(parts)
def test_the_score_is_the_sum_of_its_points(pair: Parts) -> None:
    """The four points add up to the score to the hundredth, and each and all are within 0 and 100."""
    points = match_score(pair)
    shown = (points.meaning, points.words, points.skills, points.experience)
    assert sum(round(100 * value) for value in shown) == round(100 * points.score)
    assert points.score == round(points.score, 2)
    assert all(0 <= value <= 100 for value in (*shown, points.score))


@given(pair=parts, other=parts)
def test_more_never_lowers_the_score(pair: Parts, other: Parts) -> None:
    """Of two pairs that differ in how much is shown alone, the one that shows more scores as much or more."""

    def at(pick: object) -> float:
        choose = max if pick is max else min
        return match_score(
            Parts(
                meaning=choose(pair.meaning, other.meaning),
                words=choose(pair.words, other.words),
                skills=choose(pair.skills or 0, other.skills or 0),
                n_skills=pair.n_skills,
                experience=choose(pair.experience or 0, other.experience or 0),
                n_demands=pair.n_demands,
                n_terms=pair.n_terms,
                copied=pair.copied,
            )
        ).score

    assert at(min) <= at(max)
