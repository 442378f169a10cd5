"""Make weights fit a network where they are the same numbers, and say how; refuse what a guess would be needed for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from parity.errors import ParityError
from parity.numerics.arrays import Array, same_bits
from parity.weights.names import spellings
from parity.weights.state import Slot, State, partner

# What torch, thop and torch.optim.swa_utils count in a network; nobody learns it.
_COUNTERS = ("num_batches_tracked", "total_ops", "total_params", "n_averaged")
_SHOWN = 6


def fitted(
    state: Mapping[str, Array], slots: Mapping[str, Slot], network: str, backend: str
) -> tuple[State, list[str]]:
    """Return the state in the network's own names and shapes, and a note for each kind of thing that was done for it.

    - The two namings of a weight norm are one.
    - A shape that differs by ones before or behind it is reshaped: (4, 1, 1, 1) and (4,); Linear and a 1x1 convolution.
    - Counters, whole numbers and constants that the network does not have are left out.
    - A constant that is not in the state keeps the network's own value: the result lacks it.

    Args:
        state: In neutral form.
        slots: The network's.
        network: Its name, or the file's, for the message.
        backend: For the message.

    Raises:
        ParityError: One sorted message of everything learned that is missing or unexpected, of another shape, or of
            other bits than what it is tied to.
    """
    tensors, notes = _respelt(state, slots)
    notes += _leave_out(tensors, slots, getattr(state, "buffers", frozenset()))
    reshaped = [name for name in tensors if name in slots and _is_same_but_ones(tensors[name].shape, slots[name].shape)]
    if reshaped:
        shapes = f"{tensors[reshaped[0]].shape} as {slots[reshaped[0]].shape}"
        notes.append(f"shapes that differ only by ones, {shapes}: {_listed(reshaped)}")
    for name in reshaped:
        tensors[name] = tensors[name].reshape(slots[name].shape)
    own = [name for name, slot in slots.items() if slot.buffer and name not in tensors]
    if own:
        notes.append(f"constants that are not in the weights keep the network's own values: {_listed(own)}")
    _check(tensors, {name: slot for name, slot in slots.items() if name not in own}, network, backend)
    halves = [name for name, array in tensors.items() if array.dtype.kind == "f" and array.itemsize == 2]
    if halves:
        notes.append(f"{len(halves)} of {len(tensors)} tensors are float16; the network computes with their values")
    return State({name: tensors[name] for name in slots if name in tensors}), notes


def _respelt(state: Mapping[str, Array], slots: Mapping[str, Slot]) -> tuple[dict[str, Array], list[str]]:
    """Return the tensors under the network's names of a weight norm's, and under each name of a shared one."""
    tensors, respelt = dict(state), list[str]()
    for name in slots:
        other = next((each for each in spellings(name) if each in tensors and each not in slots), None)
        if name not in tensors and other is not None:
            tensors[name] = tensors.pop(other)
            respelt.append(name)
    share_tied(tensors, slots)
    return tensors, [f"another spelling of a weight norm: {_listed(respelt)}"] if respelt else []


def share_tied(tensors: dict[str, Array], slots: Mapping[str, Slot]) -> None:
    """Give a tensor that layers share each of its names: a file may hold it under only one."""
    for name, slot in slots.items():
        if slot.tied in tensors and name not in tensors:
            tensors[name] = partner(tensors, slot)
        elif slot.tied and slot.tied not in tensors and name in tensors:
            tensors[slot.tied] = partner(tensors, replace(slot, tied=name))


def _leave_out(tensors: dict[str, Array], slots: Mapping[str, Slot], buffers: frozenset[str]) -> list[str]:
    """Remove what the network does not have and nobody has learned; return notes."""
    averages = {"ema_" + name.replace(".", "_") for name in slots}  # as mmcv's EMAHook names them
    extra = [name for name in tensors if name not in slots]
    counters = [name for name in extra if name.rpartition(".")[2] in _COUNTERS]
    constants = [
        name for name in extra if name not in counters and (name in buffers or tensors[name].dtype.kind not in "fc")
    ]
    copies = [name for name in extra if name in averages]
    for name in (*counters, *constants, *copies):
        del tensors[name]
    notes = [f"counters left out: {_listed(counters)}"] if counters else []
    if constants:
        notes.append(f"constants that the network does not have are left out: {_listed(constants)}")
    if copies:
        notes.append(f"a moving average of the weights is left out: {_listed(copies)}")
    return notes


def _is_same_but_ones(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Return whether two shapes of other lengths are the same without the ones before and behind.

    A one in between stays: a Conv1d's (4, 3, 3) is not a depthwise Conv2d's (4, 1, 3, 3).
    """
    return len(shape) != len(wanted) and _stripped(shape) == _stripped(wanted)


def _stripped(shape: tuple[int, ...]) -> tuple[int, ...]:
    wide = [axis for axis, size in enumerate(shape) if size != 1]
    return shape[wide[0] : wide[-1] + 1] if wide else ()


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _check(state: Mapping[str, Array], slots: Mapping[str, Slot], network: str, backend: str) -> None:
    lines = [f"{name}: missing from the weights, shape {slots[name].shape}" for name in slots.keys() - state.keys()]
    unexpected = sorted(state.keys() - slots.keys())
    lines += [f"{name}: unexpected, the network has no such tensor" for name in unexpected]
    for name in slots.keys() & state.keys():
        if slots[name].shape != state[name].shape:
            lines.append(f"{name}: shape differs: {backend}={slots[name].shape}, weights={state[name].shape}")
        elif state[name].dtype.kind != "f" and not slots[name].buffer:
            lines.append(f"{name}: dtype {state[name].dtype} is not floating point")
        elif slots[name].tied in state and not same_bits(state[name], partner(state, slots[name])):
            lines.append(f"{name}: differs from {slots[name].tied} in the weights; the network ties them, they are one")
    if lines:
        more = [f"... and {len(lines) - 20} more"] if len(lines) > 20 else []
        heading = f"{network}: the weights do not fit; is it another network, or another num_classes?"
        if len(unexpected) == len(lines):
            heading += " A layer that a network keeps in a plain list or dict is not one of its layers."
        raise ParityError("\n  ".join([heading, *sorted(lines)[:20], *more]))
