"""What an embedding depends on besides its text: the public settings of the model that makes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

import orjson
from pydantic import BaseModel, SecretBytes, SecretStr

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

OPENAI_BASE_URL = "https://api.openai.com/v1"
_BASE_URL_NAMES = ("openai_api_base", "azure_endpoint", "base_url")
_MODEL_NAMES = frozenset({"model", "model_name", "deployment"})
# How a request is sent, not what it asks for.
_NEUTRAL = frozenset(
    {
        "async_client",
        "cache_folder",
        "chunk_size",
        "client",
        "http_async_client",
        "http_client",
        "max_retries",
        "multi_process",
        "openai_proxy",
        "request_timeout",
        "retry_max_seconds",
        "retry_min_seconds",
        "show_progress",
        "show_progress_bar",
        "timeout",
    }
)


def embedding_parameters(underlying: object, model: str, *, default_base_url: str | None = None) -> bytes:
    """The settings of an embedding model that can change its vectors, as canonical JSON.

    Settings at their default are left out, so that a new version of the class with one more of them finds the old
    entries. Secrets, time-outs, retries and batch sizes are left out too; headers only ever reach a hash.

    Args:
        underlying: the model; a pydantic model, or any object with public attributes.
        model: the name in the key; the model's own name is added only where it differs.
        default_base_url: where the model sends its requests when it says nothing itself.
    """
    given = _changed_fields(underlying) if isinstance(underlying, BaseModel) else _public_attributes(underlying)
    found = {name: value for name, value in given.items() if name not in _NEUTRAL and not _is_secret(value)}
    base_url = next((found.pop(name) for name in _BASE_URL_NAMES if name in found), None) or default_base_url
    names = {found.pop(name) for name in _MODEL_NAMES & found.keys()} - {model}
    parameters = {name: _plain(value) for name, value in found.items()}
    if names:
        parameters["model"] = sorted(map(str, names))
    if base_url and str(base_url).rstrip("/") != OPENAI_BASE_URL:
        parameters["base_url"] = str(base_url).rstrip("/")
    if not type(underlying).__module__.startswith("langchain_openai."):
        parameters["class"] = _class_name(underlying)
    return orjson.dumps(parameters, option=orjson.OPT_SORT_KEYS)


def _changed_fields(underlying: BaseModel) -> dict[str, Any]:
    fields = type(underlying).model_fields
    values = {name: getattr(underlying, name) for name in fields}
    return {name: value for name, value in values.items() if not _is_default(fields[name], value)}


def _is_default(field: FieldInfo, value: Any) -> bool:
    # A default that a factory gives can come from the environment: only its being empty says that nothing is set.
    return value is None or value in ({}, []) or (field.default_factory is None and value == field.default)


def _public_attributes(underlying: object) -> dict[str, Any]:
    return {name: value for name, value in vars(underlying).items() if not name.startswith("_") and value is not None}


def _is_secret(value: object) -> bool:
    return isinstance(value, SecretStr | SecretBytes)


def _plain(value: Any) -> Any:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case BaseModel():
            return _plain(_changed_fields(value))
        case Mapping():
            return {str(name): _plain(item) for name, item in value.items() if not _is_secret(item)}
        case AbstractSet():
            return sorted(map(str, value))
        case Sequence():
            return [_plain(item) for item in value]
        case _:
            return _class_name(value)


def _class_name(value: object) -> str:
    kind = value if isinstance(value, type) else type(value)
    return f"{kind.__module__}.{kind.__qualname__}"
