"""`parity bench diagnosis`: what pairing by structure costs, and finding a reason."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from parity.commands.app import answers
from parity.commands.bench.turns import BASELINES, OnProgress, Row, show, turns
from parity.commands.options import Batches, Json, Rounds
from parity.commands.outputs import check_outputs

_CANDIDATES = {"same": 0, "renamed": 0, "wrong": 1}  # functions of baselines/resnet50.py: the exit code


@answers
def diagnosis(batch: Batches = None, rounds: Rounds = 5, json: Json = None) -> bool:
    """Time pairing by structure, and finding a reason.

    torchvision's ResNet-50 is compared with Paddle's as it is, with other names, and with other names and one mistake.
    """
    check_outputs(json)
    head = ("batch", "same names s", "other names s", "ratio", "one mistake s", "of other names")
    show("diagnosis", head, lambda on_progress: _rows(batch or [1], rounds, on_progress), json)
    return True


def _rows(batches: list[int], rounds: int, on_progress: OnProgress) -> Iterator[Row]:
    for n in batches:
        commands = {word: _command(word, n) for word in _CANDIDATES}
        wall, _ = turns(commands, rounds, f"batch {n}", on_progress, _CANDIDATES)
        pairing, failing = wall["renamed"] / wall["same"], wall["wrong"] / wall["renamed"]
        row = {"batch": n, "rounds": rounds, "seconds": wall, "pairing_ratio": pairing, "failing_ratio": failing}
        same, renamed, wrong = (f"{wall[word]:.2f}" for word in _CANDIDATES)
        yield row, (str(n), same, renamed, f"{pairing:.2f}", wrong, f"{failing:.2f}")


def _command(word: str, batch: int) -> list[str]:
    specs = ["torch:torchvision.models:resnet50", f"paddle:{BASELINES / 'resnet50.py'}:{word}"]
    return [sys.executable, "-m", "parity", "compare", *specs, "--input", f"{batch},3,224,224", "--quiet"]
