"""Chunks of a stream under any content: as JSON, joined, and marked as hits."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk

from cache.codecs.chunks import answer_of, chunk_of, decode_chunks, encode_chunks, has_broken_calls, join_chunks
from cache.codecs.generations import decode_generations, encode_generations
from cache.errors import EntryError
from cache.hits import HIT_MARK, as_hit, as_hits
from tests.properties.test_generations import BLOCKS, CALL_IDS, CALLS, DICTS, INFOS, JSON, TEXTS, USAGES

CALL_CHUNKS = st.fixed_dictionaries(
    {
        "name": st.none() | TEXTS,
        "args": st.none() | TEXTS | st.sampled_from(['{"a": ', "1}", "{}"]),
        "id": CALL_IDS,
        "index": st.none() | st.integers(0, 2),
        "type": st.just("tool_call_chunk"),
    }
)
FIELDS: dict[str, Any] = {
    "tool_call_chunks": st.lists(CALL_CHUNKS, max_size=2),
    "usage_metadata": USAGES,
    "chunk_position": st.sampled_from([None, "last"]),
    "id": st.none() | TEXTS,
    "name": st.none() | TEXTS,
}
MESSAGES = st.builds(
    AIMessageChunk, content=TEXTS | BLOCKS, response_metadata=DICTS, additional_kwargs=DICTS, **FIELDS
) | st.builds(AIMessageChunk, content=TEXTS, tool_calls=st.lists(CALLS, max_size=2))
CHUNKS = st.builds(ChatGenerationChunk, message=MESSAGES, generation_info=INFOS)
# Under one name a provider says things of one kind: LangChain cannot add up a text and a number.
SAID = st.fixed_dictionaries(
    {}, optional={"finish_reason": TEXTS, "token_usage": st.fixed_dictionaries({"total": st.integers(0, 9)})}
)
LIKE_A_PROVIDER = st.builds(
    ChatGenerationChunk,
    message=st.builds(
        AIMessageChunk,
        content=TEXTS,
        response_metadata=SAID,
        usage_metadata=USAGES,
        tool_call_chunks=st.lists(CALL_CHUNKS, max_size=2),
    ),
    generation_info=st.none() | SAID,
)
STREAMS = st.lists(LIKE_A_PROVIDER, min_size=1, max_size=5)


def without_ids(chunks: list[ChatGenerationChunk]) -> list[ChatGenerationChunk]:
    return [
        chunk.model_copy(update={"message": chunk.message.model_copy(update={"id": None})}, deep=True)
        for chunk in chunks
    ]


@settings(max_examples=60)
@given(st.lists(CHUNKS, min_size=1, max_size=3))
def test_any_stream_of_json_values_comes_back_equal(chunks: list[ChatGenerationChunk]) -> None:
    """Content, pieces of calls, usage, positions and extra fields of all chunks come back as they were, without ids."""
    raw = encode_chunks(chunks)
    assert raw is not None
    assert decode_chunks(raw) == without_ids(chunks)


@given(st.lists(CHUNKS, max_size=2), st.characters(categories=["Cs"]))
def test_a_stream_with_half_a_character_is_not_stored(chunks: list[ChatGenerationChunk], half: str) -> None:
    """A lone surrogate cannot be written as UTF-8, so such a stream is not stored at all."""
    assert encode_chunks([*chunks, ChatGenerationChunk(message=AIMessageChunk(content=half))]) is None


FIELD_NAMES = st.sampled_from([*FIELDS, "content", "tool_calls", "additional_kwargs", "response_metadata", "type"])
DOCUMENTS = JSON | st.builds(
    lambda items: {"v": 1, "chunks": items},
    st.lists(JSON | st.fixed_dictionaries({"message": st.dictionaries(FIELD_NAMES, JSON), "info": JSON}), max_size=2),
)


@given(DOCUMENTS)
def test_any_json_is_a_stream_or_an_entry_error(document: object) -> None:
    """Bytes from the store are input: whatever JSON they are, reading them fails in no other way than by saying so."""
    try:
        found = decode_chunks(orjson.dumps(document))
    except EntryError:
        return
    assert {type(chunk) for chunk in found} == {ChatGenerationChunk}
    assert {type(chunk.message) for chunk in found} == {AIMessageChunk}


@given(st.lists(CHUNKS, min_size=1, max_size=2))
def test_a_stream_is_never_read_as_an_answer(chunks: list[ChatGenerationChunk]) -> None:
    """What was written as chunks is no answer, and what was written as an answer is no chunks."""
    raw = encode_chunks(chunks)
    whole = encode_generations([ChatGeneration(message=AIMessage("fine"))])
    assert raw is not None
    assert whole is not None
    for read, foreign in ((decode_generations, raw), (decode_chunks, whole)):
        try:
            read(foreign)
        except EntryError:
            continue
        raise AssertionError("it was read")


@given(STREAMS)
def test_hits_join_to_the_hit_of_the_whole(chunks: list[ChatGenerationChunk]) -> None:
    """The marked chunks add up to what the marked answer is, with one mark, no ids, and no usage but the original's."""
    before = [chunk.model_copy(deep=True) for chunk in chunks]
    joined, hit = join_chunks(as_hits(chunks)), as_hit(join_chunks(chunks))
    assert isinstance(hit, ChatGenerationChunk)
    assert joined.message == hit.message.model_copy(update={"id": None})
    assert sum(HIT_MARK in chunk.message.response_metadata for chunk in as_hits(chunks)) == 1
    assert chunks == before


@given(STREAMS)
def test_joining_changes_nothing(chunks: list[ChatGenerationChunk]) -> None:
    """The chunks are as they were once they are joined, and the same again when joined again."""
    before = [chunk.model_copy(deep=True) for chunk in chunks]
    assert join_chunks(chunks) == join_chunks(chunks)
    assert chunks == before


@given(st.lists(CALLS, max_size=2), TEXTS, SAID, USAGES)
def test_an_answer_in_one_chunk_is_the_answer(calls: list[Any], text: str, said: dict[str, Any], usage: Any) -> None:
    """A whole answer made a chunk and joined again is the same answer, and its calls are whole."""
    message = AIMessage(text, tool_calls=calls, response_metadata=said, usage_metadata=usage)
    joined = join_chunks([chunk_of(ChatGeneration(message=message))])
    assert answer_of(joined).message == message
    assert not has_broken_calls(joined)
