"""`ResponseCache` on a real server: which requests share an answer and which do not; and whether the suite can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.caches import BaseCache, InMemoryCache
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration
from typing_extensions import override

from cache import CacheSettings, ResponseCache
from tests.contract.completeness import CompletenessTests, Outcome, Shared, Stage, Subject, Verdict, judge
from tests.contract.completeness_rows import MUST_HIT, MUST_MISS, ROWS, Row
from tests.integration.calling import PATIENT_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_core.caches import RETURN_VAL_TYPE
    from langchain_core.outputs import Generation

PATIENT_SETTINGS = CacheSettings(deadline_ms=round(1000 * PATIENT_S))
# The provider is not told: which URL it was reached by, who asks, and of a schema in JSON mode anything at all.
UNSENT = {"base URL", "namespace"}
DECIDING_HEADERS = ("openai-organization", "openai-beta")
NAMES_THAT_MUST_MISS = """
model name, bound model, base URL, organisation, temperature, top_p, max tokens, stop, seed, n, frequency penalty,
presence penalty, logit bias, reasoning effort, service tier, system text, human text, one character, message order,
message role, an added turn, a changed tool result, a changed tool call argument, image content, file content,
tool added, tool removed, tool renamed, tool description, tool parameter type, tool default, tool choice,
response format kind, schema field added, schema field removed, schema field renamed, schema field retyped,
schema description changed, schema enum value, namespace, answer-changing header, in-house model
"""
NAMES_THAT_MUST_HIT = """
API key, time-out, retries, user-agent, request id header, message ids, response metadata, usage metadata, cost figure,
tool order, dict order, callbacks, tags, run name, process
"""


def open_cache(address: str) -> ResponseCache:
    """Open the cache of a namespace; the address is it and a URL with a space between them."""
    namespace, url = address.split(" ")
    return ResponseCache.from_url(url, namespace=namespace, settings=PATIENT_SETTINGS)


class TestResponseCache(CompletenessTests):
    @pytest.fixture
    def shared(self, redis_url: str, namespace: str) -> Shared:
        mine, others = (f"{name} {redis_url}" for name in (namespace, f"{namespace}-other"))
        return Shared("tests.contract.test_completeness:open_cache", mine, others)

    @pytest.fixture
    def cache(self, shared: Shared, stage: Stage) -> Iterator[ResponseCache]:
        cache = open_cache(shared.address)
        yield cache
        stage.asker.close_cache(cache)

    @pytest.fixture
    def other_tenant(self, shared: Shared, stage: Stage) -> Iterator[ResponseCache]:
        cache = open_cache(str(shared.other_tenant))
        yield cache
        stage.asker.close_cache(cache)


# --- the suite itself ----------------------------------------------------------------------------------------------


class ForgetfulCache(InMemoryCache):
    """Never answers."""

    @override
    def lookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        return None


class CarelessCache(InMemoryCache):
    """Answers everything with what it last got."""

    @override
    def lookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        return super().lookup("", "")

    @override
    def update(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        super().update("", "", return_val)


class GarblingCache(CarelessCache):
    """Answers with other words than it got."""

    @override
    def update(self, prompt: str, llm_string: str, return_val: Sequence[Generation]) -> None:
        super().update(prompt, llm_string, [ChatGeneration(message=AIMessage("garbled"))])


class FailingCache(InMemoryCache):
    """Raises."""

    @override
    def lookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        raise ConnectionError("no server")


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage() as stage:
        yield stage


def row_of(name: str) -> Row:
    """The first row of a name."""
    return next(row for row in ROWS if row.name == name)


def names(words: str) -> set[str]:
    return {name.strip() for name in words.replace("\n", " ").split(",")}


def sent(stage: Stage, row: Row) -> list[tuple[str, dict[str, str | None], dict[str, Any]]]:
    """What reaches the provider of both questions of a row."""
    n_before = len(stage.provider.requests)
    for question in (row.one, row.other):
        stage.asker.ask(question, ForgetfulCache())
    return [
        (request.path, {name: request.headers.get(name) for name in DECIDING_HEADERS}, request.body)
        for request in stage.provider.requests[n_before:]
    ]


def test_all_that_decides_and_all_that_does_not_is_there() -> None:
    """The suite has a row for each thing that must miss, and for each that must hit, and each row a name of its own."""
    assert {row.name for row in MUST_MISS} == names(NAMES_THAT_MUST_MISS)
    assert {row.name for row in MUST_HIT} == names(NAMES_THAT_MUST_HIT)
    assert len({str(row) for row in ROWS}) == len(ROWS)


def test_what_must_miss_is_another_request_for_the_provider(stage: Stage) -> None:
    """The two requests of a row that must miss differ in what is sent, but for what is never sent."""
    rows = [row for row in MUST_MISS if row.name not in UNSENT and row.one.method != "json_mode"]
    assert [str(row) for row in rows if len({repr(one) for one in sent(stage, row)}) == 1] == []


def test_classes_of_one_name_are_told_apart_by_their_fields_alone() -> None:
    """The two classes of a row are alive at once and have one repr, and another schema."""
    pairs = [(row.one.schema, row.other.schema) for row in MUST_MISS if row.name.startswith("schema")]
    assert len(pairs) >= 6
    for one, other in pairs:
        assert one is not None
        assert other is not None
        assert repr(one) == repr(other)
        assert one.model_json_schema() != other.model_json_schema()


@pytest.mark.parametrize(
    ("cache", "name", "outcome"),
    [
        (InMemoryCache(), "temperature", Outcome.RIGHT),
        (InMemoryCache(), "tags", Outcome.RIGHT),
        (InMemoryCache(), "schema field added", Outcome.WRONG_ANSWER),
        (InMemoryCache(), "time-out", Outcome.NEEDLESS_MISS),
        (InMemoryCache(), "namespace", Outcome.NOT_OFFERED),
        (InMemoryCache(), "process", Outcome.NOT_OFFERED),
        (ForgetfulCache(), "temperature", Outcome.NEVER_CACHED),
        (ForgetfulCache(), "tags", Outcome.NEEDLESS_MISS),
        (CarelessCache(), "temperature", Outcome.WRONG_ANSWER),
        (GarblingCache(), "tags", Outcome.CHANGED_ANSWER),
        (FailingCache(), "tags", Outcome.ERROR),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseCache) else None,
)
def test_each_fault_has_its_name(cache: BaseCache, name: str, outcome: Outcome, stage: Stage) -> None:
    """What is wrong with a cache is said in a word of its own."""
    assert judge(row_of(name), Subject(cache), stage).outcome is outcome


def test_a_cache_that_was_asked_before_is_not_judged(stage: Stage) -> None:
    """A cache that is not empty can prove nothing, and the verdict says so."""
    subject = Subject(InMemoryCache())
    judge(row_of("temperature"), subject, stage)
    verdict = judge(row_of("temperature"), subject, stage)
    assert verdict == Verdict(row_of("temperature"), Outcome.ERROR, "the cache was not empty")


def test_an_error_in_the_other_process_shows(stage: Stage) -> None:
    """A cache that cannot be opened in the other process is an error of that row, with its words."""
    subject = Subject(InMemoryCache(), shared=Shared("tests.contract.test_completeness:open_cache", "no-url"))
    verdict = judge(row_of("process"), subject, stage)
    assert verdict.outcome is Outcome.ERROR
    assert "ValueError: not enough values to unpack" in verdict.detail
