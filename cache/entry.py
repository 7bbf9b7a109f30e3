"""The header of an entry, and what "fresh" means.

An entry is 64 bytes of header and a payload. All numbers are little-endian:

| bytes | field | | bytes | field |
|---|---|---|---|---|
| 0-3   | magic `RCE1` | | 28-31 | id of the key that sealed it, 0 = none |
| 4     | format version | | 32-39 | tag of the Redis key |
| 5     | flags: 1 gzip, 2 sealed | | 40-47 | tag of the candidate, 0 = none |
| 6     | element type | | 48-55 | tag of the job, 0 = none |
| 7     | bytes of padding at the end | | 56-59 | size of the payload as stored, bytes |
| 8-11  | created, seconds since the epoch | | 60-63 | checksum |
| 12-15 | time to live, seconds | | | |
| 16-19 | time it took to make, ms | | | |
| 20-23 | tokens it took to make; of a float16 or int8 vector the scale, float32 | | | |
| 24-27 | 1 / norm of a vector, float32 | | | |

Of a sealed entry the first 60 bytes stay readable (see `cache.sealing`).

64 bytes keep a batch of joined entries aligned, so that N vectors of one width are one strided view. The checksum
covers header and payload. For vectors it makes the wrap-around sum of all 32-bit words of the entry zero, which a
whole batch proves in one array operation, and so the payload of a vector is padded with zeros to whole words; other
kinds carry the CRC-32 of everything before and after it. Payloads of a corpus' rows are checked as vectors are.
"""

from __future__ import annotations

import struct
import zlib
from enum import IntEnum, IntFlag
from typing import NamedTuple

import numpy as np

from cache.errors import DecodeError, EntryVersionError

MAGIC = b"RCE1"
VERSION = 1
HEADER_BYTES = 64
TAG_BYTES = 8
KEY_ID_BYTES = 4
_CHECKSUM_AT, _SCALE_AT = 60, 20
_STRUCT = struct.Struct("<4sBBBBIIIIfI8s8s8sII")
_WORD = struct.Struct("<I")
_FLOAT = struct.Struct("<f")
_FLAGS_AT, _OF_VALUE_AT, _KEY_ID_AT, _KEY_TAG_AT, _SIZE_AT = 5, 16, 28, 32, 56
_HEAD_OF_OTHERS = (MAGIC + VERSION.to_bytes()).ljust(HEADER_BYTES, b"\0")
# Stand in for a sealed entry that does not open; too short to be entries.
SEAL_IS_BROKEN = MAGIC + b" broken"
SEAL_IS_MISSING = MAGIC + b" plain"
_WHY_NO_ENTRY = {
    SEAL_IS_BROKEN: "the seal is broken: the entry was changed, moved or forged",
    SEAL_IS_MISSING: "expected a sealed entry, got a plain one",
}


class SubjectTags(NamedTuple):
    """Whom an entry is about, as keyed tags that only who knows the id can tell; 8 zero bytes are nobody."""

    candidate: bytes = bytes(TAG_BYTES)
    job: bytes = bytes(TAG_BYTES)


ABOUT_NOBODY = SubjectTags()


class Flag(IntFlag):
    """How the payload was changed on its way into the store."""

    PLAIN = 0
    GZIP = 1
    SEALED = 2


_SEALED = int(Flag.SEALED)  # an enum's own operators take longer than all the rest


class ElementType(IntEnum):
    """What the payload holds."""

    BYTES = 0
    FLOAT32 = 1
    FLOAT16 = 2
    INT8 = 3
    ROWS = 4


