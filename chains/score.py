"""One number from 0 to 100 for a pair, and the points that it is made of. Pure.

The score of a pair depends on that pair alone, so it is the same in any corpus, batch and order. It is the sum of the
points shown, to the hundredth, and it is what rankings are sorted by.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "COPIED_AT_MOST",
    "SCORING_VERSION",
    "WEIGHTS",
    "Parts",
    "Points",
    "match_score",
    "meaning_share",
    "percent",
    "words_share",
]

SCORING_VERSION = 3
DECIMALS = 2
_HUNDRED = 100
# What a part can give at most, when an ad asks for skills and for experience. Chosen, not fitted.
WEIGHTS: Mapping[str, float] = MappingProxyType({"meaning": 0.30, "words": 0.25, "skills": 0.25, "experience": 0.20})
# Where cosines of resumes and ads lie: what is below is unrelated, what is above says the same.
_UNRELATED, _SAME = 0.1, 0.9
_SAME_WORDS = 0.7
# With so many asked skills, or demands, a part has half of its weight: two of two says less than ten of ten.
_FEW_SKILLS = 3.0
_FEW_DEMANDS = 1.0
# So many distinct words make a text from which something can be missing; a bare job title lacks nothing.
_FULL_TEXT = 30
COPIED_AT_MOST = 0.1  # of a resume may repeat the ad; who sends the ad back shows nothing


@dataclass(frozen=True, slots=True)
class Parts:
    """What is known about a pair.

    Attributes:
        meaning: how close the two texts are for an embedding model, in [-1, 1].
        words: the cosine of their weighted words, in [0, 1].
        skills: share of the asked skills that the resume shows, in [0, 1]; None where the ad names none.
        n_skills: how many it asks for.
        experience: share of the demanded experience that the resume shows, in [0, 1]; None where none is demanded.
        n_demands: how many demands there are.
        n_terms: how many distinct words the resume has.
        copied: share of the resume that stands word for word in the ad, in [0, 1].
    """

    meaning: float
    words: float
    skills: float | None = None
    n_skills: int = 0
    experience: float | None = None
    n_demands: int = 0
    n_terms: int = _FULL_TEXT
    copied: float = 0.0


@dataclass(frozen=True, slots=True)
class Points:
    """What each part gives, in points with two decimals."""

    meaning: float
    words: float
    skills: float
    experience: float

    @property
    def score(self) -> float:
        """The sum of the points, from 0 to 100, exact to the hundredth."""
        return sum(map(_hundredths, (self.meaning, self.words, self.skills, self.experience))) / _HUNDRED


def _hundredths(points: float) -> int:
    return round(_HUNDRED * points)


def meaning_share(cosine: float) -> float:
    """Spread the cosines that occur over 0 to 1; a raw cosine is not a percentage."""
    return min(1.0, max(0.0, (cosine - _UNRELATED) / (_SAME - _UNRELATED)))


def words_share(cosine: float) -> float:
    """Spread the cosines of words over 0 to 1: not even a resume made for an ad shares them all."""
    return min(1.0, cosine / _SAME_WORDS)


def percent(share: float | None) -> float | None:
    """A share from 0 to 100 with two decimals, or nothing."""
    return None if share is None else round(_HUNDRED * share, DECIMALS)


def match_score(parts: Parts, weights: Mapping[str, float] = WEIGHTS) -> Points:
    """The points of a pair.

    Skills and experience weigh less the fewer an ad asks for, and nothing where it asks for none; what they leave goes
    to meaning and words, in proportion. Of a resume of a few words only the meaning counts: what such a text does not
    say is not missing. Where much of a resume is copied from the ad, all points are cut by that share.

    Args:
        parts: what is known about the pair.
        weights: of the four parts, adding up to 1.
    """
    detail = min(1.0, parts.n_terms / _FULL_TEXT)
    words = detail * weights["words"]
    skills = detail * weights["skills"] * parts.n_skills / (parts.n_skills + _FEW_SKILLS)
    experience = detail * weights["experience"] * parts.n_demands / (parts.n_demands + _FEW_DEMANDS)
    own = 1.0 - max(0.0, parts.copied - COPIED_AT_MOST) / (1 - COPIED_AT_MOST)
    rest = (1 - skills - experience) / ((weights["meaning"] + words) or 1.0)
    return Points(
        meaning=_points(own * weights["meaning"] * rest, meaning_share(parts.meaning)),
        words=_points(own * words * rest, words_share(parts.words)),
        skills=_points(own * skills, parts.skills or 0.0),
        experience=_points(own * experience, parts.experience or 0.0),
    )


def _points(weight: float, share: float) -> float:
    return round(_HUNDRED * weight * share, DECIMALS)
