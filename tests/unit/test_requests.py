"""Canonical requests: what must miss, what must hit, and what cannot be established.

The strings are those that LangChain hands to a cache: a recording cache is asked by real models, and answers, so that
nothing is ever sent.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from decimal import Decimal
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from langchain_core.caches import BaseCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models.fake_chat_models import FakeListChatModel, GenericFakeChatModel
from langchain_core.load import dumps
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    UsageMetadata,
)
from langchain_core.outputs import ChatGeneration, Generation
from langchain_openai import AzureChatOpenAI, ChatOpenAI, OpenAI
from pydantic import BaseModel, SecretStr

from cache.requests import CanonicalRequest, Uncacheable, canonical_request
from tests.fakes import CountingChatModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.runnables import Runnable, RunnableConfig

Schema = dict[str, Any]
LOCAL_URL = "http://127.0.0.1:1/v1"


class Asked(NamedTuple):
    prompt: str
    llm_string: str


class RecordingCache(BaseCache):
    """Notes what it is asked and has an answer to everything."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []

    def lookup(self, prompt: str, llm_string: str) -> list[Generation]:
        self.asked.append(Asked(prompt, llm_string))
        return [ChatGeneration(message=AIMessage("{}"))]

    def update(self, prompt: str, llm_string: str, return_val: Any) -> None:
        """Nothing is made, so nothing comes."""

    def clear(self, **kwargs: Any) -> None:
        """Nothing is kept."""


CACHE = RecordingCache()


def model(**changes: Any) -> ChatOpenAI:
    return ChatOpenAI(**{"model": "gpt-4o-mini", "api_key": "sk-first", "cache": CACHE, **changes})


def ask(
    runnable: Runnable[Any, Any],
    messages: Any = "How far is the moon?",
    config: RunnableConfig | None = None,
    **call: Any,
) -> Asked:
    """What LangChain hands to the cache when the model is asked."""
    CACHE.asked.clear()
    runnable.invoke(messages, config, **call)
    [asked] = CACHE.asked
    return asked


def request(asked: Asked, **options: Any) -> CanonicalRequest:
    found = canonical_request(*asked, **options)
    assert isinstance(found, CanonicalRequest)
    return found


def reason(asked: Asked) -> str | None:
    found = canonical_request(*asked)
    return found.reason if isinstance(found, Uncacheable) else None


def tool(name: str = "search", description: str = "Search the web.", **properties: Schema) -> Schema:
    properties = properties or {"query": {"type": "string"}, "k": {"type": "integer", "default": 5}}
    parameters = {"type": "object", "properties": properties, "required": ["query"]}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def with_tools(*tools: Schema, **options: Any) -> Asked:
    return ask(model().bind_tools(tools, **options))


def schema(**properties: Schema) -> Schema:
    properties = properties or {"score": {"type": "integer", "description": "From 0 to 10."}}
    return {
        "title": "Score", "description": "A verdict.", "type": "object", "properties": properties,
        "required": list(properties), "additionalProperties": False,
    }  # fmt: skip


def structured(wanted: Any, **options: Any) -> Asked:
    """Ask a model with structured output, without its parser."""
    chain: Any = model().with_structured_output(wanted, **{"method": "json_schema", **options})
    return ask(chain.first)


CONVERSATION: list[BaseMessage] = [
    SystemMessage("Be brief."),
    HumanMessage("Weather in Rome and Oslo?"),
    AIMessage(
        "",
        tool_calls=[
            {"name": "weather", "args": {"city": "Rome"}, "id": "call_1"},
            {"name": "weather", "args": {"city": "Oslo"}, "id": "call_2"},
        ],
    ),
    ToolMessage("sunny", tool_call_id="call_1"),
    ToolMessage("snow", tool_call_id="call_2"),
]


class Loud(HumanMessage):
    """A message that a model of somebody's own may treat in another way."""


def conversation(at: int, message: BaseMessage) -> list[BaseMessage]:
    """The conversation with one message replaced."""
    return [*CONVERSATION[:at], message, *CONVERSATION[at + 1 :]]


def edited(at: int, **fields: Any) -> list[BaseMessage]:
    """The conversation with some fields of one message replaced."""
    return conversation(at, CONVERSATION[at].model_copy(update=fields))


