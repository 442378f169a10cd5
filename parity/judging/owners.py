"""Pair the layers that own parameters and statistics where a layer of one side is paired with a function of the other.

A BatchNorm of the framework's own and one that calls `F.batch_norm` compute the same by other calls: the layer and the
function are partners, and what training changes belongs to the layers.
"""

from __future__ import annotations

from collections.abc import Sequence

from parity.functions import caller_of, is_function
from parity.tracing.trace import Call, Trace


def owners(
    reference: Trace, candidate: Trace, pairs: Sequence[tuple[Call, Call]]
) -> dict[tuple[str, int], tuple[Call, Call]]:
    """Return the pair of owning layers for each pair of calls of which one alone is a function's.

    Args:
        reference: The run held to be right.
        candidate: The run to judge.
        pairs: Their calls.

    Returns:
        By the key of the pair's call in the reference; a layer that has a partner of its own is in no such pair.
    """
    found = dict[tuple[str, int], tuple[Call, Call]]()
    calls = [{call.key: call for call in trace.calls} for trace in (reference, candidate)]
    paired = [{pair[side].key for pair in pairs} for side in (0, 1)]
    for pair in pairs:
        functions = [is_function(call.layer) for call in pair]
        if functions[0] != functions[1]:
            side = functions.index(True)
            owner = calls[side].get((caller_of(pair[side].layer), pair[1 - side].number))
            if owner is not None and owner.key not in paired[side]:
                found[pair[0].key] = (owner, pair[1]) if side == 0 else (pair[0], owner)
    return found
