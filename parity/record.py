"""Record a Trace: run a network in float64 and in its own precision, and write down every layer call.

Nothing here knows a framework: a side hands over its layers and says how a tensor becomes a numpy array. A layer's
`forward` is wrapped for the length of the run, rather than hooked, because that is spelt alike in every framework
and version, sees keyword arguments, and sees layers that are called by their `forward`.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from parity.errors import ParityError, in_layer
from parity.layers import check_input, terms
from parity.state import Array, Slot, State
from parity.trace import Call, Noise, TraceWriter, distance


class Side(Protocol):
    """The door to one framework, a module: the only code that imports it. Same verbs on each."""

    NAME: str

    def place(self, network: Any, device: str) -> Any: ...  # noqa: D102
    def read_checkpoint(self, path: Path) -> dict[str, Array]: ...  # noqa: D102
    def write_checkpoint(self, tensors: Mapping[str, Array], path: Path) -> None: ...  # noqa: D102
    def build(self, name: str, **options: Any) -> Any: ...  # noqa: D102
    def hollow(self, network: Any) -> Any: ...  # noqa: D102
    def use(self, device: str, threads: int) -> str: ...  # noqa: D102
    def layers(self, network: Any) -> Iterable[tuple[str, Any]]: ...  # noqa: D102
    def describe(self, layer: Any) -> tuple[str, dict[str, Any]]: ...  # noqa: D102
    def slots(self, network: Any) -> dict[str, Slot]: ...  # noqa: D102
    def get_state(self, network: Any) -> State: ...  # noqa: D102
    def set_state(self, network: Any, state: State, name: str) -> None: ...  # noqa: D102
    def is_tensor(self, value: Any) -> bool: ...  # noqa: D102
    def to_numpy(self, tensor: Any) -> Array: ...  # noqa: D102
    def version(self, tensor: Any) -> int: ...  # noqa: D102
    def to_tensor(self, array: Array, network: Any) -> Any: ...  # noqa: D102
    def double(self, network: Any) -> AbstractContextManager[list[str]]: ...  # noqa: D102
    def native(self, network: Any) -> AbstractContextManager[list[str]]: ...  # noqa: D102
    def autograd(self, on: bool) -> AbstractContextManager[Any]: ...  # noqa: D102
    def neutral(self, layer: Any, role: str, array: Array) -> Array: ...  # noqa: D102
    def parameters(self, layer: Any) -> dict[str, Any]: ...  # noqa: D102
    def gradients(self, outputs: list[Any], cotangents: list[Array], wanted: list[Any]) -> list[Any]: ...  # noqa: D102
    def manifest(self, network: Any) -> dict[str, Any]: ...  # noqa: D102
    def export(  # noqa: D102
        self, network: Any, example: Array, path: Path, opset: int, dynamic_size: bool
    ) -> dict[str, str]: ...


Progress = Callable[[str, int, int], None]


def record(
    side: Side,
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
        _record(side, network, inputs, path, manifest or {}, gradients, progress)
    except RecursionError as error:  # met between layers
        raise in_layer(type(network).__name__, error) from error


def _record(
    side: Side,
    network: Any,
    inputs: Sequence[Array],
    path: str | os.PathLike[str],
    manifest: Mapping[str, Any],
    gradients: bool,
    progress: Progress | None,
) -> None:
    recorder = _Recorder(side, network, path, gradients, progress)
    with inference_mode(side, network), watched(recorder.layers, recorder.wrap):
        with side.double(network) as changed64:
            recorder.run("float64", inputs)
        with side.native(network) as changed32:
            recorder.run("float32", inputs)
    found = {**side.manifest(network), "input_sha256": input_digest(inputs), **manifest}
    if changed := list(dict.fromkeys([*changed64, *changed32])):
        found["changed_weights"] = changed
    recorder.close(found)


def outputs64(side: Side, network: Any, array: Array) -> list[Array]:
    """Return what the network makes of an input in float64, in evaluation mode, nothing recorded."""
    with inference_mode(side, network), side.double(network), side.autograd(False):
        made = network(side.to_tensor(array.astype(np.float64), network))
        return [side.to_numpy(tensor) for tensor in flatten(made, side.is_tensor)]


def input_digest(inputs: Iterable[Array]) -> str:
    """Return the SHA-256 (hex) of the inputs' dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for array in inputs:
        digest.update(repr((array.dtype.str, array.shape)).encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


@contextlib.contextmanager
def inference_mode(side: Side, network: Any) -> Iterator[None]:
    """Put a network that is in training mode into evaluation mode for a while; leave any other as it is."""
    layers = [layer for _, layer in side.layers(network)]
    modes = [layer.training for layer in layers]
    if network.training:
        for layer in layers:
            layer.training = False
    try:
        yield
    finally:
        for layer, mode in zip(layers, modes, strict=True):
            layer.training = mode


@contextlib.contextmanager
def watched(
    layers: Iterable[tuple[str, Any]], wrap: Callable[[str, Any, Callable[..., Any]], Callable[..., Any]]
) -> Iterator[None]:
    """Put what `wrap` makes of a layer's path, the layer and its `forward` in place of each `forward` for a while."""
    wrapped = []
    try:
        for name, layer in layers:
            wrapped.append((layer, layer.__dict__.get("forward")))
            layer.forward = wrap(name, layer, layer.forward)
        yield
    finally:
        for layer, own in wrapped:
            del layer.forward
            if own is not None:
                layer.forward = own


class Seen:
    """Remembers a value for each live tensor object, until the tensor is changed in place or gone."""

    def __init__(self, version: Callable[[Any], int]):
        self._version = version
        self._values: dict[int, tuple[Any, int, Any]] = {}

    def get(self, tensor: Any) -> Any:
        """Return the value put for this tensor as it is now, or None."""
        alive, version, value = self._values.get(id(tensor), (lambda: None, 0, None))
        return value if alive() is tensor and version == self._version(tensor) else None

    def put(self, tensor: Any, value: Any) -> None:
        """Remember a value for this tensor as it is now."""
        self._values[id(tensor)] = (weakref.ref(tensor), self._version(tensor), value)


def leaves(side: Side, layers: Iterable[tuple[str, Any]]) -> set[int]:
    """Return the `id` of every layer that holds no layers of its own."""
    return {id(layer) for _, layer in layers if sum(1 for _ in side.layers(layer)) == 1}


class _Recorder:
    def __init__(
        self, side: Side, network: Any, path: str | os.PathLike[str], gradients: bool, progress: Progress | None
    ):
        self.side, self.network, self.gradients, self.progress = side, network, gradients, progress
        self.writer = TraceWriter(path)
        self.layers = list(side.layers(network))
        self.leaves = leaves(side, self.layers)
        self.calls: list[dict[str, Any]] = []
        self.precision = ""
        self.recording = False

    def run(self, precision: str, inputs: Sequence[Array]) -> None:
        self.precision, self.counts, self.position = precision, dict[str, int](), 0
        self.seen, self.live = Seen(self.side.version), list[tuple[dict[str, Any], Any, str, Any, int]]()
        dtype = np.float64 if precision == "float64" else np.float32
        arrays = [array.astype(dtype) if array.dtype.kind == "f" else array for array in inputs]
        with self.side.autograd(self.gradients):
            self.recording = True
            outputs = self.network(*[self.side.to_tensor(array, self.network) for array in arrays])
            self.recording = False  # backward calls layers again where memory is saved by recomputation
            if self.gradients:
                self._backward(flatten(outputs, self.side.is_tensor))
        if precision != "float64" and self.position != len(self.calls):
            raise ParityError(f"the float64 run made {len(self.calls)} layer calls, the float32 run {self.position}")

    def wrap(self, name: str, layer: Any, forward: Callable[..., Any]) -> Callable[..., Any]:
        kind, config = self.side.describe(layer)
        leaf = id(layer) in self.leaves

        def recorded(*args: Any, **kwargs: Any) -> Any:
            if not self.recording:
                return forward(*args, **kwargs)
            inputs = flatten((args, kwargs), self.side.is_tensor)
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
            outputs = flatten(result, self.side.is_tensor)
            if self.precision == "float64":
                entry = {"layer": name, "number": number, "kind": kind, "leaf": leaf, "config": config, "inputs": names}
                entry["outputs"] = tuple(self._store(tensor, name or kind) for tensor in outputs)
                entry["labels"] = keys(result, self.side.is_tensor)
                entry["terms"] = terms(config, shape, tuple(outputs[0].shape) if outputs else ())
                entry["replayable"] = bool(inputs) and not kwargs and all(self.side.is_tensor(value) for value in args)
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
                name = self.writer.add(self.side.to_numpy(tensor))
                self.seen.put(tensor, name)
        return name

    def _noise(self, tensor: Any, name: str, layer: str) -> Noise:
        with _readable(layer):
            noise = self.seen.get(tensor)
            if noise is None:
                noise = measured_noise(self.side.to_numpy(tensor), self.writer.read(name))
                self.seen.put(tensor, noise)
        return noise

    def _watch_gradients(self, entry: dict[str, Any], layer: Any, outputs: list[Any]) -> None:
        wanted = {f"output {i}": tensor for i, tensor in enumerate(outputs)}
        if entry["number"] == 0:
            wanted |= self.side.parameters(layer)
        self.live += [(entry, layer, label, tensor, self.side.version(tensor)) for label, tensor in wanted.items()]

    def _backward(self, outputs: list[Any]) -> None:
        # A tensor changed in place since stands for another one by now; the gradient of an output is its cotangent, and
        # asking Paddle for it cuts off everything behind it.
        ends = {id(tensor) for tensor in outputs}
        live = [
            entry[:4] for entry in self.live if self.side.version(entry[3]) == entry[4] and id(entry[3]) not in ends
        ]
        cotangents = [projection(tuple(tensor.shape)) for tensor in outputs]
        gradients = self.side.gradients(outputs, cotangents, [tensor for _, _, _, tensor in live])
        for (entry, layer, label, _), gradient in zip(live, gradients, strict=True):
            if gradient is None:
                continue
            array = self.side.neutral(layer, label, self.side.to_numpy(gradient))
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


def projection(shape: tuple[int, ...]) -> Array:
    """Return fixed pseudo-random numbers in [-1, 1): what gradients are taken against, alike on every side."""
    bits = np.random.PCG64(math.prod(shape)).random_raw(math.prod(shape))
    return ((bits >> np.uint64(40)).astype(np.float64) * 2.0**-23 - 1.0).reshape(shape)


def keys(value: Any, is_tensor: Callable[[Any], bool]) -> tuple[str, ...]:
    """Return what a structure calls its tensors, in the order of `flatten`: "out", "aux.0"; empty without mappings."""
    found = [".".join(path) for path in _paths(value, is_tensor)]
    return tuple(found) if _has_mapping(value) and len(set(found)) == len(found) else ()


def _paths(value: Any, is_tensor: Callable[[Any], bool]) -> list[tuple[str, ...]]:
    if is_tensor(value):
        return [()]
    items = (
        value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, (tuple, list)) else ()
    )
    return [(str(key), *path) for key, item in items for path in _paths(item, is_tensor)]


def _has_mapping(value: Any) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, (tuple, list)) and any(map(_has_mapping, value)))


def flatten(value: Any, is_tensor: Callable[[Any], bool]) -> list[Any]:
    """Return the tensors in a structure of tuples, lists and mappings, in order."""
    if is_tensor(value):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    return [leaf for item in value for leaf in flatten(item, is_tensor)] if isinstance(value, (tuple, list)) else []
