"""How long an ad wants somebody to have done what, and how long a resume shows it. Pure.

English, German, French and Romanian. What a text does not say is None: "several years" name no number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chains.adverts import ad_lines
from chains.clauses import is_preferred
from chains.dates import Stretch, total_months, work_stretches
from chains.words import Language, language_of, rarity, terms

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date

__all__ = [
    "Demand",
    "Role",
    "demands",
    "roles",
    "share_shown",
    "total_years",
    "years_of_experience",
    "years_required",
    "years_shown",
]

_NUMBER_WORDS = {
    1: "one ein eine einem einen un une", 2: "two zwei deux doi două", 3: "three drei trois trei",
    4: "four vier quatre patru", 5: "five fünf cinq cinci", 6: "six sechs șase", 7: "seven sieben sept șapte",
    8: "eight acht huit opt", 9: "nine neun neuf nouă", 10: "ten zehn dix zece", 12: "twelve zwölf",
    15: "fifteen fünfzehn", 20: "twenty zwanzig",
}  # fmt: skip
_NUMBERS = {word: value for value, words in _NUMBER_WORDS.items() for word in words.split()}
_NUMBER = r"\d{1,2}(?:[.,]\d)?|" + "|".join(sorted(_NUMBERS, key=len, reverse=True))
_GAP = r"\s{0,3}"  # bounded: three optional gaps in a row must not multiply on a run of blanks
_YEARS = re.compile(
    rf"(?<![\w./-])(?P<low>{_NUMBER})(?:{_GAP}\(\d+\))?{_GAP}\+?"
    rf"(?:{_GAP}(?:-|\u2013|to|bis|or|oder|à|ou|sau){_GAP}(?:{_NUMBER}))?{_GAP}(?:\+|plus|or more|oder mehr|de)?"
    r"[\s-]{0,3}(?P<unit>years?|yrs?\.?|jahren?|months?|monaten?|ans?|années?|mois|ani|luni)(?!\w)"
    r"(?!['\u2019]?\s(?:old|of age|ago|alt)\b)",
    re.IGNORECASE,
)
_ABOUT_WORK = re.compile(
    r"experience|experienced|erfahrung|\bas an?\b|\bas\b|working|worked|background|minimum|at least|"
    r"mindestens|mind\.|practice|track record|praxis|tätigkeit|industry|exp[ée]rience|au moins|experien[țţt]|"
    r"vechime|minim(?:um)?\b|cel pu[țţt]in",
    re.IGNORECASE,
)
_ABOUT_COMPANY = re.compile(
    r"founded|established|\bour (?:company|history|\d)|we have been|we['\u2019]ve been|for (?:over|"
    r"more than) \w+ years,? we|"
    r"gegründet|seit (?:über|mehr als)|firmengeschichte|contract|befristet|probezeit|warranty|degree|studium|"
    r"ausbildung von",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"[^\n.;!?]+(?:[.;!?](?!\s|\Z)[^\n.;!?]*)*")
_NO_SUBJECT = frozenset("""
    minimum min least year yr month work experi prior previous relev proven profession role posit requir must need
    day job candid should have background track record related strong extens deep practic hand direct similar field
    industri least over plus total overal combin demonstr expect requisit exampl prefer expertis includ function
    mindest jahr erfahr berufserfahr tatig an ani experient vechim minim putin moin ann domen
