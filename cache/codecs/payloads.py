"""Payloads of bytes: gzip over a threshold, and never trusted on the way back."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import replace

from cache.entry import ElementType, Flag, Header, pack_entry, unpack_entry
from cache.errors import DecodeError

MAX_PAYLOAD_BYTES = 64 * 2**20
_GZIP_LEVEL = 6
_GZIP_WINDOW = 16 + zlib.MAX_WBITS


def encode_payload(payload: bytes, header: Header, *, compress_over_bytes: int) -> bytes:
    """Write one entry, compressed when it is over the threshold and gets smaller by it.

    Raises:
        DecodeError: the payload is over 64 MiB, more than a reader accepts.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise DecodeError(f"expected at most {MAX_PAYLOAD_BYTES} bytes in an entry, got {len(payload)}")
    flags = Flag.PLAIN
    if len(payload) > compress_over_bytes:
        packed = gzip.compress(payload, compresslevel=_GZIP_LEVEL, mtime=0)
        if len(packed) < len(payload):
            payload, flags = packed, Flag.GZIP
    return pack_entry(replace(header, flags=flags), payload)


def decode_payload(raw: bytes, key_tag: bytes) -> tuple[Header, bytes]:
    """Read one entry.

    Raises:
        EntryError: not an entry of this key, damaged, a vector, or larger than 64 MiB once decompressed.
    """
    header, payload = unpack_entry(raw, key_tag)
    if header.element_type is not ElementType.BYTES:
        raise DecodeError("expected an entry of bytes, got a vector")
    return header, _decompress(payload) if header.flags & Flag.GZIP else payload


def _decompress(packed: bytes) -> bytes:
    engine = zlib.decompressobj(_GZIP_WINDOW)
    try:
        payload = engine.decompress(packed, MAX_PAYLOAD_BYTES)
    except zlib.error as error:
        raise DecodeError("the compressed payload is damaged") from error
    if not engine.eof:
        raise DecodeError(f"the payload is cut, or larger than {MAX_PAYLOAD_BYTES} bytes once decompressed")
    return payload
