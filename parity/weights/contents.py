"""What is in a file of weights: its sets of weights, their tensors, and what lies beside them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from parity.weights import unwrap
from parity.weights.checkpoint import Checkpoint, open_weights, shown_layout

_WROTE = {"torch": "torch.save wrote it", "paddle": "paddle.save wrote it, or its name says so"}


@dataclass(frozen=True)
class Tensor:
    """A tensor of a file: its name, shape and dtype there, "bfloat16" too, and its bytes."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int


@dataclass(frozen=True)
class Contents:
    """What is in a file of weights.

    Attributes:
        file: Its path.
        kind: What it is, in words.
        key: Of the weights that are listed; "" for those of the file itself; None where there are several to choose of.
        sets: How many tensors each set of weights has, by key.
        tensors: Of the set `key`, in the file's order.
        layout: Whose orientation the Linear weights have, "torch" or "paddle"; None where nothing shows it.
        why: What shows it.
        beside: What else there is, in words, by key.
    """

    file: str
    kind: str
    key: str | None
    sets: dict[str, int]
    tensors: tuple[Tensor, ...]
    layout: str | None
    why: str
    beside: dict[str, str]

    @property
    def numbers(self) -> int:
        """Return how many numbers the tensors have."""
        return sum(int(np.prod(tensor.shape, dtype=object)) for tensor in self.tensors)

    @property
    def bytes(self) -> int:
        """Return their size in the file."""
        return sum(tensor.bytes for tensor in self.tensors)


def contents(path: str | os.PathLike[str], key: str | None = None) -> Contents:
    """Return what is in a file of weights; nothing in it is run, and no framework is needed.

    Args:
        path: As for `checkpoint.open_weights`.
        key: Which weights to list, where there are several.

    Raises:
        ParityError: If the file is damaged, hostile or another kind of file, or has no weights of that key.
    """
    opened = open_weights(path)
    found = opened.candidates()
    opened.check()
    sets = {name: len(tensors) for name, tensors in found.items()}
    if key is None and len(found) > 1:
        layout, why = _layout(opened, {name: None for tensors in found.values() for name in tensors})
        beside = {name: words for name, words in unwrap.beside(opened.tree, None).items() if name not in found}
        return Contents(str(path), opened.kind, None, sets, (), layout, why, beside)
    chosen, arrays = opened.choose(key)
    dtypes = {name: leaf.dtype for name, leaf in unwrap.choose(found, key)[1].items()}
    tensors = tuple(
        Tensor(name, array.shape, dtypes[name], array.nbytes // (2 if dtypes[name] == "bfloat16" else 1))
        for name, array in arrays.items()
    )
    layout, why = _layout(opened, arrays)
    return Contents(str(path), opened.kind, chosen, sets, tensors, layout, why, unwrap.beside(opened.tree, chosen))


def _layout(opened: Checkpoint, names: dict[str, Any]) -> tuple[str | None, str]:
    if opened.framework != "neutral":
        return opened.framework, _WROTE[opened.framework]
    return shown_layout(names, opened.metadata)
