"""Stores of bytes: in this process, on a server, or on the embedded server."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING
from urllib.parse import unquote

from cache.errors import ConfigurationError
from cache.stores.base import Store
from cache.stores.memory import MemoryStore

if TYPE_CHECKING:
    from cache.deadline import Deadline

__all__ = ["MemoryStore", "Store", "store_from_client", "store_from_url"]

_log = logging.getLogger("resumecache")
_START_TIMEOUT_S = 15.0
_SCHEMES = (
    "redis://, rediss://, unix://, redis+cluster://, rediss+cluster://, redis+sentinel://, rediss+sentinel://, "
    "memory:// and embedded://"
)


def store_from_url(url: str | None = None, *, deadline: Deadline | None = None) -> Store:
    """A store by its URL. Nothing is connected or started before the first operation.

    Args:
        url: `redis://host:port/db`, `rediss://` for TLS, `unix://path`, `redis+cluster://host:port,host:port`,
            `redis+sentinel://host:port,host:port/service/db`, both with `rediss+` or `?tls=true` for TLS, `memory://`,
            or `embedded://` with an optional directory; `None` is the embedded server, or `memory://` where its binary
            is not installed. User and password of the servers stand before the hosts; those of the Sentinels are the
            options `sentinel_username` and `sentinel_password`. Other options are those of redis-py, such as
            `ssl_ca_certs`.
        deadline: how long one operation on a server may take.

    Returns:
        The bare store: its failures are `StoreError`s.

    Raises:
        ConfigurationError: the URL is of no known kind.
    """
    if not url:
        return _default_store(deadline)
    match url.partition("://")[0] if "://" in url else "":
        case "memory":
            return MemoryStore()
        case "embedded":
            return _embedded_store(unquote(url.removeprefix("embedded://")) or None, deadline)
        case "redis" | "rediss" | "unix":
            from cache.stores.connections import Endpoint  # noqa: PLC0415  redis is heavy; memory:// needs none of it
            from cache.stores.redis import RedisStore  # noqa: PLC0415  same

            return RedisStore(Endpoint.from_url(url), deadline=deadline)
        case "redis+cluster" | "rediss+cluster":
            from cache.stores.cluster import ClusterStore  # noqa: PLC0415  same

            return ClusterStore.from_url(url, deadline=deadline)
        case "redis+sentinel" | "rediss+sentinel":
            from cache.stores.redis import RedisStore  # noqa: PLC0415  same
            from cache.stores.sentinel import SentinelEndpoint  # noqa: PLC0415  same

            return RedisStore(SentinelEndpoint.from_url(url), deadline=deadline)
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
    from cache.stores.embedded import default_directory, embedded_available  # noqa: PLC0415  not needed with a URL

    if not embedded_available():
        warn_once("no REDIS_URL, and no embedded server is installed: entries live in this process only")
        return MemoryStore()
    warn_once(f"no REDIS_URL: entries live in an embedded server in {default_directory()}")
    return _embedded_store(None, deadline)


def _embedded_store(directory: str | None, deadline: Deadline | None) -> Store:
    from pathlib import Path  # noqa: PLC0415  not needed with a URL

    from cache.stores.connections import Endpoint  # noqa: PLC0415  as above
    from cache.stores.embedded import EmbeddedServer  # noqa: PLC0415  as above
    from cache.stores.redis import RedisStore  # noqa: PLC0415  as above

    server = EmbeddedServer(Path(directory) if directory else None)
    endpoint = Endpoint.from_socket(server.socket_path, prepare=server.ensure_running)
    return RedisStore(endpoint, deadline=deadline, first_wait_s=_START_TIMEOUT_S, on_close=server.close)


@functools.cache
def warn_once(message: str) -> None:
    """Log a warning that is worth saying once in a process."""
    _log.warning(message)
