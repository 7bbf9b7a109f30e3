"""`cached(model)`: a chat model whose streams are cached too, which a `BaseCache` is never asked about.

The wrapped model is of a class below that of the model. Only what streams is another there, so that it stays what it
is for `isinstance`, for `bind_tools` and `with_structured_output`, and in the key of its answers.
Source: langchain_core.language_models.chat_models.
"""

from __future__ import annotations

import contextlib
from types import new_class
from typing import TYPE_CHECKING, Any, TypeVar, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.load import dumps

from cache.errors import ConfigurationError
from cache.responses import ResponseCache

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatGenerationChunk, ChatResult

    from cache.flight import Lead
    from cache.streams import StreamEntry

ChatModel = TypeVar("ChatModel", bound=BaseChatModel)
_STATE = ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")


def cached(model: ChatModel, cache: ResponseCache | None = None) -> ChatModel:
    """A chat model whose streams are recorded on their first run, and replayed chunk by chunk from then on.

    What is not streamed is cached as a model's `cache=` does it, and both share their answers. A stream that its reader
    left, that failed, or whose answer is not to be stored, leaves nothing behind. Chunks are passed on as they come; a
    stream ends once its entry is written, at most a deadline later.

    Args:
        model: any chat model; it is left as it is, and the copy shares its clients. Tools and schemas are bound to the
            copy, not before.
        cache: where answers are kept; `None` is the model's own `cache=`.

    Raises:
        ConfigurationError: the model is none, or there is no `ResponseCache`.
    """
    if not isinstance(model, BaseChatModel):
        raise ConfigurationError(
            f"expected a chat model, got {type(model).__name__}; wrap the model first, bind tools to what comes back"
        )
    chosen = model.cache if cache is None else cache
    if not isinstance(chosen, ResponseCache):
        raise ConfigurationError(
            f"expected a ResponseCache as cache= of cached() or of the model, got {type(chosen).__name__}"
        )
    wrapped = model.model_copy(update={"cache": chosen})
    object.__setattr__(wrapped, "__class__", _cached_class(type(model)))
    return wrapped


class _CachedStreams:
    """Marks the classes that `cached` makes."""

    __slots__ = ()


def _cached_class(base: type[ChatModel]) -> type[ChatModel]:
    """The class below a class of models that caches streams; each has one."""
    made = (base, *base.__subclasses__())
    known = next((cls for cls in made if _CachedStreams in cls.__bases__), None)
    if known is not None:
        return known
    names = {"__module__": base.__module__, "__qualname__": base.__qualname__, "__doc__": base.__doc__}
    body = names | _answering(base) | _streaming(base)
    return cast(
        "type[ChatModel]", new_class(base.__name__, (base, _CachedStreams), exec_body=lambda ns: ns.update(body))
    )


def _answering(base: type[BaseChatModel]) -> dict[str, Callable[..., Any]]:
    """What is not streamed goes the model's own way, also where a callback has it streamed: it was looked up before."""

    def _generate_with_cache(self: BaseChatModel, *args: Any, **kwargs: Any) -> ChatResult:
        return _plain(self, base)._generate_with_cache(*args, **kwargs)  # noqa: SLF001  LangChain's hook

    async def _agenerate_with_cache(self: BaseChatModel, *args: Any, **kwargs: Any) -> ChatResult:
        return await _plain(self, base)._agenerate_with_cache(*args, **kwargs)  # noqa: SLF001  as above

    return {"_generate_with_cache": _generate_with_cache, "_agenerate_with_cache": _agenerate_with_cache}


