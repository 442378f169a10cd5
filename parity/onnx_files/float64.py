"""The meaning of an ONNX file: its graph evaluated in float64, node by node.

ONNX Runtime's CPU provider has float64 kernels for most operators, of every opset from 7; for convolutions, average
pools, Resize and others ours are in `parity.onnx_files.operators`. Operators that neither has are left to
onnx.reference, which is slow and, for some operators, wrong (docs/differences.md): its result is compared with the
runtime's float32 of that node. Where it has none, or another, the float32 is taken, and the node is named. A mistake
here cannot make a false pass: it would appear as noise of the runtime's float32 run, which is compared with this one.

Files of old opsets are not converted up first. Of the operators in tests/onnx_files/test_opsets.py, onnx 1.17's version
converter makes other functions of linear Upsample (7 to 9) and of Resize 10 (it gets opset 11's coordinates;
onnx/onnx#8480), and gives up at BatchNormalization with spatial=0.

Why the loop is not `onnx.reference.ReferenceEvaluator` with our kernels as its `new_ops`: measured so on the exporters'
files at 224 x 224, one thread, it took 2.7 times as long for ResNet-50 and 1.5 times for DenseNet-121. It holds every
value and every float64 weight to the end: beyond the file, 596 MB for ResNet-50 (here none) and 486 MB for DenseNet-121
(here 51 MB). It returns nothing before the end, and it cannot run GoogLeNet: its max pool gives another shape. It is
used for operators that only it has, such as If and Loop: their bodies use our kernels through `new_ops`.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from parity.errors import ParityError
from parity.numerics.arrays import Array
from parity.numerics.distance import distance
from parity.onnx_files.operators import KERNELS, PREFERRED, exact_value
from parity.onnx_files.runtime import open_session, reason

# How far float32 may be from float64 for one operator, as a distance; a mistake of onnx.reference is larger.
_ALIKE = 1e-4
_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}


def evaluate(
    model: onnx.ModelProto,
    inputs: Mapping[str, Array],
    nudge: Nudge | None = None,
    *,
    name: str,
    nodes: Sequence[onnx.NodeProto] | None = None,
    single: set[str] | None = None,
) -> Iterator[tuple[onnx.NodeProto, dict[str, Array]]]:
    """Yield each node of the graph, in order, with its outputs by name, all floating tensors in float64.

    A value is freed after its last use. A weight is converted when it is needed, and then freed. A tensor without axes
    stays without axes.

    Args:
        model: With its tensors.
        inputs: Arrays by name.
        nudge: Moves constants; without it they are used unchanged.
        name: The file's, for messages.
        nodes: The nodes to evaluate, in order; None for all.
        single: Is given the nodes that were evaluated in float32, for want of float64: name and operator.

    Raises:
        ParityError: If a node cannot be evaluated, whatever the reason.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = model.graph.node if nodes is None else nodes
    last = {need: i for i, node in enumerate(nodes) for need in needs(node)}
    values: dict[str, Array] = {slot: _wide(np.asarray(array)) for slot, array in inputs.items()}
    for i, node in enumerate(nodes):
        label = f"{node.name or ''.join(node.output[:1])!r} ({node.op_type})"
        try:
            moved = node if nudge is None else nudge.node(node)
            operands = {need: _operand(need, node, values, weights, nudge) for need in needs(node)}
            arrays, in_float32 = _run(model, moved, operands, nudge)
            outputs = dict(zip(node.output, arrays, strict=False))
        except Exception as error:  # a file may hold any numbers, and each library raises its own exceptions
            raise ParityError(f"{name}: node {label} cannot be evaluated in float64: {reason(error)}") from error
        if in_float32 and single is not None:
            single.add(label)
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
        return _narrow(values[name]) if _is_scale(name, node) else values[name]
    if name not in weights:
        raise ValueError(f"it reads {name!r}, which is neither an input, nor a tensor, nor an earlier node's output")
    array = numpy_helper.to_array(weights[name])
    if _is_scale(name, node):
        return _narrow(array)
    return _wide(array if nudge is None else nudge.array(name, array))


