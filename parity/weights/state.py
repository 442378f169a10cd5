"""State: a network's weights in neutral form, and the check that they fit a network."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parity.atomic import atomic
from parity.errors import ParityError
from parity.numerics.arrays import Array, pieces, same_bits
from parity.safetensors_file import Writer, header_size, mapped


@dataclass(frozen=True)
class Slot:
    """A place for one tensor in a network.

    Attributes:
        shape: Neutral shape: torch's orientation, a linear weight is (out, in).
        kind: Neutral kind of the layer that owns it, "Conv2d".
        role: Its name within that layer, "weight", "bias", "running_mean".
        tied: If layers share the tensor and this is a later name of it, its first name; else "".
        transposed: Whether, in neutral form, it is `tied` transposed: Paddle's Embedding and Linear may share one.
        buffer: Whether it is a constant that the network makes itself, a blur kernel; BatchNorm's statistics are none.
    """

    shape: tuple[int, ...]
    kind: str
    role: str
    tied: str = ""
    transposed: bool = False
    buffer: bool = False


class State(Mapping[str, Array]):
    """Weights as an ordered mapping of neutral name to numpy array: torch's names and orientation.

    A tensor that layers share is listed under each of its names; in a State read from a network these are one array.

    Example:
        >>> import numpy as np
        >>> state = State({"fc.weight": np.ones((10, 4), np.float32), "fc.bias": np.zeros(10, np.float32)})
        >>> list(state), state["fc.weight"].shape
        (['fc.weight', 'fc.bias'], (10, 4))
        >>> state.differences({**state, "fc.bias": np.ones(10, np.float32)})
        ['fc.bias']
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     state.save(f"{folder}/fc.safetensors")
        ...     State.load(f"{folder}/fc.safetensors").digest() == state.digest()
        True
    """

    def __init__(self, tensors: Mapping[str, Array], buffers: Iterable[str] = ()):
        self._tensors = dict(tensors)
        self.buffers = frozenset(buffers)  # those known to be constants of the network that they come from

    def __getitem__(self, name: str) -> Array:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def digest(self) -> str:
        """Return the SHA-256 (hex) of names, dtypes, shapes and bytes; the order of the tensors does not matter."""
        total = hashlib.sha256()
        for name, array in sorted(self.items()):
            total.update(_label(name, array))
            for piece in pieces(array):
                total.update(piece)
        return total.hexdigest()

    def differences(self, other: Mapping[str, Array]) -> list[str]:
        """Return the sorted names whose tensors differ in any bit, or that one of the two lacks."""
        return sorted(
            name
            for name in {*self, *other}
            if name not in self or name not in other or not same_bits(self[name], other[name])
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file, whole or not at all, with the digest in its metadata.

        Raises:
            ParityError: If the file cannot be written.
        """
        with atomic(path) as part:
            self.write(part)

    def write(self, path: Path) -> None:
        """Do what `save` does, but an error leaves a part of the file; tensors are streamed, never copied as a whole.

        Raises:
            ParityError: If safetensors has no such dtype.
        """
        names = sorted(self, key=lambda name: (-self[name].itemsize, name))  # each is aligned then
        one_pass = names == sorted(self)  # the digest is computed while writing
        digest, total = "0" * 64 if one_pass else self.digest(), hashlib.sha256()
        metadata = {"sha256": digest, "order": json.dumps(list(self))}
        with Writer(path, header_size(self, names, metadata)) as writer:
            for name in names:
                total.update(_label(name, self[name]))
                writer.add(name, self[name], total.update if one_pass else None)
            writer.finish({**metadata, "sha256": total.hexdigest() if one_pass else digest})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> State:
        """Return the State of a safetensors file; the digest of one that `save` wrote is checked.

        Raises:
            ParityError: If the file is no safetensors file, is truncated, or its bits have changed since it was saved.
        """
        views, metadata = open_tensors(path)
        state = cls({name: view.copy() for name, view in views.items()})
        if "sha256" in metadata and metadata["sha256"] != state.digest():
            raise ParityError(f"{path}: damaged: its bits have changed since it was saved. Get the file again.")
        return state


def _label(name: str, array: Array) -> bytes:
    return json.dumps([name, array.dtype.str, array.shape]).encode()


def open_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Array], dict[str, str]]:
    """Return a safetensors file's tensors in the layers' order, as `mapped` does, and its metadata.

    Raises:
        ParityError: As `State.load` does, except that the digest is not checked.
    """
    tensors, metadata = mapped(path)
    return {name: tensors[name] for name in _ordered(list(tensors), metadata.get("order", ""))}, metadata


def _ordered(names: list[str], saved_order: str) -> list[str]:
    """Return the names in the layers' order, which `save` stores as metadata: safetensors sorts by dtype and name."""
    try:
        order = json.loads(saved_order)
    except (ValueError, RecursionError):
        return names  # no order, or another program's
    known = isinstance(order, list) and all(isinstance(name, str) for name in order)
    return order if known and sorted(order) == sorted(names) else names


def partner(tensors: Mapping[str, Array], slot: Slot) -> Array:
    """Return the tensor of a tied slot, in neutral form, from the one under its first name."""
    array = tensors[slot.tied]
    return array.T if slot.transposed else array


def paths(network: Any, children: Callable[[Any], Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Yield a network's layers in order, each under every path that leads to it; the network itself is "".

    The frameworks' own iterators yield only the first path; their state dicts name a shared layer's tensors by each.
    """
    waiting: list[tuple[str, Any, tuple[int, ...]]] = [("", network, ())]  # no recursion: layers may be nested deeply
    while waiting:
        path, layer, above = waiting.pop()
        if layer is None or id(layer) in above:  # a layer that holds itself
            continue
        yield path, layer
        inside = [
            (f"{path}.{name}" if path else name, child, (*above, id(layer))) for name, child in children(layer).items()
        ]
        waiting += reversed(inside)
