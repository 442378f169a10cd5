"""Whether an exported file is its network: its layers, its float32 in the runtime, its meaning in float64."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
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


class Proof:
    """Holds the files of one network against what its framework made of the same inputs.

    Args:
        name: Of the network, for messages.
        here: A folder for files on the way.
        inputs: Files of inputs, BATCHES of each image size, each with the folder of its float64 outputs, 0.npy and on.
        threads: Of the runtime.
    """

    def __init__(self, name: str, here: Path, inputs: Sequence[tuple[Path, Path]], threads: int):
        self.name, self.here, self.inputs, self.threads = name, here, inputs, threads

    def layers(self, numbered: ir.Model, trace: Trace) -> tuple[dict[str, str], int]:
        """Return the layer whose output each value is, told by its numbers, and how many leaf calls there are.

        A value is a layer's output if it is within what arithmetic explains of it; the first in order where there are
        several, as with dropout, which changes nothing.
        """
        model = ir.to_proto(numbered)
        model.graph.output.extend(info for info in model.graph.value_info)
        path, names = self.here / "numbered.onnx", [each.name for each in model.graph.output]
        model_file.write(model, path)
        del model
        arrays = self._runner(path, "the canonical form", session__disable_prepacking="1")(self.inputs[0][0])
        values = dict(zip(names, arrays, strict=True))
        leaves = [call for call in trace.calls if call.leaf]
        found = dict[str, str]()
        for call, grown in zip(leaves, growth(leaves), strict=True):
            for output in call.outputs[:1]:
                expected = trace.tensor(output)
                for name, array in values.items():
                    if array.shape == expected.shape and name not in found and _near(array, expected):
                        gap = distance(array, expected)
                        if gap.relative / ROUNDOFF32 <= bound(grown, gap.peak, expected.size):
                            found[name] = call.layer
                            break
        return found, len(leaves)

    def _runner(self, model: Path, what: str, **config: str) -> Callable[[Path], list[Array]]:
        """Return a function that runs a file in ONNX Runtime on the input of another.

        Raises:
            ParityError: If the runtime refuses the model; so does the function.
        """
        name = f"{self.name}: {what}"
        session = runtime.open_session(model, name, threads=self.threads, **config)

        def run(source: Path) -> list[Array]:
            return runtime.run(session, runtime.feed(session, [np.load(source, allow_pickle=False)], name), name)

        return run

    def noise(self, model: Path, grown: float, what: str) -> tuple[float, float]:
        """Return the worst output's error against the framework's float64, and its bound, both in units of roundoff."""
        pairs, run = [], self._runner(model, what)
        for source, folder in self.inputs:
            for i, array in enumerate(run(source)):
                gap = distance(array, np.load(folder / f"{i}.npy", allow_pickle=False))
                pairs.append((gap.relative / ROUNDOFF32, bound(grown, gap.peak, array.size)))
        return _worst(pairs)

    def meaning(self, path: Path, calls: Sequence[Call], weights: Container[str]) -> tuple[float, float] | None:
        """Return the worst output's distance from the framework's, both in float64, and its allowance.

        A file keeps as float32 what its network may hold as a float64, `x * 0.1`: where the distance is beyond what
        rounding explains, so much is allowed besides as moving the file's constants by a unit in the last place makes.

        None where that cannot be told: a node without a float64, or one whose float64 is further from the framework's
        than the runtime's float32 may be, which was held against it before.
        """
        raw = onnx.load(path)
        grown = max(growth(calls), default=1.0)
        pairs = []
        for source, folder in self.inputs[:: len(BATCHES)]:
            try:
                made = _evaluated(raw, source, path)
                gaps = [distance(each, np.load(folder / f"{i}.npy")) for i, each in enumerate(made)]
                limits = [allowance(grown, gap.peak, each.size) for gap, each in zip(gaps, made, strict=True)]
                if any(gap.relative > limit for gap, limit in zip(gaps, limits, strict=True)):
                    moved = _evaluated(raw, source, path, Nudge(weights))
                    limits = [limit + Nudge.allowance(*ends) for limit, *ends in zip(limits, moved, made, strict=True)]
            except ParityError:
                return None
            if any(
                gap.relative / ROUNDOFF32 > bound(grown, gap.peak, each.size)
                for gap, each in zip(gaps, made, strict=True)
            ):
                return None
            pairs += [(gap.relative, limit) for gap, limit in zip(gaps, limits, strict=True)]
        return _worst(pairs)


def reason(
    before: tuple[float, float],
    after: tuple[float, float],
    meant: tuple[float, float] | None,
    model: onnx.ModelProto,
    found: set[str],
    raw_path: Path,
    trace: Trace,
) -> str:
    """Return why a file is not the network, "" if it is.

    Args:
        before: Error of the exporter's graph in the runtime and its bound, see `Proof.noise`.
        after: The same of the canonical form.
        meant: Distance of the exporter's graph in float64 and its allowance, see `Proof.meaning`.
        model: The canonical form.
        found: Names of the layers whose outputs are in it.
        raw_path: The exporter's file.
        trace: What was recorded.
    """
    for which, (noise, limit) in (("the exporter's file", before), ("the canonical form", after)):
        if not noise <= limit:
            return (
                f"{which} is not the network: an output is {noise:.4g}u off, arithmetic explains {limit:.4g}u. "
                f"The operators not proved right: {_unproved(model, found)}"
            )
    if meant is not None and not meant[0] <= meant[1]:
        raw = onnx.load(raw_path)
        return (
            f"the exporter's file means another function: in float64 an output is {meant[0]:.3g} off, rounding "
            f"explains {meant[1]:.3g}. The operators not proved right: {_unproved(raw, _right(raw, raw_path, trace))}"
        )
    return ""


def _evaluated(raw: onnx.ModelProto, source: Path, path: Path, nudge: Nudge | None = None) -> list[Array]:
    """Return the outputs in float64 of the graph of the file at `path`, for the input in `source`."""
    image = np.load(source, allow_pickle=False)
    made = dict[str, Array]()
    wanted = [output.name for output in raw.graph.output]
    for _, values in evaluate(raw, {raw.graph.input[0].name: image}, nudge, name=str(path)):
        made |= {name: array for name, array in values.items() if name in wanted}
    return [made[name] for name in wanted]


def _worst(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the error that is furthest beyond its limit, or nearest to it, and the limit."""
    return max(pairs, key=lambda pair: pair[0] / pair[1] if pair[0] == pair[0] else np.inf)


