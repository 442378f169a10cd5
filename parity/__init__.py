"""Prove, layer by layer, that two networks compute the same function; say where and why when they do not."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parity.api import export as export
    from parity.api import lint as lint
    from parity.api import predict as predict
    from parity.api import summary as summary
    from parity.errors import ParityError as ParityError
    from parity.judging.comparison import Comparison
    from parity.runs.live import compare
    from parity.tracing.trace import Trace
    from parity.weights.checkpoint import read_weights as read_weights
    from parity.weights.state import State

_WHERE = {
    "ParityError": "errors",
    "Comparison": "judging.comparison",
    "compare": "runs.live",
    "export": "api",
    "lint": "api",
    "predict": "api",
    "read_weights": "weights.checkpoint",
    "summary": "api",
    "State": "weights.state",
    "Trace": "tracing.trace",
}
__all__ = [
    "Comparison",
    "ParityError",
    "State",
    "Trace",
    "compare",
    "export",
    "lint",
    "predict",
    "read_weights",
    "summary",
]


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
