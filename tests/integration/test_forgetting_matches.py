"""Forgetting by what people have: the id that they gave, or the resume; in chains, service, HTTP and command line."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from agent.ai_service import AIService
from agent.api.routes import create_router
from agent.cli import run
from agent.settings import Settings
from agent.wiring import Services
from cache import CacheSettings, MemoryStore
from cache.admin import Admin
from cache.counters import Counters
from cache.embeddings import CacheBackedEmbeddings
from cache.errors import ConfigurationError
from cache.keys import Kind
from cache.results import PairResults
from cache.service import SyncCacheService
from cache.subjects import about, id_of_text
from cache.wrappers import FailOpenStore
from chains.documents import Document
from chains.matching import build_match_chain, rank_jobs
from chains.optimization import build_optimize_chain
from tests.fakes import CountingEmbeddings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cache.forgetting import Receipt
    from cache.stores.base import Store

RESUME = "Backend engineer.\nSix years of Python, FastAPI and soft-\nware design; Redis, Docker."
AD = "We look for a backend engineer. You bring Python and Redis."
TOKEN = "t" * 32
SETTINGS = CacheSettings(namespace="acme", key_secret="s" * 32, redis_url="memory://", admin_token=TOKEN)
OWN: dict[str, str] = {"resume": RESUME, "job": AD}


def chains_on(store: Store) -> list[Any]:
    embeddings = CacheBackedEmbeddings(CountingEmbeddings(), store, model="m", settings=SETTINGS)
    built: list[Any] = []
    for kind, build in ((Kind.JOB_MATCH, build_match_chain), (Kind.OPTIMIZATION, build_optimize_chain)):
        results = PairResults(kind, store, variant=(), settings=SETTINGS, counters=Counters())
        built.append(build(embeddings, results=results))
    return built


def keys(store: Store) -> list[str]:
    return [key for key in store.yield_keys() if "forgotten" not in key]


@pytest.mark.parametrize(
    ("given", "subject"),
    [
        ({}, {"candidate": id_of_text(RESUME)}),
        ({}, {"job": id_of_text(AD)}),
        ({"candidate": "c-1", "job_id": "j-1"}, {"candidate": "c-1"}),
        ({"candidate": "c-1", "job_id": "j-1"}, {"job": "j-1"}),
    ],
)
async def test_chains_tag_all_that_they_keep(given: dict[str, str], subject: dict[str, Any]) -> None:
    """Vectors and results of a chain go with the candidate and with the job, by id or else by text, sync and async."""
    for is_async in (False, True):
        store = MemoryStore()
        for chain in chains_on(store):
            assert await chain.ainvoke(OWN | given) if is_async else chain.invoke(OWN | given)
        assert len(keys(store)) >= 4
        receipt = Admin(store, SETTINGS).forget(**subject)
        assert receipt.is_verified
        assert keys(store) == []


def test_the_caller_knows_better_than_the_text() -> None:
    """Within `about`, a chain does not put the text's id in the place of the one that the caller has given."""
    store = MemoryStore()
    with about(candidate="c-9"):
        chains_on(store)[0].invoke(OWN)
    assert Admin(store, SETTINGS).forget(candidate=id_of_text(RESUME)).count == 0
    assert Admin(store, SETTINGS).forget(candidate="c-9").count == 3


def test_a_ranking_is_about_the_resume() -> None:
    """What ranking embeds goes with the candidate."""
    store = MemoryStore()
    embeddings = CacheBackedEmbeddings(CountingEmbeddings(), store, model="m", settings=SETTINGS)
    rank_jobs(Document.from_text(RESUME), [Document.from_text(AD)], embeddings=embeddings)
    assert Admin(store, SETTINGS).forget(candidate=id_of_text(Document.from_text(RESUME).text)).count == 2


def test_the_id_of_a_text_survives_reading_it_from_a_file() -> None:
    """Line ends, hyphens at them and bullets are no part of it; letters are."""
    assert id_of_text(RESUME) == id_of_text(RESUME.replace("\n", "\r\n  • "))
    assert id_of_text(RESUME) == id_of_text(RESUME.replace("soft-\nware", "software"))
    assert id_of_text(RESUME) != id_of_text(RESUME.replace("Six", "Sixty"))


@pytest.fixture
def services() -> Iterator[Services]:
    """An application on a store in this process."""
    with Services(Settings(cache=SETTINGS), url="memory://", embeddings=CountingEmbeddings()) as made:
        yield made


