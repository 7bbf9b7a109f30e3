"""A corpus of vectors in memory, asked for the best k: updated rather than rebuilt, and exact.

Products of float32 rows, or of their int8 copies, only rule rows out: each comes with a bound on its error, and every
row that the bound leaves in is scored again by `cache.scoring.cosine_similarity`, in float64 and alone. So an answer
depends on the vectors and the ids, not on the order of the rows, on what else is asked for, or on how it was searched.
"""

from __future__ import annotations

import heapq
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cache.errors import DimensionMismatchError, InvalidVectorError
from cache.int8_rows import Int8Rows, grown
from cache.scoring import DECIMALS, cosine_similarity, top_k

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from cache.codecs.numbers import FloatArray

    Rows = npt.NDArray[np.intp]

_UNIT_ROUNDOFF = 2.0**-24  # of float32
_ROUNDED = 2 * 10.0**-DECIMALS  # scores that are shown as equal may be so far apart, and a bit
_BLOCK_ROWS = 2048
_BLOCK_BYTES = 32 * 2**20
_FEW_QUERIES = 4
_GROWTH = 1.5


class Hit(NamedTuple):
    """One row that was found.

    Attributes:
        id: whose it is.
        score: cosine, as `cache.scoring.cosine_similarity` gives it for the two vectors alone.
    """

    id: str
    score: float


