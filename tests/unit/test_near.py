"""What a process keeps near: nothing that has changed, nothing that it could not hear of, nobody's to write into."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref

import numpy as np
import pytest

from cache import CacheBackedEmbeddings, CacheSettings, MemoryStore, ResponseCache
from cache.counters import Counters
from cache.embedding_flow import Role
from cache.errors import PartialFailureError, StoreConnectionError, StoreError
from cache.json_cache import JsonCache
from cache.keys import Key, Kind
from cache.near import NearLeasingStore, NearStore, near_store
from cache.near_cache import MAX_NAMESPACES, NearCache
from cache.opening import bare_store, near_of, open_store, store_for
from cache.sessions import Sessions
from cache.wrappers import FailOpenStore
from tests.fakes import BrokenStore, CountingEmbeddings, FakeClock
from tests.integration.calling import World
from tests.tracked import TrackedMemory, answer_of, key_of, random_vectors, tags_of, vectors_of

BYTES = 2**20
KEY, OTHER = key_of(0), key_of(1)
OTHER_ENTRY = answer_of(OTHER)
ENTRY, NEWER = answer_of(KEY), answer_of(KEY, fill=b"y")
REFUSED = StoreConnectionError("nobody there", reason="refused")

each_world = pytest.mark.parametrize("world", World)


@pytest.fixture
def server() -> TrackedMemory:
    """What the near store is near to; changes made in it directly are somebody else's."""
    server = TrackedMemory()
    server.mset([(KEY, ENTRY), (OTHER, OTHER_ENTRY)])
    return server


@pytest.fixture
def near(server: TrackedMemory) -> NearStore:
    """A near store that tracks its server and holds nothing yet."""
    near = NearStore(server, NearCache(BYTES))
    near.mget([key_of(999)])  # has changes told
    server.read.clear()
    return near


def n_near(near: NearStore) -> int:
    return near.counters.snapshot().near_hits


@each_world
async def test_what_was_read_is_near(near: NearStore, server: TrackedMemory, world: World) -> None:
    """The second reading of a key asks nobody, gives the same bytes, and is counted."""
    assert await world.mget(near, [KEY]) == [ENTRY]
    assert await world.mget(near, [KEY, KEY]) == [ENTRY, ENTRY]
    assert (server.read, n_near(near)) == ([[KEY]], 2)


@each_world
async def test_only_what_is_not_near_is_asked_for(near: NearStore, server: TrackedMemory, world: World) -> None:
    """Of a batch, the server is asked for the rest in one read, and every value is in its place."""
    await world.mget(near, [KEY])
    absent = key_of(2)
    assert await world.mget(near, [absent, KEY, OTHER, KEY]) == [None, ENTRY, OTHER_ENTRY, ENTRY]
    assert server.read == [[KEY], [absent, OTHER]]


async def test_a_hit_does_not_wait_for_the_loop(near: NearStore) -> None:
    """A reading that is answered from near ends without giving the loop a turn."""
    near.mget([KEY])
    for store in (near, FailOpenStore(near)):
        with pytest.raises(StopIteration) as ended:
            store.amget([KEY]).send(None)
        assert ended.value.value == [ENTRY]


@each_world
async def test_what_others_change_is_not_served_once_it_is_told(
    near: NearStore, server: TrackedMemory, world: World
) -> None:
    """After the word of a deletion, of a new value or of all, the server is asked again, and others stay near."""
    await world.mget(near, [KEY, OTHER])
    server.mset([(KEY, NEWER)])
    server.tracking.tell([KEY])
    assert await world.mget(near, [KEY, OTHER]) == [NEWER, OTHER_ENTRY]
    server.mdelete([KEY])
    server.tracking.tell([KEY])
    assert await world.mget(near, [KEY, OTHER]) == [None, OTHER_ENTRY]
    assert server.read == [[KEY, OTHER], [KEY], [KEY]]
    server.tracking.tell(None)
    await world.mget(near, [OTHER])
    assert server.read[3:] == [[OTHER]]


