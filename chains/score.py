"""One number from 0 to 100 for a pair, and the parts that it is made of. Pure.

The score of a pair depends on that pair alone, so it is the same in any corpus, batch and order.
"""

from __future__ import annotations

SCORING_VERSION = 1
DECIMALS = 1
# Where cosines of pooled resumes and ads lie: what is below is unrelated, what is above says the same.
_UNRELATED, _SAME = 0.1, 0.8
_COVERAGE_WEIGHT = 0.5
_FEW_SKILLS = 3.0  # with so many asked skills, coverage has half of its weight: two of two says less than ten of ten


def semantic_percent(cosine: float) -> float:
    """Spread the cosines that occur over 0 to 100; a raw cosine is not a percentage."""
    return round(100 * min(1.0, max(0.0, (cosine - _UNRELATED) / (_SAME - _UNRELATED))), DECIMALS)


def coverage_percent(coverage: float | None) -> float | None:
    """Coverage from 0 to 100, or nothing where the ad names no skill."""
    return None if coverage is None else round(100 * coverage, DECIMALS)


def match_score(cosine: float, coverage: float | None, n_asked: int) -> float:
    """The score of a pair: its two parts, weighted.

    Args:
        cosine: of the two documents' vectors.
        coverage: share of the asked skills that the resume shows; `None` where the ad names none.
        n_asked: how many skills the ad asks for; few of them weigh less.

    Returns:
        0 to 100, with one decimal.
    """
    semantic = 100 * min(1.0, max(0.0, (cosine - _UNRELATED) / (_SAME - _UNRELATED)))
    if coverage is None:
        return round(semantic, DECIMALS)
    weight = _COVERAGE_WEIGHT * n_asked / (n_asked + _FEW_SKILLS)
    return round((1 - weight) * semantic + weight * 100 * coverage, DECIMALS)
