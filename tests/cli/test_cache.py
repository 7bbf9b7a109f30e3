"""`resumecache cache ...` as a person runs it, against the real server."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from cache import CacheSettings
from cache.service import SyncCacheService

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from tests.servers import ValkeyServer

    Run: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(redis_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command line in a process of its own."""
    monkeypatch.setenv("CACHE_NAMESPACE", namespace)
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str, answer: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-m", "agent", "cache", *arguments]
        return subprocess.run(command, input=answer, capture_output=True, text=True, check=False)

    return call


@pytest.fixture
def filled(redis_url: str, namespace: str) -> None:
    """Three entries of two kinds in the namespace."""
    settings = CacheSettings(namespace=namespace, deadline_ms=5000)
    with SyncCacheService.from_url(redis_url, settings=settings) as service:
        assert service.cache_session("one", {"step": 1})
        assert service.cache_session("two", {"step": 2})
        assert service.cache_embedding("text", [1.0, 2.0], "model")


def test_stats_and_health(run: Run, filled: None) -> None:
    """Counts by kind as data, and a word on how it is."""
    stats = json.loads(run("stats", "--json").stdout)
    assert stats["key_counts"]["session"] == 2
    assert stats["key_counts"]["embedding"] == 1
    assert stats["status"] == "healthy"
    assert (stats["usage"]["n_processes"], stats["usage"]["stored"]) == (1, 3)
    assert "status: healthy" in run("health").stdout
    assert "stored: 3" in run("stats").stdout


def test_clear_asks_counts_and_deletes(run: Run, filled: None) -> None:
    """A dry run deletes nothing, a refusal neither, and --yes does."""
    assert "2 session entries" in run("clear", "session", "--dry-run").stdout
    refused = run("clear", "session", answer="n\n")
    assert refused.returncode == 1
    assert "2 session entries" in run("clear", "session", "--yes").stdout
    counts = json.loads(run("stats", "--json").stdout)["key_counts"]
    assert (counts["session"], counts["embedding"]) == (0, 1)


def test_doctor_shows_a_key_that_get_takes(run: Run, filled: None) -> None:
    """What doctor names can be looked at."""
    shown = run("doctor").stdout
    assert "1 embedding, 2 session" in shown
    key = next(word for word in shown.split() if ":emb:model:" in word)
    view = json.loads(run("get", key).stdout)
    assert view["value"] == {"width": 2, "first": [1.0, 2.0]}


def test_bad_input_is_two_and_a_sentence(run: Run) -> None:
    """An unknown kind names those that there are."""
    done = run("clear", "sessions", "--yes")
    assert done.returncode == 2
    assert "expected one of embedding" in done.stderr


def test_an_absent_entry_is_one_and_a_sentence(run: Run) -> None:
    """Nothing under a key is no traceback."""
    done = run("get", "emb:model:" + 32 * "0")
    assert done.returncode == 1
    assert "there is no entry emb:model:" in done.stderr


def test_failures_show(own_valkey: ValkeyServer, run: Run) -> None:
    """With a dead server health and doctor end with 1 and say why; clear is an error."""
    own_valkey.kill()
    health = run("health", "--url", own_valkey.url)
    assert health.returncode == 1
    assert "refused" in health.stdout
    assert run("doctor", "--url", own_valkey.url).returncode == 1
    done = run("clear", "--yes", "--url", own_valkey.url)
    assert done.returncode == 1
    assert "refused" in done.stderr.lower()
    assert "Traceback" not in done.stderr


def test_explain_finds_what_the_service_has_stored(run: Run, redis_url: str, namespace: str) -> None:
    """The key of a question, what it is made of, and whether its answer is there; get takes the key."""
    settings = CacheSettings(namespace=namespace, deadline_ms=5000)
    with SyncCacheService.from_url(redis_url, settings=settings) as service:
        assert service.cache_openai_response("How far?", "Far.", "gpt-4o", 0.7, 100)
    call = ("--model", "gpt-4o", "--temperature", "0.7", "--max-tokens", "100")
    found = json.loads(run("explain", "How far?", *call, "--json").stdout)
    assert (found["is_stored"], found["parts"]["namespace"], found["parts"]["model"]) == (True, namespace, "gpt-4o")
    assert "Far." in run("get", found["key"]).stdout
    assert "not stored" in run("explain", "-", *call, answer="How near?").stdout
