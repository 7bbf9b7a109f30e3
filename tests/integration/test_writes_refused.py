"""A server that takes no writes: it is still read from, and asked again to write now and then."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cache import store_from_url
from cache.deadline import Deadline
from cache.wrappers import FailOpenStore
from tests.fakes import FakeClock
from tests.integration.calling import PATIENT_S, World
from tests.servers import HOST, ValkeyServer

if TYPE_CHECKING:
    from tests.proxy import FaultProxy

KEY, VALUE = "emb:m:0", b"value"
WRITES = frozenset({b"SET", b"MSETEX"})
REASONS = {
    "-READONLY You can't write against a read only replica.": "read_only",
    "-MISCONF Errors writing to the AOF file: No space left on device": "read_only",
    "-NOREPLICAS Not enough good replicas to write.": "read_only",
    "-CLUSTERDOWN The cluster is down and only accepts read commands": "read_only",
    "-OOM command not allowed when used memory > 'maxmemory'.": "out_of_memory",
}

each_refusal = pytest.mark.parametrize("reply", REASONS, ids=lambda reply: reply.split()[0])
each_world = pytest.mark.parametrize("world", World)
each_size = pytest.mark.parametrize("n_pairs", [1, 2])


def patient(url: str, clock: FakeClock | None = None) -> FailOpenStore:
    return FailOpenStore(store_from_url(url, deadline=Deadline(PATIENT_S)), clock=clock)


def pairs(n_pairs: int) -> list[tuple[str, bytes]]:
    return [(f"emb:m:{n}", VALUE) for n in range(n_pairs)]


@each_size
@each_world
@each_refusal
async def test_refused_writes_are_counted_and_reads_go_on(
    reply: str, world: World, n_pairs: int, proxy: FaultProxy, valkey: ValkeyServer
) -> None:
    """A write that the server refuses is counted by its reason, raises nothing, and lookups are still hits."""
    valkey.command("SET", KEY, VALUE)
    proxy.reply_with(f"{reply}\r\n".encode(), only=WRITES)
    async with patient(proxy.url) as store:
        await world.mset(store, pairs(n_pairs), ttl_s=60)
        assert await world.mget(store, [KEY]) == [VALUE]
        counts = store.counters.snapshot()
        assert (counts.failures, counts.stored) == ({REASONS[reply]: 1}, 0)
        assert not store.breaker.is_open


@each_world
@each_refusal
async def test_after_a_refusal_writes_pause_and_then_go_on(reply: str, world: World, proxy: FaultProxy) -> None:
    """For a second after a refusal no write is sent; the first one after that is, and is stored."""
    clock = FakeClock()
    proxy.reply_with(f"{reply}\r\n".encode(), only=WRITES)
    async with patient(proxy.url, clock) as store:
        await world.mset(store, pairs(1), ttl_s=60)
        proxy.forward()
        clock.advance(0.9)
        await world.mset(store, pairs(1), ttl_s=60)
        assert await world.mget(store, [KEY]) == [None]
        clock.advance(0.2)
        await world.mset(store, pairs(1), ttl_s=60)
        assert await world.mget(store, [KEY]) == [VALUE]
        assert store.counters.snapshot().stored == 1
        assert proxy.commands.count(b"SET") == 2


@each_world
async def test_a_full_server_is_read_from(world: World) -> None:
    """A real server that is out of memory refuses what is written and gives what it has."""
    with ValkeyServer(["--maxmemory", "4mb", "--maxmemory-policy", "noeviction"]) as full:
        full.command("SET", KEY, VALUE)
        async with patient(full.url) as store:
            large = [(f"emb:m:{n}", bytes(2**20)) for n in range(1, 9)]
            for pair in large:
                await world.mset(store, [pair], ttl_s=60)
            assert store.counters.snapshot().failures == {"out_of_memory": 1}
            assert await world.mget(store, [KEY]) == [VALUE]


@each_world
async def test_a_replica_is_read_from(world: World, own_valkey: ValkeyServer) -> None:
    """A real server that becomes a replica refuses what is written and gives what it has."""
    own_valkey.command("SET", KEY, VALUE)
    async with patient(own_valkey.url) as store:
        assert await world.mget(store, [KEY]) == [VALUE]
        own_valkey.command("REPLICAOF", HOST, "1")
        await world.mset(store, pairs(1), ttl_s=60)
        assert store.counters.snapshot().failures == {"read_only": 1}
        assert await world.mget(store, [KEY]) == [VALUE]
