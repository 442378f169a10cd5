"""Import a backend by its name: this imports its framework."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from parity.tracing.backend import Backend


def load_backend(name: str) -> Backend:
    """Return the backend of a framework.

    Args:
        name: "torch", "paddle" or "onnx".

    Raises:
        ImportError: If the framework is not installed in this interpreter.
    """
    return cast("Backend", importlib.import_module(f"parity.backends.{name}_backend"))
