"""Counters: exact from any thread, and a snapshot that stays as it was."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from cache.counters import Counters, Counts


def test_nothing_is_counted_at_first() -> None:
    """New counters are all zero."""
    assert Counters().snapshot() == Counts()


def test_numbers_and_reasons_add_up() -> None:
    """Plain numbers add up by name, the others by name and reason."""
    counters = Counters()
    counters.add(hits=2, misses=1)
    counters.add(hits=3, saved_ms=40, stored=1, made=7)
    counters.add_reason("failures", "timeout")
    counters.add_reason("failures", "timeout", 2)
    counters.add_reason("failures", "refused")
    counters.add_reason("unreadable", "DecodeError")
    counters.add_reason("skipped", "cut")
    assert counters.snapshot() == Counts(
        hits=5, misses=1, stored=1, made=7, saved_ms=40,
        failures={"timeout": 3, "refused": 1}, unreadable={"DecodeError": 1}, skipped={"cut": 1},
    )  # fmt: skip


def test_an_unknown_kind_of_reason_is_an_error() -> None:
    """A misspelt counter is noticed where it is counted."""
    with pytest.raises(KeyError):
        Counters().add_reason("failure", "timeout")


def test_a_snapshot_does_not_change() -> None:
    """What is counted later does not show in an earlier snapshot, and what is done to it not in the counters."""
    counters = Counters()
    counters.add_reason("failures", "timeout")
    before = counters.snapshot()
    counters.add(hits=1)
    counters.add_reason("failures", "timeout")
    assert before == Counts(failures={"timeout": 1})
    before.failures["timeout"] = 99
    assert counters.snapshot() == Counts(hits=1, failures={"timeout": 2})


def test_no_count_is_lost_between_threads() -> None:
    """Four threads that count at once are all counted."""
    counters = Counters()

    def count(_: int) -> None:
        for _ in range(500):
            counters.add(hits=1, misses=2)
            counters.add_reason("skipped", "cut")

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(count, range(4)))
    assert counters.snapshot() == Counts(hits=2000, misses=4000, skipped={"cut": 2000})
