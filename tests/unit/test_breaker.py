"""The breaker: when a server is left alone, how it is found back, and what is said about it."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
import warnings
from typing import TYPE_CHECKING

import pytest

from cache.breaker import HELD_UP_PAUSE_S, LONGEST_PAUSE_S, WRITE_PAUSE_S, Breaker, Direction
from cache.errors import StoreConnectionError, StoreError, StoreResponseError, StoreTimeoutError
from tests.fakes import PATIENCE_S, FakeClock, Probers

if TYPE_CHECKING:
    from collections.abc import Iterator

READ, WRITE = Direction.READ, Direction.WRITE
TIMEOUT = StoreTimeoutError("no answer")
LOOP_LATE = StoreTimeoutError("no answer, and the loop was late", reason="loop_late")


class Probe:
    """A probe whose outcomes are scripted, the last one again and again, and which can be held up.

    Args:
        outcomes: what is raised, or `None` for an answer.
    """

    def __init__(self, *outcomes: Exception | None) -> None:
        self.outcomes = outcomes or (None,)
        self.threads: list[threading.Thread] = []
        self.began = threading.Event()
        self.may_answer = threading.Event()

    def __call__(self) -> None:
        outcome = self.outcomes[min(len(self.threads), len(self.outcomes) - 1)]
        self.threads.append(threading.current_thread())
        self.began.set()
        assert self.may_answer.wait(PATIENCE_S)
        if outcome is not None:
            raise outcome


class HeldProbe:
    """A probe each of whose calls is held up until its own turn comes.

    Args:
        outcomes: what each call raises, or `None` for an answer.
    """

    def __init__(self, *outcomes: Exception | None) -> None:
        self._outcomes = outcomes
        self._gates = [threading.Event() for _ in outcomes]
        self._numbers = iter(range(len(outcomes)))
        self.began = [threading.Event() for _ in outcomes]

    def __call__(self) -> None:
        n = next(self._numbers)
        self.began[n].set()
        assert self._gates[n].wait(PATIENCE_S)
        outcome = self._outcomes[n]
        if outcome is not None:
            raise outcome

    def answer(self, n: int) -> None:
        """Let a call end."""
        self._gates[n].set()


@pytest.fixture
def probers() -> Probers:
    return Probers()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def probe() -> Probe:
    """A probe that is held up until the test says otherwise."""
    return Probe()


@pytest.fixture
def breaker(probe: Probe, clock: FakeClock, probers: Probers) -> Iterator[Breaker]:
    breaker = Breaker(probe, clock=clock)
    yield breaker
    breaker.close()
    probe.may_answer.set()
    probers.join()


def opened(breaker: Breaker, direction: Direction = READ) -> Breaker:
    breaker.failed(TIMEOUT, direction)
    assert breaker.is_open
    return breaker


def test_at_first_everything_is_allowed(breaker: Breaker) -> None:
    """A server is trusted until it fails."""
    assert not breaker.is_open
    assert breaker.allows(READ)
    assert breaker.allows(WRITE)


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize(
    "error",
    [
        StoreConnectionError("nobody there", reason="refused"),
        StoreConnectionError("reset"),
        StoreConnectionError("wrong password", reason="auth"),
        StoreConnectionError("reading its file", reason="loading"),
        StoreTimeoutError("late"),
        StoreResponseError("CLUSTERDOWN", reason="cluster_down"),
        StoreResponseError("MOVED", reason="cluster"),
        StoreResponseError("garbage", reason="protocol"),
        StoreError("KeyError", reason="foreign_store"),
        StoreError("of an unknown kind"),
    ],
    ids=lambda value: getattr(value, "reason", str(value)),
)
def test_one_failure_of_the_server_closes_both_directions(
    breaker: Breaker, error: StoreError, direction: Direction
) -> None:
    """The first caller pays for a dead server; from then on neither reads nor writes go there (trap H22)."""
    breaker.failed(error, direction)
    assert breaker.is_open
    assert not breaker.allows(READ)
    assert not breaker.allows(WRITE)


@pytest.mark.parametrize("reason", ["wrong_type", "pool_exhausted", "client", "response", "no_permission"])
def test_a_failure_that_is_not_the_servers_leaves_it_in_use(breaker: Breaker, reason: str, probers: Probers) -> None:
    """A foreign value or a full pool are no reason to leave a server alone (trap H22)."""
    breaker.failed(StoreError("here", reason=reason), READ)
    assert breaker.allows(READ)
    assert breaker.allows(WRITE)
    assert probers.running() == []


@pytest.mark.parametrize("reason", ["read_only", "out_of_memory"])
def test_failures_of_writes_alone_leave_reads_alone(
    breaker: Breaker, clock: FakeClock, reason: str, probers: Probers
) -> None:
    """A full or read-only server still answers; a write is tried again after a pause (trap H30)."""
    breaker.failed(StoreResponseError("no", reason=reason), WRITE)
    assert not breaker.is_open
    assert breaker.allows(READ)
    assert not breaker.allows(WRITE)
    clock.advance(WRITE_PAUSE_S - 0.001)
    assert not breaker.allows(WRITE)
    clock.advance(0.001)
    assert breaker.allows(WRITE)
    assert probers.running() == []


def test_a_late_loop_has_the_server_asked_at_once(breaker: Breaker, probe: Probe, probers: Probers) -> None:
    """A time-out while the loop was late may be the loop's fault: the server stays in use, and one prober asks it."""
    for _ in range(3):
        breaker.failed(LOOP_LATE, READ)
    assert probe.began.wait(PATIENCE_S)
    assert breaker.allows(READ)
    assert len(probers.running()) == 1
    probe.may_answer.set()
    probers.join()
    assert breaker.allows(READ)
    breaker.failed(LOOP_LATE, READ)
    probers.join()
    assert len(probe.threads) == 2


