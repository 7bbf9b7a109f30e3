from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache import CacheBackedEmbeddings, CacheSettings, MemoryStore
from cache.errors import StoreError
from chains.vectors import CHUNK_CHARS, DocumentVectors, adocument_vectors, document_vectors, meaning_matrix
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
    pooled = DocumentVectors.of([["aaa", "b"], ["cc"]], vectors).pooled()
    # (3 * (0.6, 0.8) + 1 * (0, 1)) / 4 = (0.45, 0.85); one chunk is its own direction
    assert pooled.dtype == np.float32
    np.testing.assert_array_equal(pooled, np.array([[0.45, 0.85], [1, 0]], dtype=np.float32))


def test_a_chunk_without_direction_adds_nothing() -> None:
    """The zero vector has no direction: it counts with its length and adds nothing to the mean."""
    pooled = DocumentVectors.of([["aaa", "b"]], np.array([[0, 2], [0, 0]], dtype=np.float32)).pooled()
    np.testing.assert_array_equal(pooled, np.array([[0, 0.75]], dtype=np.float32))


def test_a_document_without_chunks_is_the_zero_vector() -> None:
    """A document that has no chunk is zero and leaves its neighbours alone."""
    pooled = DocumentVectors.of([[], ["a"], []], np.array([[2, 0]], dtype=np.float32)).pooled()
    np.testing.assert_array_equal(pooled, np.array([[0, 0], [1, 0], [0, 0]], dtype=np.float32))


def test_no_documents_are_no_rows() -> None:
    """Nothing to pool gives an array with no row and the vectors' width."""
    assert DocumentVectors.of([], np.zeros((0, 3), dtype=np.float32)).pooled().shape == (0, 3)


def test_pooling_leaves_the_vectors_alone() -> None:
    """The vectors that are pooled are the caller's and stay as they are."""
    vectors = np.array([[3, 4], [0, 2]], dtype=np.float32)
    before = vectors.copy()
    DocumentVectors.of([["a", "b"]], vectors).pooled()
    np.testing.assert_array_equal(vectors, before)


@given(lengths=st.lists(st.lists(st.integers(1, 700), max_size=5), min_size=1, max_size=6), seed=st.integers(0, 2**32))
def test_a_row_does_not_depend_on_the_other_documents(lengths: list[list[int]], seed: int) -> None:
    """A document pooled alone has the same row, bit for bit, as among others."""
    chunks = [["x" * length for length in of_one] for of_one in lengths]
    n_chunks = sum(map(len, chunks))
    vectors = np.random.default_rng(seed).standard_normal((n_chunks, WIDTH), dtype=np.float32)
    together = DocumentVectors.of(chunks, vectors).pooled()
    start = 0
    for row, of_one in enumerate(chunks):
        alone = DocumentVectors.of([of_one], vectors[start : start + len(of_one)]).pooled()
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
    ours, theirs = document_vectors(
        [LONG, LONG.removesuffix("26262") + "9001"], cached(CountingEmbeddings(WIDTH))
    ).pooled()
    assert not np.array_equal(ours, theirs)


def test_the_first_and_only_chunk_is_a_direction() -> None:
    """A short document's vector is its chunk's, brought to length 1."""
    model = CountingEmbeddings(WIDTH)
    (found,) = document_vectors(["short"], cached(model)).pooled()
    raw = np.array(model.vector("short"))
    np.testing.assert_allclose(found, raw / np.linalg.norm(raw), rtol=1e-6)


def test_a_blank_document_is_zero_and_costs_nothing() -> None:
    """A blank document is the zero vector, and its text is never sent to the model."""
    model = CountingEmbeddings(WIDTH)
    vectors = document_vectors(["", "text", " \n"], cached(model)).pooled()
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
    cold = document_vectors(texts, cached(model, store=store)).pooled()
    n_requests = model.n_requests
    store.asked.clear()
    warm = document_vectors(texts, cached(model, store=store)).pooled()
    assert store.asked == ["mget"]
    assert model.n_requests == n_requests
    np.testing.assert_array_equal(warm, cold)


async def test_the_async_twin_gives_the_same() -> None:
    """Both twins give the same numbers, bit for bit."""
    texts = [LONG, "", "short"]
    found = await adocument_vectors(texts, cached(CountingEmbeddings(WIDTH)))
    expected = document_vectors(texts, cached(CountingEmbeddings(WIDTH)))
    assert found.lengths == expected.lengths
    np.testing.assert_array_equal(found.rows, expected.rows)


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


def vectors_of(*documents: list[list[float]]) -> DocumentVectors:
    """Documents whose chunks have one length and these vectors."""
    rows = np.array([row for document in documents for row in document], dtype=np.float32).reshape(-1, 2)
    return DocumentVectors(rows, tuple((10,) * len(document) for document in documents))


def test_meaning_is_the_mean_of_the_whole_and_of_the_closest_chunks() -> None:
    """One of two chunks is the ad itself: the whole is 0.5 ** 0.5 away from it, the closest chunk is the same."""
    resume, job = vectors_of([[1, 0], [0, 1]]), vectors_of([[0, 2]])
    assert meaning_matrix(resume, job).tolist() == [[pytest.approx((0.5**0.5 + 1) / 2, abs=1e-7)]]


def test_meaning_of_a_blank_document_is_zero() -> None:
    """A document without chunks is close to nothing and harms no neighbour, wherever it stands."""
    found = meaning_matrix(vectors_of([], [[0, 1], [1, 0]], []), vectors_of([[1, 0]], []))
    assert found.tolist() == [[0, 0], [pytest.approx((0.5**0.5 + 1) / 2, abs=1e-7), 0], [0, 0]]
    assert meaning_matrix(vectors_of([]), vectors_of([], [])).tolist() == [[0, 0]]


@given(lengths=st.lists(st.integers(0, 4), min_size=1, max_size=5), seed=st.integers(0, 2**32))
def test_meaning_of_a_pair_does_not_depend_on_the_others(lengths: list[int], seed: int) -> None:
    """Each pair compared alone gives the number, bit for bit, that it has in the matrix."""
    rows = np.random.default_rng(seed).standard_normal((sum(lengths), WIDTH), dtype=np.float32)
    documents = DocumentVectors(rows, tuple((10,) * n for n in lengths))
    matrix = meaning_matrix(documents, documents)
    for i in range(len(lengths)):
        for j in range(len(lengths)):
            assert meaning_matrix(documents.take([i]), documents.take([j])).tolist() == [[matrix[i, j]]]
