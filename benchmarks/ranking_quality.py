"""How well resumes and ads are matched, and what each part of the score adds.

Run `python -m benchmarks.ranking_quality --data DIR` in the root of the repository. DIR holds `rjdb_dev.jsonl.gz` (ads,
a resume written for each, the same one degraded, the skills cut out of it) and `onet_occupations.jsonl.gz` (occupations
with the titles that people report). `--ablation` leaves out one part of the score after the other, `--vectors FILE`
keeps the embeddings, which take minutes, in a file. Each number is shown for both halves of the rows.

Tasks:
    pair: P(the resume written for an ad scores above its degraded twin)
    find: the rank of the resume written for an ad among all, and of the ad; mean reciprocal rank (MRR)
    title: the rank of the occupation to which a reported title belongs; MRR
    gap: the skills called missing in the degraded twin against those cut out; F1, false alarms on the uncut resume,
        and the number of phrases said per ad
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chains.gaps import gap_phrases
from chains.local_embeddings import LocalEmbeddings
from chains.matching import pair_parts
from chains.score import WEIGHTS, Parts, match_score

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from chains.vectors import Matrix, Progress

    Floats = npt.NDArray[np.float64]

N_TITLES = 1000
SEED = 5
_IDENTITY = re.compile(r"(?im)^(name|e-?mail|phone|address)\s*:.*$")  # invented, and noise


class KeptEmbeddings:
    """The local model, its vectors kept in a numpy file from run to run.

    Args:
        path: of the file; `None` keeps them in memory.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._model = LocalEmbeddings()
        self._kept: dict[str, Matrix] = {}
        if path and path.exists():
            with np.load(path) as kept:
                self._kept = dict(zip(kept["texts"].tolist(), kept["rows"], strict=True))

    def embed_array(self, texts: Sequence[str], *, on_progress: Progress | None = None) -> Matrix:
        """Embed texts; float32, shape (n, 384)."""
        new = [text for text in dict.fromkeys(texts) if text not in self._kept]
        for start in range(0, len(new), 100):
            batch = new[start : start + 100]
            self._kept |= zip(batch, self._model.embed_array(batch), strict=True)
            if on_progress:
                on_progress(min(start + 100, len(new)), len(new))
        if new and self._path:
            np.savez(self._path, texts=np.array(list(self._kept)), rows=np.array(list(self._kept.values())))
        return np.array([self._kept[text] for text in texts], dtype=np.float32).reshape(len(texts), 384)

    async def aembed_array(self, texts: Sequence[str], *, on_progress: Progress | None = None) -> Matrix:
        """Asynchronous twin of `embed_array`."""
        return self.embed_array(texts, on_progress=on_progress)


def scorer(resumes: Sequence[str], jobs: Sequence[str]) -> Floats:
    """Score every resume against every ad: what other scripts call."""
    path = os.environ.get("RANKING_QUALITY_VECTORS")
    embeddings = KeptEmbeddings(Path(path) if path else None)
    return scores_of(pair_parts(resumes, jobs, embeddings=embeddings))


def gap_finder(job: str, resume: str) -> list[str]:
    """Say what a resume lacks: what other scripts call."""
    return gap_phrases(resume, job)


def scores_of(parts: Sequence[Sequence[Parts]], weights: Mapping[str, float] = WEIGHTS) -> Floats:
    """The scores of all pairs under some weights."""
    return np.array([[match_score(pair, weights).score for pair in row] for row in parts])


# --- The tasks ------------------------------------------------------------------------------------------------------


