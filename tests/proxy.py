"""A proxy between a Redis client and its server that counts what passes and fails in the ways a network does.

One asyncio loop in a thread of its own serves all connections. Commands and replies are relayed as whole RESP frames
and paired in order, so that a fault can be confined to the replies of some commands, and a round trip can be told
from one more part of the same pipeline. Transactions and pipelines work, a replica can follow its primary through it,
subscriptions do not work.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

from tests.servers import HOST, free_port

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from collections.abc import Set as AbstractSet

    Names = AbstractSet[bytes]

WAIT_S = 10.0
CHUNK_BYTES = 2**16
FOLLOWING = frozenset({b"PSYNC", b"SYNC"})
HANDSHAKE = frozenset({b"AUTH", b"CLIENT", b"HELLO", b"SELECT"})
BULKS = (b"$", b"=", b"!")
ITEMS_PER_COUNT = {b"*": 1, b"~": 1, b">": 1, b"%": 2}


class FaultProxy:
    """A TCP proxy on a free port of 127.0.0.1; a context manager that starts and closes it.

    A mode is in force when its method returns, and holds for every command and reply that reaches the proxy from then
    on, on old and new connections. `only` confines it to commands of these upper-case names and forwards the others,
    as in `proxy.drip(only={b"GET"})`; without it a client's handshake is hit as well.

    Args:
        host: address of the server.
        port: its TCP port.

    Attributes:
        port: where the proxy listens.
        round_trips: how often a client sent commands after it had all earlier replies of its connection. A pipeline
            is one, a handshake counts.
        quiet_s: how many seconds a client must be silent before it gets the last reply that is due to it. A pipeline
            that is sent in parts, as redis-py does above 6,000 bytes, is one round trip as long as its parts follow
            each other faster: a test that counts such a pipeline sets 0.2, at that cost for each round trip.
        commands: upper-case names of all commands seen, in order.
    """

    def __init__(self, host: str, port: int) -> None:
        self.port = free_port()
        self.round_trips = 0
        self.quiet_s = 0.002
        self.commands: list[bytes] = []
        self._target = (host, port)
        self._mode = _Mode()
        self._only: Names | None = None
        self._holds: list[HeldReply] = []
        self._connections: dict[_Connection, asyncio.Task[None]] = {}
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name="fault-proxy", daemon=True)

    @property
    def url(self) -> str:
        """Database 0 of the server, through the proxy."""
        return f"redis://{HOST}:{self.port}/0"

    @property
    def connections_open(self) -> int:
        """How many clients are connected; one that has just left may still be counted."""
        return len(self._connections)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Listen, and forward everything."""
        self._socket = _bound_socket(self.port)
        self._thread.start()
        self._ready.wait(WAIT_S)

    def close(self) -> None:
        """Drop all connections and end the thread; a second call does nothing."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join(WAIT_S)

    def reset_counts(self) -> None:
        """Count round trips and commands from zero."""
        self.round_trips = 0
        self.commands = []

    def wait_for_connections(self, n_connections: int, timeout_s: float = WAIT_S) -> None:
        """Block until so many clients are connected; TimeoutError after `timeout_s` seconds."""
        end_s = time.monotonic() + timeout_s
        while self.connections_open != n_connections:
            if time.monotonic() > end_s:
                raise TimeoutError(f"expected {n_connections} connections, {self.connections_open} are open")
            time.sleep(0.001)

    def forward(self) -> None:
        """Pass everything on, listening again if need be."""
        self._switch(_Mode())

    def drip(self, bytes_per_step: int = 1, every_s: float = 0.05, *, only: Names | None = None) -> None:
        """Send replies in steps of a few bytes, waiting `every_s` seconds before each."""
        self._switch(_Drip(bytes_per_step, every_s), only)

    def delay_replies(self, delay_s: float, *, only: Names | None = None) -> None:
        """Deliver each reply `delay_s` seconds after it came: a pipeline is late once, as on a long line."""
        self._switch(_Delay(delay_s), only)

    def slow_handshake(self, delay_s: float) -> None:
        """Delay the replies to the commands that set up a connection, and no others."""
        self.delay_replies(delay_s, only=HANDSHAKE)

    def blackhole(self, *, only: Names | None = None) -> None:
        """Accept and swallow, never answer. A connection that was hit stays silent in later modes too."""
        self._switch(_Blackhole(), only)

    def truncate(self, after_bytes: int, *, only: Names | None = None) -> None:
        """Send so many bytes of replies on each connection, then close it."""
        self._switch(_Truncate(after_bytes), only)

    def garble(self, *, only: Names | None = None) -> None:
        """Invert every bit of the replies: as many bytes, none of them RESP."""
        self._switch(_Garble(), only)

    def reply_with(self, reply: bytes, *, only: Names | None = None) -> None:
        r"""Answer each command with these bytes, such as `b"-OOM out of memory\r\n"`; the server never sees it."""
        self._switch(_ReplyWith(reply), only)

    def reset(self) -> None:
        """Reset all connections (RST), and each new one as soon as it is accepted."""
        self._switch(_Reset())

    def refuse(self) -> None:
        """Close all connections and stop listening, as a server that is down; `forward` listens on the same port."""
        self._switch(_Refuse())

    def hold_next_reply(self, *, only: Names | None = None) -> HeldReply:
        """Keep back the next reply of any connection until it is released; then it passes through the mode."""
        held = HeldReply(self._loop, only)
        self._holds.append(held)
        return held

    def _switch(self, mode: _Mode, only: Names | None = None) -> None:
        self._call(self._enter(mode, only))

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(WAIT_S)

    # From here on: in the proxy's own thread.

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        await self._listen()
        self._ready.set()
        await self._stopped.wait()
        await self._enter(_Refuse(), None)
        self._socket.close()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, sock=self._socket)

    async def _stop_listening(self) -> None:
        self._loop.remove_reader(self._socket)
        await asyncio.sleep(0)  # a client that asyncio is accepting when the server closes is never closed
        self._server.close()
        self._socket = _bound_socket(self.port)  # keeps the port until it is needed again

    async def _enter(self, mode: _Mode, only: Names | None) -> None:
        self._mode, self._only = mode, only
        if mode.listens and not self._server.is_serving():
            await self._listen()
        if not mode.listens and self._server.is_serving():
            await self._stop_listening()
        ended = [task for connection, task in self._connections.items() if mode.turn_away(connection)]
        await asyncio.gather(*ended, return_exceptions=True)

    async def _serve(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        connection = _Connection(self, from_client, to_client)
        if self._mode.turn_away(connection):
            return
        task = asyncio.current_task()
        assert task is not None
        self._connections[connection] = task
        try:
            await connection.run(*self._target)
        finally:
            del self._connections[connection]

    def mode_for(self, name: bytes) -> _Mode:
        """Return what to do with a command of this name, or with its reply."""
        return self._mode if self._only is None or name in self._only else _Mode()

    async def hold_back(self, name: bytes) -> None:
        """Wait until the test releases this reply, if it holds it."""
        for held in self._holds:
            if held.only is None or name in held.only:
                self._holds.remove(held)
                await held.keep()
                return


class HeldReply:
    """A reply that stays in the proxy until the test releases it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, only: Names | None) -> None:
        self.only = only
        self._loop = loop
        self._arrived = threading.Event()
        self._released = asyncio.Event()

    def wait(self, timeout_s: float = WAIT_S) -> None:
        """Block until the server has replied and the reply is held; TimeoutError after `timeout_s` seconds."""
        if not self._arrived.wait(timeout_s):
            raise TimeoutError(f"no reply came to be held within {timeout_s} s")

    def release(self) -> None:
        """Let the reply go on, at once or when it comes."""
        self._loop.call_soon_threadsafe(self._released.set)

    async def keep(self) -> None:
        """Note the arrival and wait for the release; in the proxy's thread."""
        self._arrived.set()
        await self._released.wait()


