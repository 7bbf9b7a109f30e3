"""Streamed answers as entries: kept beside the whole answer, read back chunk by chunk.

Of many that miss the same stream one leads: it streams to its own reader, and the others replay what it has recorded.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from langchain_core.outputs import ChatGeneration

from cache.admission import why_not_admitted
from cache.codecs.chunks import answer_of, chunk_of, decode_chunks, encode_chunks, has_broken_calls, join_chunks
from cache.codecs.generations import decode_generations, encode_generations
from cache.codecs.payloads import decode_payload, encode_payload
from cache.control import Control, Controls, Outcome, Seen
from cache.entry import Header
from cache.errors import EntryError
from cache.flight import Landed, Lead, Turn
from cache.hits import as_hits
from cache.keys import build_key, content_hash, key_tag, parse_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.outputs import ChatGenerationChunk
    from pydantic import BaseModel

    from cache.clock import Clock
    from cache.coalescing import Coalescer
    from cache.counters import Counters
    from cache.entry import SubjectTags
    from cache.wrappers import SafeStore

_log = logging.getLogger("resumecache")


def key_of_stream(key: str) -> str:
    """The key of an answer's chunks: its hash covers what the answer's key covers, and that it is a stream."""
    parsed = parse_key(key)
    return build_key(replace(parsed, content_hash=content_hash(parsed.content_hash, "as a stream")))


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """Where the stream of one answer is kept, and the answer itself; settled when the stream begins.

    No method raises: a cache may never fail the call that it serves.

    Attributes:
        key: of the whole answer.
        stream_key: of its chunks.
        store: where entries live.
        coalescer: has one caller stream what many miss at once.
        ttl_s: seconds that they live.
        tags: whom they are about.
        compress_over_bytes: the size from which they are compressed.
        wants_json: whether the request asks for JSON.
        schema: the JSON schema that the answer is to follow.
        response_class: the pydantic class of that schema, where the request was given one.
        control: what the call asks of the cache.
        controls: who observes what becomes of it.
        counters: where hits and misses are counted.
        clock: where the time comes from.
    """

    key: str
    stream_key: str
    store: SafeStore
    coalescer: Coalescer
    ttl_s: int
    tags: SubjectTags
    compress_over_bytes: int
    wants_json: bool
    schema: dict[str, Any] | None
    response_class: type[BaseModel] | None
    control: Control
    controls: Controls
    counters: Counters
    clock: Clock

    def load(self) -> list[ChatGenerationChunk] | Lead | None:
        """The chunks of the newest answer, as hits; one chunk where it was not streamed.

        Returns:
            The chunks; or the lead that the caller has in streaming, which it must end; `None`: it streams for itself.
        """
        if self._is_refreshed():
            return None
        try:
            ticket = self.coalescer.ticket()
            raws = self.store.mget([self.stream_key, self.key])
            found = self._interpret(raws)
            turn = None if found else self.coalescer.turn(self.stream_key, ticket, raws[0])
            return found or self._take(turn)
        except Exception as error:  # noqa: BLE001  a cache may never fail the call that it serves
            self._give_up(error)
            return None

    async def aload(self) -> list[ChatGenerationChunk] | Lead | None:
        """Asynchronous twin of `load`."""
        if self._is_refreshed():
            return None
        try:
            ticket = self.coalescer.ticket()
            raws = await self.store.amget([self.stream_key, self.key])
            found = self._interpret(raws)
            turn = None if found else await self.coalescer.aturn(self.stream_key, ticket, raws[0])
            return found or self._take(turn)
        except Exception as error:  # noqa: BLE001  as above
            self._give_up(error)
            return None

    def save(
        self, chunks: Sequence[ChatGenerationChunk], *, lead: Lead | None = None, output_version: str | None = None
    ) -> bool:
        """Keep a stream that has come to its end, and the answer that it is; True only when the store has confirmed it.

        Args:
            chunks: all of them, as the model gave them.
            lead: what the caller leads; all who wait get the chunks, unless they are not to be kept.
            output_version: the form of the content that the model is asked for.
        """
        try:
            pairs = self._entries(chunks, output_version)
            return bool(pairs) and self.coalescer.settle(lead, pairs, ttl_s=self.ttl_s)
        except Exception as error:  # noqa: BLE001  a cache may never lose an answer that was paid for
            self._give_up(error)
            return False

    async def asave(
        self, chunks: Sequence[ChatGenerationChunk], *, lead: Lead | None = None, output_version: str | None = None
    ) -> bool:
        """Asynchronous twin of `save`."""
        try:
            pairs = self._entries(chunks, output_version)
            return bool(pairs) and await self.coalescer.asettle(lead, pairs, ttl_s=self.ttl_s)
        except Exception as error:  # noqa: BLE001  as above
            self._give_up(error)
            return False

    def _is_refreshed(self) -> bool:
        if self.control.refresh:
            self.counters.add_reason("skipped", "refresh")
            self.controls.note(Seen(Outcome.SKIPPED, self.key, "refresh"))
        return self.control.refresh

    def _interpret(self, raws: Sequence[bytes | None]) -> list[ChatGenerationChunk] | None:
        found = [self._read(key, raw) for key, raw in zip([self.stream_key, self.key], raws, strict=True)]
        # Of two answers to one request the newer counts, as it does for whoever does not stream.
        newest = max(filter(None, found), key=lambda entry: entry[0].created_s, default=None)
        if newest is None:
            return None
        header, chunks = newest
        hits = as_hits(chunks)
        self.counters.add(hits=1, saved_ms=header.made_ms)
        self.controls.note(Seen(Outcome.HIT, self.key, age_s=self.clock.now_s() - header.created_s))
        _log.debug("hit %s", self.key)
        return hits

    def _take(self, turn: Turn) -> list[ChatGenerationChunk] | Lead | None:
        """What a missed lookup gives in the end; a miss is counted where no other caller had the answer either."""
        found = self._interpret([turn.value, None]) if isinstance(turn, Landed) else None
        if found:
            self.counters.add(shared=1)
            return found
        self.counters.add(misses=1)
        self.controls.note(Seen(Outcome.MISS, self.key))
        _log.debug("miss %s", self.key)
        return turn if isinstance(turn, Lead) else None

    def _read(self, key: str, raw: bytes | None) -> tuple[Header, list[ChatGenerationChunk]] | None:
        if raw is None:
            return None
        try:
            header, payload = decode_payload(raw, key_tag(key))
            chunks = (_only_chunk if key == self.key else decode_chunks)(payload, response_class=self.response_class)
        except EntryError as error:
            self.counters.add_reason("unreadable", type(error).__name__)
            _log.warning("cache entry %s cannot be used (%s), it will be replaced", key, error)
            return None
        is_fresh = header.is_fresh(self.clock.now_s(), max_age_s=self.control.max_age_s)
        return (header, chunks) if chunks and is_fresh else None

    def _entries(self, chunks: Sequence[ChatGenerationChunk], output_version: str | None) -> list[tuple[str, bytes]]:
        if not chunks:
            return []
        self.counters.add(made=1)
        joined = join_chunks(chunks)
        answer = answer_of(joined, output_version=output_version)
        reason = why_not_admitted([answer], wants_json=self.wants_json, schema=self.schema)
        if not reason and has_broken_calls(joined):
            reason = "invalid_tool_calls"
        if reason:
            return self._skip(reason)
        payloads = {self.stream_key: encode_chunks(chunks), self.key: encode_generations([answer])}
        now_s = int(self.clock.now_s())  # one for both: of two entries the newer one counts
        entries = [(key, self._entry(key, payload, now_s)) for key, payload in payloads.items() if payload is not None]
        return entries or self._skip("no_schema")

    def _entry(self, key: str, payload: bytes, created_s: int) -> bytes:
        header = Header(key_tag=key_tag(key), created_s=created_s, ttl_s=self.ttl_s, tags=self.tags)
        return encode_payload(payload, header, compress_over_bytes=self.compress_over_bytes)

    def _skip(self, reason: str) -> list[tuple[str, bytes]]:
        self.counters.add_reason("skipped", reason)
        _log.debug("stream not stored (%s): %s", reason, self.key)
        return []

    def _give_up(self, error: Exception) -> None:
        self.counters.add_reason("failures", "internal")
        _log.warning("the cache failed and is passed by: %s", type(error).__name__, exc_info=_log.isEnabledFor(10))


def _only_chunk(payload: bytes, *, response_class: type[BaseModel] | None) -> list[ChatGenerationChunk] | None:
    """A whole answer as a stream; `None` where several were asked for, which no stream gives."""
    match decode_generations(payload, response_class=response_class):
        case [ChatGeneration() as answer]:
            return [chunk_of(answer)]
        case _:
            return None
