"""Answers that are given again: marked, billed at nothing, under an id of their own. Pure."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, Generation

from cache.codecs.chunks import join_chunks

if TYPE_CHECKING:
    from collections.abc import Sequence

HIT_MARK = "resumecache"
_USAGE_FIELDS = ("token_usage", "usage")


def as_hit(generation: Generation) -> Generation:
    """Mark a stored answer as one: a new message id, usage that bills nothing, the original figures beside it.

    The mark stands in `response_metadata["resumecache"]`, which is no part of later requests' keys.
    """
    if not isinstance(generation, ChatGeneration) or not isinstance(generation.message, AIMessage):
        return generation
    message = generation.message
    metadata = dict(message.response_metadata)
    billed = {name: metadata.pop(name) for name in _USAGE_FIELDS if name in metadata}
    metadata[HIT_MARK] = {"hit": True, "usage_metadata": message.usage_metadata, **billed}
    changes = {
        "response_metadata": metadata,
        "usage_metadata": UsageMetadata(input_tokens=0, output_tokens=0, total_tokens=0),
        "id": _new_id(),
    }
    vars(message).update(changes)  # setting them one by one, pydantic takes as long as all the rest
    message.model_fields_set.update(changes)
    return generation


def _new_id() -> str:
    """An id as LangChain makes it of a random UUID, in a third of the time that `uuid.uuid4` takes."""
    digits = os.urandom(16).hex()
    return f"lc_run--{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def as_hits(chunks: Sequence[ChatGenerationChunk]) -> list[ChatGenerationChunk]:
    """Mark the stored chunks of an answer, so that they join to what `as_hit` makes of the whole.

    The mark stands in the first chunk alone, as joining adds up numbers and texts. The chunks have no ids: LangChain
    gives those of a stream that of its run.
    """
    marked = as_hit(join_chunks(chunks))
    hits = [_unbilled(chunk) for chunk in chunks]
    if isinstance(marked, ChatGenerationChunk) and isinstance(marked.message, AIMessage):
        mark = {HIT_MARK: marked.message.response_metadata[HIT_MARK]}
        first = hits[0].message
        update = {
            "response_metadata": first.response_metadata | mark,
            "usage_metadata": marked.message.usage_metadata,
        }
        hits[0].message = first.model_copy(update=update)
    return hits


def _unbilled(chunk: ChatGenerationChunk) -> ChatGenerationChunk:
    said = _without_usage(chunk.message.response_metadata)
    message = chunk.message.model_copy(update={"id": None, "usage_metadata": None, "response_metadata": said})
    info = _without_usage(chunk.generation_info) if chunk.generation_info else chunk.generation_info
    return chunk.model_copy(update={"message": message, "generation_info": info})


def _without_usage(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in _USAGE_FIELDS}
