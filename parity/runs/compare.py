"""The main job: trace two models in two worker processes, judge the Traces, and on failure find the culprits."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from parity.atomic import atomic, check_folder, make_folder
from parity.atomic import check_writable as check_writable
from parity.errors import ParityError
from parity.judging.comparison import Comparison, Culprit
from parity.judging.explain import with_culprits
from parity.judging.judge import judge
from parity.judging.structure import check_map, paired_owners
from parity.judging.units import other_weights
from parity.numerics.arrays import Array
from parity.processes import jobs
from parity.processes.models import FRAMEWORKS, Model
from parity.processes.pool import Options, Workers
from parity.processes.questions import described_weights, network, setup, with_constants
from parity.processes.workers import Worker, ask, wait
from parity.runs.files import with_file_notes, with_free_sizes
from parity.runs.lower_precision import with_losses
from parity.runs.reasons import with_notes, with_order, with_overwriting
from parity.temporary import temporary_folder
from parity.tracing.inputs import Inputs
from parity.tracing.trace import Trace
from parity.weights.carried import fits
from parity.weights.state import State

# Called with a backend, the precision of its run, the layers done, and the layers there are.
OnProgress = Callable[[str, str, int, int], None]


def compare_models(
    name: str,
    models: tuple[Model, Model],
    load: Callable[[], Array | Inputs],
    options: Options,
    workers: Workers,
    on_progress: OnProgress | None = None,
) -> Comparison:
    """Return the Comparison of two models, the first held to be right.

    Args:
        name: What to call the comparison.
        models: Reference and candidate.
        load: Returns the input, or inputs by position or name; called while the workers import their frameworks.
        options: How to run them.
        workers: Where to run them.
        on_progress: Called as OnProgress says.

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
    _check(models, options)
    numbers = (0, 1) if models[0].backend == models[1].backend else (0, 0)  # two workers, even of one backend
    pool = [
        None if model.backend == "trace" else workers.get(model.backend, number)
        for model, number in zip(models, numbers, strict=True)
    ]
    busy = [worker for worker in pool if worker is not None]
    with temporary_folder() as folder:
        weights: jobs.Weights = jobs.OwnWeights()
        inputs, names = tuple[Path, ...](), tuple[str, ...]()
        if busy:
            inputs, names = _saved(load(), folder)
            weights = with_constants(described_weights(options), models, workers)
        paths = [
            Path(model.target) if model.backend == "trace" else folder / f"{i}.trace" for i, model in enumerate(models)
        ]
        both, layers = (weights, weights), options.layers
        if not isinstance(weights, jobs.OwnWeights) and all(model.backend in FRAMEWORKS for model in models):
            both = weights, _carried(name, models, weights, pool, inputs, names, folder, options)
        if isinstance(both[1], jobs.CarriedWeights):
            layers = both[1].layers
        for worker, model, path, own in zip(pool, models, paths, both, strict=True):
            if worker is not None:
                described = setup(name, model, own, options)
                worker.submit(jobs.Trace(described, inputs, path, options.gradients, names))
        report = on_progress and (
            lambda worker, precision, done, total: on_progress(worker.backend, precision, done, total)
        )
        _ = wait(busy, options.timeout, report)
        if options.save_trace is not None:
            _save_traces(name, models, paths, options.save_trace)
        with Trace(paths[0]) as reference, Trace(paths[1]) as candidate:
            comparison = judge(
                name, reference, candidate, options.threads * len(busy) or 1, options.values_only, layers
            )
            comparison = with_free_sizes(with_file_notes(comparison), models, pool, folder, options.timeout)
            if not comparison.ok and not comparison.culprits:
                comparison = _explained(comparison, reference, candidate, pool, folder, options)
            return with_notes(comparison)


def _carried(
    name: str,
    models: tuple[Model, Model],
    weights: jobs.Weights,
    pool: Sequence[Worker | None],
    inputs: tuple[Path, ...],
    names: tuple[str, ...],
    folder: Path,
    options: Options,
) -> jobs.Weights:
    """Return the candidate's weights: the same where names are the same, else the reference's, by structure."""
    if all(model.twin for model in models) and not options.layers:
        return weights
    workers = [worker for worker in pool if worker is not None]
    for worker, model in zip(workers, models, strict=True):
        worker.submit(jobs.Names(network(model, options.num_classes)))
    tensors = wait(workers, options.timeout)
    if tensors[0] == tensors[1] and not options.layers:
        return weights
    for worker, model in zip(workers, models, strict=True):
        worker.submit(jobs.Sketch(setup(name, model, jobs.OwnWeights(), options), inputs, names))
    original, port = wait(workers, options.timeout)
    check_map(options.layers, original.calls, port.calls)
    owners = paired_owners(original, port, options.layers)
    if not owners or (tensors[0].keys() == tensors[1].keys() and not fits(tensors[0], tensors[1], owners)):
        return weights  # whatever is said of names and shapes
    ask(workers[0], jobs.Prepare(setup(name, models[0], weights, options)), options.timeout)
    ask(workers[0], jobs.State(folder / "reference.weights"), options.timeout)
    return jobs.CarriedWeights(folder / "reference.weights", f"{weights.label}, carried by structure", owners)