class VectorIndex:
    """Vectors by id, each with a few bytes of the caller's.

    A row is kept as it was given but for a power of two, which makes its norm about 1 and changes no bit of a cosine.
    Any number of threads may ask at once, but nobody while one adds or removes.

    Args:
        width: numbers in a vector.
        capacity: rows to make room for; it grows by half when it is full.
    """

    def __init__(self, width: int, *, capacity: int = 0) -> None:
        self.width = width
        self._ids: list[str] = []
        self._extras: list[bytes] = []
        self._row_of: dict[str, int] = {}
        self._matrix: FloatArray = np.empty((capacity, width), dtype=np.float32)
        self._inverse_norms: FloatArray = np.empty(capacity, dtype=np.float32)
        self._int8: Int8Rows | None = None

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, id_: object) -> bool:
        return id_ in self._row_of

    @property
    def ids(self) -> list[str]:
        """All ids, in no order that means anything."""
        return list(self._ids)

    def extra_of(self, id_: str) -> bytes:
        """The caller's bytes of a row.

        Raises:
            KeyError: there is no such row.
        """
        return self._extras[self._row_of[id_]]

    def vectors(self, ids: Sequence[str]) -> FloatArray:
        """Copies of rows: float32, shape (n, width), each a power of two times what was given.

        Raises:
            KeyError: there is no such row.
        """
        return self._matrix[[self._row_of[id_] for id_ in ids]]

    def add(self, ids: Sequence[str], vectors: FloatArray, extras: Sequence[bytes] | None = None) -> None:
        """Add rows, and replace those whose ids are there; of equal ids the last counts.

        Args:
            ids: n texts. What a vector depends on should be in its id: a hash of the document.
            vectors: float32, shape (n, width). Not modified. A zero row scores 0 with everything.
            extras: n times the caller's bytes; `None` is none for all.

        Raises:
            DimensionMismatchError: vectors of another width.
            InvalidVectorError: not as many vectors, ids and extras, or NaN or infinity; nothing is changed then.
        """
        extras = [b""] * len(ids) if extras is None else extras
        norms = self._checked_norms(ids, vectors, extras)
        self._reserve(len(self) + sum(id_ not in self._row_of for id_ in set(ids)))
        rows = np.array([self._row(id_) for id_ in ids], dtype=np.intp)
        for row, extra in zip(rows.tolist(), extras, strict=True):
            self._extras[row] = extra
        for start in range(0, len(rows), _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            self._put(rows[block], vectors[block], norms[block])

    def remove(self, ids: Iterable[str]) -> None:
        """Remove rows; absent ids are no error."""
        for id_ in ids:
            row = self._row_of.pop(id_, None)
            if row is not None:
                self._close_gap(row)

    def quantise(self) -> bool:
        """Keep int8 copies of the rows too, a quarter of their size, which single queries then read instead.

        For whoever asks often: making the copies takes as long as some twenty queries without them.

        Returns:
            False where that cannot be: the extra `fast` is not installed, or the rows are too wide. Answers are the
            same either way.
        """
        if self._int8 is None and Int8Rows.is_available(self.width):
            self._int8 = Int8Rows(self.width, len(self._matrix))
            for start in range(0, len(self), _BLOCK_ROWS):
                rows = np.arange(start, min(len(self), start + _BLOCK_ROWS))
                self._int8.put(rows, self._matrix[rows], self._inverse_norms[rows])
        return self._int8 is not None

    def top_k(self, query: FloatArray, k: int) -> list[Hit]:
        """The k best rows for a query, best first; equal scores in the order of their ids.

        Args:
            query: float32, shape (width,). Not modified.
            k: more than there are gives all.

        Raises:
            DimensionMismatchError: a query of another width.
            InvalidVectorError: NaN or infinity.
        """
        return self.top_k_batch(query[None, :], k)[0]

    def top_k_batch(self, queries: FloatArray, k: int, *, threads: int = 1) -> list[list[Hit]]:
        """As `top_k`, for many queries.

        Memory beside the index is bounded: 32 MiB for each thread, or one number for each row where that is more.

        Args:
            queries: float32, shape (q, width). Not modified.
            k: more than there are gives all.
            threads: how many take part; the BLAS of numpy may have threads of its own (`OPENBLAS_NUM_THREADS`).

        Raises:
            DimensionMismatchError: queries of another width.
            InvalidVectorError: NaN or infinity.
        """
        norms = self._norms(queries)
        if len(queries) < _FEW_QUERIES or not len(self):
            return [self._search_one(query, norm, k) for query, norm in zip(queries, norms, strict=True)]
        n_at_once = max(1, min(_BLOCK_BYTES // (4 * len(self)), -(-len(queries) // threads)))
        blocks = [slice(start, start + n_at_once) for start in range(0, len(queries), n_at_once)]
        with ThreadPoolExecutor(threads) as pool:
            found = pool.map(lambda block: self._search_block(queries[block], norms[block], k), blocks)
            return [hits for block in found for hits in block]

    def _checked_norms(
        self, ids: Sequence[str], vectors: FloatArray, extras: Sequence[bytes]
    ) -> npt.NDArray[np.float64]:
        norms = self._norms(vectors)
        if not len(ids) == len(vectors) == len(extras):
            raise InvalidVectorError(
                f"expected a vector and an extra for each id, got {len(ids)} ids, {len(vectors)}, {len(extras)}"
            )
        return norms

    def _norms(self, vectors: FloatArray) -> npt.NDArray[np.float64]:
        if vectors.ndim != 2 or vectors.shape[1] != self.width:  # noqa: PLR2004  rows of numbers
            raise DimensionMismatchError(f"expected rows {self.width} wide, got an array of shape {vectors.shape}")
        norms: npt.NDArray[np.float64] = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
        if not np.isfinite(norms).all():  # the square of no finite float32 is too large for float64
            [bad, *_] = np.flatnonzero(~np.isfinite(norms)).tolist()
            raise InvalidVectorError(f"expected finite numbers, got NaN or infinity in vector {bad}")
        return norms

    def _reserve(self, n_rows: int) -> None:
        if n_rows <= len(self._matrix):
            return
        capacity = max(n_rows, int(_GROWTH * len(self._matrix)))
        self._matrix = grown(self._matrix, capacity, len(self))
        self._inverse_norms = grown(self._inverse_norms, capacity, len(self))
        if self._int8:
            self._int8.reserve(capacity, len(self))

    def _row(self, id_: str) -> int:
        row = self._row_of.setdefault(id_, len(self._ids))
        if row == len(self._ids):
            self._ids.append(id_)
            self._extras.append(b"")
        return row

    def _put(self, rows: Rows, vectors: FloatArray, norms: npt.NDArray[np.float64]) -> None:
        exponents = np.frexp(norms / 0.75)[1] - 1  # norms around 1, which most models give, stay as they are
        scaled = vectors if not exponents.any() else np.ldexp(vectors.astype(np.float64), -exponents[:, None])
        norms = np.ldexp(norms, -exponents)
        inverse = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0).astype(np.float32)
        places = slice(rows[0], rows[-1] + 1) if (np.diff(rows) == 1).all() else rows  # a slice is copied faster
        self._matrix[places] = scaled
        self._inverse_norms[places] = inverse
        if self._int8:
            self._int8.put(rows, self._matrix[rows], self._inverse_norms[rows])

    def _close_gap(self, row: int) -> None:
        """Move the last row to where one was removed."""
        last = len(self._ids) - 1
        id_, extra = self._ids.pop(), self._extras.pop()
        if row == last:
            return
        self._ids[row], self._extras[row], self._row_of[id_] = id_, extra, row
        self._matrix[row], self._inverse_norms[row] = self._matrix[last], self._inverse_norms[last]
        if self._int8:
            self._int8.move(last, row)

    def _search_one(self, query: FloatArray, norm: float, k: int) -> list[Hit]:
        if norm == 0 or not 0 < k < len(self):
            return self._unsearched(query, norm, k)
        unit = _unit(query, norm)
        if self._int8 is None:
            return self._best(query, self._near_enough(self._products(unit), k), k)
        rows = self._int8.candidates(unit, len(self), k)
        return self._best(query, rows[self._near_enough(self._products(unit, rows), k)], k)

    def _search_block(self, queries: FloatArray, norms: npt.NDArray[np.float64], k: int) -> list[list[Hit]]:
        units = np.stack([_unit(query, norm) for query, norm in zip(queries, norms, strict=True)])
        scores = units @ self._matrix[: len(self)].T
        scores *= self._inverse_norms[: len(self)]
        return [
            self._best(query, self._near_enough(row, k), k) if norm and 0 < k < len(self)
            else self._unsearched(query, norm, k)
            for query, norm, row in zip(queries, norms, scores, strict=True)
        ]  # fmt: skip

    def _unsearched(self, query: FloatArray, norm: float, k: int) -> list[Hit]:
        """Where there is nothing to select: all rows are asked for, or none, or all of them score 0."""
        if norm == 0:
            return [Hit(id_, 0.0) for id_ in heapq.nsmallest(k, self._ids)]
        return self._best(query, np.arange(len(self)), k)

    def _products(self, unit: FloatArray, rows: Rows | None = None) -> FloatArray:
        """Cosines in float32, of all rows or of some."""
        if rows is None:
            # Row by row, and faster than a product of matrix and vector: it is read from memory once, by one thread.
            products: FloatArray = np.vecdot(self._matrix[: len(self)], unit)
            return products * self._inverse_norms[: len(self)]
        parts = (rows[start : start + _BLOCK_ROWS] for start in range(0, len(rows), _BLOCK_ROWS))
        return np.concatenate([np.vecdot(self._matrix[part], unit) for part in parts]) * self._inverse_norms[rows]

    def _near_enough(self, scores: FloatArray, k: int) -> Rows:
        """Which of them may be among the k best: float32 products are off by less than `margin`, on either side.

        Source: Higham, Accuracy and Stability of Numerical Algorithms, section 3.1: a sum of n products is off by
        n u |x||y| at most, in any order of additions; a few more roundings make unit vector and norm.
        """
        margin = 1.01 * (self.width + 8) * _UNIT_ROUNDOFF
        n = len(scores)
        bound = np.partition(scores, n - k)[n - k] if k < n else -np.inf
        return np.flatnonzero(scores >= float(bound) - 2 * margin - _ROUNDED)

    def _best(self, query: FloatArray, rows: Rows, k: int) -> list[Hit]:
        """Score rows as they are shown, and order them."""
        parts = (rows[start : start + _BLOCK_ROWS] for start in range(0, len(rows), _BLOCK_ROWS))
        scores = np.concatenate(
            [np.empty(0), *(cosine_similarity(query[None, :], self._matrix[part])[0] for part in parts)]
        )
        ids = [self._ids[row] for row in rows.tolist()]
        return [Hit(ids[at], float(scores[at])) for at in top_k(scores, k, tie_keys=ids)]


def _unit(query: FloatArray, norm: float) -> FloatArray:
    return (query / norm if norm else query).astype(np.float32)
