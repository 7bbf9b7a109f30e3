"""Embedding, matching, ranking and optimising over HTTP, in JSON and with uploaded files."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import agent
from agent.ai_service import AIService
from chains.documents import read_document
from tests.api.conftest import make_services
from tests.api.serving import problem
from tests.fakes import CountingEmbeddings

if TYPE_CHECKING:
    import httpx

SAMPLES = Path(agent.__file__).parent / "samples"
PDF, DOCX = SAMPLES / "resumes" / "data-scientist.pdf", SAMPLES / "resumes" / "icu-nurse.docx"
JOB = SAMPLES / "jobs" / "data-scientist-retail.md"
RESUME_TEXT = "Backend engineer. Six years of Python and Redis."
JOB_TEXT = "We look for a backend engineer. You bring Python and Kubernetes."
ROUTES = ["match", "optimize"]


def fresh(text: str) -> str:
    """The same text, but not the same entry as in another test."""
    return f"{text} {uuid.uuid4().hex}"


def pair(**more: Any) -> dict[str, Any]:
    return {"resume_text": fresh(RESUME_TEXT), "job_description": JOB_TEXT, **more}


def test_embeddings_are_the_models_vectors(api: httpx.Client) -> None:
    """One vector comes for each text, in order; a blank text gets zeros, and the second time all are hits."""
    texts = [fresh("Python"), " ", fresh("Nurse")]
    first = api.post("/api/ai/embeddings", json={"texts": texts})
    model = CountingEmbeddings()
    wanted = [model.vector(texts[0]), [0.0] * 8, model.vector(texts[2])]
    assert first.status_code == 200
    assert np.array_equal(np.array(first.json()["embeddings"], np.float32), np.array(wanted, np.float32))
    assert (first.json()["model"], first.json()["dimensions"]) == ("counting", 8)
    assert first.headers["x-cache"] == "miss"
    again = api.post("/api/ai/embeddings", json={"texts": texts})
    assert again.headers["x-cache"] == "hit"
    assert again.json() == first.json()
    assert api.post("/api/ai/embeddings", json={"texts": [texts[0], fresh("new")]}).headers["x-cache"] == "partial"


def test_a_match_names_what_is_shown_and_missing(api: httpx.Client) -> None:
    """The result holds the skills of both texts; the second answer is the first, from the cache."""
    request = pair()
    first = api.post("/api/ai/match", json=request)
    assert first.status_code == 200
    assert first.json()["skills_present"] == ["Python"]
    assert first.json()["skills_missing"] == ["Kubernetes"]
    again = api.post("/api/ai/match", json=request)
    assert (first.headers["x-cache"], again.headers["x-cache"]) == ("miss", "hit")
    assert again.json() == first.json()


@pytest.mark.parametrize("route", ROUTES)
def test_results_are_the_users_own(api: httpx.Client, route: str) -> None:
    """What was found out for one user is no hit for another, and none for those who give no user."""
    request = pair()
    asked = [{}, {"user_id": "ann"}, {"user_id": "bob"}, {"user_id": "anonymous"}, {"user_id": "ann"}]
    found = [api.post(f"/api/ai/{route}", json=request | who).headers["x-cache"] for who in asked]
    assert found == ["miss", "miss", "miss", "miss", "hit"]


def test_an_optimisation_lists_what_no_edit_can_add(api: httpx.Client) -> None:
    """Edits come with scores before and after, and skills that the resume shows nowhere are named."""
    answer = api.post("/api/ai/optimize", json=pair())
    assert answer.status_code == 200
    assert answer.json()["skills_missing"] == ["Kubernetes"]
    assert answer.json()["optimized_by"] == "rules"
    assert answer.json()["score_after"] >= answer.json()["score_before"]


def test_a_ranking_gives_the_best_with_the_callers_ids(api: httpx.Client) -> None:
    """Ads come back in order under the ids and titles they were given with; one without an id is named by its place."""
    jobs = [
        {"id": "nurse", "title": "Nurse", "text": "Registered nurse. You need intensive care and night shifts."},
        {"text": JOB_TEXT},
        {"id": "b/../c", "text": "Backend engineer. Requirements: Python, Redis."},
    ]
    resume = fresh(RESUME_TEXT)
    whole = api.post("/api/ai/rank", json={"resume_text": resume, "jobs": jobs})
    assert whole.status_code == 200
    assert whole.json()["jobs"] == 3
    ranking = whole.json()["ranking"]
    titles = {each["source"]: each["title"] for each in ranking}
    assert titles == {"nurse": "Nurse", "1": JOB_TEXT, "b/../c": jobs[2]["text"]}
    assert [each["rank"] for each in ranking] == [1, 2, 3]
    assert [each["score"] for each in ranking] == sorted((each["score"] for each in ranking), reverse=True)
    best = api.post("/api/ai/rank", json={"resume_text": resume, "jobs": jobs, "top_k": 2})
    assert best.json()["ranking"] == ranking[:2]
    assert best.headers["x-cache"] == "hit"


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("resume", [PDF, DOCX], ids=["pdf", "docx"])
def test_an_uploaded_file_is_as_good_as_its_text(api: httpx.Client, route: str, resume: Path) -> None:
    """A PDF or DOCX gives the answer that its text gives, and finds the entry of that."""
    user = fresh("user")
    texts = {"resume_text": read_document(resume).text, "job_description": read_document(JOB).text, "user_id": user}
    by_text = api.post(f"/api/ai/{route}", json=texts)
    files = {"resume": (resume.name, resume.read_bytes()), "job": (JOB.name, JOB.read_bytes())}
    by_file = api.post(f"/api/ai/{route}", files=files, data={"user_id": user})
    assert by_file.status_code == 200
    assert by_file.json() == by_text.json()
    assert by_file.headers["x-cache"] == "hit"


def test_a_file_and_a_text_can_be_mixed(api: httpx.Client) -> None:
    """A resume may be a file while the ad is a field of the same form."""
    files = {"resume": (PDF.name, PDF.read_bytes())}
    answer = api.post("/api/ai/match", files=files, data={"job_description": fresh(JOB_TEXT)})
    assert answer.status_code == 200
    assert "Python" in answer.json()["skills_present"]


def test_uploaded_ads_are_ranked_under_the_names_of_their_files(api: httpx.Client) -> None:
    """Many ads may be files of one form; their names come back, whatever they are."""
    nurse = SAMPLES / "jobs" / "icu-registered-nurse.md"
    jobs = [("jobs", ("../../etc/passwd.md", nurse.read_bytes())), ("jobs", (JOB.name, JOB.read_bytes()))]
    files = [("resume", (PDF.name, PDF.read_bytes())), *jobs]
    answer = api.post("/api/ai/rank", files=files, data={"top_k": "5"})
    assert answer.status_code == 200
    assert [each["source"] for each in answer.json()["ranking"]] == [JOB.name, "../../etc/passwd.md"]


@pytest.mark.parametrize(
    ("name", "data", "status", "code"),
    [
        ("resume.pdf", b"%PDF-1.7 and nothing more", 422, "unreadable_document"),
        ("resume.docx", b"no archive", 422, "unreadable_document"),
        ("resume.pdf", b"", 422, "unreadable_document"),
        ("resume.txt", b" \n ", 422, "unreadable_document"),
        ("resume.exe", b"MZ and so on", 415, "unsupported_document"),
        ("resume", b"words without a suffix", 415, "unsupported_document"),
        ("resume.txt", b"word " * 10_001, 413, "too_large"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_problem(
    api: httpx.Client, name: str, data: bytes, status: int, code: str
) -> None:
    """What is wrong with a file is said in a problem document that names no path of the server."""
    answer = api.post("/api/ai/optimize", files={"resume": (name, data)}, data={"job_description": JOB_TEXT})
    assert answer.status_code == status
    assert problem(answer)["code"] == code
    assert "/tmp" not in answer.text  # noqa: S108  only looked for


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"resume_text": None}, "body.resume_text"),
        ({"resume_text": " \n"}, "body.resume_text"),
        ({"job_description": "x" * 50_001}, "body.job_description"),
        ({"user_id": ""}, "body.user_id"),
        ({"user_id": "u" * 201}, "body.user_id"),
        ({"surprise": 1}, "body.surprise"),
    ],
)
def test_a_wrong_field_is_named_and_not_repeated(
    api: httpx.Client, route: str, change: dict[str, Any], where: str
) -> None:
    """A field that is missing, blank, too long or unknown is a 422 that says where and does not repeat the text."""
    answer = api.post(f"/api/ai/{route}", json=pair(**change))
    assert answer.status_code == 422
    document = problem(answer)
    assert document["code"] == "invalid_request"
    assert [each["where"] for each in document["errors"]] == [where]
    assert "Backend engineer" not in answer.text


@pytest.mark.parametrize(
    ("files", "fields", "where"),
    [
        (["resume", "resume"], {}, "body.resume"),
        (["resume"], {"user_id": ["ann", "bob"]}, "body.user_id"),
        (["resume"], {"user_id": ""}, "body.user_id"),
        (["resume", "user_id"], {}, "body.user_id"),
        (["resume", "cv"], {}, "body.cv"),
        (["resume"], {"resume_text": RESUME_TEXT}, "body.resume_text"),
    ],
    ids=["file twice", "user twice", "no name", "user as file", "unknown file", "file and text"],
)
def test_what_a_form_says_twice_or_in_vain_is_refused(
    api: httpx.Client, files: list[str], fields: dict[str, Any], where: str
) -> None:
    """Nothing of a form is passed over: one of two values, or a user who then would be nobody."""
    uploads = [(name, ("file.md", RESUME_TEXT.encode())) for name in files]
    answer = api.post("/api/ai/match", files=uploads, data={"job_description": JOB_TEXT, **fields})
    assert answer.status_code == 422
    assert [each["where"] for each in problem(answer)["errors"]] == [where]


def test_a_text_beside_uploaded_ads_is_refused(api: httpx.Client) -> None:
    """Ads of a form are files: a text under their name is not passed over."""
    uploads = [(name, ("file.md", RESUME_TEXT.encode())) for name in ("resume", "jobs")]
    answer = api.post("/api/ai/rank", files=uploads, data={"jobs": JOB_TEXT})
    assert answer.status_code == 422
    assert [each["where"] for each in problem(answer)["errors"]] == ["body.jobs"]


def test_a_user_that_cannot_stand_in_a_key_is_a_problem(api: httpx.Client) -> None:
    """A name that is too long once it is encoded is refused by the cache's own rule."""
    answer = api.post("/api/ai/match", json=pair(user_id="ü" * 200))
    assert answer.status_code == 422
    assert problem(answer)["code"] == "invalid_key"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"texts": []},
        {"texts": ["x"] * 257},
        {"texts": ["x" * 20_001]},
        {"texts": ["ok", 7]},
        {"texts": ["ok"], "session_id": "short"},
    ],
    ids=["none", "empty", "too many", "too long", "no text", "no session id"],
)
def test_texts_to_embed_are_bounded(api: httpx.Client, body: dict[str, Any]) -> None:
    """Too few, too many, too long or other things than texts are a 422."""
    answer = api.post("/api/ai/embeddings", json=body)
    assert answer.status_code == 422
    assert problem(answer)["code"] == "invalid_request"


