"""Vectors as entries: bit for bit, one array operation for a batch, the same verdict entry by entry."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from cache.codecs.numbers import DTYPES, as_stored
from cache.codecs.vectors import FloatArray, decode_vector, decode_vectors, encode_vector, encode_vectors
from cache.entry import HEADER_BYTES, ElementType, Flag, Header, pack_entry
from cache.errors import DecodeError, EntryVersionError

NOW_S = 1_800_000_000
TTL_S = 600
AWKWARD = np.array(
    [
        [0.0, -0.0, 1.0, -1.0],
        [1e-45, -1e-45, 1.1754942e-38, 3e-39],  # subnormal
        [3.4028235e38, -3.4028235e38, 1.1920929e-07, 0.1],
        [0.0, 0.0, 0.0, 0.0],
    ],
    dtype=np.float32,
)


def tags(n: int) -> bytes:
    return bytes(range(8 * n))


def encoded(
    vectors: FloatArray,
    *,
    created_s: int = NOW_S,
    made_ms: int = 3,
    element_type: ElementType = ElementType.FLOAT32,
) -> list[bytes]:
    entries = encode_vectors(
        vectors, tags(len(vectors)), created_s=created_s, ttl_s=TTL_S, made_ms=made_ms, element_type=element_type
    )
    return [bytes(entry) for entry in entries]


def bits(array: FloatArray) -> list[list[int]]:
    numbers: list[list[int]] = np.ascontiguousarray(array, dtype="<f4").view("<u4").tolist()
    return numbers


def resummed(entry: bytes) -> bytes:
    """The same entry with a checksum that fits what it now says."""
    words = struct.unpack(f"<{len(entry) // 4}I", entry[:60] + bytes(4) + entry[64:])
    return entry[:60] + struct.pack("<I", -sum(words) % 2**32) + entry[64:]


def test_a_batch_comes_back_bit_for_bit() -> None:
    """Negative zeros, subnormals and the largest numbers come back with every bit."""
    found = decode_vectors(encoded(AWKWARD), tags(4), now_s=NOW_S)
    assert isinstance(found.vectors, np.ndarray)
    assert bits(found.vectors) == bits(AWKWARD)
    assert (found.rows, found.unreadable, found.made_ms) == ([0, 1, 2, 3], {}, 12)


def test_what_is_decoded_is_float32_writable_and_unshared() -> None:
    """A caller may change what it got without changing what the next caller gets, or the bytes in the store."""
    raws = encoded(AWKWARD)
    first = decode_vectors(raws, tags(4), now_s=NOW_S).vectors
    second = decode_vectors(raws, tags(4), now_s=NOW_S).vectors
    assert isinstance(first, np.ndarray)
    assert isinstance(second, np.ndarray)
    assert first.dtype == np.float32
    first[:] = 7
    assert bits(second) == bits(AWKWARD)
    assert raws == encoded(AWKWARD)


def test_what_is_encoded_is_left_alone() -> None:
    """The matrix of the caller is not modified, and need not be contiguous."""
    wide = np.arange(24, dtype=np.float32).reshape(3, 8)
    before = wide.copy()
    found = decode_vectors(encoded(wide[:, ::2]), tags(3), now_s=NOW_S).vectors
    assert np.array_equal(np.array(found), before[:, ::2])
    assert np.array_equal(wide, before)


def test_one_by_one_and_in_a_batch_are_the_same_bytes() -> None:
    """Both ways of writing a vector give the same entry."""
    header = Header(key_tag=tags(1), created_s=NOW_S, ttl_s=TTL_S, made_ms=3)
    for row in AWKWARD:
        assert encode_vector(row, header) == encoded(row[None, :])[0]


def test_the_norm_is_that_of_the_vector() -> None:
    """The header holds 1 / norm: 0.2 for (3, 4), 0 for the zero vector, and never infinity."""
    vectors = np.array([[3, 4], [0, 0], [1e-45, 0]], dtype=np.float32)
    norms = [decode_vector(raw, tags(3)[8 * i : 8 * i + 8])[0].inverse_norm for i, raw in enumerate(encoded(vectors))]
    assert norms == [np.float32(0.2), 0.0, np.finfo(np.float32).max]


def test_an_empty_batch_is_no_hits() -> None:
    """No keys give no vectors, and no vectors give no entries."""
    found = decode_vectors([], b"", now_s=NOW_S)
    assert (list(found.vectors), found.rows, found.unreadable, found.made_ms) == ([], [], {}, 0)
    assert encode_vectors(np.zeros((0, 4), np.float32), b"", created_s=NOW_S, ttl_s=TTL_S) == []


def test_absent_entries_are_no_hits() -> None:
    """Only what is there is found; the rows say which it was."""
    raws: list[bytes | None] = [*encoded(AWKWARD)]
    raws[0] = raws[2] = None
    found = decode_vectors(raws, tags(4), now_s=NOW_S)
    assert found.rows == [1, 3]
    assert [bits(vector[None, :]) for vector in found.vectors] == [bits(AWKWARD[[1]]), bits(AWKWARD[[3]])]
    assert found.made_ms == 6


@pytest.mark.parametrize(("now_s", "rows"), [(NOW_S + TTL_S - 0.001, [0, 1]), (NOW_S + TTL_S, [])])
def test_stale_entries_are_no_hits_and_not_damaged(now_s: float, rows: list[int]) -> None:
    """An entry that the server kept longer than its time to live is not served, and is nothing to warn about."""
    found = decode_vectors(encoded(AWKWARD[:2]), tags(2), now_s=now_s)
    assert (found.rows, found.unreadable) == (rows, {})


def test_one_stale_entry_does_not_hide_the_fresh_ones() -> None:
    """Freshness is judged entry by entry."""
    old = encoded(AWKWARD[:2], created_s=NOW_S - TTL_S)
    raws = [encoded(AWKWARD[:2])[0], old[1]]
    assert decode_vectors(raws, tags(2), now_s=NOW_S).rows == [0]


def test_vectors_of_several_widths_are_told_apart() -> None:
    """Entries of different widths are all decoded, each with its own."""
    narrow = encoded(np.array([[1, 2]], np.float32))[0]
    wide = encoded(np.array([[0, 0, 0, 0], [3, 4, 5, 6]], np.float32))[1]
    found = decode_vectors([narrow, wide], tags(2), now_s=NOW_S)
    assert [vector.tolist() for vector in found.vectors] == [[1, 2], [3, 4, 5, 6]]


def test_damaged_entries_are_named_by_row_and_the_others_served() -> None:
    """One damaged entry costs its own row and no other."""
    raws = encoded(AWKWARD)
    raws[1] = raws[1][:-1] + bytes([raws[1][-1] ^ 1])
    raws[2] = b"foreign"
    found = decode_vectors(raws, tags(4), now_s=NOW_S)
    assert found.rows == [0, 3]
    assert {row: type(error) for row, error in found.unreadable.items()} == {1: DecodeError, 2: DecodeError}


def test_exchanged_entries_are_refused() -> None:
    """Two entries that swapped their keys are both of another key."""
    first, second = encoded(AWKWARD[:2])
    found = decode_vectors([second, first], tags(2), now_s=NOW_S)
    assert found.rows == []
    assert sorted(found.unreadable) == [0, 1]


@pytest.mark.parametrize("element_type", DTYPES)
@pytest.mark.parametrize("n", [1, 2])
def test_every_flipped_bit_is_noticed_in_a_batch(n: int, element_type: ElementType) -> None:
    """One bit that changes anywhere in a batch takes exactly its own entry away; all bits are tried."""
    raws = encoded(np.ones((n, 3), np.float32), element_type=element_type)
    for position in range(8 * len(raws[-1])):
        flipped = bytearray(raws[-1])
        flipped[position // 8] ^= 1 << position % 8
        found = decode_vectors([*raws[:-1], bytes(flipped)], tags(n), now_s=NOW_S, element_type=element_type)
        assert found.rows == list(range(n - 1))
        assert list(found.unreadable) == [n - 1]


@pytest.mark.parametrize(
    ("at", "new"), [(4, b"\x02"), (5, b"\x01"), (5, b"\x02"), (6, b"\x05"), (7, b"\x01"), (28, b"\x01"), (31, b"\x01")]
)
def test_unknown_formats_are_refused_alone_and_in_a_batch(at: int, new: bytes) -> None:
    """A whole entry of an unknown version, flag, type, field or key is no hit, by either way of reading."""
    good, other = encoded(AWKWARD[:2])
    other = resummed(other[:at] + new + other[at + 1 :])
    found = decode_vectors([good, other], tags(2), now_s=NOW_S)
    assert found.rows == [0]
    assert [type(error) for error in found.unreadable.values()] == [EntryVersionError]
    with pytest.raises(EntryVersionError):
        decode_vector(other, tags(2)[8:])


def test_an_entry_that_says_another_size_is_damaged() -> None:
    """A checksum that fits does not excuse a size that does not, alone and in a batch."""
    good, other = encoded(AWKWARD[:2])
    other = resummed(other[:56] + struct.pack("<I", 12) + other[60:])
    found = decode_vectors([good, other], tags(2), now_s=NOW_S)
    assert found.rows == [0]
    assert [type(error) for error in found.unreadable.values()] == [DecodeError]


@pytest.mark.parametrize("payload", [b"", b"12345678"])
def test_an_entry_of_bytes_or_of_nothing_is_no_vector(payload: bytes) -> None:
    """Bytes are not read as numbers, and a vector has at least one number."""
    kind = ElementType.BYTES if payload else ElementType.FLOAT32
    entry = pack_entry(Header(key_tag=tags(1), created_s=NOW_S, ttl_s=TTL_S, element_type=kind), payload)
    found = decode_vectors([entry], tags(1), now_s=NOW_S)
    assert [type(error) for error in found.unreadable.values()] == [DecodeError]


def test_a_vector_is_64_bytes_and_four_for_each_number() -> None:
    """An entry is as large as documented: nothing is compressed."""
    [entry] = encoded(np.ones((1, 1536), np.float32))
    assert len(entry) == HEADER_BYTES + 4 * 1536
    assert entry[5] == Flag.PLAIN


def test_what_it_took_to_make_is_capped() -> None:
    """A time that does not fit into its field is stored as the longest that does."""
    [entry] = encoded(AWKWARD[:1], made_ms=2**40)
    assert decode_vectors([entry], tags(1), now_s=NOW_S).made_ms == 2**32 - 1


@pytest.mark.parametrize(
    ("element_type", "size_bytes"),
    [(ElementType.FLOAT32, 4 * 1537), (ElementType.FLOAT16, 2 * 1538), (ElementType.INT8, 1540)],
)
def test_a_smaller_type_takes_fewer_bytes(element_type: ElementType, size_bytes: int) -> None:
    """Two bytes or one for each number, in whole words."""
    [entry] = encoded(np.ones((1, 1537), np.float32), element_type=element_type)
    assert len(entry) == HEADER_BYTES + size_bytes


@pytest.mark.parametrize(
    ("element_type", "numbers", "scale", "decoded"),
    [
        # the largest number, 3, lies in [1, 2) after division by 2; 0.0004884 is 1.0002 * 2**-11, rounded to 2**-11
        (ElementType.FLOAT16, [1.5, -0.5, 0.5 * 2**-10], 2.0, [3.0, -1.0, 2**-10]),
        # 3 / 127 = 0.0236220..., and the next larger number of 16 significant bits is 49540 / 2**21
        (ElementType.INT8, [127, -42, 0], 49540 / 2**21, [127 * 49540 / 2**21, -42 * 49540 / 2**21, 0.0]),
    ],
)
def test_numbers_and_scale_are_the_documented_ones(
    element_type: ElementType, numbers: list[float], scale: float, decoded: list[float]
) -> None:
    """Worked out by hand: what is stored for (3, -1, 2**-10 and a bit), and what is read back."""
    [entry] = encoded(np.array([[3, -1, 1.0002 * 2**-10]], np.float32), element_type=element_type)
    letter = {ElementType.FLOAT16: "e", ElementType.INT8: "b"}[element_type]
    assert list(struct.unpack_from(f"<3{letter}", entry, 64)) == numbers
    assert struct.unpack_from("<f", entry, 20) == (scale,)
    found = decode_vectors([entry], tags(1), now_s=NOW_S, element_type=element_type)
    assert found.vectors[0].tolist() == decoded


@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.parametrize("asked", DTYPES)
@pytest.mark.parametrize("stored", DTYPES)
def test_a_hit_is_what_a_miss_would_have_given_or_no_hit(stored: ElementType, asked: ElementType, n: int) -> None:
    """An entry of float32 serves every type, rounded as it would have been; any other serves its own type alone."""
    vectors = np.random.default_rng(5).standard_normal((n, 7), dtype=np.float32)
    found = decode_vectors(encoded(vectors, element_type=stored), tags(n), now_s=NOW_S, element_type=asked)
    assert found.unreadable == {}
    if stored in {asked, ElementType.FLOAT32}:
        assert found.rows == list(range(n))
        assert bits(np.array(found.vectors)) == bits(as_stored(vectors, asked))
    else:
        assert found.rows == []


def test_a_batch_of_several_types_is_read_entry_by_entry() -> None:
    """Where a part of the fleet stores another type, each entry is judged by itself."""
    vectors = np.random.default_rng(6).standard_normal((3, 4), dtype=np.float32)
    raws = [encoded(vectors, element_type=kind)[row] for row, kind in enumerate(DTYPES)]
    found = decode_vectors(raws, tags(3), now_s=NOW_S, element_type=ElementType.INT8)
    assert (found.rows, found.unreadable) == ([0, 2], {})
    assert bits(np.array(found.vectors)) == bits(as_stored(vectors[[0, 2]], ElementType.INT8))


@pytest.mark.parametrize("element_type", [ElementType.FLOAT16, ElementType.INT8])
def test_extremes_survive_a_smaller_type(element_type: ElementType) -> None:
    """The largest float32 stays finite, the zero vector zero, and what is too small for a scale becomes zero."""
    largest = np.finfo(np.float32).max
    vectors = np.array([[largest, -largest], [0, -0.0], [2**-101, 0], [2**-100, 0]], np.float32)
    stored = as_stored(vectors, element_type)
    assert np.isfinite(stored).all()
    assert np.allclose(stored[0] / largest, [1, -1], rtol=2**-11)
    assert not stored[1:3].any()
    assert np.isclose(stored[3, 0], 2**-100, rtol=2**-14)
