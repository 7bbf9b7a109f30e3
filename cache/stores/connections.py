"""How to reach a server, and what its failures mean; connections whose every read ends at a deadline.

redis-py's own time-outs are per read and do not add up to a deadline: a server that drips one byte in each of them
holds a call for as long as it likes. So a connection here carries the moment at which its operation ends, and each
read and write of the socket is given what is left until then.
"""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any, Protocol

import redis
import redis.asyncio
from redis import exceptions as redis_errors
from redis.asyncio import connection as async_connection
from redis.backoff import NoBackoff
from redis.connection import DefaultParser

from cache.errors import (
    ConfigurationError,
    StoreConnectionError,
    StoreError,
    StoreResponseError,
    StoreTimeoutError,
)
from cache.stores.urls import without_password
from cache.stores.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

CONNECT_TIMEOUT_S = 5.0
_READ_SIZE_BYTES = 256 * 2**10

# redis-py's classes, the most specific match wins; the word is what counters and logs call it.
ERROR_TABLE: dict[type[BaseException], tuple[type[StoreError], str]] = {
    redis_errors.RedisError: (StoreError, "client"),
    redis_errors.ConnectionError: (StoreConnectionError, "connection"),
    redis_errors.AuthenticationError: (StoreConnectionError, "auth"),
    redis_errors.AuthorizationError: (StoreConnectionError, "auth"),
    redis_errors.AuthenticationWrongNumberOfArgsError: (StoreConnectionError, "auth"),
    redis_errors.BusyLoadingError: (StoreConnectionError, "loading"),
    redis_errors.TimeoutError: (StoreTimeoutError, "timeout"),
    redis_errors.InvalidResponse: (StoreResponseError, "protocol"),
    redis_errors.ResponseError: (StoreResponseError, "response"),
    redis_errors.OutOfMemoryError: (StoreResponseError, "out_of_memory"),
    redis_errors.ReadOnlyError: (StoreResponseError, "read_only"),
    redis_errors.NoPermissionError: (StoreResponseError, "no_permission"),
    redis_errors.ClusterError: (StoreResponseError, "cluster"),
    redis_errors.ClusterDownError: (StoreResponseError, "cluster_down"),
    redis_errors.MasterDownError: (StoreResponseError, "cluster_down"),
    redis_errors.AskError: (StoreResponseError, "cluster"),
    redis_errors.MovedError: (StoreResponseError, "cluster"),
    redis_errors.TryAgainError: (StoreResponseError, "try_again"),
    redis_errors.RedisClusterException: (StoreResponseError, "cluster"),
    redis_errors.ChildDeadlockedError: (StoreConnectionError, "fork"),
    redis_errors.IncorrectPolicyType: (StoreError, "client"),
    OSError: (StoreConnectionError, "connection"),
    TimeoutError: (StoreTimeoutError, "timeout"),
}
_READS_ALONE = "only accepts read commands"
_REASON_BY_CODE = {"MISCONF": "read_only", "WRONGTYPE": "wrong_type", "NOREPLICAS": "read_only"}


def to_store_error(error: BaseException) -> StoreError:
    """Our error for one of redis-py or the operating system; what is in no table is the client's own fault."""
    ours, reason = next(
        (ERROR_TABLE[base] for base in type(error).__mro__ if base in ERROR_TABLE), (StoreError, "client")
    )
    message = str(error) or type(error).__name__
    if type(error) is redis_errors.ResponseError:
        reason = _REASON_BY_CODE.get(message.split(" ", 1)[0], reason)
    if type(error) is redis_errors.ClusterDownError and _READS_ALONE in message:
        reason = "read_only"
    match error.__cause__ or error.__context__:
        case ConnectionRefusedError():
            reason = "refused"
        case ssl.SSLError():
            reason = "tls"
        case redis_errors.AuthenticationError():  # as redis-py wraps it on a unix socket in asyncio
            reason = "auth"
    return ours(message, reason=reason)


def again(failure: StoreError) -> StoreError:
    """The same error for one more caller: one object would hold on to what all of them were doing."""
    return type(failure)(str(failure), reason=failure.reason)


