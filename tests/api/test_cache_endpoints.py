"""The documented endpoints of the cache: stats, health, and clearing with the admin token."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from starlette.exceptions import HTTPException
from typing_extensions import override

from agent.api import backend, create_app
from cache import MemoryStore
from cache.admin import Admin
from cache.keys import CACHED_KINDS, Kind
from tests.api.conftest import make_services
from tests.api.serving import ADMIN, PATIENCE_S, TOKEN, problem

if TYPE_CHECKING:
    import httpx

    from agent.wiring import Services
    from tests.api.conftest import Serve
    from tests.servers import ValkeyServer

CACHE = "/api/ai/cache"
CLEAR, CLEAR_ALL = f"{CACHE}/clear", f"{CACHE}/clear-all"
HASH = "0" * 32
TTLS = {
    "embedding": 604800,
    "openai_response": 21600,
    "job_match": 3600,
    "optimization": 3600,
    "session": 3600,
    "health": 10,
    "tool_result": 3600,
    "node_result": 3600,
    "corpus": 604800,
}


def fill(api: httpx.Client) -> None:
    """Three embeddings (two of them of the pair), one match, one optimisation, two sessions."""
    pair = {"resume_text": "Python and Redis", "job_description": "We need Python"}
    assert api.post("/api/ai/embeddings", json={"texts": ["text"]}).status_code == 200
    assert api.post("/api/ai/match", json=pair).status_code == 200
    assert api.post("/api/ai/optimize", json=pair).status_code == 200
    for _ in range(2):
        assert api.post("/api/ai/sessions", json={}).status_code == 201


FILLED = dict.fromkeys(TTLS, 0) | {"embedding": 3, "job_match": 1, "optimization": 1, "session": 2}


def counts(api: httpx.Client) -> dict[str, int]:
    found: dict[str, int] = api.get(f"{CACHE}/stats").json()["cache_stats"]["key_counts"]
    return found


def test_stats_have_the_documented_shape(own_api: httpx.Client) -> None:
    """Stats say how the server is and count the entries of this namespace by the long names of their kinds."""
    fill(own_api)
    answer = own_api.get(f"{CACHE}/stats")
    assert answer.status_code == 200
    body = answer.json()
    assert body.keys() == {"success", "message", "cache_stats"}
    assert body["success"] is True
    stats = body["cache_stats"]
    assert stats["status"] == "healthy"
    assert stats["redis_version"].split(".")[0].isdecimal()
    assert stats["connected_clients"] >= 1
    assert stats["used_memory_human"][-1] in "BKMG"
    assert stats["key_counts"] == FILLED
    assert stats["is_exact"] is True
    assert stats["cache_ttl_settings"] == TTLS


def test_stats_add_up_what_processes_have_counted(clean_redis: str, serve: Serve) -> None:
    """What one process has counted and written is part of what another one answers."""
    with make_services(clean_redis) as gone:
        fill(serve(create_app(gone)))
    with make_services(clean_redis) as services:
        found = serve(create_app(services)).get(f"{CACHE}/stats").json()["cache_stats"]["usage"]
    assert (found["n_processes"], found["stored"]) == (1, 7)
    assert 0 < found["hit_ratio"] < 1


def test_stats_of_too_many_keys_are_an_estimate_that_says_so(
    services: Services, serve: Serve, valkey: ValkeyServer, namespace: str
) -> None:
    """Beyond the bound the counts are those of the keys that were seen, in proportion, and no longer exact."""
    valkey.command("FLUSHALL")
    keys = [f"{namespace}:session:{n:032x}" for n in range(3000)] + [f"foreign:{n}" for n in range(3000)]
    valkey.command("MSET", *(part for key in keys for part in (key, b"RCE1")))
    services.__dict__["admin"] = Admin(services.admin._store, services.settings.cache, max_counted_keys=1000)
    body = serve(create_app(services)).get(f"{CACHE}/stats").json()
    assert body["cache_stats"]["is_exact"] is False
    assert body["message"].startswith("about")
    assert 2000 < body["cache_stats"]["key_counts"]["session"] < 4000
    valkey.command("FLUSHALL")


class SlowStore(MemoryStore):
    """A store that answers a ping, and a question about itself only when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Semaphore(0)
        self.let_go = asyncio.Event()

    @override
    async def ainfo(self) -> dict[str, str]:
        self.entered.release()
        await self.let_go.wait()
        return await super().ainfo()


