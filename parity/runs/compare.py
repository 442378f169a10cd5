"""The main job: trace two models in two worker processes, judge the Traces, and on failure find the culprits."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from parity.atomic import atomic, check_folder, make_folder
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
from parity.processes.questions import described_weights, setup, slots_of, with_constants
from parity.processes.workers import Worker, answers, ask, wait
from parity.repro.folder import FindOrigin, check_repro, with_repro
from parity.runs.files import with_file_notes, with_free_sizes
from parity.runs.lower_precision import with_losses
from parity.runs.reasons import with_notes, with_order, with_overwriting
from parity.temporary import temporary_folder
from parity.tracing.inputs import Inputs
from parity.tracing.sketch import Sketch
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
            weights = described_weights(options)
        paths = [
            Path(model.target) if model.backend == "trace" else folder / f"{i}.trace" for i, model in enumerate(models)
        ]
        layers = options.layers
        networks = all(model.backend in FRAMEWORKS for model in models)
        twins = all(model.twin for model in models)  # of the same names
        each: Iterable[tuple[int, jobs.Weights]] = enumerate((weights, weights))
        if networks and not isinstance(weights, jobs.OwnWeights) and (layers or not twins):
            each = _by_structure(name, models, weights, busy, (inputs, names), folder, options)
        for role, own in each:
            if isinstance(own, jobs.CarriedWeights):
                layers = own.layers
            worker = pool[role]
            if worker is not None:
                described = setup(name, models[role], own, options)
                worker.submit(jobs.Trace(described, inputs, paths[role], options.gradients, names, options.mode))
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
                comparison = _explained(comparison, reference, candidate, pool, folder, options, on_progress)
            comparison = with_notes(comparison)
            return (
                comparison if options.repro is None else _reproduced(comparison, reference, candidate, pool[1], options)
            )


def _by_structure(
    name: str,
    models: tuple[Model, Model],
    weights: jobs.Weights,
    workers: list[Worker],
    inputs: tuple[tuple[Path, ...], tuple[str, ...]],
    folder: Path,
    options: Options,
) -> Iterator[tuple[int, jobs.Weights]]:
    """Yield the place and weights of both: the candidate's are the same where names are, else by structure.

    Those of the reference depend on no pairing: they come as soon as its worker is free, so that it need not wait.
    """
    slots = slots_of(models, workers, options)
    weights = with_constants(weights, slots)
    shapes = [{key: slot.shape for key, slot in each.items() if not slot.buffer} for each in slots]
    if shapes[0] == shapes[1] and not options.layers:
        yield from enumerate((weights, weights))
        return
    path, sketches = folder / "reference.weights", dict[Worker, Sketch]()
    for worker, model, own, file in zip(workers, models, (weights, jobs.OwnWeights()), (path, None), strict=True):
        worker.submit(jobs.Sketch(setup(name, model, own, options), *inputs, file))
    for worker, sketch in answers(workers, options.timeout):
        sketches[worker] = sketch
        if worker is workers[0]:
            yield 0, weights
    original, port = (sketches[worker] for worker in workers)
    check_map(options.layers, original.calls, port.calls)
    owners = paired_owners(original, port, options.layers)
    if not owners or (shapes[0].keys() == shapes[1].keys() and not fits(shapes[0], shapes[1], owners)):
        yield 1, weights  # whatever is said of names and shapes
    else:
        yield 1, jobs.CarriedWeights(path, f"{weights.label}, carried by structure", owners)


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
    if options.repro is not None:
        check_repro(options.repro)


def _reproduced(
    comparison: Comparison, reference: Trace, candidate: Trace, worker: Worker | None, options: Options
) -> Comparison:
    """Return the comparison with a note on the folder that reproduces its first culprit."""
    assert options.repro is not None
    find: FindOrigin = None
    if worker is not None and worker.backend != "onnx":
        found = worker
        find = lambda layer, path: ask(found, jobs.LayerOrigin(layer, path), options.timeout)
    return with_repro(comparison, reference, candidate, find, options.repro)


def _explained(
    comparison: Comparison,
    reference: Trace,
    candidate: Trace,
    pool: list[Worker | None],
    folder: Path,
    options: Options,
    on_progress: OnProgress | None,
) -> Comparison:
    """Return a comparison that is not ok with its reasons."""
    file = pool[1]
    is_file = [manifest.get("framework") == "onnx" for manifest in (comparison.reference, comparison.candidate)]
    if any(is_file) and other_weights(reference, candidate):
        return _of_other_weights(comparison)
    if file is not None and comparison.candidate.get("grids") and not comparison.reference.get("grids"):
        return with_losses(comparison, reference, candidate, file, options.timeout)
    replayed, states = {}, None
    if pool[1] is not None and pool[1].backend != "onnx":  # a file has no layers to call
        gaps = ask(pool[1], jobs.Replay(reference.path, comparison.partners), options.timeout)
        replayed = {(layer, number): gap for layer, number, gap in gaps}
    networks = [worker for worker in pool if worker is not None and worker.backend != "onnx"]  # a file renames weights
    if len(networks) == 2:
        same = reference.manifest["state_sha256"] == candidate.manifest["state_sha256"]
        paths = [folder / "reference.state", folder / "candidate.state"][: 1 if same else 2]
        asked = networks[: len(paths)]
        for worker, path in zip(asked, paths, strict=True):
            worker.submit(jobs.State(path))
        _ = wait(asked, options.timeout)
        states = State.load(paths[0]), State.load(paths[-1])
    on_try = on_progress and (lambda words, done, total: on_progress("reasons:", f"trying {words}", done, total))
    explanation = with_culprits(comparison, reference, candidate, replayed, states, on_try)
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