@each_world
@pytest.mark.parametrize("told", [[KEY], None], ids=["the key", "everything"])
async def test_what_changes_while_it_is_read_is_not_kept(
    near: NearStore, server: TrackedMemory, world: World, told: list[str] | None
) -> None:
    """A value that was read just before its deletion, whose word came before the value, is not near afterwards."""

    def delete() -> None:
        server.mdelete([KEY])
        server.tracking.tell(told)

    server.meanwhile = delete
    assert await world.mget(near, [KEY]) == [ENTRY]
    assert await world.mget(near, [KEY]) == [None]


@each_world
async def test_a_change_of_another_key_does_not_matter(near: NearStore, server: TrackedMemory, world: World) -> None:
    """Word of one key while another is read keeps nothing from being near."""
    server.meanwhile = lambda: server.tracking.tell([OTHER])
    await world.mget(near, [KEY])
    assert await world.mget(near, [KEY]) == [ENTRY]
    assert n_near(near) == 1


@each_world
async def test_a_loss_of_the_server_while_it_is_read_is_a_change_of_all(
    near: NearStore, server: TrackedMemory, world: World
) -> None:
    """When the word of changes stopped during a read and goes on before its end, what was read is not kept."""

    def lose_and_find() -> None:
        server.tracking.lose()
        server.mdelete([KEY])
        server.tracking.is_heard = True

    server.meanwhile = lose_and_find
    assert await world.mget(near, [KEY]) == [ENTRY]
    assert await world.mget(near, [KEY]) == [None]


@each_world
async def test_a_read_that_began_before_the_server_was_heard_is_not_kept(
    near: NearStore, server: TrackedMemory, world: World
) -> None:
    """What a read found that began while changes were not told of is not kept, though they are told at its end."""
    server.tracking.is_heard = False
    server.meanwhile = lambda: setattr(server.tracking, "is_heard", True)
    for _ in range(3):
        assert await world.mget(near, [KEY]) == [ENTRY]
    assert (len(server.read), n_near(near)) == (2, 1)


@each_world
async def test_nothing_is_near_while_the_server_is_not_heard(
    near: NearStore, server: TrackedMemory, world: World
) -> None:
    """With the word of changes what was near is gone, reads go to the server, and all begins anew when it is back."""
    await world.mget(near, [KEY])
    server.tracking.lose()
    for _ in range(2):
        assert await world.mget(near, [KEY]) == [ENTRY]
    assert (len(server.read), n_near(near), near.near.size_bytes) == (3, 0, 0)
    server.tracking.is_heard = True
    for _ in range(2):
        assert await world.mget(near, [KEY]) == [ENTRY]
    assert (len(server.read), n_near(near)) == (4, 1)


@each_world
async def test_nothing_is_served_on_the_word_of_a_silent_server(
    near: NearStore, server: TrackedMemory, world: World
) -> None:
    """When a server has not proven of late that it tells, what is near is not served, and is again when it has."""
    await world.mget(near, [KEY])
    server.tracking.is_heard = False
    server.mdelete([KEY])
    assert await world.mget(near, [KEY]) == [None]
    server.tracking.tell([KEY])
    server.tracking.is_heard = True
    assert await world.mget(near, [KEY]) == [None]


@each_world
async def test_own_changes_hold_at_once(near: NearStore, server: TrackedMemory, world: World) -> None:
    """Who deletes or writes through the store reads what it has done, also before the server tells of it."""
    await world.mget(near, [KEY, OTHER])
    await world.mset(near, [(KEY, NEWER)])
    assert await world.mget(near, [KEY]) == [NEWER]
    await world.mdelete(near, [KEY, OTHER])
    assert await world.mget(near, [KEY, OTHER]) == [None, None]
    assert len(server.read) == 3


