"""Layers' arithmetic in plain numpy, as torch defines it: in float64, for exactness and not for speed.

Arrays are (batch, channels, *sizes), with any number of axes behind the channels. Settings have one entry an axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from parity.numerics.arrays import Array


@dataclass(frozen=True)
class Frame:
    """The positions of a convolution's or a pooling's windows, for each axis.

    Attributes:
        kernel: Elements of a window.
        strides: From one window to the next.
        dilations: From one element of a window to the next.
        pads: Padding before and after the input.
        counts: Number of windows.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    counts: tuple[int, ...]

    @property
    def reach(self) -> tuple[int, ...]:
        """Return the number of input elements that a window spans, including the gaps of its dilation."""
        return _reach(self.kernel, self.dilations)


def frame(
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Sequence[tuple[int, int]],
    ceil_mode: bool = False,
) -> Frame:
    """Return the positions of the windows.

    Args:
        sizes: Of the input, without padding.
        kernel: As in Frame.
        strides: As in Frame.
        dilations: As in Frame.
        pads: As in Frame.
        ceil_mode: Whether a last window may reach beyond the padding; none starts in the padding behind the input.

    Raises:
        ValueError: If not even one window fits.

    Source: torch.nn.MaxPool2d, "Shape"; ONNX Runtime counts alike, Paddle does not (docs/differences.md).
    """
    counts = list[int]()
    for size, (before, after), stride, reach in zip(sizes, pads, strides, _reach(kernel, dilations), strict=True):
        room = size + before + after - reach
        if room < 0:
            raise ValueError(f"a window over {reach} elements does not fit in {size} and padding {before} and {after}")
        count = room // stride + 1
        if ceil_mode and room % stride and count * stride < size + before:
            count += 1
        counts.append(count)
    return Frame(tuple(kernel), tuple(strides), tuple(dilations), tuple(pads), tuple(counts))


def same_pads(
    sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], odd_before: bool
) -> tuple[tuple[int, int], ...]:
    """Return the padding that gives size / stride windows, rounded up.

    Args:
        sizes: Of the input.
        kernel: As in Frame.
        strides: As in Frame.
        dilations: As in Frame.
        odd_before: Whether an odd element of padding is before the input; else it is behind.

    Source: ONNX, Conv, `auto_pad`: SAME_LOWER and SAME_UPPER.
    """
    pads = list[tuple[int, int]]()
    for size, stride, reach in zip(sizes, strides, _reach(kernel, dilations), strict=True):
        total = max(0, (math.ceil(size / stride) - 1) * stride + reach - size)
        small, large = total // 2, total - total // 2
        pads.append((large, small) if odd_before else (small, large))
    return tuple(pads)


def windows(x: Array, frame: Frame, fill: float = 0.0) -> Array:
    """Return the windows of an array's last axes: a view of the padded array, (..., *counts, *kernel).

    Args:
        x: (..., *sizes).
        frame: Of these sizes.
        fill: The value of the padding.
    """
    axes = tuple(range(-len(frame.kernel), 0))
    settings = list(zip(x.shape[axes[0] :], frame.pads, frame.counts, frame.strides, frame.reach, strict=True))
    around = [
        (before, max(after, (count - 1) * stride + reach - size - before))  # the last window may reach further
        for size, (before, after), count, stride, reach in settings
    ]
    padded = np.pad(x, [(0, 0)] * (x.ndim - len(axes)) + around, constant_values=fill)
    views = sliding_window_view(padded, frame.reach, axis=axes)  # pyright: ignore[reportCallIssue, reportArgumentType]
    starts = [slice(None, (count - 1) * stride + 1, stride) for _, _, count, stride, _ in settings]
    return views[(..., *starts, *(slice(None, None, dilation) for dilation in frame.dilations))]


def convolution(x: Array, weight: Array, bias: Array | None, frame: Frame, groups: int = 1) -> Array:
    """Return a convolution's output, (batch, out, *counts).

    Args:
        x: (batch, in, *sizes).
        weight: (out, in / groups, *kernel).
        bias: (out,), or None.
        frame: Of these sizes and this kernel.
        groups: Number of groups of inputs and outputs.

    Raises:
        ValueError: If channels and groups do not fit each other.

    Source: torch.nn.Conv2d.
    """
    if x.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups:
        raise ValueError(f"a weight of shape {weight.shape} in {groups} groups does not take {x.shape[1]} channels")
    axes = range(len(frame.kernel))
    summed = [1, *(axis + 2 for axis in axes)], [0, *(axis + 1 + len(axes) for axis in axes)]
    y = np.empty((x.shape[0], weight.shape[0], *frame.counts), np.result_type(x, weight))
    for image, output in zip(x, y, strict=True):
        for inputs, weights, outputs in zip(
            *(np.split(array, groups) for array in (image, weight, output)), strict=True
        ):
            outputs[...] = np.tensordot(weights, windows(inputs, frame), summed)
    return y if bias is None else y + _by_channel(bias, y.ndim)


def max_pool(x: Array, frame: Frame) -> Array:
    """Return the largest element of each window, (batch, channels, *counts); padding is never the largest.

    Source: torch.nn.MaxPool2d.
    """
    return windows(x, frame, -np.inf).max(axis=tuple(range(-len(frame.kernel), 0)))


