"""Compare a resume with a job ad, in words that can be checked. Pure and deterministic: same texts, same result.

What is compared: the skills that the ad asks for, the years of experience, the level of the role. Nothing is guessed:
what a text does not say is None.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from chains.adverts import ad_lines, is_preferred
from chains.skills import AskedSkill, asked_skills, content_words, shown_skills
from chains.taxonomy import category, folded_words, implied_skills, is_tool

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import date

__all__ = [
    "PairAnalysis",
    "Seniority",
    "analyse_pair",
    "explain",
    "missing_skills",
    "seniority",
    "years_of_experience",
    "years_required",
]

Seniority = Literal["intern", "junior", "mid", "senior", "lead", "head"]

_MUST_WEIGHT, _NICE_WEIGHT = 2, 1


@dataclass(frozen=True, slots=True)
class PairAnalysis:
    """What a resume shows of what an ad asks.

    Attributes:
        asked: names of the asked skills, in the ad's order.
        present: those that the resume shows, in the same order.
        missing: those that it does not show, in the same order.
        must_have_missing: the missing ones that the ad demands rather than prefers.
        seniority_resume: level of the latest role; None if no title says one.
        seniority_job: level of the advertised role; None if the ad says none.
        years_resume: years of experience; None if the resume names neither dates nor years.
        years_required: years that the ad demands at least; None if it names no number.
        coverage: share of the asked skills that is present, in [0, 1], a must-have counting twice; None if nothing is
            asked, because then there is no share.
    """

    asked: tuple[str, ...]
    present: tuple[str, ...]
    missing: tuple[str, ...]
    must_have_missing: tuple[str, ...]
    seniority_resume: Seniority | None
    seniority_job: Seniority | None
    years_resume: float | None
    years_required: float | None
    coverage: float | None


def analyse_pair(resume: str, job: str, *, today: date | None = None) -> PairAnalysis:
    """Compare a resume with an ad.

    Args:
        resume: the resume as plain text.
        job: the ad as plain text.
        today: what "present" means in the resume's dates. With None it is the latest month that the resume itself
            names, so that the result depends on the two texts alone and does not drift from day to day.
    """
    asked = asked_skills(job)
    lacking = {id(skill) for skill in _lacking(resume, asked)}
    missing = [skill for skill in asked if id(skill) in lacking]
    present = [skill for skill in asked if id(skill) not in lacking]
    return PairAnalysis(
        asked=_names(asked),
        present=_names(present),
        missing=_names(missing),
        must_have_missing=_names(skill for skill in missing if skill.must_have),
        seniority_resume=seniority(resume, is_job=False),
        seniority_job=seniority(job, is_job=True),
        years_resume=years_of_experience(resume, today=today),
        years_required=years_required(job),
        coverage=_weight(present) / _weight(asked) if asked else None,
    )


def missing_skills(resume: str, job: str) -> list[AskedSkill]:
    """Return the asked skills that the resume does not show, with the ad's wordings, in the ad's order."""
    return _lacking(resume, asked_skills(job))


def _names(skills: Iterable[AskedSkill]) -> tuple[str, ...]:
    return tuple(skill.name for skill in skills)


def _weight(skills: Sequence[AskedSkill]) -> int:
    return sum(_MUST_WEIGHT if skill.must_have else _NICE_WEIGHT for skill in skills)


# --- Is an asked skill shown? ---------------------------------------------------------------------------------------

_SENTENCE_END = re.compile(r"\n|(?<=[.;!?])\s")
_SUFFIX = re.compile(
    r"(?:i[sz]ations?|ations?|itions?|ments?|ness|[ae]nces?|[ai]bilit(?:y|ies)|it(?:y|ies)|ing(?:s|ly)?|"
    r"ive(?:ly)?|ical(?:ly)?|"
    r"al(?:ly)?|ics?|[eo]rs?|ed|ly|ies|es|s|e|y|[ai]ble)\Z"
)
_STEM_LENGTH = 5
_SHORTEST_STEM = 4


def _lacking(resume: str, asked: list[AskedSkill]) -> list[AskedSkill]:
    """Return the skills that neither a name, nor a wording, nor the words of one sentence of the resume shows."""
    names = {m.name for m in shown_skills(resume)}
    names.update(*(implied_skills(name) for name in tuple(names)))
    words = f" {' '.join(folded_words(resume))} "
    sentences = [_stems(part) for part in _SENTENCE_END.split(resume)]
    return [
        skill
        for skill in asked
        if skill.name not in names and not _is_said(skill, words) and not _is_paraphrased(skill, sentences)
    ]


def _is_said(skill: AskedSkill, words: str) -> bool:
    """Say whether the resume has one of the ad's wordings, whatever the case and the plural."""
    folded = (" ".join(folded_words(wording)) for wording in skill.wordings)
    return category(skill.name) is None and any(f" {wording} " in words for wording in folded if wording)


