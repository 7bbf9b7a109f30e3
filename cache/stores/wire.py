"""The Redis protocol on a blocking socket: what goes out in as few copies as can be, what comes back through hiredis.

redis-py connects, logs in and speaks TLS. From then on its layers would cost a small command as much again as the wire
itself, so a connection's commands pass them by.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from bisect import bisect
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import hiredis
from redis import exceptions as redis_errors

from cache.stores.blocks import BlockReply

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cache.stores.commands import Command

_MOST_PARTS = 512  # of one call of the system, which takes 1024
_READ_BYTES = 128 * 2**10
_SLACK_S = 0.001  # that a read may end late
_NOT_YET = object()


def pack(commands: Sequence[Command]) -> list[bytes | memoryview]:
    """Write commands as they go over the wire; memory that they refer to is not copied.

    Returns:
        Parts to be sent one after the other; a single one, unless the commands hold views of memory.
    """
    if not any(memoryview in map(type, command) for command in commands):
        return [b"".join([hiredis.pack_command(command) for command in commands])]  # type: ignore[arg-type]  # means tuple[..., ...]
    parts: list[bytes | memoryview] = []
    small: list[bytes] = []  # what stands before the next view
    for command in commands:
        small.append(b"*%d\r\n" % len(command))
        for part in command:
            if type(part) is memoryview and part.c_contiguous:
                small.append(b"$%d\r\n" % part.nbytes)
                parts += (b"".join(small), part if part.format == "B" else part.cast("B"))
                small = [b"\r\n"]
            else:
                data = part.encode() if type(part) is str else _as_bytes(part)
                small.append(b"$%d\r\n%b\r\n" % (len(data), data))
    parts.append(b"".join(small))
    return parts


def _as_bytes(part: str | bytes | int | memoryview) -> bytes:
    if isinstance(part, str):
        return part.encode()
    return b"%d" % part if isinstance(part, int) else bytes(part)


def _some(n_bytes: int) -> int:
    """How many bytes have come; none means that the other side has closed the connection."""
    if not n_bytes:
        raise redis_errors.ConnectionError("Connection closed by server.")
    return n_bytes


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
            if block_bytes and self._takes_parts:
                return [self._read_block(BlockReply(len(commands[0]) - 1, block_bytes), expires_s)]
            return [self._read(expires_s) for _ in commands]
        except TimeoutError:
            raise
        except OSError as error:
            raise redis_errors.ConnectionError(str(error)) from error

    def send(self, commands: Sequence[Command], expires_s: float) -> None:
        """Send commands whose replies `receive` is to read; raises as it does, and `OSError` for a lost connection."""
        self._send(pack(commands), expires_s)

    def receive(self, expires_s: float) -> Any:
        """Read what comes next, asked for or not; what had come in part when the time was over is not lost.

        Raises:
            TimeoutError: nothing complete came in time.
            OSError: the connection is lost.
            redis.exceptions.RedisError: it was closed, the server does not serve, or what came is not the protocol.
        """
        return self._read(expires_s)

    def shut_down(self) -> None:
        """End the connection while another thread reads from it, which then finds it lost."""
        with contextlib.suppress(OSError):  # it may be lost already
            self._sock.shutdown(socket.SHUT_RDWR)

    def _send(self, parts: list[bytes | memoryview], expires_s: float) -> None:
        if not self._takes_parts or len(parts) == 1:
            self._limit(expires_s)
            return self._sock.sendall(parts[0] if len(parts) == 1 else b"".join(parts))
        at = 0
        while at < len(parts):
            self._limit(expires_s)
            some = parts[at : at + _MOST_PARTS]
            n_sent = self._sock.sendmsg(some)
            ends = list(accumulate(map(len, some), initial=0))
            n_done = bisect(ends, n_sent) - 1
            at += n_done
            if n_sent > ends[n_done]:
                parts[at] = memoryview(parts[at])[n_sent - ends[n_done] :]
        return None

    def _read_block(self, reply: BlockReply, expires_s: float) -> Any:
        while not reply.is_complete:
            self._limit(expires_s)
            if not reply.take(_some(self._sock.recvmsg_into(reply.next_parts())[0])):
                self._reader.feed(reply.received())
                return self._read(expires_s)
        return reply.block

    def _read(self, expires_s: float) -> Any:
        reader = self._reader
        while (reply := reader.gets()) is _NOT_YET:
            self._limit(expires_s)
            n_bytes = _some(self._sock.recv_into(self._buffer))
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