@each_world
async def test_an_own_change_during_a_read_keeps_what_is_read_from_being_kept(
    near: NearStore, server: TrackedMemory, world: World
) -> None:
    """A value that was read while another thread wrote a new one is not near."""
    server.meanwhile = lambda: near.mset([(KEY, NEWER)])
    assert await world.mget(near, [KEY]) == [ENTRY]
    assert await world.mget(near, [KEY]) == [NEWER]


@each_world
async def test_a_write_that_fails_may_have_been_done(world: World) -> None:
    """After a failing write or deletion the server is asked what holds."""

    class HalfBroken(TrackedMemory):
        def mset(self, *arguments: object, **named: object) -> None:
            super().mset(*arguments, **named)  # type: ignore[arg-type]  # handed on as they came
            raise REFUSED

        def mdelete(self, keys: object) -> None:
            super().mdelete(keys)  # type: ignore[arg-type]  # as above
            raise REFUSED

    server = HalfBroken()
    near = NearStore(server, NearCache(BYTES))
    MemoryStore.mset(server, [(KEY, ENTRY)])
    for _ in range(3):
        await world.mget(near, [KEY])
    with pytest.raises(StoreError):
        await world.mset(near, [(KEY, NEWER)])
    assert await world.mget(near, [KEY]) == [NEWER]
    assert await world.mget(near, [KEY]) == [NEWER]
    with pytest.raises(StoreError):
        await world.mdelete(near, [KEY])
    assert await world.mget(near, [KEY]) == [None]


@each_world
async def test_settling_a_lease_replaces_what_is_near(server: TrackedMemory, world: World) -> None:
    """Who stores a value with its lease reads that value, and the lease is that of the server."""
    near = near_store(server, BYTES)
    assert isinstance(near, NearLeasingStore)
    for _ in range(2):
        await world.mget(near, [KEY])
    assert (await world.acquire(near, KEY, b"one", life_ms=1000)).value == ENTRY
    assert await world.renew(near, [(KEY, b"one")], life_ms=1000) == [True]
    await world.settle(near, [(KEY, NEWER)], (KEY, b"one"), ttl_s=60)
    assert await world.mget(near, [KEY]) == [NEWER]
    assert (await world.acquire(near, KEY, b"two", life_ms=1000)).is_held
    await world.release(near, [(KEY, b"two")])


@each_world
async def test_a_failing_server_does_not_take_away_what_is_near(world: World) -> None:
    """Of a batch, what is near is given and the rest is a miss; the failure is counted as one."""

    class Failing(TrackedMemory):
        is_failing = False

        def mget(self, keys: object, *, expect_bytes: int = 0) -> list[bytes | None]:
            if self.is_failing:
                raise StoreConnectionError("nobody there", reason="refused")
            return super().mget(keys, expect_bytes=expect_bytes)  # type: ignore[arg-type]  # handed on as it came

    server = Failing()
    server.mset([(KEY, ENTRY), (OTHER, OTHER_ENTRY)])
    near = NearStore(server, NearCache(BYTES))
    for _ in range(2):
        await world.mget(near, [KEY])
    server.is_failing = True
    with pytest.raises(PartialFailureError) as raised:
        await world.mget(near, [OTHER, KEY])
    assert (raised.value.values, raised.value.n_done) == ([None, ENTRY], 1)
    with FailOpenStore(near) as safe:
        assert await world.mget(safe, [OTHER, KEY]) == [None, ENTRY]
        assert safe.counters.snapshot().failures == {"refused": 1}
    with pytest.raises(StoreConnectionError):
        await world.mget(near, [OTHER])


@each_world
async def test_what_one_of_several_servers_gave_is_kept(server: TrackedMemory, world: World) -> None:
    """When a part of the servers fails, what the others gave is given, and near afterwards."""
    near = NearStore(server, NearCache(BYTES))
    await world.mget(near, [key_of(3)])
    failed = PartialFailureError.of([REFUSED], values=[ENTRY, None], n_done=1)

    def fail() -> None:
        raise failed

    server.meanwhile = fail
    with pytest.raises(PartialFailureError) as raised:
        await world.mget(near, [KEY, OTHER])
    assert raised.value.values == [ENTRY, None]
    assert await world.mget(near, [KEY]) == [ENTRY]
    assert n_near(near) == 1


