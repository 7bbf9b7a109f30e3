"""The store on a Redis or Valkey server: each verb one round trip, within one deadline."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any, Self

from redis import exceptions as redis_errors
from typing_extensions import override

from cache.deadline import Deadline
from cache.errors import StoreResponseError, StoreTimeoutError
from cache.keys import glob_of_prefix
from cache.stores.base import Attempt, LeasingStore
from cache.stores.connections import Endpoint, to_store_error, translated
from cache.stores.leasing import acquired, acquiring, are_held, releasing, renewing
from cache.stores.pools import AsyncPool, AsyncPools, SyncPool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from types import TracebackType

    from cache.stores.base import Payload

    Command = tuple[str | bytes | int, ...]

_SCAN_COUNT = 1000
_INFO: list[Command] = [("INFO",), ("DBSIZE",)]
_LATE_S = 0.01
_GRACE_S = 0.02
_MOST_GRACES = 2
_inherited: list[object] = []  # of a parent process, never let go


class RedisStore(LeasingStore):
    """Entries on one server.

    Every command that is sent can be sent twice without harm, so a connection that the server had closed meanwhile
    is replaced once, within the same deadline.

    Args:
        endpoint: where the server is and how to connect.
        deadline: how long one operation may take.
        first_wait_s: how long the very first operation may wait for its connection, for a server that is only now
            being started; its deadline begins after that.
        on_close: called when the store has given back its connections.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        deadline: Deadline | None = None,
        first_wait_s: float = 0.0,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._on_close = on_close
        self._deadline = deadline or Deadline()
        self._first_wait_s = first_wait_s
        self._has_msetex = True
        self._forget_connections()

    @override
    def mget(self, keys: Sequence[str], *, expect_bytes: int = 0) -> list[bytes | None]:
        return _values(self._exchange([("MGET", *keys)], expect_bytes), len(keys)) if keys else []

    @override
    async def amget(self, keys: Sequence[str], *, expect_bytes: int = 0) -> list[bytes | None]:
        return _values(await self._aexchange([("MGET", *keys)], expect_bytes), len(keys)) if keys else []

    @override
    def mset(self, key_value_pairs: Sequence[tuple[str, Payload]], *, ttl_s: int | None = None) -> None:
        size_bytes = sum(len(value) for _, value in key_value_pairs)
        if self._writes_at_once(key_value_pairs, ttl_s):
            replies = self._exchange([_msetex(key_value_pairs, ttl_s)], size_bytes)
            if not self._lacks_msetex(replies):
                return _expect(replies, (1,))
        return _expect(self._exchange(_sets(key_value_pairs, ttl_s), size_bytes), (b"OK",))

    @override
    async def amset(self, key_value_pairs: Sequence[tuple[str, Payload]], *, ttl_s: int | None = None) -> None:
        size_bytes = sum(len(value) for _, value in key_value_pairs)
        if self._writes_at_once(key_value_pairs, ttl_s):
            replies = await self._aexchange([_msetex(key_value_pairs, ttl_s)], size_bytes)
            if not self._lacks_msetex(replies):
                return _expect(replies, (1,))
        return _expect(await self._aexchange(_sets(key_value_pairs, ttl_s), size_bytes), (b"OK",))

    @override
    def mdelete(self, keys: Sequence[str]) -> None:
        if keys:
            _expect(self._exchange([("UNLINK", *keys)], 0), range(len(keys) + 1))

    @override
    async def amdelete(self, keys: Sequence[str]) -> None:
        if keys:
            _expect(await self._aexchange([("UNLINK", *keys)], 0), range(len(keys) + 1))

    @override
    def mpeek(self, keys: Sequence[str], n_bytes: int) -> list[bytes | None]:
        return _heads(self._exchange(_peeks(keys, n_bytes), n_bytes * len(keys)))

    @override
    async def ampeek(self, keys: Sequence[str], n_bytes: int) -> list[bytes | None]:
        return _heads(await self._aexchange(_peeks(keys, n_bytes), n_bytes * len(keys)))

    @override
    def yield_keys(self, *, prefix: str | None = None) -> Iterator[str]:
        cursor, seen = b"0", set[str]()
        while True:
            cursor, keys = _scanned(self._exchange([_scan(cursor, prefix)], 0))
            yield from _unseen(keys, seen)
            if cursor == b"0":
                return

    @override
    async def ayield_keys(self, *, prefix: str | None = None) -> AsyncIterator[str]:
        cursor, seen = b"0", set[str]()
        while True:
            cursor, keys = _scanned(await self._aexchange([_scan(cursor, prefix)], 0))
            for key in _unseen(keys, seen):
                yield key
            if cursor == b"0":
                return

    @override
    def ping(self) -> None:
        _expect(self._exchange([("PING",)], 0), (b"PONG",))

    @override
    async def aping(self) -> None:
        _expect(await self._aexchange([("PING",)], 0), (b"PONG",))

    @override
    def info(self) -> dict[str, str]:
        return _info(self._exchange(_INFO, 0))

    @override
    async def ainfo(self) -> dict[str, str]:
        return _info(await self._aexchange(_INFO, 0))

    @override
    def acquire(self, key: str, token: bytes, *, life_ms: int) -> Attempt:
        return acquired(self._exchange(acquiring(key, token, life_ms), 0), token)

    @override
    async def aacquire(self, key: str, token: bytes, *, life_ms: int) -> Attempt:
        return acquired(await self._aexchange(acquiring(key, token, life_ms), 0), token)

    @override
    def renew(self, holders: Sequence[tuple[str, bytes]], *, life_ms: int) -> list[bool]:
        return are_held(self._exchange(renewing(holders, life_ms), 0))

    @override
    async def arenew(self, holders: Sequence[tuple[str, bytes]], *, life_ms: int) -> list[bool]:
        return are_held(await self._aexchange(renewing(holders, life_ms), 0))

    @override
    def release(self, holders: Sequence[tuple[str, bytes]]) -> None:
        are_held(self._exchange(releasing(holders), 0))

    @override
    async def arelease(self, holders: Sequence[tuple[str, bytes]]) -> None:
        are_held(await self._aexchange(releasing(holders), 0))

    @override
    def settle(self, key: str, value: Payload, token: bytes, *, ttl_s: int) -> None:
        commands = _sets([(key, value)], ttl_s) + releasing([(key, token)])
        _expect(self._exchange(commands, len(value))[:1], (b"OK",))  # a lease that stays ends by itself

    @override
    async def asettle(self, key: str, value: Payload, token: bytes, *, ttl_s: int) -> None:
        commands = _sets([(key, value)], ttl_s) + releasing([(key, token)])
        _expect((await self._aexchange(commands, len(value)))[:1], (b"OK",))

    @override
    def close(self) -> None:
        self._sync_pool.close()
        if self._on_close:
            self._on_close()

    @override
    async def aclose(self) -> None:
        await self._async_pools.aclose()
        self.close()

    def _writes_at_once(self, pairs: Sequence[tuple[str, Payload]], ttl_s: int | None) -> bool:
        return self._has_msetex and ttl_s is not None and len(pairs) > 1

    def _lacks_msetex(self, replies: list[Any]) -> bool:
        """Say whether the server does not know MSETEX (Valkey 9.1 and Redis 8.4 do), and remember it."""
        lacks = isinstance(replies[0], redis_errors.ResponseError) and "unknown command" in str(replies[0])
        self._has_msetex = self._has_msetex and not lacks
        return lacks

    def _forget_connections(self) -> None:
        self._pid = os.getpid()
        self._sync_pool = SyncPool(self.endpoint)
        self._async_pools = AsyncPools(self.endpoint)

    def _mind_fork(self) -> None:
        """Leave to a parent its connections: a child must not use them, and not even let them go.

        asyncio would take a connection that is let go out of the selector, which the child shares with its parent.
        """
        if os.getpid() != self._pid:
            _inherited.append((self._sync_pool, self._async_pools))
            self._forget_connections()

    def _exchange(self, commands: Sequence[Command], size_bytes: int) -> list[Any]:
        """Send commands in one go and read a reply for each; the error of a single command is its reply."""
        if not commands:
            return []
        self._mind_fork()
        allowed_s = self._deadline.allowed_s(size_bytes)
        expires_s = time.monotonic() + allowed_s
        if self._first_wait_s:
            self._sync_pool.give(self._sync_pool.take(time.monotonic() + self._first_wait_s)[0])
            self._first_wait_s, expires_s = 0.0, time.monotonic() + allowed_s
        with translated():
            return self._talk(commands, expires_s)

    def _talk(self, commands: Sequence[Command], expires_s: float) -> list[Any]:
        pool = self._sync_pool
        while True:
            connection, is_used = pool.take(expires_s)
            try:
                replies = _exchange_on(connection, commands, expires_s)
            except BaseException as error:
                pool.discard(connection)
                if not is_used or type(error) is not redis_errors.ConnectionError:
                    raise
                pool.discard_idle()
            else:
                pool.give(connection)
                return replies

    async def _aexchange(self, commands: Sequence[Command], size_bytes: int) -> list[Any]:
        """Asynchronous twin of `_exchange`."""
        if not commands:
            return []
        if not self.endpoint.is_async:
            return await asyncio.to_thread(self._exchange, commands, size_bytes)
        self._mind_fork()
        pool = await self._async_pools.of_running_loop()
        if self._first_wait_s:
            async with _Deadline(self._first_wait_s):
                pool.give((await pool.take())[0])
            self._first_wait_s = 0.0
        with translated():
            async with _Deadline(self._deadline.allowed_s(size_bytes)) as deadline:
                return await self._atalk(pool, commands, deadline)

    async def _atalk(self, pool: AsyncPool, commands: Sequence[Command], deadline: _Deadline) -> list[Any]:
        while True:
            deadline.is_all_busy = pool.is_full
            connection, is_used = await pool.take()
            deadline.is_all_busy = _no
            try:
                replies = await _aexchange_on(connection, commands)
            except BaseException as error:
                await pool.discard(connection)
                if not is_used or type(error) is not redis_errors.ConnectionError:
                    raise
                await pool.discard_idle()
            else:
                pool.give(connection)
                return replies


