"""`parity bench memory`: savings and cost of a DenseNet's `memory_efficient`."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer

from parity.commands.app import answers
from parity.commands.bench.turns import BASELINES, Row, check_twins, show, turns
from parity.commands.options import Json, Rounds, ZooNames
from parity.commands.outputs import check_outputs
from parity.errors import ParityError


@answers
def memory(
    models: ZooNames,
    batch: Annotated[int, typer.Option(min=1, help="Batch size.")] = 16,
    rounds: Rounds = 3,
    json: Json = None,
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
    show(("model", "backend", "MB", "saving MB", "ratio", "s", "saving s", "ratio"), _rows(models, batch, rounds), json)
    return True


def _rows(models: Sequence[str], batch: int, rounds: int) -> Iterator[Row]:
    from parity.zoo import NETWORKS

    for model, backend in itertools.product(models, ("torch", "paddle")):
        shape = ",".join(map(str, (batch, *NETWORKS[model].input[1:])))
        step = [sys.executable, str(BASELINES / "memory.py"), backend, model, shape]
        wall, peak = (list(medians.values()) for medians in turns({"0": [*step, "0"], "1": [*step, "1"]}, rounds))
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
