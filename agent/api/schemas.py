"""What requests and responses hold, with their limits and an example of each."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from cache.admin import Status
from cache.codecs.json import encode_json
from cache.subjects import SubjectKind
from chains.schemas import MatchResult, SubjectId

MAX_TEXTS = 256
MAX_TEXT_CHARS = 20_000
MAX_DOCUMENT_CHARS = 50_000
MAX_JOBS = 500
MAX_USER_CHARS = 200
MAX_SESSION_BYTES = 64 * 2**10
SESSION_ID = r"^[A-Za-z0-9_-]{43}$"
_SAID = r"\S"  # something other than blanks

_RESUME = "Backend engineer. Six years of Python, FastAPI and Redis; PostgreSQL, Docker."
_JOB = "We look for a backend engineer. You bring Python and Redis. Kubernetes is a plus."
_CANDIDATE = "By which all that is kept of this can be forgotten; the text of the resume where not given."
_SESSION_ID = "x3q0Vw0m8m6m7cJg0iX1kV8sZ1R2yq6b9uWn4pTtLfE"

Words = Annotated[str, Field(min_length=1, max_length=MAX_DOCUMENT_CHARS, pattern=_SAID)]
UserId = Annotated[str, Field(min_length=1, max_length=MAX_USER_CHARS)]
SessionId = Annotated[str, Field(pattern=SESSION_ID)]


def _with_example(**example: Any) -> ConfigDict:
    return ConfigDict(extra="forbid", json_schema_extra={"examples": [example]})


class EmbeddingsRequest(BaseModel):
    """Texts to embed."""

    model_config = _with_example(texts=["Python developer", "Registered nurse"])

    texts: list[Annotated[str, Field(max_length=MAX_TEXT_CHARS)]] = Field(
        min_length=1, max_length=MAX_TEXTS, description="A blank text gets the zero vector."
    )
    session_id: SessionId | None = Field(None, description="A session that is noted as having asked.")
    candidate_id: SubjectId | None = Field(None, description="By which the vectors can be forgotten; else by none.")
    job_id: SubjectId | None = Field(None, description="The same of a job.")


class EmbeddingsResponse(BaseModel):
    """One vector for each text, in their order."""

    model_config = _with_example(model="all-MiniLM-L6-v2-int8", dimensions=3, embeddings=[[0.1, -0.2, 0.3]])

    model: str
    dimensions: int
    embeddings: list[list[float]]


class PairBody(BaseModel):
    """A resume and a job ad."""

    model_config = _with_example(resume_text=_RESUME, job_description=_JOB, user_id="ann")

    resume_text: Words
    job_description: Words
    user_id: UserId | None = Field(None, description="Whose result it is; without it, it is shared by all without.")
    candidate_id: SubjectId | None = Field(None, description=_CANDIDATE)
    job_id: SubjectId | None = Field(None, description="The same of the job.")


class Job(BaseModel):
    """A job ad of a ranking."""

    model_config = ConfigDict(extra="forbid")

    id: str | None = Field(None, max_length=200, description="Given back as `source`; its position where not given.")
    title: str | None = Field(None, max_length=200, description="Its first line that says something where not given.")
    text: Words


class RankBody(BaseModel):
    """A resume and job ads."""

    model_config = _with_example(
        resume_text=_RESUME, jobs=[{"id": "42", "title": "Backend engineer", "text": _JOB}], top_k=10
    )

    resume_text: Words
    jobs: list[Job] = Field(min_length=1, max_length=MAX_JOBS)
    candidate_id: SubjectId | None = Field(None, description=_CANDIDATE)
    top_k: int = Field(10, ge=1, le=MAX_JOBS, description="How many to give, the best first.")


class RankResponse(BaseModel):
    """The best job ads, in order."""

    jobs: int = Field(description="How many were compared.")
    ranking: list[MatchResult]


class SessionData(BaseModel):
    """What is kept for a session."""

    model_config = _with_example(data={"step": "uploaded"})

    data: dict[str, JsonValue] = Field(description=f"At most {MAX_SESSION_BYTES} bytes of JSON.")

    @field_validator("data")
    @classmethod
    def _bounded(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        size_bytes = len(encode_json(value))
        if size_bytes > MAX_SESSION_BYTES:
            raise ValueError(f"expected at most {MAX_SESSION_BYTES} bytes of JSON, got {size_bytes}")
        return value


class NewSession(SessionData):
    """What is kept for a new session."""

    data: dict[str, JsonValue] = Field(default={}, description=f"At most {MAX_SESSION_BYTES} bytes of JSON.")


class Session(BaseModel):
    """A session; the cache may lose it before its time."""

    model_config = _with_example(session_id=_SESSION_ID, data={"step": "uploaded"}, ttl_s=3600)

    session_id: str
    data: dict[str, JsonValue]
    ttl_s: int = Field(description="Seconds that a session lives after it was last written.")


class CacheUsage(BaseModel):
    """What all processes have counted that have reported within a day; up to ten seconds old."""

    n_processes: int = Field(description="How many have reported.")
    hits: int = Field(description="Lookups that were answered.")
    misses: int = Field(description="Lookups that were not.")
    hit_ratio: float | None = Field(description="Hits by lookups; null before the first.")
    near_hits: int = Field(description="Entries that a process had near: it asked no server for them.")
    shared: int = Field(description="Hits that another caller's computation answered.")
    stored: int = Field(description="Entries that the server has confirmed.")
    made: int = Field(description="Embeddings that had to be made.")
    saved_ms: int = Field(description="What making the hits had taken when they were made.")
    unreadable: dict[str, int] = Field(description="Entries that could not be used, by reason.")
    failures: dict[str, int] = Field(description="Operations that the server could not do, by reason.")
    skipped: dict[str, int] = Field(description="Requests that were not cached on purpose, by reason.")


class CacheStats(BaseModel):
    """What is in the cache, and what it was good for."""

    model_config = _with_example(
        status="healthy", redis_version="7.4.1", connected_clients=3, used_memory_human="1.52M",
        key_counts={"embedding": 120}, is_exact=True, cache_ttl_settings={"embedding": 604800},
        usage={
            "n_processes": 4, "hits": 930, "misses": 70, "hit_ratio": 0.93, "near_hits": 400, "shared": 12,
            "stored": 68, "made": 60, "saved_ms": 412000, "unreadable": {}, "failures": {"timeout": 1}, "skipped": {},
        },
    )  # fmt: skip

    status: Status
    redis_version: str | None = None
    connected_clients: int | None = None
    used_memory_human: str | None = None
    key_counts: dict[str, int] = Field(description="Entries of this namespace, by kind.")
    is_exact: bool = Field(description="False where there are too many keys to count: then the counts are estimates.")
    cache_ttl_settings: dict[str, int] = Field(description="Seconds that entries live, by kind.")
    usage: CacheUsage


class StatsResponse(BaseModel):
    """How the cache is and what is in it."""

    success: bool = Field(description="False where the server could not be asked.")
    message: str
    cache_stats: CacheStats


class HealthResponse(BaseModel):
    """How the cache is; requests are served in all three states."""

    model_config = _with_example(success=True, message="the cache is healthy", status="healthy", reason=None)

    success: bool = Field(description="False where the cache is degraded.")
    message: str
    status: Status
    reason: str | None = Field(None, description="Why it is degraded, in one word.")


class ClearResponse(BaseModel):
    """What was deleted."""

    model_config = _with_example(success=True, message="12 entries of kind session deleted", count=12, dry_run=False)

    success: bool
    message: str
    count: int = Field(description="How many entries were deleted, or would be.")
    dry_run: bool


class ForgetRequest(BaseModel):
    """Whom to forget: exactly one of the three."""

    model_config = _with_example(candidate_id="c-17")

    candidate_id: SubjectId | None = Field(None, description="A candidate, as given with what was asked.")
    job_id: SubjectId | None = Field(None, description="A job, as given with what was asked.")
    resume_text: Words | None = Field(None, description="The resume of a candidate who was given no id.")

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if sum(each is not None for each in (self.candidate_id, self.job_id, self.resume_text)) != 1:
            raise ValueError("expected exactly one of candidate_id, job_id and resume_text")
        return self


class ForgetResponse(BaseModel):
    """The receipt; it names nobody."""

    success: bool = Field(description="Whether nothing is left; else ask again.")
    message: str
    subject: SubjectKind
    count: int = Field(description="How many entries were deleted, or would be.")
    counts: dict[str, int] = Field(description="The same by the long name of their kind.")
    n_entries: int = Field(description="Entries whose headers the last pass has read.")
    n_passes: int
    is_verified: bool = Field(description="Whether the last pass found nothing.")
    verified_by: str
    finished_at: str
    refused_s: int = Field(description="Seconds that nothing about them is kept.")
    dry_run: bool


class Liveness(BaseModel):
    """The process answers."""

    status: str = "alive"


class Readiness(BaseModel):
    """Requests can be served."""

    status: str = "ready"
    cache: Status = Field(description="With a degraded cache requests are served without it.")


class Problem(BaseModel):
    """What went wrong, as RFC 9457 says it."""

    type: str = "about:blank"
    title: str = Field(description="The status in words.")
    status: int
    detail: str = Field(description="What was expected, what came, what to do.")
    code: str = Field(description="One word for programs.")
    errors: list[dict[str, str]] = Field(default=[], description="What is wrong with the request, each with `where`.")
