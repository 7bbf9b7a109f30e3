"""Connections that are made in the background and handed to whoever waits.

Resolving, connecting, TLS and the handshake never run on a caller: a caller that finds no ready connection waits for
one for at most what is left of its deadline, and the connection that comes too late serves the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from cache.errors import StoreError, StoreTimeoutError
from cache.stores.connections import again, to_store_error

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from cache.stores.connections import Connector

MAX_CONNECTIONS = 32


def _too_late(endpoint: Connector, *, is_full: bool) -> StoreTimeoutError:
    if is_full:
        return StoreTimeoutError(f"{endpoint.name}: all connections are busy", reason="pool_exhausted")
    return StoreTimeoutError(f"{endpoint.name}: no connection within the deadline")


class SyncPool:
    """Connections for threads."""

    def __init__(self, endpoint: Connector, *, max_connections: int = MAX_CONNECTIONS) -> None:
        self._endpoint = endpoint
        self._max_connections = max_connections
        self._changed = threading.Condition()
        self._idle: list[Any] = []
        self._n_open = 0  # idle, in use, or being made
        self._n_making = 0
        self._n_waiting = 0
        self._n_failures = 0
        self._failure: StoreError | None = None
        self._is_closed = False

    def take(self, expires_s: float) -> tuple[Any, bool]:
        """A connection, and whether it has been used before.

        Args:
            expires_s: when to give up, on the monotonic clock.

        Raises:
            StoreError: none could be made, or not in time.
        """
        with self._changed:
            connection = self._take_idle()
            if connection is not None:
                return connection, True
            return self._wait(expires_s)

    def give(self, connection: Any) -> None:
        """Give back a connection that is ready for the next command."""
        with self._changed:
            self._idle.append(connection)
            if self._n_waiting:
                self._changed.notify()
            self._drop_unwanted()

    def discard(self, connection: Any) -> None:
        """Close a connection that must not be used again."""
        with contextlib.suppress(Exception):  # it may be broken in any way
            connection.disconnect()
        with self._changed:
            self._n_open -= 1
            self._changed.notify()

    def discard_idle(self) -> None:
        """Close what is idle: when one turned out dead, its neighbours are."""
        with self._changed:
            idle, self._idle = self._idle, []
        for connection in idle:
            self.discard(connection)

    def close(self) -> None:
        """Close what is idle, and what is in use or being made as soon as nobody waits for it."""
        with self._changed:
            self._is_closed = True
            self.discard_idle()

    def _drop_unwanted(self) -> None:
        if self._is_closed and not self._n_waiting:
            self.discard_idle()

    def _take_idle(self) -> Any | None:
        while self._idle:
            connection = self._idle.pop()
            with contextlib.suppress(Exception):  # a closed one says so by raising
                if not connection.can_read():
                    return connection
            with contextlib.suppress(Exception):
                connection.disconnect()
            self._n_open -= 1
        return None

    def _wait(self, expires_s: float) -> tuple[Any, bool]:
        seen_failures = self._n_failures
        self._n_waiting += 1
        try:
            while not self._idle:
                if self._n_failures != seen_failures and self._failure is not None:
                    raise again(self._failure) from self._failure.__cause__
                self._start_making()
                left_s = expires_s - time.monotonic()
                if left_s <= 0:
                    raise _too_late(self._endpoint, is_full=self._n_making == 0)
                self._changed.wait(left_s)  # then look again: who was woken too late must not let a connection lie
            return self._idle.pop(), False
        finally:
            self._n_waiting -= 1
            self._drop_unwanted()

    def _start_making(self) -> None:
        if self._n_making < self._n_waiting and self._n_open < self._max_connections:
            threading.Thread(target=self._make, name="resumecache-connect", daemon=True).start()
            self._n_making += 1  # after the start, which fails where no thread is to be had
            self._n_open += 1

    def _make(self) -> None:
        connection, failure = None, None
        try:
            connection = self._endpoint.connect()
        except BaseException as error:  # noqa: BLE001  whatever it is must reach those who wait
            failure = error if isinstance(error, StoreError) else to_store_error(error)
        with self._changed:
            self._n_making -= 1
            if connection is not None:
                self._idle.append(connection)
                self._changed.notify()
                self._drop_unwanted()
            else:
                self._n_open -= 1
                self._n_failures += 1
                self._failure = failure
                self._changed.notify_all()


class AsyncPool:
    """Connections for the tasks of one event loop."""

    def __init__(self, endpoint: Connector, *, max_connections: int = MAX_CONNECTIONS) -> None:
        self._endpoint = endpoint
        self._max_connections = max_connections
        self._idle: list[Any] = []
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._making: set[asyncio.Task[None]] = set()
        self._n_open = 0
        self._is_closed = False
        self._n_making = 0  # a task that has just ended is still among the tasks

    async def take(self) -> tuple[Any, bool]:
        """A connection, and whether it has been used before; bounded by the caller's deadline.

        Raises:
            StoreError: none could be made.
        """
        while self._idle:
            connection = self._idle.pop()
            if not await _has_unread(connection):
                return connection, True
            await self.discard(connection)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._start_making()
        try:
            return await future, False
        except BaseException:
            if future.done() and not future.cancelled() and future.exception() is None:
                await self.give(future.result())  # it came while the caller left
            raise
        finally:
            with contextlib.suppress(ValueError):  # whoever answered has taken it out
                self._waiting.remove(future)

    async def give(self, connection: Any) -> None:
        """Give back a connection that is ready for the next command; a closed pool keeps none that nobody waits for."""
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(connection)
                return
        if self._is_closed:
            await self.discard(connection)
        else:
            self._idle.append(connection)

    async def discard(self, connection: Any) -> None:
        """Close a connection that must not be used again."""
        self._n_open -= 1
        self._start_making()
        with contextlib.suppress(Exception):  # it may be broken in any way
            await connection.disconnect(nowait=True)

    async def discard_idle(self) -> None:
        """Close what is idle: when one turned out dead, its neighbours are."""
        idle, self._idle = self._idle, []
        for connection in idle:
            await self.discard(connection)

    async def aclose(self) -> None:
        """Close what is idle and end what is being made; what is in use is closed by who uses it."""
        self._is_closed = True
        making = list(self._making)
        for task in making:
            task.cancel()
        await asyncio.gather(*making, return_exceptions=True)
        idle, self._idle = self._idle, []
        self._n_open -= len(idle)
        for connection in idle:
            with contextlib.suppress(Exception):  # it may be broken in any way
                await connection.disconnect()

    def is_full(self) -> bool:
        """Say whether a caller waits for others rather than for the server."""
        return self._n_making == 0

    def _start_making(self) -> None:
        while self._n_making < len(self._waiting) and self._n_open < self._max_connections:
            self._n_open += 1
            self._n_making += 1
            task = asyncio.get_running_loop().create_task(self._make())
            self._making.add(task)
            task.add_done_callback(self._making.discard)

    async def _make(self) -> None:
        try:
            connection = await self._endpoint.aconnect()
        except BaseException as error:
            self._n_open -= 1
            self._n_making -= 1
            if not isinstance(error, StoreError):
                raise
            waiting, self._waiting = self._waiting, deque()
            for future in waiting:
                if not future.done():
                    future.set_exception(error)
            return
        self._n_making -= 1
        await self.give(connection)


class AsyncPools:
    """A pool for each event loop, as a connection belongs to the loop that it was made in."""

    def __init__(self, endpoint: Connector) -> None:
        self._endpoint = endpoint
        self._by_loop: dict[asyncio.AbstractEventLoop, tuple[AsyncPool, AsyncGenerator[None, None]]] = {}

    async def of_running_loop(self) -> AsyncPool:
        """The pool of the running loop, which lives until the loop ends."""
        loop = asyncio.get_running_loop()
        found = self._by_loop.get(loop)
        if found is None:
            self._forget_closed_loops()
            pool = AsyncPool(self._endpoint)
            found = self._by_loop[loop] = pool, _close_with_loop(pool)
            await anext(found[1])
        return found[0]

    async def aclose(self) -> None:
        """Close the pool of the running loop."""
        found = self._by_loop.pop(asyncio.get_running_loop(), None)
        if found is not None:
            await found[1].aclose()

    def close_soon(self) -> None:
        """Have each loop close its pool when it comes to it; from any thread."""
        for loop, (_, closing) in list(self._by_loop.items()):
            with contextlib.suppress(RuntimeError):  # a loop that is closed has closed its pool
                loop.call_soon_threadsafe(_start_closing, closing)

    def _forget_closed_loops(self) -> None:
        for loop in list(self._by_loop):
            if loop.is_closed():
                del self._by_loop[loop]


_closings: set[asyncio.Task[None]] = set()  # a loop itself holds its tasks only weakly


def _start_closing(closing: AsyncGenerator[None, None]) -> None:
    task = asyncio.ensure_future(_finish(closing))
    _closings.add(task)
    task.add_done_callback(_closings.discard)


async def _finish(closing: AsyncGenerator[None, None]) -> None:
    with contextlib.suppress(RuntimeError):  # the end of the loop is closing it at this moment
        await closing.aclose()


async def _close_with_loop(pool: AsyncPool) -> AsyncGenerator[None, None]:
    """Close a pool when its loop ends: `asyncio.run` and its like finish each generator that was begun in theirs."""
    try:
        yield
    finally:
        await pool.aclose()


async def _has_unread(connection: Any) -> bool:
    try:
        return bool(await connection.can_read())
    except Exception:  # noqa: BLE001  a closed one says so by raising
        return True
