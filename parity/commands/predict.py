"""`parity predict`: what an exported file sees in pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from parity.commands.app import answers
from parity.commands.options import Device, Json, OnnxFile, Threads
from parity.commands.outputs import check_outputs


@answers
def predict(
    model: OnnxFile,
    pictures: Annotated[list[Path], typer.Argument(help="Pictures, or folders of them.")],
    labels: Annotated[Path | None, typer.Option(help="Names of the classes: a line each, or JSON.")] = None,
    top: Annotated[int, typer.Option(min=1, help="Classes to show for each.")] = 5,
    batch: Annotated[int, typer.Option(min=1, help="Pictures at a time, where the file takes any number.")] = 8,
    device: Device = "auto",
    threads: Threads = None,
    json: Json = None,
) -> bool:
    """Tell the likeliest classes of pictures; onnxruntime, numpy and pillow are all it needs."""
    from dataclasses import asdict

    from parity.classify import Classifier, pictures_in, read_labels
    from parity.run import fair_share

    check_outputs(json)
    paths = pictures_in(pictures)
    names = None if labels is None else read_labels(labels)
    classifier = Classifier.open(model, device, threads or fair_share())
    found = list(classifier.guesses(paths, names, top, batch))  # all of them, before a word is said
    for path, guesses in found:
        typer.echo(str(path))
        for guess in guesses:
            typer.echo(f"  {guess.probability:7.2%}  {guess.label}")
    if json is not None:
        told = [{"picture": str(path), "classes": [asdict(guess) for guess in best]} for path, best in found]
        json.write({"schema": 1, "pictures": told})
    return True
