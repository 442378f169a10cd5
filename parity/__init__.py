"""Prove, layer by layer, that two networks compute the same function; say where and why when they do not."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parity.comparison import Comparison as Comparison
    from parity.errors import ParityError as ParityError
    from parity.live import compare as compare
    from parity.state import State as State
    from parity.trace import Trace as Trace

_WHERE = {"ParityError": "errors", "Comparison": "comparison", "compare": "live", "State": "state", "Trace": "trace"}
__all__ = ["Comparison", "ParityError", "State", "Trace", "compare"]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for: `import parity` alone loads nothing, numpy included."""
    if name == "__version__":
        return _version()
    if name not in _WHERE:
        raise AttributeError(f"module 'parity' has no attribute {name!r}")
    return getattr(importlib.import_module(f"parity.{_WHERE[name]}"), name)


def _version() -> str:
    """Return the version that is installed, or the one a checkout that is not installed says it is of."""
    from importlib import metadata
    from pathlib import Path

    try:
        return metadata.version("cnn-parity")
    except metadata.PackageNotFoundError:
        project = Path(__file__).parents[1] / "pyproject.toml"
        lines = project.read_text(encoding="utf-8").splitlines() if project.exists() else []
        return next((line.split('"')[1] for line in lines if line.startswith("version = ")), "unknown")
