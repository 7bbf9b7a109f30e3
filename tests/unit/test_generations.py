"""Generations as JSON: all of an answer comes back, or it is not stored."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, InputTokenDetails, UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, Generation, GenerationChunk
from pydantic import BaseModel

from cache.codecs.generations import decode_generations, encode_generations
from cache.errors import DecodeError, EntryVersionError

USAGE = UsageMetadata(
    input_tokens=10, output_tokens=5, total_tokens=15, input_token_details=InputTokenDetails(cache_read=3)
)
TOOL_CALL = {"name": "search", "args": {"q": "python", "k": 3, "deep": {"a": [1, None, True]}}, "id": "call_1"}
BAD_CALL = {"name": "search", "args": "{not json", "id": "call_2", "error": "no JSON"}


class Score(BaseModel):
    value: int
    reason: str = ""


class OwnMessage(AIMessage):
    """A message of somebody's own class."""


def chat(message: AIMessage, info: dict[str, Any] | None = None) -> ChatGeneration:
    return ChatGeneration(message=message, generation_info=info)


def round_trip(*generations: Generation) -> list[Generation] | None:
    raw = encode_generations(generations)
    return None if raw is None else decode_generations(raw)


@pytest.mark.parametrize(
    "message",
    [
        AIMessage("fine"),
        AIMessage(""),
        AIMessage("Größe 😀 \x00 \u2028"),
        AIMessage("", tool_calls=[TOOL_CALL]),
        AIMessage("", tool_calls=[TOOL_CALL, {**TOOL_CALL, "id": None}], invalid_tool_calls=[BAD_CALL]),
        AIMessage([{"type": "text", "text": "one"}, "two", {"type": "reasoning", "summary": []}]),
        AIMessage("fine", usage_metadata=USAGE),
        AIMessage("fine", response_metadata={"finish_reason": "stop", "logprobs": None, "headers": {"a": 1.5}}),
        AIMessage("fine", additional_kwargs={"refusal": None, "reasoning_content": "so"}, name="bot"),
        AIMessage("", additional_kwargs={"function_call": {"name": "f", "arguments": "{}"}}),
    ],
)
def test_a_message_comes_back_equal(message: AIMessage) -> None:
    """Text, tool calls, usage, metadata, content blocks and extra fields of a message come back as they were."""
    assert round_trip(chat(message, {"finish_reason": "stop"})) == [chat(message, {"finish_reason": "stop"})]


def test_text_generations_come_back_equal() -> None:
    """An answer of a model without messages comes back with its info."""
    generations = [Generation(text="a"), Generation(text="", generation_info={"n": 1})]
    assert round_trip(*generations) == generations


def test_every_generation_of_an_answer_comes_back() -> None:
    """With `n` answers to one request, all are kept, in their order."""
    generations = [chat(AIMessage(text)) for text in "abc"]
    assert round_trip(*generations) == generations


def test_message_ids_are_left_out() -> None:
    """The id of the first answer does not come back: two messages of one id replace each other (trap L5)."""
    found = round_trip(chat(AIMessage("fine", id="run-1")))
    assert found == [chat(AIMessage("fine"))]


def test_each_reading_makes_new_objects() -> None:
    """A caller that edits what it got changes nothing for the next one (trap L11)."""
    raw = encode_generations([chat(AIMessage("fine", response_metadata={"a": {"b": 1}}))])
    assert raw is not None
    [first], [second] = decode_generations(raw), decode_generations(raw)
    assert isinstance(first, ChatGeneration)
    first.message.response_metadata["a"]["b"] = 2
    assert second == chat(AIMessage("fine", response_metadata={"a": {"b": 1}}))


def test_a_parsed_object_comes_back_as_its_fields() -> None:
    """A pydantic object that structured output left on the message comes back as a dict (traps L14, H20)."""
    found = round_trip(chat(AIMessage("{}", additional_kwargs={"parsed": Score(value=3)})))
    assert found == [chat(AIMessage("{}", additional_kwargs={"parsed": {"value": 3, "reason": ""}}))]


def test_encoding_leaves_the_answer_alone() -> None:
    """The answer that the caller holds is the same before and after."""
    parsed = Score(value=3)
    generation = chat(AIMessage("fine", id="run-1", additional_kwargs={"parsed": parsed}, usage_metadata=USAGE))
    before = generation.model_copy(deep=True)
    encode_generations([generation])
    assert generation == before
    assert isinstance(generation.message, AIMessage)
    assert generation.message.additional_kwargs["parsed"] is parsed


