"""Results of tools: what two calls share, what is never kept, and what a tool must not see."""

from __future__ import annotations

import itertools
from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ToolCallRequest
from langchain.tools import InjectedState, InjectedStore, ToolRuntime
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig  # noqa: TC002  a tool's annotations are read at run time
from langchain_core.tools import BaseTool, InjectedToolCallId, StructuredTool, ToolException, tool
from langgraph.types import Command
from typing_extensions import override

from cache.errors import ConfigurationError, InvalidKeyError, InvalidTTLError, StoreError
from cache.hits import HIT_MARK
from cache.settings import CacheSettings
from cache.stores.memory import MemoryStore
from cache.tools import PureTool, ToolResultCache
from tests.fakes import BrokenStore, CountingChatModel, FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from cache.stores.base import Store


class World(StrEnum):
    """Which of the twins a test calls."""

    SYNC = "sync"
    ASYNC = "async"


class Tools:
    """A tool node of its own: it runs calls through the cache and says what the tools themselves were asked."""

    def __init__(self, cache: ToolResultCache, world: World = World.SYNC, answer: Any = "sunny") -> None:
        self.cache = cache
        self.world = world
        self.answer = answer
        self.n_runs = 0
        self._ids = (f"call_{number}" for number in itertools.count(1))

    async def call(self, named: BaseTool | str, *, runtime: Any = None, **arguments: Any) -> Any:
        """Run one call; a tool by its name is one that nobody knows."""
        known = named if isinstance(named, BaseTool) else None
        name = named.name if isinstance(named, BaseTool) else named
        call: Any = {"name": name, "args": arguments, "id": next(self._ids), "type": "tool_call"}
        request = ToolCallRequest(tool_call=call, tool=known, state={}, runtime=runtime)
        if self.world is World.SYNC:
            return self.cache.wrap_tool_call(request, self._run)
        return await self.cache.awrap_tool_call(request, self._arun)

    def _run(self, request: ToolCallRequest) -> Any:
        self.n_runs += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        if isinstance(self.answer, str):
            call = request.tool_call
            return ToolMessage(self.answer, name=call["name"], tool_call_id=call["id"])
        return self.answer

    async def _arun(self, request: ToolCallRequest) -> Any:
        return self._run(request)


@pytest.fixture(params=list(World))
def world(request: pytest.FixtureRequest) -> World:
    """Both twins."""
    found: World = request.param
    return found


def weather(city: str, days: int = 1) -> str:
    """Say the weather."""
    return f"{city} {days}"


WEATHER = tool(weather)


def test_the_middleware_needs_no_name_of_its_own() -> None:
    """An agent tells its middleware apart by name, which is the name of the class."""
    assert ToolResultCache(MemoryStore(), {}).name == "ToolResultCache"


async def test_a_repeated_call_is_answered_without_the_tool(world: World) -> None:
    """The second call of a pure tool gets the first result, for its own call, marked as a hit, without an id."""
    tools = Tools(ToolResultCache(MemoryStore(), {"weather": None}), world)
    first = await tools.call(WEATHER, city="Bern")
    second = await tools.call(WEATHER, city="Bern")
    assert tools.n_runs == 1
    assert (first.tool_call_id, second.tool_call_id) == ("call_1", "call_2")
    assert (second.content, second.name, second.status, second.id) == ("sunny", "weather", "success", None)
    assert (first.response_metadata, second.response_metadata) == ({}, {HIT_MARK: {"hit": True}})
    counts = tools.cache.counts()
    assert (counts.hits, counts.misses, counts.made, counts.stored) == (1, 1, 1, 1)


