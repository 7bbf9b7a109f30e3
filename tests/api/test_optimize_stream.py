"""`POST /api/ai/optimize/stream`: the agent's progress as server-sent events, over real HTTP."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from agent.api import create_app
from agent.settings import Settings
from agent.wiring import Services
from cache import CacheSettings
from tests.api.serving import problem
from tests.openai_server import CHAT, EMBEDDINGS, OpenAIServer, ToolCalls
from tests.traps.resumes import ENGINEER

if TYPE_CHECKING:
    import httpx

    from tests.api.conftest import Serve

PATH = "/api/ai/optimize/stream"
BODY = {"resume_text": ENGINEER, "job_description": "Backend engineer with Python, FastAPI and Kubernetes."}
LIST = "Python, FastAPI, PostgreSQL, Docker, Git"
FINE = {"original": LIST, "new": "FastAPI, Python, PostgreSQL, Docker, Git", "reason": "order", "evidence": LIST}
INVENTED = {**FINE, "new": f"{LIST}, Terraform"}


def events(client: httpx.Client, body: dict[str, Any]) -> list[tuple[str, Any]]:
    """The events of one run, each with its data."""
    with client.stream("POST", PATH, json=body) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in response.iter_lines() if line]
    kinds, data = lines[::2], lines[1::2]
    return [
        (kind.removeprefix("event: "), json.loads(text.removeprefix("data: ")))
        for kind, text in zip(kinds, data, strict=True)
    ]


def test_without_a_model_the_rules_edits_come(api: httpx.Client) -> None:
    """The first event says how many edits rules propose, and the last holds them, scored."""
    (first, started), *verdicts, (last, result) = events(api, BODY)
    assert (first, last) == ("started", "result")
    assert started["edits_by_rule"] == len(verdicts) > 0
    accepted = [data["edit"] for kind, data in verdicts if kind == "edit_accepted"]
    assert accepted == result["edits"]
    assert (result["optimized_by"], len(result["scores"])) == ("rules", len(result["edits"]) + 1)


def test_a_model_is_followed_step_by_step(serve: Serve) -> None:
    """Steps and verdicts come as they are made; the second time they come from the cache alone."""
    with OpenAIServer() as provider:
        provider.script_chat(ToolCalls((("apply_edit", FINE), ("apply_edit", INVENTED))), "done")
        settings = Settings(cache=CacheSettings(), openai_base_url=provider.base_url)
        with Services(settings, url="memory://") as services:
            client = serve(create_app(services))
            first = events(client, BODY)
            calls = provider.n_requests(CHAT), provider.n_requests(EMBEDDINGS)
            second = events(client, BODY)
        assert (provider.n_requests(CHAT), provider.n_requests(EMBEDDINGS)) == calls
    kinds = [kind for kind, _ in first]
    assert kinds[:2] == ["started", "step"]
    assert sorted(kinds[2:4]) == ["edit_accepted", "edit_refused"]
    assert kinds[4:] == ["step", "result"]
    assert [edit["new"] for edit in first[-1][1]["edits"]] == [FINE["new"]]
    assert second[-1] == first[-1]


def test_what_is_wrong_with_a_request_is_a_problem(api: httpx.Client) -> None:
    """A blank text is told by a status, before any event."""
    response = api.post(PATH, json={**BODY, "resume_text": " "})
    assert response.status_code == 422
    problem(response)
