"""What LangChain does not tell its caches of a call of a completion model.

`BaseLLM.generate(prompts, **kwargs)` hands a cache the settings that the model was built with and not `kwargs`: bound
to another model or temperature it would be served the first one's answer. It asks the cache before a run begins, so
that no handler has seen the call's configuration. The call itself stands a few frames up.
Source: langchain_core.language_models.llms, `BaseLLM.generate` and `get_prompts`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel

from cache.control import METADATA_NAME
from cache.model_starts import ModelStart, current_start

if TYPE_CHECKING:
    from collections.abc import Mapping

_MODULE = "langchain_core.language_models.llms"
_N_FRAMES = 12  # the call is four frames up; wrappers of a cache may add some


def has_hidden_settings() -> bool:
    """Say whether the lookup or update that is running serves a completion model with settings of the call.

    So it is where the prompts of one call are configured each in its own way: which one is asked for is not known.
    """
    call = _completion_call()
    if call is None:
        return False
    first, *others = _asked(call)
    return bool(call["kwargs"]) or any(asked != first for asked in others)


def serves_completion_model() -> bool:
    """Say whether the lookup or update that is running serves a completion model."""
    return _completion_call() is not None


def known_start() -> ModelStart:
    """What is known of the call that the lookup or update that is running serves."""
    call = _completion_call()
    if call is None:
        return current_start() or ModelStart()
    return ModelStart(metadata={METADATA_NAME: _asked(call)[0]}, is_text=True)


def _asked(call: Mapping[str, Any]) -> list[Any]:
    """What the configurations of the prompts ask of the cache."""
    return [manager.metadata.get(METADATA_NAME) for manager in call["callback_managers"]]


def _completion_call() -> Mapping[str, Any] | None:
    """The variables of the completion model's call that is served; `None` where it is a chat model's, or nobody's."""
    module = sys.modules.get(_MODULE)
    if module is None:  # not even loaded, so nothing of it can be calling
        return None
    calls = (module.BaseLLM.generate.__code__, module.BaseLLM.agenerate.__code__)
    frame = sys._getframe(1)  # noqa: SLF001  documented for CPython, and the only way to see the call
    for _ in range(_N_FRAMES):
        if frame.f_code in calls:
            return frame.f_locals
        if frame.f_back is None or isinstance(frame.f_locals.get("self"), BaseChatModel):
            return None
        frame = frame.f_back
    return None