async def test_everything_of_a_result_comes_back(world: World) -> None:
    """Content blocks, artifact and the other fields of a message are as the tool gave them; its id is not."""
    blocks: list[str | dict[str, Any]] = ["sunny", {"type": "text", "text": "and warm"}]
    made = ToolMessage(
        blocks, artifact={"celsius": [21, 22.5], "source": None}, name="weather", id="fixed", tool_call_id="call_1",
        additional_kwargs={"unit": "C"}, response_metadata={"station": 7},
    )  # fmt: skip
    tools = Tools(ToolResultCache(MemoryStore(), {"weather": None}), world, made)
    await tools.call(WEATHER, city="Bern")
    hit = await tools.call(WEATHER, city="Bern")
    metadata = {"station": 7, HIT_MARK: {"hit": True}}
    assert hit == made.model_copy(update={"id": None, "tool_call_id": "call_2", "response_metadata": metadata})


async def test_a_hit_is_the_callers_own() -> None:
    """What a caller does to a hit is not seen by the next."""
    made = ToolMessage("sunny", artifact={"days": [1]}, tool_call_id="call_1")
    tools = Tools(ToolResultCache(MemoryStore(), {"weather": None}), answer=made)
    await tools.call(WEATHER, city="Bern")
    hit = await tools.call(WEATHER, city="Bern")
    hit.artifact["days"].append(2)
    assert (await tools.call(WEATHER, city="Bern")).artifact == {"days": [1]}


async def test_an_undeclared_tool_always_runs(world: World) -> None:
    """A tool that nobody declared pure is neither looked up nor kept nor counted."""
    store = MemoryStore()
    tools = Tools(ToolResultCache(store, {"other": None}), world)
    for _ in range(2):
        await tools.call(WEATHER, city="Bern")
    assert tools.n_runs == 2
    assert list(store.yield_keys()) == []
    assert tools.cache.counts().misses == 0


async def test_the_key_names_the_tool() -> None:
    """Keys have the documented form, within their tenant."""
    store = MemoryStore()
    tools = Tools(ToolResultCache(store, {"weather": None}, namespace="acme"))
    await tools.call(WEATHER, city="Bern")
    [key] = store.yield_keys()
    assert key.startswith("acme:tool:weather:")
    assert "Bern" not in key


def described(text: str) -> BaseTool:
    return tool("weather", description=text)(weather)


def defaulting(city: str, days: int = 2) -> str:
    return f"{city} {days}"


def retyped(city: str, days: float = 1) -> str:
    return f"{city} {days}"


def renamed(town: str, days: int = 1) -> str:
    return f"{town} {days}"


def made_of(function: Callable[..., str], **changes: Any) -> BaseTool:
    return StructuredTool.from_function(function, name="weather", description="Say the weather.", **changes)


PLAIN = made_of(weather)


@pytest.mark.parametrize(
    ("changed", "arguments"),
    [
        (PLAIN, {"city": "Basel"}),
        (PLAIN, {"city": "bern"}),
        (PLAIN, {"city": "Bern", "days": 1}),
        (PLAIN, {"city": ["Bern"]}),
        (described("Say the weather of tomorrow."), {"city": "Bern"}),
        (made_of(defaulting), {"city": "Bern"}),
        (made_of(retyped), {"city": "Bern"}),
        (made_of(renamed), {"city": "Bern"}),
        (made_of(weather, response_format="content_and_artifact"), {"city": "Bern"}),
    ],
)
async def test_what_can_change_the_result_separates_calls(changed: BaseTool, arguments: dict[str, Any]) -> None:
    """Another argument, description, parameter, type, default or form of answer is another call."""
    tools = Tools(ToolResultCache(MemoryStore(), {"weather": None}))
    await tools.call(PLAIN, city="Bern")
    await tools.call(changed, **arguments)
    assert tools.n_runs == 2
    await tools.call(PLAIN, city="Bern")
    assert tools.n_runs == 2


@pytest.mark.parametrize(
    ("rule", "namespace"),
    [(PureTool(version="2"), None), (PureTool(scope="ann"), None), (PureTool(scope=""), None), (PureTool(), "acme")],
)
async def test_version_scope_and_tenant_separate_calls(rule: PureTool, namespace: str | None) -> None:
    """Results of another version of a tool, of another scope or of another tenant are never served."""
    store = MemoryStore()
    await Tools(ToolResultCache(store, {"weather": None})).call(WEATHER, city="Bern")
    others = Tools(ToolResultCache(store, {"weather": rule}, namespace=namespace))
    await others.call(WEATHER, city="Bern")
    assert others.n_runs == 1


