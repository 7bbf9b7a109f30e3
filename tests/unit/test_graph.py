"""Results of graph nodes: what comes back, what is not kept, and what LangGraph makes of it."""

from __future__ import annotations

import datetime as dt
import pickle
from collections import deque
from dataclasses import dataclass, field, make_dataclass
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import ormsgpack
import pytest
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.types import Overwrite, Send
from pydantic import BaseModel, SecretStr, create_model

from cache.codecs.nodes import NodeCodec
from cache.codecs.payloads import encode_payload
from cache.entry import Header
from cache.errors import DecodeError, InvalidKeyError, StoreError
from cache.graph import NodeCache
from cache.keys import key_tag
from cache.settings import CacheSettings
from cache.stores.memory import MemoryStore
from tests.fakes import START_S, BrokenStore, FakeClock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FullKey: TypeAlias = tuple[tuple[str, ...], str]
NODE = ("__pregel_ns_writes", "agent.rank", "rank")
KEY: FullKey = (NODE, "6f4c")
WRITES = deque([("jobs", [{"title": "Baker", "score": 0.5}]), ("branch:to:explain", None)])


class World(StrEnum):
    """Which of the twins a test calls."""

    SYNC = "sync"
    ASYNC = "async"

    async def get(self, cache: NodeCache, *keys: FullKey) -> dict[FullKey, Any]:
        if self is World.SYNC:
            return cache.get(keys)
        return await cache.aget(keys)

    async def set(self, cache: NodeCache, pairs: Mapping[FullKey, tuple[Any, int | None]]) -> None:
        if self is World.SYNC:
            cache.set(pairs)
        else:
            await cache.aset(pairs)

    async def clear(self, cache: NodeCache, nodes: Sequence[tuple[str, ...]] | None = None) -> None:
        if self is World.SYNC:
            cache.clear(nodes)
        else:
            await cache.aclear(nodes)


@pytest.fixture(params=list(World))
def world(request: pytest.FixtureRequest) -> World:
    """Both twins."""
    found: World = request.param
    return found


class Colour(Enum):
    RED = 1


class Job(BaseModel):
    title: str
    colour: Colour = Colour.RED


@dataclass
class Score:
    value: float
    of: list[Job] = field(default_factory=list)


async def test_what_a_node_wrote_comes_back(world: World) -> None:
    """Writes come back as pairs in their order, under the very key that was asked for."""
    cache = NodeCache(MemoryStore())
    await world.set(cache, {KEY: (WRITES, None)})
    assert await world.get(cache, KEY, (NODE, "other")) == {KEY: list(WRITES)}
    counts = cache.counts()
    assert (counts.hits, counts.misses, counts.made, counts.stored) == (1, 1, 1, 1)


@pytest.mark.parametrize(
    "value",
    [
        None, 0, "", [], {}, b"\x00\xff", float("nan"), {1: {"a": [None, True, 2**63]}}, {"writes": [1]}, {(1, 2): 3},
        dt.datetime(2026, 1, 2, 3, 4, tzinfo=dt.UTC), {"a", "b"}, deque([1, 2]), np.arange(6.0).reshape(2, 3),
        HumanMessage("hi", id="1"),
        AIMessage(
            [{"type": "text", "text": "hi"}], id="2", tool_calls=[{"name": "f", "args": {"x": 1}, "id": "c"}],
            usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
            response_metadata={"finish_reason": "stop"},
        ),
        ToolMessage("seen", tool_call_id="c", artifact={"rows": [1]}),
        [Document("text", metadata={"page": 3})], Overwrite([1]),
    ],
)  # fmt: skip
async def test_plain_values_messages_and_documents_come_back_as_they_are(value: Any) -> None:
    """Whatever the serializer's own list of types holds is kept and equal to what it was, in a write and alone."""
    cache = NodeCache(MemoryStore())
    cache.set({KEY: ([("out", value)], None), (NODE, "alone"): (value, None)})
    found = cache.get([KEY, (NODE, "alone")])
    assert cache.counts().skipped == {}
    [(channel, written)] = found[KEY]
    assert channel == "out"
    for came in (written, found[NODE, "alone"]):
        assert type(came) is type(value)
        np.testing.assert_equal(came, value)