def calls(first: Schema, second: Schema) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": "weather", **first}, {"name": "weather", **second}])


def image(url: str) -> list[BaseMessage]:
    return [HumanMessage([{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}])]


def document(data: str, name: str = "cv.pdf") -> list[BaseMessage]:
    return [HumanMessage([{"type": "file", "file": {"filename": name, "file_data": data}}])]


MODEL_CHANGES: list[dict[str, Any]] = [
    {"model": "gpt-4o"},
    {"base_url": LOCAL_URL},
    {"organization": "org-2"},
    {"temperature": 0.5},
    {"top_p": 0.5},
    {"max_tokens": 10},
    {"stop": ["END"]},
    {"seed": 1},
    {"n": 2},
    {"frequency_penalty": 0.5},
    {"presence_penalty": 0.5},
    {"logit_bias": {50256: -100}},
    {"reasoning_effort": "low"},
    {"reasoning": {"effort": "low"}},
    {"service_tier": "flex"},
    {"verbosity": "low"},
    {"logprobs": True},
    {"use_responses_api": True},
    {"extra_body": {"top_k": 5}},
    {"model_kwargs": {"prediction": {"type": "content", "content": "so"}}},
    {"default_headers": {"OpenAI-Beta": "assistants=v2"}},
    {"default_query": {"api-version": "2"}},
]


@pytest.mark.parametrize("changes", MODEL_CHANGES, ids=lambda changes: next(iter(changes)))
def test_a_model_that_is_set_up_otherwise_misses(changes: dict[str, Any]) -> None:
    """Every setting of a model that can change its answers is part of the request, each changed alone."""
    assert request(ask(model())) != request(ask(model(**changes)))


NOT_OF_A_CALL = {"base_url", "organization", "default_query"}


@pytest.mark.parametrize(
    "changes",
    [changes for changes in MODEL_CHANGES if not NOT_OF_A_CALL & changes.keys()],
    ids=lambda changes: next(iter(changes)),
)
def test_a_call_with_other_settings_misses(changes: dict[str, Any]) -> None:
    """What a call adds to the settings counts as what the model was built with does (traps L16, H10)."""
    changes = {"extra_headers" if name == "default_headers" else name: value for name, value in changes.items()}
    assert request(ask(model())) != request(ask(model().bind(**changes)))


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("temperature", 0.0, None),
        ("temperature", 0.0, 1.0),
        ("seed", 0, None),
        ("logit_bias", {50256: -100}, {50256: -99}),
        ("stop", ["a", "b"], ["b", "a"]),
        ("stop", ["ab"], ["a", "b"]),
        ("default_headers", {"OpenAI-Beta": "a"}, {"OpenAI-Beta": "b"}),
        ("base_url", "http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1"),
        ("base_url", "http://127.0.0.1:1/v1", "https://127.0.0.1:1/v1"),
        ("top_p", float("inf"), float("-inf")),
        ("top_p", float("nan"), None),
    ],
)
def test_two_values_of_a_setting_miss_each_other(name: str, one: Any, other: Any) -> None:
    """Values that are close, falsy or not finite are told apart."""
    assert request(ask(model(**{name: one}))) != request(ask(model(**{name: other})))