def average_pool(x: Array, frame: Frame, count_include_pad: bool = False) -> Array:
    """Return the mean of each window, (batch, channels, *counts).

    Args:
        x: (batch, channels, *sizes).
        frame: Of these sizes.
        count_include_pad: Whether elements of the padding count as zeros. Elements beyond the padding, under
            `ceil_mode`, never count.

    Source: torch.nn.AvgPool2d; elements beyond the padding as measured, docs/differences.md.
    """
    inner = tuple(range(-len(frame.kernel), 0))
    ones, counted = np.ones(x.shape[2:]), frame
    if count_include_pad:
        ones = np.pad(ones, frame.pads, constant_values=1.0)
        counted = Frame(frame.kernel, frame.strides, frame.dilations, ((0, 0),) * len(inner), frame.counts)
    return windows(x, frame).sum(axis=inner) / windows(ones, counted).sum(axis=inner)


def batch_norm(x: Array, weight: Array, bias: Array, mean: Array, variance: Array, eps: float) -> Array:
    """Return x normalised by running statistics, of x's shape; the other arrays are (channels,).

    Source: torch.nn.BatchNorm2d in evaluation mode.
    """
    scale = weight / np.sqrt(variance + eps)
    return (x - _by_channel(mean, x.ndim)) * _by_channel(scale, x.ndim) + _by_channel(bias, x.ndim)


def resized(x: Array, axis: int, matrix: Array) -> Array:
    """Return x at another size along one axis.

    Args:
        x: Any array.
        axis: Of it.
        matrix: From `interpolation`, (new size, size).
    """
    return np.moveaxis(np.tensordot(matrix, x, (1, axis)), 0, axis)


def places(size: int, new: int, scale: float, mode: str) -> Array:
    """Return the position of each of `new` elements in an axis of `size`, (new,): 0.0 is the centre of the first.

    Args:
        size: Elements before.
        new: Elements after.
        scale: New size over old one, as requested; `size * scale` may not be whole.
        mode: "half_pixel" (torch, align_corners=False), "pytorch_half_pixel", "align_corners" or "asymmetric".

    Raises:
        NotImplementedError: For another mode.

    Source: ONNX, Resize, `coordinate_transformation_mode`.
    """
    number = np.arange(new)
    if mode == "half_pixel" or (mode == "pytorch_half_pixel" and new > 1):
        return (number + 0.5) / scale - 0.5
    if mode == "pytorch_half_pixel":
        return number * 0.0
    if mode == "align_corners":
        return number * (size - 1) / max(new - 1, 1)
    if mode == "asymmetric":
        return number / scale
    raise NotImplementedError(f"coordinates {mode}")


def interpolation(size: int, places: Array, mode: str, *, nearest: str = "", cubic: float = -0.75) -> Array:
    """Return the weight of each old element in each new one, (new size, size); the last element extends beyond the end.

    Args:
        size: Elements before.
        places: Position of each new element, from `places`.
        mode: "nearest", "linear" or "cubic".
        nearest: Which neighbour is the nearest: "floor", "ceil", "round_prefer_floor" or "round_prefer_ceil".
        cubic: Slope of the cubic's outer part; torch has -0.75.

    Raises:
        NotImplementedError: For another mode or neighbour.

    Source: Keys, Cubic Convolution Interpolation for Digital Image Processing, IEEE Trans. ASSP 29(6), 1981; ONNX,
    Resize, for the nearest.
    """
    below = np.floor(places)
    matrix = np.zeros((len(places), size))
    for offset, weights in _taps(places - below, mode, nearest, cubic).items():
        np.add.at(matrix, (np.arange(len(places)), np.clip(below.astype(int) + offset, 0, size - 1)), weights)
    return matrix


def _taps(t: Array, mode: str, nearest: str, cubic: float) -> dict[int, Array]:
    """Return the weight of each old element by its offset from the one below, for positions t in [0, 1) above that."""
    if mode == "nearest":
        upper = {
            "floor": t < 0, "ceil": t > 0, "round_prefer_floor": t > 0.5, "round_prefer_ceil": t >= 0.5,
        }.get(nearest)  # fmt: skip
        if upper is None:
            raise NotImplementedError(f"nearest {nearest}")
        return {0: np.where(upper, 0.0, 1.0), 1: np.where(upper, 1.0, 0.0)}
    if mode == "linear":
        return {0: 1 - t, 1: t}
    if mode != "cubic":
        raise NotImplementedError(f"interpolation {mode}")

    def near(d: Array) -> Array:  # up to one element away
        return ((cubic + 2) * d - (cubic + 3)) * d**2 + 1

    def far(d: Array) -> Array:  # up to two
        return ((cubic * d - 5 * cubic) * d + 8 * cubic) * d - 4 * cubic

    return {-1: far(1 + t), 0: near(t), 1: near(1 - t), 2: far(2 - t)}


def _reach(kernel: Sequence[int], dilations: Sequence[int]) -> tuple[int, ...]:
    return tuple(dilation * (size - 1) + 1 for size, dilation in zip(kernel, dilations, strict=True))


def _by_channel(array: Array, rank: int) -> Array:
    """Return one number a channel in a shape that broadcasts with (batch, channels, *sizes)."""
    return array.reshape(-1, *[1] * (rank - 2))
