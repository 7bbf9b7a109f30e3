"""From settings to a store that fails open: what every cache of this package is built on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cache.stores import store_from_client, store_from_url
from cache.stores.base import Store
from cache.wrappers import ByteStoreAdapter, DisabledStore, FailOpenStore

if TYPE_CHECKING:
    from langchain_core.stores import ByteStore

    from cache.counters import Counters
    from cache.keys import Kind
    from cache.settings import CacheSettings


def open_store(
    kind: Kind, settings: CacheSettings, counters: Counters, *, url: str | None = None, client: object = None
) -> Store:
    """The store for entries of a kind; nothing is connected before the first operation.

    Args:
        kind: decides whether the cache is switched on.
        settings: where Redis is and how long an operation may take.
        counters: where failures are counted.
        url: instead of the one in the settings.
        client: an existing client of redis-py instead of a URL; it is left open.
    """
    if not settings.is_enabled(kind):
        return DisabledStore()
    deadline = settings.deadline()
    if client is not None:
        return FailOpenStore(store_from_client(client, deadline=deadline), counters=counters)
    return FailOpenStore(store_from_url(url or settings.redis_url, deadline=deadline), counters=counters)


def fail_open(store: ByteStore, counters: Counters) -> Store:
    """Any LangChain `ByteStore` as a store whose failures are misses."""
    if isinstance(store, FailOpenStore | DisabledStore):
        return store
    return FailOpenStore(store if isinstance(store, Store) else ByteStoreAdapter(store), counters=counters)
