"""The router in somebody else's application: its own path, its own namespace, and nothing of the host's is needed."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from fastapi import FastAPI

from agent.api import Limits, create_router
from agent.sample_backend import create_backend
from tests.api.conftest import make_services
from tests.api.serving import ADMIN, PATIENCE_S, problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from agent.wiring import Services
    from tests.api.conftest import Serve

N_HOST_THREADS = 40  # that Starlette runs blocking routes in
IMPATIENT_S = 10.0
PAIR = {"resume_text": "Python and Redis", "job_description": "We need Python and Kubernetes"}


@pytest.fixture
def host(redis_url: str, namespace: str, serve: Serve) -> Iterator[httpx.Client]:
    """A foreign application with a route of its own and the router of an application without an admin token."""
    app = FastAPI()

    @app.get("/hello")
    def hello() -> str:
        return "hello"

    with make_services(redis_url, namespace=namespace, admin_token=None) as services:
        app.include_router(create_router(services, limits=Limits(json_bytes=1000)), prefix="/v2")
        yield serve(app)


def test_a_mounted_router_works_under_the_hosts_path(host: httpx.Client) -> None:
    """All parts of the router answer under the prefixes of the host and its own; the host's routes stay."""
    assert host.get("/hello").json() == "hello"
    assert host.post("/v2/api/ai/match", json=PAIR).status_code == 200
    assert host.post("/v2/api/ai/match", json=PAIR).headers["x-cache"] == "hit"
    assert host.get("/v2/api/ai/cache/health").json()["status"] == "healthy"
    where = host.post("/v2/api/ai/sessions", json={}).headers["location"]
    assert host.get(where).status_code == 200
    assert host.get("/api/ai/cache/health").status_code == 404


def test_a_mounted_router_bounds_and_explains_by_itself(host: httpx.Client) -> None:
    """Bounds and problem documents come with the router, without handlers or middleware of the host."""
    large = host.post("/v2/api/ai/match", json=PAIR | {"resume_text": "x" * 1000})
    wrong = host.post("/v2/api/ai/embeddings", json={"texts": []})
    broken = host.post("/v2/api/ai/embeddings", content=b"{", headers={"Content-Type": "application/json"})
    assert [problem(answer)["status"] for answer in (large, wrong, broken)] == [413, 422, 422]


def test_a_busy_host_holds_up_no_route(redis_url: str, namespace: str, serve: Serve) -> None:
    """The router answers while the host's own blocking routes hold all threads that they share."""
    app, entered, may_end = FastAPI(), threading.Semaphore(0), threading.Event()

    @app.get("/block")
    def block() -> None:
        entered.release()
        may_end.wait(PATIENCE_S)

    with make_services(redis_url, namespace=namespace) as services, ThreadPoolExecutor(N_HOST_THREADS) as threads:
        app.include_router(create_router(services))
        host = serve(app)
        blocked = [threads.submit(host.get, "/block") for _ in range(N_HOST_THREADS)]
        try:
            assert all(entered.acquire(timeout=PATIENCE_S) for _ in blocked)
            assert host.get("/api/ai/cache/health", timeout=IMPATIENT_S).status_code == 200
            assert host.post("/api/ai/match", json=PAIR, timeout=IMPATIENT_S).status_code == 200
            assert host.delete("/api/ai/cache/clear-all", headers=ADMIN, timeout=IMPATIENT_S).status_code == 200
        finally:
            may_end.set()


def test_a_mounted_router_clears_nothing_without_a_token(host: httpx.Client) -> None:
    """Where the host configures no token, clearing is refused whatever is shown."""
    assert host.post("/v2/api/ai/match", json=PAIR).status_code == 200
    for headers in ({}, ADMIN):
        assert problem(host.delete("/v2/api/ai/cache/clear-all", headers=headers))["status"] == 403
    assert host.get("/v2/api/ai/cache/stats").json()["cache_stats"]["key_counts"]["job_match"] == 1


def test_two_routers_in_one_application_do_not_mix(redis_url: str, namespace: str, serve: Serve) -> None:
    """Two namespaces in one application see, count and clear only their own entries."""
    app = FastAPI()
    with ExitStack() as stack:
        for name in ("a", "b"):
            services = stack.enter_context(make_services(redis_url, namespace=f"{namespace}-{name}"))
            app.include_router(create_router(services, prefix=f"/{name}"))
        api = serve(app)
        found = [api.post(f"/{name}/match", json=PAIR).headers["x-cache"] for name in "aabb"]
        assert found == ["miss", "hit", "miss", "hit"]
        where = api.post("/a/sessions", json={}).headers["location"]
        assert api.get(where.replace("/a/", "/b/")).status_code == 404
        assert api.delete("/a/cache/clear-all", headers=ADMIN).json()["count"] > 0
        found = [api.post(f"/{name}/match", json=PAIR).headers["x-cache"] for name in "ab"]
        assert found == ["miss", "hit"]


def test_services_may_be_made_after_the_router(services: Services, serve: Serve) -> None:
    """A host that makes its services when it starts gives the router a function."""
    made: list[Services] = []
    app = FastAPI()
    app.include_router(create_router(lambda: made[0]))
    made.append(services)
    assert serve(app).post("/api/ai/match", json=PAIR).status_code == 200


def test_the_sample_backend_is_a_second_consumer(redis_url: str, namespace: str, serve: Serve) -> None:
    """The sample mounts the router beside a route of its own, and both find each other's entries, nobody else's."""
    resumes = {"ann": PAIR["resume_text"], "bob": "Kubernetes, Python and Redis"}
    with make_services(redis_url, namespace=namespace) as services:
        api = serve(create_backend(services))
        places = api.post("/desk/shortlist", json={"job": PAIR["job_description"], "resumes": resumes})
        assert places.status_code == 200
        assert {place["name"]: place["missing"] for place in places.json()} == {"ann": ["Kubernetes"], "bob": []}
        assert api.post("/desk/ai/match", json=PAIR).headers["x-cache"] == "hit"
        assert api.get("/desk/ai/cache/stats").json()["cache_stats"]["key_counts"]["job_match"] == 2


def test_the_sample_backend_makes_and_closes_what_it_needs(
    redis_url: str, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the environment alone the sample has a namespace of its own; clearing is refused there."""
    monkeypatch.setenv("REDIS_URL", redis_url)
    api = serve(create_backend())
    where = api.post("/desk/ai/sessions", json={"data": {"a": 1}}).headers["location"]
    assert api.get(where).json()["data"] == {"a": 1}
    assert api.delete("/desk/ai/cache/clear-all", headers=ADMIN).status_code == 403
    assert api.delete(where).status_code == 204