def _is_scale(name: str, node: onnx.NodeProto) -> bool:
    """Return whether an input is float32 whatever the node's dtype is: Resize's region and scales."""
    return node.op_type in ("Resize", "Upsample") and name in node.input[1:3]


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
            if exact_value(node.op_type, attribute.name, attribute.f) != attribute.f:
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


def _wide(array: Array) -> Array:
    floating = array.dtype.kind == "f" or array.dtype.name == "bfloat16"
    return array.astype(np.float64, copy=False) if floating else array


def _run(
    model: onnx.ModelProto, node: onnx.NodeProto, operands: Mapping[str, Array], nudge: Nudge | None
) -> tuple[list[Array], bool]:
    """Return a node's outputs, and whether they are float32's: by our kernel, ONNX Runtime, onnx.reference, in turn."""
    settings = _settings(node)
    if node.op_type == "Constant" and "value" in settings:
        return [_wide(numpy_helper.to_array(settings["value"]))], False
    if node.op_type in PREFERRED and len(node.output) == 1:
        try:
            return [KERNELS[node.op_type](*(operands[name] if name else None for name in node.input), settings)], False
        except NotImplementedError:
            pass  # a setting that our kernel lacks; the others may have it
    wide = _single_node(model, node, operands, widen=True)
    try:
        outputs = open_session(wide.SerializeToString(), node.op_type, level="disable").run(None, dict(operands))
        in_float32 = False
    except Exception:  # ONNX Runtime has no kernel for float64, or not this dtype at all
        outputs, in_float32 = _by_reference(model, node, wide, operands, nudge)
    return [_wide(np.asarray(array)) for array in outputs], in_float32


def _by_reference(
    model: onnx.ModelProto,
    node: onnx.NodeProto,
    wide: onnx.ModelProto,
    operands: Mapping[str, Array],
    nudge: Nudge | None,
) -> tuple[Sequence[Array], bool]:
    """Return a node's outputs in float64, by onnx.reference, if they are the runtime's; else the runtime's in float32.

    Raises:
        Exception: That of onnx.reference, if neither can run the node.
    """
    holds_graphs = any(attribute.type == onnx.AttributeProto.GRAPH for attribute in node.attribute)
    operators: list[Any] = [_operator(name) for name in KERNELS] if holds_graphs else []
    shown, failure, outputs = None, None, list[Array]()
    try:
        outputs = list(map(np.asarray, ReferenceEvaluator(wide, new_ops=operators).run(None, dict(operands))))
        if holds_graphs:
            return outputs, False
    except Exception as error:  # an operator that it lacks, or that its code does not cover
        failure = error
    try:
        # Moved like a constant, an input shows how far the roundings of float32 reach.
        narrow = {name: _narrow(nudge.array("", array) if nudge else array) for name, array in operands.items()}
        single = _single_node(model, node, narrow, widen=False)
        shown = open_session(single.SerializeToString(), node.op_type, level="disable").run(None, narrow)
    except Exception:  # the runtime has many kinds of exception for a node that it cannot run: nothing to check against
        if failure is not None:
            raise failure from None
        return outputs, False
    alike = failure is None and all(
        one.shape == other.shape and not distance(_wide(np.asarray(other)), _wide(one)).relative > _ALIKE
        for one, other in zip(outputs, shown, strict=True)
    )
    return (outputs, False) if alike else (shown, True)


def _settings(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _single_node(
    model: onnx.ModelProto, node: onnx.NodeProto, operands: Mapping[str, Array], widen: bool
) -> onnx.ModelProto:
    """Return a model of this node only, its constants in float64 if `widen`."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    if widen:
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


def _operator(name: str) -> type[OpRun]:
    """Return one of our kernels as an operator of onnx.reference."""

    def compute(self: OpRun, *arrays: Array | None, **_: Any) -> tuple[Array]:
        return (KERNELS[name](*arrays, _settings(self.onnx_node)),)

    return type(name, (OpRun,), {"op_domain": "", "_run": compute})
