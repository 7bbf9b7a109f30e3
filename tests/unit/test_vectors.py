"""Vectors as entries: bit for bit, one array operation for a batch, the same verdict entry by entry."""

from __future__ import annotations

import struct

import numpy as np
import pytest

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


def encoded(vectors: FloatArray, *, created_s: int = NOW_S, made_ms: int = 3) -> list[bytes]:
    n = len(vectors)
    return [
        bytes(entry) for entry in encode_vectors(vectors, tags(n), created_s=created_s, ttl_s=TTL_S, made_ms=made_ms)
    ]


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


@pytest.mark.parametrize("n", [1, 2])
def test_every_flipped_bit_is_noticed_in_a_batch(n: int) -> None:
    """One bit that changes anywhere in a batch takes exactly its own entry away; all bits are tried."""
    raws = encoded(AWKWARD[:n, :2])
    for position in range(8 * len(raws[-1])):
        flipped = bytearray(raws[-1])
        flipped[position // 8] ^= 1 << position % 8
        found = decode_vectors([*raws[:-1], bytes(flipped)], tags(n), now_s=NOW_S)
        assert found.rows == list(range(n - 1))
        assert list(found.unreadable) == [n - 1]


@pytest.mark.parametrize(
    ("at", "new"), [(4, b"\x02"), (5, b"\x01"), (5, b"\x02"), (6, b"\x02"), (7, b"\x01"), (28, b"\x01"), (31, b"\x01")]
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
