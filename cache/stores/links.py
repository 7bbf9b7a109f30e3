"""Links to servers: commands go out in one go, their replies come back in one go, and all of it ends at a deadline."""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

from redis import exceptions as redis_errors

from cache.errors import StoreTimeoutError
from cache.stores.connections import translated
from cache.stores.pools import MAX_CONNECTIONS, AsyncPool, AsyncPools, SyncPool
from cache.stores.wire import pack

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future
    from types import TracebackType

    from cache.stores.commands import Command
    from cache.stores.connections import Connector

_LATE_S = 0.01
_GRACE_S = 0.02
_MOST_GRACES = 2
_inherited: list[object] = []  # of a parent process, never let go


class Link:
    """The connections to one server, for threads and for event loops.

    Every command that is sent must be one that can be sent twice without harm, so that a connection that the server
    had closed meanwhile can be replaced once, within the same deadline.

    Args:
        endpoint: where the server is and how to connect.
    """

    def __init__(self, endpoint: Connector) -> None:
        self.endpoint = endpoint
        self._is_retired = False
        self._threads: ThreadPoolExecutor | None = None
        self._sync_pool: SyncPool
        self._forget_connections()

    def exchange(self, commands: Sequence[Command], expires_s: float, *, block_bytes: int = 0) -> list[Any]:
        """Send commands in one go and read a reply for each; the error of a single command is its reply.

        Args:
            commands: what to send; none touches nothing.
            expires_s: when to give up, on the monotonic clock.
            block_bytes: see `Wire.exchange`.

        Raises:
            StoreError: the server could not be asked, or did not answer all in time.
        """
        if not commands:
            return []
        self._mind_fork()
        try:
            with translated():
                return self._talk(commands, expires_s, block_bytes)
        except StoreTimeoutError:
            if self.endpoint.moves:  # whoever hangs may have been replaced: the next connection leads to its successor
                self._sync_pool.discard_idle()
            raise

    def start_exchange(self, commands: Sequence[Command], expires_s: float) -> Future[list[Any]]:
        """Do the same in another thread; there are as many of them as connections.

        Raises:
            StoreError: no thread was to be had.
        """
        self._mind_fork()
        threads = self._threads
        if threads is None:
            threads = self._threads = ThreadPoolExecutor(MAX_CONNECTIONS, thread_name_prefix="resumecache-exchange")
        with translated():
            return threads.submit(self.exchange, commands, expires_s)

    async def aexchange(self, commands: Sequence[Command], allowed_s: float) -> list[Any]:
        """Asynchronous twin of `exchange`, which takes the seconds that are left."""
        if not commands:
            return []
        if not self.endpoint.is_async:
            return await asyncio.to_thread(self.exchange, commands, time.monotonic() + allowed_s)
        self._mind_fork()
        pool = await self._async_pools.of_running_loop()
        try:
            with translated():
                async with _Deadline(allowed_s) as deadline:
                    return await self._atalk(pool, commands, deadline)
        except StoreTimeoutError:
            if self.endpoint.moves:  # as above
                await pool.discard_idle()
            raise

    def wait_until_connected(self, allowed_s: float) -> None:
        """Wait for a connection, for a server that is only now being started; the first exchange then finds it.

        Raises:
            StoreError: none could be made, or not in time.
        """
        self._mind_fork()
        pool = self._sync_pool
        pool.give(pool.take(time.monotonic() + allowed_s)[0])

    async def await_until_connected(self, allowed_s: float) -> None:
        """Asynchronous twin of `wait_until_connected`."""
        if not self.endpoint.is_async:
            return await asyncio.to_thread(self.wait_until_connected, allowed_s)
        self._mind_fork()
        pool = await self._async_pools.of_running_loop()
        async with _Deadline(allowed_s):
            await pool.give((await pool.take())[0])
        return None

    def close(self) -> None:
        """Give back what is idle and not of an event loop, and the rest after its use. The link can be used again."""
        self._mind_fork()
        pool = self._sync_pool
        self._sync_pool = SyncPool(self.endpoint)
        pool.close()
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=False)

    async def aclose(self) -> None:
        """Give back what is idle, that of the running event loop too."""
        self._mind_fork()
        await self._async_pools.aclose()
        self.close()

    def retire(self) -> None:
        """Give back everything, from any thread, as soon as it is idle: the server is not to be asked again."""
        self._is_retired = True
        self.close()
        self._async_pools.close_soon()

    def _forget_connections(self) -> None:
        self._pid = os.getpid()
        self._sync_pool = SyncPool(self.endpoint)
        self._async_pools = AsyncPools(self.endpoint)
        self._threads = None

    def _mind_fork(self) -> None:
        """Leave to a parent its connections: a child must not use them, and not even let them go.

        asyncio would take a connection that is let go out of the selector, which the child shares with its parent.
        """
        if os.getpid() != self._pid:
            _inherited.append((self._sync_pool, self._async_pools, self._threads))
            self._forget_connections()

    def _talk(self, commands: Sequence[Command], expires_s: float, block_bytes: int) -> list[Any]:
        pool = self._sync_pool
        while True:
            connection, is_used = pool.take(expires_s)
            try:
                replies = exchange_on(connection, commands, expires_s, block_bytes=block_bytes)
            except BaseException as error:
                pool.discard(connection)
                if not _is_lost(error):
                    raise
                pool.discard_idle()
                if not is_used:
                    raise
                continue
            if not self._has_moved(replies):
                (pool.discard if self._is_retired else pool.give)(connection)
                return replies
            pool.discard(connection)
            pool.discard_idle()
            if not is_used:
                return replies

    async def _atalk(self, pool: AsyncPool, commands: Sequence[Command], deadline: _Deadline) -> list[Any]:
        while True:
            deadline.is_all_busy = pool.is_full
            connection, is_used = await pool.take()
            deadline.is_all_busy = _no
            try:
                replies = await aexchange_on(connection, commands)
            except BaseException as error:
                await pool.discard(connection)
                if not _is_lost(error):
                    raise
                await pool.discard_idle()
                if not is_used:
                    raise
                continue
            if not self._has_moved(replies):
                await pool.give(connection)
                return replies
            await pool.discard(connection)
            await pool.discard_idle()
            if not is_used:
                return replies

    def _has_moved(self, replies: list[Any]) -> bool:
        """Say whether another server has become what this one was, so that a new connection leads there."""
        return self.endpoint.moves and any(isinstance(reply, redis_errors.ReadOnlyError) for reply in replies)


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


