"""What goes wrong with real servers and on the way to them: each fault is a block, and at its end all is well again."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING, TypeAlias

from tests.chaos.application import PLAIN
from tests.servers import (
    HOST,
    ServerReplyError,
    ValkeyCluster,
    ValkeySentinels,
    ValkeyServer,
    encode_command,
    free_port,
    read_reply,
)

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.proxy import FaultProxy

    Fault: TypeAlias = tuple[str, Callable[[], AbstractContextManager[object]]]

PASSWORD = "correct-horse"  # noqa: S105  of a server that lives as long as its test
N_SPOILED = 20
REFUSALS = (
    b"-LOADING Valkey is loading the dataset in memory\r\n",
    b"-BUSY Valkey is busy running a script\r\n",
    b"-MISCONF Errors writing to disk\r\n",
    b"-NOREPLICAS Not enough good replicas to write.\r\n",
    b"-NOSCRIPT No matching script\r\n",
    b"-ERR max number of clients reached\r\n",
)


@contextlib.contextmanager
def dead(server: ValkeyServer) -> Iterator[None]:
    """Killed; in the end it is back, empty."""
    server.kill()
    try:
        yield
    finally:
        server.start()


@contextlib.contextmanager
def emptied(server: ValkeyServer) -> Iterator[None]:
    """Killed and back at once, empty."""
    server.restart()
    yield


@contextlib.contextmanager
def frozen(server: ValkeyServer) -> Iterator[None]:
    """Stopped by a signal, with all connections open."""
    server.pause()
    try:
        yield
    finally:
        server.resume()


@contextlib.contextmanager
def read_only(server: ValkeyServer) -> Iterator[None]:
    """The replica of a server that is not there."""
    server.command("REPLICAOF", HOST, free_port())
    try:
        yield
    finally:
        server.command("REPLICAOF", "NO", "ONE")


@contextlib.contextmanager
def full(server: ValkeyServer) -> Iterator[None]:
    """Out of memory."""
    server.command("CONFIG", "SET", "maxmemory", 1)
    try:
        yield
    finally:
        server.command("CONFIG", "SET", "maxmemory", 0)


@contextlib.contextmanager
def of_wrong_types(server: ValkeyServer) -> Iterator[None]:
    """Some keys hold lists instead of strings, and scripts are forgotten."""
    with contextlib.suppress(ServerReplyError):  # a replica takes no writes
        server.command("SCRIPT", "FLUSH")
        for _ in range(N_SPOILED):
            if key := server.command("RANDOMKEY"):
                server.command("DEL", key)
                server.command("LPUSH", key, "not a string")
    yield


@contextlib.contextmanager
def damaged(server: ValkeyServer) -> Iterator[None]:
    """Some entries hold bytes that were not written there."""
    with contextlib.suppress(ServerReplyError):  # a replica takes no writes, a list is no string
        for n in range(N_SPOILED):
            key: bytes = server.command("RANDOMKEY") or PLAIN.encode()
            if not key.startswith(PLAIN.encode()):
                server.command("SETRANGE", key, 3 * n, b"\x00\xff\r\n$-1\r\n")
    yield


@contextlib.contextmanager
def disconnected(server: ValkeyServer) -> Iterator[None]:
    """All clients are thrown out once."""
    server.command("CLIENT", "KILL", "TYPE", "normal")
    yield


@contextlib.contextmanager
def locked(server: ValkeyServer) -> Iterator[None]:
    """All clients are thrown out, and a password is wanted that they do not have."""
    with socket.socket(socket.AF_UNIX) as admin, admin.makefile("rb") as replies:
        admin.settimeout(5)
        admin.connect(str(server.socket_path))
        for command in (("CONFIG", "SET", "requirepass", PASSWORD), ("CLIENT", "KILL", "TYPE", "normal")):
            admin.sendall(encode_command(*command))
            read_reply(replies)
        try:
            yield
        finally:  # a connection that is there stays logged in
            admin.sendall(encode_command("CONFIG", "SET", "requirepass", ""))
            read_reply(replies)


@contextlib.contextmanager
def taken_over(cluster: ValkeyCluster, replica: ValkeyServer) -> Iterator[None]:
    """A replica becomes the primary, and the primary its replica."""
    with contextlib.suppress(ServerReplyError):  # it is the primary already, or has lost its own
        replica.command("CLUSTER", "FAILOVER")
    yield
    cluster.wait_until_agreed()


@contextlib.contextmanager
def faulty(proxy: FaultProxy, begin: Callable[[], None]) -> Iterator[None]:
    """A fault on the way."""
    begin()
    try:
        yield
    finally:
        proxy.forward()


@contextlib.contextmanager
def failed_over(sentinels: ValkeySentinels) -> Iterator[None]:
    """The Sentinels let the replica take over though nothing has happened to the primary."""
    with contextlib.suppress(ServerReplyError):  # one is under way, or there is no good replica
        sentinels.sentinels[0].command("SENTINEL", "FAILOVER", sentinels.SERVICE)
    yield


def on_server(server: ValkeyServer, chance: random.Random) -> Fault:
    """Draw a fault of a server that stands alone."""
    kinds = (dead, emptied, frozen, read_only, full, of_wrong_types, damaged, disconnected, locked)
    kind = chance.choice(kinds)
    return kind.__name__, lambda: kind(server)


def on_the_way(proxy: FaultProxy, chance: random.Random) -> Fault:
    """Draw a fault between the client and the server."""
    delay_s, n_bytes, reply = chance.uniform(0.02, 0.3), chance.randrange(1, 3000), chance.choice(REFUSALS)
    faults: dict[str, Callable[[], None]] = {
        f"delay of {delay_s:.3f} s": lambda: proxy.delay_replies(delay_s),
        f"slow handshake of {delay_s:.3f} s": lambda: proxy.slow_handshake(delay_s),
        "drip": lambda: proxy.drip(64, 0.005),
        f"truncate after {n_bytes} bytes": lambda: proxy.truncate(n_bytes),
        "garble": proxy.garble,
        "reset": proxy.reset,
        "refuse": proxy.refuse,
        "blackhole": proxy.blackhole,
        f"reply {reply!r}": lambda: proxy.reply_with(reply),
    }
    name = chance.choice(list(faults))
    return name, lambda: faulty(proxy, faults[name])


def on_cluster(cluster: ValkeyCluster, chance: random.Random) -> Fault:
    """Draw a fault of a server of a cluster."""
    n = chance.randrange(len(cluster.servers))
    server = cluster.servers[n]
    if chance.random() < 0.1:
        return f"server {n} taken_over", lambda: taken_over(cluster, server)
    kind = chance.choice((dead, emptied, frozen, full, of_wrong_types, damaged, disconnected))
    return f"server {n} {kind.__name__}", lambda: kind(server)


def on_sentinels(sentinels: ValkeySentinels, chance: random.Random) -> Fault:
    """Draw a fault of one of two servers under Sentinels, or of a Sentinel."""
    n = chance.randrange(2)
    at_server = chance.choice((dead, emptied, frozen, full, of_wrong_types, damaged, disconnected))
    at_sentinel = chance.choice((dead, frozen, disconnected))
    other = chance.choice(sentinels.sentinels)
    return chance.choice(
        [
            (f"server {n} {at_server.__name__}", lambda: at_server(sentinels.servers[n])),
            (f"server {n} {at_server.__name__}", lambda: at_server(sentinels.servers[n])),
            (f"Sentinel {at_sentinel.__name__}", lambda: at_sentinel(other)),
            ("failed_over", lambda: failed_over(sentinels)),
        ]
    )


def both(one: Fault, other: Fault) -> Fault:
    """Two faults, of which the second begins later and ends earlier."""

    def begin() -> contextlib.ExitStack:
        with contextlib.ExitStack() as stack:  # the first ends, should the second not begin
            stack.enter_context(one[1]())
            stack.enter_context(other[1]())
            return stack.pop_all()

    return f"{one[0]} and {other[0]}", begin


def last(fault: Fault, seconds: float) -> None:
    """Have a fault for some seconds."""
    with fault[1]():
        time.sleep(seconds)
