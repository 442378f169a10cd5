"""Activations that two exporters write in two ways.

1. PRelu's slope with and without a batch axis.
2. Mish written out.
3. GELU's 0.5 multiplied first or last.
"""

# pyright: reportIncompatibleMethodOverride=false
# (A rule's `check` may return a bool; only its annotation in onnxscript says otherwise.)

from __future__ import annotations

from typing import Any

import onnx_ir as ir
from onnxscript.rewriter import RewriteRule, RewriteRuleClassBase

from parity.onnx_files.rewrite_rules.values import constant, known


class SlopeByChannel(RewriteRuleClassBase):
    """Case 1. PRelu with a slope of 1 x C x 1 x 1 to one of C x 1 x 1."""

    def pattern(self, op: Any, x: Any, slope: Any) -> Any:
        return op.PRelu(x, slope)

    def check(self, context: Any, x: Any, slope: ir.Value) -> bool:
        slopes = constant(slope)
        return slopes is not None and slopes.ndim == 4 and slopes.shape[0] == 1

    def rewrite(self, op: Any, x: Any, slope: ir.Value) -> Any:
        return op.PRelu(x, op.initializer(ir.tensor(known(slope)[0]), name=str(slope.name)))


class Mish(RewriteRuleClassBase):
    """Case 2. x * tanh(softplus(x)) to Mish, which ONNX has from opset 18 on."""

    def pattern(self, op: Any, x: Any) -> Any:
        return op.Mul(x, op.Tanh(op.Softplus(x)))

    def check(self, context: Any, x: ir.Value) -> bool:
        return x.graph is not None and x.graph.opset_imports.get("", 0) >= 18

    def rewrite(self, op: Any, x: Any) -> Any:
        return op.Mish(x)


class HalfLast(RewriteRuleClassBase):
    """Case 3. x * (0.5 * y) to (x * y) * 0.5: halving is exact, so the result is the same; with 0.7 it would not be."""

    def pattern(self, op: Any, x: Any, y: Any, half: Any) -> Any:
        return op.Mul(x, op.Mul(half, y))

    def check(self, context: Any, x: Any, y: Any, half: ir.Value) -> bool:
        value = constant(half)
        return value is not None and value.size == 1 and value.reshape(-1)[0] == 0.5 and constant(x) is None

    def rewrite(self, op: Any, x: Any, y: Any, half: Any) -> Any:
        return op.Mul(op.Mul(x, y), half)


RULES: tuple[RewriteRule, ...] = (SlopeByChannel.rule(), *Mish.rule().commute(), HalfLast.rule())
