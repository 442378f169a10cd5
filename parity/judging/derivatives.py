"""What each kind of call passes back: the gradient of its input by that of its output, in plain numpy and float64.

As with `judging.rules`, none is trusted by itself: before an experiment, the rules must reproduce the gradients that
the reference recorded (`judging.backward`). A kind that is missing here costs a proof and makes no false one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from parity.judging.rules import ACTIVATIONS, RULES, NotComputedError, Weights, frame_of, resizing
from parity.layers import Config
from parity.numerics import kernels
from parity.numerics.arrays import Array


@dataclass(frozen=True)
class Passing:
    """A call that passes a gradient back.

    Attributes:
        kind: Neutral kind.
        config: Neutral configuration.
        weights: By role, float64, in neutral form.
        inputs: Its recorded tensors.
        outputs: Likewise.
        number: Of the input whose gradient is asked for.
        gradients: Those of its outputs.
    """

    kind: str
    config: Config
    weights: Weights
    inputs: Sequence[Array]
    outputs: Sequence[Array]
    number: int
    gradients: Sequence[Array]

    @property
    def x(self) -> Array:
        """Return the input whose gradient is asked for."""
        return self.inputs[self.number]

    @property
    def gradient(self) -> Array:
        """Return the gradient of its one output."""
        return self.gradients[0]

    def back(self) -> Array:
        """Return the gradient of its input, of that one's shape, float64.

        Raises:
            NotComputedError: If there is no rule for it, or it cannot take these tensors.
        """
        rule = DERIVATIVES.get(self.kind)
        if rule is None:
            raise NotComputedError(self.kind)
        try:
            with np.errstate(all="ignore"):
                return rule(self)
        except (ArithmeticError, AttributeError, LookupError, NotImplementedError, TypeError, ValueError) as error:
            raise NotComputedError(f"{self.kind}: {error}") from error


Derivative = Callable[[Passing], Array]


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _gelu(x: Array, approximate: str) -> Array:
    if approximate == "tanh":
        scale = math.sqrt(2 / math.pi)
        t = np.tanh(scale * (x + 0.044715 * x**3))
        return 0.5 * (1 + t) + 0.5 * x * (1 - t**2) * scale * (1 + 3 * 0.044715 * x**2)
    error_function = np.asarray(np.frompyfunc(math.erf, 1, 1)(x / math.sqrt(2)), np.float64)
    return 0.5 * (1 + error_function) + x * np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)


def _mish(x: Array) -> Array:
    t = np.tanh(np.logaddexp(0, x))
    return t + x * (1 - t**2) * _sigmoid(x)


_SELU = 1.0507009873554804934193349852946
# The slope of each activation, at x.
SLOPES: dict[str, Callable[[Array, Config], Array]] = {
    "ReLU": lambda x, c: np.where(x > 0, 1.0, 0.0),
    "ReLU6": lambda x, c: np.where((x > 0) & (x < 6), 1.0, 0.0),
    "SiLU": lambda x, c: _sigmoid(x) * (1 + x * (1 - _sigmoid(x))),
    "Sigmoid": lambda x, c: _sigmoid(x) * (1 - _sigmoid(x)),
    "Hardswish": lambda x, c: np.where(x <= -3, 0.0, np.where(x < 3, x / 3 + 0.5, 1.0)),
    "Hardsigmoid": lambda x, c: np.where(
        np.abs(x * c.get("slope", 1 / 6) + c.get("offset", 0.5) - 0.5) < 0.5, c.get("slope", 1 / 6), 0.0
    ),
    "Tanh": lambda x, c: 1 - np.tanh(x) ** 2,
    "LeakyReLU": lambda x, c: np.where(x > 0, 1.0, c.get("negative_slope", 0.01)),
    "GELU": lambda x, c: _gelu(x, c.get("approximate", "none")),
    "ELU": lambda x, c: np.where(x > 0, 1.0, c.get("alpha", 1.0) * np.exp(np.minimum(x, 0))),
    "Mish": lambda x, c: _mish(x),
    "Softplus": lambda x, c: _sigmoid(x * c.get("beta", 1)),
    "SELU": lambda x, c: _SELU * np.where(x > 0, 1.0, 1.6732632423543772848170429916717 * np.exp(np.minimum(x, 0))),
    "Hardtanh": lambda x, c: np.where((x > c.get("min_val", -1.0)) & (x < c.get("max_val", 1.0)), 1.0, 0.0),
    "Identity": lambda x, c: np.ones_like(x),
}
assert ACTIVATIONS.keys() <= SLOPES.keys()


def _of_slope(kind: str) -> Derivative:
    return lambda call: call.gradient * SLOPES[kind](call.x, call.config)


def _of_factor(call: Passing) -> Array:
    """Return what a call that multiplies each element passes back: the same product."""
    rule = RULES[call.kind]
    zero = rule(call.config, call.weights, [np.zeros_like(call.x)])
    return call.gradient * (rule(call.config, call.weights, [np.ones_like(call.x)]) - zero)


def _moved(call: Passing) -> Array:
    """Return what a call that moves numbers passes back: each to where it came from; what it fills in, to nowhere."""
    places = np.arange(1, call.x.size + 1).reshape(call.x.shape)
    positions = RULES[call.kind]({**call.config, "value": 0}, call.weights, [places]).astype(int)
    return np.bincount(positions.ravel(), call.gradient.ravel(), call.x.size + 1)[1:].reshape(call.x.shape)


def _permuted(call: Passing) -> Array:
    """Return what a permutation passes back; the recorded numbers show which it is."""
    for order in itertools.permutations(range(call.x.ndim)):
        if np.array_equal(call.x.transpose(order), call.outputs[0]):
            return call.gradient.transpose(np.argsort(order))
    raise NotComputedError


def _split(call: Passing) -> Array:
    """Return what a call that cuts a tensor along an axis passes back; the recorded numbers show along which."""
    for axis in range(call.x.ndim):
        sizes = [output.shape[:axis] + output.shape[axis + 1 :] for output in call.outputs]
        if len(set(sizes)) == 1 and np.array_equal(np.concatenate(list(call.outputs), axis), call.x):
            return np.concatenate(list(call.gradients), axis)
    raise NotComputedError


def _joined(call: Passing) -> Array:
    axis = call.config.get("dim", 0)
    start = sum(each.shape[axis] for each in call.inputs[: call.number])
    return np.take(call.gradient, range(start, start + call.x.shape[axis]), axis)


def _scattered(frame: kernels.Frame, shape: Sequence[int], part: Callable[[tuple[int, ...]], Array]) -> Array:
    """Return the sum of what each position of a kernel passes to the elements below it.

    Args:
        frame: Of the windows.
        shape: Of the input, (batch, channels, *sizes).
        part: Called with a position in the kernel; (batch, channels, *counts).
    """
    ends = zip(shape[2:], frame.pads, frame.counts, frame.strides, frame.reach, strict=True)
    room = [max(n + sum(pads), (count - 1) * stride + reach) for n, pads, count, stride, reach in ends]
    padded = np.zeros((*shape[:2], *room))
    for position in np.ndindex(*frame.kernel):
        places = zip(position, frame.dilations, frame.strides, frame.counts, strict=True)
        at = [slice(k * d, k * d + (count - 1) * stride + 1, stride) for k, d, stride, count in places]
        padded[(..., *at)] += part(position)
    return padded[(..., *(slice(before, before + n) for n, (before, _) in zip(shape[2:], frame.pads, strict=True)))]


def _convolution(call: Passing) -> Array:
    config, weight, groups = call.config, call.weights["weight"], call.config.get("groups", 1)
    if config.get("padding_mode", "zeros") != "zeros":
        raise NotComputedError
    frame = frame_of({**config, "kernel_size": list(weight.shape[2:])}, call.x.shape[2:])
    pairs = list(zip(np.split(weight, groups), np.split(call.gradient, groups, 1), strict=True))

    def part(position: tuple[int, ...]) -> Array:
        ours = [np.tensordot(each[(..., *position)], gradient, (0, 1)).swapaxes(0, 1) for each, gradient in pairs]
        return np.concatenate(ours, 1)

    return _scattered(frame, call.x.shape, part)


def _transposed_convolution(call: Passing) -> Array:
    weight = call.weights["weight"]
    frame = frame_of({**call.config, "kernel_size": list(weight.shape[2:])}, call.gradient.shape[2:])
    return kernels.convolution(call.gradient, weight, None, frame, call.config.get("groups", 1))


def _average_pool(call: Passing) -> Array:
    shares = RULES["AvgPool2d"](call.config, {}, [np.ones((1, 1, *call.x.shape[2:]))])
    frame = frame_of(call.config, call.x.shape[2:])
    inner = kernels.windows(np.ones((1, 1, *call.x.shape[2:])), frame).sum(axis=tuple(range(-len(frame.kernel), 0)))
    return _scattered(frame, call.x.shape, lambda position: call.gradient * (shares / inner))


def _max_pool(call: Passing) -> Array:
    frame = frame_of(call.config, call.x.shape[2:])
    views = kernels.windows(call.x, frame, -np.inf)
    best = views.reshape(*call.gradient.shape, -1).argmax(-1)
    return _scattered(
        frame,
        call.x.shape,
        lambda position: np.where(best == np.ravel_multi_index(position, frame.kernel), call.gradient, 0.0),
    )


def _adaptive_pool(call: Passing) -> Array:
    sizes = call.config["output_size"]
    sizes = [sizes] * (call.x.ndim - 2) if isinstance(sizes, int) else sizes
    gradient = call.gradient
    for axis, (size, new) in enumerate(zip(call.x.shape[2:], sizes, strict=True), 2):
        if new is not None:
            matrix = np.zeros((size, new))
            for i in range(new):
                start, end = i * size // new, -(-(i + 1) * size // new)
                matrix[start:end, i] = 1 / (end - start)
            gradient = kernels.resized(gradient, axis, matrix)
    return gradient


def _upsample(call: Passing) -> Array:
    gradient = call.gradient
    for axis, matrix in resizing(call.config, call.x.shape):
        gradient = kernels.resized(gradient, axis, matrix.T)
    return gradient


def _reduced(call: Passing) -> Array:
    axes = call.config.get("dim")
    axes = range(call.x.ndim) if axes is None else [axes] if isinstance(axes, int) else axes
    axes = {axis % call.x.ndim for axis in axes}
    shape = [1 if axis in axes else size for axis, size in enumerate(call.x.shape)]
    count = math.prod(call.x.shape[axis] for axis in axes) if call.kind == "Mean" else 1
    return np.broadcast_to(call.gradient.reshape(shape) / count, call.x.shape)


def _of_normalised(x: Array, gradient: Array, axes: tuple[int, ...], eps: float) -> Array:
    """Return the gradient of what is normalised along some axes by its own statistics."""
    deviation = np.sqrt(x.var(axes, keepdims=True) + eps)
    normal = (x - x.mean(axes, keepdims=True)) / deviation
    centred = gradient - gradient.mean(axes, keepdims=True)
    return (centred - normal * (gradient * normal).mean(axes, keepdims=True)) / deviation


def _shaped(weights: Weights, rank: int) -> Array:
    return weights["weight"].reshape(-1, *[1] * (rank - 2)) if "weight" in weights else np.ones(1)


def _batch_norm(call: Passing) -> Array:
    config = {**call.config, "eps": float(np.float32(call.config["eps"]))}
    scaled = call.gradient * _shaped(call.weights, call.x.ndim)
    of_batch = config.get("training") and not config.get("use_global_stats")
    if "running_var" in call.weights and config.get("track_running_stats", True) and not of_batch:
        variance = call.weights["running_var"].reshape(-1, *[1] * (call.x.ndim - 2))
        return scaled / np.sqrt(variance + config["eps"])
    return _of_normalised(call.x, scaled, (0, *range(2, call.x.ndim)), config["eps"])


def _layer_norm(call: Passing) -> Array:
    axes = tuple(range(-len(call.config["normalized_shape"]), 0))
    scaled = call.gradient * call.weights["weight"] if "weight" in call.weights else call.gradient
    return _of_normalised(call.x, scaled, axes, float(np.float32(call.config["eps"])))


def _group_norm(call: Passing) -> Array:
    x, groups = call.x, call.config["num_groups"]
    scaled = call.gradient * _shaped(call.weights, x.ndim)
    grouped = lambda array: array.reshape(x.shape[0], groups, -1)
    return _of_normalised(grouped(x), grouped(scaled), (2,), call.config["eps"]).reshape(x.shape)


def _softmax(call: Passing) -> Array:
    y, axis = call.outputs[0], call.config["dim"]
    return y * (call.gradient - (call.gradient * y).sum(axis, keepdims=True))


def _log_softmax(call: Passing) -> Array:
    return call.gradient - np.exp(call.outputs[0]) * call.gradient.sum(call.config["dim"], keepdims=True)


def _operand(call: Passing) -> Array:
    """Return what an operator of two passes back to one, summed where that one was repeated."""
    number, config = call.number, call.config
    other = call.inputs[1 - number] if len(call.inputs) == 2 else np.float64(config["other"])
    alpha = config.get("alpha", 1)
    factor = {
        "Add": lambda: alpha if number else 1,
        "Sub": lambda: -alpha if number else 1,
        "RSub": lambda: 1 if number else -alpha,
        "Mul": lambda: other,
        "Div": lambda: -call.inputs[0] / call.x**2 if number else 1 / other,
        "Maximum": lambda: np.where(call.x > other, 1.0, 0.0),
        "Minimum": lambda: np.where(call.x < other, 1.0, 0.0),
    }[call.kind]()
    return summed(call.gradient * factor, call.x.shape)


def summed(gradient: Array, shape: Sequence[int]) -> Array:
    """Return a gradient of the shape of an operand, summed over the axes along which that one was repeated."""
    gradient = gradient.sum(tuple(range(gradient.ndim - len(shape))))
    repeated = tuple(axis for axis, size in enumerate(shape) if size == 1 < gradient.shape[axis])
    return gradient.sum(repeated, keepdims=True)


DERIVATIVES: dict[str, Derivative] = {
    **{kind: _of_slope(kind) for kind in SLOPES},
    **dict.fromkeys(("Dropout", "Dropout2d", "Dropout3d", "AlphaDropout"), _of_factor),
    **dict.fromkeys(("Conv1d", "Conv2d", "Conv3d"), _convolution),
    **dict.fromkeys(("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"), _transposed_convolution),
    "Linear": lambda call: call.gradient @ call.weights["weight"],
    **dict.fromkeys(("BatchNorm", "BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm"), _batch_norm),
    **dict.fromkeys(
        ("InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"),
        lambda call: _of_normalised(
            call.x,
            call.gradient * _shaped(call.weights, call.x.ndim),
            tuple(range(2, call.x.ndim)),
            float(np.float32(call.config["eps"])),
        ),
    ),
    "GroupNorm": _group_norm,
    "LayerNorm": _layer_norm,
    "PReLU": lambda call: call.gradient * np.where(call.x > 0, 1.0, _shaped(call.weights, call.x.ndim)),
    "MaxPool2d": _max_pool,
    "AvgPool2d": _average_pool,
    "AdaptiveAvgPool2d": _adaptive_pool,
    **dict.fromkeys(("Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d"), _upsample),
    **dict.fromkeys(("Flatten", "ChannelShuffle", "PixelShuffle", "Pad2d", "ConstantPad2d", "ZeroPad2d"), _moved),
    **dict.fromkeys(("ReflectionPad2d", "ReplicationPad2d", "CircularPad2d"), _moved),
    **dict.fromkeys(("reshape", "squeeze", "unsqueeze", "unflatten"), lambda call: call.gradient.reshape(call.x.shape)),
    "permute": _permuted,
    **dict.fromkeys(("chunk", "split", "tensor_split", "unbind"), _split),
    "Concat": _joined,
    "Stack": lambda call: np.take(call.gradient, call.number, call.config.get("dim", 0)),
    **dict.fromkeys(("Mean", "Sum"), _reduced),
    "Softmax": _softmax,
    "LogSoftmax": _log_softmax,
    **dict.fromkeys(("Add", "Sub", "RSub", "Mul", "Div", "Maximum", "Minimum"), _operand),
}
