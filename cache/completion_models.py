"""What a call adds to a completion model, which LangChain does not tell its caches.

`BaseLLM.generate(prompts, **kwargs)` hands a cache the settings that the model was built with and not `kwargs`: bound
to another model or temperature it would be served the first one's answer. The call itself stands a few frames up.
Source: langchain_core.language_models.llms, `BaseLLM.generate` and `get_prompts`.
"""

from __future__ import annotations

import sys
from typing import Any

_MODULE = "langchain_core.language_models.llms"
_N_FRAMES = 12  # the call is four frames up; wrappers of a cache may add some


def has_hidden_settings() -> bool:
    """Say whether the lookup or update that is running serves a completion model with settings of the call."""
    return bool(_settings_of_call())


def serves_completion_model() -> bool:
    """Say whether the lookup or update that is running serves a completion model."""
    return _settings_of_call() is not None


def _settings_of_call() -> dict[str, Any] | None:
    module = sys.modules.get(_MODULE)
    if module is None:  # not even loaded, so nothing of it can be calling
        return None
    calls = (module.BaseLLM.generate.__code__, module.BaseLLM.agenerate.__code__)
    frame = sys._getframe(1)  # noqa: SLF001  documented for CPython, and the only way to see the call
    for _ in range(_N_FRAMES):
        if frame.f_code in calls:
            kwargs: dict[str, Any] = frame.f_locals["kwargs"]
            return kwargs
        if frame.f_back is None:
            return None
        frame = frame.f_back
    return None
