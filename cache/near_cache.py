"""`NearCache`: entries of a server kept in this process, as long as the server is heard to tell of changes.

How old can it be what is served? An entry that anybody deletes, replaces or lets expire is dropped when the server's
word of it arrives, usually within a millisecond. That word can be late, but not without end: nothing is served unless
the server has proven within the last three seconds that all had been told up to then. So what was deleted before a
read began is never served once the word has arrived, nor in any case more than three seconds after the deletion.
While the server is not heard, nothing is kept and nothing is served; after that, everything begins anew.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Self

from cache.arena import Arena
from cache.clock import Clock, SystemClock
from cache.keys import Kind, key_prefix

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cache.codecs.vectors import DecodedVectors
    from cache.stores.base import Tell, TrackedStore, Tracking

MAX_SILENCE_S = 3.0
MAX_NAMESPACES = 16  # a server compares each key that is written with every beginning that it is asked for
_MAX_REMEMBERED = 10_000
_NOT_KEPT = {Kind.SESSION, Kind.HEALTH, Kind.STATS, Kind.CORPUS}  # changing under their keys, or large
_BEGINNINGS = tuple(key_prefix(kind, None) for kind in Kind if kind not in _NOT_KEPT)


class NearCache:
    """Entries of one server, for all stores of this process that are on it.

    Args:
        max_bytes: how much memory they may take, keys included; a single entry over 128 KiB is never kept.
        clock: where the time comes from.
    """

    def __init__(self, max_bytes: int, *, clock: Clock | None = None) -> None:
        self._max_bytes = max_bytes
        self._clock = clock or SystemClock()
        self._n_changes = 0
        self._begin_anew()
        _all.add(self)

    def _begin_anew(self) -> None:
        """Start with nothing, as a forked child must: its parent's threads and connections are not its own."""
        self._lock = threading.Lock()
        self._users: weakref.WeakSet[TrackedStore] = weakref.WeakSet()
        self._tracking: Tracking | None = None
        self._namespaces: set[str] = set()
        self._arena = Arena(self._max_bytes)
        self._n_changes += 1
        self._all_changed_at = self._n_changes
        self._changed_at: dict[str, int] = {}  # of what is being fetched, and perhaps of more
        self._n_fetching = 0

    @property
    def is_heard(self) -> bool:
        """Whether the server has said of late that it has told of all changes."""
        tracking = self._tracking
        return tracking is not None and time.monotonic() < tracking.proven_s + MAX_SILENCE_S

    @property
    def size_bytes(self) -> int:
        """How much memory is in use, keys included."""
        return self._arena.size_bytes

    def read(self, keys: Sequence[str]) -> list[bytes | None]:
        """Entries as they are stored, in the order of their keys; `None` where there is none."""
        if not self._arena or not self.is_heard:
            return [None] * len(keys)
        now_s = self._clock.now_s()
        with self._lock:
            arena = self._arena
            return [arena.get(key, now_s=now_s) for key in keys]

    def vectors(self, keys: Sequence[str], key_tags: bytes) -> DecodedVectors | None:
        """The vectors of a batch as one new array; `None` unless all are here and fresh.

        Args:
            keys: of the entries; at least one.
            key_tags: 8 bytes for each key, joined.
        """
        if not self._arena or not self.is_heard:
            return None
        with self._lock:
            return self._arena.vectors(keys, key_tags, now_s=self._clock.now_s())

    def drop(self, keys: Sequence[str] | None) -> None:
        """Forget entries, or all; also those that are being fetched at the moment."""
        with self._lock:
            self._n_changes += 1
            if keys is None:
                self._all_changed_at = self._n_changes
                self._arena.clear()
            else:
                self._drop(keys)

    def _drop(self, keys: Sequence[str]) -> None:
        self._arena.drop(keys)
        if self._n_fetching:
            self._changed_at.update(dict.fromkeys(keys, self._n_changes))
            if len(self._changed_at) > _MAX_REMEMBERED:
                self._changed_at.clear()
                self._all_changed_at = self._n_changes

    def fetching(self, store: TrackedStore, keys: Sequence[str]) -> Fetch:
        """A block in which entries, one at least, are read from the server, so that they can be kept."""
        if self._tracking is None or store not in self._users:
            self._enter(store)
        self._want(keys)
        return Fetch(self)

    def leave(self, store: TrackedStore) -> None:
        """Take note that a store is closed; with the last of them goes everything."""
        with self._lock:
            self._users.discard(store)
            if self._users:
                return
            tracking, self._tracking = self._tracking, None
            self._n_changes += 1
            self._all_changed_at = self._n_changes
            self._arena = Arena(self._max_bytes)  # the memory of the old one goes back to the system
            self._namespaces = set()
        if tracking is not None:
            tracking.close()

    def _enter(self, store: TrackedStore) -> None:
        with self._lock:
            self._users.add(store)
            if self._tracking is None:
                self._tracking = store.track(_teller(self))

    def _want(self, keys: Sequence[str]) -> None:
        """Have changes of keys such as these told, unless they are."""
        namespace, tracking = _namespace_of(keys[0]), self._tracking
        if namespace is None or tracking is None or namespace + _BEGINNINGS[0] in tracking.prefixes:
            return
        with self._lock:
            if namespace not in self._namespaces and len(self._namespaces) == MAX_NAMESPACES:
                return
            self._namespaces.add(namespace)
        tracking.want([namespace + beginning for beginning in _BEGINNINGS])

    def _begin(self) -> tuple[int, tuple[str, ...]]:
        with self._lock:
            self._n_fetching += 1
            ticket = self._n_changes
        # The ticket comes first: when the server is lost after it, all has changed since.
        tracking = self._tracking
        return ticket, tracking.prefixes if tracking is not None else ()

    def _end(self, pairs: Sequence[tuple[str, bytes]], ticket: int) -> None:
        now_s = self._clock.now_s()
        with self._lock:
            self._n_fetching = max(0, self._n_fetching - 1)  # a forked child has begun nothing
            if pairs and ticket >= self._all_changed_at and self._tracking is not None:
                changed_at = self._changed_at
                self._arena.put([pair for pair in pairs if changed_at.get(pair[0], 0) <= ticket], now_s=now_s)
            if not self._n_fetching:
                self._changed_at.clear()


