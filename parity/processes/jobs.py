"""What a worker can be asked for, one class a job, each with the type of its answer; a JSON line each on the way.

What answers them is `parity.processes.session`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args

from parity.analysis.outline import Outline as Outlined
from parity.analysis.survey import Finding
from parity.errors import ParityError
from parity.json_codec import DecodeError, decode, encode
from parity.numerics.distance import Distance

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Job(Generic[Answer]):
    """Something a worker can be asked for; its argument is the type of the answer."""


@dataclass(frozen=True)
class Twin:
    """A network of the zoo; `num_classes` is None for the published number."""

    twin: str
    num_classes: int | None = None


@dataclass(frozen=True)
class Spec:
    """A network of the user's own: MODULE_OR_FILE.py:callable."""

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
        """Return what a manifest calls them."""
        return f"random, seed {self.seed}"


@dataclass(frozen=True)
class OwnWeights:
    """The weights that the network, or the file, comes with."""

    label: str = "own"


@dataclass(frozen=True)
class WeightsFile:
    """Weights in a file.

    Attributes:
        file: A .safetensors or .pdparams file.
        label: What a manifest calls them.
        framework: Whose names and orientation they have; None for what the file's ending says.
    """

    file: Path
    label: str
    framework: str | None = None


Weights = RandomWeights | OwnWeights | WeightsFile


@dataclass(frozen=True)
class Setup:
    """A network with its weights, where it is to run.

    Attributes:
        name: What to call it.
        network: What it is.
        weights: What it computes with.
        device: "auto", "cpu", "gpu", or what ONNX Runtime calls one.
        threads: Of one operator.
        family: Of a twin, whose layouts of names its weights may have.
    """

    name: str
    network: Network
    weights: Weights
    device: str
    threads: int
    family: str = ""


@dataclass(frozen=True)
class Trace(Job[None]):
    """Record a run of a network on the inputs (.npy files) to `path`; the worker keeps the network for later jobs."""

    setup: Setup
    inputs: tuple[Path, ...]
    path: Path
    gradients: bool = False


@dataclass(frozen=True)
class Prepare(Job[None]):
    """Build the network that is to be timed."""

    setup: Setup


@dataclass(frozen=True)
class Aim(Job[Mapping[str, str]]):
    """Get ready to run an input (.npy) in several ways; the answer says why not, by way, where one does not work."""

    input: Path
    ways: tuple[str, ...]


@dataclass(frozen=True)
class Turn(Job[tuple[float, ...]]):
    """Run one of the ways, once to warm the caches that others have used since, then timed; seconds of each."""

    way: str
    repeat: int


@dataclass(frozen=True)
class Multiply(Job[float]):
    """Multiply float32 matrices of `size` x `size`; the best rate in operations a second."""

    size: int


@dataclass(frozen=True)
class Layers(Job[tuple[tuple[str, str, dict[str, Any]], ...]]):
    """Describe a network's layers: dotted name, neutral kind, configuration; nothing is run."""

    network: Network


@dataclass(frozen=True)
class State(Job[None]):
    """Write the weights of the network of the last trace to `path`, a State's file."""

    path: Path


@dataclass(frozen=True)
class Replay(Job[tuple[tuple[str, int, Distance | str], ...]]):
    """Feed the layers of the network of the last trace the inputs recorded in another one: `parity.tracing.replay`."""

    reference: Path


@dataclass(frozen=True)
class Outline(Job[Outlined]):
    """Run a network once for its shapes, on an input (N, C, H, W): `parity.analysis.outline`."""

    network: Network
    shape: tuple[int, ...]
    threads: int


@dataclass(frozen=True)
class Survey(Job[tuple[Finding, ...]]):
    """Find what pooling makes of input sizes: `parity.analysis.survey`; `channels` None for what the network takes."""

    network: Network
    channels: int | None
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Shape(Job[tuple[int | None, ...]]):
    """Read the shape of an ONNX file's first input; None where it is open."""

    file: Path


@dataclass(frozen=True)
class Export(Job[Mapping[str, str]]):
    """Have the exporter write the network of the last trace; the names of its State by those in the file."""

    example: Path
    path: Path
    opset: int
    dynamic_size: bool


@dataclass(frozen=True)
class Outputs(Job[None]):
    """Write what the network of the last trace makes of inputs (.npy) in float64, as 0.npy, ... into their folders."""

    inputs: tuple[tuple[Path, Path], ...]


@dataclass(frozen=True)
class Read(Job[None]):
    """Write the tensors of a framework's own weights file again, as a State's file at `path`."""

    file: Path
    path: Path


JOBS: Mapping[str, type[Job[Any]]] = {kind.__name__: kind for kind in Job.__subclasses__()}


@dataclass(frozen=True)
class Progress:
    """A message of a worker at work: what it is at, how much is done, how much there is."""

    progress: tuple[str, int, int]


@dataclass(frozen=True)
class Done:
    """A worker's last message of a job: the answer."""

    done: Any


@dataclass(frozen=True)
class Failed:
    """A worker's last message of a job that it cannot do: a line that says why."""

    error: str


Message = Progress | Done | Failed


def to_line(job: Job[Any]) -> bytes:
    """Return the line of JSON that asks for a job."""
    return json.dumps({"do": type(job).__name__, **encode(job, strict=False)}).encode() + b"\n"


def from_line(line: bytes) -> Job[Any]:
    """Return the job a line asks for.

    Raises:
        ParityError: If it is none: which field is wrong, in one line.
    """
    try:
        found = json.loads(line)
        name = found.pop("do", None) if isinstance(found, dict) else None
        if not isinstance(name, str) or name not in JOBS:
            raise DecodeError(f"no such job: {name!a:.60}")
        return decode(JOBS[name], found, name)
    except ValueError as error:
        raise ParityError(f"mistaken job: {error}") from error


def answer(job: Job[Answer], found: Any) -> Answer:
    """Return a job's answer from what JSON made of it.

    Raises:
        ParityError: If it is of another type.
    """
    kind = type(job)
    hint = get_args(kind.__orig_bases__[0])[0]  # pyright: ignore[reportAttributeAccessIssue]
    try:
        return decode(hint, found, f"the answer to {kind.__name__}")
    except DecodeError as error:
        raise ParityError(f"mistaken answer: {error}") from error


def message(line: bytes) -> Message:
    """Return what a worker says on a line.

    Raises:
        ValueError: If it says nothing: something else, a wrapper around its interpreter, has printed this.
    """
    return decode(Message, json.loads(line))
