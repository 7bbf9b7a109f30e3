"""Bounds of requests: how large, how slow, and how many at once."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.requests import Request

from agent.api.errors import RETRY_AFTER_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import Message

MULTIPART = "multipart/form-data"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of requests.

    Attributes:
        json_bytes: the most bytes of a body that is no upload.
        upload_bytes: the most bytes of an upload, all its files together.
        body_s: seconds within which a whole body must have come.
        at_once: how many requests that do work are taken at once; more are told to come back.
    """

    json_bytes: int = 2 * 2**20
    upload_bytes: int = 10 * 2**20
    body_s: float = 30.0
    at_once: int = 256

    def body_bytes(self, content_type: str) -> int:
        """The most bytes of a body of that type."""
        return self.upload_bytes if media_type(content_type) == MULTIPART else self.json_bytes


def media_type(content_type: str) -> str:
    """A content type without its parameters."""
    return content_type.partition(";")[0].strip().lower()


class Gate:
    """Lets so many in at once and turns the others away; nobody waits.

    Args:
        n_places: how many.
    """

    def __init__(self, n_places: int) -> None:
        self._n_free = n_places

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Be one of those inside.

        Raises:
            HTTPException: 503 with `Retry-After`: all places are taken.
        """
        if self._n_free == 0:
            headers = {"Retry-After": str(RETRY_AFTER_S)}
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, "too many requests at once: try again", headers)
        self._n_free -= 1
        try:
            yield
        finally:
            self._n_free += 1


class BoundedRequest(Request):
    """A request whose body ends with an error where it becomes too large or takes too long.

    What a client declares is checked before a byte is read, and what comes is counted: a declared length may be
    missing or wrong.

    Args:
        request: the request as it came.
        limits: the bounds.
    """

    def __init__(self, request: Request, limits: Limits) -> None:
        super().__init__(request.scope, self._receive_bounded)
        self._receive_any = request.receive
        self._limits = limits
        self._max_bytes = limits.body_bytes(self.headers.get("content-type", ""))
        self._n_bytes = 0
        self._ends_s = asyncio.get_running_loop().time() + limits.body_s
        declared = self.headers.get("content-length", "")
        if declared.isdecimal():
            self._check(int(declared))

    async def _receive_bounded(self) -> Message:
        try:
            async with asyncio.timeout_at(self._ends_s):
                message = await self._receive_any()
        except TimeoutError:
            detail = f"expected the whole body within {self._limits.body_s:g} seconds"
            raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, detail, {"Connection": "close"}) from None
        self._n_bytes += len(message.get("body", b""))
        self._check(self._n_bytes)
        return message

    def _check(self, n_bytes: int) -> None:
        if n_bytes > self._max_bytes:
            detail = f"expected a body of at most {self._max_bytes:,} bytes, got at least {n_bytes:,}"
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, {"Connection": "close"})
