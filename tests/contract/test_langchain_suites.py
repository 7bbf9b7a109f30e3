"""LangChain's own tests of byte stores, caches and embeddings, run against ours on a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import fakeredis
import pytest
import redis
import redis.asyncio
from langchain_core.stores import InMemoryByteStore
from langchain_tests.integration_tests import (
    AsyncCacheTestSuite,
    BaseStoreAsyncTests,
    BaseStoreSyncTests,
    EmbeddingsIntegrationTests,
    SyncCacheTestSuite,
)
from langchain_tests.unit_tests import EmbeddingsUnitTests

from cache import CacheBackedEmbeddings, CacheSettings, MemoryStore, ResponseCache, store_from_client, store_from_url
from cache.deadline import Deadline
from cache.wrappers import ByteStoreAdapter, FailOpenStore
from tests.fakes import CountingEmbeddings
from tests.integration.calling import PATIENT_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from cache import Store
    from tests.servers import ValkeyServer

PATIENT = Deadline(PATIENT_S)
PATIENT_SETTINGS = CacheSettings(deadline_ms=round(1000 * PATIENT_S))

BUILDERS: dict[str, Callable[[ValkeyServer], Store]] = {
    "memory": lambda _: MemoryStore(),
    "tcp": lambda server: store_from_url(server.url, deadline=PATIENT),
    "unix": lambda server: store_from_url(server.unix_url, deadline=PATIENT),
    "client": lambda server: store_from_client(redis.Redis.from_url(server.url), deadline=PATIENT),
    "asyncio client": lambda server: store_from_client(redis.asyncio.Redis.from_url(server.url), deadline=PATIENT),
    "fakeredis": lambda _: store_from_client(fakeredis.FakeRedis(server=fakeredis.FakeServer()), deadline=PATIENT),
    "fail-open memory": lambda _: FailOpenStore(MemoryStore()),
    "fail-open tcp": lambda server: FailOpenStore(store_from_url(server.url, deadline=PATIENT)),
    "adapter": lambda _: ByteStoreAdapter(InMemoryByteStore()),
}


@pytest.fixture(params=BUILDERS)
async def kv_store(request: pytest.FixtureRequest, valkey: ValkeyServer) -> AsyncIterator[Store]:
    """Each store in turn, empty."""
    valkey.command("FLUSHALL")
    async with BUILDERS[request.param](valkey) as store:
        yield store


@pytest.fixture
async def cache(clean_redis: str, namespace: str) -> AsyncIterator[ResponseCache]:
    """A cache of answers on a real server, empty."""
    async with ResponseCache.from_url(clean_redis, namespace=namespace, settings=PATIENT_SETTINGS) as cache:
        yield cache


class TestStoresSync(BaseStoreSyncTests[bytes]):
    @pytest.fixture
    def kv_store(self, kv_store: Store) -> Store:
        return kv_store

    @pytest.fixture
    def three_values(self) -> tuple[bytes, bytes, bytes]:
        return b"foo", bytes(range(256)), b""


class TestStoresAsync(BaseStoreAsyncTests[bytes]):
    @pytest.fixture
    async def kv_store(self, kv_store: Store) -> Store:
        return kv_store

    @pytest.fixture
    def three_values(self) -> tuple[bytes, bytes, bytes]:
        return b"foo", bytes(range(256)), b""


class TestResponseCacheSync(SyncCacheTestSuite):
    @pytest.fixture
    def cache(self, cache: ResponseCache) -> ResponseCache:
        return cache


class TestResponseCacheAsync(AsyncCacheTestSuite):
    @pytest.fixture
    async def cache(self, cache: ResponseCache) -> ResponseCache:
        return cache


class _OnRealServer:
    """The arguments of `CacheBackedEmbeddings` for LangChain's tests of embeddings."""

    @pytest.fixture(autouse=True)
    async def server(self, clean_redis: str) -> AsyncIterator[None]:
        """A store on a real server, closed after the test."""
        async with store_from_url(clean_redis, deadline=PATIENT) as self._store:
            yield

    @property
    def embeddings_class(self) -> type[CacheBackedEmbeddings]:
        return CacheBackedEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"underlying": CountingEmbeddings(), "store": self._store, "model": "counting"}


class TestEmbeddingsUnit(_OnRealServer, EmbeddingsUnitTests):
    pass


class TestEmbeddingsIntegration(_OnRealServer, EmbeddingsIntegrationTests):
    pass
