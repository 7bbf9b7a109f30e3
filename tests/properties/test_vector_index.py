"""The best k of an index are those of brute force, whatever was searched and in which order."""

from __future__ import annotations

from random import Random  # noqa: TC003  hypothesis reads it at run time

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.codecs.numbers import FloatArray  # noqa: TC001  hypothesis reads it at run time
from cache.int8_rows import Int8Rows
from cache.scoring import cosine_similarity
from cache.vector_index import Hit, VectorIndex

SMALL = st.sampled_from([0.0, 1.0, -1.0, 0.5, 127.0, 1 / 3])
NUDGES = st.sampled_from([0.0, 1e-9, 3e-8, 1e-7, 1e-6, 1e-4, 0.01])


@st.composite
def corpora(draw: st.DrawFn) -> tuple[FloatArray, FloatArray]:
    """Queries and rows that are hard to tell apart: a few rows, repeated, moved by next to nothing, zero, or scaled."""
    width = draw(st.integers(1, 40))
    bases = [draw(st.lists(SMALL, min_size=width, max_size=width)) for _ in range(draw(st.integers(1, 4)))]
    seed = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows = [
        (np.array(draw(st.sampled_from(bases))) + draw(NUDGES) * seed.standard_normal(width))
        * draw(st.sampled_from([1.0, 1e-20, 1e15]))
        for _ in range(draw(st.integers(1, 30)))
    ]
    queries = [
        np.array(draw(st.sampled_from(bases))) + draw(NUDGES) * seed.standard_normal(width)
        for _ in range(draw(st.integers(1, 6)))
    ]
    return np.array(queries, dtype=np.float32), np.array(rows, dtype=np.float32)


def brute_force(queries: FloatArray, rows: FloatArray, ids: list[str], k: int) -> list[list[Hit]]:
    """Score every pair and sort."""
    return [
        sorted((Hit(id_, float(score)) for id_, score in zip(ids, scores, strict=True)), key=lambda h: (-h.score, h.id))
        [:k]
        for scores in cosine_similarity(queries, rows)
    ]  # fmt: skip


def index_of(ids: list[str], rows: FloatArray, *, quantised: bool) -> VectorIndex:
    index = VectorIndex(rows.shape[1])
    index.add(ids, rows)
    assert not quantised or index.quantise()
    return index


@given(corpora(), st.integers(1, 31), st.booleans(), st.randoms(use_true_random=False))
def test_the_best_are_those_of_brute_force(
    corpus: tuple[FloatArray, FloatArray],
    k: int,
    quantised: bool,  # noqa: FBT001  drawn
    random: Random,
) -> None:
    """Near ties, duplicates, zero rows and any scale: the same ids and scores, alone, in batches and in any order."""
    queries, rows = corpus
    ids = [f"{row * 7919 % 1000:03d}" for row in range(len(rows))]
    expected = brute_force(queries, rows, ids, k)
    index = index_of(ids, rows, quantised=quantised)
    assert index.top_k_batch(queries, k) == expected
    assert [index.top_k(query, k) for query in queries] == expected
    order = list(range(len(rows)))
    random.shuffle(order)
    shuffled = index_of([ids[row] for row in order], rows[order], quantised=quantised)
    assert shuffled.top_k_batch(np.repeat(queries, 2, axis=0), k, threads=2)[::2] == expected


@given(corpora(), st.data(), st.booleans())
def test_an_index_that_was_changed_is_one_that_was_built_anew(
    corpus: tuple[FloatArray, FloatArray],
    data: st.DataObject,
    quantised: bool,  # noqa: FBT001  drawn
) -> None:
    """After any adding, replacing and removing, answers and extras are those of the rows that are left."""
    queries, rows = corpus
    index = index_of([], rows[:0], quantised=quantised)
    model: dict[str, int] = {}
    for _ in range(data.draw(st.integers(0, 8))):
        some = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=6))
        names = [data.draw(st.sampled_from("abcdefgh")) for _ in some]
        if data.draw(st.booleans()):
            index.add(names, rows[some].reshape(-1, rows.shape[1]), [b"%d" % row for row in some])
            model |= dict(zip(names, some, strict=True))
        else:
            index.remove(names)
            model = {name: row for name, row in model.items() if name not in names}
    assert sorted(index.ids) == sorted(model)
    assert all(index.extra_of(name) == b"%d" % row for name, row in model.items())
    assert index.top_k_batch(queries, 5) == brute_force(queries, rows[list(model.values())], list(model), 5)


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.sampled_from([1, 10, 100]), st.floats(0, 0.02))
def test_int8_rules_most_rows_out_and_none_of_the_best(seed: int, k: int, spread: float) -> None:
    """Of rows that crowd around a few directions, the candidates hold all of the best, and fewer than all."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((20, 64), dtype=np.float32)
    rows = centres[random.integers(0, 20, 2000)]
    rows += spread * random.standard_normal(rows.shape, dtype=np.float32)
    query = centres[0] + 0.3 * random.standard_normal(64, dtype=np.float32)
    inverse = (1 / np.linalg.norm(rows, axis=1)).astype(np.float32)
    int8 = Int8Rows(64, len(rows))
    int8.put(np.arange(len(rows)), rows, inverse)
    found = int8.candidates((query / np.linalg.norm(query)).astype(np.float32), len(rows), k)
    scores = cosine_similarity(query[None, :], rows)[0]
    assert set(np.flatnonzero(scores >= np.sort(scores)[-k]).tolist()) <= set(found.tolist())
    assert len(found) < len(rows)
