"""URLs of stores, as they may be shown, and those that name several servers. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from cache.errors import ConfigurationError
from cache.stores.slots import Address

if TYPE_CHECKING:
    from collections.abc import Mapping

_PARTS = re.compile(r"(?P<scheme>[^:/?#]+)://(?:(?P<login>[^/?#]*)@)?(?P<hosts>[^/?#]*)(?P<rest>.*)", re.DOTALL)
_SECRET_OPTION = re.compile(r"([?&][^=&#]*password=)[^&#]*", re.IGNORECASE)
_TRUE, _FALSE = ("true", "1", "yes"), ("false", "0", "no", "")


@dataclass(frozen=True, slots=True)
class ServersUrl:
    """A URL of several servers, taken apart.

    Attributes:
        addresses: the servers, in order.
        login: user and password as they stand there; empty where there are none.
        is_tls: whether the servers are reached over TLS.
        segments: the path, decoded.
        options: the query, without `tls`.
        shown: the URL without its passwords.
    """

    addresses: tuple[Address, ...]
    login: str
    is_tls: bool
    segments: tuple[str, ...]
    options: Mapping[str, str]
    shown: str

    @classmethod
    def parse(cls, url: str, *, default_port: int) -> ServersUrl:
        """Take apart `redis+KIND://` or `rediss+KIND://`.

        Raises:
            ConfigurationError: it names no server, or one wrongly.
        """
        shown = without_password(url)
        found = _PARTS.fullmatch(url)
        if found is None or not found["hosts"]:
            raise ConfigurationError(f"REDIS_URL: expected host:port after ://, got {shown!r}")
        rest = urlsplit(found["rest"])
        options = dict(parse_qsl(rest.query, keep_blank_values=True))
        is_tls = found["scheme"].startswith("rediss") or _truth("tls", options.pop("tls", ""), shown)
        try:
            addresses = tuple(_address(host, default_port) for host in found["hosts"].split(","))
        except ValueError as error:
            raise ConfigurationError(f"REDIS_URL: expected host:port,host:port, got {shown!r}: {error}") from None
        segments = tuple(unquote(segment) for segment in rest.path.split("/") if segment)
        return cls(addresses, found["login"] or "", is_tls, segments, options, shown)

    def plain(self, *, login: str | None = None, database: int = 0, without: tuple[str, ...] = ()) -> str:
        """The URL of the first server alone.

        Args:
            login: instead of the one there.
            database: its number.
            without: options that are left out.
        """
        host, port = self.addresses[0]
        login = self.login if login is None else login
        options = urlencode({name: value for name, value in self.options.items() if name not in without})
        host = f"[{host}]" if ":" in host else host
        return f"{'rediss' if self.is_tls else 'redis'}://{login and login + '@'}{host}:{port}/{database}?{options}"


def without_password(url: str) -> str:
    """A URL as it may be shown."""
    found = _PARTS.fullmatch(url)
    if found is None:
        return url
    user, colon, _ = (found["login"] or "").partition(":")
    login = f"{user}:***@" if colon else f"{user}@" if found["login"] is not None else ""
    rest = _SECRET_OPTION.sub(r"\1***", found["rest"])
    return f"{found['scheme']}://{login}{found['hosts']}{rest}"


def _truth(name: str, text: str, shown: str) -> bool:
    if text.lower() not in _TRUE + _FALSE:
        raise ConfigurationError(f"REDIS_URL: expected {name}=true or {name}=false, got {shown!r}")
    return text.lower() in _TRUE


def _address(text: str, default_port: int) -> Address:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError("a host has no name")
    return Address(unquote(parts.hostname), default_port if parts.port is None else parts.port)
