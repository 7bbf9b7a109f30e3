"""The composition root: from settings to a store, the caches on it, and the chains on them."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from cache import CacheBackedEmbeddings, ResponseCache
from cache.opening import open_store
from chains.matching import build_match_chain
from chains.models import build_chat_model, build_embeddings

if TYPE_CHECKING:
    from types import TracebackType

    from langchain_core.runnables import Runnable

    from agent.settings import Settings
    from chains.schemas import MatchResult


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
    def match_chain(self) -> Runnable[Any, MatchResult]:
        """From a resume and an ad to an explained result."""
        chat_model = build_chat_model(self._settings.remote_models(), cache=self.responses)
        return build_match_chain(self.embeddings, chat_model=chat_model)

    def close(self) -> None:
        """Give back connections and the claim on an embedded server."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
