"""What of a language model's explanation is kept, and why the rest is not."""

from __future__ import annotations

import pytest

from cache import CacheBackedEmbeddings, CacheSettings, MemoryStore
from chains.citations import Kind, checked_explanation, why_unheld
from chains.matching import build_match_chain
from chains.schemas import MatchExplanation, MatchResult
from tests.fakes import CountingEmbeddings

RESUME = """Ann Example
Backend engineer at Harbour Ltd, 2016 - 2021
Ran services on Kubernetes and cut costs by 30 %.
Spring Boot, Redis
"""
JOB = """Backend engineer

Requirements
- 5+ years as a backend engineer
- Kubernetes
- Java
- Kafka
"""


@pytest.fixture
def result() -> MatchResult:
    model = CacheBackedEmbeddings(CountingEmbeddings(), MemoryStore(), model="m", settings=CacheSettings())
    return build_match_chain(model).invoke({"resume": RESUME, "job": JOB})


def explanation(summary: str, strengths: list[str], gaps: list[str]) -> MatchExplanation:
    return MatchExplanation(summary=summary, strengths=strengths, gaps=gaps)


@pytest.mark.parametrize(
    ("kind", "statement"),
    [
        ("strength", "Kubernetes, shown by \u201cRan services on Kubernetes\u201d"),
        ("strength", 'The resume says "ran services\non kubernetes".'),
        ("strength", "Spring Boot shows Java as well"),
        ("strength", "Five years, 2016 to 2021, are what the ad asks for: 5"),
        ("gap", "Kafka is asked and not shown"),
        ("gap", "Kubernetes is there, Kafka is not"),
        ("summary", "A backend engineer of Harbour who lacks Kafka."),
    ],
)
def test_what_the_texts_hold_is_kept(result: MatchResult, kind: Kind, statement: str) -> None:
    """Skills, numbers, names and quotes that stand in a text may be said, whatever the case and the line ends."""
    assert why_unheld(statement.replace("Five years", "Years"), kind, result, RESUME, JOB) is None


@pytest.mark.parametrize(
    ("kind", "statement", "why"),
    [
        ("strength", "Knows Kafka well", "the resume does not show Apache Kafka"),
        ("strength", "Knows Terraform", "the resume does not show Terraform"),
        ("strength", 'It says "led a team of engineers"', "neither text says 'led a team of engineers'"),
        ("strength", "Cut costs by 45 %", "neither text holds the number 45"),
        ("strength", "Worked at Siemens on Redis", "neither text says Siemens"),
        ("strength", "A certified engineer", "neither text says certified"),
        ("gap", "Kubernetes is missing", "the resume shows Kubernetes"),
        ("gap", "Terraform is missing", "neither text names Terraform"),
        ("summary", "Fits well, with Terraform and Redis.", "neither text names Terraform"),
        ("summary", " ", "it says nothing"),
    ],
)
def test_what_the_texts_do_not_hold_is_refused(result: MatchResult, kind: Kind, statement: str, why: str) -> None:
    """Each way of inventing something, and each contradiction to what was computed, is named."""
    assert why_unheld(statement, kind, result, RESUME, JOB) == why


def test_a_kept_statement_takes_the_place_of_the_computed_ones(result: MatchResult) -> None:
    """What holds is taken over, what does not is reported, and where nothing holds the computed words stay."""
    said = explanation("Fits, but for Kafka.", ["Kubernetes", "Terraform"], ["Kubernetes"])
    checked, is_kept = checked_explanation(said, result, RESUME, JOB)
    assert is_kept
    assert checked.explanation == "Fits, but for Kafka."
    assert checked.strengths == ("Kubernetes",)
    assert checked.gaps == result.gaps
    assert [(one.statement, one.why) for one in checked.refused] == [
        ("Terraform", "the resume does not show Terraform"),
        ("Kubernetes", "the resume shows Kubernetes"),
    ]


def test_an_invented_explanation_changes_nothing_but_the_report(result: MatchResult) -> None:
    """A model that invents everything leaves the computed result as it is."""
    checked, is_kept = checked_explanation(explanation("Ex-Google.", ["Terraform"], []), result, RESUME, JOB)
    assert not is_kept
    assert checked.model_copy(update={"refused": ()}) == result
    assert len(checked.refused) == 2


def test_computed_strengths_and_gaps_quote_both_texts(result: MatchResult) -> None:
    """Without a model, strengths quote the resume and gaps the ad, and each quote stands there."""
    assert 'Kubernetes: "Kubernetes"' in result.strengths
    assert 'Java: "Spring Boot"' in result.strengths
    assert result.gaps == ('Apache Kafka: "Kafka"',)
    for found in result.evidence:
        assert found.job in JOB
        assert found.resume is None or found.resume in RESUME
