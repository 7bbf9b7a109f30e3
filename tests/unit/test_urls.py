"""URLs of several servers are taken apart, wrong ones explained, and passwords never shown."""

from __future__ import annotations

import pytest

from cache.deadline import Deadline
from cache.errors import ConfigurationError
from cache.stores import store_from_url
from cache.stores.urls import ServersUrl, without_password

SECRET = "s3cret"  # noqa: S105  what no message may show


def parsed(url: str) -> ServersUrl:
    return ServersUrl.parse(url, default_port=7000)


def test_servers_are_named_in_order() -> None:
    """Hosts are separated by commas; a port that is not there is the usual one; IPv6 stands in brackets."""
    url = parsed("redis+cluster://a:1,B.example.org,[::1]:2,[2001:db8::1]")
    assert url.addresses == (("a", 1), ("b.example.org", 7000), ("::1", 2), ("2001:db8::1", 7000))


def test_everything_else_is_kept() -> None:
    """Login, path and options are there; TLS is asked for by the scheme or by an option, which is not passed on."""
    url = parsed("redis+sentinel://us%3Aer:p%40ss@a:1,b:2/my%20service/3?ssl_ca_certs=%2Fca&tls=True")
    assert (url.login, url.segments) == ("us%3Aer:p%40ss", ("my service", "3"))
    assert (url.is_tls, url.options) == (True, {"ssl_ca_certs": "/ca"})
    assert parsed("rediss+cluster://a").is_tls
    assert not parsed("redis+cluster://a?tls=0").is_tls
    assert not parsed("redis+cluster://a").is_tls


def test_the_first_server_alone_has_a_url_that_redis_knows() -> None:
    """The URL of one server has login, database and options, or what is given instead."""
    url = parsed("rediss+cluster://user:p%40ss@[::1]:1,b:2?ssl_ca_certs=%2Fca&x=1")
    assert url.plain(without=("x",)) == "rediss://user:p%40ss@[::1]:1/0?ssl_ca_certs=%2Fca"
    assert parsed("redis+cluster://user@a:1").plain(login="", database=2) == "redis://a:1/2?"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h", "redis://h"),
        ("redis://user@h", "redis://user@h"),
        (f"redis://:{SECRET}@h:1/0", "redis://:***@h:1/0"),
        (f"redis://user:{SECRET}@h", "redis://user:***@h"),
        (f"redis://user:a@{SECRET}@h", "redis://user:***@h"),
        (f"unix://user:{SECRET}@/tmp/s?db=0", "unix://user:***@/tmp/s?db=0"),
        (f"redis+cluster://u:{SECRET}@[::1]:1,b:2", "redis+cluster://u:***@[::1]:1,b:2"),
        (f"redis://h?password={SECRET}&db=1", "redis://h?password=***&db=1"),
        (f"redis+sentinel://h/s?x=1&sentinel_password={SECRET}", "redis+sentinel://h/s?x=1&sentinel_password=***"),
        ("no url at all", "no url at all"),
    ],
)
def test_no_password_is_shown(url: str, shown: str) -> None:
    """A URL as it is shown has stars for every password, in the login and in the options."""
    assert without_password(url) == shown


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis+cluster://", "expected host:port after ://"),
        (f"redis+cluster://:{SECRET}@/0", "expected host:port after ://"),
        (f"redis+cluster://:{SECRET}@a:1,:2", "a host has no name"),
        (f"redis+cluster://:{SECRET}@a:port", "expected host:port,host:port"),
        (f"redis+cluster://:{SECRET}@a:70000", "expected host:port,host:port"),
        (f"redis+cluster://:{SECRET}@a:1/3", "no other database than 0"),
        (f"redis+cluster://:{SECRET}@a:1?db=3", "no other database than 0"),
        (f"redis+cluster://:{SECRET}@a:1?tls=maybe", "tls=true or tls=false"),
        (f"redis+cluster://:{SECRET}@a:1?ssl_check_hostname=true&socket_keepalive=x&db=x", "no other database than 0"),
        (f"redis+sentinel://:{SECRET}@a:1", "expected /service or /service/db"),
        (f"redis+sentinel://:{SECRET}@a:1/s/1/2", "expected /service or /service/db"),
        (f"redis+sentinel://:{SECRET}@a:1/s/1?db=1", "expected /service or /service/db"),
        (f"redis+sentinel://:{SECRET}@a:1/s/one", "the number of a database"),
        (f"redis+sentinel://:{SECRET}@a:1/s?db=-1", "the number of a database"),
        (f"redis+sentinel://:{SECRET}@a:1/s?socket_read_size={SECRET}", "Invalid value for 'socket_read_size'"),
    ],
)
def test_a_wrong_url_is_explained(url: str, message: str) -> None:
    """A URL that cannot be used is a configuration error that says what was expected, and shows no password."""
    with pytest.raises(ConfigurationError, match=message) as caught:
        store_from_url(url, deadline=Deadline())
    assert str(caught.value).startswith("REDIS_URL: ")
    assert SECRET not in str(caught.value).replace(f"socket_read_size={SECRET}", "")


@pytest.mark.parametrize("url", ["redis+cluster://a:1/0", "redis+cluster://a?db=0", "redis+sentinel://a/s?db=2"])
def test_a_right_url_connects_to_nothing(url: str) -> None:
    """A store is made without asking anybody."""
    with store_from_url(url) as store:
        assert store.servers_of(["a", "b"]) == ["", ""]