@pytest.mark.parametrize("failure", [TIMEOUT, RuntimeError("of the probe itself")])
def test_a_server_that_is_dead_beside_a_late_loop_is_left_alone(
    clock: FakeClock, failure: Exception, probers: Probers
) -> None:
    """When the server asked because of a late loop does not answer, it is left alone until a later probe finds it."""
    probe = HeldProbe(failure, None)
    breaker = Breaker(probe, clock=clock)
    breaker.failed(LOOP_LATE, READ)
    probe.answer(0)
    assert probe.began[1].wait(PATIENCE_S)
    assert breaker.is_open
    probe.answer(1)
    probers.join()
    assert breaker.allows(READ)


def test_an_answer_to_a_doubt_ends_no_later_opening(clock: FakeClock, probers: Probers) -> None:
    """What a server asked because of a late loop says does not count once it has failed for certain."""
    probe = HeldProbe(None, None)
    breaker = Breaker(probe, clock=clock)
    breaker.failed(LOOP_LATE, READ)
    [first] = probers.running()
    assert probe.began[0].wait(PATIENCE_S)
    opened(breaker)
    assert probe.began[1].wait(PATIENCE_S)
    probe.answer(0)
    first.join(PATIENCE_S)
    assert breaker.is_open
    probe.answer(1)
    probers.join()
    assert not breaker.is_open


def test_a_closed_cache_has_no_doubts(clock: FakeClock, probers: Probers) -> None:
    """A server that does not answer a prober from before the closing is not left alone, and may be asked anew."""
    probe = HeldProbe(TIMEOUT, None)
    breaker = Breaker(probe, clock=clock)
    breaker.failed(LOOP_LATE, READ)
    assert probe.began[0].wait(PATIENCE_S)
    breaker.close()
    breaker.failed(LOOP_LATE, READ)
    assert probe.began[1].wait(PATIENCE_S)
    probe.answer(0)
    probe.answer(1)
    probers.join()
    assert breaker.allows(READ)


