"""Which answers are good enough to be given again. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, Generation

from cache.json_schemas import fits

if TYPE_CHECKING:
    from collections.abc import Sequence

# OpenAI's Responses API says `status` where the others say why they ended.
_REASON_FIELDS = ("finish_reason", "stop_reason", "done_reason", "stopReason", "status")
_CUT = frozenset(
    {
        "incomplete", "length", "max_output_tokens", "max_tokens", "model_context_window_exceeded", "model_length",
        "pause_turn",
    }
)  # fmt: skip
_FILTERED = frozenset(
    {
        "blocklist", "content_filter", "content_filtered", "error_toxic", "image_safety", "prohibited_content",
        "recitation", "safety", "spii",
    }
)  # fmt: skip
_REFUSED = frozenset({"guardrail_intervened", "refusal"})
_FAILED = frozenset(
    {
        "abort", "cancelled", "error", "error_limit", "failed", "in_progress", "malformed_function_call",
        "malformed_model_output", "malformed_tool_use", "queued",
    }
)  # fmt: skip
_WORDS = {"cut": _CUT, "filtered": _FILTERED, "refused": _REFUSED, "failed": _FAILED}
_ALWAYS_SAYS_WHY = frozenset({"openai", "anthropic", "azure"})  # providers whose every whole answer has a reason


def why_not_admitted(
    generations: Sequence[Generation], *, wants_json: bool = False, schema: dict[str, Any] | None = None
) -> str | None:
    """One word for why an answer is not stored, or `None` when it may be.

    An answer that was cut, filtered or refused, whose tool calls cannot be read, that is empty, or that was broken
    off, is given to its caller and to nobody else. So is one that is no JSON where JSON was asked for, or not what the
    schema asks for: it fails its caller, and whoever tries again must be able to get another.

    Args:
        generations: the answers to one request.
        wants_json: whether the request asked for JSON.
        schema: the JSON schema that the answer was to follow.
    """
    if not generations:
        return "empty"
    if wants_json and not all(_is_json(generation) for generation in generations):
        return "not_json"
    if schema and not all(_follows(generation, schema) for generation in generations):
        return "outside_schema"
    return next((reason for generation in generations if (reason := _why_not(generation))), None)


def _why_not(generation: Generation) -> str | None:
    message = generation.message if isinstance(generation, ChatGeneration) else None
    metadata: dict[str, Any] = getattr(message, "response_metadata", None) or {}
    finishes = _finish_reasons(generation.generation_info or {}) | _finish_reasons(metadata)
    for word, reasons in _WORDS.items():
        if finishes & reasons:
            return word
    if message is not None and _is_refusal(message):
        return "refused"
    if isinstance(message, AIMessage) and message.invalid_tool_calls:
        return "invalid_tool_calls"
    if not finishes and metadata.get("model_provider") in _ALWAYS_SAYS_WHY:
        return "broken_off"
    return "empty" if _is_empty(generation, message) else None


def _is_json(generation: Generation) -> bool:
    text = generation.text.strip()
    try:
        return not text or orjson.loads(text) is not None  # without words, the answer is a call of a tool
    except ValueError:
        return False


def _follows(generation: Generation, schema: dict[str, Any]) -> bool:
    """Say whether an object that was given, as text or as the call that stands for it, can be read by its schema."""
    message = generation.message if isinstance(generation, ChatGeneration) else None
    calls = message.tool_calls if isinstance(message, AIMessage) else []
    given: list[Any] = [call["args"] for call in calls if call["name"] == schema.get("title")]
    if not given:
        try:
            given = [orjson.loads(generation.text.strip())]  # LangChain's own kind of text becomes a plain one
        except ValueError:
            return True
    return all(fits(found, schema) for found in given if isinstance(found, dict))


def _finish_reasons(info: dict[str, Any]) -> set[str]:
    return {str(info[name]).lower() for name in _REASON_FIELDS if info.get(name)}


def _is_refusal(message: BaseMessage) -> bool:
    """Say whether the model declined: OpenAI says so beside the content, or in a block of it."""
    if message.additional_kwargs.get("refusal"):
        return True
    if isinstance(message.content, str):  # a character of it is no block, and looking at each took 2 ms for 20 KB
        return False
    blocks = [block for block in message.content if isinstance(block, dict)]
    return any("refusal" in (block.get("type"), _inner_type(block)) for block in blocks)


def _inner_type(block: dict[str, Any]) -> Any:
    inner = block.get("value")
    return inner.get("type") if isinstance(inner, dict) else None


def _is_empty(generation: Generation, message: BaseMessage | None) -> bool:
    if message is None or isinstance(message.content, str):
        content: Any = generation.text.strip()
    else:
        content = message.content
    calls = getattr(message, "tool_calls", None) or getattr(message, "additional_kwargs", {}).get("function_call")
    return not content and not calls
