"""The numbers of vectors in fewer bytes: float16 and int8, each with one scale for a whole vector. Pure.

float16: the scale is a power of two that puts the largest number into [1, 2), so that none is too large for float16 and
few are too small. int8: the scale is the largest number / 127, rounded up to 16 significant bits, so that 127 times it
is a float32 without rounding. Both make storing a projection: what was read back once is stored and read back again
without any further change.

A vector whose largest number is under 2**-100 becomes the zero vector: its numbers would leave the range of float32.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cache.entry import ElementType

FloatArray = npt.NDArray[np.float32]
Numbers = npt.NDArray[Any]

DTYPES: Final[dict[ElementType, np.dtype[Any]]] = {
    ElementType.FLOAT32: np.dtype("<f4"),
    ElementType.FLOAT16: np.dtype("<f2"),
    ElementType.INT8: np.dtype("i1"),
}
_SMALLEST = np.float32(2.0**-100)
_BELOW_2 = np.float32(2 - 2**-10)  # of float16; rounded up to 2, a number would change the scale, or overflow
_INT8_MAX = np.float32(127)
_LOW_BITS = np.uint32(0xFF)
_LARGEST_SCALE = (np.finfo(np.float32).max / _INT8_MAX).reshape(1).view(np.uint32) & ~_LOW_BITS


def to_numbers(vectors: FloatArray, element_type: ElementType) -> tuple[Numbers, FloatArray]:
    """The numbers that vectors are stored as.

    Args:
        vectors: float32, shape (n, d), finite. Not modified.
        element_type: any but `BYTES`.

    Returns:
        shape (n, d) of the element type, and the scales, float32, shape (n,): 0 for float32, which has none, and for
        the zero vector.
    """
    match element_type:
        case ElementType.FLOAT16:
            largest, scales = _largest(vectors), np.zeros(len(vectors), dtype=np.float32)
            np.ldexp(np.float32(1), np.frexp(largest)[1] - 1, out=scales, where=largest > 0)
            return np.clip(_divided(vectors, scales), -_BELOW_2, _BELOW_2).astype("<f2"), scales
        case ElementType.INT8:
            up = (_largest(vectors) / _INT8_MAX).view(np.uint32) + _LOW_BITS & ~_LOW_BITS
            scales = np.minimum(up, _LARGEST_SCALE).view(np.float32)
            return np.rint(_divided(vectors, scales)).astype("i1"), scales
        case _:
            return vectors, np.zeros(len(vectors), dtype=np.float32)


def to_vectors(numbers: Numbers, scales: FloatArray) -> FloatArray:
    """The vectors that numbers stand for: float32, shape (n, d); float32 numbers are given as they are."""
    if numbers.dtype == np.float32:
        return numbers
    return np.multiply(numbers, scales[:, None], dtype=np.float32)


def as_stored(vectors: FloatArray, element_type: ElementType) -> FloatArray:
    """What storing vectors and reading them back gives; float32 is given as it is."""
    return to_vectors(*to_numbers(vectors, element_type))


def _largest(vectors: FloatArray) -> FloatArray:
    """The largest magnitude in each row, 0 where it is too small to be stored."""
    largest = np.maximum(vectors.max(axis=1, initial=0), -vectors.min(axis=1, initial=0))
    rows: FloatArray = np.where(largest < _SMALLEST, np.float32(0), largest)
    return rows


def _divided(vectors: FloatArray, scales: FloatArray) -> FloatArray:
    """Rows divided by their scales; where that is 0 all numbers are so small that they become 0 undivided."""
    return np.divide(vectors, np.where(scales > 0, scales, 1)[:, None], dtype=np.float32)
