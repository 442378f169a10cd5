"""Record a Trace: run a network in float64 and in its own precision, and write down every layer call.

Nothing here knows a framework: a side hands over its layers and says how a tensor becomes a numpy array. A layer's
`forward` is wrapped for the length of the run, rather than hooked, because that is spelt alike in every framework
and version, sees keyword arguments, and sees layers that are called by their `forward`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from parity.errors import ParityError, in_layer
from parity.layers import check_input, terms
from parity.numerics.arrays import Array
from parity.numerics.distance import distance
from parity.numerics.fixed_random import projection
from parity.tracing.backend import Backend, Progress
from parity.tracing.trace import Call, Noise, TraceWriter
from parity.tracing.watch import Seen, flatten, inference_mode, keys, leaves, watched


def record(
    backend: Backend,
    network: Any,
    inputs: Sequence[Array],
    path: str | os.PathLike[str],
    *,
    manifest: Mapping[str, Any] | None = None,
    gradients: bool = False,
    progress: Progress | None = None,
) -> None:
    """Run `network` twice, in float64 and in its own precision, and write the Trace to `path`.

    A network in training mode is recorded in evaluation mode; one in evaluation mode is recorded as it is, a layer that
    was left in training mode included. Mode, weights, statistics and gradients are as they were afterwards.

    Args:
        side: The module of the network's framework.
        network: A live torch.nn.Module or paddle.nn.Layer.
        inputs: Its positional arguments; floating ones are cast to each run's precision.
        path: Where the Trace goes.
        manifest: What else to note in the manifest.
        gradients: Whether to record the gradients of a fixed random projection of the network's outputs.
        progress: Called with the run's precision, the layers done, and the layers there are.

    Raises:
        ParityError: If a layer cannot take its input, its code fails or gives what is no dense array, or the two runs
            call different layers.
    """
    try:
        _record(backend, network, inputs, path, manifest or {}, gradients, progress)
    except RecursionError as error:  # met between layers
        raise in_layer(type(network).__name__, error) from error


def _record(
    backend: Backend,
    network: Any,
    inputs: Sequence[Array],
    path: str | os.PathLike[str],
    manifest: Mapping[str, Any],
    gradients: bool,
    progress: Progress | None,
) -> None:
    recorder = _Recorder(backend, network, path, gradients, progress)
    with inference_mode(backend, network), watched(recorder.layers, recorder.wrap):
        with backend.double(network) as changed64:
            recorder.run("float64", inputs)
        with backend.native(network) as changed32:
            recorder.run("float32", inputs)
    found = {**backend.manifest(network), "input_sha256": input_digest(inputs), **manifest}
    if changed := list(dict.fromkeys([*changed64, *changed32])):
        found["changed_weights"] = changed
    recorder.close(found)


def outputs64(backend: Backend, network: Any, array: Array) -> list[Array]:
    """Return what the network makes of an input in float64, in evaluation mode, nothing recorded."""
    with inference_mode(backend, network), backend.double(network), backend.autograd(False):
        made = network(backend.to_tensor(array.astype(np.float64), network))
        return [backend.to_numpy(tensor) for tensor in flatten(made, backend.is_tensor)]


def input_digest(inputs: Iterable[Array]) -> str:
    """Return the SHA-256 (hex) of the inputs' dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for array in inputs:
        digest.update(repr((array.dtype.str, array.shape)).encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


class _Recorder:
    def __init__(
        self, backend: Backend, network: Any, path: str | os.PathLike[str], gradients: bool, progress: Progress | None
    ):
        self.backend, self.network, self.gradients, self.progress = backend, network, gradients, progress
        self.writer = TraceWriter(path)
        self.layers = list(backend.layers(network))
        self.leaves = leaves(backend, self.layers)
        self.calls: list[dict[str, Any]] = []
        self.precision = ""
        self.recording = False

    def run(self, precision: str, inputs: Sequence[Array]) -> None:
        self.precision, self.counts, self.position = precision, dict[str, int](), 0
        self.seen, self.live = Seen(self.backend.version), list[tuple[dict[str, Any], Any, str, Any, int]]()
        dtype = np.float64 if precision == "float64" else np.float32
        arrays = [array.astype(dtype) if array.dtype.kind == "f" else array for array in inputs]
        with self.backend.autograd(self.gradients):
            self.recording = True
            outputs = self.network(*[self.backend.to_tensor(array, self.network) for array in arrays])
            self.recording = False  # backward calls layers again where memory is saved by recomputation
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
            except (ParityError, MemoryError):  # the first has passed here within, where the layer is known
                raise
            except Exception as error:
                raise in_layer(name or kind, error) from error
            outputs = flatten(result, self.backend.is_tensor)
            if self.precision == "float64":
                entry = {"layer": name, "number": number, "kind": kind, "leaf": leaf, "config": config, "inputs": names}
                entry["outputs"] = tuple(self._store(tensor, name or kind) for tensor in outputs)
                entry["labels"] = keys(result, self.backend.is_tensor)
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
            raise ParityError(f"{name}: the float64 and the float32 run part here: they call other layers")
        return entry

    def _store(self, tensor: Any, layer: str) -> str:
        with _readable(layer):
            name = self.seen.get(tensor)
            if name is None:
                name = self.writer.add(self.backend.to_numpy(tensor))
                self.seen.put(tensor, name)
        return name

    def _noise(self, tensor: Any, name: str, layer: str) -> Noise:
        with _readable(layer):
            noise = self.seen.get(tensor)
            if noise is None:
                noise = measured_noise(self.backend.to_numpy(tensor), self.writer.read(name))
                self.seen.put(tensor, noise)
        return noise

    def _watch_gradients(self, entry: dict[str, Any], layer: Any, outputs: list[Any]) -> None:
        wanted = {f"output {i}": tensor for i, tensor in enumerate(outputs)}
        if entry["number"] == 0:
            wanted |= self.backend.parameters(layer)
        self.live += [(entry, layer, label, tensor, self.backend.version(tensor)) for label, tensor in wanted.items()]

    def _backward(self, outputs: list[Any]) -> None:
        # A tensor changed in place since stands for another one by now; the gradient of an output is its cotangent, and
        # asking Paddle for it cuts off everything behind it.
        ends = {id(tensor) for tensor in outputs}
        live = [
            entry[:4] for entry in self.live if self.backend.version(entry[3]) == entry[4] and id(entry[3]) not in ends
        ]
        cotangents = [projection(tuple(tensor.shape)) for tensor in outputs]
        gradients = self.backend.gradients(outputs, cotangents, [tensor for _, _, _, tensor in live])
        for (entry, layer, label, _), gradient in zip(live, gradients, strict=True):
            if gradient is None:
                continue
            array = self.backend.neutral(layer, label, self.backend.to_numpy(gradient))
            if self.precision == "float64":
                entry.setdefault("gradients", {})[label] = self.writer.add(array)
            elif label in entry.get("gradients", {}):
                noise = measured_noise(array, self.writer.read(entry["gradients"][label]))
                entry.setdefault("gradient_noise", {})[label] = noise

    def close(self, manifest: Mapping[str, Any]) -> None:
        defaults = {"gradients": {}, "gradient_noise": {}}
        self.writer.close(manifest, [Call(**{**defaults, **entry}) for entry in self.calls])


@contextlib.contextmanager
def _readable(layer: str) -> Iterator[None]:
    """Say whose tensor it is that cannot be compared: a sparse or quantised one, one of a dtype numpy lacks."""
    try:
        yield
    except (ParityError, RuntimeError, TypeError, ValueError) as error:  # what frameworks raise for them
        words = " ".join(str(error).split())[:400]
        raise ParityError(f"{layer}: takes or gives a tensor that cannot be compared: {words}") from error


def measured_noise(array: Array, exact: Array) -> Noise:
    """Return how far a float32 run's array is from the float64 run's, and what its bytes are."""
    digest = hashlib.sha256(np.ascontiguousarray(array).data if array.size else b"").hexdigest()
    return Noise(**asdict(distance(array, exact)), digest=f"{array.dtype}:{digest}")
