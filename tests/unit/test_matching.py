from __future__ import annotations

import hashlib
import itertools
import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from langchain_core.embeddings import Embeddings
from pydantic import SecretStr
from typing_extensions import override

from cache import CacheBackedEmbeddings, CacheSettings, MemoryStore
from chains.documents import Document, read_documents
from chains.errors import PromptInputError
from chains.local_embeddings import LocalEmbeddings
from chains.matching import build_match_chain, rank_by_vectors, rank_jobs, score_matrix
from chains.models import RemoteModels, build_chat_model
from chains.vectors import DocumentVectors, document_vectors
from tests.fakes import CountingEmbeddings

if TYPE_CHECKING:
    from chains.schemas import MatchResult

SAMPLES = Path(__file__).resolve().parents[2] / "agent" / "samples"
EXPECTED: dict[str, dict[str, list[str]]] = json.loads((SAMPLES / "expected.json").read_text(encoding="utf-8"))
CLEARLY = 15.0  # points: more than neighbours in a ranking are apart
N_ASKED_FOR_NOTHING = ["Lorem ipsum dolor.", "Sit amet consectetur.", "Adipiscing elit sed.", "Do eiusmod tempor."]


class Samples:
    """All samples, embedded once by the local model."""

    def __init__(self) -> None:
        self.resumes = by_name(read_documents(SAMPLES / "resumes"))
        self.jobs = by_name(read_documents(SAMPLES / "jobs"))
        self._model, self._store = LocalEmbeddings(), MemoryStore()
        self._rankings: dict[str, list[MatchResult]] = {}

    @cached_property
    def embeddings(self) -> CacheBackedEmbeddings:
        """The model behind a store that soon holds every vector."""
        return CacheBackedEmbeddings(self._model, self._store, model=self._model.model, settings=CacheSettings())

    def ranking(self, resume: str) -> list[MatchResult]:
        """All ads ranked for a resume, worked out once."""
        if resume not in self._rankings:
            found = rank_jobs(self.resumes[resume], list(self.jobs.values()), embeddings=self.embeddings)
            self._rankings[resume] = found
        return self._rankings[resume]

    def some_jobs(self, n_jobs: int) -> list[Document]:
        return list(self.jobs.values())[:n_jobs]


class ConstantEmbeddings(Embeddings):
    """A model to which all texts mean the same."""

    @override
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[3.0, 4.0] for _ in texts]

    @override
    def embed_query(self, text: str) -> list[float]:
        return [3.0, 4.0]


@pytest.fixture(scope="session")
def samples(clean_environment: None) -> Samples:
    return Samples()


def by_name(documents: list[Document]) -> dict[str, Document]:
    return {document.path.name: document for document in documents if document.path}


def cached(model: Embeddings, **changes: Any) -> CacheBackedEmbeddings:
    return CacheBackedEmbeddings(model, MemoryStore(), model="m", **{"settings": CacheSettings()} | changes)


def file_of(result: MatchResult) -> str:
    return Path(result.source or "").name


def beginning(document: Document, n_chars: int = 1500) -> Document:
    return Document.from_text(document.text[:n_chars], path=document.path)


def same_meaning(*texts: str, k: int | None = None) -> list[MatchResult]:
    jobs = [Document.from_text(text) for text in texts]
    return rank_jobs(Document.from_text("Quis nostrud."), jobs, k, embeddings=cached(ConstantEmbeddings()))


# --- the samples, as people judged them ----------------------------------------------------------------------------


@pytest.mark.parametrize("resume", EXPECTED)
def test_the_best_ad_comes_first_or_second(resume: str, samples: Samples) -> None:
    """Of all the sample ads, the one that was written for a resume is among its first two."""
    ranks = {file_of(result): result.rank for result in samples.ranking(resume)}
    assert len(ranks) == len(samples.jobs)
    assert [ranks[job] for job in EXPECTED[resume]["best"] if ranks[job] > 2] == []


@pytest.mark.parametrize("resume", EXPECTED)
def test_ads_of_other_trades_score_clearly_below(resume: str, samples: Samples) -> None:
    """The ads that have no business with a resume score clearly below the one that was written for it."""
    scores = {file_of(result): result.score for result in samples.ranking(resume)}
    best = min(scores[job] for job in EXPECTED[resume]["best"])
    assert {job: scores[job] for job in EXPECTED[resume]["poor"] if scores[job] > best - CLEARLY} == {}


