"""State: the weights of a network in neutral form, and the rules by which they enter one."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parity.atomic import atomic
from parity.errors import ParityError
from parity.safetensors_file import Array, Writer, header_size, mapped
from parity.stream import pieces


@dataclass(frozen=True)
class Slot:
    """One tensor that a network takes.

    Attributes:
        shape: Neutral shape: torch's orientation, a linear weight is (out, in).
        kind: Neutral kind of the layer that owns it, "Conv2d".
        role: Its name within that layer, "weight", "bias", "running_mean".
        tied: The first name of the tensor, where this is another name of it: two layers share it; else "".
        turned: Whether it is that one transposed, in neutral form: Paddle's Embedding and Linear may share one.
    """

    shape: tuple[int, ...]
    kind: str
    role: str
    tied: str = ""
    turned: bool = False


class State(Mapping[str, Array]):
    """Weights as an ordered mapping of neutral name to numpy array: torch's names and orientation.

    A tensor that layers share is there under each of its names; read from a network, they hold one array.

    Example:
        >>> state = State({"fc.weight": np.ones((10, 4), np.float32), "fc.bias": np.zeros(10, np.float32)})
        >>> list(state), state["fc.weight"].shape
        (['fc.weight', 'fc.bias'], (10, 4))
        >>> state.differences({**state, "fc.bias": np.ones(10, np.float32)})
        ['fc.bias']
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     state.save(f"{folder}/fc.safetensors")
        ...     State.load(f"{folder}/fc.safetensors").digest() == state.digest()
        True
    """

    def __init__(self, tensors: Mapping[str, Array]):
        self._tensors = dict(tensors)

    def __getitem__(self, name: str) -> Array:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def digest(self) -> str:
        """Return the SHA-256 (hex) of names, dtypes, shapes and bytes; the order of the tensors does not matter."""
        total = hashlib.sha256()
        for name, array in sorted(self.items()):
            total.update(_label(name, array))
            for piece in pieces(array):
                total.update(piece)
        return total.hexdigest()

    def differences(self, other: Mapping[str, Array]) -> list[str]:
        """Return the sorted names whose tensors are not the same bits, or that one of the two lacks."""
        return sorted(
            name
            for name in {*self, *other}
            if name not in self or name not in other or not same_bits(self[name], other[name])
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file, whole or not at all, with the digest in its metadata.

        Raises:
            ParityError: If the file cannot be written.
        """
        with atomic(path) as part:
            self.write(part)

    def write(self, path: Path) -> None:
        """Do what `save` does without its promise of a whole file; tensors are streamed, never copied as a whole.

        Raises:
            ParityError: If safetensors has no word for a dtype.
        """
        names = sorted(self, key=lambda name: (-self[name].itemsize, name))  # so that each is aligned
        one_pass = names == sorted(self)  # then the digest is computed on the way
        digest, total = "0" * 64 if one_pass else self.digest(), hashlib.sha256()
        metadata = {"sha256": digest, "order": json.dumps(list(self))}
        with Writer(path, header_size(self, names, metadata)) as writer:
            for name in names:
                total.update(_label(name, self[name]))
                writer.add(name, self[name], total.update if one_pass else None)
            writer.finish({**metadata, "sha256": total.hexdigest() if one_pass else digest})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> State:
        """Return the State of a safetensors file; one that `save` wrote is held against its digest.

        Raises:
            ParityError: If the file is no safetensors file, is truncated, or its bits have changed since it was saved.
        """
        views, metadata = opened(path)
        state = cls({name: view.copy() for name, view in views.items()})
        if "sha256" in metadata and metadata["sha256"] != state.digest():
            raise ParityError(f"{path}: damaged: its bits have changed since it was saved. Get the file again.")
        return state


def _label(name: str, array: Array) -> bytes:
    return json.dumps([name, array.dtype.str, array.shape]).encode()


def opened(path: str | os.PathLike[str]) -> tuple[dict[str, Array], dict[str, str]]:
    """Return a safetensors file's tensors in the layers' order, as `mapped` does, and its metadata; no digest is held.

    Raises:
        ParityError: As `State.load` does, except that no digest is looked at.
    """
    tensors, metadata = mapped(path)
    return {name: tensors[name] for name in _ordered(list(tensors), metadata.get("order", ""))}, metadata


def _ordered(names: list[str], kept: str) -> list[str]:
    """Return the names in the layers' order, which `save` keeps beside: safetensors sorts by dtype and name."""
    try:
        order = json.loads(kept)
    except (ValueError, RecursionError):
        return names  # nobody's order, or another program's
    known = isinstance(order, list) and all(isinstance(name, str) for name in order)
    return order if known and sorted(order) == sorted(names) else names


