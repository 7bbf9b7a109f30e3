"""The routes under `/api/ai`, as a router that mounts into any FastAPI application."""

# Annotations are read when a route is added, so they stand as they are and not as strings.
import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any

import numpy as np
import orjson
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from fastapi.security import HTTPAuthorizationCredentials
from starlette.exceptions import HTTPException

from agent.ai_service import Found
from agent.api.backend import Backend
from agent.api.errors import documented
from agent.api.guard import BACKEND, guarded
from agent.api.limits import Limits
from agent.api.optimizing import EVENT_STREAM, stream_optimization
from agent.api.requests import JSON, body_schema, check_type, read_pair, read_ranking
from agent.api.schemas import (
    SESSION_ID,
    ClearResponse,
    EmbeddingsRequest,
    EmbeddingsResponse,
    ForgetRequest,
    ForgetResponse,
    HealthResponse,
    NewSession,
    PairBody,
    RankBody,
    RankResponse,
    Session,
    SessionData,
    StatsResponse,
)
from agent.api.security import bearer, check_token
from agent.wiring import Services
from cache.codecs.vectors import FloatArray
from cache.keys import Kind
from chains.schemas import MatchResult, OptimizationResult

PREFIX = "/api/ai"
X_CACHE = "X-Cache"


# Dependencies are asynchronous: else each would wait for one of the threads of the host's own blocking routes.
async def backend_of(request: Request) -> Backend:
    """The backend that the request's route belongs to."""
    backend: Backend = request.scope[BACKEND]
    return backend


Has = Annotated[Backend, Depends(backend_of)]
SessionPath = Annotated[str, Path(pattern=SESSION_ID, description="As it was given when the session was made.")]
DryRun = Annotated[bool, Query(description="Only count what would be deleted.")]


async def require_admin(backend: Has, shown: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> None:
    """Refuse whoever does not show the admin token."""
    check_token(shown, backend.services.settings.cache.admin_token)


async def require_json(request: Request) -> None:
    """Refuse what is not said to be JSON: FastAPI would leave it unread and miss an object."""
    check_type(request, JSON)


async def only_count(request: Request, *, dry_run: DryRun = False) -> bool:
    """Say whether nothing is to be deleted; to ask for that in other words must not mean the opposite."""
    names = [name for name, _ in request.query_params.multi_items()]
    if names in ([], ["dry_run"]):
        return dry_run
    wrong = next((name for name in names if name != "dry_run"), "dry_run")
    raise RequestValidationError([{"loc": ("query", wrong), "msg": "expected nothing but dry_run, and that once"}])


OnlyCount = Annotated[bool, Depends(only_count)]


async def embeddings(body: EmbeddingsRequest, backend: Has) -> Response:
    """Embed texts; only those that the cache does not hold are sent to the model."""
    answer = await backend.ai.embed(
        body.texts, await backend.known_session(body.session_id), candidate=body.candidate_id, job=body.job_id
    )
    written = await asyncio.to_thread(_written, backend.services.embeddings.model, answer.result)
    return Response(written, media_type="application/json", headers={X_CACHE: answer.found})


async def match(request: Request, response: Response, backend: Has) -> MatchResult:
    """Say how well a resume fits a job ad, and why."""
    pair = await read_pair(request, backend.ai)
    answer = await backend.ai.match(
        pair.resume_text, pair.job_description, pair.user_id, candidate=pair.candidate_id, job=pair.job_id
    )
    response.headers[X_CACHE] = answer.found
    return answer.result


async def rank(request: Request, response: Response, backend: Has) -> RankResponse:
    """Rank job ads for a resume, the best first."""
    given = await read_ranking(request, backend.ai)
    answer = await backend.ai.rank(given.resume, given.jobs, given.top_k, candidate=given.candidate_id)
    response.headers[X_CACHE] = answer.found
    names = {str(job.path): name for job, name in zip(given.jobs, given.ids, strict=True)}
    ranking = [each.model_copy(update={"source": names[str(each.source)]}) for each in answer.result]
    return RankResponse(jobs=len(given.jobs), ranking=ranking)


async def optimize(request: Request, response: Response, backend: Has) -> OptimizationResult:
    """Propose edits that make a resume say better what it already shows; what it does not support is refused."""
    pair = await read_pair(request, backend.ai)
    answer = await backend.ai.optimize(
        pair.resume_text, pair.job_description, pair.user_id, candidate=pair.candidate_id, job=pair.job_id
    )
    response.headers[X_CACHE] = answer.found
    return answer.result


async def optimize_stream(request: Request, backend: Has) -> Response:
    """Edit a resume for a job and say how it goes: `started`, `step`, `edit_accepted`, `edit_refused` and `result`.

    The last event is `result`, or `error` with a problem document.
    """
    return await stream_optimization(request, backend)


async def create_session(request: Request, response: Response, backend: Has, body: NewSession) -> Session:
    """Make a session; its id cannot be guessed, and whoever has it has the session."""
    session = await backend.new_session(body.data)
    response.headers["Location"] = f"{request.url.path}/{session.session_id}"
    return session


async def get_session(session_id: SessionPath, backend: Has) -> Session:
    """Give the data of a session."""
    return await _existing(session_id, backend)


async def replace_session(session_id: SessionPath, body: SessionData, backend: Has) -> Session:
    """Replace the data of a session; its time to live begins anew."""
    await _existing(session_id, backend)
    return await backend.keep_session(session_id, body.data)


async def delete_session(session_id: SessionPath, backend: Has) -> None:
    """Forget a session, if there is one."""
    await backend.forget_session(session_id)


async def cache_stats(backend: Has) -> StatsResponse:
    """Say what is in the cache; with too many keys to count, an estimate that says so."""
    return await backend.stats()


async def cache_health(backend: Has) -> HealthResponse:
    """Say how the cache is; `degraded` and `off` are no errors, as requests are served without it."""
    return await backend.health()


async def clear_prefix(prefix: Kind, backend: Has, *, dry_run: OnlyCount) -> ClearResponse:
    """Delete the entries of one kind in this namespace, and nothing else on the server."""
    return await backend.clear(prefix, dry_run=dry_run)


async def clear_all(backend: Has, *, dry_run: OnlyCount) -> ClearResponse:
    """Delete all entries of this namespace, and nothing else on the server."""
    return await backend.clear(None, dry_run=dry_run)


async def forget(body: ForgetRequest, backend: Has, *, dry_run: OnlyCount) -> ForgetResponse:
    """Delete all that was made about a candidate or a job in this namespace; for two hours nothing more is kept."""
    return await backend.forget(body, dry_run=dry_run)


def _written(model: str, vectors: FloatArray) -> bytes:
    """The JSON of an `EmbeddingsResponse`: the shortest decimals that give each float32 back."""
    content = {"model": model, "dimensions": vectors.shape[1], "embeddings": np.ascontiguousarray(vectors)}
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


async def _existing(session_id: str, backend: Backend) -> Session:
    session = await backend.session(session_id)
    if session is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "there is no such session: it has ended, or there never was one")
    return session


