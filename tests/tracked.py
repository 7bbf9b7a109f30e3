"""A store in memory whose changes are told when the test says so, and entries to put into it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
from typing_extensions import override

from cache.codecs.vectors import encode_vectors
from cache.entry import Header, pack_entry
from cache.keys import content_hash, key_tag
from cache.stores.base import TrackedStore, Tracking
from cache.stores.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cache.clock import Clock
    from cache.codecs.vectors import FloatArray
    from cache.stores.base import Tell


def key_of(number: int, *, before: str = "emb:m:") -> str:
    """A key of an entry."""
    return f"{before}{content_hash(number)}"


def tags_of(keys: Sequence[str]) -> bytes:
    """The tags of keys, joined."""
    return b"".join(map(key_tag, keys))


def answer_of(
    key: str, *, size_bytes: int = 100, fill: bytes = b"x", ttl_s: int = 600, now_s: float | None = None
) -> bytes:
    """An entry that holds bytes."""
    created_s = int(time.time() if now_s is None else now_s)
    return pack_entry(Header(key_tag(key), created_s=created_s, ttl_s=ttl_s), fill * size_bytes)


def vectors_of(
    keys: Sequence[str], vectors: FloatArray, *, ttl_s: int = 600, now_s: float | None = None
) -> list[tuple[str, bytes]]:
    """Entries that hold vectors, with their keys."""
    created_s = int(time.time() if now_s is None else now_s)
    entries = encode_vectors(vectors, tags_of(keys), created_s=created_s, ttl_s=ttl_s)
    return [(key, bytes(entry)) for key, entry in zip(keys, entries, strict=True)]


def random_vectors(n: int, width: int, seed: int = 7) -> FloatArray:
    """float32, shape (n, width)."""
    return np.random.default_rng(seed).standard_normal((n, width), dtype=np.float32)


class ScriptedTracking(Tracking):
    """Says that all changes are told, or not, as it is told itself.

    Attributes:
        is_heard: whether all that happened has been told.
        closed: how often it was closed.
    """

    def __init__(self, tell: Tell) -> None:
        self.tell = tell
        self.is_heard = True
        self.closed = 0
        self._prefixes: tuple[str, ...] = ()

    @override
    def want(self, prefixes: Sequence[str]) -> None:
        self._prefixes = (*self._prefixes, *(prefix for prefix in prefixes if prefix not in self._prefixes))

    @property
    @override
    def prefixes(self) -> tuple[str, ...]:
        return self._prefixes if self.is_heard else ()

    @property
    @override
    def proven_s(self) -> float:
        return time.monotonic() if self.is_heard else float("-inf")

    @override
    def close(self) -> None:
        self.closed += 1
        self._prefixes = ()

    def lose(self) -> None:
        """Hear nothing any more."""
        self.is_heard = False
        self.tell(None)


class TrackedMemory(MemoryStore, TrackedStore):
    """A store in memory that does not tell of changes by itself: the test does.

    Attributes:
        trackings: those that were asked for, in order.
        read: the keys of each read that came this far.
        meanwhile: called once, after a read has found its values and before it gives them.
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        super().__init__(clock=clock)
        self.trackings: list[ScriptedTracking] = []
        self.read: list[list[str]] = []
        self.meanwhile: Callable[[], object] | None = None

    @property
    def tracking(self) -> ScriptedTracking:
        """The last one that was asked for."""
        return self.trackings[-1]

    @override
    def track(self, tell: Tell) -> Tracking:
        self.trackings.append(ScriptedTracking(tell))
        return self.tracking

    @override
    def mget(self, keys: Sequence[str], *, expect_bytes: int = 0) -> list[bytes | None]:
        self.read.append(list(keys))
        values = super().mget(keys)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return values

    @override
    async def amget(self, keys: Sequence[str], *, expect_bytes: int = 0) -> list[bytes | None]:
        return self.mget(keys, expect_bytes=expect_bytes)
