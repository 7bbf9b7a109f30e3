"""Without a round trip: what a process keeps near, and the limits of that, which do nothing but look it up.

Run `python -m benchmarks.contenders.near` in the root of the repository; it starts its own server and takes some
seconds. The contenders take turns in one process; a ratio is the median, over the rounds, of the time by that of the
limit in the same round. Both limits hash what they are asked for, as everybody has to.
"""

from __future__ import annotations

import hashlib
import time
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import override

from benchmarks.contenders.base import MODEL, TTL_S, AnswerCache, Batch, FloatArray, VectorCache
from benchmarks.contenders.ours import PATIENT_MS, TITLE, OurAnswers, OurVectors, ReadyVectors
from cache import CacheBackedEmbeddings, CacheSettings, MemoryStore, ResponseCache
from cache.codecs.generations import decode_answer
from cache.keys import key_tag

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_core.outputs import Generation

NEAR_BYTES = 64 * 2**20
N_ROUNDS = 21
WARM_BOUND_S = 10.0


def _near() -> CacheSettings:
    return CacheSettings(deadline_ms=PATIENT_MS, near_bytes=NEAR_BYTES)


class ArenaLimit(VectorCache):
    """Rows of an array by the hash of their text: one `take` of numpy."""

    title = "limit: numpy take"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._rows: dict[bytes, int] = {}
        self._arena: FloatArray | None = None

    @override
    def write(self, batch: Batch) -> None:
        first = 0 if self._arena is None else len(self._arena)
        self._arena = batch.array.copy() if self._arena is None else np.vstack([self._arena, batch.array])
        self._rows |= {_hash(text): first + row for row, text in enumerate(batch.texts)}

    @override
    def read(self, texts: Sequence[str]) -> FloatArray:
        if self._arena is None:
            raise LookupError("nothing was written")
        return self._arena.take([self._rows[_hash(text)] for text in texts], axis=0)

    @override
    async def aread(self, texts: Sequence[str]) -> FloatArray:
        return self.read(texts)


class NearVectors(OurVectors):
    """`CacheBackedEmbeddings` with a near cache."""

    title = f"{TITLE}, near"

    def __init__(self, url: str) -> None:
        VectorCache.__init__(self, url)
        self.model = ReadyVectors()
        self.cache = CacheBackedEmbeddings.from_url(self.model, url, model=MODEL, ttl_s=TTL_S, settings=_near())

    @override
    def write(self, batch: Batch) -> None:
        """Write, and read until the batch is near."""
        super().write(batch)
        _until_near(self.cache, lambda: self.cache.embed_array(batch.texts))


class DictLimit(AnswerCache):
    """Entries of this project in a dictionary, by the hash of the question, decoded as this project does."""

    title = "limit: dict, same decode"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._store = MemoryStore()
        self._writer = ResponseCache(self._store, ttl_s=TTL_S)
        self._entries: dict[bytes, tuple[bytes, bytes]] = {}

    @override
    def update(self, prompt: str, llm_string: str, answer: Sequence[Generation]) -> None:
        before = set(self._store.yield_keys())
        self._writer.update(prompt, llm_string, answer)
        [key] = set(self._store.yield_keys()) - before
        self._entries[_hash(prompt + llm_string)] = key_tag(key), self._store.mget([key])[0] or b""

    @override
    def lookup(self, prompt: str, llm_string: str) -> Sequence[Generation] | None:
        tag, entry = self._entries[_hash(prompt + llm_string)]
        return decode_answer(entry, tag)[1]

    @override
    async def alookup(self, prompt: str, llm_string: str) -> Sequence[Generation] | None:
        return self.lookup(prompt, llm_string)


class MemoryAnswers(OurAnswers):
    """`ResponseCache` on a dictionary in this process: what the near cache adds to is the difference to it."""

    title = f"{TITLE}, memory://"

    @override
    def open(self, url: str) -> Any:
        return ResponseCache.from_url("memory://", ttl_s=TTL_S)


class NearAnswers(OurAnswers):
    """`ResponseCache` with a near cache."""

    title = f"{TITLE}, near"

    @override
    def open(self, url: str) -> Any:
        return ResponseCache.from_url(url, ttl_s=TTL_S, settings=_near())

    @override
    def update(self, prompt: str, llm_string: str, answer: Sequence[Generation]) -> None:
        """Write, and read until the answer is near."""
        super().update(prompt, llm_string, answer)
        _until_near(self.cache, lambda: self.cache.lookup(prompt, llm_string))


def _until_near(cache: CacheBackedEmbeddings | ResponseCache, read: Callable[[], object]) -> None:
    before, end_s = cache.counts().near_hits, time.monotonic() + WARM_BOUND_S
    while cache.counts().near_hits == before:
        if time.monotonic() > end_s:
            raise TimeoutError("nothing came to be near")
        read()
        time.sleep(0.01)  # the server's word of the write is on its way


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def main() -> None:
    """Measure and print."""
    from benchmarks.speed.samples import Batches, question  # noqa: PLC0415  which knows contenders, these among them
    from tests.servers import ValkeyServer  # noqa: PLC0415  as above

    batches = Batches()
    with ValkeyServer() as server:
        for n, n_calls in ((1, 200), (256, 20), (2048, 3)):
            _compare_vectors(server.url, batches.new(n), n_calls)
        for kib in (2, 20):
            asked = question(1024 * kib)
            _compare_answers(server.url, f"chat answer {kib} KB", asked.prompt, asked.llm_string, asked.answer)


def _compare_vectors(url: str, batch: Batch, n_calls: int) -> None:
    caches: list[VectorCache] = [kind(url) for kind in (ArenaLimit, NearVectors, OurVectors)]
    for cache in caches:
        cache.write(batch)
    calls = [(cache.title, partial(cache.read, batch.texts)) for cache in caches]
    _compare(f"{len(batch.texts)} vector hits", calls, n_calls)
    for cache in caches:
        cache.close()


def _compare_answers(url: str, name: str, prompt: str, llm_string: str, answer: Sequence[Generation]) -> None:
    caches: list[AnswerCache] = [kind(url) for kind in (DictLimit, NearAnswers, MemoryAnswers, OurAnswers)]
    for cache in caches:
        cache.update(prompt, llm_string, answer)
    _compare(name, [(cache.title, partial(cache.lookup, prompt, llm_string)) for cache in caches], 200)
    for cache in caches:
        cache.close()


def _compare(name: str, calls: Sequence[tuple[str, Callable[[], object]]], n_calls: int) -> None:
    times_s: dict[str, list[float]] = {title: [] for title, _ in calls}
    for _ in range(N_ROUNDS):
        for title, call in calls:
            times_s[title].append(_median_s(call, n_calls))
    limits_s = times_s[calls[0][0]]
    for title, some_s in times_s.items():
        ratio = median(one_s / limit_s for one_s, limit_s in zip(some_s, limits_s, strict=True))
        print(f"{name:20} {title:28} {1e6 * median(some_s):9.1f} µs {ratio:7.2f}x")


def _median_s(call: Callable[[], object], n_calls: int) -> float:
    times_s = []
    for _ in range(n_calls):
        start_s = time.perf_counter()
        call()
        times_s.append(time.perf_counter() - start_s)
    return median(times_s)


if __name__ == "__main__":
    main()
