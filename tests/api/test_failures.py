"""The API while its Redis is killed, hangs or comes back, and while its model's provider fails."""

from __future__ import annotations

import asyncio
import ssl
import uuid
from typing import TYPE_CHECKING, Any, Self

import httpx
import pytest

from agent.api import create_app
from agent.settings import Settings
from agent.wiring import Services
from cache import CacheSettings
from tests.api.conftest import make_services
from tests.api.serving import ADMIN, PATIENCE_S, ApiServer, problem
from tests.fakes import CountingEmbeddings, Fault
from tests.integration.calling import until
from tests.openai_server import OpenAIServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.api.conftest import Serve
    from tests.servers import ValkeyServer

AI = "/api/ai"
DEADLINE_MS = 100
PAIR = {"resume_text": "Python and Redis", "job_description": "We need Python and Kubernetes"}
RANKING = {"resume_text": PAIR["resume_text"], "jobs": [{"text": PAIR["job_description"]}]}
UNKNOWN = f"{AI}/sessions/{'A' * 43}"
N_CLIENTS = 20
N_BODIES = 10


@pytest.fixture
def fragile(own_valkey: ValkeyServer, serve: Serve) -> Iterator[httpx.Client]:
    """The application on a server that the test may kill, with the deadline of every day."""
    with make_services(own_valkey.url, deadline_ms=DEADLINE_MS) as services:
        yield serve(create_app(services))


def work(api: httpx.Client) -> list[httpx.Response]:
    """One request of each kind that does work."""
    return [
        api.post(f"{AI}/embeddings", json={"texts": ["text"]}),
        api.post(f"{AI}/match", json=PAIR),
        api.post(f"{AI}/optimize", json=PAIR),
        api.post(f"{AI}/rank", json=RANKING),
    ]


def status(api: httpx.Client) -> str:
    answer = api.get(f"{AI}/cache/health")
    assert answer.status_code == 200
    word: str = answer.json()["status"]
    return word


def test_requests_succeed_while_redis_is_killed_and_come_back_to_it(
    fragile: httpx.Client, own_valkey: ValkeyServer
) -> None:
    """A killed server costs hits and nothing else; health says degraded; when it is back, so are the hits."""
    before = work(fragile)
    own_valkey.kill()
    during = work(fragile)
    assert [answer.status_code for answer in before + during] == [200] * 8
    assert [answer.json() for answer in during] == [answer.json() for answer in before]
    assert {answer.headers["x-cache"] for answer in during} == {"miss"}
    assert status(fragile) == "degraded"
    assert fragile.get("/readyz").json() == {"status": "ready", "cache": "degraded"}
    own_valkey.start()
    until(lambda: status(fragile) == "healthy")
    until(lambda: {answer.headers["x-cache"] for answer in work(fragile)} == {"hit"})


@pytest.mark.parametrize("how", ["kill", "pause"])
def test_what_needs_redis_says_so_while_it_is_gone(fragile: httpx.Client, own_valkey: ValkeyServer, how: str) -> None:
    """Stats are degraded, sessions and clearing are refused with a problem that names no host; nothing hangs."""
    made = fragile.post(f"{AI}/sessions", json={}).headers["location"]
    getattr(own_valkey, how)()
    stats = fragile.get(f"{AI}/cache/stats")
    assert (stats.status_code, stats.json()["success"]) == (200, False)
    assert stats.json()["cache_stats"]["status"] == "degraded"
    assert stats.json()["cache_stats"]["cache_ttl_settings"]["session"] == 3600
    health = fragile.get(f"{AI}/cache/health")
    assert (health.status_code, health.json()["success"], health.json()["status"]) == (200, False, "degraded")
    cleared = fragile.delete(f"{AI}/cache/clear-all", headers=ADMIN)
    assert cleared.status_code == (503 if how == "kill" else 504)
    refused = [fragile.post(f"{AI}/sessions", json={}), fragile.get(made), fragile.delete(made), fragile.get(UNKNOWN)]
    assert [answer.status_code for answer in refused] == [503] * 4
    assert {problem(answer)["code"] for answer in refused} == {"no_sessions"}
    said = [stats.text, health.text, cleared.text, *(answer.text for answer in refused)]
    assert not any(str(own_valkey.port) in text for text in said)
    problem(cleared)
    assert [answer.status_code for answer in work(fragile)] == [200] * 4


def test_an_application_starts_without_its_redis(own_valkey: ValkeyServer, serve: Serve) -> None:
    """A server that is down when the application starts keeps it neither from starting nor from serving."""
    own_valkey.kill()
    with make_services(own_valkey.url, deadline_ms=DEADLINE_MS) as services:
        api = serve(create_app(services))
        assert [answer.status_code for answer in work(api)] == [200] * 4
        assert status(api) == "degraded"


class Crowd:
    """Many clients at once; httpx looks at all idle connections of a client for each request, so each has few.

    Args:
        url: of the server.
    """

    def __init__(self, url: str) -> None:
        tls = ssl.create_default_context()  # made once: it is not used, and costs more than all else
        self._clients = [httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, verify=tls) for _ in range(N_CLIENTS)]

    def post(self, route: str, bodies: list[dict[str, Any]]) -> list[asyncio.Task[httpx.Response]]:
        """Send two hundred requests, the bodies in turn, without waiting for their answers."""
        requests = [
            self._clients[n % N_CLIENTS].post(f"{AI}/{route}", json=bodies[n % len(bodies)]) for n in range(200)
        ]
        return [asyncio.create_task(request) for request in requests]

    async def ask(self, route: str, bodies: list[dict[str, Any]]) -> list[httpx.Response]:
        """Send two hundred requests and wait for all answers."""
        return await asyncio.gather(*self.post(route, bodies))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in self._clients:
            await client.aclose()


