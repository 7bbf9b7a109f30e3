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


class ScorePoints(BaseModel):
    """What each part gives to a score; the four add up to it, to the hundredth.

    Attributes:
        meaning: for being close in meaning.
        words: for sharing words, the rare ones most.
        skills: for the asked skills that the resume shows, a must-have counting twice.
        experience: for the demanded experience that it shows.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    meaning: Percent
    words: Percent
    skills: Percent
    experience: Percent


class SkillEvidence(BaseModel):
    """The exact words behind one asked skill.

    Attributes:
        skill: its name.
        job: the words of the ad that ask for it.
        resume: the words of the resume that show it; nothing where none do.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    skill: str
    job: str
    resume: str | None


class RefusedStatement(BaseModel):
    """What a language model said and the two texts do not hold, and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    statement: str
    why: str


class MatchResult(BaseModel):
    """How well one resume fits one job ad, and why.

    Attributes:
        rank: 1 is the best of a ranking.
        title: of the ad.
        source: the ad's file, or nothing.
        score: 0 to 100, the order of a ranking.
        points: what each part gives to the score; they add up to it.
        semantic: 0 to 100, how close the two texts are in meaning.
        wording: 0 to 100, how much they share words, the rare ones most.
        coverage: 0 to 100, how much of what the ad asks the resume shows; nothing where the ad names no skill.
        experience: 0 to 100, how much of the demanded experience the resume shows; nothing where none is demanded.
        skills_present: asked and shown.
        skills_missing: asked and not shown.
        must_have_missing: those of them that the ad does not call optional.
        evidence: for each asked skill the exact words of both texts.
        seniority_resume: "intern", "junior", "mid", "senior", "lead" or "head"; nothing where it does not say.
        seniority_job: the same for the ad.
        years_resume: years of experience that the resume's dates add up to.
        years_required: years of experience that the ad asks for.
        explanation: in plain words.
        strengths: what is asked and shown, must-haves first, with the words of the resume.
        gaps: what is asked and not shown, must-haves first, with the words of the ad.
        refused: what the language model said of the pair and the texts do not hold.
        explained_by: "rules", or the name of the language model.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: int = 1
    title: str = ""
    source: str | None = None
    score: Percent
    points: ScorePoints
    semantic: Percent
    wording: Percent
    coverage: Percent | None
    experience: Percent | None
    skills_present: tuple[str, ...] = ()
    skills_missing: tuple[str, ...] = ()
    must_have_missing: tuple[str, ...] = ()
    evidence: tuple[SkillEvidence, ...] = ()
    seniority_resume: str | None = None
    seniority_job: str | None = None
    years_resume: float | None = None
    years_required: float | None = None
    explanation: str = ""
    strengths: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ()
    refused: tuple[RefusedStatement, ...] = ()
    explained_by: str = "rules"


class PairRequest(BaseModel):
    """The input of the chains.

    Attributes:
        resume: the text of the resume.
        job: the text of the ad.
        user: whose result it is; nothing shares it with all who give no user.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    resume: Annotated[str, Field(min_length=1)]
    job: Annotated[str, Field(min_length=1)]
    user: Annotated[str, Field(min_length=1, max_length=200)] | None = None


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


class Finding(BaseModel):
    """What a resume could do better, where only its owner knows the words.

    Attributes:
        kind: "no outcome", "buried", "length" or "layout".
        words: of the resume.
        advice: one sentence.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    words: tuple[str, ...] = ()
    advice: str


class OptimizationResult(BaseModel):
    """How a resume can say better what it already shows.

    Attributes:
        edits: supported by the resume.
        refused: proposed, and not supported by it.
        findings: what only the resume's owner can mend.
        skills_missing: asked by the ad and shown nowhere; no edit can add them.
        score_before: of the resume as it is.
        score_after: of the resume with all edits made.
        optimized_by: "rules", or the name of the language model.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    edits: tuple[Edit, ...] = ()
    refused: tuple[RefusedEdit, ...] = ()
    findings: tuple[Finding, ...] = ()
    skills_missing: tuple[str, ...] = ()
    score_before: Percent
    score_after: Percent
    optimized_by: str = "rules"
