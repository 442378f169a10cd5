"""`parity precision`: an ONNX file in half precision or 8-bit integers, and what that costs."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated, Literal

import typer

from parity.commands.app import app, run


@app.command()
def precision(
    model: Annotated[Path, typer.Argument(help="A float32 ONNX file that takes pictures.")],
    to: Annotated[Literal["fp16", "int8"], typer.Option(help="The precision wanted.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the new file goes.")],
    calibrate: Annotated[
        Path | None, typer.Option(help="A folder of pictures, or a .npy array of inputs; int8 needs it.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="By default half the machine's cores.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the report to this file.")] = None,
) -> None:
    """Write a file of lower precision, float32 inputs and outputs kept, and hold it against the one it came from."""

    def work() -> bool:
        from dataclasses import asdict

        from parity.atomic import atomic
        from parity.commands.terminal import say
        from parity.precision import lower
        from parity.run import check_writable, fair_share

        for path in (output, json):
            if path is not None:
                check_writable(path)
        found = lower(model, output, to, calibrate, threads or fair_share())
        say(f"{output}: {found}")
        if json is not None:
            with atomic(json) as part:
                _ = part.write_text(jsonlib.dumps(asdict(found), indent=1) + "\n")
        return True

    run(work)
