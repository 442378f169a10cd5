"""The comparison of every network of the zoo."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from parity.atomic import check_writable as check_writable
from parity.errors import ParityError
from parity.judging.comparison import Comparison
from parity.numerics.arrays import Array
from parity.picture import load_input
from parity.processes.models import Model
from parity.processes.pool import Options, Workers
from parity.runs.compare import Progress, compare_models, write_json
from parity.tracing.record import input_digest
from parity.zoo import NETWORKS


def compare_zoo(
    names: Iterable[str],
    options: Options,
    workers: Workers,
    folder: Path | None = None,
    on_progress: Progress | None = None,
) -> Iterator[Comparison | tuple[str, ParityError]]:
    """Yield the Comparison of each network's twins at its published input, or its name and what kept it from being run.

    The workers stay alive from one network to the next. With `folder`, each Comparison is kept there as NAME.json, and
    one that is there already, of the same weights and input, is not made again: a sweep goes on where it was stopped.
    """
    for name in names:
        try:
            image = load_input(None, NETWORKS[name].input)
            kept = None if folder is None else _kept(folder / f"{name}.json", options, image)
            if kept is None:
                kept = compare_models(
                    name,
                    (Model("torch", name), Model("paddle", name)),
                    lambda image=image: image,
                    options,
                    workers,
                    on_progress,
                )
                if folder is not None:
                    write_json(kept, folder / f"{name}.json")
            yield kept
        except ParityError as error:
            workers.restart()  # one of them may be dead, or busy still
            yield name, error


def _kept(path: Path, options: Options, image: Array) -> Comparison | None:
    try:
        found = Comparison.from_json(path.read_text())
    except (OSError, ValueError):
        return None
    wanted = {"weights": f"random, seed {options.seed}", "input_sha256": input_digest([image])}
    same = all(
        backend.get(word) == value for backend in (found.reference, found.candidate) for word, value in wanted.items()
    )
    return found if same else None
