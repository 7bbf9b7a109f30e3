"""The canonical request: from LangChain's two strings to what decides the answer. Pure.

LangChain hands a cache `prompt` (the messages as JSON, or a plain text) and `llm_string` (the model's settings as JSON
and a Python repr, or only a repr). Both hold things that change from call to call and decide nothing - message ids,
usage figures, time-outs - and sometimes lack things that decide everything: a response schema shows as the name of its
class, an in-house model as nothing but its type. The schema comes from beside the strings (see `cache.model_starts`);
what cannot be established is not cached.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson
from langchain_core.messages import LC_AUTO_PREFIX

from cache.parameters import OPENAI_BASE_URL

# NaN and the infinities are no JSON: read as what orjson writes apart from null.
_JSON = json.JSONDecoder(parse_constant=lambda name: {"not_finite": name})
_JSON_SPACE = " \t\n\r"
_SEPARATOR = "---"
Classes = tuple[tuple[str, str], ...]

# As LangChain writes that OpenAI is sent the id of its last answer in place of all that was said before.
_CONTINUED = '"use_previous_response_id": true'
_TEXT = b"text:"
_VERBATIM = b"verbatim:"
N_SETTINGS_KEPT = 256
_N_PROMPTS_KEPT = 64
_LONGEST_KEPT = 8192
# How a request is sent, not what it asks for.
_NEUTRAL_SETTINGS = frozenset(
    {
        "api_key", "async_client", "azure_ad_async_token_provider", "azure_ad_token", "azure_ad_token_provider",
        "default_async_client", "http_async_client", "http_client", "max_retries", "openai_api_key", "openai_proxy",
        "request_timeout", "root_async_client", "root_client", "timeout",
    }
)  # fmt: skip
# Fields of every LangChain model. An in-house model may well identify itself by its "name" where it shows no fields.
_NEUTRAL_FIELDS = _NEUTRAL_SETTINGS | {
    "cache", "callback_manager", "callbacks", "client", "custom_get_token_ids", "disable_streaming", "metadata", "name",
    "rate_limiter", "stream_usage", "streaming", "tags", "verbose",
}  # fmt: skip
_HEADER_SETTINGS = frozenset({"default_headers", "extra_headers", "headers"})
_NEUTRAL_HEADERS = frozenset(
    {
        "accept", "authorization", "api-key", "x-api-key", "baggage", "idempotency-key", "traceparent", "tracestate",
        "user-agent", "x-client-request-id", "x-correlation-id", "x-request-id", "x-stainless-retry-count",
    }
)  # fmt: skip
_MODEL_SETTINGS = ("model", "model_name", "model_id", "deployment_name", "azure_deployment")
_BASE_URL_SETTINGS = ("openai_api_base", "base_url", "azure_endpoint", "endpoint_url", "anthropic_api_url")
# What a call adds to the settings of any model: none of it tells one model from another.
CALL_SETTINGS = _NEUTRAL_SETTINGS | _HEADER_SETTINGS | {
    "_type", "extra_body", "extra_query", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs",
    "max_completion_tokens", "max_tokens", "n", "parallel_tool_calls", "presence_penalty", "reasoning",
    "reasoning_effort", "response_format", "seed", "service_tier", "stop", "stop_sequences", "stream",
    "stream_options", "stream_usage", "strict", "temperature", "tool_choice", "tools", "top_k", "top_logprobs",
    "top_p", "user", "verbosity",
}  # fmt: skip
# The artifact of a tool is for the application; LangChain never sends it to a model.
_NEUTRAL_MESSAGE_FIELDS = frozenset({"artifact", "example", "id", "response_metadata", "usage_metadata"})
_ALWAYS_KEPT = frozenset({"content", "tool_call_id"})
_UNESTABLISHED = (
    (re.compile(r"<(class|enum|function) "), "schema_class"),
    (re.compile(r" at 0x[0-9a-fA-F]+"), "object_address"),
    (re.compile(r"^[\[{]"), "unreadable_settings"),  # a repr of LangChain's that holds more than literals
)


@dataclass(frozen=True, slots=True)
class CanonicalRequest:
    """What decides an answer.

    Attributes:
        model: the model's name; a bound one goes before the one it was built with.
        parameters: the settings, as canonical JSON, or a hash of the string where it is of no known form.
        prompt: the messages, as canonical JSON, or the verbatim text.
        temperature: of the settings; `None` where they name none.
        n: how many answers are asked for.
    """

    model: str
    parameters: bytes
    prompt: bytes
    temperature: float | None = None
    n: int = 1


@dataclass(frozen=True, slots=True)
class Traits:
    """What tells a model from others beside the settings that it shows.

    Attributes:
        class_name: with its module, where the class is not LangChain's.
        base_url: where its client really sends requests; `None` where that is not known.
        is_bare: whether it shows nothing but its type, whatever a call adds to that.
    """

    class_name: str | None = None
    base_url: str | None = None
    is_bare: bool = False


@dataclass(frozen=True, slots=True)
class Uncacheable:
    """A request for which it cannot be established what decides the answer.

    Attributes:
        reason: one word for counters and logs.
    """

    reason: str


_NO_TRAITS = Traits()


def canonical_request(
    prompt: str,
    llm_string: str,
    *,
    default_base_url: str | None = None,
    classes: Classes = (),
    schema: dict[str, Any] | None = None,
    traits: Traits | None = None,
    is_text: bool = False,
) -> CanonicalRequest | Uncacheable:
    """Reduce LangChain's two strings to what decides the answer.

    Args:
        prompt: as a `BaseCache` gets it.
        llm_string: as a `BaseCache` gets it.
        default_base_url: where the model sends its requests when its settings name no endpoint.
        classes: the name of each class in the settings, as Python writes it, and what stands for its schema.
        schema: the JSON schema that the answer is to follow, which need not show in the settings.
        traits: of the model itself, where it is known.
        is_text: whether the prompt is known to be a text: one may look like messages.
    """
    asked = None if schema is None else _canonical(schema)
    settings = _canonical_settings(llm_string, default_base_url, classes, asked, traits or _NO_TRAITS)
    if isinstance(settings, Uncacheable):
        return settings
    asking = _text(prompt) if is_text else _canonical_prompt(prompt, is_continued=_CONTINUED in llm_string)
    if isinstance(asking, Uncacheable):
        return asking
    return CanonicalRequest(settings.model, settings.parameters, asking, settings.temperature, settings.n)


@lru_cache(maxsize=N_SETTINGS_KEPT)  # a model with ten tools takes 2 ms to read, and is the same in each call
def _canonical_settings(
    llm_string: str, default_base_url: str | None, classes: Classes, schema: bytes | None, traits: Traits
) -> CanonicalRequest | Uncacheable:
    parsed = _parse_settings(_with_fingerprints(llm_string, classes))
    if parsed is None:
        return _verbatim(llm_string)
    built, called = parsed
    if traits.is_bare or _is_bare(built, called):
        return Uncacheable("unidentified_model")
    fields = built.get("kwargs", {})
    parameters = {
        "class": built.get("id"),
        "built": _settings(fields, _NEUTRAL_FIELDS),
        "called": _settings(called, _NEUTRAL_SETTINGS),
        "endpoints": _endpoints({**fields, **called}, default_base_url, traits.base_url),
    }
    if traits.class_name is not None:
        parameters["own_class"] = traits.class_name
    if schema is not None:
        parameters["schema"] = hashlib.sha256(schema).hexdigest()
    if _hides_objects(parameters):
        return Uncacheable("hidden_object")
    chosen = {**fields, **called}
    temperature, n = chosen.get("temperature"), chosen.get("n")
    return CanonicalRequest(
        _model_name(called, built),
        _canonical(parameters),
        prompt=b"",
        temperature=float(temperature) if isinstance(temperature, int | float) else None,
        n=n if isinstance(n, int) else 1,
    )


def _with_fingerprints(llm_string: str, classes: Classes) -> str:
    """The string with what stands for a class's schema, where the class stood by its name, once."""
    for name, fingerprint in classes:
        if llm_string.count(name) == 1:  # another place may hold another class of that name
            llm_string = llm_string.replace(name, f"'class {fingerprint}'")
    return llm_string


