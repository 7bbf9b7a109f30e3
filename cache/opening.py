"""From settings to a store that fails open: what every cache of this package is built on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cache.near import NearStore, near_store
from cache.stores import store_from_client, store_from_url
from cache.stores.base import Store
from cache.wrappers import ByteStoreAdapter, DisabledStore, FailOpenStore, SafeStore

if TYPE_CHECKING:
    from langchain_core.stores import ByteStore

    from cache.counters import Counters
    from cache.keys import Kind
    from cache.near_cache import NearCache
    from cache.settings import CacheSettings


def open_store(settings: CacheSettings, *, url: str | None = None, client: object = None) -> FailOpenStore:
    """A store that fails open; nothing is connected before the first operation.

    Args:
        settings: where Redis is and how long an operation may take.
        url: instead of the one in the settings.
        client: an existing client of redis-py instead of a URL; it is left open.
    """
    deadline = settings.deadline()
    if client is not None:
        return FailOpenStore(near_store(store_from_client(client, deadline=deadline), settings.near_bytes))
    url = url or settings.redis_url or ""
    return FailOpenStore(near_store(store_from_url(url, deadline=deadline), settings.near_bytes, server=url))


def store_for(kind: Kind, store: ByteStore, settings: CacheSettings, counters: Counters) -> SafeStore:
    """The view that one cache has of a store: switched off or failing open, with counts of its own.

    Caches on one store share its breakers: what one has found dead, the others leave alone too.
    """
    if not settings.is_enabled(kind):
        return DisabledStore()
    if isinstance(store, FailOpenStore):
        inner = store.inner.counted_by(counters) if isinstance(store.inner, NearStore) else store.inner
        return FailOpenStore(inner, counters=counters, breakers=store.breakers)
    return FailOpenStore(store if isinstance(store, Store) else ByteStoreAdapter(store), counters=counters)


def bare_store(store: Store) -> Store:
    """The store below one that fails open or keeps entries near: here failures show, and what the server has."""
    store = store.inner if isinstance(store, FailOpenStore) else store
    return store.inner if isinstance(store, NearStore) else store


def near_of(store: Store) -> NearCache | None:
    """What a store keeps near; `None` where it keeps nothing."""
    store = store.inner if isinstance(store, FailOpenStore) else store
    return store.near if isinstance(store, NearStore) else None
