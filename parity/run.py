"""The main job: trace two models in two worker processes, judge the Traces, and on failure ask why."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from parity import jobs
from parity.atomic import atomic
from parity.atomic import check_writable as check_writable
from parity.checkpoint import framework_of
from parity.comparison import Comparison
from parity.errors import ParityError
from parity.explain import explained
from parity.judge import judge
from parity.outline import Outline
from parity.picture import load_input, parse_shape
from parity.record import input_digest
from parity.state import Array, State
from parity.temporary import temporary_folder
from parity.trace import Trace
from parity.workers import Worker, ask, wait
from parity.zoo import NETWORKS, near

SIDES = ("torch", "paddle")
Progress = Callable[[str, str, int, int], None]


@dataclass(frozen=True)
class Model:
    """What is to be run: a twin, a callable of the user's, or a recorded trace.

    Attributes:
        side: "torch", "paddle", "onnx", or "trace".
        target: A zoo name, MODULE_OR_FILE.py:callable, or the path of the ONNX file or the trace.
    """

    side: str
    target: str

    @property
    def twin(self) -> bool:
        """Return whether it is one of the zoo's networks."""
        return self.side in SIDES and ":" not in self.target


def parse_model(text: str) -> Model:
    """Return the model that `side:target` names.

    Raises:
        ParityError: If the side or the zoo name is unknown, with near matches, or the trace does not exist.
    """
    side, _, target = text.partition(":")
    if side in ("trace", "onnx"):
        if not Path(target).is_file():
            raise ParityError(f"{text}: no such file")
        return Model(side, target)
    if side not in SIDES or not target:
        raise ParityError(
            f"unknown model {text!r}; a model is a zoo name, torch:..., paddle:..., onnx:FILE or trace:FILE"
        )
    if ":" not in target and target not in NETWORKS:
        raise ParityError(unknown_network(target))
    return Model(side, target)


def parse_pair(model: str, candidate: str | None) -> tuple[str, tuple[Model, Model]]:
    """Return the comparison's name and its two models: a zoo name stands for torch's twin against Paddle's.

    Raises:
        ParityError: If either is unknown, or the second is missing or too many.
    """
    if ":" not in model:
        if model not in NETWORKS:
            raise ParityError(unknown_network(model))
        if candidate is not None:
            raise ParityError(f"{model} names both twins already; to choose sides write torch:{model} {candidate}")
        return model, (Model("torch", model), Model("paddle", model))
    if candidate is None:
        raise ParityError(f"{model}: against what? Name a second model: paddle:..., torch:..., onnx:FILE or trace:FILE")
    first, second = parse_model(model), parse_model(candidate)
    named = next((each.target for each in (first, second) if each.side in SIDES), Path(first.target).name)
    return named.rpartition(":")[2], (first, second)


def parse_export(model: str, only: str | None) -> tuple[str, tuple[Model, ...]]:
    """Return the export's name and its models: a zoo name stands for both twins, or the one of framework `only`.

    Raises:
        ParityError: If it is unknown, or of another framework than `only`.
    """
    if ":" not in model:
        name, pair = parse_pair(model, None)
        return name, tuple(each for each in pair if only in (None, each.side))
    found = parse_model(model)
    if found.side not in SIDES or only not in (None, found.side):
        raise ParityError(f"{model}: no network of {only or 'torch or paddle'}, which is what can be exported")
    return found.target.rpartition(":")[2], (found,)


def parse_single(text: str) -> Model:
    """Return the one network that is named: a zoo name stands for torch's twin.

    Raises:
        ParityError: If it is unknown, or a trace or an ONNX file.
    """
    if ":" not in text:
        if text not in NETWORKS:
            raise ParityError(unknown_network(text))
        return Model("torch", text)
    model = parse_model(text)
    if model.side not in SIDES:
        what = "a trace holds no network" if model.side == "trace" else "an ONNX file has no layers to call"
        raise ParityError(f"{text}: {what}; name a zoo name, torch:... or paddle:...")
    return model


def outline(model: Model, shape: str | None, options: Options, workers: Workers) -> Outline:
    """Return the outline (`parity.outline`) of a network at an input of `shape`, N,C,H,W, or the published one.

    Raises:
        ParityError: If the shape is none, or the network cannot take it.
    """
    published = NETWORKS[model.target].input if model.twin else (1, 3, 224, 224)
    numbers = published if shape is None else parse_shape(shape, published)
    job = jobs.Outline(network(model, options.num_classes), tuple(numbers), options.threads)
    return ask(workers.get(model.side), job, options.timeout)


def unknown_network(name: str) -> str:
    """Return the message for a name the zoo does not have, with near matches."""
    others = "torch:FILE.py:callable, paddle:FILE.py:callable, onnx:FILE, trace:FILE"
    return f"unknown network {name!r}; {near(name)} Or give {others}."