def _streaming(base: type[BaseChatModel]) -> dict[str, Callable[..., Any]]:
    """The ways in which the class streams; where it has none, LangChain asks for the whole answer."""

    def _stream(
        self: BaseChatModel,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        plain = _plain(self, base)
        entry = _entry(plain, messages, stop, kwargs)
        found = entry.load() if entry else None
        if isinstance(found, list):
            for chunk in found:
                if run_manager:
                    run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk
            return
        with found or contextlib.nullcontext():
            chunks = plain._stream(messages, stop=stop, **_given(run_manager), **kwargs)  # noqa: SLF001  LangChain's hook
            yield from _recorded(entry, found, chunks, self.output_version) if entry else chunks

    async def _astream(
        self: BaseChatModel,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        plain = _plain(self, base)
        entry = _entry(plain, messages, stop, kwargs)
        found = await entry.aload() if entry else None
        if isinstance(found, list):
            for chunk in found:
                if run_manager:
                    await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk
            return
        with found or contextlib.nullcontext():
            chunks = plain._astream(messages, stop=stop, **_given(run_manager), **kwargs)  # noqa: SLF001  LangChain's hook
            async for chunk in _arecorded(entry, found, chunks, self.output_version) if entry else chunks:
                yield chunk

    streams, streams_async = (
        getattr(base, name) is not getattr(BaseChatModel, name) for name in ("_stream", "_astream")
    )
    # A model that streams in threads alone is asked through `_astream` too: so no thread waits for another caller.
    return ({"_stream": _stream} if streams else {}) | ({"_astream": _astream} if streams or streams_async else {})


def _given(run_manager: Any) -> dict[str, Any]:
    return {"run_manager": run_manager} if run_manager else {}  # not every model takes one


def _recorded(
    entry: StreamEntry, lead: Lead | None, chunks: Iterator[ChatGenerationChunk], output_version: str | None
) -> Iterator[ChatGenerationChunk]:
    recording = _Recording(lead)
    for chunk in chunks:
        recording.add(chunk)
        yield chunk
        recording.go_on()
    entry.save(recording.chunks, lead=lead, output_version=output_version)


async def _arecorded(
    entry: StreamEntry, lead: Lead | None, chunks: AsyncIterator[ChatGenerationChunk], output_version: str | None
) -> AsyncIterator[ChatGenerationChunk]:
    recording = _Recording(lead)
    async for chunk in chunks:
        recording.add(chunk)
        yield chunk
        recording.go_on()
    await entry.asave(recording.chunks, lead=lead, output_version=output_version)


class _Recording:
    """The chunks of a stream as the model gave them, whatever their reader does to them.

    Args:
        lead: what the caller leads; it pauses while the reader has a chunk.
    """

    def __init__(self, lead: Lead | None) -> None:
        self.chunks: list[ChatGenerationChunk] = []
        self._lead = lead
        self._is_whole = True

    def go_on(self) -> None:
        """Take note that the reader wants more."""
        if self._lead is not None:
            self._lead.go_on()

    def add(self, chunk: ChatGenerationChunk) -> None:
        """Keep a copy of what goes to the reader; where none can be made, the stream is not kept at all."""
        if self._lead is not None:
            self._lead.pause()
        try:
            if self._is_whole:
                self.chunks.append(chunk.model_copy(deep=True))
        except Exception:  # noqa: BLE001  it may hold any object
            self.chunks, self._is_whole = [], False


def _plain(model: BaseChatModel, base: type[ChatModel]) -> ChatModel:
    """The model as it was, on the same state: what it calls on itself is not cached once more."""
    plain = base.__new__(base)
    for name in _STATE:
        object.__setattr__(plain, name, getattr(model, name))
    if plain.is_lc_serializable():
        # LangChain keeps what a model shows of itself, also when a setting is changed: the key would be another's.
        plain.__dict__.pop("_serialized", None)
    return plain


def _entry(
    plain: BaseChatModel, messages: Sequence[BaseMessage], stop: list[str] | None, settings: dict[str, Any]
) -> StreamEntry | None:
    """Where the stream is kept, by the same two strings by which LangChain looks up what is not streamed."""
    if not isinstance(plain.cache, ResponseCache) or _wants_several(plain, settings):
        return None
    try:
        llm_string = plain._get_llm_string(stop=stop, **settings)  # noqa: SLF001  there is no other way to it
        prompt = dumps([_without_id(message) for message in messages])
    except Exception:  # noqa: BLE001  what cannot be written is not cached
        return None
    return plain.cache.stream_entry(prompt, llm_string)


def _without_id(message: BaseMessage) -> BaseMessage:
    return message if message.id is None else message.model_copy(update={"id": None})


def _wants_several(plain: BaseChatModel, settings: dict[str, Any]) -> bool:
    """Say whether several answers are asked for: a stream mixes them, and the whole answer would be one of many."""
    fixed = getattr(plain, "model_kwargs", None) or {}
    return (settings.get("n") or fixed.get("n") or getattr(plain, "n", None) or 1) != 1
