"""The door to ONNX files and ONNX Runtime. As far as a file can be a network, the same verbs as `torch_backend.py`.

A file has no layers to call: its Trace has one call for each node that makes numbers, named after the layer it came
from where the file says so. `parity/judging/pairing.py` finds the partners.
"""

from __future__ import annotations

import ast
import math
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from onnx import helper, numpy_helper

from parity.errors import ParityError
from parity.layers import terms
from parity.numerics.arrays import Array
from parity.onnx_files import runtime
from parity.onnx_files.float64 import Nudge, evaluate
from parity.onnx_files.model_file import read, write
from parity.temporary import temporary_folder
from parity.tracing.backend import OnProgress
from parity.tracing.record import input_digest, measured_noise
from parity.tracing.trace import Call, Noise, TraceWriter
from parity.weights.state import State

NAME = "onnx"

# What torch calls an operator; one that is not here keeps its own name.
_KINDS = {
    "Conv": "Conv2d", "ConvTranspose": "ConvTranspose2d", "Gemm": "Linear", "BatchNormalization": "BatchNorm2d",
    "MaxPool": "MaxPool2d", "AveragePool": "AvgPool2d", "GlobalAveragePool": "AdaptiveAvgPool2d",
    "GlobalMaxPool": "AdaptiveMaxPool2d", "Relu": "ReLU", "LeakyRelu": "LeakyReLU", "PRelu": "PReLU", "Elu": "ELU",
    "HardSigmoid": "Hardsigmoid", "HardSwish": "Hardswish", "Selu": "SELU", "Celu": "CELU",
    "Gelu": "GELU", "Reshape": "Flatten", "LRN": "LocalResponseNorm", "Resize": "Upsample",
}  # fmt: skip
_threads = 1


@dataclass(frozen=True)
class File:
    """A model file that has been read and checked.

    Attributes:
        path: Where it is.
        model: Its content, weights included, its local functions written out.
        device: Where the runtime is to run it.
        level: How far the runtime rewrites it, one of `runtime.LEVELS`.
    """

    path: Path
    model: onnx.ModelProto
    device: str = "cpu"
    level: str = "all"


def load(path: Path) -> File:
    """Return the file, checked: ONNX, whole, acyclic, its data in its own folder, of an opset the runtime has.

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
    """Return the file as one to be run where `use` said."""
    return replace(network, device=device)


def input_shape(network: File) -> list[int | None]:
    """Return the shape of the file's first input, None where it is dynamic."""
    initial = {tensor.name for tensor in network.model.graph.initializer}
    first = next(value for value in network.model.graph.input if value.name not in initial)
    return [dim.dim_value or None for dim in first.type.tensor_type.shape.dim]


def get_state(network: File) -> State:
    """Return the file's weights under its own names; what layers they belong to a file does not say."""
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in network.model.graph.initializer}
    for node in network.model.graph.node:  # Paddle's exporter keeps them as constants
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            held[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return State({name: array for name, array in held.items() if array.dtype.kind == "f" and array.size > 1})


def session(network: File, exposed: Sequence[str] = ()) -> Any:
    """Return an onnxruntime.InferenceSession of the file, with more of its tensors as outputs.

    Raises:
        ParityError: If the runtime refuses the file or would run it elsewhere than asked.
    """
    options = {"name": str(network.path), "device": network.device, "threads": _threads, "level": network.level}
    if not exposed:
        return runtime.open_session(network.path, **options)
    outputs = len(network.model.graph.output)
    network.model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in exposed)
    try:
        with temporary_folder() as folder:
            write(network.model, folder / "exposed.onnx")
            return runtime.open_session(folder / "exposed.onnx", **options)
    finally:
        del network.model.graph.output[outputs:]


WAYS = ("runtime",)


