"""JSON values that are computed: by one caller at a time, while the others wait for what it stores."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

from cache.coalescing import Coalescer
from cache.flight import Landed, Lead, Level, Turn
from cache.keys import Key, build_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from cache.counters import Counters
    from cache.json_cache import JsonCache
    from cache.settings import CacheSettings

Result = TypeVar("Result")


class SharedJsonCache:
    """Values of one kind, and the computing of those that are missing.

    Args:
        entries: where values are kept.
        level: how high the kind stands.
        settings: how long a caller waits.
        counters: where it is counted how many values came from another caller.
    """

    def __init__(self, entries: JsonCache, level: Level, *, settings: CacheSettings, counters: Counters) -> None:
        self._entries = entries
        self._counters = counters
        self._coalescer = Coalescer(level, entries.store, settings)

    def get_or_lead(
        self, key: Key, read: Callable[[Any], Result | None]
    ) -> tuple[Result | None, AbstractContextManager[object]]:
        """The value, stored or just being computed by another caller; or else the lead, for the block that computes.

        Within the block, `set` hands the value to all who wait for it. A block that fails hands over to one of them;
        one that ends without `set` leaves them to themselves.

        Args:
            key: of the value.
            read: makes a result of what was stored; `None` where that cannot be used.
        """
        name, ticket = build_key(key), self._coalescer.ticket()
        [raw] = self._entries.store.mget([name])
        found = self._read(name, raw, read)
        return (
            (found, NO_LEAD) if found is not None else self._take(name, read, self._coalescer.turn(name, ticket, raw))
        )

    async def aget_or_lead(
        self, key: Key, read: Callable[[Any], Result | None]
    ) -> tuple[Result | None, AbstractContextManager[object]]:
        """Asynchronous twin of `get_or_lead`."""
        name, ticket = build_key(key), self._coalescer.ticket()
        [raw] = await self._entries.store.amget([name])
        found = self._read(name, raw, read)
        if found is not None:
            return found, NO_LEAD
        return self._take(name, read, await self._coalescer.aturn(name, ticket, raw))

    def set(self, key: Key, value: Any, *, made_ms: int = 0) -> bool:
        """Keep a value; True only when the store has confirmed it.

        Raises:
            DecodeError: the value is not JSON.
        """
        return self._coalescer.save(*self._entries.entry(key, value, made_ms=made_ms), ttl_s=self._entries.ttl_s)

    async def aset(self, key: Key, value: Any, *, made_ms: int = 0) -> bool:
        """Asynchronous twin of `set`."""
        pair = self._entries.entry(key, value, made_ms=made_ms)
        return await self._coalescer.asave(*pair, ttl_s=self._entries.ttl_s)

    def _read(self, name: str, raw: bytes | None, read: Callable[[Any], Result | None]) -> Result | None:
        value = self._entries.interpret(name, raw)
        return None if value is None else read(value)

    def _take(
        self, name: str, read: Callable[[Any], Result | None], turn: Turn
    ) -> tuple[Result | None, AbstractContextManager[object]]:
        if isinstance(turn, Lead):
            return None, turn
        if not isinstance(turn, Landed):
            return None, NO_LEAD
        found = self._read(name, turn.value, read)
        self._counters.add(misses=-1, shared=int(found is not None))
        return found, NO_LEAD


NO_LEAD: AbstractContextManager[object] = contextlib.nullcontext()
