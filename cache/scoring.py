"""Cosine similarity and the best k, on arrays. Pure.

float32 products select; what is shown and sorted by is computed again for each pair in float64, in one order of
additions, and rounded: the same pair has the same score in any batch. float32 products of a BLAS differ in their last
bits with the shape of the batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cache.errors import DimensionMismatchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cache.codecs.vectors import FloatArray

DECIMALS = 9
_BLOCK_PAIRS = 2**16


def cosine_similarity(queries: FloatArray, items: FloatArray) -> npt.NDArray[np.float64]:
    """Score every query against every item by the cosine of their angle.

    Args:
        queries: shape (n, d). Not modified.
        items: shape (k, d). Not modified.

    Returns:
        float64, shape (n, k), in [-1, 1], rounded to 9 decimals; 0.0 where either vector is zero.

    Raises:
        DimensionMismatchError: the two widths differ.

    Source: Manning, Raghavan, Schütze, Introduction to Information Retrieval, section 6.3.1.
    """
    if queries.shape[1] != items.shape[1]:
        raise DimensionMismatchError(
            f"expected vectors of one width, got queries {queries.shape[1]} and items {items.shape[1]} wide"
        )
    left, right = _unit(queries), _unit(items)
    scores = np.zeros((len(left), len(right)))
    step = max(1, _BLOCK_PAIRS // max(1, len(right)))
    for start in range(0, len(left), step):
        # Without optimize, einsum adds up each pair by itself along the last axis, whatever else is in the batch.
        scores[start : start + step] = np.einsum("id,jd->ij", left[start : start + step], right, optimize=False)
    rounded: npt.NDArray[np.float64] = np.clip(scores, -1.0, 1.0).round(DECIMALS) + 0.0  # no negative zero
    return rounded


def top_k(scores: npt.NDArray[np.float64], k: int, *, tie_keys: Sequence[str]) -> list[int]:
    """The indexes of the k best scores, best first; ties in the order of their keys.

    Args:
        scores: shape (n,). Not modified.
        k: how many; more than there are gives all.
        tie_keys: one for each score, such as the hash of a document, so that the order of the input decides nothing.
    """
    n = len(scores)
    if 0 < k < n:
        bound = np.partition(scores, n - k)[n - k]
        candidates = np.flatnonzero(scores >= bound).tolist()
    else:
        candidates = list(range(n))
    return sorted(candidates, key=lambda i: (-scores[i], tie_keys[i], i))[: max(k, 0)]


def _unit(vectors: FloatArray) -> npt.NDArray[np.float64]:
    wide = np.ascontiguousarray(vectors, dtype=np.float64)
    norms = np.sqrt(np.einsum("ij,ij->i", wide, wide))[:, None]
    unit: npt.NDArray[np.float64] = np.divide(wide, norms, out=np.zeros_like(wide), where=norms > 0)
    return unit
