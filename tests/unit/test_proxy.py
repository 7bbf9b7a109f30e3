"""Each mode of the fault proxy, seen by a client that is nothing but a socket."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import suppress
from typing import Self

import pytest

from tests.integration.calling import until
from tests.proxy import FaultProxy, _Refuse
from tests.servers import HOST, ValkeyServer, encode_command, free_port

PING, PONG = encode_command("PING"), b"+PONG\r\n"
GET, NULL = encode_command("GET", "k"), b"$-1\r\n"
SET, OK = encode_command("SET", "k", "v"), b"+OK\r\n"
READ_ONLY = b"-READONLY You can't write against a read only replica.\r\n"
NEVER_S = 3600.0  # a delay that no test waits for


class Client:
    """A socket connected to a proxy."""

    def __init__(self, proxy: FaultProxy) -> None:
        self.socket = socket.create_connection((HOST, proxy.port), timeout=10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read(self, n_bytes: int) -> bytes:
        """Read so many bytes, or fewer where the stream ends."""
        data = b""
        while len(data) < n_bytes and (chunk := self.socket.recv(n_bytes - len(data))):
            data += chunk
        return data

    def ask(self, command: bytes, n_bytes: int) -> bytes:
        self.send(command)
        return self.read(n_bytes)

    def hears_nothing(self) -> bool:
        """Tell whether neither a byte nor the end of the stream comes within a moment."""
        self.socket.settimeout(0.05)
        try:
            self.socket.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(10)
        return False


def test_forward_passes_a_command_and_its_reply(proxy: FaultProxy, valkey: ValkeyServer) -> None:
    """What a client writes through the proxy is in the server, and the server's reply comes back."""
    with Client(proxy) as client:
        assert client.ask(SET, len(OK)) == OK
    assert valkey.command("GET", "k") == b"v"


def test_forward_passes_binary_values_of_any_size(proxy: FaultProxy, valkey: ValkeyServer) -> None:
    """A value of 1 MiB with every byte in it comes through unchanged, alone and inside an array."""
    value = bytes(range(256)) * 4096
    valkey.command("SET", "k", value)
    bulk = b"$1048576\r\n" + value + b"\r\n"
    array = b"*2\r\n" + bulk + NULL
    with Client(proxy) as client:
        assert client.ask(GET, len(bulk)) == bulk
        assert client.ask(encode_command("MGET", "k", "missing"), len(array)) == array


def test_a_push_message_passes_without_a_command(proxy: FaultProxy, valkey: ValkeyServer) -> None:
    """An invalidation that the server sends on its own reaches the client."""
    push = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n"
    with Client(proxy) as client:
        client.send(encode_command("HELLO", "3") + encode_command("CLIENT", "TRACKING", "ON") + GET + PING)
        received = b""
        while not received.endswith(PONG):
            received += client.read(1)
        valkey.command("SET", "k", "new")
        assert client.read(len(push)) == push


def test_a_pipeline_is_one_round_trip(proxy: FaultProxy) -> None:
    """Two commands in one send are one round trip."""
    with Client(proxy) as client:
        assert client.ask(PING + PING, 14) == PONG + PONG
    assert proxy.round_trips == 1


def test_a_pipeline_in_many_segments_is_one_round_trip(proxy: FaultProxy) -> None:
    """Commands that arrive byte by byte, while no reply can have come back, are one round trip."""
    held = proxy.hold_next_reply()
    with Client(proxy) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in PING + PING:
            client.send(bytes([byte]))
        held.release()
        assert client.read(14) == PONG + PONG
    assert proxy.round_trips == 1


def test_a_pipeline_that_the_server_answers_early_is_one_round_trip(proxy: FaultProxy) -> None:
    """Sixteen commands of 64 KiB, each sent alone and none waiting for a reply, are one round trip."""
    proxy.quiet_s = 0.2
    with Client(proxy) as client:
        for _ in range(16):
            client.send(encode_command("SET", "k", bytes(65536)))
        assert client.read(16 * len(OK)) == 16 * OK
    assert proxy.round_trips == 1


