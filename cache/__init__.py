"""A Redis cache for LangChain applications: embeddings and answers of language models.

What a name stands for is loaded when it is first asked for: LangChain, which most of it builds on, takes most of a
second, and settings, stores and errors do without.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cache.chat import cached
    from cache.corpus import CorpusCache
    from cache.counters import Counts
    from cache.embeddings import CacheBackedEmbeddings
    from cache.errors import (
        CacheError,
        ConfigurationError,
        EntryError,
        InvalidKeyError,
        InvalidTTLError,
        InvalidVectorError,
        ProviderAnswerError,
        StoreError,
    )
    from cache.responses import ResponseCache
    from cache.settings import CacheSettings
    from cache.stores import MemoryStore, Store, store_from_client, store_from_url
    from cache.subjects import about
    from cache.vector_index import VectorIndex

__all__ = [
    "CacheBackedEmbeddings",
    "CacheError",
    "CacheSettings",
    "ConfigurationError",
    "CorpusCache",
    "Counts",
    "EntryError",
    "InvalidKeyError",
    "InvalidTTLError",
    "InvalidVectorError",
    "MemoryStore",
    "ProviderAnswerError",
    "ResponseCache",
    "Store",
    "StoreError",
    "VectorIndex",
    "about",
    "cached",
    "store_from_client",
    "store_from_url",
]

_HOMES = {
    "CacheBackedEmbeddings": "cache.embeddings",
    "CacheError": "cache.errors",
    "CacheSettings": "cache.settings",
    "ConfigurationError": "cache.errors",
    "CorpusCache": "cache.corpus",
    "Counts": "cache.counters",
    "EntryError": "cache.errors",
    "InvalidKeyError": "cache.errors",
    "InvalidTTLError": "cache.errors",
    "InvalidVectorError": "cache.errors",
    "MemoryStore": "cache.stores",
    "ProviderAnswerError": "cache.errors",
    "ResponseCache": "cache.responses",
    "Store": "cache.stores",
    "StoreError": "cache.errors",
    "VectorIndex": "cache.vector_index",
    "about": "cache.subjects",
    "cached": "cache.chat",
    "store_from_client": "cache.stores",
    "store_from_url": "cache.stores",
}


if not TYPE_CHECKING:  # to a type checker any name would be there

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