@each_world
@pytest.mark.parametrize("before", ["session:", "health:", "acme:session:", "foreign:", ""])
async def test_what_changes_under_its_key_is_never_near(world: World, before: str) -> None:
    """Sessions, health reports and keys that are not ours are read from the server each time."""
    server, key = TrackedMemory(), key_of(0, before=before)
    near = NearStore(server, NearCache(BYTES))
    server.mset([(key, ENTRY)])
    for _ in range(3):
        assert await world.mget(near, [key]) == [ENTRY]
    assert len(server.read) == 3
    assert server.tracking.prefixes == ()


@pytest.mark.parametrize("before", ["openai:m:", "acme:emb:m:", "tool:t:", "acme:node:n:"])
def test_all_others_are(before: str) -> None:
    """Answers, vectors, results of tools and of nodes are near, in every namespace."""
    server, key = TrackedMemory(), key_of(0, before=before)
    near = NearStore(server, NearCache(BYTES))
    server.mset([(key, answer_of(key))])
    for _ in range(3):
        near.mget([key])
    assert n_near(near) > 0


def test_a_server_is_not_asked_for_word_of_too_many_namespaces(server: TrackedMemory) -> None:
    """Those that come after the bound are read from the server; those before stay near."""
    near = NearStore(server, NearCache(BYTES))
    keys = [key_of(0, before=f"tenant{n}:emb:m:") for n in range(MAX_NAMESPACES + 1)]
    server.mset([(key, answer_of(key)) for key in keys])
    for _ in range(3):
        for key in keys:
            near.mget([key])
    server.read.clear()
    for key in keys:
        near.mget([key])
    assert server.read == [keys[-1:]]


def test_an_entry_is_not_served_after_its_time() -> None:
    """What the server still has is asked of it, once the entry itself says that it is too old."""
    clock, server = FakeClock(), TrackedMemory()
    near = NearStore(server, NearCache(BYTES, clock=clock))
    entry = answer_of(KEY, ttl_s=10, now_s=clock.now_s())
    server.mset([(KEY, entry)])
    for _ in range(3):
        near.mget([KEY])
    clock.advance(9.9)
    before = len(server.read)
    near.mget([KEY])
    assert len(server.read) == before
    clock.advance(0.1)
    for _ in range(2):
        assert near.mget([KEY]) == [entry]
    assert len(server.read) == before + 2


def test_vectors_are_given_as_one_array_of_the_caller_s_own(server: TrackedMemory) -> None:
    """A batch of vectors that are near asks nobody, equals what was stored, and may be written into."""
    model = CountingEmbeddings()
    cache = CacheBackedEmbeddings(model, FailOpenStore(NearStore(server, NearCache(BYTES))), model="m")
    texts = [f"text {n}" for n in range(40)]
    made = cache.embed_array(texts)
    for _ in range(2):
        cache.embed_array(texts)
    server.read.clear()
    for _ in range(2):
        found = cache.embed_array(texts)
        np.testing.assert_array_equal(found, made)
        found[:] = 0
    assert asyncio.run(cache.aembed_documents(texts[::-1])) == made[::-1].tolist()
    assert cache.embed_query(texts[0]) == model.vector(texts[0], is_query=True)
    assert server.read == [cache.space.keys(texts[:1], Role.QUERY)[0]]
    assert (model.n_texts, cache.counts().near_hits, cache.counts().hits) == (41, 160, 200)


def test_a_batch_that_is_near_in_part_is_completed(server: TrackedMemory) -> None:
    """New texts among near ones are embedded, and every vector is that of its text."""
    model = CountingEmbeddings()
    cache = CacheBackedEmbeddings(model, FailOpenStore(NearStore(server, NearCache(BYTES))), model="m")
    texts = [f"text {n}" for n in range(10)]
    for _ in range(3):
        cache.embed_array(texts[::2])
    assert cache.embed_documents(texts) == [model.vector(text) for text in texts]
    assert model.n_texts == 10


