"""Which status an error is, in one table, and problem documents (RFC 9457)."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from agent.api.schemas import Problem
from agent.errors import AgentError, ApprovalError, SessionsUnavailableError
from cache.errors import (
    CacheError,
    DecodeError,
    InvalidKeyError,
    InvalidTTLError,
    InvalidVectorError,
    ProviderAnswerError,
    StoreConnectionError,
    StoreError,
    StoreTimeoutError,
)
from chains.errors import (
    ChainError,
    DocumentError,
    ModelError,
    OutputParseError,
    PromptInputError,
    UnsupportedDocumentError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastapi import FastAPI
    from starlette.requests import Request

_log = logging.getLogger("resumecache")
MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1


@dataclass(frozen=True, slots=True)
class Row:
    """What an error is over HTTP.

    Attributes:
        status: the status code.
        code: one word for programs.
        detail: what is said of it; `None` says the error's own message, which then holds nothing confidential.
    """

    status: int
    code: str
    detail: str | None = None


_UNREACHABLE = "the cache's server cannot be reached: try again"
_TOO_SLOW = "the cache's server did not answer in time: try again"
_FAILED = "the cache's server answered with an error: look at /cache/health and the server's log"
_NO_MODEL = "no model is configured or it cannot be loaded: set OPENAI_API_KEY or install resumecache[local]"
_BAD_ANSWER = "the model gave an answer that cannot be used"
_UNEXPECTED = Row(500, "unexpected", "something went wrong that nobody expected; the log says more")

# The most specific class wins.
TABLE: dict[type[Exception], Row] = {
    InvalidKeyError: Row(422, "invalid_key"),
    InvalidTTLError: Row(422, "invalid_ttl"),
    DecodeError: Row(422, "not_json"),
    PromptInputError: Row(422, "invalid_input"),
    DocumentError: Row(422, "unreadable_document"),
    UnsupportedDocumentError: Row(415, "unsupported_document"),
    StoreError: Row(502, "store_failed", _FAILED),
    StoreConnectionError: Row(503, "store_unreachable", _UNREACHABLE),
    StoreTimeoutError: Row(504, "store_timeout", _TOO_SLOW),
    ModelError: Row(503, "no_model", _NO_MODEL),
    ProviderAnswerError: Row(502, "bad_model_answer", _BAD_ANSWER),
    InvalidVectorError: Row(502, "bad_model_answer", _BAD_ANSWER),
    OutputParseError: Row(502, "bad_model_answer", _BAD_ANSWER),
    ApprovalError: Row(409, "wrong_approvals"),
    SessionsUnavailableError: Row(503, "no_sessions"),
    ClientDisconnect: Row(400, "client_gone", "the client went away before its request had come"),
    TimeoutError: Row(504, "timeout", "no answer in time: try again"),
    Exception: _UNEXPECTED,
}

# Errors of clients that may not be installed, by package and name.
PROVIDER_TABLE: dict[str, Row] = {
    "openai.OpenAIError": Row(502, "model_failed", "the model's provider answered with an error"),
    "openai.APIConnectionError": Row(502, "model_unreachable", "the model's provider cannot be reached"),
    "openai.APITimeoutError": Row(504, "model_timeout", "the model's provider did not answer in time: try again"),
    "openai.RateLimitError": Row(503, "model_busy", "the model's provider limits requests: try again later"),
}


def row_of(error: Exception) -> Row:
    """The row of the most specific class that has one."""
    for kind in type(error).__mro__:
        row = PROVIDER_TABLE.get(f"{kind.__module__.partition('.')[0]}.{kind.__name__}") or TABLE.get(kind)
        if row is not None:
            return row
    return _UNEXPECTED


def problem_of(error: Exception) -> JSONResponse:
    """The problem document of any error; what nobody expected is logged."""
    match error:
        case RequestValidationError():
            return _invalid(error.errors())
        case HTTPException():
            return _problem(error.status_code, _code(error.status_code), str(error.detail), headers=error.headers)
    row = row_of(error)
    if row is _UNEXPECTED:
        _log.error("a request failed", exc_info=error)
    return _problem(row.status, row.code, row.detail or str(error))


def add_handlers(app: FastAPI) -> None:
    """Have an application answer with problem documents also where no route of ours is reached."""
    for kind in (HTTPException, RequestValidationError, CacheError, ChainError, AgentError, Exception):
        app.add_exception_handler(kind, _handle)


async def _handle(_request: Request, error: Exception) -> JSONResponse:
    return problem_of(error)


def _invalid(items: Sequence[Any]) -> JSONResponse:
    """Say what is wrong and where, without repeating what came: it may be somebody's resume."""
    errors = [{"where": ".".join(map(str, item["loc"])), "message": str(item["msg"])} for item in items]
    detail = "; ".join(f"{each['where']}: {each['message']}" for each in errors[:3])
    return _problem(422, "invalid_request", detail, errors=errors)


def _problem(
    status: int,
    code: str,
    detail: str,
    *,
    errors: list[dict[str, str]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    problem = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, code=code, errors=errors or [])
    retry = {"Retry-After": str(RETRY_AFTER_S)} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
    return JSONResponse(problem.model_dump(), status, media_type=MEDIA_TYPE, headers={**retry, **(headers or {})})


def _code(status: int) -> str:
    return _CODES.get(status, f"http_{status}")


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Problem documents for the OpenAPI description of a route."""
    schema = Problem.model_json_schema()
    content = {MEDIA_TYPE: {"schema": schema}}
    return {status: {"description": _SAID[status], "content": content} for status in statuses}


_CODES = {  # not those of `http.HTTPStatus`, which change with Python's version
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "too_slow",
    413: "too_large",
    415: "unsupported_media_type",
    503: "busy",
}
_SAID = {
    400: "The request cannot be read.",
    401: "The admin token is missing or wrong.",
    403: "Clearing is switched off: no admin token is configured.",
    404: "There is no such session.",
    408: "The body came too slowly.",
    413: "The body, a file or its text is too large.",
    415: "The body or a file is of a type that is not read.",
    422: "What came is not what was expected, or a file cannot be read.",
    500: "Something went wrong that nobody expected.",
    502: "The model's provider or the cache's server answered with an error.",
    503: "Too many requests at once, no model, or no cache where one is needed; see `Retry-After`.",
    504: "The model's provider or the cache's server did not answer in time.",
}
