"""What call a lookup or update serves, and what LangChain does not tell its caches of a completion model's.

`BaseLLM.generate(prompts, **kwargs)` hands a cache the settings that the model was built with and not `kwargs`: bound
to another model or temperature it would be served the first one's answer. It asks the cache before a run begins, so
that no handler has seen the call's configuration. The call itself stands a few frames up. A chat model's run has begun
by then, and stands in its context.
Source: langchain_core.language_models.llms, `BaseLLM.generate` and `get_prompts`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.language_models import BaseChatModel

from cache.control import METADATA_NAME
from cache.model_starts import ModelStart, current_start

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType

_MODULE = "langchain_core.language_models.llms"
_N_FRAMES = 12  # the call is four frames up; wrappers of a cache may add some
# Where LangChain's chat models ask their cache; what is not found here costs a longer walk and nothing else.
_CHAT_CALLS = tuple(
    getattr(BaseChatModel.__dict__.get(name), "__code__", None)
    for name in ("_generate_with_cache", "_agenerate_with_cache")
)


class ServedCall(NamedTuple):
    """The call that a lookup or update serves.

    Attributes:
        start: what is known of it beside LangChain's strings; where nobody is known to call, nothing.
        is_of_chat_model: whether a chat model calls, whose run tells its end.
        is_of_completion_model: whether a completion model calls.
        has_hidden_settings: whether it has settings that LangChain's strings do not show, as a completion model's may;
            so it is where its prompts are configured each in its own way: which one is asked for is not known.
    """

    start: ModelStart
    is_of_chat_model: bool = False
    is_of_completion_model: bool = False
    has_hidden_settings: bool = False

    @property
    def is_of_model(self) -> bool:
        """Whether a model calls, which answers for what it misses; anybody else may only want to have a look."""
        return self.is_of_chat_model or self.is_of_completion_model


def served_call() -> ServedCall:
    """The call that is served where this is called, found by one walk up the stack."""
    call = _completion_call()
    if call is None:
        start = current_start()
        return _NOBODYS if start is None else ServedCall(start, is_of_chat_model=True)
    first, *others = [manager.metadata.get(METADATA_NAME) for manager in call["callback_managers"]]
    hides = bool(call["kwargs"]) or any(asked != first for asked in others)
    start = ModelStart(metadata={METADATA_NAME: first}, is_text=True)
    return ServedCall(start, is_of_completion_model=True, has_hidden_settings=hides)


def _completion_call() -> Mapping[str, Any] | None:
    """The variables of the completion model's call that is served; `None` where it is a chat model's, or nobody's."""
    module = sys.modules.get(_MODULE)
    if module is None:  # not even loaded, so nothing of it can be calling
        return None
    calls = (module.BaseLLM.generate.__code__, module.BaseLLM.agenerate.__code__)
    below: list[FrameType] = []
    frame = sys._getframe(2)  # noqa: SLF001  documented for CPython, and the only way to see the call
    while len(below) < _N_FRAMES:
        if frame.f_code in _CHAT_CALLS:
            return None
        if frame.f_code in calls:
            return None if any(map(_is_chat_models, below)) else frame.f_locals
        below.append(frame)
        if frame.f_back is None:
            return None
        frame = frame.f_back
    return None


def _is_chat_models(frame: FrameType) -> bool:
    return isinstance(frame.f_locals.get("self"), BaseChatModel)


_NOBODYS = ServedCall(ModelStart())
