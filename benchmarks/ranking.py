"""How near to memory: the best 10 of a large corpus, against reading its float32 matrix once.

Run `python -m benchmarks.ranking` in the root of the repository; it takes about a minute and, with 100,000 rows of 1536
numbers, 3 GB. `--rows N` and `--width D` change the size, `--rounds N` measures more often, `--without-store` leaves
out saving to a server of its own and loading from it.

Vectors are made up, from a seed. All ways of asking take turns in one process, in another order each round; a ratio is
the median, over the rounds, of a way's time by that of `matrix.sum()` in the same round. BLAS has one thread, unless
`OPENBLAS_NUM_THREADS` says otherwise. Before anything is measured, the answers of all ways are found equal.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from cache import CacheSettings, CorpusCache, VectorIndex, store_from_url
from cache.deadline import Deadline
from tests.servers import ValkeyServer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cache.codecs.numbers import FloatArray

K = 10
SEED = 11
N_QUERIES, N_FEW_ROWS = 100, 10_000
BLOCK_ROWS = 10_000
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "VECLIB_MAXIMUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def made_up(n: int, width: int, *, seed: int) -> FloatArray:
    """Unit vectors of random directions: float32, shape (n, width)."""
    rng = np.random.default_rng(seed)
    vectors = np.empty((n, width), dtype=np.float32)
    for start in range(0, n, BLOCK_ROWS):
        rng.standard_normal(dtype=np.float32, out=vectors[start : start + BLOCK_ROWS])
    for start in range(0, n, BLOCK_ROWS):
        block = vectors[start : start + BLOCK_ROWS]
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return vectors


def timed_ms(work: Callable[[], object]) -> float:
    """Milliseconds that something takes."""
    started_s = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - started_s)


def measure(ways: Mapping[str, Callable[[], object]], *, n_rounds: int) -> None:
    """Print the time of each way, and its ratio to the first one."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    order, shuffler = list(ways), random.Random(SEED)
    for _ in range(n_rounds):
        shuffler.shuffle(order)
        for name in order:
            times[name].append(timed_ms(ways[name]))
    [limit, *_] = times.values()
    for name, taken in times.items():
        ratio = median(mine / read for mine, read in zip(taken, limit, strict=True))
        print(f"{name:<58} {median(taken):9.2f} ms {ratio:7.2f}x")
    print()


def index_of(vectors: FloatArray) -> VectorIndex:
    """An index of rows whose ids are their numbers."""
    index = VectorIndex(vectors.shape[1])
    index.add([f"{row:08d}" for row in range(len(vectors))], vectors)
    return index


def rank_one(vectors: FloatArray, *, n_rounds: int) -> VectorIndex:
    """One query against all rows."""
    [query] = made_up(1, vectors.shape[1], seed=SEED + 1)
    plain, fast = index_of(vectors), index_of(vectors)
    ways: dict[str, Callable[[], object]] = {
        "reading the matrix once (sum)": vectors.sum,
        "product of matrix and query, no ranking": lambda: vectors @ query,
        f"best {K}, float32": lambda: plain.top_k(query, K),
    }
    quantised_ms = timed_ms(fast.quantise)
    if fast.quantise():
        assert fast.top_k(query, K) == plain.top_k(query, K)  # noqa: S101  what is compared must be equal
        ways[f"best {K}, int8 and rescoring (made once in {quantised_ms:.0f} ms)"] = lambda: fast.top_k(query, K)
    print(f"1 query x {len(vectors):,} rows of {vectors.shape[1]}")
    measure(ways, n_rounds=n_rounds)
    return plain


def rank_many(vectors: FloatArray, *, n_rounds: int) -> None:
    """Many queries against a part of the rows."""
    queries, index = made_up(N_QUERIES, vectors.shape[1], seed=SEED + 2), index_of(vectors)
    assert index.top_k_batch(queries, K) == [index.top_k(query, K) for query in queries]  # noqa: S101  as above
    print(f"{N_QUERIES} queries x {len(vectors):,} rows")
    measure(
        {
            "reading the matrix once (sum)": vectors.sum,
            "product of matrix and queries, no ranking": lambda: queries @ vectors.T,
            f"best {K}, in batches": lambda: index.top_k_batch(queries, K),
            f"best {K}, in batches, two threads": lambda: index.top_k_batch(queries, K, threads=2),
        },
        n_rounds=n_rounds,
    )


def store_and_load(index: VectorIndex) -> None:
    """All rows to a server and back, once."""
    with ValkeyServer() as server, store_from_url(server.url, deadline=Deadline()) as store:
        saver, loader = (CorpusCache("rows", store, width=index.width, settings=CacheSettings()) for _ in range(2))
        print(f"{'saving in blocks of up to 4 MiB':<58} {timed_ms(lambda: saver.save(index)):9.0f} ms")
        print(f"{'loading them':<58} {timed_ms(lambda: loader.load(index.ids)):9.0f} ms")
        print(f"{saver.counts().stored} blocks stored, {loader.counts().hits} loaded, {loader.counts().misses} missed")


def parse_arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="The best 10 of a large corpus, against reading its matrix once.")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=1536)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--without-store", action="store_true")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    if not ONE_THREAD.keys() & os.environ.keys():  # numpy reads it when it is imported
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks.ranking", *sys.argv[1:]], os.environ | ONE_THREAD)  # noqa: S606  itself
    arguments = parse_arguments()
    vectors = made_up(arguments.rows, arguments.width, seed=SEED)
    index = rank_one(vectors, n_rounds=arguments.rounds)
    rank_many(vectors[:N_FEW_ROWS], n_rounds=arguments.rounds)
    if not arguments.without_store:
        store_and_load(index)


if __name__ == "__main__":
    main()