def test_each_wait_for_a_reply_is_a_round_trip(proxy: FaultProxy) -> None:
    """Three commands of which each waits for the reply to the one before are three round trips."""
    with Client(proxy) as client:
        for _ in range(3):
            assert client.ask(PING, len(PONG)) == PONG
    assert proxy.round_trips == 3


def test_connections_have_round_trips_of_their_own(proxy: FaultProxy) -> None:
    """Commands sent at the same time on two connections are two round trips."""
    with Client(proxy) as one, Client(proxy) as other:
        one.send(PING)
        other.send(PING)
        assert one.read(len(PONG)) == other.read(len(PONG)) == PONG
    assert proxy.round_trips == 2


def test_commands_are_noted_by_their_upper_case_names(proxy: FaultProxy) -> None:
    """Names are listed in order, whether sent in lower case, as an array or inline."""
    with Client(proxy) as client:
        client.ask(encode_command("get", "k") + SET + b"ping\r\n", len(NULL + OK + PONG))
    assert proxy.commands == [b"GET", b"SET", b"PING"]


def test_reset_counts_starts_from_zero(proxy: FaultProxy) -> None:
    """After a reset only what follows is counted."""
    with Client(proxy) as client:
        client.ask(PING, len(PONG))
        proxy.reset_counts()
        assert (proxy.round_trips, proxy.commands) == (0, [])
        client.ask(GET, len(NULL))
    assert (proxy.round_trips, proxy.commands) == (1, [b"GET"])


def test_connections_are_counted_while_they_are_open(proxy: FaultProxy) -> None:
    """Two clients count as two, and as none when they have left."""
    with Client(proxy), Client(proxy):
        proxy.wait_for_connections(2)
    proxy.wait_for_connections(0)
    assert proxy.connections_open == 0


def test_waiting_for_connections_ends_in_a_time_out(proxy: FaultProxy) -> None:
    """A number of connections that is not reached raises, and the message names both numbers."""
    with pytest.raises(TimeoutError, match="expected 1 connections, 0 are open"):
        proxy.wait_for_connections(1, timeout_s=0.01)


def test_drip_delivers_the_whole_reply(proxy: FaultProxy) -> None:
    """A dripped reply is complete and in order."""
    proxy.drip(bytes_per_step=2, every_s=0.001)
    with Client(proxy) as client:
        assert client.ask(PING + GET, len(PONG + NULL)) == PONG + NULL


def test_drip_sends_one_step_at_a_time(proxy: FaultProxy) -> None:
    """Nothing comes before the first step is due."""
    proxy.drip(every_s=NEVER_S)
    with Client(proxy) as client:
        client.send(PING)
        assert client.hears_nothing()


def test_delayed_replies_come_complete(proxy: FaultProxy) -> None:
    """All replies of a pipeline arrive after their delay."""
    proxy.delay_replies(0.01)
    with Client(proxy) as client:
        assert client.ask(PING + GET, len(PONG + NULL)) == PONG + NULL


def test_delay_can_be_confined_to_a_command(proxy: FaultProxy) -> None:
    """PING is answered while the reply to GET is far away."""
    proxy.delay_replies(NEVER_S, only={b"GET"})
    with Client(proxy) as client:
        assert client.ask(PING + GET, len(PONG)) == PONG
        assert client.hears_nothing()


def test_slow_handshake_delays_nothing_but_the_handshake(proxy: FaultProxy) -> None:
    """SELECT gets no reply yet, a connection that sends no set-up command is served."""
    proxy.slow_handshake(NEVER_S)
    with Client(proxy) as connecting, Client(proxy) as connected:
        connecting.send(encode_command("SELECT", 0))
        assert connected.ask(PING, len(PONG)) == PONG
        assert connecting.hears_nothing()


def test_blackhole_swallows_commands(proxy: FaultProxy, valkey: ValkeyServer) -> None:
    """A swallowed SET gets no reply and never reaches the server."""
    proxy.blackhole()
    with Client(proxy) as client:
        client.send(SET)
        assert client.hears_nothing()
    assert valkey.command("EXISTS", "k") == 0


