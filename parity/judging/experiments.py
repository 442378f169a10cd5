"""Experiments: mistakes are tried on recorded tensors until one gives exactly what the candidate has.

The reference's own computation, with one thing changed, is done on the candidate's recorded input; a mistake is proved
if the candidate's recorded output comes out, within the allowance of that one call. Two conditions keep a proof honest:
unchanged, the computation must give what the reference recorded, and must not give what the candidate did.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from parity.judging.comparison import PASSES, Comparison
from parity.judging.expressions import Expression, is_narrow, wide
from parity.judging.glue import Glue, between
from parity.judging.mistakes import Spot
from parity.judging.pairing import with_activation
from parity.judging.rules import ACTIVATIONS, NotComputedError
from parity.judging.trials import OnTry, Trials
from parity.numerics.arrays import Array
from parity.tracing.trace import Call, Trace

_ACTS = {kind.lower(): kind for kind in ACTIVATIONS}


class Experiments:
    """The experiments of one comparison."""

    def __init__(
        self,
        comparison: Comparison,
        reference: Trace,
        candidate: Trace,
        weights: Mapping[str, Array] | None,
        on_try: OnTry | None = None,
    ):
        """Prepare experiments.

        Args:
            comparison: One that is not ok.
            reference: The traces that it judged.
            candidate: Likewise.
            weights: The reference's; None where they are not at hand, as for a file.
            on_try: Called as OnTry says.
        """
        self.trials = Trials(comparison.names, reference, candidate, weights, on_try)
        self.agreeing = {layer.layer for layer in comparison.layers} - {
            layer.layer for layer in comparison.layers if layer.verdict not in PASSES
        }
        sides = [{call.key: call for call in trace.calls} for trace in (reference, candidate)]
        pairs = [
            (sides[0].get((a.layer, a.call)), sides[1].get((a.partner, a.partner_call))) for a in comparison.layers
        ]
        self.explained = {(a.layer, a.call) for a in comparison.layers if a.inputs_agree}
        self.pairs = [(one, other) for one, other in pairs if one is not None and other is not None]
        self.joined = [
            with_activation(pair, reference, candidate)[0] if "act" in {**pair[0].config, **pair[1].config} else pair
            for pair in self.pairs
        ]
        self.ends = {a: b for one, other in self.joined for a, b in zip(one.outputs, other.outputs, strict=False)}
        for one, other in self.pairs:
            self.ends |= zip(one.inputs, other.inputs, strict=False) if one.layer == "" else ()

    def shown(
        self, call: Call, partner: Call, settings: Mapping[str, object], weights: Mapping[str, Array | None]
    ) -> str:
        """Return what explains a pair of innermost calls, proved: the known differences, or a mistake beside them.

        Args:
            call: The reference's.
            partner: The candidate's.
            settings: Those that differ, as the candidate has them; "kind" is its kind.
            weights: The candidate's tensors that differ, by role; None for one that it lacks.

        Returns:
            " (proved: ...)" where the known differences explain all; "; what it is (proved: ...)" where a mistake of
            the table does, together with them; "" where nothing does.
        """
        trials = self.trials
        right, target = trials.whole(call, partner), trials.target(partner)
        if right is None or target is None or not trials.is_sound(right, call):
            return ""
        read = trials.reader(dict(zip(call.inputs, partner.inputs, strict=False)))
        behind = trials.reference.only_reader(call)
        act = _ACTS.get(str(partner.config.get("act"))) if "act" not in call.config else None
        act = act if behind is not None and behind.kind == act else None  # what the reference calls next
        inside = lambda part: part if act is None else Expression(act, kind=act, operands=(part,), shape=part.shape)
        if trials.reproduces(inside(right), target, read, partner, call.layer) is not None:
            return ""
        wrong = inside(_changed(right, partner, trials.candidate, settings, weights))
        if settings or weights:
            gap = trials.reproduces(wrong, target, read, partner, f"{call.layer}: what is known")
            if gap is not None:
                return f" (proved: with {_with(settings, weights)} {trials.outcome(gap)})"
        found = trials.first(Spot(wrong, None, target, (), read), partner, call.layer)
        return "" if found is None else f"; {found[0]} (proved: so {trials.outcome(found[2])})"

    def differs(self, call: Call, partner: Call | None) -> bool:
        """Return whether a pair of innermost calls computes different functions: of functions, which are not replayed.

        Where they take the same input the verdict shows it; where they do not, our own arithmetic does.
        """
        if partner is None or not (call.leaf and partner.leaf) or call.layer in self.agreeing:
            return False
        if call.kind != partner.kind:  # paired by their place, perhaps by mistake
            return False
        trials = self.trials
        right, target = trials.whole(call, partner), trials.target(partner)
        if right is None or target is None or trials.work < 2 * right.cost() or not trials.is_sound(right, call):
            return False
        trials.work -= right.cost()
        read = trials.reader(dict(zip(call.inputs, partner.inputs, strict=False)))
        try:
            value = right.value(read)
            finite = all(np.isfinite(read(operand)).all() for operand in right.operands)
        except NotComputedError:
            return False
        # A ReLU makes 0 of a NaN in one framework, and NaN in the other.
        differs = finite and trials.gap(right, value, target, partner) is None
        return differs and not self.is_another_form(call, partner)

    def is_another_form(self, call: Call, partner: Call | None) -> bool:
        """Return whether a call and what lies before it are one call of the candidate: a padding, and a convolution."""
        if partner is None or not (call.leaf and partner.leaf):
            return False
        whole, target = self.trials.behind(call, self.ends), self.trials.target(partner)
        if whole is None or target is None or all(part.tensor for part in whole.operands):
            return False
        read = self.trials.reader(self.ends)
        return self.trials.reproduces(whole, target, read, partner, call.layer) is not None

    def glue(self) -> list[Glue]:
        """Return the mistakes in the code between calls: where a call reads another tensor than it should."""
        return between(self.trials, self.joined, self.agreeing, self.explained)


def _changed(
    right: Expression,
    partner: Call,
    candidate: Trace,
    settings: Mapping[str, object],
    weights: Mapping[str, Array | None],
) -> Expression:
    """Return a call with the candidate's settings and weights where these differ."""
    config = partner.config if "kind" in settings else {**right.config, **settings}
    kept = {role: array for role, array in right.weights.items() if role not in weights}
    given = wide({role: array for role, array in weights.items() if array is not None})
    narrow = is_narrow(partner, candidate) if settings else right.narrow
    wrong = replace(right, config=config, weights={**kept, **given}, narrow=narrow)
    if "kind" not in settings:
        return wrong
    return replace(wrong, kind=str(settings["kind"]), moved=None, shape=candidate.shape(partner.outputs[0]))


def _with(changes: Mapping[str, object], weights: Mapping[str, Array | None]) -> str:
    """Return what was changed: "eps=0.001 and this weight"."""
    words = [str(value) if word == "kind" else f"{word}={value}" for word, value in changes.items()]
    changed = [role for role, array in weights.items() if array is not None]
    words += [f"{'this' if len(changed) == 1 else 'these'} {' and '.join(changed)}"] if changed else []
    words += [f"no {role}" for role, array in weights.items() if array is None]
    return " and ".join(words)