def _verbatim(llm_string: str) -> CanonicalRequest | Uncacheable:
    reason = next((word for pattern, word in _UNESTABLISHED if pattern.search(llm_string)), None)
    if reason:
        return Uncacheable(reason)
    digest = hashlib.sha256(llm_string.encode("utf-8", "surrogatepass")).digest()
    return CanonicalRequest("unknown", _VERBATIM + digest, prompt=b"")


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
        pairs = ast.literal_eval(rest)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    return (built, dict(pairs)) if _are_pairs(pairs) and isinstance(built.get("kwargs", {}), dict) else None


def _are_pairs(value: Any) -> bool:
    return isinstance(value, list) and all(_is_pair(item) for item in value)


def _is_pair(value: Any) -> bool:
    match value:
        case (str(), _):
            return True
        case _:
            return False


def _is_bare(built: dict[str, Any], called: dict[str, Any]) -> bool:
    """Say whether nothing tells the model from another of its class: LangChain's default for in-house models."""
    if built:
        return built.get("type") != "constructor"
    return not set(called) - CALL_SETTINGS


def _model_name(called: dict[str, Any], built: dict[str, Any]) -> str:
    for settings in (called, built.get("kwargs", {})):
        for name in _MODEL_SETTINGS:
            if isinstance(settings.get(name), str) and settings[name]:
                return str(settings[name])
    return str(called.get("_type") or (built.get("id") or ["unknown"])[-1])


