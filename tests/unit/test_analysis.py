from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.analysis import (
    Finding,
    PairAnalysis,
    analyse_pair,
    explain,
    missing_skills,
)
from chains.experience import years_of_experience, years_required
from chains.seniority import seniority
from chains.skills import AskedSkill, SkillMention

TODAY = date(2024, 6, 15)

JOB = """Senior Data Engineer

Requirements
- 5+ years of experience with Python
- SQL and Apache Kafka
- Knowledge of chimney draught

Nice to have
- Terraform
- Go
"""

RESUME = """Jo Doe
Data Engineer

Experience
Data Engineer, Example Ltd, 01/2019 - present
- Python services on PostgreSQL; measured the draught in a chimney
Junior Developer, Sample GmbH, 01/2016 - 12/2018

Education
BSc 2012 - 2016

Latest update 12/2022. We go to market with Terraform.
"""

EMPTY = PairAnalysis(
    findings=(),
    seniority_resume=None,
    seniority_job=None,
    years_resume=None,
    years_required=None,
    experience=None,
    copied=0.0,
)


def test_a_pair_is_compared() -> None:
    """Each field of the analysis has the value worked out by hand."""
    analysis = analyse_pair(RESUME, JOB)
    assert analysis.asked == ("Data engineering", "Python", "SQL", "Apache Kafka", "chimney draught", "Terraform", "Go")
    assert analysis.present == ("Data engineering", "Python", "SQL", "chimney draught", "Terraform")
    assert analysis.missing == ("Apache Kafka", "Go")
    assert analysis.must_have_missing == ("Apache Kafka",)
    assert (analysis.seniority_resume, analysis.seniority_job) == (None, "senior")
    assert analysis.years_resume == 7.0  # 2016-01 to 2018-12 and 2019-01 to 2022-12, the latest month named
    assert analysis.years_required == 5.0
    # five must-haves of which four, two wishes of which one: (4 * 2 + 1) / (5 * 2 + 2)
    assert analysis.coverage == 9 / 12
    assert analysis.experience == 4 / 5  # five years with Python are asked, one role of four years tells of it


def test_nothing_asked_has_no_coverage() -> None:
    """An ad that names no skills has no share of them."""
    assert analyse_pair(RESUME, "Come and work with us.").coverage is None


def test_an_implied_skill_is_shown() -> None:
    """A resume with PostgreSQL and Spring Boot shows SQL and Java."""
    assert missing_skills("PostgreSQL, Spring Boot", "Requirements\n- SQL\n- Java\n") == []


def test_a_part_of_a_name_is_not_shown() -> None:
    """JavaScript does not show Java, and an everyday "go" does not show Go."""
    missing = missing_skills("JavaScript. I go to work and excel at it.", "Requirements\n- Java\n- Go\n- Excel\n")
    assert [skill.name for skill in missing] == ["Java", "Go", "Excel"]


def test_a_denied_skill_is_missing() -> None:
    """What the resume says it lacks is missing."""
    missing = missing_skills("Python. No experience with Java.", "Requirements\n- Java\n- Python\n")
    assert [skill.name for skill in missing] == ["Java"]


def test_other_forms_of_the_words_show_a_skill() -> None:
    """A phrase counts as shown if one sentence has all its words in some form, not if they are scattered."""
    job = "Requirements\n- Beehive inspection\n"
    assert missing_skills("Inspecting beehives all summer", job) == []
    scattered = missing_skills("Painted a beehive.\nPassed the inspection.", job)
    assert [skill.name for skill in scattered] == ["Beehive inspection"]


def test_a_missing_skill_has_the_words_of_the_ad() -> None:
    """A missing skill comes with the ad's own wordings."""
    (skill,) = missing_skills("", "Requirements\n- Good knowledge of k8s\n")
    assert (skill.name, skill.wordings) == ("Kubernetes", ("Good knowledge of k8s", "knowledge of k8s", "k8s"))


@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("5+ years of experience", 5),
        ("at least three years of experience with Java", 3),
        ("3-5 years of experience", 3),
        ("0\u20132 years of experience", 0),
        ("2 to 4 years' experience", 2),
        ("minimum of five (5) years experience", 5),
        ("4 or more yrs as SRE", 4),
        ("6 months of experience", 0.5),
        ("1.5 years of experience", 1.5),
        ("mind. 5 Jahre Berufserfahrung", 5),
        ("mindestens drei Jahre Erfahrung", 3),
        ("Requirements\n- 4 years as a cook\n- 6 years as a baker", 6),
        ("Requirements\n- 3 years as a cook\n- 10 years are a plus", 3),
        ("mehrjährige Berufserfahrung", None),
        ("several years of experience", None),
        ("You must be 18 years old", None),
        ("Our company was founded 20 years ago", None),
        ("About us\nOver 30 years of experience\n", None),
        ("No years named", None),
    ],
)
def test_required_years(text: str, years: float | None) -> None:
    """The years demanded are the largest lower bound that the ad demands, and None where it names no number."""
    assert years_required(text) == years


@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("2016\u20132019", 3),
        ("Jan 2020 \u2013 Mar 2022", 2.25),
        ("03/2019 - present", 5.33),  # March 2019 to June 2024: 64 months
        ("seit 2018", 6),  # from the middle of 2018 to the end of June 2024: 72 months
        ("since March 2018", 6.33),
        ("01.2020 bis 12.2020", 1),
        ("2019-03 - 2020-02", 1),
        ("between 2013 and 2016", 3),
        ("von 2013 bis heute", 11),
        ("Oktober 2019 - M\u00e4rz 2020", 0.5),
        ("2010 - 2014\n2012 - 2016", 6),
        ("2010 - 2012\n2014 - 2016", 4),
        ("2016 - 2010", None),
        ("Experience\nCook 2014 - 2016\n\nEducation\nBSc 2010 - 2014", 2),
        ("Ausbildung\n2010 - 2013 Lehre\n\nBerufserfahrung\n2013 - 2015 Koch", 2),
        ("University of Ulm 2010 - 2014", None),
        ("Experience\nResearcher, University of Ulm 2010 - 2014", 4),
        ("10 years of experience as a cook", 10),
        ("Ten years of experience. Cook 2014 - 2016", 2),
        ("Phone 0555-2016-2019", None),
        ("", None),
    ],
)
def test_years_of_experience(text: str, years: float | None) -> None:
    """Dated work is added up without counting a time twice; education is left out; a claim counts without dates."""
    assert years_of_experience(text, today=TODAY) == years


