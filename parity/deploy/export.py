"""Write a network as an ONNX file that is proved to be that network, from either framework.

A worker records the network (parity.tracing.record) and calls its framework's exporter. This module brings the file
into canonical form (parity.onnx_files.canonical), runs it, and compares it with the recording. Only then does it get
its name.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from parity.analysis.export_cases import Case
from parity.analysis.exporter_faults import met, sentence
from parity.deploy import precision
from parity.deploy.export_proof import BATCHES, Proof, reason
from parity.deploy.exported import Exported, metadata, replaced
from parity.errors import ParityError
from parity.judging.bounds import growth
from parity.numerics.fixed_random import projection
from parity.onnx_files import canonical, model_file
from parity.picture import IMAGENET, Preparation
from parity.processes import jobs
from parity.processes.models import Model
from parity.processes.pool import Options, Workers
from parity.processes.questions import described_weights, setup
from parity.processes.workers import OnProgress as WorkerProgress
from parity.processes.workers import Worker, answers, wait
from parity.temporary import temporary_folder
from parity.tracing.trace import Trace

# The opsets the exporters really write: below, torch's silently writes 18; above, Paddle's aborts.
OPSETS = {"torch": (16, onnx.defs.onnx_opset_version()), "paddle": (7, 21)}


@dataclass(frozen=True)
class Request:
    """The files to write.

    Attributes:
        folder: Where they go, as NAME.SIDE.onnx.
        shape: (C, H, W) of the example image.
        opset: Version of ONNX's operators.
        dynamic_size: Whether the image's height and width stay open.
        probes: Further sizes (H, W) to prove it at then; without one, a size that the network takes is looked for.
        raw: Whether to write the exporter's own graph.
        precisions: Lower precisions to write as well, as NAME.SIDE.PRECISION.onnx.
        calibrate: Pictures for these; see `parity.deploy.precision.lower`.
        preparation: How pictures are prepared for the network, for the files' metadata; None if not known.
    """

    folder: Path
    shape: tuple[int, int, int]
    opset: int = 18
    dynamic_size: bool = False
    probes: tuple[tuple[int, int], ...] = ()
    raw: bool = False
    precisions: tuple[str, ...] = ()
    calibrate: Path | None = None
    preparation: Preparation | None = None


# Called with a backend, the name of the step, how much is done, the total.
OnProgress = Callable[[str, str, int, int], None]


def export_models(
    name: str,
    models: Sequence[Model],
    request: Request,
    options: Options,
    workers: Workers,
    on_progress: OnProgress | None = None,
) -> list[Exported]:
    """Export each model and return the proof of its file; a file that is not its network is not written.

    Args:
        name: What the files are called.
        models: A network of each framework.
        request: What to write.
        options: How to run them.
        workers: Where to run them.
        on_progress: Called as OnProgress says.

    Raises:
        ParityError: If an exporter cannot take a network, or a file cannot be written.
    """
    for model in models:
        _check_opset(model.backend, request.opset)
    for each in request.precisions:
        precision.check(each, request.calibrate)
    if request.precisions:
        _ = precision.load_images(
            request.shape, request.calibrate, request.preparation or IMAGENET
        )  # bad ones: fail early
    progress = on_progress or (lambda backend, step, done, total: None)
    report = lambda worker, step, done, total: progress(worker.backend, f"records {step}", done, total)
    with temporary_folder() as folder:
        exports = [_Job(name, model, folder / model.backend, request, options, workers, progress) for model in models]
        _record(exports, request.shape[1:], options.timeout, report)
        for size in request.probes:
            try:
                _record(exports, size, options.timeout, report)
            except ParityError as error:
                raise ParityError(f"--probe {size[0]},{size[1]}: {error}") from error
        if request.dynamic_size and not request.probes:
            _record_another_size(exports, request.shape[1:], options.timeout, report)
        for job in exports:
            job.check_traced()
        for job in exports:
            job.export()
            job.progress("exports", 0, 1)
        files = dict[str, Exported]()
        # One file is proved while the other exporter still runs.
        for job, names in _finished(name, exports, options, workers):
            files[job.model.backend] = job.prove(names)
        for job in exports:
            files[job.model.backend] = job.place(files[job.model.backend])
        return [files[job.model.backend] for job in exports]


def _record(exports: Sequence[_Job], size: tuple[int, int], timeout: float, report: WorkerProgress) -> None:
    """Record every network on one image of a size.

    Raises:
        ParityError: If one of them cannot take it; none of them then has this size.
    """
    for job in exports:
        job.trace(size)
    failures = list[ParityError]()
    for job in exports:  # a worker that is left alone would answer the next question with this answer
        try:
            _ = wait([job.worker], timeout, report)
        except ParityError as error:
            failures.append(error)
    if failures:
        for job in exports:
            job.forget()
        raise failures[0]


def _record_another_size(
    exports: Sequence[_Job], size: tuple[int, int], timeout: float, report: WorkerProgress
) -> None:
    """Record every network at a second size that all of them take: any size, or multiples of 2, 4, and so on to 64.

    Raises:
        ParityError: If they take none of these; that of the first.
    """
    first: ParityError | None = None
    for step, second in other_sizes(*size):
        try:
            _record(exports, second, timeout, report)
        except ParityError as error:
            first = first or ParityError(f"--dynamic-size: at {second}, and at multiples of 2 to 64: {error}. "
                                         "Name a size that it takes with --probe H,W")  # fmt: skip
            continue
        for job in exports:
            job.sizes_taken = f"multiples of {step}" if step > 1 else ""
        return
    assert first is not None
    raise first


def other_sizes(height: int, width: int) -> Iterator[tuple[int, tuple[int, int]]]:
    """Yield sizes to try, not square, each with the number that height and width are multiples of."""
    yield 1, (height + 33, width + 22)  # odd in one axis where the first is even
    for step in (2, 4, 8, 16, 32, 64):
        high, wide = (-(-height // step) + 1) * step, (-(-width // step) + 2) * step
        yield step, (high, wide + step if wide == high else wide)


def _finished(
    name: str, exports: Sequence[_Job], options: Options, workers: Workers
) -> Iterator[tuple[_Job, Mapping[str, str]]]:
    """Yield each job when its exporter is done, with the exporter's names of the tensors of the State."""
    try:
        for worker, answer in answers([job.worker for job in exports], options.timeout):
            yield next(job for job in exports if job.worker is worker), answer
    except ParityError as error:
        # paddle2onnx prints what it cannot write, and then aborts the process.
        reasons = [line.split("] ", 1)[-1].strip() for line in workers.log().splitlines() if "[ERROR]" in line]
        if not reasons:
            raise
        raise ParityError(f"{name}: Paddle's exporter cannot take it: {' '.join(reasons)}") from error


