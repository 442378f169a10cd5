"""`parity precision`: an ONNX file in half precision or 8-bit integers, and the cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from parity.commands.app import answers
from parity.commands.options import Calibrate, Json, OnnxFile, Threads
from parity.commands.outputs import check_outputs
from parity.commands.say import say


@answers
def precision(
    model: OnnxFile,
    to: Annotated[Literal["fp16", "int8"], typer.Option(help="The new precision.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Path of the new file.")],
    calibrate: Calibrate = None,
    threads: Threads = None,
    json: Json = None,
) -> bool:
    """Write an ONNX file of lower precision, with float32 inputs and outputs, and report its cost."""
    from dataclasses import asdict

    from parity.deploy.precision import lower
    from parity.processes.pool import fair_share

    check_outputs(output, json)
    report = lower(model, output, to, calibrate, threads or fair_share())
    say(f"{output}: {report}")
    if json is not None:
        json.write({"schema": 1, **asdict(report)})
    return True
