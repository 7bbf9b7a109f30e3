"""The application of our own: the router, probes, and connections that live as long as it does."""

# Annotations are read when a route is added, so they stand as they are and not as strings.
import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from importlib.metadata import version

from fastapi import FastAPI

from agent.api.backend import Backend
from agent.api.errors import add_handlers, documented
from agent.api.limits import Limits
from agent.api.routes import create_router
from agent.api.schemas import Liveness, Readiness
from agent.settings import Settings
from agent.wiring import Services
from chains.errors import ModelError

_log = logging.getLogger("resumecache")
_SUMMARY = "Match resumes to job ads, with every embedding and answer cached."


def create_app(services: Services | None = None, *, limits: Limits | None = None) -> FastAPI:
    """The whole application: `/api/ai/...`, `/healthz`, `/readyz`, and `/docs`.

    Args:
        services: of the caller, who closes them; without them they are made from the environment when the
            application starts, and closed when it ends.
        limits: bounds of requests.

    Raises:
        ConfigurationError: raised when the application starts: a variable is wrong.
    """
    running = _Running(services)
    app = FastAPI(title="resumecache", summary=_SUMMARY, version=version("resumecache"), lifespan=running.lifespan)
    add_handlers(app)
    app.include_router(create_router(running, limits=limits))
    _add_probes(app, Backend(running))
    return app


class _Running:
    """The services while the application runs.

    Args:
        given: services that somebody else closes.
    """

    def __init__(self, given: Services | None) -> None:
        self._given = given
        self._services = given

    def __call__(self) -> Services:
        """The services.

        Raises:
            RuntimeError: the application's lifespan has not begun.
        """
        if self._services is None:
            raise RuntimeError("expected a running application: start it with its lifespan")
        return self._services

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        """Make the services, unless they were given, and close what was made."""
        async with contextlib.AsyncExitStack() as stack:
            if self._given is None:
                self._services = await stack.enter_async_context(Services(Settings()))
            await _prepare(self())
            yield


async def _prepare(services: Services) -> None:
    """Load what the first request would wait for; nothing that fails here keeps the application from starting."""
    try:
        await asyncio.to_thread(lambda: (services.match_chain, services.optimize_chain))
    except ModelError as error:
        _log.warning("no request that needs a model can be served: %s", error)
    health = await services.ahealth()
    if health.reason is not None:
        _log.warning("the cache is %s (%s), going on without it: %s", health.status, health.reason, health.message)


def _add_probes(app: FastAPI, backend: Backend) -> None:
    async def healthz() -> Liveness:
        """Say that the process answers; nothing else is asked."""
        return Liveness()

    async def readyz() -> Readiness:
        """Say whether requests can be served; a degraded cache is no reason not to."""
        _ = backend.services.embeddings, backend.services.chat_model  # a `ModelError` is a 503
        return Readiness(cache=(await backend.health()).status)

    app.add_api_route("/healthz", healthz, tags=["probes"], responses=documented(500))
    app.add_api_route("/readyz", readyz, tags=["probes"], responses=documented(500, 503))
