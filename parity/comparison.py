"""Comparison: the judgement of two Traces as plain frozen data, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from parity.json_codec import decode, encode

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
        leaf: Whether it holds no layers of its own.
        shape: Shape of its (first) output.
        verdict: One of VERDICTS.
        reason: What is wrong, in words; "" for a pass.
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
    """Where the two networks part.

    Attributes:
        layer: Dotted path.
        call: 0 for the layer's first call.
        where: "inside" the layer: its inputs agree, its output does not; or "between" it and the layers before: all
            outputs so far agree, its input does not, so the code that calls it is to blame.
    """

    layer: str
    call: int
    where: str


@dataclass(frozen=True)
class Culprit:
    """A layer that is wrong in itself, and why."""

    layer: str
    explanation: str


@dataclass(frozen=True)
class Comparison:
    """The judgement of two Traces.

    Attributes:
        network: What was compared.
        verdict: The worst of the layers' verdicts, one of VERDICTS.
        layers: Every paired layer call, in the reference's order.
        first_divergence: Where the two part, None if they do not.
        culprits: Every layer that is wrong in itself; empty for a pass.
        unmatched: Layers without a partner, "reference" and "candidate".
        reference: The reference's manifest.
        candidate: The candidate's manifest.
        notes: What holds for the whole: weights that differ, TF32, nothing compared.
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
    def sides(self) -> tuple[str, str]:
        """Return what to call the two: their frameworks, or "reference" and "candidate" where those are the same."""
        return names_of(self.reference, self.candidate)

    def to_json(self) -> str:
        """Return the comparison as strict JSON, schema 1 of docs/contract.md; infinity and NaN are strings."""
        return json.dumps({"schema": SCHEMA, "ok": self.ok, **encode(self)}, indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Comparison:
        """Return what `to_json` wrote.

        Raises:
            ValueError: If the text is no comparison of this schema; naming the field that is wrong.
        """
        found = json.loads(text)
        if not isinstance(found, dict) or found.pop("schema", None) != SCHEMA:
            raise ValueError(f"no comparison of schema {SCHEMA}")
        _ = found.pop("ok", None)  # follows from the verdict
        return decode(cls, found)

    def __str__(self) -> str:
        from parity.report import text

        return text(self)


def names_of(reference: Mapping[str, Any], candidate: Mapping[str, Any]) -> tuple[str, str]:
    """Return what to call two runs by their manifests, as `Comparison.sides` does."""
    names = str(reference.get("framework")), str(candidate.get("framework"))
    return names if names[0] != names[1] else ("reference", "candidate")
