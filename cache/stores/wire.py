"""The Redis protocol on a blocking socket: what goes out in as few copies as can be, what comes back through hiredis.

redis-py connects, logs in and speaks TLS. From then on its layers would cost a small command as much again as the wire
itself, so a connection's commands pass them by.
"""

from __future__ import annotations

import select
import ssl
import time
from typing import TYPE_CHECKING, Any

import hiredis
from redis import exceptions as redis_errors

from cache.stores.base import Block

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from cache.stores.commands import Command

_MOST_PARTS = 512  # of one call of the system, which takes 1024
_READ_BYTES = 128 * 2**10
_SLACK_S = 0.001  # that a read may end late
_NOT_YET = object()
_LINE_END = b"\r\n"


def pack(commands: Sequence[Command]) -> list[bytes | memoryview]:
    """Write commands as they go over the wire; memory that they refer to is not copied.

    Returns:
        Parts to be sent one after the other; a single one, unless the commands hold views of memory.
    """
    if not any(memoryview in map(type, command) for command in commands):
        return [b"".join([hiredis.pack_command(command) for command in commands])]  # type: ignore[arg-type]  # means tuple[..., ...]
    parts: list[bytes | memoryview] = []
    small: list[bytes] = []
    for command in commands:
        small.append(b"*%d\r\n" % len(command))
        for part in command:
            if type(part) is memoryview and part.c_contiguous:
                small.append(b"$%d\r\n" % part.nbytes)
                parts += (b"".join(small), part if part.format == "B" else part.cast("B"))
                small = [b"\r\n"]
            else:
                data = _as_bytes(part)
                small.append(b"$%d\r\n%b\r\n" % (len(data), data))
    parts.append(b"".join(small))
    return parts


def _as_bytes(part: str | bytes | int | memoryview) -> bytes:
    if isinstance(part, str):
        return part.encode()
    return b"%d" % part if isinstance(part, int) else bytes(part)


class _Layout:
    """How the reply to an MGET lies in memory when all values are there and of one size.

    It is `*n`, then for each value `$size` and the value itself, with line ends between.

    Args:
        n: how many values.
        size_bytes: of each.

    Attributes:
        memory: what the reply is to be received into.
    """

    def __init__(self, n: int, size_bytes: int) -> None:
        self._first = b"*%d" % n
        self._mark = b"\r\n$%d\r\n" % size_bytes
        self._stride = len(self._mark) + size_bytes
        self._n, self._size_bytes, self._n_marks = n, size_bytes, 0
        self.memory = bytearray(len(self._first) + n * self._stride + len(_LINE_END))

    @property
    def block(self) -> Block:
        """The values, when all has come."""
        return Block(self.memory, len(self._first) + len(self._mark), self._stride, self._size_bytes, self._n)

    def fits(self, n_bytes: int) -> bool:
        """Say whether what has come is such a reply up to here; what was looked at before is not looked at again."""
        memory, mark, at = self.memory, self._mark, len(self._first)
        n_marks = min(max(0, (n_bytes - at - len(mark)) // self._stride + 1), self._n)
        n_new = n_marks - self._n_marks
        start, end = at + self._n_marks * self._stride, at + n_marks * self._stride
        self._n_marks = n_marks
        return (
            self._first.startswith(memory[: min(n_bytes, at)])
            and mark.startswith(memory[end : min(n_bytes, end + len(mark))])
            and all(memory[start + n : end : self._stride] == mark[n : n + 1] * n_new for n in range(len(mark)))
        )


class Wire:
    """One connection, once it is ready for commands.

    Args:
        sock: connected; nothing has come that was not read.
        to_error: makes of an error of the server, as its text, an exception.
    """

    def __init__(self, sock: socket.socket, to_error: Callable[[str], Exception]) -> None:
        self._sock = sock
        self._takes_parts = hasattr(sock, "sendmsg") and not isinstance(
            sock, ssl.SSLSocket
        )  # Windows has none, nor has TLS
        self._reader = hiredis.Reader(
            protocolError=redis_errors.InvalidResponse, replyError=to_error, notEnoughData=_NOT_YET
        )
        self._buffer = bytearray(_READ_BYTES)
        self._timeout_s = -1.0
        self._poll = select.poll() if hasattr(select, "poll") else None  # Windows has none
        if self._poll is not None:
            self._poll.register(sock.fileno(), select.POLLIN)

    def has_unread(self) -> bool | None:
        """Say whether something has come that nobody asked for, or the other side has closed; `None` if not known."""
        if self._poll is None:
            return None
        if isinstance(self._sock, ssl.SSLSocket) and self._sock.pending():
            return True
        return self._reader.has_data() or bool(self._poll.poll(0))

    def exchange(self, commands: Sequence[Command], expires_s: float, *, block_bytes: int = 0) -> list[Any]:
        """Send commands in one go and read a reply for each; the error of a single one is its reply.

        Args:
            commands: what to send.
            expires_s: when to give up, on the monotonic clock.
            block_bytes: the size of each value, where a single MGET most likely finds all keys; its reply is then a
                `Block`, which was received where it lies.

        Raises:
            TimeoutError: not all was done in time.
            redis.exceptions.ConnectionError: the connection is lost, or the server does not serve.
            redis.exceptions.InvalidResponse: what came back is not the protocol.
        """
        try:
            self._send(pack(commands), expires_s)
            if block_bytes:
                return [self._read_block(_Layout(len(commands[0]) - 1, block_bytes), expires_s)]
            return [self._read(expires_s) for _ in commands]
        except TimeoutError:
            raise
        except OSError as error:
            raise redis_errors.ConnectionError(str(error)) from error

    def _send(self, parts: list[bytes | memoryview], expires_s: float) -> None:
        if not self._takes_parts or len(parts) == 1:
            self._limit(expires_s)
            return self._sock.sendall(parts[0] if len(parts) == 1 else b"".join(parts))
        at = 0
        while at < len(parts):
            self._limit(expires_s)
            n_sent = self._sock.sendmsg(parts[at : at + _MOST_PARTS])
            while at < len(parts) and n_sent >= len(parts[at]):
                n_sent -= len(parts[at])
                at += 1
            if n_sent:
                parts[at] = memoryview(parts[at])[n_sent:]
        return None

    def _read_block(self, layout: _Layout, expires_s: float) -> Any:
        memory = memoryview(layout.memory)
        n_bytes = 0
        while n_bytes < len(memory):
            n_bytes += self._receive(memory[n_bytes:], expires_s)
            if not layout.fits(n_bytes):
                self._reader.feed(layout.memory, 0, n_bytes)  # type: ignore[arg-type]  # takes any buffer
                return self._read(expires_s)
        return layout.block

    def _receive(self, buffer: bytearray | memoryview, expires_s: float) -> int:
        self._limit(expires_s)
        n_bytes = self._sock.recv_into(buffer)
        if not n_bytes:
            raise redis_errors.ConnectionError("Connection closed by server.")
        return n_bytes

    def _read(self, expires_s: float) -> Any:
        reader = self._reader
        while (reply := reader.gets()) is _NOT_YET:
            n_bytes = self._receive(self._buffer, expires_s)
            reader.feed(self._buffer, 0, n_bytes)  # type: ignore[arg-type]  # takes any buffer
        if isinstance(reply, redis_errors.ConnectionError):  # such as of a server that is still loading
            raise reply
        return reply

    def _limit(self, expires_s: float) -> None:
        left_s = expires_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("no time left")
        if not left_s <= self._timeout_s < left_s + _SLACK_S:  # what is set already is near enough
            self._sock.settimeout(left_s)
            self._timeout_s = left_s