def test_a_server_that_answers_again_is_used_again(breaker: Breaker, probe: Probe, probers: Probers) -> None:
    """A thread in the background finds the server back; nobody else asks it meanwhile."""
    opened(breaker)
    assert probe.began.wait(PATIENCE_S)
    assert not breaker.allows(READ)
    probe.may_answer.set()
    probers.join()
    assert breaker.allows(READ)
    assert not breaker.is_open
    assert [thread is threading.current_thread() for thread in probe.threads] == [False]


@pytest.mark.parametrize(
    "outcomes",
    [
        (TIMEOUT, StoreConnectionError("no", reason="refused"), None),
        (RuntimeError("of the probe itself"), StoreConnectionError("no", reason="loading"), None),
        (TIMEOUT, TIMEOUT, StoreResponseError("it answers", reason="no_permission")),
    ],
)
def test_probing_goes_on_until_the_server_answers(
    clock: FakeClock, outcomes: tuple[Exception | None, ...], probers: Probers
) -> None:
    """Whatever a probe meets, the next one follows; any answer of the server ends it."""
    probe = Probe(*outcomes)
    probe.may_answer.set()
    breaker = opened(Breaker(probe, clock=clock))
    probers.join()
    assert not breaker.is_open
    assert len(probe.threads) == 3


def test_many_failures_have_one_prober(breaker: Breaker, probers: Probers) -> None:
    """Callers that were under way when the server died do not start a thread each."""
    for direction in [READ, WRITE, READ, READ]:
        breaker.failed(TIMEOUT, direction)
    assert len(probers.running()) == 1


def test_an_answer_from_before_does_not_end_the_opening(breaker: Breaker) -> None:
    """A success of an operation that was under way when the server died is not the server's return."""
    opened(breaker)
    breaker.succeeded(READ)
    assert breaker.is_open


def reopened(breaker: Breaker, probe: Probe, direction: Direction, probers: Probers) -> None:
    """Fail, and let the prober find the server back."""
    probe.may_answer.set()
    opened(breaker, direction)
    probers.join()
    assert not breaker.is_open


def test_writes_that_hang_wait_longer_each_time(
    breaker: Breaker, probe: Probe, clock: FakeClock, probers: Probers
) -> None:
    """A server that answers probes and holds writes up is asked to write less and less often, reads go on."""
    for n in range(12):
        reopened(breaker, probe, WRITE, probers)
        pause_s = min(HELD_UP_PAUSE_S * 2**n, LONGEST_PAUSE_S)
        assert breaker.allows(READ)
        breaker.succeeded(READ)
        clock.advance(pause_s - 0.001)
        assert not breaker.allows(WRITE)
        clock.advance(0.002)
        assert breaker.allows(WRITE)


def test_a_write_that_succeeds_ends_the_lengthening(
    breaker: Breaker, probe: Probe, clock: FakeClock, probers: Probers
) -> None:
    """After a success, the next failure is a first one again."""
    for _ in range(5):
        reopened(breaker, probe, WRITE, probers)
    breaker.succeeded(WRITE)
    reopened(breaker, probe, WRITE, probers)
    clock.advance(HELD_UP_PAUSE_S)
    assert breaker.allows(WRITE)


def test_a_server_that_fails_for_days_overflows_nothing(breaker: Breaker, probe: Probe, probers: Probers) -> None:
    """A server whose probes succeed and whose reads fail, a hundred thousand times, still only pauses."""
    breaker._n_openings[READ] = 100_000
    probe.may_answer.set()
    opened(breaker)
    assert len(probers.running()) == 1


def test_closing_ends_the_probing_and_forgets_the_opening(breaker: Breaker, probe: Probe, probers: Probers) -> None:
    """A cache that is closed leaves no thread behind, and can be used again."""
    opened(breaker)
    breaker.close()
    assert breaker.allows(READ)
    probe.may_answer.set()
    probers.join()
    opened(breaker)
    probers.join()
    assert breaker.allows(READ)


