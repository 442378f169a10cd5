"""The worker processes of a session, and the options they run with."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from parity.processes.workers import Worker


@dataclass(frozen=True)
class Options:
    """How to run two models.

    Attributes:
        weights: "random", "own", or a file.
        layout: Orientation of a file's Linear weights, "torch" or "paddle"; None: as the file shows.
        key: Which weights of a file that holds several.
        seed: Seed of the random weights.
        device: "auto", "cpu", "gpu", or ONNX Runtime's names "cuda" and "tensorrt".
        threads: Number of threads of each worker.
        timeout: Seconds for both runs together.
        pythons: Interpreter of each backend; this interpreter where there is none.
        gradients: Whether gradients are compared too.
        mode: "eval", or "train".
        values_only: Whether a layer passes when its settings differ and its output on this input does not.
        num_classes: Outputs of a twin; None for the published number.
        layers: The candidate's layer of a layer of the reference, where names and structure do not show it.
        save_trace: Folder to save the Traces in.
        repro: Folder for the reproduction of the first culprit.
    """

    weights: str = "random"
    layout: str | None = None
    key: str | None = None
    seed: int = 0
    device: str = "auto"
    threads: int = 1
    timeout: float = 600.0
    pythons: Mapping[str, str] = field(default_factory=dict)
    gradients: bool = False
    mode: Literal["eval", "train"] = "eval"
    values_only: bool = False
    num_classes: int | None = None
    layers: Mapping[str, str] = field(default_factory=dict)
    save_trace: Path | None = None
    repro: Path | None = None


def fair_share() -> int:
    """Return the threads for each of two workers on this machine."""
    return max(1, len(os.sched_getaffinity(0)) // 2 if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 2) // 2)


class Workers:
    """The worker processes of a session, each started when it is first needed and ended with the session."""

    def __init__(self, options: Options):
        self.options = options
        self._stack = contextlib.ExitStack()
        self._workers: dict[tuple[str, int], Worker] = {}

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def get(self, backend: str, role: int = 0) -> Worker:
        """Return the worker of a backend; `role` distinguishes two models of the same framework."""
        if (backend, role) not in self._workers:
            python = self.options.pythons.get(backend) or sys.executable
            worker = Worker(backend, python, self.options.threads)
            self._workers[backend, role] = self._stack.enter_context(worker)
        return self._workers[backend, role]

    def restart(self) -> None:
        """End all workers; new ones start when they are needed."""
        self._stack.close()
        self._workers.clear()

    def log(self) -> str:
        """Return everything that the frameworks have printed."""
        return "".join(worker.log() for worker in self._workers.values())
