"""Random weights that make a mistake visible."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

import numpy as np

from parity.numerics.arrays import Array
from parity.weights.state import Slot, State, partner


def hardened_state(slots: Mapping[str, Slot], seed: int = 0) -> State:
    """Return a random state that makes a mistake visible: nothing is 0 or 1, and activations keep their size.

    Every tensor has its own random stream, keyed by seed and name, and is made by exact arithmetic on uniform bits: the
    arrays are the same on any machine, in any order, for any backend.

    - Convolution and linear weights: uniform with variance 2 / fan_in (He et al. 2015), so that ReLU keeps the size.
    - Biases, betas and running means: uniform with deviation 0.1; running variances in [0.5, 1.5].
    - Gammas in [0.6, 1.2]: with the above, E[y^2] = E[gamma^2] E[1/var] (E[x^2] + 0.01) + 0.01 is 0.95 E[x^2].
    - The last BatchNorm of a residual branch has its gamma divided by 4: a sum of many branches keeps its size too.

    Args:
        slots: The network's, by neutral name.
        seed: Any non-negative integer.

    Returns:
        float32 arrays in the slots' order and shapes, none for a buffer.
    """
    ends = _branch_ends(slots)
    drawn = dict[str, Array]()
    for name, slot in slots.items():
        if slot.buffer or (slot.tied and slot.tied not in drawn):
            continue  # a constant that the network makes itself stays as it is: the other network may not list it
        damping = 4.0 if name in ends else 1.0
        drawn[name] = partner(drawn, slot) if slot.tied else _draw(name, slot, seed, damping)
    return State(drawn)


def _draw(name: str, slot: Slot, seed: int, damping: float) -> Array:
    key = int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:16], "little")
    bits = np.random.PCG64(key).random_raw((math.prod(slot.shape) + 1) // 2)
    integers = bits.view(np.uint32)[: math.prod(slot.shape)]
    # 23 bits plus 0.5 fit a float32 exactly; the 0.5 excludes the middle, where a weight would be zero.
    uniform = ((integers >> np.uint32(9)).astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-23)
    uniform = uniform.reshape(slot.shape)
    if slot.role == "running_var":
        low, high = 0.5, 1.5
    elif slot.kind.startswith(("BatchNorm", "LayerNorm", "GroupNorm", "InstanceNorm")) and slot.role == "weight":
        low, high = 0.6 / damping, 1.2 / damping
    else:
        fan_in = math.prod(slot.shape[1:])
        deviation = math.sqrt(2.0 / fan_in) if slot.role == "weight" and fan_in > 1 else 0.1
        low, high = -math.sqrt(3.0) * deviation, math.sqrt(3.0) * deviation
    return uniform * np.float32(high - low) + np.float32(low)


_SHORTCUTS = {"short", "shortcut", "downsample", "proj"}


def _branch_ends(slots: Mapping[str, Slot]) -> set[str]:
    """Return the names of the gammas that end a residual branch, found by structure.

    A branch is a numbered block ("layer1.0", "block1-0") that starts with a convolution and holds two or more
    BatchNorms outside the shortcut; its end is the last of these. DenseNet's layers start with a BatchNorm: no sum
    follows them.
    """
    norms: dict[str, list[str]] = {}
    first: dict[str, Slot] = {}
    for name, slot in slots.items():
        path = name.split(".")[:-2]  # without the tensor's own name and its layer's
        blocks = [".".join(path[: i + 1]) for i in range(1, len(path)) if path[i].rpartition("-")[2].isdigit()]
        for block in blocks:
            _ = first.setdefault(block, slot)
        if blocks and slot.kind.startswith("BatchNorm") and slot.role == "weight" and not _SHORTCUTS & set(path):
            norms.setdefault(blocks[-1], []).append(name)
    return {names[-1] for block, names in norms.items() if len(names) > 1 and first[block].kind.startswith("Conv")}