async def test_a_send_comes_back() -> None:
    """What a node sends to another node is written and read with what it carries."""
    cache = NodeCache(MemoryStore())
    sent = [("__pregel_tasks", Send("explain", {"job": 1}))]
    cache.set({KEY: (deque(sent), None)})
    assert cache.get([KEY]) == {KEY: sent}


@pytest.mark.parametrize(
    "value",
    [
        Job(title="Baker"), Score(0.5), Colour.RED, SecretStr("hush"), (1, 2), [("Baker", 0.5)], {"a": (1,)},
        ValueError("x"), object(), lambda: None, deque([1], maxlen=3), 2**70,
        AIMessage("hi", additional_kwargs={"parsed": Job(title="Baker")}),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
async def test_what_would_come_back_as_something_else_is_not_kept(world: World, value: Any) -> None:
    """Classes that are not named would come back as dicts, tuples as lists, exceptions as texts: none is kept."""
    store = MemoryStore()
    cache = NodeCache(store)
    await world.set(cache, {KEY: (deque([("out", value)]), None), (NODE, "good"): (WRITES, None)})
    assert cache.counts().skipped == {"result": 1}
    assert await world.get(cache, KEY, (NODE, "good")) == {(NODE, "good"): list(WRITES)}


async def test_named_classes_come_back_as_they_are() -> None:
    """Models, dataclasses and enums that the user names are made again on reading."""
    cache = NodeCache(MemoryStore(), types=[Job, Score, Colour])
    value = [Score(0.5, of=[Job(title="Baker")]), Colour.RED]
    cache.set({KEY: ([("out", value)], None)})
    assert cache.get([KEY]) == {KEY: [("out", value)]}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (create_model("Shape", x=(int, 1)), create_model("Shape", x=(int, 1), y=(int, 2))),
        (make_dataclass("Shape", [("x", int)]), make_dataclass("Shape", [("x", int), ("y", int)])),
        (make_dataclass("Shape", [("x", int)]), make_dataclass("Shape", [("x", str)])),
        (Enum("Shape", {"A": 1}), Enum("Shape", {"A": 2})),
    ],
)
def test_the_fields_of_named_classes_are_part_of_the_key(old: type, new: type) -> None:
    """After a class has changed, what was kept of the old one is a miss, not an object with holes (trap L1)."""
    assert NodeCodec([old]).fingerprint == NodeCodec([old]).fingerprint != NodeCodec([new]).fingerprint


@pytest.mark.parametrize("channel", ["__error__", "__interrupt__", "__resume__"])
async def test_a_node_that_did_not_finish_by_itself_is_not_kept(channel: str) -> None:
    """A kept error or interrupt would skip the node and hide it for good, and an answer would be told to others."""
    cache = NodeCache(MemoryStore())
    cache.set({KEY: (deque([(channel, "why")]), None)})
    assert cache.get([KEY]) == {}
    assert cache.counts().skipped == {"result": 1}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((("a",), "k"), (("b",), "k")),
        ((("a",), "k"), (("a",), "l")),
        ((("a", "b"), "k"), (("ab",), "k")),
        ((("a~b",), "k"), (("a", "b"), "k")),
        ((("a:b",), "k"), (("a", "b"), "k")),
        (((), "k"), (("",), "k")),
        (((), "a:k"), (("a",), "k")),
    ],
)
async def test_namespaces_are_kept_apart(one: FullKey, other: FullKey) -> None:
    """Two keys of LangGraph share an entry only if they are equal, part by part (trap H6)."""
    cache = NodeCache(MemoryStore())
    cache.set({one: ("one", None)})
    assert cache.get([one, other]) == {one: "one"}
    cache.set({other: ("other", None)})
    assert cache.get([one, other]) == {one: "one", other: "other"}


async def test_tenants_versions_and_types_are_kept_apart() -> None:
    """Another tenant, another version of the graph, or other named classes: a miss."""
    store = MemoryStore()
    NodeCache(store).set({KEY: (WRITES, None)})
    for other in (NodeCache(store, namespace="acme"), NodeCache(store, version="2"), NodeCache(store, types=[Job])):
        assert other.get([KEY]) == {}
    assert NodeCache(store).get([KEY]) == {KEY: list(WRITES)}


