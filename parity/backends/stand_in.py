"""Copies in place of a network's tensors for a while: whatever a run does to them, the network is left as it was."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple


class Held(NamedTuple):
    """A tensor where a layer holds it.

    Attributes:
        weight: Its dotted name; "" for what a run may change, statistics and other buffers.
        store: The layer's own dictionary of tensors.
        key: Its key there.
        tensor: The tensor; two layers may hold the same one.
    """

    weight: str
    store: dict[str, Any]
    key: str
    tensor: Any


@contextlib.contextmanager
def stand_ins(
    held: list[Held],
    copied: Callable[[Any], Any],
    version: Callable[[Any], int],
    equal: Callable[[Any, Any], bool],
) -> Iterator[list[str]]:
    """Put a copy in place of each tensor, and the tensors back at the end.

    Args:
        held: Every tensor of the network, wherever it is held.
        copied: Returns a copy of a tensor; its dtype may be another.
        version: Returns a number that grows whenever a tensor is changed in place.
        equal: Whether a tensor, in the dtype of its copy, is equal to it.

    Yields:
        A list; at the end it holds the names of the weights that changed meanwhile, in order.
    """
    copies, changed = dict[int, Any](), list[str]()
    try:
        for _, store, key, tensor in held:
            if id(tensor) not in copies:
                copies[id(tensor)] = copied(tensor)
            store[key] = copies[id(tensor)]
        versions = {tensor: version(copy) for tensor, copy in copies.items()}
        yield changed
        for name, store, key, tensor in held:
            copy = copies[id(tensor)]
            # Versions miss what goes around them (`.data`), so values are compared, which takes less time than copying;
            # not those of another dtype, which take longer, and which a run in the tensors' own dtype follows.
            told = tensor.dtype != copy.dtype and version(copy) == versions[id(tensor)]
            if name and (store.get(key) is not copy or not (told or equal(tensor, copy))):
                changed.append(name)
    finally:
        for _, store, key, tensor in held:
            store[key] = tensor
