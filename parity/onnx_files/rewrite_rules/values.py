"""Facts of a value and a node before the graph runs: numbers, shape, producer, padding."""

from __future__ import annotations

from typing import cast

import onnx_ir as ir

from parity.numerics.arrays import Array


def constant(value: ir.Value | None) -> Array | None:
    """Return a value's constant array, or None if it depends on the graph's input."""
    if value is None or value.is_graph_input():
        return None
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def known(value: ir.Value | None) -> Array:
    """Return a value's constant array, after a rule's `check` has found that it is constant."""
    return cast(Array, constant(value))


def shape_of(value: ir.Value | None) -> tuple[int | None, ...] | None:
    """Return a value's shape, None for a dynamic axis; None if its rank is unknown."""
    if value is None or value.shape is None:
        return None
    return tuple(size if isinstance(size, int) else None for size in value.shape)


def producer(value: ir.Value) -> ir.Node:
    """Return the node that computes a value that a rule's pattern has matched."""
    return cast(ir.Node, value.producer())


def pads_of(node: ir.Node) -> tuple[int, ...]:
    """Return a node's `pads`, () if it has none."""
    return tuple(node.attributes.get_ints("pads") or ())


def unpadded(node: ir.Node) -> bool:
    """Return whether a pooling's windows all lie inside its input, according to its attributes."""
    return not any(pads_of(node)) and node.attributes.get_string("auto_pad", "NOTSET") in ("NOTSET", "VALID")
