"""Invented resumes whose edits are judged in `edits.py`."""

from __future__ import annotations

ENGINEER = """\
Mara Lindqvist
mara.lindqvist@example.com | +46 70 123 45 67 | linkedin.com/in/mara-lindqvist-example
Gothenburg, Sweden

Summary
Backend engineer with 7 years of experience in payment systems.

Experience
Backend Engineer, Nordbetal AB, Gothenburg
03/2021 - present
- Responsible for the settlement service, written in Python and FastAPI.
- Led a team of 4 engineers and reduced infrastructure costs by 30 %.
- Helped the platform team with the migration of 12 services to Kubernetes.
- Wrote runbooks; took part in the on-call rotation.

Software Developer, Havsvik Software, Malmö
08/2017 - 02/2021
- Was involved in building a REST API for 200 customers in Java and Spring Boot.
- Maintained PostgreSQL databases of 2 TB and tuned slow queries.
- Mentored two interns.

Education
B.Sc. Computer Science, Chalmers University of Technology, 2017

Certificates
AWS Certified Developer - Associate (2022)

Skills
Python, FastAPI, PostgreSQL, Docker, Git
"""

NURSE = """\
Daniel Okafor
daniel.okafor@example.org, 0161 496 0123

Profile
Registered nurse with five years in intensive care.

Employment
Staff Nurse, St Aldhelm Hospital, Manchester, 2019 - 2024
Cared for up to 3 ventilated patients per shift.
Trained 15 newly qualified nurses in the use of infusion pumps.
Audited hand hygiene; infections on the ward fell from 12 to 5 a year.
Assisted the ward manager with the duty roster.

Healthcare Assistant, Brookmere Care Home, Stockport, 2016 - 2019
Supported 24 residents with daily living.
Recorded observations and reported changes to the nurse in charge.

Qualifications
BSc Nursing, University of Salford, 2019
Immediate Life Support (ILS), 2023

Languages: English, Igbo
"""

CONTROLLER = """\
Katrin Vogelsang
katrin.vogelsang@example.de
Geburtsdatum: 14.02.1985

Berufserfahrung
Controllerin, Falkenrath Maschinenbau GmbH, Kassel
01/2018 - heute
- Verantwortlich für die Monatsabschlüsse von drei Werken nach HGB.
- Einführung eines Berichtswesens in Power BI für 40 Kostenstellen.
- Mitarbeit bei der Umstellung auf SAP S/4HANA.

Buchhalterin, Ostertal Logistik KG, Göttingen
09/2011 - 12/2017
- Kreditorenbuchhaltung mit rund 600 Belegen im Monat.
- Vorbereitung der Umsatzsteuervoranmeldung in DATEV.

Ausbildung
Industriekauffrau, IHK Kassel, 2011
Bilanzbuchhalterin (IHK), 2016

Kenntnisse
Excel, Power BI, DATEV, Englisch (gut)
"""

CHANGER = """\
Lucía Ferrand
lucia.ferrand@example.net

About
Teacher who moves into data analysis.

Work
Maths teacher, Lycée Bellecombe, Lyon (2014-2022)
Taught statistics to six classes of 28 pupils.
Built spreadsheets that showed the progress of each class; used by 9 colleagues.
Organised an exchange with a school in Porto.

Volunteer, Foodbank Lyon Est (2020-2023)
Kept the donations database in Access; wrote the monthly report.

Training
Data Analyst bootcamp, Datalya Academy, 2023 (400 hours)
Project: forecast of bike rentals with Python, pandas and scikit-learn; mean error 8 %.

Skills: Excel, SQL (basic), Python, French, Spanish, English
"""
