"""The ratios as a picture."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from benchmarks.speed.results import titles_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.speed.results import Result


def plot(results: Sequence[Result], path: Path) -> None:
    """Draw the ratios as bars, on a logarithmic axis."""
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    names = [*dict.fromkeys(result.workload for result in results)]
    titles = titles_of(results)
    figure, axes = pyplot.subplots(figsize=(9, 0.9 * len(names) + 1.5))
    height = 0.8 / max(len(titles), 1)
    for index, title in enumerate(titles):
        mine = {result.workload: result.ratio for result in results if result.contender == title and result.ratio}
        places = [names.index(name) + (index - (len(titles) - 1) / 2) * height for name in mine]
        bars = axes.barh(places, [*mine.values()], height, label=title)
        axes.bar_label(bars, fmt=lambda ratio: f"{ratio:.2g}x", padding=2, fontsize=7)
    axes.axvline(1, color="black", linewidth=1)
    axes.set(xscale="log", xlabel="time, as a multiple of the limit (less is better)")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.legend(fontsize=8)
    figure.tight_layout()
    with pyplot.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": "speed"}
    ):  # letters as letters: a tenth of the size
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)