async def test_two_hundred_at_once_are_all_answered_alike(redis_url: str, namespace: str) -> None:
    """Two hundred parallel requests are all answered, equal ones equally, whether the cache is cold or warm."""
    mark = uuid.uuid4().hex
    texts = [{"texts": [f"text {n}", mark]} for n in range(N_BODIES)]
    pairs = [PAIR | {"user_id": f"user {n}"} for n in range(N_BODIES)]
    with make_services(redis_url, namespace=namespace) as services, ApiServer(create_app(services)) as server:
        async with Crowd(server.url) as crowd:
            cold, warm = [await crowd.ask("embeddings", texts) for _ in range(2)]
            matches, again = [await crowd.ask("match", pairs) for _ in range(2)]
    assert {answer.status_code for answer in cold + warm + matches + again} == {200}
    assert {answer.headers["x-cache"] for answer in warm + again} == {"hit"}
    assert len({answer.text for answer in cold + warm}) == N_BODIES
    assert len({answer.text for answer in matches + again}) == 1


async def test_two_hundred_at_once_survive_the_death_of_redis(own_valkey: ValkeyServer) -> None:
    """Requests that are under way when the server is killed are all answered."""
    texts = [{"texts": [f"text {n}"]} for n in range(200)]
    with make_services(own_valkey.url, deadline_ms=DEADLINE_MS) as services, ApiServer(create_app(services)) as server:
        async with Crowd(server.url) as crowd:
            running = crowd.post("embeddings", texts)
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.to_thread(own_valkey.kill)
            answers = await asyncio.gather(*running)
    assert {answer.status_code for answer in answers} == {200}


def test_a_model_that_answers_nonsense_is_a_problem(serve: Serve, redis_url: str, namespace: str) -> None:
    """Vectors that cannot be used are a 502 that repeats nothing, and the next request is served."""
    model = CountingEmbeddings(faults={0: Fault.NAN})
    with make_services(redis_url, namespace=namespace, embeddings=model) as services:
        api = serve(create_app(services))
        answer = api.post(f"{AI}/embeddings", json={"texts": ["secret words"]})
        assert answer.status_code == 502
        assert problem(answer)["code"] == "bad_model_answer"
        assert "secret" not in answer.text
        assert api.post(f"{AI}/embeddings", json={"texts": ["secret words"]}).status_code == 200


def test_what_nobody_expected_is_logged_and_not_told(
    serve: Serve, redis_url: str, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An unknown error is a 500 without its message, which stands in the log instead."""
    model = CountingEmbeddings(faults={0: Fault.ERROR})
    with make_services(redis_url, namespace=namespace, embeddings=model) as services:
        answer = serve(create_app(services)).post(f"{AI}/embeddings", json={"texts": ["text"]})
    assert answer.status_code == 500
    assert problem(answer)["code"] == "unexpected"
    assert "provider is down" not in answer.text
    assert "provider is down" in caplog.text


@pytest.fixture
def provider() -> Iterator[OpenAIServer]:
    """A provider that speaks OpenAI's protocol."""
    with OpenAIServer() as server:
        yield server


@pytest.fixture
def remote(provider: OpenAIServer, serve: Serve, redis_url: str, namespace: str) -> Iterator[httpx.Client]:
    """The application with the models of a provider."""
    cache = CacheSettings(namespace=namespace, deadline_ms=5000)
    settings: dict[str, Any] = {"openai_base_url": provider.base_url, "model_timeout_s": 1.0}
    with Services(Settings(cache=cache, **settings), url=redis_url) as services:
        yield serve(create_app(services))


@pytest.mark.parametrize(("fails_with", "status_code", "code"), [(400, 502, "model_failed"), (429, 503, "model_busy")])
def test_a_provider_that_refuses_is_a_problem(
    remote: httpx.Client, provider: OpenAIServer, fails_with: int, status_code: int, code: str
) -> None:
    """What the provider answers becomes a status of ours, and no word of its answer is passed on."""
    provider.fail_with(fails_with)
    answer = remote.post(f"{AI}/embeddings", json={"texts": ["text"]})
    assert answer.status_code == status_code
    assert problem(answer)["code"] == code
    assert provider.base_url not in answer.text


def test_a_chat_model_explains_and_its_answer_is_kept(remote: httpx.Client, provider: OpenAIServer) -> None:
    """With a provider the match carries the model's words; the second answer asks nobody."""
    provider.script_chat({"summary": "fits", "strengths": ["Python"], "gaps": ["Kubernetes"]})
    first = remote.post(f"{AI}/match", json=PAIR)
    assert first.status_code == 200
    assert (first.json()["explanation"], first.json()["explained_by"]) == ("fits", "gpt-4o-mini")
    n_requests = len(provider.requests)
    again = remote.post(f"{AI}/match", json=PAIR)
    assert again.headers["x-cache"] == "hit"
    assert again.json() == first.json()
    assert len(provider.requests) == n_requests
