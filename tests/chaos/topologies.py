"""Servers, the ways to them, and what can happen to them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import ExitStack
from typing import TYPE_CHECKING

import redis
from typing_extensions import override

from cache.opening import open_store
from tests.chaos.application import SETTINGS
from tests.chaos.faults import both, on_cluster, on_sentinels, on_server, on_the_way
from tests.proxy import FaultProxy
from tests.servers import HOST, ValkeyCluster, ValkeySentinels, ValkeyServer

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from cache.wrappers import FailOpenStore
    from tests.chaos.faults import Fault

USER, PASSWORD = "chaos", "correct-horse"


class Topology(ABC):
    """Servers, the ways to them, and what can happen to them."""

    @property
    @abstractmethod
    def servers(self) -> Sequence[ValkeyServer]:
        """All servers that hold entries."""

    @abstractmethod
    def open_stores(self) -> Sequence[FailOpenStore]:
        """One for each application."""

    @abstractmethod
    def draw(self, chance: random.Random) -> Fault:
        """Draw the next fault."""

    @abstractmethod
    def settle(self) -> None:
        """Return when all servers serve again."""

    @abstractmethod
    def close(self) -> None:
        """End all servers."""


class OneServer(Topology):
    """One server: reached by its name, through a proxy with a login, and as a client that was handed in says."""

    def __init__(self) -> None:
        self._server = ValkeyServer(["--user", USER, "on", f">{PASSWORD}", "~*", "&*", "+@all"])
        self._server.start()
        self._proxy = _opened_proxy(self._server)
        self._client = redis.Redis(host=HOST, port=self._server.port, decode_responses=True)

    @property
    @override
    def servers(self) -> Sequence[ValkeyServer]:
        return [self._server]

    @override
    def open_stores(self) -> Sequence[FailOpenStore]:
        urls = self._server.url.replace(HOST, "localhost"), self._proxy.url.replace("://", f"://{USER}:{PASSWORD}@")
        return [*(open_store(SETTINGS, url=url) for url in urls), open_store(SETTINGS, client=self._client)]

    @override
    def draw(self, chance: random.Random) -> Fault:
        self._proxy.reset_counts()  # a long run has many commands
        on_way, at_end = on_the_way(self._proxy, chance), on_server(self._server, chance)
        return chance.choice([on_way, at_end, both(at_end, on_way)])  # the way is mended first: servers agree over it

    @override
    def settle(self) -> None:
        """It serves once the faults are over."""

    @override
    def close(self) -> None:
        self._client.close()
        self._proxy.close()
        self._server.stop()


class Cluster(Topology):
    """Three primaries, each with a replica; proxies stand before one of the primaries and before its replica."""

    def __init__(self) -> None:
        self._proxies: dict[ValkeyServer, FaultProxy] = {}
        self._cluster = ValkeyCluster(3, 3, front=self._front)
        with ExitStack() as stack:
            stack.callback(self.close)
            self._cluster.start()
            stack.pop_all()

    @property
    @override
    def servers(self) -> Sequence[ValkeyServer]:
        return self._cluster.servers

    @override
    def open_stores(self) -> Sequence[FailOpenStore]:
        return [open_store(SETTINGS, url=self._cluster.url) for _ in range(2)]

    @override
    def draw(self, chance: random.Random) -> Fault:
        for proxy in self._proxies.values():
            proxy.reset_counts()
        at_end = on_cluster(self._cluster, chance)
        on_way = on_the_way(chance.choice(list(self._proxies.values())), chance)
        return chance.choice(
            [on_way, at_end, at_end, both(at_end, on_way)]
        )  # the way is mended first: servers agree over it

    @override
    def settle(self) -> None:
        self._cluster.wait_until_agreed()

    @override
    def close(self) -> None:
        for proxy in self._proxies.values():
            proxy.close()
        self._cluster.stop()

    def _front(self, server: ValkeyServer) -> int:
        if server not in (self._cluster.primaries[0], self._cluster.replicas[0]):
            return server.port
        if server not in self._proxies:
            self._proxies[server] = _opened_proxy(server)
        return self._proxies[server].port


class Sentinels(Topology):
    """A primary and its replica, and three Sentinels that let either take over."""

    def __init__(self) -> None:
        self._sentinels = ValkeySentinels(3)
        with ExitStack() as stack:
            stack.callback(self.close)
            self._sentinels.start()
            stack.pop_all()

    @property
    @override
    def servers(self) -> Sequence[ValkeyServer]:
        return self._sentinels.servers

    @override
    def open_stores(self) -> Sequence[FailOpenStore]:
        return [open_store(SETTINGS, url=self._sentinels.url) for _ in range(2)]

    @override
    def draw(self, chance: random.Random) -> Fault:
        return on_sentinels(self._sentinels, chance)

    @override
    def settle(self) -> None:
        self._sentinels.wait_until_agreed()

    @override
    def close(self) -> None:
        self._sentinels.stop()


TOPOLOGIES: dict[str, Callable[[], Topology]] = {"server": OneServer, "cluster": Cluster, "sentinel": Sentinels}


def _opened_proxy(server: ValkeyServer) -> FaultProxy:
    proxy = FaultProxy(HOST, server.port)
    proxy.quiet_s = 0
    proxy.start()
    return proxy
