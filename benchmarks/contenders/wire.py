"""The raw limits, which do nothing but what the wire asks for, and the design that everybody writes first."""

from __future__ import annotations

import gzip
import hashlib
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import redis
import redis.asyncio
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation
from typing_extensions import override

from benchmarks.contenders.base import MODEL, TTL_S, AnswerCache, Batch, FloatArray, LeaseCache, VectorCache

if TYPE_CHECKING:
    from collections.abc import Sequence

_GZIP_OVER_BYTES = 1024
_GZIP_MAGIC = b"\x1f\x8b"


def _keys(texts: Sequence[str], prefix: str = "limit") -> list[str]:
    return [f"{prefix}:{MODEL}:{hashlib.sha256(text.encode()).hexdigest()[:32]}" for text in texts]


def _array(values: Sequence[Any]) -> FloatArray:
    return np.frombuffer(b"".join(values), dtype=np.float32).reshape(len(values), -1)


class VectorLimit(VectorCache):
    """One command of redis-py with hiredis, its values copied into one array."""

    title = "limit: redis-py and hiredis"
    package = "redis"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.client: Any = redis.Redis.from_url(url)
        self.aclient: Any = redis.asyncio.Redis.from_url(url)

    @override
    def write(self, batch: Batch) -> None:
        pairs = dict(zip(_keys(batch.texts), map(np.ndarray.tobytes, batch.array), strict=True))
        self.client.msetex(pairs, ex=TTL_S)

    @override
    def read(self, texts: Sequence[str]) -> FloatArray:
        return _array(self.client.mget(_keys(texts)))

    @override
    async def aread(self, texts: Sequence[str]) -> FloatArray:
        return _array(await self.aclient.mget(_keys(texts)))

    @override
    async def aclose(self) -> None:
        await self.aclient.aclose()

    @override
    def close(self) -> None:
        self.client.close()


class PipelineLimit(VectorLimit):
    """The same for a server without MSETEX: one pipeline of SET with its expiry."""

    title = "limit: pipeline of SET EX"

    @override
    def write(self, batch: Batch) -> None:
        pipeline = self.client.pipeline(transaction=False)
        for key, vector in zip(_keys(batch.texts), batch.array, strict=True):
            pipeline.set(key, vector.tobytes(), ex=TTL_S)
        pipeline.execute()


class AnswerLimit(AnswerCache):
    """GET, orjson and objects that nobody validates."""

    title = "limit: GET, orjson, construct"
    package = "redis"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.client: Any = redis.Redis.from_url(url)
        self.aclient: Any = redis.asyncio.Redis.from_url(url)

    @override
    def update(self, prompt: str, llm_string: str, answer: Sequence[Generation]) -> None:
        self.client.set(_answer_key(prompt, llm_string), _dumped(answer), ex=TTL_S)

    @override
    def lookup(self, prompt: str, llm_string: str) -> Sequence[Generation] | None:
        return _constructed(self.client.get(_answer_key(prompt, llm_string)))

    @override
    async def alookup(self, prompt: str, llm_string: str) -> Sequence[Generation] | None:
        return _constructed(await self.aclient.get(_answer_key(prompt, llm_string)))

    @override
    async def aclose(self) -> None:
        await self.aclient.aclose()

    @override
    def close(self) -> None:
        self.client.close()


class LeaseLimit(LeaseCache):
    """GET, and then SET NX with an expiry."""

    title = "limit: GET, SET NX"
    package = "redis"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.client: Any = redis.Redis.from_url(url)

    @override
    def miss(self, prompt: str, llm_string: str) -> None:
        key = _answer_key(prompt, llm_string)
        self.client.get(key)
        self.client.set(f"lease:{key}", "me", nx=True, px=3000)

    @override
    def close(self) -> None:
        self.client.close()


def _answer_key(prompt: str, llm_string: str, prefix: str = "limit") -> str:
    return f"{prefix}:" + hashlib.sha256(f"{len(prompt)}:{prompt}{llm_string}".encode()).hexdigest()[:32]


def _dumped(answer: Sequence[Generation]) -> bytes:
    return orjson.dumps(
        [
            {"message": vars(each.message), "info": each.generation_info}
            for each in answer
            if isinstance(each, ChatGeneration)
        ]
    )


def _constructed(raw: bytes) -> list[Generation]:
    return [
        ChatGeneration.model_construct(
            message=AIMessage.model_construct(**item["message"]),
            generation_info=item["info"],
            text=item["message"]["content"],
        )
        for item in orjson.loads(raw)
    ]


class NaiveVectors(VectorCache):
    """One round trip for each text, pickle, gzip over a kilobyte."""

    title = "naive: GET or SET each, pickle, gzip"
    package = "redis"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.client: Any = redis.Redis.from_url(url)

    @override
    def write(self, batch: Batch) -> None:
        for key, vector in zip(_keys(batch.texts, "naive"), batch.array, strict=True):
            self.client.setex(key, TTL_S, _pickled(vector))

    @override
    def read(self, texts: Sequence[str]) -> FloatArray:
        return np.array([_unpickled(self.client.get(key)) for key in _keys(texts, "naive")])

    @override
    def close(self) -> None:
        self.client.close()


class NaiveAnswers(AnswerCache):
    """GET or SET, pickle, gzip over a kilobyte."""

    title = NaiveVectors.title
    package = "redis"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.client: Any = redis.Redis.from_url(url)

    @override
    def update(self, prompt: str, llm_string: str, answer: Sequence[Generation]) -> None:
        self.client.setex(_answer_key(prompt, llm_string, "naive"), TTL_S, _pickled(answer))

    @override
    def lookup(self, prompt: str, llm_string: str) -> Sequence[Generation] | None:
        found: Sequence[Generation] = _unpickled(self.client.get(_answer_key(prompt, llm_string, "naive")))
        return found

    @override
    def close(self) -> None:
        self.client.close()


def _pickled(value: Any) -> bytes:
    raw = pickle.dumps(value)
    return gzip.compress(raw) if len(raw) > _GZIP_OVER_BYTES else raw


def _unpickled(raw: bytes) -> Any:
    return pickle.loads(gzip.decompress(raw) if raw.startswith(_GZIP_MAGIC) else raw)  # noqa: S301  what is shown to be slow
