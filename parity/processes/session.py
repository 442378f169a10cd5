"""The work of a worker: one method for each job, and the state between jobs. It reaches a framework by its backend."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial, singledispatchmethod
from pathlib import Path
from typing import Any, cast

import numpy as np

from parity.analysis.outline import Outline, outline
from parity.analysis.survey import SizeReport, survey
from parity.backends.load import load_backend
from parity.errors import ParityError
from parity.numerics.distance import Distance
from parity.processes import jobs
from parity.tracing.record import outputs64, record
from parity.tracing.replay import replay
from parity.tracing.trace import Trace
from parity.tracing.watch import inference_mode
from parity.weights import checkpoint
from parity.weights.hardened import hardened_state
from parity.weights.state import State


class Session:
    """A worker's backend, and the network of its last trace; `parity.processes.jobs` defines the jobs."""

    def __init__(self, name: str, progress: Callable[[str, int, int], None]):
        """Import a backend, and with it its framework.

        Args:
            name: "torch", "paddle" or "onnx".
            progress: Called with the name of the step, how much is done, the total.
        """
        self.backend = load_backend(name)
        self.progress = progress
        self.network: Any = None
        self.ways: dict[str, Callable[[], Any]] = {}

    @singledispatchmethod
    def do(self, job: Any) -> Any:
        """Do a job and return its answer.

        Raises:
            ParityError: If it cannot be done, for a reason that the user can fix.
        """
        raise NotImplementedError(type(job).__name__)

    @do.register
    def _trace(self, job: jobs.Trace) -> None:
        setup = job.setup
        digest = self._ready(setup).digest()
        manifest = {"model": setup.name, "weights": setup.weights.label, "state_sha256": digest}
        inputs = [np.load(path, allow_pickle=False) for path in job.inputs]
        special = getattr(self.backend, "record", None)  # a file has no layers to wrap: its backend records it itself
        _ = (special or partial(record, self.backend))(
            self.network, inputs, job.path, manifest=manifest, gradients=job.gradients, progress=self.progress
        )

    def _ready(self, setup: jobs.Setup) -> State:
        """Build a network with its weights, and return the weights."""
        self.network = None  # freed before the next one is built
        device = self.backend.use(setup.device, setup.threads)
        self.network = network = self.backend.place(self._build(setup.network), device)
        weights = setup.weights
        if isinstance(weights, jobs.OwnWeights):
            return self.backend.get_state(network)
        slots = self.backend.slots(network)
        if isinstance(weights, jobs.RandomWeights):
            state = hardened_state(slots, weights.seed)
        else:
            state = checkpoint.read(weights.file, slots, setup.family, weights.framework)
        self.backend.set_state(network, state, setup.name)
        return state

    def _build(self, source: jobs.Network) -> Any:
        if isinstance(source, jobs.ModelFile):
            return cast(Any, self.backend).load(source.file)
        if isinstance(source, jobs.Twin):
            classes = {} if source.num_classes is None else {"num_classes": source.num_classes}
            return self.backend.build(source.twin, **classes)
        try:
            network = _call(source.spec)
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            user_frames = [frame for frame in frames if not frame.filename.startswith((__file__, "<frozen"))]
            where = f" ({user_frames[-1].filename}:{user_frames[-1].lineno})" if user_frames else ""
            raise ParityError(f"{self.backend.NAME}:{source.spec}: {one_line(error)}{where}") from error
        if not hasattr(network, "forward"):
            raise ParityError(
                f"{self.backend.NAME}:{source.spec}: returned an object of type {type(network).__name__}, "
                "which is not a network"
            )
        return network

    @do.register
    def _prepare(self, job: jobs.Prepare) -> None:
        _ = self._ready(job.setup)

    @do.register
    def _prepare_ways(self, job: jobs.PrepareWays) -> Mapping[str, str]:
        array = np.load(job.input, allow_pickle=False)
        self.ways, refused = {}, {}
        for way in job.ways:
            try:
                call = cast(Any, self.backend).runner(self.network, way, array)
                call()
                self.ways[way] = call
            except Exception as error:  # no compiler, or a file of another batch size: try the other ways
                refused[way] = " ".join(str(error).split())[:200] or type(error).__name__
        return refused

    @do.register
    def _time_way(self, job: jobs.TimeWay) -> tuple[float, ...]:
        call = self.ways[job.way]
        call()
        return tuple(_seconds(call) for _ in range(job.repeat))

    @do.register
    def _multiply(self, job: jobs.Multiply) -> float:
        a = np.full((job.size, job.size), 1.5, np.float32)
        return 2 * job.size**3 / min(_seconds(lambda: a @ a) for _ in range(4))

    @do.register
    def _layers(self, job: jobs.Layers) -> tuple[tuple[str, str, dict[str, Any]], ...]:
        return tuple(
            (name, *self.backend.describe(layer)) for name, layer in self.backend.layers(self._build(job.network))
        )

    @do.register
    def _state(self, job: jobs.State) -> None:
        self.backend.get_state(self.network).save(job.path)

    @do.register
    def _replay(self, job: jobs.Replay) -> tuple[tuple[str, int, Distance | str], ...]:
        with Trace(job.reference) as reference:
            gaps = replay(self.backend, self.network, reference)
        return tuple((layer, number, gap) for (layer, number), gap in gaps.items())

    @do.register
    def _file_outputs(self, job: jobs.FileOutputs) -> None:
        inputs = [np.load(job.input, allow_pickle=False)]
        for i, array in enumerate(cast(Any, self.backend).file_outputs(self.network, inputs)):
            np.save(job.folder / f"{i}.npy", array)

    @do.register
    def _losses(self, job: jobs.Losses) -> tuple[tuple[float, float], ...]:
        with Trace(job.reference) as reference:
            return tuple(cast(Any, self.backend).losses(self.network, reference, job.pairs))

    @do.register
    def _outline(self, job: jobs.Outline) -> Outline:
        _ = self.backend.use("cpu", job.threads)
        network = self._build(job.network)
        # A user's network may depend on the values inside it, so it runs with its real weights.
        hollow = isinstance(job.network, jobs.Twin)
        return outline(self.backend, self.backend.hollow(network) if hollow else network, job.shape)

    @do.register
    def _survey(self, job: jobs.Survey) -> tuple[SizeReport, ...]:
        _ = self.backend.use("cpu", 1)
        report = lambda done: self.progress("pooling", done, len(job.sizes))
        return tuple(survey(self.backend, self._build(job.network), job.channels, job.sizes, report))

    @do.register
    def _shape(self, job: jobs.Shape) -> tuple[int | None, ...]:
        backend = cast(Any, self.backend)
        return tuple(backend.input_shape(backend.load(job.file)))

    @do.register
    def _export(self, job: jobs.Export) -> Mapping[str, str]:
        example = np.load(job.example, allow_pickle=False)
        with inference_mode(self.backend, self.network):
            return self.backend.export(self.network, example, job.path, job.opset, job.dynamic_size)

    @do.register
    def _outputs(self, job: jobs.Outputs) -> None:
        for source, folder in job.inputs:
            for i, array in enumerate(outputs64(self.backend, self.network, np.load(source, allow_pickle=False))):
                np.save(folder / f"{i}.npy", array)

    @do.register
    def _read(self, job: jobs.Read) -> None:
        State(self.backend.read_checkpoint(job.file)).save(job.path)


def _call(spec: str) -> Any:
    """Call the callable of MODULE_OR_FILE.py:callable and return its result."""
    module, _, name = spec.rpartition(":")
    if not module.endswith(".py"):
        sys.path.insert(0, str(Path.cwd()))
        return getattr(importlib.import_module(module), name)()
    sys.path.insert(0, str(Path(module).resolve().parent))  # as for a script: files beside it can be imported
    location = importlib.util.spec_from_file_location(Path(module).stem, module)
    assert location is not None
    assert location.loader is not None
    loaded = importlib.util.module_from_spec(location)
    _ = sys.modules.setdefault(location.name, loaded)
    location.loader.exec_module(loaded)
    return getattr(loaded, name)()


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    _ = call()
    return time.perf_counter() - start


def one_line(error: Exception) -> str:
    """Return an error's kind and message on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split()) or 'no message'}"
