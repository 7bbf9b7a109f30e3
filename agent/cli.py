"""The command line: parse, call, print, exit code."""

from __future__ import annotations

import contextlib
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from agent.cli_cache import cache_app
from agent.cli_optimize import optimize
from agent.cli_options import OK, Output, Resume, Url, patient_settings, store_url
from agent.cli_serve import serve
from agent.errors import AgentError
from cache import CacheError, ConfigurationError
from chains.errors import ChainError, DocumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


FAILED, BAD_INPUT = 1, 2
_INTERRUPTED = 130  # what typer makes of Ctrl-C, without a word

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(cache_app, name="cache")
app.command()(serve)
app.command()(optimize)
_out = Output()
_err = Console(stderr=True)

Jobs = Annotated[list[Path], typer.Argument(help="Job ads, or folders of them.")]


@app.callback()
def _options(
    *, verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show what the cache does.")] = False
) -> None:
    """Match resumes to job ads, with every embedding and answer cached."""
    logging.basicConfig(
        level=logging.WARNING, format="%(message)s", handlers=[RichHandler(console=_err, show_path=False)], force=True
    )
    logging.getLogger("resumecache").setLevel(logging.DEBUG if verbose else logging.WARNING)


@app.command()
def match(
    resume: Resume,
    jobs: Jobs,
    *,
    top: Annotated[int, typer.Option("--top", min=1, help="How many ads to show.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print data instead of a table.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Say why, below the table.")] = False,
    url: Url = None,
) -> None:
    """Rank job ads for a resume; the second time the vectors come from the cache."""
    from agent.display import print_report  # noqa: PLC0415  same
    from agent.ranking import rank_files  # noqa: PLC0415  loads the models' libraries; --help need not wait for them
    from agent.settings import Settings  # noqa: PLC0415  same
    from agent.wiring import Services  # noqa: PLC0415  same

    with Services(Settings(cache=patient_settings()), url=store_url(url)) as services, _progress() as report:
        found = rank_files(services, resume, jobs, top=top, explain=explain, on_progress=report)
    if as_json:
        _out.out(found.model_dump_json(indent=2), highlight=False)
    else:
        print_report(_out, found, explain=explain)


@app.command()
def demo() -> None:
    """Rank the sample ads in two processes; the second embeds nothing."""
    from agent.demo import run_demo  # noqa: PLC0415  loads what the command needs

    run_demo(_out)


def main() -> None:
    """Run the command line: 0 when done, 2 for bad input, 1 for anything else; never a traceback."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run a command line and give its exit code."""
    try:
        app(args=arguments, prog_name="resumecache")
    except SystemExit as stop:  # how typer ends, whether all went well or the usage was wrong
        return _explain_failure(KeyboardInterrupt()) if stop.code == _INTERRUPTED else int(stop.code or OK)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  the last resort: a sentence, never a traceback
        return _explain_failure(error)
    return OK


def _explain_failure(error: BaseException) -> int:
    match error:
        case DocumentError() | ConfigurationError():
            return _fail(error, BAD_INPUT)
        case CacheError() | ChainError() | AgentError():
            return _fail(error, FAILED)
        case KeyboardInterrupt():
            return _fail("interrupted; what was embedded stays cached", FAILED)
        case _:
            return _fail(f"unexpected {type(error).__name__}: {error}", FAILED)


def _fail(problem: object, code: int) -> int:
    _err.print(f"resumecache: {problem}", markup=False, emoji=False, highlight=False, soft_wrap=True)
    return code


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on the terminal that vanishes when done; nothing where nobody watches."""
    columns = (TextColumn("embedding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=_err, transient=True, disable=not _err.is_terminal) as bar:
        task = bar.add_task("embedding", total=None)
        yield lambda n_ready, n_all: bar.update(task, completed=n_ready, total=n_all)
