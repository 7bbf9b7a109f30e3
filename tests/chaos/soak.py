"""A soak: processes whose threads and tasks use one server as fast as they can, for as long as one likes.

`python -m tests.chaos.soak --minutes 10 --processes 8` is the long form of what `test_soak.py` does for some seconds.
The entries live for seconds and are more than the server may hold, so that hits, expired and evicted entries mix.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import time
from concurrent.futures import ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING

from cache import CacheBackedEmbeddings, CacheSettings, ResponseCache
from cache.opening import open_store
from tests.chaos.callers import acall, call
from tests.chaos.judge import Judge
from tests.chaos.measures import Latencies, memory_mib
from tests.chaos.operations import TEXTS_IN_BATCH, Echo, Embedder, Operation, answer_to
from tests.servers import ValkeyServer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

N_THREADS, N_TASKS = 2, 4  # of each process
N_SUBJECTS = 20_000
SKEW = 3  # the higher, the more often the same few subjects are asked for
LIMITS = ["--maxmemory", "6mb", "--maxmemory-policy", "allkeys-lru"]
WARM = 0.2  # the share of the time after which memory should not grow
QUANTILES = (0.5, 0.99)
_LOOK_S = 0.2  # between looks at the connections


@dataclass(frozen=True)
class Share:
    """What one process has done and seen.

    Attributes:
        n_done: operations.
        n_right: those whose answer was right.
        hits: values that the cache had.
        misses: values that it did not have.
        failures: operations that the store could not do.
        problems: wrong answers, errors and hangs.
        buckets: of the latencies.
        memory_mib: when warm, and at the end.
    """

    n_done: int
    n_right: int
    hits: int
    misses: int
    failures: int
    problems: list[str]
    buckets: dict[int, int]
    memory_mib: tuple[float, float]


class Caller:
    """Embeddings and a chat model on one store.

    Args:
        url: of the server.
    """

    def __init__(self, url: str) -> None:
        settings = CacheSettings(embedding_ttl_s=30, openai_response_ttl_s=20)
        self.store = open_store(settings, url=url)
        self._embedder = Embedder()
        self.embeddings = CacheBackedEmbeddings(self._embedder, self.store, model="counting", settings=settings)
        self.responses = ResponseCache(self.store, settings=settings)
        self._chat = Echo(cache=self.responses)

    def draw(self, chance: random.Random) -> Operation:
        """Draw something to ask for."""
        subject = int(N_SUBJECTS * chance.random() ** SKEW)
        return chance.choice((self._embedding, self._query, self._answer))(subject)

    def _embedding(self, subject: int) -> Operation:
        texts = [f"text {number}" for number in range(subject, subject + TEXTS_IN_BATCH)]
        right = [self._embedder.vector(text) for text in texts]
        embed, aembed = self.embeddings.embed_documents, self.embeddings.aembed_documents
        return Operation(f"embed {subject}", lambda: embed(texts), lambda: aembed(texts), right, right)

    def _query(self, subject: int) -> Operation:
        text = f"query {subject}"
        right = self._embedder.vector(text, is_query=True)
        embed, aembed = self.embeddings.embed_query, self.embeddings.aembed_query
        return Operation(f"embed {text}", lambda: embed(text), lambda: aembed(text), right, right)

    def _answer(self, subject: int) -> Operation:
        prompt = f"prompt {subject}"
        right = answer_to(prompt)

        async def ask() -> str:
            return (await self._chat.ainvoke(prompt)).text

        return Operation(f"ask {prompt}", lambda: self._chat.invoke(prompt).text, ask, right, right)


def work(url: str, number: int, seconds: float) -> Share:
    """Be one process: call as fast as threads and tasks can, for so many seconds."""
    logging.getLogger("resumecache").setLevel(logging.ERROR)  # a deadline that is missed under full load is counted
    return asyncio.run(_work(url, number, seconds))


async def _work(url: str, number: int, seconds: float) -> Share:
    caller, judge, started_s = Caller(url), Judge(), time.monotonic()

    def is_over() -> bool:
        return time.monotonic() - started_s > seconds

    names = [f"{number} {n}" for n in range(N_THREADS + N_TASKS)]
    tasks = [_call_in_task(caller, judge, name, is_over) for name in names[N_THREADS:]]
    threads = [asyncio.to_thread(_call_in_thread, caller, judge, name, is_over) for name in names[:N_THREADS]]
    everything = asyncio.gather(*tasks, *threads)
    await asyncio.sleep(WARM * seconds)
    warm_mib = memory_mib()
    await everything
    counts = caller.embeddings.counts(), caller.responses.counts()
    await caller.store.aclose()
    return Share(
        n_done=judge.n_done,
        n_right=judge.counts["right"],
        hits=sum(one.hits for one in counts),
        misses=sum(one.misses for one in counts),
        failures=sum(sum(one.failures.values()) for one in counts),
        problems=judge.problems,
        buckets=judge.latencies.buckets(),
        memory_mib=(warm_mib, memory_mib()),
    )


def _call_in_thread(caller: Caller, judge: Judge, name: str, is_over: Callable[[], bool]) -> None:
    chance = random.Random(name)
    while not is_over():
        call(caller.draw(chance), judge)


async def _call_in_task(caller: Caller, judge: Judge, name: str, is_over: Callable[[], bool]) -> None:
    chance = random.Random(name)
    while not is_over():
        await acall(caller.draw(chance), judge)
        await asyncio.sleep(0)


class Soak:
    """One soak.

    Args:
        processes: how many there are.
        seconds: how long each of them calls.

    Attributes:
        shares: what each has done.
        n_connections: how many there were at most, and how many were left at the end.
        evicted: how many entries the server had no room for.
        expired: how many had lived long enough.
    """

    def __init__(self, *, processes: int, seconds: float) -> None:
        self.shares: list[Share] = []
        self.n_connections = (0, 0)
        self.evicted = self.expired = 0
        self.seconds = seconds
        self._processes = processes

    def run(self) -> None:
        """Run it all."""
        context = get_context("spawn")
        with ValkeyServer(LIMITS) as server, ProcessPoolExecutor(self._processes, mp_context=context) as pool:
            running = [pool.submit(work, server.url, number, self.seconds) for number in range(self._processes)]
            most = 0
            while wait(running, timeout=_LOOK_S).not_done:
                most = max(most, _n_clients(server))
            self.shares = [one.result() for one in running]
            self.n_connections = most, _n_clients(server)
            said = server.command("INFO", "stats").decode()
        told = dict(line.split(":", 1) for line in said.splitlines() if ":" in line)
        self.evicted, self.expired = int(told["evicted_keys"]), int(told["expired_keys"])

    def table(self) -> str:
        """What it has shown: a row for each process, and one for all."""
        rows = [_row(str(n), [share], self.seconds) for n, share in enumerate(self.shares)]
        heads = ("process", "operations", "a second", "hit ratio", "p50 ms", "p99 ms", "MiB warm", "end", "wrong")
        all_rows = [heads, *rows, _row("all", self.shares, self.seconds)]
        widths = [max(map(len, column)) for column in zip(*all_rows, strict=True)]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in all_rows]
        failures = sum(share.failures for share in self.shares)
        most, left = self.n_connections
        lines.append(f"{most} connections, {left} left; {self.evicted:,} evicted, {self.expired:,} expired entries")
        lines.append(f"{failures:,} operations missed their deadline or failed, each a miss")
        return "\n".join(lines)


def _row(name: str, shares: Sequence[Share], seconds: float) -> tuple[str, ...]:
    latencies = Latencies()
    for share in shares:
        latencies.merge(Latencies.of(share.buckets))
    n_done = sum(share.n_done for share in shares)
    hits, misses = sum(share.hits for share in shares), sum(share.misses for share in shares)
    warm, end = (sum(share.memory_mib[n] for share in shares) for n in (0, 1))
    numbers = f"{n_done:,}", f"{n_done / seconds:,.0f}", f"{hits / max(hits + misses, 1):.3f}"
    quantiles = (f"{latencies.quantile_ms(share):.2f}" for share in QUANTILES)
    n_wrong = n_done - sum(share.n_right for share in shares)
    return name, *numbers, *quantiles, f"{warm:.0f}", f"{end:.0f}", str(n_wrong)


def _n_clients(server: ValkeyServer) -> int:
    """How many are connected besides the one who asks."""
    return len(server.command("CLIENT", "LIST", "TYPE", "normal").splitlines()) - 1


def main() -> int:
    """Run it from the command line; 1 when there were problems."""
    parser = argparse.ArgumentParser(description="Use caches at full load.")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long")
    parser.add_argument("--processes", type=int, default=8, help="how many")
    options = parser.parse_args()
    soak = Soak(processes=options.processes, seconds=60 * options.minutes)
    soak.run()
    problems = [problem for share in soak.shares for problem in share.problems]
    sys.stdout.write("\n".join([soak.table(), *problems]) + "\n")
    return 1 if problems or soak.n_connections[1] else 0


if __name__ == "__main__":
    sys.exit(main())
