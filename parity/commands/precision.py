"""`parity precision`: an ONNX file in half precision or 8-bit integers, and the cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from parity.commands import options as opt
from parity.commands.app import answers
from parity.commands.outputs import check_outputs
from parity.commands.say import say_report


@answers
def precision(
    model: opt.OnnxFile,
    to: Annotated[Literal["fp16", "int8"], typer.Option(help="The new precision.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Path of the new file.")],
    calibrate: opt.Calibrate = None,
    min_top1: opt.MinTop1 = None,
    mean: opt.Mean = None,
    std: opt.Std = None,
    channels: opt.Channels = None,
    range_: opt.Range = None,
    size: opt.Size = None,
    crop: opt.Crop = None,
    resize_mode: opt.ResizeMode = None,
    interpolation: opt.Interpolation = None,
    preprocessor: opt.Preprocessor = None,
    threads: opt.Threads = None,
    json: opt.Json = None,
    quiet: opt.Quiet = False,
) -> bool:
    """Write an ONNX file of lower precision, with float32 inputs and outputs, and report its cost.

    Exit 0; 1: written, but below --min-top1; 2: could not. Pictures are prepared as by `parity predict`.
    """
    from dataclasses import asdict

    from parity.commands.terminal import ProgressBars
    from parity.deploy.precision import lower
    from parity.processes.pool import fair_share

    check_outputs(output, json)
    asked = opt.picture_options(mean, std, channels, range_, size, crop, resize_mode, interpolation, preprocessor)
    with ProgressBars(model.name, quiet) as progress:
        step = lambda what, done, total: progress.update(to, what, done, total)
        report = lower(model, output, to, calibrate, threads or fair_share(), requested=asked, on_progress=step)
    enough = say_report(output, report, min_top1, quiet)
    if json is not None:
        json.write({"schema": 1, **asdict(report)})
    return enough
