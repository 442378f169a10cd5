"""What a node of an ONNX file is, in the neutral words of `parity.layers`: its layer, kind, settings and attributes."""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, helper

# torch's name for an operator; any other keeps its own name.
_KINDS = {
    "Conv": "Conv2d", "ConvTranspose": "ConvTranspose2d", "Gemm": "Linear", "BatchNormalization": "BatchNorm2d",
    "MaxPool": "MaxPool2d", "AveragePool": "AvgPool2d", "GlobalAveragePool": "AdaptiveAvgPool2d",
    "GlobalMaxPool": "AdaptiveMaxPool2d", "Relu": "ReLU", "LeakyRelu": "LeakyReLU", "PRelu": "PReLU", "Elu": "ELU",
    "HardSigmoid": "Hardsigmoid", "HardSwish": "Hardswish", "Selu": "SELU", "Celu": "CELU",
    "Gelu": "GELU", "Reshape": "Flatten", "LRN": "LocalResponseNorm", "Resize": "Upsample", "Upsample": "Upsample",
}  # fmt: skip
_WINDOWED = ("Conv", "ConvTranspose", "MaxPool", "AveragePool")
# Attributes that are one setting of the layer: the operator, the attribute, its default, the setting.
_SAME = {
    "LeakyRelu": ("alpha", 0.01, "negative_slope"),
    "Elu": ("alpha", 1.0, "alpha"),
    "Celu": ("alpha", 1.0, "alpha"),
    "Gelu": ("approximate", b"none", "approximate"),
}
_RESIZES = ("Resize", "Upsample")
_SHOWN = ("mode", "coordinate_transformation_mode", "nearest_mode")

Dims = Mapping[str, tuple[int, ...]]


def layer_of(node: onnx.NodeProto) -> str:
    """Return the dotted path of a node's layer if its exporter states it; else a name for the node itself."""
    metadata = {entry.key: entry.value for entry in node.metadata_props}
    try:
        scopes = ast.literal_eval(metadata.get("pkg.torch.onnx.name_scopes", "[]"))
    except (ValueError, SyntaxError):
        scopes = []
    if isinstance(scopes, list) and len(scopes) > 2 and isinstance(scopes[-2], str):
        return scopes[-2]  # the last is the operation's
    return node.name or f"{node.op_type}:{node.output[0]}"


def describe(node: onnx.NodeProto, weights: Dims, opset: int, shape: Sequence[int]) -> tuple[str, dict[str, Any]]:
    """Return a node's neutral kind and configuration, as far as it has them.

    `constant` is the number of elements of the constant operand of an addition or multiplication: a bias, a scale.
    `attributes` are ONNX's own, defaults included.

    Args:
        node: Of any operator.
        weights: The shapes of the file's tensors and of what is computed from them alone.
        opset: The file's.
        shape: That of its output.
    """
    settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    dims = [weights[name] for name in node.input if name in weights]
    attributes = _attributes(node, opset)
    config: dict[str, Any] = {"node": _label(node, attributes), "attributes": attributes}
    kind = _KINDS.get(node.op_type, node.op_type)
    if node.op_type in ("Conv", "ConvTranspose") and len(rank := weights.get(node.input[1], ())) > 2:
        kind = f"{kind[:-2]}{len(rank) - 2}d"
    if node.op_type in ("MatMul", "Gemm") and dims and len(dims[0]) == 2:
        kind = "Linear"
        out, features = dims[0] if settings.get("transB") else dims[0][::-1]
        config |= {"in_features": features, "out_features": out}
    elif kind == "Upsample":
        config |= _resizing(attributes, shape)
    elif node.op_type == "ReduceMean":
        kind = "AdaptiveAvgPool2d"
    elif node.op_type in ("Add", "Sub", "Mul", "Div") and len(dims) == 1:
        config["constant"] = math.prod(dims[0])
    elif node.op_type in _WINDOWED:
        config |= _windows(node, settings, weights)
    elif node.op_type == "BatchNormalization":
        config["eps"] = _decimal(settings.get("epsilon", 1e-5))
        config |= {"num_features": dims[0][0]} if dims else {}
    elif node.op_type in _SAME:
        name, default, word = _SAME[node.op_type]
        value = settings.get(name, default)
        config[word] = value.decode() if isinstance(value, bytes) else _decimal(value)
    return kind, config