def test_a_vector_of_another_width_is_made_anew(server: TrackedMemory) -> None:
    """When the model has become wider, what is near is of no use to it."""
    space_of = {width: CountingEmbeddings(width=width) for width in (8, 16)}
    near = FailOpenStore(NearStore(server, NearCache(BYTES)))
    for _ in range(3):
        CacheBackedEmbeddings(space_of[8], near, model="m").embed_array(["a"])
    wide = CacheBackedEmbeddings(space_of[16], near, model="m")
    wide.embed_array(["b"])
    assert wide.embed_array(["a"]).shape == (1, 16)


def test_each_cache_counts_its_own(server: TrackedMemory) -> None:
    """Caches on one store share what is near, and each counts what it has read from there."""
    store = FailOpenStore(NearStore(server, NearCache(BYTES)))
    one, other = (CacheBackedEmbeddings(CountingEmbeddings(), store, model="m") for _ in range(2))
    for _ in range(3):
        one.embed_array(["a"])
    other.embed_array(["a"])
    assert near_of(one.store) is near_of(other.store) is near_of(store)
    assert (one.counts().near_hits, other.counts().near_hits) == (1, 1)


def test_sessions_are_never_near(server: TrackedMemory) -> None:
    """A session that another process has replaced is the new one at once."""
    store = FailOpenStore(NearStore(server, NearCache(BYTES)))
    counters = store.counters
    sessions, theirs = (
        Sessions(each, settings=CacheSettings(), counters=counters) for each in (store, FailOpenStore(server))
    )
    sessions.set("id", {"n": 1})
    for n in range(3):
        theirs.set("id", {"n": n})
        assert sessions.get("id") == {"n": n}
    assert counters.snapshot().near_hits == 0


def test_answers_are_near_and_are_the_caller_s_own(server: TrackedMemory) -> None:
    """A result that is near is given anew each time: who changes it changes it for itself."""
    store = FailOpenStore(NearStore(server, NearCache(BYTES)))
    results = JsonCache(Kind.TOOL_RESULT, store, settings=CacheSettings(), counters=store.counters)
    key = Key(Kind.TOOL_RESULT, tool="t", content_hash="0" * 32)
    results.set(key, {"list": [1]})
    for _ in range(4):
        found = results.get(key)
        assert found == {"list": [1]}
        found["list"].append(2)
    assert store.counters.snapshot().near_hits > 0


def test_stores_on_one_server_share_what_is_near(server: TrackedMemory) -> None:
    """Two stores of one name keep one cache and one word of changes, until both are closed; others share nothing."""
    one, other = (near_store(server_of(server), BYTES, server="a") for _ in range(2))
    assert isinstance(one, NearStore)
    assert isinstance(other, NearStore)
    strange = near_store(server_of(server), BYTES, server="b")
    assert isinstance(strange, NearStore)
    assert one.near is other.near is not strange.near
    for _ in range(3):
        one.mget([KEY])
    assert isinstance(one.inner, TrackedMemory)
    assert isinstance(other.inner, TrackedMemory)
    assert other.mget([KEY]) == [ENTRY]
    assert other.inner.read == []
    other.mget([OTHER])
    one.close()
    assert one.inner.tracking.closed == 0
    assert other.mget([KEY]) == [ENTRY]
    other.close()
    assert one.inner.tracking.closed == 1
    assert other.near.size_bytes == 0
    assert other.inner.trackings == []


def server_of(server: TrackedMemory) -> TrackedMemory:
    """Another store on the same server."""
    same = TrackedMemory()
    same._entries = server._entries  # the one thing that they share
    return same


