"""Pairs that are hard to rank: for each an ad, a resume that must score higher, one that must score lower, and why."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Case:
    """One difficult decision.

    Attributes:
        name: of the case, as the test shows it.
        reason: why it is difficult, and why the better one is better.
        job: the ad.
        better: the resume that must score higher.
        worse: the one that must score lower.
    """

    name: str
    reason: str
    job: str
    better: str
    worse: str


BACKEND = """Senior Backend Engineer

We run the booking system of forty ferry lines.

Requirements
- 5+ years as a backend engineer
- Python and PostgreSQL
- Kubernetes
- Experience with message queues

Nice to have
- Terraform

What you will do
- Design and run services that sell tickets
"""

SENIOR = """Jo Doe
Senior Backend Engineer

Experience
Senior Backend Engineer, Ferry Tickets Ltd, 2015 - 2023
- Designed booking services in Python on PostgreSQL and moved them to Kubernetes
- Put message queues between the shop and the ledger
"""

JUNIOR = """Jo Doe
Junior Backend Engineer

Experience
Junior Backend Engineer, Ferry Tickets Ltd, 2022 - 2023
- Fixed booking services in Python on PostgreSQL and deployed them to Kubernetes
- Read message queues between the shop and the ledger
"""

FILLER = "".join(
    f"Moved warehouse {n} to a new rack plan, counted stock with the night shift and wrote the handover notes.\n"
    for n in range(120)
)

BOILERPLATE = "".join(
    f"Our company number {n} values curiosity, respect, sustainability, growth and the joy of learning every day. "
    for n in range(130)
)

NURSE_JOB = """Intensive Care Nurse

Requirements
- Registered nurse
- 3+ years in intensive care
- Ventilation and haemodynamic monitoring
- Communication skills
"""

ENGLISH_ACCOUNTING = """Accountant

Requirements
- Bookkeeping with DATEV
- Annual accounts under HGB and IFRS
- Controlling and cost accounting
- German and English
"""

TABLES = """
Baked tarts, rolls and wedding cakes for breakfast and banquets, ordered flour and fruit, laid tables, carried plates,
poured wine, took bookings by telephone and closed the till at night.
"""

CASES = (
    Case(
        "junior_for_a_senior_ad",
        "Both have every skill; only the years and the level of the role tell them apart.",
        BACKEND,
        SENIOR,
        JUNIOR,
    ),
    Case(
        "same_skills_in_another_field",
        "The skills of a list are the same; one used them on services, the other in a chemistry lab.",
        BACKEND,
        SENIOR,
        """Jo Doe
Research Chemist

Experience
Research Chemist, Polymer Institute, 2015 - 2023
- Measured the ageing of polymer films and published eight papers
- Kept spectra in tables
Skills: Python, PostgreSQL, Kubernetes
""",
    ),
    Case(
        "skill_in_the_tail_of_page_four",
        "What is asked stands after four pages of something else; who cuts a text to one window never reads it.",
        "Crane Operator\n\nRequirements\n- Tower crane licence\n- Load charts\n- Signalling with banksmen\n",
        f"Jo Doe\nPorter\n\n{FILLER}\nHolds a tower crane licence, reads load charts, signals to banksmen.\n",
        f"Jo Doe\nPorter\n\n{FILLER}\nHolds a fork lift licence, reads rack plans, talks with drivers.\n",
    ),
    Case(
        "synonyms_only",
        "Not one asked tool has the ad's spelling: k8s, Postgres and golang are the same things under other names.",
        "Platform Engineer\n\nRequirements\n- Kubernetes\n- PostgreSQL\n- Go\n- JavaScript\n",
        "Jo Doe\nEngineer\n\nRan services on k8s with Postgres, wrote them in golang and their pages in vanilla JS.\n",
        "Jo Doe\nEngineer\n\nRan services on Heroku with MongoDB, wrote them in Java and their pages in Ruby.\n",
    ),
    Case(
        "keyword_stuffing",
        "Every keyword of the ad many times, and no work that used one.",
        BACKEND,
        SENIOR,
        "Jo Doe\n\n" + "Python PostgreSQL Kubernetes Terraform message queues backend engineer tickets ferry. " * 12,
    ),
    Case(
        "ad_sent_back",
        "The resume is the ad itself, word for word, under a name; nothing can be closer to it and say less.",
        BACKEND,
        SENIOR,
        f"Jo Doe\n\n{BACKEND}",
    ),
    Case(
        "ad_hidden_in_the_resume",
        "A weak resume with the whole ad pasted below it, as hidden text is, against a fair one.",
        BACKEND,
        JUNIOR,
        f"Jo Doe\nCook\n\nExperience\nCook, Harbour Inn, 2019 - 2023\n- Cooked for two hundred\n\n{BACKEND}",
    ),
    Case(
        "two_columns",
        "Extraction of a page with two columns gives their lines alternately; the words are there, in no good order.",
        NURSE_JOB,
        """Jo Doe                               Skills
