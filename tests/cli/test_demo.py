"""`resumecache demo` as a person runs it, on the whole of the samples."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.integration.calling import until

if TYPE_CHECKING:
    from pathlib import Path

BEST = "Senior Backend Engineer (Python)"


class Run(NamedTuple):
    """A demonstration that has ended, and the folder for temporary files that it had."""

    done: subprocess.CompletedProcess[str]
    temporary: Path


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, clean_environment: None) -> Run:
    temporary = tmp_path_factory.mktemp("demo")
    environment = os.environ | {"TMPDIR": str(temporary), "COLUMNS": "200"}
    command = [sys.executable, "-P", "-m", "agent", "demo"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    return Run(done, temporary)


def test_the_second_process_embeds_nothing(demo: Run) -> None:
    """The demonstration ends with 0, its second process embeds nothing, and it says how much faster that was."""
    assert (demo.done.returncode, demo.done.stderr) == (0, "")
    first, second = re.findall(r"^(\d+) texts: (\d+) hits, (\d+) embedded, ", demo.done.stdout, flags=re.MULTILINE)
    n_texts = first[0]
    assert int(n_texts) > 100
    assert (first, second) == ((n_texts, "0", n_texts), (n_texts, n_texts, "0"))
    assert re.search(
        rf"^Vectors of {n_texts} texts: .* (\d+) times as fast; same ranking", demo.done.stdout, re.MULTILINE
    )


def test_both_processes_show_the_best_ads(demo: Run) -> None:
    """Each process shows five ads, the one for a backend engineer first."""
    tables = demo.done.stdout.split("second process")
    for table in tables:
        assert re.findall(r"^(\d) │", table, flags=re.MULTILINE) == ["1", "2", "3", "4", "5"]
        (first,) = re.findall(r"^1 │ .*", table, flags=re.MULTILINE)
        assert BEST in first
    assert len(tables) == 2


def test_nothing_is_left_behind(demo: Run) -> None:
    """After the demonstration neither its folder is there nor a server that worked in it."""
    assert [path.name for path in demo.temporary.iterdir() if path.is_dir()] == []
    until(lambda: processes_of(demo.temporary) == [])


def processes_of(folder: Path) -> list[str]:
    """The command lines of all processes that name a folder."""
    lines = subprocess.run(["ps", "-axww", "-o", "command="], capture_output=True, text=True, check=True).stdout  # noqa: S607  its place differs
    return [line for line in lines.splitlines() if str(folder) in line]
