"""What several commands share: options, and where their results go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from typing_extensions import override

from cache import CacheSettings

OK = 0
_BATCH_DEADLINE_MS = 2000  # a person waits for one answer here, not a thousand requests: patience costs nothing

Resume = Annotated[Path, typer.Argument(help="The resume: PDF, DOCX, Markdown or text.")]

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        help="Where entries live: redis://, rediss:// (TLS), unix://, redis+cluster://, redis+sentinel://, memory:// "
        "or embedded://DIR.",
    ),
]


def store_url(url: str | None) -> str | None:
    """The URL that a command uses: without one, the embedded server and not its warning; here it is no surprise."""
    from cache.stores.embedded import embedded_available  # noqa: PLC0415  needed here alone

    url = url or CacheSettings().redis_url
    return "embedded://" if url is None and embedded_available() else url


def patient_settings() -> CacheSettings:
    """The cache's settings with more time for each operation, unless the environment says how much."""
    settings = CacheSettings()
    if "deadline_ms" in settings.model_fields_set:
        return settings
    return settings.model_copy(update={"deadline_ms": _BATCH_DEADLINE_MS})


class Output(Console):
    """Where results go; whoever reads them may stop when they have seen enough."""

    @override
    def on_broken_pipe(self) -> None:
        try:
            super().on_broken_pipe()
        except SystemExit:
            raise SystemExit(OK) from None
