"""The canonical form of an ONNX graph: what two exporters make of one network comes out as the same bytes.

Passes of onnx-ir and rules of onnxscript do what they have; the rules here are what was left between the exporters of
PyTorch and Paddle (docs/onnx.md lists both). Numbers change in one place alone: a BatchNorm goes into the convolution
before it in float64 and is rounded once.
"""

# pyright: reportIncompatibleMethodOverride=false
# (A rule's `check` may return a bool; only its annotation in onnxscript says otherwise.)

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from typing import Any, cast

import numpy as np
import onnx
import onnx_ir as ir
import onnx_ir.passes.common as passes
from onnxscript.optimizer._constant_folding import FoldConstantsPass
from onnxscript.rewriter import RewritePass, RewriteRule, RewriteRuleClassBase
from onnxscript.rewriter.rules import common

from parity.errors import ParityError
from parity.state import Array

INPUT, OUTPUT = "image", "logits"

# The roles of an operator's inputs after the first, named as torch names a layer's tensors.
_ROLES = {
    "BatchNormalization": ("", "weight", "bias", "running_mean", "running_var"),
    "PRelu": ("", "weight"),
    **dict.fromkeys(("Conv", "ConvTranspose", "Gemm", "MatMul", "InstanceNormalization"), ("", "weight", "bias")),
}
_WINDOWS = ("Conv", "ConvTranspose", "MaxPool", "AveragePool")


def constant(value: ir.Value | None) -> Array | None:
    """Return what a value always is, or None if it depends on the graph's input."""
    if value is None or value.is_graph_input():
        return None
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def _shape(value: ir.Value | None) -> tuple[int | None, ...] | None:
    """Return a value's shape, None for a dynamic axis; None if not even its rank is known."""
    if value is None or value.shape is None:
        return None
    return tuple(size if isinstance(size, int) else None for size in value.shape)


class _FoldBatchNorm(RewriteRuleClassBase):
    """BatchNormalization(Conv(x)) to Conv(x), in float64: onnxscript's own rule works in float32, rounding thrice."""

    def pattern(self, op: Any, x: Any, weight: Any, gamma: Any, beta: Any, mean: Any, variance: Any) -> Any:
        y = op.Conv(x, weight, _allow_other_inputs=True, _outputs=["convolved"])
        return op.BatchNormalization(y, gamma, beta, mean, variance, _outputs=["normalised"])

    def check(self, context: Any, x: Any, convolved: ir.Value, normalised: ir.Value, **values: ir.Value) -> bool:
        convolution = _producer(convolved)
        needed = [*values.values(), *convolution.inputs[2:]]
        return all(constant(value) is not None for value in needed) and len(_producer(normalised).outputs) == 1

    def rewrite(self, op: Any, x: Any, convolved: ir.Value, normalised: ir.Value, **values: ir.Value) -> Any:
        convolution, norm = _producer(convolved), _producer(normalised)
        weight, gamma, beta, mean, variance = (
            cast(Array, constant(values[name])).astype(np.float64)
            for name in ("weight", "gamma", "beta", "mean", "variance")
        )
        bias = constant(convolution.inputs[2]) if len(convolution.inputs) > 2 else None
        scale = gamma / np.sqrt(variance + norm.attributes.get_float("epsilon", 1e-5))
        shift = ((0.0 if bias is None else bias.astype(np.float64)) - mean) * scale + beta
        weight = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
        name = cast(str, values["weight"].name)
        return op.Conv(
            x,
            op.initializer(ir.tensor(weight.astype(np.float32)), name=name),
            op.initializer(ir.tensor(shift.astype(np.float32)), name=f"{name}/shift"),
            **convolution.attributes,
        )


