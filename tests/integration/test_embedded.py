"""The embedded server on its real binary: shared, never twice, never lost, never left behind."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cache.errors import ConfigurationError, StoreConnectionError
from cache.stores.embedded import EmbeddedServer, default_directory, embedded_available

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Start = Callable[[Path], EmbeddedServer]
    Spawn = Callable[..., subprocess.Popen[str]]

ROOT = Path(__file__).resolve().parents[2]
WATCH_S = 1.5  # in which the supervisor looks at the socket again
# Clients import this one module without the packages around it: they start in a tenth of a second instead of one.
IMPORTS = """
import os, sys, threading, types
from pathlib import Path

for name in ("cache", "cache.stores"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [name.replace(".", "/")]

from cache.stores.embedded import EmbeddedServer
"""
CLIENT = """
print(EmbeddedServer(Path(sys.argv[1])).ensure_running(), flush=True)
sys.stdin.readline()
"""
EIGHT_CLIENTS = """
gate, gate_keeper = os.pipe()
for _ in range(8):
    if os.fork() == 0:
        os.close(gate_keeper)
        os.read(gate, 1)
        path = EmbeddedServer(Path(sys.argv[1])).ensure_running()
        os.write(1, b"%s\\n" % os.fsencode(path))
        sys.stdin.read()
        os._exit(0)
os.close(gate_keeper)
sys.stdin.read()
"""
FORKING_CLIENT = """
server = EmbeddedServer(Path(sys.argv[1]))
server.ensure_running()
child = os.fork()
if child:
    os.waitpid(child, 0)
else:
    print(os.getpid(), flush=True)
    for line in sys.stdin:
        print(getattr(server, line.strip())(), flush=True)
"""
FORKS_DURING_START = """
server = EmbeddedServer(Path(sys.argv[1]))
thread = threading.Thread(target=server.ensure_running)
thread.start()
n_children = 0
while thread.is_alive() and n_children < 20:
    if os.fork() == 0:
        if n_children == 0:
            os.write(1, b"%s\\n" % os.fsencode(server.ensure_running()))
        sys.stdin.read()
        os._exit(0)
    n_children += 1
sys.stdin.read()
"""


def eventually(predicate: Callable[[], object], within_s: float = 10.0) -> bool:
    """Look until the predicate holds, for a bounded time."""
    deadline = time.monotonic() + within_s
    while not predicate():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def stays(predicate: Callable[[], object], for_s: float) -> bool:
    """Look whether the predicate holds all the time."""
    return not eventually(lambda: not predicate(), within_s=for_s)


def is_locked(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def is_anything_alive(directory: Path) -> bool:
    return is_locked(directory / "server.lock") or is_locked(directory / "supervisor.lock")


def number(lock: Path) -> int:
    return int(lock.read_text().split()[0])


def kill_server(directory: Path) -> None:
    """Kill the server and wait until its supervisor has noticed and ended too."""
    os.kill(number(directory / "server.lock"), signal.SIGKILL)
    assert eventually(lambda: not is_anything_alive(directory))


def kill_supervisor(directory: Path) -> None:
    """Kill the supervisor and wait until it is gone; its server stays."""
    os.kill(number(directory / "supervisor.lock"), signal.SIGKILL)
    assert eventually(lambda: not is_locked(directory / "supervisor.lock"))


def connect(path: Path) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(path), retry=Retry(NoBackoff(), 0), decode_responses=True)


def n_starts(directory: Path) -> int:
    return (directory / "server.log").read_text().count("Ready to accept connections")


def run_id(path: Path) -> str:
    with connect(path) as client:
        return str(client.info("server")["run_id"])


def write(path: Path, **values: str) -> None:
    """Write values and wait until they are on the disk."""
    with connect(path) as client:
        client.mset(values)
        assert client.execute_command("WAITAOF", 1, 0, 5000)[0] == 1


def read(path: Path, key: str) -> str | None:
    with connect(path) as client:
        value = client.get(key)
    assert value is None or isinstance(value, str)
    return value


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """A directory that must hold no living server when the test and its clients have ended."""
    path = tmp_path / "server"
    yield path
    ended = eventually(lambda: not is_anything_alive(path), within_s=5)
    for name in ("supervisor.lock", "server.lock"):
        if is_locked(path / name):
            os.kill(number(path / name), signal.SIGKILL)
    assert ended


@pytest.fixture
def handle(directory: Path) -> Iterator[Start]:
    """Make handles in this process, and close them."""
    handles: list[EmbeddedServer] = []

    def make(path: Path = directory) -> EmbeddedServer:
        handles.append(EmbeddedServer(path))
        return handles[-1]

    yield make
    for each in handles:
        each.close()


@pytest.fixture
def server(handle: Start, directory: Path) -> EmbeddedServer:
    """A running server, claimed by this process."""
    server = handle(directory)
    server.ensure_running()
    return server


@pytest.fixture
def spawn(directory: Path) -> Iterator[Spawn]:
    """Start clients in processes of their own, each the leader of its process group."""
    processes: list[subprocess.Popen[str]] = []

    def start(script: str = CLIENT) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", IMPORTS + script, str(directory)]
        pipe = subprocess.PIPE
        processes.append(
            subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True, process_group=0)
        )
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def tell(process: subprocess.Popen[str], line: str = "") -> str:
    """Send a line to a client and return the line that it answers."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def hear(process: subprocess.Popen[str]) -> str:
    """Return the next line of a client."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def running(spawn: Spawn) -> subprocess.Popen[str]:
    """Start a client in a process of its own and return it when it has claimed the server."""
    client = spawn()
    assert hear(client).endswith("server.sock")
    return client


class TestStart:
    def test_answers_at_once_after_a_cold_start(self, server: EmbeddedServer) -> None:
        """The first command after `ensure_running` is answered."""
        with connect(server.socket_path) as client:
            assert client.ping()

    def test_keeps_a_file_and_evicts_within_a_bound(self, server: EmbeddedServer) -> None:
        """The server appends to a file, evicts the least recently used keys and opens no port."""
        with connect(server.socket_path) as client:
            settings = client.config_get("*")
        expected = {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "allkeys-lru", "port": "0"}
        assert expected.items() <= settings.items()
        assert settings["maxmemory"] == str(256 * 2**20)

    def test_directory_is_closed_to_other_users(self, server: EmbeddedServer) -> None:
        """The directory and the socket belong to the user alone."""
        assert server.directory.stat().st_mode & 0o777 == 0o700
        assert server.socket_path.stat().st_mode & 0o777 == 0o700

    def test_an_open_directory_with_files_is_refused(self, handle: Start, directory: Path) -> None:
        """A directory that others can enter and that holds files is neither used nor changed."""
        directory.mkdir(mode=0o755)
        directory.chmod(0o755)
        (directory / "notes.txt").touch()
        with pytest.raises(StoreConnectionError, match="chmod 700") as raised:
            handle(directory).ensure_running()
        assert raised.value.reason == "embedded"
        assert directory.stat().st_mode & 0o777 == 0o755

    def test_an_open_empty_directory_is_closed(self, handle: Start, directory: Path) -> None:
        """An empty directory that others can enter is closed to them and used."""
        directory.mkdir()
        directory.chmod(0o755)
        handle(directory).ensure_running()
        assert directory.stat().st_mode & 0o777 == 0o700

    @pytest.mark.parametrize(
        "name", ["with spaces and 'quotes'", "ünïcode", "l" * 120], ids=["space", "unicode", "long"]
    )
    def test_any_path_will_do(self, handle: Start, directory: Path, name: str) -> None:
        """Spaces, quotes, other alphabets and a path that is too long for a socket all work."""
        directory.mkdir(mode=0o700)
        server = handle(directory / name)
        path = server.ensure_running()
        write(path, key="value")
        assert len(os.fsencode(path)) <= 103
        assert path.parent.stat().st_mode & 0o777 == 0o700
        server.close()
        assert eventually(lambda: not is_anything_alive(server.directory))
        assert (server.directory / "appendonlydir").is_dir()
        if path.parent != server.directory:
            shutil.rmtree(path.parent)

    def test_the_place_of_a_short_socket_is_not_trusted(self, handle: Start, directory: Path, tmp_path: Path) -> None:
        """A link that somebody put where the socket of a long path goes is refused."""
        server = handle(directory / ("l" * 120))
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        server.socket_path.parent.symlink_to(tmp_path / "elsewhere")
        try:
            with pytest.raises(StoreConnectionError, match="must be a directory of the user"):
                server.ensure_running()
        finally:
            server.socket_path.parent.unlink()

    def test_leftovers_are_no_obstacle(self, handle: Start, directory: Path, spawn: Spawn) -> None:
        """A stale socket and the number of a process that is somebody else's by now harm neither server nor process."""
        directory.mkdir(mode=0o700)
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(directory / "server.sock"))
        bystander = spawn("input()")
        (directory / "server.lock").write_text(f"{bystander.pid} {os.uname().nodename}")
        server = handle(directory)
        first = run_id(server.ensure_running())
        assert stays(lambda: run_id(server.ensure_running()) == first, for_s=WATCH_S)
        server.close()
        assert eventually(lambda: not is_anything_alive(directory))
        assert bystander.poll() is None

    def test_a_server_that_loads_is_waited_for(self, handle: Start, directory: Path) -> None:
        """After a restart with a file of some 50 MB the first command finds every key."""
        script = "for i = 1, 100000 do redis.call('SET', 'key' .. i, string.rep('x', 450)) end"
        first = handle(directory)
        with connect(first.ensure_running()) as client:
            client.eval(script, 0)
        first.close()
        assert eventually(lambda: not is_anything_alive(directory))
        with connect(handle(directory).ensure_running()) as client:
            assert client.dbsize() == 100_000

    def test_default_directory_is_in_the_users_cache(self) -> None:
        """Without a directory the server of the user is meant."""
        assert EmbeddedServer().directory == default_directory().resolve()
        assert default_directory().parts[-2:] == ("resumecache", "server")


