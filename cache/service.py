"""`CacheService`: all six kinds of entry behind one object, under the documented names.

Its methods are asynchronous; `SyncCacheService` has the same ones for blocking callers. A lookup answers `None` and a
write `False` when the store cannot do it; a failing store raises nothing here, but for `find_session`.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Self

from langchain_core.load import dumps
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, Generation
from typing_extensions import override

from cache.admin import Admin, Status, kind_of
from cache.clock import Clock, SystemClock
from cache.closing import Closing
from cache.counters import Counters, Counts
from cache.embedding_flow import EmbeddingSpace, Role, pack_vector, unpack_vector
from cache.errors import StoreError
from cache.json_cache import JsonCache
from cache.keys import Field, Key, Kind, build_key, check_namespace
from cache.opening import open_store, store_for
from cache.parameters import plain_parameters
from cache.requests import plain_llm_string
from cache.responses import ResponseCache
from cache.results import PairResults
from cache.sessions import Sessions
from cache.settings import CacheSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cache.embeddings import CacheBackedEmbeddings
    from cache.wrappers import FailOpenStore

_COMPONENT = "cache"


class _Service(Closing):
    """What the asynchronous and the blocking service share: the caches, and how a request becomes a key.

    Args:
        store: fails open; its breakers are shared by all kinds.
        settings: `None` reads the environment.
        embeddings: the model whose entries are the same as those of `cache_embedding` for its name; other names mean
            an OpenAI model with nothing else set.
        variants: what else results of a kind depend on (see `PairResults`).
        clock: where the time comes from.
    """

    def __init__(
        self,
        store: FailOpenStore,
        *,
        settings: CacheSettings | None = None,
        embeddings: CacheBackedEmbeddings | None = None,
        variants: Mapping[Kind, Sequence[Field]] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._settings = settings = settings or CacheSettings()
        self._store = store
        self._owned: FailOpenStore | None = None
        self._clock = clock or SystemClock()
        self._counters = counters = Counters()
        self._embeddings = embeddings
        self._vectors = store_for(Kind.EMBEDDING, store, settings, counters)
        self._responses = ResponseCache(store, settings=settings, counters=counters, clock=clock)
        self._results = {
            kind: PairResults(
                kind, store, variant=(variants or {}).get(kind, ()), settings=settings, counters=counters, clock=clock
            )
            for kind in (Kind.JOB_MATCH, Kind.OPTIMIZATION)
        }
        self._sessions = Sessions(store, settings=settings, counters=counters, clock=clock)
        self._reports = JsonCache(Kind.HEALTH, store, settings=settings, counters=counters, clock=clock)
        self._admin = Admin(store.inner, settings)

    @classmethod
    def from_url(cls, url: str | None = None, *, settings: CacheSettings | None = None) -> Self:
        """Over the store of a URL (see `store_from_url`); `None` is `REDIS_URL`, or else the embedded server."""
        settings = settings or CacheSettings()
        store = open_store(settings, url=url)
        made = cls(store, settings=settings)
        made._owned = store
        return made

    def counts(self) -> Counts:
        """What this object has found and stored."""
        return self._counters.snapshot()

    @override
    def close(self) -> None:
        """Give back the connections of a store that this object opened itself."""
        if self._owned:
            self._owned.close()

    @override
    async def aclose(self) -> None:
        """Asynchronous twin of `close`."""
        if self._owned:
            await self._owned.aclose()

    def _space(self, model: str) -> EmbeddingSpace:
        if self._embeddings is not None and model == self._embeddings.model:
            return self._embeddings.space
        settings = self._settings
        return EmbeddingSpace(
            model=model,
            namespace=check_namespace(settings.namespace),
            parameters=plain_parameters(settings.openai_base_url),
            secret=settings.secret_bytes(),
            ttl_s=settings.ttl_s(Kind.EMBEDDING),
            batch_size=1,
            clock=self._clock,
            counters=self._counters,
        )

    def _session_key(self, session_id: str) -> str:
        return build_key(self._sessions.key(session_id))

    def _report_key(self) -> Key:
        return Key(Kind.HEALTH, component=_COMPONENT, namespace=check_namespace(self._settings.namespace))


def _prompt(prompt: str) -> str:
    return dumps([HumanMessage(prompt)])


def _answer(response: str) -> list[Generation]:
    return [ChatGeneration(message=AIMessage(response, response_metadata={"finish_reason": "stop"}))]


def _text(found: Sequence[Generation] | None) -> str | None:
    return found[0].text if found else None


class CacheService(_Service):
    """All six kinds of entry, asynchronous."""

    async def cache_embedding(self, text: str, embedding: Sequence[float], model: str) -> bool:
        """Keep the vector of a document; True only when the store has confirmed it.

        Raises:
            ProviderAnswerError: not a vector of finite numbers of the model's width.
        """
        space = self._space(model)
        return await self._vectors.asave([pack_vector(space, text, embedding)], ttl_s=space.ttl_s)

    async def get_cached_embedding(self, text: str, model: str) -> list[float] | None:
        """The vector of a document, or `None`."""
        space = self._space(model)
        keys, _ = space.keys([text], Role.DOCUMENT)
        vector = unpack_vector(space, text, (await self._vectors.amget(keys))[0])
        return None if vector is None else vector.tolist()

    async def cache_openai_response(
        self, prompt: str, response: str, model: str, temperature: float | None = None, max_tokens: int | None = None
    ) -> bool:
        """Keep the answer to one human message; shared with a LangChain model of the same settings."""
        llm_string = plain_llm_string(model, temperature, max_tokens)
        return await self._responses.asave(_prompt(prompt), llm_string, _answer(response))

    async def get_cached_openai_response(
        self, prompt: str, model: str, temperature: float | None = None, max_tokens: int | None = None
    ) -> str | None:
        """The answer to one human message, or `None`."""
        return _text(await self._responses.alookup(_prompt(prompt), plain_llm_string(model, temperature, max_tokens)))

    async def cache_job_match_result(
        self, resume_text: str, job_description: str, result: Any, user_id: str | None = None
    ) -> bool:
        """Keep a match result for a user; without one it is shared as `anonymous`."""
        return await self._results[Kind.JOB_MATCH].aset(resume_text, job_description, result, user=user_id)

    async def get_cached_job_match_result(
        self, resume_text: str, job_description: str, user_id: str | None = None
    ) -> Any | None:
        """A user's match result, or `None`; never another user's."""
        return await self._results[Kind.JOB_MATCH].aget(resume_text, job_description, user=user_id)

    async def cache_optimization_result(
        self, resume_text: str, job_description: str, result: Any, user_id: str | None = None
    ) -> bool:
        """Keep an optimisation for a user; without one it is shared as `anonymous`."""
        return await self._results[Kind.OPTIMIZATION].aset(resume_text, job_description, result, user=user_id)

    async def get_cached_optimization_result(
        self, resume_text: str, job_description: str, user_id: str | None = None
    ) -> Any | None:
        """A user's optimisation, or `None`; never another user's."""
        return await self._results[Kind.OPTIMIZATION].aget(resume_text, job_description, user=user_id)

    async def cache_session(self, session_id: str, data: Any) -> bool:
        """Keep the data of a session; its time to live begins anew."""
        return await self._sessions.aset(session_id, data)

    async def get_session(self, session_id: str) -> Any | None:
        """The data of a session, or `None`."""
        return await self._sessions.aget(session_id)

    async def find_session(self, session_id: str) -> Any | None:
        """As `get_session`, but `None` means that there is none: for whoever is about to replace it.

        Raises:
            StoreError: the store cannot tell.
        """
        return await self._sessions.afind(session_id)

    async def update_session(self, session_id: str, change: Callable[[Any | None], Any | None]) -> bool:
        """Change the data of a session, also where others do so at the same time; its time to live begins anew.

        Args:
            session_id: of the session.
            change: gets the data, or `None` where there is no session, and gives the new ones, or `None` to leave all
                as it is; it is called anew where somebody else was faster.

        Returns:
            Whether the store has confirmed it.
        """
        return await self._sessions.aupdate(session_id, change)

    async def delete_session(self, session_id: str) -> bool:
        """Forget a session; True only when the store has done it, whether or not there was one."""
        try:
            await self._store.amdelete([self._session_key(session_id)])
        except StoreError:
            return False
        return True

    async def get_cache_stats(self) -> dict[str, Any]:
        """What is in the cache, under the documented names (see `Stats`), and what this object has counted."""
        return asdict(await self._admin.astats()) | {"process": asdict(self.counts())}

    async def health_check(self) -> dict[str, Any]:
        """How the cache is (see `Health`); a healthy report is kept for ten seconds for whoever looks."""
        report = asdict(await self._admin.ahealth())
        if report["status"] == Status.HEALTHY:
            await self._reports.aset(self._report_key(), report)
        return report

    async def clear_cache_by_prefix(self, prefix: str) -> bool:
        """Delete all entries of a kind, by its long name; True only when the store has done it.

        Raises:
            ConfigurationError: there is no such kind.
        """
        kind = kind_of(prefix)
        try:
            await self._admin.aclear(kind)
        except StoreError:
            return False
        return True


class SyncCacheService(_Service):
    """All six kinds of entry, for blocking callers."""

    def cache_embedding(self, text: str, embedding: Sequence[float], model: str) -> bool:
        """Keep the vector of a document; True only when the store has confirmed it.

        Raises:
            ProviderAnswerError: not a vector of finite numbers of the model's width.
        """
        space = self._space(model)
        return self._vectors.save([pack_vector(space, text, embedding)], ttl_s=space.ttl_s)

    def get_cached_embedding(self, text: str, model: str) -> list[float] | None:
        """The vector of a document, or `None`."""
        space = self._space(model)
        keys, _ = space.keys([text], Role.DOCUMENT)
        vector = unpack_vector(space, text, (self._vectors.mget(keys))[0])
        return None if vector is None else vector.tolist()

    def cache_openai_response(
        self, prompt: str, response: str, model: str, temperature: float | None = None, max_tokens: int | None = None
    ) -> bool:
        """Keep the answer to one human message; shared with a LangChain model of the same settings."""
        llm_string = plain_llm_string(model, temperature, max_tokens)
        return self._responses.save(_prompt(prompt), llm_string, _answer(response))

    def get_cached_openai_response(
        self, prompt: str, model: str, temperature: float | None = None, max_tokens: int | None = None
    ) -> str | None:
        """The answer to one human message, or `None`."""
        return _text(self._responses.lookup(_prompt(prompt), plain_llm_string(model, temperature, max_tokens)))

    def cache_job_match_result(
        self, resume_text: str, job_description: str, result: Any, user_id: str | None = None
    ) -> bool:
        """Keep a match result for a user; without one it is shared as `anonymous`."""
        return self._results[Kind.JOB_MATCH].set(resume_text, job_description, result, user=user_id)

    def get_cached_job_match_result(
        self, resume_text: str, job_description: str, user_id: str | None = None
    ) -> Any | None:
        """A user's match result, or `None`; never another user's."""
        return self._results[Kind.JOB_MATCH].get(resume_text, job_description, user=user_id)

    def cache_optimization_result(
        self, resume_text: str, job_description: str, result: Any, user_id: str | None = None
    ) -> bool:
        """Keep an optimisation for a user; without one it is shared as `anonymous`."""
        return self._results[Kind.OPTIMIZATION].set(resume_text, job_description, result, user=user_id)

    def get_cached_optimization_result(
        self, resume_text: str, job_description: str, user_id: str | None = None
    ) -> Any | None:
        """A user's optimisation, or `None`; never another user's."""
        return self._results[Kind.OPTIMIZATION].get(resume_text, job_description, user=user_id)

    def cache_session(self, session_id: str, data: Any) -> bool:
        """Keep the data of a session; its time to live begins anew."""
        return self._sessions.set(session_id, data)

    def get_session(self, session_id: str) -> Any | None:
        """The data of a session, or `None`."""
        return self._sessions.get(session_id)

    def find_session(self, session_id: str) -> Any | None:
        """As `get_session`, but `None` means that there is none: for whoever is about to replace it.

        Raises:
            StoreError: the store cannot tell.
        """
        return self._sessions.find(session_id)

    def update_session(self, session_id: str, change: Callable[[Any | None], Any | None]) -> bool:
        """Change the data of a session, also where others do so at the same time; its time to live begins anew.

        Args:
            session_id: of the session.
            change: gets the data, or `None` where there is no session, and gives the new ones, or `None` to leave all
                as it is; it is called anew where somebody else was faster.

        Returns:
            Whether the store has confirmed it.
        """
        return self._sessions.update(session_id, change)

    def delete_session(self, session_id: str) -> bool:
        """Forget a session; True only when the store has done it, whether or not there was one."""
        try:
            self._store.mdelete([self._session_key(session_id)])
        except StoreError:
            return False
        return True

    def get_cache_stats(self) -> dict[str, Any]:
        """What is in the cache, under the documented names (see `Stats`), and what this object has counted."""
        return asdict(self._admin.stats()) | {"process": asdict(self.counts())}

    def health_check(self) -> dict[str, Any]:
        """How the cache is (see `Health`); a healthy report is kept for ten seconds for whoever looks."""
        report = asdict(self._admin.health())
        if report["status"] == Status.HEALTHY:
            self._reports.set(self._report_key(), report)
        return report

    def clear_cache_by_prefix(self, prefix: str) -> bool:
        """Delete all entries of a kind, by its long name; True only when the store has done it.

        Raises:
            ConfigurationError: there is no such kind.
        """
        kind = kind_of(prefix)
        try:
            self._admin.clear(kind)
        except StoreError:
            return False
        return True
