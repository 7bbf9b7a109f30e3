"""What a failing Redis costs: the time that a cache adds to an operation, for each way of failing.

Run `python -m benchmarks.failures` in the root of the repository; it starts its own servers and takes five to six
minutes. `--json FILE` keeps all numbers, `--rounds N` repeats each fault more often, `--only NAME` plays one,
`--without-peers` measures this project alone.

The added time is that of an operation minus the median of the same operation with `CACHE_ENABLED=0`, measured in turn
with it. Models answer at once, so nothing hides what the cache does; a negative number is a hit that was cheaper than
preparing a new entry. In each round a cache is made anew, used, and met by the fault ("warm": it has connections) or
first used when the fault is there ("cold"). The last round goes on for 200 more calls, or 2.5 s of them.
The proxy runs in this process: what reaches the server through it is slower by that.

Peers cannot be switched off: of theirs, all the time is added. They are warm; a call of theirs is cut at 10 s, and
where it is not back after half a second, the further calls are those of other callers beside it. langchain-redis needs
RedisJSON, which Valkey does not have: it runs on the server that `REDIS_SEARCH_URL` names, or else on that of
fakeredis, and what no command brings about there is answered for it by the proxy. Where that is not to be had, or a
client of one server cannot take part, the table has a dash.

It ends with exit code 1 and says why when a promise is broken: first calls that add half as much again as their
deadline at the median, calls that raise, or calls without an answer from the cache that add more than a millisecond at
the median (a batch: as much as it takes with the cache switched off). What happens in one round alone is in the table
and breaks no promise: on a busy machine any call can be held up.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import platform
import sys
import time
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.failures.callers import Blocking, Looping, Way
from benchmarks.failures.contenders import capture_request
from benchmarks.failures.measuring import Cell, Play, Recovery
from benchmarks.failures.peers import PeerPlay
from benchmarks.failures.scenarios import SCENARIOS, Scenario
from benchmarks.failures.servers import Servers
from benchmarks.failures.table import broken_promises, print_cells, print_comparison, print_recoveries

if TYPE_CHECKING:
    from collections.abc import Sequence

MIN_ROUNDS = 3
HIDDEN = ("CACHE_", "REDIS_URL", "OPENAI_", "LANGSMITH_", "LANGCHAIN_")


class Found(NamedTuple):
    """All that was measured.

    Attributes:
        ours: cells of this project.
        peers: cells of others.
        recoveries: of this project.
    """

    ours: list[Cell]
    peers: list[Cell]
    recoveries: list[Recovery]


def play_all(scenarios: Sequence[Scenario], n_rounds: int, *, has_peers: bool) -> Found:
    """Play scenario after scenario, in each way, and say so on standard error."""
    found = Found([], [], [])
    start_s = time.perf_counter()
    with Servers() as servers, closing(Blocking()) as blocking, closing(Looping()) as looping:
        ways: tuple[Way, ...] = (blocking, looping)
        for scenario in scenarios:
            for way in ways:
                print(f"{time.perf_counter() - start_s:3.0f} s: {scenario.name}, {way.name}", file=sys.stderr)
                servers.server.command("FLUSHALL")
                play = Play(servers, scenario, way)
                play.run(n_rounds)
                found.ours.extend(play.cells)
                found.recoveries.append(play.recovery)
            if has_peers:
                print(f"{time.perf_counter() - start_s:3.0f} s: {scenario.name}, peers", file=sys.stderr)
                others = PeerPlay(servers, scenario, ways)
                others.run(n_rounds)
                found.peers.extend(others.cells)
    return found


def hide_environment() -> None:
    """Forget settings of the developer: what is measured are the defaults, and nothing is traced."""
    for name in list(os.environ):
        if name.upper().startswith(HIDDEN):
            del os.environ[name]


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.failures", description="Costs of a failing Redis.")
    parser.add_argument("--rounds", type=int, default=5, help=f"how often each fault is met, at least {MIN_ROUNDS}")
    parser.add_argument("--only", choices=[scenario.name for scenario in SCENARIOS], help="play this scenario alone")
    parser.add_argument("--without-peers", action="store_true", help="measure this project alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers to this file")
    arguments = parser.parse_args()
    if arguments.rounds < MIN_ROUNDS:
        parser.error(f"--rounds: expected at least {MIN_ROUNDS}, got {arguments.rounds}")
    return arguments


def main() -> int:
    """Measure, print, and return 1 when a promise is broken."""
    arguments = parse_arguments()
    hide_environment()
    for name in ("resumecache", "redisvl"):  # what they say is no part of the table
        logging.getLogger(name).addHandler(logging.NullHandler())
    capture_request()
    gc.freeze()  # collecting all that is imported takes longer than any deadline here, with and without a cache
    start_s = time.perf_counter()
    scenarios = [scenario for scenario in SCENARIOS if arguments.only in {None, scenario.name}]
    found = play_all(scenarios, arguments.rounds, has_peers=not arguments.without_peers)
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{machine}; {arguments.rounds} rounds in {time.perf_counter() - start_s:.0f} s")
    print_cells(found.ours)
    print_recoveries(found.recoveries)
    for way in (Blocking.name, Looping.name):
        print_comparison([*found.ours, *found.peers], way)
    broken = [words for cell in found.ours for words in broken_promises(cell)]
    print("\n" + "\n".join(broken or ["No promise was broken."]))
    if arguments.json:
        numbers = {name: [*map(asdict, values)] for name, values in found._asdict().items()}
        arguments.json.write_text(json.dumps({"machine": machine, **numbers, "broken": broken}, indent=1))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
