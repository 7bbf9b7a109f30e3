"""The store on a Redis or Valkey server: each verb one round trip, within one deadline."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from redis import exceptions as redis_errors
from typing_extensions import override

from cache.deadline import Deadline
from cache.stores.base import Attempt, LeasingStore, TrackedStore
from cache.stores.blocks import Block
from cache.stores.commands import (
    INFO,
    OK,
    PING,
    PONG,
    expect,
    head_of,
    info,
    msetex,
    peeks,
    scan,
    scanned,
    sets,
    unseen,
    value_of,
    values,
)
from cache.stores.leasing import acquired, acquiring, releasing, renewing, replacing, settling, was_done
from cache.stores.links import Link
from cache.stores.tombstones import keys_to_take_back, marks_of, taken_back
from cache.stores.tracking import ALIVE, PRIMARY, ServerTracking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from cache.stores.base import Holder, Payload, Tell
    from cache.stores.commands import Command
    from cache.stores.connections import Connector
    from cache.stores.tombstones import Marks


_FEWEST_IN_BLOCK = 2  # a single value is a copy less of what is small


class RedisStore(LeasingStore, TrackedStore):
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

    gathers_reads = True

    def __init__(
        self,
        endpoint: Connector,
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
        self._link = Link(endpoint)

    @override
    def mget(self, keys: Sequence[str], *, expect_bytes: int = 0) -> list[bytes | None]:
        return values(self._exchange([("MGET", *keys)], expect_bytes), len(keys)) if keys else []

    @override
    async def amget(self, keys: Sequence[str], *, expect_bytes: int = 0) -> list[bytes | None]:
        return values(await self._aexchange([("MGET", *keys)], expect_bytes), len(keys)) if keys else []

    @override
    def mget_block(self, keys: Sequence[str], *, size_bytes: int) -> list[bytes | None] | Block:
        if len(keys) < _FEWEST_IN_BLOCK:
            return self.mget(keys, expect_bytes=len(keys) * size_bytes)
        [reply] = self._exchange([("MGET", *keys)], len(keys) * size_bytes, block_bytes=size_bytes)
        return reply if isinstance(reply, Block) else values([reply], len(keys))

    @override
    def mset(self, key_value_pairs: Sequence[tuple[str, Payload]], *, ttl_s: int | None = None) -> None:
        size_bytes, marks = sum(len(value) for _, value in key_value_pairs), marks_of(key_value_pairs)
        if self._writes_at_once(key_value_pairs, ttl_s):
            replies = self._exchange([msetex(key_value_pairs, ttl_s), *_reading(marks)], size_bytes)
            if not self._lacks_msetex(replies):
                return expect(self._take_back(marks, replies), (1,))
        replies = self._exchange([*sets(key_value_pairs, ttl_s), *_reading(marks)], size_bytes)
        return expect(self._take_back(marks, replies), OK)

    @override
    async def amset(self, key_value_pairs: Sequence[tuple[str, Payload]], *, ttl_s: int | None = None) -> None:
        size_bytes, marks = sum(len(value) for _, value in key_value_pairs), marks_of(key_value_pairs)
        if self._writes_at_once(key_value_pairs, ttl_s):
            replies = await self._aexchange([msetex(key_value_pairs, ttl_s), *_reading(marks)], size_bytes)
            if not self._lacks_msetex(replies):
                return expect(await self._atake_back(marks, replies), (1,))
        replies = await self._aexchange([*sets(key_value_pairs, ttl_s), *_reading(marks)], size_bytes)
        return expect(await self._atake_back(marks, replies), OK)

    @override
    def mdelete(self, keys: Sequence[str]) -> None:
        if keys:
            expect(self._exchange([("UNLINK", *keys)], 0), range(len(keys) + 1))

    @override
    async def amdelete(self, keys: Sequence[str]) -> None:
        if keys:
            expect(await self._aexchange([("UNLINK", *keys)], 0), range(len(keys) + 1))

    @override
    def mpeek(self, keys: Sequence[str], n_bytes: int) -> list[bytes | None]:
        return [head_of(reply) for reply in self._exchange(peeks(keys, n_bytes), n_bytes * len(keys))]

    @override
    async def ampeek(self, keys: Sequence[str], n_bytes: int) -> list[bytes | None]:
        return [head_of(reply) for reply in await self._aexchange(peeks(keys, n_bytes), n_bytes * len(keys))]

    @override
    def yield_keys(self, *, prefix: str | None = None) -> Iterator[str]:
        cursor, seen = b"0", set[str]()
        while True:
            cursor, keys = scanned(self._exchange([scan(cursor, prefix)], 0))
            yield from unseen(keys, seen)
            if cursor == b"0":
                return

    @override
    async def ayield_keys(self, *, prefix: str | None = None) -> AsyncIterator[str]:
        cursor, seen = b"0", set[str]()
        while True:
            cursor, keys = scanned(await self._aexchange([scan(cursor, prefix)], 0))
            for key in unseen(keys, seen):
                yield key
            if cursor == b"0":
                return

    @override
    def ping(self) -> None:
        expect(self._exchange(PING, 0), PONG)

    @override
    async def aping(self) -> None:
        expect(await self._aexchange(PING, 0), PONG)

    @override
    def info(self) -> dict[str, str]:
        return info(self._exchange(INFO, 0))

    @override
    async def ainfo(self) -> dict[str, str]:
        return info(await self._aexchange(INFO, 0))

    @override
    def acquire(self, key: str, token: bytes, *, life_ms: int) -> Attempt:
        return acquired([value_of(reply) for reply in self._exchange(acquiring(key, token, life_ms), 0)], token)

    @override
    async def aacquire(self, key: str, token: bytes, *, life_ms: int) -> Attempt:
        return acquired([value_of(reply) for reply in await self._aexchange(acquiring(key, token, life_ms), 0)], token)

    @override
    def renew(self, holders: Sequence[Holder], *, life_ms: int) -> list[bool]:
        return [was_done(reply) for reply in self._exchange(renewing(holders, life_ms), 0)]

    @override
    async def arenew(self, holders: Sequence[Holder], *, life_ms: int) -> list[bool]:
        return [was_done(reply) for reply in await self._aexchange(renewing(holders, life_ms), 0)]

    @override
    def release(self, holders: Sequence[Holder]) -> None:
        expect(self._exchange(releasing(holders), 0), (0, 1))

    @override
    async def arelease(self, holders: Sequence[Holder]) -> None:
        expect(await self._aexchange(releasing(holders), 0), (0, 1))

    @override
    def settle(self, key_value_pairs: Sequence[tuple[str, Payload]], holder: Holder, *, ttl_s: int) -> None:
        size_bytes, marks = sum(len(value) for _, value in key_value_pairs), marks_of(key_value_pairs)
        replies = self._exchange([*settling(key_value_pairs, holder, ttl_s), *_reading(marks)], size_bytes)
        expect(self._take_back(marks, replies)[:-1], OK)  # a lease that stays ends by itself

    @override
    async def asettle(self, key_value_pairs: Sequence[tuple[str, Payload]], holder: Holder, *, ttl_s: int) -> None:
        size_bytes, marks = sum(len(value) for _, value in key_value_pairs), marks_of(key_value_pairs)
        replies = await self._aexchange([*settling(key_value_pairs, holder, ttl_s), *_reading(marks)], size_bytes)
        expect((await self._atake_back(marks, replies))[:-1], OK)

    @override
    def replace(self, key: str, old: bytes | None, new: Payload, *, ttl_s: int) -> bool:
        marks = marks_of([(key, new)])
        commands = [*replacing(key, old, new, ttl_s), *_reading(marks)]
        [reply] = self._take_back(marks, self._exchange(commands, len(old or b"") + len(new)))
        return was_done(reply)

    @override
    async def areplace(self, key: str, old: bytes | None, new: Payload, *, ttl_s: int) -> bool:
        marks = marks_of([(key, new)])
        commands = [*replacing(key, old, new, ttl_s), *_reading(marks)]
        [reply] = await self._atake_back(marks, await self._aexchange(commands, len(old or b"") + len(new)))
        return was_done(reply)

    @override
    def track(self, tell: Tell) -> ServerTracking:
        return ServerTracking(self.endpoint, tell, proof=PRIMARY if self.endpoint.moves else ALIVE)

    @override
    def close(self) -> None:
        self._link.close()
        if self._on_close:
            self._on_close()

    @override
    async def aclose(self) -> None:
        await self._link.aclose()
        self.close()

    def _take_back(self, marks: Marks, replies: list[Any]) -> list[Any]:
        """Delete what was written about who was forgotten; the replies to what was asked besides the tombstones."""
        lost = _lost(marks, replies)
        self.mdelete(lost)
        return _besides_tombstones(marks, replies, lost)

    async def _atake_back(self, marks: Marks, replies: list[Any]) -> list[Any]:
        """Asynchronous twin of `_take_back`."""
        lost = _lost(marks, replies)
        await self.amdelete(lost)
        return _besides_tombstones(marks, replies, lost)

    def _writes_at_once(self, pairs: Sequence[tuple[str, Payload]], ttl_s: int | None) -> bool:
        return self._has_msetex and ttl_s is not None and len(pairs) > 1

    def _lacks_msetex(self, replies: list[Any]) -> bool:
        """Say whether the server does not have MSETEX for us (Valkey 9.1 and Redis 8.4 have it), and remember it.

        A user who is allowed what older servers have must not lose writes on a newer one.
        """
        error = replies[0]
        is_unknown = isinstance(error, redis_errors.ResponseError) and "unknown command" in str(error)
        is_forbidden = isinstance(error, redis_errors.NoPermissionError) and "msetex" in str(error).lower()
        lacks = is_unknown or is_forbidden
        self._has_msetex = self._has_msetex and not lacks
        return lacks

    def _exchange(self, commands: Sequence[Command], size_bytes: int, *, block_bytes: int = 0) -> list[Any]:
        if self._first_wait_s and commands:
            self._link.wait_until_connected(self._first_wait_s)
            self._first_wait_s = 0.0
        expires_s = time.monotonic() + self._deadline.allowed_s(size_bytes)
        return self._link.exchange(commands, expires_s, block_bytes=block_bytes)

    async def _aexchange(self, commands: Sequence[Command], size_bytes: int) -> list[Any]:
        """Asynchronous twin of `_exchange`."""
        if self._first_wait_s and commands:
            await self._link.await_until_connected(self._first_wait_s)
            self._first_wait_s = 0.0
        return await self._link.aexchange(commands, self._deadline.allowed_s(size_bytes))


def _reading(marks: Marks) -> list[Command]:
    return [("MGET", *marks)] if marks else []


def _lost(marks: Marks, replies: list[Any]) -> list[str]:
    """What must not stay: the last reply is to reading the tombstones, where there are any to look for."""
    if not marks:
        return []
    found = replies[-1]
    is_whole = isinstance(found, list) and len(found) == len(marks)
    return keys_to_take_back(marks, found if is_whole else [found] * len(marks))


def _besides_tombstones(marks: Marks, replies: list[Any], lost: Sequence[str]) -> list[Any]:
    """The other replies; an error where an entry was lost, or it is not known whether it had to be."""
    if not marks:
        return replies
    values(replies[-1:], len(marks))
    if lost:
        raise taken_back()
    return replies[:-1]
