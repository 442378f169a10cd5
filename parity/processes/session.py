"""The work of a worker: one method for each job, and the state between jobs. It reaches a framework by its backend."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial, singledispatchmethod
from typing import Any, cast

import numpy as np

from parity.analysis.described import described
from parity.analysis.outline import Outline, outline
from parity.analysis.survey import SizeReport, survey
from parity.backends.given import explained, network_in
from parity.backends.load import load_backend
from parity.backends.origin import Origin, Source, origin
from parity.errors import ParityError, UserCodeError, in_layer, place, said
from parity.numerics.distance import Distance
from parity.processes import jobs
from parity.processes.models import parse_single
from parity.processes.spec import built
from parity.tracing.inputs import Inputs
from parity.tracing.overwriting import overwriting
from parity.tracing.record import outputs64, record
from parity.tracing.replay import replay
from parity.tracing.sketch import Sketch, quick_sketch
from parity.tracing.trace import Trace
from parity.tracing.training import Mode
from parity.tracing.watch import evaluation_mode
from parity.weights import checkpoint
from parity.weights.carried import carried
from parity.weights.hardened import hardened_state
from parity.weights.state import Slot, State


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
        self.given: Mapping[str, Any] = {}  # what a manifest says of how the network was given
        self.source: Source | None = None  # how the network is built anew
        self.spare: tuple[jobs.Network, Any] | None = None  # built for a question, and as good as new
        self.inputs: Inputs = []
        self.mode: Mode = "eval"
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
        setup, self.mode = job.setup, job.mode
        state, notes = self._ready(setup)
        manifest: dict[str, Any] = {"model": setup.name, "weights": setup.weights.label, "state_sha256": state.digest()}
        if notes:
            manifest["weights_notes"] = notes
        self.inputs = self._inputs(job)
        special = getattr(self.backend, "record", None)  # a file has no layers to wrap: its backend records it itself
        with explained(self.network):
            _ = (special or partial(record, self.backend))(
                self.network,
                self.inputs,
                job.path,
                manifest={**manifest, **self.given},
                gradients=job.gradients,
                mode=job.mode,
                progress=self.progress,
            )

    def _ready(self, setup: jobs.Setup) -> tuple[State, list[str]]:
        """Build a network with its weights, and return the weights, and notes on how they came into it."""
        self.network = None  # freed before the next one is built
        device = self.backend.use(setup.device, setup.threads)
        self.network = network = self.backend.place(self._build(setup.network), device)
        weights = setup.weights
        if isinstance(weights, jobs.OwnWeights):
            return self.backend.get_state(network), []
        slots = self.backend.slots(network)
        if isinstance(weights, jobs.RandomWeights):
            state = hardened_state(slots, weights.seed)
            with explained(network):
                _ = self.backend.set_state(network, state, setup.name)  # a note on constants would be one on every run
            return state, []
        if isinstance(weights, jobs.CarriedWeights):
            state = State.load(weights.file)
            others = {name: Slot(array.shape, "", name.rpartition(".")[2]) for name, array in state.items()}
            state, notes = carried(state, others, self.backend.get_state(network), slots, weights.layers)
            return state, notes + self.backend.set_state(network, state, setup.name)
        with explained(network):
            state, notes = checkpoint.read(weights.file, slots, setup.family, weights.framework, weights.key)
            given = State(state, weights.constants)
            notes += self.backend.set_state(network, given, f"{weights.file}: {setup.name}")
        return state, notes

    def _build(self, source: jobs.Network) -> Any:
        spare, self.spare = self.spare, None
        if spare is not None and spare[0] == source:
            return spare[1]
        self.given, self.source = {}, None
        if isinstance(source, jobs.ModelFile):
            return cast(Any, self.backend).load(source.file)
        if isinstance(source, jobs.Twin):
            classes = {} if source.num_classes is None else {"num_classes": source.num_classes}
            words = "".join(f", {word}={value}" for word, value in classes.items())
            self.source = Source(f"{self.backend.NAME}_cnn", "", f"build({source.twin!r}{words})")
            return self.backend.build(source.twin, **classes)
        try:
            made, notes, self.source = built(source.spec)
        except ParityError as error:
            raise type(error)(f"{self.backend.NAME}:{source.spec}: {error}") from error
        except Exception as error:
            line = f"{type(error).__name__}: {said(error)}{place(error)}"
            raise UserCodeError(f"{self.backend.NAME}:{source.spec}: {line}") from error
        try:
            given = network_in(made)
        except ParityError as error:
            raise type(error)(f"{self.backend.NAME}:{source.spec}: {error}") from error.__cause__
        if not hasattr(given.network, "forward"):
            raise ParityError(
                f"{self.backend.NAME}:{source.spec}: returned an object of type {type(given.network).__name__}, "
                "which is not a network"
            )
        self.given = {**given.manifest, **({"built": notes} if notes else {})}
        return given.network

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
        return tuple(described(self.backend, self._build(job.network), job.shape))

    @do.register
    def _slots(self, job: jobs.Slots) -> Mapping[str, Slot]:
        network = self._build(job.network)
        self.spare = job.network, network
        return self.backend.slots(network)

    @do.register
    def _state(self, job: jobs.State) -> None:
        self.backend.get_state(self.network).save(job.path)

    @do.register
    def _layer_origin(self, job: jobs.LayerOrigin) -> Origin:
        return origin(self.backend, self.network, job.layer, job.path, self.source)

    @do.register
    def _sketch(self, job: jobs.Sketch) -> Sketch:
        _ = self._ready(job.setup)
        with explained(self.network):
            sketched = quick_sketch(self.backend, self.network, self._inputs(job))
        if job.weights is not None:
            self.backend.get_state(self.network).save(job.weights)
        self.spare = job.setup.network, self.network  # whoever runs it next gives it weights
        return sketched

    def _inputs(self, job: jobs.Trace | jobs.Sketch) -> Inputs:
        arrays = [np.load(path, allow_pickle=False) for path in job.inputs]
        return dict(zip(job.names, arrays, strict=True)) if job.names else arrays

    @do.register
    def _replay(self, job: jobs.Replay) -> tuple[tuple[str, int, Distance | str], ...]:
        with Trace(job.reference) as reference:
            gaps = replay(self.backend, self.network, reference, job.partners, self.mode)
        return tuple((layer, number, gap) for (layer, number), gap in gaps.items())

    @do.register
    def _overwriting(self, job: jobs.Overwriting) -> tuple[str, ...]:
        with Trace(job.other) as other:
            return tuple(overwriting(self.backend, self.network, self.inputs, other, job.limit, self.mode))

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
        try:
            return outline(self.backend, self.backend.hollow(network) if hollow else network, job.shape)
        except (ParityError, MemoryError):
            raise
        except Exception as error:
            raise in_layer(type(network).__name__, error) from error

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
        with evaluation_mode(self.backend, self.network):
            return self.backend.export(self.network, example, job.path, job.opset, job.dynamic_size)

    @do.register
    def _outputs(self, job: jobs.Outputs) -> None:
        for source, folder in job.inputs:
            for i, array in enumerate(outputs64(self.backend, self.network, [np.load(source, allow_pickle=False)])):
                np.save(folder / f"{i}.npy", array)


def live(text: str) -> Any:
    """Return the network that "torch:..." or "paddle:..." names, built in this process; a twin has random weights.

    Raises:
        ParityError: If it names none, or the user's code fails.
        ModuleNotFoundError: If the framework is not installed.
    """
    model = parse_single(text)
    session = Session(model.backend, lambda step, done, total: None)
    if not model.twin:
        return session._build(jobs.Spec(model.target))
    network = session._build(jobs.Twin(model.target))
    _ = session.backend.set_state(network, hardened_state(session.backend.slots(network)), text)
    return network


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    _ = call()
    return time.perf_counter() - start