@pytest.mark.parametrize(
    "generation",
    [
        ChatGeneration(message=OwnMessage(content="fine")),
        ChatGeneration(message=HumanMessage("fine")),
        ChatGeneration(message=AIMessageChunk(content="fine")),
        ChatGenerationChunk(message=AIMessageChunk(content="fine")),
        GenerationChunk(text="fine"),
        Generation(text="fine", generation_info={"object": object()}),
        Generation(text="fine", generation_info={"set": {1}}),
        Generation(text="fine", generation_info={"tuple": (1, 2)}),
        Generation(text="fine", generation_info={"not finite": float("nan")}),
        Generation(text="fine", generation_info={"infinite": float("inf")}),
        Generation(text="fine", generation_info={"large": 2**64}),
        Generation(text="fine", generation_info={"deep": {1: "a key that is no text"}}),
        Generation(text="\ud800"),
        chat(AIMessage("fine", additional_kwargs={"score": Score(value=1)})),
        chat(AIMessage("", tool_calls=[{"name": "f", "args": {"x": b"bytes"}, "id": "1"}])),
    ],
)
def test_what_would_come_back_different_is_not_stored(generation: Generation) -> None:
    """A class of somebody's own, or a value that JSON cannot say, gives `None` and no half-stored answer (H18)."""
    assert encode_generations([generation]) is None
    assert encode_generations([Generation(text="good"), generation]) is None


def test_no_generations_are_not_stored() -> None:
    """An empty answer would count as a hit and fail in LangChain (trap L10)."""
    assert encode_generations([]) is None


def test_an_unknown_version_is_told_from_damage() -> None:
    """An answer written by a later version of this codec is an unknown version (trap H19)."""
    with pytest.raises(EntryVersionError, match="3"):
        decode_generations(b'{"v": 3, "generations": [{"text": "a", "info": null}]}')


@pytest.mark.parametrize(
    "document",
    [
        "", "null", "[]", "1", '"v"', "{}", '{"v": 2}', '{"v": 2, "generations": null}', '{"v": 2, "generations": []}',
        '{"v": 2, "generations": {}}', '{"v": 2, "generations": [1]}', '{"v": 2, "generations": ["message"]}',
        '{"v": 2, "generations": [{}]}', '{"v": 2, "generations": [{"text": "a"}]}',
        '{"v": 2, "generations": [{"text": 1, "info": null}]}', '{"v": 2, "generations": [{"text": "a", "info": 1}]}',
        '{"v": 2, "generations": [{"message": null, "info": null}]}',
        '{"v": 2, "generations": [{"message": {"content": 1}, "info": null}]}',
        '{"v": 2, "generations": [{"message": {"type": "human"}, "info": null}]}',
        '{"v": 2, "generations": [{"message": {"self": 1}, "info": null}]}',
        '{"v": 2, "generations": [{"message": {"tool_calls": 1}, "info": null}]}',
        '{"v": 2, "generations": [{"message": {"tool_calls": [1]}, "info": null}]}',
        '{"v": 2, "generations": [{"message": {"additional_kwargs": 1}, "info": null}]}',
        '{"v": 2, "generations": [{"message": {"content_blocks": 1}, "info": null}]}',
    ],
)  # fmt: skip
def test_anything_else_is_a_decode_error(document: str) -> None:
    """Bytes from the store are input: whatever JSON they are, reading them fails as a `DecodeError`."""
    with pytest.raises(DecodeError):
        decode_generations(document.encode())


ITEMS = {"one": '{"info": null, "n_bytes": 3}', "message": '{"message": {}, "info": null, "n_bytes": 2}'}


def stored(texts: bytes, *items: str) -> bytes:
    return b'{"v": 2, "generations": [%b]}\n%b' % (", ".join(items).encode(), texts)


def test_texts_are_told_apart_by_their_sizes() -> None:
    """The texts of several generations stand one after the other, line feeds and all."""
    found = decode_generations(stored("a\nbü".encode(), ITEMS["one"], ITEMS["message"]))
    assert found == [Generation(text="a\nb"), chat(AIMessage("ü"))]


@pytest.mark.parametrize(
    "raw",
    [
        stored(b"ab", ITEMS["one"]), stored(b"abcd", ITEMS["one"]), stored(b"abc"), stored(b"abc", *2 * [ITEMS["one"]]),
        stored(b"\xff\xff", ITEMS["message"]), stored(b"", '{"info": null}'),
        stored(b"", '{"info": null, "n_bytes": -1}'),
        stored(b"a", '{"info": null, "n_bytes": true}'), stored(b"a", '{"info": null, "n_bytes": "1"}'),
        stored(b"", '{"info": null, "n_bytes": 0.0}'), stored(b"ab", ITEMS["message"]).replace(b"\n", b""),
    ],
)  # fmt: skip
def test_sizes_that_do_not_fit_are_a_decode_error(raw: bytes) -> None:
    """A text that is cut, too long, no UTF-8 or of no size is refused, and never guessed at."""
    with pytest.raises(DecodeError):
        decode_generations(raw)


def test_no_class_or_code_comes_from_the_store() -> None:
    """LangChain's own constructor notation in the bytes is data, never an instruction (L13, H18; CVE-2025-68664)."""
    evil = {"lc": 1, "type": "constructor", "id": ["langchain_core", "prompts", "PromptTemplate"], "kwargs": {}}
    raw = json.dumps({"v": 2, "generations": [{"message": {"content": "", "response_metadata": evil}, "info": evil}]})
    [found] = decode_generations(raw.encode())
    assert type(found) is ChatGeneration
    assert type(found.message) is AIMessage
    assert found.message.response_metadata == found.generation_info == evil