class _Translation:
    """A class, as a generator costs a small command more than all else that is done here."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, StoreError):
            raise to_store_error(error) from error


def translated() -> _Translation:
    """The one place where errors of redis-py become ours."""
    return _TRANSLATION


_TRANSLATION = _Translation()


class DeadlineSocket:
    """A socket whose every read and write ends at one moment.

    Attributes:
        sock: the socket itself.
        expires_s: that moment, on the monotonic clock.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.expires_s = math.inf

    def recv_into(self, buffer: bytearray, *args: int) -> int:
        """Read what is there within what is left of the operation."""
        self._limit()
        return self.sock.recv_into(buffer, *args)

    def recv(self, *args: int) -> bytes:
        """Read what is there within what is left of the operation."""
        self._limit()
        return self.sock.recv(*args)

    def sendall(self, data: bytes) -> None:
        """Send all within what is left of the operation."""
        self._limit()
        self.sock.sendall(data)

    def fileno(self) -> int:
        """The descriptor, for poll."""
        return self.sock.fileno()

    def _limit(self) -> None:
        left_s = self.expires_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("no time left")
        self.sock.settimeout(None if left_s == math.inf else left_s)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sock, name)


class DeadlineConnection:
    """Makes a redis-py connection class keep a deadline, and pass its layers by once it is connected."""

    connect_timeout_s = CONNECT_TIMEOUT_S
    _deadline_socket: DeadlineSocket | None = None
    _wire: Wire | None = None

    def _connect(self) -> Any:
        sock = super()._connect()  # type: ignore[misc]  # the class that this is mixed into has it
        if not isinstance(sock, socket.socket):  # a stand-in such as fakeredis answers at once
            return sock
        self._wire = None
        self._deadline_socket = DeadlineSocket(sock)
        self._deadline_socket.expires_s = time.monotonic() + self.connect_timeout_s  # the handshake follows
        return self._deadline_socket

    def wire(self) -> Wire | None:
        """What its commands are exchanged on, once it is connected; `None` for a stand-in."""
        if self._wire is None and self._deadline_socket is not None:
            self._wire = Wire(self._deadline_socket.sock, DefaultParser.parse_error)
        return self._wire

    def can_read(self, timeout: float = 0) -> bool:
        """Say whether something has come that nobody asked for, or the other side has closed."""
        has_unread = None if self._wire is None else self._wire.has_unread()
        return super().can_read(timeout) if has_unread is None else has_unread  # type: ignore[misc]  # as above


# What a client or URL says of how to connect that we decide ourselves.
_OURS: dict[str, Any] = {
    "decode_responses": False,
    "protocol": 2,  # nothing of RESP3 is needed, and without HELLO a connection is ready one round trip earlier
    "retry_on_timeout": False,
    "retry_on_error": [],
    "health_check_interval": 0,
    "socket_timeout": None,
    "socket_read_size": _READ_SIZE_BYTES,
    "driver_info": None,
    "client_name": None,
}
_DROPPED = frozenset(
    {
        "retry",
        "redis_connect_func",
        "maint_notifications_config",
        "maint_notifications_pool_handler",
        "event_dispatcher",
        "parser_class",
        "command_packer",
        "himport_registry",
        "max_connections",
        "timeout",
        "lib_name",
        "lib_version",
        "legacy_responses",
        "encoder_class",
        "oss_cluster_maint_notifications_handler",
        "orig_host_address",
        "orig_socket_timeout",
        "orig_socket_connect_timeout",
        "cache_config",
        "cache",
    }
)
_TWINS: dict[type, type] = {
    redis.Connection: async_connection.Connection,
    redis.SSLConnection: async_connection.SSLConnection,
    redis.UnixDomainSocketConnection: async_connection.UnixDomainSocketConnection,
}
_TWINS_BACK = {twin: base for base, twin in _TWINS.items()}


class Connector(Protocol):
    """What connections to a server are made by.

    Attributes:
        name: what messages call it; holds no password.
        moves: whether a new connection may lead to another server than those before.
    """

    name: str
    moves: bool

    @property
    def is_async(self) -> bool:
        """Whether asyncio connections can be made."""

    def connect(self) -> Any:
        """Make a connection that is ready for a command; blocks; raises a `StoreError`."""

    async def aconnect(self) -> Any:
        """Make an asyncio connection that is ready for a command; raises a `StoreError`."""


