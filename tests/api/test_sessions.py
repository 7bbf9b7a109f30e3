"""Sessions over HTTP: made, read, replaced, forgotten; refused where the cache cannot keep them."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from agent.api import create_app
from tests.api.conftest import make_services
from tests.api.serving import problem

if TYPE_CHECKING:
    import httpx

    from tests.api.conftest import Serve
    from tests.servers import ValkeyServer

SESSIONS = "/api/ai/sessions"
UNKNOWN = f"{SESSIONS}/{'A' * 43}"


def test_a_session_lives_through_all_verbs(api: httpx.Client) -> None:
    """A session is made under an id of the server's, read, replaced and forgotten; then it is unknown."""
    made = api.post(SESSIONS, json={"data": {"step": 1, "text": "ü"}})
    assert made.status_code == 201
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", made.json()["session_id"])
    where = made.headers["location"]
    assert where == f"{SESSIONS}/{made.json()['session_id']}"
    assert api.get(where).json() == made.json()
    assert made.json()["ttl_s"] == 3600
    assert api.put(where, json={"data": {"step": 2}}).json()["data"] == {"step": 2}
    assert api.get(where).json()["data"] == {"step": 2}
    assert api.delete(where).status_code == 204
    assert api.get(where).status_code == 404
    assert api.delete(where).status_code == 204


def test_ids_do_not_repeat(api: httpx.Client) -> None:
    """Each session has an id of its own, and empty data where none are given."""
    made = [api.post(SESSIONS, json={}).json() for _ in range(20)]
    assert len({each["session_id"] for each in made}) == 20
    assert made[0]["data"] == {}


def test_an_unknown_session_is_not_found(api: httpx.Client) -> None:
    """Nobody can read or fill a session that the server has not made."""
    for answer in (api.get(UNKNOWN), api.put(UNKNOWN, json={"data": {}})):
        assert answer.status_code == 404
        assert problem(answer)["code"] == "not_found"
    assert api.get(UNKNOWN).status_code == 404


@pytest.mark.parametrize("name", ["short", "A" * 44, "A" * 42 + "*", "%0A" * 43])
def test_an_id_of_another_form_is_refused(api: httpx.Client, name: str) -> None:
    """What cannot be an id is a 422 before the cache is asked."""
    answer = api.get(f"{SESSIONS}/{name}")
    assert answer.status_code == 422
    assert problem(answer)["errors"][0]["where"] == "path.session_id"


@pytest.mark.parametrize(
    "content",
    [
        b'{"data": {"x": "' + b"y" * 65_536 + b'"}}',
        b'{"data": [1]}',
        b'{"data": {"x": NaN}}',
        b'{"data": {"x": 123456789012345678901234567890}}',
        b'{"data": {"x": "\\ud800"}}',
        b'{"data": ' + b'{"x":' * 3000 + b"1" + b"}" * 3001,
    ],
    ids=["too large", "no object", "NaN", "too many digits", "half a character", "too deep"],
)
def test_data_that_cannot_be_kept_is_refused(api: httpx.Client, content: bytes) -> None:
    """Data are bounded, and what would not come back as it was is refused."""
    answer = api.post(SESSIONS, content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code in {400, 422}
    problem(answer)


def test_embedding_notes_the_session(api: httpx.Client) -> None:
    """A session that embeds is noted as having done so, beside its own data, whatever those are."""
    made = api.post(SESSIONS, json={"data": {"mine": 1, "texts_embedded": "not a number"}}).json()
    request = {"texts": ["a", "b"], "session_id": made["session_id"]}
    for _ in range(2):
        assert api.post("/api/ai/embeddings", json=request).status_code == 200
    data = api.get(f"{SESSIONS}/{made['session_id']}").json()["data"]
    assert (data["mine"], data["texts_embedded"]) == (1, 4)


def test_of_notes_at_once_none_is_lost(api: httpx.Client) -> None:
    """Twenty requests at the same time that embed for one session are all noted, and its own data stay."""
    made = api.post(SESSIONS, json={"data": {"mine": 1}}).json()

    def embed(n: int) -> int:
        request = {"texts": [f"text {n}"], "session_id": made["session_id"]}
        return api.post("/api/ai/embeddings", json=request).status_code

    with ThreadPoolExecutor(20) as threads:
        assert set(threads.map(embed, range(20))) == {200}
    data = api.get(f"{SESSIONS}/{made['session_id']}").json()["data"]
    assert (data["mine"], data["texts_embedded"]) == (1, 20)


def test_embedding_makes_no_session(api: httpx.Client) -> None:
    """An id that the server has not given is served, and is no session afterwards."""
    answer = api.post("/api/ai/embeddings", json={"texts": ["a"], "session_id": "B" * 43})
    assert answer.status_code == 200
    assert api.get(f"{SESSIONS}/{'B' * 43}").status_code == 404


def test_what_cannot_be_read_is_neither_replaced_nor_called_unknown(
    own_valkey: ValkeyServer, namespace: str, serve: Serve
) -> None:
    """Where a lookup fails and a write would not, a session is not told to be gone, and its data stay as they were."""
    with make_services(own_valkey.url, namespace=namespace) as services:
        api = serve(create_app(services))
        where = api.post(SESSIONS, json={"data": {"mine": 1}}).headers["location"]
        request = {"texts": ["a"], "session_id": where.rpartition("/")[2]}
        own_valkey.command("ACL", "SETUSER", "default", "-mget")
        assert api.post("/api/ai/embeddings", json=request).status_code == 200
        refused = [api.get(where), api.put(where, json={"data": {"mine": 2}})]
        own_valkey.command("ACL", "SETUSER", "default", "+mget")
        assert [(answer.status_code, problem(answer)["code"]) for answer in refused] == [(503, "no_sessions")] * 2
        assert api.get(where).json()["data"] == {"mine": 1}


def test_no_key_shows_the_id(own_api: httpx.Client, valkey: ValkeyServer, namespace: str) -> None:
    """Whoever reads the server's keys cannot take over a session."""
    made = own_api.post(SESSIONS, json={"data": {"a": 1}}).json()
    [key] = valkey.command("KEYS", f"{namespace}:session:*")
    assert made["session_id"].encode() not in key


@pytest.mark.parametrize("off", [{"enabled": False}, {"session_enabled": False}])
def test_sessions_without_a_cache_are_refused(serve: Serve, redis_url: str, off: dict[str, Any]) -> None:
    """With the cache or its sessions switched off nothing pretends to be kept, lost or unknown."""
    with make_services(redis_url, **off) as services:
        api = serve(create_app(services))
        for answer in (api.post(SESSIONS, json={}), api.get(UNKNOWN)):
            assert answer.status_code == 503
            assert problem(answer)["code"] == "no_sessions"
            assert answer.headers["retry-after"] == "1"
