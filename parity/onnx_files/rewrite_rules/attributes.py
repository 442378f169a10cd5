"""A node's settings in one form: no setting without effect, no setting left to a default.

1. BatchNormalization: without `momentum`, which belongs to training.
2. `axis` counted from the front.
3. Resize: without the region of interest, scales and settings that it does not use.
4. Pad: without a value where the mode does not use one.
5. Convolutions and pools: kernel, strides, dilations and pads in full.
6. AveragePool: `count_include_pad` only with padding, `dilations` only where they are not 1.
"""

from __future__ import annotations

from typing import cast

import onnx_ir as ir

from parity.onnx_files.rewrite_rules.values import pads_of, shape_of

_WINDOWED = ("Conv", "ConvTranspose", "MaxPool", "AveragePool")


def normalise(node: ir.Node) -> None:
    """Bring a node's settings into the one form, in place."""
    attributes, shape = node.attributes, shape_of(node.inputs[0]) if node.inputs else None
    if node.op_type == "BatchNormalization":  # 1
        _ = attributes.pop("momentum", None)
    if "axis" in attributes and shape is not None:  # 2
        attributes["axis"] = ir.AttrInt64("axis", attributes["axis"].as_int() % len(shape))
    if node.op_type == "Resize":
        _normalise_resize(node)
    if node.op_type == "Pad" and attributes.get_string("mode", "constant") != "constant" and len(node.inputs) > 2:  # 4
        node.replace_input_with(2, None)
        node.resize_inputs(2)
    if node.op_type in _WINDOWED and shape is not None:
        _normalise_windows(node, len(shape) - 2)


def _normalise_resize(node: ir.Node) -> None:
    """Case 3."""
    attributes = node.attributes
    if attributes.get_string("coordinate_transformation_mode", "") != "tf_crop_and_resize":
        node.replace_input_with(1, None)
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        node.replace_input_with(2, None)
    mode = attributes.get_string("mode", "nearest")
    for name, used_by in (("nearest_mode", "nearest"), ("cubic_coeff_a", "cubic"), ("exclude_outside", "cubic")):
        if mode != used_by:
            _ = attributes.pop(name, None)


def _normalise_windows(node: ir.Node, axes: int) -> None:
    """Cases 5 and 6, of windows in `axes` dimensions."""
    attributes = node.attributes
    if node.op_type.startswith("Conv") and (weight := shape_of(node.inputs[1])) is not None:
        attributes["kernel_shape"] = ir.AttrInt64s("kernel_shape", cast(tuple[int, ...], weight[2:]))
    if node.op_type == "ConvTranspose" and "output_padding" not in attributes:
        attributes["output_padding"] = ir.AttrInt64s("output_padding", [0] * axes)
    for name, default in (("strides", [1] * axes), ("dilations", [1] * axes), ("pads", [0] * 2 * axes)):
        # AveragePool has dilations from opset 19 on.
        if name not in attributes and not (name == "dilations" and node.op_type == "AveragePool"):
            attributes[name] = ir.AttrInt64s(name, default)
    if node.op_type == "AveragePool":
        if not any(pads_of(node)):
            _ = attributes.pop("count_include_pad", None)
        if set(attributes.get_ints("dilations") or ()) == {1}:
            _ = attributes.pop("dilations", None)
