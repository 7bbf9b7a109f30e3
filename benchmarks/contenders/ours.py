"""This project, as its users have it: with checks, counts, deadlines and the circuit breaker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import CallbackManager
from langchain_core.embeddings import Embeddings
from langchain_core.messages import HumanMessage
from typing_extensions import override

from benchmarks.contenders.base import MODEL, TTL_S, Batch, FloatArray, LangChainCache, LeaseCache, VectorCache
from cache import CacheBackedEmbeddings, CacheSettings, ResponseCache

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PATIENT_MS = 5000  # on a busy machine a miss would be measured as a hit
TITLE = "resumecache"


class ReadyVectors(Embeddings):
    """Answers with vectors that were made before, batch by batch.

    Attributes:
        vectors: rows that are still to be given.
    """

    def __init__(self) -> None:
        self.vectors: Any = ()

    @override
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        given, self.vectors = self.vectors[: len(texts)], self.vectors[len(texts) :]
        return given  # type: ignore[no-any-return]  # an array or lists, whichever the cache can use

    @override
    def embed_query(self, text: str) -> list[float]:
        raise NotImplementedError


class OurVectors(VectorCache):
    """`CacheBackedEmbeddings`; a write is all that it does for texts that are new to it, the lookup included."""

    title = TITLE
    is_ours = True
    settings: Mapping[str, Any] = {}

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.model = ReadyVectors()
        settings = CacheSettings(deadline_ms=PATIENT_MS, **self.settings)
        self.cache = CacheBackedEmbeddings.from_url(self.model, url, model=MODEL, ttl_s=TTL_S, settings=settings)

    @override
    def write(self, batch: Batch) -> None:
        self.model.vectors = batch.array
        self.cache.embed_array(batch.texts)

    @override
    def read(self, texts: Sequence[str]) -> FloatArray:
        return self.cache.embed_array(texts)

    @override
    async def aread(self, texts: Sequence[str]) -> FloatArray:
        return await self.cache.aembed_array(texts)

    @override
    async def aclose(self) -> None:
        await self.cache.aclose()

    @override
    def close(self) -> None:
        self.cache.close()


class OurAnswers(LangChainCache):
    """`ResponseCache`."""

    title = TITLE
    is_ours = True
    settings: Mapping[str, Any] = {}

    @override
    def open(self, url: str) -> Any:
        settings = CacheSettings(deadline_ms=PATIENT_MS, **self.settings)
        return ResponseCache.from_url(url, ttl_s=TTL_S, settings=settings)

    @override
    async def aclose(self) -> None:
        await self.cache.aclose()

    @override
    def close(self) -> None:
        self.cache.close()


class OurRawAnswers(OurAnswers):
    """The same with `CACHE_COMPRESSION_THRESHOLD` over the size of the answers: nothing is compressed."""

    title = f"{TITLE}, not compressed"

    @override
    def open(self, url: str) -> Any:
        settings = CacheSettings(deadline_ms=PATIENT_MS, compression_threshold_bytes=2**20)
        return ResponseCache.from_url(url, ttl_s=TTL_S, settings=settings, namespace="raw")


class OurLeases(LeaseCache):
    """`ResponseCache`, asked by the run of a model that then fails, so that the lease is given back."""

    title = TITLE
    is_ours = True

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.cache = ResponseCache.from_url(url, ttl_s=TTL_S, settings=CacheSettings(deadline_ms=PATIENT_MS))
        self._runs: list[Any] = []

    @override
    def begin_run(self) -> None:
        self._runs = CallbackManager.configure().on_chat_model_start({}, [[HumanMessage("")]], invocation_params={})

    @override
    def miss(self, prompt: str, llm_string: str) -> None:
        self.cache.lookup(prompt, llm_string)

    @override
    def end_run(self) -> None:
        for run in self._runs:
            run.on_llm_error(RuntimeError("the model has failed"))

    @override
    def close(self) -> None:
        self.cache.close()
