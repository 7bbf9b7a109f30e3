"""Vectors as entries: whole batches in array operations, no loop over numbers.

A vector is stored as little-endian float32 of what the provider gave, never normalised, never compressed: gzip makes
float32 vectors 6 % smaller and reading them several times slower.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cache.entry import HEADER_BYTES, MAGIC, VERSION, ElementType, Header, pack_entry, unpack_entry
from cache.errors import DecodeError, EntryError

if TYPE_CHECKING:
    from collections.abc import Sequence

FloatArray = npt.NDArray[np.float32]
_HEADER_WORDS = HEADER_BYTES // 4
_BLOCK_ROWS = 16
_FLOAT32_HEAD = int.from_bytes(bytes((VERSION, 0, ElementType.FLOAT32, 0)), "little")
_MAGIC_WORD = int.from_bytes(MAGIC, "little")
_FORMAT, _CREATED, _TTL, _MADE, _NORM, _KEY_ID, _TAG, _SIZE, _SUM = 1, 2, 3, 4, 6, 7, 8, 14, 15


@dataclass(frozen=True, slots=True)
class DecodedVectors:
    """What a batch of raw values held.

    Attributes:
        vectors: one float32 row for each hit, in the order of `rows`; a width for each, as entries may differ.
        rows: indexes into the batch of what was a hit.
        unreadable: indexes of values that were there and could not be used.
        made_ms: what making the hits took, all together.
    """

    vectors: Sequence[FloatArray] | FloatArray
    rows: Sequence[int]
    unreadable: dict[int, EntryError]
    made_ms: int


def encode_vectors(
    vectors: FloatArray, key_tags: bytes, *, created_s: int, ttl_s: int, made_ms: int = 0
) -> list[memoryview]:
    """Write one entry for each row of a matrix.

    Args:
        vectors: float32, shape (n, d), finite. Not modified.
        key_tags: 8 bytes for each row, joined.
        created_s: seconds since the epoch.
        ttl_s: seconds that the entries may be served.
        made_ms: what making one row took.

    Returns:
        n views of 64 + 4 d bytes, one buffer behind all.
    """
    n, d = vectors.shape
    if not n:
        return []
    words = np.zeros((n, _HEADER_WORDS + d), dtype="<u4")
    words[:, 0] = _MAGIC_WORD
    words[:, _FORMAT] = _FLOAT32_HEAD
    words[:, _CREATED] = created_s
    words[:, _TTL] = ttl_s
    words[:, _MADE] = min(made_ms, 2**32 - 1)
    words[:, _NORM] = _inverse_norms(vectors).view("<u4")
    words[:, _TAG : _TAG + 2] = np.frombuffer(key_tags, dtype="<u4").reshape(n, 2)
    words[:, _SIZE] = 4 * d
    words[:, _HEADER_WORDS:].view("<f4")[:] = vectors
    words[:, _SUM] = -words.sum(axis=1, dtype=np.uint32)
    entries, size_bytes = words.data.cast("B"), HEADER_BYTES + 4 * d
    return [entries[start : start + size_bytes] for start in range(0, len(entries), size_bytes)]


def decode_vectors(raws: Sequence[bytes | None], key_tags: bytes, *, now_s: float) -> DecodedVectors:
    """Read the entries of a batch; what is absent, stale or unusable is no hit.

    Args:
        raws: what the store gave for each key.
        key_tags: 8 bytes for each key, joined.
        now_s: seconds since the epoch, to judge freshness.

    Returns:
        The hits. When all are whole, fresh and of one width: a writable view of shape (n, d) into one new buffer.
    """
    words = _joined(raws) if len(raws) > 1 else None
    if words is not None and _are_proven(words, key_tags, now_s):
        made_ms = int(words[:, _MADE].sum(dtype=np.uint64))
        return DecodedVectors(words[:, _HEADER_WORDS:].view("<f4"), list(range(len(raws))), {}, made_ms)
    return _decode_each(raws, key_tags, now_s)


def _joined(raws: Sequence[bytes | None]) -> npt.NDArray[np.uint32] | None:
    """Entries of one size as rows of words, in a new buffer; `None` where they are of several, or some are absent."""
    sizes_bytes = set() if None in raws else set(map(len, raws))  # type: ignore[arg-type]  # none is None
    size_bytes = sizes_bytes.pop() if len(sizes_bytes) == 1 else 0
    if size_bytes <= HEADER_BYTES or size_bytes % 4:
        return None
    words = np.empty((len(raws), size_bytes // 4), dtype="<u4")
    for start in range(0, len(raws), _BLOCK_ROWS):  # joined at once, they would be in memory three times
        block = b"".join(raws[start : start + _BLOCK_ROWS])  # type: ignore[arg-type]  # none is None
        words[start : start + _BLOCK_ROWS].reshape(-1)[:] = np.frombuffer(block, dtype="<u4")
    return words


def _are_proven(words: npt.NDArray[np.uint32], key_tags: bytes, now_s: float) -> bool:
    """Prove a whole batch in a few array operations; False when any entry needs a look of its own."""
    heads = words[:, :_HEADER_WORDS].copy()  # together in the processor's cache, unlike the rows
    size_bytes = 4 * words.shape[1] - HEADER_BYTES
    return not words.sum(axis=1, dtype=np.uint32).any() and are_current(heads, size_bytes, key_tags, now_s)


def are_current(heads: npt.NDArray[np.uint32], size_bytes: int, key_tags: bytes, now_s: float) -> bool:
    """Say whether headers are all of fresh float32 vectors of one size under these keys.

    Args:
        heads: shape (n, 16).
        size_bytes: of each vector.
        key_tags: 8 bytes for each header, joined.
        now_s: seconds since the epoch, to judge freshness.
    """
    said = (_MAGIC_WORD, _FLOAT32_HEAD, size_bytes, 0)
    return (
        bool((heads[:, (0, _FORMAT, _SIZE, _KEY_ID)] == np.array(said, dtype=np.uint32)).all())
        and heads[:, _TAG : _TAG + 2].tobytes() == key_tags
        and bool((heads[:, _CREATED].astype(np.int64) + heads[:, _TTL]).min() > now_s)
    )


def _decode_each(raws: Sequence[bytes | None], key_tags: bytes, now_s: float) -> DecodedVectors:
    vectors: list[FloatArray] = []
    rows: list[int] = []
    unreadable: dict[int, EntryError] = {}
    made_ms = 0
    for row, raw in enumerate(raws):
        if raw is None:
            continue
        try:
            header, vector = decode_vector(raw, key_tags[8 * row : 8 * row + 8])
        except EntryError as error:
            unreadable[row] = error
            continue
        if header.is_fresh(now_s):
            vectors.append(vector)
            rows.append(row)
            made_ms += header.made_ms
    if len(raws) == len(vectors) == 1:
        return DecodedVectors(vectors[0][None, :].copy(), rows, unreadable, made_ms)
    return DecodedVectors(vectors, rows, unreadable, made_ms)


def decode_vector(raw: bytes, key_tag: bytes) -> tuple[Header, FloatArray]:
    """Read one entry.

    Returns:
        The header, and a read-only float32 view of shape (d,).

    Raises:
        EntryError: the bytes are no vector of this key.
    """
    header, payload = unpack_entry(raw, key_tag)
    if header.element_type is not ElementType.FLOAT32 or not payload:
        raise DecodeError("expected a float32 vector, got an entry of another kind")
    return header, np.frombuffer(payload, dtype="<f4")


def encode_vector(vector: FloatArray, header: Header) -> bytes:
    """Write one entry; the header's element type and norm follow from the vector."""
    [inverse_norm] = _inverse_norms(vector[None, :]).tolist()
    complete = Header(
        key_tag=header.key_tag, created_s=header.created_s, ttl_s=header.ttl_s, made_ms=header.made_ms,
        element_type=ElementType.FLOAT32, inverse_norm=inverse_norm,
    )  # fmt: skip
    return pack_entry(complete, vector.astype("<f4").tobytes())


def _inverse_norms(vectors: FloatArray) -> FloatArray:
    wide = vectors.astype(np.float64)
    norms = np.sqrt(np.vecdot(wide, wide))
    inverse = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
    capped: FloatArray = np.minimum(inverse, np.finfo(np.float32).max).astype("<f4")
    return capped
