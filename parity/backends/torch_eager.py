"""Run torch's networks as the Python code that they are: recording a layer needs its own call."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def eager() -> Iterator[None]:
    """Run compiled modules and functions as they were before torch.compile, for a while."""
    if "torch._dynamo" not in sys.modules:  # nothing was compiled; importing it takes seconds
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield
