"""The circuit breaker of one server: when to leave it alone, and how it is noticed that it is back.

One failure to reach the server is enough to leave it alone: the first caller pays for it, at most its deadline, and
the others pay nothing. A thread in the background then asks the server until it answers; callers never do. Failures
that only writes meet (read-only, out of memory, disk full) leave reads alone and let one write through now and then.
A time-out while the event loop was late may be the loop's fault: the server is asked at once, in the background, and
left alone only if it does not answer.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
import weakref
from enum import StrEnum
from typing import TYPE_CHECKING

from cache.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cache.clock import Clock

_log = logging.getLogger("resumecache")

FIRST_PAUSE_S = 0.02
HELD_UP_PAUSE_S = 0.25  # each write that is tried meanwhile costs its caller a whole deadline
LONGEST_PROBE_S = 1.0
WRITE_PAUSE_S = 1.0
LONGEST_PAUSE_S = 5.0
_MOST_DOUBLINGS = 10
# The server is reachable, or the fault is on this side: no reason to leave the server alone.
_HARMLESS = frozenset({"wrong_type", "pool_exhausted", "client", "response", "no_permission", "try_again"})
_DOUBTFUL = frozenset({"loop_late"})
_WRITES_ONLY = frozenset({"read_only", "out_of_memory"})


class Direction(StrEnum):
    """What an operation does."""

    READ = "read"
    WRITE = "write"


class Breaker:
    """Decides for each operation whether the server is asked.

    Args:
        probe: asks the server whether it is there; raises a `StoreError` when it is not.
        clock: where the time comes from.
    """

    def __init__(self, probe: Callable[[], None], *, clock: Clock) -> None:
        self._probe = probe
        self._clock = clock
        self._renew()
        _breakers.add(self)

    def _renew(self) -> None:
        """Start with a lock and no thread, as a forked child must: its parent's threads are not in it."""
        self._lock = threading.Lock()
        self._end_of_probing = threading.Event()
        self._is_open = False
        self._is_in_doubt = False
        self._n_openings = dict.fromkeys(Direction, 0)
        self._write_again_s = 0.0
        self._known: dict[Direction, set[str]] = {direction: set() for direction in Direction}

    @property
    def is_open(self) -> bool:
        """Whether the server is left alone."""
        return self._is_open

    def allows(self, direction: Direction) -> bool:
        """Say whether the server may be asked now."""
        if self._is_open:
            return False
        return direction is Direction.READ or self._clock.monotonic_s() >= self._write_again_s

    def succeeded(self, direction: Direction) -> None:
        """Take note of an operation that the server did."""
        if self._n_openings[direction] or self._known[direction]:
            with self._lock:
                self._n_openings[direction] = 0
                self._known[direction].clear()

    def failed(self, error: StoreError, direction: Direction) -> None:
        """Take note of a failure; leave the server alone where that helps."""
        with self._lock:
            self._report(error, direction)
            if error.reason in _WRITES_ONLY:
                self._write_again_s = self._clock.monotonic_s() + WRITE_PAUSE_S
            elif error.reason in _DOUBTFUL:
                self._doubt(direction)
            elif error.reason not in _HARMLESS:
                self._open(direction)

    def close(self) -> None:
        """End the probing; whoever goes on using the store meets the server itself."""
        with self._lock:
            self._end_of_probing.set()
            self._is_open = self._is_in_doubt = False

    def _report(self, error: StoreError, direction: Direction) -> None:
        is_news = error.reason not in self._known[direction]
        self._known[direction].add(error.reason)
        level = logging.WARNING if is_news else logging.DEBUG
        where = f" on {error.server}" if error.server else ""
        _log.log(level, "cache %s%s failed (%s), going on without it: %s", direction, where, error.reason, error)

    def _open(self, direction: Direction) -> None:
        """Leave the server alone until it answers; without a thread nobody would find it back."""
        if self._is_open:
            return
        self._n_openings[direction] += 1
        if direction is Direction.WRITE:  # a server that is back for the probe can still hold writes up
            pause_s = self._pause_s(direction, HELD_UP_PAUSE_S, LONGEST_PAUSE_S)
            self._write_again_s = self._clock.monotonic_s() + pause_s
        pause_s = self._pause_s(Direction.READ, FIRST_PAUSE_S, LONGEST_PROBE_S)
        self._is_open = self._start(_probe_until_back, pause_s)

    def _doubt(self, direction: Direction) -> None:
        """Have the server asked, and go on using it meanwhile."""
        if not self._is_open and not self._is_in_doubt:
            self._is_in_doubt = self._start(_settle_doubt, direction)

    def _start(self, prober: Callable[..., None], arg: float | Direction) -> bool:
        """Start a prober, of which there is one: what an earlier one hears counts no more. False without a thread."""
        self._end_of_probing.set()
        self._end_of_probing = threading.Event()
        self._is_in_doubt = False
        args = (weakref.ref(self), self._end_of_probing, arg)
        try:
            threading.Thread(target=prober, args=args, name="resumecache-probe", daemon=True).start()
        except RuntimeError:  # no thread to be had, as at the end of the process
            return False
        return True

    def _pause_s(self, direction: Direction, first_s: float, longest_s: float) -> float:
        n_doublings = min(max(self._n_openings[direction] - 1, 0), _MOST_DOUBLINGS)
        return min(first_s * 2.0**n_doublings, longest_s)

    def _failure(self) -> StoreError | None:
        """Ask the server; why it is not there, if it is not."""
        try:
            self._probe()
        except StoreError as error:
            return None if error.reason in _HARMLESS else error
        except Exception as error:  # noqa: BLE001  whatever it is, the probing goes on: nobody else would end the opening
            _log.debug("the probe failed", exc_info=True)
            return StoreError(f"the probe failed: {error!r}")
        return None

    def _is_back(self, end_of_probing: threading.Event) -> bool:
        if self._failure():
            return False
        with self._lock:
            if end_of_probing.is_set():
                return True
            self._is_open = False
        _log.info("the cache is back")
        return True

    def _settle_doubt(self, end_of_probing: threading.Event, direction: Direction) -> None:
        failure = self._failure()
        with self._lock:
            if end_of_probing.is_set():
                return
            self._is_in_doubt = False
            if failure:
                self._report(failure, direction)
                self._open(direction)


