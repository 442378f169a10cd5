"""Convert weight files between .pth, .pdparams and .safetensors, bit for bit; no framework is needed, nor a copy.

The source is memory-mapped and the target written as a stream, a Linear's weight transposed block by block. Meanwhile
the source's checksums are checked, before the target gets its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from parity.atomic import atomic, check_writable
from parity.errors import ParityError
from parity.numerics.arrays import Array
from parity.weights import blueprint, names
from parity.weights.checkpoint import FORMATS, is_transposed, neutral, open_weights
from parity.weights.fit import fitted
from parity.weights.pdparams import write_pdparams
from parity.weights.pth import write_pth
from parity.weights.state import Slot, State
from parity.zoo import NETWORKS


class Transfer(NamedTuple):
    """The result of a transfer.

    Attributes:
        layout: The layout of the source's names.
        tensors: How many were written, batch counters not among them.
        bytes: Their size.
        left_out: How many tensors of the source the twin does not have: batch counters, auxiliary heads.
        counters: How many batch counters of zero were written, which torch requires.
        notes: What was done to make the weights fit.
    """

    layout: str
    tensors: int
    bytes: int
    left_out: int
    counters: int
    notes: tuple[str, ...] = ()


def transfer(
    source: Path,
    target: Path,
    model: str,
    layout: str = "twin",
    num_classes: int | None = None,
    *,
    orientation: str | None = None,
    key: str | None = None,
) -> Transfer:
    """Convert the weights of a zoo network: to the format of `target`'s suffix, under the names of `layout`.

    A file is as the framework of its suffix would have saved it: .pdparams has Paddle's orientation of Linear and its
    roles of BatchNorm's statistics, the others torch's; .pth, and .safetensors under torchvision's names, have batch
    counters of zero, since torch requires them when it loads strictly.

    Args:
        source: As for `checkpoint.open_weights`.
        target: The file to write.
        model: A zoo name.
        layout: The layout of the names to write.
        num_classes: Of the network, None for the published number.
        orientation: Whose orientation the source has, "torch" or "paddle"; None: as it shows.
        key: Which weights, where the source holds several.

    Raises:
        ParityError: If the source is damaged, hostile, or no weights of that network; if the target cannot be written;
            if `layout` has no such network. The target is then as it was.
    """
    slots = blueprint.slots(model, num_classes)
    opened = open_weights(source)
    if target.suffix not in FORMATS:
        raise ParityError(f"{target}: unknown kind of weights file; {', '.join(FORMATS)} are written")
    names.check_layout(model, layout)
    check_writable(target)
    found, source_layout, notes = neutral(opened, slots, NETWORKS[model].family, orientation, key)
    try:
        state, more = fitted(found, slots, model, "network")
    except ParityError as error:
        known = f"{len(slots.keys() & found.keys())} of its {len(found)} tensors have names of the"
        raise ParityError(f"{source}: {known} {source_layout} layout. {error}") from error
    converted = _converted(state, slots, NETWORKS[model].family, layout, FORMATS[target.suffix])
    with atomic(target) as part, ThreadPoolExecutor(1) as pool:
        checked = pool.submit(opened.check)
        _WRITERS[FORMATS[target.suffix]](converted, part)
        checked.result()
    return Transfer(
        source_layout,
        len(state),
        sum(array.nbytes for array in state.values()),
        len(opened.choose(key, names.Tables(slots, NETWORKS[model].family))[1]) - len(state),
        len(converted) - len(state),
        (*notes, *more),
    )


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