def runner(network: File, way: str, array: Array) -> Callable[[], Any]:
    """Return a call that runs the file on an input once.

    Raises:
        ParityError: If the file does not take it.
    """
    deployed, name = session(network), str(network.path)
    fed = runtime.feed(deployed, [array], name)
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
    """Run the file in float32, by the runtime, and in float64, by `onnx_float64`; write the Trace to `path`.

    The noise of the outputs is that of the file as it is deployed. That of the tensors inside is of a second session
    that shows them, which keeps the runtime from fusing operators across them.

    Raises:
        ParityError: If the file cannot take the inputs, or a node has no float64.
    """
    if gradients:
        raise ParityError(f"{network.path}: an ONNX file has no gradients; leave out --gradients")
    deployed = session(network)
    name, graph = str(network.path), network.model.graph
    singles = [array.astype(np.float32) if array.dtype.kind == "f" else array for array in inputs]
    fed = runtime.feed(deployed, singles, name)
    outputs = [output.name for output in graph.output]
    shown = dict(zip(outputs, runtime.run(deployed, fed, name), strict=True))
    if progress is not None:
        progress("float32", 1, 2)
    inside = [o for node in graph.node if node.op_type != "Constant" for o in node.output if o and o not in shown]
    if inside:
        made = runtime.run(session(network, inside), fed, name)
        shown = {**dict(zip([*outputs, *inside], made, strict=True)), **shown}
    writer, calls = TraceWriter(path), list[Call]()
    wide = {slot: array.astype(np.float64) if array.dtype.kind == "f" else array for slot, array in fed.items()}
    names = {slot: writer.add(array) for slot, array in wide.items()}
    shapes = {slot: array.shape for slot, array in wide.items()}
    noises = dict[str, Noise]()
    weights = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    labels, errors = dict[str, int](), dict[str, float]()
    moving = evaluate(network.model, wide, Nudge(_weights(graph)))
    for done, ((node, made), (_, moved)) in enumerate(zip(evaluate(network.model, wide), moving, strict=True)):
        made_of = node.input[:1] if node.op_type == "CastLike" else node.input  # whose second lends its type alone
        if all(name in weights for name in made_of):  # a constant, or made of constants: a bias given another shape
            weights |= {name: array.shape for name, array in made.items()}
            continue
        same = names.get(node.input[0]) if node.op_type == "Identity" else None
        for output, array in made.items():
            if output in shown and array.dtype == np.float64:
                noises[output] = measured_noise(shown.pop(output), array)
                names[output] = same or writer.add(array)
        written = [output for output in made if output in noises]
        shapes |= {name: array.shape for name, array in made.items()}
        if not written or same is not None:
            continue
        label = layer_of(node)
        number = labels[label] = labels.get(label, -1) + 1
        kind, config = _describe(node, weights)
        read = [name for name in node.input if name in names]
        before, after = shapes[read[0] if read else written[0]], shapes[written[0]]
        errors |= {name: Nudge.allowance(moved[name], made[name]) for name in written}
        calls.append(
            Call(
                layer=label, number=number, kind=kind, leaf=True, config=config,
                inputs=tuple(names[name] for name in read), outputs=tuple(names[name] for name in written),
                noise=tuple(noises[name] for name in written), terms=terms(config, before, after), replayable=False,
                gradients={}, gradient_noise={}, known_error=max(errors[name] for name in written),
            )
        )  # fmt: skip
        if progress is not None:
            progress("float64", done + 1, len(graph.node))
    whole = [names[output] for output in outputs if output in noises]
    calls.append(
        Call(
            "", 0, "File", False, {}, tuple(names[slot] for slot in fed), tuple(whole),
            tuple(noises[output] for output in outputs if output in noises), 1, False, {}, {},
            max((errors[output] for output in outputs if output in errors), default=0.0),
        )
    )  # fmt: skip
    told = {entry.key: entry.value for entry in network.model.metadata_props}
    found = {**_manifest(network, deployed), "input_sha256": input_digest(inputs), **(manifest or {})}
    # Who exported the file may have written down whose weights they are.
    found |= {"state_sha256": told["parity.state_sha256"]} if "parity.state_sha256" in told else {"weights_of": "file"}
    writer.close(found, calls)


