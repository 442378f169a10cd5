"""`parity bench export`: the cost of `parity export`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from parity.commands import options as opt
from parity.commands.app import answers
from parity.commands.bench.turns import BASELINES, OnProgress, Row, check_twins, show, turns
from parity.commands.outputs import check_outputs
from parity.temporary import temporary_folder


@answers
def export(models: opt.ZooNames, rounds: opt.Rounds = 3, json: opt.Json = None) -> bool:
    """Compare `parity export` with the exporters alone, one process each; ours also proves its files."""
    check_outputs(json)
    check_twins(models)
    head = ("model", "torch's s", "Paddle's s", "parity export s", "ratio", "MB")
    show("export", head, lambda on_progress: _rows(models, rounds, on_progress), json)
    return True


def _rows(models: Sequence[str], rounds: int, on_progress: OnProgress) -> Iterator[Row]:
    baseline = str(BASELINES / "export.py")
    for model in models:
        with temporary_folder() as temporary:
            folder = str(temporary)
            commands = {
                "torch": [sys.executable, baseline, "torch", model, folder],
                "paddle": [sys.executable, baseline, "paddle", model, folder],
                "parity": [sys.executable, "-m", "parity", "export", model, "--out", folder, "--quiet"],
            }
            wall, memory = turns(commands, rounds, model, on_progress)
        ratio = wall["parity"] / (wall["torch"] + wall["paddle"])
        row = {"model": model, "rounds": rounds, "seconds": wall, "time_ratio": ratio, "megabytes": memory}
        yield row, (model, *(f"{value:.2f}" for value in (*wall.values(), ratio)), f"{memory['parity']:.0f}")
