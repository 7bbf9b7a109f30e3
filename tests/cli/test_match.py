"""`resumecache match` as a person runs it: in processes of its own, on the sample files and on broken ones."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent import cli
from cache.stores.embedded import EmbeddedServer
from tests.documents import build_pdf, build_scan, encrypt_pdf
from tests.integration.calling import until
from tests.openai_server import CHAT, EMBEDDINGS, OpenAIServer
from tests.servers import HOST, ValkeyServer, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    Call: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]

SAMPLES = Path(__file__).resolve().parents[2] / "agent" / "samples"
BEST = "icu-registered-nurse.md"
JOBS = (BEST, "care-assistant-nights.txt", "java-backend-developer-insurance.txt")
PASSWORD = "hunter2-correct-horse"  # noqa: S105  opens nothing
KEY = "sk-kept-to-ourselves"
MEMORY = ("--url", "memory://")
PAIR = ("resume.md", "ad.md")


def command(*arguments: str | Path) -> list[str | Path]:
    return [sys.executable, "-P", "-m", "agent", *arguments]


def environment(**changes: str) -> dict[str, str]:
    return os.environ | {"COLUMNS": "160", "NO_PROXY": HOST} | changes


def run(*arguments: str | Path, cwd: Path | None = None, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run a command line; whatever happens, nobody sees a traceback."""
    env = environment(**changes)
    done = subprocess.run(
        command(*arguments), cwd=cwd, env=env, capture_output=True, text=True, timeout=100, check=False
    )
    assert "Traceback" not in done.stderr + done.stdout
    return done


