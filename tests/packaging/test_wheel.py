"""The wheel: what is in it, and that it works on its own in a fresh environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("agent", "cache", "chains")
RESUME, JOBS = "backend-engineer.md", ("backend-engineer-fintech.md", "school-nurse.txt")
SLOW_S = 600  # two installations from the package index

pytestmark = pytest.mark.timeout(SLOW_S)


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done


def environment() -> Mapping[str, str]:
    """Ours without what would make the checkout importable."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the checkout, so that nothing is written into that."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, source, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment in which the wheel is installed with its local models."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=True, symlinks=True)
    installed = folder / "bin" / "python"
    options = ("--quiet", "--constraint", ROOT / "constraints.txt")
    run(installed, "-m", "pip", "install", *options, f"resumecache[local] @ {wheel.as_uri()}", cwd=folder)
    return installed


def members(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_three_packages_and_nothing_else(wheel: Path) -> None:
    """At the top level stand the packages and the wheel's own data, and every file of a package is in it."""
    names = members(wheel)
    top = {name.partition("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == set(PACKAGES)
    assert len(top) == len(PACKAGES) + 1
    files = {path.relative_to(ROOT).as_posix() for name in PACKAGES for path in (ROOT / name).rglob("[!.]*")}
    wanted = {name for name in files if (ROOT / name).is_file() and "__pycache__" not in name}
    assert {name for name in names if not name.startswith("resumecache-")} == wanted


def test_the_wheel_holds_types_data_and_samples(wheel: Path) -> None:
    """Each package is marked as typed, and vocabularies, samples and the licence are there."""
    names = members(wheel)
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    assert {"chains/data/bert_base_uncased_vocab.txt", "chains/data/NOTICE.md"} <= names
    assert {f"agent/samples/resumes/{RESUME}", *(f"agent/samples/jobs/{name}" for name in JOBS)} <= names
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_the_installed_requirements_fit_together(python: Path, tmp_path: Path) -> None:
    """With the pinned versions, no installed package lacks a requirement or has one of a wrong version."""
    assert "No broken requirements found" in run(python, "-m", "pip", "check", cwd=tmp_path).stdout


def test_the_installed_command_ranks_ads(python: Path, tmp_path: Path) -> None:
    """From a folder of its own the installed command ranks two of its own samples, the right one first."""
    code = "import agent; print(agent.__path__[0])"
    agent = Path(run(python, "-c", code, cwd=tmp_path).stdout.strip())
    assert agent.is_relative_to(python.parents[1])
    samples = agent / "samples"
    jobs = [samples / "jobs" / name for name in JOBS]
    done = run(
        python.with_name("resumecache"),
        "match",
        samples / "resumes" / RESUME,
        *jobs,
        "--url",
        "memory://",
        cwd=tmp_path,
    )
    first, second = (done.stdout.find(title) for title in ("Senior Backend", "School Nurse"))
    assert -1 < first < second
    assert done.stderr == ""
