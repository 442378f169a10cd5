"""The canonical form of an ONNX graph: two exporters' files of one network become the same bytes.

This file has the order of the passes, and the names. The rules are in `rewrite_rules`, one file for each group, its
cases numbered. Passes of onnx-ir and rules of onnxscript are used where they exist; ours handle the other differences
between the exporters of PyTorch and Paddle (docs/onnx.md lists both).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnx_ir.passes.common as passes
from onnxscript.rewriter import RewritePass, RewriteRule

from parity.errors import ParityError
from parity.onnx_files.rewrite_rules import activations, convolutions, flatten, linear, padding, pooling, standard
from parity.onnx_files.rewrite_rules.attributes import normalise
from parity.onnx_files.rewrite_rules.folding import FoldConstants, FoldSplit
from parity.onnx_files.rewrite_rules.values import known, shape_of

INPUT, OUTPUT = "image", "logits"

# The roles of an operator's inputs after the first, named as torch names a layer's tensors.
_ROLES = {
    "BatchNormalization": ("", "weight", "bias", "running_mean", "running_var"),
    "PRelu": ("", "weight"),
    **dict.fromkeys(("Conv", "ConvTranspose", "Gemm", "MatMul", "InstanceNormalization"), ("", "weight", "bias")),
}
# Tried in this order at each node; the first that matches is applied.
_RULES: tuple[RewriteRule, ...] = (
    *standard.RULES,
    *convolutions.RULES,
    *pooling.RULES,
    *flatten.RULES,
    *linear.RULES,
    *activations.RULES,
    *padding.RULES,
)


def simplify(model: ir.Model) -> ir.Model:
    """Bring a graph into canonical form, except its names: in place, until no rule matches.

    Args:
        model: An exporter's; it is changed.
    """
    lift = passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)
    _ = ir.passes.Sequential(passes.InlinePass(), passes.RemoveInitializersFromInputsPass(), lift)(model)
    for value in model.graph.initializers.values():
        if value.const_value is not None:  # read once: each read of a protobuf's numbers is a copy
            value.const_value = ir.tensor(value.const_value.numpy(), name=value.name)
    steps = (
        FoldSplit(),
        FoldConstants(),
        RewritePass(_RULES),
        lift,
        passes.IdentityEliminationPass(),
        passes.RemoveUnusedNodesPass(),
    )
    _ = ir.passes.PassManager(steps, steps=len(_RULES), early_stop=True)(model)
    _ = passes.RemoveUnusedOpsetsPass()(model)
    for node in model.graph:
        normalise(node)
    _ = passes.AddDefaultAttributesPass()(model)
    for node in model.graph:
        attributes = sorted(node.attributes.items())
        node.attributes.clear()
        node.attributes.update(attributes)
    _sort(model.graph)
    return model


def _sort(graph: ir.Graph) -> None:
    """Sort the nodes by depth-first search from the outputs: a node comes after its inputs, the first input first."""
    order: dict[ir.Node, None] = {}
    stack = [value.producer() for value in reversed(graph.outputs)]
    while stack:
        node = stack[-1]
        waiting = [
            parent
            for value in (() if node is None or node in order else node.inputs)
            if value is not None and (parent := value.producer()) is not None and parent not in order
        ]
        if waiting:
            stack += reversed(waiting)
        elif (done := stack.pop()) is not None:
            order[done] = None
    graph.remove(order)
    graph.extend(order)


def unnamed(model: ir.Model) -> ir.Model:
    """Return the graph with its nodes numbered, to run it before their names are known."""
    return _rebuilt(model, [f"node{i}" for i, _ in enumerate(model.graph)], {})


def named(model: ir.Model, state: Mapping[str, str], layers: Mapping[str, str]) -> ir.Model:
    """Return the graph with nodes, values and tensors named after the layers they come from, every shape declared.

    A node has the name of the layer that holds its weights or, without weights, whose output it computes. Where no
    layer is known, it is the common part of its neighbours' layers and its operator, `layer1.0.Add`. A value has the
    name of the layer whose output it is (of a BatchNorm that is folded into a convolution too), else of its node. The
    second use of a name ends in "#1". A tensor has the name of its node and its role, `layer1.0.conv1.weight`.

    Args:
        model: From `simplify`.
        state: Each tensor's name in the network's State, by the exporter's name for it.
        layers: The layer whose output a value is, by the value's name in `unnamed(model)`.
    """
    nodes = list(model.graph)
    outputs = [str(node.outputs[0].name) for node in unnamed(model).graph]
    owners = [_owner(node, state) or layers.get(output, "") for node, output in zip(nodes, outputs, strict=True)]
    names = []
    for i, node in enumerate(nodes):
        before = next((owner for owner in reversed(owners[:i]) if owner), "")
        after = next((owner for owner in owners[i + 1 :] if owner), "")
        pairs = zip(before.split("."), after.split("."), strict=False)
        shared = [a for a, _ in takewhile(lambda pair: pair[0] == pair[1] != "", pairs)]
        names.append(owners[i] or ".".join([*shared, node.op_type]))
    values = {node.outputs[0]: layers[output] for node, output in zip(nodes, outputs, strict=True) if output in layers}
    return _rebuilt(model, names, values)


def _owner(node: ir.Node, state: Mapping[str, str]) -> str:
    """Return the layer that holds a node's weights."""
    weights = [state[name] for value in node.inputs if value is not None and (name := str(value.name)) in state]
    return weights[0].rpartition(".")[0] if weights else ""