def _windows(node: onnx.NodeProto, settings: Mapping[str, Any], weights: Dims) -> dict[str, Any]:
    """Return the settings of a convolution or pooling over two axes; of another, only its channels."""
    weighted = "Conv" in node.op_type
    shape = weights.get(node.input[1], ()) if weighted else ()
    kernel = list(settings.get("kernel_shape", shape[2:]))
    config: dict[str, Any] = {}
    if len(kernel) == 2:
        config = {"kernel_size": kernel, "stride": list(settings.get("strides", [1, 1]))}
        pads = list(settings.get("pads", [0, 0, 0, 0]))
        if settings.get("auto_pad", b"NOTSET") == b"NOTSET" and "output_shape" not in settings:
            config["padding"] = pads[:2] if pads[:2] == pads[2:] else pads
    if not weighted:
        config["ceil_mode"] = bool(settings.get("ceil_mode", 0))
        if node.op_type == "AveragePool":
            config["count_include_pad"] = bool(settings.get("count_include_pad", 0))
    elif len(kernel) == 2:
        config["dilation"] = list(settings.get("dilations", [1, 1]))
        group = settings.get("group", 1)
        if shape and node.op_type == "Conv":
            config |= {"groups": group, "out_channels": shape[0], "in_channels": shape[1] * group}
    return config


def _resizing(attributes: Mapping[str, Any], shape: Sequence[int]) -> dict[str, Any]:
    """Return the settings of a Resize in torch's words, as far as torch has words for them."""
    mode, place = str(attributes.get("mode", "nearest")), str(attributes.get("coordinate_transformation_mode"))
    number = {3: "", 4: "bi", 5: "tri"}.get(len(shape), "")
    if mode == "nearest":
        plain = place == "asymmetric" and attributes.get("nearest_mode") == "floor"
        return {"mode": mode} if plain else {}
    half = place == "half_pixel" or (place == "pytorch_half_pixel" and 1 not in shape[2:])
    corners = False if half else True if place == "align_corners" else place
    return {"mode": f"{number}{mode}", "align_corners": corners}


def _attributes(node: onnx.NodeProto, opset: int) -> dict[str, Any]:
    """Return a node's attributes, defaults included; not those that are tensors or graphs."""
    given = {attribute.name: attribute for attribute in node.attribute}
    if not node.domain and onnx.defs.has(node.op_type):
        try:
            schema = onnx.defs.get_schema(node.op_type, opset)
        except onnx.defs.SchemaError:  # it came with a later opset, or went with an earlier one
            schema = None
        for name, attribute in schema.attributes.items() if schema else ():
            if attribute.default_value.type:
                _ = given.setdefault(name, attribute.default_value)
    plain = {
        AttributeProto.INT, AttributeProto.FLOAT, AttributeProto.STRING, AttributeProto.INTS, AttributeProto.FLOATS,
    }  # fmt: skip
    found = {name: _plain(attribute) for name, attribute in sorted(given.items()) if attribute.type in plain}
    if node.op_type in _RESIZES and opset < 11:  # its one meaning, in later words
        found |= {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return found


def _plain(attribute: AttributeProto) -> Any:
    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, Sequence):
        return [_decimal(each) if isinstance(each, float) else each for each in value]
    return _decimal(value) if isinstance(value, float) else value


def _label(node: onnx.NodeProto, attributes: Mapping[str, Any]) -> str:
    """Return how to call a node: its operator, its name, and how it resizes."""
    shown = [str(attributes[word]) for word in _SHOWN if node.op_type in _RESIZES and word in attributes]
    if shown and shown[0] != "nearest":
        shown = shown[:2]
    return f"{node.op_type} {node.name or node.output[0]}" + (f" ({', '.join(shown)})" if shown else "")


def _decimal(value: float) -> float:
    """Return the decimal that a float32 stands for, not its own digits."""
    return float(str(np.float32(value)))
