"""Results for a resume and a job ad: matches and optimisations, each user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from cache.flight import Level
from cache.json_cache import JsonCache
from cache.keys import ContentHasher, Field, Key, Kind, check_namespace, hashed_user
from cache.shared_json import SharedJsonCache

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from langchain_core.stores import ByteStore

    from cache.clock import Clock
    from cache.counters import Counters
    from cache.settings import CacheSettings

Result = TypeVar("Result")


class PairResults:
    """What was found out about a pair of texts, kept for one user; without a user it is shared as `anonymous`.

    Args:
        kind: `JOB_MATCH` or `OPTIMIZATION`.
        store: where entries live.
        variant: what else a result depends on: versions of prompt, schema and scoring, names of the models.
        settings: time to live, compression, secret.
        namespace: the tenant; `None` is the setting.
        counters: where hits and misses are counted.
        clock: where the time comes from.
    """

    def __init__(
        self,
        kind: Kind,
        store: ByteStore,
        *,
        variant: Sequence[Field],
        settings: CacheSettings,
        counters: Counters,
        namespace: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._secret = settings.secret_bytes()
        self._hasher = ContentHasher((kind, *variant), secret=self._secret)
        self._namespace = check_namespace(settings.namespace if namespace is None else namespace)
        self._entries = JsonCache(kind, store, settings=settings, counters=counters, namespace=namespace, clock=clock)
        self._shared = SharedJsonCache(self._entries, Level.RESULT, settings=settings, counters=counters)

    def key(self, resume: str, job: str, user: str | None) -> Key:
        """The key of a pair's result; the texts are only in its hash."""
        digest = self._hasher.digest(resume, job).hex()
        owner = hashed_user(user, self._secret)
        return Key(self._entries.kind, content_hash=digest, user=owner, namespace=self._namespace)

    def get(self, resume: str, job: str, *, user: str | None = None) -> Any | None:
        """The stored result, or `None`."""
        return self._entries.get(self.key(resume, job, user))

    async def aget(self, resume: str, job: str, *, user: str | None = None) -> Any | None:
        """Asynchronous twin of `get`."""
        return await self._entries.aget(self.key(resume, job, user))

    def get_or_lead(
        self, resume: str, job: str, read: Callable[[Any], Result | None], *, user: str | None = None
    ) -> tuple[Result | None, AbstractContextManager[object]]:
        """The result, or else the lead, for the block that computes it: see `SharedJsonCache.get_or_lead`.

        Args:
            resume: the one text.
            job: the other text.
            read: makes a result of what was stored; `None` where that cannot be used.
            user: whose result it is.
        """
        return self._shared.get_or_lead(self.key(resume, job, user), read)

    async def aget_or_lead(
        self, resume: str, job: str, read: Callable[[Any], Result | None], *, user: str | None = None
    ) -> tuple[Result | None, AbstractContextManager[object]]:
        """Asynchronous twin of `get_or_lead`."""
        return await self._shared.aget_or_lead(self.key(resume, job, user), read)

    def set(self, resume: str, job: str, result: Any, *, user: str | None = None, made_ms: int = 0) -> bool:
        """Keep a result; True only when the store has confirmed it."""
        return self._shared.set(self.key(resume, job, user), result, made_ms=made_ms)

    async def aset(self, resume: str, job: str, result: Any, *, user: str | None = None, made_ms: int = 0) -> bool:
        """Asynchronous twin of `set`."""
        return await self._shared.aset(self.key(resume, job, user), result, made_ms=made_ms)
