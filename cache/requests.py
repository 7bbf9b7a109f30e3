"""The canonical request: from LangChain's two strings to what decides the answer. Pure.

LangChain hands a cache `prompt` (the messages as JSON, or a plain text) and `llm_string` (the model's settings as JSON
and a Python repr, or only a repr). Both hold things that change from call to call and decide nothing - message ids,
usage figures, time-outs - and sometimes lack things that decide everything: a response schema shows as the name of its
class, an in-house model as nothing but its type. What cannot be established is not cached.
"""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass
from typing import Any

import orjson

from cache.parameters import OPENAI_BASE_URL

_JSON = json.JSONDecoder()
_SEPARATOR = "---"
_NEUTRAL_SETTINGS = frozenset(
    {
        "api_key", "async_client", "cache", "callback_manager", "callbacks", "client", "custom_get_token_ids",
        "default_async_client", "http_async_client", "http_client", "max_retries", "metadata", "name",
        "openai_api_key", "openai_proxy", "rate_limiter", "request_timeout", "root_async_client", "root_client",
        "tags", "timeout", "verbose",
    }
)  # fmt: skip
_HEADER_SETTINGS = ("default_headers", "extra_headers", "headers")
_NEUTRAL_HEADERS = frozenset(
    {
        "accept", "authorization", "api-key", "x-api-key", "baggage", "idempotency-key", "traceparent", "tracestate",
        "user-agent", "x-client-request-id", "x-correlation-id", "x-request-id", "x-stainless-retry-count",
    }
)  # fmt: skip
_MODEL_SETTINGS = ("model", "model_name", "model_id", "deployment_name", "azure_deployment")
_BASE_URL_SETTINGS = ("openai_api_base", "base_url", "azure_endpoint", "endpoint_url", "anthropic_api_url")
_NEUTRAL_MESSAGE_FIELDS = frozenset({"id", "response_metadata", "usage_metadata", "example"})
_UNESTABLISHED = (
    (re.compile(r"<(class|enum|function) "), "schema_class"),
    (re.compile(r" at 0x[0-9a-fA-F]+"), "object_address"),
)


@dataclass(frozen=True, slots=True)
class CanonicalRequest:
    """What decides an answer.

    Attributes:
        model: the model's name; a bound one goes before the one it was built with.
        parameters: the settings, as canonical JSON, or the verbatim string where it is of no known form.
        prompt: the messages, as canonical JSON, or the verbatim text.
    """

    model: str
    parameters: bytes
    prompt: bytes


@dataclass(frozen=True, slots=True)
class Uncacheable:
    """A request for which it cannot be established what decides the answer.

    Attributes:
        reason: one word for counters and logs.
    """

    reason: str


def canonical_request(
    prompt: str, llm_string: str, *, default_base_url: str | None = None
) -> CanonicalRequest | Uncacheable:
    """Reduce LangChain's two strings to what decides the answer.

    Args:
        prompt: as a `BaseCache` gets it.
        llm_string: as a `BaseCache` gets it.
        default_base_url: where the model sends its requests when its settings name no endpoint.
    """
    parsed = _parse_settings(llm_string)
    if parsed is None:
        reason = next((word for pattern, word in _UNESTABLISHED if pattern.search(llm_string)), None)
        if reason:
            return Uncacheable(reason)
        return CanonicalRequest("unknown", b"verbatim:" + llm_string.encode("utf-8", "surrogatepass"), _prompt(prompt))
    built, called = parsed
    if _is_bare(built, called):
        return Uncacheable("unidentified_model")
    merged = {**built.get("kwargs", {}), **called}
    parameters = {
        "class": built.get("id"),
        "built": _settings(built.get("kwargs", {})),
        "called": _settings(called),
        "base_url": _base_url(merged) or _normal_url(default_base_url),
    }
    return CanonicalRequest(_model_name(called, built), _canonical(parameters), _prompt(prompt))


