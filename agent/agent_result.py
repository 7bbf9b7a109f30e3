"""What an agent's messages say of a run: its progress and its result. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.messages import AIMessage, ToolMessage
from pydantic import ValidationError

from agent.budget import Stop, tokens_of
from agent.tools import APPLY
from chains.analysis import analyse_pair
from chains.evidence import sort_edits
from chains.findings import resume_findings
from chains.schemas import Edit, OptimizationResult, Percent, RefusedEdit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from langchain_core.messages import BaseMessage

    from agent.budget import Budget
    from agent.runs import Run

NOT_APPROVED = "it was not approved"
_REJECTED = "User rejected"


class Event(NamedTuple):
    """One piece of progress.

    Attributes:
        kind: "started", "step", "edit_accepted", "edit_refused", "approval" or "result".
        data: JSON.
    """

    kind: str
    data: dict[str, Any]


class AgentResult(OptimizationResult):
    """How a resume says better what it shows, and how the agent came to it.

    Attributes:
        scores: of the resume as it is, and after each accepted edit more.
        stopped_because: one of `Stop`.
        steps: answers of the model.
        tokens: of prompts and answers, those from the cache too.
        pending: edits that wait for approval.
        thread_id: names the run where edits wait for approval, to go on with it.
    """

    scores: tuple[Percent, ...]
    stopped_because: Stop
    steps: int = 0
    tokens: int = 0
    pending: tuple[Edit, ...] = ()
    thread_id: str | None = None


class Outcome(NamedTuple):
    """What a run has come to, before it is scored.

    Attributes:
        kept: edits that the resume supports, in their order.
        refused: with the reasons.
        pending: waiting for approval.
        stopped_because: why the agent has stopped.
        messages: of the run.
    """

    kept: list[Edit]
    refused: list[RefusedEdit]
    pending: list[Edit]
    stopped_because: Stop
    messages: Sequence[BaseMessage]

    def result(self, run: Run, scores: Sequence[float], author: str, thread_id: str | None) -> AgentResult:
        """The result, once the texts along its edits are scored."""
        return AgentResult(
            edits=tuple(self.kept),
            refused=tuple(self.refused),
            findings=resume_findings(run.resume, run.job),
            skills_missing=analyse_pair(run.resume, run.job).missing,
            score_before=scores[0],
            score_after=scores[-1],
            optimized_by=author,
            scores=tuple(scores),
            stopped_because=self.stopped_because,
            steps=sum(
                message.usage_metadata is not None for message in self.messages if isinstance(message, AIMessage)
            ),
            tokens=sum(tokens_of(self.messages)),
            pending=tuple(self.pending),
            thread_id=thread_id,
        )


def outcome(
    run: Run, messages: Sequence[BaseMessage], pending: Sequence[Edit], stopped: Stop | None, budget: Budget
) -> Outcome:
    """Read a run from its messages; each edit is checked once more, one after the other.

    Args:
        run: its texts.
        messages: of the agent, in words that may leave.
        pending: edits that wait for approval, in the same words.
        stopped: why the agent has stopped, where it says so.
        budget: of the run.
    """
    decided = list(_decided(messages))
    accepted = [run.restored(edit) for edit, why in decided if why is None]
    kept, late = sort_edits(run.resume, accepted)
    refused = [RefusedEdit(edit=run.restored(edit), why=run.private.restore(why)) for edit, why in decided if why]
    why = stopped or (Stop.WAITS if pending else budget.limit_reached(messages)) or Stop.DONE
    waiting = [run.restored(edit) for edit in pending]
    return Outcome(kept, list(dict.fromkeys([*refused, *late])), waiting, why, messages)


def by_rules(run: Run, edits: Iterable[Edit], stopped: Stop, messages: Sequence[BaseMessage] = ()) -> Outcome:
    """The outcome where rules propose the edits."""
    kept, refused = sort_edits(run.resume, edits)
    return Outcome(kept, refused, [], stopped, messages)


def progress(run: Run, update: dict[str, Any]) -> Iterator[Event]:
    """What one update of the agent's graph tells."""
    for node, change in update.items():
        for message in (change or {}).get("messages", ()) if isinstance(change, dict) else ():
            if isinstance(message, AIMessage) and node == "model":
                yield Event("step", {"tools": [call["name"] for call in message.tool_calls]})
            elif isinstance(message, ToolMessage):
                yield from _verdict(run, message)


def pending_edits(interrupts: Iterable[Any]) -> list[Edit]:
    """The edits that interrupts of an agent ask about."""
    requests = [each for interrupt in interrupts for each in interrupt.value["action_requests"]]
    return [Edit.model_validate(request["args"]) for request in requests]


def refused_in_a_row(messages: Sequence[BaseMessage]) -> int:
    """How many edits were refused since the last that was accepted."""
    n_refused = 0
    for _, why in reversed(list(_decided(messages))):
        if why is None:
            break
        n_refused += 1
    return n_refused


def _verdict(run: Run, message: ToolMessage) -> Iterator[Event]:
    said = _said(message)
    if said is None:
        return
    edit = run.restored(Edit.model_validate(said["edit"])).model_dump()
    if said["accepted"]:
        yield Event("edit_accepted", {"edit": edit})
    else:
        yield Event("edit_refused", {"edit": edit, "why": run.private.restore(said["why"])})


def _decided(messages: Sequence[BaseMessage]) -> Iterator[tuple[Edit, str | None]]:
    """Each edit that was to be made, and why it was not."""
    asked: dict[str | None, dict[str, Any]] = {}
    for message in messages:
        if isinstance(message, AIMessage):
            asked |= {call["id"]: call["args"] for call in message.tool_calls if call["name"] == APPLY}
        elif isinstance(message, ToolMessage) and message.tool_call_id in asked:
            said = _said(message)
            if said is not None:
                yield Edit.model_validate(said["edit"]), said["why"]
            elif edit := _edit_of(asked[message.tool_call_id]):
                is_rejected = str(message.content).startswith(_REJECTED)
                yield edit, NOT_APPROVED if is_rejected else "the budget was spent before it was made"


def _said(message: ToolMessage) -> dict[str, Any] | None:
    """What the tool that makes edits has answered; `None` for another tool, and where it did not run."""
    if message.name != APPLY or message.status == "error":
        return None
    said: dict[str, Any] = json.loads(str(message.content))
    return said


def _edit_of(args: dict[str, Any]) -> Edit | None:
    try:
        return Edit.model_validate(args)
    except ValidationError:
        return None
