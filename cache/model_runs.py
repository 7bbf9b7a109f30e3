"""When a caller has given up computing what it missed.

Between `lookup` and `update` LangChain tells a cache nothing. A chat model's run tells its end, unless it is cancelled:
then its task ends. A completion model asks before its run begins; an error of the run, or the end of the task, is the
end of it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cache.model_starts import when_failed

if TYPE_CHECKING:
    from cache.completion_models import ServedCall
    from cache.flight import Lead


def release_with_run(lead: Lead, call: ServedCall) -> None:
    """Have a lead fail when the call that has it ends without an answer: with an error, or cancelled."""
    if call.is_of_chat_model:
        call.start.when_over(lead.fail)
    else:
        when_failed(lead.fail)
    task = _running_task()
    if task is not None:
        _release_with_task(lead, task)


def _release_with_task(lead: Lead, task: asyncio.Task[object]) -> None:
    def fail(_: object) -> None:
        lead.fail()

    def forget() -> None:
        if _running_task() is task:  # only there may it be changed; a task that runs for ever must not collect them
            task.remove_done_callback(fail)

    task.add_done_callback(fail)
    lead.when_over(forget)


def _running_task() -> asyncio.Task[object] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None
