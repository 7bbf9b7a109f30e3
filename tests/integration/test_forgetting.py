"""Forgetting a person on real servers: nothing about them stays, also what was being made; others stay untouched."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Self

import pytest
from pydantic import SecretStr

from cache import CacheBackedEmbeddings, CacheSettings, MemoryStore, StoreError, about, store_from_url
from cache.admin import Admin
from cache.deadline import Deadline
from cache.errors import ConfigurationError, InvalidKeyError, StoreConnectionError
from cache.forgetting import TOMBSTONE_TTL_S, Receipt, Subject
from cache.service import SyncCacheService
from cache.subjects import SubjectKind
from cache.wrappers import FailOpenStore
from tests.fakes import BrokenStore, CountingEmbeddings
from tests.integration.calling import PATIENT_S, World
from tests.servers import ValkeyCluster, ValkeyServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cache.stores.base import Store

PERSON, OTHER, JOB = "candidate-17", "candidate-18", "job-4"
MARKER = "Jane-Q-Marker"
each_world = pytest.mark.parametrize("world", World)


def settings_of(namespace: str | None = None) -> CacheSettings:
    return CacheSettings(namespace=namespace, key_secret="s" * 32, redis_url="memory://", deadline_ms=5000)


def open_on(url: str) -> Store:
    return store_from_url(url, deadline=Deadline(base_s=PATIENT_S))


def service_on(store: Store, settings: CacheSettings) -> SyncCacheService:
    return SyncCacheService(FailOpenStore(store), settings=settings)


def fill(store: Store, settings: CacheSettings, candidate: str | None, text: str, n: int = 3) -> list[bool]:
    """Keep some of each kind about a candidate; whether each was kept."""
    service, embeddings = service_on(store, settings), embeddings_on(store, settings)
    with about(candidate=candidate, job=JOB if candidate else None):
        embeddings.embed_documents([f"{text} {k}" for k in range(n)])
        return [
            service.cache_openai_response(f"{text}?", f"{text}!", "model"),
            service.cache_job_match_result(text, "an ad", {"about": text}),
            service.cache_optimization_result(text, "an ad", {"about": text}),
        ]


def embeddings_on(store: Store, settings: CacheSettings) -> CacheBackedEmbeddings:
    return CacheBackedEmbeddings(CountingEmbeddings(), store, model="model", settings=settings)


async def forget(world: World, admin: Admin, **subject: Any) -> Receipt:
    return admin.forget(**subject) if world is World.SYNC else await admin.aforget(**subject)


def dump(servers: Sequence[ValkeyServer]) -> dict[bytes, bytes]:
    """All keys of servers and what is stored there."""
    found: dict[bytes, bytes] = {}
    for server in servers:
        for key in server.command("KEYS", "*"):
            value = server.command("GET", key)
            if value is not None:
                found[key] = value
    return found


def assert_gone(stored: dict[bytes, bytes], subject: Subject, *words: str) -> None:
    """Neither the tag nor a word of the person stands in a key or a value, but in the key of the tombstone."""
    rest = {key: value for key, value in stored.items() if key != subject.tombstone.encode()}
    assert len(rest) == len(stored) - 1
    assert not [key for key, value in rest.items() if subject.tag in value]
    assert not [key for key, value in rest.items() for word in words if word.encode() in key + value]


@pytest.fixture(scope="module")
def cluster() -> Iterator[ValkeyCluster]:
    """Three servers."""
    with ValkeyCluster() as servers:
        yield servers


@each_world
async def test_a_person_is_forgotten_on_one_server(valkey: ValkeyServer, world: World) -> None:
    """All kinds about the person go, what is about others or nobody stays bit for bit, and the receipt counts them."""
    valkey.command("FLUSHALL")
    settings = settings_of()
    subject = Subject.of(settings, candidate=PERSON)
    async with open_on(valkey.url) as store:
        fill(store, settings, OTHER, "somebody else")
        fill(store, settings, None, "nobody")
        others = dump([valkey])
        fill(store, settings, PERSON, MARKER)
        dry = await forget(world, Admin(store, settings), candidate=PERSON, dry_run=True)
        receipt = await forget(world, Admin(store, settings), candidate=PERSON)
    stored = dump([valkey])
    assert_gone(stored, subject, MARKER)
    assert others.items() <= stored.items()
    assert len(stored) == len(others) + 1
    assert receipt.counts == {"embedding": 3, "openai_response": 1, "job_match": 1, "optimization": 1}
    assert (receipt.count, receipt.is_verified, receipt.n_passes, receipt.dry_run) == (6, True, 2, False)
    assert receipt.n_entries == len(others)
    assert (dry.count, dry.counts, dry.is_verified, dry.dry_run) == (6, receipt.counts, False, True)
    assert PERSON not in repr(receipt)
    assert 0 < valkey.command("TTL", subject.tombstone) <= TOMBSTONE_TTL_S


@each_world
async def test_what_is_written_after_forgetting_takes_itself_back(valkey: ValkeyServer, world: World) -> None:
    """A computation that was running when the person was forgotten leaves nothing, and others are kept as ever."""
    valkey.command("FLUSHALL")
    settings = settings_of()
    async with open_on(valkey.url) as store:
        await forget(world, Admin(store, settings), candidate=PERSON)
        assert fill(store, settings, PERSON, MARKER) == [False, False, False]
        with about(candidate=PERSON):
            await embeddings_on(store, settings).aembed_documents([MARKER])
        assert_gone(dump([valkey]), Subject.of(settings, candidate=PERSON), MARKER)
        assert fill(store, settings, OTHER, "somebody else") == [True, True, True]


@each_world
async def test_a_job_is_forgotten_with_all_who_matched_it(valkey: ValkeyServer, world: World) -> None:
    """Forgetting a job deletes what was made about it, whoever the candidate was."""
    valkey.command("FLUSHALL")
    settings = settings_of()
    async with open_on(valkey.url) as store:
        fill(store, settings, PERSON, "a")
        fill(store, settings, OTHER, "b")
        receipt = await forget(world, Admin(store, settings), job=JOB)
    assert receipt.subject is SubjectKind.JOB
    assert receipt.count == 12
    assert list(dump([valkey])) == [Subject.of(settings, job=JOB).tombstone.encode()]


async def test_another_tenant_is_not_touched(valkey: ValkeyServer) -> None:
    """The same id in another namespace is somebody else, whose entries stay and who goes on being cached."""
    valkey.command("FLUSHALL")
    own, foreign = settings_of("acme"), settings_of("other")
    with open_on(valkey.url) as store:
        fill(store, own, PERSON, MARKER)
        fill(store, foreign, PERSON, MARKER)
        assert Admin(store, own).forget(candidate=PERSON).count == 6
        assert Admin(store, settings_of()).forget(candidate=PERSON).count == 0
        assert fill(store, foreign, PERSON, "more") == [True, True, True]
        assert Admin(store, foreign).forget(candidate=PERSON).count == 12


class Writers:
    """Threads that keep entries about a person and about others until they are stopped."""

    def __init__(self, url: str, settings: CacheSettings) -> None:
        self._stores = [open_on(url), open_on(url)]
        self._settings = settings
        self._ended = threading.Event()
        self.n_kept = {PERSON: 0, OTHER: 0}
        self._threads = [
            threading.Thread(target=self._write, args=(store, name))
            for store, name in zip(self._stores, self.n_kept, strict=True)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        for store in self._stores:
            store.close()

    def _write(self, store: Store, candidate: str) -> None:
        service, n = service_on(store, self._settings), 0
        while not self._ended.wait(0.005):
            n += 1
            text = f"{MARKER if candidate == PERSON else 'other'} {n}"
            with about(candidate=candidate):
                self.n_kept[candidate] += service.cache_job_match_result(text, "an ad", {"about": text})


def test_a_person_is_forgotten_on_a_cluster_with_writers_running(cluster: ValkeyCluster) -> None:
    """Nothing of the person is left on any server, though a computation about them goes on; others keep everything."""
    cluster.flush()
    settings = settings_of()
    subject = Subject.of(settings, candidate=PERSON)
    with open_on(cluster.url) as store:
        embeddings = embeddings_on(store, settings)
        for candidate, text, n in ((PERSON, MARKER, 1000), (OTHER, "somebody else", 1000), (None, "nobody", 500)):
            with about(candidate=candidate):
                embeddings.embed_documents([f"{text} {k}" for k in range(n)])
        before = dump(cluster.primaries)
        with Writers(cluster.url, settings) as writers:
            receipt = Admin(store, settings).forget(candidate=PERSON)
        last = Admin(store, settings).forget(candidate=PERSON)
    after = dump(cluster.primaries)
    assert_gone(after, subject, MARKER)
    others = {key: value for key, value in before.items() if subject.tag not in value}
    assert len(others) == 1500
    assert others.items() <= after.items()
    assert len(after) == len(others) + writers.n_kept[OTHER] + 1
    assert receipt.counts["embedding"] == 1000
    assert (last.count, last.is_verified, last.n_passes) == (0, True, 1)


@each_world
async def test_a_write_on_a_cluster_takes_itself_back(cluster: ValkeyCluster, world: World) -> None:
    """The tombstone lies on one server, and keys on all three: each write finds it."""
    cluster.flush()
    settings = settings_of()
    async with open_on(cluster.url) as store:
        await forget(world, Admin(store, settings), candidate=PERSON)
        with about(candidate=PERSON):
            if world is World.SYNC:
                embeddings_on(store, settings).embed_documents([f"{MARKER} {k}" for k in range(60)])
            else:
                await embeddings_on(store, settings).aembed_documents([f"{MARKER} {k}" for k in range(60)])
        assert_gone(dump(cluster.primaries), Subject.of(settings, candidate=PERSON))
        with about(candidate=OTHER):
            embeddings_on(store, settings).embed_documents([f"other {k}" for k in range(60)])
    assert len(dump(cluster.primaries)) == 61


def test_an_evicting_server_loses_no_way_to_find_a_person() -> None:
    """A server that had to evict half of everything still has nothing about the person afterwards."""
    with ValkeyServer(["--maxmemory", "2mb", "--maxmemory-policy", "allkeys-lru"]) as server:
        settings = settings_of()
        with open_on(server.url) as store:
            embeddings = embeddings_on(store, settings)
            for k in range(12):
                with about(candidate=PERSON if k % 2 else OTHER):
                    embeddings.embed_documents([f"{k} {n}" for n in range(600)])
            receipt = Admin(store, settings).forget(candidate=PERSON)
        evicted = str(server.command("INFO", "stats").decode()).partition("evicted_keys:")[2].split()[0]
        assert int(evicted) > 0
        assert receipt.count > 0
        assert receipt.is_verified
        assert_gone(dump([server]), Subject.of(settings, candidate=PERSON))


@each_world
async def test_a_full_server_forgets_too(own_valkey: ValkeyServer, world: World) -> None:
    """Where there is no room for the tombstone, what is deleted makes it; other errors are not taken for that."""
    settings = settings_of()
    async with open_on(own_valkey.url) as store:
        with about(candidate=PERSON):
            embeddings_on(store, settings).embed_documents([f"{MARKER} {k}" for k in range(2000)])
        used = own_valkey.command("INFO", "memory").decode().partition("used_memory:")[2].split()[0]
        own_valkey.command("CONFIG", "SET", "maxmemory", int(used) - 100_000)
        with pytest.raises(StoreError, match="maxmemory"):
            store.mset([("a", b"b")], ttl_s=1)
        receipt = await forget(world, Admin(store, settings), candidate=PERSON)
    assert (receipt.count, receipt.is_verified, receipt.n_passes) == (2000, True, 2)
    assert_gone(dump([own_valkey]), Subject.of(settings, candidate=PERSON))


def test_a_server_that_fails_in_the_middle_shows_and_a_second_call_completes() -> None:
    """An error is not taken for having forgotten; what was deleted stays deleted, and calling again does the rest."""
    settings = settings_of()
    for verb in ("mset", "yield_keys", "mpeek", "mdelete", "mget"):
        memory = MemoryStore()
        fill(memory, settings, PERSON, MARKER)
        fill(memory, settings, OTHER, "somebody else")
        store = BrokenStore(StoreConnectionError("gone"), inner=memory, verbs=[verb])
        with pytest.raises(StoreError, match="gone"):
            Admin(store, settings).forget(candidate=PERSON)
        store.heal()
        assert Admin(store, settings).forget(candidate=PERSON).is_verified
        assert len(list(memory.yield_keys())) == 6 + 1


def test_a_killed_server_shows_and_a_second_call_completes() -> None:
    """A server of a cluster that is gone is an error, not an empty one; once it is back, the rest is forgotten."""
    with (
        ValkeyCluster(args=["--appendonly", "yes", "--appendfsync", "always"]) as cluster,
        open_on(cluster.url) as store,
    ):
        settings = settings_of()
        with about(candidate=PERSON):
            embeddings_on(store, settings).embed_documents([f"{MARKER} {k}" for k in range(90)])
        cluster.primaries[1].kill()
        with pytest.raises(StoreError):
            Admin(store, settings).forget(candidate=PERSON)
        cluster.primaries[1].restart()
        cluster.wait_until_agreed()
        assert Admin(store, settings).forget(candidate=PERSON).is_verified
        assert_gone(dump(cluster.primaries), Subject.of(settings, candidate=PERSON))


def test_memory_and_foreign_stores_forget_too() -> None:
    """In this process it works as on a server, and a write is taken back with its lease given back."""
    settings, memory = settings_of(), MemoryStore()
    fill(memory, settings, PERSON, MARKER)
    assert Admin(memory, settings).forget(candidate=PERSON).count == 6
    assert fill(memory, settings, PERSON, MARKER) == [False, False, False]
    assert list(memory.yield_keys()) == [Subject.of(settings, candidate=PERSON).tombstone]


@each_world
async def test_sealed_entries_are_found_without_opening_them(world: World) -> None:
    """Tags stay readable, so who has none of the keys any more can still forget; the tombstone is not sealed."""
    sealing = settings_of().model_copy(update={"encryption_keys": (SecretStr("A" * 43),)})
    memory = MemoryStore()
    assert fill(memory, sealing, PERSON, MARKER) == [True, True, True]
    assert fill(memory, sealing, OTHER, "somebody else") == [True, True, True]
    assert not [value for value in memory.mget(list(memory.yield_keys())) if MARKER.encode() in (value or b"")]
    receipt = await forget(world, Admin(memory, settings_of()), candidate=PERSON)
    assert (receipt.count, receipt.is_verified) == (6, True)
    assert fill(memory, sealing, PERSON, MARKER) == [False, False, False]
    assert fill(memory, sealing, OTHER, "somebody else") == [True, True, True]


@pytest.mark.parametrize("subject", [{}, {"candidate": "a", "job": "b"}])
def test_exactly_one_is_forgotten_at_a_time(subject: dict[str, Any]) -> None:
    """Neither and both are refused, before anything is touched."""
    with pytest.raises(ConfigurationError, match="expected a candidate or a job"):
        Admin(MemoryStore(), settings_of()).forget(**subject)


def test_a_blank_id_is_refused() -> None:
    """Nobody is called by nothing: forgetting it would seem done."""
    with pytest.raises(InvalidKeyError, match="candidate"):
        Admin(MemoryStore(), settings_of()).forget(candidate=" ")
