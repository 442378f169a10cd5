"""Read weight files, without executing them, into a network's State."""

from __future__ import annotations

import functools
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from parity.errors import ParityError
from parity.numerics.arrays import Array
from parity.safetensors_file import read_header
from parity.weights import fit, kinds, shards, unwrap
from parity.weights.names import Tables
from parity.weights.pdparams import load_pickle
from parity.weights.pickle_machine import HostileError
from parity.weights.pickled import Leaf, mapped_file
from parity.weights.pth import LEGACY, check_pth, load_legacy, load_zip
from parity.weights.state import Slot, State, open_tensors

# What `parity transfer` writes, by ending.
FORMATS = {".safetensors": "neutral", ".pth": "torch", ".pt": "torch", ".pdparams": "paddle"}
_OLD_PICKLES = (b"(", b"}", b"]", b"c")  # how those of Python 2's protocols begin
_PADDLE_ROLES, _TORCH_ROLES = {"_mean", "_variance"}, {"running_mean", "running_var"}


def _unchecked() -> None:
    pass


@dataclass(frozen=True)
class Checkpoint:
    """A file of weights as it is, or several that belong together.

    Attributes:
        path: The file.
        kind: What it is, in words.
        tree: All it holds: mappings, lists, numbers and stand-ins; tensors are leaves.
        framework: Whose orientation its tensors have: "torch", "paddle", or "neutral" where it has to show.
        metadata: Text by key, of a safetensors file.
        check: Checks the file's own checksums.
    """

    path: Path
    kind: str
    tree: Any
    framework: str
    metadata: Mapping[str, str]
    check: Callable[[], None] = _unchecked

    def candidates(self) -> dict[str, Mapping[str, Leaf]]:
        """Return each set of weights in it by its key.

        Raises:
            ParityError: If there is none, with what there is.
        """
        try:
            found = self._candidates
        except ParityError as error:
            raise ParityError(f"{self.path}: {error}.") from error
        if found:
            return found
        if isinstance(self.tree, dict) and self.tree and unwrap.is_optimizer(map(str, self.tree)):
            raise ParityError(f"{self.path}: an optimizer's state, no weights of a network. Take the file beside it.")
        told = [f"{name}: {words}" for name, words in list(unwrap.beside(self.tree, None).items())[:6]]
        inside = "; ".join(told) if told else unwrap.in_words(self.tree)
        raise ParityError(f"{self.path}: it holds no mapping of names to tensors, but {inside}")

    @functools.cached_property
    def _candidates(self) -> dict[str, Mapping[str, Leaf]]:
        return unwrap.candidates(self.tree)

    def choose(self, key: str | None, tables: Tables | None = None) -> tuple[str, dict[str, Array]]:
        """Return the key of the weights that are meant, and their tensors, as views of the file.

        Raises:
            ParityError: If none or several could be meant, or one of them is not what it claims.
        """
        found = self.candidates()
        try:
            chosen, tensors = unwrap.choose(found, key, None if tables is None else _coverage(tables))
            return chosen, {name: _array(name, leaf) for name, leaf in tensors.items()}
        except ParityError as error:
            raise ParityError(f"{self.path}: {error}") from error


def _coverage(tables: Tables) -> Callable[[Iterable[str]], int]:
    def coverage(names: Iterable[str]) -> int:
        try:
            return len(tables.covered(unwrap.unprefixed(names, tables.fit)[0].values()))
        except ParityError:  # some of them fit
            return 1

    return coverage


def _array(name: str, leaf: Leaf) -> Array:
    try:
        return leaf.array()
    except ParityError as error:
        raise ParityError(f"{unwrap.brief(name)}: {error}") from error
    except Exception as error:  # of a damaged file, any
        raise ParityError(f"{unwrap.brief(name)}: damaged: {type(error).__name__}") from error


def open_weights(path: str | os.PathLike[str]) -> Checkpoint:
    """Return what a file of weights holds, whatever its ending: nothing in it is ever run, and no framework is needed.

    Args:
        path: A file of torch's (of any version), Paddle's or numpy's pickles, a .safetensors file, an index of shards,
            or a folder with one of these.

    Raises:
        ParityError: If it is missing, damaged or hostile, or another kind of file; then with the way out.
    """
    path = shards.one_file(Path(path))
    try:
        if shards.is_index(path):
            parts = [(name, open_weights(part)) for name, part in shards.parts(path)]
            tree = shards.joined(path, {name: part.choose(None)[1] for name, part in parts})
            first = parts[0][1]

            def check() -> None:
                for _, part in parts:
                    part.check()

            whole = of_tensors(path, tree, first.framework, first.metadata, check)
            return replace(whole, kind=f"{len(parts)} shards, the first a {first.kind}")
        return _open(path)
    except HostileError as error:
        raise HostileError(f"{path}: hostile: {error}.") from error
    except ParityError as error:
        if str(error).startswith(f"{path}: "):
            raise
        raise ParityError(f"{path}: {error}.") from error
    except OSError as error:
        raise ParityError(f"{path}: cannot read: {error.strerror or error}.") from error
    except Exception as error:  # a damaged file can raise anything
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise ParityError(f"{path}: damaged, or no file of weights: {why}. Get the file again.") from error


