"""The model that a run begins on, and what LangChain's strings do not tell of it.

A handler is called from the model's own method, a few frames down: there is no other way from a run to its model.
LangChain writes a model's fields down once and shows a cache the same text for ever, also after a field was set or the
model was copied with another one. An in-house model shows its type and what it says of itself, which may be nothing,
and a class of the same name as one of LangChain's looks like that one.
Source: langchain_core.language_models.chat_models, `_serialized` and `_get_llm_string`.
"""

from __future__ import annotations

import sys

from langchain_core.language_models import BaseChatModel

from cache.requests import CALL_SETTINGS, Traits

_N_FRAMES = 12  # the model is four to six frames up; wrappers of callbacks may add some
_LANGCHAIN = "langchain"  # its packages all begin with it, and give each class a name of its own
_AS_WRITTEN = "_serialized"


def asked_model() -> BaseChatModel | None:
    """The chat model whose method has called the handler that is running, however many frames lie between."""
    frame = sys._getframe(1)  # noqa: SLF001  documented for CPython, and the only way to see the call
    for _ in range(_N_FRAMES):
        if isinstance(found := frame.f_locals.get("self"), BaseChatModel):
            return found
        if frame.f_back is None:
            return None
        frame = frame.f_back
    return None


def write_anew(model: BaseChatModel) -> None:
    """Have LangChain write the model's fields down as they are now, the next time that they are asked for."""
    if model.is_lc_serializable():  # of others it writes no fields for a cache
        vars(model).pop(_AS_WRITTEN, None)


def traits_of(model: BaseChatModel) -> Traits:
    """What tells a model from others and stands in no string of LangChain's; bare where it cannot be read."""
    try:
        return _traits(model)
    except Exception:  # noqa: BLE001  a model is anybody's code
        return Traits(is_bare=True)


def _traits(model: BaseChatModel) -> Traits:
    cls = type(model)
    return Traits(
        class_name=None if cls.__module__.startswith(_LANGCHAIN) else f"{cls.__module__}.{cls.__qualname__}",
        base_url=_base_url(model),
        is_bare=not (model.is_lc_serializable() or set(model._identifying_params) - CALL_SETTINGS),  # noqa: SLF001  LangChain's hook
    )


def _base_url(model: BaseChatModel) -> str | None:
    """Where the client of OpenAI's library sends its requests: it may be the caller's own, and it reads variables."""
    client = getattr(getattr(model, "client", None), "_client", None)
    url = getattr(client, "base_url", None)
    return None if url is None else str(url).rstrip("/")
