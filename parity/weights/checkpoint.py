"""Read weight files, without executing them, into the State a network takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from parity.errors import ParityError
from parity.numerics.arrays import Array
from parity.weights import names
from parity.weights.pdparams import read_pdparams
from parity.weights.state import Slot, State, partner

FORMATS = {".safetensors": "neutral", ".pth": "torch", ".pt": "torch", ".pdparams": "paddle"}


def framework_of(path: Path) -> str:
    """Return whose file it is: "torch", "paddle", or "neutral".

    Raises:
        ParityError: If the file does not exist, or its ending is none we read.
    """
    if path.suffix not in FORMATS:
        raise ParityError(f"{path}: unknown kind of weights file; {', '.join(FORMATS)} are read")
    if not path.is_file():
        raise ParityError(f"{path}: no such file")
    return FORMATS[path.suffix]


def read(path: Path, slots: Mapping[str, Slot], family: str, framework: str | None = None) -> State:
    """Return the file's weights in neutral form, under the names of the network's slots.

    Args:
        path: A .safetensors or .pdparams file; a .pth file is turned into safetensors by the torch worker before.
        slots: What the network takes.
        family: The twin's family, for its table of names; "" for a network that is no twin.
        framework: Whose orientation the tensors have; by default as the ending says.

    Raises:
        ParityError: If the file is damaged or hostile.
    """
    framework = framework or framework_of(path)
    tensors: Mapping[str, Array] = read_pdparams(path) if path.suffix == ".pdparams" else State.load(path)
    return State(neutral(tensors, slots, family, framework, path)[0])


def neutral(
    tensors: Mapping[str, Array], slots: Mapping[str, Slot], family: str, framework: str, path: Path
) -> tuple[dict[str, Array], str]:
    """Return a file's tensors in neutral form, as views of what was given, and the layout their names were in.

    Raises:
        ParityError: As `names.to_twin` does.
    """
    renamed, layout = names.to_twin(tensors, slots, family, str(path))
    if framework == "paddle":
        # Paddle stores the weight of a Linear transposed: because the layer is one, whatever its shape.
        renamed = {
            name: array.T if name in slots and is_turned(slots[name]) else array for name, array in renamed.items()
        }
    # A file may hold a tensor that layers share under one of its names alone.
    for name, slot in slots.items():
        if slot.tied in renamed and name not in renamed:
            renamed[name] = partner(renamed, slot)
        elif slot.tied and slot.tied not in renamed and name in renamed:
            renamed[slot.tied] = renamed[name].T if slot.turned else renamed[name]
    # In the network's order; what does not fit stays, and is named when the State meets the network.
    ordered = {name: renamed[name] for name in slots if name in renamed}
    return {**ordered, **renamed}, layout


def is_turned(slot: Slot) -> bool:
    """Return whether Paddle stores this tensor transposed."""
    return slot.kind == "Linear" and slot.role == "weight"
