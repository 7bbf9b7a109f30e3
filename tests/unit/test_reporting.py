"""Counts of all processes: written to slots by each, added up by whoever asks."""

from __future__ import annotations

import gc
import threading
from typing import TYPE_CHECKING

import pytest
from langchain_core.stores import InMemoryByteStore
from typing_extensions import override

from cache import CacheSettings, MemoryStore, ResponseCache
from cache.admin import Admin
from cache.breaker import WRITE_PAUSE_S
from cache.counters import Counters, Counts
from cache.errors import StoreResponseError
from cache.keys import Kind
from cache.opening import store_for
from cache.reporting import N_SLOTS, Reporter, slot_keys, sum_up
from cache.service import SyncCacheService
from cache.wrappers import FailOpenStore
from tests.fakes import FakeClock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cache.reporting import Usage
    from cache.stores.base import Payload

SOON_S = 10.0


class WatchedStore(MemoryStore):
    """Says when something was written, and can refuse to."""

    def __init__(self) -> None:
        super().__init__()
        self.is_full = False
        self.written = threading.Event()

    @override
    def mset(self, key_value_pairs: Sequence[tuple[str, Payload]], *, ttl_s: int | None = None) -> None:
        if self.is_full:
            raise StoreResponseError("no room", reason="out_of_memory")
        super().mset(key_value_pairs, ttl_s=ttl_s)
        self.written.set()


def counted(store: MemoryStore, *, namespace: str | None = None, **numbers: int) -> FailOpenStore:
    """An application on a store that has counted so much."""
    opened, counters = FailOpenStore(store), Counters()
    store_for(Kind.SESSION, opened, CacheSettings(), counters, namespace=namespace)
    counters.add(**numbers)
    return opened


def usage(store: MemoryStore, *, namespace: str | None = None) -> Usage:
    return Admin(store, CacheSettings(namespace=namespace)).stats().usage


def stats_threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "resumecache-stats"]


def test_the_counts_of_all_are_added_up() -> None:
    """What two applications have counted is one sum, with the share of lookups that were hits."""
    store = MemoryStore()
    counted(store, hits=3, misses=1, saved_ms=70).close()
    counted(store, hits=6, misses=2, stored=2).close()
    found = usage(store)
    assert (found.n_processes, found.hits, found.misses, found.stored, found.saved_ms) == (2, 9, 3, 2, 70)
    assert found.hit_ratio == 0.75


async def test_an_asynchronous_close_writes_too() -> None:
    """`aclose` writes what `close` does."""
    store = MemoryStore()
    await counted(store, hits=3).aclose()
    assert (await Admin(store, CacheSettings()).astats()).usage.hits == 3


def test_before_anything_is_counted_there_is_no_ratio() -> None:
    """No lookups are not a ratio of zero."""
    assert (usage(MemoryStore()).n_processes, usage(MemoryStore()).hit_ratio) == (0, None)


def test_nothing_is_written_where_nothing_was_counted() -> None:
    """Closing a store that no cache has used does not reach for the server."""
    store = MemoryStore()
    counted(store).close()
    assert list(store.yield_keys()) == []


def test_a_snapshot_replaces_the_one_before() -> None:
    """Written again and again, an application has one entry, and is counted once."""
    store, counters = MemoryStore(), Counters()
    opened = FailOpenStore(store)
    store_for(Kind.SESSION, opened, CacheSettings(), counters)
    for _ in range(3):
        counters.add(hits=1)
        opened.close()
    assert (len(list(store.yield_keys())), usage(store).hits, usage(store).n_processes) == (1, 3, 1)


def test_caches_on_one_store_are_one_application() -> None:
    """What several caches count, each for itself, is reported in one entry; a cache that is gone stays counted."""
    store = MemoryStore()
    opened = FailOpenStore(store)
    for _ in range(2):
        ResponseCache(opened).lookup("[]", "none")
    gc.collect()
    opened.close()
    found = usage(store)
    assert (found.n_processes, found.misses + sum(found.skipped.values())) == (1, 2)


def test_namespaces_are_counted_apart() -> None:
    """Each namespace has its own numbers."""
    store = MemoryStore()
    counted(store, namespace="acme", hits=1).close()
    counted(store, hits=2).close()
    assert (usage(store, namespace="acme").hits, usage(store).hits) == (1, 2)


def test_a_thread_writes_in_a_while() -> None:
    """Nobody has to close anything: what was counted is written in the background."""
    store, counters = WatchedStore(), Counters()
    reporter = Reporter(FailOpenStore(store), interval_s=0.001)
    reporter.include(counters, None)
    counters.add(hits=1)
    assert store.written.wait(SOON_S)
    assert usage(store).hits == 1