MESSAGE_CHANGES = {
    "system text": edited(0, content="Be long."),
    "human text": edited(1, content="Weather in Rome and Bergen?"),
    "one character": edited(1, content="Weather in Rome and Oslo!"),
    "case": edited(1, content="weather in Rome and Oslo?"),
    "a space": edited(1, content="Weather in Rome and Oslo? "),
    "order": [CONVERSATION[1], CONVERSATION[0], *CONVERSATION[2:]],
    "order of results": [*CONVERSATION[:3], CONVERSATION[4], CONVERSATION[3]],
    "role": conversation(1, SystemMessage("Weather in Rome and Oslo?")),
    "custom role": conversation(1, ChatMessage(content="Weather in Rome and Oslo?", role="critic")),
    "developer role": edited(0, additional_kwargs={"__openai_role__": "developer"}),
    "an added turn": [*CONVERSATION, AIMessage("Sunny and snow."), HumanMessage("Thanks")],
    "a removed turn": CONVERSATION[:-1],
    "a repeated turn": [*CONVERSATION, CONVERSATION[-1]],
    "a tool result": edited(3, content="rain"),
    "a tool result that is an error": edited(3, status="error"),
    "exchanged tool results": [*CONVERSATION[:3], *(
        CONVERSATION[3 + i].model_copy(update={"tool_call_id": f"call_{2 - i}"}) for i in range(2)
    )],
    "results of one call": edited(4, tool_call_id="call_1"),
    "a result of no call": edited(4, tool_call_id="call_3"),
    "a tool call argument": conversation(2, calls(
        {"args": {"city": "Rom"}, "id": "call_1"}, {"args": {"city": "Oslo"}, "id": "call_2"}
    )),
    "a type of an argument": conversation(2, calls(
        {"args": {"city": ["Rome"]}, "id": "call_1"}, {"args": {"city": "Oslo"}, "id": "call_2"}
    )),
    "exchanged calls": conversation(2, calls(
        {"args": {"city": "Oslo"}, "id": "call_1"}, {"args": {"city": "Rome"}, "id": "call_2"}
    )),
    "the name of a called tool": conversation(2, calls(
        {"name": "climate", "args": {"city": "Rome"}, "id": "call_1"}, {"args": {"city": "Oslo"}, "id": "call_2"}
    )),
    "a name": edited(1, name="ann"),
    "a class of somebody's own": conversation(1, Loud(content="Weather in Rome and Oslo?")),
    "reasoning": edited(2, additional_kwargs={"reasoning_content": "hm"}),
    "text beside a call": edited(2, content="One moment."),
    "content as a block": edited(1, content=[{"type": "text", "text": "Weather in Rome and Oslo?"}]),
    "no content as no blocks": edited(2, content=[]),
}  # fmt: skip


@pytest.mark.parametrize("change", MESSAGE_CHANGES)
def test_other_messages_miss(change: str) -> None:
    """Every change of a message that a model can see is another request, each made alone."""
    assert request(ask(model(), CONVERSATION)) != request(ask(model(), MESSAGE_CHANGES[change]))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (image("data:image/png;base64,AAAA"), image("data:image/png;base64,AAAB")),
        (image("https://example.com/a.png"), image("https://example.com/b.png")),
        (document("data:application/pdf;base64,AAAA"), document("data:application/pdf;base64,AAAB")),
        (document("AAAA"), document("AAAA", name="resume.pdf")),
        ([HumanMessage("a"), HumanMessage("b")], [HumanMessage("ab")]),
        ([HumanMessage("[]")], []),
        ([HumanMessage("é")], [HumanMessage("e\u0301")]),
        ([HumanMessage("\ud800")], [HumanMessage("\ud801")]),
    ],
)
def test_other_content_misses(one: list[BaseMessage], other: list[BaseMessage]) -> None:
    """Images, files, the borders of messages and the exact code points count (trap H8)."""
    asked = ask(model(), one)
    assert request(asked) != request(Asked(dumps(other), asked.llm_string))


def test_numbers_over_64_bits_keep_every_digit() -> None:
    """Two long numbers that differ in the last digit, as ids do, are different arguments."""

    def talk(number: int) -> list[BaseMessage]:
        return [HumanMessage("go"), AIMessage("", tool_calls=[{"name": "f", "args": {"id": number}, "id": "1"}])]

    requests = [request(ask(model(), talk(2**70 + i))) for i in (0, 1, 0)]
    assert requests[0] != requests[1]
    assert requests[0] == requests[2]
    assert request(ask(model(seed=2**70))) != request(ask(model(seed=2**70 + 1)))