def _open(path: Path) -> Checkpoint:
    with path.open("rb") as file:
        start = file.read(len(LEGACY))
    if not start:
        raise ParityError("the file is empty. Get it again")
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size:
        return _safetensors(path)  # the length of its header, and the header
    if start.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(path) as archive:
            if (words := kinds.other_zip(archive, path)) is not None:
                raise ParityError(f"it is {words}")
            content = memoryview(mapped_file(path))
            check = functools.partial(check_pth, path, content)
            return Checkpoint(path, "torch zip", load_zip(content, archive), "torch", {}, check)
    if start == LEGACY:
        return Checkpoint(path, "torch file from before 1.6", load_legacy(path), "torch", {})
    if start[:1] == b"\x80" and 2 <= start[1] <= 5:
        tree, by_paddle = load_pickle(path)
        paddles = by_paddle or path.suffix in (".pdparams", ".pdopt")
        return Checkpoint(path, "Paddle file" if paddles else "pickle", tree, "paddle" if paddles else "neutral", {})
    words = kinds.other_kind(path)
    if path.suffix == ".safetensors" and words is None:
        return _safetensors(path)  # for its library's words on what is wrong
    if words is None and start[:1] in _OLD_PICKLES:
        return Checkpoint(path, "pickle", load_pickle(path)[0], "neutral", {})  # its instructions are refused, by name
    raise ParityError(f"it is {words}" if words else "no file of weights that is known: it begins as none of them does")


def _safetensors(path: Path) -> Checkpoint:
    tensors, metadata = open_tensors(path)

    def check() -> None:
        if metadata.get("sha256", digest := State(tensors).digest()) != digest:
            raise ParityError(f"{path}: damaged: its bits have changed since it was saved. Get the file again.")

    whole = of_tensors(path, tensors, "neutral", metadata, check if "sha256" in metadata else _unchecked)
    halves = [name for name, entry in read_header(path).entries.items() if entry["dtype"] == "BF16"]
    return replace(whole, tree={**whole.tree, **{name: _Plain(tensors[name], "bfloat16") for name in halves}})


class _Plain(Leaf):
    """A tensor that has been read."""

    def __init__(self, array: Array, dtype: str = ""):
        self._array, self._dtype = array, dtype

    @property
    def dtype(self) -> str:
        return self._dtype or self._array.dtype.name

    def array(self) -> Array:
        return self._array


def of_tensors(
    path: Path,
    tensors: Mapping[str, Array],
    framework: str = "neutral",
    metadata: Mapping[str, str] | None = None,
    check: Callable[[], None] = _unchecked,
) -> Checkpoint:
    """Return the Checkpoint of tensors that have been read."""
    leaves = {name: _Plain(array) for name, array in tensors.items()}
    return Checkpoint(path, "safetensors file", leaves, framework, metadata or {}, check)


def read_weights(path: str | os.PathLike[str], key: str | None = None) -> dict[str, Array]:
    """Return the weights in a file as the file has them: names, shapes, orientation and numbers, in its order.

    Nothing in the file is run, and no framework is needed. What lies beside the weights is not returned.

    Args:
        path: As for `open_weights`: .pth, .pt, .pth.tar, .ckpt, .bin, .pdparams, .safetensors, an index of shards.
        key: Which weights, where a file holds several: "model_ema".

    Returns:
        A numpy array by name, a copy; bfloat16, which numpy lacks, as float32.

    Raises:
        ParityError: If the file is none of these, is damaged or hostile, or holds several sets of weights and `key`
            names none of them.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     State({"fc.bias": np.ones(3, np.float32)}).save(f"{folder}/fc.safetensors")
        ...     read_weights(f"{folder}/fc.safetensors")
        {'fc.bias': array([1., 1., 1.], dtype=float32)}
    """
    opened = open_weights(path)
    _, tensors = opened.choose(key)
    opened.check()
    return {name: np.array(array) for name, array in tensors.items()}