async def test_the_names_of_tools_separate_calls() -> None:
    """Two tools that look alike apart from their names do not share results."""
    tools = Tools(ToolResultCache(MemoryStore(), {"weather": None, "climate": None}))
    await tools.call(WEATHER, city="Bern")
    await tools.call(StructuredTool.from_function(weather, name="climate"), city="Bern")
    assert tools.n_runs == 2


async def test_the_order_of_arguments_does_not_separate_calls() -> None:
    """Arguments are one call in whatever order a model writes them, in depth too."""
    tools = Tools(ToolResultCache(MemoryStore(), {"weather": None}))
    await tools.call(WEATHER, city={"name": "Bern", "land": "CH"}, days=2)
    await tools.call(WEATHER, days=2, city={"land": "CH", "name": "Bern"})
    assert tools.n_runs == 1


class Opaque:
    """What JSON cannot say."""


class Sky(StrEnum):
    """What JSON says as a text, and gives back as no more than that."""

    CLEAR = "clear"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (ToolMessage("no such city", status="error", tool_call_id="call_1"), "error"),
        (Command(update={"city": "Bern"}), "command"),
        ([Command(update={}), ToolMessage("sunny", tool_call_id="call_1")], "kind_of_result"),
        (ToolMessage("sunny", artifact=Opaque(), tool_call_id="call_1"), "artifact"),
        (ToolMessage("sunny", artifact=PureTool(), tool_call_id="call_1"), "artifact"),
        (ToolMessage("sunny", artifact=(1, 2), tool_call_id="call_1"), "artifact"),
        (ToolMessage("sunny", artifact=Sky.CLEAR, tool_call_id="call_1"), "artifact"),
        (ToolMessage("sunny", artifact={"sky": [Sky.CLEAR]}, tool_call_id="call_1"), "artifact"),
        (ToolMessage("sunny", artifact=Counter(sunny=3), tool_call_id="call_1"), "artifact"),
        (ToolMessage("sunny", artifact=float("nan"), tool_call_id="call_1"), "artifact"),
        (ToolMessage("sunny", additional_kwargs={"raw": b"\xff"}, tool_call_id="call_1"), "additional_kwargs"),
        (ToolMessage("lone \ud800", tool_call_id="call_1"), "content"),
    ],
)
async def test_what_is_no_plain_good_result_is_not_kept(world: World, answer: Any, reason: str) -> None:
    """Errors, commands and what JSON cannot say are handed on as they are, every time, and counted by reason."""
    store = MemoryStore()
    tools = Tools(ToolResultCache(store, {"weather": None}), world, answer)
    assert await tools.call(WEATHER, city="Bern") is answer
    assert await tools.call(WEATHER, city="Bern") is answer
    assert tools.n_runs == 2
    assert list(store.yield_keys()) == []
    assert tools.cache.counts().skipped == {reason: 2}


def fails(city: str) -> str:
    raise ToolException(f"no weather in {city}")


@pytest.mark.parametrize("arguments", [{"city": "Bern"}, {"town": "Bern"}])
async def test_an_error_that_an_agent_shows_to_its_model_is_not_kept(arguments: dict[str, Any]) -> None:
    """In a real agent, a tool that gives up and arguments that do not fit are errors, made anew each time."""
    store = MemoryStore()
    cache = ToolResultCache(store, {"weather": None})
    asked = AIMessage("", tool_calls=[{"name": "weather", "args": arguments, "id": "call_1"}])
    for _ in range(2):
        model = CountingChatModel(answers=[asked, AIMessage("Sorry.")])
        failing = made_of(fails, handle_tool_error=True)
        agent: Any = create_agent(model, tools=[failing], middleware=[cache])
        *_, shown, _ = agent.invoke({"messages": [HumanMessage("What is the weather?")]})["messages"]
        assert (shown.status, "city" in shown.content or "no weather" in shown.content) == ("error", True)
    assert list(store.yield_keys()) == []
    assert cache.counts().skipped == {"error": 2}


