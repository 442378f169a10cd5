"""The jobs of a worker, one class each, with the type of the answer. A job travels as one line of JSON.

`parity.processes.session` does them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, get_args

from parity.analysis import outline
from parity.analysis.survey import SizeReport
from parity.backends.origin import Origin
from parity.errors import ParityError
from parity.json_codec import DecodeError, decode, encode
from parity.numerics.distance import Distance
from parity.tracing import sketch as sketches
from parity.weights.state import Slot

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Job(Generic[Answer]):
    """A job of a worker; the type argument is the type of the answer."""


@dataclass(frozen=True)
class Twin:
    """A network of the zoo; `num_classes` is None for the published number."""

    twin: str
    num_classes: int | None = None


@dataclass(frozen=True)
class Spec:
    """A user's network: MODULE_OR_FILE.py:callable."""

    spec: str


@dataclass(frozen=True)
class ModelFile:
    """An ONNX file."""

    file: Path


Network = Twin | Spec | ModelFile


@dataclass(frozen=True)
class RandomWeights:
    """Weights drawn from a seed."""

    seed: int

    @property
    def label(self) -> str:
        """Return their name in a manifest."""
        return f"random, seed {self.seed}"


@dataclass(frozen=True)
class OwnWeights:
    """The weights that the network, or the file, already has."""

    label: str = "own"


@dataclass(frozen=True)
class WeightsFile:
    """Weights in a file.

    Attributes:
        file: Of any kind that `parity.weights.checkpoint` reads.
        label: Their name in a manifest.
        framework: The one whose orientation they have; None: as the file shows.
        key: Which weights, where the file holds several.
        constants: Names that are buffers in one of the networks, and may lack in the other.
    """

    file: Path
    label: str
    framework: str | None = None
    key: str | None = None
    constants: tuple[str, ...] = ()


@dataclass(frozen=True)
class CarriedWeights:
    """Weights of the other network, whose layers have other names.

    Attributes:
        file: A State of the other network.
        label: Their name in a manifest.
        layers: This network's layer of each of the other's.
    """

    file: Path
    label: str
    layers: Mapping[str, str]


Weights = RandomWeights | OwnWeights | WeightsFile | CarriedWeights


@dataclass(frozen=True)
class Setup:
    """A network with its weights, and where it runs.

    Attributes:
        name: Its name in messages and manifests.
        network: The network.
        weights: Its weights.
        device: "auto", "cpu", "gpu", or ONNX Runtime's name of a device.
        threads: Number of threads of one operator.
        family: Family of a twin; the weights may use any layout of names of that family.
    """

    name: str
    network: Network
    weights: Weights
    device: str
    threads: int
    family: str = ""


@dataclass(frozen=True)
class Trace(Job[None]):
    """Record a run of a network on the inputs to `path`; the worker keeps the network and inputs for later jobs.

    Attributes:
        setup: The network.
        inputs: Files, .npy.
        path: Of the trace.
        gradients: Whether to record gradients too.
        names: Of the inputs; empty if they are given by position.
        mode: Of the network; of later jobs too.
    """

    setup: Setup
    inputs: tuple[Path, ...]
    path: Path
    gradients: bool = False
    names: tuple[str, ...] = ()
    mode: Literal["eval", "train"] = "eval"


@dataclass(frozen=True)
class Prepare(Job[None]):
    """Build the network whose time is measured."""

    setup: Setup


@dataclass(frozen=True)
class PrepareWays(Job[Mapping[str, str]]):
    """Prepare to run an input (.npy) in several ways; the answer gives the reason of each way that does not work."""

    input: Path
    ways: tuple[str, ...]


@dataclass(frozen=True)
class TimeWay(Job[tuple[float, ...]]):
    """Run one of the ways: once untimed, to warm the caches, then `repeat` times; the answer is the seconds of each."""

    way: str
    repeat: int


@dataclass(frozen=True)
class Multiply(Job[float]):
    """Multiply float32 matrices of `size` x `size`; the answer is the best rate in operations per second."""

    size: int


@dataclass(frozen=True)
class Layers(Job[tuple[tuple[str, str, dict[str, Any]], ...]]):
    """Describe a network's layers: dotted name, neutral kind, configuration.

    Nothing is run, unless `shape` is given: then an input of that shape, and the functions that are called are among
    the layers.
    """

    network: Network
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Slots(Job[Mapping[str, Slot]]):
    """Return the slots of a network's weights, by neutral name; nothing is run."""

    network: Network


@dataclass(frozen=True)
class State(Job[None]):
    """Write the weights of the network of the last trace to `path`, as a State file."""

    path: Path