def _parse_settings(llm_string: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """What the model was built with and what the call adds; `None` where the string is of no known form."""
    built: Any = {}
    rest = llm_string
    try:
        if llm_string.startswith("{"):
            built, end = _JSON.raw_decode(llm_string)
            if not llm_string.startswith(_SEPARATOR, end):
                return None
            rest = llm_string[end + len(_SEPARATOR) :]
        called = dict(ast.literal_eval(rest))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    return (built, called) if isinstance(built, dict) else None


def _is_bare(built: dict[str, Any], called: dict[str, Any]) -> bool:
    """Say whether nothing tells the model from another of its class: LangChain's default for in-house models."""
    if built:
        return built.get("type") != "constructor"
    return "_type" in called and not set(called) - {"_type", "stop"}


def _model_name(called: dict[str, Any], built: dict[str, Any]) -> str:
    for settings in (called, built.get("kwargs", {})):
        for name in _MODEL_SETTINGS:
            if isinstance(settings.get(name), str) and settings[name]:
                return str(settings[name])
    return str(called.get("_type") or built.get("name") or "unknown")


def _settings(settings: dict[str, Any]) -> dict[str, Any]:
    kept = {
        name: value
        for name, value in settings.items()
        if name not in _NEUTRAL_SETTINGS and name not in _BASE_URL_SETTINGS and not _is_secret(value)
    }
    for name in _HEADER_SETTINGS:
        if isinstance(kept.get(name), dict):
            kept[name] = {
                header.lower(): value for header, value in kept[name].items() if header.lower() not in _NEUTRAL_HEADERS
            }
            if not kept[name]:
                del kept[name]
    if isinstance(kept.get("tools"), list):
        kept["tools"] = sorted(kept["tools"], key=_canonical)
    return kept


def _is_secret(value: Any) -> bool:
    return isinstance(value, dict) and value.get("type") == "secret" and value.get("lc") == 1


def _base_url(settings: dict[str, Any]) -> str | None:
    return next((_normal_url(settings[name]) for name in _BASE_URL_SETTINGS if settings.get(name)), None)


def _normal_url(url: Any) -> str | None:
    text = str(url or "").rstrip("/")
    return None if text in {"", OPENAI_BASE_URL} else text


def _prompt(prompt: str) -> bytes:
    try:
        messages = orjson.loads(prompt)
    except ValueError:
        messages = None
    if not isinstance(messages, list) or not all(_is_message(message) for message in messages):
        return b"text:" + prompt.encode("utf-8", "surrogatepass")
    call_ids: dict[str, int] = {}
    return b"messages:" + _canonical([_message(message, call_ids) for message in messages])


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and value.get("lc") == 1 and isinstance(value.get("kwargs"), dict)


def _message(message: dict[str, Any], call_ids: dict[str, int]) -> dict[str, Any]:
    fields = {name: value for name, value in message["kwargs"].items() if name not in _NEUTRAL_MESSAGE_FIELDS}
    # Ids of tool calls are made up anew in each run; what counts is which result belongs to which call.
    for call in fields.get("tool_calls") or []:
        call["id"] = call_ids.setdefault(str(call.get("id")), len(call_ids))
    if "tool_call_id" in fields:
        fields["tool_call_id"] = call_ids.setdefault(str(fields["tool_call_id"]), len(call_ids))
    extra = fields.get("additional_kwargs")
    if isinstance(extra, dict):
        fields["additional_kwargs"] = {
            name: value for name, value in extra.items() if name not in {"tool_calls", "parsed"} and value is not None
        }
    return {"kind": message.get("id", [""])[-1], **{name: value for name, value in fields.items() if value}}


def _canonical(value: Any) -> bytes:
    return orjson.dumps(value, default=_unordered, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)


def _unordered(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return sorted(map(repr, value))
    return repr(value)  # bytes, complex, ellipsis and integers over 64 bits: what a Python literal can still be
