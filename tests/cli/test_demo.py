"""`resumecache demo`: the main job twice, on an embedded server of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path


def test_the_demo_runs_and_leaves_nothing_behind() -> None:
    """The second process embeds nothing, the gain is printed, and no folder stays."""
    before = set(Path(tempfile.gettempdir()).glob("resumecache-*"))
    command = [sys.executable, "-P", "-m", "agent", "demo"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert " hits, 0 embedded" in done.stdout
    assert "same ranking" in done.stdout
    assert set(Path(tempfile.gettempdir()).glob("resumecache-*")) <= before
