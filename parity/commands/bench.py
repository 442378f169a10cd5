"""`parity bench`: what the project's own work costs, as ratios measured in one run."""

from __future__ import annotations

import json as jsonlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from parity.commands.app import app, run

bench = typer.Typer(no_args_is_help=True, help="Measure the project's own work, as ratios in one run.")
app.add_typer(bench, name="bench")


def measured(command: Sequence[str]) -> tuple[float, float]:
    """Run a command and return its wall time in seconds and the peak memory of all its processes together in MB.

    Memory is resident set size, sampled every 10 ms, pages that processes share counted for each of them.
    """
    import psutil

    start, peak = time.perf_counter(), 0
    with tempfile.TemporaryFile() as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        tree = psutil.Process(process.pid)
        while process.poll() is None:
            total = 0
            try:
                for each in [tree, *tree.children(recursive=True)]:
                    total += each.memory_info().rss
            except psutil.NoSuchProcess:
                continue
            peak = max(peak, total)
            time.sleep(0.01)
        wall = time.perf_counter() - start
        if process.returncode:
            _ = log.seek(0)
            raise RuntimeError(f"{' '.join(command)}: exit {process.returncode}: {log.read().decode()[-500:]}")
    return wall, peak / 1e6


@bench.command()
def verify(
    models: Annotated[list[str], typer.Argument(help="Zoo names.")],
    batch: Annotated[list[int] | None, typer.Option(min=1, help="Images at a time; may be repeated.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each, taking turns; medians are shown.")] = 5,
    json: Annotated[Path | None, typer.Option(help="Write the numbers to this file.")] = None,
) -> None:
    """Hold `parity compare` against the bare floor: both frameworks in one process, the same four forwards."""

    def work() -> bool:
        from rich.table import Table

        from parity.commands import floor
        from parity.commands.terminal import stdout
        from parity.run import check_writable, parse_pair
        from parity.zoo import NETWORKS

        if json is not None:
            check_writable(json)
        table = Table("model", "batch", "floor s", "compare s", "ratio", "floor MB", "compare MB", "ratio", box=None)
        found: list[dict[str, Any]] = []
        for model in models:
            _ = parse_pair(model, None)
            for n in batch or [1]:
                shape = ",".join(map(str, (n, *NETWORKS[model].input[1:])))
                commands = {
                    "floor": [sys.executable, str(floor.__file__), model, shape],
                    "compare": [sys.executable, "-m", "parity", "compare", model, "--input", shape, "--quiet"],
                }
                runs: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
                for _ in range(rounds):
                    for name, command in commands.items():
                        runs[name].append(measured(command))
                wall = {name: statistics.median(run[0] for run in taken) for name, taken in runs.items()}
                memory = {name: statistics.median(run[1] for run in taken) for name, taken in runs.items()}
                row = {
                    "model": model,
                    "batch": n,
                    "rounds": rounds,
                    "seconds": wall,
                    "time_ratio": wall["compare"] / wall["floor"],
                    "megabytes": memory,
                    "memory_ratio": memory["compare"] / memory["floor"],
                }
                found.append(row)
                times = f"{wall['floor']:.2f}", f"{wall['compare']:.2f}", f"{row['time_ratio']:.2f}"
                sizes = f"{memory['floor']:.0f}", f"{memory['compare']:.0f}", f"{row['memory_ratio']:.2f}"
                table.add_row(model, str(n), *times, *sizes)
        stdout().print(table)
        if json is not None:
            _ = json.write_text(jsonlib.dumps(found, indent=1) + "\n")
        return True

    run(work)
