"""Which requests must share an answer and which must not: tests that run against any LangChain `BaseCache`.

Each row is a pair of requests that differ in one thing. A real `ChatOpenAI` makes them over HTTP, and the provider
counts: where the difference can change the answer the second request must reach it, where not it must not, and the
first one, asked again, must not either: a cache that never answers is no right one. Use it as LangChain's own suites:

```python
class TestMyCache(CompletenessTests):
    @pytest.fixture
    def cache(self) -> BaseCache:  # a fresh one for each test
        return MyCache()
```

Two further fixtures are there to be overridden: `other_tenant`, a cache on the same store for somebody else, and
`shared`, how another process opens the same cache. Without them the rows that need them are expected to fail.
`judge` does the same without pytest.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import pkgutil
import subprocess
import sys
from abc import abstractmethod
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import pytest
from langchain_openai import ChatOpenAI
from typing_extensions import override

from tests.contract.completeness_rows import MUST_HIT, MUST_MISS, ROWS, Method, Question, Row
from tests.openai_server import OpenAIServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from _pytest.mark import ParameterSet
    from langchain_core.caches import BaseCache

Side = Literal["one", "other"]

ROOT = Path(__file__).resolve().parents[2]
_BY_NAME = {str(row): row for row in ROWS}


class Way(StrEnum):
    """How the second request is made."""

    SYNC = "sync"
    ASYNC = "async"
    ACROSS = "across processes"


class Outcome(StrEnum):
    """What came of a row."""

    RIGHT = "right"
    WRONG_ANSWER = "wrong answer"  # the answer to another request was served
    NEEDLESS_MISS = "needless miss"  # a request that is the same in all that counts reached the provider
    NEVER_CACHED = "never cached"  # the very same request reached the provider again
    CHANGED_ANSWER = "changed answer"  # a hit, but not with the words of the first answer
    NOT_OFFERED = "not offered"  # the cache has no tenants, or cannot be shared between processes
    ERROR = "error"


# --- asking --------------------------------------------------------------------------------------------------------


class Asker:
    """Asks questions in this process; a context manager that closes all connections that it made.

    Args:
        base_url: of the provider.
    """

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)  # one loop: LangChain keeps its clients
        self._models: list[ChatOpenAI] = []

    def ask(self, question: Question, cache: BaseCache, *, is_async: bool = False) -> Any:
        """Ask, and return the content of the answer."""
        model, runnable = question.runnable(self._base_url, cache)
        if isinstance(model, ChatOpenAI):
            self._models.append(model)
        messages = list(question.messages)
        if is_async:
            answer = self._runner.run(runnable.ainvoke(messages, question.config, **question.called))
        else:
            answer = runnable.invoke(messages, question.config, **question.called)
        return (answer["raw"] if isinstance(answer, dict) else answer).content

    def close_cache(self, cache: Any) -> None:
        """Close a cache, if that can be, with what it has on the loop of the asynchronous questions."""
        if hasattr(cache, "aclose"):
            self._runner.run(cache.aclose())
        if hasattr(cache, "close"):
            cache.close()

    def __enter__(self) -> Self:
        self._runner.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        for model in self._models:
            model.root_client.close()
            self._runner.run(model.root_async_client.close())
        self._runner.close()


@dataclass(frozen=True, slots=True)
class Shared:
    """How another process opens a cache.

    Attributes:
        factory: what opens it, as `package.module:function`; it gets the address.
        address: a text for the factory, such as a URL.
        other_tenant: the address of the cache of somebody else.
    """

    factory: str
    address: str
    other_tenant: str | None = None

    def open(self, *, is_others: bool) -> BaseCache:
        """Open the cache of whoever asks."""
        address = self.other_tenant if is_others else self.address
        return cast("BaseCache", pkgutil.resolve_name(self.factory)(address))


@dataclass(frozen=True, slots=True)
class Subject:
    """A cache, and how else it can be had.

    Attributes:
        cache: the cache.
        other_tenant: that of another tenant on the same store; `None` where there is no such thing.
        shared: how another process opens both; `None` where that cannot be.
    """

    cache: BaseCache
    other_tenant: BaseCache | None = None
    shared: Shared | None = None


class OtherProcess:
    """A process that asks the questions of rows; a context manager that starts it when it is first needed.

    Args:
        base_url: of the provider.
    """

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._process: subprocess.Popen[str] | None = None

    def ask(self, row: Row, side: Side, shared: Shared) -> Any:
        """Ask one question of a row.

        Raises:
            RuntimeError: asking failed there; the message says how.
        """
        process = self._process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        order = [str(row), side, shared.factory, shared.address, shared.other_tenant]
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        content, error = json.loads(process.stdout.readline() or '[null, "the process ended"]')
        if error is not None:
            raise RuntimeError(error)
        return content

    def _start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.contract.completeness", self._base_url]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.communicate()  # ends its input


def serve(base_url: str) -> None:
    """Be the other process: read questions from standard input, answer on standard output."""
    with Asker(base_url) as asker:
        for line in sys.stdin:
            print(json.dumps(_answer_order(asker, *json.loads(line))), flush=True)  # noqa: T201  the other end reads


def _answer_order(asker: Asker, name: str, side: Side, *shared: str) -> tuple[Any, str | None]:
    question: Question = getattr(_BY_NAME[name], side)
    cache = None
    try:
        cache = Shared(*shared).open(is_others=question.is_others)
        return asker.ask(question, cache), None
    except Exception as error:  # noqa: BLE001  it is told to who asked
        return None, _words(error)
    finally:
        asker.close_cache(cache)


# --- judging -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a question.

    Attributes:
        n_requests: how many requests reached the provider.
        content: of the answer.
        error: what was raised instead, in words; else empty.
    """

    n_requests: int
    content: Any = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a row.

    Attributes:
        row: the row.
        outcome: in one word.
        detail: more of it, if there is more to say.
    """

    row: Row
    outcome: Outcome
    detail: str = ""


class Stage(ExitStack):
    """What all rows of a run share: a provider, who asks, and another process; a context manager.

    Attributes:
        provider: gives each request another answer, of the form that it asks for.
        asker: asks in this process.
        other_process: asks in another.
    """

    def __init__(self) -> None:
        super().__init__()
        self._numbers = itertools.count(1)

    @override
    def __enter__(self) -> Self:
        super().__enter__()
        patch = self.enter_context(pytest.MonkeyPatch.context())
        for name in [name for name in os.environ if name.upper().startswith(("OPENAI_", "LANGSMITH_", "LANGCHAIN_"))]:
            patch.delenv(name)
        patch.setenv("NO_PROXY", "127.0.0.1")
        self.provider = self.enter_context(OpenAIServer())
        self.provider.script_chat(lambda body: _answer(body, next(self._numbers)))
        self.asker = self.enter_context(Asker(self.provider.base_url))
        self.other_process = self.enter_context(OtherProcess(self.provider.base_url))
        return self

    def ask(self, row: Row, side: Side, subject: Subject, way: Way) -> Reply:
        """Ask a question of a row, and count what reaches the provider."""
        n_before = len(self.provider.requests)
        content, error = None, ""
        try:
            content = self._content(row, side, subject, way)
        except Exception as raised:  # noqa: BLE001  any error is a finding
            error = _words(raised)
        return Reply(len(self.provider.requests) - n_before, content, error)

    def _content(self, row: Row, side: Side, subject: Subject, way: Way) -> Any:
        if way is Way.ACROSS:
            return self.other_process.ask(row, side, cast("Shared", subject.shared))
        question: Question = getattr(row, side)
        cache = subject.other_tenant if question.is_others else subject.cache
        return self.asker.ask(question, cast("BaseCache", cache), is_async=way is Way.ASYNC)


def judge(row: Row, subject: Subject, stage: Stage, way: Way = Way.SYNC) -> Verdict:
    """Ask the one question, the other, and the one again, and judge what reached the provider.

    Args:
        row: the questions.
        subject: a cache that nobody has asked yet.
        stage: who asks and who answers.
        way: how the questions are asked; the first one is asked in this process in any case.
    """
    is_across = way is Way.ACROSS or row.other.is_elsewhere
    missing = _what_is_missing(row, subject, is_across=is_across)
    if missing:
        return Verdict(row, Outcome.NOT_OFFERED, missing)
    asked: tuple[tuple[Side, bool], ...] = (("one", False), ("other", is_across), ("one", is_across))
    replies = [stage.ask(row, side, subject, way=Way.ACROSS if across else _here(way)) for side, across in asked]
    outcome, detail = _first_outcome(row, *replies) or _outcome_of_repeating(row, *replies)
    return Verdict(row, outcome, detail)


def _here(way: Way) -> Way:
    return Way.ASYNC if way is Way.ASYNC else Way.SYNC


def _what_is_missing(row: Row, subject: Subject, *, is_across: bool) -> str:
    """Say what the cache does not have that the row asks for; empty if it has all."""
    if is_across and subject.shared is None:
        return "cannot be shared between processes"
    other_tenant = subject.shared and subject.shared.other_tenant if is_across else subject.other_tenant
    return "has no tenants" if row.other.is_others and other_tenant is None else ""


def _first_outcome(row: Row, first: Reply, second: Reply, _: Reply) -> tuple[Outcome, str] | None:
    """What the first two questions have shown; `None` if nothing is wrong so far."""
    if first.error or not first.n_requests:
        return Outcome.ERROR, first.error or "the cache was not empty"
    if second.error:
        return Outcome.ERROR, second.error
    if not row.must_hit and not second.n_requests:
        return Outcome.WRONG_ANSWER, f"{second.content!r}"
    return (Outcome.NEEDLESS_MISS, "") if row.must_hit and second.n_requests else None


def _outcome_of_repeating(row: Row, first: Reply, second: Reply, again: Reply) -> tuple[Outcome, str]:
    if again.error:
        return Outcome.ERROR, again.error
    if again.n_requests:
        return (Outcome.RIGHT, "refused") if row.may_refuse else (Outcome.NEVER_CACHED, "")
    hits = (second, again) if row.must_hit else (again,)
    changed = [hit.content for hit in hits if hit.content != first.content]
    return (Outcome.CHANGED_ANSWER, f"{changed[0]!r} for {first.content!r}") if changed else (Outcome.RIGHT, "")


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _answer(body: dict[str, Any], number: int) -> str:
    """An answer that no other request gets, of the form that the request asks for."""
    response_format = body.get("response_format", {})
    if schema := response_format.get("json_schema", {}).get("schema"):
        return json.dumps(_example(schema, schema.get("$defs", {}), number))
    # In JSON mode the provider is not told the schema: this fits all that the rows ask for, as a text or a number.
    fields = {
        "reason": f"answer {number}",
        "points": str(number),
        "score": number,
        "grade": "good",
        "source": {"page": number, "line": number},
        "sure": True,
    }
    return json.dumps(fields) if response_format else f"answer {number}"


def _example(schema: dict[str, Any], definitions: dict[str, Any], number: int) -> Any:
    if reference := schema.get("$ref"):
        return _example(definitions[reference.rpartition("/")[2]], definitions, number)
    if "enum" in schema:
        return schema["enum"][0]
    match schema["type"]:
        case "object":
            return {name: _example(item, definitions, number) for name, item in schema["properties"].items()}
        case "string":
            return f"answer {number}"
        case "boolean":
            return True
    return number


# --- the tests -----------------------------------------------------------------------------------------------------


def _cases(rows: Sequence[Row]) -> list[ParameterSet]:
    """Every row in the plain way, and one row of each name and kind of answer in the others too."""
    seen: set[tuple[str, Method]] = set()
    cases = []
    for row in rows:
        is_first = (row.name, row.other.method) not in seen
        seen.add((row.name, row.other.method))
        cases += [pytest.param(row, way, id=f"{row}-{way}") for way in (Way if is_first else [Way.SYNC])]
    return cases


class CompletenessTests:
    """One test for each row and way of asking."""

    @pytest.fixture(scope="class")
    @classmethod
    def stage(cls) -> Iterator[Stage]:
        """The provider, and who asks it."""
        with Stage() as stage:
            yield stage

    @abstractmethod
    @pytest.fixture
    def cache(self) -> BaseCache:
        """A fresh cache; `stage.asker.close_cache` closes what asynchronous questions have opened."""

    @pytest.fixture
    def other_tenant(self) -> BaseCache | None:
        """The cache of another tenant on the same store; `None` where there is no such thing."""
        return None

    @pytest.fixture
    def shared(self) -> Shared | None:
        """How another process opens the cache; `None` where that cannot be."""
        return None

    @pytest.fixture
    def subject(self, cache: BaseCache, other_tenant: BaseCache | None, shared: Shared | None) -> Subject:
        """All three of them; not to be overridden."""
        return Subject(cache, other_tenant, shared)

    @pytest.mark.parametrize(("row", "way"), _cases(MUST_MISS))
    def test_must_miss(self, row: Row, way: Way, subject: Subject, stage: Stage) -> None:
        """A request that differs in this reaches the provider, and the first one is still answered from the cache."""
        _check(judge(row, subject, stage, way))

    @pytest.mark.parametrize(("row", "way"), _cases(MUST_HIT))
    def test_must_hit(self, row: Row, way: Way, subject: Subject, stage: Stage) -> None:
        """A request that differs in this alone gets the answer of the first one, and the provider is not asked."""
        _check(judge(row, subject, stage, way))


def _check(verdict: Verdict) -> None:
    if verdict.outcome is Outcome.NOT_OFFERED:
        pytest.xfail(f"the cache {verdict.detail}")
    assert verdict.outcome is Outcome.RIGHT, f"{verdict.row}: {verdict.outcome} {verdict.detail}"


if __name__ == "__main__":
    serve(sys.argv[1])