async def test_the_service_tags_what_it_keeps(services: Services) -> None:
    """Matches, optimisations, rankings and embeddings of an id are forgotten together."""
    service = AIService(services)
    who: Any = {"candidate": "c-1", "job": "j-1"}
    await service.match(RESUME, AD, **who)
    await service.optimize_resume(RESUME, AD, **who)
    await service.rank(Document.from_text(f"{RESUME} Go."), [Document.from_text(f"{AD} Go.")], candidate="c-1")
    await service.get_embeddings(["a note on the candidate"], **who)
    await service.get_embeddings(["a note on nobody"])
    receipt: Receipt = await services.cache.forget(candidate="c-1")
    assert receipt.is_verified
    assert receipt.counts["job_match"] == receipt.counts["optimization"] == 1
    assert (await services.admin.astats()).key_counts["embedding"] == 1


def test_forgetting_over_http(services: Services) -> None:
    """With the token, by id or by resume, dry or not; without it, and for nobody or two at once, it is refused."""
    app = FastAPI()
    app.include_router(create_router(services))
    path, headers = "/api/ai/cache/forget", {"Authorization": f"Bearer {TOKEN}"}
    with TestClient(app) as client:
        body = {"resume_text": RESUME, "job_description": AD, "candidate_id": "c-1", "job_id": "j-1"}
        assert client.post("/api/ai/match", json=body).status_code == 200
        assert client.post("/api/ai/match", json={"resume_text": f"{RESUME} Go", "job_description": AD}).is_success
        assert client.post(path, json={"candidate_id": "c-1"}).status_code == 401
        for wrong in ({}, {"candidate_id": "c-1", "job_id": "j-1"}, {"candidate_id": " "}):
            assert client.post(path, json=wrong, headers=headers).status_code == 422
        dry = client.post(f"{path}?dry_run=true", json={"candidate_id": "c-1"}, headers=headers).json()
        done = client.post(path, json={"candidate_id": "c-1"}, headers=headers).json()
        by_text = client.post(path, json={"resume_text": f"{RESUME} Go"}, headers=headers).json()
    assert (dry["count"], dry["dry_run"], dry["is_verified"]) == (3, True, False)
    assert (done["count"], done["success"], done["is_verified"], done["subject"]) == (3, True, True, "candidate")
    assert by_text["counts"]["job_match"] == 1
    assert "c-1" not in str(done)


def test_forgetting_on_the_command_line(
    redis_url: str,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It asks, prints the receipt, and takes a resume for the id of who has none."""
    monkeypatch.setenv("CACHE_NAMESPACE", namespace)
    monkeypatch.setenv("REDIS_URL", redis_url)
    resume = tmp_path / "resume.txt"
    resume.write_text(RESUME)

    def call(*arguments: str) -> tuple[int, str]:
        return run(["cache", "forget", *arguments]), capsys.readouterr().out

    with SyncCacheService.from_url(settings=CacheSettings(deadline_ms=5000)) as service:
        for candidate in ("c-1", id_of_text(RESUME)):
            with about(candidate=candidate):
                assert service.cache_job_match_result(candidate, AD, {"score": 1})
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    code, printed = call("--candidate", "c-1")
    assert (code, "Delete 1 entries about the candidate" in printed) == (1, True)
    code, printed = call("--candidate", "c-1", "--yes")
    assert (code, "verified by: pass 2" in printed) == (0, True)
    assert '"count": 1' in call("--resume", str(resume), "--yes", "--json")[1]
    assert call()[0] == 2
    assert call("--candidate", "c-1", "--resume", str(resume))[0] == 2


def test_clearing_takes_a_pattern_of_models_and_the_name_of_a_user() -> None:
    """A star stands for anything in the model's own segment, and for itself in a user's name."""
    store = MemoryStore()
    service, admin = SyncCacheService(FailOpenStore(store), settings=SETTINGS), Admin(store, SETTINGS)
    for model in ("gpt-4o", "gpt-4o-mini", "llama3:8b", "[x]"):
        service.cache_openai_response("question", "answer", model)
        service.cache_embedding("text", [1.0], model)
    for user in ("ann", "*", None):
        service.cache_job_match_result("resume", "ad", {"score": 1}, user)
    assert admin.clear(Kind.OPENAI_RESPONSE, model="gpt-4o") == 1
    assert admin.clear(Kind.EMBEDDING, model="gpt-4o*", dry_run=True) == 2
    assert admin.clear(model="llama?:*") == 2
    assert admin.clear(model="[x]") == 2
    assert admin.clear(user="*") == 1
    assert service.get_cached_job_match_result("resume", "ad", "ann") == {"score": 1}
    for wrong in ({"user": "ann"}, {"model": "m"}):
        with pytest.raises(ConfigurationError, match="entries of kind session have no"):
            admin.clear(Kind.SESSION, **wrong)  # type: ignore[arg-type]  # one name at a time
