"""`build_agent`: an agent that makes a resume say better, for one job, what it already shows.

It proposes edits, has each checked against the resume, scores what comes of them, and stops when nothing more is gained
or its budget is spent. A model decides what to try, never what is true: an edit counts only if `chains.evidence`
supports it. Who the resume is about never leaves.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import TYPE_CHECKING, Any

from langchain_core.messages import HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from agent.agent_graph import TASK, build_graph
from agent.agent_result import (
    NOT_APPROVED,
    AgentResult,
    Event,
    by_rules,
    outcome,
    pending_edits,
    progress,
)
from agent.budget import Budget, Stop
from agent.errors import ApprovalError
from agent.runs import Run
from agent.scoring import Climb, aclimb, ascores_along, climb, scores_along
from agent.tools import list_gaps, propose_edits
from chains.asking import RULES, name_of
from chains.evidence import sort_edits
from chains.schemas import Edit, RefusedEdit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from langchain_core.language_models import BaseChatModel
    from langgraph.checkpoint.base import BaseCheckpointSaver

    from agent.agent_result import Outcome
    from cache.clock import Clock
    from cache.tools import ToolResultCache
    from chains.vectors import ArrayEmbeddings

_log = logging.getLogger("resumecache")
_STEPS_OF_GRAPH = 25  # nodes that one answer of the model passes through at most, hooks and tools


class ResumeAgent:
    """An agent on one model or none; made by `build_agent`. One object serves many runs, at once too.

    Args:
        graph: of LangChain's `create_agent`; `None` follows rules alone.
        embeddings: what scores are made with.
        budget: of each run.
        author: what results call it.
        clock: where the time comes from.
        asks: whether a person approves each edit; what is approved stays, whatever it does to the score.
    """

    def __init__(
        self,
        graph: Any | None,
        embeddings: ArrayEmbeddings,
        budget: Budget,
        author: str,
        clock: Clock | None = None,
        *,
        asks: bool = False,
    ) -> None:
        self.graph = graph
        self._embeddings = embeddings
        self._budget = budget
        self._author = author
        self._clock = clock
        self._asks = asks

    def run(self, resume: str, job: str, user: str | None = None, *, thread_id: str | None = None) -> AgentResult:
        """Optimise a resume for an ad.

        Args:
            resume: its text.
            job: the ad's text.
            user: whose run it is: what its tools have found is not served to others.
            thread_id: names the run, a new name where none is given. A run that has ended is forgotten.

        Raises:
            PromptInputError: a text is blank.
        """
        return _result_of(list(self.stream(resume, job, user, thread_id=thread_id)))

    async def arun(
        self, resume: str, job: str, user: str | None = None, *, thread_id: str | None = None
    ) -> AgentResult:
        """Asynchronous twin of `run`."""
        return _result_of([event async for event in self.astream(resume, job, user, thread_id=thread_id)])

    def stream(
        self,
        resume: str,
        job: str,
        user: str | None = None,
        *,
        thread_id: str | None = None,
        approvals: Sequence[bool] | None = None,
    ) -> Iterator[Event]:
        """The progress of a run; the last event holds the result.

        Args:
            resume: its text.
            job: the ad's text.
            user: whose run it is.
            thread_id: names the run.
            approvals: goes on with that run, with a verdict on each of its pending edits; the texts are the same.

        Raises:
            PromptInputError: a text is blank.
        """
        run = Run.of(resume, job, user, self._clock)
        thread = thread_id or uuid.uuid4().hex
        yield _started(run)
        if self.graph is None:
            yield from self._finished(run, by_rules(run, _rule_edits(run), Stop.DONE), RULES, None)
            return
        config, failed, is_waiting = _config(thread, self._budget), False, approvals is not None
        if approvals is not None:
            _check_approvals(self.graph.get_state(config), approvals)
        try:
            try:
                for update in self.graph.stream(_input(run, approvals), config, context=run, stream_mode="updates"):
                    yield from progress(run, update)
            except Exception as error:  # noqa: BLE001  a provider's error is of any class; what was accepted stands
                failed = _failed(error)
            found, author = self._outcome(run, self.graph.get_state(config), failed=failed)
            is_waiting = bool(found.pending)
        finally:
            if not is_waiting:
                self.graph.checkpointer.delete_thread(thread)
        yield from self._finished(run, found, author, thread if is_waiting else None)

    async def astream(
        self,
        resume: str,
        job: str,
        user: str | None = None,
        *,
        thread_id: str | None = None,
        approvals: Sequence[bool] | None = None,
    ) -> AsyncIterator[Event]:
        """Asynchronous twin of `stream`."""
        run = await asyncio.to_thread(Run.of, resume, job, user, self._clock)  # tens of ms: others go on meanwhile
        thread = thread_id or uuid.uuid4().hex
        yield await asyncio.to_thread(_started, run)
        if self.graph is None:
            found = await asyncio.to_thread(lambda: by_rules(run, _rule_edits(run), Stop.DONE))
            for event in await self._afinished(run, found, RULES, None):
                yield event
            return
        config, failed, is_waiting = _config(thread, self._budget), False, approvals is not None
        if approvals is not None:
            _check_approvals(await self.graph.aget_state(config), approvals)
        try:
            try:
                updates = self.graph.astream(_input(run, approvals), config, context=run, stream_mode="updates")
                async for update in updates:
                    for event in progress(run, update):
                        yield event
            except Exception as error:  # noqa: BLE001  as above
                failed = _failed(error)
            state = await self.graph.aget_state(config)
            found, author = await asyncio.to_thread(lambda: self._outcome(run, state, failed=failed))
            is_waiting = bool(found.pending)
        finally:
            if not is_waiting:
                await self.graph.checkpointer.adelete_thread(thread)
        for event in await self._afinished(run, found, author, thread if is_waiting else None):
            yield event

    def decide(
        self, thread_id: str, resume: str, job: str, approvals: Sequence[bool], user: str | None = None
    ) -> AgentResult:
        """Go on with a run whose edits wait for approval.

        Args:
            thread_id: of the run.
            resume: the same text.
            job: the same text.
            approvals: a verdict on each pending edit, in their order.
            user: the same as before.

        Raises:
            ApprovalError: no run of this name waits, or for another number of verdicts.
        """
        return _result_of(list(self.stream(resume, job, user, thread_id=thread_id, approvals=approvals)))

    async def adecide(
        self, thread_id: str, resume: str, job: str, approvals: Sequence[bool], user: str | None = None
    ) -> AgentResult:
        """Asynchronous twin of `decide`."""
        events = self.astream(resume, job, user, thread_id=thread_id, approvals=approvals)
        return _result_of([event async for event in events])

    def _outcome(self, run: Run, state: Any, *, failed: bool) -> tuple[Outcome, str]:
        """What a run came to, and who has proposed the edits: rules, where the model failed before any was made."""
        messages = state.values.get("messages", [])
        said = state.values.get("stopped_because")
        stopped = Stop.MODEL_FAILED if failed else Stop(said) if said else None
        found = outcome(run, messages, pending_edits(state.interrupts), stopped, self._budget)
        if failed and not found.kept:
            return by_rules(run, _rule_edits(run), Stop.MODEL_FAILED, messages), RULES
        return found, self._author

    def _finished(self, run: Run, found: Outcome, author: str, thread: str | None) -> Iterator[Event]:
        if self._asks and author != RULES:
            climbed = Climb(found.kept, [], scores_along(run, found.kept, self._embeddings))
        else:
            climbed = climb(run, found.kept, self._embeddings)
        yield from _ending(run, found, climbed, author, thread)

    async def _afinished(self, run: Run, found: Outcome, author: str, thread: str | None) -> list[Event]:
        if self._asks and author != RULES:
            climbed = Climb(found.kept, [], await ascores_along(run, found.kept, self._embeddings))
        else:
            climbed = await aclimb(run, found.kept, self._embeddings)
        return await asyncio.to_thread(lambda: list(_ending(run, found, climbed, author, thread)))

    def chosen(self, resume: str, job: str, result: AgentResult, edits: Sequence[Edit]) -> AgentResult:
        """The result with only the edits that a person has chosen, scored anew.

        Args:
            resume: the same text.
            job: the same text.
            result: of a run.
            edits: some of its edits.
        """
        run = Run.of(resume, job, None, self._clock)
        kept, late = sort_edits(run.resume, edits)
        left = [RefusedEdit(edit=edit, why=NOT_APPROVED) for edit in result.edits if edit not in edits]
        scores = tuple(scores_along(run, kept, self._embeddings))
        changes = {"edits": tuple(kept), "refused": (*result.refused, *late, *left), "scores": scores}
        return result.model_copy(update={**changes, "score_after": scores[-1]})


def build_agent(
    model: BaseChatModel | None,
    embeddings: ArrayEmbeddings,
    *,
    checkpointer: BaseCheckpointSaver[Any] | None = None,
    budget: Budget | None = None,
    ask: bool = False,
    tool_results: ToolResultCache | None = None,
    clock: Clock | None = None,
) -> ResumeAgent:
    """An agent that optimises resumes.

    Args:
        model: any chat model with tools; give it `cache=ResponseCache(...)` to have its answers kept. `None` follows
            rules alone.
        embeddings: through the cache, or any model that gives arrays.
        checkpointer: where runs are kept that wait for approval: in memory where none is given, which ends with the
            process. Never a cache, which may lose them. It holds no identity line.
        budget: of each run.
        ask: whether each edit that the resume supports waits for approval before it is made.
        tool_results: keeps what tools have found, made with `pure_tools`.
        clock: where the time comes from.
    """
    bounds = budget or Budget()
    if model is None:
        return ResumeAgent(None, embeddings, bounds, RULES, clock)
    graph = build_graph(
        model, embeddings, bounds, checkpointer=checkpointer or InMemorySaver(), ask=ask, tool_results=tool_results
    )
    return ResumeAgent(graph, embeddings, bounds, name_of(model), clock, asks=ask)


def _rule_edits(run: Run) -> list[Edit]:
    return [run.restored(edit) for edit in propose_edits(run)]


def _input(run: Run, approvals: Sequence[bool] | None) -> Any:
    if approvals is not None:
        decisions = [{"type": "approve" if is_fine else "reject"} for is_fine in approvals]
        return Command(resume={"decisions": decisions})
    edits = [edit.model_dump() for edit in propose_edits(run)]
    task = TASK.format(resume=run.private.resume, job=run.private.job, gaps=list_gaps(run), edits=edits)
    return {"messages": [HumanMessage(task)]}


def _check_approvals(state: Any, approvals: Sequence[bool]) -> None:
    """Refuse verdicts that do not fit the edits, before anything is lost.

    Raises:
        ApprovalError: no run of this name waits, or for another number of verdicts.
    """
    n_waiting = len(pending_edits(state.interrupts))
    if n_waiting != len(approvals) or not n_waiting:
        raise ApprovalError(f"expected a verdict on each of {n_waiting} waiting edits, got {len(approvals)}")


def _config(thread: str, budget: Budget) -> dict[str, Any]:
    return {"configurable": {"thread_id": thread}, "recursion_limit": _STEPS_OF_GRAPH * (budget.steps + 1)}


def _started(run: Run) -> Event:
    return Event("started", {"edits_by_rule": len(propose_edits(run))})


def _ending(run: Run, found: Outcome, climbed: Climb, author: str, thread: str | None) -> Iterator[Event]:
    """The last events: verdicts that no step has told yet, what waits, and the result."""
    for edit in climbed.kept if author == RULES else ():
        yield Event("edit_accepted", {"edit": edit.model_dump()})
    for refused in climbed.refused:
        yield Event("edit_refused", refused.model_dump())
    final = found._replace(kept=climbed.kept, refused=[*found.refused, *climbed.refused])
    result = final.result(run, climbed.scores, author, thread)
    if result.pending:
        pending = [edit.model_dump() for edit in result.pending]
        yield Event("approval", {"thread_id": result.thread_id, "edits": pending})
    yield Event("result", result.model_dump(mode="json"))


def _failed(error: Exception) -> bool:
    _log.warning("the agent's model failed (%s), what was accepted stands", type(error).__name__)
    return True


def _result_of(events: list[Event]) -> AgentResult:
    return AgentResult.model_validate(events[-1].data)