class TestFailure:
    def test_no_binary(self, directory: Path) -> None:
        """Without the binary the error says what to install."""
        assert embedded_available()
        server = EmbeddedServer(directory, binary=directory / "valkey-server")
        with pytest.raises(ConfigurationError, match=r"resumecache\[local\]"):
            server.ensure_running()

    def test_a_binary_that_ends_at_once(self, directory: Path) -> None:
        """A server that cannot start is given up, and the error names the log and its last line."""
        directory.mkdir(mode=0o700)
        broken = directory / "valkey-server"
        broken.write_text("#!/bin/sh\necho out of luck\n")
        broken.chmod(0o700)
        server = EmbeddedServer(directory, binary=broken)
        with pytest.raises(StoreConnectionError, match=r"server\.log ends with: out of luck") as raised:
            server.ensure_running()
        server.close()
        assert raised.value.reason == "embedded"

    def test_a_directory_that_cannot_be_made(self, handle: Start, tmp_path: Path) -> None:
        """A directory that cannot be created is named in the error."""
        (tmp_path / "file").touch()
        with pytest.raises(StoreConnectionError, match=r"file/server.*Not a directory"):
            handle(tmp_path / "file" / "server").ensure_running()

    def test_a_server_that_hangs(self, directory: Path) -> None:
        """A server that does not answer in time is an error and not a hang."""
        directory.mkdir(mode=0o700)
        hanging = directory / "valkey-server"
        hanging.write_text("#!/bin/sh\nexec sleep 60\n")
        hanging.chmod(0o700)
        server = EmbeddedServer(directory, binary=hanging, start_timeout_s=0.3)
        with pytest.raises(StoreConnectionError, match=r"did not answer within 0\.3 s"):
            server.ensure_running()
        server.close()


