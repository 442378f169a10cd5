"""Half precision computed as halves: each node's result rounded to float16, whatever the processor can do.

A CPU's ONNX Runtime computes half precision in float32, and rounds nothing between nodes. So its run shows neither what
exceeds 65504 nor what is lost below 6e-8.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper, numpy_helper


def rounded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a float32 model that computes what a half-precision one does where halves are halves.

    Sums within a node are float32's, as on a GPU; its result is rounded.

    Args:
        model: Of float16 tensors, its inputs and outputs float32; graphs within nodes are left alone.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.value_info[:]
    typed = onnx.shape_inference.infer_shapes(copy).graph
    halves = {value.name for value in typed.value_info if value.type.tensor_type.elem_type == TensorProto.FLOAT16}
    for tensor in copy.graph.initializer:
        _widen(tensor)
    nodes = list(copy.graph.node)
    del copy.graph.node[:]
    for node in nodes:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                _widen(attribute.t)
            elif attribute.name in ("to", "dtype") and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
        made = [name for name in node.output if name in halves]
        node.output[:] = [f"{name}.whole" if name in halves else name for name in node.output]
        copy.graph.node.append(node)
        for name in made:
            half = f"{name}.half"
            copy.graph.node.append(helper.make_node("Cast", [f"{name}.whole"], [half], to=TensorProto.FLOAT16))
            copy.graph.node.append(helper.make_node("Cast", [half], [name], to=TensorProto.FLOAT))
    return copy


def _widen(tensor: TensorProto) -> None:
    if tensor.data_type == TensorProto.FLOAT16:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype("float32"), tensor.name))
