"""`parity predict`: what an exported file sees in pictures."""

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
    labels: Annotated[Path | None, typer.Option(help="Names of the classes: a line each, or JSON.")] = None,
    top: Annotated[int, typer.Option(min=1, help="Classes to show for each.")] = 5,
    batch: Annotated[int, typer.Option(min=1, help="Pictures at a time, where the file takes any number.")] = 8,
    device: Device = "auto",
    threads: Threads = None,
    timeout: Timeout = 600.0,
    json: Json = None,
) -> bool:
    """Tell the likeliest classes of pictures; onnxruntime, numpy and pillow are all it needs."""
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

    found = list(limited(guesses, timeout, str(model)))  # all of them, before a word is said
    for path, best in found:
        say(str(path))
        for guess in best:
            say(f"  {guess.probability:7.2%}  {guess.label}")
    if json is not None:
        told = [{"picture": str(path), "classes": [asdict(guess) for guess in best]} for path, best in found]
        json.write({"schema": 1, "pictures": told})
    return True
