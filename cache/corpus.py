"""A corpus of vectors in the store: an index in a few hundred large entries instead of one for each row.

A row belongs to a bucket by the hash of its id, and a bucket is one entry of up to about 4 MiB. So rows that come or go
change their own blocks and no other, whatever the order; a block that is absent, stale or damaged costs its own rows,
which are then read from their single entries, or embedded again; and loading or saving that was broken off goes on
where it was. Each block is an operation of its own, with its own deadline.
"""

from __future__ import annotations

import logging
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cache.clock import Clock, SystemClock
from cache.codecs.rows import Rows, decode_rows, encode_rows
from cache.counters import Counters, Counts
from cache.entry import ElementType, Header, pack_entry, unpack_entry
from cache.errors import CacheError, ConfigurationError, DecodeError, DimensionMismatchError, EntryError
from cache.keys import HASH_BYTES, ContentHasher, Field, Key, Kind, build_key, check_namespace, key_tag
from cache.opening import store_for
from cache.settings import CacheSettings, check_ttl
from cache.vector_index import VectorIndex

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_core.stores import ByteStore

BLOCK_BYTES = 4 * 2**20
_FULL = 7 / 8  # what a bucket holds on the average, at most: they are not all equally full
_EXTRA_BYTES = 1024  # for the id and the caller's bytes of a row
_log = logging.getLogger("resumecache")


