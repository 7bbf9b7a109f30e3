"""Pairs of requests that differ in one thing: those that must not share an answer, and those that must.

Plain data. `ROWS` holds them all; `completeness.py` asks them.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, cast

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import BaseTool, StructuredTool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field, SecretStr, create_model
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.caches import BaseCache
    from langchain_core.callbacks import CallbackManagerForLLMRun
    from langchain_core.outputs import ChatResult
    from langchain_core.runnables import Runnable, RunnableConfig

Settings = Mapping[str, Any]
Method = Literal["json_schema", "json_mode", "function_calling"]

DEFAULTS: Settings = {"model": "gpt-4o-mini", "api_key": SecretStr("sk-one"), "max_retries": 0, "timeout": 30.0}


class InHouseModel(BaseChatModel):
    """A model as people write them: it shows LangChain its type and nothing else."""

    model: str
    base_url: str

    @property
    @override
    def _llm_type(self) -> str:
        return "in-house"

    @override
    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        inner = ChatOpenAI(**{**DEFAULTS, "model": self.model}, base_url=self.base_url, cache=False)
        return inner._generate(messages, stop, run_manager, **kwargs)


class IdentifiedModel(InHouseModel):
    """An in-house model that says which one it is."""

    @property
    @override
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": self.model, "base_url": self.base_url}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One request, as an application makes it.

    Attributes:
        messages: what is asked.
        built: settings that the model is built with, beyond `DEFAULTS`.
        bound: settings given with `bind`, or `bind_tools` where there are tools.
        called: settings given with `invoke`.
        tools: those given with `bind_tools`.
        schema: the class given with `with_structured_output`.
        method: how the answer comes to be of this class.
        config: the runnable config of the call.
        kind: the class of the model.
        is_mirrored: whether the model is reached under another base URL.
        is_others: whether another tenant asks.
        is_elsewhere: whether another process asks, whichever way the rest is asked.
    """

    messages: tuple[BaseMessage, ...] = (SystemMessage("Be brief."), HumanMessage("Is it warm in Rome?"))
    built: Settings = field(default_factory=dict)
    bound: Settings = field(default_factory=dict)
    called: Settings = field(default_factory=dict)
    tools: tuple[BaseTool | dict[str, Any], ...] = ()
    schema: type[BaseModel] | None = None
    method: Method = "json_schema"
    config: RunnableConfig | None = None
    kind: type[ChatOpenAI | InHouseModel] = ChatOpenAI
    is_mirrored: bool = False
    is_others: bool = False
    is_elsewhere: bool = False

    def runnable(self, base_url: str, cache: BaseCache) -> tuple[BaseChatModel, Runnable[Any, Any]]:
        """The model, and what is invoked: the model with all that is bound to it."""
        url = base_url.removesuffix("/v1") + "-mirror/v1" if self.is_mirrored else base_url
        model = self.kind(**{**DEFAULTS, **self.built}, base_url=url, cache=cache)
        if self.schema is not None:
            # With the raw answer beside it, an answer that does not fit is no exception.
            return model, model.with_structured_output(self.schema, method=self.method, include_raw=True, **self.bound)
        if self.tools:
            return model, model.bind_tools(self.tools, **self.bound)
        return model, model.bind(**self.bound)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A pair of requests that differ in one thing.

    Attributes:
        name: what differs.
        variant: where or how it differs; name and variant together are unique.
        must_hit: whether the two must share an answer; otherwise they must not.
        one: the request that is made first.
        other: the request that is made second.
        may_refuse: whether a cache is right not to cache it at all.
    """

    name: str
    variant: str = ""
    must_hit: bool = False
    one: Question
    other: Question
    may_refuse: bool = False

    def __str__(self) -> str:
        return f"{self.name} ({self.variant})" if self.variant else self.name


def _setting_rows() -> Iterator[Row]:
    """Settings: given with `bind` and with the model, two values and one against none."""
    settings: dict[str, tuple[str, Any, Any]] = {
        "model name": ("model", "gpt-4o-mini", "gpt-4.1-mini"),
        "organisation": ("organization", "org-a", "org-b"),
        "temperature": ("temperature", 0.0, 1.0),
        "top_p": ("top_p", 0.5, 0.9),
        "max tokens": ("max_tokens", 100, 200),
        "stop": ("stop", ["END"], ["STOP"]),
        "seed": ("seed", 1, 2),
        "n": ("n", 2, 3),
        "frequency penalty": ("frequency_penalty", 0.5, 1.0),
        "presence penalty": ("presence_penalty", 0.5, 1.0),
        "logit bias": ("logit_bias", {50256: -100}, {50256: 100}),
        "reasoning effort": ("reasoning_effort", "low", "high"),
        "service tier": ("service_tier", "default", "flex"),
    }
    for name, (setting, one, other) in settings.items():
        yield Row(name=name, one=Question(built={setting: one}), other=Question(built={setting: other}))
        if name != "model name":
            yield Row(name=name, variant="set or not", one=Question(), other=Question(built={setting: other}))
        if name not in {"model name", "organisation"}:
            bound = Question(bound={setting: one}), Question(bound={setting: other})
            yield Row(name=name, variant="bound", one=bound[0], other=bound[1])
    called = Question(called={"stop": ["END"]}), Question(called={"stop": ["STOP"]})
    yield Row(name="stop", variant="called", one=called[0], other=called[1])


def _model_rows() -> Iterator[Row]:
    """Which model it is, and where."""
    small, large = {"model": "gpt-4.1-mini"}, {"model": "gpt-4.1"}
    yield Row(name="bound model", variant="bind", one=Question(), other=Question(bound=large))
    yield Row(name="bound model", variant="invoke", one=Question(), other=Question(called=large))
    yield Row(name="bound model", variant="two of them", one=Question(bound=small), other=Question(bound=large))
    yield Row(name="base URL", one=Question(), other=Question(is_mirrored=True))
    yield Row(name="namespace", one=Question(), other=Question(is_others=True))
    for kind, may_refuse in {InHouseModel: True, IdentifiedModel: False}.items():
        yield Row(
            name="in-house model",
            variant="identified" if kind is IdentifiedModel else "by its type alone",
            one=Question(kind=kind, built=small),
            other=Question(kind=kind, built=large),
            may_refuse=may_refuse,
        )


def _header_rows() -> Iterator[Row]:
    one, other = {"OpenAI-Beta": "assistants=v1"}, {"OpenAI-Beta": "assistants=v2"}
    built = [Question(built={"default_headers": headers}) for headers in (one, other)]
    bound = [Question(bound={"extra_headers": headers}) for headers in (one, other)]
    yield Row(name="answer-changing header", one=built[0], other=built[1])
    yield Row(name="answer-changing header", variant="set or not", one=Question(), other=built[1])
    yield Row(name="answer-changing header", variant="bound", one=bound[0], other=bound[1])


def _image(data: str) -> HumanMessage:
    return HumanMessage([{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}])


def _image_block(data: str) -> HumanMessage:
    return HumanMessage([{"type": "image", "base64": data, "mime_type": "image/png"}])


def _file(data: str) -> HumanMessage:
    file = {"filename": "resume.pdf", "file_data": f"data:application/pdf;base64,{data}"}
    return HumanMessage([{"type": "file", "file": file}])


def _conversation(*, city: str = "Rome", result: str = "sun") -> tuple[BaseMessage, ...]:
    """A conversation in which a tool was called."""
    calls = [{"name": "weather", "args": {"city": city, "days": 1}, "id": "call_1", "type": "tool_call"}]
    return HumanMessage("Weather?"), AIMessage("", tool_calls=calls), ToolMessage(result, tool_call_id="call_1")


def _message_rows() -> Iterator[Row]:
    rome, oslo = HumanMessage("Is it warm in Rome?"), HumanMessage("Is it warm in Oslo?")
    brief, text = SystemMessage("Be brief."), {"type": "text", "text": "Is it warm in Rome?"}
    pairs: dict[tuple[str, str], tuple[tuple[BaseMessage, ...], tuple[BaseMessage, ...]]] = {
        ("system text", ""): ((brief, rome), (SystemMessage("Be thorough."), rome)),
        ("system text", "none"): ((brief, rome), (rome,)),
        ("human text", ""): ((brief, rome), (brief, oslo)),
        ("one character", ""): ((brief, rome), (brief, HumanMessage("Is it warm in Rome!"))),
        ("one character", "its case"): ((brief, rome), (brief, HumanMessage("is it warm in Rome?"))),
        ("one character", "a space"): ((brief, rome), (brief, HumanMessage("Is it warm in Rome? "))),
        ("one character", "its accent"): ((HumanMessage("résumé"),), (HumanMessage("resumé"),)),
        ("message order", ""): ((rome, oslo), (oslo, rome)),
        ("message role", ""): ((rome, AIMessage("Yes."), oslo), (rome, HumanMessage("Yes."), oslo)),
        ("message role", "system"): ((brief, rome), (HumanMessage("Be brief."), rome)),
        ("an added turn", ""): ((rome,), (rome, AIMessage("Yes."), HumanMessage("Sure?"))),
        ("an added turn", "repeated"): ((rome,), (rome, rome)),
        ("a changed tool result", ""): (_conversation(), _conversation(result="rain")),
        ("a changed tool call argument", ""): (_conversation(), _conversation(city="Oslo")),
        ("image content", ""): ((_image("AAAA"),), (_image("BBBB"),)),
        ("image content", "content block"): ((_image_block("AAAA"),), (_image_block("BBBB"),)),
        ("image content", "added"): ((HumanMessage([text]),), (HumanMessage([text, *_image("AAAA").content]),)),
        ("file content", ""): ((_file("AAAA"),), (_file("BBBB"),)),
    }
    for (name, variant), (one, other) in pairs.items():
        yield Row(name=name, variant=variant, one=Question(messages=one), other=Question(messages=other))


def _tool(name: str = "weather", description: str = "The weather of a city.", **changes: Any) -> StructuredTool:
    arguments: dict[str, Any] = {"city": (str, Field(description="Its name.")), "days": (int, 1)}
    schema = create_model("Arguments", **(arguments | changes))
    return StructuredTool.from_function(func=_do_nothing, name=name, description=description, args_schema=schema)


def _do_nothing(**_: Any) -> str:
    return ""


def _tool_rows() -> Iterator[Row]:
    weather, clock = _tool(), _tool("clock", "The time in a city.")
    changes: dict[tuple[str, str], tuple[StructuredTool, ...]] = {
        ("tool added", ""): (weather, clock, _tool("map", "The map of a city.")),
        ("tool removed", ""): (weather,),
        ("tool removed", "all of them"): (),
        ("tool renamed", ""): (_tool("forecast"), clock),
        ("tool description", ""): (_tool(description="The weather of a town."), clock),
        ("tool description", "of a parameter"): (_tool(city=(str, Field(description="Its code."))), clock),
        ("tool parameter type", ""): (_tool(days=(float, 1)), clock),
        ("tool parameter type", "choice"): (_tool(city=(Literal["A", "B"], Field(description="Its name."))), clock),
        ("tool default", ""): (_tool(days=(int, 2)), clock),
        ("tool default", "required"): (_tool(days=(int, ...)), clock),
    }
    for (name, variant), tools in changes.items():
        yield Row(name=name, variant=variant, one=Question(tools=(weather, clock)), other=Question(tools=tools))
    choices_of = {"": ("auto", "required"), "which tool": ("weather", "clock"), "set or not": (None, "any")}
    for variant, choices in choices_of.items():
        one, other = (Question(tools=(weather, clock), bound={"tool_choice": choice}) for choice in choices)
        yield Row(name="tool choice", variant=variant, one=one, other=other)


def _enum(*members: str) -> type[Enum]:
    return cast("type[Enum]", Enum("Grade", {name: name.lower() for name in members}, module="notebook"))


def _class(name: str = "Score", doc: str = "A score.", **fields: Any) -> type[BaseModel]:
    """A class like that of a notebook's cell: run again with other fields, it has the same name and the same repr."""
    return create_model(name, __module__="notebook", __doc__=doc, **fields)