@dataclass(frozen=True)
class Options:
    """How to run two models.

    Attributes:
        weights: "random", "own", or a file.
        seed: Of the random weights.
        device: "auto", "cpu", "gpu", or what ONNX Runtime calls one: "cuda", "tensorrt".
        threads: Of each worker.
        timeout: Seconds for both runs together.
        pythons: Interpreter of each side.
        gradients: Whether to compare gradients too.
        values_only: Whether layers whose settings differ, and whose output on this input does not, pass.
        num_classes: Of a twin, None for the published number.
        save_trace: Folder to keep the Traces in.
    """

    weights: str = "random"
    seed: int = 0
    device: str = "auto"
    threads: int = 1
    timeout: float = 600.0
    pythons: Mapping[str, str] = field(default_factory=dict)
    gradients: bool = False
    values_only: bool = False
    num_classes: int | None = None
    save_trace: Path | None = None


def fair_share() -> int:
    """Return the threads for each of two workers on this machine."""
    return max(1, len(os.sched_getaffinity(0)) // 2 if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 2) // 2)


class Workers:
    """The worker processes of a session, each started when it is first needed and kept until the end."""

    def __init__(self, options: Options):
        self.options = options
        self._stack = contextlib.ExitStack()
        self._workers: dict[tuple[str, int], Worker] = {}

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def get(self, side: str, role: int = 0) -> Worker:
        """Return the worker of a side; `role` tells two models of the same framework apart."""
        if (side, role) not in self._workers:
            python = self.options.pythons.get(side) or sys.executable
            worker = Worker(side, python, self.options.threads)
            self._workers[side, role] = self._stack.enter_context(worker)
        return self._workers[side, role]

    def restart(self) -> None:
        """End all workers; those needed next are started anew."""
        self._stack.close()
        self._workers.clear()

    def log(self) -> str:
        """Return all that the frameworks have printed."""
        return "".join(worker.log() for worker in self._workers.values())


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
    """
    if options.num_classes is not None and not all(model.twin for model in models):
        raise ParityError("--num-classes is for networks of the zoo; a callable chooses its own")
    if options.save_trace is not None:
        check_folder(options.save_trace)
    same = models[0].side == models[1].side
    pool = [None if model.side == "trace" else workers.get(model.side, same * i) for i, model in enumerate(models)]
    live = [worker for worker in pool if worker is not None]
    with temporary_folder() as here:
        weights: jobs.Weights = jobs.OwnWeights()
        if live:
            np.save(here / "input.npy", load())
            weights = described_weights(options, workers, here)
        paths = [Path(model.target) if model.side == "trace" else here / f"{i}.trace" for i, model in enumerate(models)]
        for worker, model, path in zip(pool, models, paths, strict=True):
            if worker is not None:
                inputs = (here / "input.npy",)
                worker.submit(jobs.Trace(setup(name, model, weights, options), inputs, path, options.gradients))
        report = on_progress and (
            lambda worker, precision, done, total: on_progress(worker.side, precision, done, total)
        )
        _ = wait(live, options.timeout, report)
        if options.save_trace is not None:
            _keep(name, models, paths, options.save_trace)
        with Trace(paths[0]) as reference, Trace(paths[1]) as candidate:
            comparison = judge(name, reference, candidate, options.threads * len(live) or 1, options.values_only)
            if comparison.ok:
                return comparison
            return _explain(comparison, reference, candidate, pool, here, options)


def describe_models(models: Iterable[Model], workers: Workers) -> list[list[tuple[str, str, dict[str, Any]]]]:
    """Return each model's layers: dotted name, neutral kind, configuration; nothing is run.

    Raises:
        ParityError: If a model cannot be built, or is a trace or an ONNX file.
    """
    live: list[Worker] = []
    for role, model in enumerate(models):
        if model.side not in SIDES:
            raise ParityError(f"{model.side}:{model.target}: name a network that can be built: torch:... or paddle:...")
        worker = workers.get(model.side, role)
        worker.submit(jobs.Layers(network(model)))
        live.append(worker)
    return [list(layers) for layers in wait(live, workers.options.timeout)]


def _explain(
    comparison: Comparison, reference: Trace, candidate: Trace, pool: list[Worker | None], here: Path, options: Options
) -> Comparison:
    replayed, states = {}, None
    if pool[1] is not None and pool[1].side != "onnx":  # a file has no layers to call
        found = ask(pool[1], jobs.Replay(reference.path), options.timeout)
        replayed = {(layer, number): gap for layer, number, gap in found}
    both = [worker for worker in pool if worker is not None]
    files = any(worker.side == "onnx" for worker in both)  # whose weights go by other names
    if len(both) == 2 and not files and reference.manifest["state_sha256"] != candidate.manifest["state_sha256"]:
        kept = [here / f"{i}.state" for i in range(2)]
        for worker, file in zip(both, kept, strict=True):
            worker.submit(jobs.State(file))
        _ = wait(both, options.timeout)
        states = State.load(kept[0]), State.load(kept[1])
    return explained(comparison, reference, candidate, replayed, states)


def setup(name: str, model: Model, weights: jobs.Weights, options: Options) -> jobs.Setup:
    """Return what a job says of a model that is to run, with its weights and its device."""
    if model.side == "onnx":  # its weights are its own, and `weights` says which the other side is to have
        own = jobs.OwnWeights("the file's")
        return jobs.Setup(name, network(model), own, options.device, options.threads)
    # What ONNX Runtime tells apart is one GPU to a framework.
    device = "gpu" if options.device in ("cuda", "tensorrt") else options.device
    source = network(model, options.num_classes)
    if not model.twin:
        return jobs.Setup(name, source, weights, device, options.threads)
    return jobs.Setup(model.target, source, weights, device, options.threads, NETWORKS[model.target].family)


def network(model: Model, num_classes: int | None = None) -> jobs.Network:
    """Return what a job says of the network it is about; `num_classes` is for a twin."""
    if model.side == "onnx":
        return jobs.ModelFile(Path(model.target).resolve())
    return jobs.Twin(model.target, num_classes) if model.twin else jobs.Spec(model.target)


def input_shape(models: Iterable[Model], workers: Workers) -> tuple[int, int, int, int] | None:
    """Return the shape of the models' input, if a twin or a file tells it; 1 image of 224 x 224 where a file is free.

    Raises:
        ParityError: If a file cannot be read, or takes no pictures.
    """
    for model in models:
        if model.twin:
            return NETWORKS[model.target].input
    for i, model in enumerate(models):
        if model.side == "onnx":
            reader = workers.get("onnx", int(all(each.side == "onnx" for each in models)) * i)
            shape = ask(reader, jobs.Shape(Path(model.target)), workers.options.timeout)
            if len(shape) != 4 or shape[1] is None:
                return None
            return shape[0] or 1, shape[1], shape[2] or 224, shape[3] or 224
    return None


def described_weights(options: Options, workers: Workers, here: Path) -> jobs.Weights:
    """Return what a job says of the weights; a .pth file is read by the torch worker first, as only torch can."""
    if options.weights == "random":
        return jobs.RandomWeights(options.seed)
    if options.weights == "own":
        return jobs.OwnWeights()
    path = Path(options.weights)
    framework = framework_of(path)
    if framework != "torch":
        return jobs.WeightsFile(path.resolve(), path.name)
    plain = here / "weights.safetensors"
    ask(workers.get("torch"), jobs.Read(path.resolve(), plain), options.timeout)
    return jobs.WeightsFile(plain, path.name, framework)


def _keep(name: str, models: tuple[Model, Model], paths: list[Path], folder: Path) -> None:
    make_folder(folder)
    roles = ("reference", "candidate")
    for model, path, role in zip(models, paths, roles, strict=True):
        if model.side != "trace":
            label = model.side if models[0].side != models[1].side else role
            with atomic(folder / f"{Path(name).stem}.{label}.trace.safetensors") as part:
                _ = shutil.copyfile(path, part)


def compare_zoo(
    names: Iterable[str],
    options: Options,
    workers: Workers,
    folder: Path | None = None,
    on_progress: Progress | None = None,
) -> Iterator[Comparison | tuple[str, ParityError]]:
    """Yield the Comparison of each network's twins at its published input, or its name and what kept it from being run.

    The workers stay alive from one network to the next. With `folder`, each Comparison is kept there as NAME.json, and
    one that is there already, of the same weights and input, is not made again: a sweep goes on where it was stopped.
    """
    for name in names:
        try:
            image = load_input(None, NETWORKS[name].input)
            kept = None if folder is None else _kept(folder / f"{name}.json", options, image)
            if kept is None:
                kept = compare_models(
                    name,
                    (Model("torch", name), Model("paddle", name)),
                    lambda image=image: image,
                    options,
                    workers,
                    on_progress,
                )
                if folder is not None:
                    write_json(kept, folder / f"{name}.json")
            yield kept
        except ParityError as error:
            workers.restart()  # one of them may be dead, or busy still
            yield name, error


def _kept(path: Path, options: Options, image: Array) -> Comparison | None:
    try:
        found = Comparison.from_json(path.read_text())
    except (OSError, ValueError):
        return None
    wanted = {"weights": f"random, seed {options.seed}", "input_sha256": input_digest([image])}
    same = all(side.get(word) == value for side in (found.reference, found.candidate) for word, value in wanted.items())
    return found if same else None


def check_folder(folder: Path) -> None:
    """Fail before the work is done if a folder cannot be made or written; make nothing yet.

    Raises:
        ParityError: Naming what is in the way.
    """
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise ParityError(f"{folder}: cannot make the folder: {there} is no folder that can be written")


def make_folder(folder: Path) -> None:
    """Make a folder and those above it.

    Raises:
        ParityError: If it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ParityError(f"{folder}: cannot make the folder: {error.strerror}") from error


def write_json(comparison: Comparison, path: Path) -> None:
    """Write a comparison's JSON, whole or not at all.

    Raises:
        ParityError: If the file cannot be written.
    """
    with atomic(path) as part:
        _ = part.write_text(comparison.to_json() + "\n")
