"""`ResponseCache` on a real server: which requests share an answer and which do not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cache import CacheSettings, ResponseCache
from tests.contract.completeness import CompletenessTests, Shared
from tests.integration.calling import PATIENT_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.contract.completeness import Stage

PATIENT_SETTINGS = CacheSettings(deadline_ms=round(1000 * PATIENT_S))


def open_cache(address: str) -> ResponseCache:
    """Open the cache of a namespace; the address is it and a URL with a space between them."""
    namespace, url = address.split(" ")
    return ResponseCache.from_url(url, namespace=namespace, settings=PATIENT_SETTINGS)


class TestResponseCache(CompletenessTests):
    @pytest.fixture
    def shared(self, redis_url: str, namespace: str) -> Shared:
        mine, others = (f"{name} {redis_url}" for name in (namespace, f"{namespace}-other"))
        return Shared("tests.contract.test_completeness:open_cache", mine, others)

    @pytest.fixture
    def cache(self, shared: Shared, stage: Stage) -> Iterator[ResponseCache]:
        cache = open_cache(shared.address)
        yield cache
        stage.asker.close_cache(cache)

    @pytest.fixture
    def other_tenant(self, shared: Shared, stage: Stage) -> Iterator[ResponseCache]:
        cache = open_cache(str(shared.other_tenant))
        yield cache
        stage.asker.close_cache(cache)