def test_the_present_is_what_the_resume_names_last() -> None:
    """Without a day, "present" is the latest month of the text, so that the result depends on the text alone."""
    assert years_of_experience("01/2019 - present\nCertificate 12/2020") == 2.0


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("Senior Backend Engineer", "senior"),
        ("# Sr. Accountant", "senior"),
        ("Junior Developer", "junior"),
        ("Entry-level Nurse", "junior"),
        ("Mid-level Developer", "mid"),
        ("Lead Developer", "lead"),
        ("Principal Engineer", "lead"),
        ("Head of Sales", "head"),
        ("Senior Director, Finance", "head"),
        ("Teamleiter Buchhaltung", "lead"),
        ("Werkstudent Marketing", "intern"),
        ("Software Engineer Intern", "intern"),
        ("Job title\nSenior Cook\n", "senior"),
        ("Cook\n\nWe are looking for a senior cook.", "senior"),
        ("Cook\n\nYou report to the Head of Kitchen and help senior cooks.", None),
        ("Lead generation specialist", None),
        ("Senior living assistant", None),
        ("Software Engineer", None),
    ],
)
def test_seniority_of_a_job(text: str, level: str | None) -> None:
    """The level is that of the title, else of the role that is sought; a plain title has none."""
    assert seniority(text, is_job=True) == level


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("Jo Doe\nSenior Cook, 2018 - 2022\nJunior Cook, 2014 - 2018", "senior"),
        ("Jo Doe\nJunior Cook, 2014 - 2018\nSenior Cook, 2018 - 2022", "senior"),
        ("Jo Doe\n2018 - 2022\nLead Cook\nKitchen Ltd", "lead"),
        ("Jo Doe\nJunior Developer\nPython", "junior"),
        ("Jo Doe\nCook, 2018 - 2022", None),
        ("", None),
    ],
)
def test_seniority_of_a_resume(text: str, level: str | None) -> None:
    """The level is that of the role with the latest end, wherever it stands, else of the headline."""
    assert seniority(text, is_job=False) == level


def test_the_explanation_names_what_counts() -> None:
    """Found and missing skills, years and levels are put into three sentences."""
    assert explain(analyse_pair(RESUME, JOB)) == (
        "Shows 5 of 7 asked skills: Data engineering, Python, SQL, chimney draught, Terraform; "
        "missing: Apache Kafka (must-have), Go (nice to have). "
        "Asks for 5+ years, the resume shows about 7."
    )


def test_the_explanation_compares_levels() -> None:
    """Levels are named where both are known and differ, years where the ad demands some."""
    analysis = replace(EMPTY, seniority_job="senior", seniority_resume="junior", years_required=2.0)
    assert explain(analysis) == (
        "The ad names no skills to compare. Asks for 2+ years, the resume names no dates. "
        "The role is senior level, the latest one in the resume junior."
    )


def test_copying_the_ad_is_said() -> None:
    """A resume that repeats the ad word for word is told so; eight equal words in a row are a copy, seven are none."""
    words = "we build quiet machines for small kitchens in old harbour towns"
    assert analyse_pair(words, words).copied == 1.0
    assert "100 % of the resume stands word for word in the ad" in explain(analyse_pair(words, words))
    assert analyse_pair("we build quiet machines for small kitchens and gardens of all kinds", words).copied == 0.0


def test_a_long_list_is_cut() -> None:
    """At most six names are listed, and the rest is counted."""
    findings = tuple(
        Finding(AskedSkill(name, must_have=True, mention=SkillMention(name, name, 0, 1), wordings=(name,)), name)
        for name in "ABCDEFGH"
    )
    assert explain(replace(EMPTY, findings=findings)) == "Shows 8 of 8 asked skills: A, B, C, D, E, F and 2 more."


LINES = st.lists(
    st.sampled_from([*JOB.splitlines(), *RESUME.splitlines(), "no Java", "2019 - 2022", "5 years", "Wir bieten", "- R"])
    | st.text(max_size=12),
    max_size=15,
).map("\n".join)


@given(resume=LINES, job=LINES)
def test_an_analysis_is_consistent(resume: str, job: str) -> None:
    """Whatever the texts, present and missing split what is asked, coverage is a share, and a repeat gives the same."""
    analysis = analyse_pair(resume, job)
    assert sorted((*analysis.present, *analysis.missing)) == sorted(analysis.asked)
    assert set(analysis.must_have_missing) <= set(analysis.missing)
    assert (analysis.coverage is None) == (not analysis.asked)
    assert 0 <= (analysis.coverage or 0) <= 1
    assert (analysis.coverage == 1) == (bool(analysis.asked) and not analysis.missing)
    assert explain(analyse_pair(resume, job)) == explain(analysis)


@given(LINES)
def test_a_resume_with_every_asked_word_lacks_nothing(job: str) -> None:
    """Whatever the ad, a resume that lists the words of each asked skill shows them all."""
    resume = "\n".join(f"- {skill.mention.text}" for skill in missing_skills("", job))
    assert missing_skills(resume, job) == []
