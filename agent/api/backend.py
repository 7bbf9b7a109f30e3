"""What the routes work with: the services, and what is asked of the cache over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from agent.ai_service import AIService
from agent.api.limits import Gate
from agent.api.schemas import CacheStats, ClearResponse, HealthResponse, Session, StatsResponse
from agent.errors import SessionsUnavailableError
from cache.admin import Health, Stats, Status
from cache.errors import StoreError
from cache.keys import CACHED_KINDS, Kind
from cache.sessions import new_session_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.wiring import Services

HEALTH_S = 1.0
STATS_S = 5.0
_STATS_AT_ONCE = 4


class Backend:
    """The services behind one router.

    Args:
        provide: gives the services; they may be made after the router is.
    """

    def __init__(self, provide: Callable[[], Services]) -> None:
        self._provide = provide
        self._ai: AIService | None = None
        self._counting = Gate(_STATS_AT_ONCE)

    @property
    def services(self) -> Services:
        """The application."""
        return self._provide()

    @property
    def ai(self) -> AIService:
        """The documented flows: one object for all requests, as long as the services are the same."""
        services = self.services
        if self._ai is None or self._ai.services is not services:
            self._ai = AIService(services)
        return self._ai

    async def health(self) -> HealthResponse:
        """How the cache is, within a second whatever its server does."""
        try:
            async with asyncio.timeout(HEALTH_S):
                found = await self.services.ahealth()
        except TimeoutError:
            found = Health(Status.DEGRADED, "timeout")
        message = f"the cache is {found.status}"
        if found.reason is not None:  # its own message may name hosts and folders
            message += f" ({found.reason}): requests are served without it"
        is_well = found.status is not Status.DEGRADED
        return HealthResponse(success=is_well, message=message, status=found.status, reason=found.reason)

    async def stats(self) -> StatsResponse:
        """What is in the cache, within five seconds whatever its server does.

        Raises:
            HTTPException: 503: others are counting already.
        """
        with self._counting.place():
            found = await self._count()
        fields = asdict(found)
        del fields["message"]  # as above
        stats = CacheStats(**fields)
        is_well = stats.status is not Status.DEGRADED
        return StatsResponse(success=is_well, message=_message(stats), cache_stats=stats)

    async def _count(self) -> Stats:
        """Count, unless the server does not even answer a ping: an operator's patience is not for that."""
        if (await self.health()).status is not Status.DEGRADED:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STATS_S):
                    return await self.services.admin.astats()
        settings = self.services.settings.cache
        return Stats(Status.DEGRADED, cache_ttl_settings={str(kind): settings.ttl_s(kind) for kind in CACHED_KINDS})

    async def clear(self, kind: Kind | None, *, dry_run: bool) -> ClearResponse:
        """Delete the entries of a kind, or of all kinds, or only count them.

        Raises:
            StoreError: the store could not do it.
        """
        count = await self.services.admin.aclear(kind, dry_run=dry_run)
        what = "all kinds" if kind is None else f"kind {kind}"
        message = f"{count} entries of {what} {'would be deleted' if dry_run else 'deleted'}"
        return ClearResponse(success=True, message=message, count=count, dry_run=dry_run)

    async def new_session(self, data: dict[str, Any]) -> Session:
        """Keep the data of a new session.

        Raises:
            SessionsUnavailableError: the cache cannot keep it.
        """
        return await self.keep_session(new_session_id(), data)

    async def keep_session(self, session_id: str, data: dict[str, Any]) -> Session:
        """Keep the data of a session.

        Raises:
            SessionsUnavailableError: the cache cannot keep it.
        """
        if not await self.services.cache.cache_session(session_id, data):
            raise SessionsUnavailableError("the cache cannot keep sessions now: try again")
        return self._session(session_id, data)

    async def session(self, session_id: str) -> Session | None:
        """A session; `None` where there is none.

        Raises:
            SessionsUnavailableError: the cache cannot tell.
        """
        try:
            data = await self.services.cache.find_session(session_id)
        except StoreError:
            raise _cannot_find() from None
        if isinstance(data, dict):
            return self._session(session_id, data)
        if not self.services.settings.cache.is_enabled(Kind.SESSION):
            raise _cannot_find()
        return None

    async def known_session(self, session_id: str | None) -> str | None:
        """The id again where there is such a session; `None` where there is none or the cache cannot tell."""
        if session_id is None:
            return None
        with contextlib.suppress(SessionsUnavailableError):
            return session_id if await self.session(session_id) else None
        return None

    async def forget_session(self, session_id: str) -> None:
        """Forget a session, if there is one.

        Raises:
            SessionsUnavailableError: the cache cannot do it.
        """
        if not await self.services.cache.delete_session(session_id):
            raise SessionsUnavailableError("the cache cannot forget sessions now: try again")

    def _session(self, session_id: str, data: dict[str, Any]) -> Session:
        return Session(session_id=session_id, data=data, ttl_s=self.services.settings.cache.ttl_s(Kind.SESSION))


def _cannot_find() -> SessionsUnavailableError:
    return SessionsUnavailableError("the cache cannot find sessions now: try again")


def _message(stats: CacheStats) -> str:
    if stats.status is Status.DEGRADED:
        return "the cache's server could not be asked"
    n_entries = sum(stats.key_counts.values())
    return f"{n_entries} entries" if stats.is_exact else f"about {n_entries} entries, an estimate"
