"""The store on a cluster: each server is asked for its own keys, all at once, within one deadline.

Every key is asked for by a command of its own, one pipeline for each server. So no command spans slots, a slot that is
being moved is no special case, and what one server cannot do costs its own keys and no others.
"""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import wait
from typing import TYPE_CHECKING, Any, Self

from typing_extensions import override

from cache.deadline import Deadline
from cache.errors import (
    ConfigurationError,
    StoreConnectionError,
    StoreError,
    StoreResponseError,
    StoreTimeoutError,
)
from cache.stores import commands
from cache.stores.asking import Answer, Asking, note_losses, raise_any, settled
from cache.stores.base import Attempt, LeasingStore, TrackedStore
from cache.stores.connections import Endpoint, again, translated
from cache.stores.leasing import acquired, acquiring, releasing, renewing, replacing, settling, was_done
from cache.stores.links import Link, within
from cache.stores.merging import merged_info
from cache.stores.tombstones import keys_to_take_back, marks_of, taken_back
from cache.stores.topology import Topology
from cache.stores.tracking import ClusterTracking
from cache.stores.urls import ServersUrl

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from concurrent.futures import Future

    from cache.stores.asking import Asked, Got
    from cache.stores.base import Holder, Payload, Tell
    from cache.stores.commands import Command
    from cache.stores.slots import Address, SlotMap
    from cache.stores.tombstones import Marks

_DEFAULT_PORT = 6379


