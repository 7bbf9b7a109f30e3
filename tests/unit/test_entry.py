"""The header of an entry: its bytes, what it refuses, and when it is fresh."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from cache.entry import HEADER_BYTES, ElementType, Flag, Header, pack_entry, unpack_entry
from cache.errors import DecodeError, EntryError, EntryVersionError

TAG = bytes.fromhex("0102030405060708")
BYTES_HEADER = Header(key_tag=TAG, created_s=1_800_000_000, ttl_s=3600, made_ms=250, tokens=42)
FLOAT_HEADER = Header(
    key_tag=TAG, created_s=1_800_000_000, ttl_s=604_800, element_type=ElementType.FLOAT32, made_ms=7, inverse_norm=0.2
)
HEADERS = {
    ElementType.BYTES: BYTES_HEADER,
    ElementType.FLOAT32: FLOAT_HEADER,
    ElementType.FLOAT16: FLOAT_HEADER._replace(element_type=ElementType.FLOAT16, scale=0.25),
    ElementType.INT8: FLOAT_HEADER._replace(element_type=ElementType.INT8, scale=0.125),
    ElementType.ROWS: BYTES_HEADER._replace(element_type=ElementType.ROWS),
}
PAYLOADS = {
    ElementType.BYTES: b'{"a":1}',
    ElementType.FLOAT32: struct.pack("<2f", 3.0, 4.0),
    ElementType.FLOAT16: struct.pack("<3e", 1.0, 1.5, -0.5),
    ElementType.INT8: struct.pack("<5b", 127, -127, 0, 1, -1),
    ElementType.ROWS: b"seven b",
}
ENTRIES = {kind: pack_entry(HEADERS[kind], PAYLOADS[kind]) for kind in ElementType}


def sealed(entry: bytes) -> bytes:
    """The same entry with a checksum that fits what it now says."""
    if entry[6] in list(ElementType)[1:]:
        without = entry[:60] + bytes(4) + entry[64:]
        checksum = -sum(struct.unpack(f"<{len(without) // 4}I", without)) % 2**32
    else:
        checksum = zlib.crc32(entry[:60] + entry[64:])
    return entry[:60] + struct.pack("<I", checksum) + entry[64:]


def with_bytes(entry: bytes, at: int, new: bytes) -> bytes:
    return sealed(entry[:at] + new + entry[at + len(new) :])


def test_the_layout_of_an_entry_of_bytes_is_pinned() -> None:
    """Every byte stands where the documented table puts it; another layout needs another version number."""
    expected = bytes.fromhex(
        "52434531"  # RCE1
        "01000000"  # version 1, no flags, bytes, unused
        "00d2496b"  # 1,800,000,000 s
        "100e0000"  # 3600 s
        "fa000000"  # 250 ms
        "2a000000"  # 42 tokens
        "00000000"  # no norm
        "00000000"  # no sealing key
        "0102030405060708"  # the key's tag
        "0000000000000000"  # no candidate
        "0000000000000000"  # no job
        "07000000"  # 7 bytes follow
    )
    payload = b'{"a":1}'
    checksum = struct.pack("<I", zlib.crc32(expected + payload))
    assert ENTRIES[ElementType.BYTES] == expected + checksum + payload


def test_the_layout_of_a_vector_is_pinned() -> None:
    """The vector (3, 4) and its header, worked out by hand; all its 32-bit words add up to zero."""
    expected = bytes.fromhex(
        "52434531"  # RCE1
        "01000100"  # version 1, no flags, float32, unused
        "00d2496b"  # 1,800,000,000 s
        "803a0900"  # 604,800 s
        "07000000"  # 7 ms
        "00000000"  # no tokens
        "cdcc4c3e"  # 1 / 5 as float32
        "00000000"  # no sealing key
        "0102030405060708"  # the key's tag
        "0000000000000000"  # no candidate
        "0000000000000000"  # no job
        "08000000"  # 8 bytes follow
    )
    payload = bytes.fromhex("0000404000008040")  # 3.0 and 4.0
    words = struct.unpack("<15I", expected) + struct.unpack("<2I", payload)
    assert ENTRIES[ElementType.FLOAT32] == expected + struct.pack("<I", -sum(words) % 2**32) + payload
    assert np.frombuffer(ENTRIES[ElementType.FLOAT32], "<u4").sum(dtype=np.uint32) == 0


@pytest.mark.parametrize("kind", ElementType)
def test_an_entry_gives_back_what_was_packed(kind: ElementType) -> None:
    """Header and payload come back as they went in; the norm as the float32 that it is stored as."""
    header = HEADERS[kind]
    found, payload = unpack_entry(ENTRIES[kind], TAG)
    assert payload == PAYLOADS[kind]
    assert found.inverse_norm == np.float32(header.inverse_norm)
    assert (found.created_s, found.ttl_s, found.made_ms, found.tokens) == (
        header.created_s, header.ttl_s, header.made_ms, header.tokens,
    )  # fmt: skip
    assert (found.element_type, found.flags, found.key_tag, found.scale) == (kind, Flag.PLAIN, TAG, header.scale)


@pytest.mark.parametrize(
    ("kind", "padding"),
    [(ElementType.FLOAT16, 2), (ElementType.INT8, 3), (ElementType.ROWS, 1), (ElementType.BYTES, 0)],
)
def test_numbers_are_padded_to_whole_words(kind: ElementType, padding: int) -> None:
    """Byte 7 says how many zeros follow the payload, which the stored size counts; the scale stands at byte 20."""
    entry = ENTRIES[kind]
    assert entry[7] == padding
    assert entry[64:] == PAYLOADS[kind] + bytes(padding)
    assert entry[56:60] == struct.pack("<I", len(entry) - 64)
    scale = {ElementType.FLOAT16: struct.pack("<f", 0.25), ElementType.INT8: struct.pack("<f", 0.125)}
    assert entry[20:24] == scale.get(kind, struct.pack("<I", 42))


@pytest.mark.parametrize(
    ("kind", "padding"), [(ElementType.FLOAT32, 1), (ElementType.FLOAT32, 2), (ElementType.FLOAT16, 1)]
)
def test_padding_that_would_cut_a_number_is_an_unknown_version(kind: ElementType, padding: int) -> None:
    """A number is never read in part."""
    with pytest.raises(EntryVersionError):
        unpack_entry(with_bytes(ENTRIES[kind], 7, bytes([padding])), TAG)


def test_an_empty_payload_is_an_entry() -> None:
    """No bytes are a value too."""
    assert unpack_entry(pack_entry(BYTES_HEADER, b""), TAG) == (BYTES_HEADER, b"")


@pytest.mark.parametrize("kind", ElementType)
def test_every_flipped_bit_is_noticed(kind: ElementType) -> None:
    """One bit that changes anywhere in header or payload makes the entry unusable; all of them are tried."""
    entry = ENTRIES[kind]
    for position in range(8 * len(entry)):
        flipped = bytearray(entry)
        flipped[position // 8] ^= 1 << position % 8
        with pytest.raises(EntryError):
            unpack_entry(bytes(flipped), TAG)


@pytest.mark.parametrize("kind", ElementType)
def test_an_entry_of_another_length_is_damaged(kind: ElementType) -> None:
    """Every truncation is refused, and so is anything that follows the payload."""
    entry = ENTRIES[kind]
    for other in [*(entry[:n] for n in range(len(entry))), entry + b"\0", entry + bytes(4), entry + entry]:
        with pytest.raises(DecodeError):
            unpack_entry(other, TAG)


@pytest.mark.parametrize(
    "foreign", [b"", b"OK", b"\x80\x04\x95" + bytes(80), b"x" * 200, b'{"lc": 1}' + b" " * 100, b"RCE2" + bytes(100)]
)
def test_foreign_bytes_are_no_entry(foreign: bytes) -> None:
    """Whatever another program stored under our key is not taken for an entry."""
    with pytest.raises(DecodeError, match="not an entry"):
        unpack_entry(foreign, TAG)


@pytest.mark.parametrize("kind", ElementType)
def test_an_entry_moved_to_another_key_is_refused(kind: ElementType) -> None:
    """An entry is bound to its key: copied under another one, it is not served."""
    with pytest.raises(DecodeError, match="another key"):
        unpack_entry(ENTRIES[kind], bytes(8))


@pytest.mark.parametrize(
    ("at", "new"),
    [
        (4, b"\x00"), (4, b"\x02"),  # version
        (5, b"\x02"), (5, b"\x03"), (5, b"\x04"), (5, b"\x80"),  # sealed, or a flag that does not exist yet
        (6, b"\x05"), (6, b"\xff"),  # element type
        (7, b"\x04"),  # more padding than a word has
        (28, b"\x01\0\0\0"),  # sealed by a key
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ElementType)
def test_what_a_newer_version_wrote_is_told_from_damage(kind: ElementType, at: int, new: bytes) -> None:
    """A whole entry with an unknown version, flag, element type, field or key is an unknown version."""
    with pytest.raises(EntryVersionError):
        unpack_entry(with_bytes(ENTRIES[kind], at, new), TAG)


def test_compressed_vectors_are_an_unknown_version() -> None:
    """No version of ours compresses vectors, so their bytes are not read as numbers."""
    with pytest.raises(EntryVersionError):
        unpack_entry(with_bytes(ENTRIES[ElementType.FLOAT32], 5, b"\x01"), TAG)


def test_a_vector_must_be_whole_words() -> None:
    """A payload of numbers whose size is no multiple of 4 is damaged."""
    entry = ENTRIES[ElementType.FLOAT32][:56] + struct.pack("<I", 7) + ENTRIES[ElementType.FLOAT32][60:-1]
    with pytest.raises(DecodeError):
        unpack_entry(entry, TAG)


@pytest.mark.parametrize(
    ("age_s", "is_fresh"), [(-10.0, True), (0.0, True), (3599.999, True), (3600.0, False), (1e9, False)]
)
def test_freshness_ends_exactly_after_the_time_to_live(age_s: float, is_fresh: bool) -> None:  # noqa: FBT001  a table's column
    """An entry may be served until its time to live has passed, whatever the server still keeps."""
    assert BYTES_HEADER.is_fresh(1_800_000_000 + age_s) is is_fresh


def test_a_payload_is_aligned() -> None:
    """The header is 64 bytes, so that joined vectors of one width are one aligned array."""
    assert HEADER_BYTES == 64
    assert ENTRIES[ElementType.BYTES][64:] == PAYLOADS[ElementType.BYTES]
