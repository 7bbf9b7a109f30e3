"""Agents and graphs of LangChain on a real Valkey: what runs a second time, and what must not."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelRequest, ModelResponse, wrap_model_call
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import CachePolicy, Command, interrupt
from pydantic import SecretStr

from cache import CacheSettings, ResponseCache
from cache.graph import NodeCache
from cache.opening import open_store
from cache.tools import ToolResultCache
from tests.integration.calling import PATIENT_S, World
from tests.openai_server import CHAT, OpenAIServer, ToolCalls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from langchain.agents.middleware import AgentMiddleware
    from langchain_core.runnables import RunnableConfig

    from cache.wrappers import FailOpenStore
    from tests.openai_server import Body
    from tests.servers import ValkeyServer

QUESTION, SECOND_QUESTION = "What is the weather in Bern, and when does a train go?", "And in Basel?"
MODES = ("invoke", "values", "updates", "messages")
each_world = pytest.mark.parametrize("world", World)
each_mode = pytest.mark.parametrize("mode", MODES)


def answered(body: Body) -> str | ToolCalls:
    """The model's side: two tools at once for each question, and one sentence from what they said."""
    last = body["messages"][-1]
    if last["role"] == "user":
        city = "Basel" if "Basel" in last["content"] else "Bern"
        return ToolCalls((("weather", {"city": city}), ("trains", {"city": city, "after": "09:00"})))
    said = [message["content"] for message in body["messages"] if message["role"] == "tool"]
    return f"It is {said[-2]} and the train goes at {said[-1]}."


class Desk:
    """An agent with two tools that count how often they run, behind the caches of one application.

    Args:
        provider: where the model is.
        store: where answers and results are kept.
        caches_tools: whether both tools are declared pure.
        middleware: what else stands between the agent, its model and its tools.
    """

    def __init__(
        self,
        provider: OpenAIServer,
        store: FailOpenStore,
        settings: CacheSettings,
        *,
        caches_tools: bool = True,
        middleware: Sequence[AgentMiddleware] = (),
    ) -> None:
        self.n_tool_runs = 0
        self.provider = provider
        self.responses = ResponseCache(store, settings=settings)
        self.results = ToolResultCache(store, {"weather": 600, "trains": None}, settings=settings)
        self.model = ChatOpenAI(
            model="gpt-4o-mini", base_url=provider.base_url, api_key=SecretStr("sk-test"), cache=self.responses
        )
        agent: Any = create_agent(
            self.model,
            tools=self._tools(),
            middleware=[*middleware, *([self.results] if caches_tools else [])],
            checkpointer=InMemorySaver(),
        )
        self.agent = agent

    def _tools(self) -> list[Any]:
        @tool
        def weather(city: str) -> str:
            """Say the weather in a city."""
            self.n_tool_runs += 1
            return f"sunny in {city}"

        @tool(response_format="content_and_artifact")
        async def trains(city: str, after: str) -> tuple[str, dict[str, Any]]:
            """Say when the next train goes to a city."""
            self.n_tool_runs += 1
            return "09:32", {"city": city, "after": after, "platforms": [3, 7]}

        def trains_now(city: str, after: str) -> tuple[str, dict[str, Any]]:
            self.n_tool_runs += 1
            return "09:32", {"city": city, "after": after, "platforms": [3, 7]}

        trains.func = trains_now
        return [weather, trains]

    async def ask(self, question: str, *, thread: str, mode: str = "invoke", world: World = World.SYNC) -> str:
        """Ask in a thread; what was streamed as the agent's words, where the mode streams words."""
        said: dict[str, Any] = {"messages": [HumanMessage(question)]}
        config = {"configurable": {"thread_id": thread}}
        if mode == "invoke":
            await self.agent.ainvoke(said, config) if world is World.ASYNC else self.agent.invoke(said, config)
            return ""
        if world is World.SYNC:
            return _words(list(self.agent.stream(said, config, stream_mode=mode)), mode)
        return _words([part async for part in self.agent.astream(said, config, stream_mode=mode)], mode)

    def messages(self, thread: str) -> list[BaseMessage]:
        """What the checkpointer has of a thread."""
        found: list[BaseMessage] = self.agent.get_state({"configurable": {"thread_id": thread}}).values["messages"]
        return found

    @property
    def n_model_calls(self) -> int:
        return self.provider.n_requests(CHAT)

    async def close(self) -> None:
        self.model.root_client.close()
        await self.model.root_async_client.close()


