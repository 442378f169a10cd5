"""The figure of a latency measurement."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from parity.deploy.latency import Timing
from parity.errors import ParityError
from parity.extras import install


def plot(name: str, rows: Sequence[Timing], path: Path) -> None:
    """Write a PNG: images a second of every way, a group of bars for each batch size and number of threads.

    Raises:
        ParityError: If matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ParityError(f"--plot needs matplotlib: {install('plot')}") from error
    groups = list(dict.fromkeys((row.batch, row.threads) for row in rows))
    ways = list(dict.fromkeys(row.way for row in rows if not row.refused))
    figure = Figure(figsize=(max(6.0, 1.2 + 0.45 * len(ways) * len(groups)) + 2.5, 4.5), layout="constrained")
    axes: Any = figure.add_subplot()
    width = 0.8 / max(len(ways), 1)
    for i, way in enumerate(ways):
        bars = [(groups.index((row.batch, row.threads)), row) for row in rows if row.way == way and not row.refused]
        places = [group + (i - (len(ways) - 1) / 2) * width for group, _ in bars]
        # The whisker ends at the throughput of the 99th percentile.
        slow = [row.images - 1e3 * row.batch / row.p99 for _, row in bars]
        axes.bar(places, [row.images for _, row in bars], width, label=way)
        axes.errorbar(places, [row.images for _, row in bars], [slow, [0.0] * len(slow)], fmt="none", ecolor="0.3")
    axes.set_xticks(range(len(groups)), [f"batch {batch}\nthreads {threads}" for batch, threads in groups])
    axes.set_ylabel("images a second (median; whisker to the 99th percentile)")
    axes.set_title(name)
    _ = figure.legend(loc="outside right upper", frameon=False, fontsize="small")
    FigureCanvasAgg(figure).print_png(path)