def _score(doc: str = "A score.", **changes: Any) -> type[BaseModel]:
    """The class `notebook.Score`; a field that is changed to `None` is left out.

    It has no enum unless the row is about one: some caches cannot read the members of one back, which is another fault.
    """
    fields = {
        "reason": (str, Field(description="Why.")),
        "points": (int, Field(description="From 0 to 100.")),
        "source": (_class("Source", "Where it is from.", page=(int, ...)), ...),
    }
    return _class(doc=doc, **{name: kind for name, kind in (fields | changes).items() if kind is not None})


def _schema_rows() -> Iterator[Row]:
    """Classes for an answer.

    In JSON mode the provider is not told of them. The answer is read into the class all the same: one that was given
    for another class is not the answer, and may not even fit.
    """
    points = (int, Field(description="From 0 to 100."))
    score, graded = _score(), _score(grade=(_enum("GOOD", "BAD"), ...))
    changes: dict[tuple[str, str], type[BaseModel]] = {
        ("schema field added", ""): _score(sure=(bool, ...)),
        ("schema field added", "nested"): _score(
            source=(_class("Source", "Where it is from.", page=(int, ...), line=(int, ...)), ...)
        ),
        ("schema field removed", ""): _score(reason=None),
        ("schema field renamed", ""): _score(points=None, score=points),
        ("schema field retyped", ""): _score(points=(str, Field(description="From 0 to 100."))),
        ("schema description changed", ""): _score(points=(int, Field(description="From 0 to 10."))),
        ("schema description changed", "of the class"): _score("A score of a resume."),
        ("schema enum value", ""): _score(grade=(_enum("GOOD", "POOR"), ...)),
        ("schema enum value", "added"): _score(grade=(_enum("GOOD", "BAD", "NONE"), ...)),
    }
    methods: tuple[Method, ...] = ("json_schema", "json_mode", "function_calling")
    for ((name, variant), schema), method in itertools.product(changes.items(), methods):
        yield Row(
            name=name,
            variant=f"{variant}, {method}" if variant else method,
            one=Question(schema=graded if "grade" in schema.model_fields else score, method=method),
            other=Question(schema=schema, method=method),
        )
    for pair in itertools.combinations(methods, 2):
        one, other = (Question(schema=score, method=method) for method in pair)
        yield Row(name="response format kind", variant=", ".join(pair), one=one, other=other)
    json_object = Question(bound={"response_format": {"type": "json_object"}})
    yield Row(name="response format kind", variant="text, json_object", one=Question(), other=json_object)
    one, other = (
        Question(schema=score, method="function_calling", bound={"strict": strict}) for strict in (True, False)
    )
    yield Row(name="response format kind", variant="strict tool", one=one, other=other)


