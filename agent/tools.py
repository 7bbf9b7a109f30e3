"""The tools of the agent that optimises a resume: each a thin call into the chains, on the texts of its run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from langchain.tools import ToolRuntime  # noqa: TC002  LangChain reads the annotation when a tool is made
from langchain_core.tools import BaseTool, StructuredTool

from agent.runs import Run
from agent.scoring import ascores_along, scores_along
from cache.keys import Kind
from cache.tools import PureTool
from chains.analysis import analyse_pair
from chains.evidence import sort_edits
from chains.findings import resume_findings
from chains.optimization import EDITING_VERSION
from chains.rule_edits import edits_by_rule
from chains.schemas import Edit
from chains.taxonomy import find_skills

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain.agents.middleware import ToolCallRequest

    from cache.settings import CacheSettings
    from chains.vectors import ArrayEmbeddings

APPLY = "apply_edit"
_CONTEXT_CHARS = 160


def build_tools(embeddings: ArrayEmbeddings) -> list[BaseTool]:
    """The tools of the agent; each answers with a JSON object and reads the texts of its run, not of the model.

    Args:
        embeddings: through the cache, or any model that gives arrays.
    """

    def score(runtime: ToolRuntime[Any, Any], edits: list[Edit]) -> str:
        run: Run = runtime.context
        return _said(score_edits(run, edits, scores_along(run, _supported(run, edits), embeddings)))

    async def ascore(runtime: ToolRuntime[Any, Any], edits: list[Edit]) -> str:
        run: Run = runtime.context
        return _said(score_edits(run, edits, await ascores_along(run, _supported(run, edits), embeddings)))

    return [
        StructuredTool.from_function(_analyse, name="analyse_match", description=_ANALYSE),
        StructuredTool.from_function(_gaps, name="list_gaps", description=_GAPS),
        StructuredTool.from_function(_propose, name="propose_edits", description=_PROPOSE),
        StructuredTool.from_function(_check, name="check_edit", description=_CHECK),
        StructuredTool.from_function(score, ascore, name="score_edits", description=_SCORE),
        StructuredTool.from_function(_apply, name=APPLY, description=_APPLY),
    ]


def pure_tools(settings: CacheSettings) -> dict[str, PureTool]:
    """The tools whose results are kept, each for the texts of its run; to apply an edit is none of them."""
    by_kind = {
        "analyse_match": Kind.JOB_MATCH,
        "list_gaps": Kind.JOB_MATCH,
        "propose_edits": Kind.OPTIMIZATION,
        "check_edit": Kind.OPTIMIZATION,
        "score_edits": Kind.OPTIMIZATION,
    }
    version = f"{EDITING_VERSION}"
    return {name: PureTool(settings.ttl_s(kind), version, _scope) for name, kind in by_kind.items()}


def analyse_match(run: Run) -> dict[str, Any]:
    """What the ad asks, and what of it the resume shows."""
    found = analyse_pair(run.private.resume, run.private.job)
    return {
        "present": found.present,
        "missing": found.missing,
        "must_have_missing": found.must_have_missing,
        "years_resume": found.years_resume,
        "years_required": found.years_required,
        "seniority_resume": found.seniority_resume,
        "seniority_job": found.seniority_job,
    }


def list_gaps(run: Run) -> dict[str, Any]:
    """What the ad asks and the resume lacks, and what it shows, each with the words that prove it; findings too."""
    resume, job = run.private.resume, run.private.job
    found = analyse_pair(resume, job)
    first = {mention.name: mention.start for mention in reversed(find_skills(resume))}
    shown = {name: _line_of(resume, first[name]) for name in found.present if name in first}
    findings = [finding.model_dump() for finding in resume_findings(resume, job)]
    return {
        "missing": found.missing,
        "must_have_missing": found.must_have_missing,
        "shown": shown,
        "findings": findings,
    }


def propose_edits(run: Run) -> list[Edit]:
    """The edits that follow from rules and that the resume supports: a starting point, in words that may leave."""
    edits = edits_by_rule(run.private.resume, run.private.job)
    return [edit for edit in edits if run.why_refused(edit) is None]


def score_edits(run: Run, edits: Sequence[Edit], scores: Sequence[float]) -> dict[str, Any]:
    """The score before and after some edits, and which of them are refused."""
    reasons = {edit.original: why for edit in edits if (why := run.why_refused(edit))}
    return {"score_before": scores[0], "score_after": scores[-1], "scores": list(scores), "refused": reasons}


def _supported(run: Run, edits: Sequence[Edit]) -> list[Edit]:
    fine = [run.restored(edit) for edit in edits if run.why_refused(edit) is None]
    return sort_edits(run.resume, fine)[0]


def _scope(request: ToolCallRequest) -> str | None:
    run: Any = request.runtime.context
    return run.scope if isinstance(run, Run) else None


def _said(answer: Any) -> str:
    return json.dumps(answer, ensure_ascii=False, sort_keys=True)


def _line_of(text: str, at: int) -> str:
    start = text.rfind("\n", 0, at) + 1
    return text[start:].partition("\n")[0].strip()[:_CONTEXT_CHARS]


def _analyse(runtime: ToolRuntime[Any, Any]) -> str:
    return _said(analyse_match(runtime.context))


def _gaps(runtime: ToolRuntime[Any, Any]) -> str:
    return _said(list_gaps(runtime.context))


def _propose(runtime: ToolRuntime[Any, Any]) -> str:
    return _said([edit.model_dump() for edit in propose_edits(runtime.context)])


def _check(runtime: ToolRuntime[Any, Any], original: str, new: str, reason: str, evidence: str) -> str:
    why = runtime.context.why_refused(Edit(original=original, new=new, reason=reason, evidence=evidence))
    return _said({"supported": why is None, "why": why})


def _apply(runtime: ToolRuntime[Any, Any], original: str, new: str, reason: str, evidence: str) -> str:
    edit = Edit(original=original, new=new, reason=reason, evidence=evidence)
    why = runtime.context.why_refused(edit)
    return _said({"accepted": why is None, "why": why, "edit": edit.model_dump()})


_ANALYSE = "Say what the ad asks, and what of it the resume shows."
_GAPS = "List what the ad asks and the resume lacks, what it shows with the words that prove it, and what reads badly."
_PROPOSE = "Give the edits that follow from rules: a good starting point. Each is supported by the resume."
_CHECK = "Say whether the resume supports an edit: original and evidence are exact words of the resume."
_SCORE = "Score the resume before and after some edits, from 0 to 100."
_APPLY = "Make one edit: original and evidence are exact words of the resume. What it does not support is refused."
