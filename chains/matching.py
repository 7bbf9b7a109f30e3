"""Resumes against job ads: a matrix of scores, a ranking, and a chain that explains one pair."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from langchain_core.runnables import Runnable, RunnableLambda, RunnablePassthrough

from cache.scoring import top_k
from chains.analysis import PairAnalysis, compare, explain, gaps, strengths
from chains.asking import ask_or_none, name_of, schema_fingerprint
from chains.citations import checked_explanation
from chains.corpus import document_id
from chains.documents import Document
from chains.errors import EmptyDocumentError, PromptInputError
from chains.pair_cache import cached_results, parse_request
from chains.prompts import EXPLAIN_MATCH, PROMPT_VERSION
from chains.readings import JobReading, ResumeReading, read_job, read_resume
from chains.schemas import MatchExplanation, MatchResult, ScorePoints, SkillEvidence
from chains.score import SCORING_VERSION, Parts, match_score, meaning_share, percent, words_share
from chains.vectors import DocumentVectors, adocument_vectors, document_vectors, meaning_matrix
from chains.words import similarity

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from langchain_core.language_models import BaseChatModel

    from chains.pair_cache import ResultStore
    from chains.vectors import ArrayEmbeddings, Progress

ANALYSIS_VERSION = 2


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
    parts = pair_parts(resumes, jobs, embeddings=embeddings, on_progress=on_progress)
    scores = [match_score(pair).score for row in parts for pair in row]
    return np.array(scores, dtype=np.float64).reshape(len(resumes), len(jobs))


def pair_parts(
    resumes: Sequence[str],
    jobs: Sequence[str],
    *,
    embeddings: ArrayEmbeddings,
    on_progress: Progress | None = None,
) -> list[list[Parts]]:
    """What the scores of all pairs are made of: a row for each resume, in it one for each ad; see `score_matrix`."""
    vectors = document_vectors([*resumes, *jobs], embeddings, on_progress=on_progress)
    at = range(len(vectors))
    meaning = meaning_matrix(vectors.take(at[: len(resumes)]), vectors.take(at[len(resumes) :])).tolist()
    left, right = list(map(read_resume, resumes)), list(map(read_job, jobs))
    return [
        [_parts(resume, job, cosine) for job, cosine in zip(right, row, strict=True)]
        for resume, row in zip(left, meaning, strict=True)
    ]


def _parts(resume: ResumeReading, job: JobReading, meaning: float) -> Parts:
    return parts_of(compare(resume, job), resume, job, meaning)


def parts_of(analysis: PairAnalysis, resume: ResumeReading, job: JobReading, meaning: float) -> Parts:
    """Put together what the score of a pair is made of.

    Args:
        analysis: of the pair.
        resume: as read.
        job: as read.
        meaning: as `meaning_matrix` gives it.
    """
    return Parts(
        meaning=meaning,
        words=similarity(resume.terms, job.terms),
        skills=analysis.coverage,
        n_skills=len(analysis.findings),
        experience=analysis.experience,
        n_demands=len(job.demands),
        n_terms=len(resume.terms),
        copied=analysis.copied,
    )


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
    resume: Document, jobs: Sequence[Document], vectors: DocumentVectors, k: int | None = None
) -> list[MatchResult]:
    """Rank job ads whose vectors are there already.

    Args:
        resume: the resume.
        jobs: J ads.
        vectors: of 1 + J documents, the resume's and then the ads'. Not modified.
        k: how many to give; `None` gives all.
    """
    at = range(len(vectors))
    meaning = meaning_matrix(vectors.take(at[:1]), vectors.take(at[1:]))[0].tolist()
    read = read_resume(resume.text)
    results = [_result(read, job, cosine) for job, cosine in zip(jobs, meaning, strict=True)]
    hashes = [document_id(job.text) for job in jobs]
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

    With a chat model its explanation is added. Where the model fails, the computed one stands and is not kept.

    Args:
        embeddings: through the cache, or any model that gives arrays.
        chat_model: give it `cache=ResponseCache(...)` to have its answers kept.
        results: where results are kept, made with `match_variant`.

    Raises:
        PromptInputError: raised by the runnable when a text is missing or blank.
    """
    chain = _explained_chain(embeddings, chat_model)
    if results is None:
        return chain
    author = name_of(chat_model)
    return cached_results(chain, results, MatchResult, is_final=lambda result: result.explained_by == author)


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
        | RunnableLambda(lambda parts: _explained(parts["result"], parts["explanation"], parts, author))
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


def pair_result(resume: Document, job: Document, vectors: DocumentVectors) -> MatchResult:
    """The computed result of one pair; `vectors` are those of the resume and of the ad."""
    meaning = float(meaning_matrix(vectors.take([0]), vectors.take([1]))[0, 0])
    return _result(read_resume(resume.text), job, meaning)


def _result(resume: ResumeReading, job: Document, meaning: float) -> MatchResult:
    read = read_job(job.text)
    analysis = compare(resume, read)
    parts = parts_of(analysis, resume, read, meaning)
    points = match_score(parts)
    return MatchResult(
        title=job.title,
        source=str(job.path) if job.path else None,
        score=points.score,
        points=ScorePoints(**asdict(points)),
        semantic=percent(meaning_share(meaning)) or 0.0,
        wording=percent(words_share(parts.words)) or 0.0,
        coverage=percent(analysis.coverage),
        experience=percent(analysis.experience),
        skills_present=analysis.present,
        skills_missing=analysis.missing,
        must_have_missing=analysis.must_have_missing,
        evidence=tuple(
            SkillEvidence(skill=f.skill.name, job=f.skill.mention.text, resume=f.shown_as) for f in analysis.findings
        ),
        seniority_resume=analysis.seniority_resume,
        seniority_job=analysis.seniority_job,
        years_resume=analysis.years_resume,
        years_required=analysis.years_required,
        explanation=explain(analysis),
        strengths=tuple(strengths(analysis)),
        gaps=tuple(gaps(analysis)),
    )


def _findings(parts: dict[str, Any]) -> str:
    result: MatchResult = parts["result"]
    return result.explanation


def _explained(
    result: MatchResult, explanation: MatchExplanation | None, request: dict[str, Any], model_name: str
) -> MatchResult:
    """The result with as much of the model's explanation as the two texts hold; if that is nothing, as computed."""
    if explanation is None:
        return result
    checked, is_kept = checked_explanation(explanation, result, request["resume"], request["job"])
    return checked.model_copy(update={"explained_by": model_name}) if is_kept else checked
