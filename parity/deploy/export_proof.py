"""The proof that an exported file is its network: its layers, its float32 in the runtime, its meaning in float64."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from parity.errors import ParityError
from parity.judging.bounds import allowance, bound, growth
from parity.numerics.arrays import Array
from parity.numerics.distance import ROUNDOFF32, distance
from parity.onnx_files import model_file, runtime
from parity.onnx_files.float64 import Nudge, evaluate
from parity.tracing.trace import Call, Trace

BATCHES = (1, 2, 3)


@dataclass(frozen=True)
class Measured:
    """An error and the largest that is allowed, in the same unit."""

    error: float
    limit: float

    @property
    def ok(self) -> bool:
        """Return whether the error is within its limit; NaN is not."""
        return self.error <= self.limit


class Proof:
    """Compares the files of one network with the outputs of its framework for the same inputs.

    Args:
        name: Name of the network in messages.
        folder: A folder for temporary files.
        inputs: Files of inputs, BATCHES of each image size, each with the folder of its float64 outputs: 0.npy, ...
        threads: Number of threads of the runtime.
    """

    def __init__(self, name: str, folder: Path, inputs: Sequence[tuple[Path, Path]], threads: int):
        self.name, self.folder = name, folder
        self.inputs, self.threads = inputs, threads

    def layers(self, numbered: ir.Model, trace: Trace) -> tuple[dict[str, str], int]:
        """Return the layer of each value that is a layer's output, found by its numbers, and the number of leaf calls.

        A value is a layer's output if their distance is within the bound; the first in order where there are several,
        as with dropout, which changes nothing.
        """
        model = ir.to_proto(numbered)
        model.graph.output.extend(info for info in model.graph.value_info)
        path, names = self.folder / "numbered.onnx", [each.name for each in model.graph.output]
        model_file.write(model, path)
        del model
        arrays = self._runner(path, "the canonical form", session__disable_prepacking="1")(self.inputs[0][0])
        values = dict(zip(names, arrays, strict=True))
        leaves = [call for call in trace.calls if call.leaf]
        layer_of = dict[str, str]()
        for call, grown in zip(leaves, growth(leaves), strict=True):
            for output in call.outputs[:1]:
                expected = trace.tensor(output)
                for name, array in values.items():
                    if array.shape == expected.shape and name not in layer_of and _near(array, expected):
                        gap = distance(array, expected)
                        if gap.relative / ROUNDOFF32 <= bound(grown, gap.peak, expected.size):
                            layer_of[name] = call.layer
                            break
        return layer_of, len(leaves)

    def _runner(self, model: Path, what: str, **config: str) -> Callable[[Path], list[Array]]:
        """Return a function that runs a model in ONNX Runtime on the input in a file.

        Raises:
            ParityError: If the runtime refuses the model; the function raises it too.
        """
        name = f"{self.name}: {what}"
        session = runtime.open_session(model, name, threads=self.threads, **config)

        def run(source: Path) -> list[Array]:
            return runtime.run(session, runtime.feed(session, [np.load(source, allow_pickle=False)], name), name)

        return run

    def noise(self, model: Path, grown: float, what: str) -> Measured:
        """Return the worst output's error against the framework's float64, and its bound, both in units of roundoff."""
        errors, run = [], self._runner(model, what)
        for source, folder in self.inputs:
            for i, array in enumerate(run(source)):
                gap = distance(array, np.load(folder / f"{i}.npy", allow_pickle=False))
                errors.append(Measured(gap.relative / ROUNDOFF32, bound(grown, gap.peak, array.size)))
        return _worst(errors)

    def meaning(self, path: Path, calls: Sequence[Call], weights: Container[str]) -> Measured | None:
        """Return the worst output's distance from the framework's, both in float64, and its allowance.

        A file stores as float32 a constant that its network may have as float64, as in `x * 0.1`. Where the distance
        exceeds what rounding explains, the allowance grows by the effect of moving the file's constants by one unit in
        the last place.

        None where it is not known: a node without a float64 form, or one whose float64 differs from the framework's by
        more than the bound of the runtime's float32, which was compared before.
        """
        raw = onnx.load(path)
        grown = max(growth(calls), default=1.0)
        errors = []
        for source, folder in self.inputs[:: len(BATCHES)]:
            try:
                outputs = _evaluated(raw, source, path)
                gaps = [distance(each, np.load(folder / f"{i}.npy")) for i, each in enumerate(outputs)]
                limits = [allowance(grown, gap.peak, each.size) for gap, each in zip(gaps, outputs, strict=True)]
                if any(gap.relative > limit for gap, limit in zip(gaps, limits, strict=True)):
                    moved = _evaluated(raw, source, path, Nudge(weights))
                    limits = [
                        limit + Nudge.allowance(*ends) for limit, *ends in zip(limits, moved, outputs, strict=True)
                    ]
            except ParityError:
                return None
            if any(
                gap.relative / ROUNDOFF32 > bound(grown, gap.peak, each.size)
                for gap, each in zip(gaps, outputs, strict=True)
            ):
                return None
            errors += [Measured(gap.relative, limit) for gap, limit in zip(gaps, limits, strict=True)]
        return _worst(errors)


def reason(
    before: Measured,
    after: Measured,
    meaning: Measured | None,
    model: onnx.ModelProto,
    layers: set[str],
    raw_path: Path,
    trace: Trace,
) -> str:
    """Return why a file is not the network, "" if it is.

    Args:
        before: Error of the exporter's graph in the runtime, and its bound; see `Proof.noise`.
        after: The same of the canonical form.
        meaning: Distance of the exporter's graph in float64, and its allowance; see `Proof.meaning`.
        model: The canonical form.
        layers: Names of the layers whose outputs are in it.
        raw_path: The exporter's file.
        trace: The recording of the network.
    """
    for which, noise in (("the exporter's file", before), ("the canonical form", after)):
        if not noise.ok:
            return (
                f"{which} is not the network: an output is {noise.error:.4g}u off, the bound is {noise.limit:.4g}u. "
                f"The operators not proved: {_unproved(model, layers)}"
            )
    if meaning is not None and not meaning.ok:
        raw = onnx.load(raw_path)
        unproved = _unproved(raw, _proved(raw, raw_path, trace))
        return (
            f"the exporter's file means another function: in float64 an output is {meaning.error:.3g} off, the "
            f"allowance is {meaning.limit:.3g}. The operators not proved: {unproved}"
        )
    return ""


def _evaluated(raw: onnx.ModelProto, source: Path, path: Path, nudge: Nudge | None = None) -> list[Array]:
    """Return the outputs in float64 of the graph of the file at `path`, for the input in `source`."""
    outputs = dict[str, Array]()
    names = [output.name for output in raw.graph.output]
    image = np.load(source, allow_pickle=False)
    for _, values in evaluate(raw, {raw.graph.input[0].name: image}, nudge, name=str(path)):
        outputs |= {name: array for name, array in values.items() if name in names}
    return [outputs[name] for name in names]


def _worst(errors: Sequence[Measured]) -> Measured:
    """Return the error that is furthest beyond its limit, or nearest to it."""
    return max(errors, key=lambda each: np.inf if np.isnan(each.error) else each.error / each.limit)


def _near(array: Array, expected: Array) -> bool:
    """Return whether a few elements are alike: this excludes most pairs without reading the rest."""
    step = max(1, expected.size // 16)
    sample = expected.reshape(-1)[::step]
    tolerance = 0.01 * float(np.abs(sample).max(initial=0.0))
    return bool(np.allclose(array.reshape(-1)[::step], sample, rtol=0.01, atol=tolerance))


def _unproved(model: onnx.ModelProto, proved: set[str]) -> str:
    """Return, as text, the operators behind the last proved layers; not those of constants or shapes."""
    before_proved, from_input = set(proved), {value.name for value in model.graph.input}
    for node in reversed(model.graph.node):
        if before_proved & set(node.output):
            before_proved.update(node.input)
    unproved = []
    for node in model.graph.node:
        if from_input & set(node.input) and node.op_type != "Shape":
            from_input.update(node.output)
            if not before_proved & set(node.output):
                unproved.append(f"{node.name or node.output[0]} ({node.op_type})")
    more = ["..."] if len(unproved) > 6 else []
    return ", ".join([*unproved[:6], *more]) or "none is known"


def _proved(raw: onnx.ModelProto, path: Path, trace: Trace) -> set[str]:
    """Return the names of a graph's values that are layers' outputs in float64."""
    leaves = [call for call in trace.calls if call.leaf and call.outputs]
    reach = list(zip(leaves, growth(leaves), strict=True))
    image = trace.tensor(trace.calls[-1].inputs[0])
    proved = set[str]()
    for _, values in evaluate(raw, {raw.graph.input[0].name: image}, name=str(path)):
        for name, array in values.items():
            for call, grown in reach:
                expected = trace.tensor(call.outputs[0])
                if array.shape == expected.shape and _near(array, expected):
                    gap = distance(array, expected)
                    if gap.relative <= allowance(grown, gap.peak, expected.size):
                        proved.add(name)
                        break
    return proved
