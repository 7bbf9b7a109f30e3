"""Reads that are asked for in one tick of an event loop go out as one.

A hundred tasks that look something up at once cost one round trip instead of a hundred. Who is alone waits for one
turn of the loop and for nothing else.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakKeyDictionary

from cache.errors import PartialFailureError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cache.stores.base import Store

Values: TypeAlias = "list[bytes | None]"
MAX_KEYS = 256
MAX_BYTES = 2**20


@dataclass(eq=False, slots=True)
class _Batch:
    """What is asked for in one tick."""

    keys: list[str] = field(default_factory=list)
    expect_bytes: int = 0
    reading: asyncio.Future[Values] | None = None

    def takes(self, n_keys: int, expect_bytes: int) -> bool:
        return len(self.keys) + n_keys <= MAX_KEYS and self.expect_bytes + expect_bytes <= MAX_BYTES

    def add(self, keys: Sequence[str], expect_bytes: int) -> slice:
        start = len(self.keys)
        self.keys += keys
        self.expect_bytes += expect_bytes
        return slice(start, len(self.keys))


class Gathering:
    """The reads of one store, one batch for each loop."""

    def __init__(self) -> None:
        self._open: dict[asyncio.AbstractEventLoop, _Batch] = {}

    async def amget(self, store: Store, keys: Sequence[str], *, expect_bytes: int) -> Values:
        """As the store's own; a caller that is cancelled leaves the others alone.

        Raises:
            StoreError: the store could not do it, for all who asked in the same tick.
        """
        loop = asyncio.get_running_loop()
        batch = self._open.get(loop)
        if batch is not None and batch.takes(len(keys), expect_bytes):
            batch.reading = batch.reading or loop.create_future()
            return await _part_of(batch.reading, batch.add(keys, expect_bytes))
        if batch is not None or not _Batch().takes(len(keys), expect_bytes):
            return await store.amget(keys, expect_bytes=expect_bytes)
        batch = self._open[loop] = _Batch()
        part = batch.add(keys, expect_bytes)
        try:
            await asyncio.sleep(0)
        finally:  # also for a caller that is cancelled meanwhile: others may have come
            del self._open[loop]
            if batch.reading is not None:
                _read(store, batch, batch.reading)
        if batch.reading is None:
            return await store.amget(batch.keys, expect_bytes=batch.expect_bytes)
        return await _part_of(batch.reading, part)


def _read(store: Store, batch: _Batch, reading: asyncio.Future[Values]) -> None:
    task = asyncio.ensure_future(store.amget(batch.keys, expect_bytes=batch.expect_bytes))
    _tasks.add(task)
    task.add_done_callback(lambda done: _hand_on(done, reading))


async def _part_of(reading: asyncio.Future[Values], part: slice) -> Values:
    try:
        return (await asyncio.shield(reading))[part]
    except PartialFailureError as error:
        values = error.values[part]
        raise PartialFailureError.of(error.failures, values=values, n_done=len(values)) from error


def _hand_on(done: asyncio.Task[Values], reading: asyncio.Future[Values]) -> None:
    _tasks.discard(done)
    if done.cancelled():
        reading.cancel()
    elif error := done.exception():
        reading.set_exception(error)
        reading.exception()  # all who wanted it may be gone
    else:
        reading.set_result(done.result())


async def amget_together(store: Store, keys: Sequence[str], *, expect_bytes: int) -> Values:
    """Read as `Store.amget` does, with what others ask of the store in the same tick, where that saves a round trip."""
    if not store.gathers_reads:
        return await store.amget(keys, expect_bytes=expect_bytes)
    gathering = _gatherings.get(store) or _gatherings.setdefault(store, Gathering())
    return await gathering.amget(store, keys, expect_bytes=expect_bytes)


_tasks: set[asyncio.Task[Values]] = set()  # a loop itself holds its tasks only weakly
_gatherings: WeakKeyDictionary[Store, Gathering] = WeakKeyDictionary()
