"""How near to the wire: reading and writing vectors and answers, by this project and by others.

Run `python -m benchmarks.speed` in the root of the repository; it starts its own servers and takes about four minutes.
A run of everything writes its table and its plot (with matplotlib) to `benchmarks/results`. `--only WORD` runs the
workloads whose names hold a word, `--without-peers` measures the limits and this project alone, `--rounds N` measures
more often, `--json FILE` keeps all times, `--plot FILE` draws the ratios.

All contenders of a workload take turns in one process, in another order each round; a ratio is the median, over the
rounds, of a contender's time by that of the limit in the same round. The limit is redis-py with hiredis, one command,
no checks. Texts have 300 characters, and the limit hashes them too. Vectors are 1536 wide, float32; each contender
ends with an array of them and begins with what it likes best, an array or lists. What this project writes it has
looked up before, as its users do; where a library cannot tell that from a plain write, so has the other.

langchain-redis keeps its answers as RedisJSON, which Valkey does not have: it runs on the server that
`REDIS_SEARCH_URL` names, and is compared with the limit on that server.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import os
import platform
import sys
import time
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.speed.measuring import SLOW_ROUNDS, SLOW_S, Bench, hide_environment
from benchmarks.speed.plot import plot
from benchmarks.speed.results import table
from benchmarks.speed.workloads import workloads

if TYPE_CHECKING:
    from benchmarks.speed.results import Result

MIN_ROUNDS = 7
RESULTS = Path(__file__).resolve().parents[1] / "results"


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description="How near to the wire.")
    parser.add_argument("--rounds", type=int, default=MIN_ROUNDS, help=f"of each workload, at least {MIN_ROUNDS}")
    parser.add_argument("--only", metavar="WORD", action="append", help="run the workloads whose names hold this")
    parser.add_argument("--without-peers", action="store_true", help="measure the limits and this project alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all times to this file")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the ratios into this file")
    arguments = parser.parse_args()
    if arguments.rounds < MIN_ROUNDS:
        parser.error(f"--rounds: expected at least {MIN_ROUNDS}, got {arguments.rounds}")
    return arguments


def main() -> None:
    """Measure, print, and keep what a run of everything gave."""
    arguments = parse_arguments()
    hide_environment()
    logging.getLogger("resumecache").addHandler(logging.NullHandler())
    warnings.simplefilter("ignore")  # peers warn of what they will change
    start_s = time.perf_counter()
    bench = Bench(arguments.rounds, with_peers=not arguments.without_peers)
    words = arguments.only or [""]
    chosen = [each for each in workloads() if any(word in each.name for word in words)]
    results = [result for workload in chosen for result in bench.measure(workload)]
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    took_s = time.perf_counter() - start_s
    rounds = f"{arguments.rounds} rounds, {SLOW_ROUNDS} of what takes over {SLOW_S:.0f} s"
    text = (
        f"`python -m benchmarks.speed` on {machine}, in {took_s:.0f} seconds:\n"
        f"the time of the limit, and multiples of it; medians of {rounds}.\n\n{table(results)}\n"
    )
    print(text, end="")
    if arguments.json:
        rows = [asdict(result) | {"ratio": result.ratio} for result in results]
        arguments.json.write_text(json.dumps({"machine": machine, "results": rows}, indent=1), encoding="utf-8")
    if arguments.plot:
        plot(results, arguments.plot)
    if not (arguments.only or arguments.without_peers):
        keep(text, results)


def keep(text: str, results: list[Result]) -> None:
    """Write the table and the plot to where the README has them from."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "speed.md").write_text(text, encoding="utf-8")
    if importlib.util.find_spec("matplotlib") is None:
        print("no plot: matplotlib is not installed", file=sys.stderr)
        return
    plot(results, RESULTS / "speed.svg")


if __name__ == "__main__":
    main()
