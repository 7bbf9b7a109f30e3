"""Rows as int8, a quarter of the bytes, and which of them may be among the best k.

A row `a` is kept as `s q`, with whole numbers `q` from -127 to 127. For a unit query `b`, kept in the same way as `b'`,

    |cos(a, b) - s q . b' / |a|| <= |a - s q| / |a| * |b'| + |b - b'|

by the inequality of Cauchy and Schwarz. The first factor is kept for each row, so every row has a lower and an upper
bound; a row whose upper bound is under the k-th largest lower bound is none of the best k.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from cache.codecs.numbers import to_numbers, to_vectors
from cache.entry import ElementType

if TYPE_CHECKING:
    from cache.codecs.numbers import FloatArray

    Rows = npt.NDArray[np.intp]

Scalar = TypeVar("Scalar", bound=np.generic)
_MAX_WIDTH = 2**31 // 128**2  # wider, a product of int8 might leave int32
_BLOCK_ROWS = 128  # with all that is made of them, they stay in the processor's cache
_SLACK = 2e-6  # more than what all that is computed in float32 here is off by, and scores that are shown as equal


class Int8Rows:
    """The int8 copies of rows, by their places.

    Args:
        width: numbers in a row.
        capacity: rows to make room for.
    """

    def __init__(self, width: int, capacity: int) -> None:
        self._numbers: npt.NDArray[np.int8] = np.empty((capacity, width), dtype=np.int8)
        self._factors: FloatArray = np.empty(capacity, dtype=np.float32)  # s / |a|
        self._errors: FloatArray = np.empty(capacity, dtype=np.float32)  # |a - s q| / |a|

    @staticmethod
    def is_available(width: int) -> bool:
        """Say whether there is a product of int8 for rows so wide; the extra `fast` brings it."""
        return width <= _MAX_WIDTH and importlib.util.find_spec("numkong") is not None

    def reserve(self, capacity: int, n_rows: int) -> None:
        """Make room, keeping the first `n_rows`."""
        self._numbers = grown(self._numbers, capacity, n_rows)
        self._factors = grown(self._factors, capacity, n_rows)
        self._errors = grown(self._errors, capacity, n_rows)

    def move(self, source: int, target: int) -> None:
        """Put the row of one place to another."""
        for array in (self._numbers, self._factors, self._errors):
            array[target] = array[source]

    def put(self, places: Rows, rows: FloatArray, inverse_norms: FloatArray) -> None:
        """Keep rows of a norm around 1, or 0, at their places.

        Args:
            places: shape (n,).
            rows: float32, shape (n, width). Not modified.
            inverse_norms: float32, shape (n,); 0 for zero rows.
        """
        for start in range(0, len(places), _BLOCK_ROWS):
            part = slice(start, start + _BLOCK_ROWS)
            numbers, scales, errors = _rounded(rows[part])
            self._numbers[places[part]] = numbers
            self._factors[places[part]] = scales * inverse_norms[part]
            self._errors[places[part]] = errors * inverse_norms[part]

    def candidates(self, unit: FloatArray, n_rows: int, k: int) -> Rows:
        """The places, among the first `n_rows`, of all rows that may be among the k best.

        Args:
            unit: float32, shape (width,), of norm 1. Not modified.
            n_rows: how many there are.
            k: fewer than there are rows.
        """
        numbers, [scale], [error] = _rounded(unit[None, :])
        near = _products(numbers, self._numbers[:n_rows]) * (self._factors[:n_rows] * float(scale))
        off = self._errors[:n_rows] * (1 + float(error)) + (float(error) + _SLACK)
        bound = np.partition(near - off, n_rows - k)[n_rows - k]
        return np.flatnonzero(near + off >= bound)


def grown(array: npt.NDArray[Scalar], capacity: int, n_rows: int) -> npt.NDArray[Scalar]:
    """A longer copy of an array that holds its first `n_rows`; what follows them is not set."""
    longer = np.empty((capacity, *array.shape[1:]), dtype=array.dtype)
    longer[:n_rows] = array[:n_rows]
    return longer


def _rounded(rows: FloatArray) -> tuple[npt.NDArray[np.int8], FloatArray, FloatArray]:
    """Rows as int8, their scales, and how far what these stand for is off at most, as Euclidean norms."""
    numbers, scales = to_numbers(rows, ElementType.INT8)
    off = rows - to_vectors(numbers, scales)
    # The sum of d squares in float32 is off by a share of d / 2**24 at most, its root by half of that.
    return numbers, scales, np.sqrt(np.vecdot(off, off)) * np.float32(1 + off.shape[1] / 2**24)


def _products(query: npt.NDArray[np.int8], rows: npt.NDArray[np.int8]) -> npt.NDArray[np.float64]:
    """Exact products of one row with each of many."""
    import numkong  # noqa: PLC0415  of an extra, and not needed before

    products: npt.NDArray[np.float64] = np.asarray(numkong.cdist(query, rows, "dot"), dtype=np.float64)
    return products[0]  # type: ignore[no-any-return]  # numpy types a row as Any