@dataclass(frozen=True)
class LayerOrigin(Job[Origin]):
    """Say where a layer of the last trace's network comes from, and write its weights (.npz): `backends.origin`."""

    layer: str
    path: Path


@dataclass(frozen=True)
class Sketch(Job[sketches.Sketch]):
    """Sketch a network: `parity.tracing.sketch`.

    Attributes:
        setup: The network; its own weights will do.
        inputs: Files (.npy) of its inputs.
        names: Names of the inputs, if they have any.
        weights: Where the network's weights go, as a State file, if anywhere.
    """

    setup: Setup
    inputs: tuple[Path, ...]
    names: tuple[str, ...] = ()
    weights: Path | None = None


@dataclass(frozen=True)
class Replay(Job[tuple[tuple[str, int, Distance | str], ...]]):
    """Feed the layers of the network of the last trace the inputs recorded in another one: `parity.tracing.replay`."""

    reference: Path
    partners: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Overwriting(Job[tuple[str, ...]]):
    """Find in-place layers that make the last trace's network differ from another: `parity.tracing.overwriting`."""

    other: Path
    limit: float


@dataclass(frozen=True)
class FileOutputs(Job[None]):
    """Write the outputs of the ONNX file of the last trace on an input (.npy), by the runtime, as 0.npy, ..."""

    input: Path
    folder: Path


@dataclass(frozen=True)
class Losses(Job[tuple[tuple[float, float], ...]]):
    """Measure nodes of the ONNX file of the last trace alone, on a reference's inputs: see `onnx_backend.losses`.

    Attributes:
        reference: The reference's trace.
        pairs: Layer and number of the first node and of the last; names of the reference's input and output.
    """

    reference: Path
    pairs: tuple[tuple[str, int, str, int, str, str], ...]


@dataclass(frozen=True)
class Outline(Job[outline.Outline]):
    """Run a network once for its shapes, on an input (N, C, H, W): `parity.analysis.outline`."""

    network: Network
    shape: tuple[int, ...]
    threads: int


@dataclass(frozen=True)
class Survey(Job[tuple[SizeReport, ...]]):
    """Report how pooling behaves at input sizes: `parity.analysis.survey`; `channels` None: those of the network."""

    network: Network
    channels: int | None
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Shape(Job[tuple[int | None, ...]]):
    """Read the shape of an ONNX file's first input; None for an open dimension."""

    file: Path


@dataclass(frozen=True)
class Export(Job[Mapping[str, str]]):
    """Export the network of the last trace; the answer maps tensor names in the file to names in the State."""

    example: Path
    path: Path
    opset: int
    dynamic_size: bool


@dataclass(frozen=True)
class Outputs(Job[None]):
    """Write the float64 outputs of the network of the last trace on inputs (.npy) to their folders, as 0.npy, ..."""

    inputs: tuple[tuple[Path, Path], ...]


JOBS: Mapping[str, type[Job[Any]]] = {kind.__name__: kind for kind in Job.__subclasses__()}


@dataclass(frozen=True)
class Progress:
    """A message of a busy worker: the name of the step, how much is done, the total."""

    progress: tuple[str, int, int]


@dataclass(frozen=True)
class Done:
    """A worker's last message about a job: the answer."""

    done: Any


@dataclass(frozen=True)
class Failed:
    """A worker's last message about a job that failed: the reason, on one line."""

    error: str


Message = Progress | Done | Failed


def to_line(job: Job[Any]) -> bytes:
    """Return a job as one line of JSON."""
    return json.dumps({"do": type(job).__name__, **encode(job, strict=False)}).encode() + b"\n"


def from_line(line: bytes) -> Job[Any]:
    """Return the job in a line of JSON.

    Raises:
        ParityError: If the line is not a job; the message names the wrong field.
    """
    try:
        data = json.loads(line)
        name = data.pop("do", None) if isinstance(data, dict) else None
        if not isinstance(name, str) or name not in JOBS:
            raise DecodeError(f"no such job: {name!a:.60}")
        return decode(JOBS[name], data, name)
    except ValueError as error:
        raise ParityError(f"invalid job: {error}") from error


def answer(job: Job[Answer], data: Any) -> Answer:
    """Return a job's answer, decoded from JSON data.

    Raises:
        ParityError: If it has another type.
    """
    kind = type(job)
    hint = get_args(kind.__orig_bases__[0])[0]  # pyright: ignore[reportAttributeAccessIssue]
    try:
        return decode(hint, data, f"the answer to {kind.__name__}")
    except DecodeError as error:
        raise ParityError(f"invalid answer: {error}") from error


def message(line: bytes) -> Message:
    """Return the message in a line from a worker.

    Raises:
        ValueError: If the line is not a message; for example a wrapper around the interpreter has printed it.
    """
    return decode(Message, json.loads(line))
