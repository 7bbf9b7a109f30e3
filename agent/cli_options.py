"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from cache import CacheSettings

Url = Annotated[
    str | None,
    typer.Option("--url", help="Where entries live: redis://, rediss://, unix://, memory:// or embedded://DIR."),
]


def store_url(url: str | None) -> str | None:
    """The URL that a command uses: without one, the embedded server and not its warning; here it is no surprise."""
    from cache.stores.embedded import embedded_available  # noqa: PLC0415  needed here alone

    url = url or CacheSettings().redis_url
    return "embedded://" if url is None and embedded_available() else url
