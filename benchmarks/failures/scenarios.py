"""The ways to fail, one after the other as the tables show them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.servers import HOST

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.failures.servers import Servers
    from tests.proxy import FaultProxy

HANDSHAKE_S = 0.3
REPLY_S = 0.3
RESOLVER_S = 1.0
NO_REDIS = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"  # as behind a wrong URL
READ_ONLY = b"-READONLY You can't write against a read only replica.\r\n"
OUT_OF_MEMORY = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n"
LOADING = b"-LOADING Redis is loading the dataset in memory\r\n"
NO_AUTH = b"-NOAUTH Authentication required.\r\n"
WRONG_TYPE = b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"
JSON_WRITES = frozenset({b"JSON.SET", b"EXPIRE"})
JSON_READS = frozenset({b"JSON.GET"})


@dataclass(frozen=True)
class Scenario:
    """One way to fail.

    Attributes:
        name: what the tables call it.
        url: by which of its ways the server is reached.
        begin: brings the fault about.
        heal: ends it; `None` where there is none.
        at_json: brings about the same at the proxy of a server that has RedisJSON; `None` where that is not to be had.
        enabled: whether the cache is switched on.
        asks_anew: whether each call is for something that is not stored, because the fault is in the writing.
        is_one_server: whether a client that knows no cluster and no Sentinel can take part.
        prepare: what is needed before each round.
    """

    name: str
    url: Callable[[Servers], str]
    begin: Callable[[Servers], object] = lambda _: None
    heal: Callable[[Servers], object] | None = None
    at_json: Callable[[FaultProxy], object] | None = None
    enabled: bool = True
    asks_anew: bool = False
    is_one_server: bool = True
    prepare: Callable[[Servers], object] = lambda _: None


def direct(servers: Servers) -> str:
    """Reach the server itself."""
    return servers.server.url


def at_network(name: str, fail: Callable[[FaultProxy], object]) -> Scenario:
    """A fault between client and server: the same for every server."""
    return Scenario(
        name,
        lambda servers: servers.proxy.url,
        lambda servers: fail(servers.proxy),
        lambda servers: servers.forward(),
        fail,
    )


def at_server(
    name: str, begin: tuple[str | int, ...], heal: tuple[str | int, ...], at_json: Callable[[FaultProxy], object]
) -> Scenario:
    """A server that refuses or holds up writes, told by a command to do so and by another to end it."""
    return Scenario(
        name,
        direct,
        lambda servers: servers.server.command(*begin),
        lambda servers: servers.server.command(*heal),
        at_json,
        asks_anew=True,
    )


def says(reply: bytes, only: frozenset[bytes] | None = None) -> Callable[[FaultProxy], object]:
    """Have commands answered with these bytes."""
    return lambda proxy: proxy.reply_with(reply, only=only)


SCENARIOS = (
    Scenario("switched off", direct, enabled=False),
    Scenario("healthy (a hit)", direct, at_json=lambda proxy: proxy.forward()),
    at_network("refusing connections", lambda proxy: proxy.refuse()),
    Scenario(
        "hung (`SIGSTOP`)",
        direct,
        lambda servers: servers.server.pause(),
        lambda servers: servers.server.resume(),
        lambda proxy: proxy.blackhole(),
    ),
    at_network("accepting, never answering", lambda proxy: proxy.blackhole()),
    at_network(f"replying {1000 * REPLY_S:.0f} ms late", lambda proxy: proxy.delay_replies(REPLY_S)),
    at_network("dripping a byte each 50 ms", lambda proxy: proxy.drip()),
    Scenario(
        "slow in the handshake, then healthy",
        lambda servers: servers.guarded_url,
        lambda servers: servers.guarded_proxy.slow_handshake(HANDSHAKE_S),
        lambda servers: servers.forward(),
        lambda proxy: proxy.slow_handshake(HANDSHAKE_S),
    ),
    Scenario(
        f"known to a resolver that takes {RESOLVER_S:.0f} s",
        lambda servers: servers.named_url,
        lambda servers: servers.resolve_slowly(RESOLVER_S),
        lambda servers: servers.resolve_quickly(),
    ),
    at_network("resetting connections", lambda proxy: proxy.reset()),
    at_network("answering garbage", says(NO_REDIS)),
    at_network("loading its file", says(LOADING)),
    at_network("asking for a password", says(NO_AUTH)),
    Scenario("killed in mid-run", direct, lambda servers: servers.kill_soon(), lambda servers: servers.revive()),
    at_server("read-only", ("REPLICAOF", HOST, 1), ("REPLICAOF", "NO", "ONE"), says(READ_ONLY, JSON_WRITES)),
    at_server(
        "out of memory, evicting nothing",
        ("CONFIG", "SET", "maxmemory", 1),
        ("CONFIG", "SET", "maxmemory", 0),
        says(OUT_OF_MEMORY, JSON_WRITES),
    ),
    at_server(
        "holding writes up, answering reads",  # as during a failover
        ("CLIENT", "PAUSE", 600_000, "WRITE"),
        ("CLIENT", "UNPAUSE"),
        lambda proxy: proxy.blackhole(only=JSON_WRITES),
    ),
    Scenario(
        "holding lists under our keys",
        direct,
        lambda servers: servers.replace_by_lists(),
        at_json=says(WRONG_TYPE, JSON_READS),
    ),
    Scenario(
        "a cluster that lost a node",
        lambda servers: servers.cluster.url,
        lambda servers: servers.kill_node(),
        lambda servers: servers.revive_node(),
        is_one_server=False,
    ),
    Scenario(
        "failing over (Sentinel)",
        lambda servers: servers.sentinels.url,
        lambda servers: servers.kill_primary(),
        lambda servers: servers.wait_for_successor(),
        is_one_server=False,
        prepare=lambda servers: servers.renew_sentinels(),
    ),
)
