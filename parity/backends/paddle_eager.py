"""Run Paddle's layers as the Python code that they are, on a CPU too: recording a layer needs its own call."""

# pyright: reportPrivateImportUsage=false, reportAttributeAccessIssue=false
# (Paddle exports most of its names dynamically.)

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import paddle
from paddle.jit.dy2static.program_translator import ProgramTranslator


@contextlib.contextmanager
def eager() -> Iterator[None]:
    """Run what to_static has converted as it was before, and SyncBatchNorm on a CPU, for a while."""
    translator, log = ProgramTranslator(), logging.getLogger("Dynamic-to-Static")
    converts, silent = translator.enable_to_static, log.disabled
    try:
        log.disabled = True  # it warns of what is meant here
        translator.enable(False)
        with sync_batch_norm_on_a_cpu():
            yield
    finally:
        translator.enable(converts)
        log.disabled = silent


@contextlib.contextmanager
def sync_batch_norm_on_a_cpu() -> Iterator[None]:
    """Run SyncBatchNorm on a CPU as BatchNorm for a while: the same function in one process.

    Paddle has no kernel of it for a CPU, and cannot write it into a program for one.
    """
    kernel = paddle._C_ops.sync_batch_norm_

    def batch_norm(x: Any, mean: Any, variance: Any, weight: Any, bias: Any, is_test: bool, *settings: Any) -> Any:
        if paddle.in_dynamic_mode() and not x.place.is_cpu_place():
            return kernel(x, mean, variance, weight, bias, is_test, *settings)
        momentum, epsilon, layout = settings[:3]
        y = paddle.nn.functional.batch_norm(
            x, mean, variance, weight, bias, not is_test, momentum, epsilon, data_format=layout
        )
        return (y, *[None] * 5)

    try:
        paddle._C_ops.sync_batch_norm_ = batch_norm
        yield
    finally:
        paddle._C_ops.sync_batch_norm_ = kernel
