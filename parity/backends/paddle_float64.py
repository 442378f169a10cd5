"""Paddle's operators in full float64: exact versions of float64 kernels that compute with fewer digits.

The float64 run decides whether two networks compute the same function, so it must be exact. Four of Paddle's float64
kernels are not (measured on 2.6.2 and 3.3.1: docs/differences.md): the hard sigmoid multiplies by 0.1666667 in place of
1/6, SELU by constants stored as float32, linear and cubic interpolation place pixels in float32, and average pooling
divides its gradient by multiplying with float32(1 / n). An allowance for such an error would hide a mistake of its size
in all later layers; an exact operator needs no allowance. The float32 run uses Paddle's own kernels, and their error
is part of its noise.

The operators are replaced in `paddle._C_ops`, which both layers and functions call. An exact result is used only if it
is as near to the kernel's own as the kernel's known error explains, so a difference in meaning, in a version we have
not seen, is never replaced.
"""

# pyright: reportPrivateImportUsage=false, reportAttributeAccessIssue=false
# (Paddle exports most of its names dynamically.)

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import paddle

from parity.numerics.kernels import interpolation
from parity.numerics.pooling import Pool, divisors, output_size

ROUNDOFF32 = 2.0**-24
# Ten roundings of a float32 constant: SELU has two, 0.1666667 is off by 3.4.
_CONSTANT = 10 * ROUNDOFF32


@contextlib.contextmanager
def exact_operators() -> Iterator[None]:
    """Replace the operators above for a while, for float64 tensors; other dtypes still use Paddle's kernels."""
    kernels = {name: getattr(paddle._C_ops, name) for name in _EXACT if hasattr(paddle._C_ops, name)}
    try:
        for name, kernel in kernels.items():
            setattr(paddle._C_ops, name, _replaced(kernel, _EXACT[name]))
        yield
    finally:
        for name, kernel in kernels.items():
            setattr(paddle._C_ops, name, kernel)


def _replaced(kernel: Callable[..., Any], exact: Callable[..., Any]) -> Callable[..., Any]:
    def operator(x: Any, *settings: Any, **more: Any) -> Any:
        result = kernel(x, *settings, **more)
        replaceable = isinstance(x, paddle.Tensor) and x.dtype == paddle.float64 and x.size and not more
        return exact(x, result, *settings) if replaceable else result

    return operator


def _if_near(exact: Any, result: Any, limit: float) -> Any:
    """Return the exact result if it is within `limit` of the kernel's, over its largest element; else the kernel's."""
    if exact.shape != result.shape:
        return result
    with paddle.no_grad():
        gap, largest = float((exact - result).abs().max()), float(result.abs().max())
    return exact if gap <= limit * largest else result  # the kernel's for NaN and infinity


def _hardsigmoid(x: Any, result: Any, slope: float, offset: float) -> Any:
    line = x * (1 / 6 if slope == 0.1666667 else slope) + offset
    return _if_near(paddle.where((line > 0) & (line < 1), line, result), result, _CONSTANT)


def _selu(x: Any, result: Any, scale: float, alpha: float) -> Any:
    below = paddle.where(x > 0, paddle.zeros_like(x), x)  # exp of the elements not used must not overflow
    exact = paddle.where(x > 0, scale * x, scale * alpha * paddle.expm1(below))
    return _if_near(exact, result, _CONSTANT)


def _interpolate(
    x: Any, result: Any, out_size: Any, size_tensors: Any, scale_tensor: Any, layout: str, *settings: Any
) -> Any:
    *_, scales, mode, align_corners, align_mode = settings
    if out_size is not None or size_tensors is not None or scale_tensor is not None:
        scales = []  # the numbers are in tensors: the output's shape gives the result
    first = 2 if layout.startswith("NC") else 1
    exact, reach = x, 0
    for i, axis in enumerate(range(first, first + len(x.shape) - 2)):
        n, m = x.shape[axis], result.shape[axis]
        scale = float(scales[i]) if scales else 0.0
        matrix = _places(n, m, scale, mode, bool(align_corners), int(align_mode))
        exact = paddle.moveaxis(
            paddle.matmul(paddle.moveaxis(exact, axis, -1), paddle.to_tensor(matrix.T, place=x.place)), -1, axis
        )
        reach = max(reach, n)
    # Along each axis a place is computed with 3 roundings of numbers up to n, and neighbours differ by up to 2 peaks.
    return _if_near(exact, result, 6 * (len(x.shape) - 2) * reach * ROUNDOFF32)


def _places(n: int, m: int, scale: float, mode: str, align_corners: bool, align_mode: int) -> np.ndarray[Any, Any]:
    """Return an axis's interpolation matrix (m, n) by Paddle's rules (phi, interpolate_kernel.cc)."""
    if m == 1:
        ratio = 0.0
    elif align_corners:
        ratio = (n - 1) / (m - 1)
    else:
        ratio = 1 / scale if scale > 0 else n / m
    places = np.arange(m) * ratio
    if mode == "bicubic":
        return interpolation(n, places if align_corners else (np.arange(m) + 0.5) * ratio - 0.5, "cubic")
    if not align_corners and align_mode == 0:
        places = np.maximum((np.arange(m) + 0.5) * ratio - 0.5, 0.0)
    return interpolation(n, places, "linear")


class _Scaled(paddle.autograd.PyLayer):
    """The tensor itself, whose gradient is multiplied by given factors."""

    @staticmethod
    def forward(ctx: Any, x: Any, factors: Any) -> Any:
        ctx.factors = factors
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return gradient * ctx.factors


def _average_pool(x: Any, result: Any, *settings: Any) -> Any:
    """Return the kernel's own average pooling, with the gradient of 1 / n in place of float32(1 / n)."""
    kernel, strides, padding, ceil_mode, exclusive, layout, kind, global_pool, adaptive, rule = settings[:10]
    supported = kind == "avg" and layout.startswith("NC") and rule == "EXPLICIT" and len(padding) == len(x.shape) - 2
    if x.stop_gradient or not supported or not paddle.is_grad_enabled():
        return result
    counts = list[np.ndarray[Any, Any]]()
    for i, size in enumerate(x.shape[2:]):
        length = result.shape[2 + i]
        if global_pool or adaptive:
            counts.append(np.array([-(-(j + 1) * size // length) - j * size // length for j in range(length)]))
            continue
        pool = Pool(int(kernel[i]), int(strides[i]), int(padding[i]), 1, bool(ceil_mode), not exclusive)
        if output_size(size, pool, "paddle") != length:
            return result
        counts.append(divisors(size, pool, "paddle"))
    elements = functools.reduce(np.multiply.outer, counts).astype(np.float64)
    if not (elements > 0).all():
        return result  # a window of only padding: Paddle's own result stays
    factors = 1 / elements / (1 / elements).astype(np.float32).astype(np.float64)
    return _Scaled.apply(result, paddle.to_tensor(factors, place=x.place))


_EXACT: dict[str, Callable[..., Any]] = {
    "hardsigmoid": _hardsigmoid,
    "selu": _selu,
    **dict.fromkeys(("linear_interp", "bilinear_interp", "trilinear_interp", "bicubic_interp"), _interpolate),
    **dict.fromkeys(("pool2d", "pool3d"), _average_pool),
}