class _Deadline:
    """Ends what runs inside after so many seconds; forgiving while the event loop itself was late.

    A loop that was busy past the deadline finds the timer due before it has read a reply that came long ago. So a
    check just before the deadline that runs late grants the loop a moment to read what is there, and a time-out that
    still follows is named for the loop, not for the server.

    Attributes:
        is_all_busy: says at the deadline whether what was waited for is other callers' connections.
    """

    def __init__(self, allowed_s: float) -> None:
        self._allowed_s = allowed_s
        self._was_late = False
        self._n_graces = 0
        self.is_all_busy: Callable[[], bool] = _no

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        when_s = loop.time() + self._allowed_s
        self._scope = asyncio.timeout_at(when_s)
        await self._scope.__aenter__()
        self._check_at(loop, when_s)
        return self

    def _check_at(self, loop: asyncio.AbstractEventLoop, when_s: float) -> None:
        self._check = loop.call_at(when_s - _GRACE_S / 20, self._look, loop, when_s)

    def _look(self, loop: asyncio.AbstractEventLoop, when_s: float) -> None:
        if loop.time() - when_s > _LATE_S and self._n_graces < _MOST_GRACES and not self._scope.expired():
            self._was_late = True
            self._n_graces += 1  # bounded: a loop that is late for ever must not make a frozen server wait for ever
            again_s = loop.time() + _GRACE_S
            self._scope.reschedule(again_s)
            self._check_at(loop, again_s)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._check.cancel()
        try:
            await self._scope.__aexit__(kind, error, trace)
        except TimeoutError:
            raise StoreTimeoutError("no complete answer within the deadline", reason=self._reason()) from None

    def _reason(self) -> str:
        if self._was_late:
            return "loop_late"
        return "pool_exhausted" if self.is_all_busy() else "timeout"


