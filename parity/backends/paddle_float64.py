"""Paddle's operators in full float64: what its own float64 kernels keep to fewer digits is computed exactly.

The float64 run judges meaning, so it must mean what the network means. Four of Paddle's float64 kernels do not
(measured on 2.6.2 and 3.3.1: docs/differences.md): the hard sigmoid multiplies by 0.1666667 in place of 1/6, SELU by
constants kept as float32, linear and cubic interpolation place pixels in float32, and average pooling divides its
gradient by multiplying with float32(1 / n). Allowing for such an error would hide a mistake of its size in all layers
behind; computing the operator exactly leaves nothing to allow for. The float32 run uses Paddle's own kernels, and their
error shows there.

The operators are replaced where layers and functions meet, in `paddle._C_ops`: however a network calls them, they are
seen. An exact result is taken only where it is as near to the kernel's own as the kernel's known error explains, so a
difference in meaning, in a version we have not seen, is never replaced.
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
# Ten of a float32 constant's roundings: SELU has two of them, 0.1666667 is off by 3.4.
_CONSTANT = 10 * ROUNDOFF32


@contextlib.contextmanager
def exact_operators() -> Iterator[None]:
    """Replace the operators above for a while, for float64 tensors; those of other dtypes go to Paddle's kernels."""
    own = {name: getattr(paddle._C_ops, name) for name in _EXACT if hasattr(paddle._C_ops, name)}
    try:
        for name, kernel in own.items():
            setattr(paddle._C_ops, name, _replaced(kernel, _EXACT[name]))
        yield
    finally:
        for name, kernel in own.items():
            setattr(paddle._C_ops, name, kernel)


def _replaced(kernel: Callable[..., Any], exact: Callable[..., Any]) -> Callable[..., Any]:
    def operator(x: Any, *settings: Any, **more: Any) -> Any:
        result = kernel(x, *settings, **more)
        plain = isinstance(x, paddle.Tensor) and x.dtype == paddle.float64 and x.size and not more
        return exact(x, result, *settings) if plain else result

    return operator


def _if_near(exact: Any, own: Any, limit: float) -> Any:
    """Return the exact result where it is within `limit` of the kernel's own, over the largest; else the kernel's."""
    if exact.shape != own.shape:
        return own
    with paddle.no_grad():
        gap, largest = float((exact - own).abs().max()), float(own.abs().max())
    return exact if gap <= limit * largest else own  # NaN and infinity stay with the kernel


def _hardsigmoid(x: Any, own: Any, slope: float, offset: float) -> Any:
    line = x * (1 / 6 if slope == 0.1666667 else slope) + offset
    return _if_near(paddle.where((line > 0) & (line < 1), line, own), own, _CONSTANT)


def _selu(x: Any, own: Any, scale: float, alpha: float) -> Any:
    below = paddle.where(x > 0, paddle.zeros_like(x), x)  # exp of what is not taken must not overflow
    exact = paddle.where(x > 0, scale * x, scale * alpha * paddle.expm1(below))
    return _if_near(exact, own, _CONSTANT)


def _interpolate(
    x: Any, own: Any, out_size: Any, size_tensors: Any, scale_tensor: Any, layout: str, *settings: Any
) -> Any:
    *_, scales, mode, align_corners, align_mode = settings
    if out_size is not None or size_tensors is not None or scale_tensor is not None:
        scales = []  # numbers inside tensors: the output's shape says what came of them
    first = 2 if layout.startswith("NC") else 1
    exact, reach = x, 0
    for i, axis in enumerate(range(first, first + len(x.shape) - 2)):
        n, m = x.shape[axis], own.shape[axis]
        scale = float(scales[i]) if scales else 0.0
        matrix = _places(n, m, scale, mode, bool(align_corners), int(align_mode))
        exact = paddle.moveaxis(
            paddle.matmul(paddle.moveaxis(exact, axis, -1), paddle.to_tensor(matrix.T, place=x.place)), -1, axis
        )
        reach = max(reach, n)
    # Along each axis a place is computed with 3 roundings of numbers up to n, and neighbours differ by 2 peaks.
    return _if_near(exact, own, 6 * (len(x.shape) - 2) * reach * ROUNDOFF32)


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


def _average_pool(x: Any, own: Any, *settings: Any) -> Any:
    """Return the kernel's own average pooling, with the gradient of 1 / n in place of float32(1 / n)."""
    kernel, strides, padding, ceil_mode, exclusive, layout, kind, whole, adaptive, rule = settings[:10]
    known = kind == "avg" and layout.startswith("NC") and rule == "EXPLICIT" and len(padding) == len(x.shape) - 2
    if x.stop_gradient or not known or not paddle.is_grad_enabled():
        return own
    counts = list[np.ndarray[Any, Any]]()
    for i, size in enumerate(x.shape[2:]):
        length = own.shape[2 + i]
        if whole or adaptive:
            counts.append(np.array([-(-(j + 1) * size // length) - j * size // length for j in range(length)]))
            continue
        pool = Pool(int(kernel[i]), int(strides[i]), int(padding[i]), 1, bool(ceil_mode), not exclusive)
        if output_size(size, pool, "paddle") != length:
            return own
        counts.append(divisors(size, pool, "paddle"))
    elements = functools.reduce(np.multiply.outer, counts).astype(np.float64)
    if not (elements > 0).all():
        return own  # windows of padding alone: Paddle's own rules stand
    factors = 1 / elements / (1 / elements).astype(np.float32).astype(np.float64)
    return _Scaled.apply(own, paddle.to_tensor(factors, place=x.place))


_EXACT: dict[str, Callable[..., Any]] = {
    "hardsigmoid": _hardsigmoid,
    "selu": _selu,
    **dict.fromkeys(("linear_interp", "bilinear_interp", "trilinear_interp", "bicubic_interp"), _interpolate),
    **dict.fromkeys(("pool2d", "pool3d"), _average_pool),
}
