"""TLS, users and passwords, and unix sockets, in every form of URL."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from cache import StoreError, store_from_url
from cache.admin import Admin
from cache.deadline import Deadline
from cache.errors import StoreTimeoutError
from cache.settings import CacheSettings
from cache.stores.connections import Endpoint
from cache.stores.redis import RedisStore
from cache.wrappers import FailOpenStore
from tests.integration.calling import IMPATIENT_S, PATIENT_S, World, until
from tests.proxy import FaultProxy
from tests.servers import HOST, ValkeyCluster, ValkeySentinels, ValkeyServer
from tests.tls import Certificates, TlsFront

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cache import Store

KEY, VALUE = "emb:m:0", b"value"
KEYS = [f"emb:m:{n}" for n in range(60)]
HANGS_S = 2.0
MIB = 2**20
USER, PASSWORD = "cache+user", "p@ss:w/rd?"
LOGIN = "cache%2Buser:p%40ss%3Aw%2Frd%3F@"
# All that a user must be allowed: on a cluster also CLUSTER SLOTS, under Sentinels ROLE may be refused.
RIGHTS = "~* +get +set +mget +getrange +unlink +scan +info +dbsize +ping +select"

each_world = pytest.mark.parametrize("world", World)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """An authority that the tests trust, and a server of its."""
    return Certificates.make(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def tls(valkey: ValkeyServer, certificates: Certificates) -> Iterator[TlsFront]:
    """The server of the run behind TLS."""
    with TlsFront(certificates, valkey.port) as front:
        yield front


@pytest.fixture
def locked() -> Iterator[ValkeyServer]:
    """A server with a user who may do what a cache needs, and nothing else."""
    with ValkeyServer() as server:
        let_in(server, RIGHTS)
        yield server


@pytest.fixture(scope="module")
def cluster(certificates: Certificates) -> Iterator[ValkeyCluster]:
    """Three servers behind TLS, with a user who may do what a cache needs."""
    with contextlib.ExitStack() as fronts:
        ports: dict[int, int] = {}

        def front(server: ValkeyServer) -> int:
            if server.port not in ports:
                ports[server.port] = fronts.enter_context(TlsFront(certificates, server.port)).port
            return ports[server.port]

        with ValkeyCluster(front=front) as cluster:
            for server in cluster.servers:
                let_in(server, f"{RIGHTS} +cluster|slots")
            yield cluster


def let_in(server: ValkeyServer, rights: str) -> None:
    server.command("ACL", "SETUSER", USER, "on", f">{PASSWORD}", *rights.split())


def opened(url: str, deadline_s: float = PATIENT_S) -> Store:
    return store_from_url(url, deadline=Deadline(deadline_s))


def pairs_of(keys: list[str]) -> list[tuple[str, bytes]]:
    return [(key, key.encode()) for key in keys]


async def use_all_verbs(store: Store, world: World) -> None:
    """Do all that a cache does; whatever is not allowed raises."""
    await world.mset(store, pairs_of(KEYS), ttl_s=60)
    await world.mset(store, [(KEY, VALUE)])
    assert await world.mget(store, KEYS) == [VALUE, *(key.encode() for key in KEYS[1:])]
    assert await world.mpeek(store, [KEY], 3) == [VALUE[:3]]
    assert await world.keys(store, "emb:") == sorted(KEYS)
    assert (await world.info(store))["n_keys"] == "60"
    await world.ping(store)
    await world.mdelete(store, KEYS)
    assert await world.keys(store, "emb:") == []


@each_world
async def test_values_pass_through_tls(world: World, tls: TlsFront, certificates: Certificates, namespace: str) -> None:
    """Small and large values are written and read over TLS."""
    async with opened(f"rediss://{HOST}:{tls.port}/0?{certificates.option}") as store:
        pairs = [(f"{namespace}:small", b"1"), (f"{namespace}:large", bytes(range(256)) * (8 * MIB // 256))]
        await world.mset(store, pairs, ttl_s=60)
        assert await world.mget(store, [key for key, _ in pairs], expect_bytes=8 * MIB) == [value for _, value in pairs]
        await world.mdelete(store, [key for key, _ in pairs])


@each_world
async def test_a_certificate_of_nobody_known_is_refused(world: World, tls: TlsFront) -> None:
    """Without the authority that vouches for the server a lookup is a miss, counted as a matter of TLS."""
    async with FailOpenStore(opened(f"rediss://{HOST}:{tls.port}/0")) as store:
        assert await world.mget(store, [KEY]) == [None]
        assert store.counters.snapshot().failures == {"tls": 1}


@each_world
async def test_a_certificate_for_another_host_is_refused(world: World, valkey: ValkeyServer, tmp_path: Path) -> None:
    """A certificate must be for the host of the URL, unless the URL says that this is not to be checked."""
    other = Certificates.make(tmp_path, host="192.0.2.1")
    with TlsFront(other, valkey.port) as front:
        url = f"rediss://{HOST}:{front.port}/0?{other.option}"
        async with FailOpenStore(opened(url)) as store:
            assert await world.mget(store, [KEY]) == [None]
            assert store.counters.snapshot().failures == {"tls": 1}
        async with opened(f"{url}&ssl_check_hostname=false") as store:
            await world.ping(store)


@each_world
async def test_a_handshake_that_hangs_ends(world: World) -> None:
    """A server that says nothing to a TLS greeting costs a caller its deadline, and the background its own bound."""
    with socket.create_server((HOST, 0)) as silent:
        port = silent.getsockname()[1]
        endpoint = Endpoint.from_url(f"rediss://{HOST}:{port}/0").at(HOST, port, connect_timeout_s=0.3)
        before = set(threading.enumerate())
        async with RedisStore(endpoint, deadline=Deadline(IMPATIENT_S)) as store:
            with pytest.raises(StoreTimeoutError):
                await world.mget(store, [KEY])
        until(lambda: not [one for one in set(threading.enumerate()) - before if one.name == "resumecache-connect"])


@each_world
async def test_a_server_that_reads_slowly_costs_one_deadline(
    world: World, valkey: ValkeyServer, certificates: Certificates, namespace: str
) -> None:
    """A write that a server takes in slowly ends at its deadline, over TLS as well."""
    with TlsFront(certificates, valkey.port, read_bytes=2**16, pause_s=0.001) as front:
        async with opened(f"rediss://{HOST}:{front.port}/0?{certificates.option}", IMPATIENT_S) as store:
            with contextlib.suppress(StoreError):  # the first connection may come too late
                await world.ping(store)
            started_s = time.monotonic()
            with pytest.raises(StoreTimeoutError):
                await world.mset(store, [(f"{namespace}:large", bytes(32 * MIB))], ttl_s=60)
            assert time.monotonic() - started_s < HANGS_S


@each_world
@pytest.mark.parametrize("form", ["rediss+cluster://{}{}?{}", "redis+cluster://{}{}?tls=true&{}"])
async def test_a_cluster_is_reached_over_tls(
    form: str, world: World, cluster: ValkeyCluster, certificates: Certificates
) -> None:
    """All servers of a cluster are reached over TLS and with the login of the URL."""
    hosts = cluster.url.partition("://")[2]
    async with opened(form.format(LOGIN, hosts, certificates.option)) as store:
        await use_all_verbs(store, world)


@each_world
async def test_a_cluster_without_tls_is_not_reached(world: World, cluster: ValkeyCluster) -> None:
    """Whoever talks without TLS to a cluster that wants it has misses, not an exception."""
    async with FailOpenStore(opened(cluster.url, 1.0)) as store:
        assert await world.mget(store, KEYS) == [None] * 60


@each_world
async def test_sentinels_and_their_primary_are_reached_over_tls(
    world: World, certificates: Certificates, locked: ValkeyServer, valkey: ValkeyServer
) -> None:
    """Both are reached over TLS; the login before the hosts is for the primary, and need not be allowed ROLE."""
    with (
        FaultProxy(HOST, valkey.port) as sentinel,
        TlsFront(certificates, sentinel.port) as sentinel_front,
        TlsFront(certificates, locked.port) as primary_front,
    ):
        address = b"*2\r\n$9\r\n127.0.0.1\r\n$5\r\n%d\r\n" % primary_front.port
        sentinel.reply_with(address, only=frozenset({b"SENTINEL"}))
        hosts = f"{HOST}:{sentinel_front.port}"
        async with opened(f"rediss+sentinel://{LOGIN}{hosts}/cache?{certificates.option}") as store:
            await use_all_verbs(store, world)
        assert b"AUTH" not in sentinel.commands


@each_world
async def test_a_user_of_a_sentinel_is_used(world: World) -> None:
    """The options for user and password of the Sentinels let a user in who may only ask for the primary."""
    with ValkeySentinels() as sentinels:
        [sentinel] = sentinels.sentinels
        sentinel.command("ACL", "SETUSER", USER, "on", f">{PASSWORD}", "+sentinel|get-master-addr-by-name")
        sentinel.command("ACL", "SETUSER", "default", "nopass", "+@all")
        user, _, password = LOGIN.removesuffix("@").partition(":")
        options = f"sentinel_username={user}&sentinel_password={password}"
        async with opened(f"{sentinels.url}?{options}") as store:
            await world.mset(store, [(KEY, VALUE)], ttl_s=60)
            assert await world.mget(store, [KEY]) == [VALUE]


@each_world
@pytest.mark.parametrize("form", ["redis://{}{}:{}/0", "unix://{}{}?db=0", "rediss://{}{}:{}/0?{}"])
async def test_a_user_with_the_rights_of_a_cache_suffices(
    form: str, world: World, locked: ValkeyServer, certificates: Certificates
) -> None:
    """A user and a password of any letters are used in every form of URL, and no other rights are needed."""
    with TlsFront(certificates, locked.port) as front:
        by_form = {
            "redis": (LOGIN, HOST, locked.port),
            "unix": (LOGIN, locked.socket_path),
            "rediss": (LOGIN, HOST, front.port, certificates.option),
        }
        async with opened(form.format(*by_form[form.partition(":")[0]])) as store:
            await use_all_verbs(store, world)
            settings = CacheSettings()
            assert Admin(store, settings).clear() == 0


@each_world
async def test_a_user_without_rights_is_counted(world: World, locked: ValkeyServer) -> None:
    """What a user must not do is a miss by that name, and the server is not left alone for it."""
    let_in(locked, "-mget")
    async with FailOpenStore(opened(f"redis://{LOGIN}{HOST}:{locked.port}/0")) as store:
        assert await world.mget(store, [KEY]) == [None]
        await world.mset(store, [(KEY, VALUE)], ttl_s=60)
        counts = store.counters.snapshot()
        assert (counts.failures, counts.stored) == ({"no_permission": 1}, 1)


@each_world
@pytest.mark.parametrize("login", ["cache%2Buser:wrong@", "nobody:p%40ss%3Aw%2Frd%3F@"])
async def test_a_wrong_login_is_counted(login: str, world: World, locked: ValkeyServer) -> None:
    """A login that a server refuses is a miss, counted as a matter of login, over TCP and over a unix socket."""
    for url in (f"redis://{login}{HOST}:{locked.port}/0", f"unix://{login}{locked.socket_path}"):
        async with FailOpenStore(opened(url)) as store:
            assert await world.mget(store, [KEY]) == [None]
            assert store.counters.snapshot().failures == {"auth": 1}


@each_world
async def test_a_wrong_login_to_a_cluster_is_counted(
    world: World, cluster: ValkeyCluster, certificates: Certificates
) -> None:
    """A cluster that refuses the login is a miss, counted as a matter of login."""
    hosts = cluster.url.partition("://")[2]
    async with FailOpenStore(opened(f"rediss+cluster://nobody:x@{hosts}?{certificates.option}")) as store:
        assert await world.mget(store, [KEY]) == [None]
        assert store.counters.snapshot().failures == {"auth": 1}