def test_what_stands_at_the_end_of_a_long_resume_counts(samples: Samples) -> None:
    """What an employer looks for stands after three pages of a resume: without its end another vector and score."""
    whole = samples.resumes["research-systems-engineer.md"].text
    cut, needed, _ = whole.partition("AUTOSAR")
    assert needed
    vectors = document_vectors([whole, cut], samples.embeddings)
    assert not np.array_equal(*vectors.pooled())
    job = samples.jobs["embedded-automotive-engineer.md"].text
    (with_end,), (without_end,) = score_matrix([whole, cut], [job], embeddings=samples.embeddings)
    assert with_end > without_end


# --- the same score, whatever surrounds a pair ---------------------------------------------------------------------


def test_a_pair_scores_alone_as_in_the_matrix(samples: Samples) -> None:
    """Each score of a matrix is, bit for bit, the one that its pair has alone."""
    resumes = [document.text for document in list(samples.resumes.values())[:2]]
    jobs = [document.text for document in samples.some_jobs(3)]
    matrix = score_matrix(resumes, jobs, embeddings=samples.embeddings)
    assert matrix.shape == (2, 3)
    for (row, column), score in np.ndenumerate(matrix):
        alone = score_matrix([resumes[row]], [jobs[column]], embeddings=samples.embeddings)
        assert alone.tolist() == [[score]]


def test_a_ranking_shows_the_scores_of_the_matrix(samples: Samples) -> None:
    """The ranking, the matrix and the match chain give a pair one score."""
    resume = samples.resumes["icu-nurse.docx"]
    job = samples.jobs["school-nurse.txt"]
    (ranked,) = [result for result in samples.ranking("icu-nurse.docx") if file_of(result) == "school-nurse.txt"]
    assert score_matrix([resume.text], [job.text], embeddings=samples.embeddings).tolist() == [[ranked.score]]
    chained = build_match_chain(samples.embeddings).invoke({"resume": resume.text, "job": job.text})
    assert chained.model_copy(update={"rank": ranked.rank, "source": ranked.source}) == ranked


def test_the_order_of_the_ads_does_not_matter(samples: Samples) -> None:
    """Ads in another order give the same ranking with the same scores, bit for bit."""
    resume, jobs = samples.resumes["icu-nurse.docx"], samples.some_jobs(6)
    forward = rank_jobs(resume, jobs, embeddings=samples.embeddings)
    backward = rank_jobs(resume, jobs[::-1], embeddings=samples.embeddings)
    assert backward == forward
    scores = {file_of(result): result.score for result in forward}
    among_all = [result for result in samples.ranking("icu-nurse.docx") if file_of(result) in scores]
    assert [(file_of(result), result.score) for result in among_all] == list(scores.items())


def test_batches_and_the_cache_do_not_matter(samples: Samples) -> None:
    """Embedded one by one, in one batch, in another order, from the cache or without one: one ranking, bit for bit."""
    model = LocalEmbeddings()
    resume = beginning(samples.resumes["icu-nurse.docx"])
    jobs = [beginning(document) for document in samples.some_jobs(3)]
    one_by_one, at_once = cached(model, batch_size=1), cached(model)
    cold = rank_jobs(resume, jobs, embeddings=one_by_one)
    warm = rank_jobs(resume, jobs, embeddings=one_by_one)
    assert one_by_one.counts().hits == one_by_one.counts().misses == one_by_one.counts().made
    off = cached(model, settings=CacheSettings(enabled=False))
    assert warm == cold
    assert rank_jobs(resume, jobs[::-1], embeddings=at_once) == cold
    assert rank_jobs(resume, jobs, embeddings=off) == cold
    assert off.counts().hits == 0


# --- the order and its bounds --------------------------------------------------------------------------------------


def test_a_ranking_goes_from_the_best_down(samples: Samples) -> None:
    """Ranks count from 1, and no score is above the one before it."""
    ranking = samples.ranking("backend-engineer.md")
    assert [result.rank for result in ranking] == list(range(1, len(samples.jobs) + 1))
    assert all(upper.score >= lower.score for upper, lower in itertools.pairwise(ranking))


def test_ads_of_one_score_stand_in_the_order_of_their_hashes() -> None:
    """When all ads score the same, the hashes of their texts decide and not the order in which they came."""
    by_hash = sorted(N_ASKED_FOR_NOTHING, key=lambda text: hashlib.sha256(text.encode()).hexdigest())
    assert by_hash != N_ASKED_FOR_NOTHING
    for texts in itertools.permutations(N_ASKED_FOR_NOTHING):
        ranking = same_meaning(*texts)
        assert len({result.score for result in ranking}) == 1
        assert [result.title for result in ranking] == [Document.from_text(text).title for text in by_hash]


