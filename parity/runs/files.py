"""What a comparison with an ONNX file has besides: nodes without float64, and sizes that the file leaves free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from parity.errors import ParityError
from parity.json_codec import decode
from parity.judging.comparison import Comparison, Culprit
from parity.numerics.arrays import Array
from parity.numerics.distance import distance
from parity.onnx_files.free_sizes import ALIKE, FreeSize, inputs_at
from parity.processes import jobs
from parity.processes.models import FRAMEWORKS, Model
from parity.processes.workers import Worker, ask

_ROLES = "reference", "candidate"


def with_file_notes(comparison: Comparison) -> Comparison:
    """Return the comparison with a note for the nodes of a file that were evaluated in float32, for want of float64."""
    notes = list(comparison.notes)
    for role, manifest in zip(_ROLES, (comparison.reference, comparison.candidate), strict=True):
        if nodes := manifest.get("in_float32"):
            more = f" and {len(nodes) - 6} more" if len(nodes) > 6 else ""
            notes.append(f"evaluated in float32, for want of float64, in the {role}: {', '.join(nodes[:6])}{more}")
    return replace(comparison, notes=tuple(notes))


def with_free_sizes(
    comparison: Comparison, models: Sequence[Model], pool: Sequence[Worker | None], folder: Path, timeout: float
) -> Comparison:
    """Return the comparison, `different` if a size that a file leaves free does not work where the other takes it.

    Args:
        comparison: Of the two at the first size.
        models: Reference and candidate.
        pool: Their workers, None for a trace; they keep the networks of their last traces.
        folder: For temporary files, where the input is.
        timeout: For each question to a worker, in seconds.

    Raises:
        ParityError: If a worker dies or takes longer.
    """
    problems, notes = list[str](), list[str]()
    manifests = comparison.reference, comparison.candidate
    tried = [
        [decode(FreeSize, each) for each in manifest.get("free_sizes", [])] if model.backend == "onnx" else []
        for manifest, model in zip(manifests, models, strict=True)
    ]
    for number, sizes in enumerate(tried):
        other, worker, asked = models[1 - number], pool[number], pool[1 - number]
        name = Path(models[number].target).name
        for i, free in enumerate(sizes):
            if worker is None or (free.is_batch and not free.error):
                continue
            said = f"{name} says that its {free.name} is free, but at {free.size} it does not work: "
            if other.backend in FRAMEWORKS and asked is not None:
                problem = _against(free, worker, asked, folder / f"free{number}.{i}", folder / "input0.npy", timeout)
                problems += [said + problem] if problem else []
            elif free.error and any(each.axes == free.axes and each.error for each in tried[1 - number]):
                notes.append(said + free.error)
            elif free.error:
                problems.append(said + free.error)
    notes += [] if comparison.ok else problems
    result = replace(comparison, notes=(*comparison.notes, *notes))
    if not problems or not comparison.ok:
        return result
    return replace(result, verdict="different", culprits=tuple(Culprit("", each) for each in problems))


def _against(free: FreeSize, file: Worker, network: Worker, folder: Path, first: Path, timeout: float) -> str:
    """Return why a file does not do at a second size what the network does, "" if it does or the network cannot."""
    source = folder / "input0.npy"
    for each in (folder / "network", folder / "file"):
        each.mkdir(parents=True)
    (array,) = inputs_at(free, [np.load(first, allow_pickle=False)])
    np.save(source, array)
    try:
        ask(network, jobs.Outputs(((source, folder / "network"),)), timeout)
    except ParityError:
        return ""  # nor does the network take it
    if not free.error:
        ask(file, jobs.FileOutputs(source, folder / "file"), timeout)
    expected, made = _arrays(folder / "network"), _arrays(folder / "file")
    if free.error:
        return free.error
    if len(expected) != len(made):
        return f"{len(made)} outputs, the network's {len(expected)}"
    for i, (one, other) in enumerate(zip(expected, made, strict=True)):
        if one.shape != other.shape:
            return f"output {i} has shape {other.shape}, the network's {one.shape}"
        if one.dtype.kind == "f" and not distance(other.astype(np.float64), one).relative <= ALIKE:
            return f"output {i} is {distance(other.astype(np.float64), one).relative:.2g} of the rms off the network's"
    return ""


def _arrays(folder: Path) -> list[Array]:
    return [np.load(path, allow_pickle=False) for path in sorted(folder.glob("*.npy"), key=lambda each: int(each.stem))]