def test_the_thread_ends_where_nothing_happens_and_another_follows() -> None:
    """An idle application keeps no thread, and is still heard of when it goes on."""
    store, counters = WatchedStore(), Counters()
    before = set(stats_threads())
    reporter = Reporter(FailOpenStore(store), interval_s=0.001)
    reporter.include(counters, None)
    for n in range(1, 3):
        store.written.clear()
        counters.add(hits=1)
        assert store.written.wait(SOON_S)
        for thread in set(stats_threads()) - before:
            thread.join(SOON_S)
            assert not thread.is_alive()
        assert usage(store).hits == n


def test_a_store_that_is_dropped_takes_its_thread_along() -> None:
    """A thread that waits for its time keeps nothing alive, and ends with the store."""
    before = set(stats_threads())
    opened = counted(MemoryStore(), hits=1)
    [thread] = set(stats_threads()) - before
    del opened
    gc.collect()
    thread.join(SOON_S)
    assert not thread.is_alive()


def test_what_could_not_be_written_is_said_later() -> None:
    """A write that fails loses nothing: the next one says it all."""
    store, counters, clock = WatchedStore(), Counters(), FakeClock()
    reporter = Reporter(FailOpenStore(store, clock=clock))
    reporter.include(counters, None)
    store.is_full = True
    counters.add(hits=1)
    reporter.close()
    assert usage(store).hits == 0
    store.is_full = False
    clock.advance(WRITE_PAUSE_S)
    reporter.close()
    assert usage(store).hits == 1


def test_counters_that_fail_are_reported_by_reason() -> None:
    """Reasons are added up by name."""
    store = MemoryStore()
    for _ in range(2):
        opened, counters = FailOpenStore(store), Counters()
        store_for(Kind.SESSION, opened, CacheSettings(), counters)
        counters.add_reason("failures", "timeout", 2)
        opened.close()
    assert usage(store).failures == {"timeout": 4}


def test_when_all_slots_are_taken_the_oldest_goes() -> None:
    """Any number of applications take a bounded number of keys."""
    store, clock = MemoryStore(), FakeClock()
    for n in range(N_SLOTS + 1):
        reporter, counters = Reporter(FailOpenStore(store), clock=clock), Counters()
        reporter.include(counters, None)
        counters.add(hits=1000 if n == 0 else 1)
        reporter.close()
        clock.advance(1)
    assert (usage(store).n_processes, usage(store).hits) == (N_SLOTS, N_SLOTS)


def test_who_stands_in_two_slots_counts_as_last_seen() -> None:
    """After a move the newer numbers hold, and the older ones are not added to them."""
    store, clock, counters = MemoryStore(), FakeClock(), Counters()
    reporter = Reporter(FailOpenStore(store), clock=clock)
    reporter.include(counters, None)
    counters.add(hits=1)
    reporter.close()
    [first] = store.yield_keys()
    older = store.mget([first])
    store.mset([(first, b"somebody else's")])
    clock.advance(1)
    counters.add(hits=1)
    reporter.close()
    [second] = set(store.yield_keys()) - {first}
    newer = store.mget([second])
    assert sum_up([first, second], older + newer).hits == 2
    assert sum_up([second, first], newer + older).hits == 2


@pytest.mark.parametrize("damaged", [b"", b"junk", None])
def test_what_cannot_be_read_is_left_out(damaged: bytes | None) -> None:
    """A damaged snapshot hides no other."""
    store = MemoryStore()
    counted(store, hits=1).close()
    keys = slot_keys(None)
    raws = [raw if raw is not None else damaged for raw in store.mget(keys)]
    assert (sum_up(keys, raws).hits, sum_up(keys, raws).n_processes) == (1, 1)


def test_numbers_of_another_version_are_taken_as_far_as_they_are_known() -> None:
    """A number that is new is left out, one that is missing is zero."""
    assert Counts.of({"hits": 2, "of_the_future": 1}) == Counts(hits=2)


def test_clearing_leaves_the_counts_unless_they_are_meant() -> None:
    """All entries of a namespace can be cleared without losing what was counted; asked for by kind, it goes."""
    store = MemoryStore()
    with FailOpenStore(store) as opened:
        SyncCacheService(opened).cache_session("one", {})
    admin = Admin(store, CacheSettings())
    assert (admin.clear(), usage(store).stored) == (1, 1)
    assert (admin.clear(Kind.STATS), usage(store).stored) == (1, 0)


def test_a_foreign_store_gets_no_counts() -> None:
    """Where nothing expires, counts would stay for ever."""
    foreign = InMemoryByteStore()
    cache = ResponseCache(foreign)
    cache.lookup("[]", "none")
    cache.store.close()
    assert list(foreign.yield_keys()) == []
