"""Leases as commands of a server, and what its replies mean.

A lease is a string with an expiry that names its holder. Compare-and-delete is a script, sent whole: it is shorter than
its digest and a second try after NOSCRIPT, and DELIFEQ is known to few servers. All commands of a key name it or its
lease, which lie in one slot of a cluster.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from cache.keys import lease_key
from cache.stores.base import Attempt
from cache.stores.commands import expect, sets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cache.stores.base import Holder, Payload
    from cache.stores.commands import Command

_RENEW = "return redis.call('GET',KEYS[1])==ARGV[1] and redis.call('PEXPIRE',KEYS[1],ARGV[2]) or 0"
_RELEASE = "return redis.call('GET',KEYS[1])==ARGV[1] and redis.call('DEL',KEYS[1]) or 0"


# The lease, which is nobody's, says whose change was the last: a command that is sent twice changes once.
_REPLACE = """
if redis.call('GET',KEYS[2])==ARGV[1] then return 1 end
if (redis.call('GET',KEYS[1]) or '')~=ARGV[2] then return 0 end
redis.call('SET',KEYS[1],ARGV[3],'EX',ARGV[4])
redis.call('SET',KEYS[2],ARGV[1],'PX',ARGV[5])
return 1
"""
_REMEMBERED_MS = 10_000


def acquiring(key: str, token: bytes, life_ms: int) -> list[Command]:
    """Take the lease, and read it: a command that is sent twice finds its own token.

    Each command is of one key, as a cluster wants it while a slot moves.
    """
    lease = lease_key(key)
    return [("SET", lease, token, "NX", "PX", life_ms), ("GET", lease), ("GET", key)]


def acquired(values: Sequence[bytes | None], token: bytes) -> Attempt:
    """What came of it, from the values in the replies (see `commands.value_of`)."""
    _, holder, value = values
    return Attempt(is_held=holder == token, value=value)


def renewing(holders: Sequence[Holder], life_ms: int) -> list[Command]:
    """Have leases live anew."""
    return [("EVAL", _RENEW, 1, lease_key(key), token, life_ms) for key, token in holders]


def releasing(holders: Sequence[Holder]) -> list[Command]:
    """Give back leases."""
    return [("EVAL", _RELEASE, 1, lease_key(key), token) for key, token in holders]


def settling(pairs: Sequence[tuple[str, Payload]], holder: Holder, ttl_s: int) -> list[Command]:
    """Write values, and give back a lease as the last."""
    return [*sets(pairs, ttl_s), *releasing([holder])]


def replacing(key: str, old: bytes | None, new: Payload, ttl_s: int) -> list[Command]:
    """Write a value where the present one is the old one."""
    token = uuid.uuid4().hex
    return [("EVAL", _REPLACE, 2, key, lease_key(key), token, old or b"", new, ttl_s, _REMEMBERED_MS)]


def was_done(reply: Any) -> bool:
    """Whether a script found what it was to find, and so did what it does; an error of the server is raised."""
    expect([reply], (0, 1))
    return bool(reply == 1)
