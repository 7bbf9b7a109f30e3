"""Counts of several processes on a real server."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from cache import CacheSettings, store_from_url
from cache.admin import Admin
from cache.deadline import Deadline
from cache.opening import open_store
from cache.service import SyncCacheService
from tests.servers import ValkeyCluster

if TYPE_CHECKING:
    from tests.proxy import FaultProxy

FORK = """
import os, sys
from cache import CacheSettings
from cache.opening import open_store
from cache.service import SyncCacheService

settings = CacheSettings(namespace=sys.argv[2], deadline_ms=5000)
with open_store(settings, url=sys.argv[1]) as store:
    service = SyncCacheService(store, settings=settings)
    service.get_session("absent")
    child = os.fork()
    service.get_session("absent")
if not child:
    os._exit(0)
sys.exit(os.waitpid(child, 0)[1])
"""


def counted(url: str, namespace: str) -> tuple[int, int]:
    """How many processes have reported, and how many misses."""
    with store_from_url(url, deadline=Deadline(5.0)) as store:
        usage = Admin(store, CacheSettings(namespace=namespace)).stats().usage
    return usage.n_processes, usage.misses


def test_processes_are_added_up_and_a_forked_child_counts_for_itself(redis_url: str, namespace: str) -> None:
    """Two processes are one sum, in which what the parent had counted before the fork stands once."""
    subprocess.run([sys.executable, "-c", FORK, redis_url, namespace], check=True, timeout=60)
    assert counted(redis_url, namespace) == (2, 3)


def test_slots_lie_all_over_a_cluster(namespace: str) -> None:
    """On a cluster counts are written and read as elsewhere."""
    settings = CacheSettings(namespace=namespace, deadline_ms=5000)
    with ValkeyCluster() as cluster:
        for _ in range(3):
            with open_store(settings, url=cluster.url) as store:
                SyncCacheService(store, settings=settings).get_session("absent")
        assert counted(cluster.url, namespace) == (3, 3)


def test_a_hit_asks_for_nothing_more(proxy: FaultProxy, namespace: str) -> None:
    """Counting adds no command to a lookup; the counts go out when the store is closed, in two round trips."""
    settings = CacheSettings(namespace=namespace, deadline_ms=5000)
    with open_store(settings, url=proxy.url) as store:
        service = SyncCacheService(store, settings=settings)
        assert service.cache_session("one", {})
        proxy.reset_counts()
        for _ in range(20):
            assert service.get_session("one") == {}
        assert proxy.round_trips == len(proxy.commands) == 20
        proxy.reset_counts()
    assert proxy.round_trips == 2


def test_a_server_that_hangs_holds_nobody_up(proxy: FaultProxy, namespace: str) -> None:
    """Where the server is known not to answer, closing asks it nothing."""
    settings = CacheSettings(namespace=namespace, deadline_ms=50)
    with open_store(settings, url=proxy.url) as store:
        service = SyncCacheService(store, settings=settings)
        proxy.blackhole()
        assert service.get_session("one") is None
        proxy.reset_counts()
    assert b"SET" not in proxy.commands