@dataclass(eq=False)
class _Exchange:
    """A command and its reply: None instead of a reply when the server hung up."""

    name: bytes
    reply: asyncio.Future[bytes | None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    replied_s: float = 0.0

    def answer(self, reply: bytes | None) -> None:
        self.replied_s = time.monotonic()
        self.reply.set_result(reply)


class _Connection:
    """A client, its own connection to the server, and the exchanges between them in order."""

    def __init__(self, proxy: FaultProxy, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._from_client = from_client
        self._to_client = to_client
        self._undelivered: asyncio.Queue[_Exchange] = asyncio.Queue()
        self._unanswered: deque[_Exchange] = deque()
        self._n_outstanding = 0

    async def run(self, host: str, port: int) -> None:
        """Relay until one side hangs up; what came from the server until then is delivered first."""
        with suppress(OSError):
            self._from_server, self._to_server = await asyncio.open_connection(host, port)
            try:
                await self._relay()
            finally:
                self._to_server.transport.abort()
        try:
            self._to_client.close()
            with suppress(OSError):
                await self._to_client.wait_closed()
        finally:
            self.abort()

    async def _relay(self) -> None:
        ends = [asyncio.create_task(self._read_commands()), asyncio.create_task(self._deliver())]
        self._replies = asyncio.create_task(self._read_replies())
        tasks = [*ends, self._replies]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read_commands(self) -> None:
        while True:
            first_line = await _read_line(self._from_client)
            if self._n_outstanding == 0:
                self._proxy.round_trips += 1
            self._n_outstanding += 1
            command = await _read_rest(self._from_client, first_line)
            if _name_of(command) in FOLLOWING:
                return await self._stream(command)
            exchange = _Exchange(_name_of(command))
            self._proxy.commands.append(exchange.name)
            self._undelivered.put_nowait(exchange)
            self._proxy.mode_for(exchange.name).ask(self, exchange, command)

    async def _stream(self, command: bytes) -> None:
        """Relay bytes from here on, in both directions: a replica follows its primary."""
        self._replies.cancel()
        self._to_server.write(command)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_copy(self._from_client, self._to_server))
            tasks.create_task(_copy(self._from_server, self._to_client))

    def ask_server(self, exchange: _Exchange, command: bytes) -> None:
        """Send a command on; its reply is the next one that no earlier command waits for."""
        self._unanswered.append(exchange)
        self._to_server.write(command)

    async def _read_replies(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                line = await _read_line(self._from_server)
                reply = await _read_rest(self._from_server, line)
                asked = self._unanswered and not reply.startswith(b">")
                exchange = self._unanswered.popleft() if asked else self._unasked()
                exchange.answer(reply)
        for exchange in (*self._unanswered, self._unasked()):
            exchange.answer(None)

    def _unasked(self) -> _Exchange:
        """Make room for what the server says on its own: a push message, or its last words before hanging up."""
        exchange = _Exchange(b"")
        self._n_outstanding += 1
        self._undelivered.put_nowait(exchange)
        return exchange

    async def _deliver(self) -> None:
        while True:
            exchange = await self._undelivered.get()
            reply = await exchange.reply
            if reply is None:
                return
            if self._n_outstanding == 1:  # more may be on its way: the server answers the first part of a pipeline
                await asyncio.sleep(self._proxy.quiet_s)
            await self._proxy.hold_back(exchange.name)
            await self._proxy.mode_for(exchange.name).deliver(self, reply, exchange.replied_s)
            self._n_outstanding -= 1

    def send(self, data: bytes) -> None:
        """Send to the client, without waiting until it reads."""
        self._to_client.write(data)

    def abort(self) -> None:
        """Close the connection to the client at once; `run` ends of itself."""
        self._to_client.transport.abort()

    def reset(self) -> None:
        """Close it with an RST."""
        with suppress(OSError):  # the client has left already
            linger = struct.pack("ii", 1, 0)
            self._to_client.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.abort()


class _Mode:
    """Forward everything; each fault changes a part of it."""

    listens: ClassVar[bool] = True

    def turn_away(self, connection: _Connection) -> bool:
        """End a connection if this mode allows none; tell whether it did."""
        return False

    def ask(self, connection: _Connection, exchange: _Exchange, command: bytes) -> None:
        """Do with a command what this mode does."""
        connection.ask_server(exchange, command)

    async def deliver(self, connection: _Connection, reply: bytes, replied_s: float) -> None:
        """Do with a reply, which came at `replied_s` of the monotonic clock, what this mode does."""
        connection.send(reply)


@dataclass(frozen=True)
class _Drip(_Mode):
    bytes_per_step: int
    every_s: float

    async def deliver(self, connection: _Connection, reply: bytes, replied_s: float) -> None:
        for start in range(0, len(reply), self.bytes_per_step):
            await asyncio.sleep(self.every_s)
            connection.send(reply[start : start + self.bytes_per_step])


@dataclass(frozen=True)
class _Delay(_Mode):
    delay_s: float

    async def deliver(self, connection: _Connection, reply: bytes, replied_s: float) -> None:
        await asyncio.sleep(replied_s + self.delay_s - time.monotonic())
        connection.send(reply)


class _Blackhole(_Mode):
    def ask(self, connection: _Connection, exchange: _Exchange, command: bytes) -> None:
        """Leave the exchange unanswered for good, and with it all that follow."""

    async def deliver(self, connection: _Connection, reply: bytes, replied_s: float) -> None:
        await asyncio.Event().wait()


@dataclass(frozen=True)
class _Truncate(_Mode):
    after_bytes: int
    n_sent: dict[_Connection, int] = field(default_factory=dict)

    async def deliver(self, connection: _Connection, reply: bytes, replied_s: float) -> None:
        n_left = self.after_bytes - self.n_sent.get(connection, 0)
        connection.send(reply[:n_left])
        self.n_sent[connection] = self.after_bytes - n_left + len(reply)
        if n_left <= len(reply):
            raise EOFError("as many bytes as were asked for")


class _Garble(_Mode):
    async def deliver(self, connection: _Connection, reply: bytes, replied_s: float) -> None:
        connection.send(bytes(byte ^ 0xFF for byte in reply))


@dataclass(frozen=True)
class _ReplyWith(_Mode):
    reply: bytes

    def ask(self, connection: _Connection, exchange: _Exchange, command: bytes) -> None:
        exchange.answer(self.reply)


class _Reset(_Mode):
    def turn_away(self, connection: _Connection) -> bool:
        connection.reset()
        return True


class _Refuse(_Mode):
    listens = False

    def turn_away(self, connection: _Connection) -> bool:
        connection.abort()
        return True


def _bound_socket(port: int) -> socket.socket:
    bound = socket.socket(proto=socket.IPPROTO_TCP)  # asyncio lets only such send small replies without a wait
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((HOST, port))
    return bound


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Relay bytes until the sender hangs up, which is an EOFError."""
    while data := await reader.read(CHUNK_BYTES):
        writer.write(data)
        await writer.drain()
    raise EOFError("the peer hung up")


async def _read_line(reader: asyncio.StreamReader) -> bytes:
    """Read the first line of a frame; EOFError when the peer hung up."""
    line = await reader.readline()
    if not line.endswith(b"\r\n"):
        raise EOFError("the peer hung up")
    return line


async def _read_rest(reader: asyncio.StreamReader, line: bytes) -> bytes:
    """Return the whole RESP frame, command or reply, of which the first line has been read."""
    kind, size = line[:1], line[1:-2]
    if kind in BULKS and size != b"-1":
        return line + await reader.readexactly(int(size) + 2)
    n_items = ITEMS_PER_COUNT[kind] * int(size) if kind in ITEMS_PER_COUNT else 0
    items = [await _read_rest(reader, await _read_line(reader)) for _ in range(n_items)]
    return line + b"".join(items)


def _name_of(command: bytes) -> bytes:
    """Find the name of a command that is an array of bulk strings, or an inline `PING` as one types it."""
    words = command.split(maxsplit=3)
    return (words[2] if command.startswith(b"*") else words[0]).upper()