def _no() -> bool:
    return False


def _exchange_on(connection: Any, commands: Sequence[Command], expires_s: float) -> list[Any]:
    if hasattr(connection, "expire_at"):
        connection.expire_at(expires_s)
    connection.send_packed_command(connection.pack_commands(commands), check_health=False)
    return [_read(connection) for _ in commands]


def _read(connection: Any) -> Any:
    try:
        return connection.read_response(disable_decoding=True)
    except redis_errors.ResponseError as error:
        return error


async def _aexchange_on(connection: Any, commands: Sequence[Command]) -> list[Any]:
    await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
    return [await _aread(connection) for _ in commands]


async def _aread(connection: Any) -> Any:
    try:
        return await connection.read_response(disable_decoding=True)
    except redis_errors.ResponseError as error:
        return error


def _msetex(pairs: Sequence[tuple[str, Payload]], ttl_s: int | None) -> Command:
    flat = [part for key, value in pairs for part in (key, bytes(value))]
    return ("MSETEX", len(pairs), *flat, "EX", ttl_s or 0)


def _sets(pairs: Sequence[tuple[str, Payload]], ttl_s: int | None) -> list[Command]:
    expiry: Command = () if ttl_s is None else ("EX", ttl_s)
    return [("SET", key, bytes(value), *expiry) for key, value in pairs]


