"""Padding that is written with more axes than needed.

1. A map padded as a volume of depth 1: Paddle's.
"""

# pyright: reportIncompatibleMethodOverride=false
# (A rule's `check` may return a bool; only its annotation in onnxscript says otherwise.)

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import RewriteRule, RewriteRuleClassBase

from parity.onnx_files.rewrite_rules.values import constant, known, producer


class PadWithoutAxis(RewriteRuleClassBase):
    """Case 1. Squeeze(Pad(Unsqueeze(x))) of one axis, which is not padded, to Pad(x).

    Not applied if Pad has `axes`: its numbers belong to other axes then.
    """

    def pattern(self, op: Any, x: Any, axis: Any, pads: Any, back: Any) -> Any:
        return op.Squeeze(op.Pad(op.Unsqueeze(x, axis), pads, _allow_other_inputs=True, _outputs=["padded"]), back)

    def check(self, context: Any, x: Any, axis: ir.Value, pads: ir.Value, back: ir.Value, padded: ir.Value) -> bool:
        added, dropped = constant(axis), constant(back)
        sizes = constant(pads)
        if added is None or dropped is None or sizes is None or added.size != 1 or len(producer(padded).inputs) > 3:
            return False
        at, rank = int(added.reshape(-1)[0]), len(sizes) // 2
        return added.tolist() == dropped.tolist() and 0 <= at < rank and sizes[at] == 0 == sizes[at + rank]

    def rewrite(self, op: Any, x: Any, axis: ir.Value, pads: ir.Value, back: ir.Value, padded: ir.Value) -> Any:
        node, sizes = producer(padded), known(pads)
        at = int(known(axis).reshape(-1)[0])
        remaining = ir.tensor(np.delete(sizes, [at, at + len(sizes) // 2]))
        return op.Pad(x, op.initializer(remaining, name=f"{pads.name}/remaining"), *node.inputs[2:], **node.attributes)


RULES: tuple[RewriteRule, ...] = (PadWithoutAxis.rule(),)