def _must_miss_rows() -> Iterator[Row]:
    yield from _setting_rows()
    yield from _model_rows()
    yield from _header_rows()
    yield from _message_rows()
    yield from _tool_rows()
    yield from _schema_rows()


def _after(**fields: Any) -> Question:
    """A question after an answer whose message holds these."""
    usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    answer = AIMessage("Yes.", **{"usage_metadata": usage, **fields})
    return Question(messages=(HumanMessage("Is it warm in Rome?"), answer, HumanMessage("Sure?")))


def _told_anew_rows() -> Iterator[Row]:
    """What an earlier answer says about itself."""
    usage = {"input_tokens": 20, "output_tokens": 5, "total_tokens": 25}
    billed = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15, "total_cost": 0}
    metadata = [{"id": f"chatcmpl-{n}", "created": n, "model_name": "gpt-4o-mini"} for n in (1, 2)]
    pairs: dict[str, tuple[Settings, Settings]] = {
        "message ids": ({"id": "lc_run--1"}, {"id": "lc_run--2"}),
        "response metadata": ({"response_metadata": metadata[0]}, {"response_metadata": metadata[1]}),
        "usage metadata": ({}, {"usage_metadata": usage}),
        "cost figure": ({}, {"usage_metadata": billed}),
    }
    for name, (one, other) in pairs.items():
        yield Row(name=name, must_hit=True, one=_after(**one), other=_after(**other))


