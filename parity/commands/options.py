"""The arguments and options of several verbs: one type each, so that their meaning and help are the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from parity.commands.outputs import JsonFile

_LIVE = "torch:NAME, torch:MODULE_OR_FILE.py:callable, or the same with paddle:"

OneModel = Annotated[str, typer.Argument(help=f"A zoo name (torch's twin), {_LIVE}.")]
OneModelOrNone = Annotated[str | None, typer.Argument(help=f"A zoo name (torch's twin), {_LIVE}.")]
BothTwins = Annotated[str, typer.Argument(help=f"A zoo name (both twins), {_LIVE}.")]
ZooNames = Annotated[list[str], typer.Argument(help="Zoo names.")]
OnnxFile = Annotated[Path, typer.Argument(help="A float32 ONNX file that takes pictures.")]

Weights = Annotated[
    str,
    typer.Option(
        help="'random' (hardened, by --seed), 'own' (those of the callable's network), 'auto' (own for a callable that "
        "is exported, or compared with an ONNX file; else random), or a file of weights with the names of the network, "
        "the twins, torchvision or paddle.vision: .safetensors, .pth, .pt, .pth.tar, .ckpt, .bin, .pdparams, an index "
        "of shards or their folder."
    ),
]
Layout = Annotated[
    Literal["torch", "paddle"] | None,
    typer.Option(help="Whose orientation the Linear weights of a file have, where it does not show."),
]
Key = Annotated[
    str | None, typer.Option(help="Which weights, where a file holds several: model_ema, or Student of Student.*.")
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the random numbers.")]
NumClasses = Annotated[int | None, typer.Option(min=1, help="Number of classes of a zoo network.")]
Calibrate = Annotated[Path | None, typer.Option(help="A folder of pictures, or a .npy array of inputs; int8 needs it.")]

Device = Annotated[
    Literal["auto", "cpu", "gpu", "cuda", "tensorrt"],
    typer.Option(help="Where to run; auto: a GPU if there is one; cuda (= gpu) and tensorrt are for ONNX Runtime."),
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Threads of each computing process; by default half the machine's cores.")
]
Timeout = Annotated[float, typer.Option(min=1, help="Seconds for each step of the work.")]
TorchPython = Annotated[str | None, typer.Option(help="Interpreter with torch; by default this one.")]
PaddlePython = Annotated[str | None, typer.Option(help="Interpreter with Paddle; by default this one.")]
OnnxPython = Annotated[str | None, typer.Option(help="Interpreter with onnx and onnxruntime; by default this one.")]

Json = Annotated[
    JsonFile | None,
    typer.Option(
        parser=JsonFile,
        metavar="FILE",
        help="Write the result to this file as JSON; - for stdout, which then has nothing else.",
    ),
]
Plot = Annotated[Path | None, typer.Option(help="Write a figure to this .png file (`pooling`: or .svg, .pdf).")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only the verdict, or nothing where there is none.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show what the frameworks print.")]
Rounds = Annotated[int, typer.Option(min=1, help="Runs of each, taking turns; the report shows medians.")]
Batches = Annotated[list[int] | None, typer.Option("--batch", min=1, help="Batch size; may be repeated.")]


def interpreters(**pythons: str | None) -> dict[str, str]:
    """Return the chosen interpreters by backend, without the backends that have none."""
    return {backend: python for backend, python in pythons.items() if python}
