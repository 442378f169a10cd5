"""The main job: trace two models in two worker processes, judge the Traces, and on failure ask why."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from parity.atomic import atomic, check_folder, make_folder
from parity.atomic import check_writable as check_writable
from parity.errors import ParityError
from parity.judging.comparison import Comparison
from parity.judging.explain import explained
from parity.judging.judge import judge
from parity.numerics.arrays import Array
from parity.processes import jobs
from parity.processes.models import Model
from parity.processes.pool import Options, Workers
from parity.processes.questions import described_weights, setup
from parity.processes.workers import Worker, ask, wait
from parity.temporary import temporary_folder
from parity.tracing.trace import Trace
from parity.weights.state import State

Progress = Callable[[str, str, int, int], None]


def compare_models(
    name: str,
    models: tuple[Model, Model],
    load: Callable[[], Array],
    options: Options,
    workers: Workers,
    on_progress: Progress | None = None,
) -> Comparison:
    """Return the Comparison of two models, the first held to be right.

    Args:
        name: What to call the comparison.
        models: Reference and candidate.
        load: Makes the input; called while the workers import their frameworks.
        options: How to run them.
        workers: Where to run them.
        on_progress: Called with side, precision, layers done, layers there are.

    Raises:
        ParityError: If either cannot be run.

    Example:
        >>> from parity.processes.models import parse_pair
        >>> name, models = parse_pair("lenet5", None)
        >>> options = Options()
        >>> with Workers(options) as workers:
        ...     result = compare_models(name, models, lambda: np.ones((1, 1, 28, 28), np.float32), options, workers)
        >>> name, result.ok
        ('lenet5', True)
    """
    if options.num_classes is not None and not all(model.twin for model in models):
        raise ParityError("--num-classes is for networks of the zoo; a callable chooses its own")
    if options.save_trace is not None:
        check_folder(options.save_trace)
    same = models[0].backend == models[1].backend
    pool = [
        None if model.backend == "trace" else workers.get(model.backend, same * i) for i, model in enumerate(models)
    ]
    live = [worker for worker in pool if worker is not None]
    with temporary_folder() as here:
        weights: jobs.Weights = jobs.OwnWeights()
        if live:
            np.save(here / "input.npy", load())
            weights = described_weights(options, workers, here)
        paths = [
            Path(model.target) if model.backend == "trace" else here / f"{i}.trace" for i, model in enumerate(models)
        ]
        for worker, model, path in zip(pool, models, paths, strict=True):
            if worker is not None:
                inputs = (here / "input.npy",)
                worker.submit(jobs.Trace(setup(name, model, weights, options), inputs, path, options.gradients))
        report = on_progress and (
            lambda worker, precision, done, total: on_progress(worker.backend, precision, done, total)
        )
        _ = wait(live, options.timeout, report)
        if options.save_trace is not None:
            _keep(name, models, paths, options.save_trace)
        with Trace(paths[0]) as reference, Trace(paths[1]) as candidate:
            comparison = judge(name, reference, candidate, options.threads * len(live) or 1, options.values_only)
            if comparison.ok:
                return comparison
            return _explain(comparison, reference, candidate, pool, here, options)


def _explain(
    comparison: Comparison, reference: Trace, candidate: Trace, pool: list[Worker | None], here: Path, options: Options
) -> Comparison:
    replayed, states = {}, None
    if pool[1] is not None and pool[1].backend != "onnx":  # a file has no layers to call
        found = ask(pool[1], jobs.Replay(reference.path), options.timeout)
        replayed = {(layer, number): gap for layer, number, gap in found}
    both = [worker for worker in pool if worker is not None]
    files = any(worker.backend == "onnx" for worker in both)  # whose weights go by other names
    if len(both) == 2 and not files and reference.manifest["state_sha256"] != candidate.manifest["state_sha256"]:
        kept = [here / f"{i}.state" for i in range(2)]
        for worker, file in zip(both, kept, strict=True):
            worker.submit(jobs.State(file))
        _ = wait(both, options.timeout)
        states = State.load(kept[0]), State.load(kept[1])
    return explained(comparison, reference, candidate, replayed, states)


def _keep(name: str, models: tuple[Model, Model], paths: list[Path], folder: Path) -> None:
    make_folder(folder)
    roles = ("reference", "candidate")
    for model, path, role in zip(models, paths, roles, strict=True):
        if model.backend != "trace":
            label = model.backend if models[0].backend != models[1].backend else role
            with atomic(folder / f"{Path(name).stem}.{label}.trace.safetensors") as part:
                _ = shutil.copyfile(path, part)


def write_json(comparison: Comparison, path: Path) -> None:
    """Write a comparison's JSON, whole or not at all.

    Raises:
        ParityError: If the file cannot be written.
    """
    with atomic(path) as part:
        _ = part.write_text(comparison.to_json() + "\n")
