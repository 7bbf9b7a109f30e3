"""Rows of a corpus as one block of bytes: ids, vectors and the caller's own bytes of each. Pure.

Little-endian: format version, number of rows n and their width d as uint32; n sizes of ids and n sizes of extras as
uint32; n d float32; the ids as UTF-8, joined; the extras, joined.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cache.errors import DecodeError, EntryVersionError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cache.codecs.numbers import FloatArray

_VERSION = 1
_HEAD = struct.Struct("<III")


class Rows(NamedTuple):
    """Rows of a corpus.

    Attributes:
        ids: n texts.
        vectors: float32, shape (n, d).
        extras: n times the caller's bytes.
    """

    ids: list[str]
    vectors: FloatArray
    extras: list[bytes]


def encode_rows(ids: Sequence[str], vectors: FloatArray, extras: Sequence[bytes]) -> bytes:
    """Write rows; as many ids, vectors and extras."""
    names = [id_.encode("utf-8", "surrogatepass") for id_ in ids]
    sizes = np.array([*map(len, names), *map(len, extras)], dtype="<u4")
    head = _HEAD.pack(_VERSION, *vectors.shape)
    return b"".join((head, sizes.tobytes(), vectors.astype("<f4", copy=False).tobytes(), *names, *extras))


def decode_rows(payload: bytes) -> Rows:
    """Read rows back.

    Returns:
        The rows; their vectors are a read-only view.

    Raises:
        EntryVersionError: written by a version that this one does not know.
        DecodeError: not what `encode_rows` writes.
    """
    if len(payload) < _HEAD.size:
        raise DecodeError("expected a block of rows, got less than its head")
    version, n, d = _HEAD.unpack_from(payload)
    if version != _VERSION:
        raise EntryVersionError(f"expected rows of version {_VERSION}, got {version}")
    vectors_at = _HEAD.size + 8 * n
    ids_at = vectors_at + 4 * n * d
    if ids_at > len(payload):
        raise DecodeError(f"expected {n} rows {d} wide, got {len(payload)} bytes")
    sizes = np.frombuffer(payload, dtype="<u4", count=2 * n, offset=_HEAD.size).tolist()
    if ids_at + sum(sizes) != len(payload):
        raise DecodeError(f"expected ids and extras of {sum(sizes)} bytes, got {len(payload) - ids_at}")
    parts = list(_cut(payload, ids_at, sizes))
    vectors = np.frombuffer(payload, dtype="<f4", count=n * d, offset=vectors_at).reshape(n, d)
    try:
        return Rows([part.decode("utf-8", "surrogatepass") for part in parts[:n]], vectors, parts[n:])
    except UnicodeDecodeError as error:
        raise DecodeError("expected ids in UTF-8") from error


def _cut(payload: bytes, start: int, sizes: Sequence[int]) -> Iterator[bytes]:
    for size in sizes:
        yield payload[start : start + size]
        start += size