async def test_an_exception_passes_through_and_leaves_nothing(world: World) -> None:
    """A tool that raises raises, and the next call runs it again."""
    tools = Tools(ToolResultCache(MemoryStore(), {"weather": None}), world, KeyError("city"))
    for _ in range(2):
        with pytest.raises(KeyError, match="city"):
            await tools.call(WEATHER, city="Bern")
    assert tools.n_runs == 2
    assert tools.cache.counts().made == 0


@pytest.mark.parametrize("argument", [float("nan"), "lone \ud800", 2**70, Opaque()])
async def test_arguments_that_are_no_json_are_not_looked_up(argument: Any) -> None:
    """Arguments that cannot be told apart for certain run the tool, and are counted."""
    tools = Tools(ToolResultCache(MemoryStore(), {"weather": None}))
    for _ in range(2):
        await tools.call(WEATHER, city=argument)
    assert tools.n_runs == 2
    assert tools.cache.counts().skipped == {"arguments": 2}


async def test_a_tool_that_nobody_knows_is_not_looked_up() -> None:
    """A call of a tool that another middleware will bring has no schema to go by: it is passed on."""
    tools = Tools(ToolResultCache(MemoryStore(), {"weather": None}))
    for _ in range(2):
        await tools.call("weather", city="Bern")
    assert tools.n_runs == 2
    assert tools.cache.counts().skipped == {"unknown_tool": 2}


async def test_a_scope_function_keeps_users_apart(world: World) -> None:
    """Each user gets only what was made for them."""
    rule = PureTool(scope=user_of)
    tools = Tools(ToolResultCache(MemoryStore(), {"weather": rule}), world)
    for user, expected in (("ann", 1), ("bob", 2), ("ann", 2), ("bob", 2)):
        await tools.call(WEATHER, city="Bern", runtime=runtime_of({"user": user}))
        assert tools.n_runs == expected


def runtime_of(context: Any) -> ToolRuntime[Any, Any]:
    return ToolRuntime(state={}, context=context, config={}, stream_writer=print, tool_call_id=None, store=None)


def user_of(request: ToolCallRequest) -> str:
    context: Any = request.runtime.context
    user: str = context["user"]
    return user


@pytest.mark.parametrize("context", [{}, {"user": None}, {"user": 7}, None])
async def test_a_call_of_nobody_is_not_kept(world: World, context: Any) -> None:
    """Where the scope function gives no text, or fails, the tool runs and nothing is kept."""
    store = MemoryStore()
    rule = PureTool(scope=user_of)
    tools = Tools(ToolResultCache(store, {"weather": rule}), world)
    for _ in range(2):
        assert (await tools.call(WEATHER, city="Bern", runtime=runtime_of(context))).content == "sunny"
    assert tools.n_runs == 2
    assert list(store.yield_keys()) == []
    assert tools.cache.counts().skipped == {"no_scope": 2}


def sees_state(city: str, state: Annotated[dict[str, Any], InjectedState]) -> str:
    return city + str(state)


def sees_store(city: str, memory: Annotated[Any, InjectedStore()]) -> str:
    return city + str(memory)


def sees_runtime(city: str, runtime: ToolRuntime) -> str:
    return city + str(runtime)


def sees_settings(city: str, settings: RunnableConfig) -> str:
    return city + str(settings)


def sees_call(city: str, call_id: Annotated[str, InjectedToolCallId]) -> str:
    return city + call_id


class SeesSettings(BaseTool):
    name: str = "weather"
    description: str = "Say the weather."

    @override
    def _run(self, city: str, settings: RunnableConfig) -> str:
        return city + str(settings)


class Plain(BaseTool):
    name: str = "weather"
    description: str = "Say the weather."

    @override
    def _run(self, city: str, run_manager: Any = None) -> str:
        return city


def reads_file(config: str, callbacks: Any = None) -> str:
    return config


async def sees_runtime_later(city: str, runtime: Any = None) -> str:
    return city + str(runtime)