def _unique() -> Callable[[str], str]:
    """Return a function that returns a name unchanged the first time, then with "#1", "#2" appended."""
    used = set[str]()

    def unique(name: str) -> str:
        result = next(each for i in range(len(used) + 1) if (each := f"{name}#{i}" if i else name) not in used)
        used.add(result)
        return result

    return unique


def _axes(value: ir.Value) -> ir.Shape | None:
    """Return a value's shape, its dynamic axes named N, C, H and W."""
    shape = shape_of(value)
    return None if shape is None else ir.Shape([size or "NCHW"[i : i + 1] or None for i, size in enumerate(shape)])


def _rebuilt(model: ir.Model, names: Sequence[str], layers: Mapping[ir.Value, str]) -> ir.Model:
    """Return a new model of the same nodes, without anything else from the exporter.

    Raises:
        ParityError: If a node contains a graph.
    """
    graph = model.graph
    node_name, unique = _unique(), _unique()
    values = {
        value: ir.Value(None, name=unique(name), type=value.type, shape=_axes(value))
        for name, group in ((INPUT, graph.inputs), (OUTPUT, graph.outputs))
        for value in group
    }
    nodes, tensors = list[ir.Node](), list[ir.Value]()
    for node, name in zip(graph, map(node_name, names), strict=True):
        for i, value in enumerate(node.inputs):
            if value is not None and value not in values:
                roles = _ROLES.get(node.op_type, ())
                array = np.ascontiguousarray(known(value)).reshape(shape_of(value) or ())
                tensor = ir.tensor(array, name=unique(f"{name}.{roles[i] if i < len(roles) else f'input{i}'}"))
                values[value] = ir.val(str(tensor.name), const_value=tensor)
                tensors.append(values[value])
        for value in node.outputs:
            if value not in values:
                values[value] = ir.Value(None, name=unique(layers.get(value, name)))
        if any(
            attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
            for attribute in node.attributes.values()
        ):
            raise ParityError(f"{name}: {node.op_type} contains a graph, which has no canonical form. Use --raw.")
        inputs = [value and values[value] for value in node.inputs]
        outputs = [values[value] for value in node.outputs]
        nodes.append(ir.Node("", node.op_type, inputs, node.attributes.values(), outputs=outputs, name=name))
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
    rebuilt.initializers.clear()  # the pass has moved the large ones to the end
    for tensor in tensors:
        rebuilt.register_initializer(tensor)
    return result


def difference(first: onnx.ModelProto, second: onnx.ModelProto, backends: tuple[str, str]) -> str:
    """Return a description of the first difference of two canonical files: the node and both values; "" if none."""
    for a, b in zip(first.graph.node, second.graph.node, strict=False):
        for word, get in _NODE_FIELDS.items():
            if get(a) != get(b):
                return f"{a.name or b.name}: {word} differs: {backends[0]}={get(a)}, {backends[1]}={get(b)}"
    m, n = len(first.graph.node), len(second.graph.node)
    if m != n:
        extra, backend = (first.graph.node[n], backends[0]) if m > n else (second.graph.node[m], backends[1])
        return f"{extra.name}: {extra.op_type} is only in {backend}"
    for a, b in zip(first.graph.initializer, second.graph.initializer, strict=False):
        if a != b:
            return f"{a.name}: its numbers differ, or their order does: {backends[1]} has {b.name} {list(b.dims)} there"
    return "" if first.graph == second.graph else "the declared shapes of inputs, outputs or values differ"


_NODE_FIELDS: dict[str, Callable[[onnx.NodeProto], Any]] = {
    "operator": lambda node: node.op_type,
    "attributes": lambda node: {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute},
    "inputs": lambda node: list(node.input),
    "outputs": lambda node: list(node.output),
    "name": lambda node: node.name,
}