""".split())  # noqa: SIM905 - forty words read better as text than as a list  # fmt: skip
_MONTHS_A_YEAR = 12
_AKIN = 0.5  # of the whole, for years of work that shares less than that
_SAME_WORK = 0.5  # of a demand's words, weighted by rarity, that a role must share
_TITLE = re.compile(r"\s*[#*]*\s*[^\W\d_](?:\S*\s+){0,17}\S*[^.;,\s]\s*\Z")  # no bullet, and no sentence
_HEADING = re.compile(r"\s*#|[^a-zäöü]{4,}\Z")
_ROLE_LINES = 15
_ALTERNATIVES = re.compile(r"\s*/\s*|\s(?:or|oder|ou|sau)\s")
_ASIDE = re.compile(r",|\s[-\u2013\u2014(]|\s(?:including|preferably|in an?|w/|with an?)\s")


@dataclass(frozen=True, slots=True)
class Demand:
    """What an ad wants to have been done.

    Attributes:
        text: the sentence of the ad.
        years: at least; None where it names no number.
        subjects: the stems of what is wanted, a set for each alternative; none for work of any kind.
    """

    text: str
    years: float | None
    subjects: tuple[frozenset[str], ...]


@dataclass(frozen=True, slots=True)
class Role:
    """What a resume says was done.

    Attributes:
        text: the line that says so.
        stretch: when; None where the resume only claims a number of years.
        years: how long.
        subject: the stems of that line and of those around it that belong to it.
    """

    text: str
    stretch: Stretch | None
    years: float
    subject: frozenset[str]


def _amounts(sentence: str) -> Iterator[float]:
    """Yield the years that a sentence names, of a range its lower end; months are twelfths."""
    for m in _YEARS.finditer(sentence):
        word = m["low"].lower()
        value = float(_NUMBERS[word] if word in _NUMBERS else word.replace(",", "."))
        is_months = m["unit"].lower().startswith(("mo", "lu"))
        yield round(value / _MONTHS_A_YEAR, 2) if is_months else value


# --- What an ad demands ---------------------------------------------------------------------------------------------


def demands(job: str) -> list[Demand]:
    """Return what an ad wants to have been done, in its order.

    These are its sentences that name a number of years, and the lines of a section about experience. Preferred years
    ("10 years are a plus"), ages and the company's own years do not count.
    """
    language = language_of(job)
    found = []
    for line in ad_lines(job):
        if line.kind in {"nice", "ignored", "duty"}:
            continue
        for sentence in _SENTENCE.findall(line.text):
            years = list(_amounts(sentence)) if _demands_years(sentence, listed=line.kind in {"must", "past"}) else []
            subjects = _subjects(sentence, language)
            if years or (line.kind == "past" and subjects and not is_preferred(sentence)):
                found.append(Demand(sentence.strip(), max(years, default=None), subjects))
    return found


def years_required(job: str) -> float | None:
    """Return the years of experience that an ad demands.

    "5+ years", "at least five years" and "5-8 years" are 5; of several demands the largest counts. "Several years" and
    "mehrjährige Erfahrung" name no number: None.
    """
    return max((demand.years for demand in demands(job) if demand.years is not None), default=None)


def _demands_years(sentence: str, *, listed: bool) -> bool:
    if is_preferred(sentence) or _ABOUT_COMPANY.search(sentence):
        return False
    return listed or _ABOUT_WORK.search(sentence) is not None


def _subjects(sentence: str, language: Language) -> tuple[frozenset[str], ...]:
    """Return what is wanted in alternatives ("SRE / DevOps"), without what is said besides ("..., in a small team")."""
    brief = next((part for part in _ASIDE.split(sentence) if _subject(part, language)), "")
    return tuple(filter(None, (_subject(part, language) for part in _ALTERNATIVES.split(brief))))


def _subject(text: str, language: Language) -> frozenset[str]:
    """Return the stems that say what is done, without numbers, "years" and "experience"."""
    return frozenset(terms(_YEARS.sub(" ", text), language)) - _NO_SUBJECT - _NUMBERS.keys()


# --- What a resume shows --------------------------------------------------------------------------------------------


def roles(resume: str, *, today: date | None = None) -> list[Role]:
    """Return the dated stretches of work of a resume, and the years of work that it claims.

    Args:
        resume: the resume as plain text.
        today: what "present" means; with None the latest month that the resume names, so that the result depends on
            the text alone.
    """
    language = language_of(resume)
    lines = resume.splitlines()
    stretches = work_stretches(resume, today=today)
    dated = {one.line for one in stretches}
    found = [_role(one, lines, dated, language) for one in stretches]
    claims = (s for s in _SENTENCE.findall(resume) if _ABOUT_WORK.search(s))
    return found + [Role(s.strip(), None, n, _subject(s, language)) for s in claims for n in _amounts(s)]


def _role(stretch: Stretch, lines: Sequence[str], dated: set[int], language: Language) -> Role:
    """Put together a dated line, its title above, and what is told below it up to the next role or heading."""
    at = stretch.line
    above = [at - 1] if at and at - 1 not in dated and _TITLE.match(lines[at - 1]) else []
    end = next((i for i in range(at + 1, len(lines)) if i in dated or _HEADING.match(lines[i])), len(lines))
    below = range(at + 1, min(end, at + 1 + _ROLE_LINES))
    text = " \n".join(lines[i] for i in (*above, at, *below))
    return Role(lines[at].strip(), stretch, (stretch.end - stretch.start) / _MONTHS_A_YEAR, _subject(text, language))


def years_of_experience(resume: str, *, today: date | None = None) -> float | None:
    """Return the years of work that a resume shows.

    Dated stretches ("03/2019 - present", "2016-2019", "seit 2018") are added up, times that overlap once; those under
    education are left out. A bare year counts as its middle, so 2016-2019 is three years. Without dates, the years that
    the resume claims ("10 years of experience").

    Args:
        resume: the resume as plain text.
        today: what "present" means; with None the latest month that the resume names.

    Returns:
        Years, rounded to hundredths; None if the resume names neither dates nor years.
    """
    return total_years(roles(resume, today=today))


def total_years(found: Sequence[Role]) -> float | None:
    """The same as `years_of_experience`, of roles that are read already."""
    stretches = [role.stretch for role in found if role.stretch]
    if stretches:
        return round(total_months(stretches) / _MONTHS_A_YEAR, 2)
    return max((role.years for role in found), default=None)


# --- The two compared -----------------------------------------------------------------------------------------------


def years_shown(demand: Demand, found: Sequence[Role]) -> float:
    """Return the years in which roles show what is demanded, in hundredths; 0.0 if none does."""
    if not demand.subjects:
        return total_years(found) or 0.0
    fitting = [role for role in found if _likeness(demand, role) >= _SAME_WORK]
    return total_years(fitting) or 0.0


def share_shown(wanted: Sequence[Demand], found: Sequence[Role]) -> float | None:
    """Return how much of the demands is shown, in [0, 1]; None where nothing is demanded.

    Each demand counts the same. Where a number of years is demanded, it is the share of the years that is shown. Work
    that is only akin to what is demanded counts by how akin it is.
    """
    if not wanted:
        return None
    return sum(_share(demand, found) for demand in wanted) / len(wanted)


def _share(demand: Demand, found: Sequence[Role]) -> float:
    shown = _enough(demand, years_shown(demand, found))
    if shown == 1.0 or not demand.subjects:
        return shown
    likeness = max((_likeness(demand, role) for role in found), default=0.0)
    return max(shown, min(1.0, likeness / _SAME_WORK) * _AKIN * _enough(demand, total_years(found) or 0.0))


def _enough(demand: Demand, years: float) -> float:
    return min(1.0, years / demand.years) if demand.years else float(years > 0)


def _likeness(demand: Demand, role: Role) -> float:
    """Return the share of a demand's words, weighted by rarity, that a role has; of alternatives the greatest."""
    return max((_shared(subject, role.subject) for subject in demand.subjects), default=0.0)


def _shared(wanted: frozenset[str], told: frozenset[str]) -> float:
    return sum(rarity(term) for term in sorted(wanted & told)) / sum(rarity(term) for term in sorted(wanted))
