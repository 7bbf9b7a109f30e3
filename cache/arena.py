"""Entries in one block of memory: found by key, read in batches, dropped a slab at a time. Pure.

An entry lies whole and in one piece, header and payload, at a multiple of 64 bytes. So every vector of one width is a
row of one overlapping view of the block, and a batch of them is one array operation, wherever they lie. Entries are
put one after the other into slabs of 128 KiB. When there is no room, the slab that was used least recently goes, with
all that is in it: what came together is mostly used together, a batch of thousands notes its use in one array
operation, and entries of all sizes share the block without leaving holes that nothing fits into.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cache.codecs.vectors import FLOAT32_FORMAT, DecodedVectors, are_current
from cache.entry import HEADER_BYTES, MAGIC, VERSION, ElementType

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cache.codecs.vectors import FloatArray

SLAB_BYTES = 128 * 2**10
OVERHEAD_BYTES = 320  # of an entry: its key, and what is needed to find it
_GRANULE_BYTES = HEADER_BYTES
_SLAB_GRANULES = SLAB_BYTES // _GRANULE_BYTES
_FREE = np.iinfo(np.int64).max
_MAGIC_WORD = int.from_bytes(MAGIC, "little")
_FORMAT, _CREATED, _TTL, _MADE, _SIZE = 1, 2, 3, 4, 14


class Arena:
    """Entries by key, in no more memory than was agreed on; for one thread at a time.

    Args:
        max_bytes: of memory, keys included; nothing is kept in less than one slab. What was never used of it is not
            taken from the system.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        n_slabs = max_bytes // SLAB_BYTES
        self._memory = np.empty(n_slabs * SLAB_BYTES, dtype=np.uint8)
        self._heads = self._memory.view("<u4").reshape(-1, _GRANULE_BYTES // 4)
        self._views: dict[int, FloatArray] = {}
        self._places: dict[str, int] = {}
        self._keys: list[list[str]] = [[] for _ in range(n_slabs)]
        self._n_alive = [0] * n_slabs
        self._used = np.full(n_slabs, _FREE, dtype=np.int64)
        self._free = list(range(n_slabs))[::-1]
        self._n_uses = 0
        self._open: int | None = None
        self._n_filled = 0  # granules of the slab that is open

    def __len__(self) -> int:
        return len(self._places)

    @property
    def size_bytes(self) -> int:
        """What is in use, keys included."""
        n_slabs = len(self._n_alive) - len(self._free)
        return n_slabs * SLAB_BYTES + len(self._places) * OVERHEAD_BYTES

    def get(self, key: str, *, now_s: float) -> bytes | None:
        """An entry as it was put; `None` where there is none, or it may not be served any more."""
        place = self._places.get(key)
        if place is None:
            return None
        _, _, created_s, ttl_s, *_, size_bytes, _ = self._heads[place].tolist()
        if now_s >= created_s + ttl_s:
            self.drop([key])
            return None
        self._touch(place // _SLAB_GRANULES)
        start = place * _GRANULE_BYTES
        return self._memory[start : start + HEADER_BYTES + size_bytes].tobytes()

    def vectors(self, keys: Sequence[str], key_tags: bytes, *, now_s: float) -> DecodedVectors | None:
        """The vectors of a batch, all at once; `None` unless each is there, fresh, of float32, and of one width.

        Args:
            keys: of the entries; at least one.
            key_tags: 8 bytes for each key, joined.
            now_s: seconds since the epoch, to judge freshness.
        """
        found = list(map(self._places.get, keys))
        if None in found:
            return None
        places: npt.NDArray[np.int64] = np.array(found, dtype=np.int64)
        heads = self._heads.take(places, axis=0)
        size_bytes = int(heads[0, _SIZE])
        is_float32 = int(heads[0, _FORMAT]) == FLOAT32_FORMAT
        if not size_bytes or not is_float32 or not are_current(heads, size_bytes, key_tags, now_s):
            return None
        self._touch(places // _SLAB_GRANULES)
        made_ms = int(heads[:, _MADE].sum(dtype=np.uint64))
        return DecodedVectors(self._rows(size_bytes // 4)[places], range(len(keys)), {}, made_ms)

    def put(self, pairs: Iterable[tuple[str, bytes]], *, now_s: float) -> None:
        """Keep entries that are whole and fresh; others, and such as are larger than a slab, are passed over."""
        by_size: dict[int, list[tuple[str, bytes]]] = {}
        for key, raw in pairs:
            by_size.setdefault(len(raw), []).append((key, raw))
        for size_bytes, some in by_size.items():
            if HEADER_BYTES <= size_bytes <= SLAB_BYTES <= self._max_bytes:
                entries = np.frombuffer(b"".join([raw for _, raw in some]), dtype=np.uint8).reshape(-1, size_bytes)
                are_good = _are_good(entries, now_s).tolist()
                keys = [key for (key, _), is_good in zip(some, are_good, strict=True) if is_good]
                self._append(keys, entries if len(keys) == len(some) else entries[are_good])

    def drop(self, keys: Iterable[str]) -> None:
        """Forget entries; absent ones are no error."""
        for key in keys:
            place = self._places.pop(key, None)
            if place is not None:
                slab = place // _SLAB_GRANULES
                self._n_alive[slab] -= 1
                if not self._n_alive[slab]:
                    self._vacate(slab)

    def clear(self) -> None:
        """Forget everything."""
        self._places.clear()
        for slab, used in enumerate(self._used.tolist()):
            if used != _FREE:
                self._vacate(slab)

    def _append(self, keys: Sequence[str], entries: npt.NDArray[np.uint8]) -> None:
        n, size_bytes = entries.shape
        pitch = -(-size_bytes // _GRANULE_BYTES)
        at = 0
        while at < n:
            slab, n_fitting = self._slab_with_room(pitch)
            n_now = min(n_fitting, n - at)
            place = slab * _SLAB_GRANULES + self._n_filled
            start, room_bytes = place * _GRANULE_BYTES, pitch * _GRANULE_BYTES
            rows = self._memory[start : start + n_now * room_bytes].reshape(n_now, room_bytes)
            rows[:, :size_bytes] = entries[at : at + n_now]
            self._n_filled += n_now * pitch
            self._n_alive[slab] += n_now  # before equal keys are dropped, so that the slab is not given up
            self._touch(slab)
            self._place(keys[at : at + n_now], slab, place, pitch)
            at += n_now

    def _place(self, keys: Sequence[str], slab: int, place: int, pitch: int) -> None:
        self._keys[slab] += keys
        for n, key in enumerate(keys):
            if key in self._places:
                self.drop([key])
            self._places[key] = place + n * pitch

    def _slab_with_room(self, pitch: int) -> tuple[int, int]:
        """The open slab, and how many entries of so many granules fit into it: at least one."""
        n_fitting = (_SLAB_GRANULES - self._n_filled) // pitch
        if self._open is None or not n_fitting:
            self._open = None
            while not self._free or self._is_full():
                self._evict()
            self._open, self._n_filled = self._free.pop(), 0
            n_fitting = _SLAB_GRANULES // pitch
        return self._open, n_fitting

    def _is_full(self) -> bool:
        return bool(self._places) and self.size_bytes + SLAB_BYTES > self._max_bytes

    def _evict(self) -> None:
        slab = int(self._used.argmin())
        for key in self._keys[slab]:
            place = self._places.get(key)
            if place is not None and place // _SLAB_GRANULES == slab:
                del self._places[key]
        self._vacate(slab)

    def _vacate(self, slab: int) -> None:
        self._keys[slab] = []
        self._n_alive[slab] = 0
        self._used[slab] = _FREE
        self._free.append(slab)
        if slab == self._open:
            self._open = None

    def _touch(self, slabs: int | npt.NDArray[np.int64]) -> None:
        self._n_uses += 1
        self._used[slabs] = self._n_uses

    def _rows(self, width: int) -> FloatArray:
        """Every place in memory as the start of an entry: the vectors, of this width, that would follow there."""
        view = self._views.get(width)
        if view is None:
            n = (self._memory.size - HEADER_BYTES - 4 * width) // _GRANULE_BYTES + 1
            numbers = self._memory[HEADER_BYTES:].view("<f4")
            view = np.lib.stride_tricks.as_strided(numbers, (n, width), (_GRANULE_BYTES, 4), writeable=False)
            self._views[width] = view
        return view


def _are_good(entries: npt.NDArray[np.uint8], now_s: float) -> npt.NDArray[Any]:
    """Say of each entry whether it may be kept; a vector's checksum is proven here, once for all reads."""
    size_bytes = entries.shape[1]
    heads = entries[:, :HEADER_BYTES].view("<u4")
    are_ours = (heads[:, 0] == _MAGIC_WORD) & (heads[:, _SIZE] == size_bytes - HEADER_BYTES)
    are_fresh = heads[:, _CREATED].astype(np.int64) + heads[:, _TTL] > now_s
    is_version = entries[:, 4] == VERSION
    are_vectors = entries[:, 6] == ElementType.FLOAT32
    if size_bytes % 4:
        are_proven = ~are_vectors
    else:
        are_proven = ~are_vectors | (entries.view("<u4").sum(axis=1, dtype=np.uint32) == 0)
    good: npt.NDArray[Any] = are_ours & are_fresh & is_version & are_proven
    return good