def _settings(settings: dict[str, Any], neutral: frozenset[str]) -> dict[str, Any]:
    kept = {
        name: _setting(name, value)
        for name, value in settings.items()
        if name not in neutral and name not in _BASE_URL_SETTINGS and not _is_secret(value)
    }
    return {name: value for name, value in kept.items() if name not in _HEADER_SETTINGS or value}


def _setting(name: str, value: Any) -> Any:
    if name in _HEADER_SETTINGS and isinstance(value, dict):
        return _headers(value)
    if name == "model_kwargs" and isinstance(value, dict):
        return {name: _setting(name, item) for name, item in value.items()}
    return sorted(value, key=_canonical) if name == "tools" and isinstance(value, list) else value


def _headers(headers: dict[Any, Any]) -> list[tuple[str, str]]:
    """Each header that may change the answer, by name and hash: its value may be a secret of a gateway."""
    named = [(str(name).lower(), hashlib.sha256(_canonical(value)).hexdigest()) for name, value in headers.items()]
    return sorted((name, value) for name, value in named if name not in _NEUTRAL_HEADERS)


def _is_secret(value: Any) -> bool:
    return isinstance(value, dict) and value.get("type") == "secret" and value.get("lc") == 1


def _endpoints(settings: dict[str, Any], default_base_url: str | None, client_url: str | None) -> dict[str, str]:
    named = {name: str(settings[name]) for name in _BASE_URL_SETTINGS if settings.get(name)}
    named = named or {_BASE_URL_SETTINGS[0]: default_base_url or OPENAI_BASE_URL}
    endpoints = {name: url.rstrip("/") for name, url in named.items()}
    return endpoints if client_url in {None, *endpoints.values()} else {**endpoints, "client": str(client_url)}


def _canonical_prompt(prompt: str, *, is_continued: bool = False) -> bytes | Uncacheable:
    """A prompt without what decides nothing; short ones are kept, as who looks one up and misses asks again to store.

    So nothing large is held on to: 64 prompts of at most 8,192 characters.
    """
    if len(prompt) > _LONGEST_KEPT:
        return _read_prompt(prompt, is_continued=is_continued)
    return _read_short_prompt(prompt, is_continued=is_continued)


def _read_prompt(prompt: str, *, is_continued: bool) -> bytes | Uncacheable:
    try:
        text = prompt.strip(_JSON_SPACE)
        messages, end = _JSON.raw_decode(text)
        if end != len(text):  # more follows: it is a text that begins like one
            messages = None
    except (ValueError, RecursionError):
        messages = None
    if not isinstance(messages, list) or not all(map(_is_dumped, messages)):
        return _text(prompt)
    if not all(map(_has_fields, messages)):
        return Uncacheable("hidden_object")
    numbers: dict[str, int] = {}
    canonical = [_message(message, numbers) for message in messages]
    if is_continued:
        canonical = [(name, fields | _answer_id(raw)) for (name, fields), raw in zip(canonical, messages, strict=True)]
    if "not_implemented" in prompt and _hides_objects(canonical):
        return Uncacheable("hidden_object")
    return b"messages:" + _canonical(canonical)


_read_short_prompt = lru_cache(maxsize=_N_PROMPTS_KEPT)(_read_prompt)


def _text(prompt: str) -> bytes:
    return _TEXT + prompt.encode("utf-8", "surrogatepass")


