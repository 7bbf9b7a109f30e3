"""`CacheBackedEmbeddings`: a LangChain `Embeddings` that asks the cache first."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

from langchain_core.embeddings import Embeddings
from pydantic import BaseModel
from typing_extensions import override

from cache.clock import Clock, SystemClock
from cache.closing import Closing
from cache.coalescing import flights_of
from cache.counters import Counters, Counts
from cache.embedding_flow import Command, Compute, EmbeddingSpace, Lookup, Progress, Role, Save, embed_flow
from cache.errors import ConfigurationError
from cache.flight import Wait, await_first, wait_for_first
from cache.keys import Kind, check_namespace
from cache.opening import near_of, open_store, store_for
from cache.parameters import embedding_parameters
from cache.settings import CacheSettings, check_ttl
from cache.wrappers import DisabledStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.stores import ByteStore

    from cache.codecs.vectors import FloatArray
    from cache.stores.base import Store

DEFAULT_BATCH_SIZE = 128


class CacheBackedEmbeddings(Closing, Embeddings):
    """Embeds what the cache does not hold, and remembers it.

    N texts cost one round trip to look up and, per batch of misses, one to store. Queries are cached too, apart from
    documents. A failing or missing store costs its deadline once and is otherwise as if nothing had been cached; an
    error of the model goes to the caller, and what was embedded before it stays stored.

    Args:
        underlying: the model that embeds.
        store: where entries live; any LangChain `ByteStore` will do.
        model: the model's name, as it stands in the keys.
        ttl_s: seconds that entries live; `None` is the setting.
        namespace: the tenant; `None` is the setting.
        settings: `None` reads the environment.
        batch_size: texts in one request upstream.
        counters: where hits and misses are counted.
        clock: where the time comes from.

    Raises:
        ConfigurationError: the model has no name.
        InvalidKeyError: the model or the namespace cannot stand in a key.
        InvalidTTLError: the time to live cannot be used.
    """

    def __init__(
        self,
        underlying: Embeddings,
        store: ByteStore,
        *,
        model: str,
        ttl_s: int | None = None,
        namespace: str | None = None,
        settings: CacheSettings | None = None,
        batch_size: int = DEFAULT_BATCH_SIZE,
        counters: Counters | None = None,
        clock: Clock | None = None,
    ) -> None:
        settings = settings or CacheSettings()
        if not model:
            raise ConfigurationError("model: expected the name of the embedding model, got nothing")
        if batch_size < 1:
            raise ConfigurationError(f"batch_size: expected at least 1 text in a request, got {batch_size}")
        self.underlying = underlying
        self._counters = counters or Counters()
        self.store = store_for(Kind.EMBEDDING, store, settings, self._counters, namespace=namespace)
        self._owned: Store | None = None
        self._base_url = settings.openai_base_url
        self._space = EmbeddingSpace(
            model=model,
            namespace=check_namespace(settings.namespace if namespace is None else namespace),
            parameters=embedding_parameters(underlying, model, default_base_url=self._base_url),
            secret=settings.secret_bytes(),
            ttl_s=check_ttl(settings.ttl_s(Kind.EMBEDDING) if ttl_s is None else ttl_s),
            batch_size=batch_size,
            clock=clock or SystemClock(),
            counters=self._counters,
            flights=None if isinstance(self.store, DisabledStore) else flights_of(self.store),
            wait_s=settings.flight_wait_s,
            near=near_of(self.store),
            element_type=settings.element_type(),
        )

    @classmethod
    def from_url(
        cls,
        underlying: Embeddings,
        url: str | None = None,
        *,
        model: str,
        ttl_s: int | None = None,
        namespace: str | None = None,
        settings: CacheSettings | None = None,
    ) -> Self:
        """Over the store of a URL (see `store_from_url`); `None` is `REDIS_URL`, or else the embedded server."""
        settings = settings or CacheSettings()
        store = open_store(settings, url=url)
        made = cls(underlying, store, model=model, ttl_s=ttl_s, namespace=namespace, settings=settings)
        made._owned = store
        return made

    @classmethod
    def from_client(
        cls,
        underlying: Embeddings,
        client: object,
        *,
        model: str,
        ttl_s: int | None = None,
        namespace: str | None = None,
        settings: CacheSettings | None = None,
    ) -> Self:
        """Over connections like those of a client of redis-py that the caller has and closes."""
        settings = settings or CacheSettings()
        store = open_store(settings, client=client)
        made = cls(underlying, store, model=model, ttl_s=ttl_s, namespace=namespace, settings=settings)
        made._owned = store
        return made

    @classmethod
    def from_bytes_store(
        cls,
        underlying_embeddings: Embeddings,
        document_embedding_cache: ByteStore,
        *,
        namespace: str,
        batch_size: int | None = None,
        ttl_s: int | None = None,
    ) -> Self:
        """As LangChain's class of the same name is built; its `namespace` is the model's name here."""
        size = DEFAULT_BATCH_SIZE if batch_size is None else batch_size
        return cls(underlying_embeddings, document_embedding_cache, model=namespace, batch_size=size, ttl_s=ttl_s)

    @property
    def model(self) -> str:
        """The model's name in the keys."""
        return self._space.model

    @property
    def space(self) -> EmbeddingSpace:
        """How the keys of this model are made, as its fields are now; for whoever reads or writes single entries."""
        if _has_fields(type(self.underlying)):  # attributes of other objects may be what they count
            self._follow(embedding_parameters(self.underlying, self.model, default_base_url=self._base_url))
        return self._space

    def _follow(self, parameters: bytes) -> None:
        if parameters != self._space.parameters:
            self._space = replace(self._space, parameters=parameters, width=None)

    def counts(self) -> Counts:
        """What was found, made and stored by this object; distinct texts are counted, not their repetitions."""
        return self._counters.snapshot()

    @override
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self._run(texts, Role.DOCUMENT).tolist()  # type: ignore[no-any-return]  # numpy types it as Any

    @override
    def embed_query(self, text: str) -> list[float]:
        return self._run([text], Role.QUERY)[0].tolist()  # type: ignore[no-any-return]  # as above

    def embed_array(self, texts: Sequence[str], *, on_progress: Progress | None = None) -> FloatArray:
        """Embed documents without a detour over lists.

        Args:
            texts: what to embed.
            on_progress: called with the number of distinct texts that are ready and of all, after the lookup and
                after each batch.

        Returns:
            float32, shape (n, d), writable; equal to `embed_documents` number by number.
        """
        return self._run(texts, Role.DOCUMENT, on_progress)

    @override
    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        return (await self._arun(texts, Role.DOCUMENT)).tolist()  # type: ignore[no-any-return]  # as above

    @override
    async def aembed_query(self, text: str) -> list[float]:
        return (await self._arun([text], Role.QUERY))[0].tolist()  # type: ignore[no-any-return]  # as above

    async def aembed_array(self, texts: Sequence[str], *, on_progress: Progress | None = None) -> FloatArray:
        """Asynchronous twin of `embed_array`."""
        return await self._arun(texts, Role.DOCUMENT, on_progress)

    @override
    def close(self) -> None:
        """Give back the connections of a store that this object opened itself; it can be used again."""
        if self._owned:
            self._owned.close()

    @override
    async def aclose(self) -> None:
        """Asynchronous twin of `close`."""
        if self._owned:
            await self._owned.aclose()

    def _run(self, texts: Sequence[str], role: Role, on_progress: Progress | None = None) -> FloatArray:
        flow = embed_flow(self.space, texts, role, on_progress, is_blocking=True)
        try:
            answer = None
            while True:
                try:
                    command = flow.send(answer)
                except StopIteration as done:
                    return done.value  # type: ignore[no-any-return]  # StopIteration is not generic
                answer = self._do(command)
        finally:
            flow.close()

    def _do(self, command: Command) -> Any:
        match command:
            case Lookup(keys, size_bytes):
                return self.store.mget_block(keys, size_bytes=size_bytes)
            case Wait(waiters, wait_s):
                return wait_for_first(waiters, wait_s)
            case Save(pairs):
                return self.store.mset(pairs, ttl_s=self._space.ttl_s)
            case Compute([text], Role.QUERY):
                return [self.underlying.embed_query(text)]
            case Compute(missing, _):
                return self.underlying.embed_documents(missing)

    async def _arun(self, texts: Sequence[str], role: Role, on_progress: Progress | None = None) -> FloatArray:
        flow = embed_flow(self.space, texts, role, on_progress, is_blocking=False)
        try:
            answer = None
            while True:
                try:
                    command = flow.send(answer)
                except StopIteration as done:
                    return done.value  # type: ignore[no-any-return]  # StopIteration is not generic
                answer = await self._ado(command)
        finally:
            flow.close()

    async def _ado(self, command: Command) -> Any:
        match command:
            case Lookup(keys, size_bytes):
                return await self.store.amget_block(keys, size_bytes=size_bytes)
            case Wait(waiters, wait_s):
                return await await_first(waiters, wait_s)
            case Save(pairs):
                return await self.store.amset(pairs, ttl_s=self._space.ttl_s)
            case Compute([text], Role.QUERY):
                return [await self.underlying.aembed_query(text)]
            case Compute(missing, _):
                return await self.underlying.aembed_documents(missing)


@lru_cache(maxsize=64)  # pydantic answers this in Python
def _has_fields(cls: type) -> bool:
    return issubclass(cls, BaseModel)
