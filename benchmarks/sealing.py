"""What sealing costs: the workloads of `benchmarks.speed`, with `CACHE_ENCRYPTION_KEYS` and without.

Run `python -m benchmarks.sealing` in the root of the repository; it starts its own servers and takes about 15 seconds.
The limit is this project without keys; a ratio is the median, over the rounds, of the time with keys by that without in
the same round.
"""

from __future__ import annotations

import argparse
import base64
from typing import Any

from benchmarks.contenders.ours import OurAnswers, OurVectors
from benchmarks.speed.measuring import Bench, hide_environment
from benchmarks.speed.results import table
from benchmarks.speed.samples import Batches
from benchmarks.speed.workloads import Answering, Reading, Updating, Workload, Writing

N_VECTORS = 256
ANSWER_KIB = 2
KEYS = {"encryption_keys": (base64.b64encode(bytes(range(32))).decode(),), "key_secret": "a secret of this benchmark"}


class PlainVectors(OurVectors):
    """Values are kept plain, and hashes in keys are HMACs, as they are where values are sealed."""

    title = "limit: unsealed"
    settings = {"key_secret": KEYS["key_secret"]}  # noqa: RUF012  as in the class above


class SealedVectors(OurVectors):
    """Values are sealed."""

    title = "sealed"
    settings = KEYS | {"namespace": "sealed"}


class PlainAnswers(OurAnswers):
    """As `PlainVectors`."""

    title = PlainVectors.title
    settings = PlainVectors.settings


class SealedAnswers(OurAnswers):
    """Values are sealed."""

    title = SealedVectors.title
    settings = SealedVectors.settings


def workloads() -> list[Workload[Any]]:
    """Vectors and answers, read and written."""
    batches = Batches()
    of_vectors = [Reading(batches, N_VECTORS, 20), Writing(batches, N_VECTORS)]
    of_answers = [Answering(ANSWER_KIB, 200), Updating(ANSWER_KIB, 200)]
    for reading in of_vectors:
        reading.contenders = (PlainVectors, SealedVectors)
    for answering in of_answers:
        answering.contenders = (PlainAnswers, SealedAnswers)
    return [*of_vectors, *of_answers]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sealing", description="What sealing costs.")
    parser.add_argument("--rounds", type=int, default=21, help="of each workload")
    rounds = parser.parse_args().rounds
    hide_environment()
    bench = Bench(rounds, with_peers=True)
    print(table([result for workload in workloads() for result in bench.measure(workload)]))


if __name__ == "__main__":
    main()
