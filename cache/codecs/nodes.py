"""Results of a graph's nodes as payloads, by LangGraph's own serializer. Pure.

The serializer (msgpack with extension types that name a class) runs code on reading unless it is told not to: by
default it imports and calls whatever an entry names, with a warning. Here it is strict: only its built-in list of
harmless types (messages, documents, dates, ...) and the classes that the user names are made, pickle is off, and no
other encoding is accepted (its "json" makes objects of LangChain by name).

Strictness has a price: on reading, a class that is not allowed silently becomes a dict, as tuples become lists anyway.
A graph that gets a result back in another shape has got a wrong answer: what does not come back equal is not kept.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from enum import Enum
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from pydantic import BaseModel

from cache.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Sequence

_ENCODING = "msgpack"
_WRITES, _VALUE = "writes", "value"
# What a person answered to an interrupt is no part of a node's key: the next one would be told the same unasked.
_NOT_OF_THE_INPUT_ALONE = frozenset({"__error__", "__interrupt__", "__resume__"})


class NodeCodec:
    """Writes and reads results of nodes.

    Args:
        types: classes beyond the built-in ones that may be made on reading: models, dataclasses, enums.

    Attributes:
        fingerprint: changes with the serializer and with the fields of the types: an entry of another fingerprint could
            come back in another shape.
        serde: the serializer.
    """

    def __init__(self, types: Sequence[type] = ()) -> None:
        self.fingerprint = orjson.dumps([version("langgraph-checkpoint"), sorted(map(_shape, types))])
        self.serde = JsonPlusSerializer(
            pickle_fallback=False, allowed_json_modules=None, allowed_msgpack_modules=list(types) or None
        )

    def encode(self, value: Any) -> bytes:
        """Write a result.

        Raises:
            DecodeError: it cannot be written, would come back as something else, or is no result: of a node that was
                interrupted or failed, and that would be skipped for good, or that went on with a person's answer.
        """
        if _is_writes(value) and any(channel in _NOT_OF_THE_INPUT_ALONE for channel, _ in value):
            raise DecodeError("expected the result of a node that came to its end without being interrupted")
        try:
            encoding, payload = self.serde.dumps_typed(_packed(value))
        except Exception as error:
            raise DecodeError(f"expected a result that LangGraph can write: {error}") from error
        if encoding != _ENCODING or not _same(_comparable(value), _comparable(self.decode(payload))):
            raise DecodeError("expected a result that comes back as it is: no tuples, no classes that are not named")
        return payload

    def decode(self, payload: bytes) -> Any:
        """Read a result.

        Raises:
            DecodeError: the bytes are no result.
        """
        try:
            return _unpacked(self.serde.loads_typed((_ENCODING, payload)))
        except Exception as error:
            raise DecodeError(f"expected the result of a node: {type(error).__name__}") from error


def _is_writes(value: Any) -> bool:
    """Say whether a value is what LangGraph hands over: pairs of a channel and what is written to it."""
    pairs = isinstance(value, deque | list) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in value)  # noqa: PLR2004
    return pairs and all(isinstance(channel, str) for channel, _ in value)


def _packed(value: Any) -> dict[str, Any]:
    return {_WRITES: [list(pair) for pair in value]} if _is_writes(value) else {_VALUE: value}


def _unpacked(packed: dict[str, Any]) -> Any:
    if _WRITES in packed:
        return [(channel, written) for channel, written in packed[_WRITES]]
    return packed[_VALUE]


def _comparable(value: Any) -> Any:
    return list(value) if _is_writes(value) else value


def _same(left: Any, right: Any) -> bool:  # noqa: PLR0911  one line for each shape
    """Say whether two values are equal, type by type; `==` takes 1 for True and fails for arrays."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return list(left) == list(right) and all(_same(item, right[name]) for name, item in left.items())
    if isinstance(left, list | tuple | deque):
        return _bound(left) == _bound(right) and len(left) == len(right) and all(map(_same, left, right))
    if isinstance(left, np.ndarray):
        return (left.dtype, left.shape, left.tobytes()) == (right.dtype, right.shape, right.tobytes())
    if isinstance(left, BaseModel):
        return all(_same(getattr(left, part), getattr(right, part)) for part in _MODEL_PARTS)
    if dataclasses.is_dataclass(left):
        return all(_same(getattr(left, field.name), getattr(right, field.name)) for field in dataclasses.fields(left))
    return bool(left == right or (left != left and right != right))  # noqa: PLR0124  a NaN is itself


_MODEL_PARTS = ("__dict__", "__pydantic_extra__", "__pydantic_private__")


def _bound(value: Any) -> int | None:
    return value.maxlen if isinstance(value, deque) else None


def _shape(kind: type) -> str:
    """A class by its name and fields."""
    return f"{kind.__module__}.{kind.__qualname__} {_fields(kind)}"


def _fields(kind: type) -> str:
    if issubclass(kind, BaseModel):
        return orjson.dumps(kind.model_json_schema(), option=orjson.OPT_SORT_KEYS).decode()
    if dataclasses.is_dataclass(kind):
        return repr([(field.name, str(field.type)) for field in dataclasses.fields(kind)])
    if issubclass(kind, Enum):
        return repr([(member.name, str(member.value)) for member in kind])
    return repr(getattr(kind, "_fields", ()))
