"""What workers are asked about models, and how a model is told to them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from parity.analysis.outline import Outline
from parity.atomic import check_writable as check_writable
from parity.errors import ParityError
from parity.picture import parse_shape
from parity.processes import jobs
from parity.processes.models import FRAMEWORKS, Model
from parity.processes.pool import Options, Workers
from parity.processes.workers import Worker, ask, wait
from parity.weights.checkpoint import framework_of
from parity.zoo import NETWORKS


def outline(model: Model, shape: str | None, options: Options, workers: Workers) -> Outline:
    """Return the outline (`analysis.outline`) of a network at an input of `shape`, N,C,H,W, or the published one.

    Raises:
        ParityError: If the shape is none, or the network cannot take it.
    """
    published = NETWORKS[model.target].input if model.twin else (1, 3, 224, 224)
    numbers = published if shape is None else parse_shape(shape, published)
    job = jobs.Outline(network(model, options.num_classes), tuple(numbers), options.threads)
    return ask(workers.get(model.backend), job, options.timeout)


def describe_models(models: Iterable[Model], workers: Workers) -> list[list[tuple[str, str, dict[str, Any]]]]:
    """Return each model's layers: dotted name, neutral kind, configuration; nothing is run.

    Raises:
        ParityError: If a model cannot be built, or is a trace or an ONNX file.
    """
    live: list[Worker] = []
    for role, model in enumerate(models):
        if model.backend not in FRAMEWORKS:
            raise ParityError(
                f"{model.backend}:{model.target}: name a network that can be built: torch:... or paddle:..."
            )
        worker = workers.get(model.backend, role)
        worker.submit(jobs.Layers(network(model)))
        live.append(worker)
    return [list(layers) for layers in wait(live, workers.options.timeout)]


def setup(name: str, model: Model, weights: jobs.Weights, options: Options) -> jobs.Setup:
    """Return what a job says of a model that is to run, with its weights and its device."""
    if model.backend == "onnx":  # its weights are its own, and `weights` says which the other side is to have
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
    if model.backend == "onnx":
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
        if model.backend == "onnx":
            reader = workers.get("onnx", int(all(each.backend == "onnx" for each in models)) * i)
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