def _check_opset(backend: str, opset: int) -> None:
    low, high = OPSETS[backend]
    if not low <= opset <= high:
        other = next((f"; --from {name} can" for name, (lowest, top) in OPSETS.items() if lowest <= opset <= top), "")
        raise ParityError(f"--opset {opset}: the exporter of {backend} writes {low} to {high}{other}")


class _Job:
    """The export of one model: its worker, its temporary files, and the proof of them."""

    def __init__(
        self,
        name: str,
        model: Model,
        temporary: Path,
        request: Request,
        options: Options,
        workers: Workers,
        on_progress: OnProgress,
    ):
        self.name, self.model = name, model
        self.request, self.options = request, options
        self.progress: precision.OnProgress = partial(on_progress, model.backend)
        self.temporary = temporary
        self.worker: Worker = workers.get(model.backend)
        self.inputs: list[tuple[Path, Path]] = []  # of each size, one for each number of images
        self.sizes = list[tuple[int, int]]()
        self.sizes_taken = ""
        temporary.mkdir()
        self.weights = described_weights(options)
        # Its final name: a file refers by name to the file that holds its tensors.
        (temporary / "canonical").mkdir()
        self.canonical = temporary / "canonical" / f"{name}.{model.backend}.onnx"
        self.metadata: Mapping[str, str] = {}
        self.notes: tuple[str, ...] = ()

    def trace(self, size: tuple[int, int]) -> None:
        """Record the network on one image of a size (H, W), and keep inputs of this size."""
        whole = self.temporary / f"size{len(self.sizes)}"
        self.sizes.append(size)
        for batch in BATCHES:
            folder = whole / f"batch{batch}"
            folder.mkdir(parents=True)
            image = projection((batch, self.request.shape[0], *size)) * np.sqrt(3.0)  # standard deviation 1
            np.save(folder / "input.npy", image.astype(np.float32))
            self.inputs.append((folder / "input.npy", folder))
        folder = whole / "batch1"
        on_cpu = replace(self.options, device="cpu")
        network = setup(self.name, self.model, self.weights, on_cpu)
        self.worker.submit(jobs.Trace(network, (folder / "input.npy",), folder / "trace"))

    def forget(self) -> None:
        """Drop the last size."""
        _ = self.sizes.pop()
        del self.inputs[-len(BATCHES) :]
        shutil.rmtree(self.temporary / f"size{len(self.sizes)}")

    def check_traced(self) -> None:
        """Refuse layers that the exporter gets wrong at the recorded sizes; keep the notes on the others."""
        request, sentences = self.request, dict[str, list[str]]()
        told = list[str]()
        for number in range(len(self.sizes)):
            with Trace(self.temporary / f"size{number}" / "batch1" / "trace") as trace:
                if wrappers := trace.manifest.get("wrappers"):
                    told.append(f"taken off the network before it was exported: {', '.join(wrappers)}")
                told += [f"weights: {note}" for note in trace.manifest.get("weights_notes", ())]
                for call in trace.calls:
                    size = trace.shape(call.inputs[0])[2:] if call.inputs else None
                    case = Case(call.kind, call.config, size, request.opset, request.dynamic_size)
                    for fault, setting in met(case, self.model.backend):
                        sentences.setdefault(fault.handling, []).append(sentence(fault, call.layer, case, setting))
        if refused := sentences.get("refused"):
            raise ParityError(f"{self.model.backend}:{self.name}: {'; '.join(dict.fromkeys(refused))}")
        self.notes = tuple(dict.fromkeys((*told, *sentences.get("noted", ()))))
        if self.sizes_taken:
            proved = " and ".join(f"{height} x {width}" for height, width in self.sizes)
            self.notes += (f"height and width are free, in {self.sizes_taken}: proved at {proved}",)

    def export(self) -> None:
        """Ask the worker to run the exporter."""
        example, request = self.inputs[0][0], self.request
        self.worker.submit(jobs.Export(example, self.temporary / "raw.onnx", request.opset, request.dynamic_size))

    def prove(self, names: Mapping[str, str]) -> Exported:
        """Prove the exporter's file and its canonical form.

        Args:
            names: Name of each tensor of the State, by the exporter's name of it.
        """
        proving = partial(self.progress, "proves the file")
        proving(0, 5)
        raw_path, path = self.temporary / "raw.onnx", self.canonical
        self.worker.submit(jobs.Outputs(tuple(self.inputs)))
        graph, raw_nodes = self._simplified(raw_path)
        proof = Proof(self.name, self.temporary, self.inputs, self.options.threads)
        with Trace(self.temporary / "size0" / "batch1" / "trace") as trace:
            manifest = trace.manifest
            proving(1, 5)
            layer_names, total = proof.layers(canonical.unnamed(graph), trace)
            proving(2, 5)
            model = ir.to_proto(canonical.named(graph, names, layer_names))
            model_file.write(model, path)
            model_file.check(path, f"{self.name}: canonical form")
            _ = wait([self.worker], self.options.timeout)
            grown = max(growth(trace.calls), default=1.0)
            proving(3, 5)
            before = proof.noise(raw_path, grown, "the exporter's file")
            after = proof.noise(path, grown, "the canonical form")
            proving(4, 5)
            meaning = proof.meaning(raw_path, trace.calls, names)
            proving(5, 5)
            fault = reason(before, after, meaning, model, set(layer_names.values()), raw_path, trace)
        exported = Exported(
            backend=self.model.backend,
            path=self.request.folder / path.name,
            verdict="different" if fault else "rounding" if after.error else "exact",
            reason=fault,
            noise=after.error,
            raw_noise=before.error,
            bound=after.limit,
            distance=None if meaning is None else meaning.error,
            allowance=0.0 if meaning is None else meaning.limit,
            layers=(len(layer_names), total),
            nodes=(len(model.graph.node), raw_nodes),
            canonical_sha256=model_file.digest(path),
            model=model,
            notes=self.notes,
        )
        self.metadata = metadata(exported, manifest, self.request.opset, self.request.preparation)
        if self.request.raw:
            model_file.write(_ends_named(onnx.load(raw_path)), path)
        return exported

    def _simplified(self, raw_path: Path) -> tuple[ir.Model, int]:
        """Return the exporter's graph, simplified, and how many nodes it had; the file itself is freed.

        Raises:
            ParityError: If the file has another opset than requested, or cannot be read.
        """
        raw = model_file.read(raw_path)
        written = next(each.version for each in raw.opset_import if each.domain in ("", "ai.onnx"))
        if written != self.request.opset:
            raise ParityError(
                f"--opset {self.request.opset}: the exporter of {self.model.backend} needs {written} for this network. "
                f"Use --opset {written}"
            )
        return canonical.simplify(ir.from_proto(raw)), len(raw.graph.node)

    def place(self, exported: Exported) -> Exported:
        """Move the file to its final name if it is proved; return its proof, with a note on what it replaced."""
        lower = {each: exported.path.with_suffix(f".{each}.onnx") for each in self.request.precisions}
        if not exported.ok:
            for path in (exported.path, *lower.values()):
                model_file.remove(path)  # an older file must not be mistaken for this one
            return exported
        note = replaced(exported.path, self.metadata)
        model_file.place(self.canonical, exported.path, self.metadata)
        for each, path in lower.items():
            model_file.remove(path)  # likewise, if this one fails
            exported.lower[str(path)] = precision.lower(
                exported.path, path, each, self.request.calibrate, self.options.threads, on_progress=self.progress
            )
        return replace(exported, notes=(*exported.notes, *note))


def _ends_named(raw: onnx.ModelProto) -> onnx.ModelProto:
    """Return the exporter's graph with the usual names of its input and output."""
    graph = ir.from_proto(raw)
    for value, name in ((graph.graph.inputs[0], canonical.INPUT), (graph.graph.outputs[0], canonical.OUTPUT)):
        value.name = name
    return ir.to_proto(graph)


def as_json(name: str, files: Sequence[Exported]) -> dict[str, Any]:
    """Return the proofs for JSON, schema 1 of docs/onnx.md."""
    return {
        "schema": 1,
        "ok": all(file.ok for file in files),
        "network": name,
        "canonical_sha256": {file.backend: file.canonical_sha256 for file in files},
        "difference": difference(files),
        "files": {file.backend: file.to_dict() for file in files},
    }


def difference(files: Sequence[Exported]) -> str:
    """Return where the canonical files first differ; "" if they are the same bytes, or there is only one."""
    if len({file.canonical_sha256 for file in files}) < 2:
        return ""
    return canonical.difference(files[0].model, files[1].model, (files[0].backend, files[1].backend))
