"""Trace: every layer call of one run, with what went in and came out; a safetensors file and its reader.

The file holds the float64 run's tensors, each once however many layers share it. Of the float32 run it holds what the
verdicts need: for each output its noise (the distance to the same side's float64 run) and a digest of its bits. Both
are computed while the run goes on, so the float32 activations of no side are ever all in memory or on disk.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from parity.errors import ParityError
from parity.safetensors_file import WORDS, Array, Scratch, Writer, read_header

SCHEMA = 1
# Elements compared at a time: few enough to stay in a cache, many enough not to count the calls.
_CHUNK = 1 << 20
ROUNDOFF32 = 2.0**-24
ROUNDOFF64 = 2.0**-53


@dataclass(frozen=True)
class Distance:
    """How far one array is from another, at its worst element.

    Attributes:
        relative: Largest |actual - expected| over the root mean square of `expected`; 0 for equal arrays, infinity
            where shapes, NaNs or infinities do not coincide, NaN where both have one in the same place.
        index: Where the worst element is.
        expected: Its value in the array held to be right; None without elements.
        actual: Its value in the other.
        peak: Largest |expected| over the root mean square of `expected`.
    """

    relative: float
    index: tuple[int, ...] = ()
    expected: float | None = None
    actual: float | None = None
    peak: float = 1.0


@dataclass(frozen=True)
class Noise(Distance):
    """The float32 run's output against the float64 run's, and the SHA-256 of its bytes."""

    digest: str = ""


@dataclass(frozen=True)
class Call:
    """One call of one layer.

    Attributes:
        layer: Dotted path; "" is the network itself.
        number: 0 for the layer's first call in the run.
        kind: Neutral kind, "Conv2d"; for a layer of the user's own, its class.
        leaf: Whether it holds no layers of its own.
        config: Configuration in neutral words, "stride": [2, 2].
        inputs: Names of its float64 inputs in the file.
        outputs: Names of its float64 outputs in the file.
        noise: For each output, its float32 noise.
        terms: Length of the longest sum one output element is made of: fan-in, or elements pooled.
        replayable: Whether its inputs are all it was called with, so that it can be called again with recorded ones.
        gradients: Names of the float64 gradients, by "output 0", "weight"; empty unless asked for.
        gradient_noise: The float32 noise of each.
        kept: What rounding the constants of a file to float32 may have done to its outputs, as a distance.
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
    kept: float = 0.0

    @property
    def key(self) -> tuple[str, int]:
        """Return what pairs this call with one of another trace."""
        return self.layer, self.number


def distance(actual: Array, expected: Array) -> Distance:
    """Return how far `actual` is from `expected`; both of any real dtype, compared in float64.

    An infinity against the same infinity is no distance; NaN against NaN is the distance NaN: it proves nothing.
    """
    if actual.shape != expected.shape:
        return Distance(np.inf)
    if not expected.size:
        return Distance(0.0)
    flat, right = actual.reshape(-1), expected.reshape(-1)
    largest, worst, highest = -1.0, 0, 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        for start in range(0, flat.size, _CHUNK):
            part, exact = flat[start : start + _CHUNK], right[start : start + _CHUNK]
            gap = np.subtract(part, exact, dtype=np.float64)
            _ = np.abs(gap, out=gap)
            here = int(gap.argmax())  # the first NaN, if there is one
            if not np.isfinite(gap[here]):
                gap[part == exact] = 0.0
                gap[np.isnan(part) != np.isnan(exact)] = np.inf
                here = int(gap.argmax())
            if not gap[here] <= largest and not np.isnan(largest):
                largest, worst = float(gap[here]), start + here
            highest = max(highest, float(exact.max()), -float(exact.min()))
    scale = root_mean_square(expected)
    index = tuple(int(i) for i in np.unravel_index(worst, expected.shape))
    return Distance(largest / scale, index, float(expected[index]), float(actual[index]), highest / scale)


def root_mean_square(array: Array) -> float:
    """Return the root mean square of the finite elements; the smallest normal float64 where all of them are zero."""
    flat = np.asarray(array, dtype=np.float64).ravel()
    with np.errstate(over="ignore", invalid="ignore"):
        mean = float(flat @ flat) / max(flat.size, 1)
    if np.isfinite(mean):
        return math.sqrt(mean) or float(np.finfo(np.float64).tiny)
    flat = flat[np.isfinite(flat)]
    scale = float(np.abs(flat).max(initial=0.0)) or 1.0
    return scale * float(np.sqrt(np.mean((flat / scale) ** 2))) if flat.size else 1.0


class Trace:
    """A recorded run, read from its file: tensors are loaded when asked for.

    Attributes:
        manifest: Framework, versions, device, dtype, threads, flags, and hashes of weights and input.
        calls: Every layer call, in the order in which the calls ended.
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
            if header["schema"] != SCHEMA:
                raise ParityError(
                    f"{path}: trace of schema {header['schema']}, this version reads {SCHEMA}. Record it anew."
                )
            self.manifest: dict[str, Any] = header["manifest"]
            self.calls: list[Call] = [_call(entry) for entry in header["calls"]]
            missing = {name for call in self.calls for name in (*call.inputs, *call.outputs)} - set(self._entries)
        except (KeyError, TypeError, ValueError) as error:
            raise ParityError(f"{path}: damaged trace header: {error!r}") from error
        if missing:
            raise ParityError(f"{path}: damaged trace: {len(missing)} of its tensors are missing.")
        self._file = self.path.open("rb", buffering=0)

    def __enter__(self) -> Trace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def tensor(self, name: str, scratch: Scratch | None = None) -> Array:
        """Return one tensor of the float64 run, by the name a Call gives it; in a scratch's room if one is given."""
        return (scratch or Scratch()).read(self._file.fileno(), self._start, self._entries[name])

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape without loading it."""
        return tuple(self._entries[name]["shape"])


def _call(entry: Mapping[str, Any]) -> Call:
    return Call(
        **{
            **entry,
            "inputs": tuple(entry["inputs"]),
            "outputs": tuple(entry["outputs"]),
            "noise": tuple(_noise(item) for item in entry["noise"]),
            "gradient_noise": {label: _noise(item) for label, item in entry["gradient_noise"].items()},
        }
    )


def _noise(item: Mapping[str, Any]) -> Noise:
    return Noise(**{**item, "index": tuple(item["index"])})


class TraceWriter:
    """Writes a trace tensor by tensor, so that no run has to fit into memory."""

    def __init__(self, path: str | os.PathLike[str]):
        self._writer, self._count = Writer(path), 0

    def add(self, array: Array) -> str:
        """Write one array and return its name in the file.

        Raises:
            ParityError: If its dtype is one that a trace cannot hold.
        """
        if array.dtype.str not in WORDS:
            raise ParityError(f"a layer's tensor has dtype {array.dtype}, which a trace cannot hold")
        name = f"t{self._count}"
        self._writer.add(name, array)
        self._count += 1
        return name

    def read(self, name: str) -> Array:
        """Return an array written before; it lasts until the next one is read."""
        return self._writer.read(name)

    def close(self, manifest: Mapping[str, Any], calls: Sequence[Call]) -> None:
        """Write the header and close the file."""
        header = {"schema": SCHEMA, "manifest": dict(manifest), "calls": [asdict(call) for call in calls]}
        with self._writer as writer:
            writer.finish({"parity_trace": json.dumps(header)})
