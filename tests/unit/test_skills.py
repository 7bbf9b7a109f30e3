import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.adverts import ad_lines
from chains.clauses import clause_of
from chains.skills import asked_skills, find_skills, shown_skills, skill_names
from chains.taxonomy import category, implied_skills, known_forms

WORDS = st.sampled_from(
    ["Java", "JavaScript", "C++", "C#", ".NET.", "Go", "go", "R", "R&D", "k8s", "node.js", "CI/CD", "machine-learning",
     "Excel", "excel at", "no", "not required", "a plus", "and", ",", ".", "\n", "- ", "Requirements:", "x@y.org",
     "Englischkenntnisse", "é", "ß", "😀", "Foobarix", "(", ")", "10+ years"]
)  # fmt: skip


def asked(job: str) -> dict[str, bool]:
    return {skill.name: skill.must_have for skill in asked_skills(job)}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("We use Java.", ["Java"]),
        ("We use JavaScript.", ["JavaScript"]),
        ("JS and Java", ["JavaScript", "Java"]),
        ("JScript and Javanese", []),
        ("C, C++ and C#", ["C", "C++", "C#"]),
        ("Objective-C/C++", ["Objective-C", "C++"]),
        ("A service in C#/.NET.", ["C#", ".NET"]),
        ("Knows .NET. And more", [".NET"]),
        ("ASP.NET Core", ["ASP.NET"]),
        ("node.js, NodeJS and Node JS", ["Node.js"]),
        ("Runs on k8s with Postgres", ["Kubernetes", "PostgreSQL"]),
        ("PostgreSQL", ["PostgreSQL"]),
        ("CI/CD, CI-CD, ci cd", ["CI/CD"]),
        ("machine-learning, Machine Learning", ["Machine learning"]),
        ("machine\nlearning", ["Machine learning"]),
        ("python3, HTML5 and Java8", ["Python", "HTML", "Java"]),
        ("REST APIs, databases", ["REST", "Databases"]),
        ("Azure DevOps", ["Azure DevOps"]),
        ("Python.Docker", ["Python", "Docker"]),
    ],
)
def test_names_are_read_as_people_write_them(text: str, names: list[str]) -> None:
    """Each way to write a name gives its canonical name once, and no other name that looks like it."""
    assert skill_names(text) == names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Our go to market plan. Go to the office, go live", []),
        ("Go get it", []),
        ("Services in Go", ["Go"]),
        ("Python, Go, Rust", ["Python", "Go", "Rust"]),
        ("- Go", ["Go"]),
        ("golang", ["Go"]),
        ("R&D for C-level people, vitamin C, Dr. J. R. Smith", []),
        ("Statistics in R", ["Statistics", "R"]),
        ("R, Python", ["R", "Python"]),
        ("A, C, D", []),
        ("We excel at service. Excel at what you do.", []),
        ("- Excel in a fast team", []),
        ("Good at Excel", ["Excel"]),
        ("excel, python", ["Excel", "Python"]),
        ("In other words, access the files", []),
        ("Word, Excel, Access", ["Word", "Excel", "Microsoft Access"]),
        ("In spring we react swiftly and rest", []),
        ("Java with Spring", ["Java", "Spring"]),
        ("Swift replies are expected", []),
        ("An app in Swift", ["Swift"]),
        ("Ruby Miller met Julia Stone", []),
        ("SQL, Julia", ["SQL", "Julia"]),
        ("Chef de partie", []),
        ("Ansible, Chef", ["Ansible", "Chef"]),
        ("SAS", ["SAS"]),
        ("Ask the oracle about sas", []),
        ("See https://github.com/python and rust.python@java.com", []),
        ("Python (python.dev+go@java.example), SQL", ["Python", "SQL"]),
        ("health insurance and flexible working hours", []),
    ],
)
def test_everyday_words_count_only_as_names(text: str, names: list[str]) -> None:
    """A word that is also a name counts by its case and its neighbours, not in its everyday sense."""
    assert skill_names(text) == names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Finanzbuchhaltung mit DATEV, HGB und IFRS", ["Bookkeeping", "DATEV", "HGB", "IFRS"]),
        ("Buchhaltungskenntnisse", ["Bookkeeping"]),
        ("Englischkenntnisse", ["English"]),
        ("Java-Kenntnisse, Python-Entwickler", ["Java", "Python"]),
        ("Erstellung von Jahresabschlüssen", ["Jahresabschluss"]),
        ("Controlling und Kostenrechnung", ["Controlling", "Cost accounting"]),
        ("Teamfähigkeit", ["Teamwork"]),
    ],
)
def test_german_words_are_read(text: str, names: list[str]) -> None:
    """German names, their compounds and their endings give the same canonical names."""
    assert skill_names(text) == names


