"""What `doctor` finds, without a server: pure findings, and a store in memory."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from langchain.agents.middleware import ToolCallRequest
from langchain_core.messages import ToolMessage
from langchain_core.tools import StructuredTool

from cache import CacheSettings, CorpusCache, MemoryStore, StoreError, VectorIndex
from cache.doctor import examine, server_findings
from cache.errors import DecodeError, InvalidKeyError, StoreConnectionError
from cache.graph import NodeCache
from cache.keys import Key, Kind, build_key
from cache.opening import open_store
from cache.service import SyncCacheService
from cache.tools import ToolResultCache
from cache.viewing import view_entry
from cache.wrappers import FailOpenStore
from tests.fakes import BrokenStore

_TOOL = StructuredTool.from_function(lambda: "seen", name="t", description="See.")
GOOD = {
    "redis_version": "7.4.1",
    "used_memory": "1000",
    "used_memory_human": "1K",
    "maxmemory": "1000000",
    "maxmemory_human": "1M",
    "maxmemory_policy": "allkeys-lru",
    "evicted_keys": "0",
    "aof_enabled": "1",
}


def test_a_good_server_needs_no_advice() -> None:
    """Version, memory, policy and persistence are named, and nothing is to be done."""
    findings = list(server_findings(GOOD))
    assert [finding.advice for finding in findings] == [None] * len(findings)
    assert {finding.value for finding in findings} >= {"Redis 7.4.1", "1K of 1M", "allkeys-lru", "append-only file"}


@pytest.mark.parametrize(
    ("changed", "name", "advice"),
    [
        ({"maxmemory": "0"}, "memory", "set maxmemory"),
        ({"used_memory": "950000"}, "memory", "raise maxmemory"),
        ({"maxmemory_policy": "noeviction"}, "eviction policy", "allkeys-lru"),
        ({"evicted_keys": "7"}, "evicted keys", "raise maxmemory"),
        ({"aof_last_write_status": "err"}, "persistence", "free disk space"),
    ],
)
def test_each_fault_of_a_server_has_its_advice(changed: dict[str, str], name: str, advice: str) -> None:
    """One line says what to do about it."""
    [found] = [finding for finding in server_findings(GOOD | changed) if finding.advice]
    assert found.name == name
    assert advice in str(found.advice)


def test_unreadable_and_biggest_entries_are_named() -> None:
    """Entries are counted by kind; what is not ours, but stands under a key of ours, is reported."""
    store = MemoryStore()
    service = SyncCacheService(FailOpenStore(store), settings=CacheSettings())
    service.cache_session("abc", {"text": "x" * 100})
    service.cache_embedding("text", [0.0] * 1000, "big-model")
    broken = build_key(Key(Kind.SESSION, content_hash="0" * 32))
    store.mset([(broken, b"RCE1 but cut")])
    found = {finding.name: finding for finding in examine(store, CacheSettings())}
    assert found["entries"].value == "1 embedding, 2 session"
    assert found["biggest entries"].value.startswith("emb:big-model:")
    assert found["unreadable entries"].value == f"1 {broken}"
    assert found["unreadable entries"].advice


def test_an_unreachable_server_ends_the_examination() -> None:
    """The reason has its own advice, and nothing more is asked."""
    store = BrokenStore(StoreConnectionError("wrong password", reason="auth"))
    [finding] = examine(store, CacheSettings())
    assert "wrong password" in finding.value
    assert "REDIS_URL" in str(finding.advice)


def test_an_unknown_failure_still_has_advice() -> None:
    """Whatever the reason, there is a line on what to do."""
    [finding] = examine(BrokenStore(StoreError("odd", reason="odd")), CacheSettings())
    assert finding.advice


def test_a_switched_off_cache_is_a_finding() -> None:
    """Nobody wonders why nothing is cached."""
    first = next(iter(examine(MemoryStore(), CacheSettings(enabled=False))))
    assert first.value == "switched off"


def test_an_entry_can_be_looked_at() -> None:
    """The header in words, the value as JSON; of a vector its width and first numbers, of much the size alone."""
    store = open_store(CacheSettings(), url="memory://")
    service = SyncCacheService(store, settings=CacheSettings())
    service.cache_embedding("text", [1.0, 2.0, 3.0, 4.0, 5.0], "model")
    service.cache_session("abc", {"step": 1})
    NodeCache(store).set({(("n",), "k"): ("text", None)})
    call: Any = {"name": "t", "args": {}, "id": "c"}
    request = ToolCallRequest(tool_call=call, tool=_TOOL, state={}, runtime=cast("Any", None))
    ToolResultCache(store, {"t": None}).wrap_tool_call(request, lambda _: ToolMessage("seen", tool_call_id="c"))
    index = VectorIndex(2)
    index.add(["a", "b", "c"], np.ones((3, 2), np.float32))
    CorpusCache("ads", store, width=2).save(index)
    views = {}
    for key in store.yield_keys():
        [raw] = store.mget([key])
        assert raw is not None
        view = view_entry(key, raw)
        views[view["kind"]] = view
    assert views["embedding"]["value"] == {"width": 5, "first": [1.0, 2.0, 3.0, 4.0]}
    assert views["session"]["value"] == {"step": 1}
    assert views["session"]["ttl_s"] == 3600
    assert views["tool_result"]["value"]["content"] == "seen"
    assert views["corpus"]["value"] == {"rows": 3, "width": 2}
    assert views["node_result"]["value"] == {"msgpack_bytes": 12}  # a map of one: value, and a text of four letters


def test_what_is_no_entry_cannot_be_looked_at() -> None:
    """A foreign key or foreign bytes are named errors."""
    with pytest.raises(InvalidKeyError):
        view_entry("user:42", b"")
    with pytest.raises(DecodeError):
        view_entry(build_key(Key(Kind.SESSION, content_hash="0" * 32)), b"foreign")
