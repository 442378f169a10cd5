"""Read weight files, without executing them, into a network's State."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from parity.errors import ParityError
from parity.numerics.arrays import Array
from parity.safetensors_file import read_header
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
    metadata = read_header(path).metadata if path.suffix == ".safetensors" else {}
    return State(neutral(tensors, slots, family, framework, path, metadata)[0])


def neutral(
    tensors: Mapping[str, Array],
    slots: Mapping[str, Slot],
    family: str,
    framework: str,
    path: Path,
    metadata: Mapping[str, str] | None = None,
) -> tuple[dict[str, Array], str]:
    """Return a file's tensors in neutral form, as views of `tensors`, and the layout of their names.

    Raises:
        ParityError: As `names.to_twin` and `orientation` do.
    """
    renamed, layout = names.to_twin(tensors, slots, family, str(path))
    if framework == "neutral":
        framework = orientation(tensors, renamed, slots, metadata or {}, path)
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


def orientation(
    tensors: Mapping[str, Array],
    renamed: Mapping[str, Array],
    slots: Mapping[str, Slot],
    metadata: Mapping[str, str],
    path: Path,
) -> str:
    """Return whose orientation a .safetensors file's Linear weights have: "torch" (out, in) or "paddle" (in, out).

    A square one fits either way, and the wrong way is another network. So the file has to show it: by our own digest
    or the `format` in its metadata, by the names of BatchNorm's statistics, or by the shape of a Linear that is not
    square.

    Args:
        tensors: Under the file's own names.
        renamed: The same under the network's names.
        slots: The network's.
        metadata: The file's.
        path: The file, for the message.

    Raises:
        ParityError: If nothing shows it.
    """
    roles = {name.rpartition(".")[2] for name in tensors}
    if "sha256" in metadata or metadata.get("format") in ("pt", "torch") or roles & {"running_mean", "running_var"}:
        return "torch"
    if metadata.get("format") in ("pd", "paddle") or roles & {"_mean", "_variance"}:
        return "paddle"
    linear = [
        (slots[name].shape, renamed[name].shape) for name in renamed if name in slots and is_transposed(slots[name])
    ]
    if not linear or any(len(shape) == 2 and shape != shape[::-1] and shape == found for shape, found in linear):
        return "torch"
    if any(len(shape) == 2 and shape != shape[::-1] and shape[::-1] == found for shape, found in linear):
        return "paddle"
    if all(found == shape for shape, found in linear):
        raise ParityError(
            f"{path}: its linear weights are square, and nothing in the file shows whether they are torch's (out, in) "
            "or Paddle's (in, out). Give --layout torch or --layout paddle."
        )
    return "torch"
