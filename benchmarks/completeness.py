"""What caches get wrong: the pairs of requests of `tests/contract/completeness_rows.py`, asked of ours and of others.

Run `python -m benchmarks.completeness` in the root of the repository; it starts its own servers and takes about half a
minute. `--only NAME` asks one cache, `--json FILE` keeps every verdict.

A real `ChatOpenAI` asks a provider on this machine, twice with one difference and once again without; each pair meets
an empty cache. A wrong answer is the answer to the other question; a needless miss one that was there and was paid for
again. langchain-redis keeps its entries as RedisJSON, which Valkey does not have: it runs on the server that
`REDIS_SEARCH_URL` names, whose entries stay, or else on fakeredis' server, over TCP as the others do.

It ends with exit code 1 when ours gets anything wrong.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import platform
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import redis
from langchain_core.caches import BaseCache, InMemoryCache
from typing_extensions import override

from cache import CacheSettings, ResponseCache
from tests.contract.completeness import Outcome, Shared, Stage, Subject, Verdict, judge
from tests.contract.completeness_rows import ROWS
from tests.servers import HOST, ValkeyServer, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

HIDDEN = ("CACHE_", "REDIS_URL", "RESUMECACHE_")
PATIENT_MS = 5000  # what is asked here is what a cache answers, not how fast
COLUMNS = {
    "wrong answers served": (Outcome.WRONG_ANSWER,),
    "needless misses": (Outcome.NEEDLESS_MISS, Outcome.NEVER_CACHED),
    "errors and garbled answers": (Outcome.ERROR, Outcome.CHANGED_ANSWER),
    "not offered": (Outcome.NOT_OFFERED,),
}


def open_ours(address: str) -> BaseCache:
    """`ResponseCache` of a namespace."""
    namespace, url = address.split(" ")
    return ResponseCache.from_url(url, namespace=namespace, settings=CacheSettings(deadline_ms=PATIENT_MS))


def open_memory(_: str) -> BaseCache:
    """LangChain's cache in memory."""
    return InMemoryCache()


def open_sqlite(address: str) -> BaseCache:
    """The cache of langchain-community in a file."""
    made: BaseCache = importlib.import_module("langchain_community.cache").SQLiteCache(address)
    return made


def open_classic_redis(address: str) -> BaseCache:
    """The first Redis cache of LangChain, in langchain-community."""
    client = redis.Redis.from_url(address)
    made: BaseCache = importlib.import_module("langchain_community.cache").RedisCache(client)
    return made


def open_langchain_redis(address: str) -> BaseCache:
    """The cache of langchain-redis under a prefix."""
    prefix, url = address.split(" ")
    made: BaseCache = importlib.import_module("langchain_redis").RedisCache(redis_url=url, prefix=prefix)
    return made


@dataclass(frozen=True, slots=True)
class Contender:
    """A cache that is asked.

    Attributes:
        title: how it is called.
        package: what has to be installed.
        open: opens it.
        address: what it is opened with: a text with places for `name`, `valkey`, `redis_json` and `folder`.
        has_tenants: whether the name in its address keeps tenants apart on one store.
        is_shared: whether another process can open it.
    """

    title: str
    package: str
    open: Callable[[str], BaseCache]
    address: str = ""
    has_tenants: bool = False
    is_shared: bool = True


OURS = Contender("resumecache ResponseCache", "resumecache", open_ours, "{name} {valkey}", has_tenants=True)
CONTENDERS = (
    OURS,
    Contender("langchain-core InMemoryCache", "langchain-core", open_memory, is_shared=False),
    Contender("langchain-community SQLiteCache", "langchain-community", open_sqlite, "{folder}/{name}.db"),
    Contender("langchain-community RedisCache", "langchain-community", open_classic_redis, "{valkey}"),
    Contender(
        "langchain-redis RedisCache", "langchain-redis", open_langchain_redis, "{name} {redis_json}", has_tenants=True
    ),
)


class Servers(ExitStack):
    """Where entries live; a context manager."""

    @override
    def __enter__(self) -> Self:
        super().__enter__()
        self._valkey = self.enter_context(ValkeyServer())
        self._folder = self.enter_context(tempfile.TemporaryDirectory())
        self._redis_json = os.environ.get("REDIS_SEARCH_URL") or self._start_fake()
        return self

    def address(self, contender: Contender, name: str) -> str:
        """What a contender is opened with."""
        return contender.address.format(
            name=name, valkey=self._valkey.url, redis_json=self._redis_json, folder=self._folder
        )

    def empty(self) -> None:
        """Forget what the Valkey server holds."""
        self._valkey.command("FLUSHALL")

    def _start_fake(self) -> str:
        if find_spec("fakeredis") is None:
            return ""
        port = free_port()
        server = importlib.import_module("fakeredis").TcpFakeServer((HOST, port))
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), name="fakeredis")
        thread.start()
        self.callback(thread.join)
        self.callback(server.server_close)
        self.callback(server.shutdown)
        return f"redis://{HOST}:{port}/0"


def judge_all(contender: Contender, servers: Servers, stage: Stage) -> list[Verdict]:
    """Ask a contender everything."""
    return [judge_one(number, contender, servers, stage) for number in range(len(ROWS))]


