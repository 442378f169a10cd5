"""The arguments and options that several verbs have: one type each, so that they mean and say the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from parity.commands.outputs import JsonFile

_LIVE = "torch:NAME, torch:MODULE_OR_FILE.py:callable, or paddle:... alike"

OneModel = Annotated[str, typer.Argument(help=f"A zoo name (torch's twin), {_LIVE}.")]
OneModelOrNone = Annotated[str | None, typer.Argument(help=f"A zoo name (torch's twin), {_LIVE}.")]
BothTwins = Annotated[str, typer.Argument(help=f"A zoo name (both twins), {_LIVE}.")]
ZooNames = Annotated[list[str], typer.Argument(help="Zoo names.")]
OnnxFile = Annotated[Path, typer.Argument(help="A float32 ONNX file that takes pictures.")]

Weights = Annotated[
    str,
    typer.Option(
        help="'random' (hardened, by --seed), 'own' (as the callables made them), or a .safetensors, .pth, .pt or "
        ".pdparams file in the names of the twins, torchvision or paddle.vision."
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Of what is drawn at random.")]
NumClasses = Annotated[int | None, typer.Option(min=1, help="Of a zoo network.")]
Calibrate = Annotated[Path | None, typer.Option(help="A folder of pictures, or a .npy array of inputs; int8 needs it.")]

Device = Annotated[
    Literal["auto", "cpu", "gpu", "cuda", "tensorrt"],
    typer.Option(help="Where to run; auto takes a GPU that is seen; cuda (gpu to it) and tensorrt are ONNX Runtime's."),
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Of each process that computes; by default half the machine's cores.")
]
Timeout = Annotated[float, typer.Option(min=1, help="Seconds for each step of the work.")]
TorchPython = Annotated[str | None, typer.Option(help="Interpreter that has torch; this one by default.")]
PaddlePython = Annotated[str | None, typer.Option(help="Interpreter that has Paddle; this one by default.")]
OnnxPython = Annotated[str | None, typer.Option(help="Interpreter that has onnx and onnxruntime; this one by default.")]

Json = Annotated[
    JsonFile | None,
    typer.Option(
        parser=JsonFile,
        metavar="FILE",
        help="Write the result to this file as JSON; - for stdout, which then has no more.",
    ),
]
Plot = Annotated[Path | None, typer.Option(help="Draw the result into this .png file (`pooling`: or .svg, .pdf).")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the verdict alone; nothing where there is none.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show what the frameworks print.")]
Rounds = Annotated[int, typer.Option(min=1, help="Runs of each, taking turns; medians are shown.")]
Batches = Annotated[list[int] | None, typer.Option("--batch", min=1, help="Images at a time; may be repeated.")]


def interpreters(**chosen: str | None) -> dict[str, str]:
    """Return the interpreters that were chosen, by side, without the sides that have none."""
    return {backend: python for backend, python in chosen.items() if python}
