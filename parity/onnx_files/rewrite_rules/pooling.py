"""The mean of a whole map becomes GlobalAveragePool, and a pool of single elements is removed.

1. ReduceMean over height and width.
2. AveragePool with one window, the whole map.
3. AveragePool or MaxPool with a 1 x 1 window at every place.
"""

# pyright: reportIncompatibleMethodOverride=false
# (A rule's `check` may return a bool; only its annotation in onnxscript says otherwise.)

from __future__ import annotations

from typing import Any

import onnx_ir as ir
from onnxscript.rewriter import RewriteRule, RewriteRuleClassBase

from parity.onnx_files.rewrite_rules.values import constant, producer, shape_of, unpadded


class MeanToPool(RewriteRuleClassBase):
    """Case 1. ReduceMean over H and W to GlobalAveragePool, followed by Flatten if the axes are not kept.

    Axes may be an attribute (up to opset 17) or an input (from 18 on), and counted from either end.
    """

    def pattern(self, op: Any, x: Any) -> Any:
        return op.ReduceMean(x, _allow_other_inputs=True, _outputs=["mean"])

    def check(self, context: Any, x: ir.Value, mean: ir.Value) -> bool:
        node, shape = producer(mean), shape_of(x)
        axes = constant(node.inputs[1]) if len(node.inputs) > 1 else node.attributes.get_ints("axes", ())
        if axes is None or shape is None or len(shape) != 4:
            return False
        return sorted(int(axis) % 4 for axis in axes) == [2, 3]

    def rewrite(self, op: Any, x: ir.Value, mean: ir.Value) -> Any:
        pooled = op.GlobalAveragePool(x)
        return pooled if producer(mean).attributes.get_int("keepdims", 1) else op.Flatten(pooled, axis=1)


class WholeMapToPool(RewriteRuleClassBase):
    """Case 2. AveragePool with one window, the whole map, without padding, to GlobalAveragePool."""

    def pattern(self, op: Any, x: Any) -> Any:
        return op.AveragePool(x, _outputs=["pooled"])

    def check(self, context: Any, x: ir.Value, pooled: ir.Value) -> bool:
        node, shape = producer(pooled), shape_of(x)
        kernel = node.attributes.get_ints("kernel_shape", ())
        return shape is not None and tuple(kernel or ()) == shape[2:] and unpadded(node)

    def rewrite(self, op: Any, x: ir.Value, pooled: ir.Value) -> Any:
        return op.GlobalAveragePool(x)


class DropUnitPool(RewriteRuleClassBase):
    """Case 3. A pool with a 1 x 1 window at every place to Identity: adaptive pooling to the map's own size.

    Args:
        operator: "AveragePool" or "MaxPool".
    """

    def __init__(self, operator: str):
        super().__init__(f"DropUnit{operator}")
        self._operator = operator

    def pattern(self, op: Any, x: Any) -> Any:
        return getattr(op, self._operator)(x, _outputs=["pooled"])

    def check(self, context: Any, x: ir.Value, pooled: ir.Value) -> bool:
        node = producer(pooled)
        sizes = [*(node.attributes.get_ints("kernel_shape") or (0,)), *(node.attributes.get_ints("strides") or (1,))]
        return set(sizes) == {1} and unpadded(node)

    def rewrite(self, op: Any, x: ir.Value, pooled: ir.Value) -> Any:
        return op.Identity(x)


RULES: tuple[RewriteRule, ...] = (
    MeanToPool.rule(),
    WholeMapToPool.rule(),
    DropUnitPool.rule("AveragePool"),
    DropUnitPool.rule("MaxPool"),
)
