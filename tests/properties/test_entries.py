"""Entries of bytes and of vectors under any content and any damage."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_np

from cache.codecs.numbers import as_stored
from cache.codecs.payloads import decode_payload, encode_payload
from cache.codecs.vectors import FloatArray, decode_vector, decode_vectors, encode_vectors
from cache.entry import ElementType, Header
from cache.errors import EntryError

NOW_S = 1_800_000_000
TAG = b"\x01" * 8
FINITE = st_np.from_dtype(np.dtype("<f4"), allow_nan=False, allow_infinity=False)
MATRICES = st_np.arrays(np.dtype("<f4"), st.tuples(st.integers(1, 5), st.integers(1, 9)), elements=FINITE)
UINT32 = st.integers(0, 2**32 - 1)


def tags_of(n: int) -> bytes:
    return bytes(range(8 * n))


def encoded(vectors: FloatArray) -> list[bytes]:
    return [bytes(entry) for entry in encode_vectors(vectors, tags_of(len(vectors)), created_s=NOW_S, ttl_s=60)]


def as_bits(vector: FloatArray) -> bytes:
    return np.ascontiguousarray(vector, dtype="<f4").tobytes()


@given(MATRICES)
def test_any_finite_matrix_comes_back_bit_for_bit(vectors: FloatArray) -> None:
    """What is stored is what the provider gave, to the last bit."""
    found = decode_vectors(encoded(vectors), tags_of(len(vectors)), now_s=NOW_S)
    assert [as_bits(vector) for vector in found.vectors] == [as_bits(vector) for vector in vectors]


@given(MATRICES, st.data())
def test_reading_a_batch_and_reading_one_by_one_agree(vectors: FloatArray, data: st.DataObject) -> None:
    """Whatever is absent or damaged, a batch gives the hits and the refusals of its entries read alone."""
    raws: list[bytes | None] = [*encoded(vectors)]
    for row, raw in enumerate(encoded(vectors)):
        cut = data.draw(st.sampled_from([None, *range(0, len(raw), 7), len(raw)]))
        at = data.draw(st.integers(0, len(raw) - 1))
        raws[row] = None if cut is None else raw if cut == len(raw) else raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
    found = decode_vectors(raws, tags_of(len(raws)), now_s=NOW_S)
    alone = {row: decode_vectors([raw], tags_of(len(raws))[8 * row :][:8], now_s=NOW_S) for row, raw in enumerate(raws)}
    assert found.rows == [row for row, one in alone.items() if one.rows]
    assert sorted(found.unreadable) == [row for row, one in alone.items() if one.unreadable]
    assert [as_bits(vector) for vector in found.vectors] == [
        as_bits(one.vectors[0]) for one in alone.values() if one.rows
    ]


@given(st.binary(max_size=200) | st.binary(max_size=100).map(b"RCE1\x01".__add__))
def test_any_bytes_are_an_entry_or_an_entry_error(raw: bytes) -> None:
    """Bytes from the store are input: whatever they are, reading them fails in no other way than by saying so."""
    for read in (decode_payload, decode_vector):
        try:
            read(raw, TAG)
        except EntryError:
            continue
    assert decode_vectors([raw], TAG, now_s=NOW_S).rows == []


@given(st.binary(max_size=3000), st.integers(0, 3000), UINT32, UINT32, UINT32)
def test_any_payload_comes_back_with_its_header(
    payload: bytes, threshold: int, created_s: int, made_ms: int, tokens: int
) -> None:
    """Compressed or not, payload and figures come back as they were written."""
    header = Header(key_tag=TAG, created_s=created_s, ttl_s=60, made_ms=made_ms, tokens=tokens)
    found, body = decode_payload(encode_payload(payload, header, compress_over_bytes=threshold), TAG)
    assert body == payload
    assert (found.created_s, found.ttl_s, found.made_ms, found.tokens) == (created_s, 60, made_ms, tokens)


@given(MATRICES, st.sampled_from([ElementType.FLOAT16, ElementType.INT8]))
def test_rounding_to_a_smaller_type_is_done_once_and_for_all(vectors: FloatArray, element_type: ElementType) -> None:
    """What was rounded once is rounded to itself and stored as the same bytes, at an error of half a step at most."""
    once = as_stored(vectors, element_type)
    assert np.array_equal(as_stored(once, element_type), once)
    tags = tags_of(len(vectors))
    first, second = (
        encode_vectors(each, tags, created_s=NOW_S, ttl_s=60, element_type=element_type) for each in (vectors, once)
    )
    assert [*map(bytes, first)] == [*map(bytes, second)]
    found = decode_vectors([*map(bytes, first)], tags, now_s=NOW_S, element_type=element_type)
    assert np.array_equal(np.array(found.vectors), once)
    largest = np.abs(vectors.astype(np.float64)).max(axis=1, keepdims=True)
    step = {ElementType.FLOAT16: 2**-11, ElementType.INT8: 1 / 253}[element_type]
    assert (np.abs(once - vectors.astype(np.float64)) <= np.maximum(step * largest, 2**-100)).all()
