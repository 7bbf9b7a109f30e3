"""Caches whose values are sealed: what is counted, cleared, rotated and computed once, as without."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from cache.admin import Admin
from cache.coalescing import flights_of
from cache.counters import Counters
from cache.deadline import Deadline
from cache.doctor import examine
from cache.entry import HEADER_BYTES, SubjectTags, peek_entry
from cache.keys import Kind, key_tag
from cache.opening import store_for
from cache.service import SyncCacheService
from cache.settings import CacheSettings
from cache.stores import store_from_url
from cache.stores.memory import MemoryStore
from cache.subjects import SubjectKind, subject_tag
from cache.wrappers import FailOpenStore, SafeStore
from tests.security.victims import SECRET, SESSION_ID, Victim

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cache import Store
    from tests.servers import ValkeyServer

OLD, NEW = (base64.b64encode(bytes((number,)) * 32).decode() for number in (1, 2))


@pytest.fixture
def store(valkey: ValkeyServer) -> Iterator[Store]:
    """The bare store of an emptied server."""
    valkey.command("FLUSHALL")
    with store_from_url(valkey.unix_url, deadline=Deadline(5.0)) as store:
        yield store


def service(store: Store, *keys: str) -> SyncCacheService:
    settings = CacheSettings(encryption_keys=keys, key_secret=SECRET, deadline_ms=5000)
    return SyncCacheService(FailOpenStore(store), settings=settings)


def test_keys_are_rotated_without_a_flush(store: Store) -> None:
    """What an old key sealed is read while it is still named; without it, it is a miss of another version."""
    service(store, OLD).cache_session(SESSION_ID, {"a": 1})
    both = service(store, NEW, OLD)
    assert both.get_session(SESSION_ID) == {"a": 1}
    alone = service(store, NEW)
    assert alone.get_session(SESSION_ID) is None
    assert alone.counts().unreadable == {"EntryVersionError": 1}
    both.cache_session(SESSION_ID, {"a": 2})
    assert alone.get_session(SESSION_ID) == {"a": 2}
    assert service(store, OLD).get_session(SESSION_ID) is None


def test_a_plain_entry_is_refused_and_replaced(store: Store) -> None:
    """Where keys are set, what was written before they were is a miss that is counted, until it is written anew."""
    service(store).cache_session(SESSION_ID, {"a": 1})
    sealing = service(store, NEW)
    assert sealing.get_session(SESSION_ID) is None
    assert sealing.counts().unreadable == {"DecodeError": 1}
    sealing.cache_session(SESSION_ID, {"a": 2})
    assert sealing.get_session(SESSION_ID) == {"a": 2}


def test_sealed_entries_are_counted_weighed_and_cleared(store: Store) -> None:
    """An operator needs no key: counts, sizes and clearing go by keys and headers alone."""
    entries = Victim(store).write()
    settings = CacheSettings(namespace="acme")
    admin = Admin(store, settings)
    assert sum(admin.stats().key_counts.values()) == len(entries) == 6
    found = {finding.name: finding.value for finding in examine(store, settings)}
    assert found["entries"].startswith("1 embedding, 1 job_match")
    assert found["unreadable entries"] == "0"
    assert admin.clear(Kind.SESSION) == 1
    assert admin.clear() == 5
    assert list(store.yield_keys()) == []


def test_tags_of_sealed_entries_are_read_without_a_key(store: Store) -> None:
    """Who is to be forgotten is found by the first bytes of each entry, and nobody is named there."""
    keys = [entry.key for entry in Victim(store).write()]
    candidate, job = (
        subject_tag(kind, f"{kind}-zebulon", namespace="acme", secret=SECRET.encode()) for kind in SubjectKind
    )
    heads = store.mpeek(keys, HEADER_BYTES)
    assert [peek_entry(head or b"", key_tag(key)).tags for key, head in zip(keys, heads, strict=True)] == [
        SubjectTags(candidate, job)
    ] * 6


@pytest.mark.parametrize("shared", [MemoryStore(), FailOpenStore(MemoryStore())], ids=["bare", "fails open"])
def test_caches_of_one_store_share_their_flights(shared: Store) -> None:
    """Sealing one by one does not part the caches of a store: what one computes, the others wait for."""
    settings = CacheSettings(encryption_keys=(NEW,), key_secret=SECRET)
    views = [store_for(kind, shared, settings, Counters()) for kind in (Kind.SESSION, Kind.JOB_MATCH)]
    assert all(isinstance(view, SafeStore) for view in views)
    assert flights_of(views[0]) is flights_of(views[1])
