"""What all processes have counted: each writes its own numbers, and whoever asks adds them up.

A process writes a snapshot of all that it has counted so far into a slot of its own, `stats:{slot}`, from a thread in
the background, at most every ten seconds, only when something has changed, and once more when its store is closed. So
no lookup becomes a write, no key is written by everybody, and a write that is lost loses nothing: the next one says it
all again. There are 128 slots, so that one round trip reads them all, however many entries there are. Who finds no free
slot takes the one that was written longest ago; a process that finds another in its slot moves.
"""

from __future__ import annotations

import logging
import os
import random
import secrets
import threading
import weakref
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from cache.clock import Clock, SystemClock
from cache.codecs.json import decode_json, encode_json
from cache.codecs.payloads import decode_payload, encode_payload
from cache.counters import Counters, Counts
from cache.entry import Header
from cache.errors import CacheError, EntryError
from cache.keys import Key, Kind, build_key, key_tag
from cache.settings import STATS_TTL_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cache.wrappers import SafeStore

_log = logging.getLogger("resumecache")

INTERVAL_S = 10.0
N_SLOTS = 128
_COMPRESS_OVER_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Usage(Counts):
    """What all processes have counted that have written within a day.

    Attributes:
        n_processes: how many there are; one that has opened several stores counts once for each.
        hit_ratio: hits by lookups; `None` before the first lookup.
    """

    n_processes: int = 0
    hit_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """What stands in a slot.

    Attributes:
        writer: who has written it.
        written_s: when, in seconds since the epoch.
        counts: what it has counted.
    """

    writer: str
    written_s: int
    counts: Counts


def slot_keys(namespace: str | None) -> list[str]:
    """The keys of all slots of a namespace, in order."""
    return [build_key(Key(Kind.STATS, component=str(slot), namespace=namespace)) for slot in range(N_SLOTS)]


def sum_up(keys: Sequence[str], raws: Sequence[bytes | None]) -> Usage:
    """Add up what was found in the slots; one who stands in two, as after a move, counts as it was last."""
    last: dict[str, _Snapshot] = {}
    for snapshot in filter(None, map(_read, keys, raws)):
        known = last.setdefault(snapshot.writer, snapshot)
        if known.written_s < snapshot.written_s:
            last[snapshot.writer] = snapshot
    total = Counts.total(snapshot.counts for snapshot in last.values())
    n_lookups = total.hits + total.misses
    return Usage(**asdict(total), n_processes=len(last), hit_ratio=total.hits / n_lookups if n_lookups else None)


def _read(key: str, raw: bytes | None) -> _Snapshot | None:
    """A snapshot; `None` where there is none, or none that this version can read."""
    if raw is None:
        return None
    try:
        header, payload = decode_payload(raw, key_tag(key))
        value: Any = decode_json(payload)
        return _Snapshot(value["writer"], header.created_s, Counts.of(value["counts"]))
    except (EntryError, KeyError, TypeError, ValueError, AttributeError) as error:
        _log.debug("the counts in %s cannot be used: %s", key, error)
        return None


class Reporter:
    """Writes what the caches on one store have counted in this process.

    Args:
        store: fails open, and counts for itself.
        interval_s: seconds between two snapshots, at least.
        clock: where the time comes from.

    Attributes:
        is_awake: whether a thread is going to write.
    """

    def __init__(self, store: SafeStore, *, interval_s: float = INTERVAL_S, clock: Clock | None = None) -> None:
        self._store = store
        self._interval_s = interval_s
        self._clock = clock or SystemClock()
        self._ledgers: dict[str | None, _Ledger] = {}
        self._renew()
        _reporters.add(self)

    def _renew(self) -> None:
        """Start with nothing counted and no thread, as a forked child must: what was counted is its parent's."""
        self._lock = threading.Lock()
        self._end = threading.Event()
        self.is_awake = False
        for ledger in self._ledgers.values():
            ledger.renew()

    def include(self, counters: Counters, namespace: str | None) -> None:
        """Have what is counted there from now on reported for a namespace."""
        with self._lock:
            ledger = self._ledgers.setdefault(namespace, _Ledger(namespace, self._clock, weakref.ref(self)))
        counters.add_total(ledger)

    def wake(self) -> None:
        """Take note that something has been counted: it is written in a while, by a thread that this may start."""
        with self._lock:
            if not self.is_awake:
                self.is_awake = True
                self._start()

    def write(self) -> None:
        """Write what has changed, now."""
        for ledger in self._changed():
            raws = self._store.mget(ledger.keys)
            ledger.was_written(is_done=self._store.save([ledger.entry(raws)], ttl_s=STATS_TTL_S))

    async def awrite(self) -> None:
        """Asynchronous twin of `write`."""
        for ledger in self._changed():
            raws = await self._store.amget(ledger.keys)
            ledger.was_written(is_done=await self._store.asave([ledger.entry(raws)], ttl_s=STATS_TTL_S))

    def close(self) -> None:
        """Write for the last time and end the thread; what is counted afterwards starts another."""
        self._sleep()
        self.write()

    async def aclose(self) -> None:
        """Asynchronous twin of `close`."""
        self._sleep()
        await self.awrite()

    def _changed(self) -> list[_Ledger]:
        with self._lock:
            return [ledger for ledger in self._ledgers.values() if ledger.has_changed()]

    def _start(self) -> None:
        self._end = end = threading.Event()
        args = (weakref.ref(self, lambda _: end.set()), end, self._interval_s)
        try:
            threading.Thread(target=_write_until_idle, args=args, name="resumecache-stats", daemon=True).start()
        except RuntimeError:  # no thread to be had, as at the end of the process
            self.is_awake = False

    def _sleep(self) -> None:
        with self._lock:
            self._end.set()
            self.is_awake = False

    def _write_if_changed(self, end: threading.Event) -> bool:
        """Write what has changed; False when there is nothing, and the thread may end."""
        if not self._changed():
            with self._lock:
                if not end.is_set():  # else another thread is awake by now
                    self.is_awake = False
            return False
        try:
            self.write()
        except CacheError:  # whatever it is, it is not worth more: the next snapshot says it all again
            _log.debug("the counts could not be written", exc_info=True)
        return True


