"""Comparison: the judgement of two Traces as plain frozen data, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from parity.functions import counted
from parity.json_codec import decode, encode
from parity.printable import printable

SCHEMA = 1
VERDICTS = ("exact", "rounding", "precision", "different", "invalid")
PASSES = VERDICTS[:2]


@dataclass(frozen=True)
class Layer:
    """The judgement of one layer call.

    Attributes:
        layer: Dotted path; "" is the network itself.
        call: 0 for the layer's first call.
        kind: Neutral kind.
        leaf: Whether no other call was recorded within it.
        shape: Shape of its (first) output.
        verdict: One of VERDICTS.
        reason: Why, in words; "" for a pass.
        distance: float64: worst element over the root mean square, candidate against reference.
        allowance: The largest `distance` that rounding explains.
        noise: float32 error against the own float64 run, reference and candidate, in units of roundoff (2**-24).
        bound: The largest `noise` that arithmetic explains, in the same units.
        inputs_agree: Whether its float64 inputs were within their allowance.
        partner: Dotted path of the candidate's layer it was paired with.
        partner_call: Which of that layer's calls.
    """

    layer: str
    call: int
    kind: str
    leaf: bool
    shape: tuple[int, ...]
    verdict: str
    reason: str
    distance: float
    allowance: float
    noise: tuple[float, float]
    bound: float
    inputs_agree: bool
    partner: str = ""
    partner_call: int = 0


@dataclass(frozen=True)
class Divergence:
    """Where the two networks diverge.

    Attributes:
        layer: Dotted path.
        call: 0 for the layer's first call.
        where: "inside" the layer: its inputs agree, its output does not; or "between" it and the layers before: no
            output before it differs, its input does, so the code that calls it is wrong.
    """

    layer: str
    call: int
    where: str


@dataclass(frozen=True)
class Culprit:
    """A layer whose own function differs, and why."""

    layer: str
    explanation: str


@dataclass(frozen=True, repr=False)
class Comparison:
    """The judgement of two Traces.

    Attributes:
        network: What was compared.
        verdict: The worst of the layers' verdicts, one of VERDICTS.
        layers: Every paired layer call, in the reference's order.
        first_divergence: Where the two diverge, None if they do not.
        culprits: Every layer whose own function differs; empty for a pass.
        unmatched: Layers without a partner, "reference" and "candidate".
        reference: The reference's manifest.
        candidate: The candidate's manifest.
        notes: What holds for the whole network: weights that differ, TF32, nothing compared.
    """

    network: str
    verdict: str
    layers: tuple[Layer, ...]
    first_divergence: Divergence | None
    culprits: tuple[Culprit, ...]
    unmatched: Mapping[str, tuple[str, ...]]
    reference: Mapping[str, Any]
    candidate: Mapping[str, Any]
    notes: tuple[str, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Return whether the two compute the same function as precisely as arithmetic allows."""
        return self.verdict in PASSES

    @property
    def names(self) -> tuple[str, str]:
        """Return what to call the two: their frameworks, or "reference" and "candidate" where those are the same."""
        return names_of(self.reference, self.candidate)

    @property
    def partners(self) -> dict[str, str]:
        """Return the candidate's layer of each of the reference's layers that has one."""
        return {layer.layer: layer.partner for layer in self.layers}

    def to_json(self) -> str:
        """Return the comparison as strict JSON, schema 1 of docs/contract.md; infinity and NaN are strings."""
        return json.dumps({"schema": SCHEMA, "ok": self.ok, **encode(self)}, indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Comparison:
        """Return what `to_json` wrote.

        Raises:
            ValueError: If the text is no comparison of this schema; naming the field that is wrong.
        """
        fields = json.loads(text)
        if not isinstance(fields, dict) or fields.pop("schema", None) != SCHEMA:
            raise ValueError(f"no comparison of schema {SCHEMA}")
        _ = fields.pop("ok", None)  # follows from the verdict
        return decode(cls, fields)

    def __repr__(self) -> str:
        counts = f"layer calls: {len(self.layers)}, culprits: {len(self.culprits)}"
        return printable(f"<Comparison {self.network}: {self.verdict}, {counts}>")

    def __str__(self) -> str:
        return text(self)


def names_of(reference: Mapping[str, Any], candidate: Mapping[str, Any]) -> tuple[str, str]:
    """Return what to call two runs by their manifests, as `Comparison.names` does."""
    names = str(reference.get("framework")), str(candidate.get("framework"))
    return names if names[0] != names[1] else ("reference", "candidate")


_PLACES = {
    "inside": "its inputs agree, its output does not",
    "settings": "its settings differ, its output on this input does not",
    "between": "all outputs so far agree, its input does not",
    "first": "nothing before it was compared, its input does not agree",
    "forward": "what it calls agrees, its output does not: its own forward code is wrong",
    "alone": "nothing it calls was compared, its output does not agree",
}


def text(comparison: Comparison) -> str:
    """Return the report as plain text: the verdict, then the reasons; without the table."""
    return "\n".join([summary(comparison), *lines(comparison)])


def lines(comparison: Comparison) -> list[str]:
    """Return the reasons for the verdict: notes, unmatched layers, first divergence, culprits."""
    reasons = [f"note: {note}" for note in comparison.notes]
    for role, names in comparison.unmatched.items():
        if names:
            more = f" and {len(names) - 8} more" if len(names) > 8 else ""
            reasons.append(f"only in the {role}: {', '.join(names[:8])}{more}")
    divergence = comparison.first_divergence
    if divergence is not None:
        layer = next(
            layer for layer in comparison.layers if (layer.layer, layer.call) == (divergence.layer, divergence.call)
        )
        place = _PLACES[_place(comparison, layer, divergence.where)]
        reasons.append(f"first divergence: {divergence.where} {layer.layer or '(network)'}: {place}")
        reasons += [f"  {layer.reason}"] if layer.reason else []
    reasons += [f"culprit: {culprit.layer or '(network)'}: {culprit.explanation}" for culprit in comparison.culprits]
    return list(map(printable, reasons))


def _place(comparison: Comparison, layer: Layer, where: str) -> str:
    if layer.reason.endswith(SAME_OUTPUT):
        return "settings"
    if not layer.leaf:
        return "forward" if layers_within(comparison, layer.layer) else "alone"
    return "first" if where == "between" and layer is comparison.layers[0] else where


def layers_within(comparison: Comparison, layer: str) -> list[Layer]:
    """Return the compared calls of all layers within a layer, given by its dotted path."""
    return [inner for inner in comparison.layers if is_within(inner.layer, layer)]


def is_within(inner: str, layer: str) -> bool:
    """Return whether a dotted path lies below another; "" is the network itself."""
    return inner.startswith(f"{layer}.") if layer else inner != ""


def summary(comparison: Comparison) -> str:
    """Return the verdict and its main reason, in one line."""
    return printable(_summary(comparison))


def _summary(comparison: Comparison) -> str:
    leaves = [layer for layer in comparison.layers if layer.leaf]
    start = f"{comparison.network}: {comparison.verdict}:"
    if comparison.ok:
        worst = max((layer.distance for layer in comparison.layers), default=0.0)
        noise = [max((layer.noise[i] for layer in comparison.layers), default=0.0) for i in range(2)]
        calls = counted(layer.layer for layer in leaves)
        return (
            f"{start} {calls} are the same function (worst float64 distance {worst:.1e}); "
            f"float32 noise: {comparison.names[0]} {noise[0]:.0f}u, {comparison.names[1]} {noise[1]:.0f}u."
        )
    if comparison.culprits:
        first, *others = comparison.culprits
        more = f" ({len(others)} more)" if others else ""
        return f"{start} {first.layer or 'the network'}: {first.explanation}{more}."
    return f"{start} {'; '.join(comparison.notes) or 'see the first divergence'}."


SAME_OUTPUT = "same output on this input"
