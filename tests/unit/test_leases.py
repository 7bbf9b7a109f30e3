"""Leases of keys while they are held: renewed in the background, and given back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from typing_extensions import override

from cache import MemoryStore
from cache.breaker import Direction
from cache.errors import InvalidKeyError, StoreConnectionError, StoreError
from cache.flight import Flights, Lead, Level
from cache.keys import Key, Kind, build_key, lease_key, parse_key
from cache.leases import Lease, LeaseKeeper, SafeLeases
from cache.stores.base import Attempt
from cache.wrappers import ByteStoreAdapter, DisabledStore, FailOpenStore
from tests.fakes import FakeClock, SeveralServers
from tests.integration.calling import World, until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cache.stores.base import Holder

KEY = "openai:m:0"
LONG_S = 3600.0


class SharedMemory(MemoryStore):
    """A store in memory that acts as if other processes saw it; it counts renewals, and fails when told."""

    is_shared = True

    def __init__(self) -> None:
        super().__init__()
        self.n_renewals = 0
        self.error: Exception | None = None

    def _fail(self) -> None:
        if self.error:
            raise self.error

    @override
    def acquire(self, key: str, token: bytes, *, life_ms: int) -> Attempt:
        self._fail()
        return super().acquire(key, token, life_ms=life_ms)

    @override
    def renew(self, holders: Sequence[Holder], *, life_ms: int) -> list[bool]:
        self.n_renewals += 1
        self._fail()
        return super().renew(holders, life_ms=life_ms)

    @override
    def release(self, holders: Sequence[Holder]) -> None:
        self._fail()
        super().release(holders)

    @override
    def settle(self, key_value_pairs: Sequence[tuple[str, Any]], holder: Holder, *, ttl_s: int) -> None:
        self._fail()
        super().settle(key_value_pairs, holder, ttl_s=ttl_s)


class Bench:
    """A store with leases, and one lease that this process has."""

    def __init__(self, life_s: float = 0.06) -> None:
        self.inner = SharedMemory()
        self.store = FailOpenStore(self.inner)
        self.keeper = LeaseKeeper(life_s=life_s)
        leases = SafeLeases.of(self.store)
        assert leases is not None
        self.leases = leases
        self.lease = Lease(leases, KEY, self.keeper)
        self.lease.may_be_ours = bool(self.leases.acquire(KEY, self.lease.token, life_ms=self.keeper.life_ms).is_held)

    def is_free(self) -> bool:
        """Whether another process would get the lease; it is not kept."""
        is_held = self.inner.acquire(KEY, b"other", life_ms=60_000).is_held
        self.inner.release([(KEY, b"other")])
        return bool(is_held)


def test_what_is_kept_is_renewed_until_it_is_settled() -> None:
    """Over many of its lives nobody else gets the lease; once the value is stored it is free and not renewed."""
    bench = Bench(life_s=1.0)
    bench.lease.keep(LONG_S)
    until(lambda: bench.inner.n_renewals > 3)
    assert not bench.is_free()
    assert bench.leases.settle(bench.lease, [(KEY, b"value")], ttl_s=60)
    assert (bench.is_free(), bench.lease.may_be_ours, bench.inner.mget([KEY])) == (True, False, [b"value"])
    assert bench.store.counters.snapshot().stored == 1


def test_what_is_given_back_is_free() -> None:
    """It is told to the store in the background, once."""
    bench = Bench(life_s=LONG_S)
    bench.lease.keep(LONG_S)
    bench.lease.give_back()
    bench.lease.give_back()
    bench.keeper.wait_until_idle(5.0)
    assert (bench.keeper.is_idle, bench.is_free()) == (True, True)


def test_a_holder_that_hangs_does_not_keep_a_lease_for_ever() -> None:
    """After the longest wait it is not renewed any more, and ends by itself."""
    bench = Bench()
    bench.lease.keep(0.0)
    until(bench.is_free)


def test_a_lease_that_is_lost_is_left_to_its_new_holder() -> None:
    """A lease that another process has got meanwhile is neither renewed nor given back."""
    bench = Bench()
    bench.inner.release([(KEY, bench.lease.token)])
    assert bench.inner.acquire(KEY, b"other", life_ms=3_600_000).is_held
    bench.lease.keep(LONG_S)
    until(lambda: not bench.keeper._held)
    bench.lease.give_back()
    bench.keeper.wait_until_idle(5.0)
    assert bench.inner.acquire(KEY, b"third", life_ms=1).is_held is False


def test_the_thread_ends_when_there_is_nothing_to_do() -> None:
    """No thread stays behind, and the next lease gets one again."""
    bench = Bench()
    for _ in range(2):
        bench.lease.keep(LONG_S)
        assert bench.keeper._is_running
        bench.keeper.forget(bench.lease)
        until(lambda: not bench.keeper._is_running)


@pytest.mark.parametrize("error", [StoreConnectionError("gone", reason="refused"), RuntimeError("a bug")])
def test_a_store_that_fails_ends_no_renewing(error: Exception) -> None:
    """After a failure it is tried again, and what was to be given back ends by itself."""
    bench = Bench()
    bench.inner.error = error
    bench.lease.keep(LONG_S)
    until(lambda: bench.inner.n_renewals > 1)
    bench.lease.give_back()
    bench.keeper.wait_until_idle(5.0)
    assert bench.keeper.is_idle
    bench.inner.error = None
    until(bench.is_free)


@pytest.mark.parametrize("world", World)
async def test_without_an_answer_there_is_no_lease(world: World) -> None:
    """A failing store is counted and says nothing about who computes; a value that is not stored is not confirmed."""
    bench = Bench(life_s=LONG_S)
    bench.inner.error = StoreError("no", reason="client")
    attempt: Callable[[], Any] = lambda: bench.leases.acquire(KEY, b"x", life_ms=1)  # noqa: E731  one of two
    found = attempt() if world is World.SYNC else await bench.leases.aacquire(KEY, b"x", life_ms=1)
    assert found == Attempt(is_held=None)
    if world is World.SYNC:
        assert not bench.leases.settle(bench.lease, [(KEY, b"value")], ttl_s=60)
    else:
        assert not await bench.leases.asettle(bench.lease, [(KEY, b"value")], ttl_s=60)
    assert bench.lease.may_be_ours
    assert bench.store.counters.snapshot().failures == {"client": 2}


def test_where_nobody_else_looks_there_is_nothing_to_agree_on() -> None:
    """A store in this process, one that is switched off and a foreign one have no leases."""
    stores = [FailOpenStore(MemoryStore()), DisabledStore(), FailOpenStore(ByteStoreAdapter(MemoryStore()))]
    assert [SafeLeases.of(store) for store in stores] == [None, None, None]


@pytest.mark.parametrize("namespace", [None, "acme"])
def test_a_lease_is_no_key_of_ours(namespace: str | None) -> None:
    """It carries the whole key as its hash tag, for one slot in a cluster, and is met by no clearing of a kind."""
    key = build_key(Key(Kind.JOB_MATCH, content_hash="0" * 32, user="ann", namespace=namespace))
    assert lease_key(key) == "lease:{" + key + "}"
    with pytest.raises(InvalidKeyError):
        parse_key(lease_key(key))


class LeasesOnServers(SeveralServers):
    """Several servers, of which some fail, that other processes see too; each lease is asked for by itself."""

    is_shared = True

    @override
    def acquire(self, key: str, token: bytes, *, life_ms: int) -> Attempt:
        self._raise_alone([key])
        return super().acquire(key, token, life_ms=life_ms)

    @override
    def renew(self, holders: Sequence[Holder], *, life_ms: int) -> list[bool]:
        keys = [key for key, _ in holders]
        self._raise_alone(keys)
        are_held = super().renew(holders, life_ms=life_ms)
        self._raise_part(
            keys, [None if key[0] in self.failing else held for key, held in zip(keys, are_held, strict=True)]
        )
        return are_held

    @override
    def release(self, holders: Sequence[Holder]) -> None:
        self._raise_alone([key for key, _ in holders])
        super().release([(key, token) for key, token in holders if key[0] not in self.failing])


def test_a_dead_server_switches_off_its_own_leases_alone() -> None:
    """Its leases are taken to be held and cannot be got; those of the others are got, renewed, lost and given back."""
    inner = LeasesOnServers()
    store, keeper = FailOpenStore(inner), LeaseKeeper(life_s=LONG_S)
    leases = SafeLeases.of(store)
    assert leases is not None
    held = [Lease(leases, key, keeper) for key in ("a1", "b1", "c1")]
    for lease in held:
        assert leases.acquire(lease.key, lease.token, life_ms=3_600_000).is_held
    inner.release([held[2].holder])
    inner.failing["b"] = StoreConnectionError("gone", reason="refused")
    assert leases.renew(held, life_ms=1000) == [True, True, False]
    assert {name: store.breakers.of(name).is_open for name in "abc"} == {"a": False, "b": True, "c": False}
    asked = len(inner.asked)
    assert leases.acquire("b2", b"x", life_ms=1) == Attempt(is_held=None)
    assert len(inner.asked) == asked
    assert leases.acquire("a2", b"x", life_ms=1).is_held
    assert leases.renew(held, life_ms=1000) == [True, True, False]
    assert inner.asked[-1] == ["a1", "c1"]
    leases.release(held)
    assert store.breakers.of("b").is_open
    assert leases.acquire("a1", b"x", life_ms=1).is_held
    assert store.counters.snapshot().failures == {"refused": 1}
    store.close()


def test_a_value_is_stored_where_the_server_of_its_lease_is_left_alone() -> None:
    """What lies on other servers is written all the same, and no command goes to the dead one."""
    inner = LeasesOnServers()
    store, keeper = FailOpenStore(inner), LeaseKeeper(life_s=LONG_S)
    leases = SafeLeases.of(store)
    assert leases is not None
    lease = Lease(leases, "b1", keeper)
    store.breakers.of("b").failed(StoreConnectionError("gone", reason="refused"), Direction.WRITE)
    assert not leases.settle(lease, [("b1", b"1"), ("a1", b"2")], ttl_s=60)
    assert inner.asked == [["a1"]]
    assert inner.mget(["a1", "b1"]) == [b"2", None]
    store.close()


def test_a_lease_of_a_stream_whose_reader_does_not_go_on_ends() -> None:
    """It is renewed no longer, so that another process may stream; its holder's stream goes on without it."""
    clock = FakeClock()
    bench = Bench()
    lead = Flights(clock=clock).join(KEY, Level.RESPONSE, ticket=0, wait_s=LONG_S, may_wait=False)
    assert isinstance(lead, Lead)
    bench.lease.lead = lead
    bench.lease.keep(LONG_S)
    lead.pause()
    clock.advance(1.0)
    until(bench.is_free)
    lead.part()
