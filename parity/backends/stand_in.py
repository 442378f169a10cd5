"""Replace a network's tensors by copies for a while: a run can change only the copies."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple


class TensorPlace(NamedTuple):
    """A place in which a layer holds a tensor.

    Attributes:
        weight: Its dotted name; "" for statistics and other buffers, which a run may change.
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
    places: list[TensorPlace],
    copied: Callable[[Any], Any],
    version: Callable[[Any], int],
    equal: Callable[[Any, Any], bool],
) -> Iterator[list[str]]:
    """Replace each tensor by a copy, and put the tensors back at the end.

    Args:
        places: Every place of every tensor of the network.
        copied: Returns a copy of a tensor; its dtype may be another.
        version: Returns a number that grows whenever a tensor is changed in place.
        equal: Whether a tensor, in the dtype of its copy, equals the copy.

    Yields:
        A list; at the end it holds the names of the weights that changed meanwhile, in order.
    """
    copies, changed = dict[int, Any](), list[str]()
    try:
        for _, store, key, tensor in places:
            if id(tensor) not in copies:
                copies[id(tensor)] = copied(tensor)
            store[key] = copies[id(tensor)]
        versions = {tensor: version(copy) for tensor, copy in copies.items()}
        yield changed
        for name, store, key, tensor in places:
            copy = copies[id(tensor)]
            # A change through `.data` leaves the version as it was, so values are compared, which takes less time than
            # copying. Not those of another dtype: that takes longer, and a run in the tensors' own dtype follows.
            unchanged = tensor.dtype != copy.dtype and version(copy) == versions[id(tensor)]
            if name and (store.get(key) is not copy or not (unchanged or equal(tensor, copy))):
                changed.append(name)
    finally:
        for _, store, key, tensor in places:
            store[key] = tensor