def _weights(graph: onnx.GraphProto) -> set[str]:
    """Return the names of a file's tensors of more than one number, those it keeps as constants included."""
    held = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    held |= {
        node.output[0]: tuple(attribute.t.dims)
        for node in graph.node
        for attribute in node.attribute
        if node.op_type == "Constant" and attribute.name == "value"
    }
    return {name for name, dims in held.items() if math.prod(dims) > 1}


def layer_of(node: onnx.NodeProto) -> str:
    """Return the dotted path of the layer that made a node, as its exporter tells; else a name for the node itself."""
    told = {entry.key: entry.value for entry in node.metadata_props}
    try:
        scopes = ast.literal_eval(told.get("pkg.torch.onnx.name_scopes", "[]"))
    except (ValueError, SyntaxError):
        scopes = []
    if isinstance(scopes, list) and len(scopes) > 2 and isinstance(scopes[-2], str):
        return scopes[-2]  # the last is the operation's
    return node.name or f"{node.op_type}:{node.output[0]}"


def _describe(node: onnx.NodeProto, weights: Mapping[str, tuple[int, ...]]) -> tuple[str, dict[str, Any]]:
    """Return a node's kind and configuration in neutral words, as far as it has them.

    `constant` is the number of elements of what an addition or multiplication adds or multiplies by: a bias, a scale.
    """
    settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    kind = _KINDS.get(node.op_type, node.op_type)
    held = [weights[name] for name in node.input if name in weights]
    config: dict[str, Any] = {"node": f"{node.op_type} {node.name or node.output[0]}"}
    if node.op_type in ("MatMul", "Gemm") and held and len(held[0]) == 2:
        kind = "Linear"
        out, features = held[0] if settings.get("transB") else held[0][::-1]
        config |= {"in_features": features, "out_features": out}
    elif node.op_type == "Resize":
        config["mode"] = settings.get("mode", b"nearest").decode()
    elif node.op_type == "ReduceMean":
        kind = "AdaptiveAvgPool2d"
    elif node.op_type in ("Add", "Sub", "Mul", "Div") and len(held) == 1:
        config["constant"] = math.prod(held[0])
    elif node.op_type in ("Conv", "MaxPool", "AveragePool") and len(kernel := settings.get("kernel_shape", [])) == 2:
        config["kernel_size"] = list(kernel)
        config["stride"] = list(settings.get("strides", [1, 1]))
        pads = list(settings.get("pads", [0, 0, 0, 0]))
        if "auto_pad" not in settings or settings["auto_pad"] == b"NOTSET":
            config["padding"] = pads[:2] if pads[:2] == pads[2:] else pads
        if node.op_type == "Conv":
            group = settings.get("group", 1)
            config["dilation"] = list(settings.get("dilations", [1, 1]))
            if held:
                config |= {"groups": group, "out_channels": held[0][0], "in_channels": held[0][1] * group}
        else:
            config["ceil_mode"] = bool(settings.get("ceil_mode", 0))
            if node.op_type == "AveragePool":
                config["count_include_pad"] = bool(settings.get("count_include_pad", 0))
    elif node.op_type == "BatchNormalization":
        config["eps"] = float(str(np.float32(settings.get("epsilon", 1e-5))))  # as it was written, not as it is held
        config |= {"num_features": held[0][0]} if held else {}
    return kind, config


def _manifest(network: File, deployed: Any) -> dict[str, Any]:
    ort = runtime.import_onnxruntime()
    device = runtime.runs_on(deployed)
    dtype = deployed.get_inputs()[0].type if deployed.get_inputs() else "tensor(float)"
    told = {entry.domain or "ai.onnx": entry.version for entry in network.model.opset_import}
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
        "opset": told,
        "producer": f"{network.model.producer_name} {network.model.producer_version}".strip(),
    }