class Bench:
    """The data, and what the scores of all its pairs are made of."""

    def __init__(self, folder: Path, embeddings: KeptEmbeddings) -> None:
        self.rows = _read(folder / "rjdb_dev.jsonl.gz")
        good, bad = ([_IDENTITY.sub("", r[f"resume_{kind}"]) for r in self.rows] for kind in ("matched", "unmatched"))
        self.pairs = pair_parts(good + bad, [r["job"] for r in self.rows], embeddings=embeddings, on_progress=_say)
        occupations = _read(folder / "onet_occupations.jsonl.gz")
        titles = [
            (title, number)
            for number, one in enumerate(occupations)
            for title in one["reported_titles"]
            if title.lower() != one["title"].lower()
        ]
        picked = [titles[i] for i in np.random.default_rng(SEED).permutation(len(titles))[:N_TITLES]]
        self.owner = np.array([number for _, number in picked])
        texts = [f"{one['title']}\n{one['description']}\n{one['tasks']}" for one in occupations]
        self.titles = pair_parts([title for title, _ in picked], texts, embeddings=embeddings, on_progress=_say)

    def measure(self, weights: Mapping[str, float]) -> dict[str, Floats]:
        """One number for each row of each task."""
        scores, n = scores_of(self.pairs, weights), len(self.rows)
        own = np.arange(n)
        good, bad = scores[own, own], scores[own + n, own]
        return {
            "pair": (good > bad) + 0.5 * (good == bad),
            "job to resume": 1 / (_rank(scores[:n].T, own) + 1),
            "resume to job": 1 / (_rank(scores[:n], own) + 1),
            "title": 1 / (_rank(scores_of(self.titles, weights), self.owner) + 1),
        }


def _read(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def _say(n_done: int, n_all: int) -> None:
    print(f"{n_done} of {n_all} chunks embedded", end="\r", file=sys.stderr, flush=True)


def _rank(scores: Floats, own: npt.NDArray[np.int64]) -> Floats:
    """The rank from 0 of column own[i] in row i; ties share the middle rank."""
    mine = scores[np.arange(len(own)), own][:, None]
    ranks: Floats = (scores > mine).sum(1) + ((scores == mine).sum(1) - 1) / 2
    return ranks


def measure_gaps(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """F1 of the skills called missing, false alarms, and phrases per ad."""
    right = wrong = unsaid = n_phrases = alarms = n_known = 0
    for row in rows:
        gold, known = _low(row["filtered"].get("Skills") or []), _low(row["skills"])
        found = _low(gap_finder(row["job"], row["resume_unmatched"]))
        said = found & known
        n_phrases, n_known = n_phrases + len(found), n_known + len(known)
        right, wrong, unsaid = right + len(said & gold), wrong + len(said - gold), unsaid + len(gold - said)
        alarms += len(_low(gap_finder(row["job"], row["resume_matched"])) & known)
    return {
        "F1": 2 * right / max(1, 2 * right + wrong + unsaid),
        "false alarms": alarms / max(1, n_known),
        "phrases per ad": n_phrases / max(1, len(rows)),
    }


def _low(names: Sequence[str]) -> set[str]:
    return {name.strip().lower() for name in names}


def variants() -> dict[str, Mapping[str, float]]:
    """The weights as they are, without each part, and with each part alone."""
    found: dict[str, Mapping[str, float]] = {"all parts": WEIGHTS}
    for left_out in WEIGHTS:
        found[f"without {left_out}"] = {name: 0.0 if name == left_out else w for name, w in WEIGHTS.items()}
    return found | {"meaning alone": _alone("meaning"), "words alone": _alone("words")}


def _alone(part: str) -> dict[str, float]:
    return {name: float(name == part) for name in WEIGHTS}


def _line(name: str, measured: Mapping[str, Floats]) -> str:
    cells = " | ".join(" / ".join(f"{half.mean():.3f}" for half in np.array_split(v, 2)) for v in measured.values())
    return f"| {name} | {cells} |"


def main() -> None:
    """Print what was measured, as a table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, required=True, help="the folder with the data")
    options.add_argument("--ablation", action="store_true", help="leave out one part after the other")
    options.add_argument("--vectors", type=Path, help="a file that keeps the embeddings")
    given = options.parse_args()
    bench = Bench(given.data, KeptEmbeddings(given.vectors))
    print("| weights | pair | job to resume | resume to job | title |\n|---|---|---|---|---|")
    for name, weights in variants().items() if given.ablation else [("all parts", WEIGHTS)]:
        print(_line(name, bench.measure(weights)), flush=True)
    for half, rows in (("first", bench.rows[: len(bench.rows) // 2]), ("second", bench.rows[len(bench.rows) // 2 :])):
        print(f"gaps, {half} half:", {name: round(number, 4) for name, number in measure_gaps(rows).items()})


if __name__ == "__main__":
    main()
