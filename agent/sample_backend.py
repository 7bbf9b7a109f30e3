"""A backend of somebody else, as small as it gets: it mounts the router under its own path and calls the chains itself.

    REDIS_URL=redis://localhost:6379 uvicorn agent.sample_backend:create_backend --factory

Its entries stand in a namespace of their own, so it may share a server with others: neither sees, counts or clears
what the other has.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Annotated

from fastapi import FastAPI
from pydantic import BaseModel, Field

from agent.api import create_router
from agent.settings import Settings
from agent.wiring import Services
from cache import CacheSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NAMESPACE = "sample-backend"
_AT_ONCE = 2

Words = Annotated[str, Field(min_length=1, max_length=20_000, pattern=r"\S")]


class Shortlist(BaseModel):
    """One job ad, and the resumes of those who want the job, by name."""

    job: Words
    resumes: Annotated[dict[str, Words], Field(min_length=1, max_length=20)]


class Place(BaseModel):
    """How one of them does."""

    name: str
    score: float
    missing: tuple[str, ...]


def create_backend(services: Services | None = None) -> FastAPI:
    """The backend: `/desk/shortlist` of its own, and the whole router under `/desk/ai`.

    Args:
        services: of the caller, who closes them; without them they are made from the environment.

    Raises:
        ConfigurationError: a variable is wrong.
    """
    ours = services or Services(Settings(cache=CacheSettings(namespace=NAMESPACE)))

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with ours if services is None else contextlib.nullcontext():
            yield

    app = FastAPI(title="Recruiting desk", lifespan=lifespan)
    app.include_router(create_router(ours, prefix="/desk/ai"))

    @app.post("/desk/shortlist")
    async def shortlist(asked: Shortlist) -> list[Place]:
        """Order those who want a job, the best first; each result is kept for its pair of texts."""
        requests = [{"resume": resume, "job": asked.job} for resume in asked.resumes.values()]
        results = await asyncio.to_thread(ours.match_chain.batch, requests, {"max_concurrency": _AT_ONCE})
        places = [
            Place(name=name, score=result.score, missing=result.skills_missing)
            for name, result in zip(asked.resumes, results, strict=True)
        ]
        return sorted(places, key=lambda place: (-place.score, place.name))

    return app
