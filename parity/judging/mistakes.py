"""The one table of porting mistakes: what each says, where it applies, and what it makes of the right computation.

`judging.trials` tries them on an expression; those of one tensor of weights are in `weight_mistakes`. A new one is a
short function and a line of MISTAKES here, a line in docs/contract.md, and a test in
tests/judging/test_proved_forwards.py.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from parity.functions import MOVES
from parity.judging.expressions import Expression
from parity.judging.moves import learned
from parity.judging.rules import ACTIVATIONS
from parity.judging.weight_mistakes import WEIGHTS
from parity.layers import is_weighted, known
from parity.numerics.arrays import Array
from parity.tracing.trace import Call

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
    """An activation, a normalisation, a pooling, or several in a row; a branch of a sum; a gate."""
    if len(part.operands) == 1 and part.kind != "Identity":
        inner, names, kinds = part, list[str](), list[str]()
        while len(inner.operands) == 1:
            names.append(f"{called(inner)} ({inner.kind})")
            kinds.append(inner.kind)
            inner = inner.operands[0]
            shuffle = "the channel shuffle: " if kinds == ["reshape", "permute", "reshape"] else ""
            yield f"{shuffle}{' and '.join(names[::-1])} {'is' if len(names) == 1 else 'are'} missing", inner
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
        yield f"{called(part)} ({part.kind}) comes before {called(inner)} ({inner.kind}), not after it", swapped


def another_activation(part: Expression) -> Tries:
    """ReLU6 for ReLU, a sigmoid for a hard one."""
    if known(part.kind).pointwise and len(part.operands) == 1:
        for kind in ACTIVATIONS:
            if kind != part.kind:
                yield f"{called(part)} is {kind} in place of {part.kind}", replace(part, kind=kind, config={})


# Functions of the same operands that are taken for each other.
_OTHERS = {
    "AdaptiveAvgPool2d": ("AdaptiveMaxPool2d",),
    "AdaptiveMaxPool2d": ("AdaptiveAvgPool2d",),
    "AvgPool2d": ("MaxPool2d",),
    "MaxPool2d": ("AvgPool2d",),
    "Mean": ("Max", "Sum"),
    "Max": ("Mean",),
    "Sum": ("Mean",),
    "Add": ("Mul", "Sub", "Maximum"),
    "Mul": ("Add", "Div"),
    "Sub": ("Add", "RSub"),
    "Div": ("Mul", "RDiv"),
    "Softmax": ("LogSoftmax", "Sigmoid"),
}


def another_function(part: Expression) -> Tries:
    """The largest number in place of the mean, a sum in place of a product."""
    for kind in _OTHERS.get(part.kind, ()):
        yield f"{called(part)} is {kind} in place of {part.kind}", replace(part, kind=kind)


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
    for term, put in _terms(spot.right) if spot.right.kind == "Add" and whole.shape == spot.target.shape else ():
        value = term.value(spot.read)
        if value.shape == whole.shape and (factor := _fitted(spot.target - (whole - value), value)) is not None:
            twice = "is added twice" if math.isclose(factor, 2, rel_tol=1e-9) else f"is scaled by {factor:.6g}"
            yield f"{called(term)} {twice}", put(_times(term, factor))


def _terms(part: Expression) -> Iterator[tuple[Expression, Callable[[Expression], Expression]]]:
    """Yield the terms of a sum, of a sum of sums too, each with what puts another in its place."""
    if part.kind != "Add" or len(part.operands) != 2:
        yield part, lambda other: other
        return
    one, two = part.operands
    for term, put in _terms(one):
        yield term, lambda other, put=put: replace(part, operands=(put(other), two))
    for term, put in _terms(two):
        yield term, lambda other, put=put: replace(part, operands=(one, put(other)))


def dropped(spot: Spot) -> Tries:
    """A dropout or a drop path that is on: some numbers are 0, the others are larger."""
    value = spot.right.value(spot.read)
    if value.shape != spot.target.shape:
        return
    zero = (spot.target == 0) & (value != 0)
    factor = _fitted(spot.target, np.where(zero, 0, value)) if zero.any() else None
    if factor is not None and factor > 1.001:
        words = f"{zero.mean():.0%} of its numbers are 0, the others times {factor:.6g}"
        yield (
            f"{called(spot.right)} goes through a dropout that is on: {words}",
            then(spot.right, lambda array: np.where(zero, 0, array * factor)),
        )


def then(part: Expression, function: Callable[[Array], Array]) -> Expression:
    """Return what a function makes of an expression's result."""
    return Expression(part.name, kind="Identity", operands=(part,), shape=part.shape, moved=function)


# Kinds of calls that change no number.
MOVING = MOVES | {"ChannelShuffle", "PixelShuffle", "PixelUnshuffle", "Flatten"}


def moves_otherwise(call: Call, partner: Call) -> bool:
    """Return whether two calls move numbers in different ways: a shuffle, and the last reshape of one."""
    return call.kind != partner.kind and {call.kind, partner.kind} <= MOVING


def rearranged(spot: Spot) -> Tries:
    """Another part of a tensor that is cut, channels in another order: what no call computes, but moves."""
    parts = [spot.right]
    while parts[-1].kind in MOVING and len(parts[-1].operands) == 1:
        parts.append(parts[-1].operands[0])
    whole = parts[0].value(spot.read)
    for part in parts[::-1]:  # what is moved first: the simplest words
        value = whole if part is parts[0] else part.value(spot.read)
        move, own = learned(value, spot.target), learned(value, whole)
        if move is not None:
            rather = f" in place of {own.words}" if own is not None and part is not parts[0] else ""
            yield f"of {called(part)}, {move.words} are taken{rather}", then(part, move.apply)


def reshaped(spot: Spot) -> Tries:
    """A reshape to other sizes, or in place of a permutation."""
    part = spot.right
    if part.kind in MOVING and len(part.operands) == 1:
        made = replace(part, kind="reshape", moved=None, shape=spot.target.shape)
        rather = part.shape if part.kind == "reshape" else f"a {part.kind} to {part.shape}"
        yield f"{called(part)} is a reshape to {spot.target.shape} in place of {rather}", made


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
            if (role in ("weight", "bias") or mistake.roles) and (made := mistake.made(role, array)) is not None:
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
        held = [operand for operand in part.operands if _same_tensor(operand, spot.right)][:1]
        if len(names) <= 3 and held:
            more = [called(operand) for operand in part.operands if operand is not held[0]]
            of = f" with {', '.join(more)}" if more else ""
            yield f"{' of '.join(names)}{of} is applied, which the reference does not do", spot.actual or part
        part = part.operands[0]


def _same_tensor(one: Expression, other: Expression) -> bool:
    return bool(one.tensor) and (one.tensor, one.own) == (other.tensor, other.own)


MISTAKES: tuple[Mistake, ...] = (
    _everywhere(another_layout),  # before the calls that do it
    another_call,
    _everywhere(missing),
    _everywhere(doubled),
    _everywhere(exchanged),
    _everywhere(reordered),
    _everywhere(scaled_dropout),
    _everywhere(wrong_statistics),
    _everywhere(wrong_weights),
    _everywhere(another_activation),
    _everywhere(another_function),
    reshaped,
    scaled,
    rearranged,
    another_tensor,
    _everywhere(extra_activation),
    dropped,
)
