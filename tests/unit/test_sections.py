import pytest

from chains.sections import Section, resume_lines


@pytest.mark.parametrize(
    ("heading", "section"),
    [
        ("Work experience", "work"),
        ("## Employment history", "work"),
        ("BERUFSERFAHRUNG", "work"),
        ("Beruflicher Werdegang", "work"),
        ("Expérience professionnelle", "work"),
        ("Experiență profesională", "work"),
        ("Experienta profesionala", "work"),
        ("Education", "learning"),
        ("2. Education", "learning"),
        ("**Ausbildung**", "learning"),
        ("Formation", "learning"),
        ("Educație", "learning"),
        ("Studii", "learning"),
        ("Technical skills", "skills"),
        ("Compétences", "skills"),
        ("Competențe digitale", "skills"),
        ("EDV-Kenntnisse:", "skills"),
        ("Profil", "summary"),
        ("Despre mine", "summary"),
        ("Personal information", "other"),
        ("Date personale", "other"),
    ],
)
def test_a_heading_announces_its_section(heading: str, section: Section) -> None:
    """A line takes its section from the heading above it, in four languages."""
    *_, last = resume_lines(f"Jo Doe\n\n{heading}\nsomething")
    assert (last.section, last.is_heading) == (section, False)


@pytest.mark.parametrize("line", ["Training Manager, Example Ltd", "Sales Skills Trainer", "Project lead at Example"])
def test_a_role_is_no_heading(line: str) -> None:
    """A title that has a heading's word among others announces nothing."""
    *_, last = resume_lines(f"Experience\n{line}")
    assert (last.section, last.is_heading) == ("work", False)


def test_sections_come_in_any_order() -> None:
    """Each line belongs to the nearest heading above, the first ones to the head; a label is a heading as well."""
    text = "Jo Doe\nEDUCATION\nBSc\nSkills: Python\nWork history\nBaker\n"
    assert [(line.text, line.section) for line in resume_lines(text) if not line.is_heading] == [
        ("Jo Doe", "head"),
        ("BSc", "learning"),
        ("Baker", "work"),
    ]