def judge_one(number: int, contender: Contender, servers: Servers, stage: Stage) -> Verdict:
    """Ask a contender the questions of one row; it is empty."""
    servers.empty()
    name = f"b{uuid.uuid4().hex}"
    address, others = (servers.address(contender, each) for each in (name, f"{name}-other"))
    factory = f"benchmarks.completeness:{contender.open.__name__}"
    shared = Shared(factory, address, others if contender.has_tenants else None)
    cache = contender.open(address)
    other_tenant = contender.open(others) if contender.has_tenants else None
    try:
        return judge(ROWS[number], Subject(cache, other_tenant, shared if contender.is_shared else None), stage)
    finally:
        for each in (cache, other_tenant):
            close(each, stage)


def close(cache: BaseCache | None, stage: Stage) -> None:
    """Give back what a cache has opened; the others have no method for it."""
    stage.asker.close_cache(cache)
    for name, verb in {"redis": "close", "engine": "dispose"}.items():
        if hasattr(cache, name):
            getattr(getattr(cache, name), verb)()


def why_not_run(contender: Contender, servers: Servers) -> str:
    """Say why a contender cannot run here; empty if it can."""
    if installed(contender) is None:
        return f"{contender.package} is not installed"
    if contender.open is open_langchain_redis and servers.address(contender, "").endswith(" "):
        return "REDIS_SEARCH_URL is not set and fakeredis is not installed"
    return ""


def installed(contender: Contender) -> str | None:
    """The version of a contender that is installed, if any."""
    try:
        return version(contender.package)
    except PackageNotFoundError:
        return None


def row_of_table(contender: Contender, verdicts: Sequence[Verdict]) -> str:
    """The line of a contender in the table."""
    n_right = sum(verdict.outcome is Outcome.RIGHT for verdict in verdicts)
    cells = [in_words(verdicts, outcomes) for outcomes in COLUMNS.values()]
    title = f"{contender.title} {installed(contender)}"
    return f"| {' | '.join([title, f'{n_right} of {len(verdicts)}', *cells])} |"


def in_words(verdicts: Iterable[Verdict], outcomes: Sequence[Outcome]) -> str:
    """Name what came out so: each name once, with how many of its variants if not all."""
    n_all = Counter(row.name for row in ROWS)
    found = Counter(verdict.row.name for verdict in verdicts if verdict.outcome in outcomes)
    named = [name if n == n_all[name] else f"{name} ({n} of {n_all[name]})" for name, n in found.items()]
    return f"**{found.total()}**: {', '.join(named)}" if named else "none"


def print_table(found: dict[Contender, list[Verdict] | str]) -> None:
    """Print what each contender got wrong, as Markdown."""
    heads = ["cache", "right", *COLUMNS]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for contender, verdicts in found.items():
        if isinstance(verdicts, str):
            print(f"| {contender.title} | not run: {verdicts} {'| ' * len(COLUMNS)}|")
        else:
            print(row_of_table(contender, verdicts))


def as_json(verdicts: list[Verdict] | str) -> Any:
    """Every verdict of a contender, or why there is none."""
    if isinstance(verdicts, str):
        return {"not run": verdicts}
    return [{"row": str(each.row), "outcome": each.outcome, "detail": each.detail} for each in verdicts]


def ask_all(only: str | None) -> dict[Contender, list[Verdict] | str]:
    """Ask all contenders, or the one of a title, and say so on standard error."""
    found: dict[Contender, list[Verdict] | str] = {}
    with Stage() as stage, Servers() as servers:
        for contender in CONTENDERS:
            if only in {None, contender.title}:
                print(f"{contender.title} ...", file=sys.stderr)
                found[contender] = why_not_run(contender, servers) or judge_all(contender, servers, stage)
    return found


def hide_environment() -> None:
    """Forget settings of the developer: all others are the defaults."""
    for name in list(os.environ):
        if name.upper().startswith(HIDDEN):
            del os.environ[name]


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.completeness", description="What caches get wrong.")
    parser.add_argument("--only", choices=[each.title for each in CONTENDERS], help="ask this cache alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every verdict to this file")
    return parser.parse_args()


def main() -> int:
    """Ask, print, and return 1 when ours gets anything wrong."""
    arguments = parse_arguments()
    hide_environment()
    logging.getLogger().addHandler(logging.NullHandler())  # what the others cannot read is in the table
    start_s = time.perf_counter()
    found = ask_all(arguments.only)
    print(f"`python -m benchmarks.completeness` on {platform.system()} {platform.machine()}, Python", end=" ")
    print(f"{platform.python_version()}, langchain-openai {version('langchain-openai')}: {len(ROWS)} pairs of requests")
    print(f"asked of each cache, in {time.perf_counter() - start_s:.0f} seconds.\n")
    print_table(found)
    if arguments.json:
        told = {contender.title: as_json(verdicts) for contender, verdicts in found.items()}
        arguments.json.write_text(json.dumps(told, indent=1))
    ours = found.get(OURS, [])
    return int(isinstance(ours, str) or any(verdict.outcome is not Outcome.RIGHT for verdict in ours))


if __name__ == "__main__":
    sys.exit(main())
