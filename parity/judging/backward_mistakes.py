"""The one table of wrong backwards: what each says, where it applies, and what it makes of the right gradient.

`judging.backward` tries them. A new one is a line here, one in docs/contract.md, and a test in
tests/judging/test_proved_gradients.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from parity.judging.derivatives import SLOPES, Passing
from parity.numerics.arrays import Array

_FEW = 8  # elements that prove no factor


@dataclass(frozen=True)
class Term:
    """What one call passes back, and what it should be for the sum to come out.

    Attributes:
        right: By the rules.
        wanted: The rest of the candidate's gradient, without the other terms.
        passing: The call with its tensors; None for a whole sum.
    """

    right: Array
    wanted: Array
    passing: Passing | None

    @property
    def incoming(self) -> Array | None:
        """Return the gradient behind the call, in the shape of its input; None where the shapes differ."""
        gradient = None if self.passing is None else self.passing.gradient
        return gradient.reshape(self.right.shape) if gradient is not None and gradient.size == self.right.size else None


@dataclass(frozen=True)
class Mistake:
    """A wrong backward.

    Attributes:
        says: What it does, with {} for its number.
        make: Returns what is passed back, and the number, or None where it does not apply.
    """

    says: str
    make: Callable[[Term], tuple[Array | None, float]]


def _fitted(wanted: Array, value: Array | None) -> tuple[Array | None, float]:
    """Return an array times the factor that brings it nearest to another."""
    square = 0.0 if value is None else float(np.vdot(value, value))
    if value is None or not square or value.size < _FEW:
        return None, 0.0
    factor = float(np.vdot(value, wanted)) / square
    return value * factor, factor


def _clipped(term: Term) -> tuple[Array | None, float]:
    limit = float(np.abs(term.wanted).max())
    return (np.clip(term.right, -limit, limit), limit) if limit < np.abs(term.right).max() else (None, 0.0)


def _applied(function: Callable[[Array], Array], to: str = "right") -> Callable[[Term], tuple[Array | None, float]]:
    def make(term: Term) -> tuple[Array | None, float]:
        value = getattr(term, to)
        return (None, 0.0) if value is None else (function(value), 0.0)

    return make


def _before(function: Callable[[Array], Array]) -> Callable[[Term], tuple[Array | None, float]]:
    """Return a mistake in the gradient that a call is given, as by a hook on its output."""

    def make(term: Term) -> tuple[Array | None, float]:
        call = term.passing
        if call is None:
            return None, 0.0
        return replace(call, gradients=[function(each) for each in call.gradients]).back(), 0.0

    return make


def _rounded(dtype: type[np.floating[Any]]) -> Callable[[Array], Array]:
    return lambda array: array.astype(dtype).astype(array.dtype)


def _slope(kind: str) -> Callable[[Term], tuple[Array | None, float]]:
    def make(term: Term) -> tuple[Array | None, float]:
        call, incoming = term.passing, term.incoming
        if call is None or incoming is None or call.kind not in SLOPES or call.kind == kind:
            return None, 0.0
        return incoming * SLOPES[kind](call.x, {}), 0.0

    return make


def _of_constants(term: Term) -> tuple[Array | None, float]:
    """Return what a normalisation passes back whose statistics have no gradient."""
    call = term.passing
    if call is None or "training" not in call.config or not call.kind.startswith("BatchNorm"):
        return None, 0.0
    axes = (0, *range(2, call.x.ndim))
    held = {**call.weights, "running_var": call.x.var(axes), "running_mean": call.x.mean(axes)}
    return replace(call, config={**call.config, "training": False}, weights=held).back(), 0.0


def _unmasked(term: Term) -> tuple[Array | None, float]:
    """Return what is passed back through the places alone where the gradient behind is positive: guided backward."""
    incoming = term.incoming
    return (None, 0.0) if incoming is None else (term.right * (incoming > 0), 0.0)


BACKWARD_MISTAKES = (
    Mistake("passes no gradient on", _applied(np.zeros_like)),
    Mistake("passes the gradient of its output on unchanged (straight-through)", _applied(np.copy, "incoming")),
    Mistake("passes the gradient on with the wrong sign", _applied(np.negative)),
    Mistake("scales the gradient by {:g}", lambda term: _fitted(term.wanted, term.right)),
    Mistake("passes the gradient of its output on {:g} times", lambda term: _fitted(term.wanted, term.incoming)),
    Mistake("clips the gradient to {:g}", _clipped),
    Mistake("passes on the sign of the gradient alone", _applied(np.sign)),
    Mistake("passes on the sign of the gradient of its output alone", _applied(np.sign, "incoming")),
    Mistake("takes the batch's statistics for constants", _of_constants),
    Mistake("passes on positive gradients alone", _unmasked),
    Mistake("rounds the gradient to float16", _applied(_rounded(np.float16))),
    Mistake("rounds the gradient of its output to float16", _before(_rounded(np.float16))),
    Mistake("rounds the gradient to float32", _applied(_rounded(np.float32))),
    Mistake("rounds the gradient of its output to float32", _before(_rounded(np.float32))),
    Mistake("takes the sign of the gradient of its output alone", _before(np.sign)),
    *(Mistake(f"has the backward of {kind}", _slope(kind)) for kind in SLOPES),
)
