"""Record a Trace: run a network in float64 and in its own precision, and write every layer call.

This module knows no framework: a backend lists the layers and turns tensors into numpy arrays. A layer's `forward` is
wrapped during the run, rather than hooked, because that works alike in every framework and version, sees keyword
arguments, and sees layers that are called by their `forward`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from parity.errors import ParityError, in_layer
from parity.functions import FUNCTIONS, MARK, SHAPE, caller_of, is_function
from parity.layers import Config, check_input
from parity.numerics.arrays import Array
from parity.tracing.backend import Backend, OnProgress
from parity.tracing.gradients import GradientWatch
from parity.tracing.inputs import Arguments, Inputs, as_bound, bound, input_digest, mapped
from parity.tracing.measured import kernel_of, measured_noise, terms_of
from parity.tracing.ownership import Ownership
from parity.tracing.trace import Call, Noise, TraceWriter
from parity.tracing.training import Mode, running
from parity.tracing.watch import TensorCache, flatten, keys, leaves, watched


def record(
    backend: Backend,
    network: Any,
    inputs: Inputs,
    path: str | os.PathLike[str],
    *,
    manifest: Mapping[str, Any] | None = None,
    gradients: bool = False,
    mode: Mode = "eval",
    progress: OnProgress | None = None,
) -> None:
    """Run `network` twice, in float64 and in its own precision, and write the Trace to `path`.

    A network in training mode is recorded in evaluation mode; one in evaluation mode is recorded as it is, including a
    layer left in training mode. With `mode` "train" it is the other way round. Afterwards mode, weights, statistics,
    gradients and random numbers are as they were before.

    Args:
        backend: The module of the network's framework.
        network: A live torch.nn.Module or paddle.nn.Layer.
        inputs: Its arguments, as `tracing.inputs.bound` reads them; floating ones are cast to each run's precision.
        path: Where the Trace goes.
        manifest: Further entries of the manifest.
        gradients: Whether to record the gradients of a fixed random projection of the network's outputs.
        mode: "eval", or "train": statistics of the batch, which update the running ones, and dropout by fixed masks.
        progress: Called as OnProgress says.

    Raises:
        ParityError: If a layer cannot take its input, its code fails or returns no dense array, or the two runs call
            different layers.
    """
    arguments = bound(network, inputs)
    with as_bound(network, inputs, arguments):
        recorder = Recorder(backend, network, path, gradients, mode, progress)
        layers, functions = watched(recorder.layers, recorder.wrap), backend.functions(network, recorder.function)
        with running(backend, network, mode) as drawn, layers, functions:
            with backend.double(network) as changed64:
                recorder.run("float64", arguments)
            with backend.native(network) as changed32:
                recorder.run("float32", arguments)
    entries = {**backend.manifest(network), "input_sha256": input_digest(inputs), **(manifest or {})}
    if mode == "train":
        entries |= {"mode": mode, **({"draws": drawn} if drawn else {})}
    elif network.training:
        entries["training_mode"] = True
    if changed := list(dict.fromkeys([*changed64, *changed32])):
        entries["changed_weights"] = changed
    recorder.close(entries)


def outputs64(backend: Backend, network: Any, inputs: Inputs, mode: Mode = "eval") -> list[Array]:
    """Return the network's outputs in float64, in the mode, without recording."""
    arguments = bound(network, inputs)
    with running(backend, network, mode), backend.double(network), backend.autograd(False):
        outputs = _called(backend, network, arguments, np.float64)
        return [backend.to_numpy(tensor) for tensor in flatten(outputs, backend.is_tensor)]


def _called(
    backend: Backend,
    network: Any,
    arguments: Arguments,
    dtype: type[np.floating[Any]],
    given: Callable[[Any], Any] | None = None,
) -> Any:
    """Return what the network makes of the arguments, floating arrays cast to `dtype`; `given` may replace tensors."""

    def tensor(array: Array) -> Any:
        made = backend.to_tensor(array.astype(dtype) if array.dtype.kind == "f" else array, network)
        return made if given is None else given(made)

    positional, named = mapped(arguments, tensor)
    return network(*positional, **named)


class _Open(NamedTuple):
    """A layer whose forward is running. What a framework's own layer calls within it is not recorded."""

    name: str
    layer: Any
    opaque: bool