_SCALED = {ElementType.FLOAT16, ElementType.INT8}
_PLAIN = {int(Flag.PLAIN): Flag.PLAIN}
# What each element type may be marked with, by number: an enum's own look-up takes longer than all the rest.
_TYPES = {
    int(ElementType.BYTES): (ElementType.BYTES, _PLAIN | {int(Flag.GZIP): Flag.GZIP}),
    **{int(kind): (kind, _PLAIN) for kind in ElementType if kind is not ElementType.BYTES},
}
# How many bytes of padding each may end with: whole numbers come before them, and whole words are the sum.
PADDINGS = {
    int(ElementType.BYTES): (0,),
    int(ElementType.FLOAT32): (0,),
    int(ElementType.FLOAT16): (0, 2),
    int(ElementType.INT8): (0, 1, 2, 3),
    int(ElementType.ROWS): (0, 1, 2, 3),
}


class Header(NamedTuple):  # made for each hit, in half the time of a frozen dataclass
    """What an entry says about itself.

    Attributes:
        key_tag: 8 bytes that bind the entry to its Redis key.
        created_s: seconds since the epoch.
        ttl_s: seconds that it may be served.
        element_type: what the payload holds.
        flags: how the payload was changed.
        made_ms: what it took to make the value.
        tokens: what it took to make the value.
        inverse_norm: 1 / Euclidean norm of a vector, 0.0 for the zero vector and for other kinds.
        tags: whom the entry is about.
        scale: of a float16 or int8 vector, what its numbers are multiplied by; it stands in the place of the tokens.
    """

    key_tag: bytes
    created_s: int
    ttl_s: int
    element_type: ElementType = ElementType.BYTES
    flags: Flag = Flag.PLAIN
    made_ms: int = 0
    tokens: int = 0
    inverse_norm: float = 0.0
    tags: SubjectTags = ABOUT_NOBODY
    scale: float = 0.0

    def is_fresh(self, now_s: float, *, max_age_s: float | None = None) -> bool:
        """Say whether the entry may still be served; a server that keeps it longer does not decide that."""
        is_young = max_age_s is None or now_s - self.created_s <= max_age_s
        return is_young and now_s < self.created_s + self.ttl_s


def pack_entry(header: Header, payload: bytes) -> bytes:
    """Put header, payload, padding and checksum together."""
    padding = 0 if header.element_type is ElementType.BYTES else -len(payload) % _WORD.size
    [scale] = _WORD.unpack(_FLOAT.pack(header.scale))
    payload += bytes(padding)
    head = _STRUCT.pack(
        MAGIC, VERSION, header.flags, header.element_type, padding, header.created_s, header.ttl_s, header.made_ms,
        scale if header.element_type in _SCALED else header.tokens, header.inverse_norm, 0,
        header.key_tag, *header.tags, len(payload), 0,
    )  # fmt: skip
    if header.element_type is ElementType.BYTES:
        checksum = _crc32(head, payload)
    else:
        checksum = -_word_sum(head + payload) % 2**32
    return head[:_CHECKSUM_AT] + _WORD.pack(checksum) + payload


def unpack_entry(raw: bytes, key_tag: bytes) -> tuple[Header, bytes]:
    """Take an entry apart after proving that it is whole, ours, and of this key.

    Returns:
        The header, and the payload without its padding.

    Raises:
        EntryVersionError: another version of the format, or an element type that this one does not know.
        DecodeError: foreign, damaged, truncated, or moved from another key.
    """
    _check_format(raw)
    (_, _, flags, element_type, padding, created_s, ttl_s, made_ms, tokens, inverse_norm, key_id,
     tag, candidate, job, size_bytes, checksum) = _STRUCT.unpack_from(raw)  # fmt: skip
    kind, allowed = _TYPES[element_type]
    if flags not in allowed or key_id:  # not by masking: ~Flag.GZIP holds no flag that is unknown here
        raise EntryVersionError(f"expected plain or gzip bytes or plain numbers, got flags {flags}, key id {key_id}")
    payload = raw[HEADER_BYTES:]
    if len(payload) != size_bytes or not _is_whole(raw, payload, element_type, checksum):
        raise DecodeError("the entry is damaged: its size or checksum does not fit")
    if tag != key_tag:
        raise DecodeError("the entry belongs to another key")
    [scale] = _FLOAT.unpack_from(raw, _SCALE_AT) if kind in _SCALED else (0.0,)
    header = Header(
        key_tag=tag, created_s=created_s, ttl_s=ttl_s, element_type=kind, flags=allowed[flags], made_ms=made_ms,
        tokens=0 if kind in _SCALED else tokens, inverse_norm=inverse_norm, scale=scale,
        tags=SubjectTags(candidate, job),
    )  # fmt: skip
    return header, payload[: len(payload) - padding] if padding else payload


