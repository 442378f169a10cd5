"""Operations after a convolution are folded into its weights.

1. A BatchNorm after it: into weight and bias, in float64.
2. A bias added after it: Paddle's exporter writes every bias so.
"""

# pyright: reportIncompatibleMethodOverride=false
# (A rule's `check` may return a bool; only its annotation in onnxscript says otherwise.)

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import RewriteRule, RewriteRuleClassBase

from parity.onnx_files.rewrite_rules.values import constant, known, producer, shape_of


class FoldBatchNorm(RewriteRuleClassBase):
    """Case 1. BatchNormalization(Conv(x)) to Conv(x): the one rule that changes numbers.

    Computed in float64 and rounded once; onnxscript's own rule works in float32 and rounds three times. Not
    applied if a number is not constant, another node reads the convolution, or the norm is in training mode.
    """

    def pattern(self, op: Any, x: Any, weight: Any, gamma: Any, beta: Any, mean: Any, variance: Any) -> Any:
        y = op.Conv(x, weight, _allow_other_inputs=True, _outputs=["convolved"])
        return op.BatchNormalization(y, gamma, beta, mean, variance, _outputs=["normalised"])

    def check(self, context: Any, x: Any, convolved: ir.Value, normalised: ir.Value, **values: ir.Value) -> bool:
        norm = producer(normalised)
        if norm.attributes.get_int("training_mode", 0) or len(norm.outputs) > 1:
            return False
        numbers = [*values.values(), *producer(convolved).inputs[2:]]
        return all(constant(value) is not None for value in numbers)

    def rewrite(self, op: Any, x: Any, convolved: ir.Value, normalised: ir.Value, **values: ir.Value) -> Any:
        convolution, norm = producer(convolved), producer(normalised)
        weight, gamma, beta, mean, variance = (
            known(values[name]).astype(np.float64) for name in ("weight", "gamma", "beta", "mean", "variance")
        )
        bias = constant(convolution.inputs[2]) if len(convolution.inputs) > 2 else None
        scale = gamma / np.sqrt(variance + norm.attributes.get_float("epsilon", 1e-5))
        shift = ((0.0 if bias is None else bias.astype(np.float64)) - mean) * scale + beta
        weight = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
        name = str(values["weight"].name)
        return op.Conv(
            x,
            op.initializer(ir.tensor(weight.astype(np.float32)), name=name),
            op.initializer(ir.tensor(shift.astype(np.float32)), name=f"{name}/shift"),
            **convolution.attributes,
        )


class BiasIntoConv(RewriteRuleClassBase):
    """Case 2. Add(Conv(x, w), b), with one number per channel in b, to Conv(x, w, b).

    Not applied if the convolution has a bias already, or b has another shape than C x 1 x 1 or 1 x C x 1 x 1.

    Args:
        operator: "Conv" or "ConvTranspose", whose weight has the output channels of one group on its second axis.
    """

    def __init__(self, operator: str):
        super().__init__(f"BiasInto{operator}")
        self._operator = operator

    def pattern(self, op: Any, x: Any, weight: Any, bias: Any) -> Any:
        return op.Add(getattr(op, self._operator)(x, weight, _outputs=["convolved"]), bias)

    def check(self, context: Any, x: Any, weight: ir.Value, bias: ir.Value, convolved: ir.Value) -> bool:
        added, weights = constant(bias), shape_of(weight)
        if added is None or weights is None:
            return False
        node, transposed = producer(convolved), self._operator == "ConvTranspose"
        channels = (weights[1] or 0) * (node.attributes.get_int("group", 1) or 1) if transposed else weights[0]
        return (
            added.size == channels
            and added.ndim in (len(weights) - 1, len(weights))
            and added.shape[-len(weights) + 1] == added.size
        )

    def rewrite(self, op: Any, x: Any, weight: ir.Value, bias: ir.Value, convolved: ir.Value) -> Any:
        flat = op.initializer(ir.tensor(known(bias).reshape(-1)), name=f"{bias.name}/flat")
        return getattr(op, self._operator)(x, weight, flat, **producer(convolved).attributes)


RULES: tuple[RewriteRule, ...] = (
    FoldBatchNorm.rule(),
    *BiasIntoConv.rule("Conv").commute(),
    *BiasIntoConv.rule("ConvTranspose").commute(),
)