def test_a_closed_store_begins_anew(near: NearStore, server: TrackedMemory) -> None:
    """After closing nothing is near; when it is used again, changes are told again."""
    near.mget([KEY])
    near.close()
    assert near.near.size_bytes == 0
    for _ in range(3):
        assert near.mget([KEY]) == [ENTRY]
    assert len(server.trackings) == 2
    assert n_near(near) > 0


def test_off_is_off() -> None:
    """By default nothing is near, nothing runs, and a store that cannot tell of changes is left as it is."""
    before = set(threading.enumerate())
    with open_store(CacheSettings(), url="redis://127.0.0.1:1") as store:
        store.mget([KEY])
        assert near_of(store) is None
    with open_store(CacheSettings(near_bytes=BYTES), url="memory://") as store:
        store.mget([KEY])
        assert isinstance(store.inner, MemoryStore)
    assert [one for one in threading.enumerate() if one not in before and "tracking" in one.name] == []


def test_one_setting_turns_it_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the variable set, every cache that is opened by a URL keeps near what it reads, on one shared cache."""
    monkeypatch.setenv("CACHE_NEAR_BYTES", str(BYTES))
    url = "redis://127.0.0.1:1"
    with (
        CacheBackedEmbeddings.from_url(CountingEmbeddings(), url, model="m") as one,
        ResponseCache.from_url(url) as two,
    ):
        assert near_of(one.store) is not None
        assert near_of(one.store) is near_of(two.store)
        assert not isinstance(bare_store(two.store), NearStore)
        assert near_of(store_for(Kind.JOB_MATCH, two.store, CacheSettings(), Counters())) is near_of(one.store)


def test_what_nobody_holds_is_not_kept() -> None:
    """The memory goes with the last store that uses it, though it was never closed."""
    near = NearStore(TrackedMemory(), NearCache(BYTES))
    near.mget([KEY])
    reference = weakref.ref(near.near)
    del near
    gc.collect()
    assert reference() is None


def test_many_threads_read_while_others_change(server: TrackedMemory) -> None:
    """No reader ever gets a value that was replaced, and told of, before its read began."""
    near = NearStore(server, NearCache(BYTES))
    keys = [key_of(n) for n in range(20)]
    current = dict.fromkeys(keys, 0)
    wrong: list[tuple[int, int]] = []
    is_over = threading.Event()

    def entry(key: str, n: int) -> bytes:
        return answer_of(key, size_bytes=n + 1)

    server.mset([(key, entry(key, 0)) for key in keys])

    def read() -> None:
        while not is_over.is_set():
            for key in keys:
                least = current[key]
                [value] = near.mget([key])
                if len(value or b"") - 65 < least:
                    wrong.append((least, len(value or b"") - 65))

    readers = [threading.Thread(target=read) for _ in range(4)]
    near.mget(keys)
    for reader in readers:
        reader.start()
    for n in range(1, 40):
        for key in keys:
            server.mset([(key, entry(key, n))])
            server.tracking.tell([key])
            current[key] = n
    is_over.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert n_near(near) > 0


def test_a_broken_store_is_no_tracked_one() -> None:
    """A store that cannot tell of changes is not wrapped, whatever the setting."""
    broken = BrokenStore(REFUSED)
    assert near_store(broken, BYTES) is broken
    assert near_store(TrackedMemory(), 0).__class__ is TrackedMemory


def test_the_vectors_of_one_batch_are_all_or_none(near: NearStore, server: TrackedMemory) -> None:
    """As long as one vector of a batch is not near, none is given without asking."""
    keys = [key_of(n) for n in range(10, 14)]
    server.mset(vectors_of(keys, random_vectors(4, 8)))
    near.mget(keys[:3])
    assert near.near.vectors(keys, tags_of(keys)) is None
    near.mget(keys)
    found = near.near.vectors(keys, tags_of(keys))
    assert found is not None
    np.testing.assert_array_equal(found.vectors, random_vectors(4, 8))
    server.tracking.is_heard = False
    assert near.near.vectors(keys, tags_of(keys)) is None