Experience                           Ventilation
Intensive care nurse                 Haemodynamic monitoring
2017 - 2023, City Hospital           Communication
Cared for ventilated patients        Registered nurse
""",
        """Jo Doe                               Skills
Experience                           Filing
Office clerk                         Telephone
2017 - 2023, City Council            Communication
Answered letters of residents        Typing
""",
    ),
    Case(
        "two_thousand_words_of_boilerplate",
        "What is asked is four lines after 2,000 words that every ad of that company has.",
        f"Backend Engineer\n\nAbout us\n{BOILERPLATE}\n\n{BACKEND}",
        SENIOR,
        """Jo Doe
Office Manager

Experience
Office Manager, Growth Ltd, 2015 - 2023
- Organised learning days on sustainability, respect and curiosity for the whole company
""",
    ),
    Case(
        "career_changer",
        "Ten years as a cook, two as a developer: the last role counts, not the longest one.",
        "Frontend Developer\n\nRequirements\n- 1+ years as a frontend developer\n- JavaScript and React\n- CSS\n",
        """Jo Doe
Experience
Frontend Developer, Web Studio, 2021 - 2023
- Built pages with React, JavaScript and CSS
Cook, Harbour Inn, 2011 - 2021
- Cooked fish for two hundred guests
""",
        """Jo Doe
Experience
Head Cook, Grand Hotel, 2021 - 2023
- Led a kitchen of twelve
Cook, Harbour Inn, 2011 - 2021
- Cooked fish; the web page of the inn was built by a frontend developer
""",
    ),
    Case(
        "german_resume_for_an_english_ad",
        "Hardly a word is the same in both languages; names of tools and standards are.",
        ENGLISH_ACCOUNTING,
        """Jo Beispiel
Bilanzbuchhalter

Berufserfahrung
Bilanzbuchhalter, Muster GmbH, 2015 - 2023
- Finanzbuchhaltung mit DATEV, Jahresabschlüsse nach HGB und IFRS
- Controlling und Kostenrechnung
Sprachen: Deutsch, Englisch
""",
        """Jo Beispiel
Krankenpfleger

Berufserfahrung
Krankenpfleger, Klinikum Muster, 2015 - 2023
- Pflege von Patienten auf der Intensivstation
Sprachen: Deutsch, Englisch
""",
    ),
    Case(
        "romanian",
        "Both texts are Romanian, one with accents and one without; the local model knows English only.",
        """Contabil

Cerințe
- Experiență de minim 3 ani în contabilitate
- Cunoștințe de legislație fiscală
- Întocmirea bilanțului și a declarațiilor fiscale
""",
        """Ion Popescu
Experienta profesionala
Contabil, Exemplu SRL, 2016 - 2022
- intocmirea bilantului si a declaratiilor fiscale, contabilitate primara
- cunostinte de legislatie fiscala
""",
        """Ion Popescu
Experienta profesionala
Bucatar, Exemplu SRL, 2016 - 2022
- pregatirea meniului si a preparatelor calde
- cunostinte de igiena alimentara
""",
    ),
    Case(
        "french",
        "French headings, months and years; the two resumes have the same shape.",
        """Infirmier en réanimation

Profil recherché
- 3 ans d'expérience en réanimation
- Surveillance des patients ventilés

Nous offrons
- Une formation en pâtisserie
""",
        """Jeanne Exemple
Expérience professionnelle
Infirmière en réanimation, Hôpital central, mars 2017 - juin 2022
- Surveillance des patients ventilés
""",
        """Jeanne Exemple
