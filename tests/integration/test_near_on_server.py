"""What is near on real servers: whatever anybody does to an entry there, it is not served once the word has come."""

from __future__ import annotations

import gc
import logging
import threading
from functools import partial
from typing import TYPE_CHECKING

import fakeredis
import pytest

from cache import (
    CacheBackedEmbeddings,
    CacheSettings,
    ResponseCache,
    store_from_client,
    store_from_url,
)
from cache.admin import Admin
from cache.deadline import Deadline
from cache.errors import StoreError
from cache.keys import Kind
from cache.near import NearStore
from cache.near_cache import NearCache
from cache.opening import near_of
from cache.service import SyncCacheService
from cache.stores import tracking
from cache.stores.base import TrackedStore
from cache.stores.connections import Endpoint
from cache.stores.slots import slot_of
from tests.fakes import CountingEmbeddings
from tests.integration.calling import PATIENT_S, until
from tests.integration.test_loops_and_forks import run
from tests.servers import HOST, ValkeyCluster, ValkeyServer
from tests.tracked import answer_of, key_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


BYTES = 2**20
PATIENT = Deadline(PATIENT_S)
NAME = b"name=resumecache-near"
N_KEYS = 30


class Nearby:
    """A near store on a server, and entries of a namespace."""

    def __init__(self, url: str, namespace: str) -> None:
        bare = store_from_url(url, deadline=PATIENT)
        assert isinstance(bare, TrackedStore)
        self.store = NearStore(bare, NearCache(BYTES))
        self.keys = [key_of(n, before=f"{namespace}:emb:m:") for n in range(N_KEYS)]
        self.entries = [answer_of(key, ttl_s=3600) for key in self.keys]

    def fill(self) -> None:
        """Write the entries, and read until all are near."""
        self.store.mset(list(zip(self.keys, self.entries, strict=True)), ttl_s=3600)
        until(lambda: self.are_near(self.keys))

    def lacks(self, key: str) -> bool:
        """Read a key; True if it is a miss."""
        return self.store.mget([key]) == [None]

    def are_near(self, keys: list[str]) -> bool:
        """Read keys; True if none of them was asked of the server."""
        before = self.store.counters.snapshot().near_hits
        self.store.mget(keys)
        return self.store.counters.snapshot().near_hits - before == len(keys)


