"""`parity bench transfer`: the cost of `parity transfer`."""

from __future__ import annotations

import itertools
import os
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from parity.commands import options as opt
from parity.commands.app import answers
from parity.commands.bench.turns import OnProgress, Row, measured, show
from parity.commands.outputs import check_outputs
from parity.temporary import temporary_folder

_FORMATS = ("safetensors", "pth", "pdparams")


@answers
def transfer(
    models: opt.ZooNames,
    rounds: opt.Rounds = 5,
    folder: Annotated[Path | None, typer.Option(help="Folder for the files; by default a temporary one.")] = None,
    json: opt.Json = None,
) -> bool:
    """Compare `parity transfer` with `cp` of the same file, between every two formats.

    "all" is the whole process with the start of the interpreter and imports; "proper" is the conversion only.
    """
    check_outputs(json)
    times = "MB", "cp s", "all s", "of cp's speed", "proper s", "of cp's speed", "peak MB", "of the file"
    rows = lambda on_progress: _rows(models, rounds, folder, on_progress)
    show("transfer", ("model", "from", "to", *times), rows, json)
    return True


def _rows(models: Sequence[str], rounds: int, folder: Path | None, on_progress: OnProgress) -> Iterator[Row]:
    from parity.weights import blueprint
    from parity.weights.hardened import hardened_state
    from parity.weights.transfer import transfer as convert

    for model in models:
        slots = blueprint.slots(model)
        with temporary_folder(folder) as temporary:
            files = {kind: temporary / f"{model}.{kind}" for kind in _FORMATS}
            hardened_state(slots).save(files["safetensors"])
            for kind in _FORMATS[1:]:
                _ = convert(files["safetensors"], files[kind], model)
            pairs = list(itertools.permutations(_FORMATS, 2))
            for number, (source, target) in enumerate(pairs):
                on_progress(model, f".{source} to .{target}", number, len(pairs))
                medians = _medians(model, files[source], temporary / f"converted.{target}", rounds)
                yield _row(model, source, target, rounds, files[source].stat().st_size / 1e6, medians)


def _medians(model: str, source: Path, target: Path, rounds: int) -> dict[str, float]:
    """Return the median seconds of each way to copy a file, and the median peak memory of `parity transfer` in MB."""
    from parity.weights.transfer import transfer as convert

    command = [sys.executable, "-m", "parity", "transfer", str(source), str(target), "--model", model, "--quiet"]
    runs: dict[str, list[float]] = {"cp": [], "all": [], "proper": [], "peak": []}
    for _ in range(rounds):
        _make_equal(target)
        runs["cp"].append(measured(["cp", str(source), str(target)])[0])
        _make_equal(target)
        wall, peak = measured(command)
        runs["all"].append(wall)
        runs["peak"].append(peak)
        _make_equal(target)
        start = time.perf_counter()
        _ = convert(source, target, model)
        runs["proper"].append(time.perf_counter() - start)
    return {what: statistics.median(values) for what, values in runs.items()}


def _make_equal(target: Path) -> None:
    """Let each run find no target and no unwritten data.

    `cp` would write into the old file's memory, but an atomic write needs new memory beside the old file.
    """
    target.unlink(missing_ok=True)
    os.sync()


def _row(model: str, source: str, target: str, rounds: int, size: float, medians: Mapping[str, float]) -> Row:
    row = {
        "model": model,
        "from": source,
        "to": target,
        "rounds": rounds,
        "megabytes": size,
        "seconds": {what: medians[what] for what in ("cp", "all", "proper")},
        "speed_ratio": medians["cp"] / medians["all"],
        "speed_ratio_proper": medians["cp"] / medians["proper"],
        "peak_megabytes": medians["peak"],
        "memory_ratio": medians["peak"] / size,
    }
    ratios = f"{row['speed_ratio']:.2f}", f"{row['speed_ratio_proper']:.2f}"
    times = f"{medians['all']:.2f}", ratios[0], f"{medians['proper']:.2f}", ratios[1]
    memory = f"{medians['peak']:.0f}", f"{row['memory_ratio']:.2f}"
    return row, (model, source, target, f"{size:.0f}", f"{medians['cp']:.2f}", *times, *memory)
