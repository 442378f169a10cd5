"""Write a network as an ONNX file that is proved to be that network, from either framework.

A worker records the network (parity.record) and lets its framework's exporter write a file; here that is brought into
canonical form (parity.canonical), run, and held against what was recorded. Only then does it get its name.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from parity import canonical, model_file, precision, runtime
from parity.errors import ParityError
from parity.judge import KEPT_SHORT_IN_FILES, allowance, bound, growth, kept_short
from parity.onnx_float64 import Nudge, evaluate
from parity.record import projection
from parity.run import Model, Options, Workers, described_weights, trace_job
from parity.state import Array
from parity.trace import ROUNDOFF32, Call, Trace, distance
from parity.workers import Worker, answers, wait

# What the exporters write themselves: asked for less, torch's writes 18 and says nothing; for more, Paddle's aborts.
OPSETS = {"torch": (16, onnx.defs.onnx_opset_version()), "paddle": (7, 21)}
BATCHES = (1, 2, 3)


@dataclass(frozen=True)
class Request:
    """What files are wanted.

    Attributes:
        folder: Where they go, as NAME.SIDE.onnx.
        shape: (C, H, W) of the image they are made for.
        opset: Version of ONNX's operators.
        dynamic_size: Whether the image's height and width stay open.
        raw: Whether to keep the exporter's own graph.
        precisions: What lower ones are wanted besides, as NAME.SIDE.PRECISION.onnx.
        calibrate: Pictures for them, see `parity.precision.lower`.
    """

    folder: Path
    shape: tuple[int, int, int]
    opset: int = 18
    dynamic_size: bool = False
    raw: bool = False
    precisions: tuple[str, ...] = ()
    calibrate: Path | None = None


@dataclass(frozen=True)
class Exported:
    """One file, and what was proved of it.

    Attributes:
        side: The framework it came from.
        path: Where it is; no file is there unless `ok`.
        verdict: "exact", "rounding", or "different".
        reason: What is wrong, in words; "" for a pass.
        noise: Largest float32 error of an output in ONNX Runtime against the framework's float64, in units of roundoff.
        raw_noise: The same of the exporter's own graph.
        bound: The largest that arithmetic explains.
        distance: Of the outputs of the exporter's graph, evaluated in float64, from the framework's float64, over their
            root mean square; None where a node cannot be evaluated so.
        allowance: The largest that rounding explains.
        layers: How many of the network's layers have their output in the file, proved by its numbers.
        nodes: How many nodes the file has, and the exporter's own.
        canonical_sha256: Of the canonical form, metadata aside.
        model: The model.
        lower: What its files of lower precision cost, by their paths.
    """

    side: str
    path: Path
    verdict: str
    reason: str
    noise: float
    raw_noise: float
    bound: float
    distance: float | None
    allowance: float
    layers: tuple[int, int]
    nodes: tuple[int, int]
    canonical_sha256: str
    model: onnx.ModelProto = field(repr=False)
    lower: dict[str, precision.Report] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Return whether the file is the network."""
        return self.verdict != "different"

    def to_dict(self) -> dict[str, Any]:
        """Return what `--json` holds of it."""
        kept = {name: value for name, value in self.__dict__.items() if name not in ("model", "path", "lower")}
        lower = {path: asdict(report) for path, report in self.lower.items()}
        return {**kept, "ok": self.ok, "path": str(self.path), "lower": lower}


def export_models(
    name: str, models: Sequence[Model], request: Request, options: Options, workers: Workers
) -> list[Exported]:
    """Export each model and return what was proved of its file; one that is not its network is not written.

    Raises:
        ParityError: If an exporter cannot take a network, or a file cannot be written.
    """
    for model in models:
        _check_opset(model.side, request.opset)
    for each in request.precisions:
        precision.check(each, request.calibrate)
    if request.precisions:
        _ = precision.load_images(request.shape, request.calibrate)  # what is wrong with them is to be known before
    with tempfile.TemporaryDirectory(prefix="parity-") as folder:
        jobs = [_Job(name, model, Path(folder) / model.side, request, options, workers) for model in models]
        for number in range(len(jobs[0].shapes)):
            for job in jobs:
                job.trace(number)
            try:
                _ = wait([job.worker for job in jobs], options.timeout)
            except ParityError as error:
                if not number:
                    raise
                raise ParityError(f"--dynamic-size: at {jobs[0].shapes[number][1:]}: {error}") from error
            for job in jobs:
                job.check_traced(number)
        for job in jobs:
            job.export()
        # The one that is done is proved while the other is still at it.
        found = {job.model.side: job.prove(names) for job, names in _finished(name, jobs, options, workers)}
        for job in jobs:
            job.place(found[job.model.side])
        return [found[job.model.side] for job in jobs]


