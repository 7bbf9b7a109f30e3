"""What is sent to a server, and what its replies mean. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cache.errors import StoreResponseError
from cache.keys import glob_of_prefix
from cache.stores.connections import to_store_error

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from cache.stores.base import Payload

    Command = tuple[str | bytes | int | memoryview, ...]

_SCAN_COUNT = 1000
INFO: list[Command] = [("INFO",), ("DBSIZE",)]
PING: list[Command] = [("PING",)]
PING_MEMBER: list[Command] = [*PING, ("CLUSTER", "INFO")]
OK, PONG = (b"OK",), (b"PONG",)
_VALUE_TYPES = {bytes, type(None)}


def gets(keys: Sequence[str]) -> list[Command]:
    """Read each key by a command of its own."""
    return [("GET", key) for key in keys]


def sets(pairs: Sequence[tuple[str, Payload]], ttl_s: int | None) -> list[Command]:
    """Write each pair, with its expiry, by a command of its own."""
    expiry: Command = () if ttl_s is None else ("EX", ttl_s)
    return [("SET", key, value, *expiry) for key, value in pairs]


def msetex(pairs: Sequence[tuple[str, Payload]], ttl_s: int | None) -> Command:
    """Write all pairs with one expiry in one command, where the server has it."""
    flat = [part for key, value in pairs for part in (key, value)]
    return ("MSETEX", len(pairs), *flat, "EX", ttl_s or 0)


def unlinks(keys: Sequence[str]) -> list[Command]:
    """Delete each key by a command of its own."""
    return [("UNLINK", key) for key in keys]


def peeks(keys: Sequence[str], n_bytes: int) -> list[Command]:
    """Read the first bytes of each key."""
    return [("GETRANGE", key, 0, n_bytes - 1) for key in keys]


def scan(cursor: bytes, prefix: str | None) -> Command:
    """Go on through the keys that begin with `prefix`."""
    return ("SCAN", cursor, "MATCH", glob_of_prefix(prefix or ""), "COUNT", _SCAN_COUNT)


def expect(replies: Sequence[Any], allowed: Collection[Any]) -> None:
    """Raise a `StoreError` unless every reply is one of those allowed."""
    for reply in replies:
        if isinstance(reply, Exception):
            raise to_store_error(reply) from reply
        if reply not in allowed:
            raise unexpected(reply)


def value_of(reply: Any) -> bytes | None:
    """The value in a reply to GET or GETRANGE; `None` where there is none, or no string.

    Raises:
        StoreError: the reply is another error, or no value.
    """
    if isinstance(reply, Exception):
        error = to_store_error(reply)
        if error.reason != "wrong_type":
            raise error from reply
        return None
    if reply is not None and not isinstance(reply, bytes):
        raise unexpected(reply)
    return reply


def values(replies: Sequence[Any], n: int) -> list[bytes | None]:
    """The values in the reply to one MGET of `n` keys; a `StoreError` if it is not what it should be."""
    [reply] = replies
    if isinstance(reply, Exception):
        raise to_store_error(reply) from reply
    if not isinstance(reply, list) or len(reply) != n or not _VALUE_TYPES.issuperset(map(type, reply)):
        raise unexpected(reply)
    return reply


def head_of(reply: Any) -> bytes | None:
    """The beginning of a value in the reply to GETRANGE, which gives an empty one where there is none."""
    return value_of(reply) or None


def info(replies: Sequence[Any]) -> dict[str, str]:
    """What a server says of itself in the replies to `INFO`, flat, with `n_keys` added.

    Raises:
        StoreError: a reply is an error, or not what it should be.
    """
    match replies:
        case [Exception() as error, _] | [_, Exception() as error]:
            raise to_store_error(error) from error
        case [bytes() as text, int() as n_keys]:
            parts = (line.partition(":") for line in text.decode("utf-8", "replace").splitlines())
            return {name: value for name, _, value in parts if value} | {"n_keys": str(n_keys)}
        case _:
            raise unexpected(replies)


def scanned(replies: Sequence[Any]) -> tuple[bytes, list[bytes]]:
    """The next cursor and the keys in the reply to one SCAN; a `StoreError` if it is not what it should be."""
    match replies:
        case [Exception() as error]:
            raise to_store_error(error) from error
        case [[bytes() as cursor, list() as keys]]:
            return cursor, keys
        case _:
            raise unexpected(replies)


def expect_member(replies: Sequence[Any]) -> None:
    """Raise a `StoreError` unless a server of a cluster answers, and takes the cluster for one that it may serve.

    One that has lost touch with most others answers PING and refuses all else.
    """
    pong, state = replies
    expect([pong], PONG)
    if isinstance(state, bytes) and b"cluster_state:fail" in state:
        raise StoreResponseError("the server takes the cluster for down", reason="cluster_down")


def unseen(keys: Sequence[bytes], seen: set[str]) -> Iterator[str]:
    """Those keys that were not given before, as text; they are added to `seen`."""
    for key in keys:
        text = key.decode("utf-8", "surrogateescape")
        if text not in seen:
            seen.add(text)
            yield text


def unexpected(reply: Any) -> StoreResponseError:
    """The error for a reply that no server may give to the command."""
    return StoreResponseError(f"the server answered {type(reply).__name__} where it must not", reason="protocol")
