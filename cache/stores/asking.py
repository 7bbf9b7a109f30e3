"""One command for each key of a batch, sent to the server that holds it, and on to where servers send it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from redis import exceptions as redis_errors

from cache.errors import PartialFailureError, StoreConnectionError, StoreError, StoreResponseError, StoreTimeoutError
from cache.stores.slots import Address, SlotMap, grouped, slot_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from cache.stores.commands import Command
    from cache.stores.topology import Topology

    Asked = dict[Address, list[Command]]
    Got = dict[Address, list[Any] | StoreError]

T = TypeVar("T")
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
            note_losses(replies, self._topology)
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


def note_losses(replies: Sequence[Any], topology: Topology) -> None:
    """Look for who has taken the place of a server that is gone."""
    if any(isinstance(reply, _LOSSES) for reply in replies):
        topology.ask_for_refresh()


def _unheld(key: str) -> Answer:
    return Answer("", StoreResponseError(f"no known server holds slot {slot_of(key)}", reason="cluster_down"))


def settled(answers: Sequence[Answer], interpret: Callable[[Any], T]) -> list[T | None]:
    """What the answers mean, in order.

    That nobody serves a slot is not the failure of the server that says so; that it takes the cluster for down is.

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
            error.server = "" if _is_unserved(reply) else server
            failures.setdefault(error.server, error)
    raise_any(list(failures.values()), n_done=n_done, values=values)
    return values


def _is_unserved(reply: Any) -> bool:
    """Say whether a reply concerns one slot alone."""
    return type(reply) is redis_errors.ClusterDownError and str(reply).startswith("Hash slot")


def raise_any(failures: Sequence[StoreError], *, n_done: int, values: Sequence[Any] = ()) -> None:
    """Raise what failed, if anything did; as it is, where it is all there was."""
    if len(failures) == 1 and not n_done:
        raise failures[0]
    if failures:
        raise PartialFailureError.of(failures, values=values, n_done=n_done)
