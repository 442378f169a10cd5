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
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from parity import layers
from parity.errors import ParityError
from parity.json_codec import DecodeError, decode, encode
from parity.safetensors_file import CODES, WORDS, Array, Scratch, Writer, read_header

# 2: Paddle's float64 is exact, outputs have keys. One of schema 1 holds errors that nothing allows for any more.
SCHEMA = 2
# Elements compared at a time: few enough to stay in a cache, many enough not to count the calls.
_CHUNK = 1 << 20
ROUNDOFF32 = 2.0**-24
ROUNDOFF64 = 2.0**-53
# See `scales`.
HUGE = 2.0**15
_JUMP = 2.0**10
_ORDINARY = 2.0**-10


@dataclass(frozen=True)
class Distance:
    """How far one array is from another, at its worst element.

    Attributes:
        relative: Largest |actual - expected| over the root mean square of `expected` (of its part, see `scales`); 0 for
            equal arrays, infinity where shapes, NaNs, infinities or integers do not coincide, NaN where both have one
            in the same place.
        index: Where the worst element is.
        expected: Its value in the array held to be right; None without elements.
        actual: Its value in the other.
        peak: Largest finite |expected| over the same root mean square.
    """

    relative: float
    index: tuple[int, ...] = ()
    expected: float | int | bool | None = None
    actual: float | int | bool | None = None
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
        known_error: How far the backend says its own float64 may be off here, as a distance; 0 where it knows of none.
        labels: What the network calls each output where it gives them by keys: "out", "aux.0"; else empty.
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

    @property
    def key(self) -> tuple[str, int]:
        """Return what pairs this call with one of another trace."""
        return self.layer, self.number


def distance(actual: Array, expected: Array) -> Distance:
    """Return how far `actual` is from `expected`; of real floating dtypes, in float64.

    An infinity against the same infinity is no distance, and no scale; NaN against NaN is the distance NaN: it proves
    nothing. Integers and booleans are equal or not: the distance is 0 or infinity.
    """
    if actual.shape != expected.shape:
        return Distance(np.inf)
    if not expected.size:
        return Distance(0.0)
    if expected.dtype.kind != "f":
        return _inequality(actual, expected)
    flat, right = actual.reshape(-1), expected.reshape(-1)
    largest, worst, highest = -1.0, 0, 0.0
    for start in range(0, flat.size, _CHUNK):
        part, exact = flat[start : start + _CHUNK], right[start : start + _CHUNK]
        gap = _gap(part, exact)
        here = int(gap.argmax())  # the first NaN, if there is one
        if not gap[here] <= largest and not np.isnan(largest):
            largest, worst = float(gap[here]), start + here
        highest = max(highest, _highest(exact))
    least = float(np.finfo(actual.dtype).tiny)
    if highest >= HUGE and np.isfinite(largest) and (parts := _scales(right)) is not None:
        parts = np.maximum(parts, least)
        relative, sizes = _gap(flat, right) / parts, np.abs(right) / parts
        worst = int(relative.argmax())
        number, peak = float(relative[worst]), float(sizes[np.isfinite(sizes)].max())
    else:
        scale = max(root_mean_square(expected), least)
        number, peak = largest / scale, highest / scale
    index = tuple(int(i) for i in np.unravel_index(worst, expected.shape))
    return Distance(number, index, float(expected[index]), float(actual[index]), peak)


def _gap(part: Array, exact: Array) -> Array:
    """Return |part - exact|: 0 for equal infinities, infinity for NaN against a number, NaN for NaN against NaN."""
    with np.errstate(invalid="ignore", over="ignore"):
        gap = np.subtract(part, exact, dtype=np.float64)
        _ = np.abs(gap, out=gap)
    if not np.isfinite(gap[int(gap.argmax())]):
        gap[part == exact] = 0.0
        gap[np.isnan(part) != np.isnan(exact)] = np.inf
    return gap


def _highest(array: Array) -> float:
    """Return the largest finite magnitude."""
    highest = max(float(array.max()), -float(array.min()))
    return highest if np.isfinite(highest) else float(np.abs(array[np.isfinite(array)]).max(initial=0.0))


def _inequality(actual: Array, expected: Array) -> Distance:
    """Return the distance of integers or booleans: 0, or infinity at the first that differs."""
    differ = np.asarray(actual != expected)
    index = tuple(int(i) for i in np.unravel_index(int(differ.argmax()), expected.shape))
    return Distance(np.inf if differ.any() else 0.0, index, expected[index].item(), actual[index].item())