class TestSharing:
    def test_one_server_for_all_processes(self, server: EmbeddedServer, spawn: Spawn) -> None:
        """A second process uses the server of the first, and leaves it alive when it ends."""
        before = run_id(server.socket_path)
        client = running(spawn)
        client.kill()
        client.wait()
        assert run_id(server.ensure_running()) == before

    def test_eight_start_at_once(self, directory: Path, spawn: Spawn) -> None:
        """Eight processes that start at the same time start one server between them."""
        clients = spawn(EIGHT_CLIENTS)
        assert {hear(clients) for _ in range(8)} == {str(directory / "server.sock")}
        assert n_starts(directory) == 1

    def test_many_threads_of_one_process(self, handle: Start, directory: Path) -> None:
        """Threads with one handle and with one each start one server between them."""
        shared = handle(directory)
        handles = [shared] * 8 + [handle(directory) for _ in range(8)]
        with ThreadPoolExecutor(16) as pool:
            paths = set(pool.map(lambda each: each.ensure_running(), handles))
        assert paths == {shared.socket_path}
        assert n_starts(directory) == 1

    def test_a_forked_child_has_a_claim_of_its_own(self, server: EmbeddedServer, spawn: Spawn) -> None:
        """The child of a fork keeps the server after its parent was killed, until the child ends."""
        before = run_id(server.socket_path)
        parent = spawn(FORKING_CLIENT)
        child = int(hear(parent))
        server.close()
        parent.kill()
        parent.wait()
        assert tell(parent, "ensure_running") == str(server.socket_path)
        assert run_id(server.socket_path) == before
        os.kill(child, signal.SIGKILL)
        assert eventually(lambda: not is_anything_alive(server.directory))

    def test_a_forked_child_leaves_its_parents_claim(self, server: EmbeddedServer, spawn: Spawn) -> None:
        """A child that closes its handle does not take the claim of its parent away."""
        before = run_id(server.socket_path)
        parent = spawn(FORKING_CLIENT)
        child = int(hear(parent))
        server.close()
        assert tell(parent, "close") == "None"
        assert stays(lambda: is_locked(server.directory / "server.lock"), for_s=0.5)
        assert run_id(server.socket_path) == before
        os.kill(child, signal.SIGKILL)

    def test_a_fork_while_a_thread_starts_the_server(self, handle: Start, directory: Path, spawn: Spawn) -> None:
        """Children forked in the middle of a start reach the server, and hold nothing that outlives the supervisor."""
        forks = spawn(FORKS_DURING_START)
        server = handle(directory)
        assert hear(forks) == str(server.socket_path)
        before = run_id(server.ensure_running())
        kill_supervisor(directory)
        kill_server(directory)
        assert run_id(server.ensure_running()) != before


