"""The arguments and options of several verbs: one type each, so that their meaning and help are the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from parity.commands.outputs import JsonFile

if TYPE_CHECKING:
    from parity.deploy.preparation import Requested

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
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="WHAT",
        help="A picture, an array.npy, or a shape, 1,3,224,224 or 1,16:int64; by default the project's photograph. "
        "Once for each input of the network: NAME=WHAT for a keyword argument, or one .npz with all of them.",
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the random numbers.")]
NumClasses = Annotated[int | None, typer.Option(min=1, help="Number of classes of a zoo network.")]
Calibrate = Annotated[
    Path | None,
    typer.Option(
        help="A folder of pictures, or a .npy array of inputs; int8 needs it: every second one is to calibrate on, the "
        "others are to judge on."
    ),
]
MinTop1 = Annotated[
    float | None,
    typer.Option(
        "--min-top1", metavar="PERCENT", min=0, max=100, help="Exit 1 if fewer pictures keep their most likely class."
    ),
]

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


# How pictures are prepared; the words are those of `parity.deploy.preparation.PictureOptions`.
_STATED = "by default as the file states it, else ImageNet's"
Mean = Annotated[
    str | None,
    typer.Option(help=f"One number or R,G,B, in the order and range that the network takes; {_STATED}."),
]
Std = Annotated[str | None, typer.Option(help="Standard deviation, likewise; pixels are divided by it.")]
Channels = Annotated[
    Literal["rgb", "bgr"] | None, typer.Option(help="Order of the colours; bgr is that of OpenCV and Caffe.")
]
Range = Annotated[
    str | None,
    typer.Option("--range", help="0..1 or 0..255: pixels before mean and std, which are none if it changes."),
]
Size = Annotated[str | None, typer.Option(help="H or H,W in pixels, of a file that takes any size.")]
Crop = Annotated[
    float | None, typer.Option(help="Part of each side that is cut out of the resized picture; 0.875 is 224 of 256.")
]
ResizeMode = Annotated[
    Literal["crop", "stretch"] | None,
    typer.Option(help="crop: keep the picture's shape and cut out the middle; stretch: do not keep it."),
]
Interpolation = Annotated[str | None, typer.Option(help="nearest, bilinear, bicubic, lanczos, box or hamming.")]
Preprocessor = Annotated[
    Path | None,
    typer.Option(
        help="A preprocessor_config.json of transformers or a config.json of timm; one beside the file is read."
    ),
]


def picture_options(
    mean: str | None,
    std: str | None,
    channels: str | None,
    range_: str | None,
    size: str | None,
    crop: float | None,
    resize_mode: str | None,
    interpolation: str | None,
    preprocessor: Path | None,
) -> Requested:
    """Return how pictures are to be prepared, by the options above.

    Raises:
        ParityError: If one has no meaning.
    """
    from parity.deploy.preparation import requested

    return requested(
        {
            "mean": mean,
            "std": std,
            "channels": channels,
            "range": range_,
            "size": size,
            "crop": crop,
            "resize_mode": resize_mode,
            "interpolation": interpolation,
            "preprocessor": preprocessor,
        }
    )
