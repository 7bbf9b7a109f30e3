"""`ToolResultCache`: results of tools that are declared pure, for agents of LangChain.

```python
cache = ToolResultCache(store, {"search_jobs": 600, "read_calendar": PureTool(scope=user_of)})
agent = create_agent(model, tools=[search_jobs, read_calendar], middleware=[cache])
```

Imported by its own name, as it needs `langchain`, which `import cache` does not load.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, get_type_hints

from langchain.agents.middleware import AgentMiddleware, ToolCallRequest
from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.types import Command
from typing_extensions import override

from cache.clearing import aclear_entries, clear_entries
from cache.clock import Clock, SystemClock
from cache.codecs.json import encode_json
from cache.counters import Counters, Counts
from cache.errors import ConfigurationError, DecodeError
from cache.flight import Level
from cache.hits import HIT_MARK
from cache.json_cache import JsonCache
from cache.keys import ContentHasher, Field, Key, Kind, check_namespace, key_prefix, named_prefix
from cache.opening import store_for
from cache.settings import CacheSettings, check_ttl
from cache.shared_json import NO_LEAD, SharedJsonCache

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.stores import ByteStore
    from langchain_core.tools import BaseTool

Scope: TypeAlias = str | Callable[[ToolCallRequest], str | None]
_Result: TypeAlias = ToolMessage | Command[Any]

_log = logging.getLogger("resumecache")
_OF_ONE_CALL = ("id", "tool_call_id", "type")
# Where a run reports to; what a tool computes does not come from there.
_NEUTRAL_PARAMETERS = frozenset({"callbacks", "run_manager", "self"})


@dataclass(frozen=True, slots=True)
class PureTool:
    """How the results of one tool are kept.

    Attributes:
        ttl_s: seconds that they live; `None` is the setting.
        version: change it when the tool's code or data change: what was kept before is not served any more.
        scope: whose results they are, for a tool that depends on more than its arguments: a text, or a function of the
            request (`request.runtime.context`, `request.state`). Results of one scope are never served to another. A
            function that gives `None` keeps that call out of the cache.
    """

    ttl_s: int | None = None
    version: str = ""
    scope: Scope | None = None


@dataclass(frozen=True, slots=True)
class _Call:
    key: Key
    entries: SharedJsonCache


class ToolResultCache(AgentMiddleware):
    """Middleware that keeps the results of tools which are declared pure; all others run as if it were not there.

    Of calls that miss the same result at once, one runs the tool, and the others wait for what it keeps.

    Two calls share a result only if the tool's name, description, argument schema and version, the arguments and the
    scope are equal. Kept are plain results; errors, exceptions, commands, and what is no JSON are not. A store that
    fails is a miss. Put it last in the list of middleware: what stands after it is in the result that is kept.

    Args:
        store: where entries live; any LangChain `ByteStore` will do.
        pure: the tools, by name, each with the seconds that its results live; `None` is the setting.
        namespace: the tenant; `None` is the setting.
        settings: `None` reads the environment.
        counters: where hits and misses are counted.
        clock: where the time comes from.

    Raises:
        InvalidKeyError: the namespace or the name of a tool cannot stand in a key.
        InvalidTTLError: a time to live cannot be used.
    """

    def __init__(
        self,
        store: ByteStore,
        pure: Mapping[str, int | PureTool | None],
        *,
        namespace: str | None = None,
        settings: CacheSettings | None = None,
        counters: Counters | None = None,
        clock: Clock | None = None,
    ) -> None:
        settings = settings or CacheSettings()
        self._counters = counters or Counters()
        self._clock = clock or SystemClock()
        self._namespace = check_namespace(settings.namespace if namespace is None else namespace)
        self._hasher = ContentHasher((Kind.TOOL_RESULT,), secret=settings.secret_bytes())
        self.store = store_for(Kind.TOOL_RESULT, store, settings, self._counters, namespace=namespace)
        self._pure = {name: rule if isinstance(rule, PureTool) else PureTool(rule) for name, rule in pure.items()}
        self._entries = {name: self._entries_of(name, rule, settings) for name, rule in self._pure.items()}

    def counts(self) -> Counts:
        """What was found and stored by this object."""
        return self._counters.snapshot()

    def clear(self, tool: str | None = None) -> None:
        """Delete the results of a tool, or of all, in this namespace; here a failing store shows as a `StoreError`."""
        clear_entries(self.store, self._prefix(tool))

    async def aclear(self, tool: str | None = None) -> None:
        """Asynchronous twin of `clear`."""
        await aclear_entries(self.store, self._prefix(tool))

    @override
    def wrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], _Result]) -> _Result:
        """Answer from the cache, or run the tool and keep its result.

        Raises:
            ConfigurationError: the tool is declared pure, but sees more than its arguments, and has no scope function.
        """
        call = self._call(request)
        if call is None:
            return handler(request)
        kept, lead = None, NO_LEAD
        with self._passed_by():
            kept, lead = call.entries.get_or_lead(call.key, partial(_as_hit, request))
        if kept is not None:
            return kept
        with lead:
            started_s = self._clock.monotonic_s()
            result = handler(request)
            fields = self._fields(result)
            with self._passed_by():
                if fields is not None:
                    call.entries.set(call.key, fields, made_ms=self._since_ms(started_s))
            return result

    @override
    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[_Result]]
    ) -> _Result:
        """Asynchronous twin of `wrap_tool_call`."""
        call = self._call(request)
        if call is None:
            return await handler(request)
        kept, lead = None, NO_LEAD
        with self._passed_by():
            kept, lead = await call.entries.aget_or_lead(call.key, partial(_as_hit, request))
        if kept is not None:
            return kept
        with lead:
            started_s = self._clock.monotonic_s()
            result = await handler(request)
            fields = self._fields(result)
            with self._passed_by():
                if fields is not None:
                    await call.entries.aset(call.key, fields, made_ms=self._since_ms(started_s))
            return result

    def _entries_of(self, name: str, rule: PureTool, settings: CacheSettings) -> SharedJsonCache:
        named_prefix(Kind.TOOL_RESULT, name, self._namespace)  # a name that no key can hold is known before any call
        ttl_s = None if rule.ttl_s is None else check_ttl(rule.ttl_s)
        entries = JsonCache(
            Kind.TOOL_RESULT, self.store,
            settings=settings, counters=self._counters, ttl_s=ttl_s, namespace=self._namespace or "", clock=self._clock,
        )  # fmt: skip
        return SharedJsonCache(entries, Level.TOOL, settings=settings, counters=self._counters)

    def _prefix(self, tool: str | None) -> str:
        if tool is None:
            return key_prefix(Kind.TOOL_RESULT, self._namespace)
        return named_prefix(Kind.TOOL_RESULT, tool, self._namespace)

    def _call(self, request: ToolCallRequest) -> _Call | None:
        name = request.tool_call["name"]
        rule = self._pure.get(name)
        if rule is None:
            return None
        fields = self._dependencies(request, rule)
        if fields is None:
            return None
        digest = self._hasher.digest(*fields).hex()
        key = Key(Kind.TOOL_RESULT, tool=name, content_hash=digest, namespace=self._namespace)
        return _Call(key, self._entries[name])

    def _dependencies(self, request: ToolCallRequest, rule: PureTool) -> tuple[Field, ...] | None:
        """All that the result depends on, or `None` where that is not known."""
        if request.tool is None:  # a tool that another middleware brings
            return self._skipped("unknown_tool")
        _check_inputs(request.tool, rule.scope)
        scope = self._scope(rule.scope, request)
        if scope is None and rule.scope is not None:
            return self._skipped("no_scope")
        try:
            return *_fingerprint(request.tool), rule.version, scope, encode_json(request.tool_call["args"])
        except Exception as error:  # noqa: BLE001  a schema is the user's code; what cannot be told apart is not kept
            _log.debug("call of %s not cached: %s", request.tool.name, error)
            return self._skipped("arguments")

    def _scope(self, scope: Scope | None, request: ToolCallRequest) -> str | None:
        if not callable(scope):
            return scope
        try:
            found = scope(request)
        except Exception as error:  # noqa: BLE001  a call whose user is unknown runs, but is not kept
            _log.warning("the scope of tool %s is unknown: %s", request.tool_call["name"], type(error).__name__)
            return None
        return found if isinstance(found, str) else None

    def _fields(self, result: object) -> dict[str, Any] | None:
        """What is kept of a result, or `None` where it is not kept."""
        self._counters.add(made=1)
        reason = _why_not_kept(result)
        if reason:
            return self._skipped(reason)
        # Not model_dump(): it would turn an artifact that is an object into a dict, and the hit were not the result.
        return {name: value for name, value in dict(result).items() if name not in _OF_ONE_CALL}  # type: ignore[call-overload]

    def _since_ms(self, started_s: float) -> int:
        return max(0, round(1000 * (self._clock.monotonic_s() - started_s)))

    def _skipped(self, reason: str) -> Any | None:
        self._counters.add_reason("skipped", reason)
        return None

    @contextlib.contextmanager
    def _passed_by(self) -> Iterator[None]:
        """A cache may never fail the tool that it serves."""
        try:
            yield
        except DecodeError:
            self._skipped("too_large")
        except Exception as error:  # noqa: BLE001  as the docstring says; cancellation passes through
            self._counters.add_reason("failures", "internal")
            _log.warning("the cache failed and is passed by: %s", type(error).__name__)


def _why_not_kept(result: object) -> str | None:
    match result:
        case Command():
            return "command"
        case ToolMessage(status="error"):
            return "error"
        case ToolMessage() if type(result) is ToolMessage:
            return _what_is_no_json(result)
    return "kind_of_result"


def _what_is_no_json(message: ToolMessage) -> str | None:
    for name, value in dict(message).items():
        try:
            encode_json(value)
        except DecodeError:
            return name
        if not _is_plain(value):
            return name
    return None


def _is_plain(value: Any) -> bool:
    """Say whether JSON gives back the very types: a member of an enum of texts equals the text, and is none."""
    if isinstance(value, dict):
        return type(value) is dict and all(map(_is_plain, [*value, *value.values()]))
    if isinstance(value, list):
        return type(value) is list and all(map(_is_plain, value))
    return type(value) in {str, int, float, bool, type(None)}


def _as_hit(request: ToolCallRequest, fields: dict[str, Any]) -> ToolMessage:
    """The message of a stored result, for the present call.

    It has no id yet, as the tool's own had none: whoever adds it to a list of messages gives it a new one. The mark in
    `response_metadata` never enters a model's key.
    """
    metadata = {**fields.pop("response_metadata"), HIT_MARK: {"hit": True}}
    return ToolMessage(**fields, response_metadata=metadata, tool_call_id=request.tool_call["id"])


def _fingerprint(tool: BaseTool) -> tuple[Field, ...]:
    """What the model is told of a tool, and in what form the tool answers."""
    shown = convert_to_openai_tool(tool)["function"]
    return tool.name, encode_json(shown), tool.response_format


def _check_inputs(tool: BaseTool, scope: Scope | None) -> None:
    """Refuse a tool that sees what its arguments do not say, unless a function says whose its results are."""
    hidden = () if callable(scope) else sorted(_hidden_inputs(tool))
    if hidden:
        raise ConfigurationError(
            f"expected a pure tool, got {tool.name!r}, which takes {', '.join(hidden)} beside the arguments of the "
            f"model: declare it with PureTool(scope=function of the request), or do not declare it"
        )


def _hidden_inputs(tool: BaseTool) -> set[str]:
    """The parameters of a tool that LangChain fills in: state, store, runtime, configuration, id of the call."""
    schema = tool.tool_call_schema
    declared = {} if isinstance(schema, dict) else getattr(tool.get_input_schema(), "model_fields", {})
    shown = {*tool.args, *getattr(schema, "model_fields", {})}
    taken = set(declared)
    always: set[str] = {"runtime"} & taken
    for function in _functions(tool):
        parameters = inspect.signature(function).parameters.values()
        names = {each.name for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)}
        taken |= names
        # LangChain fills these in whatever the schema says.
        always |= {name for name in names if name == "runtime" or _hints(function).get(name) is RunnableConfig}
    return (taken - shown - _NEUTRAL_PARAMETERS) | always


def _functions(tool: BaseTool) -> list[Callable[..., Any]]:
    given = [getattr(tool, name, None) for name in ("func", "coroutine")]
    return [function for function in given if function] or [tool._run, tool._arun]  # noqa: SLF001  what users write


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(function)
    except Exception:  # noqa: BLE001  names that exist for type checkers alone, as LangChain passes over them too
        return {}
