"""Every form of "keep the batch, put the other axes in one row" becomes Flatten.

1. Reshape to two axes, its sizes constant or computed from the input's shape.
2. Squeeze of a 1 x 1 map.
3. Part of a shape, from which such sizes are computed: Slice(Shape(x)) is Shape with start and end.
"""

# pyright: reportIncompatibleMethodOverride=false
# (A rule's `check` may return a bool; only its annotation in onnxscript says otherwise.)

from __future__ import annotations

import math
from typing import Any, cast

import onnx_ir as ir
from onnxscript.rewriter import RewriteRule, RewriteRuleClassBase

from parity.onnx_files.rewrite_rules.values import constant, known, producer, shape_of


class ReshapeToFlatten(RewriteRuleClassBase):
    """Case 1. Reshape of N x C x H x W to N x (C x H x W) to Flatten.

    Each of the two requested sizes is a number, or None if it is computed from the input. Either the second is -1, "the
    rest": then the first must be the batch, as its number, as 0 ("unchanged"), or computed where the batch is dynamic.
    Or the second is the product of C, H and W: then the first can only be the batch.
    """

    def pattern(self, op: Any, x: Any, shape: Any) -> Any:
        return op.Reshape(x, shape, _outputs=["reshaped"])

    def check(self, context: Any, x: ir.Value, shape: ir.Value, reshaped: ir.Value) -> bool:
        before, sizes = shape_of(x), _sizes(shape)
        if before is None or len(before) < 3 or sizes is None or len(sizes) != 2:
            return False
        batch, rest = sizes
        if rest == -1:
            return batch in (0, before[0])
        if None in before[1:] or rest != math.prod(cast(tuple[int, ...], before[1:])):
            return False
        return batch in (None, 0, -1, before[0])

    def rewrite(self, op: Any, x: ir.Value, shape: ir.Value, reshaped: ir.Value) -> Any:
        return op.Flatten(x, axis=1)


class SqueezeToFlatten(RewriteRuleClassBase):
    """Case 2. Squeeze of a 1 x 1 map's last two axes to Flatten; axes may be counted from either end."""

    def pattern(self, op: Any, x: Any, axes: Any) -> Any:
        return op.Squeeze(x, axes)

    def check(self, context: Any, x: ir.Value, axes: ir.Value) -> bool:
        shape, dropped = shape_of(x), constant(axes)
        if shape is None or len(shape) != 4 or shape[2:] != (1, 1) or dropped is None:
            return False
        return sorted(int(axis) % 4 for axis in dropped) == [2, 3]

    def rewrite(self, op: Any, x: ir.Value, axes: ir.Value) -> Any:
        return op.Flatten(x, axis=1)


class PartOfShape(RewriteRuleClassBase):
    """Case 3. Slice(Shape(x), start, end, axes) to Shape(x) with start and end, neither counted from the end."""

    def pattern(self, op: Any, x: Any, start: Any, end: Any, axes: Any) -> Any:
        return op.Slice(op.Shape(x, _outputs=["shape"]), start, end, axes)

    def check(self, context: Any, x: Any, start: ir.Value, end: ir.Value, axes: ir.Value, shape: ir.Value) -> bool:
        if any(producer(shape).attributes.get_int(name, 0) for name in ("start", "end")):
            return False  # already a part
        places = [constant(value) for value in (start, end, axes)]
        return all(place is not None and place.size == 1 and place.reshape(-1)[0] >= 0 for place in places)

    def rewrite(self, op: Any, x: Any, start: ir.Value, end: ir.Value, axes: Any, shape: Any) -> Any:
        first, last = (int(known(value).reshape(-1)[0]) for value in (start, end))
        return op.Shape(x, start=first, end=last)


def _sizes(shape: ir.Value) -> tuple[int | None, ...] | None:
    """Return the sizes a shape tensor holds, None where one depends on the input; None if they are unknown."""
    numbers = constant(shape)
    if numbers is not None:
        return tuple(int(size) for size in numbers.reshape(-1))
    node = shape.producer()
    if node is None or node.op_type != "Concat" or any(shape_of(value) != (1,) for value in node.inputs):
        return None
    parts = [constant(value) for value in node.inputs]
    return tuple(None if part is None else int(part[0]) for part in parts)


RULES: tuple[RewriteRule, ...] = (ReshapeToFlatten.rule(), SqueezeToFlatten.rule(), PartOfShape.rule())
