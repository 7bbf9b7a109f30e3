"""Payloads of bytes: when they are compressed, and what of a compressed one is trusted."""

from __future__ import annotations

import gzip
import hashlib
import tracemalloc
import zlib

import numpy as np
import pytest

from cache.codecs import payloads
from cache.codecs.payloads import decode_payload, encode_payload
from cache.codecs.vectors import encode_vector
from cache.entry import HEADER_BYTES, Flag, Header, pack_entry, unpack_entry
from cache.errors import DecodeError

TAG = b"abcdefgh"
HEADER = Header(key_tag=TAG, created_s=1_800_000_000, ttl_s=60, made_ms=5, tokens=6)
THRESHOLD = 1024


def encoded(payload: bytes, threshold: int = THRESHOLD) -> bytes:
    return encode_payload(payload, HEADER, compress_over_bytes=threshold)


def noise(n: int) -> bytes:
    """Bytes that cannot be compressed, the same in each run."""
    return hashlib.shake_128(b"noise").digest(n)


def compressed_entry(packed: bytes) -> bytes:
    return pack_entry(Header(key_tag=TAG, created_s=1, ttl_s=1, flags=Flag.GZIP), packed)


@pytest.mark.parametrize("payload", [b"", b"x", b"a" * 1024, b"a" * 1025, noise(5000), b"a" * 200_000])
def test_a_payload_comes_back(payload: bytes) -> None:
    """Whatever its size and whether it was compressed, the payload read is the payload written."""
    header, found = decode_payload(encoded(payload), TAG)
    assert found == payload
    assert (header.created_s, header.ttl_s, header.made_ms, header.tokens) == (1_800_000_000, 60, 5, 6)


@pytest.mark.parametrize(("size", "flags"), [(1023, Flag.PLAIN), (1024, Flag.PLAIN), (1025, Flag.GZIP)])
def test_only_payloads_over_the_threshold_are_compressed(size: int, flags: Flag) -> None:
    """A payload of exactly the threshold is left alone; one byte more is compressed."""
    header, _ = unpack_entry(encoded(b"a" * size), TAG)
    assert header.flags == flags


def test_a_payload_that_does_not_shrink_is_kept_as_it_is() -> None:
    """Bytes that gzip would only lengthen are stored raw (trap H37)."""
    entry = encoded(noise(5000))
    header, payload = unpack_entry(entry, TAG)
    assert header.flags == Flag.PLAIN
    assert payload == noise(5000)


def test_equal_payloads_are_equal_bytes() -> None:
    """Compression writes no time, so the same value gives the same entry at any moment (trap H37)."""
    entry = encoded(b"a" * 5000)
    assert entry == encoded(b"a" * 5000)
    assert entry[HEADER_BYTES + 4 : HEADER_BYTES + 8] == bytes(4)  # gzip's own field for the time
    assert gzip.decompress(entry[HEADER_BYTES:]) == b"a" * 5000


@pytest.fixture
def small_limit(monkeypatch: pytest.MonkeyPatch) -> int:
    """A limit that a test can reach without 64 MiB."""
    limit = 10_000
    monkeypatch.setattr(payloads, "MAX_PAYLOAD_BYTES", limit)
    return limit


def test_a_payload_of_exactly_the_limit_can_be_read(small_limit: int) -> None:
    """What may be written may be read, to the last byte of the limit."""
    payload = b"a" * small_limit
    assert decode_payload(encoded(payload), TAG)[1] == payload


def test_a_payload_over_the_limit_is_neither_written_nor_read(small_limit: int) -> None:
    """One byte over the limit is refused on the way in and on the way out."""
    payload = b"a" * (small_limit + 1)
    with pytest.raises(DecodeError, match=f"at most {small_limit}"):
        encoded(payload)
    with pytest.raises(DecodeError, match="larger than"):
        decode_payload(compressed_entry(gzip.compress(payload)), TAG)


def test_a_gzip_bomb_is_defused(small_limit: int) -> None:
    """A small entry that would expand to 200 MB is refused after the limit, not after the memory (trap H37)."""
    engine = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(engine.compress(bytes(2**20)) for _ in range(200)) + engine.flush()
    entry = compressed_entry(bomb)
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError):
            decode_payload(entry, TAG)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(entry) < 300_000
    assert peak_bytes < 10 * 2**20


PACKED = gzip.compress(b"a" * 3000, mtime=0)


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"no gzip",
        PACKED[:-9],
        PACKED[:-1],
        PACKED + b"\0",
        PACKED[:3] + b"\x08" + PACKED[4:],
        zlib.compress(PACKED),
    ],
)
def test_a_whole_entry_around_damaged_compression_is_refused(packed: bytes) -> None:
    """A flag that says gzip over bytes that are not, or are cut, is a `DecodeError` and not zlib's."""
    with pytest.raises(DecodeError):
        decode_payload(compressed_entry(packed), TAG)


def test_a_vector_is_no_payload() -> None:
    """An entry of numbers is not handed out as bytes."""
    entry = encode_vector(np.array([3, 4], dtype=np.float32), HEADER)
    with pytest.raises(DecodeError, match="vector"):
        decode_payload(entry, TAG)
