"""Where a layer comes from: its class, the file that has it, and its weights by the framework's own names."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parity.errors import ParityError
from parity.tracing.backend import Backend


@dataclass(frozen=True)
class Source:
    """How a network is built anew: by a SPEC, or as a twin.

    Attributes:
        module: The module to import.
        folder: Where it lies; "" for an installed one.
        code: What follows the module: "build(num_classes=10)".
    """

    module: str
    folder: str
    code: str


@dataclass(frozen=True)
class Origin:
    """Where a layer comes from.

    Attributes:
        module: Of its class.
        name: Its class, with those that hold it: "Net.Block".
        file: Of its class; "" where there is none.
        own: Whether the class is the user's, not the framework's.
        weights: Names in the file of its weights.
        network: How its network is built anew; None for a live one.
    """

    module: str
    name: str
    file: str
    own: bool
    weights: tuple[str, ...]
    network: Source | None = None


def origin(backend: Backend, network: Any, layer: str, path: Path, source: Source | None) -> Origin:
    """Return where a layer comes from, and write its weights to a file.

    Args:
        backend: The network's.
        network: Live.
        layer: Dotted path of the layer; "" is the network.
        path: Of the file of weights, .npz: each under the name and in the orientation that the framework gives it.
        source: How the network is built anew.

    Raises:
        ParityError: If the network has no such layer.
    """
    found = dict(backend.layers(network)).get(layer)
    if found is None:
        raise ParityError(f"{layer}: no layer of the candidate has this name")
    cls = type(found)
    try:
        file = inspect.getsourcefile(cls) or ""
    except (TypeError, OSError):  # written in C, or typed at a prompt
        file = ""
    state = {name: tensor for name, tensor in found.state_dict().items() if backend.is_tensor(tensor)}
    np.savez(path, **{name: backend.to_numpy(tensor) for name, tensor in state.items()})  # pyright: ignore[reportArgumentType]
    own = cls.__module__.partition(".")[0] != backend.NAME
    return Origin(cls.__module__, cls.__qualname__, file, own, tuple(state), source)