def _words(parts: Sequence[Any], mode: str) -> str:
    if mode != "messages":
        return ""
    return "".join(str(part.content) for part, _ in parts if isinstance(part, AIMessage | AIMessageChunk))


def told(messages: Sequence[BaseMessage]) -> list[Any]:
    """What messages say, without what is new in each run."""
    return [
        (
            type(one),
            one.content,
            [call["args"] for call in getattr(one, "tool_calls", [])],
            getattr(one, "artifact", None),
        )
        for one in messages
    ]


def ids(messages: Sequence[BaseMessage]) -> set[str | None]:
    return {one.id for one in messages}


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with OpenAIServer() as server:
        server.script_chat(answered)
        yield server


@pytest.fixture
async def settings(redis_url: str, namespace: str) -> CacheSettings:
    return CacheSettings(redis_url=redis_url, namespace=namespace, deadline_ms=int(1000 * PATIENT_S))


@pytest.fixture
async def store(settings: CacheSettings) -> AsyncIterator[FailOpenStore]:
    store = open_store(settings)
    yield store
    await store.aclose()


@pytest.fixture
async def start(
    provider: OpenAIServer, store: FailOpenStore, settings: CacheSettings
) -> AsyncIterator[Callable[..., Desk]]:
    desks: list[Desk] = []

    def started(**changes: Any) -> Desk:
        desks.append(Desk(provider, store, settings, **changes))
        return desks[-1]

    yield started
    for desk in desks:
        await desk.close()


@each_world
@each_mode
async def test_a_second_run_calls_neither_model_nor_tools(start: Callable[..., Desk], world: World, mode: str) -> None:
    """However an agent is run, its second run asks nobody and comes to the same messages, each with a new id."""
    desk = start()
    cold = await desk.ask(QUESTION, thread="1", mode=mode, world=world)
    assert (desk.n_model_calls, desk.n_tool_runs) == (2, 2)
    warm = await desk.ask(QUESTION, thread="2", mode=mode, world=world)
    assert (desk.n_model_calls, desk.n_tool_runs) == (2, 2)
    first, second = desk.messages("1"), desk.messages("2")
    assert told(second) == told(first)
    assert len(ids(first) | ids(second)) == 10
    assert first[-1].content == "It is sunny in Bern and the train goes at 09:32."
    assert warm == cold == (first[-1].content if mode == "messages" else "")


@each_world
async def test_tools_run_again_where_none_is_declared_pure(start: Callable[..., Desk], world: World) -> None:
    """Without the middleware the model's answers alone are kept: tools run, and the model is not asked."""
    desk = start(caches_tools=False)
    for number in range(2):
        await desk.ask(QUESTION, thread=str(number), world=world)
    assert (desk.n_model_calls, desk.n_tool_runs) == (2, 4)
    assert told(desk.messages("0")) == told(desk.messages("1"))


async def test_what_one_way_of_running_kept_serves_the_others(start: Callable[..., Desk]) -> None:
    """A cold run in one mode is warm in all others, and for another application on the same server."""
    first, second = start(), start()
    await first.ask(QUESTION, thread="cold", mode="messages", world=World.ASYNC)
    for desk in (first, second):
        for world in World:
            for mode in MODES:
                await desk.ask(QUESTION, thread=f"{world} {mode}", mode=mode, world=world)
                assert told(desk.messages(f"{world} {mode}")) == told(first.messages("cold"))
    assert (first.n_model_calls, first.n_tool_runs, second.n_tool_runs) == (2, 2, 0)


async def test_a_hit_is_bound_to_the_call_that_asks(start: Callable[..., Desk]) -> None:
    """Each result of a tool answers the very call that the model made in this run."""
    desk = start()
    for thread in ("1", "2"):
        await desk.ask(QUESTION, thread=thread)
        _, asked, *results, _ = desk.messages(thread)
        assert isinstance(asked, AIMessage)
        assert [call["id"] for call in asked.tool_calls] == [
            result.tool_call_id for result in results if isinstance(result, ToolMessage)
        ]


