"""Stores around stores: failures become misses, a switched-off cache is empty, foreign stores are not trusted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.stores import BaseStore, InMemoryByteStore

from cache.breaker import Breakers, Direction
from cache.counters import Counts
from cache.errors import StoreConnectionError, StoreError, StoreResponseError, StoreTimeoutError
from cache.stores.memory import MemoryStore
from cache.wrappers import ByteStoreAdapter, DisabledStore, FailOpenStore
from tests.fakes import BrokenStore, FakeClock, Probers, SeveralServers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from cache.stores.base import Store

REFUSED = StoreConnectionError("nobody there", reason="refused")
READ_ONLY = StoreResponseError("READONLY", reason="read_only")
FOREIGN = StoreResponseError("WRONGTYPE", reason="wrong_type")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def probers() -> Probers:
    return Probers()


@pytest.fixture
def broken() -> BrokenStore:
    return BrokenStore(REFUSED, verbs={"mget", "mset", "mdelete", "mpeek", "yield_keys", "ping"})


@pytest.fixture
def store(broken: BrokenStore, clock: FakeClock) -> Iterator[FailOpenStore]:
    store = FailOpenStore(broken, clock=clock)
    yield store
    store.close()


async def test_a_failing_read_is_a_miss_for_every_key(store: FailOpenStore, broken: BrokenStore) -> None:
    """A reader gets `None` for each key, in both worlds, and the failure is counted by its name."""
    assert store.mget(["a", "b"]) == [None, None]
    store.breaker.close()
    assert await store.amget(["a", "b", "c"]) == [None, None, None]
    assert store.counters.snapshot() == Counts(failures={"refused": 2})
    assert (broken.n_asked("mget"), broken.n_asked("amget")) == (1, 1)


async def test_a_failing_write_is_nothing_and_is_not_confirmed(store: FailOpenStore, broken: BrokenStore) -> None:
    """A writer meets no error; who wants to know is told that nothing was stored."""
    store.mset([("a", b"1")], ttl_s=60)
    store.breaker.close()
    await store.amset([("a", b"1")], ttl_s=60)
    store.breaker.close()
    assert not store.save([("a", b"1")], ttl_s=60)
    store.breaker.close()
    assert not await store.asave([("a", b"1")], ttl_s=60)
    assert store.counters.snapshot() == Counts(failures={"refused": 1})
    assert (broken.n_asked("mset"), broken.n_asked("amset")) == (1, 0)  # a failed write pauses the next ones


async def test_after_one_failure_nobody_asks_the_server(store: FailOpenStore, broken: BrokenStore) -> None:
    """While the server is left alone, reads miss and writes vanish without touching it."""
    store.mget(["a"])
    for _ in range(3):
        assert store.mget(["a"]) == [None]
        assert await store.amget(["a"]) == [None]
        assert not store.save([("a", b"1")], ttl_s=60)
        assert not await store.asave([("a", b"1")], ttl_s=60)
    assert [verb for verb in broken.asked if verb != "ping"] == ["mget"]
    assert store.counters.snapshot() == Counts(failures={"refused": 1})


async def test_a_server_that_is_back_is_used_again(probers: Probers, store: FailOpenStore, broken: BrokenStore) -> None:
    """Once a probe has found the server back, entries are stored and found."""
    store.mget(["a"])
    broken.heal()
    probers.join()
    assert store.save([("a", b"1"), ("b", b"2")], ttl_s=60)
    assert await store.asave([("c", b"3")], ttl_s=60)
    assert store.mget(["a", "c"]) == [b"1", b"3"]
    assert await store.amget(["b", "d"]) == [b"2", None]
    assert store.counters.snapshot() == Counts(stored=3, failures={"refused": 1})


async def test_a_read_only_server_is_read(clock: FakeClock) -> None:
    """Where only writes fail, reads go on, and a write is tried again after a pause."""
    inner = MemoryStore(clock=clock)
    inner.mset([("a", b"1")])
    broken = BrokenStore(READ_ONLY, inner=inner, verbs={"mset"})
    store = FailOpenStore(broken, clock=clock)
    for _ in range(2):
        assert not store.save([("b", b"2")], ttl_s=60)
        assert store.mget(["a"]) == [b"1"]
        assert await store.amget(["a"]) == [b"1"]
    assert broken.n_asked("mset") == 1
    clock.advance(1.0)
    broken.heal()
    assert await store.asave([("b", b"2")], ttl_s=60)
    assert store.mget(["b"]) == [b"2"]


async def test_a_foreign_value_costs_its_own_read_only(clock: FakeClock) -> None:
    """A key that holds something else is a miss, and the server stays in use."""
    broken = BrokenStore(FOREIGN, verbs={"mget"})
    store = FailOpenStore(broken, clock=clock)
    assert [store.mget(["a"]), await store.amget(["a"])] == [[None], [None]]
    assert store.save([("b", b"2")], ttl_s=60)
    broken.heal()
    assert store.mget(["b"]) == [b"2"]
    assert store.counters.snapshot() == Counts(stored=1, failures={"wrong_type": 2})


async def test_administration_is_not_covered(store: FailOpenStore) -> None:
    """Deleting, peeking, going through keys and asking for life show the failure: who does that wants to know."""
    with pytest.raises(StoreError):
        store.mdelete(["a"])
    with pytest.raises(StoreError):
        await store.amdelete(["a"])
    with pytest.raises(StoreError):
        store.mpeek(["a"], 4)
    with pytest.raises(StoreError):
        await store.ampeek(["a"], 4)
    with pytest.raises(StoreError):
        list(store.yield_keys())
    with pytest.raises(StoreError):
        [key async for key in store.ayield_keys()]
    with pytest.raises(StoreError):
        store.ping()
    with pytest.raises(StoreError):
        await store.aping()
    assert not store.breaker.is_open
    assert store.counters.snapshot() == Counts()


def test_stores_on_one_server_share_what_is_known_of_it(broken: BrokenStore, clock: FakeClock) -> None:
    """With one breaker, what one store has found dead the other does not ask, and each counts for itself."""
    breakers = Breakers(broken.ping_server, clock=clock)
    one, other = FailOpenStore(broken, breakers=breakers), FailOpenStore(broken, breakers=breakers)
    assert one.mget(["a"]) == other.mget(["a"]) == [None]
    assert broken.n_asked("mget") == 1
    assert [store.counters.snapshot().failures for store in (one, other)] == [{"refused": 1}, {}]
    breakers.close()


class WaitingStore(MemoryStore):
    """A store whose asynchronous reads never end."""

    async def amget(self, keys: Sequence[str], *, expect_bytes: int = 0) -> list[bytes | None]:
        await asyncio.Event().wait()
        return []


async def test_cancellation_passes_through_and_is_no_failure(clock: FakeClock) -> None:
    """A caller that gives up is not held, and its giving up says nothing about the server (trap H12)."""
    store = FailOpenStore(WaitingStore(), clock=clock)
    task = asyncio.create_task(store.amget(["a"]))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not store.breaker.is_open
    assert store.counters.snapshot() == Counts()


class NotingStore(MemoryStore):
    """Notes how it was asked and closed."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[Any] = []

    def mget(self, keys: Sequence[str], *, expect_bytes: int = 0) -> list[bytes | None]:
        self.noted.append(expect_bytes)
        return super().mget(keys)

    async def amget(self, keys: Sequence[str], *, expect_bytes: int = 0) -> list[bytes | None]:
        return self.mget(keys, expect_bytes=expect_bytes)

    def info(self) -> dict[str, str]:
        return {"n_keys": "7"}

    async def ainfo(self) -> dict[str, str]:
        return {"n_keys": "7"}

    def close(self) -> None:
        self.noted.append("closed")

    async def aclose(self) -> None:
        self.noted.append("aclosed")


