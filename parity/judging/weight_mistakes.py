"""The table of porting mistakes in one tensor of weights: what each says, and what it makes of the right tensor.

A new one is a line here, and a test in tests/judging/test_proved.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from parity.numerics.arrays import Array, same_bits, same_but_ones


@dataclass(frozen=True)
class WeightMistake:
    """A mistake in one tensor.

    Attributes:
        says: What is said of the tensor, behind its role.
        make: Returns what the mistake makes of the right tensor; None where it does not apply.
        roles: The tensors that it may happen to; none: any.
        exact: Whether it makes the same bits everywhere; a root is rounded in more than one way.
    """

    says: str
    make: Callable[[Array], Array | None]
    roles: tuple[str, ...] = ()
    exact: bool = True

    def made(self, role: str, array: Array) -> Array | None:
        """Return what it makes of a tensor of that role; None where it does not apply."""
        return self.make(array) if not self.roles or role in self.roles else None


def _bfloat16(array: Array) -> Array:
    bits = array.astype(np.float32).view(np.uint32)
    even = (bits >> np.uint32(16)) & np.uint32(1)
    return ((bits + np.uint32(0x7FFF) + even) & np.uint32(0xFFFF0000)).view(np.float32).astype(array.dtype)


def _cut_bfloat16(array: Array) -> Array:
    return (array.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32).astype(array.dtype)


def _float16(array: Array) -> Array:
    with np.errstate(over="ignore"):
        return array.astype(np.float16).astype(array.dtype)


def _square(array: Array, one: int, other: int) -> Array | None:
    """Return the array with two axes swapped, if its shape stays the same."""
    fits = array.ndim > max(one, other) and array.shape[one] == array.shape[other] > 1
    return array.swapaxes(one, other) if fits else None


def _of_variance(says: str, make: Callable[[Array], Array]) -> WeightMistake:
    def safe(array: Array) -> Array:
        with np.errstate(all="ignore"):
            return make(array)

    return WeightMistake(says, safe, roles=("running_var",), exact=False)


WEIGHTS = (
    WeightMistake("is transposed", lambda a: _square(a, 0, 1) if a.ndim == 2 else None),
    WeightMistake(
        "has its inputs and outputs swapped: is transposed", lambda a: _square(a, 0, 1) if a.ndim > 2 else None
    ),
    WeightMistake("has height and width swapped", lambda a: _square(a, 2, 3)),
    WeightMistake("has its kernels flipped", lambda a: a[..., ::-1, ::-1] if a.ndim == 4 else None),
    WeightMistake("has its kernels flipped along height", lambda a: a[..., ::-1, :] if a.ndim == 4 else None),
    WeightMistake("has its kernels flipped along width", lambda a: a[..., ::-1] if a.ndim == 4 else None),
    WeightMistake("is rounded to float16", _float16),
    WeightMistake("is rounded to bfloat16", _bfloat16),
    WeightMistake("is cut off to bfloat16", _cut_bfloat16),
    WeightMistake("is doubled", lambda a: a * 2),
    WeightMistake("is halved", lambda a: a / 2),
    WeightMistake("has the wrong sign", lambda a: -a),
    _of_variance("holds its square root: the standard deviation, not the variance", np.sqrt),
    _of_variance("holds its reciprocal: 1 / variance", lambda a: 1 / a),
    _of_variance("holds the reciprocal of its root: 1 / standard deviation", lambda a: 1 / np.sqrt(a)),
    _of_variance("holds its square", lambda a: a * a),
    _of_variance("holds its logarithm", np.log),
    *(
        _of_variance(f"has {eps:g} added already: an eps", lambda a, eps=eps: a + a.dtype.type(eps))
        for eps in (1e-5, 1e-3)
    ),
)
_ROUNDED = 2e-6  # relative: a few roundings of float32
_SHOWN = 1e-4  # relative: a change that no rounding makes


def recognised(name: str, reference: Mapping[str, Array], actual: Array) -> str:
    """Return how a tensor of the candidate differs from the reference's, in words.

    Args:
        name: Of the reference's tensor.
        reference: Its weights.
        actual: The candidate's tensor.
    """
    expected, role = reference[name], name.rpartition(".")[2]
    if actual.shape != expected.shape:
        return f"has another shape: {expected.shape}, {actual.shape}"
    makes = lambda mistake: _is_made(mistake, role, expected, actual)
    if makes(WEIGHTS[0]):
        return WEIGHTS[0].says
    others = [other for other in reference if other != name and _same_numbers(reference[other], actual)]
    if others and len(np.unique(actual)) > 1:
        return f"holds the reference's {others[0]}"
    if np.unique(actual).size == 1 and np.unique(expected).size > 1:
        return f"was not copied: all of it is {actual.flat[0]:g}"
    if (mistake := next(filter(makes, WEIGHTS[1:]), None)) is not None:
        return mistake.says
    if same_bits(np.sort(expected, axis=None), np.sort(actual, axis=None)):
        for axis in range(expected.ndim):
            if _rows(expected, axis) == _rows(actual, axis):
                picture = axis == 1 and same_bits(actual, expected[:, ::-1]) and expected.shape[1] == 3
                reverse = ", in reverse: BGR for RGB" if picture else ""
                return f"has the right numbers, permuted along axis {axis}{reverse}"
        return "has the right numbers in another order"
    return _measured(expected.astype(np.float64), actual.astype(np.float64)) or _counted(expected, actual)


def _same_numbers(other: Array, actual: Array) -> bool:
    return same_but_ones(other.shape, actual.shape) and same_bits(other.reshape(actual.shape), actual)


def _is_made(mistake: WeightMistake, role: str, expected: Array, actual: Array) -> bool:
    """Return whether a mistake makes the candidate's tensor of the right one."""
    made = mistake.made(role, expected)
    if made is None or mistake.exact:
        return made is not None and same_bits(actual, made)
    return _near(actual, made) and not _near(expected, made)


