"""Every linear layer is Gemm with `transB=1`, its weight (out, in) as in a State.

1. MatMul with a constant matrix.
2. A bias added after it.
3. A weight written (in, out): Paddle's.
"""

# pyright: reportIncompatibleMethodOverride=false
# (A rule's `check` may return a bool; only its annotation in onnxscript says otherwise.)

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import RewriteRule, RewriteRuleClassBase

from parity.onnx_files.rewrite_rules.values import constant, known, producer, shape_of


class MatMulToGemm(RewriteRuleClassBase):
    """Case 1. MatMul of a matrix and a constant one to Gemm; MatMul of a stack of matrices stays, as Gemm has none."""

    def pattern(self, op: Any, x: Any, weight: Any) -> Any:
        return op.MatMul(x, weight)

    def check(self, context: Any, x: ir.Value, weight: ir.Value) -> bool:
        before, weights = shape_of(x), constant(weight)
        return before is not None and len(before) == 2 and weights is not None and weights.ndim == 2

    def rewrite(self, op: Any, x: ir.Value, weight: ir.Value) -> Any:
        return op.Gemm(x, weight)


class BiasIntoGemm(RewriteRuleClassBase):
    """Case 2. Add(Gemm(x, w), b), with a constant row in b, to Gemm(x, w, b); not where `beta` would scale b."""

    def pattern(self, op: Any, x: Any, weight: Any, bias: Any) -> Any:
        return op.Add(op.Gemm(x, weight, _outputs=["product"]), bias)

    def check(self, context: Any, x: Any, weight: Any, bias: ir.Value, product: ir.Value) -> bool:
        added, shape = constant(bias), shape_of(product)
        if added is None or shape is None or shape[1:] != added.shape:
            return False
        return producer(product).attributes.get_float("beta", 1.0) == 1.0

    def rewrite(self, op: Any, x: Any, weight: Any, bias: ir.Value, product: ir.Value) -> Any:
        return op.Gemm(x, weight, bias, **producer(product).attributes)


class TransposeGemm(RewriteRuleClassBase):
    """Case 3. Gemm(x, w) with a constant w of (in, out) to Gemm(x, w.T, transB=1)."""

    def pattern(self, op: Any, x: Any, weight: Any) -> Any:
        return op.Gemm(x, weight, _allow_other_inputs=True, _outputs=["product"])

    def check(self, context: Any, x: Any, weight: ir.Value, product: ir.Value) -> bool:
        return constant(weight) is not None and not producer(product).attributes.get_int("transB", 0)

    def rewrite(self, op: Any, x: Any, weight: ir.Value, product: ir.Value) -> Any:
        node = producer(product)
        transposed = ir.tensor(np.ascontiguousarray(known(weight).T))
        attributes = {**node.attributes, "transB": ir.AttrInt64("transB", 1)}
        return op.Gemm(x, op.initializer(transposed, name=str(weight.name)), *node.inputs[2:], **attributes)


RULES: tuple[RewriteRule, ...] = (MatMulToGemm.rule(), *BiasIntoGemm.rule().commute(), TransposeGemm.rule())
