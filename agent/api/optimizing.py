"""The agent over HTTP: its progress and its result as server-sent events."""

# Annotations are read when a route is added, so they stand as they are and not as strings.
import json
from collections.abc import AsyncIterator
from contextlib import aclosing

from fastapi import Request
from fastapi.responses import StreamingResponse

from agent.agent_result import Event
from agent.api.backend import Backend
from agent.api.errors import problem_of
from agent.api.requests import read_pair

EVENT_STREAM = "text/event-stream"


async def stream_optimization(request: Request, backend: Backend) -> StreamingResponse:
    """The events of one run; what is wrong with the request shows before the stream begins."""
    pair = await read_pair(request, backend.ai)
    agent = backend.services.resume_agent
    events = _placed(backend, agent.astream(pair.resume_text, pair.job_description, pair.user_id))
    first = await anext(events)
    return StreamingResponse(_written(first, events), media_type=EVENT_STREAM, headers={"Cache-Control": "no-store"})


async def _placed(backend: Backend, events: AsyncIterator[Event]) -> AsyncIterator[Event]:
    """The events, as one of so many streams at once."""
    with backend.streams.place():
        async for event in events:
            yield event


async def _written(first: Event, events: AsyncIterator[Event]) -> AsyncIterator[bytes]:
    """Events as bytes; an error that comes later is an event too, with its problem document."""
    async with aclosing(events):  # type: ignore[type-var]  # an async generator, typed as what it is used as
        yield _bytes(first)
        try:
            async for event in events:
                yield _bytes(event)
        except Exception as error:  # noqa: BLE001  the status is sent already
            yield b"event: error\ndata: " + bytes(problem_of(error).body) + b"\n\n"


def _bytes(event: Event) -> bytes:
    return f"event: {event.kind}\ndata: {json.dumps(event.data)}\n\n".encode()
