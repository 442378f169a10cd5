"""The backend of ONNX files and ONNX Runtime: the functions of `torch_backend.py` that a file can have.

A file has no layers to call: its Trace has one call for each node that computes floats, named after its layer if the
file states it. `parity/judging/pairing.py` pairs them.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from onnx import numpy_helper

from parity.errors import ParityError
from parity.layers import terms
from parity.numerics.arrays import Array
from parity.numerics.fingerprint import fingerprint
from parity.onnx_files import runtime
from parity.onnx_files.description import describe, layer_of
from parity.onnx_files.float64 import Nudge, evaluate
from parity.onnx_files.layout import TO_LAST, channels_first, turned
from parity.onnx_files.model_file import read, write
from parity.temporary import temporary_folder
from parity.tracing.backend import OnProgress
from parity.tracing.record import input_digest, measured_noise
from parity.tracing.trace import Call, Noise, TraceWriter
from parity.weights.state import State

NAME = "onnx"

_ROUNDING = ("QuantizeLinear", "DynamicQuantizeLinear")
# A rounding before a grid of 256 steps may become a step: by how much it grows.
_STEP = 1 << 16
_threads = 1


@dataclass(frozen=True)
class File:
    """A model file that has been read and checked.

    Attributes:
        path: Its path.
        model: Its content, weights included, local functions inlined.
        device: The device that runs it.
        level: How far the runtime rewrites it, one of `runtime.LEVELS`.
        nodes: The node of each call of the last trace, by layer and number.
    """

    path: Path
    model: onnx.ModelProto
    device: str = "cpu"
    level: str = "all"
    nodes: dict[tuple[str, int], onnx.NodeProto] = field(default_factory=dict)

    @property
    def opset(self) -> int:
        """Return the version of ONNX's own operators."""
        return next((each.version for each in self.model.opset_import if each.domain in ("", "ai.onnx")), 1)

    @property
    def grids(self) -> bool:
        """Return whether tensors of the file are rounded to grids of integers."""
        return any(node.op_type in _ROUNDING for node in self.model.graph.node)


def load(path: Path) -> File:
    """Return the file, checked: valid, complete, acyclic, its data in its own folder, of an opset that the runtime has.

    Raises:
        ParityError: If it is not.
    """
    if not path.is_file():
        raise ParityError(f"{path}: no such file")
    model = read(path, strict=False)
    if not model.graph.node:
        raise ParityError(f"{path}: no ONNX file, or an empty one: it holds no graph")
    _ = runtime.open_session(path, str(path), level="disable")  # an opset or an operator that the runtime lacks
    return File(path, onnx.inliner.inline_local_functions(model) if model.functions else model)


def use(device: str, threads: int) -> str:
    """Choose provider and number of threads for this process; return "cpu", "cuda", "tensorrt" or "auto".

    Raises:
        ParityError: If this build of ONNX Runtime lacks the provider.
    """
    global _threads
    _threads = threads
    return runtime.settle(device)


def place(network: File, device: str) -> File:
    """Return the file for the device that `use` named."""
    return replace(network, device=device)


def input_shape(network: File) -> list[int | None]:
    """Return the shape of the file's first input, None where it is dynamic; of a picture as (N, C, H, W)."""
    initial = {tensor.name for tensor in network.model.graph.initializer}
    first = next(value for value in network.model.graph.input if value.name not in initial)
    return channels_first([dim.dim_value or None for dim in first.type.tensor_type.shape.dim])


def get_state(network: File) -> State:
    """Return the file's weights under its own names; a file does not state their layers."""
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in network.model.graph.initializer}
    for node in network.model.graph.node:  # Paddle's exporter writes them as constants
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            arrays[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return State({name: array for name, array in arrays.items() if array.dtype.kind == "f" and array.size > 1})


def session(network: File, exposed: Sequence[str] = ()) -> Any:
    """Return an onnxruntime.InferenceSession of the file, with the `exposed` tensors as additional outputs.

    Raises:
        ParityError: If the runtime refuses the file or would run it on another device.
    """
    options = {"name": str(network.path), "device": network.device, "threads": _threads, "level": network.level}
    if not exposed:
        return runtime.open_session(network.path, **options)
    count = len(network.model.graph.output)
    network.model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in exposed)
    try:
        with temporary_folder() as folder:
            write(network.model, folder / "exposed.onnx")
            return runtime.open_session(folder / "exposed.onnx", **options)
    finally:
        del network.model.graph.output[count:]


WAYS = ("runtime",)


def runner(network: File, way: str, array: Array) -> Callable[[], Any]:
    """Return a call that runs the file on an input once.

    Raises:
        ParityError: If the input does not fit the file.
    """
    deployed, name = session(network), str(network.path)
    fed = runtime.feed(deployed, turned(deployed.get_inputs(), [array]), name)
    return lambda: runtime.run(deployed, fed, name)


