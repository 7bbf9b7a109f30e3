"""`resumecache cache`: stats, health, clear, get, explain, doctor; on the bare store, so that failures show."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from agent.cli_options import Output, Url, store_url
from cache import CacheSettings, ResponseCache, StoreError
from cache.admin import Admin, Status, kind_of
from cache.deadline import Deadline
from cache.doctor import examine
from cache.stores import store_from_url
from cache.viewing import view_entry

if TYPE_CHECKING:
    from cache.stores.base import Store

cache_app = typer.Typer(no_args_is_help=True, help="Look into the cache, and clear it.")
_out = Output()
_PATIENT = Deadline(base_s=5.0)

AsJson = Annotated[bool, typer.Option("--json", help="Print data.")]


def _open(url: str | None) -> tuple[Store, CacheSettings]:
    settings = CacheSettings()
    return store_from_url(store_url(url), deadline=_PATIENT), settings


@cache_app.command()
def stats(*, as_json: AsJson = False, url: Url = None) -> None:
    """What is in the cache, and what all processes have counted."""
    store, settings = _open(url)
    with store:
        found = asdict(Admin(store, settings).stats())
    if as_json:
        _show(json.dumps(found, indent=2))
    else:
        usage = found.pop("usage")
        _print_pairs(found | (usage if usage["n_processes"] else {}))
    _fail_unless_usable(found["status"])


@cache_app.command()
def health(*, as_json: AsJson = False, url: Url = None) -> None:
    """How the cache is: healthy, degraded or off; 1 when degraded."""
    store, settings = _open(url)
    with store:
        found = asdict(Admin(store, settings).health())
    if as_json:
        _show(json.dumps(found, indent=2))
    else:
        _print_pairs(found)
    _fail_unless_usable(found["status"])


@cache_app.command()
def clear(
    kind: Annotated[
        str | None, typer.Argument(help="embedding, openai_response, job_match, ...; all without it.")
    ] = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = None,
) -> None:
    """Delete the entries of this namespace, of one kind or all; nothing else on the server is touched."""
    chosen = kind_of(kind) if kind else None
    store, settings = _open(url)
    with store:
        admin = Admin(store, settings)
        what = f"{chosen or 'all'} entries of namespace {settings.namespace or '(none)'}"
        if dry_run:
            _show(f"{admin.clear(chosen, dry_run=True)} {what} would be deleted")
            return
        if not yes:
            typer.confirm(f"Delete {admin.clear(chosen, dry_run=True)} {what}?", abort=True)
        _show(f"{admin.clear(chosen)} {what} deleted")


@cache_app.command()
def get(key: Annotated[str, typer.Argument(help="A whole key, as `doctor` shows it.")], *, url: Url = None) -> None:
    """Show one entry: its header, and its value or the size of its vector."""
    store, _ = _open(url)
    with store:
        [raw] = store.mget([key])
    if raw is None:
        raise StoreError(f"there is no entry {key}", reason="absent")
    _show(json.dumps(view_entry(key, raw), indent=2, ensure_ascii=False))


@cache_app.command()
def explain(
    question: Annotated[str, typer.Argument(help="One human message; - reads it from standard input.")],
    *,
    model: Annotated[str | None, typer.Option("--model", help="Its name; that of the settings without it.")] = None,
    temperature: Annotated[float | None, typer.Option("--temperature", help="As the model is asked.")] = None,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", min=1, help="As the model is asked.")] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Say which key a question to a chat model has, what that is made of, and whether its answer is stored."""
    from agent.settings import Settings  # noqa: PLC0415  loads more than --help should wait for
    from chains.models import RemoteModels, build_chat_model  # noqa: PLC0415  as above

    settings, text = Settings(), sys.stdin.read() if question == "-" else question
    name = model or settings.chat_model
    asked = build_chat_model(
        RemoteModels(None, settings.openai_base_url, settings.embedding_model, name),
        temperature=temperature,
        max_tokens=max_tokens,
    )
    store, cache_settings = _open(url)
    with store:
        found = ResponseCache(store, settings=cache_settings).explain(asked, text)
    if as_json:
        _show(json.dumps(asdict(found), indent=2, ensure_ascii=False))
        return
    _show(str(found))
    _show(json.dumps(found.parts, indent=2, ensure_ascii=False))


@cache_app.command()
def doctor(*, url: Url = None) -> None:
    """Look for what is wrong, and say what to do about it; 1 when something is."""
    store, settings = _open(url)
    table = Table(show_edge=False, pad_edge=False)
    for column in ("looked at", "found", "advice"):
        table.add_column(column, overflow="fold")
    is_well = True
    with store:
        for finding in examine(store, settings):
            table.add_row(*map(Text, (finding.name, finding.value, finding.advice or "")))
            is_well = is_well and finding.advice is None
    _out.print(table)
    raise typer.Exit(0 if is_well else 1)


def _fail_unless_usable(status: Status) -> None:
    if status == Status.DEGRADED:
        raise typer.Exit(1)


def _print_pairs(found: dict[str, object]) -> None:
    for name, value in found.items():
        if value not in (None, "", {}):
            _out.print(f"{name.replace('_', ' ')}: {value}", markup=False, emoji=False, highlight=False)


def _show(text: str) -> None:
    _out.out(text, highlight=False)
