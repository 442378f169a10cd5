"""The meaning of an ONNX file: its graph evaluated in float64, node by node.

ONNX Runtime's CPU provider has float64 kernels for most operators, but not for convolutions, average pools and Resize;
those are in `parity.numerics.kernels`, in numpy. Operators that neither has are left to onnx.reference, which is slow
and, for some operators, wrong (docs/differences.md). A mistake here cannot make a false pass: it would appear as noise
of the runtime's float32 run, which is compared with this one.

Why the loop is not `onnx.reference.ReferenceEvaluator` with our kernels as its `new_ops`: measured so on the exporters'
files at 224 x 224, one thread, it took 2.7 times as long for ResNet-50 and 1.5 times for DenseNet-121. It holds every
value and every float64 weight to the end: beyond the file, 596 MB for ResNet-50 (here none) and 486 MB for DenseNet-121
(here 51 MB). It returns nothing before the end, and it cannot run GoogLeNet: its max pool gives another shape. It is
used for operators that only it has, such as If and Loop: their bodies use our kernels through `new_ops`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from parity.errors import ParityError
from parity.numerics import kernels
from parity.numerics.arrays import Array
from parity.numerics.distance import distance
from parity.onnx_files.runtime import open_session, reason

# Constants that ONNX stores as float32 for a number that float32 does not have. In float64 they are that number if they
# are within 4e-7 of it: Paddle's 0.1666667 is that far off (float32's own rounding is less).
_EXACT = {
    ("HardSigmoid", "alpha"): 1 / 6,
    ("Selu", "alpha"): 1.6732632423543772848170429916717,
    ("Selu", "gamma"): 1.0507009873554804934193349852946,
}
_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}


def evaluate(
    model: onnx.ModelProto, inputs: Mapping[str, Array], nudge: Nudge | None = None, *, name: str
) -> Iterator[tuple[onnx.NodeProto, dict[str, Array]]]:
    """Yield each node of the graph, in order, with its outputs by name, all floating tensors in float64.

    A value is freed after its last use. A weight is converted when it is needed, and then freed. A tensor without axes
    stays without axes.

    Args:
        model: With its tensors.
        inputs: Arrays by name.
        nudge: Moves constants; without it they are used unchanged.
        name: The file's, for messages.

    Raises:
        ParityError: If a node cannot be evaluated in float64, whatever the reason.
    """
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    last = {need: i for i, node in enumerate(graph.node) for need in needs(node)}
    values: dict[str, Array] = {slot: _wide(np.asarray(array)) for slot, array in inputs.items()}
    for i, node in enumerate(graph.node):
        try:
            moved = node if nudge is None else nudge.node(node)
            operands = {need: _operand(need, node, values, weights, nudge) for need in needs(node)}
            outputs = dict(zip(node.output, _run(model, moved, operands), strict=False))
        except Exception as error:  # a file may hold any numbers, and each library raises its own exceptions
            label = f"node {node.name or ''.join(node.output[:1])!r} ({node.op_type})"
            raise ParityError(f"{name}: {label} cannot be evaluated in float64: {reason(error)}") from error
        yield moved, outputs
        values.update(outputs)
        for need in [need for need in operands if last[need] == i]:
            _ = values.pop(need, None)


def _operand(
    name: str,
    node: onnx.NodeProto,
    values: Mapping[str, Array],
    weights: Mapping[str, TensorProto],
    nudge: Nudge | None,
) -> Array:
    """Return the array that a node reads under a name.

    Raises:
        ValueError: If nothing has that name.
    """
    if name in values:
        return _narrow(values[name]) if _stays_narrow(name, node) else values[name]
    if name not in weights:
        raise ValueError(f"it reads {name!r}, which is neither an input, nor a tensor, nor an earlier node's output")
    array = numpy_helper.to_array(weights[name])
    if nudge is not None:
        array = nudge.array(name, array)
    return _narrow(array) if _stays_narrow(name, node) else _wide(array)


def _stays_narrow(name: str, node: onnx.NodeProto) -> bool:
    """Return whether an input is float32 whatever the node's dtype is: Resize's region and scales."""
    return node.op_type == "Resize" and name in node.input[1:3]


def _narrow(array: Array) -> Array:
    return array.astype(np.float32) if array.dtype.kind == "f" else array


class Nudge:
    """Moves a file's constants by one unit in the last place of float32, up or down, as rounding them may have done.

    Numbers whose last 12 bits are zero, as 0.5 and 255, stay: they are exact.

    Args:
        exact: Names of tensors that are exact: weights.
    """

    def __init__(self, exact: Container[str]):
        self._exact, self._random = exact, np.random.default_rng(0)

    @staticmethod
    def allowance(moved: Array, exact: Array) -> float:
        """Return the distance that rounding the constants explains: 4 times that of a tensor from moved constants.

        4 times: a unit is twice the largest rounding, but one draw of signs is not the worst. Where the moved tensor
        has another shape or is infinite, it gives no information, and nothing is allowed.
        """
        gap = distance(moved, exact).relative
        return 4 * gap if math.isfinite(gap) else 0.0

    def array(self, name: str, array: Array) -> Array:
        """Return a tensor's numbers, moved."""
        if name in self._exact or array.dtype.kind != "f":
            return array
        single = np.array(array, np.float32, order="C")
        rounded = single.view(np.int32) & 0xFFF != 0
        step = self._random.choice([-(2.0**-23), 2.0**-23], array.shape)
        return np.asarray(array.astype(np.float64) * np.where(rounded, 1 + step, 1.0))

    def node(self, node: onnx.NodeProto) -> onnx.NodeProto:
        """Return a node with its own numbers moved."""
        moved = onnx.NodeProto()
        moved.CopyFrom(node)
        for attribute in moved.attribute:
            if _exact_value(node.op_type, attribute.name, attribute.f) != attribute.f:
                continue  # it stands for an exact number
            if attribute.type == onnx.AttributeProto.FLOAT:
                attribute.f = float(self.array("", np.array(attribute.f, np.float32)))
            elif attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type in _FLOATS:
                name = node.output[0] if node.op_type == "Constant" else ""
                array = self.array(name, numpy_helper.to_array(attribute.t))
                attribute.t.CopyFrom(numpy_helper.from_array(array, attribute.t.name))
        return moved


