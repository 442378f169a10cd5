"""Measure commands that take turns, and report a benchmark."""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from parity.commands.outputs import JsonFile
from parity.commands.terminal import ProgressBars, stdout

BASELINES = Path(__file__).parents[1] / "baselines"  # scripts: an import would load both frameworks here

Row = tuple[dict[str, Any], Sequence[str]]
# Called with what is measured, how, the number of runs done, and of all.
OnProgress = Callable[[str, str, int, int], None]


def check_twins(models: Iterable[str]) -> None:
    """Check that the zoo has every one of the names.

    Raises:
        ParityError: If it has not; with near matches.
    """
    from parity.processes.models import parse_pair

    for model in models:
        _ = parse_pair(model, None)


def show(verb: str, head: Sequence[str], rows: Callable[[OnProgress], Iterable[Row]], json: JsonFile | None) -> None:
    """Measure the rows, print them as a table, and write them to `json`.

    Args:
        verb: The name of the benchmark, for the progress.
        head: The table's headings.
        rows: Returns the JSON entry and the cells of each row; iterating measures them.
        json: The file for the numbers, if any.
    """
    table, measures = Table(*head, box=None), list[dict[str, Any]]()
    with ProgressBars(f"bench {verb}", quiet=False) as progress:
        for row, cells in rows(progress.update):
            measures.append(row)
            table.add_row(*cells)
    stdout().print(table)
    if json is not None:
        json.write({"schema": 1, "bench": verb, "rows": measures})


def turns(
    commands: Mapping[str, Sequence[str]],
    rounds: int,
    model: str,
    on_progress: OnProgress,
    exits: Mapping[str, int] | None = None,
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the median wall time in seconds and peak memory in MB of each command, all taking turns.

    Args:
        commands: By name.
        rounds: How often each is run.
        model: What is measured, for the progress.
        on_progress: Told of every run.
        exits: Exit codes that are expected, by name; 0 otherwise.

    Raises:
        RuntimeError: If a command ends with another exit code.
    """
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for turn in range(rounds):
        for number, (name, command) in enumerate(commands.items()):
            on_progress(model, f"runs {name}", turn * len(commands) + number, rounds * len(commands))
            runs[name].append(measured(command, (exits or {}).get(name, 0)))
    wall, memory = ({name: statistics.median(run[i] for run in each) for name, each in runs.items()} for i in (0, 1))
    return wall, memory


def measured(command: Sequence[str], expected: int = 0) -> tuple[float, float]:
    """Run a command and return its wall time in seconds and the peak memory of all its processes together in MB.

    Memory is resident set size, sampled every 10 ms, pages that processes share counted for each of them.
    """
    import psutil

    start, peak = time.perf_counter(), 0
    with tempfile.TemporaryFile() as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        tree = psutil.Process(process.pid)
        try:
            while process.poll() is None:
                total = 0
                try:
                    for each in [tree, *tree.children(recursive=True)]:
                        total += each.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
                peak = max(peak, total)
                time.sleep(0.01)
        except BaseException:  # we are to end: so is it, and it cleans up as we do
            process.terminate()
            raise
        wall = time.perf_counter() - start
        if process.returncode != expected:
            _ = log.seek(0)
            raise RuntimeError(f"{' '.join(command)}: exit {process.returncode}: {log.read().decode()[-500:]}")
    return wall, peak / 1e6
