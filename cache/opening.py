"""From settings to a store that fails open: what every cache of this package is built on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cache.sealed_store import seal_store
from cache.stores import store_from_client, store_from_url, warn_once
from cache.stores.base import Store
from cache.wrappers import ByteStoreAdapter, DisabledStore, FailOpenStore, SafeStore

if TYPE_CHECKING:
    from langchain_core.stores import ByteStore

    from cache.counters import Counters
    from cache.keys import Kind
    from cache.sealing import Keyring
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
        store = store_from_client(client, deadline=deadline)
    else:
        store = store_from_url(url or settings.redis_url, deadline=deadline)
    return FailOpenStore(seal_store(store, _keyring(settings)))


def store_for(kind: Kind, store: ByteStore, settings: CacheSettings, counters: Counters) -> SafeStore:
    """The view that one cache has of a store: switched off or failing open, sealed, with counts of its own.

    Caches on one store share its breakers: what one has found dead, the others leave alone too.
    """
    if not settings.is_enabled(kind):
        return DisabledStore()
    keyring = _keyring(settings)
    if isinstance(store, FailOpenStore):
        return FailOpenStore(seal_store(store.inner, keyring), counters=counters, breakers=store.breakers)
    bare = store if isinstance(store, Store) else ByteStoreAdapter(store)
    return FailOpenStore(seal_store(bare, keyring), counters=counters)


def bare_store(store: Store) -> Store:
    """The store below one that fails open: here its failures show."""
    return store.inner if isinstance(store, FailOpenStore) else store


def _keyring(settings: CacheSettings) -> Keyring | None:
    keyring = settings.keyring()
    if keyring and settings.key_secret is None:
        warn_once("values are sealed, but without CACHE_KEY_SECRET a guess at a text can be tested against the keys")
    return keyring