def _write_until_idle(reference: weakref.ref[Reporter], end: threading.Event, interval_s: float) -> None:
    """Write again and again, as long as there is something to write and anybody holds the store."""
    while not end.wait(interval_s):
        reporter = reference()
        if reporter is None or not reporter._write_if_changed(end):  # noqa: SLF001  the other half of the class
            return
        del reporter


class _Ledger(Counters):
    """What all caches of a namespace have counted, and where it is written."""

    def __init__(self, namespace: str | None, clock: Clock, reporter: weakref.ref[Reporter]) -> None:
        super().__init__()
        self.keys = slot_keys(namespace)
        self._clock = clock
        self._reporter = reporter
        self._written: Counts | None = None
        self._given: Counts | None = None
        self._writer = secrets.token_hex(8)

    def renew(self) -> None:
        """Begin anew, as somebody else."""
        self.reset()
        self._written = None
        self._writer = secrets.token_hex(8)

    @override
    def add(self, **numbers: int) -> None:
        super().add(**numbers)
        self._changes()

    @override
    def add_reason(self, what: str, reason: str, n: int = 1) -> None:
        super().add_reason(what, reason, n)
        self._changes()

    def has_changed(self) -> bool:
        """Say whether there is something that was not written."""
        return self.snapshot() != (self._written or Counts())

    def entry(self, raws: Sequence[bytes | None]) -> tuple[str, bytes]:
        """The key and the bytes of the snapshot, given what stands in the slots."""
        key = self.keys[_slot_of(self._writer, [*map(_read, self.keys, raws)], [raw is None for raw in raws])]
        self._given = self.snapshot()
        value = encode_json({"writer": self._writer, "counts": asdict(self._given)})
        header = Header(key_tag(key), created_s=int(self._clock.now_s()), ttl_s=STATS_TTL_S)
        return key, encode_payload(value, header, compress_over_bytes=_COMPRESS_OVER_BYTES)

    def was_written(self, *, is_done: bool) -> None:
        """Take note that the last entry was stored, or was not."""
        if is_done:
            self._written = self._given

    def _changes(self) -> None:
        reporter = self._reporter()
        if reporter is not None and not reporter.is_awake:
            reporter.wake()


def _slot_of(writer: str, found: Sequence[_Snapshot | None], free: Sequence[bool]) -> int:
    """Its own slot, or else any free one, or else the one that was written longest ago."""
    own = [slot for slot, snapshot in enumerate(found) if snapshot and snapshot.writer == writer]
    if own:
        return own[0]
    if candidates := [slot for slot, is_free in enumerate(free) if is_free]:
        return random.choice(candidates)  # noqa: S311  so that two who look at once hardly take the same
    return min(range(len(found)), key=lambda slot: snapshot.written_s if (snapshot := found[slot]) else 0)


_reporters: weakref.WeakSet[Reporter] = weakref.WeakSet()


def _renew_after_fork() -> None:
    for reporter in list(_reporters):
        reporter._renew()  # noqa: SLF001  a lock held by another thread at the fork would stay locked


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_renew_after_fork)