def _is_paraphrased(skill: AskedSkill, sentences: list[frozenset[str]]) -> bool:
    """Say whether one sentence has the stems of all meaningful words ("managed budgets" for "budget management").

    Of a tool's name one word is not enough: "go" is no sign of Go.
    """
    wordings = (skill.name,) if category(skill.name) is None else (skill.name, *skill.wordings)
    fewest = 2 if is_tool(skill.name) else 1
    wanted = [stems for stems in map(_stems, wordings) if len(stems) >= fewest]
    return any(stems <= sentence for stems in wanted for sentence in sentences)


@lru_cache(maxsize=1 << 15)
def _stem(word: str) -> str:
    """Cut a word down to what its family shares: "managing", "management" and "manager" are "manag"."""
    word = word if word.endswith("ss") else word.removesuffix("s")
    for _ in range(2):
        shorter = _SUFFIX.sub("", word)
        if len(shorter) < _SHORTEST_STEM:
            break
        word = shorter
    return word[:_STEM_LENGTH]


def _stems(text: str) -> frozenset[str]:
    return frozenset(map(_stem, content_words(text)))


# --- Years ----------------------------------------------------------------------------------------------------------

_NUMBER_WORDS = {
    1: "one ein eine einem einen", 2: "two zwei", 3: "three drei", 4: "four vier", 5: "five fünf", 6: "six sechs",
    7: "seven sieben", 8: "eight acht", 9: "nine neun", 10: "ten zehn", 12: "twelve zwölf", 15: "fifteen fünfzehn",
    20: "twenty zwanzig",
}  # fmt: skip
_NUMBERS = {word: value for value, words in _NUMBER_WORDS.items() for word in words.split()}
_NUMBER = r"\d{1,2}(?:[.,]\d)?|" + "|".join(sorted(_NUMBERS, key=len, reverse=True))
_GAP = r"\s{0,3}"  # bounded: three optional gaps in a row must not multiply on a run of blanks
_YEARS = re.compile(
    rf"(?<![\w./-])(?P<low>{_NUMBER})(?:{_GAP}\(\d+\))?{_GAP}\+?"
    rf"(?:{_GAP}(?:-|\u2013|to|bis|or|oder){_GAP}(?:{_NUMBER}))?{_GAP}(?:\+|plus|or more|oder mehr)?"
    r"[\s-]{0,3}(?P<unit>years?|yrs?\.?|jahren?|months?|monaten?)(?!\w)(?!['\u2019]?\s(?:old|of age|ago|alt)\b)",
    re.IGNORECASE,
)
_ABOUT_WORK = re.compile(
    r"experience|experienced|erfahrung|\bas an?\b|\bas\b|working|worked|background|minimum|at least|"
    r"mindestens|mind\.|"
    r"practice|track record|praxis|tätigkeit|industry",
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


def _amounts(sentence: str) -> Iterator[float]:
    """Yield the years that a sentence names, of a range its lower end; months are twelfths."""
    for m in _YEARS.finditer(sentence):
        word = m["low"].lower()
        value = float(_NUMBERS[word] if word in _NUMBERS else word.replace(",", "."))
        yield round(value / 12, 2) if m["unit"].lower().startswith("mo") else value


def years_required(job: str) -> float | None:
    """Return the years of experience that an ad demands.

    "5+ years", "at least five years" and "5-8 years" are 5; of several demands the largest counts. Preferred years ("10
    years are a plus"), ages and the company's own years do not count. "Several years" and "mehrjährige Erfahrung" name
    no number: None.
    """
    found = [
        years
        for line in ad_lines(job)
        if line.kind not in {"nice", "ignored", "duty"}
        for sentence in _SENTENCE.findall(line.text)
        if _demands_years(sentence, listed=line.kind in {"must", "past"})
        for years in _amounts(sentence)
    ]
    return max(found, default=None)


def _demands_years(sentence: str, *, listed: bool) -> bool:
    if is_preferred(sentence) or _ABOUT_COMPANY.search(sentence):
        return False
    return listed or _ABOUT_WORK.search(sentence) is not None


# --- Dates of a resume ----------------------------------------------------------------------------------------------

_MONTH_NAMES = (
    "jan january januar jän jänner", "feb february februar", "mar march mär märz mrz", "apr april", "may mai",
    "jun june juni", "jul july juli", "aug august", "sep sept september", "oct october okt oktober", "nov november",
    "dec december dez dezember",
)  # fmt: skip
_MONTHS = {name: i for i, names in enumerate(_MONTH_NAMES) for name in names.split()}
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
_YEAR = r"(?:19[5-9]\d|20[0-4]\d)"


def _date_pattern(tag: str) -> str:
    """Return the pattern of a date, its groups tagged so that one expression can hold two."""
    return (
        rf"(?:(?P<isoyear{tag}>{_YEAR})[-/](?P<iso{tag}>0[1-9]|1[0-2])(?![\d/])|"
        rf"(?:(?P<name{tag}>{_MONTH})\b\.?,?\s+(?:\d{{1,2}},\s+)?|(?:\d{{1,2}}\.)?(?P<number{tag}>0?[1-9]|"
        rf"1[0-2])\s?[./]\s?)?"
        rf"(?P<year{tag}>{_YEAR})(?!\d))"
    )


_NOW = r"(?P<now>present|current(?:ly)?|now|today|date|ongoing|heute|aktuell|jetzt|laufend|dato)\b"
_DATE = re.compile(rf"(?<![\w/.-]){_date_pattern('')}", re.IGNORECASE)
_RANGE = re.compile(
    rf"(?<![\d/.-])(?P<between>between\s+|zwischen\s+)?{_date_pattern('1')}\s*"
    rf"(?:-+|\u2013|\u2014|\u2212|\bto\b|\buntil\b|\btill\b|\bthrough\b|\bbis\b|(?(between)\band\b|(?!))|"
    rf"(?(between)\bund\b|(?!)))\s*"
    rf"(?:{_date_pattern('2')}|{_NOW})",
    re.IGNORECASE,
)
_SINCE = re.compile(rf"\b(?:seit|since)\s+(?:dem\s+)?{_date_pattern('1')}", re.IGNORECASE)
_SECTION = re.compile(
    r"[\W_]*(?:\d+[.)]\s*)?(?P<words>[^\W\d][\w &/,'\u2019-]{2,45}?)[\W_]*\Z",
)
_LEARNING = re.compile(
    r"\b(?:education|academic|qualifications?|certificat\w+|certifications?|courses?|training|publications?|"
    r"awards?|hobbies|"
    r"interests|languages|references|ausbildung|bildung|bildungsweg|studium|schulbildung|schule|"
    r"weiterbildung(?:en)?|"
    r"zertifikate|sprachen|hochschulbildung)\b",
    re.IGNORECASE,
)
_WORKING = re.compile(
    r"\b(?:experience|employment|work|career|professional history|positions|jobs?|berufserfahrung|werdegang|"
    r"beruflicher|"
    r"berufspraxis|tätigkeiten|praxis|projects?|projekte|volunteer\w*)\b",
    re.IGNORECASE,
)
_STUDY = re.compile(
    r"\b(?:bachelor\w*|master(?:'s| of|studium)?|b\.?\s?sc|m\.?\s?sc|b\.?a\.|m\.?a\.|mba|ph\.?\s?d|diplom|"
    r"degree|university|college|"
    r"high school|universität|hochschule|gymnasium|abitur|studium|student|gpa)\b",
    re.IGNORECASE,
)
_LONGEST_MONTHS = 60 * 12
_MIDYEAR = 6
_HEADING_WORDS = 4


@dataclass(frozen=True, slots=True)
class _Span:
    """A stretch of work in months since year 0, `start <= month < end`, and the line it stands in."""

    start: int
    end: int
    line: int


def _month(m: re.Match[str], tag: str, *, ends: bool) -> int:
    """Return a date in months. A month is whole: as an end it is included. A bare year is its middle."""
    year = int(m[f"year{tag}"] or m[f"isoyear{tag}"])
    name, number = m[f"name{tag}"], m[f"number{tag}"] or m[f"iso{tag}"]
    if not name and not number:
        return year * 12 + _MIDYEAR
    return year * 12 + (_MONTHS[name.lower()] if name else int(number) - 1) + ends


def _latest(resume: str) -> int:
    """Return the latest month that the text names, as an end."""
    return max((_month(m, "", ends=True) for m in _DATE.finditer(resume)), default=0)


def _work_lines(resume: str) -> Iterator[tuple[int, str]]:
    """Yield the lines that can tell of work, with their numbers: those of education and courses are left out."""
    section = ""
    for i, line in enumerate(resume.splitlines()):
        heading = _SECTION.match(line)
        if heading and len(heading["words"].split()) <= _HEADING_WORDS:
            if _WORKING.search(heading["words"]):
                section = "work"
            elif _LEARNING.search(heading["words"]):
                section = "learning"
        if section != "learning" and (section == "work" or not _STUDY.search(line)):
            yield i, line


def _spans(resume: str, present: int) -> list[_Span]:
    """Return every stretch of work that is dated, in order of the text."""
    spans = []
    for i, line in _work_lines(resume):
        for m in _RANGE.finditer(line):
            end = present if m["now"] else _month(m, "2", ends=True)
            spans.append(_Span(_month(m, "1", ends=False), end, i))
        spans += [_Span(_month(m, "1", ends=False), present, i) for m in _SINCE.finditer(line)]
    return [s for s in spans if s.start <= s.end <= s.start + _LONGEST_MONTHS]


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
    present = today.year * 12 + today.month if today else _latest(resume)
    spans = sorted(_spans(resume, present), key=lambda s: (s.start, s.end))
    if not spans:
        return _claimed_years(resume)
    months, reached = 0, 0
    for span in spans:
        months += max(0, span.end - max(span.start, reached))
        reached = max(reached, span.end)
    return round(months / 12, 2)


def _claimed_years(resume: str) -> float | None:
    sentences = (s for s in _SENTENCE.findall(resume) if _ABOUT_WORK.search(s))
    return max((years for s in sentences for years in _amounts(s)), default=None)


# --- Seniority ------------------------------------------------------------------------------------------------------

# From the highest down: a "Senior Director" is a head.
_LEVELS: tuple[tuple[Seniority, re.Pattern[str]], ...] = (
    ("head", re.compile(
        r"\bhead of\b|\b(?:director|vice president|chief|cto|ceo|cfo|coo|cio|ciso)\b|\bV\.?P\b|"
        r"\w*leiter(?:in)?\b(?<!teamleiter)"
        r"(?<!teamleiterin)(?<!projektleiter)(?<!projektleiterin)|geschäftsführ", re.IGNORECASE)),
    ("lead", re.compile(
        r"\b(?:lead(?!\s+(?:gen|qual|to|time|nurtur|manag|conver))|principal|team ?leader|teamleiter(?:in)?|"
        r"teamleitung|supervisor|foreman|"
        r"staff (?:\w+ )?engineer)\b", re.IGNORECASE)),
    ("senior", re.compile(r"\b(?:senior(?!\s+(?:care|living|citizen|housing))|sr)\b", re.IGNORECASE)),
    ("mid", re.compile(r"\b(?:mid[- ]?level|mid[- ]?senior|intermediate|midweight)\b", re.IGNORECASE)),
    ("junior", re.compile(
        r"\b(?:junior|jr|entry[- ]level|graduate (?=\w*\s*(?:engineer|developer|analyst|program|scheme|"
        r"trainee))|"
        r"berufseinsteiger(?:in)?|berufsanfänger(?:in)?)\b", re.IGNORECASE)),
    ("intern", re.compile(
        r"\b(?:intern|internship|trainee|apprentice(?:ship)?|working student|praktikant(?:in)?|praktikum|"
        r"werkstudent(?:in)?|"
        r"auszubildende[rn]?|azubi)\b", re.IGNORECASE)),
)  # fmt: skip
_WANTED = re.compile(
    r"\b(?:looking for|seeking|hiring|search(?:ing)? for|suchen(?: wir)?|need)\s+(?:an?\s+|"
    r"eine[nr]?\s+)?(?P<role>[^.\n,;]{3,60})",
    re.IGNORECASE,
)
_TITLE_WORDS = 14
_HEADLINES = 4


def _level(text: str) -> Seniority | None:
    return next((level for level, pattern in _LEVELS if pattern.search(text)), None)


def seniority(text: str, *, is_job: bool) -> Seniority | None:
    """Return the level of a role: "intern", "junior", "mid", "senior", "lead" or "head".

    Of an ad, the title's, else that of "we are looking for a senior ..."; of a resume, that of the role with the latest
    end, else of the headline. None where no title says a level; a plain title is not taken for "mid".
    """
    return _level_of_job(text) if is_job else _level_of_resume(text)


def _level_of_job(job: str) -> Seniority | None:
    lines = ad_lines(job)
    title = next((line.text for line in lines if line.text.strip()), "")
    wanted = (_level(m["role"]) for line in lines for m in _WANTED.finditer(line.text) if line.kind != "ignored")
    named = _level(title) if len(title.split()) <= _TITLE_WORDS else None
    return named or next((level for level in wanted if level), None)


def _level_of_resume(resume: str) -> Seniority | None:
    lines = resume.splitlines()
    spans = _spans(resume, _latest(resume))
    if spans:
        last = max(spans, key=lambda s: (s.end, -s.line))
        near = [lines[i] for i in (last.line, last.line - 1, last.line + 1) if 0 <= i < len(lines)]
        titles = [line for line in near if len(line.split()) <= _TITLE_WORDS]
        level = next((found for found in map(_level, titles) if found), None)
        if level:
            return level
    heads = [line for line in lines if line.strip()][:_HEADLINES]
    return next((found for found in map(_level, heads) if found), None)


# --- In words -------------------------------------------------------------------------------------------------------

_SHOWN_NAMES = 6


def explain(analysis: PairAnalysis) -> str:
    """Put an analysis into one to three sentences; the same analysis always gives the same words."""
    return " ".join(filter(None, (_on_skills(analysis), _on_years(analysis), _on_level(analysis))))


def _on_skills(analysis: PairAnalysis) -> str:
    if not analysis.asked:
        return "The ad names no skills to compare."
    count = f"Shows {len(analysis.present)} of {len(analysis.asked)} asked skills"
    shown = f": {_enumerate(analysis.present)}" if analysis.present else ""
    return f"{count}{shown}{_on_missing(analysis)}."


def _on_missing(analysis: PairAnalysis) -> str:
    must = analysis.must_have_missing
    nice = tuple(name for name in analysis.missing if name not in must)
    parts = [f"{_enumerate(must)} (must-have)" if must else "", f"{_enumerate(nice)} (nice to have)" if nice else ""]
    return f"; missing: {', '.join(filter(None, parts))}" if must or nice else ""


def _enumerate(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN_NAMES
    return ", ".join(names[:_SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")


def _on_years(analysis: PairAnalysis) -> str:
    asked, shown = analysis.years_required, analysis.years_resume
    if asked is None:
        return ""
    resume = "names no dates" if shown is None else f"shows about {round(shown, 1):g}"
    return f"Asks for {asked:g}+ years, the resume {resume}."


def _on_level(analysis: PairAnalysis) -> str:
    job, resume = analysis.seniority_job, analysis.seniority_resume
    return (
        f"The role is {job} level, the latest one in the resume {resume}." if job and resume and job != resume else ""
    )
