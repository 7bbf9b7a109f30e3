"""The servers that fail, and what stands in front of them."""

from __future__ import annotations

import importlib
import os
import socket
import threading
import time
from contextlib import ExitStack, suppress
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from tests.proxy import FaultProxy
from tests.servers import HOST, ValkeyCluster, ValkeySentinels, ValkeyServer, free_port

if TYPE_CHECKING:
    from collections.abc import Callable

PASSWORD = "correct-horse"  # noqa: S105  of a server that lives as long as this run
SLOW_NAME = "slow.invalid"
KILL_AFTER_S = 0.02
WAIT_S = 20.0
TO_LISTS = """for _, key in ipairs(redis.call('KEYS', '*')) do
  redis.call('DEL', key) redis.call('RPUSH', key, 'not what it was')
end"""


class SlowResolver:
    """Knows one more name of this machine, and can take its time over it; a context manager.

    Attributes:
        delay_s: how long it takes over that name.
    """

    def __init__(self) -> None:
        self.delay_s = 0.0
        self._resolve: Callable[..., Any] = socket.getaddrinfo

    def __enter__(self) -> Self:
        socket.getaddrinfo = self._getaddrinfo
        return self

    def __exit__(self, *_: object) -> None:
        socket.getaddrinfo = self._resolve

    def _getaddrinfo(self, host: Any, *args: Any, **options: Any) -> Any:
        if host == SLOW_NAME:
            time.sleep(self.delay_s)
            host = HOST
        return self._resolve(host, *args, **options)


class Servers:
    """All servers; a context manager that starts them when they are first needed, and stops them.

    Attributes:
        server: the one that is frozen, killed or made to refuse writes.
        proxy: in front of it, where the network fails.
        guarded_proxy: in front of a server with a password.
        resolver: of the name by which `named_url` reaches `proxy`.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._failover = ExitStack()
        self._killing = threading.Thread()

    def __enter__(self) -> Self:
        self.server = self._stack.enter_context(ValkeyServer())
        self.proxy = self._proxied(HOST, self.server.port)
        guarded = self._stack.enter_context(ValkeyServer(["--requirepass", PASSWORD]))
        self.guarded_proxy = self._proxied(HOST, guarded.port)
        self.resolver = self._stack.enter_context(SlowResolver())
        self._stack.push(self._failover)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def guarded_url(self) -> str:
        """Through `guarded_proxy`, with the password."""
        return self.guarded_proxy.url.replace("redis://", f"redis://:{PASSWORD}@")

    @property
    def named_url(self) -> str:
        """Through `proxy`, by a name that `resolver` resolves."""
        return self.proxy.url.replace(HOST, SLOW_NAME)

    @cached_property
    def cluster(self) -> ValkeyCluster:
        """Three servers that share the slots."""
        return self._stack.enter_context(ValkeyCluster())

    @cached_property
    def json_proxy(self) -> FaultProxy | None:
        """In front of a server with RedisJSON: that of `REDIS_SEARCH_URL`, or else fakeredis'; `None` without both."""
        if url := os.environ.get("REDIS_SEARCH_URL"):
            address = urlsplit(url)
            return self._proxied(address.hostname or HOST, address.port or 6379)
        return self._proxied(HOST, self._start_fake()) if find_spec("fakeredis") else None

    @property
    def is_killing(self) -> bool:
        """Whether the server is still to be killed."""
        return self._killing.is_alive()

    def forward(self) -> None:
        """Let everything pass again, on new connections alone: old ones may stay silent."""
        for proxy in (self.proxy, self.guarded_proxy):
            proxy.forward()

    def kill_soon(self) -> None:
        """Kill the server from another thread while calls go on."""
        self._killing = threading.Thread(target=self._kill)
        self._killing.start()

    def revive(self) -> None:
        """Start an empty server where the killed one was."""
        self._killing.join()
        self.server.start()

    def replace_by_lists(self) -> None:
        """Put a list where each entry was."""
        self.server.command("EVAL", TO_LISTS, 0)

    def resolve_slowly(self, delay_s: float) -> None:
        """Drop all connections; from then on new ones are slow to be found."""
        self.resolver.delay_s = delay_s
        self.proxy.refuse()
        self.proxy.forward()

    def resolve_quickly(self) -> None:
        """Find new connections at once."""
        self.resolver.delay_s = 0.0

    def kill_node(self) -> None:
        """Kill the server of the cluster that holds the answer."""
        self._lost = next(node for node in self.cluster.primaries if node.command("KEYS", "*openai:*"))
        self._lost.kill()

    def revive_node(self) -> None:
        """Start it again, empty."""
        self._lost.start()
        self.cluster.wait_until_agreed()

    def renew_sentinels(self) -> None:
        """Start a new primary with its replica and Sentinel."""
        self._failover.close()
        self.sentinels = self._failover.enter_context(ValkeySentinels())

    def kill_primary(self) -> None:
        """Kill the primary; its replica has what it had."""
        primary, _ = self.sentinels.servers
        primary.command("WAIT", 1, 5000)
        primary.kill()

    def wait_for_successor(self) -> None:
        """Wait until the replica has been made the primary."""
        end_s = time.monotonic() + WAIT_S
        while not self._has_taken_over():
            if time.monotonic() > end_s:
                raise TimeoutError(f"no successor within {WAIT_S} s")
            time.sleep(0.001)

    def _has_taken_over(self) -> bool:
        with suppress(OSError, EOFError):  # while it changes its role, it may hang up
            return b"role:master" in self.sentinels.servers[1].command("INFO", "replication")
        return False

    def _kill(self) -> None:
        time.sleep(KILL_AFTER_S)
        self.server.kill()

    def _proxied(self, host: str, port: int) -> FaultProxy:
        proxy = self._stack.enter_context(FaultProxy(host, port))
        proxy.quiet_s = 0.0
        return proxy

    def _start_fake(self) -> int:
        port = free_port()
        server = importlib.import_module("fakeredis").TcpFakeServer((HOST, port))
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), name="fakeredis")
        thread.start()
        self._stack.callback(thread.join)
        self._stack.callback(server.server_close)
        self._stack.callback(server.shutdown)
        return port
