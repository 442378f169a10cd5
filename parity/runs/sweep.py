"""The comparison of every network of the zoo."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from parity.errors import ParityError
from parity.json_file import write_text
from parity.judging.comparison import Comparison
from parity.numerics.arrays import Array
from parity.picture import load_input
from parity.processes.models import Model
from parity.processes.pool import Options, Workers
from parity.runs.compare import OnProgress, compare_models
from parity.tracing.inputs import input_digest
from parity.zoo import NETWORKS


def compare_zoo(
    names: Iterable[str],
    options: Options,
    workers: Workers,
    folder: Path | None = None,
    on_progress: OnProgress | None = None,
) -> Iterator[Comparison | tuple[str, ParityError]]:
    """Yield the Comparison of each network's twins at its published input, or its name and the error that stopped it.

    The workers are reused from one network to the next. With `folder`, each Comparison is saved there as NAME.json. One
    that exists already, of the same weights and input, is not computed again: a stopped sweep can be continued.
    """
    for name in names:
        try:
            image = load_input(None, NETWORKS[name].input)
            comparison = None if folder is None else _cached(folder / f"{name}.json", options, image)
            if comparison is None:
                comparison = compare_models(
                    name,
                    (Model("torch", name), Model("paddle", name)),
                    lambda image=image: image,
                    options,
                    workers,
                    on_progress,
                )
                if folder is not None:
                    write_text(folder / f"{name}.json", comparison.to_json())
            yield comparison
        except ParityError as error:
            workers.restart()  # one of them may be dead, or still busy
            yield name, error


def _cached(path: Path, options: Options, image: Array) -> Comparison | None:
    try:
        comparison = Comparison.from_json(path.read_text())
    except (OSError, ValueError):
        return None
    requested = {"weights": f"random, seed {options.seed}", "input_sha256": input_digest([image])}
    manifests = comparison.reference, comparison.candidate
    modes = {manifest.get("mode", "eval") for manifest in manifests}
    if modes != {options.mode} or (options.gradients and comparison.gradients is None):
        return None
    same = all(manifest.get(key) == value for manifest in manifests for key, value in requested.items())
    return comparison if same else None
