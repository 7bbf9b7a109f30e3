"""Compare a resume with a job ad, in words that can be checked. Pure and deterministic: same texts, same result.

What is compared: the skills that the ad asks for, the years of experience, the level of the role. Nothing is guessed:
what a text does not say is None.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chains.experience import share_shown, total_years
from chains.readings import JobReading, ResumeReading, evidence_of, read_job, read_resume
from chains.score import COPIED_AT_MOST

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date

    from chains.seniority import Seniority
    from chains.skills import AskedSkill

__all__ = ["Finding", "PairAnalysis", "analyse_pair", "compare", "explain", "gaps", "missing_skills", "strengths"]

_MUST_WEIGHT, _NICE_WEIGHT = 2, 1


@dataclass(frozen=True, slots=True)
class Finding:
    """An asked skill, and what shows it.

    Attributes:
        skill: as the ad asks for it; `skill.mention.text` are the ad's exact words.
        shown_as: the exact words of the resume that show it; None where nothing does.
    """

    skill: AskedSkill
    shown_as: str | None


@dataclass(frozen=True, slots=True)
class PairAnalysis:
    """What a resume shows of what an ad asks.

    Attributes:
        findings: the asked skills, in the ad's order.
        seniority_resume: level of the latest role; None if no title says one.
        seniority_job: level of the advertised role; None if the ad says none.
        years_resume: years of experience; None if the resume names neither dates nor years.
        years_required: years that the ad demands at least; None if it names no number.
        experience: share of the demanded experience that the resume shows, in [0, 1]; None if the ad demands none.
        copied: share of the resume's runs of eight words that stand in the ad, in [0, 1].
    """

    findings: tuple[Finding, ...]
    seniority_resume: Seniority | None
    seniority_job: Seniority | None
    years_resume: float | None
    years_required: float | None
    experience: float | None
    copied: float

    @property
    def asked(self) -> tuple[str, ...]:
        """Names of the asked skills."""
        return tuple(finding.skill.name for finding in self.findings)

    @property
    def present(self) -> tuple[str, ...]:
        """Names of those that the resume shows."""
        return tuple(finding.skill.name for finding in self.findings if finding.shown_as is not None)

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of those that it does not show."""
        return tuple(finding.skill.name for finding in self.findings if finding.shown_as is None)

    @property
    def must_have_missing(self) -> tuple[str, ...]:
        """Names of the missing ones that the ad demands rather than prefers."""
        return tuple(f.skill.name for f in self.findings if f.shown_as is None and f.skill.must_have)

    @property
    def coverage(self) -> float | None:
        """Share of the asked skills that is present, in [0, 1], must-haves counting twice; None if nothing is asked."""
        whole = sum(_weight(finding.skill) for finding in self.findings)
        shown = sum(_weight(finding.skill) for finding in self.findings if finding.shown_as is not None)
        return shown / whole if whole else None


def _weight(skill: AskedSkill) -> int:
    return _MUST_WEIGHT if skill.must_have else _NICE_WEIGHT


def analyse_pair(resume: str, job: str, *, today: date | None = None) -> PairAnalysis:
    """Compare a resume with an ad.

    Args:
        resume: the resume as plain text.
        job: the ad as plain text.
        today: what "present" means in the resume's dates. With None it is the latest month that the resume itself
            names, so that the result depends on the two texts alone and does not drift from day to day.
    """
    return compare(read_resume(resume, today=today), read_job(job))


def compare(resume: ResumeReading, job: JobReading) -> PairAnalysis:
    """Compare a resume with an ad, both read already."""
    found = [Finding(wanted.skill, evidence_of(wanted, resume)) for wanted in job.wanted]
    return PairAnalysis(
        findings=tuple(found),
        seniority_resume=resume.level,
        seniority_job=job.level,
        years_resume=total_years(resume.roles),
        years_required=max((d.years for d in job.demands if d.years is not None), default=None),
        experience=share_shown(job.demands, resume.roles),
        copied=len(resume.phrases & job.phrases) / max(1, len(resume.phrases)),
    )


def missing_skills(resume: str, job: str) -> list[AskedSkill]:
    """Return the asked skills that the resume does not show, with the ad's wordings, in the ad's order."""
    return [finding.skill for finding in analyse_pair(resume, job).findings if finding.shown_as is None]


# --- In words -------------------------------------------------------------------------------------------------------

_SHOWN_NAMES = 6
_SHOWN_FINDINGS = 8
_QUOTED_CHARS = 120


def explain(analysis: PairAnalysis) -> str:
    """Put an analysis into one to four sentences; the same analysis always gives the same words."""
    said = (_on_skills(analysis), _on_years(analysis), _on_level(analysis), _on_copying(analysis))
    return " ".join(filter(None, said))


def strengths(analysis: PairAnalysis) -> list[str]:
    """Say which asked skills are shown, must-haves first, each with the words of the resume that show it."""
    found = _must_haves_first(f for f in analysis.findings if f.shown_as is not None)
    return [f"{f.skill.name}: {_quoted(f.shown_as or '')}" for f in found]


def gaps(analysis: PairAnalysis) -> list[str]:
    """Say which asked skills are not shown, must-haves first, each with the words of the ad that ask for it."""
    found = _must_haves_first(f for f in analysis.findings if f.shown_as is None)
    return [
        f"{f.skill.name}{'' if f.skill.must_have else ' (nice to have)'}: {_quoted(f.skill.mention.text)}"
        for f in found
    ]


def _must_haves_first(findings: Iterable[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: not finding.skill.must_have)[:_SHOWN_FINDINGS]


def _quoted(words: str) -> str:
    """Quote exact words, from their beginning."""
    return f'"{words}"' if len(words) <= _QUOTED_CHARS else f'"{words[:_QUOTED_CHARS].rsplit(" ", 1)[0]}" ...'


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


def _on_copying(analysis: PairAnalysis) -> str:
    if analysis.copied <= COPIED_AT_MOST:
        return ""
    return f"{round(100 * analysis.copied)} % of the resume stands word for word in the ad and does not count."