def _peeks(keys: Sequence[str], n_bytes: int) -> list[Command]:
    return [("GETRANGE", key, 0, n_bytes - 1) for key in keys]


def _info(replies: list[Any]) -> dict[str, str]:
    match replies:
        case [Exception() as error, _] | [_, Exception() as error]:
            raise to_store_error(error) from error
        case [bytes() as text, int() as n_keys]:
            parts = (line.partition(":") for line in text.decode("utf-8", "replace").splitlines())
            return {name: value for name, _, value in parts if value} | {"n_keys": str(n_keys)}
        case _:
            raise _unexpected(replies)


def _scan(cursor: bytes, prefix: str | None) -> Command:
    return ("SCAN", cursor, "MATCH", glob_of_prefix(prefix or ""), "COUNT", _SCAN_COUNT)


def _expect(replies: list[Any], allowed: Any) -> None:
    for reply in replies:
        if isinstance(reply, Exception):
            raise to_store_error(reply) from reply
        if reply not in allowed:
            raise _unexpected(reply)


def _values(replies: list[Any], n: int) -> list[bytes | None]:
    [reply] = replies
    if isinstance(reply, Exception):
        raise to_store_error(reply) from reply
    if not isinstance(reply, list) or len(reply) != n or not all(v is None or type(v) is bytes for v in reply):
        raise _unexpected(reply)
    return reply


def _heads(replies: list[Any]) -> list[bytes | None]:
    heads: list[bytes | None] = []
    for reply in replies:
        error = to_store_error(reply) if isinstance(reply, Exception) else None
        if error is not None and error.reason != "wrong_type":
            raise error
        heads.append(reply if isinstance(reply, bytes) and reply else None)
    return heads


def _scanned(replies: list[Any]) -> tuple[bytes, list[bytes]]:
    match replies:
        case [Exception() as error]:
            raise to_store_error(error) from error
        case [[bytes() as cursor, list() as keys]]:
            return cursor, keys
        case _:
            raise _unexpected(replies)


def _unseen(keys: list[bytes], seen: set[str]) -> Iterator[str]:
    for key in keys:
        text = key.decode("utf-8", "surrogateescape")
        if text not in seen:
            seen.add(text)
            yield text


def _unexpected(reply: Any) -> StoreResponseError:
    return StoreResponseError(f"the server answered {type(reply).__name__} where it must not", reason="protocol")