async def test_everything_else_is_handed_on() -> None:
    """The expected size, the time to live, information and closing reach the store inside."""
    inner = NotingStore()
    async with FailOpenStore(inner) as store:
        store.mget(["a"], expect_bytes=11)
        await store.amget(["a"], expect_bytes=12)
        assert store.info() == await store.ainfo() == {"n_keys": "7"}
    with FailOpenStore(inner):
        pass
    assert inner.noted == [11, 12, "aclosed", "closed"]


async def test_a_time_to_live_reaches_the_store(clock: FakeClock) -> None:
    """An entry that was stored through the wrapper ends when it should."""
    store = FailOpenStore(MemoryStore(clock=clock), clock=clock)
    store.mset([("a", b"1")], ttl_s=60)
    await store.amset([("b", b"1")], ttl_s=120)
    clock.advance(60)
    assert store.mget(["a", "b"]) == [None, b"1"]


async def test_a_cache_that_is_switched_off_is_empty() -> None:
    """Nothing is found, nothing is kept, nothing fails, and a write is not confirmed."""
    store = DisabledStore()
    store.mset([("a", b"1")], ttl_s=60)
    await store.amset([("a", b"1")], ttl_s=60)
    assert not store.save([("a", b"1")], ttl_s=60)
    assert not await store.asave([("a", b"1")], ttl_s=60)
    assert store.mget(["a", "b"]) == await store.amget(["a", "b"]) == [None, None]
    assert store.mpeek(["a"], 4) == await store.ampeek(["a"], 4) == [None]
    assert list(store.yield_keys()) == [key async for key in store.ayield_keys()] == []
    store.mdelete(["a"])
    await store.amdelete(["a"])
    store.ping()
    await store.aping()


