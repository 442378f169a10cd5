"""The backend of ONNX files and ONNX Runtime: the functions of `torch_backend.py` that a file can have.

A file has no layers to call: its Trace has one call for each node that computes floats, named after its layer if the
file states it. `parity/judging/pairing.py` pairs them.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from onnx import numpy_helper

from parity.backends.onnx_recording import Recording
from parity.errors import ParityError
from parity.json_codec import encode
from parity.numerics.arrays import Array
from parity.numerics.distance import distance
from parity.onnx_files import runtime
from parity.onnx_files.float64 import Nudge, evaluate, needs
from parity.onnx_files.free_sizes import FreeSize, free_sizes, inputs_at, problem, same_pictures
from parity.onnx_files.layout import channels_first, turned
from parity.onnx_files.model_file import ROUNDING, File, read, write
from parity.temporary import temporary_folder
from parity.tracing.backend import OnProgress
from parity.tracing.inputs import Inputs, input_digest, ordered
from parity.tracing.trace import Trace
from parity.weights.state import State

NAME = "onnx"

_threads = 1


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
    inputs: Inputs,
    path: Path | str,
    *,
    manifest: Mapping[str, Any] | None = None,
    gradients: bool = False,
    mode: str = "eval",
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
    if mode == "train":
        raise ParityError(f"{network.path}: an ONNX file has no training mode; leave out --mode train")
    name, graph = str(network.path), network.model.graph
    deployed = session(network)
    arrays = ordered(inputs, [each.name for each in deployed.get_inputs()], name)
    floats = [array.astype(np.float32) if array.dtype.kind == "f" else array for array in arrays]
    fed = runtime.feed(deployed, turned(deployed.get_inputs(), floats), name)
    float32 = dict(zip([output.name for output in graph.output], runtime.run(deployed, fed, name), strict=True))
    outputs = list(float32.values())
    tried = [
        replace(free, error=problem(free, deployed, fed, outputs, name, partial(_first_other, network, fed, free)))
        for free in free_sizes(deployed.get_inputs(), fed)
    ]
    if progress is not None:
        progress("float32", 1, 2)
    inner = [o for node in graph.node if node.op_type != "Constant" for o in node.output if o and o not in float32]
    if inner:
        # The session's outputs are the file's own first. No variable keeps them: each is freed after its use.
        float32 |= zip(inner, runtime.run(session(network, inner), fed, name)[len(graph.output) :], strict=True)
    wide = {slot: array.astype(np.float64) if array.dtype.kind == "f" else array for slot, array in fed.items()}
    last = any(array.shape != given.shape for array, given in zip(fed.values(), arrays, strict=True))
    recording = Recording(network, wide, float32, path, last)
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
    source["free_sizes"] = [encode(free) for free in tried]
    if single:
        source["in_float32"] = sorted(single)
    recording.close(
        {**_manifest(network, deployed), "input_sha256": input_digest(inputs), **(manifest or {}), **source}
    )


def _first_other(network: File, fed: Mapping[str, Array], free: FreeSize) -> str:
    """Return, as text, the first node whose output does not grow with the number of pictures; "" if none is found."""
    nodes = network.model.graph.node
    inner = [name for node in nodes if node.op_type != "Constant" for name in node.output if name]
    exposed = session(network, inner)
    more = dict(zip(fed, inputs_at(free, list(fed.values())), strict=True))
    names = [output.name for output in exposed.get_outputs()]
    before, after = [
        dict(zip(names, runtime.run(exposed, dict(each), str(network.path)), strict=True)) for each in (fed, more)
    ]
    for node in nodes:
        for name in node.output:
            counted = name in before and before[name].dtype.kind == "f"
            if (
                counted
                and not np.array_equal(before[name], after[name])
                and not same_pictures(before[name], after[name])
            ):
                return f", first behind node {node.name or name!r} ({node.op_type})"
    return ""


def file_outputs(network: File, inputs: Sequence[Array]) -> list[Array]:
    """Return the outputs of the file, by the runtime.

    Raises:
        ParityError: If it cannot take the inputs.
    """
    deployed, name = session(network), str(network.path)
    return runtime.run(deployed, runtime.feed(deployed, turned(deployed.get_inputs(), inputs), name), name)


def losses(
    network: File, reference: Trace, pairs: Sequence[tuple[str, int, str, int, str, str]]
) -> list[tuple[float, float]]:
    """Return how far nodes of the file are from the layers they stand for, on the layers' own inputs, in float64.

    Args:
        network: The file of the last trace.
        reference: The recorded network.
        pairs: Layer and number of the first node and of the last; names of the reference's input and output.

    Returns:
        For each pair the distance of its outputs: on the input as it is, and on the input as the file rounds it.

    Raises:
        ParityError: If a node cannot be evaluated.
    """
    graph, found = network.model.graph, list[tuple[float, float]]()
    writers = {name: i for i, node in enumerate(graph.node) for name in node.output}
    for layer, number, last_layer, last_number, before, after in pairs:
        given, end = network.nodes[layer, number].input[0], network.nodes[last_layer, last_number].output[0]
        source = given
        while source in writers and graph.node[writers[source]].op_type in (*ROUNDING, "DequantizeLinear"):
            source = graph.node[writers[source]].input[0]
        expected, x = reference.tensor(after), reference.tensor(before)
        gaps = [distance(_between(network, writers, start, end, x), expected).relative for start in (given, source)]
        found.append((gaps[0], gaps[1]))
    return found


def _between(network: File, writers: Mapping[str, int], start: str, end: str, array: Array) -> Array:
    """Return the tensor `end` in float64, computed from an array in place of the tensor `start`."""
    nodes, wanted, needed = network.model.graph.node, [end], set[int]()
    while wanted:
        name = wanted.pop()
        if name != start and name in writers and writers[name] not in needed:
            needed.add(writers[name])
            wanted += needs(nodes[writers[name]])
    some = [nodes[i] for i in sorted(needed)]
    *_, (_, made) = evaluate(network.model, {start: array}, name=str(network.path), nodes=some)
    return made[end]


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
        "grids": network.grids,
        "producer": f"{network.model.producer_name} {network.model.producer_version}".strip(),
    }
