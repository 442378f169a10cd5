"""`parity bench memory`: savings and cost of a DenseNet's `memory_efficient`."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer

from parity.commands import options as opt
from parity.commands.app import answers
from parity.commands.bench.turns import BASELINES, OnProgress, Row, check_twins, show, turns
from parity.commands.outputs import check_outputs
from parity.errors import ParityError


@answers
def memory(
    models: opt.ZooNames,
    batch: Annotated[int, typer.Option(min=1, help="Batch size.")] = 16,
    rounds: opt.Rounds = 3,
    json: opt.Json = None,
) -> bool:
    """Compare training steps with and without saving memory: peak memory and time of the whole process.

    Only the DenseNets have this setting, `memory_efficient`.
    """
    from parity.zoo import NETWORKS

    check_outputs(json)
    check_twins(models)
    for model in models:
        if NETWORKS[model].family != "densenet" or model == "densenet_d2l":
            raise ParityError(f"{model} has no memory_efficient; the DenseNets except densenet_d2l have it")
    head = ("model", "backend", "MB", "saving MB", "ratio", "s", "saving s", "ratio")
    show("memory", head, lambda on_progress: _rows(models, batch, rounds, on_progress), json)
    return True


def _rows(models: Sequence[str], batch: int, rounds: int, on_progress: OnProgress) -> Iterator[Row]:
    from parity.zoo import NETWORKS

    for model, backend in itertools.product(models, ("torch", "paddle")):
        shape = ",".join(map(str, (batch, *NETWORKS[model].input[1:])))
        step = [sys.executable, str(BASELINES / "memory.py"), backend, model, shape]
        commands = {"plain": [*step, "0"], "saving": [*step, "1"]}
        medians = turns(commands, rounds, f"{model}, {backend}", on_progress)
        wall, peak = (list(each.values()) for each in medians)
        row = {
            "model": model,
            "side": backend,
            "batch": batch,
            "megabytes": peak,
            "memory_ratio": peak[1] / peak[0],
            "seconds": wall,
            "time_ratio": wall[1] / wall[0],
        }
        sizes = f"{peak[0]:.0f}", f"{peak[1]:.0f}", f"{row['memory_ratio']:.2f}"
        yield row, (model, backend, *sizes, f"{wall[0]:.2f}", f"{wall[1]:.2f}", f"{row['time_ratio']:.2f}")
