"""Questions to workers about models, and the description of a model in a job."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from parity.analysis.outline import Outline
from parity.errors import ParityError
from parity.picture import parse_shape
from parity.processes import jobs
from parity.processes.models import FRAMEWORKS, Model
from parity.processes.pool import Options, Workers
from parity.processes.workers import Worker, ask, wait
from parity.weights.shards import one_file
from parity.weights.state import Slot
from parity.zoo import NETWORKS


def outline(model: Model, shape: str | None, options: Options, workers: Workers) -> Outline:
    """Return the outline (`analysis.outline`) of a network at an input of `shape`, N,C,H,W, or the published one.

    Raises:
        ParityError: If the shape is invalid, or the network cannot take it.
    """
    published = NETWORKS[model.target].input if model.twin else (1, 3, 224, 224)
    requested = published if shape is None else parse_shape(shape, published)
    job = jobs.Outline(network(model, options.num_classes), tuple(requested), options.threads)
    return ask(workers.get(model.backend), job, options.timeout)


def describe_models(
    models: Iterable[Model], workers: Workers, shape: str | None = None
) -> list[list[tuple[str, str, dict[str, Any]]]]:
    """Return each model's layers: dotted name, neutral kind, configuration; with a shape, the functions it calls too.

    Args:
        models: Networks that can be built.
        workers: Where to build them.
        shape: N,C,H,W of an input to run them on; None runs nothing.

    Raises:
        ParityError: If a model cannot be built or run, or is a trace or an ONNX file.
    """
    image = () if shape is None else tuple(parse_shape(shape, (1, 3, 224, 224)))
    asked: list[Worker] = []
    for role, model in enumerate(models):
        if model.backend not in FRAMEWORKS:
            raise ParityError(
                f"{model.backend}:{model.target}: name a network that can be built: torch:... or paddle:..."
            )
        worker = workers.get(model.backend, role)
        worker.submit(jobs.Layers(network(model), image))
        asked.append(worker)
    return [list(layers) for layers in wait(asked, workers.options.timeout)]


def slots_of(models: Sequence[Model], workers: Sequence[Worker], options: Options) -> list[Mapping[str, Slot]]:
    """Return the slots of networks, each built by its worker."""
    for worker, model in zip(workers, models, strict=True):
        worker.submit(jobs.Slots(network(model, options.num_classes)))
    return list(wait([*workers], options.timeout))


def with_constants(weights: jobs.Weights, slots: Iterable[Mapping[str, Slot]]) -> jobs.Weights:
    """Return the weights, of a file, with the names of the buffers that any of the networks has.

    What one network registers as a buffer, the other may have as a constant: then it lacks nothing.
    """
    if not isinstance(weights, jobs.WeightsFile):
        return weights
    found = [name for each in slots for name, slot in each.items() if slot.buffer]
    return replace(weights, constants=tuple(dict.fromkeys(found)))


def setup(name: str, model: Model, weights: jobs.Weights, options: Options) -> jobs.Setup:
    """Return the description of a model that runs, with its weights and its device."""
    if model.backend == "onnx":  # `weights` is for the other model: a file holds its own
        in_file = jobs.OwnWeights("the file's")
        return jobs.Setup(name, network(model), in_file, options.device, options.threads)
    # ONNX Runtime has two names for one GPU; a framework has one.
    device = "gpu" if options.device in ("cuda", "tensorrt") else options.device
    source = network(model, options.num_classes)
    if not model.twin:
        return jobs.Setup(name, source, weights, device, options.threads)
    return jobs.Setup(model.target, source, weights, device, options.threads, NETWORKS[model.target].family)


def network(model: Model, num_classes: int | None = None) -> jobs.Network:
    """Return the description of a network; `num_classes` is for a twin."""
    if model.backend == "onnx":
        return jobs.ModelFile(Path(model.target).resolve())
    return jobs.Twin(model.target, num_classes) if model.twin else jobs.Spec(model.target)


def input_shape(models: Iterable[Model], workers: Workers) -> tuple[int, int, int, int] | None:
    """Return the shape of the models' input, if a twin or a file states it; 1 image of 224 x 224 where a file is open.

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


def described_weights(options: Options) -> jobs.Weights:
    """Return the description of the weights.

    Raises:
        ParityError: If they are in a file that does not exist.
    """
    if options.weights == "random":
        return jobs.RandomWeights(options.seed)
    if options.weights == "own":
        return jobs.OwnWeights()
    path = one_file(Path(options.weights))
    return jobs.WeightsFile(path.resolve(), path.name, options.layout, options.key)