Expérience professionnelle
Pâtissière, Maison Exemple, mars 2017 - juin 2022
- Formation en pâtisserie, surveillance des fours
""",
    ),
    Case(
        "denied_in_the_resume",
        "Both resumes name the same tools; one says that it lacks them.",
        "Developer\n\nRequirements\n- Java\n- Kafka\n- Spring Boot\n",
        "Jo Doe\nDeveloper\n\nBuilt services with Java, Kafka and Spring Boot. Deployed them by hand.\n",
        "Jo Doe\nDeveloper\n\nBuilt services by hand. No experience with Java, Kafka or Spring Boot. Deployed them.\n",
    ),
    Case(
        "denied_in_the_ad",
        "The ad names Java only to say that nobody needs it: knowing it must not help.",
        "Developer\n\nRequirements\n- Python\n- Django\n- No Java required\n",
        "Jo Doe\nDeveloper\n\nBuilt services with Python and Django.\n",
        "Jo Doe\nDeveloper\n\nBuilt services with Python and Java.\n",
    ),
    Case(
        "javascript_is_not_java",
        "The asked name is the beginning of another name.",
        "Developer\n\nRequirements\n- Java\n",
        "Jo Doe\nDeveloper\n\nWrote desk software in Java.\n",
        "Jo Doe\nDeveloper\n\nWrote desk software in JavaScript.\n",
    ),
    Case(
        "must_have_against_nice_to_have",
        "Each lacks one asked skill; the one that the ad demands weighs more.",
        "Developer\n\nRequirements\n- Python\n- Kafka\n\nNice to have\n- Ansible\n",
        "Jo Doe\nDeveloper\n\nBuilt services with Python and Kafka.\n",
        "Jo Doe\nDeveloper\n\nBuilt services with Python and Ansible.\n",
    ),
    Case(
        "years_in_the_asked_work",
        "Both worked for eight years; only one of them spent them on what is asked.",
        "Pastry Cook\n\nRequirements\n- At least 4 years as a pastry cook\n",
        f"Jo Doe\nExperience\nPastry cook, Inn, 2017 - 2023\nWaiter, Inn, 2015 - 2017\n{TABLES}",
        f"Jo Doe\nExperience\nPastry cook, Inn, 2022 - 2023\nWaiter, Inn, 2015 - 2022\n{TABLES}",
    ),
    Case(
        "study_is_no_work",
        "The years of one resume are those of a degree.",
        "Chemist\n\nRequirements\n- 3+ years of experience as a chemist\n",
        "Jo Doe\nExperience\nChemist, Paint Works, 2014 - 2018\n\nEducation\nBSc Chemistry, 2010 - 2014\n",
        "Jo Doe\nExperience\nChemist, Paint Works, 2017 - 2018\n\nEducation\nBSc and MSc Chemistry, 2010 - 2017\n",
    ),
    Case(
        "a_name_that_no_list_has",
        "The one asked tool is known to nobody but the ad.",
        "Operator\n\nRequirements\n- Experience with Zyntherix\n- Shift work\n",
        "Jo Doe\nOperator\n\nRan two Zyntherix lines in shift work.\n",
        "Jo Doe\nOperator\n\nRan two packing lines in shift work.\n",
    ),
    Case(
        "everyday_word_as_a_name",
        "Go is a language in the ad and a verb in one of the resumes.",
        "Developer\n\nRequirements\n- Go\n- Swift\n",
        "Jo Doe\nDeveloper\n\nWrote services in Go and an app in Swift.\n",
        "Jo Doe\nDeveloper\n\nWrote services to go with an app, in swift steps.\n",
    ),
    Case(
        "sections_in_another_order",
        "Education first, dates last, headings in capitals: the order of sections says nothing.",
        NURSE_JOB,
        """JO DOE

EDUCATION
Nursing school, 2012 - 2015

SKILLS
ventilation; haemodynamic monitoring; communication; registered nurse

WORK HISTORY
City Hospital, intensive care nurse (2016 - 2022)
""",
        """JO DOE

EDUCATION
School of commerce, 2012 - 2015

SKILLS
bookkeeping; spreadsheets; communication; registered accountant

WORK HISTORY
City Bank, accounts clerk (2016 - 2022)
""",
    ),
)
