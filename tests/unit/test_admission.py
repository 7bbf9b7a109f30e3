"""Admission: which answers are good enough to be given again."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation

from cache.admission import why_not_admitted

CALL = {"name": "f", "args": {}, "id": "1"}
BAD_CALL = {"name": "f", "args": "{", "id": "1", "error": None}


def chat(content: Any = "fine", info: dict[str, Any] | None = None, **fields: Any) -> ChatGeneration:
    return ChatGeneration(message=AIMessage(content, **fields), generation_info=info)


def said(**metadata: Any) -> ChatGeneration:
    """An answer whose message carries this metadata."""
    return chat(response_metadata=metadata)


@pytest.mark.parametrize(
    "generation",
    [
        chat(),
        chat("", tool_calls=[CALL]),
        chat("", additional_kwargs={"function_call": {"name": "f", "arguments": "{}"}}),
        chat([{"type": "text", "text": "fine"}]),
        chat(additional_kwargs={"refusal": None}),
        chat([{"type": "text", "text": "a refusal is no reason"}]),
        said(finish_reason="stop", model_provider="openai"),
        said(finish_reason="tool_calls", model_provider="openai"),
        said(status="completed", model_provider="openai"),  # the Responses API has no finish reason
        said(stop_reason="end_turn", model_provider="anthropic"),
        said(stop_reason="tool_use", model_provider="anthropic"),
        said(stopReason="end_turn"),
        said(done_reason="stop"),
        said(finish_reason="STOP"),
        said(model_provider="in-house"),
        chat(info={"finish_reason": "stop"}, response_metadata={"model_provider": "openai"}),
        Generation(text="fine"),
        Generation(text="fine", generation_info={"finish_reason": "stop"}),
    ],
)
def test_a_whole_answer_is_admitted(generation: Generation) -> None:
    """A text, a tool call or blocks that ended as they should may be given again."""
    assert why_not_admitted([generation]) is None


@pytest.mark.parametrize(
    ("reason", "generation"),
    [
        ("cut", said(finish_reason="length")),
        ("cut", said(finish_reason="MAX_TOKENS")),
        ("cut", said(stop_reason="max_tokens")),
        ("cut", said(stop_reason="pause_turn")),
        ("cut", said(stop_reason="model_context_window_exceeded")),
        ("cut", said(done_reason="length")),
        ("cut", said(stopReason="max_tokens")),
        ("cut", said(status="incomplete", incomplete_details={"reason": "max_output_tokens"}, model_provider="openai")),
        ("cut", chat(info={"finish_reason": "length"})),
        ("cut", chat(info={"finish_reason": "stop"}, response_metadata={"finish_reason": "length"})),
        ("cut", Generation(text="a", generation_info={"finish_reason": "length"})),
        ("filtered", said(finish_reason="content_filter")),
        ("filtered", said(finish_reason="SAFETY")),
        ("filtered", said(finish_reason="PROHIBITED_CONTENT")),
        ("filtered", said(finish_reason="RECITATION")),
        ("filtered", said(stopReason="content_filtered")),
        ("refused", said(stop_reason="refusal")),
        ("refused", said(stopReason="guardrail_intervened")),
        ("refused", chat("", additional_kwargs={"refusal": "I cannot."})),
        ("refused", chat([{"type": "refusal", "refusal": "I cannot."}])),
        ("refused", chat([{"type": "non_standard", "value": {"type": "refusal", "refusal": "I cannot."}}])),
        ("failed", said(finish_reason="error")),
        ("failed", said(finish_reason="MALFORMED_FUNCTION_CALL")),
        ("failed", said(status="failed", model_provider="openai")),
        ("failed", said(status="in_progress", model_provider="openai")),
        ("invalid_tool_calls", chat("", invalid_tool_calls=[BAD_CALL])),
        ("invalid_tool_calls", chat("text", tool_calls=[CALL], invalid_tool_calls=[BAD_CALL])),
        ("broken_off", said(model_provider="openai")),
        ("broken_off", said(model_provider="anthropic", stop_reason=None)),
        ("empty", chat("")),
        ("empty", chat(" \n")),
        ("empty", chat([])),
        ("empty", chat("", response_metadata={"finish_reason": "stop"})),
        ("empty", Generation(text="")),
    ],
)
def test_an_answer_that_is_not_whole_is_not_admitted(reason: str, generation: Generation) -> None:
    """An answer that was cut, filtered, refused, garbled, broken off or left empty names why (traps L12, H16)."""
    assert why_not_admitted([generation]) == reason


def test_no_answer_is_not_admitted() -> None:
    """No generations at all are no answer."""
    assert why_not_admitted([]) == "empty"


def test_one_bad_generation_spoils_the_answer() -> None:
    """With several generations, all must be whole: they are given again together."""
    assert why_not_admitted([chat("one"), said(finish_reason="length"), chat("three")]) == "cut"


def test_what_is_no_json_is_not_kept_where_json_was_asked_for() -> None:
    """A model that answers a request for JSON in prose is asked again the next time."""
    prose, whole = Generation(text="Sure, here it is"), Generation(text='{"a": 1}')
    assert why_not_admitted([prose], wants_json=True) == "not_json"
    assert why_not_admitted([whole], wants_json=True) is None
    assert why_not_admitted([prose]) is None


SCHEMA = {"title": "Score", "type": "object", "properties": {"value": {"type": "integer"}}, "required": ["value"]}


def call(name: str, **args: Any) -> ChatGeneration:
    return chat("", tool_calls=[{"name": name, "args": args, "id": "1"}])


@pytest.mark.parametrize("lacking", [chat('{"points": 1}'), Generation(text="{}"), call("Score", points=1)])
def test_an_answer_without_a_required_field_is_not_admitted(lacking: Generation) -> None:
    """As text or as the call of a tool that stands for the schema: its reader could not use it."""
    assert why_not_admitted([lacking], schema=SCHEMA) == "outside_schema"
    assert why_not_admitted([lacking]) is None


@pytest.mark.parametrize(
    "whole", [chat('{"value": 1, "more": 2}'), chat("in prose"), call("Score", value=1), call("other")]
)
def test_an_answer_with_all_required_fields_is_admitted(whole: Generation) -> None:
    """What is no object, or the call of another tool, is not judged by the schema."""
    assert why_not_admitted([whole], schema=SCHEMA) is None
