from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache import CacheBackedEmbeddings, CacheSettings, MemoryStore
from cache.errors import StoreError
from chains.vectors import CHUNK_CHARS, adocument_vectors, document_vectors, pool
from tests.fakes import BrokenStore, CountingEmbeddings

WIDTH = 8
SENTENCE = "In spring {} the team moved its ledger to another cluster and measured what it cost.\n"
LONG = "".join(SENTENCE.format(1900 + n) for n in range(120)) + "Certified in ISO 26262"


def cached(model: CountingEmbeddings, *, store: MemoryStore | BrokenStore | None = None) -> CacheBackedEmbeddings:
    return CacheBackedEmbeddings(model, store or MemoryStore(), model="counting", settings=CacheSettings())


def embedded_texts(model: CountingEmbeddings) -> list[str]:
    return [text for request in model.requests for text in request.texts]


def test_chunks_are_pooled_by_direction_and_length() -> None:
    """A document is the mean of its chunks' directions, weighted by their numbers of characters."""
    vectors = np.array([[3, 4], [0, 2], [5, 0]], dtype=np.float32)
    pooled = pool([["aaa", "b"], ["cc"]], vectors)
    # (3 * (0.6, 0.8) + 1 * (0, 1)) / 4 = (0.45, 0.85); one chunk is its own direction
    assert pooled.dtype == np.float32
    np.testing.assert_array_equal(pooled, np.array([[0.45, 0.85], [1, 0]], dtype=np.float32))


def test_a_chunk_without_direction_adds_nothing() -> None:
    """The zero vector has no direction: it counts with its length and adds nothing to the mean."""
    pooled = pool([["aaa", "b"]], np.array([[0, 2], [0, 0]], dtype=np.float32))
    np.testing.assert_array_equal(pooled, np.array([[0, 0.75]], dtype=np.float32))


def test_a_document_without_chunks_is_the_zero_vector() -> None:
    """A document that has no chunk is zero and leaves its neighbours alone."""
    pooled = pool([[], ["a"], []], np.array([[2, 0]], dtype=np.float32))
    np.testing.assert_array_equal(pooled, np.array([[0, 0], [1, 0], [0, 0]], dtype=np.float32))


def test_no_documents_are_no_rows() -> None:
    """Nothing to pool gives an array with no row and the vectors' width."""
    assert pool([], np.zeros((0, 3), dtype=np.float32)).shape == (0, 3)


def test_pooling_leaves_the_vectors_alone() -> None:
    """The vectors that are pooled are the caller's and stay as they are."""
    vectors = np.array([[3, 4], [0, 2]], dtype=np.float32)
    before = vectors.copy()
    pool([["a", "b"]], vectors)
    np.testing.assert_array_equal(vectors, before)


@given(lengths=st.lists(st.lists(st.integers(1, 700), max_size=5), min_size=1, max_size=6), seed=st.integers(0, 2**32))
def test_a_row_does_not_depend_on_the_other_documents(lengths: list[list[int]], seed: int) -> None:
    """A document pooled alone has the same row, bit for bit, as among others."""
    chunks = [["x" * length for length in of_one] for of_one in lengths]
    n_chunks = sum(map(len, chunks))
    vectors = np.random.default_rng(seed).standard_normal((n_chunks, WIDTH), dtype=np.float32)
    together = pool(chunks, vectors)
    start = 0
    for row, of_one in enumerate(chunks):
        alone = pool([of_one], vectors[start : start + len(of_one)])
        np.testing.assert_array_equal(alone[0], together[row])
        start += len(of_one)


def test_every_word_reaches_the_model_in_pieces_that_it_reads_whole() -> None:
    """A long document is embedded in chunks of bounded length that together hold all its words, in order."""
    model = CountingEmbeddings(WIDTH)
    document_vectors([LONG], cached(model))
    chunks = embedded_texts(model)
    assert len(chunks) > 10
    assert max(map(len, chunks)) <= CHUNK_CHARS
    assert " ".join(chunks).split() == LONG.split()


def test_the_last_word_counts() -> None:
    """Two long documents that differ only in their last word have different vectors."""
    ours, theirs = document_vectors([LONG, LONG.removesuffix("26262") + "9001"], cached(CountingEmbeddings(WIDTH)))
    assert not np.array_equal(ours, theirs)


def test_the_first_and_only_chunk_is_a_direction() -> None:
    """A short document's vector is its chunk's, brought to length 1."""
    model = CountingEmbeddings(WIDTH)
    (found,) = document_vectors(["short"], cached(model))
    raw = np.array(model.vector("short"))
    np.testing.assert_allclose(found, raw / np.linalg.norm(raw), rtol=1e-6)


def test_a_blank_document_is_zero_and_costs_nothing() -> None:
    """A blank document is the zero vector, and its text is never sent to the model."""
    model = CountingEmbeddings(WIDTH)
    vectors = document_vectors(["", "text", " \n"], cached(model))
    np.testing.assert_array_equal(vectors[[0, 2]], np.zeros((2, WIDTH), dtype=np.float32))
    assert vectors[1].any()
    assert embedded_texts(model) == ["text"]


@pytest.mark.parametrize("texts", [[], [""], ["", " "]])
def test_nothing_to_embed_is_no_request(texts: list[str]) -> None:
    """With no words at all there is a row for each document and no request."""
    model = CountingEmbeddings(WIDTH)
    assert len(document_vectors(texts, cached(model))) == len(texts)
    assert model.requests == []


def test_all_chunks_of_all_documents_are_one_lookup() -> None:
    """Three documents of many chunks are looked up in one round trip, and when warm nothing is embedded."""
    store = BrokenStore(StoreError("never raised"))
    store.heal()
    model = CountingEmbeddings(WIDTH)
    texts = [LONG, LONG.upper(), "short"]
    cold = document_vectors(texts, cached(model, store=store))
    n_requests = model.n_requests
    store.asked.clear()
    warm = document_vectors(texts, cached(model, store=store))
    assert store.asked == ["mget"]
    assert model.n_requests == n_requests
    np.testing.assert_array_equal(warm, cold)


async def test_the_async_twin_gives_the_same() -> None:
    """Both twins give the same numbers, bit for bit."""
    texts = [LONG, "", "short"]
    found = await adocument_vectors(texts, cached(CountingEmbeddings(WIDTH)))
    np.testing.assert_array_equal(found, document_vectors(texts, cached(CountingEmbeddings(WIDTH))))


def test_progress_ends_with_all_chunks() -> None:
    """Progress is told from the number of chunks found to the number of all, and never goes back."""
    told: list[tuple[int, int]] = []
    document_vectors([LONG], cached(CountingEmbeddings(WIDTH)), on_progress=lambda *numbers: told.append(numbers))
    n_chunks = told[-1][1]
    assert told[0] == (0, n_chunks)
    assert told[-1] == (n_chunks, n_chunks)
    assert told == sorted(told)


async def test_the_async_twin_tells_progress_too() -> None:
    """Progress of the asynchronous twin ends with all chunks."""
    told: list[tuple[int, int]] = []
    embeddings = cached(CountingEmbeddings(WIDTH))
    await adocument_vectors(["short"], embeddings, on_progress=lambda *numbers: told.append(numbers))
    assert told == [(0, 1), (1, 1)]
