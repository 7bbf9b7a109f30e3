"""The demonstration: the main job on the samples, in two processes, on an embedded server of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from agent.display import print_report
from agent.errors import DemoError
from agent.ranking import RankingReport
from cache.stores.embedded import EmbeddedServer

if TYPE_CHECKING:
    from rich.console import Console

SAMPLES = Path(__file__).parent / "samples"
RESUME = SAMPLES / "resumes" / "backend-engineer.md"
JOBS = SAMPLES / "jobs"
_STOP_WITHIN_S = 10.0


def run_demo(console: Console) -> None:
    """Rank the sample ads twice and compare.

    Raises:
        DemoError: a run failed, or the second one was not answered by the cache alone.
    """
    with tempfile.TemporaryDirectory(prefix="resumecache-", ignore_cleanup_errors=True) as directory:
        console.rule("first process, empty cache")
        first = _rank(directory)
        print_report(console, first)
        console.rule("second process, same question")
        second = _rank(directory)
        print_report(console, second)
        _wait_until_stopped(EmbeddedServer(Path(directory)).socket_path)
    if second.cache.embedded or second.cache.failures:
        raise DemoError(f"expected the second run to embed nothing, but: {second.cache.line()}")
    if first.ranking != second.ranking:
        raise DemoError("expected the same ranking from both runs")
    ratio = first.cache.elapsed_ms / second.cache.elapsed_ms
    console.print(
        f"Vectors of {second.cache.texts} texts: {first.cache.elapsed_ms:.0f} ms to embed, "
        f"{second.cache.elapsed_ms:.1f} ms from the cache, {ratio:.0f} times as fast; same ranking.",
        highlight=False,
    )


def _rank(directory: str) -> RankingReport:
    options = ["--top", "5", "--json", "--url", f"embedded://{directory}"]
    command = [sys.executable, "-P", "-m", "agent", "match", str(RESUME), str(JOBS), *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)  # noqa: S603  our own command
    if done.returncode:
        raise DemoError(f"expected the run to end with 0, got {done.returncode}")
    return RankingReport.model_validate_json(done.stdout)


def _wait_until_stopped(socket_path: Path) -> None:
    """Let the server end before its folder goes: its last client has gone."""
    give_up_s = time.monotonic() + _STOP_WITHIN_S
    while socket_path.exists() and time.monotonic() < give_up_s:
        time.sleep(0.05)