def _sent_anew_rows() -> Iterator[Row]:
    """How a request is sent."""
    settings: dict[tuple[str, str], tuple[str, Any, Any]] = {
        ("API key", ""): ("api_key", SecretStr("sk-one"), SecretStr("sk-two")),
        ("time-out", ""): ("timeout", 30.0, 60.0),
        ("retries", ""): ("max_retries", 0, 1),
        ("user-agent", ""): ("default_headers", {"User-Agent": "app/1"}, {"User-Agent": "app/2"}),
        ("user-agent", "set or not"): ("default_headers", None, {"User-Agent": "app/1"}),
        ("request id header", ""): ("default_headers", {"X-Request-ID": "1"}, {"X-Request-ID": "2"}),
        ("request id header", "of a trace"): ("default_headers", {"traceparent": "00-1"}, {"traceparent": "00-2"}),
    }
    for (name, variant), (setting, one, other) in settings.items():
        yield Row(
            name=name,
            variant=variant,
            must_hit=True,
            one=Question(built={setting: one}),
            other=Question(built={setting: other}),
        )
    headers = [Question(bound={"extra_headers": {"X-Request-ID": number}}) for number in "12"]
    yield Row(name="request id header", variant="bound", must_hit=True, one=headers[0], other=headers[1])
    timeouts = [Question(bound={"timeout": timeout_s}) for timeout_s in (30.0, 60.0)]
    yield Row(name="time-out", variant="bound", must_hit=True, one=timeouts[0], other=timeouts[1])