def test_a_name_does_not_cross_the_items_of_a_list() -> None:
    """Two list items that start with capitals are not joined into one name."""
    assert skill_names("Machine\nLearning") == []


def test_every_mention_comes_in_order() -> None:
    """All mentions are returned in the order of the text, a repeated one each time."""
    assert [(m.name, m.text, m.start) for m in find_skills("k8s, SQL, Kubernetes")] == [
        ("Kubernetes", "k8s", 0),
        ("SQL", "SQL", 5),
        ("Kubernetes", "Kubernetes", 10),
    ]


@given(st.lists(WORDS | st.text(max_size=6), max_size=30).map(" ".join))
def test_spans_are_exact_and_do_not_overlap(text: str) -> None:
    """Whatever the text, a mention's words are those at its span, and the next mention starts after it."""
    end = 0
    for mention in find_skills(text):
        assert text[mention.start : mention.end] == mention.text
        assert end <= mention.start < mention.end
        end = mention.end


@given(st.lists(WORDS, max_size=40).map(" ".join))
def test_asked_skills_point_into_the_ad(job: str) -> None:
    """Whatever the ad, each asked skill has a name of its own and its words at its span and among its wordings."""
    skills = asked_skills(job)
    for skill in skills:
        assert job[skill.mention.start : skill.mention.end] == skill.mention.text
        assert skill.mention.text in skill.wordings
    assert len({skill.name.casefold() for skill in skills}) == len(skills)
    assert skills == asked_skills(job)


def test_every_form_of_the_taxonomy_finds_its_skill() -> None:
    """Each form alone in a list item is found under its own name: no two skills share a form."""
    wrong = [(name, form) for name, form in known_forms() if skill_names(f"- {form}\n") != [name]]
    assert wrong == []


def test_implied_skills_are_known_and_transitive() -> None:
    """Every implied name is a skill of the taxonomy, and what it implies in turn is implied as well."""
    for name, _ in known_forms():
        for other in implied_skills(name):
            assert category(other) is not None
            assert {*implied_skills(other)} <= {*implied_skills(name), name}
    assert set(implied_skills("Spring Boot")) == {"Spring", "Java"}


def test_a_denied_skill_is_not_shown() -> None:
    """A resume does not show what it says it lacks."""
    resume = "Python and SQL. No experience with Java.\nNot familiar with Kubernetes, but Docker is fine"
    assert [m.name for m in shown_skills(resume)] == ["Python", "SQL", "Docker"]


def test_a_feat_without_something_is_no_denial() -> None:
    """A release "without downtime using Docker" denies the downtime, not Docker."""
    assert [m.name for m in shown_skills("Released without downtime using Docker")] == ["Docker"]


AD = """Platform Engineer (Kubernetes)

About us
We love Excel and free courses in Photoshop.

What you will do
- Run services on AWS

Requirements
- Strong knowledge of Linux and Python
- Experience with Foobarix and Terraform
- PostgreSQL (preferred), Redis
- Bash required, Perl a plus
- No Java or Scala required
- Windows is not needed
- Ansible is not required but a plus
- Knowledge of chimney draught
- Excellent communication skills

Nice to have
- Kafka

Benefits
- Health insurance, Tableau training

We are an equal opportunity employer and do not look at sign language.
"""


@pytest.mark.parametrize("name", ["Kubernetes", "Linux", "Python", "Foobarix", "Terraform", "Redis", "chimney draught"])
def test_a_requirement_is_a_must_have(name: str) -> None:
    """The title and the list of requirements name must-haves, whether the taxonomy knows them or not."""
    assert asked(AD)[name] is True


@pytest.mark.parametrize("name", ["PostgreSQL", "Perl", "Ansible", "Apache Kafka", "AWS"])
def test_a_wish_is_no_must_have(name: str) -> None:
    """What is "a plus", "(preferred)", in a section of wishes or a mere duty is asked, but no must-have."""
    assert asked(AD)[name] is False


@pytest.mark.parametrize(
    "name", ["Java", "Scala", "Windows", "Excel", "Photoshop", "Tableau", "Insurance", "Sign language"]
)
def test_what_is_refused_or_advertised_is_not_asked(name: str) -> None:
    """Denied skills, the company's portrait, benefits and legal notices are not asked for."""
    assert name not in asked(AD)


def test_a_comma_divides_a_demand_from_a_wish() -> None:
    """In "Bash required, Perl a plus" the wish does not reach back over the comma."""
    assert asked(AD)["Bash"] is True