def test_a_probe_from_before_the_closing_ends_no_later_opening(clock: FakeClock, probers: Probers) -> None:
    """What a prober hears after the cache was closed says nothing about the server that failed since."""
    probe = HeldProbe(None, None)
    breaker = opened(Breaker(probe, clock=clock))
    [first] = probers.running()
    assert probe.began[0].wait(PATIENCE_S)
    breaker.close()
    opened(breaker)
    assert probe.began[1].wait(PATIENCE_S)
    probe.answer(0)
    first.join(PATIENCE_S)
    assert not breaker.allows(READ)
    probe.answer(1)
    probers.join()
    assert breaker.allows(READ)


def test_a_breaker_that_nobody_holds_ends_its_prober(clock: FakeClock, probers: Probers) -> None:
    """A cache that is thrown away while its server is down leaves no thread that asks for ever."""
    probe = Probe(TIMEOUT)
    probe.may_answer.set()
    opened(Breaker(probe, clock=clock))
    gc.collect()
    probers.join()
    assert probers.running() == []


class NoThread(threading.Thread):
    """A thread that cannot be started, as at the end of the process."""

    def start(self) -> None:
        raise RuntimeError("can't start new thread")


def test_without_a_thread_for_the_probing_the_server_stays_in_use(
    breaker: Breaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody could find the server back, it is not left alone; the caller meets no error."""
    monkeypatch.setattr(threading, "Thread", NoThread)
    for error in (TIMEOUT, LOOP_LATE):
        breaker.failed(error, READ)
        assert breaker.allows(READ)


def levels(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records]


def test_a_failure_is_logged_once_until_the_next_success(breaker: Breaker, caplog: pytest.LogCaptureFixture) -> None:
    """A warning for the first failure of a reason in a direction; after a success it is news again."""
    caplog.set_level(logging.INFO, "resumecache")
    foreign = StoreResponseError("a list is there", reason="wrong_type")
    full = StoreError("busy", reason="pool_exhausted")
    for error, direction in [(foreign, READ), (foreign, READ), (full, READ), (foreign, WRITE), (foreign, READ)]:
        breaker.failed(error, direction)
    breaker.succeeded(WRITE)
    breaker.failed(foreign, READ)
    assert levels(caplog) == [
        ("WARNING", "cache read failed (wrong_type), going on without it: a list is there"),
        ("WARNING", "cache read failed (pool_exhausted), going on without it: busy"),
        ("WARNING", "cache write failed (wrong_type), going on without it: a list is there"),
    ]
    breaker.succeeded(READ)
    breaker.failed(foreign, READ)
    assert levels(caplog)[3:] == [("WARNING", "cache read failed (wrong_type), going on without it: a list is there")]


def test_an_outage_is_two_lines(
    breaker: Breaker, probe: Probe, caplog: pytest.LogCaptureFixture, probers: Probers
) -> None:
    """One line when the server is gone and one when it is back, however many callers met it."""
    caplog.set_level(logging.INFO, "resumecache")
    for _ in range(5):
        breaker.failed(TIMEOUT, READ)
    probe.may_answer.set()
    probers.join()
    assert levels(caplog) == [
        ("WARNING", "cache read failed (timeout), going on without it: no answer"),
        ("INFO", "the cache is back"),
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork on Windows")
def test_a_forked_child_starts_afresh(breaker: Breaker) -> None:
    """A child has no prober and no holder of the lock, so it asks the server itself and is not stuck."""
    opened(breaker)
    with breaker._lock, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads is what is tested
        pid = os.fork()
        if pid == 0:
            signal.alarm(int(PATIENCE_S))  # a child that is stuck is ended, and so fails the test
            is_fresh = breaker.allows(READ) and breaker.allows(WRITE)
            breaker.failed(StoreError("x", reason="wrong_type"), READ)
            os._exit(0 if is_fresh else 1)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert breaker.is_open
