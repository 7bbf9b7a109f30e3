"""What users have today. Nothing here is imported before it is measured, and none of it has to be installed."""

from __future__ import annotations

import asyncio
import hashlib
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import redis
import redis.asyncio
from typing_extensions import override

from benchmarks.contenders.base import MODEL, TTL_S, AnswerCache, Batch, FloatArray, LangChainCache, VectorCache
from benchmarks.contenders.ours import ReadyVectors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.outputs import Generation


class ClassicVectors(VectorCache):
    """LangChain's own `CacheBackedEmbeddings` on the Redis store of langchain-community; it makes lists."""

    title = "LangChain CacheBackedEmbeddings"
    package = "langchain-community"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.client = redis.Redis.from_url(url)
        self.model = ReadyVectors()
        store = import_module("langchain_community.storage").RedisStore(client=self.client, ttl=TTL_S)
        made = import_module("langchain_classic.embeddings").CacheBackedEmbeddings
        self.cache = made.from_bytes_store(self.model, store, namespace=MODEL, key_encoder="sha256")

    @override
    def write(self, batch: Batch) -> None:
        self.model.vectors = batch.lists
        self.cache.embed_documents(batch.texts)

    @override
    def read(self, texts: Sequence[str]) -> FloatArray:
        return np.array(self.cache.embed_documents(texts), dtype=np.float32)

    @override
    async def aread(self, texts: Sequence[str]) -> FloatArray:
        return np.array(await self.cache.aembed_documents(texts), dtype=np.float32)

    @override
    def close(self) -> None:
        self.client.close()


class RedisvlVectors(VectorCache):
    """`EmbeddingsCache` of redisvl with a time to live, which it renews for each hit."""

    title = "redisvl EmbeddingsCache"
    package = "redisvl"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.client = redis.Redis.from_url(url)
        made = import_module("redisvl.extensions.cache.embeddings").EmbeddingsCache
        self.aclient: Any = redis.asyncio.Redis.from_url(url)
        self.cache = made(name="bench", redis_client=self.client, async_redis_client=self.aclient, ttl=TTL_S)

    @override
    def write(self, batch: Batch) -> None:
        pairs = zip(batch.texts, batch.lists, strict=True)
        self.cache.mset([{"content": text, "model_name": MODEL, "embedding": vector} for text, vector in pairs])

    @override
    def read(self, texts: Sequence[str]) -> FloatArray:
        found = self.cache.mget(texts, MODEL)
        return np.array([each["embedding"] for each in found], dtype=np.float32)

    @override
    async def aread(self, texts: Sequence[str]) -> FloatArray:
        found = await self.cache.amget(texts, MODEL)
        return np.array([each["embedding"] for each in found], dtype=np.float32)

    @override
    async def aclose(self) -> None:
        await self.aclient.aclose()

    @override
    def close(self) -> None:
        self.client.close()


class CashewsVectors(VectorCache):
    """Rows of an array in cashews, pickled as it does by default; it knows asyncio alone."""

    title = "cashews"
    package = "cashews"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.runner = asyncio.Runner()
        self.cache, self.acache = _open_cashews(url), _open_cashews(url)  # one for each event loop

    @override
    def write(self, batch: Batch) -> None:
        pairs = dict(zip(map(_key, batch.texts), batch.array, strict=True))
        self.runner.run(self.cache.set_many(pairs, expire=TTL_S))

    @override
    def read(self, texts: Sequence[str]) -> FloatArray:
        return np.array(self.runner.run(self.cache.get_many(*map(_key, texts))))

    @override
    async def aread(self, texts: Sequence[str]) -> FloatArray:
        return np.array(await self.acache.get_many(*map(_key, texts)))

    @override
    async def aclose(self) -> None:
        await self.acache.close()

    @override
    def close(self) -> None:
        self.runner.run(self.cache.close())
        self.runner.close()


class CashewsAnswers(AnswerCache):
    """Answers as objects in cashews, pickled as it does by default; it knows asyncio alone."""

    title = CashewsVectors.title
    package = "cashews"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.runner = asyncio.Runner()
        self.cache, self.acache = _open_cashews(url), _open_cashews(url)

    @override
    def update(self, prompt: str, llm_string: str, answer: Sequence[Generation]) -> None:
        self.runner.run(self.cache.set(_key(f"{prompt}{llm_string}"), answer, expire=TTL_S))

    @override
    def lookup(self, prompt: str, llm_string: str) -> Sequence[Generation] | None:
        found: Sequence[Generation] | None = self.runner.run(self.cache.get(_key(f"{prompt}{llm_string}")))
        return found

    @override
    async def alookup(self, prompt: str, llm_string: str) -> Sequence[Generation] | None:
        found: Sequence[Generation] | None = await self.acache.get(_key(f"{prompt}{llm_string}"))
        return found

    @override
    async def aclose(self) -> None:
        await self.acache.close()

    @override
    def close(self) -> None:
        self.runner.run(self.cache.close())
        self.runner.close()


def _open_cashews(url: str) -> Any:
    made = import_module("cashews").Cache()
    made.setup(url, suppress=False, socket_timeout=30)
    return made


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class RedisAnswers(LangChainCache):
    """`RedisCache` of langchain-redis, which keeps answers as RedisJSON."""

    title = "langchain-redis RedisCache"
    package = "langchain-redis"
    needs_json = True

    @override
    def open(self, url: str) -> Any:
        return import_module("langchain_redis").RedisCache(redis_url=url, ttl=TTL_S, prefix="resumecache-bench")

    @override
    def close(self) -> None:
        self.cache.clear()
        self.cache.redis.close()


class ClassicAnswers(LangChainCache):
    """The first Redis cache of LangChain, in langchain-community: it looks up one hash for each answer."""

    title = "langchain-community RedisCache"
    package = "langchain-community"

    @override
    def open(self, url: str) -> Any:
        self.client = redis.Redis.from_url(url)
        return import_module("langchain_community.cache").RedisCache(self.client, ttl=TTL_S)

    @override
    def close(self) -> None:
        self.client.close()