def report_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert (done.returncode, done.stderr) == (0, "")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout.rstrip("\n").rpartition("\n")[2]


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a resume of the samples and three of their ads."""
    folder = tmp_path_factory.mktemp("samples")
    (folder / "jobs").mkdir()
    shutil.copy(SAMPLES / "resumes" / "icu-nurse.docx", folder / "resume.docx")
    for name in JOBS:
        shutil.copy(SAMPLES / "jobs" / name, folder / "jobs" / name)
    return folder


@pytest.fixture(scope="session")
def expected(samples: Path, clean_environment: None) -> list[dict[str, Any]]:
    """The ranking of the samples without any server."""
    ranking: list[dict[str, Any]] = report_of(run("match", "resume.docx", "jobs", "--json", *MEMORY, cwd=samples))[
        "ranking"
    ]
    return ranking


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """A folder with a resume and an ad of a line each, and files that cannot be read."""
    files = {
        "resume.md": b"Python developer, five years of Python and Redis.",
        "ad.md": b"Engineer [m/f/d] [bold] :smile:\n\nRequirements: Python, Redis, Kubernetes.",
        "other.png": b"\x89PNG\r\n\x1a\n",
        "empty.txt": b"",
        "blank.md": b" \n\t\n",
        "locked.pdf": encrypt_pdf(build_pdf(["secret"]), "password"),
        "scan.pdf": build_scan(2),
        "broken.docx": b"PK\x03\x04 and nothing else",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "folder").mkdir()
    return tmp_path


@pytest.fixture
def provider() -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        server.script_chat({"summary": "The model says so.", "strengths": [], "gaps": []})
        yield server


@pytest.fixture
def call(pair: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Call]:
    """Runs a command line in the folder `pair` and in this process, where it starts at once."""
    ours, root = logging.getLogger("resumecache"), logging.getLogger()
    level, handlers = ours.level, root.handlers[:]
    monkeypatch.chdir(pair)

    def call_here(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        with monkeypatch.context() as patch:
            for name, value in ({"COLUMNS": "160", "NO_PROXY": HOST} | changes).items():
                patch.setenv(name, value)
            code = cli.run(list(arguments))
        shown, said = capfd.readouterr()
        assert "Traceback" not in shown + said
        return subprocess.CompletedProcess(arguments, code, shown, said)

    yield call_here
    ours.setLevel(level)
    root.handlers[:] = handlers


@contextmanager
def started(*arguments: str | Path, cwd: Path, **changes: str) -> Iterator[subprocess.Popen[str]]:
    """A command line that is still running."""
    with subprocess.Popen(
        command(*arguments),
        cwd=cwd,
        env=environment(**changes),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


# --- what it prints ------------------------------------------------------------------------------------------------


def test_the_second_process_embeds_nothing(
    samples: Path, expected: list[dict[str, Any]], redis_url: str, namespace: str
) -> None:
    """Over a server the second process finds every text, embeds none, and gives the same ranking as without one."""
    options = ("--json", "--url", redis_url)
    first, second = (
        report_of(run("match", "resume.docx", "jobs", *options, cwd=samples, CACHE_NAMESPACE=namespace))
        for _ in range(2)
    )
    assert first["cache"]["hits"] == second["cache"]["embedded"] == 0
    assert first["cache"]["embedded"] == second["cache"]["hits"] == second["cache"]["texts"] > 10
    assert first["cache"]["failures"] == second["cache"]["failures"] == {}
    assert second["cache"]["first_run_ms"] > 0
    assert first["ranking"] == second["ranking"] == expected


def test_the_data_say_what_was_ranked(expected: list[dict[str, Any]]) -> None:
    """The ranking as data counts from 1, names each file, and puts the ad for the nurse first."""
    assert [result["rank"] for result in expected] == [1, 2, 3]
    assert {Path(result["source"]).name for result in expected} == set(JOBS)
    assert Path(expected[0]["source"]).name == BEST
    assert expected[0]["score"] > expected[1]["score"]
    assert expected[0]["explained_by"] == "rules"


def test_the_table_shows_the_ranking(
    samples: Path, expected: list[dict[str, Any]], redis_url: str, namespace: str
) -> None:
    """The table shows the scores in order, and its last line what was found and what the first run had taken."""
    arguments = ("match", "resume.docx", "jobs", "--url", redis_url)
    first, second = (run(*arguments, cwd=samples, CACHE_NAMESPACE=namespace) for _ in range(2))
    scores = re.findall(r"^(\d) │ .* │ +(\d+\.\d) │", second.stdout, flags=re.MULTILINE)
    assert scores == [(str(result["rank"]), f"{result['score']:.1f}") for result in expected]
    assert re.fullmatch(r"(\d+) texts: 0 hits, \1 embedded, [\d.]+ m?s", last_line(first))
    assert re.fullmatch(r"(\d+) texts: \1 hits, 0 embedded, [\d.]+ m?s; first run [\d.]+ m?s", last_line(second))
    assert (first.returncode, first.stderr, second.returncode, second.stderr) == (0, "", 0, "")


def test_top_is_how_many_are_shown(call: Call) -> None:
    """With --top 1 only the best of the ads is given; all are counted."""
    arguments = ("match", *PAIR, "resume.md", "--json", *MEMORY)
    whole, best = report_of(call(*arguments)), report_of(call(*arguments, "--top", "1"))
    assert len(whole["ranking"]) == whole["jobs"] == best["jobs"] == 2
    assert best["ranking"] == whole["ranking"][:1]


def test_explain_says_why_in_the_files_own_words(call: Call) -> None:
    """With --explain the computed explanation stands below the table; brackets and colons in a title are no markup."""
    done = call("match", *PAIR, "--explain", *MEMORY)
    assert done.stdout.count("Engineer [m/f/d] [bold] :smile:") == 2
    assert "Kubernetes" in done.stdout.split("\n1. ")[1]
    assert done.returncode == 0


def test_the_url_of_the_environment_is_used(call: Call, redis_url: str, namespace: str) -> None:
    """Without --url the server is the one of REDIS_URL."""
    changes = {"REDIS_URL": redis_url, "CACHE_NAMESPACE": namespace}
    reports = [report_of(call("match", *PAIR, "--json", **changes)) for _ in range(2)]
    assert [report["cache"]["embedded"] for report in reports] == [2, 0]


def test_without_a_url_the_embedded_server_keeps_entries(pair: Path, tmp_path: Path) -> None:
    """With nothing configured a server of the user's own keeps the vectors for the next process, unannounced."""
    home = tmp_path / "home"
    changes = {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")}
    reports = [report_of(run("match", *PAIR, "--json", cwd=pair, **changes)) for _ in range(2)]
    assert [report["cache"]["embedded"] for report in reports] == [2, 0]
    (lock,) = home.rglob("server.lock")
    until(lambda: not EmbeddedServer(lock.parent).socket_path.exists())


def test_a_cache_that_is_switched_off_finds_nothing(call: Call, redis_url: str, namespace: str) -> None:
    """With CACHE_ENABLED=false every run embeds all texts, and nothing has failed."""
    for _ in range(2):
        done = call("match", *PAIR, "--json", "--url", redis_url, CACHE_NAMESPACE=namespace, CACHE_ENABLED="false")
        cache = report_of(done)["cache"]
        assert (cache["hits"], cache["embedded"], cache["failures"]) == (0, 2, {})


# --- what cannot be done -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resume", "job", "named"),
    [
        ("nobody.md", "ad.md", "there is no file nobody.md"),
        ("resume.md", "nothing", "there is no file nothing"),
        ("folder", "ad.md", "folder"),
        ("resume.md", "folder", "folder"),
        ("other.png", "ad.md", "other.png"),
        ("empty.txt", "ad.md", "empty.txt"),
        ("blank.md", "ad.md", "blank.md"),
        ("locked.pdf", "ad.md", "locked.pdf"),
        ("resume.md", "scan.pdf", "scan.pdf"),
        ("broken.docx", "ad.md", "broken.docx"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(resume: str, job: str, named: str, call: Call) -> None:
    """A missing, foreign, empty, locked, scanned or damaged file ends with 2 and a sentence that names it."""
    done = call("match", resume, job, *MEMORY)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(rf"resumecache: .*{re.escape(named)}.*\n", done.stderr)


@pytest.mark.parametrize(
    ("arguments", "changes", "named"),
    [
        ((*PAIR, "--url", f"ftp://user:{PASSWORD}@host/"), {}, "ftp"),
        ((*PAIR, "--url", f"redis://user:{PASSWORD}@host:port/"), {}, "port"),
        (PAIR, {"REDIS_URL": f"htpp://user:{PASSWORD}@host/"}, "REDIS_URL"),
        ((*PAIR, *MEMORY), {"CACHE_DEADLINE_MS": "soon"}, "CACHE_DEADLINE_MS"),
        ((*PAIR, *MEMORY), {"CACHE_NAMESPACE": "emb"}, "CACHE_NAMESPACE"),
        ((*PAIR, *MEMORY), {"RESUMECACHE_CHAT_MODEL": ""}, "RESUMECACHE_CHAT_MODEL"),
        ((*PAIR, *MEMORY, "--top", "0"), {}, "--top"),
        ((*PAIR, *MEMORY, "--no-such-option"), {}, "--no-such-option"),
        (("resume.md",), {}, "jobs"),
        ((), {}, "resume"),
    ],
)
def test_wrong_input_is_named(arguments: tuple[str, ...], changes: dict[str, str], named: str, call: Call) -> None:
    """A wrong URL, setting, option or number of arguments ends with 2, names it, and shows no password."""
    done = call("match", *arguments, **changes)
    assert (done.returncode, done.stdout) == (2, "")
    assert named in done.stderr
    assert PASSWORD not in done.stderr


def test_the_exit_code_is_the_processes(pair: Path) -> None:
    """What the command line gives is what the process ends with."""
    done = run("match", "nobody.md", "ad.md", *MEMORY, cwd=pair)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("resumecache: there is no file nobody.md")


def test_a_provider_that_cannot_be_reached_is_a_failure(call: Call) -> None:
    """When the embedding model's provider cannot be reached, the command ends with 1, says so and shows no key."""
    base_url = f"http://{HOST}:{free_port()}/v1"
    done = call("match", *PAIR, *MEMORY, OPENAI_BASE_URL=base_url, OPENAI_API_KEY=KEY)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"resumecache: .*Connection.*\n", done.stderr)
    assert KEY not in done.stderr


def test_an_interrupted_run_says_so(pair: Path, provider: OpenAIServer) -> None:
    """Ctrl-C while the model works ends with 1 and a sentence."""
    provider.hang()
    with started("match", *PAIR, *MEMORY, cwd=pair, OPENAI_BASE_URL=provider.base_url) as process:
        until(lambda: bool(provider.requests))
        process.send_signal(signal.SIGINT)
        shown, said = process.communicate(timeout=60)
    assert (process.returncode, shown) == (1, "")
    assert "interrupted" in said
    assert "Traceback" not in said


# --- a cache that fails --------------------------------------------------------------------------------------------


def test_a_refused_server_is_passed_by(samples: Path, expected: list[dict[str, Any]]) -> None:
    """Without anybody at the URL the ranking is right, the end says that the cache failed, and no password shows."""
    url = f"redis://:{PASSWORD}@{HOST}:{free_port()}/0"
    done = run("--verbose", "match", "resume.docx", "jobs", "--json", "--url", url, cwd=samples)
    report = json.loads(done.stdout)
    assert report["ranking"] == expected
    assert report["cache"]["failures"].keys() == {"refused"}
    assert "refused" in done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    assert done.returncode == 0


def test_a_login_that_is_refused_is_passed_by(call: Call) -> None:
    """With a wrong password the texts are embedded, the end says that the cache failed, and no password shows."""
    with ValkeyServer(["--requirepass", "another"]) as server:
        url = server.url.replace("redis://", f"redis://:{PASSWORD}@")
        done = call("--verbose", "match", *PAIR, REDIS_URL=url)
    assert done.returncode == 0
    assert last_line(done).endswith("; the cache failed (auth) and was passed by")
    assert PASSWORD not in done.stdout + done.stderr


def test_a_hung_server_is_passed_by(samples: Path, expected: list[dict[str, Any]], own_valkey: ValkeyServer) -> None:
    """With a server that accepts connections and answers nothing, the ranking is right and the last line says so."""
    own_valkey.pause()
    done = run("match", "resume.docx", "jobs", "--url", own_valkey.url, cwd=samples, CACHE_DEADLINE_MS="100")
    assert done.returncode == 0
    assert re.findall(r" │ +(\d+\.\d) │", done.stdout) == [f"{result['score']:.1f}" for result in expected]
    assert last_line(done).endswith("; the cache failed (timeout) and was passed by")


def test_a_folder_that_cannot_be_used_is_passed_by(call: Call) -> None:
    """Where the embedded server cannot have its folder, the texts are embedded and the last line says so."""
    done = call("match", *PAIR, "--url", f"embedded://{Path('resume.md', 'data').absolute()}", COLUMNS="80")
    assert done.returncode == 0
    assert last_line(done).endswith("; the cache failed (embedded) and was passed by")


@pytest.mark.parametrize("option", ["--json", "--explain"])
def test_a_reader_that_has_seen_enough_is_no_failure(option: str, pair: Path) -> None:
    """When nobody reads the output any more, the command ends with 0 and says nothing."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end) as closed:
        done = subprocess.run(
            command("match", *PAIR, option, *MEMORY),
            cwd=pair,
            env=environment(),
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")


# --- models of a provider ------------------------------------------------------------------------------------------


def test_a_models_explanation_is_asked_for_once(
    pair: Path, call: Call, provider: OpenAIServer, redis_url: str, namespace: str
) -> None:
    """With a provider the model's explanation is shown; another process gets it without a single request."""
    changes = {"OPENAI_BASE_URL": provider.base_url, "OPENAI_API_KEY": KEY, "CACHE_NAMESPACE": namespace}
    arguments = ("--verbose", "match", *PAIR, "--explain", "--url", redis_url)
    first = run(*arguments, cwd=pair, **changes)
    assert (provider.n_requests(EMBEDDINGS), provider.n_requests(CHAT)) == (1, 1)
    provider.fail_with(500)
    second = call(*arguments, **changes)
    assert len(provider.requests) == 2
    for done in (first, second):
        assert "The model says so." in done.stdout
        assert KEY not in done.stdout + done.stderr
        assert done.returncode == 0


def test_a_chat_model_that_fails_leaves_the_computed_explanation(
    call: Call, provider: OpenAIServer, redis_url: str, namespace: str
) -> None:
    """With vectors cached and a model that fails, the computed explanation is shown after a warning."""
    changes = {"OPENAI_BASE_URL": provider.base_url, "CACHE_NAMESPACE": namespace}
    arguments = ("match", *PAIR, "--url", redis_url)
    call(*arguments, **changes)
    provider.fail_with(500)
    done = call(*arguments, "--explain", **changes)
    assert done.returncode == 0
    assert "Kubernetes" in done.stdout.split("\n1. ")[1]
    assert "no answer by the model" in done.stderr