class Peeked(NamedTuple):
    """What the first 64 bytes of an entry say; nothing of it is proven.

    Attributes:
        size_bytes: of the whole entry.
        tags: whom it is about.
    """

    size_bytes: int
    tags: SubjectTags


def peek_entry(head: bytes, key_tag: bytes) -> Peeked:
    """Read an entry's first 64 bytes alone, for whoever looks at many; sealed entries too.

    Raises:
        EntryError: those bytes are not the header of an entry of this key.
    """
    _check_format(head)
    fields = _STRUCT.unpack_from(head)
    if fields[11] != key_tag:
        raise DecodeError("the entry belongs to another key")
    return Peeked(HEADER_BYTES + int(fields[14]), SubjectTags(fields[12], fields[13]))


def readable_head(entry: bytes, key_id: bytes, overhead_bytes: int) -> bytes:
    """The first 60 bytes that a sealed entry shows: times, tags and size, and nothing that follows from the value.

    Args:
        entry: as `pack_entry` makes it; of other bytes nothing is shown.
        key_id: of the key that seals it.
        overhead_bytes: how much larger sealing makes it.
    """
    is_entry = len(entry) >= HEADER_BYTES and entry.startswith(MAGIC)
    head = entry[:HEADER_BYTES] if is_entry else _HEAD_OF_OTHERS
    size_bytes = _WORD.pack(len(entry) + overhead_bytes - HEADER_BYTES)
    flags = (head[_FLAGS_AT] | _SEALED).to_bytes()
    start, of_value = head[_FLAGS_AT + 1 : _OF_VALUE_AT], bytes(_KEY_ID_AT - _OF_VALUE_AT)
    return b"".join((head[:_FLAGS_AT], flags, start, of_value, key_id, head[_KEY_TAG_AT:_SIZE_AT], size_bytes))


def sealing_key_id(raw: bytes) -> bytes | None:
    """The id of the key that an entry says it was sealed with; `None` where it says that it is not sealed."""
    if len(raw) < HEADER_BYTES or not raw.startswith(MAGIC) or not raw[_FLAGS_AT] & _SEALED:
        return None
    return raw[_KEY_ID_AT : _KEY_ID_AT + KEY_ID_BYTES]


def _check_format(raw: bytes) -> None:
    if len(raw) < HEADER_BYTES or not raw.startswith(MAGIC):
        raise DecodeError(_WHY_NO_ENTRY.get(bytes(raw), "the bytes are not an entry of this cache"))
    version, element_type, padding = raw[4], raw[6], raw[7]
    if version != VERSION or padding not in PADDINGS.get(element_type, ()):
        raise EntryVersionError(f"expected format version {VERSION}, got {version} (type {element_type}, {padding})")


def _is_whole(raw: bytes, payload: bytes, element_type: int, checksum: int) -> bool:
    if element_type == ElementType.BYTES:
        return _crc32(raw[:HEADER_BYTES], payload) == checksum
    return len(payload) % _WORD.size == 0 and _word_sum(raw) == 0


def _crc32(head: bytes, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(head[:_CHECKSUM_AT]))


def _word_sum(raw: bytes) -> int:
    return int(np.add.reduce(np.frombuffer(raw, dtype="<u4"), dtype=np.uint32))
