"""`parity bench forward`: the speed of the twins and of the original networks."""

from __future__ import annotations

import itertools
import json as jsonlib
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence

from parity.commands import options as opt
from parity.commands.app import answers
from parity.commands.bench.turns import BASELINES, OnProgress, Row, show
from parity.commands.outputs import check_outputs
from parity.errors import ParityError

_PROJECTS = {"torch": "torchvision", "paddle": "paddle.vision"}


@answers
def forward(models: opt.ZooNames, rounds: opt.Rounds = 20, json: opt.Json = None) -> bool:
    """Compare each twin's forward with torchvision's, and with paddle.vision's where it is the same network."""
    from parity.weights.names import check_layout
    from parity.zoo import NETWORKS, near

    check_outputs(json)
    for model in models:
        if model not in NETWORKS:
            raise ParityError(f"unknown network {model!r}; {near(model)}")
        check_layout(model, "torchvision")
    head = ("model", "original", "original ms", "twin ms", "ratio")
    show("forward", head, lambda on_progress: _rows(models, rounds, on_progress), json)
    return True


def _rows(models: Sequence[str], rounds: int, on_progress: OnProgress) -> Iterator[Row]:
    from parity.weights.names import check_layout

    pairs = list(itertools.product(models, _PROJECTS.items()))
    for number, (model, (framework, project)) in enumerate(pairs):
        on_progress(model, f"against {project}, {rounds} rounds", number, len(pairs))
        try:
            check_layout(model, project)
        except ParityError:
            continue  # paddle.vision has no such network, or another one
        command = [sys.executable, str(BASELINES / "forward.py"), framework, model, str(rounds)]
        one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=one_thread)
        if done.returncode:
            raise ParityError(f"{model}: {project} cannot be run: {done.stderr.strip().splitlines()[-1]}")
        seconds = jsonlib.loads(done.stdout[done.stdout.rindex("{") :])
        twin, original = (statistics.median(seconds[which]) for which in ("twin", "original"))
        row = {
            "model": model,
            "against": project,
            "rounds": rounds,
            "seconds": {"theirs": original, "twin": twin},
            "time_ratio": twin / original,
        }
        yield row, (model, project, f"{original * 1e3:.1f}", f"{twin * 1e3:.1f}", f"{twin / original:.3f}")
