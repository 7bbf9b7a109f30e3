"""The composition root: from settings to a store, the caches on it, and the chains on them."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from cache import CacheBackedEmbeddings, MemoryStore, ResponseCache, Store
from cache.admin import Admin, Health
from cache.closing import Closing
from cache.counters import Counters
from cache.embeddings import DEFAULT_BATCH_SIZE
from cache.keys import Field, Kind
from cache.opening import open_store
from cache.results import PairResults
from cache.service import CacheService
from chains.asking import name_of
from chains.local_embeddings import LocalEmbeddings
from chains.matching import build_match_chain, match_variant
from chains.models import build_chat_model, build_embeddings
from chains.optimization import build_optimize_chain, optimization_variant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.embeddings import Embeddings
    from langchain_core.language_models import BaseChatModel
    from langchain_core.runnables import Runnable

    from agent.settings import Settings
    from chains.schemas import MatchResult, OptimizationResult

_PATIENT_MS = 2000


class Services(Closing):
    """Everything that the commands call, built when it is first asked for; closes what it has opened.

    Args:
        settings: of the application.
        url: of the store, instead of the one in the settings.
        embeddings: an embedding model of the caller's own, instead of the one in the settings; its `model` names its
            vectors in keys.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        url: str | None = None,
        embeddings: Embeddings | None = None,
    ) -> None:
        self.settings = settings
        self._url = url
        self._store = open_store(settings.cache, url=url)
        self._own_embeddings = embeddings

    @cached_property
    def embeddings(self) -> CacheBackedEmbeddings:
        """The configured embedding model behind the cache."""
        underlying, model, batch_size = self._embedding_model()
        return CacheBackedEmbeddings(
            underlying, self._store, model=model, batch_size=batch_size, settings=self.settings.cache
        )

    def _embedding_model(self) -> tuple[Embeddings, str, int]:
        own = self._own_embeddings
        if own is None:
            return build_embeddings(self.settings.remote_models())
        return own, str(getattr(own, "model", "")), DEFAULT_BATCH_SIZE

    @cached_property
    def responses(self) -> ResponseCache:
        """The cache that the chat model answers through."""
        return ResponseCache(self._store, settings=self.settings.cache)

    @cached_property
    def chat_model(self) -> BaseChatModel | None:
        """The configured chat model, answering through the cache; `None` where none is configured."""
        return build_chat_model(self.settings.remote_models(), cache=self.responses)

    def chat_model_for(self, *, temperature: float, max_tokens: int | None) -> BaseChatModel | None:
        """The same model with other settings of its answers."""
        remote = self.settings.remote_models()
        return build_chat_model(remote, cache=self.responses, temperature=temperature, max_tokens=max_tokens)

    @cached_property
    def is_local(self) -> bool:
        """Whether this machine does all the work, so that nobody is waited for."""
        return self.chat_model is None and isinstance(self.embeddings.underlying, LocalEmbeddings)

    @cached_property
    def match_chain(self) -> Runnable[Any, MatchResult]:
        """From a resume, an ad and perhaps a user to an explained result, which is kept."""
        results = self._results(Kind.JOB_MATCH)
        return build_match_chain(self.embeddings, chat_model=self.chat_model, results=results)

    @cached_property
    def optimize_chain(self) -> Runnable[Any, OptimizationResult]:
        """From a resume, an ad and perhaps a user to edits, which are kept."""
        results = self._results(Kind.OPTIMIZATION)
        return build_optimize_chain(self.embeddings, chat_model=self.chat_model, results=results)

    @cached_property
    def cache(self) -> CacheService:
        """All kinds of entry, on the same entries as the models and chains above."""
        settings = self.settings.cache.model_copy(update={"openai_base_url": self._base_url})
        return CacheService(self._store, settings=settings, embeddings=self.embeddings, variants=self._variants)

    @cached_property
    def admin(self) -> Admin:
        """What an operator asks, on the bare store and with an operator's patience."""
        return Admin(self._patient_store, self.settings.cache)

    async def ahealth(self) -> Health:
        """How the cache is, within the deadline of one operation."""
        return await Admin(self._store.inner, self.settings.cache).ahealth()

    @cached_property
    def _patient_store(self) -> Store:
        """The same entries with more time for each operation: who counts or clears them would rather wait."""
        if isinstance(self._store.inner, MemoryStore):
            return self._store.inner
        settings = self.settings.cache
        patient_ms = max(_PATIENT_MS, settings.deadline_ms)
        return open_store(settings.model_copy(update={"deadline_ms": patient_ms}), url=self._url).inner

    @property
    def _base_url(self) -> str | None:
        """Where the models are: what is asked of one server is no answer of another."""
        return self.settings.openai_base_url or self.settings.cache.openai_base_url

    @cached_property
    def _variants(self) -> dict[Kind, Sequence[Field]]:
        names = (name_of(self.chat_model), self.embeddings.model)
        space = self.embeddings.space
        where = (self._base_url, space.parameters, space.element_type)
        return {
            Kind.JOB_MATCH: (*match_variant(*names), *where),
            Kind.OPTIMIZATION: (*optimization_variant(*names), *where),
        }

    def _results(self, kind: Kind) -> PairResults:
        settings = self.settings.cache
        return PairResults(kind, self._store, variant=self._variants[kind], settings=settings, counters=Counters())

    @override
    def close(self) -> None:
        """Give back connections and the claim on an embedded server."""
        if "_patient_store" in self.__dict__:
            self._patient_store.close()
        self._store.close()

    @override
    async def aclose(self) -> None:
        """Asynchronous twin of `close`; gives back what belongs to the running event loop too."""
        if "_patient_store" in self.__dict__:
            await self._patient_store.aclose()
        await self._store.aclose()
