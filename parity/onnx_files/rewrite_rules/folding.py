"""Values that do not depend on the graph's input become constants.

1. Operators of one output: onnxscript's folding, whatever the size.
2. Split of a constant, which has several outputs: onnxscript's folding does not change it.
"""

from __future__ import annotations

import logging

import numpy as np
import onnx_ir as ir
from onnxscript.optimizer import fold_constants

from parity.onnx_files.rewrite_rules.values import constant

logging.getLogger("onnxscript").setLevel(logging.ERROR)  # it warns of every operator that it does not fold
_NO_LIMIT = 1 << 62  # elements


class FoldConstants(ir.passes.InPlacePass):
    """Case 1. Operators of constants to their result, shapes inferred on the way: onnxscript's, as a pass."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Fold in place; return the model and whether anything was folded."""
        return fold_constants(model, onnx_shape_inference=True, input_size_limit=_NO_LIMIT, output_size_limit=_NO_LIMIT)


class FoldSplit(ir.passes.InPlacePass):
    """Case 2. Split of a constant, its sizes given as an input, to one constant for each output."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Fold in place; return the model and whether anything was folded."""
        modified = False
        for node in model.graph:
            values = [constant(value) for value in node.inputs]
            if node.op_type != "Split" or len(values) != 2 or values[0] is None or values[1] is None:
                continue
            parts = np.split(values[0], np.cumsum(values[1])[:-1], node.attributes.get_int("axis", 0) or 0)
            for value, part in zip(node.outputs, parts, strict=True):
                name = f"{value.name}/part"
                initializer = ir.val(name, const_value=ir.tensor(part, name=name))
                model.graph.register_initializer(initializer)
                ir.convenience.replace_all_uses_with(value, initializer)
                modified = True
        return ir.passes.PassResult(model, modified)
