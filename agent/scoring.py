"""The score of a resume along its edits, and which of them raise it or leave it as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from chains.documents import Document
from chains.evidence import apply_edits
from chains.matching import pair_result
from chains.schemas import Edit, RefusedEdit
from chains.vectors import adocument_vectors, document_vectors

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from agent.runs import Run
    from chains.vectors import ArrayEmbeddings, DocumentVectors


class Climb(NamedTuple):
    """Edits that do not lower the score.

    Attributes:
        kept: in their order.
        refused: those that would lower it.
        scores: of the resume as it is, and after each kept edit more.
    """

    kept: list[Edit]
    refused: list[RefusedEdit]
    scores: list[float]


def climb(run: Run, edits: Sequence[Edit], embeddings: ArrayEmbeddings) -> Climb:
    """Make edits one after the other, and leave out what lowers the score.

    Args:
        run: the texts.
        edits: in their whole words, which the resume supports.
        embeddings: through the cache, so that only what an edit has changed is embedded.
    """
    steps = _climb(run, edits)
    text = next(steps)
    while True:
        vectors = document_vectors([run.private.job, text], embeddings)
        try:
            text = steps.send(_scores(run, [text], vectors)[0])
        except StopIteration as end:
            found: Climb = end.value
            return found


async def aclimb(run: Run, edits: Sequence[Edit], embeddings: ArrayEmbeddings) -> Climb:
    """Asynchronous twin of `climb`."""
    steps = _climb(run, edits)
    text = next(steps)
    while True:
        vectors = await adocument_vectors([run.private.job, text], embeddings)
        try:
            text = steps.send(_scores(run, [text], vectors)[0])
        except StopIteration as end:
            found: Climb = end.value
            return found


def _climb(run: Run, edits: Sequence[Edit]) -> Generator[str, float, Climb]:
    """Ask for the score of one text after the other."""
    kept: list[Edit] = []
    refused: list[RefusedEdit] = []
    scores = [(yield _text_after(run, kept))]
    for edit in edits:
        score = yield _text_after(run, [*kept, edit])
        if score < scores[-1]:
            why = f"it would lower the score from {scores[-1]:.1f} to {score:.1f}"
            refused.append(RefusedEdit(edit=edit, why=why))
        else:
            kept.append(edit)
            scores.append(score)
    return Climb(kept, refused, scores)


def _text_after(run: Run, edits: Sequence[Edit]) -> str:
    return apply_edits(run.private.resume, tuple(run.hidden(edit) for edit in edits))


def scores_along(run: Run, edits: Sequence[Edit], embeddings: ArrayEmbeddings) -> list[float]:
    """The score of the resume as it is and after each edit more, by the texts that may leave.

    Args:
        run: the texts.
        edits: n edits, in their whole words, which the resume supports.
        embeddings: through the cache, so that only what an edit has changed is embedded.

    Returns:
        n + 1 numbers from 0 to 100.
    """
    texts = _texts_along(run, edits)
    return _scores(run, texts, document_vectors([run.private.job, *texts], embeddings))


async def ascores_along(run: Run, edits: Sequence[Edit], embeddings: ArrayEmbeddings) -> list[float]:
    """Asynchronous twin of `scores_along`."""
    texts = _texts_along(run, edits)
    return _scores(run, texts, await adocument_vectors([run.private.job, *texts], embeddings))


def _texts_along(run: Run, edits: Sequence[Edit]) -> list[str]:
    return [_text_after(run, edits[:n]) for n in range(len(edits) + 1)]


def _scores(run: Run, texts: Sequence[str], vectors: DocumentVectors) -> list[float]:
    job = Document.from_text(run.private.job)
    # A resume of nothing but identity lines still has a score.
    resumes = [Document.from_text(text or run.resume) for text in texts]
    return [pair_result(resume, job, vectors.take([at, 0])).score for at, resume in enumerate(resumes, start=1)]
