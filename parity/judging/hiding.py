"""Find the differences that a later call hides on this input: a pooling takes the largest, a ReLU drops negatives.

As a rule, a pair whose result agrees further on was paired by mistake: `x * 0.5 * 4` is `x * 2`, and what lies between
has no partner. It is another thing where both networks go on by the same functions of that one tensor: then these hide
a difference, and another input may show it.
"""

from __future__ import annotations

from collections.abc import Sequence

from parity.judging.comparison import PASSES, Layer
from parity.layers import differing_settings
from parity.tracing.trace import Call, Trace

Pairs = Sequence[tuple[Call, Call]]


def is_hidden(index: int, pairs: Pairs, judged: Sequence[Layer], reference: Trace) -> bool:
    """Return whether a pair takes the same input and gives another result, which a later pair hides.

    Args:
        index: Which of the pairs.
        pairs: All pairs, in the reference's order.
        judged: Their judgements, likewise.
        reference: The run held to be right.
    """
    layer, (a, b) = judged[index], pairs[index]
    alike = layer.leaf and layer.inputs_agree and len(a.inputs) == len(b.inputs) == 1
    if not alike or layer.verdict != "different":
        return False
    for later in range(index + 1, len(pairs)):
        c, d = pairs[later]
        if c.inputs[:1] == a.outputs and d.inputs[:1] == b.outputs and _are_same(c, d, reference):
            if judged[later].verdict in PASSES:
                return True
            a, b = c, d
    return False


def _are_same(a: Call, b: Call, reference: Trace) -> bool:
    """Return whether two calls of one tensor are the same function of it."""
    if not (a.leaf and b.leaf and a.kind == b.kind and len(a.inputs) == len(b.inputs) == 1):
        return False
    return not differing_settings((a.kind, a.config), (b.kind, b.config), len(reference.shape(a.inputs[0])))[0]
