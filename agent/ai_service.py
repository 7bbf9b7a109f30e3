"""`AIService`: the documented flows of a backend that matches resumes, on the chains and the cache."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from cache.subjects import about, about_texts
from chains.errors import ModelError
from chains.matching import rank_by_vectors, rank_jobs
from chains.schemas import MatchResult, OptimizationResult
from chains.vectors import DocumentVectors, flat, split_documents

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_core.runnables import Runnable

    from agent.wiring import Services
    from cache.codecs.vectors import FloatArray
    from chains.documents import Document

Result = TypeVar("Result")
Schema = TypeVar("Schema", bound=BaseModel)

_AT_ONCE = 4  # computations in threads; each further one makes the event loop wait longer for its turn


class Found(StrEnum):
    """How much of an answer was in the cache."""

    HIT = "hit"
    PARTIAL = "partial"
    MISS = "miss"


@dataclass(frozen=True, slots=True)
class Answer(Generic[Result]):
    """A result, and how much of it was in the cache."""

    result: Result
    found: Found


class AIService:
    """What a backend calls. Everything is asynchronous and answered by the cache where it can be.

    What only computes runs in threads, a few at a time, so that the event loop goes on serving others.

    Args:
        services: the application; who made it closes it.
    """

    def __init__(self, services: Services) -> None:
        self.services = services
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def get_embeddings(
        self,
        texts: Sequence[str],
        session_id: str | None = None,
        *,
        candidate: str | None = None,
        job: str | None = None,
    ) -> list[list[float]]:
        """Embed texts: each is looked up, and only those that are missing are sent to the model.

        A blank text gets the zero vector. The session is noted as having asked; it is no part of any key, so that
        all sessions share what one of them has paid for.

        Args:
            texts: what to embed.
            session_id: who asks.
            candidate: the id that the vectors can be forgotten by; without one they are about nobody.
            job: the same of a job.

        Raises:
            InvalidKeyError: the session id, or another one, cannot be used.
        """
        return (await self.embed(texts, session_id, candidate=candidate, job=job)).result.tolist()  # type: ignore[no-any-return]  # numpy's Any

    async def embed(
        self,
        texts: Sequence[str],
        session_id: str | None = None,
        *,
        candidate: str | None = None,
        job: str | None = None,
    ) -> Answer[FloatArray]:
        """As `get_embeddings`, as float32 of shape (n, d), and whether they were in the cache."""
        seen = _Seen()
        with about(candidate=candidate, job=job):
            vectors = await self.services.embeddings.aembed_array(texts, on_progress=seen)
        if session_id is not None:
            await self._note(session_id, n_texts=len(texts))
        return Answer(vectors, seen.found)

    async def analyze_job_match(
        self,
        resume_text: str,
        job_description: str,
        user_id: str | None = None,
        *,
        candidate: str | None = None,
        job: str | None = None,
    ) -> MatchResult:
        """How well a resume fits an ad; kept for the user.

        Args:
            resume_text: the resume.
            job_description: the ad.
            user_id: whose result it is.
            candidate: the id that all of it can be forgotten by; without one the resume's text is (`id_of_text`).
            job: the same of the job.

        Raises:
            PromptInputError: a text is blank, or an id cannot be used.
            InvalidKeyError: the user's name cannot be used.
        """
        return (await self.match(resume_text, job_description, user_id, candidate=candidate, job=job)).result

    async def match(
        self,
        resume_text: str,
        job_description: str,
        user_id: str | None = None,
        *,
        candidate: str | None = None,
        job: str | None = None,
    ) -> Answer[MatchResult]:
        """As `analyze_job_match`, and whether the result was in the cache."""
        kept = await self.services.cache.get_cached_job_match_result(resume_text, job_description, user_id)
        request = _request(resume_text, job_description, user_id, candidate, job)
        return await self._answer(MatchResult, kept, self.services.match_chain, request)

    async def optimize_resume(
        self,
        resume_text: str,
        job_description: str,
        user_id: str | None = None,
        *,
        candidate: str | None = None,
        job: str | None = None,
    ) -> OptimizationResult:
        """Edits that make a resume say better what it shows; kept for the user.

        Args:
            resume_text: the resume.
            job_description: the ad.
            user_id: whose result it is.
            candidate: the id that all of it can be forgotten by; without one the resume's text is (`id_of_text`).
            job: the same of the job.

        Raises:
            PromptInputError: a text is blank, or an id cannot be used.
            InvalidKeyError: the user's name cannot be used.
        """
        return (await self.optimize(resume_text, job_description, user_id, candidate=candidate, job=job)).result

    async def optimize(
        self,
        resume_text: str,
        job_description: str,
        user_id: str | None = None,
        *,
        candidate: str | None = None,
        job: str | None = None,
    ) -> Answer[OptimizationResult]:
        """As `optimize_resume`, and whether the result was in the cache."""
        kept = await self.services.cache.get_cached_optimization_result(resume_text, job_description, user_id)
        request = _request(resume_text, job_description, user_id, candidate, job)
        return await self._answer(OptimizationResult, kept, self.services.optimize_chain, request)

    async def rank(
        self, resume: Document, jobs: Sequence[Document], top_k: int | None = None, *, candidate: str | None = None
    ) -> Answer[list[MatchResult]]:
        """Rank job ads for a resume, the best first, and whether the vectors were in the cache.

        Args:
            resume: the resume.
            jobs: the ads; their paths come back as `source`.
            top_k: how many to give; `None` gives all.
            candidate: the id that the vectors can be forgotten by; without one the resume's text is.
        """
        seen = _Seen()
        with about_texts(resume.text, candidate=candidate):
            ranking = await (self._rank_here if self.services.is_local else self._rank)(resume, jobs, top_k, seen)
        return Answer(ranking, seen.found)

    async def _rank_here(
        self, resume: Document, jobs: Sequence[Document], top_k: int | None, seen: _Seen
    ) -> list[MatchResult]:
        embeddings = self.services.embeddings
        try:
            return await self.compute(lambda: rank_jobs(resume, jobs, top_k, embeddings=embeddings, on_progress=seen))
        except asyncio.CancelledError:
            seen.is_left = True
            raise

    async def _rank(
        self, resume: Document, jobs: Sequence[Document], top_k: int | None, seen: _Seen
    ) -> list[MatchResult]:
        """Rank with a model that is waited for: meanwhile no thread is held."""
        chunks = await self.compute(split_documents, [resume.text, *(job.text for job in jobs)])
        rows = await self.services.embeddings.aembed_array(flat(chunks), on_progress=seen)
        vectors = DocumentVectors.of(chunks, rows)
        return await self.compute(lambda: rank_by_vectors(resume, jobs, vectors, top_k))

    async def compute(self, function: Callable[..., Result], *args: Any) -> Result:
        """Run what keeps a processor busy in a thread, when its turn comes."""
        async with self._turns:
            return await asyncio.to_thread(function, *args)

    async def _answer(
        self, schema: type[Schema], kept: Any, chain: Runnable[Any, Schema], request: dict[str, Any]
    ) -> Answer[Schema]:
        found = _parsed(schema, kept)
        if found is not None:
            return Answer(found, Found.HIT)
        if self.services.is_local:
            return Answer(await self.compute(lambda: chain.invoke(request)), Found.MISS)
        return Answer(await chain.ainvoke(request), Found.MISS)

    async def _get_ai_response(self, prompt: str, max_tokens: int | None = None, temperature: float = 0.7) -> str:
        """The chat model's answer to one human message.

        Raises:
            ModelError: no chat model is configured.
        """
        model = self.services.chat_model_for(temperature=temperature, max_tokens=max_tokens)
        if model is None:
            raise ModelError("no chat model: set OPENAI_API_KEY, or OPENAI_BASE_URL of a compatible server")
        return str((await model.ainvoke(prompt)).text)

    async def _note(self, session_id: str, *, n_texts: int) -> None:
        note = partial(_noted, n_texts=n_texts, seen_s=int(time.time()))
        await self.services.cache.update_session(session_id, note)


def _noted(found: Any | None, *, n_texts: int, seen_s: int) -> dict[str, Any] | None:
    """The data of a session with the note; `None` where they are no object: they are their owner's to set, not ours."""
    data = {} if found is None else found
    if not isinstance(data, dict):
        return None
    asked = data.get("texts_embedded")
    n_asked = asked if isinstance(asked, int) else 0
    return {**data, "texts_embedded": n_asked + n_texts, "last_seen_s": seen_s}


class _Seen:
    """What a lookup of many texts has found: the first report of progress tells, and none comes where all is there.

    Attributes:
        found: how much was in the cache.
        is_left: whether nobody waits any more: then the next report ends the work.
    """

    def __init__(self) -> None:
        self.found = Found.HIT
        self.is_left = False
        self._is_told = False

    def __call__(self, n_ready: int, _n_all: int) -> None:
        if self.is_left:
            raise asyncio.CancelledError
        if not self._is_told:
            self._is_told = True
            self.found = Found.PARTIAL if n_ready else Found.MISS


def _request(resume: str, job: str, user: str | None, candidate: str | None, job_id: str | None) -> dict[str, Any]:
    return {"resume": resume, "job": job, "user": user, "candidate": candidate, "job_id": job_id}


def _parsed(schema: type[Schema], value: Any) -> Schema | None:
    if value is None:
        return None
    try:
        return schema.model_validate(value)
    except ValidationError:
        return None