class _BiasIntoConv(RewriteRuleClassBase):
    """Add(Conv(x, w), b), b of one number a channel, to Conv(x, w, b): Paddle's exporter writes every bias so."""

    def __init__(self, operator: str):
        super().__init__(f"BiasInto{operator}")
        self._operator = operator

    def pattern(self, op: Any, x: Any, weight: Any, bias: Any) -> Any:
        return op.Add(getattr(op, self._operator)(x, weight, _outputs=["convolved"]), bias)

    def check(self, context: Any, x: Any, weight: ir.Value, bias: ir.Value, convolved: ir.Value) -> bool:
        added, weights, node = constant(bias), _shape(weight), _producer(convolved)
        if added is None or weights is None or len(node.inputs) != 2:
            return False
        transposed = self._operator == "ConvTranspose"
        channels = (weights[1] or 0) * (node.attributes.get_int("group", 1) or 1) if transposed else weights[0]
        return (
            added.size == channels
            and added.ndim in (len(weights) - 1, len(weights))
            and added.shape[-len(weights) + 1] == added.size
        )

    def rewrite(self, op: Any, x: Any, weight: ir.Value, bias: ir.Value, convolved: ir.Value) -> Any:
        flat = op.initializer(ir.tensor(cast(Array, constant(bias)).reshape(-1)), name=f"{bias.name}/flat")
        return getattr(op, self._operator)(x, weight, flat, **_producer(convolved).attributes)


class _MeanToPool(RewriteRuleClassBase):
    """ReduceMean over H and W to GlobalAveragePool, and to Flatten behind it where the axes are not kept."""

    def pattern(self, op: Any, x: Any) -> Any:
        return op.ReduceMean(x, _allow_other_inputs=True, _outputs=["mean"])

    def check(self, context: Any, x: ir.Value, mean: ir.Value) -> bool:
        node, shape = _producer(mean), _shape(x)
        axes = constant(node.inputs[1]) if len(node.inputs) > 1 else node.attributes.get_ints("axes", ())
        if axes is None or shape is None or len(shape) != 4:
            return False
        return sorted(int(axis) % 4 for axis in axes) == [2, 3]

    def rewrite(self, op: Any, x: ir.Value, mean: ir.Value) -> Any:
        pooled = op.GlobalAveragePool(x)
        return pooled if _producer(mean).attributes.get_int("keepdims", 1) else op.Flatten(pooled, axis=1)


class _WholeMapToPool(RewriteRuleClassBase):
    """AveragePool whose one window is the whole map to GlobalAveragePool."""

    def pattern(self, op: Any, x: Any) -> Any:
        return op.AveragePool(x, _outputs=["pooled"])

    def check(self, context: Any, x: ir.Value, pooled: ir.Value) -> bool:
        node, shape = _producer(pooled), _shape(x)
        kernel = node.attributes.get_ints("kernel_shape", ())
        return shape is not None and tuple(kernel or ()) == shape[2:] and not any(_pads(node))

    def rewrite(self, op: Any, x: ir.Value, pooled: ir.Value) -> Any:
        return op.GlobalAveragePool(x)


class _DropUnitPool(RewriteRuleClassBase):
    """AveragePool or MaxPool with a 1x1 window at every place: adaptive pooling of a map that has its size already."""

    def __init__(self, operator: str):
        super().__init__(f"DropUnit{operator}")
        self._operator = operator

    def pattern(self, op: Any, x: Any) -> Any:
        return getattr(op, self._operator)(x, _outputs=["pooled"])

    def check(self, context: Any, x: ir.Value, pooled: ir.Value) -> bool:
        node = _producer(pooled)
        sizes = [*(node.attributes.get_ints("kernel_shape") or (0,)), *(node.attributes.get_ints("strides") or (1,))]
        return set(sizes) == {1} and not any(_pads(node))

    def rewrite(self, op: Any, x: ir.Value, pooled: ir.Value) -> Any:
        return op.Identity(x)


class _ReshapeToFlatten(RewriteRuleClassBase):
    """Reshape of N x C x H x W to N x (C x H x W), however its shape was computed, to Flatten."""

    def pattern(self, op: Any, x: Any, shape: Any) -> Any:
        return op.Reshape(x, shape, _outputs=["reshaped"])

    def check(self, context: Any, x: ir.Value, shape: ir.Value, reshaped: ir.Value) -> bool:
        before, wanted = _shape(x), _wanted(shape)
        if before is None or len(before) < 3 or wanted is None or len(wanted) != 2:
            return False
        rest = None if None in before[1:] else math.prod(cast(tuple[int, ...], before[1:]))
        # The batch is kept: by its number, by the 0 that means so, by the batch's own size, or because the rest is all.
        keeps = wanted[0] in (0, before[0]) if wanted[1] == -1 else wanted[1] == rest
        batch = wanted[0] in (0, -1, before[0]) or wanted[0] is None
        return keeps and batch and (wanted[1] in (-1, rest))

    def rewrite(self, op: Any, x: ir.Value, shape: ir.Value, reshaped: ir.Value) -> Any:
        return op.Flatten(x, axis=1)