def create_router(
    services: Services | Callable[[], Services], *, prefix: str = PREFIX, limits: Limits | None = None
) -> APIRouter:
    """A router over services, to be included in any FastAPI application.

    It needs nothing else of that application: bodies are bounded and errors are problem documents in the routes
    themselves. Clearing is refused unless the services' settings hold an admin token.

    Args:
        services: the application's services, or what gives them once they are made; whoever makes them closes them.
        prefix: the path under which the routes stand.
        limits: bounds of requests.
    """
    backend = Backend(services if callable(services) else lambda: services)
    router = APIRouter(prefix=prefix, route_class=guarded(backend, limits or Limits()))
    _add_work(router)
    _add_sessions(router)
    _add_cache(router)
    return router


_X_CACHE = {
    "description": f"What the cache did: {', '.join(Found)}.",
    "schema": {"type": "string", "enum": [str(found) for found in Found]},
}
_ANSWERED: dict[int | str, dict[str, Any]] = {
    200: {"description": "The answer; from the cache where it was there.", "headers": {X_CACHE: _X_CACHE}}
}
_STREAMED: dict[int | str, dict[str, Any]] = {
    200: {"description": "Server-sent events.", "content": {EVENT_STREAM: {"schema": {"type": "string"}}}}
}
_JSON = [Depends(require_json)]
_WORK_PROBLEMS = documented(400, 408, 413, 415, 422, 500, 502, 503, 504)


def _add_work(router: APIRouter) -> None:
    tags: list[Any] = ["matching"]
    responses = _ANSWERED | _WORK_PROBLEMS
    router.add_api_route(
        "/embeddings",
        embeddings,
        methods=["POST"],
        dependencies=_JSON,
        response_model=EmbeddingsResponse,
        responses=responses,
        tags=tags,
    )
    pair, ranking = body_schema(PairBody, resume=False, job=False), body_schema(RankBody, resume=False, jobs=True)
    for path, endpoint, body in (("/match", match, pair), ("/rank", rank, ranking), ("/optimize", optimize, pair)):
        router.add_api_route(
            path, endpoint, methods=["POST"], responses=responses, tags=tags, openapi_extra={"requestBody": body}
        )
    router.add_api_route(
        "/optimize/stream",
        optimize_stream,
        methods=["POST"],
        response_class=StreamingResponse,
        responses=_STREAMED | _WORK_PROBLEMS,
        tags=tags,
        openapi_extra={"requestBody": pair},
    )


def _add_sessions(router: APIRouter) -> None:
    tags: list[Any] = ["sessions"]
    known, made = documented(404, 422, 500, 503), documented(400, 408, 413, 415, 422, 500, 503)
    one = "/sessions/{session_id}"
    router.add_api_route(
        "/sessions",
        create_session,
        methods=["POST"],
        dependencies=_JSON,
        status_code=201,
        responses=made,
        tags=tags,
    )
    router.add_api_route(one, get_session, methods=["GET"], responses=known, tags=tags)
    router.add_api_route(one, replace_session, methods=["PUT"], dependencies=_JSON, responses=made | known, tags=tags)
    router.add_api_route(
        one, delete_session, methods=["DELETE"], status_code=204, responses=documented(422, 500, 503), tags=tags
    )


def _add_cache(router: APIRouter) -> None:
    tags: list[Any] = ["cache"]
    refused = documented(401, 403, 422, 500, 502, 503, 504)
    admin = [Depends(require_admin)]
    router.add_api_route("/cache/stats", cache_stats, methods=["GET"], responses=documented(500, 503), tags=tags)
    router.add_api_route("/cache/health", cache_health, methods=["GET"], responses=documented(500), tags=tags)
    router.add_api_route(
        "/cache/clear/{prefix}", clear_prefix, methods=["DELETE"], dependencies=admin, responses=refused, tags=tags
    )
    router.add_api_route(
        "/cache/clear-all", clear_all, methods=["DELETE"], dependencies=admin, responses=refused, tags=tags
    )
    router.add_api_route(
        "/cache/forget",
        forget,
        methods=["POST"],
        dependencies=[*admin, *_JSON],
        responses=refused | documented(400, 408, 413, 415),
        tags=tags,
    )