@pytest.fixture
def nearby(own_valkey: ValkeyServer, namespace: str) -> Iterator[Nearby]:
    """Entries that are near, on a server that may be done anything to."""
    nearby = Nearby(own_valkey.url, namespace)
    nearby.fill()
    yield nearby
    nearby.store.close()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a silent server noticed at once, for tests in which it is silent on purpose."""
    monkeypatch.setattr(tracking, "_PAUSE_S", 0.02)
    monkeypatch.setattr(tracking, "_PATIENCE_S", 0.1)


def trackers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "resumecache-tracking"]


def clients_of(server: ValkeyServer) -> list[bytes]:
    """The connections on which a server tells of changes."""
    listed: bytes = server.command("CLIENT", "LIST")
    return [line for line in listed.splitlines() if NAME in line.split()]


def delete(server: ValkeyServer, key: str) -> None:
    server.command("DEL", key)


def unlink(server: ValkeyServer, key: str) -> None:
    server.command("UNLINK", key)


def expire(server: ValkeyServer, key: str) -> None:
    server.command("PEXPIRE", key, 1)


def rename(server: ValkeyServer, key: str) -> None:
    server.command("RENAME", key, f"{key}x")


def flush(server: ValkeyServer, _key: str) -> None:
    server.command("FLUSHDB")


@pytest.mark.parametrize("forget", [delete, unlink, expire, rename, flush])
def test_what_another_client_takes_away_is_gone(
    nearby: Nearby, own_valkey: ValkeyServer, forget: Callable[[ValkeyServer, str], None]
) -> None:
    """However an entry goes away on the server, it is soon a miss here, and no other entry is wrong."""
    gone = nearby.keys[3]
    forget(own_valkey, gone)
    until(lambda: nearby.store.mget([gone]) == [None])
    for key, entry in zip(nearby.keys, nearby.entries, strict=True):
        assert nearby.store.mget([key]) == [entry if own_valkey.command("EXISTS", key) else None]


def test_what_another_client_writes_replaces_the_old(nearby: Nearby, own_valkey: ValkeyServer) -> None:
    """A new value is soon the one that is served, and then near; old ones of other keys stay near meanwhile."""
    key, newer = nearby.keys[3], answer_of(nearby.keys[3], fill=b"new")
    own_valkey.command("SET", key, newer)
    until(lambda: nearby.store.mget([key]) == [newer])
    until(lambda: nearby.are_near([key]))
    assert nearby.store.mget([key]) == [newer]
    assert nearby.are_near([other for other in nearby.keys if other != key])


def test_what_the_server_evicts_is_gone(nearby: Nearby, own_valkey: ValkeyServer) -> None:
    """An entry that the server drops for lack of memory is not near any more."""
    own_valkey.command("CONFIG", "SET", "maxmemory-policy", "allkeys-random", "maxmemory", "1")
    with pytest.raises(Exception, match="OOM"):
        own_valkey.command("SET", "x", "y")
    assert own_valkey.command("DBSIZE") == 0
    until(lambda: nearby.store.mget(nearby.keys) == [None] * N_KEYS)


def test_an_operator_who_clears_clears_what_is_near(nearby: Nearby, own_valkey: ValkeyServer) -> None:
    """Clearing a kind in another process is soon a miss here; clearing here is one at once."""
    namespace = nearby.keys[0].split(":", maxsplit=1)[0]
    settings = CacheSettings(namespace=namespace)
    with store_from_url(own_valkey.url, deadline=PATIENT) as theirs:
        assert Admin(theirs, settings).clear(Kind.EMBEDDING) == N_KEYS
    until(lambda: nearby.store.mget(nearby.keys) == [None] * N_KEYS)
    nearby.fill()
    assert Admin(nearby.store, settings).clear(Kind.EMBEDDING) == N_KEYS
    assert nearby.store.mget(nearby.keys) == [None] * N_KEYS


def test_a_connection_that_is_killed_takes_everything_with_it(nearby: Nearby, own_valkey: ValkeyServer) -> None:
    """When the connection that changes are told on is gone, so is what is near; with a new one it begins anew."""
    [client] = clients_of(own_valkey)
    own_valkey.command("CLIENT", "KILL", "ID", client.split()[0].removeprefix(b"id="))
    until(lambda: [one for one in clients_of(own_valkey) if one.split()[0] != client.split()[0]] != [])
    own_valkey.command("DEL", nearby.keys[0])
    until(lambda: nearby.store.mget(nearby.keys[:1]) == [None])
    until(lambda: nearby.are_near(nearby.keys[1:]))


def test_a_server_that_restarts_empty_has_nothing(nearby: Nearby, own_valkey: ValkeyServer) -> None:
    """After a restart, what was near is gone as it is on the server, and new entries come to be near."""
    own_valkey.restart()
    until(lambda: nearby.store.near.size_bytes == 0)
    assert nearby.store.mget(nearby.keys) == [None] * N_KEYS
    nearby.fill()
    assert nearby.store.mget(nearby.keys) == nearby.entries


@pytest.mark.usefixtures("hasty")
def test_a_server_that_says_nothing_is_not_relied_on(nearby: Nearby, own_valkey: ValkeyServer) -> None:
    """When a server hangs, what is near is dropped; when it goes on, it begins anew."""
    until(lambda: nearby.are_near(nearby.keys))
    own_valkey.pause()
    until(lambda: nearby.store.near.size_bytes == 0)
    own_valkey.resume()
    until(lambda: nearby.are_near(nearby.keys))


@pytest.mark.usefixtures("hasty")
def test_a_primary_that_becomes_a_replica_is_not_relied_on(own_valkey: ValkeyServer) -> None:
    """Where the primary may move, one that is none any more tells of nothing."""
    told: list[object] = []
    tracked = tracking.ServerTracking(Endpoint.from_url(own_valkey.url), told.append, proof=tracking.PRIMARY)
    tracked.want(["emb:"])
    until(lambda: tracked.prefixes == ("emb:",))
    own_valkey.command("REPLICAOF", HOST, 1)
    until(lambda: tracked.prefixes == () and told[-1:] == [None])
    own_valkey.command("REPLICAOF", "NO", "ONE")
    until(lambda: tracked.prefixes == ("emb:",))
    tracked.close()


def test_one_connection_serves_all_caches_of_a_process(own_valkey: ValkeyServer, namespace: str) -> None:
    """Vectors, answers and results of several objects come to be near over one connection, which ends with them."""
    before = len(trackers())
    settings = CacheSettings(near_bytes=BYTES, namespace=namespace, deadline_ms=int(1000 * PATIENT_S))
    model = CountingEmbeddings()
    with (
        CacheBackedEmbeddings.from_url(model, own_valkey.url, model="m", settings=settings) as vectors,
        ResponseCache.from_url(own_valkey.url, settings=settings) as answers,
        SyncCacheService.from_url(own_valkey.url, settings=settings) as service,
    ):
        service.cache_job_match_result("resume", "job", {"score": 1})
        service.cache_openai_response("prompt", "answer", "gpt")

        def are_near() -> bool:
            assert vectors.embed_query("a") == model.vector("a", is_query=True)
            assert service.get_cached_job_match_result("resume", "job") == {"score": 1}
            assert service.get_cached_openai_response("prompt", "gpt") == "answer"
            return vectors.counts().near_hits > 0 and service.get_cache_stats()["process"]["near_hits"] > 2

        until(are_near)
        assert near_of(vectors.store) is near_of(answers.store)
        assert len(clients_of(own_valkey)) == 1
        assert len(trackers()) == before + 1
    until(lambda: clients_of(own_valkey) == [])
    until(lambda: len(trackers()) == before)


def test_a_store_that_nobody_holds_lets_its_thread_end(own_valkey: ValkeyServer, namespace: str) -> None:
    """The thread does not keep alive what it serves, and ends with it, though nothing was closed."""
    before = len(trackers())
    nearby = Nearby(own_valkey.url, namespace)
    nearby.fill()
    assert len(trackers()) == before + 1
    del nearby
    gc.collect()
    until(lambda: clients_of(own_valkey) == [])
    until(lambda: len(trackers()) == before)


def test_a_user_who_may_not_track_goes_without(
    own_valkey: ValkeyServer, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the server does not let the user track, all is read from the server, and one warning says why."""
    own_valkey.command("ACL", "SETUSER", "reader", "on", ">word", "~*", "+@all", "-client")
    nearby = Nearby(own_valkey.url.replace("redis://", "redis://reader:word@"), namespace)
    nearby.store.mset([(nearby.keys[0], nearby.entries[0])], ttl_s=60)

    def said() -> list[logging.LogRecord]:
        return [record for record in caplog.records if "nothing is kept near" in record.message]

    def is_said() -> bool:
        assert nearby.store.mget(nearby.keys[:1]) == nearby.entries[:1]
        return bool(said())

    until(is_said)
    assert "no_permission" in said()[0].message
    assert nearby.store.counters.snapshot().near_hits == 0
    nearby.store.close()
    assert len([record for record in said() if record.levelno >= logging.WARNING]) == 1