@pytest.mark.parametrize("jobs", [[], [{"text": " "}], [{"id": "1"}], [{"text": "x"}] * 501])
def test_ads_to_rank_are_bounded(api: httpx.Client, jobs: list[dict[str, str]]) -> None:
    """No ad, a blank one, one without a text, or too many are a 422."""
    answer = api.post("/api/ai/rank", json={"resume_text": RESUME_TEXT, "jobs": jobs})
    assert answer.status_code == 422
    assert problem(answer)["code"] == "invalid_request"


@pytest.mark.parametrize("route", ["embeddings", "match", "rank", "optimize"])
@pytest.mark.parametrize("content", [b"{not json", b"", b"[1, 2]", b'"text"', b"[" * 100_000, b"\xff\xfe"])
def test_a_body_that_is_no_object_is_a_problem(api: httpx.Client, route: str, content: bytes) -> None:
    """Damaged, empty, deep or other JSON is the client's fault, said in a problem document."""
    answer = api.post(f"/api/ai/{route}", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code in {400, 422}
    problem(answer)


def test_half_a_character_is_a_problem(api: httpx.Client) -> None:
    """A lone surrogate, which JSON can write and no text can hold, is a 422 and no failure of the server."""
    content = b'{"texts": ["\\ud800"]}'
    answer = api.post("/api/ai/embeddings", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    problem(answer)


def test_a_body_of_another_type_is_a_problem(api: httpx.Client) -> None:
    """What is neither JSON nor a form is a 415 that says what is read."""
    answer = api.post("/api/ai/match", content=b"<resume/>", headers={"Content-Type": "text/xml"})
    assert answer.status_code == 415
    assert "application/json" in problem(answer)["detail"]


@pytest.mark.parametrize("route", ["embeddings", "sessions"])
@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", ""])
def test_json_that_is_sent_as_another_type_is_told_so(api: httpx.Client, route: str, kind: str) -> None:
    """A body of JSON without its type, as `curl -d` sends it, is a 415 that names the type that is expected."""
    content = b'{"texts": ["a"]}' if route == "embeddings" else b'{"data": {}}'
    answer = api.post(f"/api/ai/{route}", content=content, headers={"Content-Type": kind})
    assert answer.status_code == 415
    assert "application/json" in problem(answer)["detail"]


def test_a_damaged_form_is_a_problem(api: httpx.Client) -> None:
    """A form without its boundary, and one with too many files, are the client's fault."""
    headless = api.post("/api/ai/match", content=b"--x", headers={"Content-Type": "multipart/form-data"})
    many = api.post("/api/ai/match", files=[("resume", ("a.txt", b"a"))] * 3)
    assert (headless.status_code, many.status_code) == (400, 400)
    problem(headless)
    problem(many)


async def test_with_the_cache_off_the_same_is_computed_each_time(redis_url: str, namespace: str) -> None:
    """With the cache switched off nothing is a hit, and the numbers are the same."""
    async with make_services(redis_url, namespace=namespace, enabled=False) as services:
        first, second = [await AIService(services).match(RESUME_TEXT, JOB_TEXT) for _ in range(2)]
    assert (first.found, second.found) == ("miss", "miss")
    assert first.result == second.result
