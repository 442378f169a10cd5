"""Read weight files, without executing them, into a network's State."""

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
    """Return the framework of a file: "torch", "paddle", or "neutral".

    Raises:
        ParityError: If the file does not exist, or its suffix is none of FORMATS.
    """
    if path.suffix not in FORMATS:
        raise ParityError(f"{path}: unknown kind of weights file; {', '.join(FORMATS)} are read")
    if not path.is_file():
        raise ParityError(f"{path}: no such file")
    return FORMATS[path.suffix]


def read(path: Path, slots: Mapping[str, Slot], family: str, framework: str | None = None) -> State:
    """Return the file's weights in neutral form, under the names of the network's slots.

    Args:
        path: A .safetensors or .pdparams file; the torch worker converts a .pth file to safetensors first.
        slots: The network's.
        family: The twin's family, for its table of names; "" for a network that is no twin.
        framework: The one whose orientation the tensors have; by default that of the file's suffix.

    Raises:
        ParityError: If the file is damaged or hostile.
    """
    framework = framework or framework_of(path)
    tensors: Mapping[str, Array] = read_pdparams(path) if path.suffix == ".pdparams" else State.load(path)
    return State(neutral(tensors, slots, family, framework, path)[0])


def neutral(
    tensors: Mapping[str, Array], slots: Mapping[str, Slot], family: str, framework: str, path: Path
) -> tuple[dict[str, Array], str]:
    """Return a file's tensors in neutral form, as views of `tensors`, and the layout of their names.

    Raises:
        ParityError: As `names.to_twin` does.
    """
    renamed, layout = names.to_twin(tensors, slots, family, str(path))
    if framework == "paddle":
        # Paddle stores the weight of a Linear transposed; the layer's kind decides, never the shape.
        renamed = {
            name: array.T if name in slots and is_transposed(slots[name]) else array for name, array in renamed.items()
        }
    # A file may hold a shared tensor under only one of its names.
    for name, slot in slots.items():
        if slot.tied in renamed and name not in renamed:
            renamed[name] = partner(renamed, slot)
        elif slot.tied and slot.tied not in renamed and name in renamed:
            renamed[slot.tied] = renamed[name].T if slot.transposed else renamed[name]
    # In the network's order. Tensors that do not fit stay: `check_fit` reports them.
    ordered = {name: renamed[name] for name in slots if name in renamed}
    return {**ordered, **renamed}, layout


def is_transposed(slot: Slot) -> bool:
    """Return whether Paddle stores this tensor transposed."""
    return slot.kind == "Linear" and slot.role == "weight"