async def test_any_byte_store_of_langchain_will_do() -> None:
    """Through the adapter a store of LangChain's own has all verbs of ours, views of memory included."""
    inner = InMemoryByteStore()
    store = ByteStoreAdapter(inner)
    store.mset([("emb:a", memoryview(b"12345"))], ttl_s=60)
    await store.amset([("b", b"6")])
    assert type(inner.store["emb:a"]) is bytes
    assert store.mget(["emb:a", "c"]) == await store.amget(["emb:a", "c"]) == [b"12345", None]
    assert store.mpeek(["emb:a", "c"], 2) == await store.ampeek(["emb:a", "c"], 2) == [b"12", None]
    assert list(store.yield_keys(prefix="emb:")) == [key async for key in store.ayield_keys(prefix="emb:")] == ["emb:a"]
    store.ping()
    await store.aping()
    store.mdelete(["emb:a"])
    await store.amdelete(["b"])
    assert store.mget(["emb:a", "b"]) == [None, None]


class OddStore(BaseStore[str, Any]):
    """A store of somebody else's that answers what it was given, or raises it."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def mget(self, keys: Sequence[str]) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def mset(self, key_value_pairs: Sequence[tuple[str, Any]]) -> None:
        self.mget([])

    def mdelete(self, keys: Sequence[str]) -> None:
        self.mget([])

    def yield_keys(self, *, prefix: str | None = None) -> Iterator[str]:
        self.mget([])
        yield from ()


VERBS: list[tuple[Callable[[Store], Any], Callable[[Store], Awaitable[Any]]]] = [
    (lambda store: store.mget(["a"]), lambda store: store.amget(["a"])),
    (lambda store: store.mset([("a", b"1")]), lambda store: store.amset([("a", b"1")])),
    (lambda store: store.mdelete(["a"]), lambda store: store.amdelete(["a"])),
    (lambda store: store.mpeek(["a"], 4), lambda store: store.ampeek(["a"], 4)),
    (lambda store: list(store.yield_keys()), lambda store: anext(store.ayield_keys())),
    (lambda store: store.ping(), lambda store: store.aping()),
]


@pytest.mark.parametrize(("verb", "averb"), VERBS)
async def test_whatever_a_foreign_store_raises_is_a_store_error(
    verb: Callable[[Store], Any], averb: Callable[[Store], Awaitable[Any]]
) -> None:
    """An error of a foreign store has the name of its class in its message, and one word for the counters."""
    store = ByteStoreAdapter(OddStore(KeyError("inside")))
    with pytest.raises(StoreError, match="KeyError: 'inside'") as raised:
        verb(store)
    assert raised.value.reason == "foreign_store"
    with pytest.raises(StoreError, match="KeyError: 'inside'"):
        await averb(store)


@pytest.mark.parametrize("answer", [["text"], [b"1", b"2"], [], None, (b"1",), {"a": b"1"}, [1]])
async def test_whatever_a_foreign_store_answers_wrongly_is_a_store_error(answer: Any) -> None:
    """Text of a client that decodes, or another number of values, is a failure of the store (trap H28)."""
    store = ByteStoreAdapter(OddStore(answer))
    with pytest.raises(StoreError, match="expected"):
        store.mget(["a"])
    with pytest.raises(StoreError, match="expected"):
        await store.amget(["a"])


def test_a_foreign_store_that_fails_is_a_miss() -> None:
    """Wrapped once more, a foreign store fails open like any other."""
    store = FailOpenStore(ByteStoreAdapter(OddStore(["text"])))
    assert store.mget(["a"]) == [None]
    assert store.counters.snapshot().failures == {"foreign_store": 1}
    store.close()


def test_a_failing_write_does_not_hide_in_the_breaker(store: FailOpenStore) -> None:
    """The breaker hears of a failure in the direction in which it was met."""
    store.mset([("a", b"1")], ttl_s=60)
    assert not store.breaker.allows(Direction.WRITE)
    assert not store.breaker.allows(Direction.READ)


@pytest.fixture
def several() -> SeveralServers:
    return SeveralServers()


@pytest.fixture
def spread(several: SeveralServers, clock: FakeClock) -> Iterator[FailOpenStore]:
    """A store that fails open on servers a, b and c, each with an entry."""
    several.mset([("a1", b"a"), ("b1", b"b"), ("c1", b"c")])
    several.asked.clear()
    store = FailOpenStore(several, clock=clock)
    yield store
    store.close()


async def test_of_several_servers_only_the_failing_one_is_left_alone(
    spread: FailOpenStore, several: SeveralServers
) -> None:
    """The keys of a failing server are misses and are not asked for again; the others are hits, in their places."""
    several.failing["b"] = REFUSED
    assert spread.mget(["c1", "b1", "a1", "b2"]) == [b"c", None, b"a", None]
    assert await spread.amget(["c1", "b1", "a1", "b2"]) == [b"c", None, b"a", None]
    assert spread.mget(["b1"]) == await spread.amget(["b1"]) == [None]
    assert several.asked == [["c1", "b1", "a1", "b2"], ["c1", "a1"]]
    assert spread.counters.snapshot() == Counts(failures={"refused": 1})
    assert [spread.breakers.of(name).is_open for name in "abc"] == [False, True, False]


async def test_of_several_servers_all_but_the_failing_one_are_written(
    spread: FailOpenStore, several: SeveralServers
) -> None:
    """A write of which a part fails is not confirmed; what was written is counted and is there."""
    several.failing["b"] = REFUSED
    assert not spread.save([("a2", b"1"), ("b2", b"2")], ttl_s=60)
    assert not await spread.asave([("a3", b"3"), ("b3", b"4"), ("c3", b"5")], ttl_s=60)
    assert not spread.save([("b2", b"2")], ttl_s=60)
    assert spread.save([("a2", b"6")], ttl_s=60)
    assert spread.counters.snapshot() == Counts(stored=4, failures={"refused": 1})
    assert spread.mget(["a2", "a3", "c3"]) == [b"6", b"3", b"5"]


def test_each_server_that_fails_is_counted(spread: FailOpenStore, several: SeveralServers) -> None:
    """Two servers that fail in one operation count by their own reasons, and each is treated by its own."""
    several.failing |= {"a": StoreTimeoutError("late"), "b": StoreResponseError("OOM", reason="out_of_memory")}
    assert not spread.save([("a2", b"1"), ("b2", b"2"), ("c2", b"3")], ttl_s=60)
    assert spread.counters.snapshot() == Counts(stored=1, failures={"timeout": 1, "out_of_memory": 1})
    assert [spread.breakers.of(name).is_open for name in "abc"] == [True, False, False]
    assert [spread.breakers.of(name).allows(Direction.WRITE) for name in "abc"] == [False, False, True]


def test_a_server_that_is_back_is_asked_again(probers: Probers, spread: FailOpenStore, several: SeveralServers) -> None:
    """The probe asks the one server that failed; once it answers, its keys are hits again."""
    several.failing["b"] = REFUSED
    spread.mget(["a1", "b1"])
    several.failing.clear()
    probers.join()
    assert spread.mget(["a1", "b1"]) == [b"a", b"b"]


def test_a_failure_has_the_name_that_it_bears(spread: FailOpenStore, several: SeveralServers) -> None:
    """Where the servers were not known before, those that failed are left alone by the names in the error."""
    several.is_known, several.failing["b"] = False, REFUSED
    assert spread.mget(["a1", "b1"]) == [b"a", None]
    assert not spread.breaker.is_open
    several.is_known = True
    assert spread.mget(["b1", "c1"]) == [None, b"c"]
    assert several.asked == [["a1", "b1"], ["c1"]]


async def test_nothing_to_do_asks_nobody(spread: FailOpenStore, several: SeveralServers) -> None:
    """No keys are no misses, and no entries are confirmed."""
    assert spread.mget([]) == await spread.amget([]) == []
    assert spread.save([], ttl_s=60)
    assert await spread.asave([], ttl_s=60)
    assert several.asked == []


def test_a_wrapper_names_the_servers_inside(spread: FailOpenStore, several: SeveralServers) -> None:
    """Who wraps a wrapper finds the same servers, and can ask for one."""
    several.failing["b"] = REFUSED
    assert spread.servers_of(["a1", "b1"]) == ["a", "b"]
    spread.ping_server("a")
    with pytest.raises(StoreConnectionError):
        spread.ping_server("b")
