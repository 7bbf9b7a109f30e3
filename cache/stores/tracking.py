"""Changed keys, as servers tell of them: one connection to each, read by a thread in the background.

`CLIENT TRACKING ON BCAST` has a server tell of every key with a given beginning that anybody changes, deletes, evicts
or lets expire, also when nobody here has read it. The connection speaks RESP3, in which such news come unasked, in the
order in which things happened and between the replies to commands. So when the reply to a command is there, all news
of what happened before the command was sent are there too. One small command each second proves that, and keeps a
connection from being taken for alive that has silently died.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

import hiredis
from redis import exceptions as redis_errors
from typing_extensions import override

from cache.errors import StoreConnectionError, StoreError
from cache.stores.base import Tracking
from cache.stores.commands import PING, PONG, unexpected
from cache.stores.connections import to_store_error, translated

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from cache.stores.base import Tell
    from cache.stores.commands import Command
    from cache.stores.connections import Connector, Endpoint
    from cache.stores.slots import Address, SlotMap
    from cache.stores.topology import Topology
    from cache.stores.wire import Wire

_log = logging.getLogger("resumecache")
_PAUSE_S = 1.0
_PATIENCE_S = 2.0
_FIRST_WAIT_S = 0.05
_LONGEST_WAIT_S = 5.0
_CLIENT_NAME = "resumecache-near"
_INVALIDATE = b"invalidate"
_NEVER = float("-inf")


class Proof(NamedTuple):
    """What is asked of a server again and again.

    Attributes:
        commands: what is sent.
        holds: whether the replies say that the server is the one to listen to.
    """

    commands: list[Command]
    holds: Callable[[list[Any]], bool]


def _answers(replies: list[Any]) -> bool:
    return replies == [*PONG]


def _is_primary(replies: list[Any]) -> bool:
    role = replies[0]
    return isinstance(role, redis_errors.NoPermissionError) or (isinstance(role, list) and role[:1] == [b"master"])


def _is_primary_of_majority(replies: list[Any]) -> bool:
    state = replies[1]
    return _is_primary(replies) and isinstance(state, bytes) and b"cluster_state:ok" in state


ALIVE = Proof(PING, _answers)
PRIMARY = Proof([("ROLE",)], _is_primary)
CLUSTER_PRIMARY = Proof([("ROLE",), ("CLUSTER", "INFO")], _is_primary_of_majority)


class ServerTracking(Tracking):
    """What one server tells.

    Args:
        endpoint: where the server is and how to connect.
        tell: see `TrackedStore.track`.
        proof: what the server has to say of itself each second.
    """

    def __init__(self, endpoint: Connector, tell: Tell, *, proof: Proof = ALIVE) -> None:
        self._endpoint = endpoint
        self._tell = tell
        self._proof = proof
        self._lock = threading.Lock()
        self._wanted: tuple[str, ...] = ()
        self._prefixes: tuple[str, ...] = ()
        self._proven_s = _NEVER
        self._run: _Run | None = None
        self._why_not: str | None = None

    @override
    def want(self, prefixes: Sequence[str]) -> None:
        with self._lock:
            self._wanted = (*self._wanted, *(prefix for prefix in prefixes if prefix not in self._wanted))
            if self._run is None:
                run = _Run(weakref.ref(self))
                with contextlib.suppress(RuntimeError):  # no thread to be had: whoever comes next tries again
                    threading.Thread(target=run.go_on, name="resumecache-tracking", daemon=True).start()
                    self._run = run

    @property
    @override
    def prefixes(self) -> tuple[str, ...]:
        return self._prefixes

    @property
    @override
    def proven_s(self) -> float:
        return self._proven_s

    @override
    def close(self) -> None:
        with self._lock:
            run, self._run = self._run, None
            self._wanted = self._prefixes = ()
            self._proven_s = _NEVER
        if run is not None:
            run.end()

    def connect(self) -> Any:
        """A connection; raises whatever happens."""
        return self._endpoint.connect()

    def prove(self, run: _Run, wire: Wire) -> None:
        """Find out that all is told up to now; have the server tell of what has come to be wanted.

        Raises:
            StoreError: the server cannot tell, is not the right one, or does not answer.
        """
        wanted = self._wanted
        new = [prefix for prefix in wanted if prefix not in self._prefixes]
        asked_s = time.monotonic()
        commands = [*_tracking(new), *self._proof.commands]
        replies = _exchange(wire, commands, self._tell)[len(commands) - len(self._proof.commands) :]
        if not self._proof.holds(replies):
            raise StoreConnectionError("the server is none to be read from", reason="no_primary")
        with self._lock:
            if self._run is run:
                self._prefixes = wanted
                self._proven_s = asked_s
                if self._why_not is not None:
                    _log.info("changes on %s are told of again", self._endpoint.name)
                self._why_not = None

    def listen(self, wire: Wire, until_s: float) -> None:
        """Tell of what comes until then; raises whatever happens to the connection."""
        with contextlib.suppress(TimeoutError):
            while True:
                _take(wire.receive(until_s), self._tell)

    def lost(self, run: _Run, error: StoreError) -> None:
        """Say that everything may have changed."""
        with self._lock:
            if self._run is not run:
                return
            self._prefixes = ()
            self._proven_s = _NEVER
            is_news = error.reason != self._why_not
            self._why_not = error.reason
        level = logging.WARNING if is_news else logging.DEBUG
        name = self._endpoint.name
        _log.log(level, "changes on %s are not told of (%s), nothing is kept near: %s", name, error.reason, error)
        self._tell(None)


class _Run:
    """One thread of a tracking, which it does not keep alive."""

    def __init__(self, reference: weakref.ref[ServerTracking]) -> None:
        self._reference = reference
        self._is_over = threading.Event()
        self._wire: Wire | None = None

    def end(self) -> None:
        """Have the thread end soon, whatever it waits for."""
        self._is_over.set()
        wire = self._wire
        if wire is not None:
            wire.shut_down()

    def go_on(self) -> None:
        """Connect again and again; less and less often, as long as that fails."""
        wait_s = _FIRST_WAIT_S
        while not self._is_over.is_set():
            started_s = time.monotonic()
            error = self._connect_and_listen()
            tracking = self._reference()
            if tracking is None or error is None:
                return
            tracking.lost(self, error)
            del tracking
            if time.monotonic() - started_s > _LONGEST_WAIT_S:
                wait_s = _FIRST_WAIT_S
            self._is_over.wait(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def _connect_and_listen(self) -> StoreError | None:
        """Go on until the connection is lost: why it was; `None` where nobody is there any more to be told."""
        connection = None
        try:
            connection = self._connected()
            if connection is not None:
                self._listen()
        except Exception as error:  # noqa: BLE001  whatever it is, the thread goes on: nobody else would connect again
            return error if isinstance(error, StoreError) else to_store_error(error)
        finally:
            self._wire = None
            if connection is not None:
                with contextlib.suppress(Exception):  # it may be broken in any way
                    connection.disconnect()
        return None

    def _connected(self) -> Any:
        tracking = self._reference()
        connection = None if tracking is None else tracking.connect()
        if connection is not None:
            self._wire = connection.wire()
        return connection

    def _listen(self) -> None:
        wire = self._wire
        if wire is None:
            raise StoreError("the connection is none to a server", reason="client")
        is_greeted = False
        while not self._is_over.is_set():
            tracking = self._reference()
            if tracking is None:
                return
            if not is_greeted:
                _exchange(wire, [("HELLO", 3, "SETNAME", _CLIENT_NAME)], _nobody_asks)
                is_greeted = True
            started_s = time.monotonic()
            tracking.prove(self, wire)
            tracking.listen(wire, started_s + _PAUSE_S)
            del tracking


def _nobody_asks(_keys: Sequence[str] | None) -> None:
    """Nothing is told of before something is wanted."""


def _tracking(prefixes: Sequence[str]) -> list[Command]:
    """Have the server tell of these beginnings, besides those before."""
    if not prefixes:
        return []
    return [("CLIENT", "TRACKING", "ON", "BCAST", *(part for prefix in prefixes for part in ("PREFIX", prefix)))]


def _exchange(wire: Wire, commands: Sequence[Command], tell: Tell) -> list[Any]:
    """Send commands and read their replies, and the news between them.

    Raises:
        StoreError: there is no reply in time, or the first is an error.
    """
    expires_s = time.monotonic() + _PATIENCE_S
    replies: list[Any] = []
    with translated():
        wire.send(commands, expires_s)
        while len(replies) < len(commands):
            came = wire.receive(expires_s)
            if not _take(came, tell):
                replies.append(came)
        if isinstance(replies[0], Exception) and commands[0][0] in {"HELLO", "CLIENT"}:
            raise replies[0]
    return replies


def _take(came: Any, tell: Tell) -> bool:
    """Tell of news; False for what is none."""
    if not isinstance(came, hiredis.PushNotification):
        return False
    match list(came):
        case [kind, None] if kind == _INVALIDATE:
            tell(None)
        case [kind, list() as keys] if kind == _INVALIDATE:
            tell([key.decode("utf-8", "surrogateescape") for key in keys])
        case [kind, *_] if kind == _INVALIDATE:
            raise unexpected(came)
    return True


class ClusterTracking(Tracking):
    """What the primaries of a cluster tell; nothing counts as told unless each of them can be heard.

    A slot may go from one server to another at any time, so no part of the keys can rely on one server alone.

    Args:
        topology: which servers there are.
        endpoint_of: how to reach one.
        tell: see `TrackedStore.track`.
    """

    def __init__(self, topology: Topology, endpoint_of: Callable[[Address], Endpoint], tell: Tell) -> None:
        self._topology = topology
        self._endpoint_of = endpoint_of
        self._tell = tell
        self._lock = threading.Lock()
        self._wanted: tuple[str, ...] = ()
        self._map: SlotMap | None = None
        self._by_server: dict[Address, ServerTracking] = {}

    @override
    def want(self, prefixes: Sequence[str]) -> None:
        with self._lock:
            self._wanted = (*self._wanted, *(prefix for prefix in prefixes if prefix not in self._wanted))
            for tracking in self._by_server.values():
                tracking.want(self._wanted)

    @property
    @override
    def prefixes(self) -> tuple[str, ...]:
        told = [set(tracking.prefixes) for tracking in self._present()]
        return tuple(set.intersection(*told)) if told else ()

    @property
    @override
    def proven_s(self) -> float:
        return min((tracking.proven_s for tracking in self._present()), default=_NEVER)

    @override
    def close(self) -> None:
        with self._lock:
            closing = list(self._by_server.values())
            self._wanted, self._map, self._by_server = (), None, {}
        for tracking in closing:
            tracking.close()

    def _present(self) -> Collection[ServerTracking]:
        """One for each primary that is known now."""
        found = self._topology.map
        if found is not self._map and found is not None and self._wanted:
            self._follow(found)
        return () if found is None else self._by_server.values()

    def _follow(self, found: SlotMap) -> None:
        addresses = found.addresses()
        with self._lock:
            left = [tracking for address, tracking in self._by_server.items() if address not in addresses]
            is_changed = self._by_server.keys() != set(addresses)
            self._by_server = {address: self._by_server.get(address) or self._started(address) for address in addresses}
            self._map = found
        for tracking in left:
            tracking.close()
        if is_changed:
            self._tell(None)

    def _started(self, address: Address) -> ServerTracking:
        reference, tell = weakref.ref(self._topology), self._tell

        def tell_and_look(keys: Sequence[str] | None) -> None:
            """Look for who has taken the place of a server that is not heard any more."""
            topology = reference()
            if keys is None and topology is not None:
                topology.ask_for_refresh()
            tell(keys)

        tracking = ServerTracking(self._endpoint_of(address), tell_and_look, proof=CLUSTER_PRIMARY)
        tracking.want(self._wanted)
        return tracking