async def test_the_key_names_the_node() -> None:
    """Keys have the documented form, within their tenant."""
    store = MemoryStore()
    NodeCache(store, namespace="acme").set({KEY: (WRITES, None)})
    [key] = store.yield_keys()
    assert key.rpartition(":")[0] == "acme:node:__pregel_ns_writes~agent.rank~rank"


async def test_many_keys_are_one_round_trip_each_way(world: World) -> None:
    """A batch is read by one command and written by one command; nothing asked for is no command."""
    store = BrokenStore(StoreError("never"), verbs=set())
    cache = NodeCache(store)
    keys = [(NODE, str(number)) for number in range(20)]
    await world.set(cache, dict.fromkeys(keys, (WRITES, None)))
    assert len(await world.get(cache, *keys)) == 20
    assert await world.get(cache) == {}
    await world.set(cache, {})
    assert store.asked == (["mset", "mget"] if world is World.SYNC else ["amset", "amget"])


async def test_each_result_has_its_time_to_live(world: World) -> None:
    """The policy's time counts; without one, that of the setting; never forever."""
    clock = FakeClock()
    cache = NodeCache(MemoryStore(clock=clock), settings=CacheSettings(default_ttl_s=100), clock=clock)
    short, long = (NODE, "short"), (NODE, "long")
    await world.set(cache, {short: (WRITES, 10), long: (WRITES, None)})
    clock.advance(9)
    assert set(await world.get(cache, short, long)) == {short, long}
    clock.advance(1)
    assert set(await world.get(cache, short, long)) == {long}
    clock.advance(90)
    assert await world.get(cache, short, long) == {}


@pytest.mark.parametrize("ttl_s", [0, -1, 0.5])
async def test_an_unusable_time_to_live_keeps_nothing(ttl_s: Any) -> None:
    """A graph is not failed by a policy that no server could keep: its result is not kept, and counted."""
    cache = NodeCache(MemoryStore())
    cache.set({KEY: (WRITES, ttl_s)})
    assert cache.get([KEY]) == {}
    assert cache.counts().skipped == {"ttl": 1}


async def test_a_node_whose_name_no_key_can_hold_is_not_kept(world: World) -> None:
    """An overlong name is counted; other nodes of the batch are kept."""
    cache = NodeCache(MemoryStore())
    long: FullKey = (("n" * 600,), "k")
    await world.set(cache, {long: (WRITES, None), KEY: (WRITES, None)})
    assert set(await world.get(cache, long, KEY)) == {KEY}
    assert cache.counts().skipped == {"node_name": 2}


@pytest.mark.parametrize("verbs", [None, {"mget"}, {"mset"}])
async def test_a_failing_store_is_a_miss(world: World, verbs: set[str] | None) -> None:
    """Whatever the store cannot do, the graph goes on."""
    cache = NodeCache(BrokenStore(StoreError("down", reason="down"), verbs=verbs))
    await world.set(cache, {KEY: (WRITES, None)})
    assert await world.get(cache, KEY) == {}
    assert set(cache.counts().failures) == {"down"}


async def test_keys_that_are_no_keys_fail_nothing(world: World) -> None:
    """Even a caller who breaks the contract gets a counted miss."""
    cache = NodeCache(MemoryStore())
    wrong: Any = ("no pair",)
    await world.set(cache, {wrong: (WRITES, None)})
    assert await world.get(cache, wrong) == {}
    assert cache.counts().failures == {"internal": 2}


@pytest.mark.parametrize("switch", [{"enabled": False}, {"node_result_enabled": False}])
async def test_switched_off_nothing_is_kept(world: World, switch: dict[str, Any]) -> None:
    """Without the kind, nothing is found and nothing kept."""
    store = MemoryStore()
    cache = NodeCache(store, settings=CacheSettings(**switch))
    await world.set(cache, {KEY: (WRITES, None)})
    assert await world.get(cache, KEY) == {}
    assert list(store.yield_keys()) == []


class Bomb:
    """Leaves a trace in the process that unpickles it."""

    went_off: list[str] = []  # noqa: RUF012  that is the trace

    def __reduce__(self) -> tuple[Any, ...]:
        return self.went_off.append, ("bang",)


def named(code: int, *parts: Any) -> bytes:
    """A payload as the serializer writes it, naming any class or method."""
    return ormsgpack.packb({"value": ormsgpack.Ext(code, ormsgpack.packb(parts))})


