"""The main job as data: a resume and job ads in, a ranking and what the cache did for it out."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from cache.subjects import about_texts
from chains.documents import read_document, read_documents
from chains.matching import rank_by_vectors
from chains.schemas import MatchResult
from chains.vectors import document_vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from agent.wiring import Services
    from cache import Counts


_SECOND_MS = 1000


class CacheReport(BaseModel):
    """What the cache did.

    Attributes:
        texts: distinct texts that were needed.
        hits: of them, found in the cache.
        embedded: of them, sent to the model.
        elapsed_ms: what getting their vectors took.
        first_run_ms: what embedding the hits had taken when they were embedded.
        failures: operations that the store could not do, by reason.
    """

    model_config = ConfigDict(frozen=True)

    texts: int
    hits: int
    embedded: int
    elapsed_ms: float
    first_run_ms: int
    failures: dict[str, int]

    @classmethod
    def of(cls, counts: Counts, elapsed_ms: float) -> CacheReport:
        """From what the embeddings have counted."""
        return cls(
            texts=counts.hits + counts.misses,
            hits=counts.hits,
            embedded=counts.made,
            elapsed_ms=round(elapsed_ms, 1),
            first_run_ms=counts.saved_ms,
            failures=counts.failures,
        )

    def line(self) -> str:
        """The last line of the command."""
        line = f"{self.texts} texts: {self.hits} hits, {self.embedded} embedded, {_duration(self.elapsed_ms)}"
        if self.hits:
            line += f"; first run {_duration(self.first_run_ms)}"
        if self.failures:
            line += f"; the cache failed ({', '.join(sorted(self.failures))}) and was passed by"
        return line


class RankingReport(BaseModel):
    """The whole answer of `resumecache match`."""

    model_config = ConfigDict(frozen=True)

    resume: str
    jobs: int
    ranking: list[MatchResult]
    cache: CacheReport


def rank_files(
    services: Services,
    resume: Path,
    jobs: Sequence[Path],
    *,
    top: int | None,
    explain: bool,
    on_progress: Callable[[int, int], None] | None = None,
) -> RankingReport:
    """Read the files, rank the ads, and say what came from the cache.

    Args:
        services: the application.
        resume: a file.
        jobs: files, or folders that are searched for files.
        top: how many to give; `None` gives all.
        explain: whether the chat model, where one is configured, explains each that is given.
        on_progress: called with the number of texts that are embedded and of all.

    Raises:
        DocumentError: a file cannot be read.
    """
    document, ads = read_document(resume), read_documents(jobs)
    started_s = time.perf_counter()
    with about_texts(document.text):
        vectors = document_vectors(
            [document.text, *(ad.text for ad in ads)], services.embeddings, on_progress=on_progress
        )
    elapsed_ms = 1000 * (time.perf_counter() - started_s)
    report = CacheReport.of(services.embeddings.counts(), elapsed_ms)
    ranking = rank_by_vectors(document, ads, vectors, top)
    if explain:
        ranking = _explained(services, document.text, {str(ad.path): ad.text for ad in ads}, ranking)
    return RankingReport(resume=str(resume), jobs=len(ads), ranking=ranking, cache=report)


def _explained(
    services: Services, resume: str, ads: Mapping[str, str], ranking: Sequence[MatchResult]
) -> list[MatchResult]:
    requests = [{"resume": resume, "job": ads[str(result.source)]} for result in ranking]
    return [
        explained.model_copy(update={"rank": result.rank, "title": result.title, "source": result.source})
        for result, explained in zip(ranking, services.match_chain.batch(requests), strict=True)
    ]


def _duration(ms: float) -> str:
    return f"{ms:.0f} ms" if ms < _SECOND_MS else f"{ms / _SECOND_MS:.1f} s"