def test_calls_that_only_the_raw_fields_hold_count() -> None:
    """Where a message has lost its tool calls, OpenAI is sent the raw ones: they are part of the request then."""

    def talk(arguments: str) -> list[BaseMessage]:
        raw = [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": arguments}}]
        message = AIMessage("", additional_kwargs={"tool_calls": raw}).model_copy(update={"tool_calls": []})
        return [HumanMessage("go"), message, ToolMessage("done", tool_call_id="call_1")]

    assert request(ask(model(), talk('{"a": 1}'))) != request(ask(model(), talk('{"a": 2}')))


@pytest.mark.parametrize(
    "tools",
    [
        [],
        [tool(), tool("other")],
        [tool("find")],
        [tool(description="Search the net.")],
        [tool(query={"type": "string"}, k={"type": "number", "default": 5})],
        [tool(query={"type": "string"}, k={"type": "integer", "default": 6})],
        [tool(query={"type": "string"}, k={"type": "integer"})],
        [tool(query={"type": "string"})],
        [tool(query={"type": "string"}, n={"type": "integer", "default": 5})],
        [tool(query={"type": "string", "enum": ["a", "b"]}, k={"type": "integer", "default": 5})],
        [tool(), tool()],
    ],
)
def test_other_tools_miss(tools: list[Schema]) -> None:
    """A tool that is added, removed, renamed or described, typed or preset otherwise makes another request."""
    assert request(with_tools(tool())) != request(with_tools(*tools))


@pytest.mark.parametrize("choice", ["auto", "required", "none", "search"])
def test_another_tool_choice_misses(choice: str) -> None:
    """Which tool a model may or must call is part of the request."""
    assert request(with_tools(tool())) != request(with_tools(tool(), tool_choice=choice))


def test_parallel_tool_calls_and_strictness_count() -> None:
    """How tools are called is part of the request."""
    strict = {"type": "function", "function": {**tool()["function"], "strict": True}}
    variants = [with_tools(tool()), with_tools(tool(), parallel_tool_calls=False), with_tools(strict)]
    assert len({request(asked) for asked in variants}) == len(variants)


@pytest.mark.parametrize(
    "changed",
    [
        schema(score={"type": "integer", "description": "From 0 to 10."}, reason={"type": "string"}),
        schema(points={"type": "integer", "description": "From 0 to 10."}),
        schema(score={"type": "number", "description": "From 0 to 10."}),
        schema(score={"type": "integer", "description": "From 0 to 100."}),
        schema(score={"type": "integer"}),
        schema(score={"type": "integer", "description": "From 0 to 10.", "enum": [1, 2]}),
        {**schema(), "required": []},
        {**schema(), "title": "Verdict"},
        {**schema(), "description": "A score."},
    ],
)
def test_another_schema_misses(changed: Schema) -> None:
    """A field that is added, removed, renamed, retyped or described otherwise is another request (traps L1, H1)."""
    assert request(structured(schema())) != request(structured(changed))


def test_another_enum_value_misses() -> None:
    """The values that a field may take are part of the request."""
    one, other = ({"grade": {"type": "string", "enum": ["a", last]}} for last in "bc")
    assert request(structured(schema(**one))) != request(structured(schema(**other)))


def test_the_kind_of_response_format_counts() -> None:
    """The same schema by JSON schema, by a function call and by JSON mode, strict or not, are four requests."""
    variants = [
        structured(schema()), structured(schema(), strict=True), structured(schema(), method="function_calling"),
        structured(schema(), method="json_mode"), ask(model()),
    ]  # fmt: skip
    assert len({request(asked) for asked in variants}) == len(variants)


class Handler(BaseCallbackHandler):
    """Does nothing."""

    def __repr__(self) -> str:  # part of a test's name, which is the same in all workers
        return "Handler()"


@pytest.mark.parametrize(
    "changes",
    [
        {"api_key": "sk-second"},
        {"timeout": 3},
        {"max_retries": 7},
        {"default_headers": {"User-Agent": "me/2"}},
        {"default_headers": {"X-Request-ID": "r-1"}},
        {"default_headers": {"X-Client-Request-Id": "r-1", "traceparent": "00-1-2-01"}},
        {"default_headers": {"Authorization": "Bearer other"}},
        {"default_headers": {}},
        {"callbacks": [Handler()]},
        {"tags": ["nightly"]},
        {"metadata": {"run": 1}},
        {"name": "my run"},
        {"verbose": True},
        {"model_kwargs": {}},
        {"base_url": "https://api.openai.com/v1/"},
    ],
    ids=str,
)
def test_a_model_that_only_sends_otherwise_hits(changes: dict[str, Any]) -> None:
    """Keys, time-outs, retries, tracing and the name of the run change no answer and no key (traps L3, L4)."""
    assert request(ask(model())) == request(ask(model(**changes)))


@pytest.mark.parametrize(
    "call",
    [
        {"timeout": 3},
        {"extra_headers": {"X-Request-Id": "r-1"}},
        {"extra_headers": {}},
        {"config": {"tags": ["a"], "metadata": {"a": 1}, "run_name": "b", "callbacks": [Handler()]}},
    ],
    ids=str,
)
def test_a_call_that_is_only_traced_or_sent_otherwise_hits(call: dict[str, Any]) -> None:
    """Tags, names, callbacks, time-outs and request ids of one call change no key."""
    assert request(ask(model())) == request(ask(model(), **call))


def test_an_answer_changing_header_counts_beside_neutral_ones() -> None:
    """Neutral headers are left out one by one; the others count, whatever the case of their names."""
    plain = request(ask(model(default_headers={"X-Variant": "a"})))
    same = {"x-variant": "a", "User-Agent": "me/2"}
    assert plain == request(ask(model(default_headers=same)))
    assert plain != request(ask(model(default_headers={"X-Variant": "a", "x-variant": "b"})))


def spoken(text: str, **fields: Any) -> list[BaseMessage]:
    return [HumanMessage("Hi"), AIMessage(text, **fields), HumanMessage("And now?")]


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "run-1"},
        {"response_metadata": {"id": "chatcmpl-1", "created": 1, "model_name": "gpt", "finish_reason": "stop"}},
        {"response_metadata": {"resumecache": {"hit": True}}},
        {"usage_metadata": UsageMetadata(input_tokens=1, output_tokens=2, total_tokens=3)},
        {"usage_metadata": {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0, "total_cost": 0}},
        {"additional_kwargs": {"refusal": None}},
        {"additional_kwargs": {"parsed": {"score": 1}}},
    ],
)
def test_what_a_provider_noted_on_an_earlier_answer_hits(fields: dict[str, Any]) -> None:
    """Ids, metadata, usage and cost of earlier turns differ from run to run and decide nothing (traps L7, H14)."""
    assert request(ask(model(), spoken("Hello"))) == request(ask(model(), spoken("Hello", **fields)))