REFUSED = [
    (made_of(sees_state), "state"),
    (made_of(sees_store), "memory"),
    (made_of(sees_runtime), "runtime"),
    (made_of(sees_settings), "settings"),
    (made_of(sees_call), "call_id"),
    (made_of(weather, coroutine=sees_runtime_later), "runtime"),
    (SeesSettings(), "settings"),
]


@pytest.mark.parametrize(("seeing", "named"), REFUSED)
@pytest.mark.parametrize("scope", [None, "everybody"])
async def test_a_tool_that_sees_more_than_its_arguments_is_refused(
    world: World, seeing: BaseTool, named: str, scope: str | None
) -> None:
    """Declared pure, a tool that is handed state, store, runtime, configuration or the call's id is an error."""
    tools = Tools(ToolResultCache(MemoryStore(), {"weather": PureTool(scope=scope)}), world)
    with pytest.raises(ConfigurationError, match=rf"'weather', which takes .*{named} beside .*\(scope=function"):
        await tools.call(seeing, city="Bern")
    assert tools.n_runs == 0


@pytest.mark.parametrize("seeing", [seeing for seeing, _ in REFUSED])
async def test_a_scope_function_answers_for_what_a_tool_sees(seeing: BaseTool) -> None:
    """Whoever writes a function of the request has said on what the hidden inputs come down to."""
    tools = Tools(ToolResultCache(MemoryStore(), {"weather": PureTool(scope=lambda _: "ann")}))
    for _ in range(2):
        await tools.call(seeing, city="Bern")
    assert tools.n_runs == 1


SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@pytest.mark.parametrize(
    "plain",
    [
        Plain(),
        made_of(reads_file),
        made_of(lambda **arguments: str(arguments), args_schema=SCHEMA),
        made_of(lambda city: city, args_schema=SCHEMA),
    ],
)
async def test_a_tool_that_sees_its_arguments_alone_is_accepted(plain: BaseTool) -> None:
    """A class, a schema as a dict, a manager of callbacks and a parameter that is called `config` are no secrets."""
    tools = Tools(ToolResultCache(MemoryStore(), {"weather": None}))
    for _ in range(2):
        await tools.call(plain, city="Bern")
    assert tools.n_runs == 1


@pytest.mark.parametrize(("rule", "lives_s"), [(None, 3600), (60, 60), (PureTool(ttl_s=7), 7)])
async def test_each_tool_has_its_time_to_live(world: World, rule: int | PureTool | None, lives_s: int) -> None:
    """A result is served until its own time is over, or that of the setting."""
    clock = FakeClock()
    cache = ToolResultCache(MemoryStore(clock=clock), {"weather": rule, "other": 1}, clock=clock)
    tools = Tools(cache, world)
    await tools.call(WEATHER, city="Bern")
    clock.advance(lives_s - 1)
    await tools.call(WEATHER, city="Bern")
    assert tools.n_runs == 1
    clock.advance(1)
    await tools.call(WEATHER, city="Bern")
    assert tools.n_runs == 2


@pytest.mark.parametrize("verbs", [None, {"mget"}, {"mset"}])
async def test_a_failing_store_is_a_miss(world: World, verbs: set[str] | None) -> None:
    """Whatever the store cannot do, the tool runs and its result is handed on."""
    store = BrokenStore(StoreError("down", reason="down"), verbs=verbs)
    tools = Tools(ToolResultCache(store, {"weather": None}), world)
    for _ in range(2):
        assert (await tools.call(WEATHER, city="Bern")).content == "sunny"
    assert tools.n_runs == 2
    assert set(tools.cache.counts().failures) == {"down"}


def damage(store: Store, raw: bytes) -> None:
    for key in list(store.yield_keys()):
        store.mset([(key, raw)])


async def test_a_damaged_entry_is_a_counted_miss(world: World) -> None:
    """What cannot be read is made anew and replaced."""
    store = MemoryStore()
    tools = Tools(ToolResultCache(store, {"weather": None}), world)
    await tools.call(WEATHER, city="Bern")
    damage(store, b"RCE1 and nonsense")
    await tools.call(WEATHER, city="Bern")
    await tools.call(WEATHER, city="Bern")
    assert tools.n_runs == 2
    assert tools.cache.counts().unreadable == {"DecodeError": 1}