def scales(array: Array) -> Array | float:
    """Return what each element's error is measured by: the root mean square, of its own part if there are two.

    Where huge elements stand far above all others, theirs counts for them, and the others' own for the others: an
    attention mask of -1e9 would hide whatever happens to the rest. Huge is 2**15 and more, where half precision ends
    and beyond what normalised activations reach, and 2**10 times all elements below. Those below must be of ordinary
    size, 2**-10 or more at their largest: else they are what rounding left of the huge ones.
    """
    parts = _scales(array.reshape(-1)) if array.size and _highest(array) >= HUGE else None
    return root_mean_square(array) if parts is None else parts.reshape(array.shape)


def _scales(flat: Array) -> Array | None:
    """Return the scale of each element where huge ones stand far above others, else None."""
    sizes = np.abs(flat)
    ordered = np.unique(sizes[np.isfinite(sizes) & (sizes > 0)])
    jumps = (ordered[1:] >= HUGE) & (ordered[1:] / _JUMP >= ordered[:-1]) & (ordered[:-1] >= _ORDINARY)
    ends = ordered[:-1][jumps]
    if not ends.size:
        return None
    group = np.searchsorted(ends, sizes)  # in which range of sizes each element is
    found = np.ones(flat.shape)
    for number in range(len(ends) + 1):
        inside = (group == number) & np.isfinite(sizes)
        found[inside] = root_mean_square(flat[inside])
    return found


def root_mean_square(array: Array) -> float:
    """Return the root mean square of the finite elements; the smallest normal float64 where all of them are zero."""
    flat = np.asarray(array, dtype=np.float64).ravel()
    tiny = float(np.finfo(np.float64).tiny)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        mean = float(flat @ flat) / max(flat.size, 1)
    if np.isfinite(mean) and mean > tiny:
        return math.sqrt(mean)
    flat = flat[np.isfinite(flat)]  # too large or too small to be squared as they are
    scale = float(np.abs(flat).max(initial=0.0))
    return max(scale * float(np.sqrt(np.mean((flat / scale) ** 2))), tiny) if scale else tiny


class Trace:
    """A recorded run, read from its file: tensors are loaded when asked for.

    Attributes:
        manifest: Framework, versions, device, dtype, threads, flags, and hashes of weights and input.
        calls: Every layer call, in the order in which the calls ended.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     writer = TraceWriter(f"{folder}/run")  # what recording a network does, by hand
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
            found = decode(_Header, header)
            for i, call in enumerate(found.calls):
                if wrong := _impossible(call, self._entries):
                    raise DecodeError(f"calls[{i}].{wrong}")
        except (ValueError, RecursionError) as error:
            raise ParityError(f"{path}: damaged trace: {error}. Record it anew.") from error
        self.manifest: dict[str, Any] = dict(found.manifest)
        self.calls: list[Call] = list(found.calls)
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

    def dtype(self, name: str) -> np.dtype[Any]:
        """Return a tensor's dtype without loading it."""
        return np.dtype(CODES[self._entries[name]["dtype"]])


@dataclass(frozen=True)
class _Header:
    """What a trace's metadata entry `parity_trace` holds, as JSON."""

    schema: int
    manifest: Mapping[str, Any]
    calls: tuple[Call, ...]


def _impossible(call: Call, entries: Mapping[str, Any]) -> str:
    """Return which field of a call holds what no run can have recorded, and what; "" if none does."""
    for word in ("inputs", "outputs", "gradients"):
        names = getattr(call, word)
        for name in names.values() if isinstance(names, Mapping) else names:
            if name not in entries:
                return f"{word}: the file holds no tensor {name!a:.40}"
            if entries[name]["dtype"] not in CODES:
                return f"{word}: tensor {name!a:.40} is of dtype {entries[name]['dtype']}, which no trace holds"
    if len(call.noise) != len(call.outputs):
        return f"noise: {len(call.noise)} of them for {len(call.outputs)} outputs"
    if unmeasured := sorted(call.gradients.keys() - call.gradient_noise.keys()):
        return f"gradient_noise: none for {unmeasured[0]!a:.40}"
    # A number that is larger than any run's, or NaN, would allow anything.
    for word, value, least in (
        ("number", call.number, 0),
        ("terms", call.terms, 1),
        ("known_error", call.known_error, 0),
    ):
        if not least <= value <= 2**53:
            return f"{word}: no run has {value!r:.40}"
    if any(noise.relative < 0 for noise in (*call.noise, *call.gradient_noise.values())):
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
        # Infinity and NaN as Python's own words for them, as in every trace of this schema.
        header = json.dumps(encode(_Header(SCHEMA, manifest, tuple(calls)), strict=False))
        with self._writer as writer:
            writer.finish({"parity_trace": header})
