"""A process that forks while others of its threads are in the middle of something."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from cache import MemoryStore, coalescing, model_starts
from cache.counters import Counters
from cache.explaining import RecentRequests
from cache.requests import CanonicalRequest
from cache.wrappers import FailOpenStore

CHILD_S = 10

if TYPE_CHECKING:
    from collections.abc import Callable

    Use = tuple[Any, Callable[[], object]]


def _counters() -> Use:
    counters = Counters()
    return counters._lock, lambda: counters.add(hits=1)


def _memory() -> Use:
    store = MemoryStore()
    return store._lock, lambda: store.mget(["k"])


def _recent_requests() -> Use:
    recent = RecentRequests()
    return recent._lock, lambda: recent.most_similar(CanonicalRequest("m", b"", b"{}"))


def _flights() -> Use:
    return coalescing._lock, lambda: coalescing.flights_of(FailOpenStore(MemoryStore()))


def _model_starts() -> Use:
    return model_starts._lock, model_starts.watch_models


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork on Windows")
@pytest.mark.parametrize("make", [_counters, _memory, _recent_requests, _flights, _model_starts])
def test_a_child_is_not_stuck_where_another_thread_was(make: Callable[[], Use]) -> None:
    """What is locked at the moment of the fork is open in the child, where nobody would unlock it."""
    lock, use = make()
    with lock, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads is what is tested
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(CHILD_S)  # a child that is stuck is ended, and so fails the test
            use()
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    use()
