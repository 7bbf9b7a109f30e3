"""The built wheel installs and runs in a clean environment."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "agent" / "samples"
LIMIT_S = 600


def run(*command: object, folder: Path) -> str:
    done = subprocess.run([*map(str, command)], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT, folder=folder)
    [built] = folder.glob("*.whl")
    return built


def test_the_wheel_holds_the_three_packages_and_their_data(wheel: Path) -> None:
    """Types, vocabulary, taxonomy and samples come along; tests and benchmarks do not."""
    names = set(zipfile.ZipFile(wheel).namelist())
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"agent", "cache", "chains"}
    assert {f"{top}/py.typed" for top in tops} <= names
    assert {"chains/data/skills.txt", "chains/data/bert_base_uncased_vocab.txt"} <= names
    assert "agent/samples/resumes/data-scientist.pdf" in names


@pytest.mark.timeout(LIMIT_S)
def test_the_wheel_runs_in_a_clean_environment(wheel: Path, tmp_path: Path) -> None:
    """With the extra [local] and the pinned versions, the command ranks two ads from another folder."""
    python = tmp_path / "env" / "bin" / "python"
    run(sys.executable, "-m", "venv", tmp_path / "env", folder=tmp_path)
    install = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*install, "--constraint", ROOT / "constraints.txt", f"{wheel}[local]", folder=tmp_path)
    run(python, "-m", "pip", "check", folder=tmp_path)
    ads = [SAMPLES / "jobs" / name for name in ("backend-engineer-fintech.md", "icu-registered-nurse.md")]
    resume = SAMPLES / "resumes" / "icu-nurse.docx"
    command = python.with_name("resumecache")
    shown = run(command, "match", resume, *ads, "--url", f"embedded://{tmp_path / 'server'}", folder=tmp_path)
    assert "0 hits" in shown.splitlines()[-1]
