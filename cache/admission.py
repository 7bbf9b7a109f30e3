"""Which answers are good enough to be given again. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation

if TYPE_CHECKING:
    from collections.abc import Sequence

_REASON_FIELDS = ("finish_reason", "stop_reason", "done_reason")
_CUT = frozenset({"length", "max_tokens", "model_length", "max_output_tokens", "incomplete"})
_FILTERED = frozenset({"content_filter", "content_filtered", "safety", "recitation", "blocklist", "prohibited_content"})
_REFUSED = frozenset({"refusal", "guardrail_intervened"})
_ALWAYS_SAYS_WHY = frozenset({"openai", "anthropic", "azure"})  # providers whose every whole answer has a reason


def why_not_admitted(generations: Sequence[Generation]) -> str | None:
    """One word for why an answer is not stored, or `None` when it may be.

    An answer that was cut, filtered or refused, whose tool calls cannot be read, that is empty, or that was broken
    off, is given to its caller and to nobody else.
    """
    if not generations:
        return "empty"
    return next((reason for generation in generations if (reason := _why_not(generation))), None)


def _why_not(generation: Generation) -> str | None:
    message = generation.message if isinstance(generation, ChatGeneration) else None
    metadata: dict[str, Any] = getattr(message, "response_metadata", None) or {}
    finish = _finish_reason(generation.generation_info or {}) or _finish_reason(metadata)
    if finish in _CUT:
        return "cut"
    if finish in _FILTERED:
        return "filtered"
    if finish in _REFUSED or (message and message.additional_kwargs.get("refusal")):
        return "refused"
    if isinstance(message, AIMessage) and message.invalid_tool_calls:
        return "invalid_tool_calls"
    if not finish and metadata.get("model_provider") in _ALWAYS_SAYS_WHY:
        return "broken_off"
    return "empty" if _is_empty(generation, message) else None


def _finish_reason(info: dict[str, Any]) -> str | None:
    return next((str(info[name]).lower() for name in _REASON_FIELDS if info.get(name)), None)


def _is_empty(generation: Generation, message: Any) -> bool:
    if message is None:
        return not generation.text
    return not message.content and not getattr(message, "tool_calls", None)
