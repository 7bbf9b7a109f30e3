"""Leases as commands of a server, and what its replies mean.

A lease is a string with an expiry that names its holder. Compare-and-delete is a script, sent whole: it is shorter than
its digest and a second try after NOSCRIPT, and DELIFEQ is known to few servers. All commands of a key name it or its
lease, which lie in one slot of a cluster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cache.errors import StoreResponseError
from cache.keys import lease_key
from cache.stores.base import Attempt
from cache.stores.connections import to_store_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    Command = tuple[str | bytes | int, ...]

_RENEW = "return redis.call('GET',KEYS[1])==ARGV[1] and redis.call('PEXPIRE',KEYS[1],ARGV[2]) or 0"
_RELEASE = "return redis.call('GET',KEYS[1])==ARGV[1] and redis.call('DEL',KEYS[1]) or 0"


def acquiring(key: str, token: bytes, life_ms: int) -> list[Command]:
    """Take the lease, and read it: a command that is sent twice finds its own token."""
    lease = lease_key(key)
    return [("SET", lease, token, "NX", "PX", life_ms), ("MGET", lease, key)]


def acquired(replies: Sequence[Any], token: bytes) -> Attempt:
    """What came of it; an error of the server is raised."""
    match replies:
        case [Exception() as error, _] | [_, Exception() as error]:
            raise to_store_error(error) from error
        case [_, [holder, None | bytes() as value]]:
            return Attempt(is_held=holder == token, value=value)
        case _:
            raise _unexpected()


def renewing(holders: Sequence[tuple[str, bytes]], life_ms: int) -> list[Command]:
    """Have leases live anew."""
    return [("EVAL", _RENEW, 1, lease_key(key), token, life_ms) for key, token in holders]


def releasing(holders: Sequence[tuple[str, bytes]]) -> list[Command]:
    """Give back leases."""
    return [("EVAL", _RELEASE, 1, lease_key(key), token) for key, token in holders]


def are_held(replies: Sequence[Any]) -> list[bool]:
    """Whether each was the holder's; an error of the server is raised."""
    for reply in replies:
        if isinstance(reply, Exception):
            raise to_store_error(reply) from reply
        if reply not in {0, 1}:
            raise _unexpected()
    return [reply == 1 for reply in replies]


def _unexpected() -> StoreResponseError:
    return StoreResponseError("the server answered what no lease can be", reason="protocol")