def within(allowed_s: float) -> _Deadline:
    """A block that ends after so many seconds with a `StoreTimeoutError`."""
    return _Deadline(allowed_s)


def _no() -> bool:
    return False


def _is_lost(error: BaseException) -> bool:
    """Say whether a connection, and with it its neighbours, was closed by the other side."""
    return type(error) is redis_errors.ConnectionError


def exchange_on(connection: Any, commands: Sequence[Command], expires_s: float, *, block_bytes: int = 0) -> list[Any]:
    """Send commands on a connection in one go and read a reply for each; the error of a single one is its reply."""
    wire = connection.wire()
    if wire is not None:
        replies: list[Any] = wire.exchange(commands, expires_s, block_bytes=block_bytes)
        return replies
    connection.send_packed_command([b"".join(pack(commands))], check_health=False)
    return [_read(connection) for _ in commands]


def _read(connection: Any) -> Any:
    try:
        return connection.read_response(disable_decoding=True)
    except redis_errors.ResponseError as error:
        return error


async def aexchange_on(connection: Any, commands: Sequence[Command]) -> list[Any]:
    """Asynchronous twin of `exchange_on`, bounded by whoever calls it."""
    await connection.send_packed_command(pack(commands), check_health=False)
    return [await _aread(connection) for _ in commands]


async def _aread(connection: Any) -> Any:
    try:
        return await connection.read_response(disable_decoding=True)
    except redis_errors.ResponseError as error:
        return error