def test_an_answer_that_stands_for_all_before_it_is_known_by_its_id() -> None:
    """Where only the id of the last answer is sent, two chats that end alike are two: the provider knows the rest."""
    asked = [spoken("Noted.", response_metadata={"id": f"resp_{name}"}) for name in ("alice", "bob")]
    continued = model(use_previous_response_id=True)
    assert request(ask(continued, asked[0])) != request(ask(continued, asked[1]))
    assert request(ask(continued, asked[0])) == request(ask(continued, asked[0]))
    assert request(ask(model(), asked[0])) == request(ask(model(), asked[1]))


def test_ids_of_tool_calls_hit() -> None:
    """The same conversation with other call ids, as each run makes them up, is the same request."""
    renamed = [message.model_copy(deep=True) for message in CONVERSATION]
    for message in renamed:
        if isinstance(message, ToolMessage):
            message.tool_call_id = f"new_{message.tool_call_id}"
        for call in getattr(message, "tool_calls", []):
            call["id"] = f"new_{call['id']}"
    assert request(ask(model(), CONVERSATION)) == request(ask(model(), renamed))


@pytest.mark.parametrize(
    "block",
    [
        {"type": "file", "file": {"filename": "cv.pdf", "file_data": "data:application/pdf;base64,AAAA"}},
        {"type": "input_audio", "input_audio": {"format": "wav", "data": "AAAA"}},
    ],
    ids=lambda block: block["type"],
)
def test_the_id_that_a_block_of_content_gets_each_time_hits(block: dict[str, Any]) -> None:
    """LangChain gives a file or a sound another id each time that one is asked about it; none of them is sent."""
    one, other = (ask(model(), [HumanMessage([block])]) for _ in range(2))
    assert one.prompt != other.prompt
    assert request(one) == request(other)


def test_an_id_that_is_not_made_up_misses() -> None:
    """The id of a file that the provider keeps tells it from another."""
    one, other = (
        ask(model(), [HumanMessage([{"type": "file", "file": {"file_id": name}}])]) for name in ("file-1", "file-2")
    )
    assert request(one) != request(other)