@wrap_model_call
def forgets(request: ModelRequest, handler: Callable[[ModelRequest], ModelResponse]) -> ModelResponse:
    """Show the model its last question alone, and what came of it."""
    return handler(request.override(messages=_last_turn(request.messages)))


def _last_turn(messages: Sequence[BaseMessage]) -> list[Any]:
    starts = [index for index, one in enumerate(messages) if isinstance(one, HumanMessage)]
    return list(messages[starts[-1] :])


async def test_two_identical_turns_in_one_thread_are_both_kept(start: Callable[..., Desk]) -> None:
    """A hit in a thread that has the first answer already is a message of its own, not a replacement (trap L5)."""
    desk = start(middleware=[forgets])
    for n_messages in (5, 10, 15):
        await desk.ask(QUESTION, thread="1")
        messages = desk.messages("1")
        assert len(messages) == len(ids(messages)) == n_messages
    assert (desk.n_model_calls, desk.n_tool_runs) == (2, 2)
    assert told(messages[:5]) == told(messages[5:10]) == told(messages[10:])


@each_world
@pytest.mark.parametrize("caches_tools", [True, False])
async def test_an_identical_chat_costs_nothing_from_its_second_run_on(
    start: Callable[..., Desk], world: World, *, caches_tools: bool
) -> None:
    """Ids, marks of hits and usage of earlier turns do not make a later turn another request (trap L7)."""
    desk = start(caches_tools=caches_tools)
    for thread in ("1", "2", "3"):
        for question in (QUESTION, SECOND_QUESTION):
            await desk.ask(question, thread=thread, world=world)
        assert desk.n_model_calls == 4
        assert len(ids(desk.messages(thread))) == 10
    assert desk.n_tool_runs == (4 if caches_tools else 12)
    assert told(desk.messages("1")) == told(desk.messages("2")) == told(desk.messages("3"))


async def test_an_agent_runs_without_redis(provider: OpenAIServer, own_valkey: ValkeyServer) -> None:
    """With the server killed between two runs, the second asks model and tools, and comes to the same messages."""
    settings = CacheSettings(redis_url=own_valkey.url)
    async with open_store(settings) as store:
        desk = Desk(provider, store, settings)
        await desk.ask(QUESTION, thread="1", world=World.ASYNC)
        own_valkey.kill()
        await desk.ask(QUESTION, thread="2", world=World.ASYNC)
        await desk.close()
    assert (desk.n_model_calls, desk.n_tool_runs) == (4, 4)
    assert told(desk.messages("1")) == told(desk.messages("2"))


class Search(TypedDict):
    query: str
    jobs: Annotated[list[dict[str, Any]], operator.add]
    best: str


class Graph:
    """Two nodes, the first of them cached; it says how often each ran."""

    def __init__(self, cache: NodeCache, name: str = "find") -> None:
        self.n_runs = {"find": 0, "pick": 0}
        builder = StateGraph(Search)
        builder.add_node(name, self._find, cache_policy=CachePolicy(ttl=60))
        builder.add_node("pick", self._pick)
        builder.add_edge(START, name)
        builder.add_edge(name, "pick")
        self._graph = builder.compile(cache=cache)

    async def run(self, query: str, world: World) -> dict[str, Any]:
        state = Search(query=query, jobs=[], best="")
        found = await self._graph.ainvoke(state) if world is World.ASYNC else self._graph.invoke(state)
        return dict(found)

    def _find(self, state: Search) -> dict[str, Any]:
        self.n_runs["find"] += 1
        return {"jobs": [{"title": f"{state['query']} {number}", "score": number / 2} for number in range(3)]}

    def _pick(self, state: Search) -> dict[str, Any]:
        self.n_runs["pick"] += 1
        return {"best": state["jobs"][-1]["title"]}