class _Begun(NamedTuple):
    """A call that is running: what is known of it before its result."""

    name: str
    number: int
    kind: str
    config: Config
    inputs: list[Any]
    names: tuple[str, ...]
    replayable: bool
    position: int
    kernel: tuple[int, ...] = ()
    before: tuple[tuple[Any, int, bool], ...] = ()  # its inputs, where gradients are recorded


class Recorder:
    """The calls of a network's runs: of one in float64 and then of one in float32, or of a sketch alone."""

    def __init__(
        self,
        backend: Backend,
        network: Any,
        path: str | os.PathLike[str] | None,
        gradients: bool = False,
        mode: Mode = "eval",
        progress: OnProgress | None = None,
    ):
        self.backend, self.network = backend, network
        self.gradients: GradientWatch | None = None
        self.with_gradients, self.trains, self.progress = gradients, mode == "train", progress
        if path is not None:
            self.writer = TraceWriter(path)
        self.ownership = Ownership(backend, network)
        self.layers = list(backend.layers(network))
        self.leaves = leaves(backend, self.layers)
        self.calls: list[dict[str, Any]] = []  # of layers and functions, by their end
        self.layer_calls: list[dict[str, Any]] = []
        self.other_code = set[str]()  # layers whose code calls other functions in float32 than in float64
        self.function_calls: dict[tuple[str, int], dict[str, Any]] = {}
        self.precision = ""
        self.recording = False
        self.stack = list[_Open]()
        self.in_function = False
        self.failure: tuple[Exception | None, str] = None, ""  # the last error out of a layer, and which

    def run(self, precision: str, arguments: Arguments) -> None:
        """Run the network in a precision: "float64" and then "float32", or "sketch" alone, which stores nothing."""
        self.precision = precision
        self.counts = dict[str, int]()
        self.position = 0
        self.cache = TensorCache(self.backend.version)
        self.gradients = GradientWatch(self.backend, self._gradient) if self.with_gradients else None
        given = None if self.gradients is None else self.gradients.input
        dtype = np.float64 if precision == "float64" else np.float32
        self.ownership.find()
        with self.backend.autograd(self.with_gradients):
            self.recording = True
            try:
                outputs = _called(self.backend, self.network, arguments, dtype, given)
            except (ParityError, MemoryError):  # a ParityError names the layer already
                raise
            except Exception as error:
                layer = self.failure[1] if self.failure[0] is error else type(self.network).__name__
                raise in_layer(layer, error) from error
            self.recording = False  # with gradient checkpointing, backward calls layers again
            if self.gradients is not None:
                self.gradients.backward(self.layer_calls[-1], flatten(outputs, self.backend.is_tensor))
        if precision == "float32" and self.position != len(self.layer_calls):
            total = len(self.layer_calls)
            raise ParityError(f"the float64 run made {total} layer calls, the float32 run {self.position}")

    def wrap(self, name: str, layer: Any, forward: Callable[..., Any]) -> Callable[..., Any]:
        """Return a layer's forward that records its calls."""
        kind, config = self.backend.describe(layer)
        leaf = id(layer) in self.leaves
        own_forward = str(type(layer).forward.__module__).startswith(f"{self.backend.NAME}.")
        opened = _Open(name, layer, opaque=leaf and own_forward)

        def recorded(*args: Any, **kwargs: Any) -> Any:
            if not self.recording:
                return forward(*args, **kwargs)
            inputs = flatten((args, kwargs), self.backend.is_tensor)
            if leaf and inputs:
                check_input(name, kind, config, tuple(inputs[0].shape))
            replayable = bool(inputs) and not kwargs and all(map(self.backend.is_tensor, args))
            now = {**config, "training": layer.training}  # the code may have changed it since
            begun = self._begin(name, kind, now, inputs, replayable, self._kernel(kind, layer))
            statistics = self.backend.statistics(layer) if self.trains and layer.training else {}
            before = self._statistics(statistics)
            self.stack.append(opened)
            try:
                result = forward(*args, **kwargs)
            except Exception as error:
                if self.failure[0] is not error:
                    self.failure = error, name or kind
                raise
            finally:
                _ = self.stack.pop()
            entry = self._end(begun, result, leaf and begun.position == len(self.calls))
            if statistics and entry is not None:
                self._keep_statistics(entry, before, self.backend.statistics(layer))
            if self.gradients is not None and entry is not None:
                outputs = flatten(result, self.backend.is_tensor)
                self.gradients.call(entry, layer, begun.before, outputs, leaf)
            if self.progress is not None and leaf:
                self.progress(self.precision, self.position, len(self.layer_calls) or len(self.layers))
            return result

        return recorded

    def function(self, name: str, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call a framework's function and return its result; record the call if the code of a layer made it."""
        if not self.recording or self.in_function or not self.stack or self.stack[-1].opaque:
            return function(*args, **kwargs)
        known = FUNCTIONS.get(name)
        tensors = flatten((args, kwargs), self.backend.is_tensor)
        inputs = [tensor for tensor in tensors if tensor not in self.ownership][: known and known.tensors]
        caller = self.stack[-1].name
        path = f"{caller}.{name}{MARK}" if caller else f"{name}{MARK}"
        self.in_function = True  # functions call others
        try:
            if not inputs or name == SHAPE or not all(map(self.backend.is_plain, inputs)):
                result = function(*args, **kwargs)
                if not inputs or name == SHAPE:
                    self.ownership.derive(tensors, flatten(result, self.backend.is_tensor))
                return result
            shape = tuple(map(int, inputs[0].shape))
            kind, config = self.backend.describe_function(name, function, args, kwargs, shape)
            check_input(path, kind, config, shape)
            begun = self._begin(path, kind, config, inputs, replayable=False)
            result = function(*args, **kwargs)
            outputs = flatten(result, self.backend.is_tensor)
            if outputs and all(map(self.backend.is_plain, outputs)):
                entry = self._end(begun, result, leaf=True)
                if entry is not None and self.precision != "float32":
                    entry["weights"] = self.ownership.of_function(tensors, {opened.name for opened in self.stack})
                if self.gradients is not None and entry is not None:
                    self.gradients.call(entry, None, begun.before, outputs, leaf=True)
        finally:
            self.in_function = False
        return result

    def _begin(
        self, name: str, kind: str, config: Config, inputs: list[Any], replayable: bool, kernel: tuple[int, ...] = ()
    ) -> _Begun:
        number = self.counts.get(name, 0)
        self.counts[name] = number + 1
        names = tuple(self._store(tensor, name or kind) for tensor in inputs) if self.precision != "float32" else ()
        before = () if self.gradients is None else self.gradients.before(inputs)
        return _Begun(name, number, kind, config, inputs, names, replayable, len(self.calls), kernel, before)

    def _end(self, begun: _Begun, result: Any, leaf: bool) -> dict[str, Any] | None:
        """Record a call that has returned; return its entry, None for a function that only this precision calls."""
        where = begun.name or begun.kind
        outputs = flatten(result, self.backend.is_tensor)
        if self.precision != "float32":
            entry = self._new_entry(begun, result, outputs, leaf)
        else:
            entry = self._expected(begun, outputs)
            if entry is not None:
                pairs = zip(outputs, entry["outputs"], strict=True)
                entry["noise"] = tuple(self._noise(tensor, name, where) for tensor, name in pairs)
        if not is_function(begun.name):
            self.position += 1
        return entry

    def _new_entry(self, begun: _Begun, result: Any, outputs: list[Any], leaf: bool) -> dict[str, Any]:
        shapes = [tuple(map(int, tensor.shape)) for tensor in outputs]
        before = tuple(begun.inputs[0].shape) if begun.inputs else ()
        entry = {
            "layer": begun.name,
            "number": begun.number,
            "kind": begun.kind,
            "leaf": leaf,
            "config": begun.config,
            "inputs": begun.names,
            "outputs": tuple(self._store(tensor, begun.name or begun.kind) for tensor in outputs),
            "shapes": shapes,
            "labels": keys(result, self.backend.is_tensor),
            "kernel": begun.kernel,
            "weights": {},
            "terms": terms_of(begun.name, begun.kind, begun.config, before, shapes[0] if shapes else ()),
            "replayable": begun.replayable,
        }
        self.calls.append(entry)
        if is_function(begun.name):
            self.function_calls[begun.name, begun.number] = entry
        else:
            self.layer_calls.append(entry)
        return entry

    def _expected(self, begun: _Begun, outputs: list[Any]) -> dict[str, Any] | None:
        """Return the float64 run's entry of a call; None for a function that only this precision calls."""
        if is_function(begun.name):
            entry = self.function_calls.get((begun.name, begun.number))
            shapes = [tuple(map(int, tensor.shape)) for tensor in outputs]
            if entry is not None and entry["shapes"] == shapes:
                return entry
            self.other_code.add(caller_of(begun.name))
            return None
        entry = self.layer_calls[self.position] if self.position < len(self.layer_calls) else {}
        key = entry.get("layer"), entry.get("number"), len(entry.get("outputs", ()))
        if key != (begun.name, begun.number, len(outputs)):
            raise ParityError(f"{begun.name}: the float64 and the float32 run diverge here: they call different layers")
        return entry

    def _kernel(self, kind: str, layer: Any) -> tuple[int, ...]:
        return kernel_of(self.backend, kind, layer)

    def _store(self, tensor: Any, layer: str) -> str:
        with _readable(layer):
            name = self.cache.get(tensor)
            if name is None:
                name = self.writer.add(self.backend.to_numpy(tensor))
                self.cache.put(tensor, name)
        return name

    def _noise(self, tensor: Any, name: str, layer: str) -> Noise:
        with _readable(layer):
            noise = self.cache.get(tensor)
            if noise is None:
                noise = measured_noise(self.backend.to_numpy(tensor), self.writer.read(name))
                self.cache.put(tensor, noise)
        return noise

    def _statistics(self, tensors: Mapping[str, Any]) -> dict[str, str]:
        """Write statistics, and return their names in the file; nothing in the float32 run."""
        if self.precision != "float64":
            return {}
        return {role: self.writer.add(self.backend.to_numpy(tensor)) for role, tensor in tensors.items()}

    def _keep_statistics(self, entry: dict[str, Any], before: Mapping[str, str], tensors: Mapping[str, Any]) -> None:
        if self.precision == "float64":
            entry |= {"statistics_before": before, "statistics": self._statistics(tensors)}
            return
        arrays = {role: self.backend.to_numpy(tensor) for role, tensor in tensors.items()}
        names = entry.get("statistics", {})
        entry["statistics_noise"] = {
            role: measured_noise(arrays[role], self.writer.read(name)) for role, name in names.items() if role in arrays
        }

    def _gradient(self, entry: dict[str, Any], label: str, array: Array) -> None:
        """Keep a gradient: that of the float64 run, or its noise."""
        if self.precision == "float64":
            entry.setdefault("gradients", {})[label] = self.writer.add(array)
        elif label in entry.get("gradients", {}):
            noise = measured_noise(array, self.writer.read(entry["gradients"][label]))
            entry.setdefault("gradient_noise", {})[label] = noise

    def recorded(self) -> list[Call]:
        """Return the calls that both precisions made, in the order of their ends."""
        # Code that calls other functions in float32 than in float64 has no calls that could be told apart by number.
        one_sided = {caller_of(entry["layer"]) for entry in self.calls if "noise" not in entry}
        other_code = self.other_code | (one_sided if self.precision == "float32" else set())
        defaults = {"gradients": {}, "gradient_noise": {}, "noise": ()}
        for entry in self.calls:  # a gradient that the float32 run lacks cannot be read
            gradients, noise = entry.get("gradients", {}), entry.get("gradient_noise", {})
            entry["gradients"] = {label: name for label, name in gradients.items() if label in noise}
        kept = [
            entry
            for entry in self.calls
            if not is_function(entry["layer"]) or caller_of(entry["layer"]) not in other_code
        ]
        given = {name for entry in kept if is_function(entry["layer"]) for name in entry["weights"]}
        for entry in kept:
            if not is_function(entry["layer"]):
                entry["weights"] = self.ownership.of_layer(entry["layer"], given)
        return [
            Call(**{**defaults, **{word: each for word, each in entry.items() if word != "shapes"}}) for entry in kept
        ]

    def close(self, manifest: Mapping[str, Any]) -> None:
        """Finish the Trace."""
        self.writer.close(manifest, self.recorded())


@contextlib.contextmanager
def _readable(layer: str) -> Iterator[None]:
    """Name the layer of a tensor that cannot be compared: sparse, quantised, or of a dtype that numpy lacks."""
    try:
        yield
    except (ParityError, RuntimeError, TypeError, ValueError) as error:  # what frameworks raise for them
        message = " ".join(str(error).split())[:400]
        raise ParityError(f"{layer}: takes or returns a tensor that cannot be compared: {message}") from error
