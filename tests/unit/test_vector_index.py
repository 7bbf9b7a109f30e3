"""A corpus in memory: what is added, replaced and removed is what is found, and by the score that a pair has alone."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from cache.errors import DimensionMismatchError, InvalidVectorError
from cache.vector_index import Hit, VectorIndex

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cache.codecs.numbers import FloatArray

EAST, NORTH, NORTH_EAST, NOWHERE = [1, 0], [0, 1], [1, 1], [0, 0]


def array(*rows: Sequence[float]) -> FloatArray:
    return np.array(rows, dtype=np.float32)


def compass(*, quantised: bool) -> VectorIndex:
    index = VectorIndex(2)
    assert not quantised or index.quantise()
    index.add(["n", "o", "ne", "e"], array(NORTH, NOWHERE, NORTH_EAST, EAST), [b"N", b"", b"NE", b"E"])
    return index


each_way = pytest.mark.parametrize("quantised", [False, True], ids=["float32", "int8"])


@each_way
def test_the_best_come_first_with_their_cosines(quantised: bool) -> None:  # noqa: FBT001  a table's column
    """Cosines worked out by hand: 1, cos 45 degrees, and 0, where equal scores stand in the order of their ids."""
    hits = compass(quantised=quantised).top_k(array(EAST)[0], 3)
    assert hits == [Hit("e", 1.0), Hit("ne", round(math.sqrt(0.5), 9)), Hit("n", 0.0)]


@each_way
@pytest.mark.parametrize(("k", "ids"), [(0, ""), (1, "e"), (4, "e ne n o"), (9, "e ne n o")])
def test_any_number_can_be_asked_for(k: int, ids: str, quantised: bool) -> None:  # noqa: FBT001  a table's column
    """None, some, all, or more than there are."""
    assert [hit.id for hit in compass(quantised=quantised).top_k(array(EAST)[0], k)] == ids.split()


def test_nothing_is_found_where_nothing_is() -> None:
    """An empty index answers every query with nothing."""
    assert VectorIndex(2).top_k(array(EAST)[0], 3) == []
    assert VectorIndex(2).top_k_batch(np.ones((9, 2), np.float32), 3) == [[]] * 9
    assert compass(quantised=False).top_k_batch(np.empty((0, 2), np.float32), 3) == []


@each_way
@pytest.mark.parametrize("n", [1, 5])
def test_a_zero_query_scores_0_with_everything(n: int, quantised: bool) -> None:  # noqa: FBT001  a table's column
    """A blank text finds the first ids, at 0, alone and in a batch."""
    found = compass(quantised=quantised).top_k_batch(np.zeros((n, 2), np.float32), 2)
    assert found == [[Hit("e", 0.0), Hit("n", 0.0)]] * n


@each_way
def test_what_is_replaced_is_not_found_any_more(quantised: bool) -> None:  # noqa: FBT001  a table's column
    """A vector added under an id that is there takes its place, with its extra; of equal ids the last counts."""
    index = compass(quantised=quantised)
    index.add(["e", "e"], array(NORTH_EAST, [-1, 0]), [b"1", b"2"])
    assert len(index) == 4
    assert index.extra_of("e") == b"2"
    assert index.top_k(array(EAST)[0], 1) == [Hit("ne", round(math.sqrt(0.5), 9))]
    assert index.top_k(array(EAST)[0], 4)[-1] == Hit("e", -1.0)


@each_way
@pytest.mark.parametrize("gone", [["n"], ["o"], ["n", "e"], ["o", "ne"], ["x", "e", "e"], ["n", "e", "ne", "o"]])
def test_what_is_removed_is_not_found_and_the_rest_is(gone: list[str], quantised: bool) -> None:  # noqa: FBT001  a table's column
    """The first, the last, several or all rows go, absent ones are no error, and the others keep vector and extra."""
    index = compass(quantised=quantised)
    index.remove(gone)
    left = [id_ for id_ in ("e", "ne", "n", "o") if id_ not in gone]
    assert sorted(index.ids) == sorted(left)
    assert len(index) == len(left)
    for k in range(5):
        assert [hit.id for hit in index.top_k(array(EAST)[0], k)] == left[:k]
    assert [index.extra_of(id_) for id_ in left] == [id_.upper().encode().replace(b"O", b"") for id_ in left]
    assert not any(id_ in index for id_ in gone)
    assert all(id_ in index for id_ in left)


@each_way
@pytest.mark.parametrize("scale", [1e-45, 1e-30, 1.0, 1e19, 3e38])
def test_the_length_of_a_vector_does_not_matter(scale: float, quantised: bool) -> None:  # noqa: FBT001  a table's column
    """From the smallest to the largest float32, a row and a query score by their directions."""
    index = VectorIndex(2)
    assert not quantised or index.quantise()
    index.add(["e", "n", "w"], array([scale, 0], [0, scale], [-scale, 0]))
    assert index.top_k(array([scale, 0])[0], 2) == [Hit("e", 1.0), Hit("n", 0.0)]
    assert index.top_k_batch(array(*[[scale, 0]] * 5), 1) == [[Hit("e", 1.0)]] * 5


def test_rows_are_given_back_as_they_were() -> None:
    """A row of a norm around 1 comes back bit for bit, another one by a power of two; inputs are not modified."""
    given = array([0.6, 0.8], [6, 8], [0, 0])
    index = VectorIndex(2)
    index.add(["a", "b", "c"], given)
    assert index.vectors(["b", "a", "c"]).tolist() == [[0.75, 1], given[0].tolist(), [0, 0]]
    assert given.tolist() == array([0.6, 0.8], [6, 8], [0, 0]).tolist()
    with pytest.raises(KeyError):
        index.vectors(["x"])


@pytest.mark.parametrize(
    ("query", "best", "decoy"),
    [
        # as int8 the best is (127, 0, ...), which has nothing in common with the query; the decoy's 1 stays 1
        ([0.0] + [1.0] * 16, [127.0] + [0.49] * 16, [127.0, 1.0] + [0.0] * 15),
        # as int8 the query is (127, 0, ...); in truth the best has 7.84 / (127 * 4), the decoy 189 / (127 * 127)
        ([127.0] + [0.49] * 16, [0.0] + [1.0] * 16, [1.0, 127.0] + [0.0] * 15),
    ],
    ids=["row", "query"],
)
def test_rows_that_int8_puts_last_are_found(query: list[float], best: list[float], decoy: list[float]) -> None:
    """What is lost when numbers are rounded to int8, of a row or of the query, rules no row out."""
    index = VectorIndex(17)
    index.add(["best", "decoy"], array(best, decoy))
    assert index.quantise()
    assert [hit.id for hit in index.top_k(array(query)[0], 1)] == ["best"]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("n", [1, 5])
def test_what_is_no_number_is_refused(bad: float, n: int) -> None:
    """NaN and infinity are refused, in a row and in a query, and nothing is changed by the attempt."""
    index = compass(quantised=False)
    vectors = np.ones((n, 2), np.float32)
    vectors[-1, 1] = bad
    with pytest.raises(InvalidVectorError, match=f"NaN or infinity in vector {n - 1}"):
        index.add([f"x{row}" for row in range(n)], vectors)
    with pytest.raises(InvalidVectorError, match=f"NaN or infinity in vector {n - 1}"):
        index.top_k_batch(vectors, 2)
    assert sorted(index.ids) == ["e", "n", "ne", "o"]


def test_another_width_is_refused() -> None:
    """A row or a query of another width is told from what is expected."""
    index = compass(quantised=False)
    with pytest.raises(DimensionMismatchError, match="expected rows 2 wide"):
        index.add(["x"], array([1, 2, 3]))
    with pytest.raises(DimensionMismatchError, match="expected rows 2 wide"):
        index.top_k(array([1, 2, 3])[0], 1)
    with pytest.raises(DimensionMismatchError):
        index.top_k(array(EAST), 1)


@pytest.mark.parametrize(("ids", "extras"), [(["x"], None), (["x", "y", "z"], None), (["x", "y"], [b""])])
def test_each_row_has_one_id_and_one_extra(ids: list[str], extras: list[bytes] | None) -> None:
    """Two vectors are two ids and two extras."""
    with pytest.raises(InvalidVectorError, match="for each id"):
        compass(quantised=False).add(ids, array(EAST, NORTH), extras)


def test_without_the_extra_float32_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the library for int8 is not installed, the index says so and answers all the same."""
    monkeypatch.setitem(sys.modules, "numkong", None)
    index = compass(quantised=False)
    assert not index.quantise()
    assert index.top_k(array(EAST)[0], 1) == [Hit("e", 1.0)]


def test_rows_too_wide_for_int8_are_not_quantised() -> None:
    """A product that might leave 32 bits is not made in int8."""
    assert VectorIndex(2**17).quantise() is False or 127 * 127 * 2**17 < 2**31
    assert VectorIndex(2**17 + 1).quantise() is False


def test_growing_is_amortised() -> None:
    """Adding rows one by one moves them to a larger place a few dozen times, not a thousand times."""
    index = VectorIndex(1)
    places = set()
    for row in range(1000):
        index.add([str(row)], array([row + 1]))
        places.add(len(index._matrix))
    assert len(index) == 1000
    assert len(places) < 25
