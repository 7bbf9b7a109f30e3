"""The description of the API is complete: what every route takes, gives, and answers when something is wrong."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from agent.api import create_app

if TYPE_CHECKING:
    from collections.abc import Iterator

METHODS = {
    ("get", "/healthz"),
    ("get", "/readyz"),
    ("post", "/api/ai/embeddings"),
    ("post", "/api/ai/match"),
    ("post", "/api/ai/rank"),
    ("post", "/api/ai/optimize"),
    ("post", "/api/ai/optimize/stream"),
    ("post", "/api/ai/sessions"),
    ("get", "/api/ai/sessions/{session_id}"),
    ("put", "/api/ai/sessions/{session_id}"),
    ("delete", "/api/ai/sessions/{session_id}"),
    ("get", "/api/ai/cache/stats"),
    ("get", "/api/ai/cache/health"),
    ("delete", "/api/ai/cache/clear/{prefix}"),
    ("delete", "/api/ai/cache/clear-all"),
    ("post", "/api/ai/cache/forget"),
}
PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    """The description, made without starting anything."""
    found: dict[str, Any] = json.loads(json.dumps(create_app().openapi()))
    return found


@pytest.fixture(scope="module")
def operations(described: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Each operation by its method and path."""
    paths = described["paths"].items()
    return {(method, path): operation for path, item in paths for method, operation in item.items()}


def references(node: Any) -> Iterator[str]:
    """All references in a document."""
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    if isinstance(node, dict) and isinstance(node.get("$ref"), str):
        yield node["$ref"]
    for child in children:
        yield from references(child)


def test_every_operation_is_described(operations: dict[tuple[str, str], dict[str, Any]]) -> None:
    """There are the documented operations and no others, each with a sentence, a tag and an id of its own."""
    assert operations.keys() == METHODS
    assert all(operation["description"].endswith(".") and operation["tags"] for operation in operations.values())
    assert len({operation["operationId"] for operation in operations.values()}) == len(METHODS)


def test_every_answer_is_described(operations: dict[tuple[str, str], dict[str, Any]]) -> None:
    """Each operation says what it answers when all is well, with a schema, and what when something is wrong."""
    for name, operation in operations.items():
        answers = operation["responses"]
        good = [answer for status, answer in answers.items() if status.startswith("2")]
        bad = {status: answer for status, answer in answers.items() if not status.startswith("2")}
        assert len(good) == 1, name
        assert "204" in answers or all(content["schema"] for content in good[0]["content"].values()), name
        assert "500" in bad, name
        for answer in bad.values():
            assert answer["description"], name
            schema = answer["content"][PROBLEM]["schema"]
            assert {"type", "title", "status", "detail", "code"} <= schema["properties"].keys(), name


@pytest.mark.parametrize("route", ["match", "rank", "optimize"])
def test_both_forms_of_a_request_are_described(operations: dict[tuple[str, str], dict[str, Any]], route: str) -> None:
    """What can be sent as JSON or as files is described in both forms, with limits and an example."""
    body = operations["post", f"/api/ai/{route}"]["requestBody"]
    given, form = (body["content"][kind]["schema"] for kind in ("application/json", "multipart/form-data"))
    assert given["properties"]["resume_text"]["maxLength"] == 50_000
    assert given["examples"]
    assert form["properties"]["resume"]["format"] == "binary"


def test_clearing_is_described_as_protected(
    described: dict[str, Any], operations: dict[tuple[str, str], dict[str, Any]]
) -> None:
    """The operations that delete entries, and no others, name the bearer token; kinds are listed."""
    schemes = described["components"]["securitySchemes"]
    assert [(scheme["type"], scheme["scheme"]) for scheme in schemes.values()] == [("http", "bearer")]
    protected = {path for (_, path), operation in operations.items() if "security" in operation}
    assert protected == {"/api/ai/cache/clear/{prefix}", "/api/ai/cache/clear-all", "/api/ai/cache/forget"}


def test_no_reference_leads_nowhere(described: dict[str, Any]) -> None:
    """Each reference names a schema that is there."""
    known = {f"#/components/schemas/{name}" for name in described["components"]["schemas"]}
    assert set(references(described)) <= known
    assert not any("HTTPValidationError" in name for name in known)
