"""Sessions: what a conversation has come to, by an id that no key shows."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from cache.errors import InvalidKeyError
from cache.json_cache import JsonCache
from cache.keys import ContentHasher, Key, Kind, check_namespace

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.stores import ByteStore

    from cache.clock import Clock
    from cache.counters import Counters
    from cache.settings import CacheSettings

MAX_ID_CHARS = 512


def new_session_id() -> str:
    """A session id that cannot be guessed: 256 random bits."""
    return secrets.token_urlsafe(32)


class Sessions:
    """Data of sessions. The cache may lose them: keep here only what can be had again.

    Args:
        store: where entries live.
        settings: time to live, compression, secret.
        namespace: the tenant; `None` is the setting.
        counters: where hits and misses are counted.
        clock: where the time comes from.
    """

    def __init__(
        self,
        store: ByteStore,
        *,
        settings: CacheSettings,
        counters: Counters,
        namespace: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._hasher = ContentHasher((Kind.SESSION,), secret=settings.secret_bytes())
        self._namespace = check_namespace(settings.namespace if namespace is None else namespace)
        self._entries = JsonCache(
            Kind.SESSION, store, settings=settings, counters=counters, namespace=namespace, clock=clock
        )

    def key(self, session_id: str) -> Key:
        """The key of a session.

        Raises:
            InvalidKeyError: the id is blank or too long.
        """
        if not session_id.strip() or len(session_id) > MAX_ID_CHARS:
            raise InvalidKeyError(f"expected a session id of 1 to {MAX_ID_CHARS} characters, got {len(session_id)}")
        return Key(Kind.SESSION, content_hash=self._hasher.digest(session_id).hex(), namespace=self._namespace)

    def get(self, session_id: str) -> Any | None:
        """The data of a session, or `None`."""
        return self._entries.get(self.key(session_id))

    async def aget(self, session_id: str) -> Any | None:
        """Asynchronous twin of `get`."""
        return await self._entries.aget(self.key(session_id))

    def find(self, session_id: str) -> Any | None:
        """As `get`, but `None` means that there is none.

        Raises:
            StoreError: the store cannot tell.
        """
        return self._entries.find(self.key(session_id))

    async def afind(self, session_id: str) -> Any | None:
        """Asynchronous twin of `find`."""
        return await self._entries.afind(self.key(session_id))

    def set(self, session_id: str, data: Any) -> bool:
        """Keep the data of a session, whose time to live begins anew; True only when the store has confirmed it."""
        return self._entries.set(self.key(session_id), data)

    async def aset(self, session_id: str, data: Any) -> bool:
        """Asynchronous twin of `set`."""
        return await self._entries.aset(self.key(session_id), data)

    def update(self, session_id: str, change: Callable[[Any | None], Any | None]) -> bool:
        """Change the data of a session, also where others do so at the same time: see `JsonCache.update`."""
        return self._entries.update(self.key(session_id), change)

    async def aupdate(self, session_id: str, change: Callable[[Any | None], Any | None]) -> bool:
        """Asynchronous twin of `update`."""
        return await self._entries.aupdate(self.key(session_id), change)
