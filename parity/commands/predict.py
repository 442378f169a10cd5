"""`parity predict`: what an exported file sees in pictures."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from parity.commands.app import app, run

if TYPE_CHECKING:
    from parity.classify import Guess


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="An ONNX file that takes pictures.")],
    pictures: Annotated[list[Path], typer.Argument(help="Pictures, or folders of them.")],
    labels: Annotated[Path | None, typer.Option(help="Names of the classes: a line each, or JSON.")] = None,
    top: Annotated[int, typer.Option(min=1, help="Classes to show for each.")] = 5,
    batch: Annotated[int, typer.Option(min=1, help="Pictures at a time, where the file takes any number.")] = 8,
    device: Annotated[
        Literal["auto", "cpu", "cuda", "tensorrt"], typer.Option(help="ONNX Runtime's provider.")
    ] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="By default half the machine's cores.")] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to open the file, and for each batch.")] = 600.0,
    json: Annotated[Path | None, typer.Option(help="Write the classes to this file.")] = None,
) -> None:
    """Tell the likeliest classes of pictures; onnxruntime, numpy and pillow are all it needs."""

    def work() -> bool:
        from dataclasses import asdict

        from parity.atomic import atomic, check_writable
        from parity.commands.terminal import say
        from parity.limited import limited

        if json is not None:
            check_writable(json)

        def guesses() -> Iterator[tuple[Path, list[Guess]]]:
            from parity.classify import Classifier, pictures_in, read_labels
            from parity.run import fair_share

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
            with atomic(json) as part:
                _ = part.write_text(jsonlib.dumps(told, indent=1) + "\n")
        return True

    run(work)
