"""Calling a store from both worlds in one test, and waiting for what happens in the background."""

from __future__ import annotations

import asyncio
import itertools
import time
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from langchain_core.outputs import Generation

    from cache import CacheBackedEmbeddings, ResponseCache, Store
    from cache.codecs.vectors import FloatArray
    from cache.stores.base import Attempt, Holder, LeasingStore, Payload
    from cache.stores.blocks import Block

PATIENT_S = 5.0  # a deadline that no operation meets unless something hangs: for tests in which a hit is expected
IMPATIENT_S = 0.1  # the default: for tests in which a fault outlasts any deadline
_BOUND_S = 20.0
_PAUSE_S = 0.005


class World(StrEnum):
    """Which of the twins a test calls."""

    SYNC = "sync"
    ASYNC = "async"

    async def mget(self, store: Store, keys: Sequence[str], *, expect_bytes: int = 0) -> list[bytes | None]:
        if self is World.SYNC:
            return store.mget(keys, expect_bytes=expect_bytes)
        return await store.amget(keys, expect_bytes=expect_bytes)

    async def mget_block(self, store: Store, keys: Sequence[str], *, size_bytes: int) -> list[bytes | None] | Block:
        if self is World.SYNC:
            return store.mget_block(keys, size_bytes=size_bytes)
        return await store.amget_block(keys, size_bytes=size_bytes)

    async def mset(self, store: Store, pairs: Sequence[tuple[str, Payload]], *, ttl_s: int | None = None) -> None:
        if self is World.SYNC:
            return store.mset(pairs, ttl_s=ttl_s)
        return await store.amset(pairs, ttl_s=ttl_s)

    async def mdelete(self, store: Store, keys: Sequence[str]) -> None:
        if self is World.SYNC:
            return store.mdelete(keys)
        return await store.amdelete(keys)

    async def mpeek(self, store: Store, keys: Sequence[str], n_bytes: int) -> list[bytes | None]:
        if self is World.SYNC:
            return store.mpeek(keys, n_bytes)
        return await store.ampeek(keys, n_bytes)

    async def swap(self, store: Store, key: str, old: bytes | None, new: Payload, *, ttl_s: int) -> bool:
        if self is World.SYNC:
            return store.replace(key, old, new, ttl_s=ttl_s)
        return await store.areplace(key, old, new, ttl_s=ttl_s)

    async def keys(self, store: Store, prefix: str, *, at_most: int = 10**9) -> list[str]:
        """The keys that begin with `prefix`, sorted; no more than `at_most` are asked for."""
        found: list[str] = []
        if self is World.SYNC:
            found += itertools.islice(store.yield_keys(prefix=prefix), at_most)
            return sorted(found)
        async for key in store.ayield_keys(prefix=prefix):
            found.append(key)
            if len(found) == at_most:
                break
        return sorted(found)

    async def ping(self, store: Store) -> None:
        if self is World.SYNC:
            return store.ping()
        return await store.aping()

    async def info(self, store: Store) -> dict[str, str]:
        if self is World.SYNC:
            return store.info()
        return await store.ainfo()

    async def close(self, store: Store) -> None:
        if self is World.SYNC:
            return store.close()
        return await store.aclose()

    async def acquire(self, store: LeasingStore, key: str, token: bytes, *, life_ms: int) -> Attempt:
        if self is World.SYNC:
            return store.acquire(key, token, life_ms=life_ms)
        return await store.aacquire(key, token, life_ms=life_ms)

    async def renew(self, store: LeasingStore, holders: Sequence[tuple[str, bytes]], *, life_ms: int) -> list[bool]:
        if self is World.SYNC:
            return store.renew(holders, life_ms=life_ms)
        return await store.arenew(holders, life_ms=life_ms)

    async def release(self, store: LeasingStore, holders: Sequence[tuple[str, bytes]]) -> None:
        if self is World.SYNC:
            return store.release(holders)
        return await store.arelease(holders)

    async def settle(
        self, store: LeasingStore, pairs: Sequence[tuple[str, Payload]], holder: Holder, *, ttl_s: int
    ) -> None:
        if self is World.SYNC:
            return store.settle(pairs, holder, ttl_s=ttl_s)
        return await store.asettle(pairs, holder, ttl_s=ttl_s)

    async def embed(self, embeddings: CacheBackedEmbeddings, texts: list[str]) -> list[list[float]]:
        if self is World.SYNC:
            return embeddings.embed_documents(texts)
        return await embeddings.aembed_documents(texts)

    async def embed_array(self, embeddings: CacheBackedEmbeddings, texts: list[str]) -> FloatArray:
        if self is World.SYNC:
            return embeddings.embed_array(texts)
        return await embeddings.aembed_array(texts)

    async def embed_query(self, embeddings: CacheBackedEmbeddings, text: str) -> list[float]:
        if self is World.SYNC:
            return embeddings.embed_query(text)
        return await embeddings.aembed_query(text)

    async def lookup(self, cache: ResponseCache, prompt: str, llm_string: str) -> Sequence[Generation] | None:
        if self is World.SYNC:
            return cache.lookup(prompt, llm_string)
        return await cache.alookup(prompt, llm_string)

    async def update(self, cache: ResponseCache, prompt: str, llm_string: str, answer: Sequence[Generation]) -> None:
        if self is World.SYNC:
            return cache.update(prompt, llm_string, answer)
        return await cache.aupdate(prompt, llm_string, answer)


def until(holds: Callable[[], bool]) -> None:
    """Block until a claim holds; TimeoutError when it does not within 20 s."""
    end_s = time.monotonic() + _BOUND_S
    while not holds():
        if time.monotonic() > end_s:
            raise TimeoutError(f"it did not come true within {_BOUND_S} s")
        time.sleep(_PAUSE_S)


async def auntil(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a claim holds; TimeoutError when it does not within 20 s."""
    async with asyncio.timeout(_BOUND_S):
        while not await holds():  # noqa: ASYNC110  what is waited for happens outside of this loop
            await asyncio.sleep(_PAUSE_S)
