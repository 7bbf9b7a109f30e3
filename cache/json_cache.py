"""JSON values by key, for the kinds of entry that are plain data: matches, optimisations, sessions, health."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING, Any

from cache.clock import Clock, SystemClock
from cache.codecs.json import decode_json, encode_json
from cache.codecs.payloads import decode_payload, encode_payload
from cache.entry import Header
from cache.errors import EntryError, StoreError
from cache.keys import Key, Kind, build_key, key_tag
from cache.opening import store_for
from cache.subjects import current_tags

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_core.stores import ByteStore

    from cache.counters import Counters
    from cache.settings import CacheSettings

_log = logging.getLogger("resumecache")
_MOST_TRIES, _LONGEST_PAUSE_S = 100, 0.02
_TRY_AGAIN = "try_again"  # of a slot that is just being moved


class JsonCache:
    """Values of one kind. A failing store is a miss, or a write that answers False.

    Args:
        kind: the kind of entry.
        store: where entries live.
        settings: time to live, compression, and whether the kind is switched on.
        counters: where hits and misses are counted.
        ttl_s: seconds that entries live; `None` is the setting.
        namespace: for which they are reported; `None` is the setting.
        clock: where the time comes from.
    """

    def __init__(
        self,
        kind: Kind,
        store: ByteStore,
        *,
        settings: CacheSettings,
        counters: Counters,
        ttl_s: int | None = None,
        namespace: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.kind = kind
        self.store = store_for(kind, store, settings, counters, namespace=namespace)
        self._counters = counters
        self.ttl_s = settings.ttl_s(kind) if ttl_s is None else ttl_s
        self._compress_over_bytes = settings.compression_threshold_bytes
        self._secret = settings.secret_bytes()
        self._clock = clock or SystemClock()

    def get(self, key: Key) -> Any | None:
        """The value of a key, or `None`."""
        name = build_key(key)
        return self.interpret(name, self.store.mget([name])[0])

    async def aget(self, key: Key) -> Any | None:
        """Asynchronous twin of `get`."""
        name = build_key(key)
        return self.interpret(name, (await self.store.amget([name]))[0])

    def find(self, key: Key) -> Any | None:
        """As `get`, but `None` means that there is none.

        Raises:
            StoreError: the store cannot tell.
        """
        name = build_key(key)
        return self.interpret(name, self.store.fetch([name])[0])

    async def afind(self, key: Key) -> Any | None:
        """Asynchronous twin of `find`."""
        name = build_key(key)
        return self.interpret(name, (await self.store.afetch([name]))[0])

    def set(self, key: Key, value: Any, *, made_ms: int = 0) -> bool:
        """Keep a value; True only when the store has confirmed it.

        Raises:
            DecodeError: the value is not JSON.
        """
        return self.store.save([self.entry(key, value, made_ms=made_ms)], ttl_s=self.ttl_s)

    async def aset(self, key: Key, value: Any, *, made_ms: int = 0) -> bool:
        """Asynchronous twin of `set`."""
        return await self.store.asave([self.entry(key, value, made_ms=made_ms)], ttl_s=self.ttl_s)

    def update(self, key: Key, change: Callable[[Any | None], Any | None]) -> bool:
        """Replace a value by what a function makes of it, whatever others do to it at the same time.

        Args:
            key: of the value.
            change: gets the value, or `None`, and gives the new one, or `None` to leave all as it is; it is called anew
                where somebody else was faster.

        Returns:
            Whether the store has confirmed it.

        Raises:
            DecodeError: the new value is not JSON.
        """
        name = build_key(key)
        for pause_s in _pauses():
            try:
                [raw] = self.store.fetch([name])
                new = self._changed(key, raw, change)
                if new is None or self.store.replace(name, raw, new, ttl_s=self.ttl_s):
                    return new is not None
            except StoreError as error:
                if error.reason != _TRY_AGAIN:
                    return False
            time.sleep(pause_s)
        return False

    async def aupdate(self, key: Key, change: Callable[[Any | None], Any | None]) -> bool:
        """Asynchronous twin of `update`."""
        name = build_key(key)
        for pause_s in _pauses():
            try:
                [raw] = await self.store.afetch([name])
                new = self._changed(key, raw, change)
                if new is None or await self.store.areplace(name, raw, new, ttl_s=self.ttl_s):
                    return new is not None
            except StoreError as error:
                if error.reason != _TRY_AGAIN:
                    return False
            await asyncio.sleep(pause_s)
        return False

    def entry(self, key: Key, value: Any, *, made_ms: int = 0) -> tuple[str, bytes]:
        """The name and the bytes that a value is stored as.

        Raises:
            DecodeError: the value is not JSON.
        """
        name = build_key(key)
        header = Header(
            key_tag(name), created_s=int(self._clock.now_s()), ttl_s=self.ttl_s, made_ms=made_ms,
            tags=current_tags(key.namespace, self._secret),
        )  # fmt: skip
        return name, encode_payload(encode_json(value), header, compress_over_bytes=self._compress_over_bytes)

    def interpret(self, name: str, raw: bytes | None) -> Any | None:
        """The value in the bytes of an entry, or `None`; counted as a hit or a miss."""
        header, value = self._read(name, raw)
        if header is None or not header.is_fresh(self._clock.now_s()):
            self._counters.add(misses=1)
            return None
        self._counters.add(hits=1, saved_ms=header.made_ms)
        return value

    def _changed(self, key: Key, raw: bytes | None, change: Callable[[Any | None], Any | None]) -> bytes | None:
        header, value = self._read(build_key(key), raw)
        new = change(value if header is not None and header.is_fresh(self._clock.now_s()) else None)
        return None if new is None else self.entry(key, new)[1]

    def _read(self, name: str, raw: bytes | None) -> tuple[Header | None, Any]:
        if raw is None:
            return None, None
        try:
            header, payload = decode_payload(raw, key_tag(name))
            return header, decode_json(payload)
        except EntryError as error:
            self._counters.add_reason("unreadable", type(error).__name__)
            _log.warning("cache entry %s cannot be used (%s), it will be replaced", name, error)
            return None, None


def _pauses() -> Iterator[float]:
    """Seconds to wait before each further try; those who meet do not meet again."""
    return (random.uniform(0.0, _LONGEST_PAUSE_S) for _ in range(_MOST_TRIES))  # noqa: S311  no secret
