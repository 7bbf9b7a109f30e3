import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.experience import demands, roles, share_shown, years_of_experience, years_required, years_shown
from chains.readings import read_resume

RESUME = """Jo Doe

Experience
Pastry cook, Harbour Inn, 2018 - 2021
- Cakes for weddings
Waiter, Harbour Inn, 2014 - 2018

Education
Cooking school, 2010 - 2014
"""


@pytest.mark.parametrize(
    ("line", "years"),
    [
        ("At least 4 years as a pastry cook", 3.0),
        ("4 years of experience as a waiter", 4.0),
        ("2+ years of experience", 7.0),
        ("3 years as a baker / pastry cook", 3.0),
        ("2 years as a welder", 0.0),
    ],
)
def test_years_count_in_the_work_that_is_demanded(line: str, years: float) -> None:
    """Only roles that tell of the demanded work count; a demand for work of any kind takes all of them."""
    (demand,) = demands(f"Cook\n\nRequirements\n- {line}\n")
    assert years_shown(demand, roles(RESUME)) == years


@pytest.mark.parametrize(
    ("requirements", "share"),
    [
        (["4 years as a pastry cook"], 3 / 4),
        (["4 years as a pastry cook", "2 years as a waiter"], (3 / 4 + 1) / 2),
        (["1 year as a pastry cook"], 1.0),
        (["2 years as a welder"], 0.0),
        (["Kind to guests"], None),
    ],
)
def test_each_demand_counts_by_the_share_of_its_years(requirements: list[str], share: float | None) -> None:
    """Demands count the same, each by the share of its years that is shown; without one there is no share."""
    job = "Cook\n\nRequirements\n" + "".join(f"- {line}\n" for line in requirements)
    assert share_shown(demands(job), roles(RESUME)) == share


def test_akin_work_counts_at_most_half() -> None:
    """Of a demand in many words a role that shares a few is akin: it counts, and less than half."""
    (demand,) = demands("Requirements\n- 3 years decorating tall wedding cakes with marzipan roses\n")
    share = share_shown([demand], roles(RESUME))
    assert share is not None
    assert 0.0 < share < 0.5


@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("Au moins 3 ans d'expérience comme boulanger", 3),
        ("Cinq ans d'expérience", 5),
        ("Minim 3 ani de experiență în contabilitate", 3),
        ("Cerințe\n- cel puțin doi ani ca brutar", 2),
        ("Cerințe\n- experiență de 6 luni", 0.5),
    ],
)
def test_years_are_read_in_french_and_romanian(text: str, years: float) -> None:
    """Numbers in words, years and months of both languages are read."""
    assert years_required(text) == years


@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("mars 2017 - juin 2022\nAutre 2022", 5.33),
        ("de 2016 à 2019", 3),
        ("Expérience professionnelle\nmars 2019 - aujourd'hui\nBoulanger\njanvier 2021", 1.92),
        ("ianuarie 2018 - decembrie 2019", 2),
        ("2016 până în 2019", 3),
        ("Experiență\nBrutar 2016 - 2018\n\nStudii\nLiceul 2010 - 2014", 2),
    ],
)
def test_dates_are_read_in_french_and_romanian(text: str, years: float) -> None:
    """Months, "today" and headings of both languages are read."""
    assert years_of_experience(text) == years


def test_years_of_a_skill_are_those_of_the_roles_that_name_it() -> None:
    """A skill counts for the years of its roles, times that overlap once; one that a list names alone has none."""
    read = read_resume(
        "Jo Doe\nSkills: Kafka\n\nExperience\n"
        "Developer, A Ltd, 2015 - 2018\n- Python on PostgreSQL\n"
        "Developer, B Ltd, 2017 - 2020\n- Python on Redis\n"
    )
    assert {name: read.years.get(name) for name in ("Python", "PostgreSQL", "SQL", "Redis", "Kafka")} == {
        "Python": 5.0,
        "PostgreSQL": 3.0,
        "SQL": 3.0,
        "Redis": 3.0,
        "Kafka": None,
    }


LINES = st.lists(st.sampled_from([*RESUME.splitlines(), "3 years as a cook", "5 ans", "# X", "2019 - present"])).map(
    "\n".join
)


@given(resume=LINES, job=LINES)
def test_a_share_is_a_share(resume: str, job: str) -> None:
    """Whatever the texts, what is shown of the demands lies between nothing and all."""
    share = share_shown(demands(job), roles(resume))
    assert share is None or 0.0 <= share <= 1.0
