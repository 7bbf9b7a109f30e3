"""The circuit breaker of one server: when to leave it alone, and how it is noticed that it is back.

One failure to reach the server is enough to leave it alone: the first caller pays for it, at most its deadline, and
the others pay nothing. A thread in the background then asks the server until it answers; callers never do. Failures
that only writes meet (read-only, out of memory, disk full) leave reads alone and let one write through now and then.
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
LONGEST_PROBE_S = 1.0
WRITE_PAUSE_S = 1.0
LONGEST_PAUSE_S = 5.0
_MOST_DOUBLINGS = 10
# The server is reachable, or the fault is on this side: no reason to leave the server alone.
_HARMLESS = frozenset({"wrong_type", "pool_exhausted", "loop_late", "client", "response", "no_permission", "forgotten"})
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
            elif error.reason not in _HARMLESS and not self._is_open:
                self._is_open = True
                self._n_openings[direction] += 1
                if direction is Direction.WRITE:  # a server that is back for the probe can still hold writes up
                    self._write_again_s = self._clock.monotonic_s() + self._pause_s(direction, LONGEST_PAUSE_S)
                self._start_probing()

    def close(self) -> None:
        """End the probing; whoever goes on using the store meets the server itself."""
        with self._lock:
            self._end_of_probing.set()
            self._is_open = False

    def _report(self, error: StoreError, direction: Direction) -> None:
        is_news = error.reason not in self._known[direction]
        self._known[direction].add(error.reason)
        level = logging.WARNING if is_news else logging.DEBUG
        where = f" on {error.server}" if error.server else ""
        _log.log(level, "cache %s%s failed (%s), going on without it: %s", direction, where, error.reason, error)

    def _start_probing(self) -> None:
        self._end_of_probing = threading.Event()
        wait_s = self._pause_s(Direction.READ, LONGEST_PROBE_S)
        args = (weakref.ref(self), self._end_of_probing, wait_s)
        try:
            threading.Thread(target=_probe_until_back, args=args, name="resumecache-probe", daemon=True).start()
        except RuntimeError:  # no thread to be had, as at the end of the process: nobody would find the server back
            self._is_open = False

    def _pause_s(self, direction: Direction, longest_s: float) -> float:
        n_doublings = min(max(self._n_openings[direction] - 1, 0), _MOST_DOUBLINGS)
        return min(FIRST_PAUSE_S * 2.0**n_doublings, longest_s)

    def _is_back(self, end_of_probing: threading.Event) -> bool:
        try:
            self._probe()
        except StoreError as error:
            if error.reason not in _HARMLESS:
                return False
        except Exception:  # noqa: BLE001  whatever it is, the probing goes on: nobody else would end the opening
            _log.debug("the probe failed", exc_info=True)
            return False
        with self._lock:
            if end_of_probing.is_set():
                return True
            self._is_open = False
        _log.info("the cache is back")
        return True


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


_breakers: weakref.WeakSet[Breaker] = weakref.WeakSet()


def _renew_after_fork() -> None:
    for breaker in list(_breakers):
        breaker._renew()  # noqa: SLF001  a lock held by another thread at the fork would stay locked


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_renew_after_fork)