def needs(node: onnx.NodeProto) -> list[str]:
    """Return the names that a node reads, outer values of its branches included, each once."""
    names = dict.fromkeys(name for name in node.input if name)
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            inner_names = {name for inner in attribute.g.node for name in inner.output}
            inner_names |= {tensor.name for tensor in (*attribute.g.initializer, *attribute.g.input)}
            reads = [name for inner in attribute.g.node for name in needs(inner)]
            reads += [output.name for output in attribute.g.output]
            names |= dict.fromkeys(name for name in reads if name not in inner_names)
    return list(names)


def _exact_value(op_type: str, name: str, value: float) -> float:
    """Return the number that an attribute stands for."""
    exact = _EXACT.get((op_type, name), value)
    return exact if abs(value - exact) < 4e-7 * abs(exact) else value


def _wide(array: Array) -> Array:
    floating = array.dtype.kind == "f" or array.dtype.name == "bfloat16"
    return array.astype(np.float64, copy=False) if floating else array


def _run(model: onnx.ModelProto, node: onnx.NodeProto, operands: Mapping[str, Array]) -> list[Array]:
    """Return a node's outputs: by a kernel of ours, else by ONNX Runtime, else by onnx.reference."""
    settings = _settings(node)
    if node.op_type == "Constant" and "value" in settings:
        return [_wide(numpy_helper.to_array(settings["value"]))]
    if node.op_type in _PREFERRED and len(node.output) == 1:
        try:
            return [_KERNELS[node.op_type](*(operands[name] if name else None for name in node.input), settings)]
        except NotImplementedError:
            pass  # a setting that our kernel lacks; the others may have it
    single = _single_node(model, node, operands)
    try:
        outputs = open_session(single.SerializeToString(), node.op_type, level="disable").run(None, dict(operands))
    except Exception:  # ONNX Runtime has no kernel for float64, or not this dtype at all
        holds_graphs = any(attribute.type == onnx.AttributeProto.GRAPH for attribute in node.attribute)
        operators: list[Any] = [_operator(name) for name in _KERNELS] if holds_graphs else []
        outputs = ReferenceEvaluator(single, new_ops=operators).run(None, dict(operands))
    return [_wide(np.asarray(array)) for array in outputs]


