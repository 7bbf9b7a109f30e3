"""What goes into and comes out of the chains."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Percent = Annotated[float, Field(ge=0, le=100)]


class MatchExplanation(BaseModel):
    """What a language model says of a resume and a job ad."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    summary: str = Field(description="Two sentences on how well the resume fits the ad.")
    strengths: list[str] = Field(description="What the resume shows that the ad asks for, with the resume's words.")
    gaps: list[str] = Field(description="What the ad asks for and the resume does not show.")


class MatchResult(BaseModel):
    """How well one resume fits one job ad, and why.

    Attributes:
        rank: 1 is the best of a ranking.
        title: of the ad.
        source: the ad's file, or nothing.
        score: 0 to 100, the order of a ranking; made of the two parts below.
        semantic: 0 to 100, how close the two texts are in meaning.
        coverage: 0 to 100, how much of what the ad asks the resume shows; nothing where the ad names no skill.
        skills_present: asked and shown.
        skills_missing: asked and not shown.
        must_have_missing: those of them that the ad does not call optional.
        seniority_resume: "intern", "junior", "mid", "senior", "lead" or "head"; nothing where it does not say.
        seniority_job: the same for the ad.
        years_resume: years of experience that the resume's dates add up to.
        years_required: years of experience that the ad asks for.
        explanation: in plain words.
        strengths: by the language model.
        gaps: by the language model.
        explained_by: "rules", or the name of the language model.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: int = 1
    title: str = ""
    source: str | None = None
    score: Percent
    semantic: Percent
    coverage: Percent | None
    skills_present: tuple[str, ...] = ()
    skills_missing: tuple[str, ...] = ()
    must_have_missing: tuple[str, ...] = ()
    seniority_resume: str | None = None
    seniority_job: str | None = None
    years_resume: float | None = None
    years_required: float | None = None
    explanation: str = ""
    strengths: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ()
    explained_by: str = "rules"


class MatchRequest(BaseModel):
    """The input of the match chain."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    resume: Annotated[str, Field(min_length=1)]
    job: Annotated[str, Field(min_length=1)]