def test_the_artifact_of_a_tool_hits() -> None:
    """What a tool keeps for the application is never sent to a model, so it changes no key, whatever it is."""
    plain = request(ask(model(), CONVERSATION))
    assert plain == request(ask(model(), edited(3, artifact={"rows": [1, 2]})))
    assert plain == request(ask(model(), edited(3, artifact=object())))


def test_the_order_of_tools_and_of_dicts_hits() -> None:
    """Tools in another order, and dicts with their keys in another order, are the same request (trap L4)."""
    one, other = tool(), tool("other")
    assert request(with_tools(one, other)) == request(with_tools(other, one))
    turned = json.loads(json.dumps(one, sort_keys=True))
    function = dict(reversed(turned["function"].items()))
    assert request(with_tools(one)) == request(with_tools({"function": function, "type": "function"}))
    assert request(structured(schema())) == request(structured(dict(reversed(schema().items()))))
    assert request(ask(model(logit_bias={1: 2, 3: 4}))) == request(ask(model(logit_bias={3: 4, 1: 2})))


def test_the_same_strings_give_the_same_request() -> None:
    """Reading a request leaves nothing behind that would change the next reading."""
    asked = with_tools(tool(), tool("other"))
    assert request(asked) == request(asked)
    assert request(asked) != request(ask(model()))
    assert request(asked) == request(asked)


def test_an_explicit_endpoint_is_not_the_default_one() -> None:
    """A model that names OpenAI's endpoint does not share entries with one that goes where the environment points."""
    explicit, silent = ask(model(base_url="https://api.openai.com/v1")), ask(model())
    assert request(explicit) == request(silent)
    assert request(explicit, default_base_url=LOCAL_URL) != request(silent, default_base_url=LOCAL_URL)
    assert request(silent, default_base_url=LOCAL_URL) != request(silent)
    assert request(silent, default_base_url=LOCAL_URL + "/") == request(ask(model(base_url=LOCAL_URL)))
    assert request(explicit, default_base_url=LOCAL_URL) == request(explicit)


def test_every_endpoint_of_a_model_counts() -> None:
    """Azure models of two resources do not share entries, and neither do two deployments."""

    def azure(resource: str, deployment: str = "chat") -> CanonicalRequest:
        built = AzureChatOpenAI(
            azure_endpoint=f"https://{resource}.example.com",
            azure_deployment=deployment,
            api_key=SecretStr("k"),
            api_version="2024-10-21",
            cache=CACHE,
        )
        return request(ask(built))

    assert len({azure("one"), azure("two"), azure("one", "other")}) == 3
    both = "[('_type', 'x'), ('model', 'm'), ('base_url', 'http://a'), ('azure_endpoint', 'http://{}')]"
    assert request(Asked("[]", both.format("b"))) != request(Asked("[]", both.format("c")))


class Score(BaseModel):
    value: int


class Effort(StrEnum):
    LOW = "low"


class Color(Enum):
    RED = 1


@dataclasses.dataclass(repr=False)
class Silent:
    value: int


class Curt:
    """An object whose repr does not say what it holds."""

    def __repr__(self) -> str:
        return "Curt()"


@pytest.mark.parametrize(
    ("call", "word"),
    [
        ({"response_format": Score}, "schema_class"),
        ({"tools": [{"type": "function", "function": Score}]}, "schema_class"),
        ({"choices": Color}, "schema_class"),
        ({"hook": ask}, "schema_class"),
        ({"hook": object()}, "object_address"),
        ({"hook": Silent(1)}, "object_address"),
        ({"hook": functools.partial(int, base=2)}, "schema_class"),
        ({"hook": len}, "unreadable_settings"),
        ({"hook": Curt()}, "unreadable_settings"),
        ({"hook": Score(value=1)}, "unreadable_settings"),
        ({"reasoning_effort": Effort.LOW}, "unreadable_settings"),
        ({"top_p": Decimal("0.1")}, "unreadable_settings"),
        ({"top_p": float("nan")}, "unreadable_settings"),
    ],
)
def test_a_setting_that_is_no_plain_value_is_not_cached(call: dict[str, Any], word: str) -> None:
    """A class, an object or a function shows in LangChain's string as a name: what it holds cannot be established."""
    asked = model()._get_llm_string(**call)
    assert reason(Asked("[]", asked)) == word
    assert reason(Asked("[]", CountingChatModel()._get_llm_string(**call))) == word