def _near(one: Array, other: Array) -> bool:
    return bool(np.allclose(one, other, rtol=_ROUNDED, atol=0, equal_nan=True))


def _measured(expected: Array, actual: Array) -> str:
    """Return the factor or the step between two tensors where it is the same everywhere; else ""."""
    if expected.size < 4 or not (np.isfinite(expected).all() and np.isfinite(actual).all()):
        return ""
    factor = _factor(expected, actual)
    if factor and abs(factor - 1) > _SHOWN and _near(actual, expected * factor):
        return f"is scaled by {factor:.6g}"
    largest, step = float(np.abs(expected).max()), float(np.median(actual - expected))
    if abs(step) > _SHOWN * largest and np.allclose(actual, expected + step, rtol=_ROUNDED, atol=_ROUNDED * largest):
        return f"has {step:.6g} added to it"
    if _near(expected, actual):
        return ""
    rows = [(one.reshape(-1), other.reshape(-1)) for one, other in zip(expected, actual, strict=True)]
    if all(one.size > 3 and _near(other, one * _factor(one, other)) for one, other in rows):
        return "is scaled, each output channel by a factor of its own: is a normalisation folded into it?"
    return ""


def _factor(expected: Array, actual: Array) -> float:
    """Return the factor that brings one array nearest to another; 0 where there is none."""
    square = float(np.vdot(expected, expected))
    return float(np.vdot(expected, actual)) / square if square else 0.0


def _counted(expected: Array, actual: Array) -> str:
    gap = np.abs(actual.astype(np.float64) - expected)
    index = np.unravel_index(int(gap.argmax()), gap.shape)
    count = int(np.count_nonzero(gap))
    worst = f"worst at {tuple(map(int, index))}: {expected[index]:.9g}, {actual[index]:.9g}"
    return f"differs in {count} of {gap.size} elements; {worst}"


def _rows(array: Array, axis: int) -> list[bytes]:
    return sorted(np.ascontiguousarray(row).tobytes() for row in np.moveaxis(array, axis, 0))
