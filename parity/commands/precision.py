"""`parity precision`: an ONNX file in half precision or 8-bit integers, and what that costs."""

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
    to: Annotated[Literal["fp16", "int8"], typer.Option(help="The precision wanted.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the new file goes.")],
    calibrate: Calibrate = None,
    threads: Threads = None,
    json: Json = None,
) -> bool:
    """Write an ONNX file of lower precision, float32 inputs and outputs kept, and say what that costs."""
    from dataclasses import asdict

    from parity.deploy.precision import lower
    from parity.processes.pool import fair_share

    check_outputs(output, json)
    found = lower(model, output, to, calibrate, threads or fair_share())
    say(f"{output}: {found}")
    if json is not None:
        json.write({"schema": 1, **asdict(found)})
    return True
