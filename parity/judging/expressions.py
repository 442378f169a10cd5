"""An expression: what a run computes of its recorded tensors. An experiment changes it, and looks what comes out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from parity.functions import MOVES, is_function
from parity.judging.moves import learned
from parity.judging.rules import RULES, NotComputedError
from parity.layers import Config, is_weighted, known
from parity.numerics.arrays import Array
from parity.tracing.trace import Call, Trace

# They change a tensor's shape only: the recorded shape says how.
_RESHAPES = {"reshape", "squeeze", "unsqueeze", "unflatten"}


@dataclass(frozen=True, eq=False)
class Expression:
    """A recorded tensor, or one call of other expressions.

    Attributes:
        name: Of the call, or of the call that the tensor comes from, for sentences.
        tensor: Of a recorded tensor: its name in the reference's trace; "" for a call.
        own: Whether `tensor` is of the candidate's trace itself.
        kind: Neutral kind of the call.
        config: Its neutral configuration.
        weights: By role, float64, in neutral form.
        operands: What it is called with.
        shape: Of its result where it was recorded.
        terms: As in Call.
        narrow: Whether its framework keeps some settings as float32, as Backend.double has all layers do.
        moved: Applied to the result: another layout of the same numbers, or another part.
    """

    name: str
    tensor: str = ""
    own: bool = False
    kind: str = ""
    config: Config = field(default_factory=dict)
    weights: Mapping[str, Array] = field(default_factory=dict)
    operands: tuple[Expression, ...] = ()
    shape: tuple[int, ...] = ()
    terms: int = 1
    moved: Callable[[Array], Array] | None = None
    narrow: bool = True

    def value(self, read: Callable[[Expression], Array]) -> Array:
        """Return what it computes, float64.

        Args:
            read: Returns a recorded tensor.

        Raises:
            NotComputedError: If there is no rule for it, or it cannot take these operands.
        """
        array = read(self) if self.tensor else self._computed([operand.value(read) for operand in self.operands])
        return array if self.moved is None else self.moved(array)

    def _computed(self, inputs: list[Array]) -> Array:
        if self.kind in MOVES and self.moved is not None:
            return inputs[0]
        if self.kind in _RESHAPES and len(inputs) == 1 and inputs[0].size == math.prod(self.shape):
            return inputs[0].reshape(self.shape)
        rule = RULES.get(self.kind)
        if rule is None:
            raise NotComputedError(self.kind)
        narrow = {  # as both frameworks keep them in a float64 run: Backend.double
            word: float(np.float32(self.config[word]))
            for word in known(self.kind).float32
            if self.narrow and isinstance(self.config.get(word), float)
        }
        try:
            with np.errstate(all="ignore"):
                return rule({**self.config, **narrow}, self.weights, inputs)
        except (ArithmeticError, AttributeError, LookupError, NotImplementedError, TypeError, ValueError) as error:
            raise NotComputedError(f"{self.kind}: {error}") from error

    def growth(self) -> float:
        """Return how far roundings may have grown in it, as `bounds.growth` does."""
        return math.sqrt(self._squares())

    def _squares(self) -> float:
        if self.tensor:
            return 0.0
        own = self.terms if is_weighted(self.config) else self.terms**2
        return own + sum(operand._squares() for operand in self.operands)

    def cost(self) -> int:
        """Return about how many products and sums it takes."""
        if self.tensor:
            return math.prod(self.shape)
        return math.prod(self.shape) * max(1, self.terms) + sum(operand.cost() for operand in self.operands)

    def kinds(self) -> Counter[str]:
        """Return how many calls of each kind it holds."""
        own = Counter[str]() if self.tensor else Counter([self.kind])
        return sum((operand.kinds() for operand in self.operands), own)

    def shapes(self) -> frozenset[tuple[int, ...]]:
        """Return the shapes of its recorded tensors."""
        own = frozenset([self.shape]) if self.tensor else frozenset[tuple[int, ...]]()
        return own.union(*(operand.shapes() for operand in self.operands))

    def leaves(self) -> frozenset[str]:
        """Return the names of the calls that its recorded tensors come from."""
        if self.tensor:
            return frozenset([self.name])
        return frozenset(name for operand in self.operands for name in operand.leaves())

    def rewritten(
        self, rule: Callable[[Expression], Iterator[tuple[str, Expression]]]
    ) -> Iterator[tuple[str, Expression]]:
        """Yield every expression that a rule makes of this one by changing one part of it, outermost first."""
        yield from rule(self)
        for i, operand in enumerate(self.operands):
            for words, other in operand.rewritten(rule):
                yield words, replace(self, operands=(*self.operands[:i], other, *self.operands[i + 1 :]))


def leaf(trace: Trace, tensor: str, name: str, own: bool = False) -> Expression:
    """Return a recorded tensor as an expression."""
    return Expression(name, tensor, own, shape=trace.shape(tensor))


def node(
    call: Call, trace: Trace, operands: tuple[Expression, ...], weights: Mapping[str, Array], output: int = 0
) -> Expression:
    """Return one output of a recorded call as an expression."""
    name = call.outputs[output] if call.outputs else ""
    move = learned(trace.tensor(call.inputs[0]), trace.tensor(name)) if _is_move(call) and name else None
    return Expression(
        call.layer,
        kind=call.kind,
        config=call.config,
        weights=weights,
        operands=operands,
        shape=trace.shape(name) if name else (),
        terms=call.terms,
        moved=None if move is None else move.apply,
        narrow=is_narrow(call, trace),
    )


def is_narrow(call: Call, trace: Trace) -> bool:
    """Return whether a call's framework keeps some of its settings as float32: torch's functions do not."""
    return not is_function(call.layer) or trace.manifest.get("framework") != "torch"


def _is_move(call: Call) -> bool:
    return call.kind in MOVES and call.kind not in _RESHAPES and len(call.inputs) == 1


def producers(trace: Trace) -> dict[str, Call]:
    """Return the innermost call that each tensor of a trace comes from."""
    found = dict[str, Call]()
    for call in trace.calls:
        if call.leaf:
            for name in call.outputs:
                if name not in call.inputs:
                    _ = found.setdefault(name, call)
    return found


def by_layer(weights: Mapping[str, Array]) -> dict[str, Mapping[str, Array]]:
    """Return weights by layer and role."""
    found = dict[str, dict[str, Array]]()
    for name in weights:
        layer, _, role = name.rpartition(".")
        found.setdefault(layer, {})[role] = weights[name]
    return dict(found)


def wide(weights: Mapping[str, Array]) -> dict[str, Array]:
    """Return weights in float64, by the same names."""
    return {role: array.astype(np.float64) for role, array in weights.items()}