class _SqueezeToFlatten(RewriteRuleClassBase):
    """Squeeze of a 1 x 1 map's last two axes to Flatten."""

    def pattern(self, op: Any, x: Any, axes: Any) -> Any:
        return op.Squeeze(x, axes)

    def check(self, context: Any, x: ir.Value, axes: ir.Value) -> bool:
        shape, which = _shape(x), constant(axes)
        return (
            shape is not None
            and len(shape) == 4
            and shape[2:] == (1, 1)
            and which is not None
            and sorted(int(a) % 4 for a in which) == [2, 3]
        )

    def rewrite(self, op: Any, x: ir.Value, axes: ir.Value) -> Any:
        return op.Flatten(x, axis=1)


class _MatMulToGemm(RewriteRuleClassBase):
    """MatMul of a matrix and a constant one to Gemm."""

    def pattern(self, op: Any, x: Any, weight: Any) -> Any:
        return op.MatMul(x, weight)

    def check(self, context: Any, x: ir.Value, weight: ir.Value) -> bool:
        before, weights = _shape(x), constant(weight)
        return before is not None and len(before) == 2 and weights is not None and weights.ndim == 2

    def rewrite(self, op: Any, x: ir.Value, weight: ir.Value) -> Any:
        return op.Gemm(x, weight)


class _BiasIntoGemm(RewriteRuleClassBase):
    """Add(Gemm(x, w), b), b a constant row, to Gemm(x, w, b)."""

    def pattern(self, op: Any, x: Any, weight: Any, bias: Any) -> Any:
        return op.Add(op.Gemm(x, weight, _outputs=["product"]), bias)

    def check(self, context: Any, x: Any, weight: Any, bias: ir.Value, product: ir.Value) -> bool:
        added, shape = constant(bias), _shape(product)
        return added is not None and added.ndim == 1 and shape is not None and shape[1:] == added.shape

    def rewrite(self, op: Any, x: Any, weight: Any, bias: ir.Value, product: ir.Value) -> Any:
        return op.Gemm(x, weight, bias, **_producer(product).attributes)


class _TurnGemm(RewriteRuleClassBase):
    """Gemm(x, w) with w (in, out) to Gemm(x, w.T, transB=1): a linear layer's weight is (out, in), as in a State."""

    def pattern(self, op: Any, x: Any, weight: Any) -> Any:
        return op.Gemm(x, weight, _allow_other_inputs=True, _outputs=["product"])

    def check(self, context: Any, x: Any, weight: ir.Value, product: ir.Value) -> bool:
        attributes = _producer(product).attributes
        return constant(weight) is not None and not attributes.get_int("transB", 0)

    def rewrite(self, op: Any, x: Any, weight: ir.Value, product: ir.Value) -> Any:
        node = _producer(product)
        turned = ir.tensor(np.ascontiguousarray(cast(Array, constant(weight)).T))
        attributes = {**node.attributes, "transB": ir.AttrInt64("transB", 1)}
        return op.Gemm(x, op.initializer(turned, name=cast(str, weight.name)), *node.inputs[2:], **attributes)


class _SlopeByChannel(RewriteRuleClassBase):
    """PRelu with a slope of 1 x C x 1 x 1 to one of C x 1 x 1."""

    def pattern(self, op: Any, x: Any, slope: Any) -> Any:
        return op.PRelu(x, slope)

    def check(self, context: Any, x: Any, slope: ir.Value) -> bool:
        slopes = constant(slope)
        return slopes is not None and slopes.ndim == 4 and slopes.shape[0] == 1

    def rewrite(self, op: Any, x: Any, slope: ir.Value) -> Any:
        return op.PRelu(x, op.initializer(ir.tensor(cast(Array, constant(slope))[0]), name=cast(str, slope.name)))