class ClusterStore(LeasingStore, TrackedStore):
    """Entries on the servers of a cluster.

    Args:
        seeds: servers of the cluster that are asked for the others.
        endpoint: how to connect to one of them; the others are connected to in the same way.
        deadline: how long one operation may take, whatever number of servers it asks and however often it is sent
            from one to another.
    """

    gathers_reads = True

    def __init__(self, seeds: Sequence[Address], endpoint: Endpoint, *, deadline: Deadline | None = None) -> None:
        self._endpoint = endpoint
        self._deadline = deadline or Deadline()
        self._pid = os.getpid()
        self._links: dict[Address, Link] = {}
        self._topology = Topology(seeds, endpoint_of=lambda address: endpoint.at(*address), on_change=self._retire)

    @classmethod
    def from_url(cls, url: str, *, deadline: Deadline | None = None) -> Self:
        """A store for `redis+cluster://host:port,host:port`, or `rediss+cluster://` for TLS.

        Raises:
            ConfigurationError: the URL is wrong; the message shows it without its password.
        """
        parsed = ServersUrl.parse(url, default_port=_DEFAULT_PORT)
        if [*parsed.segments, parsed.options.get("db", "0")] not in (["0"], ["0", "0"]):
            raise ConfigurationError(f"REDIS_URL: a cluster has no other database than 0, got {parsed.shown!r}")
        return cls(parsed.addresses, Endpoint.from_url(parsed.plain(without=("db",))), deadline=deadline)

    @override
    def mget(self, keys: Sequence[str], *, expect_bytes: int = 0) -> list[bytes | None]:
        return settled(self._ask(keys, commands.gets(keys), expect_bytes), commands.value_of)

    @override
    async def amget(self, keys: Sequence[str], *, expect_bytes: int = 0) -> list[bytes | None]:
        return settled(await self._aask(keys, commands.gets(keys), expect_bytes), commands.value_of)

    @override
    def mset(self, key_value_pairs: Sequence[tuple[str, Payload]], *, ttl_s: int | None = None) -> None:
        keys, size_bytes = _keys_and_size(key_value_pairs)
        answers = self._ask(keys, commands.sets(key_value_pairs, ttl_s), size_bytes)
        if marks := marks_of(key_value_pairs):
            self._take_back(marks)
        settled(answers, _expect_ok)

    @override
    async def amset(self, key_value_pairs: Sequence[tuple[str, Payload]], *, ttl_s: int | None = None) -> None:
        keys, size_bytes = _keys_and_size(key_value_pairs)
        answers = await self._aask(keys, commands.sets(key_value_pairs, ttl_s), size_bytes)
        if marks := marks_of(key_value_pairs):
            await self._atake_back(marks)
        settled(answers, _expect_ok)

    @override
    def mdelete(self, keys: Sequence[str]) -> None:
        settled(self._ask(keys, commands.unlinks(keys), 0), _expect_count)

    @override
    async def amdelete(self, keys: Sequence[str]) -> None:
        settled(await self._aask(keys, commands.unlinks(keys), 0), _expect_count)

    @override
    def mpeek(self, keys: Sequence[str], n_bytes: int) -> list[bytes | None]:
        answers = self._ask(keys, commands.peeks(keys, n_bytes), n_bytes * len(keys))
        return settled(answers, commands.head_of)

    @override
    async def ampeek(self, keys: Sequence[str], n_bytes: int) -> list[bytes | None]:
        answers = await self._aask(keys, commands.peeks(keys, n_bytes), n_bytes * len(keys))
        return settled(answers, commands.head_of)

    @override
    def yield_keys(self, *, prefix: str | None = None) -> Iterator[str]:
        """Go through the keys of one server after the other; one that fails is reported after all others.

        A key whose slot moves to another server meanwhile may be missed.
        """
        seen, failures = set[str](), list[StoreError]()
        for address in self._map(self._expiry(0)).addresses():
            cursor: bytes | None = b"0"
            while cursor is not None:
                [answer] = self._tell({address: [commands.scan(cursor, prefix)]}, self._expiry(0))
                cursor, keys = _scanned(answer, failures)
                yield from commands.unseen(keys, seen)
        raise_any(failures, n_done=len(seen))

    @override
    async def ayield_keys(self, *, prefix: str | None = None) -> AsyncIterator[str]:
        seen, failures = set[str](), list[StoreError]()
        for address in (await self._amap(self._expiry(0))).addresses():
            cursor: bytes | None = b"0"
            while cursor is not None:
                [answer] = await self._atell({address: [commands.scan(cursor, prefix)]}, self._expiry(0))
                cursor, keys = _scanned(answer, failures)
                for key in commands.unseen(keys, seen):
                    yield key
        raise_any(failures, n_done=len(seen))

    @override
    def ping(self) -> None:
        """Return when every slot is held by a server that answers; raise a `StoreError` when not."""
        expires_s = self._expiry(0)
        found = _complete(self._map(expires_s))
        settled(self._tell(dict.fromkeys(found.addresses(), commands.PING), expires_s), _expect_pong)

    @override
    async def aping(self) -> None:
        expires_s = self._expiry(0)
        found = _complete(await self._amap(expires_s))
        settled(await self._atell(dict.fromkeys(found.addresses(), commands.PING), expires_s), _expect_pong)

    @override
    def servers_of(self, keys: Sequence[str]) -> list[str]:
        """Name the server of each key as far as is known; empty where none is, as before the first operation."""
        found = self._topology.map
        if found is None:
            return [""] * len(keys)
        return [str(found.owner(key) or "") for key in keys]

    @override
    def ping_server(self, server: str) -> None:
        """Return when a server serves, or holds no slot any more; look for its successor when it does not.

        The server without a name is there when a server is known for every slot.
        """
        expires_s = self._expiry(0)
        self._mind_fork()
        if not server:
            _complete(self._found(self._wait_for_search(expires_s)))
            return
        address = next((one for one in self._map(expires_s).addresses() if str(one) == server), None)
        if address is not None:
            settled(self._tell({address: commands.PING_MEMBER}, expires_s), commands.expect_member)

    @override
    def info(self) -> dict[str, str]:
        """What the servers say of themselves, as one: see `merged_info`."""
        expires_s = self._expiry(0)
        addresses = self._map(expires_s).addresses()
        return _merged(self._tell(dict.fromkeys(addresses, commands.INFO), expires_s))

    @override
    async def ainfo(self) -> dict[str, str]:
        expires_s = self._expiry(0)
        addresses = (await self._amap(expires_s)).addresses()
        return _merged(await self._atell(dict.fromkeys(addresses, commands.INFO), expires_s))

    @override
    def acquire(self, key: str, token: bytes, *, life_ms: int) -> Attempt:
        asked = acquiring(key, token, life_ms)
        return acquired(settled(self._ask([key] * len(asked), asked, 0), commands.value_of), token)

    @override
    async def aacquire(self, key: str, token: bytes, *, life_ms: int) -> Attempt:
        asked = acquiring(key, token, life_ms)
        return acquired(settled(await self._aask([key] * len(asked), asked, 0), commands.value_of), token)

    @override
    def renew(self, holders: Sequence[Holder], *, life_ms: int) -> list[bool]:
        keys = [key for key, _ in holders]
        return _confirmed(settled(self._ask(keys, renewing(holders, life_ms), 0), was_done))

    @override
    async def arenew(self, holders: Sequence[Holder], *, life_ms: int) -> list[bool]:
        keys = [key for key, _ in holders]
        return _confirmed(settled(await self._aask(keys, renewing(holders, life_ms), 0), was_done))

    @override
    def release(self, holders: Sequence[Holder]) -> None:
        settled(self._ask([key for key, _ in holders], releasing(holders), 0), was_done)

    @override
    async def arelease(self, holders: Sequence[Holder]) -> None:
        settled(await self._aask([key for key, _ in holders], releasing(holders), 0), was_done)

    @override
    def settle(self, key_value_pairs: Sequence[tuple[str, Payload]], holder: Holder, *, ttl_s: int) -> None:
        keys, size_bytes = _keys_and_size(key_value_pairs)
        asked = settling(key_value_pairs, holder, ttl_s)
        answers = self._ask([*keys, holder[0]], asked, size_bytes)[:-1]
        if marks := marks_of(key_value_pairs):
            self._take_back(marks)
        settled(answers, _expect_ok)

    @override
    async def asettle(self, key_value_pairs: Sequence[tuple[str, Payload]], holder: Holder, *, ttl_s: int) -> None:
        keys, size_bytes = _keys_and_size(key_value_pairs)
        asked = settling(key_value_pairs, holder, ttl_s)
        answers = (await self._aask([*keys, holder[0]], asked, size_bytes))[:-1]
        if marks := marks_of(key_value_pairs):
            await self._atake_back(marks)
        settled(answers, _expect_ok)

    @override
    def replace(self, key: str, old: bytes | None, new: Payload, *, ttl_s: int) -> bool:
        answers = self._ask([key], replacing(key, old, new, ttl_s), len(old or b"") + len(new))
        if marks := marks_of([(key, new)]):
            self._take_back(marks)
        return _confirmed(settled(answers, was_done))[0]

    @override
    async def areplace(self, key: str, old: bytes | None, new: Payload, *, ttl_s: int) -> bool:
        answers = await self._aask([key], replacing(key, old, new, ttl_s), len(old or b"") + len(new))
        if marks := marks_of([(key, new)]):
            await self._atake_back(marks)
        return _confirmed(settled(answers, was_done))[0]

    @override
    def track(self, tell: Tell) -> ClusterTracking:
        return ClusterTracking(self._topology, lambda address: self._endpoint.at(*address), tell)

    @override
    def close(self) -> None:
        for link in list(self._links.values()):
            link.close()

    @override
    async def aclose(self) -> None:
        for link in list(self._links.values()):
            await link.aclose()

    def _take_back(self, marks: Marks) -> None:
        """Delete what was written about who was forgotten.

        Tombstones are read once the write is done and not with it: they lie on other servers, which might answer
        before the write has arrived.
        """
        found = self._ask(list(marks), commands.gets(list(marks)), 0)
        lost = keys_to_take_back(marks, [answer.reply for answer in found])
        self.mdelete(lost)
        settled(found, commands.value_of)
        if lost:
            raise taken_back()

    async def _atake_back(self, marks: Marks) -> None:
        """Asynchronous twin of `_take_back`."""
        found = await self._aask(list(marks), commands.gets(list(marks)), 0)
        lost = keys_to_take_back(marks, [answer.reply for answer in found])
        await self.amdelete(lost)
        settled(found, commands.value_of)
        if lost:
            raise taken_back()

    def _expiry(self, size_bytes: int) -> float:
        return time.monotonic() + self._deadline.allowed_s(size_bytes)

    def _link(self, address: Address) -> Link:
        return self._links.get(address) or self._links.setdefault(address, Link(self._endpoint.at(*address)))

    def _retire(self, found: SlotMap) -> None:
        for address in self._links.keys() - set(found.addresses()):
            self._links.pop(address).retire()

    def _ask(self, keys: Sequence[str], asked: Sequence[Command], size_bytes: int) -> list[Answer]:
        """Send one command for each key to where the key lies, wherever that turns out to be."""
        if not keys:
            return []
        expires_s = self._expiry(size_bytes)
        asking = Asking(self._topology, self._map(expires_s), keys, asked)
        while to_send := asking.next():
            asking.take(self._exchange_all(to_send, expires_s))
        return asking.answers

    async def _aask(self, keys: Sequence[str], asked: Sequence[Command], size_bytes: int) -> list[Answer]:
        """Asynchronous twin of `_ask`."""
        if not keys:
            return []
        expires_s = self._expiry(size_bytes)
        asking = Asking(self._topology, await self._amap(expires_s), keys, asked)
        while to_send := asking.next():
            asking.take(await self._aexchange_all(to_send, expires_s))
        return asking.answers

    def _tell(self, asked: Asked, expires_s: float) -> list[Answer]:
        """Send commands to servers, whatever they hold, and take all that one answers as one."""
        return _told(self._exchange_all(asked, expires_s), self._topology)

    async def _atell(self, asked: Asked, expires_s: float) -> list[Answer]:
        """Asynchronous twin of `_tell`."""
        return _told(await self._aexchange_all(asked, expires_s), self._topology)

    def _exchange_all(self, asked: Asked, expires_s: float) -> Got:
        """Exchange commands with several servers at once; one that fails has an error for its replies."""
        own, *others = asked.items()
        started = {address: self._start(address, to_send, expires_s) for address, to_send in others}
        got: Got = {}
        try:
            got[own[0]] = self._link(own[0]).exchange(own[1], expires_s)
        except StoreError as error:
            got[own[0]] = error
        wait(
            [one for one in started.values() if not isinstance(one, StoreError)], max(0.0, expires_s - time.monotonic())
        )
        return got | {address: _outcome(one) for address, one in started.items()}

    def _start(self, address: Address, to_send: list[Command], expires_s: float) -> Future[list[Any]] | StoreError:
        try:
            return self._link(address).start_exchange(to_send, expires_s)
        except StoreError as error:
            return error

    async def _aexchange_all(self, asked: Asked, expires_s: float) -> Got:
        """Asynchronous twin of `_exchange_all`."""
        if len(asked) == 1:
            [(address, to_send)] = asked.items()
            return {address: await self._aexchange(address, to_send, expires_s)}
        got = await asyncio.gather(
            *(self._aexchange(address, to_send, expires_s) for address, to_send in asked.items())
        )
        return dict(zip(asked, got, strict=True))

    async def _aexchange(self, address: Address, to_send: list[Command], expires_s: float) -> list[Any] | StoreError:
        try:
            return await self._link(address).aexchange(to_send, max(0.0, expires_s - time.monotonic()))
        except StoreError as error:
            return error

    def _map(self, expires_s: float) -> SlotMap:
        """The map of the cluster, waited for where there is none yet."""
        self._mind_fork()
        return self._topology.map or self._found(self._wait_for_search(expires_s))

    async def _amap(self, expires_s: float) -> SlotMap:
        """Asynchronous twin of `_map`."""
        self._mind_fork()
        if self._topology.map is not None:
            return self._topology.map
        async with within(max(0.0, expires_s - time.monotonic())):
            return self._found(await asyncio.wrap_future(self._search()))

    def _mind_fork(self) -> None:
        if os.getpid() != self._pid:
            self._pid = os.getpid()
            self._topology.renew()

    def _search(self) -> Future[StoreError | None]:
        with translated():
            return self._topology.refresh()

    def _wait_for_search(self, expires_s: float) -> StoreError | None:
        try:
            return self._search().result(max(0.0, expires_s - time.monotonic()))
        except TimeoutError:
            raise StoreTimeoutError("no map of the cluster within the deadline") from None

    def _found(self, failure: StoreError | None) -> SlotMap:
        if failure is not None:
            raise again(failure)
        if self._topology.map is None:
            raise StoreConnectionError("no map of the cluster was found")
        return self._topology.map