def read(
    path: Path, slots: Mapping[str, Slot], family: str, framework: str | None = None, key: str | None = None
) -> tuple[State, list[str]]:
    """Return a file's weights in neutral form, under the names of the network's slots, and notes on what was done.

    Args:
        path: As for `open_weights`.
        slots: The network's.
        family: The twin's family, for its table of names; "" for a network that is no twin.
        framework: The one whose orientation the tensors have; by default what the file shows.
        key: Which weights, where a file holds several.

    Raises:
        ParityError: If the file cannot be read, is damaged or hostile, or its names or orientation are not known.
    """
    opened = open_weights(path)
    tensors, _, notes = neutral(opened, slots, family, framework, key)
    opened.check()
    return State(tensors), notes


def neutral(
    opened: Checkpoint, slots: Mapping[str, Slot], family: str, framework: str | None = None, key: str | None = None
) -> tuple[dict[str, Array], str, list[str]]:
    """Return a file's tensors in neutral form, as views of it, the layout of their names, and notes.

    Args:
        opened: The file.
        slots: As for `read`, and so are the others.
        family: The twin's family.
        framework: Whose orientation; None: as the file shows.
        key: Which weights.

    Raises:
        ParityError: As `Checkpoint.choose`, `Tables.to_twin` and `orientation` do.
    """
    tables = Tables(slots, family)
    chosen, tensors = opened.choose(key, tables)
    others = [name for name in opened.candidates() if name != chosen]
    notes = [f"weights read from {chosen!r}; also there: {', '.join(others)}"] if chosen and others else []
    notes += _widened(opened, chosen)
    learned = [name for name in tensors if tensors[name].dtype.kind in "fc"]
    try:
        short, prefix = unwrap.unprefixed(learned, tables.fit)
    except ParityError as error:
        raise ParityError(f"{opened.path}: {error}") from error
    if prefix:
        notes.append(f"names read without {prefix}")
    plain = {short.get(name, name.removeprefix(prefix)): array for name, array in tensors.items()}
    renamed, layout = tables.to_twin(plain, str(opened.path))
    whose = framework or opened.framework
    if whose == "neutral":
        whose = orientation(plain, renamed, slots, opened.metadata, opened.path)
    if whose == "paddle":
        # Paddle stores the weight of a Linear transposed; the layer's kind decides, never the shape.
        renamed = {
            name: array.T if name in slots and _was_linear(slots[name], array) else array
            for name, array in renamed.items()
        }
    fit.share_tied(renamed, slots)
    # In the network's order. Tensors that do not fit stay: `fitted` reports them.
    ordered = {name: renamed[name] for name in slots if name in renamed}
    return {**ordered, **renamed}, layout, notes


def _widened(opened: Checkpoint, key: str) -> list[str]:
    leaves = opened.candidates().get(key, {})
    count = sum(1 for leaf in leaves.values() if leaf.dtype == "bfloat16")
    return [f"{count} of {len(leaves)} tensors are bfloat16, widened to float32"] if count else []


def is_transposed(slot: Slot) -> bool:
    """Return whether Paddle stores this tensor transposed; with a weight norm, `weight_v` is the weight."""
    return slot.kind == "Linear" and slot.role in ("weight", "weight_v")


def _was_linear(slot: Slot, array: Array) -> bool:
    """Return whether a tensor of Paddle's is a Linear's; the slot may be that of a 1x1 convolution."""
    if array.ndim != 2:
        return False
    return is_transposed(slot) or (slot.role == "weight" and len(slot.shape) > 2 and set(slot.shape[2:]) == {1})


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
    shown, _ = shown_layout(tensors, metadata)
    if shown is not None:
        return shown
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


def shown_layout(names: Mapping[str, Any], metadata: Mapping[str, str]) -> tuple[str | None, str]:
    """Return whose orientation a file's metadata or its names show, None where neither does, and why."""
    roles = {name.rpartition(".")[2] for name in names}
    if "sha256" in metadata:
        return "torch", "a file of ours, which is neutral"
    if metadata.get("format") in ("pt", "torch"):
        return "torch", f"its metadata say format: {metadata['format']}"
    if roles & _TORCH_ROLES:
        return "torch", "BatchNorm's statistics are called running_mean"
    if metadata.get("format") in ("pd", "paddle"):
        return "paddle", f"its metadata say format: {metadata['format']}"
    if roles & _PADDLE_ROLES:
        return "paddle", "BatchNorm's statistics are called _mean"
    return None, "neither its metadata nor its names show it"