@pytest.fixture
def slow(services: Services) -> SlowStore:
    """A slow store from which the services count."""
    store = SlowStore()
    services.__dict__["admin"] = Admin(store, services.settings.cache)
    return store


def test_stats_are_given_up_in_time(
    slow: SlowStore, services: Services, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that answers pings and no question makes stats degraded, with times to live, after a bounded time."""
    monkeypatch.setattr(backend, "STATS_S", 0.05)
    body = serve(create_app(services)).get(f"{CACHE}/stats").json()
    assert (body["success"], body["cache_stats"]["status"]) == (False, "degraded")
    assert body["cache_stats"]["cache_ttl_settings"] == TTLS


async def test_not_more_than_four_count_at_once(slow: SlowStore, services: Services) -> None:
    """Counting costs a server something, so whoever comes fifth is told to come back; then all goes on."""
    counting = backend.Backend(lambda: services)
    four = [asyncio.create_task(counting.stats()) for _ in range(4)]
    await asyncio.to_thread(lambda: [slow.entered.acquire(timeout=PATIENCE_S) for _ in four])
    with pytest.raises(HTTPException) as refused:
        await counting.stats()
    assert refused.value.status_code == 503
    slow.let_go.set()
    assert [answer.success for answer in await asyncio.gather(*four, counting.stats())] == [True] * 5


def test_a_cache_in_memory_is_counted_and_cleared_as_any(serve: Serve) -> None:
    """The operator's store is the same as that of requests also where entries live in the process."""
    with make_services("memory://") as services:
        api = serve(create_app(services))
        fill(api)
        assert counts(api) == FILLED
        assert api.delete(CLEAR_ALL, headers=ADMIN).json()["count"] == 7
        assert sum(counts(api).values()) == 0


def test_health_of_a_cache_that_works(own_api: httpx.Client) -> None:
    """A cache that answers is healthy, and asking it stores nothing."""
    answer = own_api.get(f"{CACHE}/health")
    assert answer.status_code == 200
    assert answer.json() == {"success": True, "message": "the cache is healthy", "status": "healthy", "reason": None}
    assert sum(counts(own_api).values()) == 0


def test_health_of_a_cache_that_is_off(serve: Serve, redis_url: str) -> None:
    """A cache that is switched off is off, which is no failure."""
    with make_services(redis_url, enabled=False) as services:
        api = serve(create_app(services))
        answer, stats = api.get(f"{CACHE}/health"), api.get(f"{CACHE}/stats")
        assert (answer.status_code, answer.json()["status"], answer.json()["success"]) == (200, "off", True)
        assert (stats.status_code, stats.json()["cache_stats"]["status"]) == (200, "off")
        assert api.get("/readyz").json() == {"status": "ready", "cache": "off"}


@pytest.mark.parametrize("kind", CACHED_KINDS)
def test_clearing_a_kind_leaves_the_others(own_api: httpx.Client, kind: Kind) -> None:
    """A dry run counts and deletes nothing; then the entries of that kind go, and no others."""
    fill(own_api)
    dry = own_api.delete(f"{CLEAR}/{kind}", params={"dry_run": True}, headers=ADMIN)
    assert dry.status_code == 200
    assert (dry.json()["count"], dry.json()["dry_run"]) == (FILLED[kind], True)
    assert "would be deleted" in dry.json()["message"]
    assert counts(own_api) == FILLED
    done = own_api.delete(f"{CLEAR}/{kind}", headers=ADMIN)
    assert (done.json()["success"], done.json()["count"], done.json()["dry_run"]) == (True, FILLED[kind], False)
    assert counts(own_api) == FILLED | {str(kind): 0}


@pytest.mark.parametrize("path", [f"{CLEAR}/session", CLEAR_ALL])
@pytest.mark.parametrize("query", ["dryrun=true", "dry-run=true", "dry_run=true&dry_run=false", "dry_run="])
def test_a_misspelt_dry_run_deletes_nothing(own_api: httpx.Client, path: str, query: str) -> None:
    """Who asks for a dry run in other words than the documented ones is refused, and not taken to mean it."""
    fill(own_api)
    answer = own_api.delete(f"{path}?{query}", headers=ADMIN)
    assert answer.status_code == 422
    assert problem(answer)["errors"][0]["where"].startswith("query.")
    assert counts(own_api) == FILLED


def test_clearing_all_touches_only_our_own(
    own_api: httpx.Client, serve: Serve, valkey: ValkeyServer, namespace: str
) -> None:
    """All entries of this namespace go; foreign keys and those of other namespaces stay as they were."""
    foreign = {
        f"{namespace}:session:{HASH}": b"somebody else's value under a key like ours",
        f"{namespace}:sessions:{HASH}": b"RCE1",
        f"{namespace}x:session:{HASH}": b"RCE1 of another namespace",
        f"session:{HASH}": b"RCE1 of no namespace",
        f"{namespace}:user:1": b"1",
    }
    valkey.command("MSET", *(part for item in foreign.items() for part in item))
    with make_services(valkey.url, namespace=f"{namespace}-b") as neighbours:
        neighbour = serve(create_app(neighbours))
        fill(own_api)
        fill(neighbour)
        dry = own_api.delete(CLEAR_ALL, params={"dry_run": True}, headers=ADMIN).json()
        done = own_api.delete(CLEAR_ALL, headers=ADMIN).json()
        assert (dry["count"], done["count"]) == (7, 7)
        assert counts(neighbour) == FILLED
        assert {key: valkey.command("GET", key) for key in foreign} == foreign
        assert own_api.delete(CLEAR_ALL, headers=ADMIN).json()["count"] == 0
    valkey.command("DEL", *foreign)


def test_without_a_namespace_those_of_others_stay(serve: Serve, valkey: ValkeyServer) -> None:
    """Clearing all entries without a namespace deletes none that have one."""
    valkey.command("FLUSHALL")
    with make_services(valkey.url) as plain, make_services(valkey.url, namespace="acme") as acme:
        api, other = serve(create_app(plain)), serve(create_app(acme))
        fill(api)
        fill(other)
        assert counts(api) == FILLED
        assert api.delete(CLEAR_ALL, headers=ADMIN).json()["count"] == 7
        assert counts(other) == FILLED
    valkey.command("FLUSHALL")


REFUSED: list[dict[str, Any]] = [
    {},
    {"Authorization": "Bearer wrong"},
    {"Authorization": f"Bearer {TOKEN}x"},
    {"Authorization": f"Bearer {TOKEN[:-1]}"},
    {"Authorization": f"Basic {TOKEN}"},
    {"Authorization": "Bearer"},
    {"Authorization": b"Bearer \xff\xfe"},
]


@pytest.mark.parametrize("path", [f"{CLEAR}/embedding", CLEAR_ALL, f"{CLEAR}/nothing"])
def test_who_does_not_show_the_token_clears_nothing(own_api: httpx.Client, path: str) -> None:
    """Without the token, or with another, nothing is deleted or counted, not even told whether there is such a kind."""
    fill(own_api)
    for headers in REFUSED:
        for params in ({}, {"dry_run": True}):
            answer = own_api.delete(path, params=params, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert problem(answer)["code"] == "unauthorized"
            assert TOKEN not in answer.text
    assert counts(own_api) == FILLED


def test_without_a_configured_token_nobody_clears(serve: Serve, redis_url: str, namespace: str) -> None:
    """Where no token is configured clearing is refused whatever is shown."""
    with make_services(redis_url, namespace=namespace, admin_token=None) as services:
        api = serve(create_app(services))
        fill(api)
        for headers in ({}, ADMIN, {"Authorization": "Bearer"}, {"Authorization": "Bearer None"}):
            answer = api.delete(CLEAR_ALL, headers=headers)
            assert answer.status_code == 403
            assert "CACHE_ADMIN_TOKEN" in problem(answer)["detail"]
        assert counts(api) == FILLED


def test_a_wrong_prefix_is_refused_and_the_right_ones_are_named(own_api: httpx.Client) -> None:
    """What is no long name of a kind deletes nothing; the answer names those that there are."""
    fill(own_api)
    for prefix in ("emb", "sessions", "*", "all", "EMBEDDING"):
        answer = own_api.delete(f"{CLEAR}/{prefix}", headers=ADMIN)
        assert answer.status_code == 422
        message = problem(answer)["errors"][0]["message"]
        assert all(kind in message for kind in Kind)
    assert counts(own_api) == FILLED


def test_the_token_is_shown_nowhere(own_api: httpx.Client, services: Services) -> None:
    """Neither the settings as text, nor the API's description, nor stats hold the token."""
    texts = [repr(services.settings), str(services.settings), own_api.get("/openapi.json").text]
    assert not any(TOKEN in text for text in [*texts, own_api.get(f"{CACHE}/stats").text])