async def test_reading_runs_no_code(tmp_path: Any) -> None:
    """Entries of an attacker that name functions, methods or pickles give plain data or a miss, and run nothing."""
    store = MemoryStore()
    cache = NodeCache(store)
    cache.set({KEY: (WRITES, None)})
    [name] = store.yield_keys()
    made = tmp_path / "made"
    for payload in (
        named(0, "os", "mkdir", str(made)),
        named(1, "os", "mkdir", [str(made)]),
        named(2, "os", "mkdir", {"path": str(made)}),
        named(3, "pathlib", "Path", str(made), "touch"),
        named(5, "os", "mkdir", {"path": str(made)}, "model_validate_json"),
        pickle.dumps(Bomb()),
        b'{"lc": 2, "type": "constructor", "id": ["os", "mkdir"], "args": ["made"]}',
    ):
        header = Header(key_tag(name), created_s=int(START_S), ttl_s=3600)
        store.mset([(name, encode_payload(payload, header, compress_over_bytes=1024))])
        for value in cache.get([KEY]).values():
            assert value in (str(made), [str(made)], {"path": str(made)})
    assert not made.exists()
    assert Bomb.went_off == []
    assert cache.counts().unreadable == {"DecodeError": 2}


async def test_an_unreadable_entry_is_a_counted_miss(world: World) -> None:
    """Damaged bytes are a miss, and the next write replaces them."""
    store = MemoryStore()
    cache = NodeCache(store)
    await world.set(cache, {KEY: (WRITES, None)})
    [name] = store.yield_keys()
    store.mset([(name, b"RCE1 and nonsense")])
    assert await world.get(cache, KEY) == {}
    assert cache.counts().unreadable == {"DecodeError": 1}
    await world.set(cache, {KEY: (WRITES, None)})
    assert await world.get(cache, KEY) == {KEY: list(WRITES)}


def test_bytes_that_are_no_result_are_named_errors() -> None:
    """The codec says so, whatever the bytes are."""
    for payload in (b"", b"\xc1", ormsgpack.packb([1]), ormsgpack.packb({"other": 1}), ormsgpack.packb({"writes": 5})):
        with pytest.raises(DecodeError, match="result of a node"):
            NodeCodec().decode(payload)


async def test_a_big_result_is_compressed() -> None:
    """Over the threshold, a result takes fewer bytes than it has characters."""
    store = MemoryStore()
    cache = NodeCache(store)
    cache.set({KEY: ([("out", "rank " * 1000)], None)})
    [raw] = store.mget(list(store.yield_keys()))
    assert raw is not None
    assert len(raw) < 500
    assert cache.get([KEY]) == {KEY: [("out", "rank " * 1000)]}


async def test_clearing_is_by_node_and_by_tenant(world: World) -> None:
    """Clearing a node leaves those whose names begin alike; clearing all leaves other tenants and other kinds."""
    store = MemoryStore()
    ours, theirs = NodeCache(store, namespace="acme"), NodeCache(store, namespace="other")
    keys: list[FullKey] = [(("w", "f", "n"), "k"), (("w", "f", "n"), "l"), (("w", "f", "n2"), "k"), (("w", "f"), "k")]
    for cache in (ours, theirs):
        cache.set(dict.fromkeys(keys, (WRITES, None)))
    await world.clear(ours, [("w", "f", "n"), ("w", "x")])
    assert set(ours.get(keys)) == set(keys[2:])
    await world.clear(ours, [])
    assert set(ours.get(keys)) == set(keys[2:])
    await world.clear(ours)
    assert ours.get(keys) == {}
    assert set(theirs.get(keys)) == set(keys)


async def test_a_store_that_cannot_clear_says_so(world: World) -> None:
    """Clearing is asked for by a person, who must know that it did not happen."""
    with pytest.raises(StoreError):
        await world.clear(NodeCache(BrokenStore(StoreError("down", reason="down"))))


def test_a_namespace_that_no_key_can_hold_is_refused() -> None:
    """A tenant that is called as a kind of key is an error when the cache is made."""
    with pytest.raises(InvalidKeyError):
        NodeCache(MemoryStore(), namespace="node")
