"""The circuit breaker: what opens it, who is let through, how it closes, and what is said about it."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

import pytest

from cache.breaker import LONGEST_PAUSE_S, WRITE_PAUSE_S, Breaker, Direction
from cache.errors import StoreConnectionError, StoreError, StoreResponseError, StoreTimeoutError
from tests.fakes import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator

READ, WRITE = Direction.READ, Direction.WRITE
BOUND_S = 20.0


class Server:
    """What the probe asks; says when it was asked, and answers once it is up."""

    def __init__(self) -> None:
        self.is_up = False
        self.asked = threading.Event()

    def ping(self) -> None:
        self.asked.set()
        if not self.is_up:
            raise StoreConnectionError("down")


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def breaker(server: Server, clock: FakeClock) -> Iterator[Breaker]:
    breaker = Breaker(server.ping, clock=clock)
    yield breaker
    breaker.close()


def wait_until_closed(breaker: Breaker) -> None:
    for _ in range(int(BOUND_S / 0.01)):
        if not breaker.is_open:
            return
        threading.Event().wait(0.01)
    pytest.fail("the breaker did not close")


def test_one_failure_to_reach_the_server_is_enough(breaker: Breaker) -> None:
    """From then on nobody is let through, in either direction."""
    assert breaker.allows(READ)
    breaker.failed(StoreConnectionError("down", reason="refused"), READ)
    assert not breaker.allows(READ)
    assert not breaker.allows(WRITE)


def test_the_probe_finds_the_server_back(breaker: Breaker, server: Server) -> None:
    """It asks by itself, in the background, until there is an answer."""
    breaker.failed(StoreTimeoutError("slow"), READ)
    assert server.asked.wait(BOUND_S)
    assert not breaker.allows(READ)
    server.is_up = True
    wait_until_closed(breaker)
    assert breaker.allows(READ)


@pytest.mark.parametrize("reason", ["wrong_type", "pool_exhausted", "loop_late", "client", "response", "no_permission"])
def test_what_is_no_fault_of_the_server_opens_nothing(breaker: Breaker, reason: str) -> None:
    """A key of a wrong type, a busy event loop or a full pool is no reason to leave the server alone."""
    breaker.failed(StoreError("odd", reason=reason), READ)
    assert breaker.allows(READ)


@pytest.mark.parametrize("reason", ["refused", "timeout", "loading", "auth", "cluster_down", "protocol", "connection"])
def test_what_makes_a_server_unusable_opens(breaker: Breaker, reason: str) -> None:
    """Each is counted as a failure of the server, a garbled answer too."""
    breaker.failed(StoreError("odd", reason=reason), READ)
    assert breaker.is_open


@pytest.mark.parametrize("reason", ["read_only", "out_of_memory"])
def test_refused_writes_leave_reads_alone(breaker: Breaker, clock: FakeClock, reason: str) -> None:
    """Writes pause, and one is let through when the pause is over."""
    breaker.failed(StoreResponseError("no", reason=reason), WRITE)
    assert breaker.allows(READ)
    assert not breaker.allows(WRITE)
    clock.advance(WRITE_PAUSE_S)
    assert breaker.allows(WRITE)


def test_hanging_writes_pause_longer_and_longer_while_reads_go_on(
    breaker: Breaker, server: Server, clock: FakeClock
) -> None:
    """A server that answers the probe but holds writes up costs fewer and fewer deadlines."""
    server.is_up = True
    pauses_s: list[float] = []
    for _ in range(3):
        breaker.failed(StoreTimeoutError("held up"), WRITE)
        wait_until_closed(breaker)
        breaker.succeeded(READ)
        paused_s = 0.0
        while not breaker.allows(WRITE):
            assert breaker.allows(READ)
            clock.advance(0.01)
            paused_s += 0.01
        pauses_s.append(round(paused_s, 2))
    assert pauses_s == pytest.approx([0.02, 0.04, 0.08], abs=0.011)
    assert LONGEST_PAUSE_S == 5.0


def test_each_kind_of_failure_is_said_once(breaker: Breaker, caplog: pytest.LogCaptureFixture) -> None:
    """At warning level once until an operation succeeds, then once more."""
    caplog.set_level(logging.WARNING, "resumecache")
    for _ in range(3):
        breaker.failed(StoreError("odd", reason="response"), READ)
    assert len(caplog.records) == 1
    breaker.failed(StoreError("odd", reason="client"), READ)
    assert len(caplog.records) == 2
    breaker.succeeded(READ)
    breaker.failed(StoreError("odd", reason="response"), READ)
    assert len(caplog.records) == 3


def test_a_closed_breaker_lets_everybody_through(breaker: Breaker) -> None:
    """Whoever closes a store and goes on using it meets the server itself."""
    breaker.failed(StoreConnectionError("down"), READ)
    breaker.close()
    assert breaker.allows(READ)


def test_a_breaker_that_nobody_holds_ends_its_probing(server: Server) -> None:
    """The thread in the background keeps nothing alive."""
    before = set(threading.enumerate())
    breaker = Breaker(server.ping, clock=FakeClock())
    breaker.failed(StoreConnectionError("down"), READ)
    assert server.asked.wait(BOUND_S)
    [thread] = {thread for thread in threading.enumerate() if thread.name == "resumecache-probe"} - before
    del breaker
    thread.join(BOUND_S)
    assert not thread.is_alive()
