"""The server that Sentinels name as the primary of a service: asked for each time a connection is made."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from redis import exceptions as redis_errors

from cache.errors import ConfigurationError, StoreConnectionError, StoreError
from cache.stores.commands import unexpected
from cache.stores.connections import Endpoint, to_store_error, translated
from cache.stores.links import aexchange_on, exchange_on
from cache.stores.slots import Address
from cache.stores.urls import ServersUrl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cache.stores.commands import Command

_DEFAULT_PORT = 26379
_PATIENCE_S = 2.0  # for a connection: whoever hangs longer may have been replaced meanwhile
_LOGIN_OPTIONS = ("sentinel_username", "sentinel_password")
_ROLE: Command = ("ROLE",)


class SentinelEndpoint:
    """The primary of a service.

    Connections are made in the background, so is the asking. A connection that is lost, hangs, or leads to a server
    that has become a replica is followed by one to whoever is primary then.

    Args:
        sentinels: who is asked, one after the other; who answered last is asked first.
        service: the name that the Sentinels have for the primary and its replicas.
        server: how to connect to the primary, wherever it is.

    Attributes:
        name: what messages call it.
        moves: True: see `Connector`.
        is_async: True: see `Connector`.
    """

    moves = True
    is_async = True

    def __init__(self, sentinels: Sequence[Endpoint], service: str, server: Endpoint) -> None:
        self.name = f"the primary of {service!r}"
        self._sentinels = list(sentinels)
        self._service = service
        self._server = server

    @classmethod
    def from_url(cls, url: str) -> SentinelEndpoint:
        """An endpoint for `redis+sentinel://host:port,host:port/service/db`, or `rediss+sentinel://` for TLS to all.

        Raises:
            ConfigurationError: the URL is wrong; the message shows it without its passwords.
        """
        parsed = ServersUrl.parse(url, default_port=_DEFAULT_PORT)
        service, database = _service_and_database(parsed)
        user, password = (quote(parsed.options.get(name, ""), safe="") for name in _LOGIN_OPTIONS)
        login = f"{user}:{password}" if user or password else ""
        own = parsed.plain(login=login, without=(*_LOGIN_OPTIONS, "username", "password", "db"))
        sentinel = Endpoint.from_url(own)
        server = Endpoint.from_url(parsed.plain(without=_LOGIN_OPTIONS, database=database))
        sentinels = [sentinel.at(*address, connect_timeout_s=_PATIENCE_S) for address in parsed.addresses]
        return cls(sentinels, service, server)

    def connect(self) -> Any:
        """Ask who is primary, connect there, and make sure that it is.

        Raises:
            StoreError: no Sentinel says so, or the primary cannot be reached or is none.
        """
        address = self._find()
        connection = self._server.at(*address, connect_timeout_s=_PATIENCE_S).connect()
        try:
            _check_role(address, _ask(connection, _ROLE))
        except BaseException:
            _drop(connection)
            raise
        return connection

    async def aconnect(self) -> Any:
        """Asynchronous twin of `connect`."""
        address = await self._afind()
        connection = await self._server.at(*address, connect_timeout_s=_PATIENCE_S).aconnect()
        try:
            _check_role(address, await _aask(connection, _ROLE))
        except BaseException:
            await _adrop(connection)
            raise
        return connection

    def _find(self) -> Address:
        failures: list[StoreError] = []
        for sentinel in self._sentinels:
            try:
                connection = sentinel.connect()
                try:
                    return self._named(_ask(connection, self._question()), sentinel)
                finally:
                    _drop(connection)
            except StoreError as error:
                failures.append(error)
        raise self._unknown(failures)

    async def _afind(self) -> Address:
        failures: list[StoreError] = []
        for sentinel in self._sentinels:
            try:
                connection = await sentinel.aconnect()
                try:
                    return self._named(await _aask(connection, self._question()), sentinel)
                finally:
                    await _adrop(connection)
            except StoreError as error:
                failures.append(error)
        raise self._unknown(failures)

    def _question(self) -> Command:
        return ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)

    def _named(self, reply: Any, sentinel: Endpoint) -> Address:
        match reply:
            case None:
                raise StoreConnectionError(f"{sentinel.name} knows no service of this name", reason="no_primary")
            case [bytes() as host, bytes() as port] if port.isdigit():
                self._sentinels = [sentinel, *(one for one in self._sentinels if one is not sentinel)]
                return Address(host.decode(), int(port))
            case _:
                raise unexpected(reply)

    def _unknown(self, failures: Sequence[StoreError]) -> StoreError:
        told = "; ".join(dict.fromkeys(str(failure) for failure in failures))
        return StoreConnectionError(f"no Sentinel names {self.name}: {told}", reason=failures[-1].reason)


def _service_and_database(parsed: ServersUrl) -> tuple[str, int]:
    match parsed.segments:
        case [service]:
            text = parsed.options.get("db", "0")
        case [service, text] if "db" not in parsed.options:
            pass
        case _:
            raise ConfigurationError(
                f"REDIS_URL: expected /service or /service/db after the hosts, got {parsed.shown!r}"
            )
    if not text.isascii() or not text.isdigit():
        raise ConfigurationError(f"REDIS_URL: expected the number of a database, got {text!r} in {parsed.shown!r}")
    return service, int(text)


def _check_role(address: Address, reply: Any) -> None:
    """Raise unless a server says that it is a primary, or that it must not say what it is."""
    if isinstance(reply, list) and reply[:1] == [b"slave"]:
        raise StoreConnectionError(f"{address} is named as primary, but is a replica", reason="no_primary")


def _ask(connection: Any, command: Command) -> Any:
    with translated():
        [reply] = exchange_on(connection, [command], time.monotonic() + _PATIENCE_S)
    return _unless_error(reply)


async def _aask(connection: Any, command: Command) -> Any:
    with translated():
        async with asyncio.timeout(_PATIENCE_S):
            [reply] = await aexchange_on(connection, [command])
    return _unless_error(reply)


def _unless_error(reply: Any) -> Any:
    if isinstance(reply, Exception) and not isinstance(reply, redis_errors.NoPermissionError):
        raise to_store_error(reply) from reply
    return reply


def _drop(connection: Any) -> None:
    with contextlib.suppress(Exception):  # it may be broken in any way
        connection.disconnect()


async def _adrop(connection: Any) -> None:
    with contextlib.suppress(Exception):  # as above
        await connection.disconnect()