class _PadWithoutAxis(RewriteRuleClassBase):
    """Squeeze(Pad(Unsqueeze(x))) of one axis that is not padded to Pad(x): Paddle pads a map as a volume of depth 1."""

    def pattern(self, op: Any, x: Any, axis: Any, pads: Any, back: Any) -> Any:
        return op.Squeeze(op.Pad(op.Unsqueeze(x, axis), pads, _allow_other_inputs=True, _outputs=["padded"]), back)

    def check(self, context: Any, x: Any, axis: ir.Value, pads: ir.Value, back: ir.Value, padded: ir.Value) -> bool:
        added, dropped, sizes = constant(axis), constant(back), constant(pads)
        if added is None or dropped is None or sizes is None or added.size != 1 or len(_producer(padded).inputs) > 3:
            return False
        at, rank = int(added.reshape(-1)[0]), len(sizes) // 2
        return added.tolist() == dropped.tolist() and 0 <= at < rank and sizes[at] == 0 == sizes[at + rank]

    def rewrite(self, op: Any, x: Any, axis: ir.Value, pads: ir.Value, back: ir.Value, padded: ir.Value) -> Any:
        node, sizes, at = (
            _producer(padded),
            cast(Array, constant(pads)),
            int(cast(Array, constant(axis)).reshape(-1)[0]),
        )
        kept = np.delete(sizes, [at, at + len(sizes) // 2])
        return op.Pad(x, op.initializer(ir.tensor(kept), name=f"{pads.name}/kept"), *node.inputs[2:], **node.attributes)


class _PartOfShape(RewriteRuleClassBase):
    """Slice of a Shape to the Shape of some axes."""

    def pattern(self, op: Any, x: Any, start: Any, end: Any, axes: Any) -> Any:
        return op.Slice(op.Shape(x, _outputs=["shape"]), start, end, axes)

    def check(self, context: Any, x: Any, start: ir.Value, end: ir.Value, axes: ir.Value, shape: ir.Value) -> bool:
        known = [constant(value) for value in (start, end, axes)]
        part = {"start", "end"} & {name for name, each in _producer(shape).attributes.items() if each.value}
        return all(each is not None and each.size == 1 and each.reshape(-1)[0] >= 0 for each in known) and not part

    def rewrite(self, op: Any, x: Any, start: ir.Value, end: ir.Value, axes: Any, shape: Any) -> Any:
        first, last = (int(cast(Array, constant(value)).reshape(-1)[0]) for value in (start, end))
        return op.Shape(x, start=first, end=last)


class _Mish(RewriteRuleClassBase):
    """x * tanh(softplus(x)) to Mish."""

    def pattern(self, op: Any, x: Any) -> Any:
        return op.Mul(x, op.Tanh(op.Softplus(x)))

    def check(self, context: Any, x: ir.Value) -> bool:
        return x.graph is not None and x.graph.opset_imports.get("", 0) >= 18

    def rewrite(self, op: Any, x: Any) -> Any:
        return op.Mish(x)


class _HalfLast(RewriteRuleClassBase):
    """x * (0.5 * y) to (x * y) * 0.5: the two spellings of GELU, and the same number."""

    def pattern(self, op: Any, x: Any, y: Any, half: Any) -> Any:
        return op.Mul(x, op.Mul(half, y))

    def check(self, context: Any, x: Any, y: Any, half: ir.Value) -> bool:
        value = constant(half)
        return value is not None and value.size == 1 and value.reshape(-1)[0] == 0.5 and constant(x) is None

    def rewrite(self, op: Any, x: Any, y: Any, half: Any) -> Any:
        return op.Mul(op.Mul(x, y), half)


def _producer(value: ir.Value) -> ir.Node:
    return cast(ir.Node, value.producer())


def _pads(node: ir.Node) -> tuple[int, ...]:
    return tuple(node.attributes.get_ints("pads") or ())


def _wanted(shape: ir.Value) -> tuple[int | None, ...] | None:
    """Return the sizes a shape tensor holds, None where one depends on the input; None if it can't be told."""
    known = constant(shape)
    if known is not None:
        return tuple(int(size) for size in known.reshape(-1))
    node = shape.producer()
    if node is None or node.op_type != "Concat" or any(_shape(value) != (1,) for value in node.inputs):
        return None
    parts = [constant(value) for value in node.inputs]
    return tuple(None if part is None else int(part[0]) for part in parts)


_RULES: tuple[RewriteRule, ...] = (
    *common.mul_by_1_rule.commute(),
    *common.add_0_rule.commute(),
    common.sub_0_rule,
    common.div_by_1_rule,
    common.dropout_zero_rule,
    common.dropout_inference_rule,
    common.cast_cast_rule,
    common.no_op_cast_rule,
    common.no_op_expand_rule,
    common.no_op_transpose_rule,
    common.transpose_transpose_rule,
    common.reshape_reshape_rule,
    common.squeeze_reshape_1d_rule,
    common.unsqueeze_unsqueeze_rule,
    common.collapse_slice_rule,
    common.collapse_slice2_rule,
    common.remove_optional_bias_from_conv_rule,
    common.remove_optional_bias_from_conv_transpose_rule,
    common.remove_optional_bias_from_gemm_rule,
    common.normalize_pad_format_conv_rule,
    common.fuse_pad_into_conv_rule,
    common.successive_relu_rule,
    _FoldBatchNorm.rule(),
    *_BiasIntoConv.rule("Conv").commute(),
    *_BiasIntoConv.rule("ConvTranspose").commute(),
    _MeanToPool.rule(),
    _WholeMapToPool.rule(),
    _DropUnitPool.rule("AveragePool"),
    _DropUnitPool.rule("MaxPool"),
    _ReshapeToFlatten.rule(),
    _SqueezeToFlatten.rule(),
    _MatMulToGemm.rule(),
    *_BiasIntoGemm.rule().commute(),
    _TurnGemm.rule(),
    _SlopeByChannel.rule(),
    _PadWithoutAxis.rule(),
    _PartOfShape.rule(),
    *_Mish.rule().commute(),
    _HalfLast.rule(),
)


class _FoldSplit(ir.passes.InPlacePass):
    """Split of a constant to constants: onnxscript's folding leaves operators of several outputs as they are."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in model.graph:
            values = [constant(value) for value in node.inputs]
            if node.op_type != "Split" or len(values) != 2 or values[0] is None or values[1] is None:
                continue
            parts = np.split(values[0], np.cumsum(values[1])[:-1], node.attributes.get_int("axis", 0) or 0)
            for value, part in zip(node.outputs, parts, strict=True):
                name = f"{value.name}/part"
                held = ir.val(name, const_value=ir.tensor(part, name=name))
                model.graph.register_initializer(held)
                ir.convenience.replace_all_uses_with(value, held)
                modified = True
        return ir.passes.PassResult(model, modified)


logging.getLogger("onnxscript").setLevel(logging.ERROR)  # it warns of every operator that it leaves as it is
_FOLD_ALL = 1 << 62  # elements: whatever is constant is folded, however large


def simplify(model: ir.Model) -> ir.Model:
    """Bring a graph into canonical form, all but its names: in place, until no rule finds anything more.

    Args:
        model: An exporter's.
    """
    lift = passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)
    _ = ir.passes.Sequential(passes.InlinePass(), passes.RemoveInitializersFromInputsPass(), lift)(model)
    for value in model.graph.initializers.values():
        if value.const_value is not None:  # read once: each reading of a protobuf's numbers is a copy
            value.const_value = ir.tensor(value.const_value.numpy(), name=value.name)
    fold = FoldConstantsPass(shape_inference=True, input_size_limit=_FOLD_ALL, output_size_limit=_FOLD_ALL)
    steps = (
        _FoldSplit(),
        fold,
        RewritePass(_RULES),
        lift,
        passes.IdentityEliminationPass(),
        passes.RemoveUnusedNodesPass(),
    )
    _ = ir.passes.PassManager(steps, steps=len(_RULES), early_stop=True)(model)
    _ = passes.RemoveUnusedOpsetsPass()(model)
    for node in model.graph:
        _normalise(node)
    _ = passes.AddDefaultAttributesPass()(model)
    for node in model.graph:
        attributes = sorted(node.attributes.items())
        node.attributes.clear()
        node.attributes.update(attributes)
    _sort(model.graph)
    return model


def _normalise(node: ir.Node) -> None:
    """Spell a node's settings one way: lists in full, axes counted from the front, none that steers nothing."""
    attributes, shape = node.attributes, _shape(node.inputs[0]) if node.inputs else None
    if node.op_type == "BatchNormalization":
        _ = attributes.pop("momentum", None)  # of training
    if "axis" in attributes and shape is not None:
        attributes["axis"] = ir.AttrInt64("axis", attributes["axis"].as_int() % len(shape))
    if node.op_type == "Resize":
        _normalise_resize(node)
    if node.op_type == "Pad" and attributes.get_string("mode", "constant") != "constant" and len(node.inputs) > 2:
        node.replace_input_with(2, None)
        node.resize_inputs(2)
    if node.op_type not in _WINDOWS or shape is None:
        return
    if node.op_type.startswith("Conv") and (weight := _shape(node.inputs[1])) is not None:
        attributes["kernel_shape"] = ir.AttrInt64s("kernel_shape", cast(tuple[int, ...], weight[2:]))
    axes = len(shape) - 2
    if node.op_type == "ConvTranspose" and "output_padding" not in attributes:
        attributes["output_padding"] = ir.AttrInt64s("output_padding", [0] * axes)
    for name, default in (("strides", [1] * axes), ("dilations", [1] * axes), ("pads", [0] * 2 * axes)):
        # AveragePool knows dilations from opset 19 on.
        if name not in attributes and not (name == "dilations" and node.op_type == "AveragePool"):
            attributes[name] = ir.AttrInt64s(name, default)
    if node.op_type == "AveragePool":
        if not any(_pads(node)):
            _ = attributes.pop("count_include_pad", None)
        if set(attributes.get_ints("dilations") or ()) == {1}:
            _ = attributes.pop("dilations", None)


def _normalise_resize(node: ir.Node) -> None:
    """Leave out the region of interest, scales and settings that a Resize does not look at."""
    attributes = node.attributes
    if attributes.get_string("coordinate_transformation_mode", "") != "tf_crop_and_resize":
        node.replace_input_with(1, None)
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        node.replace_input_with(2, None)
    mode = attributes.get_string("mode", "nearest")
    for name, steers in (("nearest_mode", "nearest"), ("cubic_coeff_a", "cubic"), ("exclude_outside", "cubic")):
        if mode != steers:
            _ = attributes.pop(name, None)


def _sort(graph: ir.Graph) -> None:
    """Put the nodes in the order in which a walk back from the outputs, inputs from the first on, is done with them."""
    order: dict[ir.Node, None] = {}
    stack = [value.producer() for value in reversed(graph.outputs)]
    while stack:
        node = stack[-1]
        waiting = [
            before
            for value in (() if node is None or node in order else node.inputs)
            if value is not None and (before := value.producer()) is not None and before not in order
        ]
        if waiting:
            stack += reversed(waiting)
        elif (done := stack.pop()) is not None:
            order[done] = None
    graph.remove(order)
    graph.extend(order)


def unnamed(model: ir.Model) -> ir.Model:
    """Return the graph with its nodes numbered, to be run before their names are known."""
    return _rebuilt(model, [f"node{i}" for i, _ in enumerate(model.graph)], {})


def named(model: ir.Model, state: Mapping[str, str], layers: Mapping[str, str]) -> ir.Model:
    """Return the graph with nodes, values and tensors called after the layers they come from, every shape described.

    A node is called after the layer that holds its weights or, without any, whose output it makes; where no layer is
    known, after what its neighbours' layers have in common and its operator, `layer1.0.Add`. A value is called after
    the layer whose output it is (a BatchNorm folded into a convolution leaves its name there), else as its node. What
    comes a second time ends in "#1". A tensor is called after its node and its role, `layer1.0.conv1.weight`.

    Args:
        model: From `simplify`.
        state: Name in the network's State of a tensor, by the name the exporter gave it.
        layers: The layer whose output a value is, by the value's name in `unnamed(model)`.
    """
    nodes = list(model.graph)
    made = [str(node.outputs[0].name) for node in unnamed(model).graph]
    found = [_owner(node, state) or layers.get(name, "") for node, name in zip(nodes, made, strict=True)]
    names = []
    for i, node in enumerate(nodes):
        before = next((owner for owner in reversed(found[:i]) if owner), "")
        after = next((owner for owner in found[i + 1 :] if owner), "")
        pairs = zip(before.split("."), after.split("."), strict=False)
        shared = [a for a, _ in takewhile(lambda pair: pair[0] == pair[1] != "", pairs)]
        names.append(found[i] or ".".join([*shared, node.op_type]))
    values = {node.outputs[0]: layers[name] for node, name in zip(nodes, made, strict=True) if name in layers}
    return _rebuilt(model, names, values)


def _owner(node: ir.Node, state: Mapping[str, str]) -> str:
    """Return the layer that holds a node's weights."""
    held = [state[name] for value in node.inputs if value is not None and (name := str(value.name)) in state]
    return held[0].rpartition(".")[0] if held else ""


def _unique() -> Callable[[str], str]:
    """Return a function that returns a name as it is the first time, and with "#1", "#2" behind it from then on."""
    taken = set[str]()

    def unique(name: str) -> str:
        chosen = next(each for i in range(len(taken) + 1) if (each := f"{name}#{i}" if i else name) not in taken)
        taken.add(chosen)
        return chosen

    return unique


def _axes(value: ir.Value) -> ir.Shape | None:
    """Return a value's shape, its dynamic axes called N, C, H and W."""
    shape = _shape(value)
    return None if shape is None else ir.Shape([size or "NCHW"[i : i + 1] or None for i, size in enumerate(shape)])


def _rebuilt(model: ir.Model, names: Sequence[str], layers: Mapping[ir.Value, str]) -> ir.Model:
    """Return a new model of the same nodes, in which nothing else of the exporter is left.

    Raises:
        ParityError: If a node holds a graph of its own.
    """
    graph, node_name, unique = model.graph, _unique(), _unique()
    values = {
        value: ir.Value(None, name=unique(name), type=value.type, shape=_axes(value))
        for name, ends in ((INPUT, graph.inputs), (OUTPUT, graph.outputs))
        for value in ends
    }
    nodes, tensors = list[ir.Node](), list[ir.Value]()
    for node, name in zip(graph, map(node_name, names), strict=True):
        for i, value in enumerate(node.inputs):
            if value is not None and value not in values:
                roles = _ROLES.get(node.op_type, ())
                array = np.ascontiguousarray(cast(Array, constant(value))).reshape(_shape(value) or ())
                tensor = ir.tensor(array, name=unique(f"{name}.{roles[i] if i < len(roles) else f'input{i}'}"))
                values[value] = ir.val(cast(str, tensor.name), const_value=tensor)
                tensors.append(values[value])
        for value in node.outputs:
            if value not in values:
                values[value] = ir.Value(None, name=unique(layers.get(value, name)))
        if any(
            attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
            for attribute in node.attributes.values()
        ):
            raise ParityError(
                f"{name}: {node.op_type} holds a graph of its own, which has no canonical form. Use --raw."
            )
        made = [values[value] for value in node.outputs]
        taken = [value and values[value] for value in node.inputs]
        nodes.append(ir.Node("", node.op_type, taken, node.attributes.values(), outputs=made, name=name))
    rebuilt = ir.Graph(
        [values[value] for value in graph.inputs],
        [values[value] for value in graph.outputs],
        nodes=nodes,
        initializers=tensors,
        opset_imports={"": graph.opset_imports[""]},
        name="network",
    )
    version = onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", graph.opset_imports[""])])
    result = ir.Model(rebuilt, ir_version=version)
    _ = passes.ShapeInferencePass()(result)
    rebuilt.initializers.clear()  # the pass has put the large ones last
    for tensor in tensors:
        rebuilt.register_initializer(tensor)
    return result


def difference(ours: onnx.ModelProto, theirs: onnx.ModelProto, sides: tuple[str, str]) -> str:
    """Return in words where two canonical files first differ: the node, and what each has; "" if nowhere."""
    for a, b in zip(ours.graph.node, theirs.graph.node, strict=False):
        for word, get in _PARTS.items():
            if get(a) != get(b):
                return f"{a.name or b.name}: {word} differs: {sides[0]}={get(a)}, {sides[1]}={get(b)}"
    counts = len(ours.graph.node), len(theirs.graph.node)
    if counts[0] != counts[1]:
        longer = max(ours, theirs, key=lambda model: len(model.graph.node)).graph.node[min(counts)]
        return f"{longer.name}: {longer.op_type} is only in {sides[counts[1] > counts[0]]}"
    for a, b in zip(ours.graph.initializer, theirs.graph.initializer, strict=False):
        if a != b:
            return f"{a.name}: its numbers differ, or their order does: {sides[1]} has {b.name} {list(b.dims)} there"
    return "" if ours.graph == theirs.graph else "the declared shapes of inputs, outputs or values differ"


_PARTS: dict[str, Callable[[onnx.NodeProto], Any]] = {
    "operator": lambda node: node.op_type,
    "attributes": lambda node: {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute},
    "inputs": lambda node: list(node.input),
    "outputs": lambda node: list(node.output),
    "name": lambda node: node.name,
}
