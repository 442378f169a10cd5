"""`parity bench verify`: the cost of `parity compare`."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence

from parity.commands import options as opt
from parity.commands.app import answers
from parity.commands.bench.turns import BASELINES, OnProgress, Row, check_twins, show, turns
from parity.commands.outputs import check_outputs


@answers
def verify(models: opt.ZooNames, batch: opt.Batches = None, rounds: opt.Rounds = 5, json: opt.Json = None) -> bool:
    """Compare `parity compare` with the minimal work: both frameworks in one process, the same four forwards."""
    check_outputs(json)
    check_twins(models)  # all names, before hours of measuring
    head = ("model", "batch", "floor s", "compare s", "ratio", "floor MB", "compare MB", "ratio")
    show("verify", head, lambda on_progress: _rows(models, batch or [1], rounds, on_progress), json)
    return True


def _rows(models: Sequence[str], batches: Sequence[int], rounds: int, on_progress: OnProgress) -> Iterator[Row]:
    from parity.zoo import NETWORKS

    for model, n in itertools.product(models, batches):
        shape = ",".join(map(str, (n, *NETWORKS[model].input[1:])))
        commands = {
            "floor": [sys.executable, str(BASELINES / "compare.py"), model, shape],
            "compare": [sys.executable, "-m", "parity", "compare", model, "--input", shape, "--quiet"],
        }
        wall, memory = turns(commands, rounds, f"{model}, batch {n}", on_progress)
        row = {
            "model": model,
            "batch": n,
            "rounds": rounds,
            "seconds": wall,
            "time_ratio": wall["compare"] / wall["floor"],
            "megabytes": memory,
            "memory_ratio": memory["compare"] / memory["floor"],
        }
        times = f"{wall['floor']:.2f}", f"{wall['compare']:.2f}", f"{row['time_ratio']:.2f}"
        sizes = f"{memory['floor']:.0f}", f"{memory['compare']:.0f}", f"{row['memory_ratio']:.2f}"
        yield row, (model, str(n), *times, *sizes)
