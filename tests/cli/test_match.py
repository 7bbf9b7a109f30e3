"""`resumecache match` as a person runs it: files in, a ranking out, the second time from the cache."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from tests.servers import ValkeyServer

    Run: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]

SAMPLES = Path(__file__).parents[2] / "agent" / "samples"
ADS = ("backend-engineer-fintech.md", "icu-registered-nurse.md", "staff-accountant.txt")


@pytest.fixture
def resume(tmp_path: Path) -> Path:
    return Path(shutil.copy(SAMPLES / "resumes" / "backend-engineer.md", tmp_path))


@pytest.fixture
def jobs(tmp_path: Path) -> Path:
    folder = tmp_path / "jobs"
    folder.mkdir()
    for name in ADS:
        shutil.copy(SAMPLES / "jobs" / name, folder)
    return folder


@pytest.fixture
def run(namespace: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `resumecache match ...` in a process of its own."""
    monkeypatch.setenv("CACHE_NAMESPACE", namespace)
    monkeypatch.setenv("COLUMNS", "160")

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-m", "agent", "match", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr
        return done

    return call


def data(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_second_process_embeds_nothing(run: Run, resume: Path, jobs: Path, redis_url: str) -> None:
    """Same ranking, every text a hit, and the best ad on top."""
    first = data(run(resume, jobs, "--json", "--url", redis_url))
    second = data(run(resume, jobs, "--json", "--url", redis_url))
    assert first["cache"]["embedded"] == first["cache"]["texts"] > 0
    assert second["cache"]["embedded"] == 0
    assert second["cache"]["hits"] == second["cache"]["texts"] == first["cache"]["texts"]
    assert first["ranking"] == second["ranking"]
    assert Path(second["ranking"][0]["source"]).name == ADS[0]


def test_cold_warm_and_off_give_one_ranking(
    run: Run, resume: Path, jobs: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the cache does shows in the time alone."""
    cold = data(run(resume, jobs, "--json", "--url", redis_url))
    warm = data(run(resume, jobs, "--json", "--url", redis_url))
    monkeypatch.setenv("CACHE_ENABLED", "0")
    off = data(run(resume, jobs, "--json", "--url", redis_url))
    assert off["cache"]["hits"] == 0
    assert cold["ranking"] == warm["ranking"] == off["ranking"]


def test_a_person_sees_a_table_and_what_the_cache_did(run: Run, resume: Path, jobs: Path) -> None:
    """Rank, title, score, skills, and a last line on the cache; --top cuts, --explain says why."""
    done = run(resume, jobs, "--top", 1, "--explain", "--url", "memory://")
    assert done.returncode == 0
    assert "Senior Backend Engineer" in done.stdout
    assert "ICU" not in done.stdout
    assert "Shows " in done.stdout
    assert "0 hits" in done.stdout.splitlines()[-1]


def test_a_dead_redis_changes_the_last_line_alone(run: Run, resume: Path, jobs: Path, own_valkey: ValkeyServer) -> None:
    """The ranking comes out right, and the line says that the cache was passed by, and why."""
    right = data(run(resume, jobs, "--json", "--url", "memory://"))
    own_valkey.kill()
    refused = data(run(resume, jobs, "--json", "--url", own_valkey.url))
    assert refused["ranking"] == right["ranking"]
    assert list(refused["cache"]["failures"]) == ["refused"]
    assert "passed by" in run(resume, jobs, "--url", own_valkey.url).stdout.splitlines()[-1]


def test_a_hung_redis_costs_its_deadline(
    run: Run, resume: Path, jobs: Path, own_valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that accepts and never answers is passed by too."""
    monkeypatch.setenv("CACHE_DEADLINE_MS", "100")
    own_valkey.pause()
    try:
        hung = data(run(resume, jobs, "--json", "--url", own_valkey.url))
    finally:
        own_valkey.resume()
    assert hung["cache"]["failures"]["timeout"] >= 1
    assert Path(hung["ranking"][0]["source"]).name == ADS[0]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.txt", b""),
        ("broken.pdf", b"%PDF-1.7 nothing"),
        ("notes.xyz", b"text"),
        ("old.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
    ],
)
def test_a_bad_file_is_two_and_a_sentence(run: Run, jobs: Path, tmp_path: Path, name: str, content: bytes) -> None:
    """What cannot be read is named; nothing is ranked."""
    path = tmp_path / name
    path.write_bytes(content)
    done = run(path, jobs, "--url", "memory://")
    assert done.returncode == 2
    assert name in done.stderr
    assert not done.stdout


def test_bad_arguments_are_two(run: Run, resume: Path, jobs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing file, a missing argument, an unknown URL, a wrong setting: each says what was expected."""
    assert run("nowhere.md", jobs).returncode == 2
    assert run(resume).returncode == 2
    assert run(resume, jobs, "--top", 0).returncode == 2
    wrong = run(resume, jobs, "--url", "mongodb://localhost")
    assert wrong.returncode == 2
    assert "redis://" in wrong.stderr
    monkeypatch.setenv("CACHE_DEADLINE_MS", "fast")
    assert "CACHE_DEADLINE_MS" in run(resume, jobs).stderr


def test_a_password_is_never_shown(run: Run, resume: Path, jobs: Path, own_valkey: ValkeyServer) -> None:
    """Neither when all goes well nor when the server refuses it."""
    url = own_valkey.url.replace("redis://", "redis://user:hush-hush@")
    done = run(resume, jobs, "--url", url)
    assert done.returncode == 0
    assert "hush" not in done.stdout + done.stderr
    assert "auth" in done.stdout.splitlines()[-1]


def test_output_into_a_closed_pipe_is_no_error(resume: Path, jobs: Path) -> None:
    """`resumecache match ... | head -1` ends well."""
    command = [sys.executable, "-P", "-m", "agent", "match", str(resume), str(jobs), "--json", "--url", "memory://"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