def test_a_stand_in_for_a_server_goes_without(namespace: str) -> None:
    """A client of fakeredis has no connection that tells of changes: everything is read from it."""
    bare = store_from_client(fakeredis.FakeRedis(), deadline=PATIENT)
    assert isinstance(bare, TrackedStore)
    with NearStore(bare, NearCache(BYTES)) as near:
        key = key_of(0, before=f"{namespace}:emb:m:")
        near.mset([(key, answer_of(key))], ttl_s=60)
        for _ in range(3):
            assert near.mget([key]) == [answer_of(key)]
        assert near.counters.snapshot().near_hits == 0


FORK = """
import os, sys, time
from cache import store_from_url
from cache.deadline import Deadline
from cache.errors import StoreError
from cache.near import NearStore
from cache.near_cache import NearCache
from tests.tracked import answer_of, key_of

near = NearStore(store_from_url(sys.argv[1], deadline=Deadline(5.0)), NearCache(2**20))
keys = [key_of(n) for n in range(50)]
near.mset([(key, answer_of(key)) for key in keys], ttl_s=60)

def warm():
    end_s, before = time.monotonic() + 20, near.counters.snapshot().near_hits
    while near.counters.snapshot().near_hits == before and time.monotonic() < end_s:
        near.mget(keys)
        time.sleep(0.01)
    return near.counters.snapshot().near_hits > before

is_right = warm()
child = os.fork()
is_right = is_right and (child or near.near.size_bytes == 0) and warm()
mine = keys[0] if child else keys[1]
near.mdelete([mine])
is_right = is_right and near.mget([mine]) == [None] and near.mget(keys[2:]) == [answer_of(key) for key in keys[2:]]
if not child:
    os._exit(not is_right)
is_child_wrong = os.waitpid(child, 0)[1]
end_s = time.monotonic() + 20
while near.mget([keys[1]]) != [None] and time.monotonic() < end_s:
    time.sleep(0.01)
is_right = is_right and near.mget([keys[1]]) == [None] and warm()
near.close()
sys.exit(is_child_wrong or not is_right)
"""


def test_a_forked_child_begins_anew(own_valkey: ValkeyServer) -> None:
    """A child has nothing near at first and then its own, and its parent's goes on to be told of changes."""
    done = run(FORK, own_valkey.url)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_server_of_a_cluster_tells(namespace: str) -> None:
    """Deletions on each server are told; when one dies nothing is near until its replica has taken over."""
    with ValkeyCluster(n_replicas=1) as cluster:
        nearby = Nearby(cluster.url, namespace)
        nearby.fill()
        assert [len(clients_of(server)) for server in cluster.primaries] == [1, 1, 1]
        for server in cluster.primaries:
            gone = next(key for key in nearby.keys if cluster.owner_of(slot_of(key)) is server)
            server.command("DEL", gone)
            until(partial(nearby.lacks, gone))
        nearby.fill()
        gone = next(key for key in nearby.keys if cluster.owner_of(slot_of(key)) is cluster.primaries[0])
        cluster.primaries[0].command("WAIT", 1, 5000)
        cluster.primaries[0].kill()
        until(lambda: nearby.store.near.size_bytes == 0)

        def is_near_again() -> bool:
            try:
                return nearby.are_near(nearby.keys)
            except StoreError:  # as long as nobody has taken over
                return False

        until(is_near_again)
        cluster.replicas[0].command("DEL", gone)
        until(partial(nearby.lacks, gone))
        nearby.store.close()
