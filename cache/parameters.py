"""What an embedding depends on besides its text: the public settings of the model that makes it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from functools import partial
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

import numpy as np
from langchain_core.embeddings import Embeddings
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
    named = {name: _plain(found.pop(name)) for name in sorted(_MODEL_NAMES & found.keys())}
    parameters = {name: _plain(value) for name, value in found.items()}
    if others := [name for name in named.values() if name != model]:
        parameters["model"] = others
    if base_url and str(base_url).rstrip("/") != OPENAI_BASE_URL:
        parameters["base_url"] = str(base_url).rstrip("/")
    if not type(underlying).__module__.startswith("langchain_openai."):
        parameters["class"] = _class_name(underlying)
    return json.dumps(parameters, sort_keys=True, separators=(",", ":")).encode()


def plain_parameters(default_base_url: str | None = None) -> bytes:
    """The parameters of an OpenAI model with nothing set but its name."""
    base_url = (default_base_url or OPENAI_BASE_URL).rstrip("/")
    parameters = {} if base_url == OPENAI_BASE_URL else {"base_url": base_url}
    return json.dumps(parameters, separators=(",", ":")).encode()


def _changed_fields(underlying: BaseModel) -> dict[str, Any]:
    fields = type(underlying).model_fields
    values = {name: getattr(underlying, name) for name in fields}
    changed = {name: value for name, value in values.items() if not _is_default(fields[name], value)}
    return {**changed, **(underlying.model_extra or {})}


def _is_default(field: FieldInfo, value: Any) -> bool:
    if field.default_factory is None:
        return type(value) is type(field.default) and bool(value == field.default)
    # A default that a factory gives can come from the environment: only its being empty says that nothing is set.
    return value is None or (isinstance(value, dict | list) and not value)


def _public_attributes(underlying: object) -> dict[str, Any]:
    given = getattr(underlying, "__dict__", {})
    return {name: value for name, value in given.items() if not name.startswith("_") and value is not None}


def _is_secret(value: object) -> bool:
    return isinstance(value, SecretStr | SecretBytes)


def _plain(value: Any) -> Any:
    match value:
        case Enum():
            return f"{_class_name(value)}.{value.name}"
        case None | bool() | int() | float() | str():
            return value
        case Mapping():
            return {_name(name): _plain(item) for name, item in value.items() if not _is_secret(item)}
        case AbstractSet():
            return sorted(map(_plain, value), key=repr)
        case Sequence():
            return [_plain(item) for item in value]
        case _:
            return _plain_object(value)


def _plain_object(value: Any) -> Any:
    match value:
        case BaseModel():
            return {"class": _class_name(value), "fields": _plain(_changed_fields(value))}
        case Embeddings():  # a model inside of a model
            return {"class": _class_name(value), "fields": _plain(_public_attributes(value))}
        case partial():
            return [_plain(value.func), _plain(value.args), _plain(value.keywords)]
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            return {"class": _class_name(value), "fields": _plain(fields)}
        case _:
            return _plain_rest(value)


def _plain_rest(value: Any) -> Any:
    match value:
        case FunctionType() if "<" in value.__qualname__:  # a name that others have too: of a lambda, or in a function
            return [_class_name(value), _code(value.__code__), _plain(_held(value))]
        case np.ndarray():
            return [str(value.dtype), list(value.shape), hashlib.sha256(value.tobytes()).hexdigest()]
        case type() | FunctionType():
            return _class_name(value)
        case _:
            simple = {name: item for name, item in _public_attributes(value).items() if _is_simple(item)}
            return {"class": _class_name(value), "says": _said(value), "fields": _plain(simple)}


def _held(function: FunctionType) -> list[Any]:
    """The simple values of the variables around a function."""
    try:
        return [cell.cell_contents for cell in function.__closure__ or () if _is_simple(cell.cell_contents)]
    except ValueError:  # one of them has no value yet
        return []


def _code(code: CodeType) -> list[Any]:
    constants = [_code(item) if isinstance(item, CodeType) else repr(item) for item in code.co_consts]
    return [code.co_code.hex(), list(code.co_names), constants]


def _is_simple(value: object) -> bool:
    """Say whether a value is what it shows: what an object holds beyond that may be connections, and never end."""
    if isinstance(value, Mapping):
        return all(map(_is_simple, value.values()))
    if isinstance(value, list | tuple | AbstractSet):
        return all(map(_is_simple, value))
    return isinstance(value, str | bytes | int | float | Enum | None)


def _said(value: object) -> str | None:
    """What an object says of itself, unless that is where it lies in memory: another key in each process."""
    try:
        said = repr(value)
    except Exception:  # noqa: BLE001  an object is anybody's code
        return None
    return None if " at 0x" in said else said


def _name(name: object) -> str:
    return name if isinstance(name, str) else f"{type(name).__name__} {name}"


def _class_name(value: object) -> str:
    named = value if hasattr(value, "__qualname__") else type(value)  # a class or a function, or an instance
    return f"{getattr(named, '__module__', None)}.{named.__qualname__}"
