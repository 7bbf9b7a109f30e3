"""Edits that make a resume say better what it already shows; what it does not support is refused and reported."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import Runnable, RunnableLambda, RunnablePassthrough

from chains.analysis import analyse_pair
from chains.asking import RULES, ask_or_none, name_of, schema_fingerprint
from chains.evidence import apply_edits, sort_edits
from chains.findings import resume_findings
from chains.matching import ANALYSIS_VERSION, documents_of, pair_result
from chains.pair_cache import cached_results, tagged
from chains.prompts import OPTIMIZE_RESUME, PROMPT_VERSION
from chains.rule_edits import edits_by_rule
from chains.schemas import MatchResult, OptimizationResult, ProposedEdits
from chains.score import SCORING_VERSION
from chains.vectors import adocument_vectors, document_vectors

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from chains.documents import Document
    from chains.pair_cache import ResultStore
    from chains.vectors import ArrayEmbeddings, DocumentVectors

EDITING_VERSION = 5


def optimization_variant(chat_model: str, embedding_model: str) -> tuple[str | int, ...]:
    """What an optimisation depends on besides its texts, for its key (see `match_variant`)."""
    versions = (EDITING_VERSION, SCORING_VERSION, ANALYSIS_VERSION, PROMPT_VERSION)
    return (*versions, schema_fingerprint(OptimizationResult, ProposedEdits), chat_model, embedding_model)


def build_optimize_chain(
    embeddings: ArrayEmbeddings, *, chat_model: BaseChatModel | None = None, results: ResultStore | None = None
) -> Runnable[Any, OptimizationResult]:
    """A runnable from `{"resume": text, "job": text}`, and perhaps a `"user"`, to an `OptimizationResult`.

    What it keeps can be forgotten by the text of the resume, or by a `"candidate"` that is given, and by the job.

    With a chat model it proposes the edits; without one, or where it fails, they follow from rules. Either way each
    edit is checked against the resume.

    Args:
        embeddings: through the cache, or any model that gives arrays.
        chat_model: give it `cache=ResponseCache(...)` to have its answers kept.
        results: where results are kept, made with `optimization_variant`.

    Raises:
        PromptInputError: raised by the runnable when a text is missing or blank.
    """
    chain = _editing_chain(embeddings, chat_model)
    if results is not None:
        author = name_of(chat_model)
        chain = cached_results(chain, results, OptimizationResult, is_final=lambda each: each.optimized_by == author)
    return tagged(chain)


def _editing_chain(embeddings: ArrayEmbeddings, chat_model: BaseChatModel | None) -> Runnable[Any, OptimizationResult]:
    author = name_of(chat_model)

    def finish(parts: dict[str, Any]) -> OptimizationResult:
        draft = _Draft(parts, author)
        return draft.result(document_vectors(draft.texts, embeddings))

    async def afinish(parts: dict[str, Any]) -> OptimizationResult:
        draft = await asyncio.to_thread(_Draft, parts, author)
        vectors = await adocument_vectors(draft.texts, embeddings)
        return await asyncio.to_thread(draft.result, vectors)  # tens of ms: others go on meanwhile

    proposed: RunnableLambda[Any, ProposedEdits | None] = RunnableLambda(lambda _: None)
    ask = ask_or_none(OPTIMIZE_RESUME, chat_model, ProposedEdits) if chat_model else proposed
    return RunnableLambda(_checked) | RunnablePassthrough.assign(proposed=ask) | RunnableLambda(finish, afunc=afinish)


def _checked(request: Any) -> dict[str, Any]:
    resume, job = documents_of(request)
    analysis = analyse_pair(resume.text, job.text)
    findings = f"Asked and shown: {', '.join(analysis.present)}\nAsked and not shown: {', '.join(analysis.missing)}"
    return {"resume": resume.text, "job": job.text, "documents": (resume, job), "findings": findings}


class _Draft:
    """Proposed edits, sorted into supported and refused ones."""

    def __init__(self, parts: dict[str, Any], author: str) -> None:
        resume, self._job = parts["documents"]
        self._resume: Document = resume
        proposed: ProposedEdits | None = parts["proposed"]
        self._author = RULES if proposed is None else author
        edits = edits_by_rule(resume.text, self._job.text) if proposed is None else proposed.edits
        kept, refused = sort_edits(resume.text, edits)
        self._kept, self._refused = tuple(kept), tuple(refused)
        self._edited = type(resume).from_text(apply_edits(resume.text, self._kept))

    @property
    def texts(self) -> list[str]:
        """The ad, the resume as it is, and the resume with all edits made."""
        return [self._job.text, self._resume.text, self._edited.text]

    def result(self, vectors: DocumentVectors) -> OptimizationResult:
        before = self._match(self._resume, vectors.take([1, 0]))
        return OptimizationResult(
            edits=self._kept,
            refused=self._refused,
            findings=resume_findings(self._resume.text, self._job.text),
            skills_missing=before.skills_missing,
            score_before=before.score,
            score_after=self._match(self._edited, vectors.take([2, 0])).score,
            optimized_by=self._author,
        )

    def _match(self, resume: Document, vectors: DocumentVectors) -> MatchResult:
        return pair_result(resume, self._job, vectors)
