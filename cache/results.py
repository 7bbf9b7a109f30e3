"""Results for a resume and a job ad: matches and optimisations, each user's own."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

from cache.coalescing import Coalescer
from cache.flight import Landed, Lead, Level, Turn
from cache.json_cache import JsonCache
from cache.keys import ContentHasher, Field, Key, Kind, build_key, check_namespace, hashed_user

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
        self._counters = counters
        self._coalescer = Coalescer(Level.RESULT, self._entries.store, settings)

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
        """The result, stored or just being computed by another caller; or else the lead, for the block that computes.

        Within the block, `set` hands the result to all who wait for it. A block that fails hands over to one of them;
        one that ends without `set` leaves them to themselves.

        Args:
            resume: the one text.
            job: the other text.
            read: makes a result of what was stored; `None` where that cannot be used.
            user: whose result it is.
        """
        key, ticket = build_key(self.key(resume, job, user)), self._coalescer.ticket()
        [raw] = self._entries.store.mget([key])
        found = self._read(key, raw, read)
        return self._settle(key, read, self._coalescer.turn(key, ticket, raw)) if found is None else (found, _NO_LEAD)

    async def aget_or_lead(
        self, resume: str, job: str, read: Callable[[Any], Result | None], *, user: str | None = None
    ) -> tuple[Result | None, AbstractContextManager[object]]:
        """Asynchronous twin of `get_or_lead`."""
        key, ticket = build_key(self.key(resume, job, user)), self._coalescer.ticket()
        [raw] = await self._entries.store.amget([key])
        found = self._read(key, raw, read)
        if found is not None:
            return found, _NO_LEAD
        return self._settle(key, read, await self._coalescer.aturn(key, ticket, raw))

    def _read(self, key: str, raw: bytes | None, read: Callable[[Any], Result | None]) -> Result | None:
        value = self._entries.interpret(key, raw)
        return None if value is None else read(value)

    def _settle(
        self, key: str, read: Callable[[Any], Result | None], turn: Turn
    ) -> tuple[Result | None, AbstractContextManager[object]]:
        if isinstance(turn, Lead):
            return None, turn
        if not isinstance(turn, Landed):
            return None, _NO_LEAD
        found = self._read(key, turn.value, read)
        self._counters.add(misses=-1, shared=int(found is not None))
        return found, _NO_LEAD

    def set(self, resume: str, job: str, result: Any, *, user: str | None = None, made_ms: int = 0) -> bool:
        """Keep a result; True only when the store has confirmed it."""
        pair = self._entries.entry(self.key(resume, job, user), result, made_ms=made_ms)
        return self._coalescer.save(*pair, ttl_s=self._entries.ttl_s)

    async def aset(self, resume: str, job: str, result: Any, *, user: str | None = None, made_ms: int = 0) -> bool:
        """Asynchronous twin of `set`."""
        pair = self._entries.entry(self.key(resume, job, user), result, made_ms=made_ms)
        return await self._coalescer.asave(*pair, ttl_s=self._entries.ttl_s)


_NO_LEAD: AbstractContextManager[object] = contextlib.nullcontext()
