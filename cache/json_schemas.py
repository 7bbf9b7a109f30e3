"""Whether a JSON value can be what a schema asks for. Pure.

As much of JSON Schema as decides whether an answer can be read at all: types, required fields, enums, bounds, and what
they are nested in. Types are as lenient as pydantic is (`"7"` is an integer); of a keyword that is not known here, any
value will do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

Schema = Mapping[str, Any]
_WORDS_OF_TRUTH = frozenset({"true", "false", "t", "f", "yes", "no", "y", "n", "on", "off", "0", "1"})


def fits(value: Any, schema: Any, root: Schema | None = None) -> bool:
    """Say whether a value is one that the schema allows.

    Args:
        value: as JSON gives it.
        schema: for this value; `True`, `False` or an object.
        root: the whole schema, in which references are looked up; `None` is the schema itself.
    """
    if not isinstance(schema, Mapping):
        return schema is not False
    whole = schema if root is None else root
    if not all(check(value, schema) for check in (_is_of_its_type, _is_allowed, _is_within, _has_its_fields)):
        return False
    return _parts_fit(value, schema, whole) and _choices_fit(value, schema, whole)


def _parts_fit(value: Any, schema: Schema, root: Schema) -> bool:
    if isinstance(value, dict):
        fields, other = schema.get("properties", {}), schema.get("additionalProperties", True)
        return all(fits(item, fields.get(name, other), root) for name, item in value.items())
    return not isinstance(value, list) or all(fits(item, schema.get("items", True), root) for item in value)


def _choices_fit(value: Any, schema: Schema, root: Schema) -> bool:
    one_of = [schema[name] for name in ("anyOf", "oneOf") if name in schema]
    all_of = [*schema.get("allOf", ()), *([_referred(schema["$ref"], root)] if "$ref" in schema else [])]
    return all(any(fits(value, choice, root) for choice in choices) for choices in one_of) and all(
        fits(value, part, root) for part in all_of
    )


def _referred(reference: str, root: Schema) -> Any:
    """The part of the whole that a reference such as `#/$defs/Skill` names; of one that leads elsewhere, anything."""
    found: Any = root if reference.startswith("#") else True
    for name in reference.removeprefix("#").strip("/").split("/"):
        found = found.get(name, True) if name and isinstance(found, Mapping) else found
    return found


def _is_of_its_type(value: Any, schema: Schema) -> bool:
    kinds = schema.get("type", ())
    named = [kinds] if isinstance(kinds, str) else kinds
    return not named or any(_TYPES.get(kind, _anything)(value) for kind in named)


def _is_allowed(value: Any, schema: Schema) -> bool:
    return value in schema.get("enum", [value]) and value == schema.get("const", value)


def _is_within(value: Any, schema: Schema) -> bool:
    if not _is_number(value):
        return True
    number = float(value) if isinstance(value, str) else value
    return bool(
        schema.get("minimum", number) <= number <= schema.get("maximum", number)
        and not number <= schema.get("exclusiveMinimum", -math.inf)
        and not number >= schema.get("exclusiveMaximum", math.inf)
    )


def _has_its_fields(value: Any, schema: Schema) -> bool:
    return not isinstance(value, dict) or set(schema.get("required", ())) <= value.keys()


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, bool | int | float | str) and not math.isnan(float(value))
    except (ValueError, OverflowError):
        return isinstance(value, int)


def _is_integer(value: Any) -> bool:
    return _is_number(value) and (isinstance(value, int) or float(value).is_integer())


def _is_boolean(value: Any) -> bool:
    return value in (0, 1) or (isinstance(value, str) and value.lower() in _WORDS_OF_TRUTH)


def _anything(_: Any) -> bool:
    return True


_TYPES: dict[str, Callable[[Any], bool]] = {
    "array": lambda value: isinstance(value, list),
    "boolean": _is_boolean,
    "integer": _is_integer,
    "null": lambda value: value is None,
    "number": _is_number,
    "object": lambda value: isinstance(value, dict),
    "string": lambda value: isinstance(value, str),
}