def test_structured_output_by_a_class_is_not_cached() -> None:
    """LangChain shows a pydantic schema by the name of its class only (traps L1, H1)."""
    assert reason(structured(Score)) == "schema_class"


def test_structured_output_by_a_function_call_is_cached() -> None:
    """A pydantic schema that is sent as a tool shows with all its fields."""

    class Other(BaseModel):
        value: str

    Other.__name__ = Other.__qualname__ = "Score"
    one, other = structured(Score, method="function_calling"), structured(Other, method="function_calling")
    assert request(one) != request(other)


@pytest.mark.parametrize("hidden", [Score, Score(value=1), [Score(value=1)], {"deep": {"er": Color}}])
def test_an_object_that_a_model_was_built_with_is_not_cached(hidden: Any) -> None:
    """LangChain writes such an object as the name of its class, with or without a repr: two would look alike."""
    assert reason(ask(model(model_kwargs={"hidden": hidden}))) == "hidden_object"


def test_an_object_in_a_message_is_not_cached() -> None:
    """What a message holds beyond plain values shows as a name or a repr, and two could look alike."""
    assert reason(ask(model(), [HumanMessage("a", additional_kwargs={"x": Curt()})])) == "hidden_object"
    asked = ask(model())
    foreign = dumps([HumanMessage("a"), Curt()])
    assert reason(Asked(foreign, asked.llm_string)) == "hidden_object"


def test_a_text_that_only_speaks_of_hidden_objects_is_cached() -> None:
    """The words are not the thing: a user may write them."""
    text = '{"lc": 1, "type": "not_implemented", "id": ["x"]}'
    assert reason(ask(model(), [HumanMessage(text)])) is None


def test_an_in_house_model_that_does_not_say_what_it_is_is_not_cached() -> None:
    """A model whose string holds nothing but its type would be served another one's answers (traps L2, H2)."""
    bare = GenericFakeChatModel(messages=iter([]), cache=CACHE)
    assert reason(ask(bare)) == "unidentified_model"
    assert reason(ask(bare, stop=["END"])) == "unidentified_model"
    assert reason(ask(bare.bind(tools=[tool()], tool_choice="auto", temperature=1))) == "unidentified_model"


@pytest.mark.parametrize(
    "other",
    [
        CountingChatModel(cache=CACHE, model_name="x"),
        CountingChatModel(cache=CACHE, temperature=1.0),
        CountingChatModel(cache=CACHE, n_answers=2),
    ],
)
def test_an_in_house_model_that_says_what_it_is_is_cached(other: CountingChatModel) -> None:
    """What such a model says of itself is part of the request, each part alone."""
    assert request(ask(CountingChatModel(cache=CACHE))) != request(ask(other))


@pytest.mark.parametrize("name", ["name", "client", "metadata", "tags", "verbose", "cache", "responses", "path"])
def test_what_an_in_house_model_says_of_itself_is_not_left_out(name: str) -> None:
    """A field that is tracing on a LangChain model may be the one that identifies an in-house model."""
    one, other = (Asked("[]", f"[('_type', 'own'), ('{name}', '{value}'), ('stop', None)]") for value in "ab")
    assert request(one) != request(other)


def test_what_a_call_adds_to_a_completion_model_shows_in_no_string() -> None:
    """LangChain leaves it out, so that another model looks the same; `ResponseCache` looks at the call itself."""
    one = OpenAI(model="gpt-3.5-turbo-instruct", api_key=SecretStr("k"), cache=CACHE)
    assert ask(one, "Say a") == ask(one.bind(model="babbage-002", temperature=0.1), "Say a")


