"""`parity bench export`: the cost of `parity export`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from tempfile import TemporaryDirectory

from parity.commands.app import answers
from parity.commands.bench.turns import BASELINES, Row, check_twins, show, turns
from parity.commands.options import Json, Rounds, ZooNames
from parity.commands.outputs import check_outputs


@answers
def export(models: ZooNames, rounds: Rounds = 3, json: Json = None) -> bool:
    """Compare `parity export` with the exporters alone, one process each; ours also proves its files."""
    check_outputs(json)
    check_twins(models)
    show(("model", "torch's s", "Paddle's s", "parity export s", "ratio", "MB"), _rows(models, rounds), json)
    return True


def _rows(models: Sequence[str], rounds: int) -> Iterator[Row]:
    baseline = str(BASELINES / "export.py")
    for model in models:
        with TemporaryDirectory(prefix="parity-bench-") as folder:
            commands = {
                "torch": [sys.executable, baseline, "torch", model, folder],
                "paddle": [sys.executable, baseline, "paddle", model, folder],
                "parity": [sys.executable, "-m", "parity", "export", model, "--out", folder, "--quiet"],
            }
            wall, memory = turns(commands, rounds)
        ratio = wall["parity"] / (wall["torch"] + wall["paddle"])
        row = {"model": model, "rounds": rounds, "seconds": wall, "time_ratio": ratio, "megabytes": memory}
        yield row, (model, *(f"{value:.2f}" for value in (*wall.values(), ratio)), f"{memory['parity']:.0f}")