def test_blackhole_swallows_replies_under_way(proxy: FaultProxy) -> None:
    """A reply that reaches the proxy after the switch is swallowed, though its command was forwarded."""
    with Client(proxy) as client:
        held = proxy.hold_next_reply()
        client.send(PING)
        held.wait()
        proxy.blackhole()
        held.release()
        assert client.hears_nothing()


def test_a_new_connection_works_after_a_blackhole(proxy: FaultProxy) -> None:
    """Once forwarding again, the silent connection stays silent and a new one is served."""
    proxy.blackhole()
    with Client(proxy) as silent, Client(proxy) as fresh:
        silent.send(PING)
        assert silent.hears_nothing()
        proxy.forward()
        assert fresh.ask(PING, len(PONG)) == PONG
        silent.send(PING)
        assert silent.hears_nothing()


def test_truncate_closes_after_so_many_bytes(proxy: FaultProxy) -> None:
    """The limit counts the bytes of all replies of a connection: 7 of the first, 3 of the second, then the end."""
    proxy.truncate(10)
    with Client(proxy) as client:
        assert client.ask(PING + PING, 100) == PONG + PONG[:3]


def test_truncate_can_be_confined_to_a_command(proxy: FaultProxy) -> None:
    """PING is answered in full, of the reply to GET comes one byte."""
    proxy.truncate(1, only={b"GET"})
    with Client(proxy) as client:
        assert client.ask(PING + GET + PING, 100) == PONG + NULL[:1]


def test_garble_inverts_the_reply(proxy: FaultProxy) -> None:
    """A garbled reply has its length and the complement of every byte: 0x2B becomes 0xD4."""
    proxy.garble()
    with Client(proxy) as client:
        assert client.ask(PING, len(PONG)) == bytes.fromhex("d4 af b0 b1 b8 f2 f5")


def test_reply_with_answers_every_command(proxy: FaultProxy, valkey: ValkeyServer) -> None:
    """Each command of a pipeline gets the given bytes, and the server sees none of them."""
    proxy.reply_with(READ_ONLY)
    with Client(proxy) as client:
        assert client.ask(SET + PING, 2 * len(READ_ONLY)) == READ_ONLY + READ_ONLY
    assert valkey.command("EXISTS", "k") == 0


def test_reply_with_keeps_the_order_among_forwarded_commands(proxy: FaultProxy, valkey: ValkeyServer) -> None:
    """In a pipeline of GET, SET, PING with SET refused, the refusal stands between the two replies of the server."""
    proxy.reply_with(READ_ONLY, only={b"SET", b"MSETEX"})
    with Client(proxy) as client:
        replies = NULL + READ_ONLY + PONG
        assert client.ask(GET + SET + PING, len(replies)) == replies
    assert valkey.command("EXISTS", "k") == 0


def test_a_mode_can_change_on_an_open_connection(proxy: FaultProxy) -> None:
    """The same connection is refused a write, and granted it once the proxy forwards again."""
    with Client(proxy) as client:
        proxy.reply_with(READ_ONLY)
        assert client.ask(SET, len(READ_ONLY)) == READ_ONLY
        proxy.forward()
        assert client.ask(SET, len(OK)) == OK


def test_reset_ends_open_connections(proxy: FaultProxy) -> None:
    """A connection that was in use is reset."""
    with Client(proxy) as client:
        client.ask(PING, len(PONG))
        proxy.reset()
        assert proxy.connections_open == 0
        with pytest.raises(ConnectionResetError):
            client.read(1)


def test_reset_ends_new_connections(proxy: FaultProxy) -> None:
    """A connection made later is reset before it gets a reply."""
    proxy.reset()
    with pytest.raises(ConnectionError), Client(proxy) as client:
        client.ask(PING, len(PONG))


def test_refuse_ends_open_connections_and_refuses_new_ones(proxy: FaultProxy) -> None:
    """An open connection ends, and connecting again is refused."""
    with Client(proxy) as client:
        client.ask(PING, len(PONG))
        proxy.refuse()
        assert client.read(1) == b""
        with pytest.raises(ConnectionRefusedError):
            Client(proxy)


def test_forward_listens_again_on_the_same_port(proxy: FaultProxy) -> None:
    """After refusing, twice over, the same URL works again."""
    url = proxy.url
    for _ in range(2):
        proxy.refuse()
        proxy.forward()
    with Client(proxy) as client:
        assert client.ask(PING, len(PONG)) == PONG
    assert proxy.url == url