def test_an_ad_that_came_twice_stands_twice() -> None:
    """Two copies of an ad are two results with one score."""
    first, second = same_meaning("Lorem ipsum.", "Lorem ipsum.")
    assert (first.rank, second.rank) == (1, 2)
    assert first.model_copy(update={"rank": 2}) == second


@pytest.mark.parametrize(("k", "n_results"), [(0, 0), (1, 1), (3, 3), (4, 4), (5, 4), (None, 4)])
def test_k_is_how_many_are_given(k: int | None, n_results: int) -> None:
    """The first k of the whole ranking are given, or all where there are fewer or no k is given."""
    whole = same_meaning(*N_ASKED_FOR_NOTHING)
    assert same_meaning(*N_ASKED_FOR_NOTHING, k=k) == whole[:n_results]


def test_no_ads_are_no_results() -> None:
    """Without ads the ranking is empty, and so is the matrix."""
    assert same_meaning() == []
    assert score_matrix(["a resume"], [], embeddings=cached(CountingEmbeddings())).shape == (1, 0)
    assert score_matrix([], ["an ad"], embeddings=cached(CountingEmbeddings())).shape == (0, 1)
    assert score_matrix([], [], embeddings=cached(CountingEmbeddings())).shape == (0, 0)


def test_blank_texts_score_nothing() -> None:
    """A blank text in a matrix has the zero vector, and 0 with every ad."""
    (blank, words) = score_matrix(
        ["", "words"], ["Lorem ipsum.", " "], embeddings=cached(ConstantEmbeddings())
    ).tolist()
    assert blank == [0.0, 0.0]
    assert words[0] > 90
    assert words[1] == 0.0


def test_vectors_that_are_there_are_used_and_left_alone() -> None:
    """With vectors at hand nothing is embedded: equal directions score high, and the vectors stay as they are."""
    rows = np.array([[1, 0], [0, 1], [2, 0]], dtype=np.float32)
    before, vectors = rows.copy(), DocumentVectors(rows, ((12,), (11,), (9,)))
    jobs = [Document.from_text(text) for text in N_ASKED_FOR_NOTHING[:2]]
    ranking = rank_by_vectors(Document.from_text("Quis nostrud."), jobs, vectors)
    assert [(result.title, result.semantic) for result in ranking] == [(jobs[1].title, 100.0), (jobs[0].title, 0.0)]
    assert ranking[0].score > 90
    assert ranking[1].score == 0
    np.testing.assert_array_equal(rows, before)


# --- the chain -----------------------------------------------------------------------------------------------------


def unreached_model() -> Any:
    """A chat model at an address where nobody answers: wrong input never gets there."""
    remote = RemoteModels(api_key=SecretStr("k"), base_url="http://127.0.0.1:9/v1", embedding_model="e", chat_model="c")
    return build_chat_model(remote)


async def test_the_chain_gives_the_same_in_both_worlds() -> None:
    """Both `invoke` and `ainvoke` give one result, without a language model by rules."""
    chain = build_match_chain(cached(CountingEmbeddings()))
    request = {"resume": "Python and Redis.", "job": "Python developer\nRequirements: Python, Kubernetes."}
    found = chain.invoke(request)
    assert await chain.ainvoke(request) == found
    assert (found.title, found.explained_by) == ("Python developer", "rules")
    assert "Python" in found.skills_present
    assert "Kubernetes" in found.skills_missing
    assert found.explanation


@pytest.mark.parametrize("with_chat_model", [False, True], ids=["rules", "chat_model"])
@pytest.mark.parametrize(
    ("request_", "named"),
    [
        ({}, "resume"),
        ({"resume": "words"}, "job"),
        ({"job": "words"}, "resume"),
        ({"resume": "", "job": "words"}, "resume"),
        ({"resume": "words", "job": " \n\t"}, "job ad"),
        ({"resume": "\u200b", "job": "words"}, "resume"),
        ({"resume": None, "job": "words"}, "resume"),
        ({"resume": 7, "job": "words"}, "resume"),
        ({"resume": "words", "job": "words", "jobs": []}, "jobs"),
        ("words", "resume"),
        (None, "resume"),
        (["words", "words"], "resume"),
    ],
)
async def test_input_that_lacks_words_is_refused(request_: Any, named: str, *, with_chat_model: bool) -> None:
    """Missing, blank or wrong input is a PromptInputError that names what was expected, before any model is asked."""
    model = CountingEmbeddings()
    chain = build_match_chain(cached(model), chat_model=unreached_model() if with_chat_model else None)
    with pytest.raises(PromptInputError, match=named):
        chain.invoke(request_)
    with pytest.raises(PromptInputError, match=named):
        await chain.ainvoke(request_)
    assert model.requests == []
