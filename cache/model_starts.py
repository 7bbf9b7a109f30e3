"""What LangChain tells about a model's call, and a cache's strings do not: the objects behind the names of classes.

`llm_string` shows a response schema as `<class 'jobs.Score'>`, or not at all. A callback handler that LangChain's
configure hook adds to every run sees the object itself before the cache is asked, in the same context; it is never
looked up by its name, since two live classes may share one. A run stands in its context until it ends, so that a model
that calls another one finds its own start again.
Sources: langchain_core.tracers.context, langchain_core.language_models.chat_models.
"""

from __future__ import annotations

import hashlib
import json
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tracers.context import register_configure_hook
from pydantic import BaseModel, TypeAdapter
from typing_extensions import override

from cache.asked_models import asked_model, traits_of, write_anew
from cache.forking import ForkLock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from uuid import UUID

    from cache.requests import Traits

MAX_NESTED = 16  # a run that was cancelled never ends, and may not stay for ever
# Where models take a response schema. Of a class that stands elsewhere its fields need not be all that counts.
_RESPONSE_SETTINGS = ("response_format", "response_schema", "format")
_STRUCTURED = "ls_structured_output_format"


@dataclass(eq=False, slots=True)
class ModelStart:
    """One call of a model that has begun: a run, or the runs of a batch, of which the first to end says that all have.

    LangChain tells the end of a batch's runs only when all of them are through, or the first has failed and the others
    are given up; of these it tells no end.

    Attributes:
        run_id: of LangChain; `None` for a call that has not begun.
        classes: the name of each class given as a response schema, as Python writes it, and its fingerprint.
        schema: the JSON schema that the answer is asked to follow.
        response_class: the pydantic class of that schema, where it was given as one.
        metadata: of the call's configuration.
        traits: of the model, where it could be found.
        is_text: whether the prompt is a text, and not messages.
        is_over: whether the run has ended.
        parameters: of the request; runs of one batch have the same object.
    """

    run_id: UUID | None = None
    classes: tuple[tuple[str, str], ...] = ()
    schema: dict[str, Any] | None = None
    response_class: type[BaseModel] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    traits: Traits | None = None
    is_text: bool = False
    is_over: bool = False
    parameters: object = None
    _run_ids: set[UUID] = field(default_factory=set)
    _on_end: list[Callable[[], object]] = field(default_factory=list)

    def when_over(self, function: Callable[[], object]) -> None:
        """Have a function called when the run ends, however it ends; a cancelled run never says so."""
        self._on_end.append(function)

    def is_of(self, run_id: UUID) -> bool:
        """Say whether a run belongs to the call."""
        return run_id == self.run_id or run_id in self._run_ids

    def add_run(self, run_id: UUID) -> None:
        """Take up another run of the same batch."""
        self._run_ids.add(run_id)

    def end(self) -> None:
        """Say that the run has ended."""
        self.is_over = True
        while self._on_end:
            self._on_end.pop()()


def start_of(
    parameters: Mapping[str, Any],
    options: Mapping[str, Any] | None = None,
    *,
    run_id: UUID | None = None,
    metadata: Mapping[str, Any] | None = None,
    traits: Traits | None = None,
) -> ModelStart:
    """What a call shows of itself.

    Args:
        parameters: of the request, with objects where they were given as objects.
        options: of the call, as LangChain's callbacks get them.
        run_id: of LangChain.
        metadata: of the call's configuration.
        traits: of the model.
    """
    given = [parameters[name] for name in _RESPONSE_SETTINGS if isinstance(parameters.get(name), type)]
    named = {repr(found): class_fingerprint(found) for found in given}
    response_class = next((found for found in given if issubclass(found, BaseModel)), None)
    structured = (options or {}).get(_STRUCTURED)
    schema = structured.get("schema") if isinstance(structured, dict) else None
    if schema is None and response_class is not None:
        schema = _made_schema(response_class)  # as it is now: its docstring or a hook may say more than before
    return ModelStart(
        run_id=run_id,
        classes=tuple((name, fingerprint) for name, fingerprint in named.items() if fingerprint),
        schema=schema if isinstance(schema, dict) else None,
        response_class=response_class,
        metadata=metadata or {},
        traits=traits,
        parameters=parameters,
    )