def _finished(
    name: str, jobs: Sequence[_Job], options: Options, workers: Workers
) -> Iterator[tuple[_Job, Mapping[str, str]]]:
    """Yield each job as its exporter is done, and the names it gave the tensors of the State."""
    try:
        for worker, answer in answers([job.worker for job in jobs], options.timeout):
            yield next(job for job in jobs if job.worker is worker), answer["names"]
    except ParityError as error:
        # paddle2onnx says what it cannot write, and then aborts the process.
        words = [line.split("] ", 1)[-1].strip() for line in workers.log().splitlines() if "[ERROR]" in line]
        if not words:
            raise
        raise ParityError(f"{name}: Paddle's exporter cannot take it: {' '.join(words)}") from error


def _check_opset(side: str, opset: int) -> None:
    low, high = OPSETS[side]
    if not low <= opset <= high:
        other = next((f"; --from {name} can" for name, (a, b) in OPSETS.items() if a <= opset <= b), "")
        raise ParityError(f"--opset {opset}: the exporter of {side} writes {low} to {high}{other}")


# Layers that paddle2onnx 2.1 writes as another function, or dies of, whatever the graph; and what to write instead.
_PADDLE_CANNOT = {
    "GELU": (lambda config: config.get("approximate") == "tanh", "writes erf for tanh", "spell the tanh form out"),
    "Hardtanh": (lambda config: True, "always clips to -1 and 1", "use paddle.clip"),
    "CELU": (lambda config: True, "aborts", "use ELU where alpha is 1"),
}


