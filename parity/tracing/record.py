"""Record a Trace: run a network in float64 and in its own precision, and write every layer call.

This module knows no framework: a backend lists the layers and turns tensors into numpy arrays. A layer's `forward` is
wrapped during the run, rather than hooked, because that works alike in every framework and version, sees keyword
arguments, and sees layers that are called by their `forward`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from parity.errors import ParityError, in_layer
from parity.layers import check_input, known, terms
from parity.numerics.arrays import Array
from parity.numerics.distance import distance
from parity.numerics.fingerprint import fingerprint
from parity.numerics.fixed_random import projection
from parity.tracing.backend import Backend, OnProgress
from parity.tracing.trace import Call, Noise, TraceWriter
from parity.tracing.watch import TensorCache, flatten, inference_mode, keys, leaves, watched


def record(
    backend: Backend,
    network: Any,
    inputs: Sequence[Array],
    path: str | os.PathLike[str],
    *,
    manifest: Mapping[str, Any] | None = None,
    gradients: bool = False,
    progress: OnProgress | None = None,
) -> None:
    """Run `network` twice, in float64 and in its own precision, and write the Trace to `path`.

    A network in training mode is recorded in evaluation mode; one in evaluation mode is recorded as it is, including a
    layer left in training mode. Afterwards mode, weights, statistics and gradients are as they were before.

    Args:
        backend: The module of the network's framework.
        network: A live torch.nn.Module or paddle.nn.Layer.
        inputs: Its positional arguments; floating ones are cast to each run's precision.
        path: Where the Trace goes.
        manifest: Further entries of the manifest.
        gradients: Whether to record the gradients of a fixed random projection of the network's outputs.
        progress: Called as OnProgress says.

    Raises:
        ParityError: If a layer cannot take its input, its code fails or returns no dense array, or the two runs call
            different layers.
    """
    try:
        _record(backend, network, inputs, path, manifest or {}, gradients, progress)
    except RecursionError as error:  # raised between layers
        raise in_layer(type(network).__name__, error) from error


def _record(
    backend: Backend,
    network: Any,
    inputs: Sequence[Array],
    path: str | os.PathLike[str],
    manifest: Mapping[str, Any],
    gradients: bool,
    progress: OnProgress | None,
) -> None:
    recorder = _Recorder(backend, network, path, gradients, progress)
    with inference_mode(backend, network), watched(recorder.layers, recorder.wrap):
        with backend.double(network) as changed64:
            recorder.run("float64", inputs)
        with backend.native(network) as changed32:
            recorder.run("float32", inputs)
    entries = {**backend.manifest(network), "input_sha256": input_digest(inputs), **manifest}
    if network.training:
        entries["training_mode"] = True
    if changed := list(dict.fromkeys([*changed64, *changed32])):
        entries["changed_weights"] = changed
    recorder.close(entries)


def outputs64(backend: Backend, network: Any, array: Array) -> list[Array]:
    """Return the network's outputs in float64, in evaluation mode, without recording."""
    with inference_mode(backend, network), backend.double(network), backend.autograd(False):
        outputs = network(backend.to_tensor(array.astype(np.float64), network))
        return [backend.to_numpy(tensor) for tensor in flatten(outputs, backend.is_tensor)]