def same_bits(a: Array, b: Array) -> bool:
    """Return whether two arrays have the same dtype, shape and bytes; NaN equals the same NaN, 0.0 is not -0.0."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return a.tobytes() == b.tobytes()


def check_fit(state: Mapping[str, Array], slots: Mapping[str, Slot], network: str, side: str) -> None:
    """Return if every tensor of the state has its slot, every slot its tensor, and tied ones hold the same bits.

    Raises:
        ParityError: One sorted message of everything missing, unexpected or misshapen; nothing has been changed.
    """
    lines = [f"{name}: missing from the weights, shape {slots[name].shape}" for name in slots.keys() - state.keys()]
    lines += [f"{name}: unexpected, the network has no such tensor" for name in state.keys() - slots.keys()]
    for name in slots.keys() & state.keys():
        if slots[name].shape != state[name].shape:
            lines.append(f"{name}: shape differs: {side}={slots[name].shape}, weights={state[name].shape}")
        elif state[name].dtype.kind != "f":
            lines.append(f"{name}: dtype {state[name].dtype} is not floating point")
        elif slots[name].tied in state and not same_bits(state[name], partner(state, slots[name])):
            lines.append(f"{name}: differs from {slots[name].tied} in the weights; the network ties them, they are one")
    if lines:
        shown = [*sorted(lines)[:20], *([f"... and {len(lines) - 20} more"] if len(lines) > 20 else [])]
        what = f"{network}: the weights do not fit; is it another network, or another num_classes?"
        raise ParityError("\n  ".join([what, *shown]))


def partner(tensors: Mapping[str, Array], slot: Slot) -> Array:
    """Return what the tensors hold for a tied slot under its first name, in neutral form."""
    array = tensors[slot.tied]
    return array.T if slot.turned else array


def hardened_state(slots: Mapping[str, Slot], seed: int = 0) -> State:
    """Return a random state in which a mistake shows: nothing is 0 or 1, and activations keep their size.

    Every tensor is drawn from a stream of its own, keyed by seed and name, by exact arithmetic on uniform bits: the
    same arrays on any machine, in any order, on either side.

    - Convolution and linear weights: uniform with variance 2 / fan_in (He et al. 2015), so that ReLU keeps the size.
    - Biases, betas and running means: uniform with deviation 0.1; running variances in [0.5, 1.5].
    - Gammas in [0.6, 1.2]: with the above, E[y^2] = E[gamma^2] E[1/var] (E[x^2] + 0.01) + 0.01 is 0.95 E[x^2].
    - The last BatchNorm of a residual branch has its gamma divided by 4: a sum of many branches keeps its size too.

    Args:
        slots: What the network takes, by neutral name.
        seed: Any non-negative integer.

    Returns:
        float32 arrays in the slots' order and shapes.
    """
    ends = _branch_ends(slots)
    drawn = dict[str, Array]()
    for name, slot in slots.items():
        damping = 4.0 if name in ends else 1.0
        drawn[name] = partner(drawn, slot) if slot.tied else _draw(name, slot, seed, damping)
    return State(drawn)


def _draw(name: str, slot: Slot, seed: int, damping: float) -> Array:
    key = int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:16], "little")
    bits = np.random.PCG64(key).random_raw((math.prod(slot.shape) + 1) // 2)
    words = bits.view(np.uint32)[: math.prod(slot.shape)]
    # 23 bits and a half fit a float32 exactly; the half keeps the middle out, where a weight would be zero.
    uniform = ((words >> np.uint32(9)).astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-23)
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


def paths(network: Any, children: Callable[[Any], Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Yield a network's layers in order, each under every path that leads to it; the network itself is "".

    Frameworks' own walks give the first path only, while their state dicts name a shared layer's tensors by each.
    """
    waiting: list[tuple[str, Any, tuple[int, ...]]] = [("", network, ())]  # no recursion: layers may nest deep
    while waiting:
        path, layer, above = waiting.pop()
        if layer is None or id(layer) in above:  # a layer that holds itself
            continue
        yield path, layer
        inside = [
            (f"{path}.{name}" if path else name, child, (*above, id(layer))) for name, child in children(layer).items()
        ]
        waiting += reversed(inside)


_SHORTCUTS = {"short", "shortcut", "downsample", "proj"}


def _branch_ends(slots: Mapping[str, Slot]) -> set[str]:
    """Return the gammas that end a residual branch, told by structure.

    A branch is a numbered block ("layer1.0", "block1-0") that starts with a convolution and holds two or more
    BatchNorms off the shortcut; its end is the last of these. DenseNet's layers start with a BatchNorm: no sum follows.
    """
    norms: dict[str, list[str]] = {}
    first: dict[str, Slot] = {}
    for name, slot in slots.items():
        parts = name.split(".")[:-2]  # without the tensor's own name and its layer's
        blocks = [".".join(parts[: i + 1]) for i in range(1, len(parts)) if parts[i].rpartition("-")[2].isdigit()]
        for block in blocks:
            _ = first.setdefault(block, slot)
        if blocks and slot.kind.startswith("BatchNorm") and slot.role == "weight" and not _SHORTCUTS & set(parts):
            norms.setdefault(blocks[-1], []).append(name)
    return {names[-1] for block, names in norms.items() if len(names) > 1 and first[block].kind.startswith("Conv")}
