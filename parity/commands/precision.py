"""`parity precision`: an ONNX file in half precision or 8-bit integers, and the cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from parity.commands.app import answers
from parity.commands.options import (
    Calibrate,
    Channels,
    Crop,
    Interpolation,
    Json,
    Mean,
    MinTop1,
    OnnxFile,
    Preprocessor,
    Quiet,
    Range,
    ResizeMode,
    Size,
    Std,
    Threads,
    picture_options,
)
from parity.commands.outputs import check_outputs
from parity.commands.say import say_report


@answers
def precision(
    model: OnnxFile,
    to: Annotated[Literal["fp16", "int8"], typer.Option(help="The new precision.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Path of the new file.")],
    calibrate: Calibrate = None,
    min_top1: MinTop1 = None,
    mean: Mean = None,
    std: Std = None,
    channels: Channels = None,
    range_: Range = None,
    size: Size = None,
    crop: Crop = None,
    resize_mode: ResizeMode = None,
    interpolation: Interpolation = None,
    preprocessor: Preprocessor = None,
    threads: Threads = None,
    json: Json = None,
    quiet: Quiet = False,
) -> bool:
    """Write an ONNX file of lower precision, with float32 inputs and outputs, and report its cost.

    Exit 0; 1: written, but below --min-top1; 2: could not. Pictures are prepared as by `parity predict`.
    """
    from dataclasses import asdict

    from parity.commands.terminal import ProgressBars
    from parity.deploy.precision import lower
    from parity.processes.pool import fair_share

    check_outputs(output, json)
    asked = picture_options(mean, std, channels, range_, size, crop, resize_mode, interpolation, preprocessor)
    with ProgressBars(model.name, quiet) as progress:
        step = lambda what, done, total: progress.update(to, what, done, total)
        report = lower(model, output, to, calibrate, threads or fair_share(), requested=asked, on_progress=step)
    enough = say_report(output, report, min_top1, quiet)
    if json is not None:
        json.write({"schema": 1, **asdict(report)})
    return enough