def _settings(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _single_node(model: onnx.ModelProto, node: onnx.NodeProto, operands: Mapping[str, Array]) -> onnx.ModelProto:
    """Return a model of this node only, its constants in float64."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    _widen(copy)
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in operands.items()
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    graph = helper.make_graph([copy], "node", inputs, outputs)
    if node.op_type == "Loop" and node.input[1:2] == [""]:  # no condition: onnx.reference would not start
        copy.input[1] = "parity.condition"
        graph = helper.make_graph(
            [copy], "node", inputs, outputs, [numpy_helper.from_array(np.array(True), "parity.condition")]
        )
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


def _widen(node: onnx.NodeProto) -> None:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type in _FLOATS:
            attribute.t.CopyFrom(numpy_helper.from_array(_wide(numpy_helper.to_array(attribute.t)), attribute.t.name))
        elif attribute.name in ("to", "dtype") and attribute.i in _FLOATS:
            attribute.i = TensorProto.DOUBLE
        elif attribute.type == onnx.AttributeProto.GRAPH:
            for inner in attribute.g.node:
                _widen(inner)
            for value in (*attribute.g.input, *attribute.g.output, *attribute.g.value_info):
                if value.type.tensor_type.elem_type in _FLOATS:
                    value.type.tensor_type.elem_type = TensorProto.DOUBLE
            for tensor in attribute.g.initializer:
                if tensor.data_type in _FLOATS:
                    tensor.CopyFrom(numpy_helper.from_array(_wide(numpy_helper.to_array(tensor)), tensor.name))


def _frame(sizes: Sequence[int], kernel: Sequence[int], settings: Mapping[str, Any]) -> kernels.Frame:
    """Return the positions of a node's windows, from its settings."""
    axes = len(sizes)
    strides, dilations = (list(settings.get(word, [1] * axes)) for word in ("strides", "dilations"))
    auto_pad = settings.get("auto_pad", b"NOTSET").decode()
    flat = [0] * 2 * axes if auto_pad == "VALID" else list(settings.get("pads", [0] * 2 * axes))
    pads = tuple(zip(flat[:axes], flat[axes:], strict=True))
    if auto_pad.startswith("SAME"):
        pads = kernels.same_pads(sizes, kernel, strides, dilations, odd_before=auto_pad == "SAME_LOWER")
    return kernels.frame(sizes, kernel, strides, dilations, pads, bool(settings.get("ceil_mode")))


def _conv(x: Array, weight: Array, *more: Any) -> Array:
    *bias, settings = more
    frame = _frame(x.shape[2:], weight.shape[2:], settings)
    return kernels.convolution(x, weight, bias[0] if bias else None, frame, settings.get("group", 1))


def _max_pool(x: Array, settings: Mapping[str, Any]) -> Array:
    return kernels.max_pool(x, _frame(x.shape[2:], settings["kernel_shape"], settings))


def _average_pool(x: Array, settings: Mapping[str, Any]) -> Array:
    frame = _frame(x.shape[2:], settings["kernel_shape"], settings)
    return kernels.average_pool(x, frame, bool(settings.get("count_include_pad")))


def _batch_norm(
    x: Array, weight: Array, bias: Array, mean: Array, variance: Array, settings: Mapping[str, Any]
) -> Array:
    if settings.get("training_mode") or not settings.get("spatial", 1):
        raise NotImplementedError
    return kernels.batch_norm(x, weight, bias, mean, variance, settings.get("epsilon", float(np.float32(1e-5))))


def _resize(x: Array, *more: Any) -> Array:
    *inputs, settings = more
    plain = settings.get("keep_aspect_ratio_policy", b"stretch") == b"stretch" and len(inputs) > 1
    if not plain or settings.get("antialias") or settings.get("exclude_outside"):
        raise NotImplementedError
    scales, sizes = (inputs[i] if len(inputs) > i and inputs[i] is not None else np.empty(0) for i in (1, 2))
    words = {"coordinate_transformation_mode": b"half_pixel", "mode": b"nearest", "nearest_mode": b"round_prefer_floor"}
    transformation, mode, nearest = (settings.get(word, default).decode() for word, default in words.items())
    for i, axis in enumerate(settings.get("axes", range(x.ndim))):
        size = x.shape[axis]
        new = int(sizes[i]) if sizes.size else math.floor(size * float(scales[i]))
        scale = new / size if sizes.size else float(scales[i])
        if (size, scale) != (new, 1.0):
            places = kernels.places(size, new, scale, transformation)
            cubic = settings.get("cubic_coeff_a", -0.75)
            x = kernels.resized(x, axis, kernels.interpolation(size, places, mode, nearest=nearest, cubic=cubic))
    return np.require(x, requirements="C")


def _hard_sigmoid(x: Array, settings: Mapping[str, Any]) -> Array:
    slope = _exact_value("HardSigmoid", "alpha", settings.get("alpha", 0.2))
    return np.clip(slope * x + settings.get("beta", 0.5), 0, 1)


def _selu(x: Array, settings: Mapping[str, Any]) -> Array:
    alpha, gamma = (_exact_value("Selu", name, settings.get(name, _EXACT["Selu", name])) for name in ("alpha", "gamma"))
    return gamma * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


_KERNELS: dict[str, Callable[..., Array]] = {
    "Conv": _conv,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": lambda x, _: x.mean(axis=tuple(range(2, x.ndim)), keepdims=True),
    "GlobalMaxPool": lambda x, _: x.max(axis=tuple(range(2, x.ndim)), keepdims=True),
    "BatchNormalization": _batch_norm,
    "Resize": _resize,
    # The runtime's own float64 kernels of these use float32 constants.
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda x, _: x * np.clip(x / 6 + 0.5, 0, 1),
    "Selu": _selu,
}
# MaxPool is left to ONNX Runtime, which is fast. Inside If and Loop ours replaces onnx.reference's, which is wrong.
_PREFERRED = _KERNELS.keys() - {"MaxPool"}


def _operator(name: str) -> type[OpRun]:
    """Return one of our kernels as an operator of onnx.reference."""

    def compute(self: OpRun, *arrays: Array | None, **_: Any) -> tuple[Array]:
        return (_KERNELS[name](*arrays, _settings(self.onnx_node)),)

    return type(name, (OpRun,), {"op_domain": "", "_run": compute})
