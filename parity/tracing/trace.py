"""Trace: every call of a layer or a function of one run, with its inputs and outputs; a safetensors file.

The file holds each tensor of the float64 run once, however many layers share it. Of the float32 run it holds only what
the verdicts need: for each output its noise (the distance to the same network's float64 run) and a digest of its bits.
Both are computed during the run, so the float32 activations are never all in memory or on disk.
"""

from __future__ import annotations

import functools
import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from parity import layers
from parity.errors import ParityError
from parity.json_codec import DecodeError, decode, encode
from parity.numerics.arrays import Array
from parity.numerics.distance import Distance
from parity.numerics.fingerprint import fingerprint
from parity.safetensors_file import FORMAT_NAMES, NUMPY_DTYPES, Scratch, Writer, read_header

# 2: Paddle's float64 is exact, outputs have keys. A trace of schema 1 holds errors that no allowance covers now.
# 3: functions are calls too, and each tensor has a fingerprint.
SCHEMA = 3


@dataclass(frozen=True)
class Noise(Distance):
    """The float32 run's output against the float64 run's, and the SHA-256 of its bytes."""

    digest: str = ""


@dataclass(frozen=True)
class Call:
    """One call of one layer or function.

    Attributes:
        layer: Dotted path; "" is the network itself. Of a function the path of the layer whose code calls it, and its
            name: "layer1.0.add()".
        number: 0 for the layer's first call in the run.
        kind: Neutral kind, "Conv2d"; for a layer of the user's own, its class.
        leaf: Whether no other call was recorded within it.
        config: Configuration in neutral words, "stride": [2, 2].
        inputs: Names of its float64 inputs in the file.
        outputs: Names of its float64 outputs in the file.
        noise: For each output, its float32 noise.
        terms: Length of the longest sum in one output element: fan-in, or elements pooled.
        replayable: Whether it was called with tensors only, so that it can be called again with recorded ones.
        gradients: Names of the float64 gradients, by "output 0", "weight", and "input 0" of what no recorded call has
            returned; empty unless asked for.
        gradient_noise: The float32 noise of each.
        known_error: The error that the backend knows its own float64 to have here, as a distance; else 0.
        labels: The key of each output where the network returns a mapping: "out", "aux.0"; else empty.
        weights: Neutral shapes of the tensors that the layer itself owns, by role; of those that code gives to a
            function, by name.
        kernel: The peaks of its weight, where it sums products of weights: `parity.numerics.peaks`.
        unreached: Labels, as those of `gradients`, of what no gradient reaches.
        detached: Labels of its inputs and outputs that have no gradient by themselves: detached, or computed without.
        statistics: Names of its running statistics after the call, by "running_mean"; recorded in training mode.
        statistics_before: Likewise, before the call.
        statistics_noise: The float32 noise of `statistics`.
        frozen: Its parameters that are not trained, if gradients were asked for.
    """

    layer: str
    number: int
    kind: str
    leaf: bool
    config: Mapping[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    noise: tuple[Noise, ...]
    terms: int
    replayable: bool
    gradients: Mapping[str, str]
    gradient_noise: Mapping[str, Noise]
    known_error: float = 0.0
    labels: tuple[str, ...] = ()
    kernel: tuple[int, ...] = ()
    weights: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    unreached: tuple[str, ...] = ()
    detached: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    statistics: Mapping[str, str] = field(default_factory=dict)
    statistics_before: Mapping[str, str] = field(default_factory=dict)
    statistics_noise: Mapping[str, Noise] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, int]:
        """Return layer and number, which pair this call with one of another trace."""
        return self.layer, self.number


