"""Which status an error becomes: one table, for every error of ours."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from agent.api.errors import TABLE, problem_of, row_of
from agent.errors import AgentError, DemoError, OutputFileError
from cache.errors import (
    CacheError,
    ConfigurationError,
    DimensionMismatchError,
    EntryVersionError,
    InvalidKeyError,
    InvalidTTLError,
    StoreConnectionError,
    StoreError,
    StoreResponseError,
    StoreTimeoutError,
)
from chains.errors import ChainError, DocumentError, PromptInputError, UnsupportedDocumentError

if TYPE_CHECKING:
    from collections.abc import Iterator

# Nobody can send a request that leads to them: they are mistakes of ours or of whoever runs the service.
OUR_FAULT = {CacheError, ChainError, AgentError, DemoError, OutputFileError, ConfigurationError, EntryVersionError,
             DimensionMismatchError}  # fmt: skip


def below(root: type[Exception]) -> Iterator[type[Exception]]:
    """A class and all classes below it."""
    yield root
    for child in root.__subclasses__():
        yield from below(child)


def entry_error() -> type[Exception]:
    [found] = [kind for kind in below(CacheError) if kind.__name__ == "EntryError"]
    return found


@pytest.mark.parametrize("kind", sorted({*below(CacheError), *below(ChainError), *below(AgentError)}, key=repr))
def test_each_error_of_ours_has_a_row(kind: type[Exception]) -> None:
    """Every error in the three trees has a status of its own, or is known to be nobody's request."""
    is_told = row_of(kind("message")).status != 500
    assert is_told != (kind in {*OUR_FAULT, entry_error()})


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StoreConnectionError("x"), 503),
        (StoreTimeoutError("x"), 504),
        (StoreResponseError("x"), 502),
        (InvalidKeyError("x"), 422),
        (InvalidTTLError("x"), 422),
        (PromptInputError("x"), 422),
        (DocumentError("x"), 422),
        (UnsupportedDocumentError("x"), 415),
        (RuntimeError("x"), 500),
    ],
)
def test_the_documented_statuses(error: Exception, status: int) -> None:
    """The statuses that users rely on are those of the documentation."""
    response = problem_of(error)
    assert response.status_code == status
    assert ("retry-after" in response.headers) == (status == 503)


@pytest.mark.parametrize("kind", [StoreError, *StoreError.__subclasses__(), RuntimeError])
def test_what_names_a_host_is_not_told(kind: type[Exception]) -> None:
    """The message of an error of the store, or of an unknown one, stays on the server."""
    assert b"redis.internal" not in bytes(problem_of(kind("redis.internal:6379 refused")).body)


def test_a_clients_own_mistake_is_told() -> None:
    """The message of an error that a request has caused is its detail."""
    document: dict[str, Any] = json.loads(bytes(problem_of(PromptInputError("expected a text")).body))
    assert (document["detail"], document["status"], document["code"]) == ("expected a text", 422, "invalid_input")


def test_the_rows_for_a_providers_client_fit_its_classes() -> None:
    """Errors of the OpenAI client, which is found by name, have the statuses that are meant for them."""
    import openai  # noqa: PLC0415  heavy, and needed here alone

    request: Any = None
    assert row_of(openai.APITimeoutError(request)).status == 504
    assert row_of(openai.APIConnectionError(request=request)).status == 502
    assert row_of(openai.OpenAIError()).status == 502


def test_the_table_says_something_of_everything() -> None:
    """Each status is one that HTTP knows as an error, and codes are words."""
    assert all(400 <= row.status < 600 and row.code.replace("_", "").isalpha() for row in TABLE.values())
