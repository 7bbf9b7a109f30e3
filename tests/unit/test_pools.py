"""Pools of connections of one event loop that are closed while somebody still uses them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from cache.stores.pools import AsyncPool


class Connection:
    """Notes whether it was closed."""

    def __init__(self) -> None:
        self.is_open = True

    async def disconnect(self, *, nowait: bool = False) -> None:
        self.is_open = False

    async def can_read(self) -> bool:
        return False


class Connector:
    """Makes connections when it is let."""

    name = "a server"
    moves = False
    is_async = True

    def __init__(self) -> None:
        self.made: list[Connection] = []
        self.may_connect = asyncio.Event()

    def connect(self) -> Any:
        raise NotImplementedError

    async def aconnect(self) -> Connection:
        await self.may_connect.wait()
        self.made.append(Connection())
        return self.made[-1]


N_TURNS = 10


async def let_others_go_on() -> None:
    """Give the loop to all tasks that are ready."""
    for _ in range(N_TURNS):
        await asyncio.sleep(0)


@pytest.mark.parametrize("closes_first", [True, False])
async def test_a_connection_that_comes_to_a_closed_pool_is_closed(closes_first: bool) -> None:  # noqa: FBT001  a case
    """Who asked for it has left, and nobody will take it from a pool whose server is not asked again."""
    connector = Connector()
    pool = AsyncPool(connector)
    if closes_first:
        await pool.aclose()
    asking = asyncio.create_task(pool.take())
    await asyncio.sleep(0)
    asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking
    connector.may_connect.set()
    await let_others_go_on()
    if not closes_first:
        await pool.aclose()
        await let_others_go_on()
    assert [connection.is_open for connection in connector.made] == [False]


async def test_a_connection_that_is_given_to_a_closed_pool_is_closed() -> None:
    """What was in use when the pool was closed is not kept for others afterwards."""
    connector = Connector()
    connector.may_connect.set()
    pool = AsyncPool(connector)
    connection, _ = await pool.take()
    await pool.aclose()
    await pool.give(connection)
    assert not connection.is_open