def record(
    network: File,
    inputs: Sequence[Array],
    path: Path | str,
    *,
    manifest: Mapping[str, Any] | None = None,
    gradients: bool = False,
    progress: OnProgress | None = None,
) -> None:
    """Run the file in float32, by the runtime, and in float64, by `onnx_files.float64`; write the Trace to `path`.

    The noise of the outputs is that of the deployed file. The noise of the inner tensors is that of a second session,
    which exposes them and so keeps the runtime from fusing operators across them.

    Raises:
        ParityError: If the file cannot take the inputs, or a node has no float64.
    """
    if gradients:
        raise ParityError(f"{network.path}: an ONNX file has no gradients; leave out --gradients")
    name, graph = str(network.path), network.model.graph
    deployed = session(network)
    floats = [array.astype(np.float32) if array.dtype.kind == "f" else array for array in inputs]
    fed = runtime.feed(deployed, turned(deployed.get_inputs(), floats), name)
    float32 = dict(zip([output.name for output in graph.output], runtime.run(deployed, fed, name), strict=True))
    if progress is not None:
        progress("float32", 1, 2)
    inner = [o for node in graph.node if node.op_type != "Constant" for o in node.output if o and o not in float32]
    if inner:
        # The session's outputs are the file's own first. No variable keeps them: each is freed after its use.
        float32 |= zip(inner, runtime.run(session(network, inner), fed, name)[len(graph.output) :], strict=True)
    wide = {slot: array.astype(np.float64) if array.dtype.kind == "f" else array for slot, array in fed.items()}
    last = any(array.shape != given.shape for array, given in zip(fed.values(), inputs, strict=True))
    recording = _Recording(network, wide, float32, path, last)
    single = set[str]()
    exact = evaluate(network.model, wide, name=name, single=single)
    # A step of a grid is far larger than a rounding: where a file has grids, moving its constants shows nothing.
    nudged = None if network.grids else evaluate(network.model, wide, Nudge(_weights(graph)), name=name)
    for done, (node, arrays) in enumerate(exact):
        if recording.add(node, arrays, next(nudged)[1] if nudged else {}) and progress is not None:
            progress("float64", done + 1, len(graph.node))
    metadata = {entry.key: entry.value for entry in network.model.metadata_props}
    # Whoever exported the file may have noted whose weights they are.
    key = "parity.state_sha256"
    source: dict[str, Any] = {"state_sha256": metadata[key]} if key in metadata else {"weights_of": "file"}
    if single:
        source["in_float32"] = sorted(single)
    recording.close(
        {**_manifest(network, deployed), "input_sha256": input_digest(inputs), **(manifest or {}), **source}
    )


