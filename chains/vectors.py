"""Documents as vectors: cut into chunks that a model reads whole, embedded through the cache, pooled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from chains.documents import split_text

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


def document_vectors(
    texts: Sequence[str], embeddings: ArrayEmbeddings, *, on_progress: Progress | None = None
) -> Matrix:
    """Embed whole documents; all their chunks are one batch, so a warm cache costs one round trip.

    Nothing is cut off: a chunk fits into the window of the smallest model in use, and a document is the mean of its
    chunks' directions, weighted by their lengths.

    Returns:
        float32, shape (n, d); the zero vector for a blank document.
    """
    chunks = split_documents(texts)
    return pool(chunks, embeddings.embed_array(flat(chunks), on_progress=on_progress))


async def adocument_vectors(
    texts: Sequence[str], embeddings: ArrayEmbeddings, *, on_progress: Progress | None = None
) -> Matrix:
    """Asynchronous twin of `document_vectors`."""
    chunks = split_documents(texts)
    return pool(chunks, await embeddings.aembed_array(flat(chunks), on_progress=on_progress))


def split_documents(texts: Sequence[str]) -> list[list[str]]:
    """The chunks of each document."""
    return [split_text(text, max_chars=CHUNK_CHARS) for text in texts]


def pool(chunks: Sequence[Sequence[str]], vectors: Matrix) -> Matrix:
    """Pool the vectors of all chunks into one for each document.

    Args:
        chunks: the chunks of each document.
        vectors: float32, one row for each chunk, in order. Not modified.

    Returns:
        float32, shape (documents, d). A document's row does not depend on the others.
    """
    pooled = np.zeros((len(chunks), vectors.shape[1]), dtype=np.float32)
    start = 0
    for row, pieces in enumerate(chunks):
        part = vectors[start : start + len(pieces)].astype(np.float64)
        norms = np.sqrt(np.einsum("ij,ij->i", part, part))
        weights = np.array([len(piece) for piece in pieces], dtype=np.float64)
        scaled = np.divide(weights, norms, out=np.zeros_like(norms), where=norms > 0)
        pooled[row] = np.einsum("i,ij->j", scaled, part) / max(1, sum(map(len, pieces)))
        start += len(pieces)
    return pooled


def flat(chunks: Sequence[Sequence[str]]) -> list[str]:
    """The chunks of all documents as one batch, in order."""
    return [piece for pieces in chunks for piece in pieces]
