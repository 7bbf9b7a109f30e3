"""The Redis protocol on a blocking socket."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import exceptions as redis_errors
from redis.connection import DefaultParser

from cache.stores.blocks import Block
from cache.stores.wire import Wire, pack

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cache.stores.commands import Command

PARTS = st.text(st.characters(codec="utf-8"), max_size=5) | st.binary(max_size=5) | st.integers(0, 2**40)
VIEWS: st.SearchStrategy[memoryview] = st.binary(max_size=5).map(lambda data: memoryview(data))  # noqa: PLW0108  mypy
COMMANDS: st.SearchStrategy[list[Command]] = st.lists(st.lists(PARTS | VIEWS, min_size=1).map(tuple), max_size=4)
PING: Sequence[Command] = [("PING",)]


def plain(commands: Sequence[Command]) -> list[Command]:
    return [tuple(bytes(part) if isinstance(part, memoryview) else part for part in command) for command in commands]


@contextlib.contextmanager
def wired(to_send: bytes = b"", buffer_bytes: int | None = None) -> Iterator[tuple[Wire, socket.socket]]:
    """A wire, and the other side, which has said something already."""
    here, there = socket.socketpair()
    with here, there:
        if buffer_bytes is not None:
            here.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
        wire = Wire(here, DefaultParser.parse_error)
        there.sendall(to_send)
        yield wire, there


def soon() -> float:
    return time.monotonic() + 20


@given(COMMANDS)
def test_commands_are_packed_as_the_protocol_has_them(commands: list[Command]) -> None:
    """What is packed is, joined, what hiredis packs, whether or not there are views of memory among it."""
    assert b"".join(pack(commands)) == b"".join(hiredis.pack_command(command) for command in plain(commands))  # type: ignore[arg-type]


def test_memory_is_sent_from_where_it_is() -> None:
    """A view of memory is a part of its own, and no copy."""
    value = bytearray(b"old")
    parts = pack([("SET", "key", memoryview(value))])
    value[:] = b"new"
    assert b"new" in b"".join(parts)


def test_memory_in_pieces_is_sent_as_its_bytes() -> None:
    """A view that skips bytes, or is of larger items, is sent as the bytes that it shows."""
    wide = memoryview(bytes(range(8))).cast("I")
    packed = b"".join(pack([("SET", memoryview(b"a-b-c-")[::2], wide)]))
    assert packed == b"*3\r\n$3\r\nSET\r\n$3\r\nabc\r\n$8\r\n" + bytes(range(8)) + b"\r\n"


def test_many_large_parts_arrive_in_order() -> None:
    """More parts than a call of the system takes, and more bytes than a socket holds, arrive whole and in order."""
    values = [memoryview(bytes([index % 256]) * 1000) for index in range(1500)]
    command: Command = ("MSET", *(part for index, value in enumerate(values) for part in (f"key{index}", value)))
    expected = b"".join(pack(plain([command])))
    received = bytearray()

    def read_all(there: socket.socket) -> None:
        while len(received) < len(expected):
            received.extend(there.recv(7000))
        there.sendall(b"+OK\r\n")

    with wired(buffer_bytes=10_000) as (wire, there):
        reader = threading.Thread(target=read_all, args=(there,))
        reader.start()
        assert wire.exchange([command], soon()) == [b"OK"]
        reader.join()
    assert received == expected


def test_each_command_has_a_reply() -> None:
    """Replies are read one for each command, of every kind, and the error of one is its reply."""
    said = b"+PONG\r\n$-1\r\n:7\r\n*2\r\n$1\r\na\r\n$-1\r\n-ERR unknown command\r\n"
    with wired(said) as (wire, _):
        *values, error = wire.exchange([*PING] * 5, soon())
    assert values == [b"PONG", None, 7, [b"a", None]]
    assert isinstance(error, redis_errors.ResponseError)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b"-LOADING the file is read\r\n", redis_errors.BusyLoadingError),
        (b"?what\r\n", redis_errors.InvalidResponse),
    ],
)
def test_what_is_no_reply_is_an_error(said: bytes, kind: type[Exception]) -> None:
    """A server that does not serve yet, or that speaks another protocol, has no reply."""
    with wired(said) as (wire, _), pytest.raises(kind):
        wire.exchange(PING, soon())


def test_a_closed_connection_is_lost() -> None:
    """The other side has gone: the error is redis-py's own, and of no subclass, which means that it may be retried."""
    with wired(b"+PO") as (wire, there):
        there.close()
        with pytest.raises(redis_errors.ConnectionError) as caught:
            wire.exchange(PING, soon())
    assert type(caught.value) is redis_errors.ConnectionError


