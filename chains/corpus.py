"""Documents as a corpus in memory: loaded from the blocks of a store, and what is missing embedded."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol

from chains.vectors import adocument_vectors, document_vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from cache.vector_index import VectorIndex
    from chains.vectors import ArrayEmbeddings, Progress

_BATCH_DOCUMENTS = 256


class Blocks(Protocol):
    """Where the rows of a corpus are kept; `cache.CorpusCache` is one."""

    def load(self, ids: Sequence[str]) -> VectorIndex:
        """The rows that are stored."""

    async def aload(self, ids: Sequence[str]) -> VectorIndex:
        """Asynchronous twin of `load`."""

    def save(self, index: VectorIndex) -> bool:
        """Store what is not."""

    async def asave(self, index: VectorIndex) -> bool:
        """Asynchronous twin of `save`."""


def document_id(text: str) -> str:
    """What stands for a text in a corpus, and decides between equal scores: 64 hex digits of SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def no_extra(_text: str) -> bytes:
    """Keep nothing beside a document's vector."""
    return b""


def load_corpus(
    texts: Sequence[str],
    embeddings: ArrayEmbeddings,
    blocks: Blocks,
    *,
    extra_of: Callable[[str], bytes] = no_extra,
    on_progress: Progress | None = None,
) -> VectorIndex:
    """Bring a corpus into memory, from its blocks and, where they lack rows, through the embedding model's cache.

    What is embedded is stored at once, each text in its own entry, so that an interrupted run goes on where it was;
    the blocks are written when the corpus is complete.

    Args:
        texts: all documents.
        embeddings: through the cache, or any model that gives arrays.
        blocks: of this model: it is part of what makes a `CorpusCache`, as is the version of the extras.
        extra_of: what is kept beside a document's vector, such as its parsed skills; it depends on the text alone.
        on_progress: called with the number of documents that are ready and of all.

    Returns:
        An index with one row for each distinct text, under its `document_id`.
    """
    corpus = {document_id(text): text for text in texts}
    index = blocks.load(list(corpus))
    for missing in _missing(corpus, index, on_progress):
        vectors = document_vectors(list(missing.values()), embeddings)
        index.add(list(missing), vectors.pooled(), [extra_of(text) for text in missing.values()])
    blocks.save(index)
    return index


async def aload_corpus(
    texts: Sequence[str],
    embeddings: ArrayEmbeddings,
    blocks: Blocks,
    *,
    extra_of: Callable[[str], bytes] = no_extra,
    on_progress: Progress | None = None,
) -> VectorIndex:
    """Asynchronous twin of `load_corpus`."""
    corpus = {document_id(text): text for text in texts}
    index = await blocks.aload(list(corpus))
    for missing in _missing(corpus, index, on_progress):
        vectors = await adocument_vectors(list(missing.values()), embeddings)
        index.add(list(missing), vectors.pooled(), [extra_of(text) for text in missing.values()])
    await blocks.asave(index)
    return index


def _missing(corpus: Mapping[str, str], index: VectorIndex, on_progress: Progress | None) -> Iterator[dict[str, str]]:
    """Documents that the index lacks, a batch at a time; goes on when the batch was added."""
    missing = [id_ for id_ in corpus if id_ not in index]
    for start in range(0, len(missing), _BATCH_DOCUMENTS):
        if on_progress:
            on_progress(len(index), len(corpus))
        yield {id_: corpus[id_] for id_ in missing[start : start + _BATCH_DOCUMENTS]}
    if on_progress:
        on_progress(len(index), len(corpus))
