"""The chunks of a streamed answer: as JSON by an explicit schema, joined to the answer, and made of one.

`{"v": 1, "chunks": [{"message": fields of an AIMessageChunk, "info"}]}`. No class name and no code comes from the
store. Sources: langchain_core.messages.ai, langchain_core.outputs.chat_generation, and `_generate_with_cache` in
langchain_core.language_models.chat_models for how chunks become an answer.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import orjson
from langchain_core.messages import AIMessage, AIMessageChunk, message_chunk_to_message
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk
from pydantic import ValidationError

from cache.codecs.generations import jsonable_message, restore_parsed
from cache.errors import DecodeError, EntryVersionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import BaseModel

_VERSION = 1
# LangChain reads the calls from their chunks.
_DERIVED = {"id", "type", "tool_calls", "invalid_tool_calls"}
_FOR_TRACERS = "lc_gateway_metadata"  # of a request to a gateway of LangSmith; no part of the message


def encode_chunks(chunks: Sequence[ChatGenerationChunk]) -> bytes | None:
    """Write the chunks of a stream, all of them; `None` where reading them back would not give the same.

    Ids of messages are left out: each replay has its own.
    """
    try:
        text = "".join(str(chunk.message.text) for chunk in chunks)
        plain = [_jsonable(chunk, text) for chunk in chunks]
        raw = orjson.dumps({"v": _VERSION, "chunks": [_encode(chunk) for chunk in plain]})
        same = [_without_id(found) for found in decode_chunks(raw)] == [_without_id(chunk) for chunk in plain]
    except (TypeError, ValueError, DecodeError):
        return None
    return raw if same else None


def decode_chunks(raw: bytes, *, response_class: type[BaseModel] | None = None) -> list[ChatGenerationChunk]:
    """Read the chunks of a stream back; each call makes new objects.

    Args:
        raw: as `encode_chunks` writes it.
        response_class: what the request asked for; a parsed answer becomes one of it again.

    Raises:
        EntryVersionError: written by a version that this one does not know.
        DecodeError: not what `encode_chunks` writes, or an answer that is no such class.
    """
    try:
        document = orjson.loads(raw)
        if document["v"] != _VERSION:
            raise EntryVersionError(f"expected chunks of version {_VERSION}, got {document['v']!r}")
        found = [_decode(item, response_class) for item in document["chunks"]]
    except (ValueError, TypeError, KeyError, AttributeError, ValidationError) as error:  # LangChain's validators too
        raise DecodeError(f"expected stored chunks: {type(error).__name__}") from error
    if not found:
        raise DecodeError("expected at least one stored chunk, got none")
    return found


def join_chunks(chunks: Sequence[ChatGenerationChunk]) -> ChatGenerationChunk:
    """What the chunks of a stream add up to, with what was said beside the messages in their metadata.

    Args:
        chunks: at least one. Not modified.

    Raises:
        TypeError: they cannot be added up, such as a number and a text under one name.
    """
    said = [chunk.model_copy(update={"message": _with_info(chunk)}) for chunk in chunks]
    return said[0] + said[1:]


def answer_of(joined: ChatGenerationChunk, *, output_version: str | None = None) -> ChatGeneration:
    """The answer that LangChain would have given if it had not been streamed.

    Args:
        joined: what all chunks add up to. Not modified.
        output_version: the form of the content that the model is asked for; "v1" is LangChain's own.
    """
    message = message_chunk_to_message(joined.message)
    if output_version == "v1" and isinstance(message, AIMessage):
        metadata = message.response_metadata | {"output_version": output_version}
        message = message.model_copy(update={"content": message.content_blocks, "response_metadata": metadata})
    return ChatGeneration(message=message, generation_info=joined.generation_info)


def has_broken_calls(joined: ChatGenerationChunk) -> bool:
    """Say whether the arguments of a tool call broke off: LangChain completes them, with whatever is missing."""
    calls = getattr(joined.message, "tool_call_chunks", ())
    return not all(_is_object(call["args"]) for call in calls if call["args"])


def chunk_of(answer: ChatGeneration) -> ChatGenerationChunk:
    """A whole answer as the only chunk of a stream."""
    # Not model_dump(): it would turn a parsed answer that is an object into a dict.
    fields = {name: value for name, value in dict(answer.message).items() if name not in {"id", "type"}}
    return ChatGenerationChunk(message=AIMessageChunk(**fields, chunk_position="last"))


def _jsonable(chunk: ChatGenerationChunk, text: str) -> ChatGenerationChunk:
    if type(chunk) is not ChatGenerationChunk or type(chunk.message) is not AIMessageChunk:
        raise TypeError(f"no schema for {type(chunk).__name__}")
    return chunk.model_copy(update={"message": jsonable_message(chunk.message, text)})


def _encode(chunk: ChatGenerationChunk) -> dict[str, Any]:
    fields = chunk.message.model_dump(exclude=_DERIVED, exclude_defaults=True)
    return {"message": fields, "info": chunk.generation_info}


def _decode(item: dict[str, Any], response_class: type[BaseModel] | None) -> ChatGenerationChunk:
    message = AIMessageChunk(**{"content": "", **item["message"]})
    restore_parsed(message, response_class)
    return ChatGenerationChunk(message=message, generation_info=item["info"])


def _without_id(chunk: ChatGenerationChunk) -> ChatGenerationChunk:
    return chunk.model_copy(update={"message": chunk.message.model_copy(update={"id": None})})


def _with_info(chunk: ChatGenerationChunk) -> Any:
    info = {name: value for name, value in (chunk.generation_info or {}).items() if name != _FOR_TRACERS}
    return chunk.message.model_copy(update={"response_metadata": {**info, **chunk.message.response_metadata}})


def _is_object(args: str) -> bool:
    try:
        return isinstance(json.loads(args, strict=False), dict)
    except ValueError:
        return False