def _even(size: int, target: int) -> bool:
    """Return whether adaptive pooling of `size` to `target` has windows of one size, one stride apart."""
    stride = size // target
    kernel = size - (target - 1) * stride
    return all(
        (i * size // target, -(-(i + 1) * size // target)) == (i * stride, i * stride + kernel) for i in range(target)
    )


class _Job:
    """The export of one model: its worker, its files while they are made, and the judgement of them."""

    def __init__(self, name: str, model: Model, here: Path, request: Request, options: Options, workers: Workers):
        self.name, self.model, self.here, self.request, self.options = name, model, here, request, options
        self.worker: Worker = workers.get(model.side)
        channels, height, width = request.shape
        # Of the second size one is odd where the first is even, and its sides differ.
        self.shapes = [(channels, height, width), *[(channels, height + 33, width + 22)] * request.dynamic_size]
        self.inputs: list[tuple[Path, Path]] = []
        for number, shape in enumerate(self.shapes):
            for batch in BATCHES:
                folder = here / f"size{number}" / f"batch{batch}"
                folder.mkdir(parents=True)
                image = (projection((batch, *shape)) * np.sqrt(3.0)).astype(np.float32)  # of deviation 1
                np.save(folder / "input.npy", image)
                self.inputs.append((folder / "input.npy", folder))
        self.weights = described_weights(options, workers, here)
        # Under the name it is to have: a file tells where its tensors lie by that.
        (here / "made").mkdir()
        self.made = here / "made" / f"{name}.{model.side}.onnx"
        self.metadata: Mapping[str, str] = {}

    def trace(self, number: int) -> None:
        """Record the network on one image of one of the sizes."""
        folder = self.here / f"size{number}" / "batch1"
        job = trace_job(self.name, self.model, folder / "trace", folder, self.weights, self.options)
        self.worker.submit({**job, "device": "cpu", "gradients": False})

    def check_traced(self, number: int) -> None:
        """Refuse what no exporter gets right, by what the layers are and the sizes they met."""
        with Trace(self.here / f"size{number}" / "batch1" / "trace") as trace:
            refused = [words for call in trace.calls if (words := self._refusal(trace, call))]
        if refused:
            raise ParityError(f"{self.model.side}:{self.name}: {'; '.join(dict.fromkeys(refused))}")

    def _refusal(self, trace: Trace, call: Call) -> str:
        side, wanted = self.model.side, call.config.get("output_size")
        if call.kind in ("AdaptiveAvgPool2d", "AdaptiveMaxPool2d") and isinstance(wanted, list) and wanted != [1, 1]:
            if self.request.dynamic_size:
                return f"--dynamic-size: {call.layer}: {call.kind} to {wanted} has other windows at every image size"
            sizes = list(trace.shape(call.inputs[0])[2:])
            if side == "paddle" and not all(
                _even(size, target or size) for size, target in zip(sizes, wanted, strict=True)
            ):
                return (
                    f"{call.layer}: {call.kind} from {sizes} to {wanted}: its windows are of several sizes, and "
                    "paddle2onnx writes them all alike. Use an image size whose map divides, or export from torch"
                )
        if side == "torch" and call.config.get("divisor_override"):
            return f"{call.layer}: torch's exporters drop divisor_override. Scale the output instead"
        if side == "paddle" and call.kind in _PADDLE_CANNOT:
            wrong, what, remedy = _PADDLE_CANNOT[call.kind]
            if wrong(call.config):
                return f"{call.layer}: {call.kind}: paddle2onnx {what}. Remedy: {remedy}"
        return ""

    def export(self) -> None:
        """Have the exporter write its file."""
        self.worker.submit(
            {
                "do": "export",
                "example": str(self.inputs[0][0]),
                "path": str(self.here / "raw.onnx"),
                "opset": self.request.opset,
                "dynamic_size": self.request.dynamic_size,
            }
        )

    def prove(self, names: Mapping[str, str]) -> Exported:
        """Judge the exporter's file and its canonical form.

        Args:
            names: Name of each tensor of the State, by the name the exporter gave it.
        """
        side, opset, raw_path, path = self.model.side, self.request.opset, self.here / "raw.onnx", self.made
        self.worker.submit({"do": "outputs", "inputs": [[str(source), str(folder)] for source, folder in self.inputs]})
        raw = model_file.read(raw_path)
        written = next(each.version for each in raw.opset_import if each.domain in ("", "ai.onnx"))
        if written != opset:
            raise ParityError(
                f"--opset {opset}: the exporter of {side} needs {written} for this network. Use --opset {written}"
            )
        raw_nodes, graph = len(raw.graph.node), canonical.simplify(ir.from_proto(raw))
        del raw  # of a large network each copy counts
        with Trace(self.here / "size0" / "batch1" / "trace") as trace:
            manifest = trace.manifest
            found, total = self._layers(canonical.unnamed(graph), trace)
            model = ir.to_proto(canonical.named(graph, names, found))
            model_file.write(model, path)
            model_file.check(path, f"{self.name}: canonical form")
            _ = wait([self.worker], self.options.timeout)
            grown = max(growth(trace.calls), default=1.0)
            before = self._noise(raw_path, grown, "the exporter's file")
            after = self._noise(path, grown, "the canonical form")
            meant = self._meaning(raw_path, trace.calls, names)
            reason = ""
            for which, (noise, limit) in (("the exporter's file", before), ("the canonical form", after)):
                if not reason and not noise <= limit:
                    reason = (
                        f"{which} is not the network: an output is {noise:.4g}u off, arithmetic explains {limit:.4g}u. "
                        f"The operators not proved right: {_unproved(model, set(found.values()))}"
                    )
            if not reason and meant is not None and not meant[0] <= meant[1]:
                raw = onnx.load(raw_path)
                reason = (
                    f"the exporter's file means another function: in float64 an output is {meant[0]:.3g} off, rounding "
                    f"explains {meant[1]:.3g}. The operators not proved right: {_unproved(raw, _right(raw, trace))}"
                )
        exported = Exported(
            side=side,
            path=self.request.folder / path.name,
            verdict="different" if reason else "rounding" if after[0] else "exact",
            reason=reason,
            noise=after[0],
            raw_noise=before[0],
            bound=after[1],
            distance=None if meant is None else meant[0],
            allowance=0.0 if meant is None else meant[1],
            layers=(len(found), total),
            nodes=(len(model.graph.node), raw_nodes),
            canonical_sha256=model_file.digest(path),
            model=model,
        )
        self.metadata = _metadata(exported, manifest, opset)
        if self.request.raw:
            model_file.write(_ends_named(onnx.load(raw_path)), path)
        return exported

    def place(self, exported: Exported) -> None:
        """Give the file that is wanted its name, if it is right."""
        lower = {each: exported.path.with_suffix(f".{each}.onnx") for each in self.request.precisions}
        if not exported.ok:
            for path in (exported.path, *lower.values()):
                model_file.remove(path)  # an older file would be taken for this one
            return
        model_file.place(self.made, exported.path, self.metadata)
        for each, path in lower.items():
            model_file.remove(path)  # likewise, should this one fail
            exported.lower[str(path)] = precision.lower(
                exported.path, path, each, self.request.calibrate, self.options.threads
            )

    def _layers(self, numbered: ir.Model, trace: Trace) -> tuple[dict[str, str], int]:
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
        session = runtime.open_session(model, name, threads=self.options.threads, **config)

        def run(source: Path) -> list[Array]:
            return runtime.run(session, runtime.feed(session, [np.load(source, allow_pickle=False)], name), name)

        return run

    def _noise(self, model: Path, grown: float, what: str) -> tuple[float, float]:
        """Return the worst output's error against the framework's float64, and its bound, both in units of roundoff."""
        pairs, run = [], self._runner(model, what)
        for source, folder in self.inputs:
            for i, array in enumerate(run(source)):
                gap = distance(array, np.load(folder / f"{i}.npy", allow_pickle=False))
                pairs.append((gap.relative / ROUNDOFF32, bound(grown, gap.peak, array.size)))
        return _worst(pairs)

    def _meaning(self, path: Path, calls: Sequence[Call], weights: Container[str]) -> tuple[float, float] | None:
        """Return the worst output's distance from the framework's, both in float64, and its allowance.

        A file keeps as float32 what its network may hold as a float64, `x * 0.1`: where the distance is beyond what
        rounding explains, so much is allowed besides as moving the file's constants by a unit in the last place makes.

        None where that cannot be told: a node without a float64, or one whose float64 is further from the framework's
        than the runtime's float32 may be, which was held against it before.
        """
        raw = onnx.load(path)
        grown, short = max(growth(calls), default=1.0), max(kept_short(calls, KEPT_SHORT_IN_FILES), default=0.0)
        pairs = []
        for source, folder in self.inputs[:: len(BATCHES)]:
            try:
                made = _evaluated(raw, source)
                gaps = [distance(each, np.load(folder / f"{i}.npy")) for i, each in enumerate(made)]
                limits = [allowance(grown, gap.peak, each.size, short) for gap, each in zip(gaps, made, strict=True)]
                if any(gap.relative > limit for gap, limit in zip(gaps, limits, strict=True)):
                    moved = _evaluated(raw, source, Nudge(weights))
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


def _evaluated(raw: onnx.ModelProto, source: Path, nudge: Nudge | None = None) -> list[Array]:
    """Return a graph's outputs in float64 for the input of a file."""
    made = dict[str, Array]()
    wanted = [output.name for output in raw.graph.output]
    for _, values in evaluate(raw, {raw.graph.input[0].name: np.load(source, allow_pickle=False)}, nudge):
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


def _right(raw: onnx.ModelProto, trace: Trace) -> set[str]:
    """Return the names of the values of a graph that are layers' outputs in float64."""
    leaves = [call for call in trace.calls if call.leaf and call.outputs]
    reach = list(zip(leaves, growth(leaves), kept_short(leaves, KEPT_SHORT_IN_FILES), strict=True))
    image = trace.tensor(trace.calls[-1].inputs[0])
    right = set[str]()
    for _, values in evaluate(raw, {raw.graph.input[0].name: image}):
        for name, array in values.items():
            for call, grown, short in reach:
                expected = trace.tensor(call.outputs[0])
                if array.shape == expected.shape and _near(array, expected):
                    gap = distance(array, expected)
                    if gap.relative <= allowance(grown, gap.peak, expected.size, short):
                        right.add(name)
                        break
    return right


def _ends_named(raw: onnx.ModelProto) -> onnx.ModelProto:
    """Return the exporter's graph with its input and output called as everywhere."""
    graph = ir.from_proto(raw)
    for value, name in ((graph.graph.inputs[0], canonical.INPUT), (graph.graph.outputs[0], canonical.OUTPUT)):
        value.name = name
    return ir.to_proto(graph)


def _metadata(exported: Exported, manifest: Mapping[str, Any], opset: int) -> dict[str, str]:
    told = {
        "framework": manifest["framework"],
        "framework_version": manifest["version"],
        "model": manifest["model"],
        "weights": manifest["weights"],
        "state_sha256": manifest["state_sha256"],
        "commit": _commit(),
        "opset": opset,
        "verdict": exported.verdict,
        "noise": f"{exported.noise:.4g}",
        "bound": f"{exported.bound:.4g}",
        "distance": "" if exported.distance is None else f"{exported.distance:.4g}",
        "allowance": f"{exported.allowance:.4g}" if exported.allowance else "",
        "canonical_sha256": exported.canonical_sha256,
    }
    return {f"parity.{word}": str(value) for word, value in told.items() if value}


def _commit() -> str:
    """Return the commit of the checkout this file is in, "" if it is in none."""
    own = Path(__file__)
    git = ["git", "-C", str(own.parent)]
    try:
        tracked = subprocess.run([*git, "ls-files", "--error-unmatch", own.name], capture_output=True, check=False)
        found = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, check=False)
    except OSError:
        return ""  # no git here
    return "" if tracked.returncode or found.returncode else found.stdout.decode().strip()


def as_json(name: str, files: Sequence[Exported]) -> dict[str, Any]:
    """Return what was proved as JSON holds it, schema 1 of docs/onnx.md."""
    return {
        "schema": 1,
        "ok": all(file.ok for file in files),
        "network": name,
        "canonical_sha256": {file.side: file.canonical_sha256 for file in files},
        "difference": difference(files),
        "files": {file.side: file.to_dict() for file in files},
    }


def difference(files: Sequence[Exported]) -> str:
    """Return where the canonical files first differ; "" if they are the same bytes, or there is only one."""
    if len({file.canonical_sha256 for file in files}) < 2:
        return ""
    return canonical.difference(files[0].model, files[1].model, (files[0].side, files[1].side))