def test_a_held_reply_comes_when_it_is_released(proxy: FaultProxy) -> None:
    """One reply is kept back while other connections go on, and it comes after its release."""
    held = proxy.hold_next_reply(only={b"GET"})
    with Client(proxy) as waiting, Client(proxy) as other:
        waiting.send(GET)
        held.wait()
        assert other.ask(GET, len(NULL)) == NULL
        assert waiting.hears_nothing()
        held.release()
        assert waiting.read(len(NULL)) == NULL


def test_waiting_for_a_held_reply_ends_in_a_time_out(proxy: FaultProxy) -> None:
    """Where no reply comes to be held, waiting for it raises."""
    with pytest.raises(TimeoutError, match="no reply came to be held"):
        proxy.hold_next_reply().wait(timeout_s=0.01)


def test_a_client_that_does_not_read_blocks_nobody(proxy: FaultProxy, valkey: ValkeyServer) -> None:
    """Sixteen unread replies of 1 MiB neither delay another client nor the end of the proxy."""
    valkey.command("SET", "k", bytes(2**20))
    with Client(proxy) as deaf, Client(proxy) as other:
        deaf.send(GET * 16)
        assert other.ask(PING, len(PONG)) == PONG
        proxy.close()


def test_the_client_sees_the_death_of_the_server(own_valkey: ValkeyServer) -> None:
    """When the server is killed behind the proxy, the client's connection ends."""
    with FaultProxy(HOST, own_valkey.port) as proxy, Client(proxy) as client:
        assert client.ask(PING, len(PONG)) == PONG
        own_valkey.kill()
        assert client.read(1) == b""


def test_the_last_words_of_the_server_are_delivered(proxy: FaultProxy) -> None:
    """A reply after which the server hangs up still arrives."""
    with Client(proxy) as client:
        assert client.ask(encode_command("QUIT"), 100) == OK


def test_a_connection_ends_where_no_server_is() -> None:
    """A proxy in front of nothing accepts a client and hangs up."""
    with FaultProxy(HOST, free_port()) as proxy, Client(proxy) as client:
        assert client.read(1) == b""


def test_close_ends_the_thread_and_frees_the_port(valkey: ValkeyServer) -> None:
    """A proxy closed while in use leaves no thread, refuses clients and may be closed again."""
    threads = set(threading.enumerate())
    proxy = FaultProxy(HOST, valkey.port)
    proxy.start()
    with Client(proxy) as client:
        client.ask(PING, len(PONG))
        proxy.hold_next_reply()
        client.send(PING)
        proxy.close()
        assert set(threading.enumerate()) == threads
        with pytest.raises(ConnectionRefusedError):
            Client(proxy)
    proxy.close()


def test_a_client_that_is_being_accepted_is_turned_away(proxy: FaultProxy) -> None:
    """A client that comes in the moment in which the proxy stops listening is hung up on, not forgotten."""
    may_go_on = threading.Event()
    proxy._loop.call_soon_threadsafe(may_go_on.wait, 5)
    with socket.create_connection((HOST, proxy.port), timeout=5) as client:
        refused = asyncio.run_coroutine_threadsafe(proxy._enter(_Refuse(), None), proxy._loop)
        may_go_on.set()
        refused.result(5)
        with suppress(ConnectionResetError):
            assert client.recv(1) == b""


def test_a_replica_follows_its_primary_through_it() -> None:
    """What is written to a primary arrives at a replica that knows it by the proxy's port, and ends with a reset."""
    quick = ["--repl-diskless-sync-delay", "0"]
    with ValkeyServer(quick) as primary, ValkeyServer(quick) as replica, FaultProxy(HOST, primary.port) as proxy:
        replica.command("REPLICAOF", HOST, proxy.port)
        until(lambda: b"master_link_status:up" in replica.command("INFO", "replication"))
        primary.command("SET", "k", "v")
        until(lambda: replica.command("GET", "k") == b"v")
        proxy.reset()
        until(lambda: b"master_link_status:down" in replica.command("INFO", "replication"))
