"""Caches on real servers that fail in every way, as a random script has it."""

from __future__ import annotations

import os

import pytest

from tests.chaos.run import ChaosRun
from tests.chaos.topologies import TOPOLOGIES

SECONDS = float(os.environ.get("RESUMECACHE_CHAOS_S", "1"))
SEED = int(os.environ.get("RESUMECACHE_CHAOS_SEED", "1"))


@pytest.mark.timeout(120 + 2 * SECONDS)
@pytest.mark.parametrize("name", TOPOLOGIES)
def test_whatever_fails_every_answer_is_right(name: str) -> None:
    """Under random faults each call gives the right answer in bounded time; then all are hits and nothing is left."""
    topology = TOPOLOGIES[name]()
    try:
        chaos = ChaosRun(topology, seed=SEED, seconds=SECONDS)
        problems = chaos.run()
    finally:
        topology.close()
    assert problems == [], f"RESUMECACHE_CHAOS_SEED={SEED}, faults: {chaos.script}"
    assert chaos.judge.n_done > 0 < chaos.n_upstream
