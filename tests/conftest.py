"""Fixtures that all tests share: real servers, a proxy that fails at will, an environment without surprises."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.proxy import FaultProxy
from tests.servers import HOST, ValkeyServer

if TYPE_CHECKING:
    from collections.abc import Iterator

OUTSIDE_URL = os.environ.get("REDIS_URL")
REMOVED_NAMES = ("REDIS_URL", "OPENAI_API_BASE", "OPENAI_API_KEY", "OPENAI_BASE_URL")
REMOVED_PREFIXES = ("CACHE_", "RESUMECACHE_", "LANGSMITH_", "LANGCHAIN_TRACING")

settings.register_profile("ci", deadline=None, derandomize=True, max_examples=100)
settings.register_profile("thorough", deadline=None, derandomize=False, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> Iterator[None]:
    """Hide the developer's own settings, in upper and lower case, from all tests and from session fixtures too."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.upper() in REMOVED_NAMES or name.upper().startswith(REMOVED_PREFIXES):
                patch.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_server_left(clean_environment: None) -> Iterator[None]:
    """Fail the run if a test left a server behind."""
    yield
    assert [server.url for server in ValkeyServer.running] == []


@pytest.fixture(scope="session")
def valkey(no_server_left: None) -> Iterator[ValkeyServer]:
    """One server for the whole run: not to be killed, paused or configured (`own_valkey` is there for that)."""
    with ValkeyServer() as server:
        yield server


@pytest.fixture(scope="session")
def redis_url(request: pytest.FixtureRequest) -> str:
    """Database of the server that the run was pointed at by `REDIS_URL`, or of `valkey`; use it with `namespace`."""
    if OUTSIDE_URL:
        return OUTSIDE_URL
    server: ValkeyServer = request.getfixturevalue("valkey")
    return server.url


@pytest.fixture
def clean_redis(redis_url: str, request: pytest.FixtureRequest) -> str:
    """`redis_url`, emptied before the test if the server is ours; another's data are left alone."""
    if not OUTSIDE_URL:
        request.getfixturevalue("valkey").command("FLUSHALL")
    return redis_url


@pytest.fixture
def namespace() -> str:
    """A cache namespace that no other test has."""
    return f"t{uuid.uuid4().hex}"


@pytest.fixture
def own_valkey() -> Iterator[ValkeyServer]:
    """A server of the test's own, which it may kill, pause, restart and configure."""
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def proxy(valkey: ValkeyServer) -> Iterator[FaultProxy]:
    """A proxy in front of `valkey`, which is emptied first."""
    valkey.command("FLUSHALL")
    with FaultProxy(HOST, valkey.port) as between:
        yield between
