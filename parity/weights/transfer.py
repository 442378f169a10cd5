"""Convert weight files between .pth, .pdparams and .safetensors, bit for bit; no framework is needed, nor a copy.

The source is memory-mapped and the destination written as a stream, a Linear's weight turned block by block; checksums
of the source are held against it meanwhile, before the destination gets its name.
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
from parity.weights.checkpoint import FORMATS, framework_of, is_turned, neutral
from parity.weights.pdparams import read_pdparams, write_pdparams
from parity.weights.pth import check_pth, read_pth, write_pth
from parity.weights.state import Slot, State, check_fit, opened
from parity.zoo import NETWORKS


class Transfer(NamedTuple):
    """What was done.

    Attributes:
        layout: Whose names the source had.
        tensors: How many were written, batch counters not among them.
        bytes: Of these.
        left_out: Names in the source that the twin has no use for: batch counters, auxiliary heads.
        counters: How many batch counters of zero were written, which torch asks for.
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
) -> Transfer:
    """Write the weights of a zoo network again: in the format that `target` ends in, under the names of `layout`.

    A file is what the framework of its ending would have saved: .pdparams has Paddle's orientation of Linear and its
    words for BatchNorm's statistics, the others torch's; .pth, and .safetensors under torchvision's names, have batch
    counters, zero, since torch misses them when it loads strictly.

    Args:
        source: A .pth, .pt, .pdparams or .safetensors file.
        target: What to write.
        model: A zoo name.
        layout: Whose names to write.
        num_classes: Of the network, None for the published number.
        read_legacy: Called with a .pth file that is none of torch's plain ones, and where to write it as .safetensors;
            without it such a file is refused.

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
        tensors, check = _open(source, stack, read_legacy)
        state, found = neutral(tensors, slots, NETWORKS[model].family, framework, source)
        try:
            check_fit(state, slots, model, "network")
        except ParityError as error:
            known = f"{len(slots.keys() & state.keys())} of its {len(state)} tensors have names of the {found} layout"
            raise ParityError(f"{source}: {known}. {error}") from error
        written = _spelt(state, slots, NETWORKS[model].family, layout, FORMATS[target.suffix])
        with atomic(target) as part, ThreadPoolExecutor(1) as pool:
            verdict = pool.submit(check)
            _WRITERS[FORMATS[target.suffix]](written, part)
            verdict.result()
    return Transfer(
        found,
        len(state),
        sum(array.nbytes for array in state.values()),
        len(tensors) - len(state),
        len(written) - len(state),
    )


def _open(
    source: Path, stack: contextlib.ExitStack, read_legacy: Callable[[Path, Path], None] | None
) -> tuple[Mapping[str, Array], Callable[[], None]]:
    """Return a file's tensors as views of it, and a function that holds them against the file's own checksum."""
    kind = FORMATS[source.suffix]
    if kind == "paddle":
        return read_pdparams(source, mapped=True), lambda: None
    if kind == "torch":
        try:
            return read_pth(source), lambda: check_pth(source)
        except ParityError:  # torch has the last word on what is none of its plain files
            if read_legacy is None:
                raise
            plain = stack.enter_context(temporary_folder()) / "weights.safetensors"
            read_legacy(source, plain)
            source = plain
    tensors, metadata = opened(source)

    def check() -> None:
        if metadata.get("sha256", digest := State(tensors).digest()) != digest:
            raise ParityError(f"{source}: damaged: its bits have changed since it was saved. Get the file again.")

    return tensors, check if "sha256" in metadata else lambda: None


def _spelt(
    state: Mapping[str, Array], slots: Mapping[str, Slot], family: str, layout: str, kind: str
) -> dict[str, Array]:
    """Return the tensors under the names, and in the orientation, that the file is to have."""
    written: dict[str, Array] = {}
    for name, slot in slots.items():
        path, dot, role = names.other_name(name, family, layout).rpartition(".")
        role = names.PADDLE_ROLES.get(role, role) if kind == "paddle" else role
        written[path + dot + role] = state[name].T if kind == "paddle" and is_turned(slot) else state[name]
        if slot.role == "running_var" and (kind == "torch" or (kind, layout) == ("neutral", "torchvision")):
            written[f"{path}{dot}num_batches_tracked"] = np.zeros((), np.int64)
    return written


_WRITERS: dict[str, Callable[[Mapping[str, Array], Path], None]] = {
    "torch": write_pth,
    "paddle": write_pdparams,
    "neutral": lambda tensors, path: State(tensors).write(path),
}
