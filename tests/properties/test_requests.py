"""Canonical requests under any conversation, any setting and any text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from cache.requests import CanonicalRequest, Uncacheable, canonical_request

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

LLM_STRING = "[('_type', 'own'), ('model', 'm'), ('stop', None)]"
TEXTS = st.text("ab é\ud800", max_size=3)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=4,
)
CALL_NUMBERS = st.integers(0, 2)
TURNS = st.one_of(
    st.tuples(st.sampled_from([HumanMessage, SystemMessage]), TEXTS),
    st.tuples(st.just(AIMessage), TEXTS, st.lists(st.tuples(TEXTS, VALUES, CALL_NUMBERS), max_size=2)),
    st.tuples(st.just(ToolMessage), TEXTS, CALL_NUMBERS),
)


def built(turns: list[Any], call_ids: str) -> list[BaseMessage]:
    """The messages of abstract turns, with ids of their own for calls and messages."""
    messages: list[BaseMessage] = []
    for at, (kind, text, *rest) in enumerate(turns):
        fields: dict[str, Any] = {"id": f"{call_ids}{at}"}
        if kind is AIMessage:
            calls = [{"name": name, "args": {"x": value}, "id": f"{call_ids}{n}"} for name, value, n in rest[0]]
            fields |= {"tool_calls": calls, "response_metadata": {"id": call_ids}}
        if kind is ToolMessage:
            fields |= {"tool_call_id": f"{call_ids}{rest[0]}"}
        messages.append(kind(text, **fields))
    return messages


def renumbered(turns: list[Any]) -> str:
    """The turns with call numbers in the order in which they appear, so that equal conversations are equal texts."""
    numbers: dict[int, int] = {}
    seen: list[Any] = []
    for kind, text, *rest in turns:
        calls = rest[0] if rest and isinstance(rest[0], list) else []
        named = [(name, value, numbers.setdefault(n, len(numbers))) for name, value, n in calls]
        result = [numbers.setdefault(rest[0], len(numbers))] if kind is ToolMessage else []
        seen.append((kind.__name__, text, named, result))
    return json.dumps(seen, sort_keys=True)


def request(messages: list[BaseMessage]) -> CanonicalRequest:
    found = canonical_request(dumps(messages), LLM_STRING)
    assert isinstance(found, CanonicalRequest)
    return found


@given(st.lists(TURNS, min_size=1, max_size=4))
def test_ids_and_metadata_never_count(turns: list[Any]) -> None:
    """One conversation under other ids is one request."""
    assert request(built(turns, "a")) == request(built(turns, "b"))


@given(st.lists(TURNS, min_size=1, max_size=3), st.lists(TURNS, min_size=1, max_size=3))
def test_two_conversations_share_a_request_only_if_they_are_equal(one: list[Any], other: list[Any]) -> None:
    """Roles, texts, calls, arguments and what belongs to which call tell conversations apart."""
    is_same = renumbered(one) == renumbered(other)
    assert (request(built(one, "a")) == request(built(other, "a"))) == is_same


@given(st.lists(TURNS, min_size=1, max_size=3), st.data())
def test_a_changed_turn_is_another_conversation(turns: list[Any], data: st.DataObject) -> None:
    """Replacing one turn by another one is noticed unless the two say the same."""
    at = data.draw(st.integers(0, len(turns) - 1))
    changed = [*turns[:at], data.draw(TURNS), *turns[at + 1 :]]
    is_same = renumbered(turns) == renumbered(changed)
    assert (request(built(turns, "a")) == request(built(changed, "a"))) == is_same


def as_literal(value: Any) -> str:
    return f"[('_type', 'own'), ('model', 'm'), ('own', {value!r})]"


@given(VALUES, VALUES)
def test_two_settings_share_a_request_only_if_they_are_equal(one: Any, other: Any) -> None:
    """Whatever a setting is, another value of it, or one of another type, is another request."""
    found = [canonical_request("[]", as_literal(value)) for value in (one, other)]
    cacheable = [request for request in found if isinstance(request, CanonicalRequest)]
    is_same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert len(cacheable) < len(found) or (found[0] == found[1]) == is_same


ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=40) | st.text(
    "[]{}()'\",:<> lc1-_typemodel", max_size=60
)
NAMES = st.sampled_from(["content", "tool_calls", "tool_call_id", "additional_kwargs", "id", "name"])
FIELDS = VALUES | st.lists(st.fixed_dictionaries({"id": VALUES}))
DUMPED = st.fixed_dictionaries({"lc": st.just(1), "id": VALUES, "kwargs": st.dictionaries(NAMES, FIELDS)})


@given(ANY_TEXT | st.lists(DUMPED | VALUES, max_size=2).map(json.dumps), ANY_TEXT | st.just(LLM_STRING))
def test_any_two_texts_are_a_request_or_uncacheable(prompt: str, llm_string: str) -> None:
    """Whatever a caller hands over, it is read or refused with a reason; nothing is raised."""
    found = canonical_request(prompt, llm_string)
    assert isinstance(found, CanonicalRequest | Uncacheable)
