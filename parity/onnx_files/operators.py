"""ONNX operators in float64: the settings of a node, and the arithmetic of `parity.numerics.kernels`.

Each takes the node's inputs, None for one left out, and then its settings; it raises NotImplementedError for a setting
that it lacks. An operator has here the meaning of every opset from 7.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from parity.numerics import kernels
from parity.numerics.arrays import Array
from parity.onnx_files import quantised

# Constants that ONNX stores as float32 for a number that float32 does not have. In float64 they are that number if they
# are within 4e-7 of it: Paddle's 0.1666667 is that far off (float32's own rounding is less).
_EXACT = {
    ("HardSigmoid", "alpha"): 1 / 6,
    ("Selu", "alpha"): 1.6732632423543772848170429916717,
    ("Selu", "gamma"): 1.0507009873554804934193349852946,
}


def exact_value(op_type: str, name: str, value: float) -> float:
    """Return the number that an attribute stands for."""
    exact = _EXACT.get((op_type, name), value)
    return exact if abs(value - exact) < 4e-7 * abs(exact) else value


def _frame(sizes: Sequence[int], kernel: Sequence[int], settings: Mapping[str, Any]) -> kernels.Frame:
    """Return the positions of a node's windows, from its settings."""
    axes = len(sizes)
    strides, dilations = (list(settings.get(word, [1] * axes)) for word in ("strides", "dilations"))
    auto_pad = settings.get("auto_pad", b"NOTSET").decode()
    flat = [0] * 2 * axes if auto_pad == "VALID" else list(settings.get("pads", [0] * 2 * axes))
    pads = tuple(zip(flat[:axes], flat[axes:], strict=True))
    if auto_pad.startswith("SAME"):
        pads = kernels.same_pads(sizes, kernel, strides, dilations, odd_before=auto_pad == "SAME_LOWER")
    return kernels.frame(sizes, kernel, strides, dilations, pads, bool(settings.get("ceil_mode")))


def _conv(x: Array, weight: Array, *more: Any) -> Array:
    *bias, settings = more
    frame = _frame(x.shape[2:], weight.shape[2:], settings)
    return kernels.convolution(x, weight, bias[0] if bias else None, frame, settings.get("group", 1))


def _max_pool(x: Array, settings: Mapping[str, Any]) -> Array:
    return kernels.max_pool(x, _frame(x.shape[2:], settings["kernel_shape"], settings))


def _average_pool(x: Array, settings: Mapping[str, Any]) -> Array:
    frame = _frame(x.shape[2:], settings["kernel_shape"], settings)
    return kernels.average_pool(x, frame, bool(settings.get("count_include_pad")))


def _batch_norm(
    x: Array, weight: Array, bias: Array, mean: Array, variance: Array, settings: Mapping[str, Any]
) -> Array:
    if settings.get("training_mode") or not settings.get("spatial", 1):
        raise NotImplementedError
    return kernels.batch_norm(x, weight, bias, mean, variance, settings.get("epsilon", float(np.float32(1e-5))))


def _resize(x: Array, *more: Any) -> Array:
    *inputs, settings = more
    if len(inputs) == 1:
        return _resize_10(x, *more)
    plain = settings.get("keep_aspect_ratio_policy", b"stretch") == b"stretch" and len(inputs) > 1
    if not plain or settings.get("antialias") or settings.get("exclude_outside"):
        raise NotImplementedError
    scales, sizes = (inputs[i] if len(inputs) > i and inputs[i] is not None else np.empty(0) for i in (1, 2))
    words = {"coordinate_transformation_mode": b"half_pixel", "mode": b"nearest", "nearest_mode": b"round_prefer_floor"}
    transformation, mode, nearest = (settings.get(word, default).decode() for word, default in words.items())
    for i, axis in enumerate(settings.get("axes", range(x.ndim))):
        size = x.shape[axis]
        new = int(sizes[i]) if sizes.size else math.floor(size * float(scales[i]))
        scale = new / size if sizes.size else float(scales[i])
        if (size, scale) != (new, 1.0):
            places = kernels.places(size, new, scale, transformation)
            cubic = settings.get("cubic_coeff_a", -0.75)
            x = kernels.resized(x, axis, kernels.interpolation(size, places, mode, nearest=nearest, cubic=cubic))
    return np.require(x, requirements="C")


def _resize_10(x: Array, *more: Any) -> Array:
    """Return x resized as by Upsample, and by Resize up to opset 10: an element's place is its number / scale.

    The nearest element is the one below, and above on an axis that becomes shorter: ONNX leaves it open, and ONNX
    Runtime has it so.
    """
    *inputs, settings = more
    scales = inputs[0] if inputs else np.asarray(settings["scales"])
    way = {"mode": settings.get("mode", b"nearest"), "coordinate_transformation_mode": b"asymmetric"}
    for axis, scale in enumerate(scales):
        one = [scale if i == axis else 1.0 for i in range(x.ndim)]
        x = _resize(x, None, np.asarray(one), {**way, "nearest_mode": b"ceil" if scale < 1 else b"floor"})
    return x


def _lrn(x: Array, settings: Mapping[str, Any]) -> Array:
    size, channels = settings["size"], x.shape[1]
    before = (size - 1) // 2
    squares = np.pad(x**2, [(0, 0), (before, size - 1 - before), *[(0, 0)] * (x.ndim - 2)])
    summed = sum(squares[:, i : i + channels] for i in range(size))
    defaults = {"alpha": float(np.float32(1e-4)), "beta": 0.75, "bias": 1.0}
    alpha, beta, bias = (settings.get(word, default) for word, default in defaults.items())
    return x / (bias + alpha / size * summed) ** beta


def _hard_sigmoid(x: Array, settings: Mapping[str, Any]) -> Array:
    slope = exact_value("HardSigmoid", "alpha", settings.get("alpha", 0.2))
    return np.clip(slope * x + settings.get("beta", 0.5), 0, 1)


def _selu(x: Array, settings: Mapping[str, Any]) -> Array:
    alpha, gamma = (exact_value("Selu", name, settings.get(name, _EXACT["Selu", name])) for name in ("alpha", "gamma"))
    return gamma * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


KERNELS: dict[str, Callable[..., Array]] = {
    "Conv": _conv,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": lambda x, _: x.mean(axis=tuple(range(2, x.ndim)), keepdims=True),
    "GlobalMaxPool": lambda x, _: x.max(axis=tuple(range(2, x.ndim)), keepdims=True),
    "BatchNormalization": _batch_norm,
    "Resize": _resize,
    "Upsample": _resize_10,
    "LRN": _lrn,
    "QuantizeLinear": quantised.quantise,
    "DequantizeLinear": quantised.dequantise,
    # The runtime's own float64 kernels of these use float32 constants.
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda x, _: x * np.clip(x / 6 + 0.5, 0, 1),
    "Selu": _selu,
}
# MaxPool is left to ONNX Runtime, which is fast. Inside If and Loop ours replaces onnx.reference's, which is wrong.
PREFERRED = KERNELS.keys() - {"MaxPool"}