def _reversed(value: Any) -> Any:
    """The same value with the keys of every dict in the opposite order."""
    if isinstance(value, dict):
        return {name: _reversed(item) for name, item in reversed(value.items())}
    return [_reversed(item) for item in value] if isinstance(value, list) else value


def _order_rows() -> Iterator[Row]:
    weather, clock = _tool(), _tool("clock", "The time in a city.")
    schema = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}}
    tool = {"type": "function", "function": {"name": "weather", "description": "Of a city.", "parameters": schema}}
    response_format = {"type": "json_schema", "json_schema": {"name": "Score", "schema": schema}}
    calls = [{"name": "weather", "args": {"city": "Rome", "days": 1}, "id": "call_1", "type": "tool_call"}]
    question, result = HumanMessage("Weather?"), ToolMessage("sun", tool_call_id="call_1")
    pairs = {
        ("tool order", ""): (Question(tools=(weather, clock)), Question(tools=(clock, weather))),
        ("dict order", "tool"): (Question(tools=(tool,)), Question(tools=(_reversed(tool),))),
        ("dict order", "setting"): (
            Question(built={"logit_bias": {1: 5, 2: 6}}),
            Question(built={"logit_bias": {2: 6, 1: 5}}),
        ),
        ("dict order", "response format"): (
            Question(bound={"response_format": response_format}),
            Question(bound={"response_format": _reversed(response_format)}),
        ),
        ("dict order", "tool call argument"): (
            Question(messages=(question, AIMessage("", tool_calls=calls), result)),
            Question(messages=(question, AIMessage("", tool_calls=_reversed(calls)), result)),
        ),
    }
    for (name, variant), (one, other) in pairs.items():
        yield Row(name=name, variant=variant, must_hit=True, one=one, other=other)


def _must_hit_rows() -> Iterator[Row]:
    yield from _told_anew_rows()
    yield from _sent_anew_rows()
    yield from _order_rows()
    configs: dict[str, RunnableConfig] = {
        "callbacks": {"callbacks": [BaseCallbackHandler()]},
        "tags": {"tags": ["nightly"]},
        "run name": {"run_name": "nightly"},
    }
    for name, config in configs.items():
        yield Row(name=name, must_hit=True, one=Question(), other=Question(config=config))
    yield Row(name="process", must_hit=True, one=Question(), other=Question(is_elsewhere=True))


ROWS: tuple[Row, ...] = (*_must_miss_rows(), *_must_hit_rows())
MUST_MISS = tuple(row for row in ROWS if not row.must_hit)
MUST_HIT = tuple(row for row in ROWS if row.must_hit)
