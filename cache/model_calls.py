"""What LangChain hands to a cache for a call, found out without making it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.caches import BaseCache
from langchain_core.language_models import BaseLanguageModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.prompts import BasePromptTemplate
from langchain_core.runnables import Runnable, RunnableBinding, RunnableSequence
from typing_extensions import override

from cache.completion_models import served_call
from cache.errors import ConfigurationError

if TYPE_CHECKING:
    from cache.model_starts import ModelStart


@dataclass(frozen=True, slots=True)
class ModelCall:
    """What a cache is asked.

    Attributes:
        prompt: as a `BaseCache` gets it.
        llm_string: as a `BaseCache` gets it.
        start: what is known of the run beside these strings.
        has_hidden_settings: whether the call has settings that these do not show.
    """

    prompt: str
    llm_string: str
    start: ModelStart
    has_hidden_settings: bool = False


def model_call(runnable: Runnable[Any, Any], request: Any, **settings: Any) -> ModelCall:
    """What a cache would be asked; the model's provider is not.

    Args:
        runnable: a model, perhaps bound, with tools or with structured output, or a sequence of a prompt template and
            such a model, and of anything after them.
        request: what it would be invoked with.
        settings: of the call, `stop` among them.

    Raises:
        ConfigurationError: the runnable is none of these.
    """
    match runnable:
        case RunnableBinding():
            return model_call(runnable.bound, request, **{**runnable.kwargs, **settings})
        case RunnableSequence(first=BasePromptTemplate() as prompt):
            return model_call(runnable.steps[1], prompt.invoke(request), **settings)
        case RunnableSequence():
            return model_call(runnable.first, request, **settings)
        case BaseLanguageModel():
            recorder = _Recorder()
            runnable.model_copy(update={"cache": recorder}).invoke(request, **settings)
            return recorder.calls[0]
    raise ConfigurationError(f"expected a model, or a prompt and a model, got {type(runnable).__name__}")


class _Recorder(BaseCache):
    """Notes what it is asked, and has an answer to everything, so that nobody else is asked."""

    def __init__(self) -> None:
        self.calls: list[ModelCall] = []

    @override
    def lookup(self, prompt: str, llm_string: str) -> list[Generation]:
        call = served_call()
        self.calls.append(ModelCall(prompt, llm_string, call.start, call.has_hidden_settings))
        return [ChatGeneration(message=AIMessage(""))]

    @override
    def update(self, prompt: str, llm_string: str, return_val: Any) -> None:
        raise AssertionError("unreachable: nothing is made where everything is found")

    @override
    def clear(self, **kwargs: Any) -> None:
        self.calls.clear()