class Breakers:
    """A breaker for each server of a store, so that one that fails is left alone and the others are not.

    Args:
        probe: asks the server of this name whether it is there; raises a `StoreError` when it is not.
        clock: where the time comes from.
    """

    def __init__(self, probe: Callable[[str], None], *, clock: Clock) -> None:
        self._probe = probe
        self._clock = clock
        self._by_server: dict[str, Breaker] = {}

    def of(self, server: str) -> Breaker:
        """The breaker of a server, made when it is first asked for; the only server of a store has no name."""
        found = self._by_server.get(server)
        if found is None:
            made = Breaker(functools.partial(self._probe, server), clock=self._clock)
            found = self._by_server.setdefault(server, made)  # of two threads that make one, both get the first
        return found

    def close(self) -> None:
        """End all probing."""
        for breaker in list(self._by_server.values()):
            breaker.close()


def _probe_until_back(reference: weakref.ref[Breaker], end: threading.Event, wait_s: float) -> None:
    """Ask again and again, less and less often, as long as anybody holds the breaker."""
    while not end.wait(wait_s):
        breaker = reference()
        if breaker is None or breaker._is_back(end):  # noqa: SLF001  the other half of the class
            return
        del breaker
        wait_s = min(2 * wait_s, LONGEST_PROBE_S)


def _settle_doubt(reference: weakref.ref[Breaker], end: threading.Event, direction: Direction) -> None:
    """Ask once, on behalf of somebody who could not tell a late loop from a dead server."""
    breaker = reference()
    if breaker is not None:
        breaker._settle_doubt(end, direction)  # noqa: SLF001  as above


_breakers: weakref.WeakSet[Breaker] = weakref.WeakSet()


def _renew_after_fork() -> None:
    for breaker in list(_breakers):
        breaker._renew()  # noqa: SLF001  a lock held by another thread at the fork would stay locked


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_renew_after_fork)
