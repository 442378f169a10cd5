"""Carry weights from one network to another whose layers have other names, by the layers that own them."""

from __future__ import annotations

from collections.abc import Mapping

from parity.numerics.arrays import Array, same_but_ones
from parity.weights.names import owner_of
from parity.weights.state import Slot, State


def carried(
    state: Mapping[str, Array],
    slots: Mapping[str, Slot],
    own: Mapping[str, Array],
    own_slots: Mapping[str, Slot],
    layers: Mapping[str, str],
) -> tuple[State, list[str]]:
    """Return the candidate's weights with the reference's in their places, and notes.

    Tensors of two layers are paired by role, or, in layers of people's own, by shape. Shapes may differ by ones: a
    Linear's weight and a 1x1 convolution's. What has no partner keeps the candidate's own value.

    Args:
        state: The reference's weights.
        slots: Its slots.
        own: The candidate's weights.
        own_slots: Its slots.
        layers: The candidate's layer of each of the reference's layers; or tensors of both, by name.
    """
    tensors, reshaped = dict(own), list[str]()
    for layer, partner in layers.items():
        for name, other in _roles(_of(slots, layer), _of(own_slots, partner)):
            if name in state and not own_slots[other].tied:
                tensors[other] = state[name].reshape(own_slots[other].shape)
                if state[name].shape != own_slots[other].shape:
                    reshaped.append(other)
    for name, slot in own_slots.items():
        if slot.tied and slot.tied in tensors:
            tensors[name] = tensors[slot.tied].T if slot.transposed else tensors[slot.tied]
    notes = [f"shapes that differ only by ones: {', '.join(reshaped[:6])}"] if reshaped else []
    return State({name: tensors[name] for name in own_slots if name in tensors}), notes


def fits(shapes: Mapping[str, tuple[int, ...]], own: Mapping[str, tuple[int, ...]], layers: Mapping[str, str]) -> bool:
    """Return whether every tensor of the reference's layers has a place in their partners.

    Args:
        shapes: Of the reference's tensors, by name.
        own: Of the candidate's.
        layers: The candidate's layer of each of the reference's layers.
    """
    slots, own_slots = (
        {name: Slot(shape, "", name.rpartition(".")[2]) for name, shape in each.items()} for each in (shapes, own)
    )
    placed = {
        name for layer, partner in layers.items() for name, _ in _roles(_of(slots, layer), _of(own_slots, partner))
    }
    return placed == {*shapes}


def _of(slots: Mapping[str, Slot], layer: str) -> dict[str, Slot]:
    return {name: slot for name, slot in slots.items() if layer in (name, owner_of(name)[0])}


def _roles(slots: Mapping[str, Slot], own_slots: Mapping[str, Slot]) -> list[tuple[str, str]]:
    """Return the names of tensors that have one role."""
    by_role = {slot.role: name for name, slot in own_slots.items()}
    pairs = [
        (name, by_role[slot.role])
        for name, slot in slots.items()
        if slot.role in by_role and same_but_ones(slot.shape, own_slots[by_role[slot.role]].shape)
    ]
    taken = {name for pair in pairs for name in pair}
    rest = [name for name in own_slots if name not in taken]
    for name in [name for name in slots if name not in taken]:
        other = next((each for each in rest if same_but_ones(slots[name].shape, own_slots[each].shape)), None)
        if other is not None:
            rest.remove(other)
            pairs.append((name, other))
    return pairs