@pytest.mark.parametrize("said", [b"", b"+PO"])
def test_nothing_is_waited_for_past_the_deadline(said: bytes) -> None:
    """A reply that does not come, or not to its end, is a time-out, and so is a deadline that is over."""
    with wired(said) as (wire, _), pytest.raises(TimeoutError):
        wire.exchange(PING, time.monotonic() + 0.01)
    with wired(b"+PONG\r\n") as (wire, _), pytest.raises(TimeoutError):
        wire.exchange(PING, time.monotonic() - 1)


def test_what_nobody_asked_for_is_seen() -> None:
    """Bytes that came without a command, or beyond a reply, are unread; so is the end of the connection."""

    def seen(said: bytes) -> list[Any]:
        with wired(said) as (wire, there):
            before = wire.has_unread()
            if said:
                wire.exchange(PING, soon())
            after = wire.has_unread()
            there.close()
            return [before, after, wire.has_unread()]

    assert seen(b"") == [False, False, True]
    assert seen(b"+PONG\r\n") == [True, False, True]
    assert seen(b"+PONG\r\n+PO") == [True, True, True]


def mget_reply(*values: bytes | None) -> bytes:
    parts = [b"$-1\r\n" if value is None else b"$%d\r\n%b\r\n" % (len(value), value) for value in values]
    return b"*%d\r\n%b" % (len(values), b"".join(parts))


def read_in_pieces(reply: bytes, n_keys: int, size_bytes: int, n_bytes: int) -> Any:
    """What is read for an MGET whose reply comes in pieces."""
    command: Command = ("MGET", *map(str, range(n_keys)))

    def send(there: socket.socket) -> None:
        for start in range(0, len(reply), n_bytes):
            there.sendall(reply[start : start + n_bytes])

    with wired() as (wire, there):
        sender = threading.Thread(target=send, args=(there,))
        sender.start()
        [found] = wire.exchange([command], soon(), block_bytes=size_bytes)
        sender.join()
        assert not wire.has_unread()
    return found


VALUES = st.binary(min_size=4, max_size=4) | st.just(b"$4\r\n") | st.just(b"\r\n$4")


@given(st.lists(VALUES, min_size=1, max_size=6).map(lambda found: [value[:4] for value in found]), st.integers(1, 30))
def test_values_of_one_size_come_as_a_block(values: list[bytes], n_bytes: int) -> None:
    """Where all keys are there and of the size that was expected, they lie in one piece, however they came."""
    found = read_in_pieces(mget_reply(*values), len(values), 4, n_bytes)
    assert isinstance(found, Block)
    assert found.values() == values


@given(st.lists(st.none() | st.binary(max_size=6) | VALUES, min_size=1, max_size=6), st.integers(1, 30))
def test_other_values_come_one_by_one(values: list[bytes | None], n_bytes: int) -> None:
    """Where some are absent or of another size, the values are those of the reply, and nothing is waited for."""
    found = read_in_pieces(mget_reply(*values), len(values), 4, n_bytes)
    assert (found.values() if isinstance(found, Block) else found) == values


def test_an_error_in_place_of_a_block_is_the_reply() -> None:
    """A server that refuses, or gives another number of values, is understood as without expectations."""
    assert isinstance(read_in_pieces(b"-ERR no\r\n", 2, 4, 100), redis_errors.ResponseError)
    assert read_in_pieces(mget_reply(b"abcd"), 2, 4, 100) == [b"abcd"]
