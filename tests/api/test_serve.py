"""`resumecache serve` as a person or a container runs it: a process of its own, ended by a signal."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import pytest

from agent.api.routes import PREFIX
from tests.api.serving import HOST, PROBLEM, TOKEN, ServeProcess
from tests.integration.calling import until
from tests.openai_server import EMBEDDINGS, OpenAIServer

if TYPE_CHECKING:
    from pathlib import Path

N_CONNECTIONS = 20
PAIR = {"resume_text": "Six years of Python and Redis", "job_description": "You bring Python and Kubernetes"}
ONE_CONNECTION_EACH = httpx.Limits(max_keepalive_connections=0)


def run(*arguments: str, before: str = "pass") -> subprocess.CompletedProcess[str]:
    """A command line that is to end by itself."""
    code = f"import sys; {before}; from agent.cli import run; sys.exit(run(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "serve", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_embedded_serves_matches_and_ends_on_sigterm(tmp_path: Path) -> None:
    """With its own server and model it answers, clears for who shows the printed token, and ends with 0."""
    with ServeProcess(tmp_path, "--embedded") as served, served.client() as api:
        assert api.get("/readyz").json() == {"status": "ready", "cache": "healthy"}
        first, again = (api.post(f"{PREFIX}/match", json=PAIR) for _ in range(2))
        assert (first.headers["x-cache"], again.headers["x-cache"]) == ("miss", "hit")
        assert first.json()["skills_missing"] == ["Kubernetes"]
        admin = {"Authorization": f"Bearer {served.token()}"}
        assert api.delete(f"{PREFIX}/cache/clear/job_match").status_code == 401
        assert api.delete(f"{PREFIX}/cache/clear/job_match", headers=admin).json()["count"] == 1
        assert api.post(f"{PREFIX}/match", json=PAIR).headers["x-cache"] == "miss"
        assert served.end() == 0
        assert served.output.count(served.token()) == 1
        assert "Traceback" not in served.output
        assert "warning" not in served.output


def test_workers_share_the_cache_and_the_token(tmp_path: Path, redis_url: str, namespace: str) -> None:
    """With two workers every connection finds the same session and takes the same token; all end with 0."""
    options = ("--workers", "2", "--url", redis_url)
    with ServeProcess(tmp_path, *options, environment={"CACHE_NAMESPACE": namespace}) as served:
        until(lambda: served.output.count("Application startup complete") == 2)
        admin = {"Authorization": f"Bearer {served.token()}"}
        with served.client(limits=ONE_CONNECTION_EACH) as api, ThreadPoolExecutor(N_CONNECTIONS) as threads:
            where = api.post(f"{PREFIX}/sessions", json={"data": {"a": 1}}).headers["location"]
            found = list(threads.map(lambda _: api.get(where).json()["data"], range(N_CONNECTIONS)))
            assert found == [{"a": 1}] * N_CONNECTIONS
            path, dry = f"{PREFIX}/cache/clear-all", {"dry_run": True}
            counted = threads.map(lambda _: api.delete(path, params=dry, headers=admin), range(N_CONNECTIONS))
            assert [answer.json()["count"] for answer in counted] == [1] * N_CONNECTIONS
            assert api.delete(path, headers=admin).json()["count"] == 1
        assert served.end() == 0


def test_a_request_under_way_is_answered_before_the_end(tmp_path: Path, redis_url: str, namespace: str) -> None:
    """SIGTERM lets a running request end: it gets its answer, and then the process ends with 0."""
    with OpenAIServer() as provider, ThreadPoolExecutor(1) as threads:
        environment = {"OPENAI_BASE_URL": provider.base_url, "CACHE_NAMESPACE": namespace, "REDIS_URL": redis_url}
        with ServeProcess(tmp_path, environment=environment) as served, served.client() as api:
            provider.hang()
            running = threads.submit(api.post, f"{PREFIX}/embeddings", json={"texts": ["text"]})
            until(lambda: provider.n_requests(EMBEDDINGS) == 1)
            ended: list[int] = []
            ending = threading.Thread(target=lambda: ended.append(served.end()))
            ending.start()
            until(lambda: "Shutting down" in served.output)
            provider.recover()
            assert running.result().status_code == 200
            ending.join()
            assert ended == [0]


def test_a_configured_token_is_not_printed(tmp_path: Path, redis_url: str) -> None:
    """With CACHE_ADMIN_TOKEN nothing is made or shown, and no warning is due on an open address."""
    environment = {"CACHE_ADMIN_TOKEN": TOKEN, "REDIS_URL": redis_url}
    with ServeProcess(tmp_path, "--host", "0.0.0.0", environment=environment) as served, served.client() as api:  # noqa: S104
        assert api.get("/healthz").json() == {"status": "alive"}
        assert TOKEN not in served.output
        assert "warning" not in served.output


def test_an_open_address_is_warned_of_and_no_session_is_logged(tmp_path: Path, redis_url: str) -> None:
    """Listening for everybody without a token of one's own is said, not refused; the log shows no session's id."""
    options = ("--host", "0.0.0.0", "--url", redis_url)  # noqa: S104  that is what is tested
    with ServeProcess(tmp_path, *options) as served, served.client() as api:
        where = api.post(f"{PREFIX}/sessions", json={}).headers["location"]
        assert api.get(where).status_code == 200
        assert api.get("/nothing").headers["content-type"] == PROBLEM
        assert "warning: listening on 0.0.0.0 without CACHE_ADMIN_TOKEN" in served.output
        assert served.token()
        assert where.rpartition("/")[2] not in served.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "serve needs a URL or --embedded"),
        (["--embedded", "--url", "redis://localhost"], "got both"),
        (["--url", "memory://", "--workers", "2"], "2 workers can share"),
        (["--url", "mysql://localhost"], "got a URL of scheme 'mysql'"),
    ],
)
def test_a_wrong_command_line_ends_with_two(arguments: list[str], said: str) -> None:
    """What cannot work is said in a sentence before anything is started; the exit code is 2."""
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_token_that_cannot_be_sent_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token with blanks or letters that no header carries is refused by its variable's name, and not repeated."""
    monkeypatch.setenv("CACHE_ADMIN_TOKEN", "pass word ü")
    done = run("--url", "memory://")
    assert done.returncode == 2
    assert "CACHE_ADMIN_TOKEN" in done.stderr
    assert "pass word" not in done.stderr


@pytest.mark.parametrize("missing", ["fastapi", "uvicorn"])
def test_without_the_extra_it_says_what_to_install(missing: str) -> None:
    """Where the API's libraries are not installed the command says so; the rest of the program does not need them."""
    done = run("--url", "memory://", before=f"sys.modules['{missing}'] = None")
    assert done.returncode == 2
    assert "pip install 'resumecache[api]'" in done.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_taken_port_is_said_and_ends_at_once(redis_url: str, workers: str) -> None:
    """A port that somebody else has is an error with a sentence, and no process stays."""
    with socket.create_server((HOST, 0)) as taken:
        done = run("--url", redis_url, "--port", str(taken.getsockname()[1]), "--workers", workers)
    assert done.returncode == 1
    assert "address already in use" in done.stderr.lower()
    assert "Traceback" not in done.stderr