def _told(got: Got, topology: Topology) -> list[Answer]:
    note_losses(list(got.values()), topology)
    return [Answer(str(address), replies) for address, replies in got.items()]


def _outcome(started: Future[list[Any]] | StoreError) -> list[Any] | StoreError:
    """What a server answered in another thread; what runs there ends by itself at the deadline."""
    if isinstance(started, StoreError):
        return started
    if started.cancel():
        return StoreTimeoutError("all threads for this server are busy", reason="pool_exhausted")
    try:
        return started.result()
    except StoreError as error:
        return error


def _complete(found: SlotMap) -> SlotMap:
    if not found.is_complete():
        raise StoreResponseError(f"{found.owners.count(None)} slots are held by no server", reason="cluster_down")
    return found


def _scanned(answer: Answer, failures: list[StoreError]) -> tuple[bytes | None, list[bytes]]:
    try:
        [(cursor, keys)] = settled([answer], commands.scanned)  # type: ignore[misc]  # there is no None without error
    except StoreError as error:
        failures.append(error)
        return None, []
    return (None if cursor == b"0" else cursor), keys


def _merged(answers: Sequence[Answer]) -> dict[str, str]:
    return merged_info([one for one in settled(answers, commands.info) if one is not None])


def _confirmed(are_done: Sequence[bool | None]) -> list[bool]:
    return [is_done is True for is_done in are_done]  # there is no None without error


def _keys_and_size(pairs: Sequence[tuple[str, Payload]]) -> tuple[list[str], int]:
    return [key for key, _ in pairs], sum(len(value) for _, value in pairs)


def _expect_ok(reply: Any) -> None:
    commands.expect([reply], commands.OK)


def _expect_pong(replies: Any) -> None:
    commands.expect(replies, commands.PONG)


def _expect_count(reply: Any) -> None:
    commands.expect([reply], (0, 1))
