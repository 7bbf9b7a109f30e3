"""Which JSON values a schema allows, measured by the classes that pydantic makes the schemas of."""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from cache.json_schemas import fits


class Level(Enum):
    HIGH = "high"


class Grade(IntEnum):
    FIRST = 1


class Skill(BaseModel):
    name: str
    level: Level | None = None
    parts: list[Skill] = Field(default_factory=list)


class Pair(BaseModel):
    left: Skill
    counts: dict[str, int] = Field(default_factory=dict)


VALUES: list[Any] = [
    None, True, False, 0, 1, 4, 5, -1, 10, 10**30, 0.5, 7.0, "", "7", "0.5", "true", "high", "x", [], [1], ["a"],
    [None], [{"name": "a"}], {}, {"name": "a"}, {"name": 1}, {"name": "a", "level": "high"},
    {"name": "a", "level": "low"},
    {"name": "a", "parts": [{"name": "b"}]}, {"name": "a", "parts": [{"name": 3}]}, {"left": {"name": "a"}},
    {"left": {"name": "a"}, "counts": {"x": 1}}, {"left": {"name": "a"}, "counts": {"x": "many"}}, {"left": {}},
]  # fmt: skip
TYPES: list[Any] = [
    int, float, str, bool, None, Any, list[int], list[str], list[Skill], dict[str, int], Skill, Pair, Level, Grade,
    Literal["x", 7], int | None, int | str, Skill | list[int], Annotated[int, Field(ge=0, lt=5)],
    Annotated[float, Field(gt=0, le=7)], Annotated[int, Field(multiple_of=5)],
]  # fmt: skip


def accepts(kind: Any, value: Any) -> bool:
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("kind", TYPES)
def test_what_a_class_accepts_its_schema_allows(kind: Any) -> None:
    """No answer that its caller could read is refused."""
    schema = TypeAdapter(kind).json_schema()
    assert [value for value in VALUES if accepts(kind, value) and not fits(value, schema)] == []


@pytest.mark.parametrize("kind", [kind for kind in TYPES if "multiple_of" not in repr(kind)])  # that is not checked
def test_what_a_class_refuses_its_schema_does_not_allow(kind: Any) -> None:
    """An answer that fails its caller is refused."""
    schema = TypeAdapter(kind).json_schema()
    assert [value for value in VALUES if not accepts(kind, value) and fits(value, schema)] == []


@pytest.mark.parametrize("schema", [True, {}, {"$ref": "https://example.com/s"}, {"type": "colour"}, {"$ref": "#/no"}])
def test_of_what_is_not_known_any_value_will_do(schema: Any) -> None:
    """A schema that says nothing here allows everything."""
    assert all(fits(value, schema) for value in VALUES)


def test_all_parts_have_to_fit() -> None:
    """`allOf` asks for all of its parts, and `False` allows nothing."""
    schema = {"allOf": [{"type": "integer"}, {"minimum": 3}]}
    assert [value for value in (2, 3, "a") if fits(value, schema)] == [3]
    assert not fits(1, False)
