"""What is known of a model's run while it goes on, and what is not once it has ended."""

from __future__ import annotations

import asyncio
import dataclasses
from enum import Enum
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.callbacks import CallbackManager
from langchain_core.language_models.fake import FakeListLLM
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import BaseModel

from cache.model_starts import (
    MAX_NESTED,
    ModelStart,
    class_fingerprint,
    current_start,
    start_of,
    watch_models,
    when_failed,
)
from tests.fakes import CountingChatModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.messages import BaseMessage


class Score(BaseModel):
    value: int


class Color(Enum):
    RED = 1


@dataclasses.dataclass
class Point:
    x: int


class NoSchema:
    """A class that pydantic can say nothing about."""


class Calling(CountingChatModel):
    """A model that does something in each call, and notes what is known before and after."""

    action: Any = None
    seen: list[Any] = []  # noqa: RUF012  pydantic copies it for each model

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        self.seen.append(current_start())
        if self.action:
            self.action()
        self.seen.append(current_start())
        return ChatResult(generations=[ChatGeneration(message=AIMessage("fine"))])

    async def _agenerate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        self.seen.append(current_start())
        if self.action:
            await self.action()
        self.seen.append(current_start())
        return ChatResult(generations=[ChatGeneration(message=AIMessage("fine"))])


@pytest.fixture(autouse=True)
def _watching() -> None:
    watch_models()


def _begin_and_never_end() -> None:
    manager = CallbackManager.configure()
    manager.on_chat_model_start({}, [[HumanMessage("a")]], invocation_params={})


def test_nothing_is_known_outside_of_a_run() -> None:
    """Before the first run and after the last there is none."""
    assert current_start() is None
    CountingChatModel().bind(response_format=Score).invoke("a")
    assert current_start() is None


def test_a_run_knows_its_response_class() -> None:
    """The class itself, its name as LangChain writes it, its fingerprint and its JSON schema."""
    model = Calling()
    model.bind(response_format=Score).invoke("a")
    start = model.seen[0]
    assert start.response_class is Score
    assert start.classes == ((repr(Score), class_fingerprint(Score)),)
    assert start.schema == Score.model_json_schema()
    assert start.is_over


def test_the_runs_of_a_batch_are_one_call() -> None:
    """When the first of a batch fails the call is over, however many runs it has: of the others no end is told."""
    ends: list[str] = []

    def fail() -> None:
        start = current_start()
        assert start is not None
        start.when_over(lambda: ends.append("over"))
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        Calling(action=fail).generate([[HumanMessage(f"{n}")] for n in range(3 * MAX_NESTED)])
    assert (ends, current_start()) == (["over"], None)


def test_two_calls_of_one_model_are_two() -> None:
    """A call within another one of the same model has its own end."""
    model = Calling()
    inner = Calling()
    model.action = lambda: inner.invoke("a")
    model.invoke("a")
    assert len({id(start) for start in [*model.seen, *inner.seen]}) == 2


def test_an_error_of_a_run_that_is_to_begin_is_told() -> None:
    """Whoever waits for a completion model, which asks its cache before its run begins, hears of its error."""
    errors: list[str] = []
    when_failed(lambda: errors.append("failed"))
    FakeListLLM(responses=["fine"]).invoke("a")
    assert errors == []
    with pytest.raises(IndexError):
        FakeListLLM(responses=[]).invoke("a")
    assert errors == ["failed"]


@pytest.mark.parametrize("nested", [CountingChatModel(), FakeListLLM(responses=["fine"])])
def test_a_model_that_calls_another_finds_its_own_run_again(nested: Any) -> None:
    """The inner run hides the outer one only while it goes on."""
    model = Calling(action=lambda: nested.invoke("b"))
    model.bind(response_format=Score).invoke("a")
    before, after = model.seen
    assert before is after
    assert before.response_class is Score


async def test_asynchronous_models_find_their_own_run_again() -> None:
    """The end of an inner run is told in a task of its own, and is known all the same."""
    inner = CountingChatModel()
    model = Calling(action=lambda: inner.ainvoke("b"))
    await model.bind(response_format=Score).ainvoke("a")
    before, after = model.seen
    assert before is after
    assert before.response_class is Score


def test_a_run_that_fails_has_ended() -> None:
    """An error of the model ends the run, and calls what waits for its end."""
    ends: list[str] = []

    def fail() -> None:
        start = current_start()
        assert start is not None
        start.when_over(lambda: ends.append("over"))
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        Calling(action=fail).invoke("a")
    assert current_start() is None
    assert ends == ["over"]


async def test_cancelled_runs_do_not_pile_up() -> None:
    """A cancelled run never says that it ends: so many are kept and no more, and the next run is known."""
    for _ in range(3 * MAX_NESTED):
        _begin_and_never_end()
    model = Calling()
    await model.bind(response_format=Score).ainvoke("a")
    assert model.seen[0].response_class is Score


async def test_concurrent_runs_know_their_own() -> None:
    """Tasks of one loop do not see each other's runs."""

    async def wait() -> None:
        await asyncio.sleep(0)

    plain, structured = Calling(action=wait), Calling(action=wait)
    await asyncio.gather(plain.ainvoke("a"), structured.bind(response_format=Score).ainvoke("a"))
    assert [start.response_class for start in plain.seen] == [None, None]
    assert [start.response_class for start in structured.seen] == [Score, Score]


def test_the_configuration_of_a_call_is_known() -> None:
    """The metadata that a caller gives reaches the run."""
    model = Calling()
    model.invoke("a", {"metadata": {"tenant": "acme"}})
    assert model.seen[0].metadata["tenant"] == "acme"


@pytest.mark.parametrize("cls", [Score, Color, Point, int])
def test_classes_with_a_schema_have_a_fingerprint(cls: type) -> None:
    """Pydantic, an enum, a dataclass and a plain type: 32 hex digits."""
    assert len(class_fingerprint(cls) or "") == 32


def test_a_class_without_a_schema_has_none() -> None:
    """It stands for nothing, and its request is not cached."""
    assert class_fingerprint(NoSchema) is None
    assert start_of({"response_format": NoSchema}).classes == ()


@pytest.mark.parametrize("make", [lambda: Score, lambda: type("Score", (Score,), {"__module__": __name__})])
def test_a_fingerprint_is_that_of_the_fields(make: Callable[[], type]) -> None:
    """Another class with the same name and fields has the same one."""
    assert class_fingerprint(make()) == class_fingerprint(Score)


def test_a_class_that_is_completed_later_gets_its_own_fingerprint() -> None:
    """A rebuilt class is asked again: its fields may be others now."""

    class Late(BaseModel):
        value: int

    before = class_fingerprint(Late)
    Late.model_fields["value"].description = "Points."
    Late.model_rebuild(force=True)
    assert class_fingerprint(Late) != before


def test_a_class_in_another_setting_stands_for_nothing() -> None:
    """Of a class that is no response schema, its fields need not be all that counts."""
    start = start_of({"hook": Score, "tools": [Score]})
    assert (start.classes, start.schema, start.response_class) == ((), None, None)


def test_what_ends_twice_calls_once() -> None:
    """Both an error and the end may be told."""
    ends: list[int] = []
    start = ModelStart()
    start.when_over(lambda: ends.append(1))
    start.end()
    start.end()
    assert ends == [1]