class TestEnd:
    @pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
    def test_the_last_client_takes_the_server_along(
        self, directory: Path, spawn: Spawn, ending: signal.Signals
    ) -> None:
        """However the last client ends, server and supervisor end, and the data is there for the next one."""
        client = running(spawn)
        write(directory / "server.sock", key="value")
        client.send_signal(ending)
        assert eventually(lambda: not is_anything_alive(directory))
        with EmbeddedServer(directory) as server:
            assert read(server.ensure_running(), "key") == "value"

    def test_a_client_that_comes_while_the_server_ends(self, handle: Start, directory: Path) -> None:
        """A client that comes when the last one leaves gets a server with the data, time after time."""
        for i in range(10):
            server = handle(directory)
            write(server.ensure_running(), **{f"key{i}": "value"})
            server.close()
        with connect(handle(directory).ensure_running()) as client:
            assert client.dbsize() == 10

    def test_close_can_be_repeated_and_undone(self, server: EmbeddedServer) -> None:
        """A closed handle may be closed again, and claims the server again when asked to."""
        server.close()
        server.close()
        assert eventually(lambda: not is_anything_alive(server.directory))
        with connect(server.ensure_running()) as client:
            assert client.ping()

    def test_interrupting_one_client_leaves_the_server(self, handle: Start, directory: Path, spawn: Spawn) -> None:
        """Control-C in the terminal of the client that started the server does not reach the server."""
        client = running(spawn)
        server = handle(directory)
        before = run_id(server.ensure_running())
        os.killpg(client.pid, signal.SIGINT)
        client.wait()
        assert run_id(server.ensure_running()) == before

    def test_the_server_keeps_no_pipe_open(self, handle: Start, directory: Path, spawn: Spawn) -> None:
        """A reader of the output of the client that started the server gets its end while the server lives."""
        client = running(spawn)
        handle(directory).ensure_running()
        client.kill()
        output, errors = client.communicate(timeout=5)
        assert (output, errors) == ("", "")
        assert is_locked(directory / "server.lock")