def input_digest(inputs: Iterable[Array]) -> str:
    """Return the SHA-256 (hex) of the inputs' dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for array in inputs:
        digest.update(repr((array.dtype.str, array.shape)).encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


class _Watched(NamedTuple):
    """A tensor whose gradient is recorded: the call it belongs to, its layer, its label, its version at the call."""

    entry: dict[str, Any]
    layer: Any
    label: str
    tensor: Any
    version: int


class _Recorder:
    def __init__(
        self, backend: Backend, network: Any, path: str | os.PathLike[str], gradients: bool, progress: OnProgress | None
    ):
        self.backend, self.network = backend, network
        self.gradients, self.progress = gradients, progress
        self.writer = TraceWriter(path)
        self.layers = list(backend.layers(network))
        self.leaves = leaves(backend, self.layers)
        self.calls: list[dict[str, Any]] = []
        self.precision = ""
        self.recording = False

    def run(self, precision: str, inputs: Sequence[Array]) -> None:
        self.precision = precision
        self.counts = dict[str, int]()
        self.position = 0
        self.cache = TensorCache(self.backend.version)
        self.watched = list[_Watched]()
        dtype = np.float64 if precision == "float64" else np.float32
        arrays = [array.astype(dtype) if array.dtype.kind == "f" else array for array in inputs]
        with self.backend.autograd(self.gradients):
            self.recording = True
            outputs = self.network(*[self.backend.to_tensor(array, self.network) for array in arrays])
            self.recording = False  # with gradient checkpointing, backward calls layers again
            if self.gradients:
                self._backward(flatten(outputs, self.backend.is_tensor))
        if precision != "float64" and self.position != len(self.calls):
            raise ParityError(f"the float64 run made {len(self.calls)} layer calls, the float32 run {self.position}")

    def wrap(self, name: str, layer: Any, forward: Callable[..., Any]) -> Callable[..., Any]:
        kind, config = self.backend.describe(layer)
        leaf = id(layer) in self.leaves

        def recorded(*args: Any, **kwargs: Any) -> Any:
            if not self.recording:
                return forward(*args, **kwargs)
            inputs = flatten((args, kwargs), self.backend.is_tensor)
            if leaf and inputs:
                check_input(name, kind, config, tuple(inputs[0].shape))
            number = self.counts.get(name, 0)
            self.counts[name] = number + 1
            names = tuple(self._store(tensor, name or kind) for tensor in inputs) if self.precision == "float64" else ()
            shape = tuple(inputs[0].shape) if inputs else ()
            try:
                result = forward(*args, **kwargs)
            except (ParityError, MemoryError):  # a ParityError names the inner layer already
                raise
            except Exception as error:
                raise in_layer(name or kind, error) from error
            outputs = flatten(result, self.backend.is_tensor)
            if self.precision == "float64":
                entry = {"layer": name, "number": number, "kind": kind, "leaf": leaf, "config": config, "inputs": names}
                entry["outputs"] = tuple(self._store(tensor, name or kind) for tensor in outputs)
                entry["labels"] = keys(result, self.backend.is_tensor)
                entry["kernel"] = _kernel(self.backend, kind, layer)
                entry["terms"] = terms(config, shape, tuple(outputs[0].shape) if outputs else ())
                entry["replayable"] = (
                    bool(inputs) and not kwargs and all(self.backend.is_tensor(value) for value in args)
                )
                self.calls.append(entry)
            else:
                entry = self._expect(name, number, len(outputs))
                entry["noise"] = tuple(
                    self._noise(*pair, name or kind) for pair in zip(outputs, entry["outputs"], strict=True)
                )
            if self.gradients and leaf:
                self._watch_gradients(entry, layer, outputs)
            self.position += 1
            if self.progress is not None and leaf:
                self.progress(self.precision, self.position, len(self.calls) or len(self.layers))
            return result

        return recorded

    def _expect(self, name: str, number: int, outputs: int) -> dict[str, Any]:
        entry = self.calls[self.position] if self.position < len(self.calls) else {}
        if (entry.get("layer"), entry.get("number"), len(entry.get("outputs", ()))) != (name, number, outputs):
            raise ParityError(f"{name}: the float64 and the float32 run diverge here: they call different layers")
        return entry

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

    def _watch_gradients(self, entry: dict[str, Any], layer: Any, outputs: list[Any]) -> None:
        tensors = {f"output {i}": tensor for i, tensor in enumerate(outputs)}
        if entry["number"] == 0:
            tensors |= self.backend.parameters(layer)
        self.watched += [
            _Watched(entry, layer, label, tensor, self.backend.version(tensor)) for label, tensor in tensors.items()
        ]

    def _backward(self, outputs: list[Any]) -> None:
        # A tensor changed in place since its call is now another one. The gradient of an output is its cotangent, and
        # asking Paddle for it cuts off everything behind it.
        ends = {id(tensor) for tensor in outputs}
        watched = [
            each
            for each in self.watched
            if self.backend.version(each.tensor) == each.version and id(each.tensor) not in ends
        ]
        cotangents = [projection(tuple(tensor.shape)) for tensor in outputs]
        gradients = self.backend.gradients(outputs, cotangents, [each.tensor for each in watched])
        for each, gradient in zip(watched, gradients, strict=True):
            if gradient is None:
                continue
            array = self.backend.neutral(each.layer, each.label, self.backend.to_numpy(gradient))
            if self.precision == "float64":
                each.entry.setdefault("gradients", {})[each.label] = self.writer.add(array)
            elif each.label in each.entry.get("gradients", {}):
                noise = measured_noise(array, self.writer.read(each.entry["gradients"][each.label]))
                each.entry.setdefault("gradient_noise", {})[each.label] = noise

    def close(self, manifest: Mapping[str, Any]) -> None:
        defaults = {"gradients": {}, "gradient_noise": {}}
        self.writer.close(manifest, [Call(**{**defaults, **entry}) for entry in self.calls])


def _kernel(backend: Backend, kind: str, layer: Any) -> tuple[int, ...]:
    """Return the fingerprint of a layer's weight; empty for a layer that has none."""
    weight = getattr(layer, "weight", None) if known(kind).weighted else None
    if not backend.is_tensor(weight):
        return ()
    array = backend.neutral(layer, "weight", backend.to_numpy(weight))
    return fingerprint(array, axis=1 if "Transpose" in kind else 0)


@contextlib.contextmanager
def _readable(layer: str) -> Iterator[None]:
    """Name the layer of a tensor that cannot be compared: sparse, quantised, or of a dtype that numpy lacks."""
    try:
        yield
    except (ParityError, RuntimeError, TypeError, ValueError) as error:  # what frameworks raise for them
        message = " ".join(str(error).split())[:400]
        raise ParityError(f"{layer}: takes or returns a tensor that cannot be compared: {message}") from error


def measured_noise(array: Array, exact: Array) -> Noise:
    """Return the distance of a float32 run's array from the float64 run's, and the digest of its bytes."""
    digest = hashlib.sha256(np.ascontiguousarray(array).data if array.size else b"").hexdigest()
    return Noise(**asdict(distance(array, exact)), digest=f"{array.dtype}:{digest}")
