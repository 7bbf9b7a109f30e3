"""Requests are bounded in size, in time and in number, whatever a client says of them."""

from __future__ import annotations

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from typing_extensions import override

from agent.api import Limits, create_app
from tests.api.conftest import make_services
from tests.api.serving import HOST, PATIENCE_S, ApiServer, problem
from tests.fakes import CountingEmbeddings
from tests.integration.calling import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from agent.wiring import Services
    from tests.api.conftest import Serve

AI = "/api/ai"
MIB = 2**20
JSON = {"Content-Type": "application/json"}
HEAD = f"POST {AI}/match HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %s\r\n\r\n"
HEAD_OF_100_BYTES = (HEAD % 100).encode()


class HeldEmbeddings(CountingEmbeddings):
    """A model that answers when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self._let_go = threading.Event()
        self.entered = threading.Semaphore(0)

    def let_go(self) -> None:
        self._let_go.set()

    @override
    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        import asyncio  # noqa: PLC0415  needed here alone

        self.entered.release()
        await asyncio.to_thread(self._let_go.wait, PATIENCE_S)
        return await super().aembed_documents(texts)


def chunks(n_bytes: int) -> Iterator[bytes]:
    """A body whose length is not declared."""
    piece = b"x" * 65_536
    for _ in range(n_bytes // len(piece)):
        yield piece


@pytest.mark.parametrize("route", ["embeddings", "match", "rank", "optimize", "sessions"])
@pytest.mark.parametrize("is_declared", [True, False])
def test_ten_megabytes_of_json_are_refused(api: httpx.Client, route: str, *, is_declared: bool) -> None:
    """A body over the bound is a 413, whether its length is declared or only counted, and the service goes on."""
    content = b"x" * (10 * MIB) if is_declared else chunks(10 * MIB)
    answer = api.post(f"{AI}/{route}", content=content, headers=JSON)
    assert answer.status_code == 413
    assert problem(answer)["code"] == "too_large"
    assert api.get("/healthz").status_code == 200


def test_an_upload_may_be_larger_but_not_without_bound(api: httpx.Client) -> None:
    """Files of some megabytes are read and judged by what they hold; eleven megabytes are a 413."""
    job = {"job_description": "We need Python"}
    large, too_large = (api.post(f"{AI}/match", files={"resume": ("a.txt", b"x" * n)}, data=job) for n in (
        3 * MIB, 11 * MIB,
    ))  # fmt: skip
    assert problem(large)["detail"].startswith("resume: expected a text of at most 50,000 characters")
    assert problem(too_large)["detail"].startswith("expected a body of at most 10,485,760 bytes")


def test_a_declared_length_that_is_wrong_does_not_help(api_server: ApiServer) -> None:
    """Whoever declares less than comes, or a length that is no number, is answered by the rules of HTTP."""
    for length in ("-1", "ten", "99999999999999999999"):
        head = (
            f"POST {AI}/match HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        )
        assert _first_line(api_server.port, head.encode()).split()[1] in {b"400", b"413"}


def test_a_body_that_does_not_come_is_given_up(services: Services) -> None:
    """A client that stops in the middle of its body gets a 408 and its connection is closed."""
    with ExitStack() as stack:
        server = stack.enter_context(ApiServer(create_app(services, limits=Limits(body_s=0.2))))
        connection = stack.enter_context(socket.create_connection((HOST, server.port), PATIENCE_S))
        connection.sendall(HEAD_OF_100_BYTES + b'{"resume')
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert answer.split()[1] == b"408"
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "too_slow"


def test_a_client_that_goes_away_is_no_failure(
    redis_url: str, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A connection that is closed in the middle of a body is nobody's error, and takes no place with it."""
    with ExitStack() as stack:
        services = stack.enter_context(make_services(redis_url, namespace=namespace))
        server = stack.enter_context(ApiServer(create_app(services, limits=Limits(at_once=1))))
        api = stack.enter_context(server.client())
        with socket.create_connection((HOST, server.port), PATIENCE_S) as connection:
            connection.sendall(HEAD_OF_100_BYTES + b"{")
        until(lambda: api.post(f"{AI}/embeddings", json={"texts": ["text"]}).status_code == 200)
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


def test_too_many_at_once_are_told_to_come_back(redis_url: str, namespace: str) -> None:
    """Beyond the bound work is refused at once with `Retry-After`; probes and stats are answered; then all goes on."""
    model = HeldEmbeddings()
    with ExitStack() as stack:
        services = stack.enter_context(make_services(redis_url, namespace=namespace, embeddings=model))
        server = stack.enter_context(ApiServer(create_app(services, limits=Limits(at_once=2))))
        api, threads = stack.enter_context(server.client()), stack.enter_context(ThreadPoolExecutor(2))
        stack.callback(model.let_go)

        def embed(text: str) -> httpx.Response:
            return api.post(f"{AI}/embeddings", json={"texts": [text]})

        held = [threads.submit(embed, f"text {n}") for n in range(2)]
        assert all(model.entered.acquire(timeout=PATIENCE_S) for _ in held)
        refused = embed("one more")
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert problem(refused)["code"] == "busy"
        others = ["/healthz", "/readyz", f"{AI}/cache/health", f"{AI}/cache/stats"]
        assert [api.get(path).status_code for path in others] == [200] * 4
        model.let_go()
        assert [one.result().status_code for one in held] == [200, 200]
        assert embed("one more").status_code == 200


def test_places_are_given_back_by_requests_that_fail(serve: Serve, redis_url: str, namespace: str) -> None:
    """Requests that end in an error do not use up what is bounded."""
    with make_services(redis_url, namespace=namespace) as services:
        api = serve(create_app(services, limits=Limits(at_once=1)))
        bad: list[dict[str, Any]] = [{"content": b"{", "headers": JSON}, {"content": b"x" * 3 * MIB, "headers": JSON}]
        assert [api.post(f"{AI}/match", **each).status_code for each in bad * 2] == [422, 413, 422, 413]
        assert api.post(f"{AI}/embeddings", json={"texts": ["text"]}).status_code == 200


def _first_line(port: int, head: bytes) -> bytes:
    with socket.create_connection((HOST, port), PATIENCE_S) as connection:
        connection.sendall(head)
        return connection.recv(65_536).partition(b"\r\n")[0]
