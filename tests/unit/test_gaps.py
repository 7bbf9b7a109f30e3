import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.gaps import MAX_PHRASES, gap_phrases

JOB = """Analyst

Requirements
- Handling Orchard Yield Sheets
- Thorough understanding of KVX and PLQ capabilities
- Knowledge of the Honey or Cider sector
- Customer service
- Python
"""


def test_a_gap_is_said_as_people_say_it() -> None:
    """The name, the ad's words, and what is left of them without the words of any ad; nothing twice."""
    phrases = gap_phrases("Python since 2016", JOB)
    assert {"Customer service", "KVX", "Honey"} <= set(phrases)
    assert "Orchard Yield Sheets" in gap_phrases("", "Requirements\n- Handling Orchard Yield Sheets\n")
    assert "Python" not in phrases
    assert len({phrase.casefold() for phrase in phrases}) == len(phrases) <= MAX_PHRASES


def test_what_the_resume_shows_is_no_gap() -> None:
    """A skill shown in other words, and a part of a phrase that stands in the resume, are not said."""
    phrases = gap_phrases("Built orchard yield sheets; served customers in Cider.", JOB)
    assert {"Orchard Yield Sheets", "Cider"}.isdisjoint(phrases)


@pytest.mark.parametrize("word", ["except", "without", "excluding"])
def test_an_exception_is_a_gap(word: str) -> None:
    """What a resume names to say that it lacks it is missing."""
    assert "Zyntherix" in gap_phrases(
        f"Ovens, mixers and lines {word} Zyntherix.", "Requirements\n- Ovens\n- Zyntherix\n"
    )


@given(resume=st.text(max_size=80), limit=st.integers(0, 20))
def test_no_more_is_said_than_wanted(resume: str, limit: int) -> None:
    """At most as many phrases are given as wanted: the first ones of the whole list."""
    assert gap_phrases(resume, JOB, limit=limit) == gap_phrases(resume, JOB, limit=100)[:limit]
