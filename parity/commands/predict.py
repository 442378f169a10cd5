"""`parity predict`: the classes of pictures by an exported file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parity.commands import options as opt
from parity.commands.app import answers
from parity.commands.outputs import check_outputs
from parity.commands.say import say

if TYPE_CHECKING:
    from parity.deploy.classify import Predictions


@answers
def predict(
    model: opt.OnnxFile,
    pictures: Annotated[list[Path], typer.Argument(help="Pictures, or folders of them.")],
    labels: Annotated[Path | None, typer.Option(help="Names of the classes: one on each line, or JSON.")] = None,
    top: Annotated[int, typer.Option(min=1, help="Number of classes to show for each.")] = 5,
    mean: opt.Mean = None,
    std: opt.Std = None,
    channels: opt.Channels = None,
    range_: opt.Range = None,
    size: opt.Size = None,
    crop: opt.Crop = None,
    resize_mode: opt.ResizeMode = None,
    interpolation: opt.Interpolation = None,
    preprocessor: opt.Preprocessor = None,
    batch: Annotated[int, typer.Option(min=1, help="Batch size, where the file takes any.")] = 8,
    device: opt.Device = "auto",
    threads: opt.Threads = None,
    timeout: opt.Timeout = 600.0,
    json: opt.Json = None,
) -> bool:
    """Show the most likely classes of pictures; needs only onnxruntime, numpy and pillow.

    How pictures are prepared, and where that is from, is the first line: these options, else --preprocessor, else the
    file's metadata, which `parity export` writes, else preprocessor_config.json or config.json beside it, else
    ImageNet's way.
    """
    from dataclasses import asdict

    from parity.limited import limited

    check_outputs(json)
    asked = opt.picture_options(mean, std, channels, range_, size, crop, resize_mode, interpolation, preprocessor)

    def work() -> Iterator[Predictions]:
        from parity.deploy import classify
        from parity.processes.pool import fair_share

        names = None if labels is None else classify.read_labels(labels)
        return classify.predict(model, pictures, names, top, batch, device, threads or fair_share(), asked)

    batches = list(limited(work, timeout, str(model)))  # all of them, before anything is printed
    predictions = [prediction for each in batches for prediction in each.pictures]
    say(f"pictures: {batches[0].preparation}")
    for each in predictions:
        say(str(each.picture))
        for guess in each.classes:
            say(f"  {guess.probability:7.2%}  {guess.label}")
    if json is not None:
        entries = [
            {"picture": str(each.picture), "classes": [asdict(guess) for guess in each.classes]} for each in predictions
        ]
        json.write({"schema": 1, "preparation": batches[0].preparation, "pictures": entries})
    return True
