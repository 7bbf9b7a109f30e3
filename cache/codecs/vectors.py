"""Vectors as entries: whole batches in array operations, no loop over numbers.

A vector is stored as little-endian float32 of what the provider gave, or on demand as float16 or int8 with a scale
(`cache.codecs.numbers`); never normalised, never compressed: gzip makes float32 vectors 6 % smaller and reading them
several times slower.

Whatever the element type asked for, a hit is exactly what a miss would have given: an entry of that type is read as it
is, one of float32 holds what the provider gave and is rounded as it would have been, and any other is no hit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cache.codecs.numbers import DTYPES, FloatArray, as_stored, to_numbers, to_vectors
from cache.entry import (
    ABOUT_NOBODY,
    HEADER_BYTES,
    MAGIC,
    PADDINGS,
    VERSION,
    ElementType,
    Header,
    pack_entry,
    unpack_entry,
)
from cache.errors import DecodeError, EntryError
from cache.stores.blocks import Block

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from cache.entry import SubjectTags

__all__ = ["DecodedVectors", "FloatArray", "decode_vector", "decode_vectors", "encode_vector", "encode_vectors"]
_HEADER_WORDS = HEADER_BYTES // 4
_BLOCK_ROWS = 16
_FEWEST_JOINED = 2
_FORMATS = {  # the second word of an entry: element type and padding
    int.from_bytes(bytes((VERSION, 0, kind, padding)), "little"): (kind, padding)
    for kind in DTYPES
    for padding in PADDINGS[kind]
}
FLOAT32_FORMAT = int.from_bytes(bytes((VERSION, 0, ElementType.FLOAT32, 0)), "little")
_MAGIC_WORD = int.from_bytes(MAGIC, "little")
_FORMAT, _CREATED, _TTL, _MADE, _SCALE, _NORM, _KEY_ID = 1, 2, 3, 4, 5, 6, 7
_TAG, _SUBJECTS, _SIZE, _SUM = 8, 10, 14, 15


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


def entry_size_bytes(width: int, element_type: ElementType) -> int:
    """The size of the entry of one vector of a width."""
    n_bytes = DTYPES[element_type].itemsize * width
    return HEADER_BYTES + n_bytes + -n_bytes % 4


def encode_vectors(
    vectors: FloatArray,
    key_tags: bytes,
    *,
    created_s: int,
    ttl_s: int,
    made_ms: int = 0,
    tags: SubjectTags = ABOUT_NOBODY,
    element_type: ElementType = ElementType.FLOAT32,
) -> list[memoryview]:
    """Write one entry for each row of a matrix.

    Args:
        vectors: float32, shape (n, d), finite. Not modified.
        key_tags: 8 bytes for each row, joined.
        created_s: seconds since the epoch.
        ttl_s: seconds that the entries may be served.
        made_ms: what making one row took.
        tags: whom the entries are about.
        element_type: what the numbers are stored as.

    Returns:
        n views of 64 + 4 d bytes (float16: 2 d, int8: d, both in whole words), one buffer behind all.
    """
    n, d = vectors.shape
    if not n:
        return []
    numbers, scales = to_numbers(vectors, element_type)
    padding = -numbers.itemsize * d % 4
    words = np.zeros((n, _HEADER_WORDS + (numbers.itemsize * d + padding) // 4), dtype="<u4")
    words[:, 0] = _MAGIC_WORD
    words[:, _FORMAT] = int.from_bytes(bytes((VERSION, 0, element_type, padding)), "little")
    words[:, _CREATED] = created_s
    words[:, _TTL] = ttl_s
    words[:, _MADE] = min(made_ms, 2**32 - 1)
    words[:, _SCALE] = scales.view("<u4")
    words[:, _NORM] = _inverse_norms(to_vectors(numbers, scales)).view("<u4")
    words[:, _TAG : _TAG + 2] = np.frombuffer(key_tags, dtype="<u4").reshape(n, 2)
    words[:, _SUBJECTS:_SIZE] = np.frombuffer(b"".join(tags), dtype="<u4")
    words[:, _SIZE] = numbers.itemsize * d + padding
    words[:, _HEADER_WORDS:].view(DTYPES[element_type])[:, :d] = numbers
    words[:, _SUM] = -words.sum(axis=1, dtype=np.uint32)
    entries, size_bytes = words.data.cast("B"), words.strides[0]
    return [entries[start : start + size_bytes] for start in range(0, len(entries), size_bytes)]


def decode_vectors(
    raws: Sequence[bytes | None] | Block,
    key_tags: bytes,
    *,
    now_s: float,
    element_type: ElementType = ElementType.FLOAT32,
) -> DecodedVectors:
    """Read the entries of a batch; what is absent, stale, unusable or of an element type that does not fit is no hit.

    Args:
        raws: what the store gave for each key.
        key_tags: 8 bytes for each key, joined.
        now_s: seconds since the epoch, to judge freshness.
        element_type: what is asked for: as what vectors that are missing would be stored.

    Returns:
        The hits. When all are whole, fresh, of one width and of one type: a writable array of shape (n, d), not shared;
        of float32 that is asked for a view into one buffer, a new one or that of the block.
    """
    words = _in_place(raws) if isinstance(raws, Block) else _joined(raws)
    if words is not None and _are_proven(words, key_tags, now_s):
        kind, padding = _FORMATS[int(words[0, _FORMAT])]
        if _may_serve(kind, element_type):
            made_ms = int(words[:, _MADE].sum(dtype=np.uint64))
            vectors = _vectors_of(words, kind, padding)
            served = vectors if kind is element_type else as_stored(vectors, element_type)
            return DecodedVectors(served, list(range(len(words))), {}, made_ms)
    return _decode_each(raws.values() if isinstance(raws, Block) else raws, key_tags, now_s, element_type)


def _in_place(block: Block) -> npt.NDArray[np.uint32] | None:
    """The entries of a block as rows of words, where they are; `None` if they are no vectors."""
    size_bytes = block.memory.shape[1]
    return block.memory.view("<u4") if size_bytes > HEADER_BYTES and size_bytes % 4 == 0 else None


def _may_serve(stored: ElementType, asked: ElementType) -> bool:
    return stored in {asked, ElementType.FLOAT32}


def _vectors_of(words: npt.NDArray[np.uint32], kind: ElementType, padding: int) -> FloatArray:
    """The vectors in the proven words of a batch."""
    numbers = words[:, _HEADER_WORDS:].view(DTYPES[kind])
    d = numbers.shape[1] - padding // numbers.itemsize
    return to_vectors(numbers[:, :d], words[:, _SCALE].view("<f4"))


def _joined(raws: Sequence[bytes | None]) -> npt.NDArray[np.uint32] | None:
    """Entries of one size as rows of words, in a new buffer; `None` where they are of several, or some are absent."""
    if len(raws) < _FEWEST_JOINED:
        return None
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
    return (
        int(heads[0, _FORMAT]) in _FORMATS
        and not words.sum(axis=1, dtype=np.uint32).any()
        and are_current(heads, size_bytes, key_tags, now_s)
    )


def are_current(heads: npt.NDArray[np.uint32], size_bytes: int, key_tags: bytes, now_s: float) -> bool:
    """Say whether headers are all of fresh entries of one format and size under these keys.

    Args:
        heads: shape (n, 16); the format is that of the first.
        size_bytes: of each payload.
        key_tags: 8 bytes for each header, joined.
        now_s: seconds since the epoch, to judge freshness.
    """
    said = (_MAGIC_WORD, heads[0, _FORMAT], size_bytes, 0)
    return (
        bool((heads[:, (0, _FORMAT, _SIZE, _KEY_ID)] == np.array(said, dtype=np.uint32)).all())
        and heads[:, _TAG : _TAG + 2].tobytes() == key_tags
        and bool((heads[:, _CREATED].astype(np.int64) + heads[:, _TTL]).min() > now_s)
    )


def _decode_each(
    raws: Sequence[bytes | None], key_tags: bytes, now_s: float, element_type: ElementType
) -> DecodedVectors:
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
        if header.is_fresh(now_s) and _may_serve(header.element_type, element_type):
            is_whole = header.element_type is element_type
            vectors.append(vector if is_whole else as_stored(vector[None, :], element_type)[0])
            rows.append(row)
            made_ms += header.made_ms
    if len(raws) == len(vectors) == 1:
        return DecodedVectors(vectors[0][None, :].copy(), rows, unreadable, made_ms)
    return DecodedVectors(vectors, rows, unreadable, made_ms)


def decode_vector(raw: bytes, key_tag: bytes) -> tuple[Header, FloatArray]:
    """Read one entry.

    Returns:
        The header, and float32 of shape (d,), perhaps a read-only view.

    Raises:
        EntryError: the bytes are no vector of this key.
    """
    header, payload = unpack_entry(raw, key_tag)
    if header.element_type not in DTYPES or not payload:
        raise DecodeError("expected a vector, got an entry of another kind")
    numbers = np.frombuffer(payload, dtype=DTYPES[header.element_type])
    if header.element_type is ElementType.FLOAT32:
        return header, numbers
    return header, to_vectors(numbers[None, :], np.array([header.scale], dtype=np.float32))[0]


def encode_vector(vector: FloatArray, header: Header) -> bytes:
    """Write one entry of float32; the header's element type and norm follow from the vector."""
    [inverse_norm] = _inverse_norms(vector[None, :]).tolist()
    complete = header._replace(element_type=ElementType.FLOAT32, inverse_norm=inverse_norm)
    return pack_entry(complete, vector.astype("<f4").tobytes())


def _inverse_norms(vectors: FloatArray) -> FloatArray:
    squares = np.empty(len(vectors))
    for start in range(0, len(vectors), _BLOCK_ROWS):  # all at once in float64, they would leave the processor's cache
        wide = vectors[start : start + _BLOCK_ROWS].astype(np.float64)
        squares[start : start + _BLOCK_ROWS] = np.vecdot(wide, wide)
    norms = np.sqrt(squares)
    inverse = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
    capped: FloatArray = np.minimum(inverse, np.finfo(np.float32).max).astype("<f4")
    return capped