def _near(array: Array, expected: Array) -> bool:
    """Return whether a few elements are alike: most pairs are told apart by them, without reading the rest."""
    step = max(1, expected.size // 16)
    few = expected.reshape(-1)[::step]
    return bool(np.allclose(array.reshape(-1)[::step], few, rtol=0.01, atol=0.01 * float(np.abs(few).max(initial=0.0))))


def _unproved(model: onnx.ModelProto, right: set[str]) -> str:
    """Return the operators behind the last layers that are proved right, in words; not those of constants or shapes."""
    good, fed = set(right), {value.name for value in model.graph.input}
    for node in reversed(model.graph.node):
        if good & set(node.output):
            good.update(node.input)
    left = []
    for node in model.graph.node:
        if fed & set(node.input) and node.op_type != "Shape":
            fed.update(node.output)
            if not good & set(node.output):
                left.append(f"{node.name or node.output[0]} ({node.op_type})")
    return ", ".join([*left[:6], *["..."] * (len(left) > 6)]) or "none that can be told"


def _right(raw: onnx.ModelProto, path: Path, trace: Trace) -> set[str]:
    """Return the names of the values of a graph that are layers' outputs in float64."""
    leaves = [call for call in trace.calls if call.leaf and call.outputs]
    reach = list(zip(leaves, growth(leaves), strict=True))
    image = trace.tensor(trace.calls[-1].inputs[0])
    right = set[str]()
    for _, values in evaluate(raw, {raw.graph.input[0].name: image}, name=str(path)):
        for name, array in values.items():
            for call, grown in reach:
                expected = trace.tensor(call.outputs[0])
                if array.shape == expected.shape and _near(array, expected):
                    gap = distance(array, expected)
                    if gap.relative <= allowance(grown, gap.peak, expected.size):
                        right.add(name)
                        break
    return right
