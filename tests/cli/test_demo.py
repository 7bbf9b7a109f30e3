"""`resumecache demo` as a person runs it, on the whole of the samples."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, NamedTuple

import pytest

from tests.integration.calling import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BEST = "Senior Backend Engineer (Python)"


class Run(NamedTuple):
    """A demonstration that has ended.

    Attributes:
        code: what it ended with.
        shown: what it printed.
        said: what it printed to the error stream.
        temporary: the folder for temporary files that it had.
        pids: the processes of its server, as they noted themselves while it ran.
    """

    code: int
    shown: str
    said: str
    temporary: Path
    pids: set[int]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, clean_environment: None) -> Run:
    folder, temporary = tmp_path_factory.mktemp("output"), tmp_path_factory.mktemp("demo")
    shown, said = folder / "shown", folder / "said"
    with shown.open("w") as output, said.open("w") as errors, started(temporary, output, errors) as process:
        pids = set[int]()
        while process.poll() is None:
            pids |= noted_pids(temporary)
            time.sleep(0.02)
    return Run(process.returncode, shown.read_text(encoding="utf-8"), said.read_text(encoding="utf-8"), temporary, pids)


@contextmanager
def started(temporary: Path, output: IO[str], errors: IO[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A demonstration that runs, and does not outlive the test."""
    environment = os.environ | {"TMPDIR": str(temporary), "COLUMNS": "200"}
    command = [sys.executable, "-P", "-m", "agent", "demo"]
    with subprocess.Popen(command, env=environment, stdout=output, stderr=errors) as process:
        try:
            yield process
        finally:
            process.kill()


def noted_pids(folder: Path) -> set[int]:
    """The process ids in the lock files of an embedded server, which come and go."""
    found = set[int]()
    with suppress(OSError):
        for lock in folder.rglob("*.lock"):
            found |= {int(word) for word in lock.read_text(encoding="utf-8").split() if word.isdigit()}
    return found


def is_alive(pid: int) -> bool:
    """Whether a process works; one that only waits for its parent to take note of its end does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout  # noqa: S607  its place differs
    return state.strip() != "" and not state.startswith("Z")


def test_the_second_process_embeds_nothing(demo: Run) -> None:
    """The demonstration ends with 0, its second process embeds nothing, and it says how much faster that was."""
    assert (demo.code, demo.said) == (0, "")
    first, second = re.findall(r"^(\d+) texts: (\d+) hits, (\d+) embedded, ", demo.shown, flags=re.MULTILINE)
    n_texts = first[0]
    assert int(n_texts) > 100
    assert (first, second) == ((n_texts, "0", n_texts), (n_texts, n_texts, "0"))
    assert re.search(rf"^Vectors of {n_texts} texts: .* (\d+) times as fast; same ranking", demo.shown, re.MULTILINE)


def test_both_processes_show_the_best_ads(demo: Run) -> None:
    """Each process shows five ads, the one for a backend engineer first."""
    tables = demo.shown.split("second process")
    for table in tables:
        assert re.findall(r"^(\d) │", table, flags=re.MULTILINE) == ["1", "2", "3", "4", "5"]
        (first,) = re.findall(r"^1 │ .*", table, flags=re.MULTILINE)
        assert BEST in first
    assert len(tables) == 2


def test_nothing_is_left_behind(demo: Run) -> None:
    """After the demonstration neither its folder is there nor a server that worked in it."""
    assert [path.name for path in demo.temporary.iterdir() if path.is_dir()] == []
    assert len(demo.pids) >= 2
    until(lambda: not any(map(is_alive, demo.pids)))
