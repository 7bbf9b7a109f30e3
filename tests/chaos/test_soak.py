"""Caches in several processes at full load, on a server that has not room for all."""

from __future__ import annotations

from tests.chaos.soak import Soak


def test_at_full_load_every_answer_is_right() -> None:
    """Threads and tasks of two processes get right answers, hits and misses, and leave no connection."""
    soak = Soak(processes=2, seconds=1.0)
    soak.run()
    assert [share.problems for share in soak.shares] == [[], []]
    assert all(share.n_right == share.n_done > 0 for share in soak.shares)
    assert all(share.hits > 0 and share.misses > 0 for share in soak.shares)
    assert soak.n_connections[0] > 0
    assert soak.n_connections[1] == 0
    assert soak.table().splitlines()[0].split()[0] == "process"