@each_world
async def test_a_cached_node_is_skipped_in_the_second_run(
    store: FailOpenStore, settings: CacheSettings, world: World
) -> None:
    """Only the node with a policy is skipped, and only for the same input; the state is the same."""
    graph = Graph(NodeCache(store, settings=settings))
    first = await graph.run("baker", world)
    second = await graph.run("baker", world)
    assert first == second
    assert first["best"] == "baker 2"
    assert graph.n_runs == {"find": 1, "pick": 2}
    await graph.run("nurse", world)
    assert graph.n_runs == {"find": 2, "pick": 3}


@each_world
async def test_each_person_is_asked(store: FailOpenStore, settings: CacheSettings, world: World) -> None:
    """A node that waits for a person's answer is run for the next one too, who is asked, and answers otherwise."""

    def ask(state: Search) -> dict[str, Any]:
        return {"best": interrupt(f"Which {state['query']}?")}

    builder = StateGraph(Search)
    builder.add_node("ask", ask, cache_policy=CachePolicy(ttl=60))
    builder.add_edge(START, "ask")
    graph = builder.compile(cache=NodeCache(store, settings=settings), checkpointer=InMemorySaver())

    async def told(given: Any, thread: str) -> dict[str, Any]:
        config: RunnableConfig = {"configurable": {"thread_id": thread}}
        return dict(await graph.ainvoke(given, config) if world is World.ASYNC else graph.invoke(given, config))

    for person in ("ann", "bob"):
        asked = await told(Search(query="baker", jobs=[], best=""), person)
        assert [each.value for each in asked["__interrupt__"]] == ["Which baker?"]
        assert (await told(Command(resume=f"the one of {person}"), person))["best"] == f"the one of {person}"


@each_world
async def test_nodes_and_tenants_do_not_share(store: FailOpenStore, settings: CacheSettings, world: World) -> None:
    """A node of another name, and the same node of another tenant, run for themselves; clearing is by tenant."""
    cache = NodeCache(store, settings=settings)
    theirs = NodeCache(store, settings=settings, namespace=f"{settings.namespace}-b")
    ours, renamed, other = Graph(cache), Graph(cache, "search"), Graph(theirs)
    for _ in range(2):
        for graph in (ours, renamed, other):
            await graph.run("baker", world)
    assert [graph.n_runs["find"] for graph in (ours, renamed, other)] == [1, 1, 1]
    if world is World.ASYNC:
        await cache.aclear()
    else:
        cache.clear()
    for graph in (ours, renamed, other):
        await graph.run("baker", world)
    assert [graph.n_runs["find"] for graph in (ours, renamed, other)] == [2, 2, 1]


@each_world
async def test_a_node_is_cleared_alone_and_without_keys(own_valkey: ValkeyServer, world: World) -> None:
    """Clearing one node goes through the keys with SCAN; the server is never asked for all of them at once."""
    settings = CacheSettings(redis_url=own_valkey.url, deadline_ms=int(1000 * PATIENT_S))
    async with open_store(settings) as store:
        cache = NodeCache(store, settings=settings)
        kept, cleared = Graph(cache), Graph(cache, "search")
        for graph in (kept, cleared):
            await graph.run("baker", world)
        path = ("__pregel_ns_writes", f"{__name__}.Graph._find", "search")
        if world is World.ASYNC:
            await cache.aclear([path])
        else:
            cache.clear([path])
        for graph in (kept, cleared):
            await graph.run("baker", world)
    assert (kept.n_runs["find"], cleared.n_runs["find"]) == (1, 2)
    used = str(own_valkey.command("INFO", "commandstats"))
    assert "cmdstat_scan:" in used
    assert "cmdstat_mget:" in used
    assert "cmdstat_keys:" not in used


@each_world
async def test_a_graph_runs_without_redis(own_valkey: ValkeyServer, world: World) -> None:
    """With the server killed between two runs, the node runs again and the graph comes to the same state."""
    settings = CacheSettings(redis_url=own_valkey.url)
    async with open_store(settings) as store:
        cache = NodeCache(store, settings=settings)
        graph = Graph(cache)
        first = await graph.run("baker", world)
        own_valkey.kill()
        assert await graph.run("baker", world) == first
    assert graph.n_runs["find"] == 2
    assert sum(cache.counts().failures.values()) > 0