class CorpusCache:
    """Keeps the rows of one corpus in blocks. A failing store is as one that holds nothing.

    Args:
        name: of the corpus, as it stands in the keys.
        store: where blocks live.
        width: numbers in a vector.
        variant: what rows depend on besides their ids: the model and its parameters, the version of the extras.
        ttl_s: seconds that blocks live; `None` is the setting for embeddings.
        namespace: the tenant; `None` is the setting.
        settings: `None` reads the environment.
        counters: where hits and misses of blocks are counted.
        clock: where the time comes from.

    Raises:
        ConfigurationError: the width is none.
        InvalidKeyError: the name or the namespace cannot stand in a key.
        InvalidTTLError: the time to live cannot be used.
    """

    def __init__(
        self,
        name: str,
        store: ByteStore,
        *,
        width: int,
        variant: Sequence[Field] = (),
        ttl_s: int | None = None,
        namespace: str | None = None,
        settings: CacheSettings | None = None,
        counters: Counters | None = None,
        clock: Clock | None = None,
    ) -> None:
        settings = settings or CacheSettings()
        if width < 1:
            raise ConfigurationError(f"width: expected at least 1 number in a vector, got {width}")
        self.name = name
        self.width = width
        self._namespace = check_namespace(settings.namespace if namespace is None else namespace)
        self._ttl_s = check_ttl(settings.ttl_s(Kind.CORPUS) if ttl_s is None else ttl_s)
        self._counters = counters or Counters()
        self._clock = clock or SystemClock()
        self.store = store_for(Kind.CORPUS, store, settings, self._counters)
        secret = settings.secret_bytes()
        self._hasher = ContentHasher((Kind.CORPUS, name, width, *variant), secret=secret)
        self._placer = ContentHasher((Kind.CORPUS,), secret=secret)
        self._stored: dict[str, tuple[list[str], list[bytes]]] = {}
        self._key(0, 1)  # a name that cannot stand in a key shows now

    def counts(self) -> Counts:
        """What became of the blocks; `made` stays 0, as rows are made by others."""
        return self._counters.snapshot()

    def load(self, ids: Sequence[str]) -> VectorIndex:
        """Read the rows that are stored.

        Args:
            ids: of the whole corpus. An id must stand for all that its row depends on, but for the variant: a hash of
                the document.

        Returns:
            An index with the rows that were found; add the others and `save` it.
        """
        index = VectorIndex(self.width, capacity=len(ids))
        for key, wanted in self._blocks(ids):
            self._take(index, key, wanted, self.store.mget([key], expect_bytes=BLOCK_BYTES)[0])
        return index

    async def aload(self, ids: Sequence[str]) -> VectorIndex:
        """Asynchronous twin of `load`."""
        index = VectorIndex(self.width, capacity=len(ids))
        for key, wanted in self._blocks(ids):
            self._take(index, key, wanted, (await self.store.amget([key], expect_bytes=BLOCK_BYTES))[0])
        return index

    def save(self, index: VectorIndex) -> bool:
        """Write the blocks that are not in the store as far as this object knows.

        Returns:
            True when the store has confirmed all of them; those that it has not are written the next time.
        """
        n_failed = 0
        for block in self._new(index):
            n_failed += not self._note(block, self.store.save([block.entry], ttl_s=self._ttl_s))
        return not n_failed

    async def asave(self, index: VectorIndex) -> bool:
        """Asynchronous twin of `save`."""
        n_failed = 0
        for block in self._new(index):
            n_failed += not self._note(block, await self.store.asave([block.entry], ttl_s=self._ttl_s))
        return not n_failed

    def _blocks(self, ids: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
        """The key of each block, and which ids it holds, in order."""
        n_buckets = self._n_buckets(len(ids))
        starts = np.frombuffer(self._placer.digests(ids), dtype="<u8")[:: HASH_BYTES // 8]
        buckets = (starts % n_buckets).astype(np.intp)
        order = np.argsort(buckets, kind="stable")
        bounds = np.searchsorted(buckets[order], np.arange(n_buckets + 1))
        for bucket, (start, end) in enumerate(pairwise(bounds.tolist())):
            if start < end:
                yield self._key(bucket, n_buckets), sorted({ids[at] for at in order[start:end].tolist()})

    def _n_buckets(self, n_rows: int) -> int:
        """A power of two, so that it seldom changes: with it all blocks do."""
        n_bytes = n_rows * (4 * self.width + _EXTRA_BYTES)
        return 1 << max(0, int(np.ceil(np.log2(max(1, n_bytes) / (_FULL * BLOCK_BYTES)))))

    def _key(self, bucket: int, n_buckets: int) -> str:
        digest = self._hasher.digest(bucket, n_buckets).hex()
        return build_key(Key(Kind.CORPUS, digest, corpus=self.name, namespace=self._namespace))

    def _take(self, index: VectorIndex, key: str, wanted: list[str], raw: bytes | None) -> None:
        rows = self._read(key, raw)
        self._counters.add(hits=int(rows is not None), misses=int(rows is None))
        self._stored.pop(key, None)
        if rows is None:
            return
        try:
            index.add(*(rows if rows.ids == wanted else _chosen(rows, wanted)))
        except CacheError as error:
            self._refuse(key, error)
            return
        self._stored[key] = (rows.ids, rows.extras)

    def _read(self, key: str, raw: bytes | None) -> Rows | None:
        if raw is None:
            return None
        try:
            header, payload = unpack_entry(raw, key_tag(key))
            if header.element_type is not ElementType.ROWS:
                raise DecodeError("expected a block of rows, got an entry of another kind")
            rows = decode_rows(payload)
            if rows.vectors.shape[1] != self.width:
                raise DimensionMismatchError(f"expected rows {self.width} wide, got {rows.vectors.shape[1]}")
        except EntryError as error:
            self._refuse(key, error)
            return None
        return rows if header.is_fresh(self._clock.now_s()) else None

    def _refuse(self, key: str, error: CacheError) -> None:
        self._counters.add_reason("unreadable", type(error).__name__)
        _log.warning("cache entry %s cannot be used (%s), it will be replaced", key, error)

    def _new(self, index: VectorIndex) -> Iterator[_Block]:
        """Blocks that are not stored as they are now, made one after the other."""
        for key, ids in self._blocks(index.ids):
            extras = [index.extra_of(id_) for id_ in ids]
            if self._stored.get(key) != (ids, extras):
                header = Header(key_tag(key), int(self._clock.now_s()), self._ttl_s, element_type=ElementType.ROWS)
                yield _Block(key, ids, extras, pack_entry(header, encode_rows(ids, index.vectors(ids), extras)))

    def _note(self, block: _Block, is_stored: bool) -> bool:  # noqa: FBT001  what the store has answered
        if is_stored:
            self._stored[block.key] = (block.ids, block.extras)
        return is_stored


def _chosen(rows: Rows, wanted: Sequence[str]) -> Rows:
    places = {id_: at for at, id_ in enumerate(rows.ids)}
    at = [places[id_] for id_ in wanted if id_ in places]
    return Rows([rows.ids[n] for n in at], rows.vectors[at], [rows.extras[n] for n in at])


class _Block(NamedTuple):
    """One entry of a corpus."""

    key: str
    ids: list[str]
    extras: list[bytes]
    raw: bytes

    @property
    def entry(self) -> tuple[str, bytes]:
        return self.key, self.raw