def test_wordings_go_from_the_item_to_the_mention() -> None:
    """The wordings of a short item are the item, the item without its adjective, and the bare mention."""
    (skill,) = [s for s in asked_skills(AD) if s.name == "Communication skills"]
    assert skill.wordings == ("Excellent communication skills", "communication skills")


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("Java wird nicht benötigt, kein Java nötig", []),
        ("Kein Java", []),
        ("SAP-Kenntnisse nicht erforderlich", []),
        ("You do not need to know everything; you don't need Java", []),
        ("Not only Java", ["Java"]),
        ("No less than Java", ["Java"]),
    ],
)
def test_denial_is_read_in_both_languages(line: str, names: list[str]) -> None:
    """A denial removes what it denies, and only that."""
    assert [name for name in asked(f"Requirements\n- {line}\n") if category(name)] == names


def test_a_german_ad_is_read() -> None:
    """Profile, wishes, tasks, refusals and benefits of a German ad are told apart."""
    job = """Bilanzbuchhalter (m/w/d)

Ihre Aufgaben
- Abschlüsse nach HGB

Ihr Profil
- Sehr gute Kenntnisse in DATEV
- Kenntnisse in IFRS sind von Vorteil
- SAP-Kenntnisse sind nicht erforderlich
- Erfahrung mit Lucanet

Wir bieten
- Python-Schulungen
"""
    assert asked(job) == {"Bookkeeping": True, "HGB": False, "DATEV": True, "IFRS": False, "Lucanet": True}


def test_an_ad_without_headings_demands_what_it_names() -> None:
    """In plain prose every hard skill is a must-have unless it is called a plus."""
    job = "We are looking for a nurse with experience in intensive care. Spanish is a plus."
    assert asked(job) == {"Nursing": True, "Intensive care": True, "Spanish": False}


def test_prose_names_no_new_skills() -> None:
    """Pieces of sentences between commas are not taken for skills."""
    job = "Requirements\n- SQL\n\nOur days are calm, honest, long, and we eat, sleep and travel together a lot.\n"
    assert asked(job) == {"SQL": True}


def test_soft_words_in_duties_are_not_asked() -> None:
    """Where an ad lists requirements, soft skills count there and not in its duties."""
    job = "Responsibilities\n- Communication with clients using SQL\n\nRequirements\n- Patience\n"
    assert asked(job) == {"SQL": False, "Patience": True}


@pytest.mark.parametrize(
    ("heading", "kind"),
    [
        ("## Required Skills", "must"),
        ("Requirements:", "must"),
        ("Was Sie mitbringen", "must"),
        ("**What you bring**", "must"),
        ("Preferred qualifications", "nice"),
        ("Nice, not needed", "nice"),
        ("## Responsibilities", "duty"),
        ("Ihre Aufgaben", "duty"),
        ("Wir bieten", "ignored"),
        ("## About us", "ignored"),
        ("What you do not need:", "ignored"),
        ("## Required Experience", "past"),
        ("## Our garden", "open"),
    ],
)
def test_a_heading_says_what_follows(heading: str, kind: str) -> None:
    """A line takes its kind from the heading above it."""
    assert [line.kind for line in ad_lines(f"Baker\n\n{heading}\n- something") if line.is_item] == [kind]


def test_line_ends_of_windows_make_no_difference() -> None:
    """An ad with carriage returns asks for the same skills."""
    assert asked(AD.replace("\n", "\r\n")) == asked(AD)


def test_a_label_holds_for_its_paragraph() -> None:
    """What a label before a colon excludes stays excluded on the wrapped lines, and ends with the paragraph."""
    lines = ad_lines("Baker\n\nBenefits: pension, bicycle,\ncanteen\n\nWe look forward to you")
    assert [(line.text.strip(), line.kind) for line in lines] == [
        ("Baker", "open"),
        ("pension, bicycle,", "ignored"),
        ("canteen", "ignored"),
        ("We look forward to you", "open"),
    ]


def test_a_clause_reaches_over_a_wrapped_line() -> None:
    """A denial at the end of a long line reaches the word that was wrapped to the next one."""
    text = "Our stack is deliberately dull, one server and a spare; there is no\nKubernetes here."
    at = text.index("Kubernetes")
    assert clause_of(text, at, at + len("Kubernetes")).refuses


def test_a_long_line_of_blanks_is_harmless() -> None:
    """Runs of separators are read without effort and name nothing."""
    assert asked_skills("Skills\n- " + " -" * 5000 + "\n" + "(" * 5000) == []
