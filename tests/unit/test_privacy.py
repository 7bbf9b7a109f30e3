"""What tells who somebody is is taken out of a text, and put back."""

from __future__ import annotations

import pytest

from chains.privacy import without_identity
from tests.traps.resumes import CHANGER, CONTROLLER, ENGINEER, NURSE


@pytest.mark.parametrize(
    ("resume", "secrets"),
    [
        (ENGINEER, ("Mara", "Lindqvist", "@", "123 45 67", "linkedin.com")),
        (NURSE, ("Daniel", "Okafor", "@", "496 0123")),
        (CONTROLLER, ("@",)),
        (CHANGER, ("@",)),
    ],
)
def test_identity_lines_are_cut_and_the_rest_stays(resume: str, secrets: tuple[str, ...]) -> None:
    """The story of a resume is what is left, word for word."""
    kept = without_identity(resume, "An ad.").resume
    assert [secret for secret in secrets if secret in kept] == []
    assert kept
    assert resume.strip().endswith(kept)


def test_a_name_in_the_story_comes_back_as_it_was() -> None:
    """Each spelling of the name has a placeholder of its own, in the ad too; a word that holds the name stays."""
    texts = without_identity("Ann Weber\nann@example.com\n\nSummary\nAnn led WEBER Racing; Anniversary.", "Dear Ann")
    assert texts.resume == "Summary\n[NAME_1] led [NAME_2] Racing; Anniversary."
    assert texts.job == "Dear [NAME_1]"
    assert texts.restore(texts.resume) == "Summary\nAnn led WEBER Racing; Anniversary."
    assert texts.hide("Ann and WEBER") == "[NAME_1] and [NAME_2]"


def test_a_placeholder_never_means_words_of_the_text() -> None:
    """A text that holds what looks like a placeholder is given back as it was."""
    texts = without_identity("Ann Weber\nann@example.com\n\nSummary\nAnn wrote [NAME_1].", "An ad.")
    assert texts.resume == "Summary\n[NAME_2] wrote [NAME_1]."
    assert texts.restore(texts.resume) == "Summary\nAnn wrote [NAME_1]."


def test_a_title_in_place_of_a_name_is_no_name() -> None:
    """A headline whose words stand in the story in small letters hides nothing of it."""
    texts = without_identity("Backend Engineer\n\nSummary\nA backend engineer.", "We look for an engineer.")
    assert texts.placeholders == ()
