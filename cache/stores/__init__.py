"""Stores of bytes: in this process, on a server, or on the embedded server."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from cache.errors import ConfigurationError
from cache.stores.base import Store
from cache.stores.memory import MemoryStore

if TYPE_CHECKING:
    from cache.deadline import Deadline

__all__ = ["MemoryStore", "Store", "store_from_client", "store_from_url"]

_log = logging.getLogger("resumecache")
_SCHEMES = "redis://, rediss://, unix://, memory:// and embedded://"


def store_from_url(url: str | None = None, *, deadline: Deadline | None = None) -> Store:
    """A store by its URL. Nothing is connected or started before the first operation.

    Args:
        url: `redis://`, `rediss://`, `unix://`, `memory://`, or `embedded://` with an optional directory;
            `None` is the embedded server, or `memory://` where its binary is not installed.
        deadline: how long one operation on a server may take.

    Returns:
        The bare store: its failures are `StoreError`s.

    Raises:
        ConfigurationError: the URL is of no known kind.
    """
    if not url:
        return _default_store(deadline)
    match urlsplit(url).scheme:
        case "memory":
            return MemoryStore()
        case "embedded":
            return _embedded_store(unquote(url.removeprefix("embedded://")) or None, deadline)
        case "redis" | "rediss" | "unix":
            from cache.stores.connections import Endpoint  # noqa: PLC0415  redis is heavy; memory:// needs none of it
            from cache.stores.redis import RedisStore  # noqa: PLC0415  same

            return RedisStore(Endpoint.from_url(url), deadline=deadline)
        case scheme:
            raise ConfigurationError(f"REDIS_URL: expected one of {_SCHEMES}, got a URL of scheme {scheme!r}")


def store_from_client(client: object, *, deadline: Deadline | None = None) -> Store:
    """A store that connects as a client of redis-py does; the client is left open and never used itself.

    Raises:
        ConfigurationError: not a client of a single server.
    """
    from cache.stores.connections import Endpoint  # noqa: PLC0415  as above
    from cache.stores.redis import RedisStore  # noqa: PLC0415  as above

    return RedisStore(Endpoint.from_client(client), deadline=deadline)


def _default_store(deadline: Deadline | None) -> Store:
    from cache.stores.embedded import embedded_available  # noqa: PLC0415  not needed with a URL

    if embedded_available():
        return _embedded_store(None, deadline)
    _log.warning("no REDIS_URL, and no embedded server on this platform: entries live in this process only")
    return MemoryStore()


def _embedded_store(directory: str | None, deadline: Deadline | None) -> Store:
    from pathlib import Path  # noqa: PLC0415  not needed with a URL

    from cache.stores.embedded import embedded_store  # noqa: PLC0415  as above

    return embedded_store(Path(directory) if directory else None, deadline=deadline)
