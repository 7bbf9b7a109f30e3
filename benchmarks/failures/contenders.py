"""What is measured: one small class for each cache and operation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from langchain_core.caches import RETURN_VAL_TYPE, BaseCache
from langchain_core.embeddings import Embeddings
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGeneration
from langchain_openai import ChatOpenAI
from pydantic import SecretStr
from typing_extensions import override

from cache import CacheBackedEmbeddings, CacheSettings, ResponseCache

if TYPE_CHECKING:
    from cache.codecs.vectors import FloatArray

WIDTH = 1536
N_DOCUMENTS = 256
TTL_S = 3600
SAMPLES = Path(__file__).resolve().parents[2] / "agent" / "samples"
PLACE_OF_NUMBER = "number-of-the-question"
ANSWER = [
    ChatGeneration(
        message=AIMessage(
            "The candidate has run Python services with Redis for nine years, as the advertisement asks. " * 12,
            response_metadata={"finish_reason": "stop", "model_name": "gpt-4o-mini", "model_provider": "openai"},
            usage_metadata={"input_tokens": 1403, "output_tokens": 251, "total_tokens": 1654},
        )
    )
]


class InstantModel(Embeddings):
    """A model that takes no time: its vectors are there already, as an array that costs nothing to convert."""

    def __init__(self) -> None:
        self._rows: FloatArray = np.random.default_rng(0).standard_normal((N_DOCUMENTS, WIDTH), dtype=np.float32)
        self._n_requests = 0

    @property
    def n_requests(self) -> int:
        """How often it was asked; no part of what a vector depends on."""
        return self._n_requests

    @override
    def embed_documents(self, texts: list[str]) -> FloatArray:  # type: ignore[override]  # see the class
        self._n_requests += 1
        return self._rows[: len(texts)]

    @override
    def embed_query(self, text: str) -> FloatArray:  # type: ignore[override]  # see the class
        vector: FloatArray = self.embed_documents([text])[0]
        return vector

    @override
    async def aembed_documents(self, texts: list[str]) -> FloatArray:  # type: ignore[override]  # see the class
        return self.embed_documents(texts)

    @override
    async def aembed_query(self, text: str) -> FloatArray:  # type: ignore[override]  # see the class
        return self.embed_query(text)


class Request(BaseCache):
    """What LangChain asks a cache for one chat call, taken from a real model; no request is sent.

    Attributes:
        prompt: the messages as JSON, with a place for a number that makes them new.
        llm_string: the settings of the model.
    """

    def __init__(self) -> None:
        model = ChatOpenAI(model="gpt-4o-mini", temperature=0, api_key=SecretStr("none"), cache=self)
        resume = (SAMPLES / "resumes" / "backend-engineer.md").read_text(encoding="utf-8")
        system = SystemMessage("You match resumes with job advertisements. Answer with reasons from the resume.")
        model.invoke([system, HumanMessage(f"{PLACE_OF_NUMBER}\n{resume}")])

    @override
    def lookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        self.prompt, self.llm_string = prompt, llm_string
        return ANSWER

    @override
    def update(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        """Keep nothing: every call is a hit."""

    @override
    def clear(self, **kwargs: object) -> None:
        """Keep nothing: there is nothing to clear."""


class Contender(ABC):
    """One cache object and the operation on it that is measured.

    Args:
        url: of the server.
        enabled: whether the cache is switched on; all other settings are the defaults.

    Attributes:
        title: what the tables call it.
        size_bytes: what one operation is expected to move.
        package: what has to be installed; empty where that is this project.
        needs_json: whether its server must have RedisJSON, which Valkey lacks.
    """

    title: ClassVar[str]
    size_bytes: ClassVar[int] = 0
    package: ClassVar[str] = ""
    needs_json: ClassVar[bool] = False

    @abstractmethod
    def __init__(self, url: str, *, enabled: bool = True) -> None: ...

    @classmethod
    def installed(cls) -> str | None:
        """The version of its package; `None` where it is not installed."""
        try:
            return version(cls.package or "resumecache")
        except PackageNotFoundError:
            return None

    @staticmethod
    @abstractmethod
    def question(number: int) -> list[str]:
        """What is asked: the same for the same number, and new for another."""

    @abstractmethod
    def ask(self, question: list[str]) -> bool:
        """Do the operation; True when the cache had the answer."""

    @abstractmethod
    async def aask(self, question: list[str]) -> bool:
        """Asynchronous twin of `ask`."""

    def close(self) -> None:  # noqa: B027  not everything has something there
        """Give back the connections."""

    async def aclose(self) -> None:
        """Asynchronous twin of `close`."""
        self.close()


class _Query(Contender):
    """A query is embedded: looked up, and stored when it was not found."""

    @staticmethod
    @override
    def question(number: int) -> list[str]:
        return [f"Senior Python developer with Redis, remote or Zurich, number {number}"]


class _Answer(Contender):
    """A chat answer is looked up, and stored when it was not found, as LangChain does around a model."""

    request: ClassVar[Request]
    cache: BaseCache

    @staticmethod
    @override
    def question(number: int) -> list[str]:
        request = _Answer.request
        return [request.prompt.replace(PLACE_OF_NUMBER, f"Question {number}"), request.llm_string]

    @override
    def ask(self, question: list[str]) -> bool:
        prompt, llm_string = question
        found = self.cache.lookup(prompt, llm_string)
        if found is None:
            self.cache.update(prompt, llm_string, ANSWER)
        return found is not None

    @override
    async def aask(self, question: list[str]) -> bool:
        prompt, llm_string = question
        found = await self.cache.alookup(prompt, llm_string)
        if found is None:
            await self.cache.aupdate(prompt, llm_string, ANSWER)
        return found is not None


def capture_request() -> None:
    """See what LangChain asks a cache for; needed before any answer is asked for."""
    _Answer.request = Request()


class OurQuery(_Query):
    """`CacheBackedEmbeddings.embed_query`."""

    title = f"1 embedding of {WIDTH} numbers (embed_query)"
    size_bytes = 4 * WIDTH

    def __init__(self, url: str, *, enabled: bool = True) -> None:
        self._model = InstantModel()
        self._cache = CacheBackedEmbeddings.from_url(
            self._model, url, model="instant", settings=CacheSettings(enabled=enabled)
        )

    @override
    def ask(self, question: list[str]) -> bool:
        n_before = self._model.n_requests
        self._cache.embed_query(question[0])
        return self._model.n_requests == n_before

    @override
    async def aask(self, question: list[str]) -> bool:
        n_before = self._model.n_requests
        await self._cache.aembed_query(question[0])
        return self._model.n_requests == n_before

    @override
    def close(self) -> None:
        self._cache.close()

    @override
    async def aclose(self) -> None:
        await self._cache.aclose()


class OurDocuments(OurQuery):
    """A batch of documents is embedded: one lookup, and two writes when nothing was found."""

    title = f"{N_DOCUMENTS} embeddings of {WIDTH} numbers (embed_array)"
    size_bytes = 4 * WIDTH * N_DOCUMENTS

    @staticmethod
    @override
    def question(number: int) -> list[str]:
        return [f"Part {part} of resume {number}: designed, built and ran services" for part in range(N_DOCUMENTS)]

    @override
    def ask(self, question: list[str]) -> bool:
        n_before = self._model.n_requests
        self._cache.embed_array(question)
        return self._model.n_requests == n_before

    @override
    async def aask(self, question: list[str]) -> bool:
        n_before = self._model.n_requests
        await self._cache.aembed_array(question)
        return self._model.n_requests == n_before


class OurAnswer(_Answer):
    """`ResponseCache`."""

    title = "1 chat answer (lookup; update when not found)"
    size_bytes = 1024
    cache: ResponseCache

    def __init__(self, url: str, *, enabled: bool = True) -> None:
        self.cache = ResponseCache.from_url(url, settings=CacheSettings(enabled=enabled))

    @override
    def close(self) -> None:
        self.cache.close()

    @override
    async def aclose(self) -> None:
        await self.cache.aclose()


class RedisAnswer(_Answer):
    """`RedisCache` of langchain-redis, which keeps answers as RedisJSON; its asynchronous methods use threads."""

    title = "langchain-redis RedisCache"
    package = "langchain-redis"
    needs_json = True

    def __init__(self, url: str, *, enabled: bool = True) -> None:
        assert enabled  # noqa: S101  it cannot be switched off
        self._redis_cache: Any = import_module("langchain_redis").RedisCache(
            redis_url=url, ttl=TTL_S, prefix="resumecache-bench"
        )
        self.cache = self._redis_cache

    @override
    def close(self) -> None:
        self._redis_cache.clear()
        self._redis_cache.redis.close()


class RedisvlQuery(_Query):
    """`EmbeddingsCache` of redisvl, as one puts it around a model."""

    title = "redisvl EmbeddingsCache"
    package = "redisvl"

    def __init__(self, url: str, *, enabled: bool = True) -> None:
        assert enabled  # noqa: S101  it cannot be switched off
        made = import_module("redisvl.extensions.cache.embeddings").EmbeddingsCache
        self._cache: Any = made(name="resumecache-bench", redis_url=url, ttl=TTL_S)
        self._vector = np.random.default_rng(0).standard_normal(WIDTH).tolist()

    @override
    def ask(self, question: list[str]) -> bool:
        found = self._cache.get(question[0], "instant")
        if found is None:
            self._cache.set(question[0], "instant", self._vector)
        return found is not None

    @override
    async def aask(self, question: list[str]) -> bool:
        found = await self._cache.aget(question[0], "instant")
        if found is None:
            await self._cache.aset(question[0], "instant", self._vector)
        return found is not None

    @override
    def close(self) -> None:
        self._cache.disconnect()

    @override
    async def aclose(self) -> None:
        await self._cache.adisconnect()


OURS: tuple[type[Contender], ...] = (OurQuery, OurAnswer, OurDocuments)
PEERS: tuple[type[Contender], ...] = (RedisAnswer, RedisvlQuery)
