"""The one table of porting mistakes: what each says, where it applies, and what it makes of the right computation.

WEIGHTS are mistakes in one tensor of weights, MISTAKES in one expression. `judging.experiments` tries them. A new one
is a line or a short function here, a line in docs/contract.md, and a test in tests/judging/test_proved_forwards.py.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from parity.judging.expressions import Expression
from parity.judging.rules import ACTIVATIONS
from parity.layers import is_weighted, known
from parity.numerics.arrays import Array, same_bits


@dataclass(frozen=True)
class WeightMistake:
    """A mistake in one tensor.

    Attributes:
        says: What is said of the tensor, behind its role.
        make: Returns what the mistake makes of the right tensor; None where it does not apply.
    """

    says: str
    make: Callable[[Array], Array | None]


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


WEIGHTS = (
    WeightMistake("is transposed", lambda a: _square(a, 0, 1) if a.ndim == 2 else None),
    WeightMistake("has its inputs and outputs swapped", lambda a: _square(a, 0, 1) if a.ndim > 2 else None),
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
)


def recognised(name: str, reference: Mapping[str, Array], actual: Array) -> tuple[str, bool]:
    """Return how a tensor of the candidate differs from the reference's, in words, and whether a mistake explains it.

    Args:
        name: Of the reference's tensor.
        reference: Its weights.
        actual: The candidate's tensor.
    """
    expected = reference[name]
    if actual.shape != expected.shape:
        return f"has another shape: {expected.shape}, {actual.shape}", False
    for mistake in WEIGHTS[:1]:
        if (made := mistake.make(expected)) is not None and same_bits(actual, made):
            return mistake.says, True
    others = [other for other in reference if other != name and same_bits(reference[other], actual)]
    if others and len(np.unique(actual)) > 1:
        return f"holds the reference's {others[0]}", True
    if np.unique(actual).size == 1 and np.unique(expected).size > 1:
        return f"was not copied: all of it is {actual.flat[0]:g}", True
    for mistake in WEIGHTS[1:]:
        if (made := mistake.make(expected)) is not None and same_bits(actual, made):
            return mistake.says, True
    if same_bits(np.sort(expected, axis=None), np.sort(actual, axis=None)):
        for axis in range(expected.ndim):
            if _rows(expected, axis) == _rows(actual, axis):
                picture = axis == 1 and same_bits(actual, expected[:, ::-1]) and expected.shape[1] == 3
                reverse = ", in reverse: BGR for RGB" if picture else ""
                return f"has the right numbers, permuted along axis {axis}{reverse}", True
        return "has the right numbers in another order", False
    gap = np.abs(actual.astype(np.float64) - expected)
    index = np.unravel_index(int(gap.argmax()), gap.shape)
    count = int(np.count_nonzero(gap))
    worst = f"worst at {tuple(map(int, index))}: {expected[index]:.9g}, {actual[index]:.9g}"
    return f"differs in {count} of {gap.size} elements; {worst}", False


def _rows(array: Array, axis: int) -> list[bytes]:
    return sorted(np.ascontiguousarray(row).tobytes() for row in np.moveaxis(array, axis, 0))


# What a mistake yields: words for it, and the expression that it makes.
Tries = Iterator[tuple[str, Expression]]


@dataclass(frozen=True, eq=False)
class Spot:
    """A place where the candidate has another tensor than the reference's expression gives.

    Attributes:
        right: What the reference computes there, of the candidate's tensors.
        actual: What the candidate does, where its trace shows it.
        target: The tensor that it has there.
        others: More of the candidate's tensors: what it may have read in place of the right one.
        read: Returns a recorded tensor.
    """

    right: Expression
    actual: Expression | None
    target: Array
    others: tuple[Expression, ...]
    read: Callable[[Expression], Array]


Mistake = Callable[[Spot], Tries]


def called(expression: Expression) -> str:
    """Return what to call a part of an expression in a sentence."""
    return expression.name or "the input"


def _is_one(expression: Expression) -> bool:
    return len(expression.operands) == 1 and not is_weighted(expression.config)


def _everywhere(rule: Callable[[Expression], Tries]) -> Mistake:
    return lambda spot: spot.right.rewritten(rule)


def missing(part: Expression) -> Tries:
    """An activation, a normalisation, a pooling; a branch of a sum; a gate."""
    if part.kind == "Identity":
        return
    if len(part.operands) == 1:
        yield f"{called(part)} ({part.kind}) is missing", part.operands[0]
    elif part.kind in ("Add", "Sub", "Mul", "Concat") and len(part.operands) == 2:
        action = {"Mul": "multiplied with", "Concat": "concatenated with"}.get(part.kind, "added to")
        for one, other in (part.operands, part.operands[::-1]):
            yield f"{called(other)} is not {action} {called(one)}", one


def doubled(part: Expression) -> Tries:
    """An activation or a normalisation applied twice."""
    if _is_one(part):
        yield f"{called(part)} ({part.kind}) is applied twice", replace(part, operands=(part,))


def exchanged(part: Expression) -> Tries:
    """An activation before the normalisation in place of behind it."""
    if _is_one(part) and _is_one(part.operands[0]):
        inner = part.operands[0]
        swapped = replace(inner, operands=(replace(part, operands=inner.operands),))
        yield f"{called(part)} ({part.kind}) comes before {called(inner)} ({inner.kind})", swapped


def another_activation(part: Expression) -> Tries:
    """ReLU6 for ReLU, a sigmoid for a hard one."""
    if known(part.kind).pointwise and len(part.operands) == 1:
        for kind in ACTIVATIONS:
            if kind != part.kind:
                yield f"{called(part)} is {kind} in place of {part.kind}", replace(part, kind=kind, config={})


def extra_activation(part: Expression) -> Tries:
    """An activation that does not belong there."""
    for kind in ACTIVATIONS:
        yield f"{kind} is applied to {called(part)}", Expression(kind, kind=kind, operands=(part,), shape=part.shape)


def scaled_dropout(part: Expression) -> Tries:
    """Dropout that scales at inference."""
    p = part.config.get("p")
    if part.kind.startswith("Dropout") and isinstance(p, (int, float)) and 0 < p < 1:
        for factor, words in ((1 - p, "1 - p"), (1 / (1 - p), "1/(1 - p)")):
            yield f"{called(part)} scales by {words} = {factor:g} at inference", _times(part, factor)


def scaled(spot: Spot) -> Tries:
    """A branch of a sum, or the whole, times a factor: the factor that fits best, which must then fit everywhere."""
    whole = spot.right.value(spot.read)
    if (factor := _fitted(spot.target, whole)) is not None:
        yield f"{called(spot.right)} is scaled by {factor:.6g}", _times(spot.right, factor)
    if spot.right.kind in ("Add", "Sub") and len(spot.right.operands) == 2:
        values = [operand.value(spot.read) for operand in spot.right.operands]
        for i in (0, 1):
            rest = whole - values[i] if spot.right.kind == "Add" else values[1 - i]
            factor = _fitted(spot.target - rest, values[i]) if whole.shape == spot.target.shape else None
            if factor is not None and spot.right.kind == "Add":
                operands = list(spot.right.operands)
                operands[i] = _times(operands[i], factor)
                twice = "is added twice" if math.isclose(factor, 2, rel_tol=1e-9) else f"is scaled by {factor:.6g}"
                yield f"{called(spot.right.operands[i])} {twice}", replace(spot.right, operands=tuple(operands))


def _fitted(target: Array, value: Array) -> float | None:
    """Return the factor that brings an array nearest to another; None where it is 1, or nothing can show it."""
    if target.shape != value.shape or target.size < 8 or target.dtype.kind != "f":
        return None
    square = float(np.vdot(value, value))
    factor = float(np.vdot(value, target)) / square if square else math.nan
    return factor if math.isfinite(factor) and factor != 0 else None


def _times(part: Expression, factor: float) -> Expression:
    return Expression(part.name, kind="Mul", config={"other": factor}, operands=(part,), shape=part.shape)


def reordered(part: Expression) -> Tries:
    """Operands of a concatenation, a difference or a quotient in another order."""
    if part.kind in ("Concat", "Stack", "Sub", "Div", "MatMul") and 2 <= len(part.operands) <= 4:
        for order in itertools.permutations(part.operands):
            if order != part.operands:
                names = ", ".join(map(called, order))
                yield f"{called(part)} takes its operands in another order: {names}", replace(part, operands=order)


def _nhwc(array: Array) -> Array:
    return array.transpose(0, *range(2, array.ndim), 1)


def _nchw(array: Array) -> Array:
    return array.transpose(0, array.ndim - 1, *range(1, array.ndim - 1))


def another_layout(part: Expression) -> Tries:
    """Channels last, height and width swapped, BGR for RGB."""
    rank = len(part.shape)
    if not part.tensor or rank < 3:
        return
    name = called(part)
    yield f"{name} is taken with channels last (NHWC)", replace(part, moved=_nhwc)
    yield f"{name} is taken as if its channels were last (NHWC)", replace(part, moved=_nchw)
    yield (
        f"{name} has its channels last (NHWC), taken for channels first",
        replace(part, moved=lambda a: _nhwc(a).reshape(a.shape)),
    )
    if rank == 4:
        yield f"{name} has height and width swapped", replace(part, moved=lambda a: a.swapaxes(2, 3))
        yield f"{name} is flipped left to right", replace(part, moved=lambda a: a[..., ::-1])
    reverse = "BGR for RGB" if part.shape[1] == 3 else "in reverse"
    yield f"{name} has its channels in another order: {reverse}", replace(part, moved=lambda a: a[:, ::-1])


def wrong_weights(part: Expression) -> Tries:
    """A layer whose code uses its weights wrongly: transposed, flipped, rounded; a bias left out or added twice."""
    if "bias" in part.weights:
        without = {role: array for role, array in part.weights.items() if role != "bias"}
        yield f"the bias of {called(part)} is absent", replace(part, weights=without)
    for role, array in part.weights.items():
        for mistake in WEIGHTS:
            if role in ("weight", "bias") and (made := mistake.make(array)) is not None:
                words = f"the {role} of {called(part)} {mistake.says}"
                yield words, replace(part, weights={**part.weights, role: np.ascontiguousarray(made)})
    for one, other in (("weight", "bias"), ("running_mean", "running_var")):
        if {one, other} <= part.weights.keys() and part.weights[one].shape == part.weights[other].shape:
            swapped = {**part.weights, one: part.weights[other], other: part.weights[one]}
            yield f"{one} and {other} of {called(part)} are swapped", replace(part, weights=swapped)


def wrong_statistics(part: Expression) -> Tries:
    """A BatchNorm that normalises by the batch, or by statistics at their defaults."""
    if "running_mean" in part.weights:
        batch = replace(part, config={**part.config, "training": True})
        yield f"{called(part)} normalises by the batch's own statistics", batch
        mean, variance = part.weights["running_mean"], part.weights["running_var"]
        defaults = {"running_mean": np.zeros_like(mean), "running_var": np.ones_like(variance)}
        yield (
            f"{called(part)} has its statistics at their defaults",
            replace(part, weights={**part.weights, **defaults}),
        )


def another_tensor(spot: Spot) -> Tries:
    """A gate or a branch that reads another tensor."""

    def rule(part: Expression) -> Tries:
        if part.tensor:
            for other in spot.others:
                if other.shape == part.shape:
                    yield f"reads {called(other)} in place of {called(part)}", other

    yield from spot.right.rewritten(rule)


def another_call(spot: Spot) -> Tries:
    """A call that the reference does not make: a normalisation doubled, an activation, a branch added."""
    part, names = spot.actual, list[str]()
    while part is not None and part.operands:
        number = part.config.get("other")
        names.append(f"{called(part)} ({part.kind}{f' by {number:g}' if isinstance(number, (int, float)) else ''})")
        first = part.operands[0]
        if len(names) <= 3 and _same_tensor(first, spot.right):
            more = [called(operand) for operand in part.operands[1:]]
            of = f" with {', '.join(more)}" if more else ""
            yield f"{' of '.join(names)}{of} is applied, which the reference does not do", spot.actual or part
        part = first


def _same_tensor(one: Expression, other: Expression) -> bool:
    return bool(one.tensor) and (one.tensor, one.own) == (other.tensor, other.own)


MISTAKES: tuple[Mistake, ...] = (
    another_call,
    _everywhere(missing),
    _everywhere(doubled),
    _everywhere(exchanged),
    _everywhere(reordered),
    _everywhere(scaled_dropout),
    _everywhere(wrong_statistics),
    _everywhere(wrong_weights),
    _everywhere(another_layout),
    _everywhere(another_activation),
    another_tensor,
    scaled,
    _everywhere(extra_activation),
)
