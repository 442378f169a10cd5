"""Convert weight files between .pth, .pdparams and .safetensors, bit for bit; no framework is needed, nor a copy.

The source is memory-mapped and the target written as a stream, a Linear's weight transposed block by block. Meanwhile
the source's checksums are checked, before the target gets its name.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from parity.atomic import atomic, check_writable
from parity.errors import ParityError
from parity.numerics.arrays import Array
from parity.temporary import temporary_folder
from parity.weights import blueprint, names
from parity.weights.checkpoint import FORMATS, framework_of, is_transposed, neutral
from parity.weights.pdparams import read_pdparams, write_pdparams
from parity.weights.pth import check_pth, read_pth, write_pth
from parity.weights.state import Slot, State, check_fit, open_tensors
from parity.zoo import NETWORKS


class Transfer(NamedTuple):
    """The result of a transfer.

    Attributes:
        layout: The layout of the source's names.
        tensors: How many were written, batch counters not among them.
        bytes: Their size.
        left_out: How many tensors of the source the twin does not have: batch counters, auxiliary heads.
        counters: How many batch counters of zero were written, which torch requires.
    """

    layout: str
    tensors: int
    bytes: int
    left_out: int
    counters: int


def transfer(
    source: Path,
    target: Path,
    model: str,
    layout: str = "twin",
    num_classes: int | None = None,
    *,
    read_legacy: Callable[[Path, Path], None] | None = None,
    orientation: str | None = None,
) -> Transfer:
    """Convert the weights of a zoo network: to the format of `target`'s suffix, under the names of `layout`.

    A file is as the framework of its suffix would have saved it: .pdparams has Paddle's orientation of Linear and its
    roles of BatchNorm's statistics, the others torch's; .pth, and .safetensors under torchvision's names, have batch
    counters of zero, since torch requires them when it loads strictly.

    Args:
        source: A .pth, .pt, .pdparams or .safetensors file.
        target: The file to write.
        model: A zoo name.
        layout: The layout of the names to write.
        num_classes: Of the network, None for the published number.
        orientation: Whose orientation a .safetensors source has, "torch" or "paddle"; None: as it shows.
        read_legacy: Called with a .pth file that is not a plain one, and the .safetensors file to write it to; without
            it such a file is refused.

    Raises:
        ParityError: If the source is damaged, hostile, or no weights of that network; if the target cannot be written;
            if `layout` has no such network. The target is then as it was.
    """
    slots = blueprint.slots(model, num_classes)
    framework = framework_of(source)
    if target.suffix not in FORMATS:
        raise ParityError(f"{target}: unknown kind of weights file; {', '.join(FORMATS)} are written")
    names.check_layout(model, layout)
    check_writable(target)
    with contextlib.ExitStack() as stack:
        tensors, metadata, check = _open(source, stack, read_legacy)
        if framework == "neutral" and orientation is not None:
            framework = orientation
        state, source_layout = neutral(tensors, slots, NETWORKS[model].family, framework, source, metadata)
        try:
            check_fit(state, slots, model, "network")
        except ParityError as error:
            known = f"{len(slots.keys() & state.keys())} of its {len(state)} tensors have names of the"
            raise ParityError(f"{source}: {known} {source_layout} layout. {error}") from error
        converted = _converted(state, slots, NETWORKS[model].family, layout, FORMATS[target.suffix])
        with atomic(target) as part, ThreadPoolExecutor(1) as pool:
            checked = pool.submit(check)
            _WRITERS[FORMATS[target.suffix]](converted, part)
            checked.result()
    return Transfer(
        source_layout,
        len(state),
        sum(array.nbytes for array in state.values()),
        len(tensors) - len(state),
        len(converted) - len(state),
    )


def _open(
    source: Path, stack: contextlib.ExitStack, read_legacy: Callable[[Path, Path], None] | None
) -> tuple[Mapping[str, Array], Mapping[str, str], Callable[[], None]]:
    """Return a file's tensors as views of it, its metadata, and a function that checks the file's own checksums."""
    kind = FORMATS[source.suffix]
    if kind == "paddle":
        return read_pdparams(source, mapped=True), {}, lambda: None
    if kind == "torch":
        try:
            return read_pth(source), {}, lambda: check_pth(source)
        except ParityError:  # it may be another of torch's formats, which torch can read
            if read_legacy is None:
                raise
            plain = stack.enter_context(temporary_folder()) / "weights.safetensors"
            read_legacy(source, plain)
            source = plain
    tensors, metadata = open_tensors(source)

    def check() -> None:
        if metadata.get("sha256", digest := State(tensors).digest()) != digest:
            raise ParityError(f"{source}: damaged: its bits have changed since it was saved. Get the file again.")

    return tensors, metadata, check if "sha256" in metadata else lambda: None


def _converted(
    state: Mapping[str, Array], slots: Mapping[str, Slot], family: str, layout: str, kind: str
) -> dict[str, Array]:
    """Return the tensors under the target file's names and in its orientation."""
    converted: dict[str, Array] = {}
    for name, slot in slots.items():
        path, dot, role = names.other_name(name, family, layout).rpartition(".")
        role = names.PADDLE_ROLES.get(role, role) if kind == "paddle" else role
        converted[path + dot + role] = state[name].T if kind == "paddle" and is_transposed(slot) else state[name]
        if slot.role == "running_var" and (kind == "torch" or (kind, layout) == ("neutral", "torchvision")):
            converted[f"{path}{dot}num_batches_tracked"] = np.zeros((), np.int64)
    return converted


_WRITERS: dict[str, Callable[[Mapping[str, Array], Path], None]] = {
    "torch": write_pth,
    "paddle": write_pdparams,
    "neutral": lambda tensors, path: State(tensors).write(path),
}