def test_strings_of_no_known_form_are_told_apart_verbatim() -> None:
    """A cache that is called with strings of somebody's own treats them as they are."""
    strings = ["", "gpt", "gpt ", "temperature=0", "('a', 1)", "(('a', 1),)", "---[]"]
    assert len({request(Asked("p", text)) for text in strings}) == len(strings)
    assert request(Asked("p", "gpt")) != request(Asked("q", "gpt"))
    assert reason(Asked("p", "[]")) == "unidentified_model"
    assert reason(Asked("p", "['ab', 'cd']")) == "unreadable_settings"
    assert reason(Asked("p", '{"kwargs": 1}---[]')) == "unreadable_settings"
    assert reason(Asked("p", '{"type": "not_implemented", "id": ["m"]}---[]')) == "unidentified_model"
    assert reason(Asked("p", "model <own.Model object at 0x7f00>")) == "object_address"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("b'x'", "\"b'x'\""),
        ("{'a', 'b'}", "['a', 'b']"),
        ("{(1, 2): 3}", "{(1, 2): 4}"),
        ("{(1, 2): 3}", "{'(1, 2)': 3}"),
        ("'\\ud800'", "'\\ud801'"),
        ("1", "True"),
        ("1", "'1'"),
        ("...", "'Ellipsis'"),
        ("None", "False"),
        (str(2**64), str(2**64 + 1)),
    ],
)
def test_literals_beyond_json_are_told_apart(one: str, other: str) -> None:
    """Whatever a Python literal can be is part of the request, with its type."""
    requests = [
        request(Asked("[]", f"[('_type', 'x'), ('model', 'm'), ('own', {value})]")) for value in (one, other, one)
    ]
    assert requests[0] != requests[1]
    assert requests[0] == requests[2]


def test_sets_have_no_order() -> None:
    """Two spellings of one set are one value."""
    one, other = (f"[('_type', 'x'), ('model', 'm'), ('own', {value})]" for value in ("{'a', 'b'}", "{'b', 'a'}"))
    assert request(Asked("[]", one)) == request(Asked("[]", other))


@pytest.mark.parametrize(
    ("runnable", "name"),
    [
        (lambda: model(model="llama3:8b"), "llama3:8b"),
        (lambda: model().bind(model="gpt-4o"), "gpt-4o"),
        (lambda: model().bind(temperature=0), "gpt-4o-mini"),
        (lambda: CountingChatModel(cache=CACHE, model_name="own"), "own"),
        (lambda: FakeListChatModel(responses=["a"], cache=CACHE), "fake-list-chat-model"),
    ],
)
def test_the_model_in_the_key_is_the_one_that_answers(runnable: Callable[[], Runnable[Any, Any]], name: str) -> None:
    """A model bound to the call goes before the one that was built; its type stands in for a missing name (H10)."""
    assert request(ask(runnable())).model == name


def test_the_name_of_a_run_is_never_the_model() -> None:
    """A model without a name goes by its class, not by what a run is called."""
    own = '{"lc": 1, "type": "constructor", "id": ["own", "Chat"], "kwargs": {"x": 1}, "name": "run 7"}---[]'
    assert request(Asked("[]", own)).model == "Chat"


def test_an_unknown_text_has_no_model() -> None:
    """What cannot be read is labelled as unknown."""
    assert request(Asked("p", "gpt-4o")).model == "unknown"


SECRET = "s3cr3t-value"  # noqa: S105  to be looked for


@pytest.mark.parametrize(
    "asked",
    [
        lambda: ask(model(api_key=SECRET)),
        lambda: ask(model(default_headers={"Authorization": SECRET, "X-Gateway-Key": SECRET, "X-Api-Key": SECRET})),
        lambda: ask(model().bind(extra_headers={"X-Gateway-Key": SECRET})),
        lambda: ask(model(model_kwargs={"extra_headers": {"X-Gateway-Key": SECRET}})),
        lambda: ask(model().bind(api_key=SECRET)),
        lambda: Asked("p", f"own model with key {SECRET}"),
    ],
)
def test_no_secret_stands_in_a_canonical_request(asked: Callable[[], Asked]) -> None:
    """Keys and the values of headers never stand in what the cache holds, only in hashes (traps L3, H11)."""
    assert SECRET not in repr(request(asked()))


def test_a_secret_header_counts_without_being_shown() -> None:
    """A gateway's header may decide who answers: another value is another request."""
    one, other = (request(ask(model(default_headers={"X-Gateway-Key": key}))) for key in ("a", "b"))
    assert one != other
