"""A Redis cache for LangChain applications: embeddings and answers of language models."""

from __future__ import annotations

from cache.chat import cached
from cache.counters import Counts
from cache.embeddings import CacheBackedEmbeddings
from cache.errors import (
    CacheError,
    ConfigurationError,
    EntryError,
    InvalidKeyError,
    InvalidTTLError,
    ProviderAnswerError,
    StoreError,
)
from cache.responses import ResponseCache
from cache.settings import CacheSettings
from cache.stores import MemoryStore, Store, store_from_client, store_from_url

__all__ = [
    "CacheBackedEmbeddings",
    "CacheError",
    "CacheSettings",
    "ConfigurationError",
    "Counts",
    "EntryError",
    "InvalidKeyError",
    "InvalidTTLError",
    "MemoryStore",
    "ProviderAnswerError",
    "ResponseCache",
    "Store",
    "StoreError",
    "cached",
    "store_from_client",
    "store_from_url",
]
