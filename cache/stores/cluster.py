"""The store on a cluster: each server is asked for its own keys, all at once, within one deadline.

Every key is asked for by a command of its own, one pipeline for each server. So no command spans slots, a slot that is
being moved is no special case, and what one server cannot do costs its own keys and no others.
"""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import wait
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

from redis import exceptions as redis_errors
from typing_extensions import override

from cache.deadline import Deadline
from cache.errors import (
    ConfigurationError,
    PartialFailureError,
    StoreConnectionError,
    StoreError,
    StoreResponseError,
    StoreTimeoutError,
)
from cache.stores import commands
from cache.stores.base import TrackedStore
from cache.stores.connections import Endpoint, again, translated
from cache.stores.links import Link, within
from cache.stores.merging import merged_info
from cache.stores.slots import Address, SlotMap, grouped, slot_of
from cache.stores.topology import Topology
from cache.stores.tracking import ClusterTracking
from cache.stores.urls import ServersUrl

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from cache.stores.base import Payload, Tell
    from cache.stores.commands import Command

    Asked = dict[Address, list[Command]]
    Got = dict[Address, list[Any] | StoreError]

T = TypeVar("T")
_DEFAULT_PORT = 6379
_MOST_HOPS = 5
_ASKING: Command = ("ASKING",)
_LOSSES = (StoreConnectionError, StoreTimeoutError, redis_errors.ClusterDownError)


class Answer(NamedTuple):
    """What became of one command.

    Attributes:
        server: who was asked last; empty where no server is known for the key.
        reply: the reply, an error of the server among them, or why there is none.
    """

    server: str
    reply: Any


_NOT_YET = Answer("", None)


class ClusterStore(TrackedStore):
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
        settled(self._ask(keys, commands.sets(key_value_pairs, ttl_s), size_bytes), _expect_ok)

    @override
    async def amset(self, key_value_pairs: Sequence[tuple[str, Payload]], *, ttl_s: int | None = None) -> None:
        keys, size_bytes = _keys_and_size(key_value_pairs)
        settled(await self._aask(keys, commands.sets(key_value_pairs, ttl_s), size_bytes), _expect_ok)

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
        _raise_any(failures, n_done=len(seen))

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
        _raise_any(failures, n_done=len(seen))

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
        """Return when a server answers, or holds no slot any more; look for its successor when it does not.

        The server without a name is there when a server is known for every slot.
        """
        expires_s = self._expiry(0)
        self._mind_fork()
        if not server:
            _complete(self._found(self._wait_for_search(expires_s)))
            return
        address = next((one for one in self._map(expires_s).addresses() if str(one) == server), None)
        if address is not None:
            settled(self._tell({address: commands.PING}, expires_s), _expect_pong)

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


class Asking:
    """Sends one command for each key to the server that holds it, and on to where servers send it.

    MOVED is taken note of for later operations; ASK, of a slot that is being moved, holds for this one.

    Args:
        topology: is told what servers say of it.
        found: the map to start with.
        keys: what is asked for.
        asked: one command for each.

    Attributes:
        answers: what became of each command, in order.
    """

    def __init__(self, topology: Topology, found: SlotMap, keys: Sequence[str], asked: Sequence[Command]) -> None:
        self._topology = topology
        self._asked = asked
        self._n_hops = 0
        owners = [found.owner(key) for key in keys]
        self.answers = [
            _NOT_YET if owner is not None else _unheld(key) for key, owner in zip(keys, owners, strict=True)
        ]
        if None in owners:
            topology.ask_for_refresh()
        self._to_ask = [_Part(position, owner) for position, owner in enumerate(owners) if owner is not None]

    def next(self) -> Asked:
        """What each server is to be sent now; nothing when all is answered, or was sent on too often."""
        if self._n_hops == _MOST_HOPS:
            return {}
        self._n_hops += 1
        self._groups = {address: [self._to_ask[n] for n in group] for address, group in _by_server(self._to_ask)}
        return {address: _pipeline(parts, self._asked) for address, parts in self._groups.items()}

    def take(self, got: Got) -> None:
        """Take what each server answered."""
        self._to_ask = []
        for address, parts in self._groups.items():
            replies = _replies(parts, got[address])
            _note_losses(replies, self._topology)
            for part, reply in zip(parts, replies, strict=True):
                self.answers[part.position] = Answer(str(address), reply)
                if isinstance(reply, redis_errors.AskError):  # and MOVED, which is one
                    self._to_ask.append(_redirected(part, reply, self._topology))


class _Part(NamedTuple):
    position: int
    address: Address
    is_asking: bool = False


def _by_server(parts: Sequence[_Part]) -> Iterable[tuple[Address, list[int]]]:
    return grouped([part.address for part in parts]).items()


def _pipeline(parts: Sequence[_Part], asked: Sequence[Command]) -> list[Command]:
    return [one for part in parts for one in ([_ASKING] * part.is_asking + [asked[part.position]])]


def _replies(parts: Sequence[_Part], got: list[Any] | StoreError) -> list[Any]:
    """The reply to each command, or the same error for all; those to ASKING are left out."""
    if isinstance(got, StoreError):
        return [got] * len(parts)
    replies = iter(got)
    return [(next(replies), next(replies))[1] if part.is_asking else next(replies) for part in parts]


def _redirected(part: _Part, error: redis_errors.AskError, topology: Topology) -> _Part:
    target = Address(error.host or part.address.host, error.port)
    if isinstance(error, redis_errors.MovedError):
        topology.moved(error.slot_id, target)
        return _Part(part.position, target)
    return _Part(part.position, target, is_asking=True)


def _note_losses(replies: Sequence[Any], topology: Topology) -> None:
    """Look for who has taken the place of a server that is gone."""
    if any(isinstance(reply, _LOSSES) for reply in replies):
        topology.ask_for_refresh()


def _unheld(key: str) -> Answer:
    return Answer("", StoreResponseError(f"no known server holds slot {slot_of(key)}", reason="cluster_down"))


def settled(answers: Sequence[Answer], interpret: Callable[[Any], T]) -> list[T | None]:
    """What the answers mean, in order.

    That nobody serves a slot, or the cluster, is not the failure of the server that says so.

    Raises:
        StoreError: the one server that was asked failed, and did nothing.
        PartialFailureError: some servers failed, and something was done.
    """
    values: list[T | None] = []
    failures: dict[str, StoreError] = {}
    n_done = 0
    for server, reply in answers:
        try:
            if isinstance(reply, StoreError):
                raise reply
            values.append(interpret(reply))
            n_done += 1
        except StoreError as error:
            values.append(None)
            error.server = "" if isinstance(reply, redis_errors.ClusterDownError) else server
            failures.setdefault(error.server, error)
    _raise_any(list(failures.values()), n_done=n_done, values=values)
    return values


def _raise_any(failures: Sequence[StoreError], *, n_done: int, values: Sequence[Any] = ()) -> None:
    if len(failures) == 1 and not n_done:
        raise failures[0]
    if failures:
        raise PartialFailureError.of(failures, values=values, n_done=n_done)


def _told(got: Got, topology: Topology) -> list[Answer]:
    _note_losses(list(got.values()), topology)
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


def _keys_and_size(pairs: Sequence[tuple[str, Payload]]) -> tuple[list[str], int]:
    return [key for key, _ in pairs], sum(len(value) for _, value in pairs)


def _expect_ok(reply: Any) -> None:
    commands.expect([reply], commands.OK)


def _expect_pong(replies: Any) -> None:
    commands.expect(replies, commands.PONG)


def _expect_count(reply: Any) -> None:
    commands.expect([reply], (0, 1))
