"""The composition root: from settings to a store, the caches on it, and the chains on them."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from cache import CacheBackedEmbeddings, ResponseCache
from cache.admin import Admin
from cache.counters import Counters
from cache.keys import Kind
from cache.opening import open_store
from cache.results import PairResults
from cache.service import CacheService
from chains.asking import name_of
from chains.matching import build_match_chain, match_variant
from chains.models import build_chat_model, build_embeddings
from chains.optimization import build_optimize_chain, optimization_variant

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from langchain_core.language_models import BaseChatModel
    from langchain_core.runnables import Runnable

    from agent.settings import Settings
    from chains.schemas import MatchResult, OptimizationResult


class Services:
    """Everything that the commands call, built when it is first asked for; closes what it has opened.

    Args:
        settings: of the application.
        url: of the store, instead of the one in the settings.
    """

    def __init__(self, settings: Settings, *, url: str | None = None) -> None:
        self._settings = settings
        self._store = open_store(settings.cache, url=url)

    @cached_property
    def embeddings(self) -> CacheBackedEmbeddings:
        """The configured embedding model behind the cache."""
        underlying, model, batch_size = build_embeddings(self._settings.remote_models())
        return CacheBackedEmbeddings(
            underlying, self._store, model=model, batch_size=batch_size, settings=self._settings.cache
        )

    @cached_property
    def responses(self) -> ResponseCache:
        """The cache that the chat model answers through."""
        return ResponseCache(self._store, settings=self._settings.cache)

    @cached_property
    def chat_model(self) -> BaseChatModel | None:
        """The configured chat model, answering through the cache; `None` where none is configured."""
        return build_chat_model(self._settings.remote_models(), cache=self.responses)

    def chat_model_for(self, *, temperature: float, max_tokens: int | None) -> BaseChatModel | None:
        """The same model with other settings of its answers."""
        remote = self._settings.remote_models()
        return build_chat_model(remote, cache=self.responses, temperature=temperature, max_tokens=max_tokens)

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
        return CacheService(
            self._store, settings=self._settings.cache, embeddings=self.embeddings, variants=self._variants
        )

    @cached_property
    def admin(self) -> Admin:
        """What an operator asks, on the bare store."""
        return Admin(self._store.inner, self._settings.cache)

    @cached_property
    def _variants(self) -> dict[Kind, Sequence[str | int]]:
        names = (name_of(self.chat_model), self.embeddings.model)
        return {Kind.JOB_MATCH: match_variant(*names), Kind.OPTIMIZATION: optimization_variant(*names)}

    def _results(self, kind: Kind) -> PairResults:
        settings = self._settings.cache
        return PairResults(kind, self._store, variant=self._variants[kind], settings=settings, counters=Counters())

    def close(self) -> None:
        """Give back connections and the claim on an embedded server."""
        self._store.close()

    async def aclose(self) -> None:
        """Asynchronous twin of `close`; gives back what belongs to the running event loop too."""
        await self._store.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
