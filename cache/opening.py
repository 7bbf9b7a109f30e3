"""From settings to a store that fails open: what every cache of this package is built on."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from cache.keys import check_namespace
from cache.near import NearStore, near_store, server_store
from cache.reporting import Reporter
from cache.sealed_store import seal_store
from cache.stores import store_from_client, store_from_url, warn_once
from cache.stores.base import Store
from cache.wrappers import ByteStoreAdapter, DisabledStore, FailOpenStore, SafeStore

if TYPE_CHECKING:
    from langchain_core.stores import ByteStore

    from cache.counters import Counters
    from cache.keys import Kind
    from cache.near_cache import NearCache
    from cache.sealing import Keyring
    from cache.settings import CacheSettings


def open_store(settings: CacheSettings, *, url: str | None = None, client: object = None) -> FailOpenStore:
    """A store that fails open; nothing is connected before the first operation.

    Args:
        settings: where Redis is and how long an operation may take.
        url: instead of the one in the settings.
        client: an existing client of redis-py instead of a URL; it is left open.
    """
    deadline, keyring = settings.deadline(), _keyring(settings)
    if client is not None:
        sealed = seal_store(store_from_client(client, deadline=deadline), keyring)
        return FailOpenStore(near_store(sealed, settings.near_bytes))
    url = url or settings.redis_url
    sealed = seal_store(store_from_url(url, deadline=deadline), keyring)
    return FailOpenStore(near_store(sealed, settings.near_bytes, server=(url, keyring)))


def store_for(
    kind: Kind, store: ByteStore, settings: CacheSettings, counters: Counters, *, namespace: str | None = None
) -> SafeStore:
    """The view that one cache has of a store: switched off or failing open, sealed, with counts of its own.

    Caches on one store share its breakers: what one has found dead, the others leave alone too. What they count is
    reported through the store (see `cache.reporting`), for the namespace; `None` is that of the settings.
    """
    if not settings.is_enabled(kind):
        return DisabledStore()
    view = _view(store, _keyring(settings), counters)
    if view.reporter:
        view.reporter.include(counters, check_namespace(settings.namespace if namespace is None else namespace))
    return view


def _view(store: ByteStore, keyring: Keyring | None, counters: Counters) -> FailOpenStore:
    if isinstance(store, FailOpenStore):
        inner = _sealed(store.inner, keyring)
        inner = inner.counted_by(counters) if isinstance(inner, NearStore) else inner
        return FailOpenStore(inner, counters=counters, breakers=store.breakers, reporter=_reporter_of(store, keyring))
    bare = store if isinstance(store, Store) else ByteStoreAdapter(store)
    view = FailOpenStore(_sealed(bare, keyring), counters=counters)
    _reporter_of(view, keyring)
    return view


def _sealed(store: Store, keyring: Keyring | None) -> Store:
    """The store with its values sealed by these keys, if there are any; what others have opened is not near then."""
    if not isinstance(store, NearStore):
        return seal_store(store, keyring)
    sealed = seal_store(store.inner, keyring)
    return store if sealed is store.inner else sealed


def _reporter_of(store: FailOpenStore, keyring: Keyring | None) -> Reporter | None:
    """What the caches on a store report through; `None` on a foreign store, where counts would stay for ever."""
    with _lock:
        if store.reporter is None and not isinstance(server_store(store.inner), ByteStoreAdapter):
            store.reporter = Reporter(FailOpenStore(seal_store(bare_store(store), keyring), breakers=store.breakers))
        return store.reporter


def bare_store(store: Store) -> Store:
    """The store below one that fails open or keeps entries near: here failures show, and what the server has."""
    store = store.inner if isinstance(store, FailOpenStore) else store
    return store.inner if isinstance(store, NearStore) else store


def near_of(store: Store) -> NearCache | None:
    """What a store keeps near; `None` where it keeps nothing."""
    store = store.inner if isinstance(store, FailOpenStore) else store
    return store.near if isinstance(store, NearStore) else None


def _keyring(settings: CacheSettings) -> Keyring | None:
    keyring = settings.keyring()
    if keyring and settings.key_secret is None:
        warn_once("values are sealed, but without CACHE_KEY_SECRET a guess at a text can be tested against the keys")
    return keyring


_lock = threading.Lock()
