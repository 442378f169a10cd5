"""`parity export`: a network as an ONNX file that is proved to be that network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from parity.commands import options as opt
from parity.commands.app import answers
from parity.commands.outputs import check_outputs
from parity.commands.say import say, say_lines, say_report
from parity.errors import ParityError
from parity.extras import install

if TYPE_CHECKING:
    from parity.deploy.exported import Exported


@answers
def export(
    model: opt.BothTwins,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the files, NAME.torch.onnx and NAME.paddle.onnx.")
    ],
    only: Annotated[
        Literal["torch", "paddle"] | None, typer.Option("--from", help="Export from this framework only.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="NAME of the files; by default the zoo name, or the callable's, or its file's for `build`."),
    ] = None,
    weights: opt.Weights = "auto",
    layout: opt.Layout = None,
    key: opt.Key = None,
    seed: opt.Seed = 0,
    num_classes: opt.NumClasses = None,
    shape: Annotated[
        str | None,
        typer.Option("--shape", help="C,H,W of the image; by default the published one, or 3,224,224 for a callable."),
    ] = None,
    opset: Annotated[
        int, typer.Option(help="Version of ONNX's operators; torch writes 16 to 22, Paddle 7 to 21.")
    ] = 18,
    dynamic_size: Annotated[
        bool, typer.Option("--dynamic-size", help="Leave height and width open; refused where the network cannot.")
    ] = False,
    probe: Annotated[
        list[str] | None,
        typer.Option(
            help="H,W: a further size to prove a file of open size at, if not any size will do; may be repeated."
        ),
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Write the exporter's own graph.")] = False,
    precision: Annotated[
        list[str] | None,
        typer.Option(help="fp16 or int8: also write NAME.SIDE.PRECISION.onnx and report its cost; may be repeated."),
    ] = None,
    calibrate: opt.Calibrate = None,
    min_top1: opt.MinTop1 = None,
    mean: opt.Mean = None,
    std: opt.Std = None,
    channels: opt.Channels = None,
    range_: opt.Range = None,
    crop: opt.Crop = None,
    resize_mode: opt.ResizeMode = None,
    interpolation: opt.Interpolation = None,
    preprocessor: opt.Preprocessor = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Print both canonical SHA-256 hashes, and exit 1 if they differ.")
    ] = False,
    threads: opt.Threads = None,
    timeout: opt.Timeout = 900.0,
    torch_python: opt.TorchPython = None,
    paddle_python: opt.PaddlePython = None,
    json: opt.Json = None,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> bool:
    """Write a network as ONNX and prove it. Exit 0: every file is the network; 1: one is not; 2: could not export.

    --mean to --preprocessor state how its pictures are prepared. The file's metadata keeps it, for `parity predict` and
    for calibration. A zoo network has its own.
    """
    from parity.atomic import make_folder
    from parity.commands.terminal import ProgressBars
    from parity.deploy.preparation import preparation_of
    from parity.processes.models import file_stem, parse_export, settled_weights
    from parity.processes.pool import Options, Workers, fair_share
    from parity.zoo import NETWORKS

    usual, models = parse_export(model, only)
    name = usual if name is None else file_stem(name)
    asked = opt.picture_options(mean, std, channels, range_, None, crop, resize_mode, interpolation, preprocessor)
    published = next((NETWORKS[each.target].input[1:] for each in models if each.twin), (3, 224, 224))
    check_outputs(json)
    make_folder(out)
    size = _shape(shape) if shape else published
    if probe and not dynamic_size:
        raise ParityError("--probe names sizes for --dynamic-size; without it the file has one size")
    options = Options(
        weights=settled_weights(weights, models),
        layout=layout,
        key=key,
        seed=seed,
        device="cpu",
        threads=threads or fair_share(),
        timeout=timeout,
        pythons=opt.interpreters(torch=torch_python, paddle=paddle_python),
        num_classes=num_classes,
    )
    preparation = preparation_of(models[0].target if models[0].twin else "", size, asked)
    with Workers(options) as workers, ProgressBars(name, quiet) as progress:
        for each in models:
            _ = workers.get(each.backend)  # they import their frameworks while this process imports ONNX
        try:
            from parity.deploy import export as exporting
        except ImportError as error:
            raise ParityError(f"{error}. {install('onnx')}") from error
        request = exporting.Request(
            out,
            size,
            opset,
            dynamic_size,
            tuple(_probe(each) for each in probe or ()),
            raw,
            precisions=tuple(precision or ()),
            calibrate=calibrate,
            preparation=preparation,
        )
        try:
            files = exporting.export_models(name, models, request, options, workers, progress.update)
        finally:
            if verbose:
                say_lines(workers.log())
    if not quiet:
        chosen = {"random": f"random, seed {seed}", "own": "own, as the callable made them"}
        say(f"{name}: weights: {chosen.get(options.weights, options.weights)}")
    for file in files:
        _show(file, quiet)
    reports = [(path, report) for file in files for path, report in file.lower.items()]
    enough = [say_report(path, report, min_top1, quiet) for path, report in reports]
    different = exporting.difference(files)
    if len(files) > 1 and not quiet:
        say(f"{name}: canonical files: {different or 'the same bytes from both frameworks'}")
    if verify:
        for file in files:
            say(f"{file.canonical_sha256}  {file.backend}")
    if json is not None:
        json.write(exporting.as_json(name, files))
    return all(file.ok for file in files) and all(enough) and not (verify and different)


def _show(file: Exported, quiet: bool) -> None:
    """Print the proof of a file, or why it was not written."""
    if not file.ok:
        say(f"{file.path}: not written: {file.reason}", err=True)
        return
    if quiet:
        return
    meaning = "not known in float64"
    if file.distance is not None:
        meaning = f"{file.distance:.2g} of {file.allowance:.2g} in float64"
    say(
        f"{file.path}: {file.verdict}: {file.noise:.3g}u of {file.bound:.4g}u in ONNX Runtime, {meaning}; "
        f"{file.nodes[0]} nodes (the exporter's {file.nodes[1]}); "
        f"{file.layers[0]} of {file.layers[1]} layers' outputs are in it"
    )
    for note in file.notes:
        say(f"{file.path}: note: {note}")


def _probe(text: str) -> tuple[int, int]:
    try:
        height, width = map(int, text.split(","))
    except ValueError:
        height = width = 0
    if min(height, width) < 1:
        raise ParityError(f"--probe {text}: H,W, each at least 1; 256,320 for a picture")
    return height, width


def _shape(text: str) -> tuple[int, int, int]:
    try:
        channels, height, width = map(int, text.split(","))
    except ValueError:
        channels = height = width = 0
    if min(channels, height, width) < 1:
        raise ParityError(f"--shape {text}: C,H,W, each at least 1; 3,224,224 for a colour picture")
    return channels, height, width
