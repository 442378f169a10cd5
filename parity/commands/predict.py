"""`parity predict`: the classes of pictures by an exported file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parity.commands.app import answers
from parity.commands.options import Device, Json, OnnxFile, Threads, Timeout
from parity.commands.outputs import check_outputs
from parity.commands.say import say

if TYPE_CHECKING:
    from parity.deploy.classify import Guess


@answers
def predict(
    model: OnnxFile,
    pictures: Annotated[list[Path], typer.Argument(help="Pictures, or folders of them.")],
    labels: Annotated[Path | None, typer.Option(help="Names of the classes: one on each line, or JSON.")] = None,
    top: Annotated[int, typer.Option(min=1, help="Number of classes to show for each.")] = 5,
    batch: Annotated[int, typer.Option(min=1, help="Batch size, where the file takes any.")] = 8,
    device: Device = "auto",
    threads: Threads = None,
    timeout: Timeout = 600.0,
    json: Json = None,
) -> bool:
    """Show the most likely classes of pictures; needs only onnxruntime, numpy and pillow."""
    from dataclasses import asdict

    from parity.limited import limited

    check_outputs(json)

    def guesses() -> Iterator[tuple[Path, list[Guess]]]:
        from parity.deploy.classify import Classifier, read_labels
        from parity.picture import pictures_in
        from parity.processes.pool import fair_share

        paths = pictures_in(pictures)
        names = None if labels is None else read_labels(labels)
        classifier = Classifier.open(model, device, threads or fair_share())
        yield from classifier.guesses(paths, names, top, batch)

    predictions = list(limited(guesses, timeout, str(model)))  # all of them, before anything is printed
    for path, best in predictions:
        say(str(path))
        for guess in best:
            say(f"  {guess.probability:7.2%}  {guess.label}")
    if json is not None:
        entries = [{"picture": str(path), "classes": [asdict(each) for each in best]} for path, best in predictions]
        json.write({"schema": 1, "pictures": entries})
    return True