def _is_dumped(value: Any) -> bool:
    return isinstance(value, dict) and value.get("lc") == 1 and "id" in value


def _has_fields(message: dict[str, Any]) -> bool:
    return isinstance(message.get("kwargs"), dict)


def _message(message: dict[str, Any], numbers: dict[str, int]) -> tuple[Any, dict[str, Any]]:
    fields = {
        name: value
        for name, value in message["kwargs"].items()
        if name not in _NEUTRAL_MESSAGE_FIELDS and (name in _ALWAYS_KEPT or _says_something(value))
    }
    extra = fields.get("additional_kwargs")
    if isinstance(extra, dict):
        # A parsed object is another view of the content; it is not sent either.
        extra = {name: value for name, value in extra.items() if name != "parsed" and value is not None}
        fields.pop("additional_kwargs")
        if extra:
            fields["additional_kwargs"] = _numbered_calls(extra, numbers)
    fields = _numbered_calls(fields, numbers)
    if isinstance(fields.get("content"), list):
        fields["content"] = [_without_made_up_id(block) for block in fields["content"]]
    if "tool_call_id" in fields:
        fields["tool_call_id"] = _number(fields["tool_call_id"], numbers)
    return message["id"], fields


def _answer_id(message: dict[str, Any]) -> dict[str, Any]:
    """The id by which the provider knows what was said up to a message."""
    said = (message["kwargs"].get("response_metadata") or {}).get("id")
    return {"continues": said} if said else {}


def _without_made_up_id(block: Any) -> Any:
    """Drop the id that LangChain makes up anew for a file or a sound each time that one is asked about."""
    if isinstance(block, dict) and str(block.get("id", "")).startswith(LC_AUTO_PREFIX):
        return {name: value for name, value in block.items() if name != "id"}
    return block


def _numbered_calls(fields: dict[str, Any], numbers: dict[str, int]) -> dict[str, Any]:
    """Number tool calls: their ids are made up anew in each run; what counts is which result belongs to which call."""
    calls = fields.get("tool_calls")
    if not isinstance(calls, list):
        return fields
    return {**fields, "tool_calls": [_numbered(call, numbers) for call in calls]}


def _numbered(call: Any, numbers: dict[str, int]) -> Any:
    return {**call, "id": _number(call["id"], numbers)} if isinstance(call, dict) and "id" in call else call


def _number(call_id: Any, numbers: dict[str, int]) -> int:
    return numbers.setdefault(json.dumps(call_id), len(numbers))


def _says_something(value: Any) -> bool:
    return value is not None and value not in ("", [], {})


def _hides_objects(value: Any) -> bool:
    """Say whether something in it was written as the name of its class, with what it holds left out."""
    if isinstance(value, dict):
        if value.get("lc") == 1 and value.get("type") == "not_implemented":
            return True
        return any(_hides_objects(item) for item in value.values())
    return isinstance(value, list | tuple) and any(_hides_objects(item) for item in value)


def _canonical(value: Any) -> bytes:
    try:
        return orjson.dumps(value, default=_as_json, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    except TypeError:  # integers over 64 bits, lone surrogates, or keys that are neither text nor number
        return b"slow:" + repr(_sorted(value)).encode()


def _as_json(value: Any) -> Any:
    """What a Python literal can be beyond JSON: bytes, complex numbers, sets and the ellipsis."""
    if isinstance(value, set | frozenset):
        return {"set": sorted(map(repr, value))}
    return {"literal": repr(value)}


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return sorted(((repr(name), _sorted(item)) for name, item in value.items()), key=repr)
    if isinstance(value, set | frozenset):
        return {"set": sorted(map(repr, value))}
    return [_sorted(item) for item in value] if isinstance(value, list | tuple) else value


def plain_llm_string(model: str, temperature: float | None, max_tokens: int | None) -> str:
    """The `llm_string` of an OpenAI chat model with nothing else set, as LangChain writes it."""
    given = {"model_name": model, "temperature": temperature, "max_tokens": max_tokens}
    built = {
        "id": ["langchain", "chat_models", "openai", "ChatOpenAI"],
        "kwargs": {name: value for name, value in given.items() if value is not None},
        "lc": 1,
        "name": "ChatOpenAI",
        "type": "constructor",
    }
    return f"{json.dumps(built, sort_keys=True)}{_SEPARATOR}[('stop', None)]"