@pytest.mark.parametrize("switch", [{"enabled": False}, {"tool_result_enabled": False}])
async def test_switched_off_every_tool_runs(world: World, switch: dict[str, Any]) -> None:
    """Without the kind, nothing is found and nothing kept."""
    store = MemoryStore()
    tools = Tools(ToolResultCache(store, {"weather": None}, settings=CacheSettings(**switch)), world)
    for _ in range(2):
        await tools.call(WEATHER, city="Bern")
    assert tools.n_runs == 2
    assert list(store.yield_keys()) == []


async def test_a_big_result_is_compressed() -> None:
    """Over the threshold, a result takes fewer bytes than it has characters."""
    store = MemoryStore()
    tools = Tools(ToolResultCache(store, {"weather": None}), answer="sunny " * 1000)
    await tools.call(WEATHER, city="Bern")
    [raw] = store.mget(list(store.yield_keys()))
    assert raw is not None
    assert len(raw) < 500
    assert (await tools.call(WEATHER, city="Bern")).content == "sunny " * 1000


async def test_what_a_hit_saves_is_counted() -> None:
    """The time that the tool took is kept with its result and counted for each hit."""
    clock = FakeClock()
    cache = ToolResultCache(MemoryStore(clock=clock), {"weather": None}, clock=clock)

    def slow(request: ToolCallRequest) -> ToolMessage:
        clock.advance(1.5)
        return ToolMessage("sunny", tool_call_id="call_1")

    call: Any = {"name": "weather", "args": {"city": "Bern"}, "id": "call_1"}
    request = ToolCallRequest(tool_call=call, tool=WEATHER, state={}, runtime=runtime_of(None))
    for _ in range(3):
        cache.wrap_tool_call(request, slow)
    assert cache.counts().saved_ms == 3000


async def test_the_results_of_one_tool_can_be_cleared(world: World) -> None:
    """Clearing a tool leaves the other tools; clearing all leaves the other tenants."""
    store = MemoryStore()
    rules = {"weather": None, "weather2": None}
    second = StructuredTool.from_function(weather, name="weather2")
    ours, theirs = (ToolResultCache(store, rules, namespace=name) for name in ("acme", "other"))
    for cache in (ours, theirs):
        for named in (WEATHER, second):
            await Tools(cache).call(named, city="Bern")
    await clear(ours, world, "weather")
    assert sorted(key.rpartition(":")[0] for key in store.yield_keys()) == [
        "acme:tool:weather2", "other:tool:weather", "other:tool:weather2",
    ]  # fmt: skip
    await clear(ours, world, None)
    assert {key.partition(":")[0] for key in store.yield_keys()} == {"other"}


async def clear(cache: ToolResultCache, world: World, named: str | None) -> None:
    if world is World.SYNC:
        cache.clear(named)
    else:
        await cache.aclear(named)


async def test_a_store_that_cannot_clear_says_so(world: World) -> None:
    """Clearing is asked for by a person, who must know that it did not happen."""
    cache = ToolResultCache(BrokenStore(StoreError("down", reason="down")), {"weather": None})
    with pytest.raises(StoreError):
        await clear(cache, world, None)


def test_what_cannot_be_used_is_refused_at_once() -> None:
    """A wrong time to live, name or namespace is an error when the middleware is made, not in a conversation."""
    with pytest.raises(InvalidTTLError):
        ToolResultCache(MemoryStore(), {"weather": 0})
    with pytest.raises(InvalidTTLError):
        ToolResultCache(MemoryStore(), {"weather": PureTool(ttl_s=-1)})
    with pytest.raises(InvalidKeyError):
        ToolResultCache(MemoryStore(), {"": None})
    with pytest.raises(InvalidKeyError):
        ToolResultCache(MemoryStore(), {}, namespace="tool")
