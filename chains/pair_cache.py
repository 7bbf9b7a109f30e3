"""A chain over a resume and an ad whose results are kept: each user's own, by all that they depend on."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from pydantic import BaseModel, ValidationError

from cache.clock import Clock, SystemClock
from cache.subjects import about_texts
from chains.errors import PromptInputError
from chains.schemas import PairRequest

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

Result = TypeVar("Result", bound=BaseModel)


def tagged(chain: Runnable[Any, Result]) -> Runnable[Any, Result]:
    """A chain whose entries, and those of the models in it, can be found to be forgotten by who they are about.

    Args:
        chain: from `{"resume", "job"}`, and perhaps a `"user"`, a `"candidate"` and a `"job_id"`, to a result.

    Raises:
        PromptInputError: raised by the runnable when its input is not of that form.
    """

    def run(request: Any, config: RunnableConfig) -> Result:
        with _about(parse_request(request)):
            return chain.invoke(request, config)

    async def arun(request: Any, config: RunnableConfig) -> Result:
        with _about(parse_request(request)):
            return await chain.ainvoke(request, config)

    return RunnableLambda(run, afunc=arun)


def _about(given: PairRequest) -> AbstractContextManager[None]:
    return about_texts(given.resume, given.job, candidate=given.candidate, job_id=given.job_id)


class ResultStore(Protocol):
    """What is asked of a cache of results; `cache.results.PairResults` is one."""

    def get_or_lead(
        self, resume: str, job: str, read: Callable[[Any], Result | None], *, user: str | None = None
    ) -> tuple[Result | None, AbstractContextManager[object]]:
        """The result, of a store or of another caller; or else what to hold while it is computed."""

    async def aget_or_lead(
        self, resume: str, job: str, read: Callable[[Any], Result | None], *, user: str | None = None
    ) -> tuple[Result | None, AbstractContextManager[object]]:
        """Asynchronous twin of `get_or_lead`."""

    def set(self, resume: str, job: str, result: Any, *, user: str | None = None, made_ms: int = 0) -> bool:
        """Keep a result."""

    async def aset(self, resume: str, job: str, result: Any, *, user: str | None = None, made_ms: int = 0) -> bool:
        """Asynchronous twin of `set`."""


def cached_results(
    chain: Runnable[Any, Result],
    results: ResultStore,
    kind: type[Result],
    *,
    is_final: Callable[[Result], bool],
    clock: Clock | None = None,
) -> Runnable[Any, Result]:
    """Ask the results first, and the chain only when they have none; who asks at the same time shares one answer.

    Args:
        chain: from `{"resume", "job", "user"}` to a result.
        results: where results are kept.
        kind: the result's schema; what does not fit it is a miss.
        is_final: whether a result is worth keeping, and not one that a failing model left half done.
        clock: where the time that a result took comes from.

    Raises:
        PromptInputError: raised by the runnable when its input is not of that form.
    """
    ticking = clock or SystemClock()
    read = partial(_parsed, kind)

    def run(request: Any, config: RunnableConfig) -> Result:
        given = parse_request(request)
        found, lead = results.get_or_lead(given.resume, given.job, read, user=given.user)
        if found is not None:
            return found
        with lead:
            started_s = ticking.monotonic_s()
            made = chain.invoke(request, config)
            if is_final(made):
                made_ms = round(1000 * (ticking.monotonic_s() - started_s))
                results.set(given.resume, given.job, made.model_dump(mode="json"), user=given.user, made_ms=made_ms)
            return made

    async def arun(request: Any, config: RunnableConfig) -> Result:
        given = parse_request(request)
        found, lead = await results.aget_or_lead(given.resume, given.job, read, user=given.user)
        if found is not None:
            return found
        with lead:
            started_s = ticking.monotonic_s()
            made = await chain.ainvoke(request, config)
            if is_final(made):
                made_ms = round(1000 * (ticking.monotonic_s() - started_s))
                made_json = made.model_dump(mode="json")
                await results.aset(given.resume, given.job, made_json, user=given.user, made_ms=made_ms)
            return made

    return RunnableLambda(run, afunc=arun)


def parse_request(request: Any) -> PairRequest:
    """Check the input of a chain.

    Raises:
        PromptInputError: a text is missing, or something is of the wrong kind.
    """
    try:
        return PairRequest.model_validate(request)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise PromptInputError(
            f"expected {{'resume': text, 'job': text, 'user': text or nothing}}: {problems}"
        ) from None


def _parsed(kind: type[Result], value: Any) -> Result | None:
    try:
        return kind.model_validate(value)
    except ValidationError:
        return None