class Endpoint:
    """Where a server is, and how to connect to it in both worlds.

    Args:
        sync_class: redis-py's connection class for blocking use; `None` where only the other is known.
        async_class: the same for asyncio.
        options: their arguments.
        prepare: called before each connection is made; may block, for example until a server has started.
        name: what messages call it; holds no password.
        connect_timeout_s: how long making a connection may take.
    """

    moves = False

    def __init__(
        self,
        sync_class: type | None,
        async_class: type | None,
        options: Mapping[str, Any],
        *,
        name: str,
        prepare: Callable[[], object] | None = None,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> None:
        self.name = name
        self._connect_timeout_s = connect_timeout_s
        self._prepare = prepare
        self._async_class = async_class
        self._given_sync_class = sync_class
        self._sync_class = sync_class and type(
            f"Deadline{sync_class.__name__}", (DeadlineConnection, sync_class), {"connect_timeout_s": connect_timeout_s}
        )
        self._options = {name: value for name, value in options.items() if name not in _DROPPED} | _OURS
        self._options["socket_connect_timeout"] = connect_timeout_s

    @classmethod
    def from_url(cls, url: str) -> Endpoint:
        """An endpoint for `redis://`, `rediss://` or `unix://`.

        Raises:
            ConfigurationError: the URL is wrong; the message shows it without its password.
        """
        try:
            options: dict[str, Any] = redis.connection.parse_url(url)  # type: ignore[no-untyped-call]
        except ValueError as error:
            raise ConfigurationError(f"REDIS_URL: {error}; got {without_password(url)!r}") from None
        sync_class = options.pop("connection_class", redis.Connection)
        return cls(sync_class, _TWINS[sync_class], options, name=without_password(url))

    def at(self, host: str, port: int, *, connect_timeout_s: float = CONNECT_TIMEOUT_S) -> Endpoint:
        """An endpoint elsewhere to which connections are made in the same way."""
        options = self._options | {"host": host, "port": port}
        return Endpoint(
            self._given_sync_class,
            self._async_class,
            options,
            name=f"{host}:{port}",
            connect_timeout_s=connect_timeout_s,
        )

    @classmethod
    def from_socket(cls, path: Path, *, prepare: Callable[[], object]) -> Endpoint:
        """An endpoint on a Unix socket whose server `prepare` starts."""
        sync_class = redis.UnixDomainSocketConnection
        return cls(sync_class, _TWINS[sync_class], {"path": str(path)}, name=str(path), prepare=prepare)

    @classmethod
    def from_client(cls, client: Any) -> Endpoint:
        """An endpoint that connects as a client of redis-py does; the client itself is neither used nor closed.

        So what the client was set up for (decoding, retries, time-outs) cannot change what the cache reads.

        Raises:
            ConfigurationError: not a client of a single server.
        """
        if not isinstance(client, redis.Redis | redis.asyncio.Redis):
            raise ConfigurationError(
                f"expected a redis.Redis or redis.asyncio.Redis of one server, got {type(client).__name__}; "
                "for a cluster give a redis+cluster:// URL"
            )
        pool = client.connection_pool
        given, options = pool.connection_class, dict(pool.connection_kwargs)
        if "connection_pool" in options:
            raise ConfigurationError(
                "expected a client of one server, got one of a Sentinel; give a redis+sentinel:// URL"
            )
        if isinstance(client, redis.Redis):
            return cls(given, _TWINS.get(given), options, name=_name_of(options))
        return cls(_TWINS_BACK.get(given), given, options, name=_name_of(options))

    @property
    def is_async(self) -> bool:
        """Whether asyncio connections can be made."""
        return self._async_class is not None

    def connect(self) -> Any:
        """Make a connection that is ready for a command; blocks for at most some seconds.

        Raises:
            StoreError: it could not be made.
        """
        with translated():
            if self._sync_class is None:
                raise StoreError(f"{self.name}: the client that was handed in is for asyncio only", reason="client")
            if self._prepare:
                self._prepare()
            options = self._options | {"socket_timeout": self._connect_timeout_s}  # of TLS: reads are bounded by us
            connection = self._sync_class(**options, retry=redis.retry.Retry(NoBackoff(), 0))
            connection.connect()
        return connection

    async def aconnect(self) -> Any:
        """Make an asyncio connection that is ready for a command.

        Raises:
            StoreError: it could not be made.
        """
        with translated():
            if self._async_class is None:
                raise StoreError(f"{self.name}: the client that was handed in has no asyncio twin", reason="client")
            if self._prepare:
                await asyncio.to_thread(self._prepare)
            connection = self._async_class(**self._options, retry=redis.asyncio.retry.Retry(NoBackoff(), 0))
            async with asyncio.timeout(self._connect_timeout_s):
                await connection.connect()
        return connection


def _name_of(options: Mapping[str, Any]) -> str:
    return str(options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}")