def _saved(given: Array | Inputs, folder: Path) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Write the inputs to files; return these, and the inputs' names if they have any."""
    named = isinstance(given, Mapping)
    arrays = list(given.values()) if named else [given] if isinstance(given, np.ndarray) else list(given)
    paths = tuple(folder / f"input{i}.npy" for i in range(len(arrays)))
    for path, array in zip(paths, arrays, strict=True):
        np.save(path, array)
    return paths, tuple(given) if named else ()


def _check(models: tuple[Model, Model], options: Options) -> None:
    if options.num_classes is not None and not all(model.twin for model in models):
        raise ParityError("--num-classes is for networks of the zoo; a callable chooses its own")
    if options.save_trace is not None:
        check_folder(options.save_trace)


def _explained(
    comparison: Comparison,
    reference: Trace,
    candidate: Trace,
    pool: list[Worker | None],
    folder: Path,
    options: Options,
) -> Comparison:
    """Return a comparison that is not ok with its reasons."""
    file = pool[1]
    is_file = [manifest.get("framework") == "onnx" for manifest in (comparison.reference, comparison.candidate)]
    if any(is_file) and other_weights(reference, candidate):
        return _of_other_weights(comparison)
    if file is not None and comparison.candidate.get("grids") and not comparison.reference.get("grids"):
        return with_losses(comparison, reference, candidate, file, options.timeout)
    return _find_culprits(comparison, reference, candidate, pool, folder, options)


def _find_culprits(
    comparison: Comparison,
    reference: Trace,
    candidate: Trace,
    pool: list[Worker | None],
    folder: Path,
    options: Options,
) -> Comparison:
    replayed, states = {}, None
    if pool[1] is not None and pool[1].backend != "onnx":  # a file has no layers to call
        gaps = ask(pool[1], jobs.Replay(reference.path, comparison.partners), options.timeout)
        replayed = {(layer, number): gap for layer, number, gap in gaps}
    networks = [worker for worker in pool if worker is not None and worker.backend != "onnx"]  # a file renames weights
    if len(networks) == 2 and reference.manifest["state_sha256"] != candidate.manifest["state_sha256"]:
        paths = folder / "reference.state", folder / "candidate.state"
        for worker, path in zip(networks, paths, strict=True):
            worker.submit(jobs.State(path))
        _ = wait(networks, options.timeout)
        states = State.load(paths[0]), State.load(paths[1])
    explanation = with_culprits(comparison, reference, candidate, replayed, states)
    explanation = with_order(explanation, reference, candidate)

    def tried(side: int, limit: float) -> list[str]:
        worker = pool[side]
        if worker is None or worker.backend == "onnx":
            return []
        return list(ask(worker, jobs.Overwriting((candidate, reference)[side].path, limit), options.timeout))

    return with_overwriting(explanation, tried)


def _of_other_weights(comparison: Comparison) -> Comparison:
    """Return the comparison with the one thing to say of it: nothing is known of any layer."""
    manifests = comparison.reference, comparison.candidate
    given = next((each["weights"] for each in manifests if each.get("framework") != "onnx" and "weights" in each), "")
    whose = f"the ones given (weights: {given})" if given else "those of the other file"
    reason = f"the file's weights are not {whose}: name the right ones with --weights"
    return replace(comparison, first_divergence=None, culprits=(Culprit("", reason),))


def _save_traces(name: str, models: tuple[Model, Model], paths: list[Path], folder: Path) -> None:
    make_folder(folder)
    roles = ("reference", "candidate")
    for model, path, role in zip(models, paths, roles, strict=True):
        if model.backend != "trace":
            label = model.backend if models[0].backend != models[1].backend else role
            with atomic(folder / f"{Path(name).stem}.{label}.trace.safetensors") as temporary:
                _ = shutil.copyfile(path, temporary)


def write_json(comparison: Comparison, path: Path) -> None:
    """Write a comparison's JSON, completely or not at all.

    Raises:
        ParityError: If the file cannot be written.
    """
    with atomic(path) as temporary:
        _ = temporary.write_text(comparison.to_json() + "\n")