class Fetch:
    """What one caller reads from the server; at the end of the block, what nobody has changed meanwhile is kept."""

    def __init__(self, near: NearCache) -> None:
        self._near = near
        self._pairs: list[tuple[str, bytes]] = []

    def __enter__(self) -> Self:
        self._ticket, self._prefixes = self._near._begin()  # noqa: SLF001  a part of it
        return self

    def __exit__(self, *_: object) -> None:
        self._near._end(self._pairs, self._ticket)  # noqa: SLF001  as above

    def keep(self, keys: Iterable[str], values: Iterable[bytes | None]) -> None:
        """Note what was read, to be kept."""
        prefixes = self._prefixes
        if prefixes:
            found = zip(keys, values, strict=True)
            self._pairs += [(key, value) for key, value in found if value is not None and key.startswith(prefixes)]


def _teller(near: NearCache) -> Tell:
    reference = weakref.ref(near)

    def tell(keys: Sequence[str] | None) -> None:
        found = reference()
        if found is not None:
            found.drop(keys)

    return tell


def _namespace_of(key: str) -> str | None:
    """What stands before the kind in a key: a namespace and its separator, or nothing; `None` if it is not kept."""
    if key.startswith(_BEGINNINGS):
        return ""
    namespace, separator, rest = key.partition(":")
    return namespace + separator if rest.startswith(_BEGINNINGS) else None


_all: weakref.WeakSet[NearCache] = weakref.WeakSet()


def _begin_anew_after_fork() -> None:
    for near in list(_all):
        near._begin_anew()  # noqa: SLF001  a lock held by another thread at the fork would stay locked


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_begin_anew_after_fork)