class Trace:
    """A recorded run, read from its file: tensors are loaded when asked for.

    Attributes:
        manifest: Framework, versions, device, dtype, threads, flags, and hashes of weights and input.
        calls: Every call of a layer and of a function, in the order in which the calls ended.
        fingerprints: Of each tensor, see `fixed_random.fingerprint`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     writer = TraceWriter(f"{folder}/run")  # as recording a network does
        ...     name = writer.add(np.array([[0.0, 2.0]]))
        ...     call = Call("act", 0, "ReLU", True, {}, (name,), (name,), (Noise(0.0),), 1, True, {}, {})
        ...     writer.close({"framework": "none"}, [call])
        ...     with Trace(f"{folder}/run") as trace:
        ...         for call in trace.calls:
        ...             print(call.layer, call.kind, trace.tensor(call.outputs[0]))
        act ReLU [[0. 2.]]
    """

    def __init__(self, path: str | os.PathLike[str]):
        """Open a trace file.

        Raises:
            ParityError: If it is missing, damaged, no trace, or of a schema this version does not read.
        """
        self.path = Path(path)
        self._start, self._entries, metadata = read_header(path)
        if "parity_trace" not in metadata:
            raise ParityError(f"{path}: a safetensors file, but no trace. Record one with --save-trace.")
        try:
            header = json.loads(metadata["parity_trace"])
            schema = header.get("schema") if isinstance(header, dict) else None
            if schema != SCHEMA:
                raise ParityError(
                    f"{path}: trace of schema {schema!r:.20}, this version reads {SCHEMA}. Record it anew."
                )
            content = decode(_Header, header)
            if missing := sorted(self._entries.keys() - content.fingerprints.keys()):
                raise DecodeError(f"fingerprints: none for {missing[0]!a:.40}")
            for i, call in enumerate(content.calls):
                if problem := _problem(call, self._entries):
                    raise DecodeError(f"calls[{i}].{problem}")
        except (ValueError, RecursionError) as error:
            raise ParityError(f"{path}: damaged trace: {error}. Record it anew.") from error
        self.manifest: dict[str, Any] = dict(content.manifest)
        self.calls: list[Call] = list(content.calls)
        self.fingerprints: Mapping[str, float] = content.fingerprints
        self._file = self.path.open("rb", buffering=0)

    def __enter__(self) -> Trace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def tensor(self, name: str, scratch: Scratch | None = None) -> Array:
        """Return one tensor of the float64 run, by its name in a Call; in the scratch's memory if one is given."""
        return (scratch or Scratch()).read(self._file.fileno(), self._start, self._entries[name])

    @functools.cached_property
    def readers(self) -> Mapping[str, list[Call]]:
        """The innermost calls that read each tensor, by its name, in their order; an empty list for what none reads."""
        readers = defaultdict[str, list[Call]](list)
        for call in self.calls:
            for name in dict.fromkeys(call.inputs if call.leaf else ()):
                readers[name].append(call)
        return readers

    def only_reader(self, call: Call) -> Call | None:
        """Return the innermost call that alone reads a call's first output; None if there are several or none."""
        readers = self.readers[call.outputs[0]]
        return readers[0] if len(readers) == 1 else None

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape without loading it."""
        return tuple(self._entries[name]["shape"])

    def dtype(self, name: str) -> np.dtype[Any]:
        """Return a tensor's dtype without loading it."""
        return np.dtype(NUMPY_DTYPES[self._entries[name]["dtype"]])


@dataclass(frozen=True)
class _Header:
    """The content of a trace's metadata entry `parity_trace`, which is JSON."""

    schema: int
    manifest: Mapping[str, Any]
    calls: tuple[Call, ...]
    fingerprints: Mapping[str, float]


def _problem(call: Call, entries: Mapping[str, Any]) -> str:
    """Return the first field of a call that no run can have recorded, and its value; "" if there is none."""
    for word in ("inputs", "outputs", "gradients", "statistics", "statistics_before"):
        names = getattr(call, word)
        for name in names.values() if isinstance(names, Mapping) else names:
            if name not in entries:
                return f"{word}: the file holds no tensor {name!a:.40}"
            if entries[name]["dtype"] not in NUMPY_DTYPES:
                return f"{word}: tensor {name!a:.40} is of dtype {entries[name]['dtype']}, which no trace holds"
    if len(call.noise) != len(call.outputs):
        return f"noise: {len(call.noise)} of them for {len(call.outputs)} outputs"
    if unmeasured := sorted(call.gradients.keys() - call.gradient_noise.keys()):
        return f"gradient_noise: none for {unmeasured[0]!a:.40}"
    if unmeasured := sorted(call.statistics.keys() - call.statistics_noise.keys()):
        return f"statistics_noise: none for {unmeasured[0]!a:.40}"
    # A number larger than any run's, or NaN, would make every allowance infinite.
    for word, value, least in (
        ("number", call.number, 0),
        ("terms", call.terms, 1),
        ("known_error", call.known_error, 0),
    ):
        if not least <= value <= 2**53:
            return f"{word}: no run has {value!r:.40}"
    if any(
        noise.relative < 0 for noise in (*call.noise, *call.gradient_noise.values(), *call.statistics_noise.values())
    ):
        return "noise: a distance below 0"
    if type(call.config.get("constant", 0)) is not int:
        return f"config['constant']: expected an integer, found {call.config['constant']!a:.40}"
    try:
        _ = layers.evaluated(call.kind, call.config, rank=4)
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        return f"config: no {call.kind!a:.40} is configured so: {error!a:.80}"
    if len(call.labels) not in (0, len(call.outputs)) or len(set(call.labels)) != len(call.labels):
        return f"labels: {len(call.labels)} of them for {len(call.outputs)} outputs, or two alike"
    return ""


class TraceWriter:
    """Writes a trace tensor by tensor, so that no run has to fit into memory."""

    def __init__(self, path: str | os.PathLike[str]):
        self._writer = Writer(path)
        self._fingerprints = dict[str, float]()

    def add(self, array: Array) -> str:
        """Write one array and return its name in the file.

        Raises:
            ParityError: If its dtype is one that a trace cannot hold.
        """
        if array.dtype.str not in FORMAT_NAMES:
            raise ParityError(f"a layer's tensor has dtype {array.dtype}, which a trace cannot hold")
        name = f"t{len(self._fingerprints)}"
        self._writer.add(name, array)
        self._fingerprints[name] = fingerprint(array)
        return name

    def read(self, name: str) -> Array:
        """Return an array written before; it is valid until the next one is read."""
        return self._writer.read(name)

    def close(self, manifest: Mapping[str, Any], calls: Sequence[Call]) -> None:
        """Write the header and close the file."""
        # Infinity and NaN are written as Python's json does, as in every trace of this schema.
        header = json.dumps(encode(_Header(SCHEMA, manifest, tuple(calls), self._fingerprints), strict=False))
        with self._writer as writer:
            writer.finish({"parity_trace": header})
