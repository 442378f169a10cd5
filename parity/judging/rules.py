"""What each kind of layer and function computes, in plain numpy and float64: experiments need no framework.

A rule is trusted nowhere by itself: before an experiment, it must reproduce what the reference computed on its own
recorded input (`judging.experiments`). So a kind that is missing here, or a framework that computes otherwise, costs a
proof and never makes a false one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from parity.layers import Config
from parity.numerics import kernels
from parity.numerics.arrays import Array

Weights = Mapping[str, Array]
Rule = Callable[[Config, Weights, Sequence[Array]], Array]


class NotComputedError(Exception):
    """There is no rule for a call, or the rule lacks what it needs."""


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _softplus(x: Array) -> Array:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _elu(x: Array, alpha: float) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _gelu(x: Array, approximate: str) -> Array:
    if approximate == "tanh":
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    error_function = np.asarray(np.frompyfunc(math.erf, 1, 1)(x / math.sqrt(2)), np.float64)
    return 0.5 * x * (1 + error_function)


def _softmax(x: Array, axis: int) -> Array:
    powers = np.exp(x - x.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


# Of one array and a configuration. The first ones are what people put behind a layer: other activations to try.
ACTIVATIONS: dict[str, Callable[[Array, Config], Array]] = {
    "ReLU": lambda x, c: np.maximum(x, 0),
    "ReLU6": lambda x, c: np.clip(x, 0, 6),
    "SiLU": lambda x, c: x * _sigmoid(x),
    "Sigmoid": lambda x, c: _sigmoid(x),
    "Hardswish": lambda x, c: x * np.clip(x + 3, 0, 6) / 6,
    "Hardsigmoid": lambda x, c: np.clip(x * c.get("slope", 1 / 6) + c.get("offset", 0.5), 0, 1),
    "Tanh": lambda x, c: np.tanh(x),
    "LeakyReLU": lambda x, c: np.where(x > 0, x, x * c.get("negative_slope", 0.01)),
    "GELU": lambda x, c: _gelu(x, c.get("approximate", "none")),
    "ELU": lambda x, c: _elu(x, c.get("alpha", 1.0)),
    "Mish": lambda x, c: x * np.tanh(_softplus(x)),
    "Softplus": lambda x, c: _softplus(x * c.get("beta", 1)) / c.get("beta", 1),
    "SELU": lambda x, c: 1.0507009873554804934193349852946 * _elu(x, 1.6732632423543772848170429916717),
}
_POINTWISE: dict[str, Callable[[Array, Config], Array]] = {
    **ACTIVATIONS,
    "Identity": lambda x, c: x,
    "CELU": lambda x, c: np.where(x > 0, x, c["alpha"] * np.expm1(np.minimum(x, 0) / c["alpha"])),
    "LogSigmoid": lambda x, c: -_softplus(-x),
    "Softsign": lambda x, c: x / (1 + np.abs(x)),
    "Tanhshrink": lambda x, c: x - np.tanh(x),
    "Softshrink": lambda x, c: np.sign(x) * np.maximum(np.abs(x) - c["lambd"], 0),
    "Hardshrink": lambda x, c: np.where(np.abs(x) > c["lambd"], x, 0),
    "Hardtanh": lambda x, c: np.clip(x, c.get("min_val", -1.0), c.get("max_val", 1.0)),
    "Softmax": lambda x, c: _softmax(x, c["dim"]),
    "LogSoftmax": lambda x, c: np.log(_softmax(x, c["dim"])),
    "abs": lambda x, c: np.abs(x),
    "neg": lambda x, c: -x,
    "exp": lambda x, c: np.exp(x),
    "log": lambda x, c: np.log(x),
    "sqrt": lambda x, c: np.sqrt(x),
    "rsqrt": lambda x, c: 1 / np.sqrt(x),
    "square": lambda x, c: x * x,
    "reciprocal": lambda x, c: 1 / x,
    "Dropout": lambda x, c: x * (1 - c["p"]) if c.get("mode") == "downscale_in_infer" else x,
}
_POINTWISE |= dict.fromkeys(("Dropout2d", "Dropout3d", "AlphaDropout"), _POINTWISE["Dropout"])


def _pads(config: Config, sizes: Sequence[int]) -> tuple[tuple[int, int], ...]:
    padding, kernel = config.get("padding", 0), config["kernel_size"]
    if padding in ("valid", "VALID"):
        return ((0, 0),) * len(kernel)
    if padding in ("same", "SAME"):  # as Paddle writes it too
        dilations = config.get("dilation", [1] * len(kernel))
        return kernels.same_pads(sizes, kernel, config["stride"], dilations, odd_before=False)
    if isinstance(padding, int):
        padding = [padding] * len(kernel)
    if len(padding) == 2 * len(kernel):
        return tuple(zip(padding[::2], padding[1::2], strict=True))
    return tuple((number, number) for number in padding)


def _frame(config: Config, sizes: Sequence[int]) -> kernels.Frame:
    kernel = config["kernel_size"]
    dilations = config.get("dilation", [1] * len(kernel))
    pads = _pads(config, sizes)
    return kernels.frame(sizes, kernel, config["stride"], dilations, pads, bool(config.get("ceil_mode", False)))


def _filled(x: Array, pads: list[tuple[int, int]], mode: str, value: float) -> Array:
    if mode == "constant":
        return np.pad(x, pads, constant_values=value)
    numpy_mode: Any = {"replicate": "edge", "circular": "wrap"}.get(mode, mode)
    return np.pad(x, pads, mode=numpy_mode)


def _convolution(config: Config, weights: Weights, inputs: Sequence[Array]) -> Array:
    (x,) = inputs
    pads, mode = _pads(config, x.shape[2:]), config.get("padding_mode", "zeros")
    if mode != "zeros":
        x = _filled(x, [(0, 0), (0, 0), *pads], mode, 0.0)
        config = {**config, "padding": "valid"}
    weight = weights["weight"]
    config = {**config, "kernel_size": list(weight.shape[2:])}
    return kernels.convolution(x, weight, weights.get("bias"), _frame(config, x.shape[2:]), config.get("groups", 1))


def _transposed_convolution(config: Config, weights: Weights, inputs: Sequence[Array]) -> Array:
    """Compute a transposed convolution as one of the input with zeros between its elements, the kernel flipped."""
    (x,) = inputs
    weight, groups = weights["weight"], config.get("groups", 1)
    axes, kernel = weight.ndim - 2, weight.shape[2:]
    spread = np.zeros((*x.shape[:2], *((n - 1) * s + 1 for n, s in zip(x.shape[2:], config["stride"], strict=True))))
    spread[(..., *(slice(None, None, s) for s in config["stride"]))] = x
    reach = [d * (k - 1) for d, k in zip(config["dilation"], kernel, strict=True)]
    extra = config.get("output_padding") or [0] * axes
    pads = [
        (r - a, r - b + e) for r, (a, b), e in zip(reach, _pads(config, x.shape[2:]), extra, strict=True)
    ]  # fmt: skip
    if any(number < 0 for pair in pads for number in pair):
        raise NotComputedError
    flipped = weight[(..., *(slice(None, None, -1),) * axes)]
    parts = [part.swapaxes(0, 1) for part in np.split(flipped, groups)]
    frame = kernels.frame(spread.shape[2:], kernel, [1] * axes, config["dilation"], pads)
    return kernels.convolution(spread, np.concatenate(parts), weights.get("bias"), frame, groups)


def _linear(config: Config, weights: Weights, inputs: Sequence[Array]) -> Array:
    y = inputs[0] @ weights["weight"].T
    return y + weights["bias"] if "bias" in weights else y


def _affine(y: Array, weights: Weights, axis: int) -> Array:
    shape = [1] * y.ndim
    shape[axis] = -1
    if "weight" in weights:
        y = y * weights["weight"].reshape(shape)
    return y + weights["bias"].reshape(shape) if "bias" in weights else y


def _normalised(x: Array, axes: tuple[int, ...], eps: float) -> Array:
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


def _batch_norm(config: Config, weights: Weights, inputs: Sequence[Array]) -> Array:
    (x,) = inputs
    held = "running_mean" in weights and config.get("track_running_stats", True) and not config.get("training")
    if not held:
        return _affine(_normalised(x, (0, *range(2, x.ndim)), config["eps"]), weights, 1)
    ones = np.ones_like(weights["running_mean"])
    scale, shift = weights.get("weight", ones), weights.get("bias", 0 * ones)
    return kernels.batch_norm(x, scale, shift, weights["running_mean"], weights["running_var"], config["eps"])


def _instance_norm(config: Config, weights: Weights, inputs: Sequence[Array]) -> Array:
    return _affine(_normalised(inputs[0], tuple(range(2, inputs[0].ndim)), config["eps"]), weights, 1)


def _group_norm(config: Config, weights: Weights, inputs: Sequence[Array]) -> Array:
    (x,) = inputs
    groups = x.reshape(x.shape[0], config["num_groups"], -1)
    return _affine(_normalised(groups, (2,), config["eps"]).reshape(x.shape), weights, 1)


def _layer_norm(config: Config, weights: Weights, inputs: Sequence[Array]) -> Array:
    (x,) = inputs
    axes = len(config["normalized_shape"])
    y = _normalised(x, tuple(range(-axes, 0)), config["eps"])
    y = y * weights["weight"] if "weight" in weights else y
    return y + weights["bias"] if "bias" in weights else y


def _pool(config: Config, inputs: Sequence[Array], largest: bool) -> Array:
    (x,) = inputs
    frame = _frame(config, x.shape[2:])
    if largest:
        return kernels.max_pool(x, frame)
    if divisor := config.get("divisor_override"):
        return kernels.windows(x, frame).sum(axis=tuple(range(-len(frame.kernel), 0))) / divisor
    return kernels.average_pool(x, frame, bool(config.get("count_include_pad", True)))


def _adaptive_pool(config: Config, inputs: Sequence[Array], reduced: Callable[..., Array]) -> Array:
    (x,) = inputs
    sizes = config["output_size"]
    sizes = [sizes] * (x.ndim - 2) if isinstance(sizes, int) else sizes
    for axis, (size, new) in enumerate(zip(x.shape[2:], sizes, strict=True), 2):
        if new is not None:
            cuts = [(i * size // new, -(-(i + 1) * size // new)) for i in range(new)]
            x = np.stack([reduced(x.take(range(a, b), axis), axis) for a, b in cuts], axis)
    return x


def _upsample(config: Config, weights: Weights, inputs: Sequence[Array]) -> Array:
    (x,) = inputs
    mode, size, factors = config.get("mode", "nearest"), config.get("size"), config.get("scale_factor")
    axes = x.ndim - 2
    factors = [factors] * axes if isinstance(factors, (int, float)) else factors
    if not size:
        if not factors:
            raise NotComputedError
        size = [math.floor(n * f) for n, f in zip(x.shape[2:], factors, strict=True)]
    size = [size] * axes if isinstance(size, int) else size
    linear = mode in ("linear", "bilinear", "trilinear")
    places = "align_corners" if config.get("align_corners") else "half_pixel"
    if mode == "nearest" or (linear and config.get("align_mode") == 1 and places == "half_pixel"):
        places = "asymmetric"
    for axis, new in enumerate(size, 2):
        old = x.shape[axis]
        scale = factors[axis - 2] if factors else new / old
        at = kernels.places(old, new, scale, places)
        if linear:
            at = np.maximum(at, 0)
        kind = "linear" if linear else {"bicubic": "cubic"}.get(mode, mode)
        x = kernels.resized(x, axis, kernels.interpolation(old, at, kind, nearest="floor"))
    return x


def _padded(config: Config, inputs: Sequence[Array], mode: str) -> Array:
    (x,) = inputs
    padding = config["padding"]
    padding = [padding] * 2 * (x.ndim - 2) if isinstance(padding, int) else padding
    pads = list(zip(padding[::2], padding[1::2], strict=True))[::-1]  # the last axis comes first
    return _filled(x, [(0, 0)] * (x.ndim - len(pads)) + pads, mode, config.get("value", 0.0))


def _flatten(config: Config, weights: Weights, inputs: Sequence[Array]) -> Array:
    (x,) = inputs
    start, end = config.get("start_dim", 1) % x.ndim, config.get("end_dim", -1) % x.ndim
    return x.reshape(*x.shape[:start], -1, *x.shape[end + 1 :])


def _reduced(config: Config, inputs: Sequence[Array], reduce: Callable[..., Array]) -> Array:
    (x,) = inputs
    axes = config.get("dim")
    axes = tuple(axes) if isinstance(axes, list) else axes
    return reduce(x, axis=axes, keepdims=bool(config.get("keepdim", False)))


def _unit(config: Config, weights: Weights, inputs: Sequence[Array]) -> Array:
    (x,) = inputs
    axis, p = config.get("dim", 1), config.get("p", 2.0)
    length = (np.abs(x) ** p).sum(axis if isinstance(axis, int) else tuple(axis), keepdims=True) ** (1 / p)
    return x / np.maximum(length, config.get("eps", 1e-12))


def _pair(config: Config, inputs: Sequence[Array]) -> tuple[Array, Array]:
    if len(inputs) == 2:
        return inputs[0], inputs[1]
    if not isinstance(config.get("other"), (int, float)) or len(inputs) != 1:
        raise NotComputedError
    return inputs[0], np.array(config["other"], np.float64)


def _shuffled(config: Config, weights: Weights, inputs: Sequence[Array]) -> Array:
    (x,) = inputs
    parts = x.reshape(x.shape[0], config["groups"], -1, *x.shape[2:])
    return parts.swapaxes(1, 2).reshape(x.shape)


def _pixel_shuffled(config: Config, weights: Weights, inputs: Sequence[Array]) -> Array:
    (x,) = inputs
    r, (n, c, h, w) = config["upscale_factor"], x.shape
    return x.reshape(n, c // r**2, r, r, h, w).transpose(0, 1, 4, 2, 5, 3).reshape(n, c // r**2, h * r, w * r)


def _pointwise(function: Callable[[Array, Config], Array]) -> Rule:
    return lambda config, weights, inputs: function(inputs[0], config)


def _of_two(function: Callable[[Array, Array, float], Array]) -> Rule:
    return lambda config, weights, inputs: function(*_pair(config, inputs), config.get("alpha", 1))


RULES: dict[str, Rule] = {
    **{kind: _pointwise(function) for kind, function in _POINTWISE.items()},
    **dict.fromkeys(("Conv1d", "Conv2d", "Conv3d"), _convolution),
    **dict.fromkeys(("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"), _transposed_convolution),
    "Linear": _linear,
    **dict.fromkeys(("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm"), _batch_norm),
    **dict.fromkeys(("InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"), _instance_norm),
    "GroupNorm": _group_norm,
    "LayerNorm": _layer_norm,
    "PReLU": lambda config, weights, inputs: np.where(
        inputs[0] > 0, inputs[0], inputs[0] * weights["weight"].reshape(-1, *[1] * (inputs[0].ndim - 2))
    ),
    "MaxPool2d": lambda config, weights, inputs: _pool(config, inputs, largest=True),
    "AvgPool2d": lambda config, weights, inputs: _pool(config, inputs, largest=False),
    "AdaptiveAvgPool2d": lambda config, weights, inputs: _adaptive_pool(config, inputs, np.mean),
    "AdaptiveMaxPool2d": lambda config, weights, inputs: _adaptive_pool(config, inputs, np.max),
    **dict.fromkeys(("Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d"), _upsample),
    "Pad2d": lambda config, weights, inputs: _padded(config, inputs, config.get("mode", "constant")),
    **{
        kind: (lambda config, weights, inputs, mode=mode: _padded(config, inputs, mode))
        for kind, mode in {
            "ConstantPad2d": "constant",
            "ZeroPad2d": "constant",
            "ReflectionPad2d": "reflect",
            "ReplicationPad2d": "replicate",
            "CircularPad2d": "circular",
        }.items()
    },
    "Flatten": _flatten,
    "Concat": lambda config, weights, inputs: np.concatenate(list(inputs), config.get("dim", 0)),
    "Stack": lambda config, weights, inputs: np.stack(list(inputs), config.get("dim", 0)),
    "Normalize": _unit,
    "Mean": lambda config, weights, inputs: _reduced(config, inputs, np.mean),
    "Sum": lambda config, weights, inputs: _reduced(config, inputs, np.sum),
    "Max": lambda config, weights, inputs: _reduced(config, inputs, np.max),
    "Min": lambda config, weights, inputs: _reduced(config, inputs, np.min),
    "Add": _of_two(lambda a, b, alpha: a + alpha * b),
    "Sub": _of_two(lambda a, b, alpha: a - alpha * b),
    "RSub": _of_two(lambda a, b, alpha: b - alpha * a),
    "Mul": _of_two(lambda a, b, alpha: a * b),
    "Div": _of_two(lambda a, b, alpha: a / b),
    "RDiv": _of_two(lambda a, b, alpha: b / a),
    "Pow": _of_two(lambda a, b, alpha: a**b),
    "MatMul": _of_two(lambda a, b, alpha: a @ b),
    "Maximum": _of_two(lambda a, b, alpha: np.maximum(a, b)),
    "Minimum": _of_two(lambda a, b, alpha: np.minimum(a, b)),
    "ChannelShuffle": _shuffled,
    "PixelShuffle": _pixel_shuffled,
}
