"""The way to a door, by name: importing one imports its framework."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from parity.tracing.side import Side


def load_side(name: str) -> Side:
    """Return the door to a framework.

    Args:
        name: "torch", "paddle" or "onnx".

    Raises:
        ImportError: If the framework is not installed in this interpreter.
    """
    return cast("Side", importlib.import_module(f"parity.backends.{name}_side"))
