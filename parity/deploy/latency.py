"""The time of a network in every way to run it: each framework in its own process, taking turns.

They take turns because a disturbance of the machine then affects all of them alike.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parity.errors import ParityError
from parity.extras import install
from parity.json_codec import encode
from parity.picture import load_input
from parity.processes import jobs
from parity.processes.models import Model
from parity.processes.pool import Options, Workers
from parity.processes.questions import setup
from parity.processes.workers import Worker, ask, wait
from parity.temporary import temporary_folder
from parity.zoo import NETWORKS

# Of each backend, by the names that its own WAYS use.
WAYS = {"torch": ("eager", "channels-last", "compile"), "paddle": ("eager", "inference"), "onnx": ("runtime",)}
_REPEAT = 3  # timed calls a turn
_MATRIX = 1536


@dataclass(frozen=True)
class Timing:
    """The time of one way to run a network, at one batch size and number of threads.

    Attributes:
        way: "torch eager", "torch channels-last", "torch compile", "paddle eager", "paddle inference", "onnx FILE".
        batch: Images at a time.
        threads: Number of threads of one operator.
        p50: Median latency of a batch in milliseconds.
        p99: 99th percentile of it.
        images: Images a second, at the median.
        share: Its rate of operations over that of matrix products measured in the same run; None where the number of
            the network's multiplications is not known.
        refused: Why it did not run here; "" if it did.
    """

    way: str
    batch: int
    threads: int
    p50: float = 0.0
    p99: float = 0.0
    images: float = 0.0
    share: float | None = None
    refused: str = ""


@dataclass(frozen=True)
class _Runner:
    """A way to run the network, and its worker."""

    label: str
    worker: Worker
    way: str


def requested(label: str, ways: Sequence[str]) -> bool:
    """Return whether a way, or one whose label starts with it, is requested; without requests, all are."""
    return not ways or any(label.startswith(way) or way.startswith(label) for way in ways)


def exported(
    name: str,
    models: Sequence[Model],
    folder: Path,
    pythons: dict[str, str],
    timeout: float,
    on_progress: Callable[[str, str, int, int], None],
) -> tuple[list[Path], dict[str, str]]:
    """Return the files of each network, canonical and as exported, and for each file that failed the reason.

    Args:
        name: Name of the network.
        models: A network of each framework.
        folder: Where the files go.
        pythons: Interpreter of each backend.
        timeout: Seconds for each step.
        on_progress: As in `measure`.

    Raises:
        ParityError: If onnx is not installed.
    """
    try:
        from parity.deploy import export
    except ImportError as error:
        raise ParityError(f"{error}. {install('onnx')}, or leave ONNX out with --way") from error
    files, refused = list[Path](), dict[str, str]()
    options = Options(device="cpu", timeout=timeout, pythons=pythons)
    total = 2 * len(models)
    with Workers(options) as workers:
        for done, (model, raw) in enumerate((model, raw) for model in models for raw in (False, True)):
            file = folder / f"{name}.{model.backend}{'.raw' if raw else ''}.onnx"
            request = export.Request(folder / str(raw), NETWORKS[name].input[1:], raw=raw)
            request.folder.mkdir(exist_ok=True)
            try:
                (proved,) = export.export_models(name, [model], request, options, workers)
                if proved.ok:
                    files.append(proved.path.rename(file))
                else:
                    refused[f"onnx {file.name}"] = proved.reason
            except ParityError as error:
                refused[f"onnx {file.name}"] = str(error)
                workers.restart()
            on_progress(name, "exports", done + 1, total)
    return files, refused


def measure(
    name: str,
    models: Sequence[Model],
    batches: Sequence[int],
    threads: int,
    rounds: int,
    ways: Sequence[str] = (),
    pythons: dict[str, str] | None = None,
    timeout: float = 600.0,
    on_progress: Callable[[str, str, int, int], None] | None = None,
) -> tuple[list[Timing], float]:
    """Return the timing of every way and batch size, and the rate of float32 matrix products in operations/s.

    Args:
        name: Name of the network.
        models: A network of each framework, and files; all the same network.
        batches: Batch sizes.
        threads: Number of threads of each worker; they never work at the same time.
        rounds: Turns of each way, three timed calls a turn.
        ways: Labels to measure, or their first letters; empty for all.
        pythons: Interpreter of each backend.
        timeout: Seconds for each answer of a worker.
        on_progress: Called with name, "turns", turns done, total of turns.

    Raises:
        ParityError: If none of the ways can be run.
    """
    options = Options(device="cpu", threads=threads, timeout=timeout, pythons=pythons or {})
    known = next((NETWORKS[model.target] for model in models if model.twin), None)
    shape = known.input if known else None
    rows, rates = list[Timing](), list[float]()
    with temporary_folder() as folder, Workers(options) as workers:
        runners, refused = _prepared(name, models, ways, options, workers)
        for batch in batches:
            image = load_input(None, shape)
            np.save(folder / "input.npy", np.repeat(image, batch, axis=0))
            reasons = dict(refused)
            for worker in dict.fromkeys(runner.worker for runner in runners):
                labels = {runner.way: runner.label for runner in runners if runner.worker is worker}
                job = jobs.PrepareWays(folder / "input.npy", tuple(labels))
                for way, reason in ask(worker, job, timeout).items():
                    reasons[labels[way]] = reason
            ready = [runner for runner in runners if runner.label not in reasons]
            if not ready:
                raise ParityError(f"{name}: nothing could be run: {'; '.join(reasons.values())}")
            seconds: dict[str, list[float]] = {runner.label: [] for runner in ready}
            for done in range(rounds):
                rates.append(ask(ready[0].worker, jobs.Multiply(_MATRIX), timeout))
                for runner in ready:
                    seconds[runner.label] += ask(runner.worker, jobs.TimeWay(runner.way, _REPEAT), timeout)
                if on_progress is not None:
                    on_progress(name, "turns", done + 1, rounds)
            rows += [_timing(label, batch, threads, measured) for label, measured in seconds.items()]
            rows += [Timing(label, batch, threads, refused=reason) for label, reason in reasons.items()]
    rate = statistics.median(rates)
    if known is None:
        return rows, rate
    return [_with_share(row, 2 * known.macs, rate) for row in rows], rate


def _prepared(
    name: str, models: Sequence[Model], ways: Sequence[str], options: Options, workers: Workers
) -> tuple[list[_Runner], dict[str, str]]:
    """Return the ways whose network is ready for inputs, and for each other way the reason."""
    runners, refused = list[_Runner](), dict[str, str]()
    busy = list[tuple[Worker, list[_Runner]]]()
    for role, model in enumerate(models):
        label = f"onnx {Path(model.target).name}" if model.backend == "onnx" else ""
        labels = [(label or f"{model.backend} {way}", way) for way in WAYS[model.backend]]
        labels = [(text, way) for text, way in labels if not ways or text.startswith(tuple(ways))]
        if not labels:
            continue
        worker = workers.get(model.backend, role)
        worker.submit(jobs.Prepare(setup(name, model, jobs.RandomWeights(0), options)))
        busy.append((worker, [_Runner(text, worker, way) for text, way in labels]))
    for worker, prepared in busy:
        try:
            _ = wait([worker], options.timeout)
            runners += prepared
        except ParityError as error:  # a framework that is not installed: continue with the others
            refused |= {runner.label: str(error) for runner in prepared}
    if not runners:
        raise ParityError(f"{name}: nothing to run: {'; '.join(refused.values()) or 'no way of that name'}")
    return runners, refused


def _timing(label: str, batch: int, threads: int, seconds: Sequence[float]) -> Timing:
    p50, p99 = (float(value) for value in np.percentile(seconds, [50, 99]))
    return Timing(label, batch, threads, p50 * 1e3, p99 * 1e3, batch / p50)


def _with_share(row: Timing, operations: int, rate: float) -> Timing:
    return row if row.refused else dataclasses.replace(row, share=row.images * operations / rate)


def as_json(name: str, rows: Sequence[Timing], rates: dict[int, float]) -> dict[str, Any]:
    """Return the rows and the matrix-product rates, by threads, in operations a second, for JSON."""
    return {
        "schema": 1,
        "network": name,
        "matrix_product_rate": {str(threads): rate for threads, rate in rates.items()},
        "rows": encode(rows),
    }
