"""Generations under any content, and the codec under any JSON."""

from __future__ import annotations

import copy
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation
from pydantic import BaseModel

from cache.codecs.generations import decode_generations, encode_generations
from cache.errors import EntryError

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
DICTS = st.dictionaries(TEXTS, JSON, max_size=3)
CALL_IDS = st.none() | TEXTS
CALLS = st.fixed_dictionaries({"name": TEXTS, "args": DICTS, "id": CALL_IDS})
BAD_CALLS = st.fixed_dictionaries({"name": TEXTS, "args": TEXTS, "id": CALL_IDS, "error": st.none() | TEXTS})
COUNTS = st.integers(0, 10**6)
USAGES = st.none() | st.fixed_dictionaries(
    {"input_tokens": COUNTS, "output_tokens": COUNTS, "total_tokens": COUNTS},
    optional={"input_token_details": st.fixed_dictionaries({}, optional={"cache_read": COUNTS, "audio": COUNTS})},
)
BLOCKS = st.lists(
    TEXTS | st.fixed_dictionaries({"type": st.sampled_from(["text", "image", "own"]), "x": JSON}), max_size=3
)
MESSAGES = st.builds(
    AIMessage,
    content=TEXTS | BLOCKS,
    tool_calls=st.lists(CALLS, max_size=2),
    invalid_tool_calls=st.lists(BAD_CALLS, max_size=2),
    usage_metadata=USAGES,
    response_metadata=DICTS,
    additional_kwargs=DICTS,
    name=st.none() | TEXTS,
)
INFOS = st.none() | DICTS
GENERATIONS = st.builds(Generation, text=TEXTS, generation_info=INFOS) | st.builds(
    ChatGeneration, message=MESSAGES, generation_info=INFOS
)


@settings(max_examples=60)
@given(st.lists(GENERATIONS, min_size=1, max_size=3))
def test_any_answer_of_json_values_comes_back_equal(generations: list[Generation]) -> None:
    """Text, content blocks, calls, usage and extra fields of all generations come back as they were."""
    raw = encode_generations(generations)
    assert raw is not None
    assert decode_generations(raw) == generations


PLAIN_USAGES = st.none() | st.fixed_dictionaries(
    {"input_tokens": COUNTS | JSON, "output_tokens": COUNTS, "total_tokens": COUNTS},
    optional={
        "input_token_details": st.dictionaries(st.sampled_from(["audio", "cache_read", "own"]), COUNTS) | JSON,
        "output_token_details": st.dictionaries(st.sampled_from(["audio", "reasoning"]), COUNTS | JSON),
    },
)
STORED_CALLS = st.fixed_dictionaries(
    {"name": TEXTS | JSON, "args": DICTS | JSON, "id": CALL_IDS | JSON},
    optional={"type": st.just("tool_call") | JSON, "own": JSON},
)
STORED = st.fixed_dictionaries(
    {},
    optional={
        "content": TEXTS | BLOCKS | JSON,
        "additional_kwargs": DICTS | st.fixed_dictionaries({"tool_calls": JSON}) | JSON,
        "response_metadata": DICTS | JSON,
        "name": st.none() | TEXTS | JSON,
        "tool_calls": st.lists(STORED_CALLS, max_size=2) | JSON,
        "invalid_tool_calls": st.lists(BAD_CALLS, max_size=1) | JSON,
        "usage_metadata": PLAIN_USAGES | JSON,
        "id": st.none() | TEXTS,
        "own": JSON,
    },
)


def parts(made: BaseModel) -> tuple[Any, ...]:
    """All that a pydantic object is: its class, its values in their order, and what pydantic keeps beside them."""
    values = {name: parts(value) if isinstance(value, BaseModel) else value for name, value in vars(made).items()}
    types = {name: type(value) for name, value in values.items()}
    kept = (made.model_fields_set, made.__pydantic_extra__, made.__pydantic_private__)
    dumped = orjson.dumps(orjson.loads(made.model_dump_json()), option=orjson.OPT_SORT_KEYS)  # 1 is not 1.0 there
    return type(made), list(values), values, types, kept, dumped


@settings(max_examples=200)
@given(STORED, INFOS | JSON)
def test_reading_makes_what_langchain_makes(fields: dict[str, Any], info: Any) -> None:
    """A stored message becomes, part by part, the object that LangChain's validation makes of it, or is refused too."""
    raw = orjson.dumps({"v": 2, "generations": [{"message": fields, "info": info}]})
    try:
        made = ChatGeneration(message=AIMessage(**{"content": "", **copy.deepcopy(fields)}), generation_info=info)
    except (ValueError, TypeError, AttributeError):
        with pytest.raises(EntryError):
            decode_generations(raw)
        return
    [read] = decode_generations(raw)
    assert parts(read) == parts(made)


@given(st.lists(GENERATIONS, min_size=1, max_size=2), st.characters(categories=["Cs"]))
def test_an_answer_with_half_a_character_is_not_stored(generations: list[Generation], half: str) -> None:
    """A lone surrogate cannot be written as UTF-8, so such an answer is not stored at all."""
    assert encode_generations([*generations, Generation(text=half)]) is None


MESSAGE_FIELDS = st.sampled_from(
    ["content", "tool_calls", "invalid_tool_calls", "usage_metadata", "additional_kwargs", "response_metadata", "name",
     "type", "id", "content_blocks", "lc_kwargs"]
)  # fmt: skip
DOCUMENTS = JSON | st.builds(
    lambda items: {"v": 2, "generations": items},
    st.lists(
        JSON | st.fixed_dictionaries({"message": st.dictionaries(MESSAGE_FIELDS, JSON), "info": JSON}), max_size=2
    ),
)


@given(DOCUMENTS)
def test_any_json_is_an_answer_or_an_entry_error(document: object) -> None:
    """Bytes from the store are input: whatever JSON they are, reading them fails in no other way than by saying so."""
    try:
        found = decode_generations(orjson.dumps(document))
    except EntryError:
        return
    assert found
    assert {type(generation) for generation in found} <= {Generation, ChatGeneration}