def current_start() -> ModelStart | None:
    """The innermost run of this context that has begun and not ended."""
    return next((start for start in reversed(_running.get()) if not start.is_over), None)


def when_failed(function: Callable[[], object]) -> None:
    """Have a function called with the next error of a run of this context, of one that is still to begin as well.

    A completion model asks its cache before its run begins, and says that it has ended before it updates the cache.
    """
    _on_failure.set((*_on_failure.get()[-MAX_NESTED:], function))


def watch_models() -> None:
    """Have every run of a model that begins from now on be seen; saying it again changes nothing."""
    with _lock:
        if not _is_watching:
            register_configure_hook(_watcher, inheritable=False)
            _is_watching.append(True)


def class_fingerprint(cls: type) -> str | None:
    """32 hex digits over the JSON schema of a class; `None` where it has none."""
    schema = _json_schema(cls)
    if schema is None:
        return None
    return hashlib.sha256(json.dumps(schema, sort_keys=True, default=repr).encode()).hexdigest()[:32]


def _json_schema(cls: type) -> dict[str, Any] | None:
    core = getattr(cls, "__pydantic_core_schema__", None)  # another one once the class is completed or rebuilt
    known = _schemas.get(cls)
    if known is None or known[0] is not core:
        known = _schemas[cls] = (core, _made_schema(cls))
    return known[1]


def _made_schema(cls: type) -> dict[str, Any] | None:
    try:
        return cls.model_json_schema() if issubclass(cls, BaseModel) else TypeAdapter(cls).json_schema()
    except Exception:  # noqa: BLE001  pydantic has many, and classes have hooks of their own: it has no schema
        return None


class _Watcher(BaseCallbackHandler):
    """Notes where runs of models begin and end; `run_inline` keeps it in the context of the call."""

    run_inline = True

    @property
    @override
    def ignore_chain(self) -> bool:
        return True

    @property
    @override
    def ignore_agent(self) -> bool:
        return True

    @property
    @override
    def ignore_retriever(self) -> bool:
        return True

    @override
    def on_chat_model_start(self, serialized: Any, messages: Any, *, run_id: UUID, **kwargs: Any) -> None:
        model = asked_model()
        if model is not None:
            write_anew(model)
        self._begin(run_id, kwargs, None if model is None else traits_of(model))

    @override
    def on_llm_start(self, serialized: Any, prompts: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self._begin(run_id, kwargs)

    @override
    def on_llm_end(self, response: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self._end(run_id)

    @override
    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        for function in _on_failure.get():
            function()
        self._end(run_id)

    def _begin(self, run_id: UUID, given: dict[str, Any], traits: Traits | None = None) -> None:
        parameters, options = given.get("invocation_params") or {}, given.get("options")
        running = [other for other in _running.get() if not other.is_over]
        if running and parameters and running[-1].parameters is parameters:
            running[-1].add_run(run_id)
            return
        start = start_of(parameters, options, run_id=run_id, metadata=given.get("metadata"), traits=traits)
        _running.set((*running[-MAX_NESTED:], start))

    def _end(self, run_id: UUID) -> None:
        """Mark it where it stands: its end may be told in a task of its own, whose context is lost."""
        for start in _running.get():
            if start.is_of(run_id):
                start.end()


_running: ContextVar[tuple[ModelStart, ...]] = ContextVar("resumecache_running_models", default=())
_on_failure: ContextVar[tuple[Callable[[], object], ...]] = ContextVar("resumecache_on_failure", default=())
_watcher: ContextVar[BaseCallbackHandler | None] = ContextVar("resumecache_watcher", default=_Watcher())  # noqa: B039  one for all contexts: it holds nothing
_schemas: WeakKeyDictionary[type, tuple[object, dict[str, Any] | None]] = WeakKeyDictionary()
_is_watching: list[bool] = []
_lock = ForkLock()