class _Recording:
    """Writes the Trace of a file, one node at a time.

    Args:
        network: The file; it is told which node each call is.
        inputs: Its inputs by name, floating ones in float64.
        float32: What the runtime computed, by the tensor's name; each array is dropped after its use.
        path: Of the Trace.
        channels_last: Whether it takes pictures as (N, H, W, C); outputs that it turns to that are recorded before.
    """

    def __init__(
        self,
        network: File,
        inputs: Mapping[str, Array],
        float32: dict[str, Array],
        path: Path | str,
        channels_last: bool,
    ):
        graph = network.model.graph
        self._channels_last, self._first = channels_last, dict[str, str]()
        self._nodes, self._opset = network.nodes, network.opset
        self._nodes.clear()
        self._inputs, self._outputs = list(inputs), [output.name for output in graph.output]
        self._float32, self._writer = float32, TraceWriter(path)
        self._keys = {name: self._writer.add(array) for name, array in inputs.items()}
        self._shapes = {name: array.shape for name, array in inputs.items()}
        self._weights = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
        self._held = {tensor.name: tensor for tensor in graph.initializer}
        self._kernels = dict[tuple[str, int], tuple[int, ...]]()  # of weights that the graph computes
        self._noises, self._errors = dict[str, Noise](), dict[str, float]()
        self._counts, self._calls = dict[str, int](), list[Call]()

    def add(self, node: onnx.NodeProto, arrays: Mapping[str, Array], moved: Mapping[str, Array]) -> bool:
        """Write a node's outputs.

        Args:
            node: The next node of the graph.
            arrays: Its outputs in float64, by name.
            moved: The same outputs, computed from nudged constants.

        Returns:
            Whether the node is a call of the Trace: it is not if it computes a constant or a copy.
        """
        operands = node.input[:1] if node.op_type == "CastLike" else node.input  # its second gives only its dtype
        if all(name in self._weights for name in operands):  # a constant, or a constant given another shape: a bias
            self._weights |= {name: array.shape for name, array in arrays.items()}
            self._kernels |= {
                (name, axis): fingerprint(array, axis)
                for name, array in arrays.items()
                for axis in (0, 1)
                if array.dtype.kind == "f" and array.ndim > 1
            }
            return False
        if node.op_type in _ROUNDING and node.input[0] in self._keys and node.output[0] not in self._outputs:
            # It is no call; the one that gives floats again is.
            self._keys[node.output[0]] = self._keys[node.input[0]]
            self._shapes[node.output[0]] = arrays[node.output[0]].shape
            return False
        copied = self._keys.get(node.input[0]) if node.op_type == "Identity" else None
        for name, array in arrays.items():
            if name in self._float32 and (array.dtype == np.float64 or name in self._outputs):
                self._noises[name] = measured_noise(self._float32.pop(name), array)
                self._keys[name] = copied or self._writer.add(array)
        if self._channels_last and _turns_last(node) and node.input[0] in self._noises:
            self._first[node.output[0]] = node.input[0]
        written = [name for name in arrays if name in self._noises]
        self._shapes |= {name: array.shape for name, array in arrays.items()}
        if not written or copied is not None:
            return False
        label = layer_of(node)
        number = self._counts[label] = self._counts.get(label, -1) + 1
        self._nodes[label, number] = node
        read = [name for name in node.input if name in self._keys]
        before, after = self._shapes[read[0] if read else written[0]], self._shapes[written[0]]
        kind, config = describe(node, self._weights, self._opset, after)
        self._errors |= {name: Nudge.allowance(moved[name], arrays[name]) if moved else 0.0 for name in written}
        longest = _STEP if read and node.op_type == "DequantizeLinear" else terms(config, before, after)
        self._calls.append(
            Call(
                layer=label, number=number, kind=kind, leaf=True, config=config,
                inputs=tuple(self._keys[name] for name in read), outputs=tuple(self._keys[name] for name in written),
                noise=tuple(self._noises[name] for name in written), terms=longest,
                replayable=False, gradients={}, gradient_noise={},
                known_error=max(self._errors[name] for name in written), kernel=self._kernel(node),
            )
        )  # fmt: skip
        return True

    def _kernel(self, node: onnx.NodeProto) -> tuple[int, ...]:
        """Return the fingerprint of a node's weight, empty without one."""
        turned = node.op_type in ("ConvTranspose", "MatMul") or (
            node.op_type == "Gemm" and not any(each.name == "transB" and each.i for each in node.attribute)
        )
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul") or node.input[1] not in self._weights:
            return ()
        name, axis = node.input[1], int(turned)
        if name in self._held:
            return fingerprint(numpy_helper.to_array(self._held[name]), axis)
        return self._kernels.get((name, axis), ())

    def close(self, manifest: Mapping[str, Any]) -> None:
        """Write the call of the whole file and the manifest."""
        labels = tuple(name for name in self._outputs if name in self._noises)
        outputs = [self._first.get(name, name) for name in labels]
        self._calls.append(
            Call(
                layer="", number=0, kind="File", leaf=False, config={},
                inputs=tuple(self._keys[name] for name in self._inputs),
                outputs=tuple(self._keys[name] for name in outputs),
                noise=tuple(self._noises[name] for name in outputs), terms=1, replayable=False,
                gradients={}, gradient_noise={},
                known_error=max((self._errors[name] for name in self._outputs if name in self._errors), default=0.0),
                labels=labels,
            )
        )  # fmt: skip
        self._writer.close(manifest, self._calls)


def _turns_last(node: onnx.NodeProto) -> bool:
    return node.op_type == "Transpose" and any(tuple(each.ints) == TO_LAST for each in node.attribute)


def _weights(graph: onnx.GraphProto) -> set[str]:
    """Return the names of a file's tensors of more than one number, those of Constant nodes included."""
    sizes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    sizes |= {
        node.output[0]: tuple(attribute.t.dims)
        for node in graph.node
        for attribute in node.attribute
        if node.op_type == "Constant" and attribute.name == "value"
    }
    return {name for name, dims in sizes.items() if math.prod(dims) > 1}


def _manifest(network: File, deployed: Any) -> dict[str, Any]:
    ort = runtime.import_onnxruntime()
    device = runtime.runs_on(deployed)
    dtype = deployed.get_inputs()[0].type if deployed.get_inputs() else "tensor(float)"
    opsets = {entry.domain or "ai.onnx": entry.version for entry in network.model.opset_import}
    return {
        "framework": NAME,
        "version": ort.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "device": device,
        "device_name": platform.processor() if device == "cpu" else device,
        "dtype": np.dtype(runtime.dtype_of(dtype)).name,
        "threads": _threads,
        "tf32": False,
        "deterministic": True,
        "providers": deployed.get_providers(),
        "optimisation": network.level,
        "opset": opsets,
        "producer": f"{network.model.producer_name} {network.model.producer_version}".strip(),
    }