class TestRecovery:
    def test_a_killed_server_is_started_again(self, server: EmbeddedServer) -> None:
        """After `kill -9` of the server the next call starts another with the same data, and it stays."""
        before = run_id(server.socket_path)
        write(server.socket_path, key="value")
        kill_server(server.directory)
        after = run_id(server.ensure_running())
        assert after != before
        assert read(server.socket_path, "key") == "value"
        assert stays(lambda: run_id(server.ensure_running()) == after, for_s=WATCH_S)

    def test_a_killed_supervisor_is_replaced(self, server: EmbeddedServer) -> None:
        """After `kill -9` of the supervisor the server stays, and ends with its last client all the same."""
        before = run_id(server.socket_path)
        kill_supervisor(server.directory)
        assert run_id(server.ensure_running()) == before
        server.close()
        assert eventually(lambda: not is_anything_alive(server.directory))

    def test_both_killed(self, server: EmbeddedServer) -> None:
        """After `kill -9` of supervisor and server the next call starts both, with the same data."""
        write(server.socket_path, key="value")
        kill_supervisor(server.directory)
        kill_server(server.directory)
        assert read(server.ensure_running(), "key") == "value"

    def test_a_removed_socket_is_replaced(self, server: EmbeddedServer) -> None:
        """A server that nobody can reach any more is ended, and the next one has its data."""
        write(server.socket_path, key="value")
        server.socket_path.unlink()
        assert read(server.ensure_running(), "key") == "value"

    def test_a_removed_lock_ends_the_server(self, server: EmbeddedServer) -> None:
        """A server whose lock somebody removed is ended before another could start beside it unaware."""
        write(server.socket_path, key="value")
        (server.directory / "supervisor.lock").rename(server.directory / "supervisor.old")
        (server.directory / "server.lock").rename(server.directory / "server.old")
        assert eventually(lambda: not is_locked(server.directory / "server.old"))
        assert eventually(lambda: not is_locked(server.directory / "supervisor.old"))
        assert read(server.ensure_running(), "key") == "value"

    def test_a_removed_directory_is_replaced(self, server: EmbeddedServer) -> None:
        """After the directory was removed the next call starts an empty server, and the old one ends."""
        before = run_id(server.socket_path)
        old = number(server.directory / "server.lock")
        shutil.rmtree(server.directory)
        assert run_id(server.ensure_running()) != before
        assert eventually(lambda: not is_process(old))

    def test_a_file_that_was_cut_off_loads(self, server: EmbeddedServer) -> None:
        """When the end of the file is missing, what stands before it is loaded."""
        write(server.socket_path, first="value")
        write(server.socket_path, second="value")
        server.close()
        assert eventually(lambda: not is_anything_alive(server.directory))
        (file,) = server.directory.glob("appendonlydir/*.incr.aof")
        os.truncate(file, file.stat().st_size - 3)
        assert read(server.ensure_running(), "first") == "value"
        assert read(server.socket_path, "second") is None

    def test_a_descriptor_closed_by_others_is_not_closed_twice(self, server: EmbeddedServer, tmp_path: Path) -> None:
        """When other code has closed the claim, it is taken anew and the file that got its number stays open."""
        assert server._claim is not None
        os.close(server._claim.descriptor)
        with (tmp_path / "other").open("wb") as other:
            server.ensure_running()
            server.close()
            other.write(b"x")


def is_process(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
