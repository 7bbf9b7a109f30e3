"""What a resume supports, and the edits that follow without a language model."""

from __future__ import annotations

import pytest

from chains.evidence import apply_edits, sort_edits, why_unsupported
from chains.findings import resume_findings
from chains.rule_edits import edits_by_rule
from chains.schemas import Edit

RESUME = """\
Ann Example
ann@example.com, +49 30 1234567

Backend engineer. Led a team of 4 and cut costs by 30 %.
Deployed services to Kubernetes with Terraform.

Skills: Docker, AWS, Helm, Python
"""


def edit(**changed: str) -> Edit:
    whole = {
        "original": "Deployed services to Kubernetes with Terraform.",
        "new": "Deployed Python services to Kubernetes with Terraform.",
        "reason": "The ad asks for Python.",
        "evidence": "Skills: Docker, AWS, Helm, Python",
    }
    return Edit(**whole | changed)


def test_a_supported_edit_is_accepted() -> None:
    """Words that the resume proves may take the place of words that stand in it."""
    assert why_unsupported(RESUME, edit()) is None


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"original": "Deployed all services"}, "do not stand in the resume"),
        ({"original": ""}, "do not stand in the resume"),
        ({"new": "Deployed services to Kubernetes with Terraform."}, "nothing would change"),
        ({"new": "  "}, "nothing would change"),
        ({"evidence": "Knows Python by heart"}, "evidence does not stand"),
        ({"new": "Deployed 12 services to Kubernetes with Terraform."}, "number 12 of this"),
        ({"new": "Deployed services to Kubernetes with Terraform and Kafka."}, "does not show Apache Kafka"),
        ({"original": "ann@example.com", "new": "bob@example.com"}, "who the resume is about"),
        ({"new": "Deployed services at Siemens to Kubernetes with Terraform."}, "does not say Siemens"),
        ({"new": "McKinsey services deployed to Kubernetes with Terraform."}, "does not say McKinsey"),
        ({"new": "Deployed a dozen services to Kubernetes with Terraform."}, "number 12 of this"),
        ({"original": "Backend engineer.", "new": "Principal backend engineer."}, "does not say Principal"),
    ],
)
def test_an_unsupported_edit_is_refused_with_its_reason(changed: dict[str, str], why: str) -> None:
    """Each way of inventing something is named."""
    assert why in str(why_unsupported(RESUME, edit(**changed)))


def test_edits_of_the_same_words_are_made_once() -> None:
    """A second edit of words that the first has changed is refused, and an equal one is left out."""
    first, second = edit(), edit(new="Deployed Docker services to Kubernetes with Terraform.")
    kept, refused = sort_edits(RESUME, [first, first, second])
    assert kept == [first]
    assert [(each.edit, each.why) for each in refused] == [(second, "an earlier edit has changed these words")]


def test_edits_are_made_where_their_words_first_stand() -> None:
    """Only the first place changes, and the rest of the text stays."""
    changed = apply_edits("a b a", (edit(original="a", new="c"),))
    assert changed == "c b a"


def test_rules_list_asked_skills_that_other_lines_prove() -> None:
    """Kubernetes and Terraform are asked, shown in a sentence, and missing from the list of skills."""
    job = "Requirements:\n- Kubernetes\n- Terraform\n- Python\n- Kafka\n"
    [found] = edits_by_rule(RESUME, job)
    assert found.original == "Skills: Docker, AWS, Helm, Python"
    assert found.new == "Skills: Docker, AWS, Helm, Python, Kubernetes, Terraform"
    assert found.evidence == "Deployed services to Kubernetes with Terraform"
    assert why_unsupported(RESUME, found) is None


def test_rules_propose_nothing_where_nothing_is_gained() -> None:
    """No list of skills, or no asked skill that it lacks: no edit."""
    assert edits_by_rule("Deployed services to Kubernetes.", "Requirements:\n- Kubernetes") == []
    assert edits_by_rule(RESUME, "Requirements:\n- Docker\n- Kafka") == []


def test_rules_put_the_asked_skills_of_a_list_first() -> None:
    """A list is read from its beginning; nothing is added and nothing left out."""
    [found] = edits_by_rule(RESUME, "Requirements:\n- Python\n- Kafka")
    assert found.new == "Skills: Python, Docker, AWS, Helm"
    assert why_unsupported(RESUME, found) is None


@pytest.mark.parametrize(
    ("line", "new"),
    [
        ("Responsible for maintaining two presses.", "Maintained two presses."),
        ("Was involved in building a bridge.", "Helped build a bridge."),
    ],
)
def test_rules_begin_with_what_was_done(line: str, new: str) -> None:
    """An office becomes a deed, and a part in something stays a part."""
    resume = f"Ann Example\n\n- {line}\n"
    [found] = edits_by_rule(resume, "Requirements:\n- Welding")
    assert found.new == new
    assert why_unsupported(resume, found) is None


def test_what_only_its_owner_can_mend_is_said() -> None:
    """Bullets without numbers, asked skills that come late, and a text that is too short."""
    bullets = "".join(f"- {deed} things for others.\n" for deed in ("Sold", "Moved", "Found", "Kept"))
    found = resume_findings(f"Ann Example\n\n{bullets}Knows Python.", "Requirements:\n- Python")
    assert [finding.kind for finding in found] == ["no outcome", "buried", "length"]
    assert found[1].words == ("Python",)
    assert resume_findings("word " * 400, "Requirements:\n- Python") == ()
