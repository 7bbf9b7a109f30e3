"""A disk that is full under the embedded server: what is there is served, and nothing fails but the keeping."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

# The limit is inherited by the server, which this process starts: no file of it may grow beyond. The server may notice
# late that it could not write, as it writes behind what it answers.
PROCESS = """
import resource, sys, time
from cache import CacheSettings
from cache.opening import open_store

directory, limit = sys.argv[1], int(sys.argv[2])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
with open_store(CacheSettings(deadline_ms=5000), url=f"embedded://{directory}") as store:
    was_there = store.mget(["first"]) == [b"kept"]
    is_kept = store.save([("first", b"kept")], ttl_s=600)
    end_s = time.monotonic() + 20
    while limit and store.save([("long", bytes(10_000))], ttl_s=600) and time.monotonic() < end_s:
        pass
    is_found = store.mget(["first"]) == [b"kept"]
    print(was_there, is_kept, is_found, *store.counters.snapshot().failures)
"""


def use(directory: Path, *, limit_bytes: int = 0) -> str:
    """Be a process that uses the server of a directory; with a limit, until a write is refused.

    Returns:
        Whether its entry was there before, was kept, and was there after, and the reasons of failures.
    """
    command = [sys.executable, "-c", PROCESS, str(directory), str(limit_bytes)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no embedded server on Windows")
def test_a_full_disk_costs_only_what_cannot_be_written(tmp_path: Path) -> None:
    """Without room for its file the server refuses writes, which are counted, and reads go on; with room, all is well.

    What was kept before is there for the next server, though the end of its file is torn.
    """
    assert use(tmp_path / "server", limit_bytes=150_000) == "False True True read_only"
    assert use(tmp_path / "server") == "True True True"
