"""Documents as vectors: cut into chunks that a model reads whole, embedded through the cache, compared and pooled.

Each chunk is an entry of its own, so an edited resume embeds only what changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Protocol

import numpy as np

from cache.scoring import DECIMALS, cosine_similarity
from chains.splitting import split_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    Progress = Callable[[int, int], None]
    Matrix = npt.NDArray[np.float32]

CHUNK_CHARS = 700


class ArrayEmbeddings(Protocol):
    """What is asked of an embedding model; `cache.CacheBackedEmbeddings` is one."""

    def embed_array(self, texts: Sequence[str], *, on_progress: Progress | None = None) -> Matrix:
        """Embed texts; float32, shape (n, d)."""

    async def aembed_array(self, texts: Sequence[str], *, on_progress: Progress | None = None) -> Matrix:
        """Asynchronous twin of `embed_array`."""


@dataclass(frozen=True, slots=True, eq=False)
class DocumentVectors:
    """The vectors of documents, chunk by chunk.

    Attributes:
        rows: float32, shape (chunks of all documents, d), in order.
        lengths: the characters of each chunk of each document; a blank document has none.
    """

    rows: Matrix
    lengths: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, chunks: Sequence[Sequence[str]], rows: Matrix) -> DocumentVectors:
        """From the chunks of each document, and one row for each chunk, in order."""
        return cls(rows, tuple(tuple(map(len, pieces)) for pieces in chunks))

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, documents: Sequence[int]) -> DocumentVectors:
        """Some of the documents, in the order that is given."""
        starts = [0, *accumulate(map(len, self.lengths))]
        rows = [row for n in documents for row in range(starts[n], starts[n + 1])]
        return DocumentVectors(self.rows[rows], tuple(self.lengths[n] for n in documents))

    def pooled(self) -> Matrix:
        """One vector for each document: the mean of its chunks' directions, weighted by their lengths.

        Returns:
            float32, shape (documents, d); the zero vector for a blank document. A row does not depend on the others.
        """
        pooled = np.zeros((len(self), self.rows.shape[1]), dtype=np.float32)
        start = 0
        for row, lengths in enumerate(self.lengths):
            part = self.rows[start : start + len(lengths)].astype(np.float64)
            norms = np.sqrt(np.einsum("ij,ij->i", part, part))
            weights = np.array(lengths, dtype=np.float64)
            scaled = np.divide(weights, norms, out=np.zeros_like(norms), where=norms > 0)
            pooled[row] = np.einsum("i,ij->j", scaled, part) / max(1, sum(lengths))
            start += len(lengths)
        return pooled


def document_vectors(
    texts: Sequence[str], embeddings: ArrayEmbeddings, *, on_progress: Progress | None = None
) -> DocumentVectors:
    """Embed whole documents; all their chunks are one batch, so a warm cache costs one round trip.

    Nothing is cut off: a chunk fits into the window of the smallest model in use.
    """
    chunks = split_documents(texts)
    return DocumentVectors.of(chunks, embeddings.embed_array(flat(chunks), on_progress=on_progress))


async def adocument_vectors(
    texts: Sequence[str], embeddings: ArrayEmbeddings, *, on_progress: Progress | None = None
) -> DocumentVectors:
    """Asynchronous twin of `document_vectors`."""
    chunks = split_documents(texts)
    return DocumentVectors.of(chunks, await embeddings.aembed_array(flat(chunks), on_progress=on_progress))


def split_documents(texts: Sequence[str]) -> list[list[str]]:
    """The chunks of each document."""
    return [split_text(text, max_chars=CHUNK_CHARS) for text in texts]


def flat(chunks: Sequence[Sequence[str]]) -> list[str]:
    """The chunks of all documents as one batch, in order."""
    return [piece for pieces in chunks for piece in pieces]


def meaning_matrix(resumes: DocumentVectors, jobs: DocumentVectors) -> npt.NDArray[np.float64]:
    """Compare every resume with every ad in meaning.

    A pair's number is the mean of two cosines: that of the pooled documents, which says what they are about as a whole,
    and that of the two chunks that are closest, which finds a short text, or one paragraph, in a long one.

    Returns:
        float64, shape (resumes, jobs), in [-1, 1]; 0.0 where either document is blank. A number depends on its pair
        alone.
    """
    whole = cosine_similarity(resumes.pooled(), jobs.pooled())
    if not len(resumes.rows) or not len(jobs.rows):
        return np.zeros(whole.shape)
    closest = _closest(_closest(cosine_similarity(resumes.rows, jobs.rows), resumes).T, jobs).T
    meaning: npt.NDArray[np.float64] = np.round((whole + closest) / 2, DECIMALS)
    return meaning


def _closest(cosines: npt.NDArray[np.float64], documents: DocumentVectors) -> npt.NDArray[np.float64]:
    """The greatest number among the rows of each document; 0.0 for a blank one."""
    counts = np.array(list(map(len, documents.lengths)))
    starts = np.cumsum(counts) - counts
    greatest = np.zeros((len(documents), cosines.shape[1]))
    greatest[counts > 0] = np.maximum.reduceat(cosines, starts[counts > 0], axis=0)
    return greatest
