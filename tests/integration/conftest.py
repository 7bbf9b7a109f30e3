"""Fixtures of the tests in which many ask at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from cache import MemoryStore, ResponseCache
from tests.integration.flights import SETTINGS, N
from tests.servers import HOST, free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(params=["up", "down"])
async def cache(request: pytest.FixtureRequest, namespace: str) -> AsyncIterator[ResponseCache]:
    """A cache on a server that is there, and on one that is not."""
    url = request.getfixturevalue("redis_url") if request.param == "up" else f"redis://{HOST}:{free_port()}/0"
    async with ResponseCache.from_url(url, namespace=namespace, settings=SETTINGS) as cache:
        yield cache


@pytest.fixture
def in_memory() -> ResponseCache:
    return ResponseCache(MemoryStore(), settings=SETTINGS)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(N) as threads:
        yield threads
