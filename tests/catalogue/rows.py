"""What a row of the catalogue is: a pair of networks, and what a tool should say of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from catalogue.sources import Edit

Weights = dict[str, np.ndarray]


@dataclass(frozen=True)
class Planted:
    """Where a mistake is, and words that name it.

    Attributes:
        where: Regular expression for the reference's layers that may be blamed.
        words: Regular expression that the explanation should hold, case ignored.
    """

    where: str
    words: str


@dataclass(frozen=True)
class Row:
    """A pair.

    Attributes:
        kind: What is wrong, in a word or two; for a right pair, what is written in another way.
        network: A class of networks.py, which is the reference.
        style: How the candidate is written: "same", "renamed", "regrouped".
        edits: What is typed in place of what is right.
        planted: The mistakes; none in a right pair.
        pair: Frameworks of reference and candidate.
        weights: Changes the candidate's weights, by the reference's names; then nothing is transferred.
        mode: "eval", "gradients" or "train".
        refusal: Whether a refusal to pair the weights that names the layer counts as an answer.
        options: Of the network, such as its depth.
        reference: What is typed into the reference, in its framework's words.
    """

    kind: str
    network: str
    style: str
    edits: tuple[Edit, ...] = ()
    planted: tuple[Planted, ...] = ()
    pair: str = "torch/paddle"
    weights: Callable[[Weights], object] | None = None
    mode: str = "eval"
    refusal: bool = False
    options: Mapping[str, object] = field(default_factory=dict)
    reference: tuple[Edit, ...] = ()

    @property
    def name(self) -> str:
        """Return what to call it in a report."""
        return f"{self.kind}: {self.network}, {self.style}, {self.pair}, {self.mode}"


def edits_of(*changes: Sequence[str]) -> tuple[Edit, ...]:
    """Return edits from rows of class, old and new text."""
    return tuple(Edit(*change) for change in changes)


def plant(kind, network, style, change, where, words, **more) -> Row:
    """Return a row with one mistake: `change` is one edit's class, old and new text, or a list of them, or None."""
    changes = [] if change is None else [change] if isinstance(change[0], str) else change
    return Row(kind, network, style, edits_of(*changes), (Planted(where, words),), **more)
