"""LangChain generations as JSON and text, by an explicit schema: what is read back can be nothing but these classes.

`{"v": 2, "generations": [{"info", "n_bytes"} or {"message": fields of an AIMessage, "info", "n_bytes"}]}`, a line feed
and the texts of all generations one after the other as UTF-8, each `n_bytes` long: within the JSON, where a character
may be an escape, reading a long text takes ten times as long. Content that is a list of blocks and no text stands among
the fields of its message, without `n_bytes`. No class name and no code comes from the store.
Sources: langchain_core.outputs, langchain_core.messages.ai.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation
from pydantic import BaseModel, ValidationError

from cache.codecs.json import decode_json
from cache.codecs.payloads import decode_payload
from cache.errors import DecodeError, EntryVersionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cache.entry import Header

_VERSION = 2
_END_OF_JSON = b"\n"  # which orjson escapes wherever it stands in a text
_SIZE = "n_bytes"
_DERIVED = {"id", "type"}
_PLAIN_FIELDS = {"content", "additional_kwargs", "response_metadata", "name", "tool_calls", "usage_metadata"}
_MESSAGE_FIELDS = _PLAIN_FIELDS | {"id", "type", "invalid_tool_calls"}
_GENERATION_FIELDS = {"text", "generation_info", "type", "message"}
_CALL_FIELDS = {"name", "args", "id", "type"}
_COUNTS = {"input_tokens", "output_tokens", "total_tokens"}
_DETAILS = {
    "input_token_details": {"audio", "cache_creation", "cache_read"},
    "output_token_details": {"audio", "reasoning"},
}
_ONLY_INT = {int}
_USAGE_FIELDS = _COUNTS | _DETAILS.keys()
# A version of LangChain with further fields makes its objects itself.
_HAS_KNOWN_FIELDS = AIMessage.model_fields.keys() == _MESSAGE_FIELDS and not AIMessage.__private_attributes__
_HAS_KNOWN_FIELDS &= (
    ChatGeneration.model_fields.keys() == _GENERATION_FIELDS and not ChatGeneration.__private_attributes__
)
_set = object.__setattr__
Model = TypeVar("Model", bound=BaseModel)


def encode_generations(generations: Sequence[Generation]) -> bytes | None:
    """Write answers, all of them; `None` where reading them back would not give the same.

    Ids of messages are left out: each hit has its own.
    """
    try:
        items, texts = zip(*map(_encode, generations), strict=True)
        raw = orjson.dumps({"v": _VERSION, "generations": items}) + _END_OF_JSON + b"".join(texts)
        same = [_comparable(found) for found in decode_generations(raw)] == [_comparable(g) for g in generations]
    except (TypeError, ValueError, DecodeError):
        return None
    return raw if same else None


def decode_generations(raw: bytes, *, response_class: type[BaseModel] | None = None) -> list[Generation]:
    """Read answers back; each call makes new objects.

    Args:
        raw: as `encode_generations` writes it.
        response_class: what the request asked for; a parsed answer becomes one of it again.

    Raises:
        EntryVersionError: written by a version that this one does not know.
        DecodeError: not what `encode_generations` writes, or an answer that is no such class.
    """
    head, _, texts = raw.partition(_END_OF_JSON)
    try:
        document = orjson.loads(head)
        if document["v"] != _VERSION:
            raise EntryVersionError(f"expected generations of version {_VERSION}, got {document['v']!r}")
        found = _decode_all(document["generations"], texts, response_class)
    except (ValueError, TypeError, KeyError, AttributeError, ValidationError) as error:  # LangChain's validators too
        raise DecodeError(f"expected stored generations: {type(error).__name__}") from error
    if not found:
        raise DecodeError("expected at least one stored generation, got none")
    return found


def decode_answer(
    raw: bytes, tag: bytes, *, response_class: type[BaseModel] | None = None
) -> tuple[Header, list[Generation]]:
    """Read a whole entry: what it says of itself, and the answers in it.

    Args:
        raw: the entry.
        tag: of its key.
        response_class: as for `decode_generations`.

    Raises:
        EntryError: not an entry of that key, damaged, or not what `encode_generations` writes.
    """
    header, payload = decode_payload(raw, tag)
    return header, decode_generations(payload, response_class=response_class)


def view_generations(raw: bytes) -> Any:
    """What was stored, for a person to look at: the JSON, with each text in its generation.

    Raises:
        DecodeError: not JSON.
    """
    head, _, texts = raw.partition(_END_OF_JSON)
    document = decode_json(head)
    for item in document.get("generations", []) if texts else []:
        item["text"], texts = texts[: item[_SIZE]].decode(errors="replace"), texts[item.pop(_SIZE) :]
    return document


def _encode(generation: Generation) -> tuple[dict[str, Any], bytes]:
    """What is said of a generation in JSON, and its text."""
    if type(generation) is Generation:
        text = generation.text.encode()
        return {"info": generation.generation_info, _SIZE: len(text)}, text
    if type(generation) is not ChatGeneration or type(generation.message) is not AIMessage:
        raise TypeError(f"no schema for {type(generation).__name__}")
    message = jsonable_message(generation.message)
    info = generation.generation_info
    if type(message.content) is not str:
        return {"message": message.model_dump(exclude=_DERIVED, exclude_defaults=True), "info": info}, b""
    text = message.content.encode()
    fields = message.model_dump(exclude=_DERIVED | {"content"}, exclude_defaults=True)
    return {"message": fields, "info": info, _SIZE: len(text)}, text


def _decode_all(
    items: Sequence[dict[str, Any]], texts: bytes, response_class: type[BaseModel] | None
) -> list[Generation]:
    found, start = [], 0
    for item in items:
        n_bytes = item.get(_SIZE)
        text = None if n_bytes is None else _text_at(texts, start, n_bytes)
        found.append(_decode(item, text, response_class))
        start += n_bytes or 0
    if start != len(texts):
        raise DecodeError("expected nothing after the texts of the generations")
    return found


def _text_at(texts: bytes, start: int, n_bytes: int) -> str:
    text = texts[start : start + n_bytes]
    if type(n_bytes) is not int or len(text) != n_bytes:
        raise DecodeError("expected a text of the size that its generation names")
    return text.decode()


def _decode(item: dict[str, Any], text: str | None, response_class: type[BaseModel] | None) -> Generation:
    if "message" not in item:
        if text is None:
            raise DecodeError("expected the text of a generation without a message")
        return Generation(text=text, generation_info=item["info"])
    fields = item["message"]
    if text is not None:
        fields["content"] = text
    message = _plain_message(fields) or AIMessage(**{"content": "", **fields})
    restore_parsed(message, response_class)
    return _chat_generation(message, item["info"])


def _plain_message(fields: dict[str, Any]) -> AIMessage | None:
    """What `AIMessage(**fields)` makes, without its validation; `None` where a field needs it.

    Of the fields of a plain answer validation derives nothing but their defaults, and costs more than all the rest.
    """
    content, name = fields.get("content", ""), fields.get("name")
    extra, said = fields.get("additional_kwargs", {}), fields.get("response_metadata", {})
    usage, calls = fields.get("usage_metadata"), fields.get("tool_calls", [])
    is_plain = (
        _HAS_KNOWN_FIELDS
        and fields.keys() <= _PLAIN_FIELDS
        and type(content) is str
        and (name is None or type(name) is str)
        and type(said) is dict
        and type(extra) is dict
        and "tool_calls" not in extra
        and (usage is None or _is_plain_usage(usage))
        and type(calls) is list
        and all(map(_is_plain_call, calls))
    )
    if not is_plain:
        return None
    values = {
        "content": content, "additional_kwargs": extra, "response_metadata": said, "type": "ai", "name": name,
        "id": None, "tool_calls": calls, "invalid_tool_calls": [], "usage_metadata": usage,
    }  # fmt: skip
    return _made(AIMessage, values, {"content", *fields}, {})


def _chat_generation(message: AIMessage, info: Any) -> ChatGeneration:
    """What `ChatGeneration(message=..., generation_info=...)` makes, without its validation where there is none."""
    if not _HAS_KNOWN_FIELDS or type(message.content) is not str or not (info is None or type(info) is dict):
        return ChatGeneration(message=message, generation_info=info)
    values = {"text": message.text, "generation_info": info, "type": "ChatGeneration", "message": message}
    return _made(ChatGeneration, values, {"message", "generation_info", "text"}, None)


def _is_plain_usage(usage: Any) -> bool:
    if type(usage) is not dict or not usage.keys() <= _USAGE_FIELDS or not usage.keys() >= _COUNTS:
        return False
    for name, value in usage.items():
        allowed = _DETAILS.get(name)
        if allowed is None:
            if type(value) is not int:
                return False
        elif (
            type(value) is not dict
            or not value.keys() <= allowed
            or not _ONLY_INT.issuperset(map(type, value.values()))
        ):
            return False
    return True


def _is_plain_call(call: Any) -> bool:
    return (
        type(call) is dict
        and call.keys() == _CALL_FIELDS
        and type(call["name"]) is str
        and type(call["args"]) is dict
        and (call["id"] is None or type(call["id"]) is str)
        and call["type"] == "tool_call"
    )


def _made(cls: type[Model], values: dict[str, Any], given: set[str], extra: dict[str, Any] | None) -> Model:
    """An object of a pydantic class, by its four documented parts; `model_construct` is slower than validation."""
    made = cls.__new__(cls)
    _set(made, "__dict__", values)
    _set(made, "__pydantic_fields_set__", given)
    _set(made, "__pydantic_extra__", extra)
    _set(made, "__pydantic_private__", None)
    return made


def restore_parsed(message: AIMessage, response_class: type[BaseModel] | None) -> None:
    """Make a parsed answer of a stored message an object of its class again.

    Raises:
        ValidationError: it is no such object.
    """
    parsed = message.additional_kwargs.get("parsed")
    if response_class is not None and isinstance(parsed, dict):
        message.additional_kwargs["parsed"] = _object(response_class, parsed)


def jsonable_message(message: AIMessage, text: str | None = None) -> AIMessage:
    """The same message with a parsed pydantic object as the JSON that it is read from; LangChain's parser takes both.

    Args:
        message: of a model. Not modified.
        text: the whole answer, where it does not stand in the message itself.

    Raises:
        DecodeError: the object would not come back equal.
    """
    parsed = message.additional_kwargs.get("parsed")
    if not isinstance(parsed, BaseModel):
        return message
    said = str(message.text) if text is None else text
    return message.model_copy(
        update={"additional_kwargs": {**message.additional_kwargs, "parsed": _source(parsed, said)}}
    )


def _source(parsed: BaseModel, text: str) -> Any:
    """The answer's own text; where it is none, what the object says of itself, after its serializers and aliases."""
    for read in (lambda: orjson.loads(text), lambda: parsed.model_dump(mode="json")):
        with contextlib.suppress(Exception):  # validators and serializers are the user's code
            source = read()
            if _object(type(parsed), source) == parsed:
                return source
    raise DecodeError(f"expected a {type(parsed).__name__} that JSON gives back as it is")


def _object(cls: type[BaseModel], source: Any) -> BaseModel:
    return cls.model_validate_json(orjson.dumps(source))  # as the provider's client reads it: strict classes differ


def _comparable(generation: Generation) -> Any:
    """What two generations are compared by: pydantic would first make copies, and they are most of what that takes."""
    if not isinstance(generation, ChatGeneration) or not isinstance(generation.message, AIMessage):
        return generation
    message = jsonable_message(generation.message)
    values = {name: getattr(message, name) for name in type(message).model_fields if name != "id"}
    extra = message.__pydantic_extra__ or {}
    return type(generation), generation.text, generation.generation_info, type(message), values, extra
