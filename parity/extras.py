"""The optional packages, and the words that tell a user how to get them: from a wheel and from a checkout alike."""

from __future__ import annotations

import sys

# The extras of pyproject.toml. The names of the packages, since cnn-parity itself may be on no index.
PACKAGES = {
    "onnx": ("onnx", "onnxruntime", "onnxscript", "paddle2onnx"),
    "plot": ("matplotlib",),
}


def install(extra: str) -> str:
    """Return the command that installs an extra's packages; paddle2onnx has no build for Python 3.13."""
    without = {"paddle2onnx"} if sys.version_info >= (3, 13) else set()
    return f"pip install {' '.join(name for name in PACKAGES[extra] if name not in without)}"
