"""Weights in several files, by an index in JSON: Hugging Face's *.safetensors.index.json and *.bin.index.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parity.errors import ParityError
from parity.numerics.arrays import Array

_INDEX = ".index.json"
_ENDINGS = (_INDEX, ".safetensors", ".pdparams", ".pth", ".pt", ".bin", ".ckpt", ".pth.tar")
_LARGEST_INDEX = 1 << 28  # bytes


def one_file(path: Path) -> Path:
    """Return the file of weights that a path means: itself, or the only one of a folder; an index comes first.

    Raises:
        ParityError: If there is none, or several.
    """
    if not path.is_dir():
        if not path.is_file():
            raise ParityError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
        return path
    inside = sorted(each for each in path.iterdir() if each.name.endswith(_ENDINGS) and each.is_file())
    chosen = [each for each in inside if each.name.endswith(_INDEX)] or inside
    if len(chosen) != 1:
        found = ", ".join(each.name for each in chosen[:6]) or "none"
        raise ParityError(f"{path}: a folder; of its files of weights name one: {found}")
    return chosen[0]


def is_index(path: Path) -> bool:
    """Return whether a file is an index of shards, by its name."""
    return path.name.endswith(_INDEX)


def _weight_map(path: Path) -> dict[str, str]:
    if path.stat().st_size > _LARGEST_INDEX:
        raise ParityError("an index of more than 256 MB is none")
    try:
        told: Any = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ParityError("no index of shards: it is not JSON") from error
    found = told.get("weight_map") if isinstance(told, dict) else None
    if not isinstance(found, dict) or not found or not all(isinstance(name, str) for name in found.values()):
        raise ParityError("no index of shards: it has no weight_map from names to files")
    return found


def parts(path: Path) -> list[tuple[str, Path]]:
    """Return the files that an index names, and their paths beside it.

    Raises:
        ParityError: If one is missing, or lies elsewhere by its name; all that are missing are named.
    """
    names = list(dict.fromkeys(_weight_map(path).values()))
    outside = [name for name in names if Path(name).name != name or name == ".." or "\\" in name]
    if outside:
        raise ParityError(f"its shard {outside[0]!r} leaves the folder")
    missing = [name for name in names if not (path.parent / name).is_file()]
    if missing:
        raise ParityError(f"of its {len(names)} shards {len(missing)} are missing: {', '.join(missing[:6])}")
    return [(name, path.parent / name) for name in names]


def joined(path: Path, shards: Mapping[str, Mapping[str, Array]]) -> dict[str, Array]:
    """Return the tensors that an index names, in its order.

    Raises:
        ParityError: If a shard lacks one.
    """
    wanted = _weight_map(path)
    lacking = [f"{name} in {shard}" for name, shard in wanted.items() if name not in shards[shard]]
    if lacking:
        raise ParityError(f"{len(lacking)} tensors of the index are not in their shards: {', '.join(lacking[:6])}")
    return {name: shards[shard][name] for name, shard in wanted.items()}
