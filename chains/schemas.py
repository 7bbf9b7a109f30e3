"""What goes into and comes out of the chains."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from cache.subjects import MAX_ID_CHARS

SubjectId = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS, pattern=r"\S")]
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


class PairRequest(BaseModel):
    """The input of the chains.

    Attributes:
        resume: the text of the resume.
        job: the text of the ad.
        user: whose result it is; nothing shares it with all who give no user.
        candidate: an id of whom the resume is about, to be forgotten by; else they are found by its text.
        job_id: the same of the ad.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    resume: Annotated[str, Field(min_length=1)]
    job: Annotated[str, Field(min_length=1)]
    user: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    candidate: SubjectId | None = None
    job_id: SubjectId | None = None


class Edit(BaseModel):
    """One change to a resume.

    Attributes:
        original: the words that are replaced, exactly as they stand in the resume.
        new: the words that take their place.
        reason: why the ad makes it worth while.
        evidence: words of the resume that prove what the new words claim, exactly as they stand there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    original: str = Field(description="The exact words of the resume that are replaced.")
    new: str = Field(description="The words that take their place; they claim nothing that the resume does not show.")
    reason: str = Field(description="Why the ad makes this change worth while.")
    evidence: str = Field(description="The exact words of the resume that prove the new words.")


class ProposedEdits(BaseModel):
    """What a language model proposes for a resume."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    edits: list[Edit] = Field(description="At most ten edits, the most useful first.")


class RefusedEdit(BaseModel):
    """A proposed change that the resume does not support, and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    edit: Edit
    why: str


class OptimizationResult(BaseModel):
    """How a resume can say better what it already shows.

    Attributes:
        edits: supported by the resume.
        refused: proposed, and not supported by it.
        skills_missing: asked by the ad and shown nowhere; no edit can add them.
        score_before: of the resume as it is.
        score_after: of the resume with all edits made.
        optimized_by: "rules", or the name of the language model.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    edits: tuple[Edit, ...] = ()
    refused: tuple[RefusedEdit, ...] = ()
    skills_missing: tuple[str, ...] = ()
    score_before: Percent
    score_after: Percent
    optimized_by: str = "rules"
