"""`parity bench history`: a benchmark's ratios over time, and which became worse."""

from __future__ import annotations

import datetime
import io
import json
import math
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from parity.commands.app import answers
from parity.commands.say import say
from parity.errors import ParityError

EARLIER = 10  # runs that a ratio is compared with, the last ones
_FEWEST = 3  # runs that have a spread
_WHICH = ("model", "against", "side", "from", "to", "batch")  # what tells the rows of a run apart


@answers
def history(
    file: Annotated[Path, typer.Argument(metavar="HISTORY", help="A JSON-lines file; made if there is none.")],
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The JSON that a verb of bench wrote.")],
) -> bool:
    """Append a run's ratios, and tell which became worse.

    A ratio is worse if it is behind the median of its last 10 runs on such a machine by more than they differ
    themselves. Exit 0: none is; 1: some are; 2: nothing was appended.
    """
    entry = {
        "schema": 1,
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors",
        "ratios": ratios(run),
    }
    earlier = [each for each in read(file) if each["machine"] == entry["machine"]]
    try:
        with file.open("a", encoding="utf-8") as out:
            _ = out.write(json.dumps(entry) + "\n")
    except OSError as error:
        raise ParityError(f"{file}: cannot write: {error.strerror}. Name a file in a folder you may write.") from error
    found = worse(entry["ratios"], [each["ratios"] for each in earlier])
    for each in found:
        say(each.words())
    few = sum(sum(name in each["ratios"] for each in earlier) < _FEWEST for name in entry["ratios"])
    unknown = f"; {few} have fewer than {_FEWEST} earlier runs, and are not judged" if few else ""
    say(f"{len(entry['ratios'])} ratios appended to {file}, {len(found)} worse{unknown}")
    return not found


class Worse(NamedTuple):
    """A ratio that became worse.

    Attributes:
        name: Verb, row and ratio: "verify resnet50 batch=1: time_ratio".
        now: The ratio of this run.
        median: Of the earlier runs.
        spread: The greatest of the earlier runs less the least.
        runs: How many these are.
    """

    name: str
    now: float
    median: float
    spread: float
    runs: int

    def words(self) -> str:
        """Return a line for the report."""
        was = f"the median of {self.runs} runs is {self.median:.3g}, their spread {self.spread:.2g}"
        return f"worse: {self.name}: {self.now:.3g}; {was}"


def worse(now: Mapping[str, float], earlier: Sequence[Mapping[str, float]]) -> list[Worse]:
    """Return the ratios that are behind the median of their earlier runs by more than those differ.

    Args:
        now: This run's ratios by name; of one whose name has "speed" more is better, of the others less.
        earlier: Those of earlier runs, oldest first; the last 10 that have the ratio count, and 3 are needed.
    """
    found = []
    for name, ratio in now.items():
        before = [run[name] for run in earlier if name in run][-EARLIER:]
        if len(before) < _FEWEST:
            continue
        median, spread = statistics.median(before), max(before) - min(before)
        behind = median - ratio if "speed" in name.rpartition(": ")[2] else ratio - median
        if behind > spread:
            found.append(Worse(name, ratio, median, spread, len(before)))
    return found


def ratios(run: Path) -> dict[str, float]:
    """Return the ratios of a file that a verb of bench wrote, by verb, row and name.

    Raises:
        ParityError: If it is no such file, or has no ratios.
    """
    try:
        content = json.loads(run.read_text(encoding="utf-8"))
        found = {
            f"{content['bench']} {_row(row)}: {name}": _finite(value)
            for row in content["rows"]
            for name, value in row.items()
            if "_ratio" in name
        }
    except OSError as error:
        raise ParityError(f"{run}: cannot read: {error.strerror}.") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ParityError(f"{run}: not what a verb of `parity bench` writes with --json. Write it anew.") from error
    if not found:
        raise ParityError(f"{run}: it has no ratios; those of `parity bench verify`, `transfer` and others have.")
    return found


def _row(row: Mapping[str, Any]) -> str:
    return " ".join(str(row[key]) if key == "model" else f"{key}={row[key]}" for key in _WHICH if key in row)


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"no ratio: {value!r}")
    return float(value)


def read(file: Path) -> list[dict[str, Any]]:
    """Return the entries of a history, oldest first; none of a file that does not exist.

    Raises:
        ParityError: If it cannot be read, or a line is damaged; with the line's number.
    """
    try:
        text = file.read_bytes().decode(errors="replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ParityError(f"{file}: cannot read: {error.strerror}.") from error
    return [_entry(file, number, line) for number, line in enumerate(io.StringIO(text, newline="\n"), 1)]


def _entry(file: Path, number: int, line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
        whole = line.endswith("\n") and entry["schema"] == 1 and isinstance(entry["machine"], str)
        entry["ratios"] = {name: _finite(value) for name, value in entry["ratios"].items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        whole, entry = False, {}
    if not whole:
        raise ParityError(f"{file}: line {number} is damaged: no entry of `parity bench history`. Remove that line.")
    return entry
