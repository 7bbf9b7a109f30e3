"""Resumes against job ads: a matrix of scores, a ranking, and a chain that explains one pair."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
from langchain_core.runnables import Runnable, RunnableLambda, RunnablePassthrough
from pydantic import ValidationError

from cache.scoring import cosine_similarity, top_k
from chains.analysis import analyse_pair, explain
from chains.documents import Document
from chains.errors import EmptyDocumentError, OutputParseError, PromptInputError
from chains.prompts import EXPLAIN_MATCH
from chains.schemas import MatchExplanation, MatchRequest, MatchResult
from chains.score import coverage_percent, match_score, semantic_percent
from chains.vectors import adocument_vectors, document_vectors

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from langchain_core.language_models import BaseChatModel

    from chains.vectors import ArrayEmbeddings, Matrix, Progress

_log = logging.getLogger("resumecache")


def score_matrix(
    resumes: Sequence[str],
    jobs: Sequence[str],
    *,
    embeddings: ArrayEmbeddings,
    on_progress: Progress | None = None,
) -> npt.NDArray[np.float64]:
    """Score every resume against every job ad.

    Args:
        resumes: R texts.
        jobs: J texts.
        embeddings: through the cache, or any model that gives arrays.
        on_progress: called with the number of chunks that are embedded and of all.

    Returns:
        float64, shape (R, J), 0 to 100. The score of a pair depends on that pair alone.
    """
    vectors = document_vectors([*resumes, *jobs], embeddings, on_progress=on_progress)
    cosines = cosine_similarity(vectors[: len(resumes)], vectors[len(resumes) :])
    scores = np.zeros(cosines.shape)
    for (row, column), cosine in np.ndenumerate(cosines):
        analysis = analyse_pair(resumes[row], jobs[column])
        scores[row, column] = match_score(float(cosine), analysis.coverage, len(analysis.asked))
    return scores


def rank_jobs(
    resume: Document,
    jobs: Sequence[Document],
    k: int | None = None,
    *,
    embeddings: ArrayEmbeddings,
    on_progress: Progress | None = None,
) -> list[MatchResult]:
    """Rank job ads for a resume, the best first.

    Args:
        resume: the resume.
        jobs: the ads.
        k: how many to give; `None` gives all.
        embeddings: through the cache, or any model that gives arrays.
        on_progress: called with the number of chunks that are embedded and of all.

    Returns:
        Results with their ranks; ads of one score stand in the order of their texts' hashes.
    """
    texts = [resume.text, *(job.text for job in jobs)]
    return rank_by_vectors(resume, jobs, document_vectors(texts, embeddings, on_progress=on_progress), k)


def rank_by_vectors(
    resume: Document, jobs: Sequence[Document], vectors: Matrix, k: int | None = None
) -> list[MatchResult]:
    """Rank job ads whose vectors are there already.

    Args:
        resume: the resume.
        jobs: J ads.
        vectors: float32, shape (1 + J, d): the resume's and then the ads'. Not modified.
        k: how many to give; `None` gives all.
    """
    cosines = cosine_similarity(vectors[:1], vectors[1:])[0].tolist()
    results = [_result(resume, job, cosine) for job, cosine in zip(jobs, cosines, strict=True)]
    hashes = [hashlib.sha256(job.text.encode("utf-8", "surrogatepass")).hexdigest() for job in jobs]
    scores = np.array([result.score for result in results])
    best = top_k(scores, len(jobs) if k is None else k, tie_keys=hashes)
    return [results[index].model_copy(update={"rank": rank}) for rank, index in enumerate(best, start=1)]


def build_match_chain(
    embeddings: ArrayEmbeddings, *, chat_model: BaseChatModel | None = None
) -> Runnable[Any, MatchResult]:
    """A runnable from `{"resume": text, "job": text}` to a `MatchResult`.

    With a chat model its explanation is added; the request carries its answer's whole JSON schema, so that a cache
    can tell one version of the schema from another. Where the model fails, the computed explanation stands.

    Args:
        embeddings: through the cache, or any model that gives arrays.
        chat_model: give it `cache=ResponseCache(...)` to have its answers kept.

    Raises:
        PromptInputError: raised by the runnable when a text is missing or blank.
    """

    def analyse(request: dict[str, Any]) -> MatchResult:
        resume, job = _documents(request)
        return _pair_result(resume, job, document_vectors([resume.text, job.text], embeddings))

    async def aanalyse(request: dict[str, Any]) -> MatchResult:
        resume, job = _documents(request)
        return _pair_result(resume, job, await adocument_vectors([resume.text, job.text], embeddings))

    analysis = RunnableLambda(analyse, afunc=aanalyse)
    if chat_model is None:
        return analysis
    schema = MatchExplanation.model_json_schema()
    answer = EXPLAIN_MATCH | chat_model.with_structured_output(schema, method="json_schema") | _parsed
    asked = RunnablePassthrough.assign(findings=_findings) | answer
    explanation = asked.with_fallbacks([_FALLBACK], exception_key="error")
    model_name = str(getattr(chat_model, "model_name", type(chat_model).__name__))
    return (
        RunnablePassthrough.assign(result=analysis)
        | RunnablePassthrough.assign(explanation=explanation)
        | RunnableLambda(lambda parts: _explained(parts["result"], parts["explanation"], model_name))
    )


def _documents(request: dict[str, Any]) -> tuple[Document, Document]:
    try:
        given = MatchRequest.model_validate(request)
        return Document.from_text(given.resume), Document.from_text(given.job)
    except ValidationError as error:
        problems = "; ".join(f"{item['loc'][0]}: {item['msg']}" for item in error.errors())
        raise PromptInputError(f"expected {{'resume': text, 'job': text}}: {problems}") from None
    except EmptyDocumentError as error:
        raise PromptInputError(f"expected texts of a resume and of a job ad: {error}") from None


def _pair_result(resume: Document, job: Document, vectors: Matrix) -> MatchResult:
    return _result(resume, job, float(cosine_similarity(vectors[:1], vectors[1:])[0, 0]))


def _result(resume: Document, job: Document, cosine: float) -> MatchResult:
    analysis = analyse_pair(resume.text, job.text)
    return MatchResult(
        title=job.title,
        source=str(job.path) if job.path else None,
        score=match_score(cosine, analysis.coverage, len(analysis.asked)),
        semantic=semantic_percent(cosine),
        coverage=coverage_percent(analysis.coverage),
        skills_present=analysis.present,
        skills_missing=analysis.missing,
        must_have_missing=analysis.must_have_missing,
        seniority_resume=analysis.seniority_resume,
        seniority_job=analysis.seniority_job,
        years_resume=analysis.years_resume,
        years_required=analysis.years_required,
        explanation=explain(analysis),
    )


def _findings(parts: dict[str, Any]) -> str:
    result: MatchResult = parts["result"]
    return result.explanation


def _parsed(answer: Any) -> MatchExplanation:
    try:
        return MatchExplanation.model_validate(answer)
    except ValidationError as error:
        raise OutputParseError(f"the model answered outside its schema in {error.error_count()} places") from None


def _unexplained(parts: dict[str, Any]) -> None:
    error = parts["error"]
    _log.warning("no explanation by the model (%s), the computed one stands", type(error).__name__)


_FALLBACK: RunnableLambda[dict[str, Any], Any] = RunnableLambda(_unexplained)


def _explained(result: MatchResult, explanation: MatchExplanation | None, model_name: str) -> MatchResult:
    if explanation is None:
        return result
    return result.model_copy(
        update={
            "explanation": explanation.summary,
            "strengths": tuple(explanation.strengths),
            "gaps": tuple(explanation.gaps),
            "explained_by": model_name,
        }
    )
