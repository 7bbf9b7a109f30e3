"""Fixtures of the HTTP API: services on the real server, and applications under a real one."""

from __future__ import annotations

import uuid
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from agent.api import create_app
from agent.settings import Settings
from agent.wiring import Services
from cache import CacheSettings
from tests.api.serving import TOKEN, ApiServer
from tests.fakes import CountingEmbeddings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx
    from fastapi import FastAPI
    from langchain_core.embeddings import Embeddings

    from tests.servers import ValkeyServer

    Serve = Callable[[FastAPI], httpx.Client]

PATIENT_MS = 5000


def make_services(url: str, *, embeddings: Embeddings | None = None, **cache: object) -> Services:
    """Services with a model that costs nothing, and a deadline that only a hanging server meets."""
    settings = CacheSettings(**{"deadline_ms": PATIENT_MS, "admin_token": TOKEN, **cache})
    return Services(Settings(cache=settings), url=url, embeddings=embeddings or CountingEmbeddings())


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Puts an application under a server of its own until the end of the test, and gives a client of it."""
    with ExitStack() as stack:

        def start(app: FastAPI) -> httpx.Client:
            server = stack.enter_context(ApiServer(app))
            return stack.enter_context(server.client())

        yield start


@pytest.fixture(scope="session")
def api_server(redis_url: str) -> Iterator[ApiServer]:
    """The whole application in a namespace of its own, for tests that neither clear nor count it."""
    services = make_services(redis_url, namespace=f"t{uuid.uuid4().hex}")
    with services, ApiServer(create_app(services)) as server:
        yield server


@pytest.fixture
def api(api_server: ApiServer) -> Iterator[httpx.Client]:
    """A client of the whole application."""
    with api_server.client() as client:
        yield client


@pytest.fixture
def services(valkey: ValkeyServer, namespace: str) -> Iterator[Services]:
    """Services of this test alone, on the server whose keys it may look at."""
    with make_services(valkey.url, namespace=namespace) as made:
        yield made


@pytest.fixture
def own_api(services: Services, serve: Serve) -> httpx.Client:
    """A client of an application of this test alone."""
    return serve(create_app(services))
