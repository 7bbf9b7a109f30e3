"""Resumes against job ads: a matrix of scores, a ranking, and a chain that explains one pair."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
from langchain_core.runnables import Runnable, RunnableLambda, RunnablePassthrough

from cache.scoring import cosine_similarity, top_k
from cache.subjects import about_texts
from chains.analysis import analyse_pair, explain
from chains.asking import ask_or_none, name_of, schema_fingerprint
from chains.documents import Document
from chains.errors import EmptyDocumentError, PromptInputError
from chains.pair_cache import cached_results, parse_request, tagged
from chains.prompts import EXPLAIN_MATCH, PROMPT_VERSION
from chains.schemas import MatchExplanation, MatchResult
from chains.score import SCORING_VERSION, coverage_percent, match_score, semantic_percent
from chains.vectors import adocument_vectors, document_vectors

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from langchain_core.language_models import BaseChatModel

    from chains.pair_cache import ResultStore
    from chains.vectors import ArrayEmbeddings, Matrix, Progress

ANALYSIS_VERSION = 1


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
    with about_texts(resume.text):
        vectors = document_vectors(texts, embeddings, on_progress=on_progress)
    return rank_by_vectors(resume, jobs, vectors, k)


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


def match_variant(chat_model: str, embedding_model: str) -> tuple[str | int, ...]:
    """What a match result depends on besides its texts, for its key.

    Args:
        chat_model: as `name_of` gives it.
        embedding_model: the model's name.
    """
    versions = (SCORING_VERSION, ANALYSIS_VERSION, PROMPT_VERSION)
    return (*versions, schema_fingerprint(MatchResult, MatchExplanation), chat_model, embedding_model)


def build_match_chain(
    embeddings: ArrayEmbeddings, *, chat_model: BaseChatModel | None = None, results: ResultStore | None = None
) -> Runnable[Any, MatchResult]:
    """A runnable from `{"resume": text, "job": text}`, and perhaps a `"user"`, to a `MatchResult`.

    What it keeps can be forgotten by the text of the resume, or by a `"candidate"` that is given, and by the job.

    With a chat model its explanation is added. Where the model fails, the computed one stands and is not kept.

    Args:
        embeddings: through the cache, or any model that gives arrays.
        chat_model: give it `cache=ResponseCache(...)` to have its answers kept.
        results: where results are kept, made with `match_variant`.

    Raises:
        PromptInputError: raised by the runnable when a text is missing or blank.
    """
    chain = _explained_chain(embeddings, chat_model)
    if results is not None:
        author = name_of(chat_model)
        chain = cached_results(chain, results, MatchResult, is_final=lambda result: result.explained_by == author)
    return tagged(chain)


def _explained_chain(embeddings: ArrayEmbeddings, chat_model: BaseChatModel | None) -> Runnable[Any, MatchResult]:
    def analyse(request: Any) -> MatchResult:
        resume, job = documents_of(request)
        return pair_result(resume, job, document_vectors([resume.text, job.text], embeddings))

    async def aanalyse(request: Any) -> MatchResult:
        resume, job = await asyncio.to_thread(documents_of, request)
        vectors = await adocument_vectors([resume.text, job.text], embeddings)
        return await asyncio.to_thread(pair_result, resume, job, vectors)  # tens of ms: others go on meanwhile

    analysis = RunnableLambda(analyse, afunc=aanalyse)
    if chat_model is None:
        return analysis
    ask = RunnablePassthrough.assign(findings=_findings) | ask_or_none(EXPLAIN_MATCH, chat_model, MatchExplanation)
    author = name_of(chat_model)
    return (
        RunnableLambda(_checked)
        | RunnablePassthrough.assign(result=analysis)
        | RunnablePassthrough.assign(explanation=ask)
        | RunnableLambda(lambda parts: _explained(parts["result"], parts["explanation"], author))
    )


def _checked(request: Any) -> dict[str, Any]:
    """The input as the dictionary that LangChain's assign insists on, whatever its caller gave."""
    return parse_request(request).model_dump()


def documents_of(request: Any) -> tuple[Document, Document]:
    """The two documents of a chain's input.

    Raises:
        PromptInputError: a text is missing, blank or of the wrong kind.
    """
    given = parse_request(request)
    try:
        return Document.from_text(given.resume), Document.from_text(given.job)
    except EmptyDocumentError as error:
        raise PromptInputError(f"expected texts of a resume and of a job ad: {error}") from None


def pair_result(resume: Document, job: Document, vectors: Matrix) -> MatchResult:
    """The computed result of one pair; `vectors` has shape (2, d)."""
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
