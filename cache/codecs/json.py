"""JSON values as payloads. Pure."""

from __future__ import annotations

from typing import Any

import orjson

from cache.errors import DecodeError


def encode_json(value: Any) -> bytes:
    """Write a value; keys are sorted, so that equal values are equal bytes.

    Raises:
        DecodeError: the value holds what JSON cannot say, such as a NaN or an object.
    """
    try:
        payload = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
        same = bool(orjson.loads(payload) == value)
    except (TypeError, ValueError) as error:
        raise DecodeError(f"expected a value that JSON can hold: {error}") from None
    if not same:
        raise DecodeError("expected a value that JSON gives back as it is: no tuples, NaN, enums or dates")
    return payload


def decode_json(payload: bytes) -> Any:
    """Read a value.

    Raises:
        DecodeError: the bytes are no JSON.
    """
    try:
        return orjson.loads(payload)
    except ValueError as error:
        raise DecodeError(f"expected JSON: {error}") from None
