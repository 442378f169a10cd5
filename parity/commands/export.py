"""`parity export`: a network as an ONNX file that is proved to be that network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from parity.commands.app import app, run
from parity.errors import ParityError


@app.command()
def export(
    model: Annotated[
        str, typer.Argument(help="A zoo name (both twins), or torch:NAME, torch:MODULE_OR_FILE.py:callable, paddle:...")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of the files, NAME.torch.onnx and NAME.paddle.onnx.")
    ],
    only: Annotated[
        Literal["torch", "paddle"] | None, typer.Option("--from", help="The one framework to export from.")
    ] = None,
    weights: Annotated[
        str, typer.Option(help="'random' (hardened, by --seed), 'own', or a weights file, as in `parity compare`.")
    ] = "random",
    seed: Annotated[int, typer.Option(min=0, help="Of the random weights.")] = 0,
    num_classes: Annotated[int | None, typer.Option(min=1, help="Of a zoo network.")] = None,
    shape: Annotated[
        str | None,
        typer.Option("--shape", help="C,H,W of the image; by default as published, 3,224,224 for a callable."),
    ] = None,
    opset: Annotated[
        int, typer.Option(help="Version of ONNX's operators; torch writes 16 to 22, Paddle 7 to 21.")
    ] = 18,
    dynamic_size: Annotated[
        bool, typer.Option("--dynamic-size", help="Leave height and width open; refused where the network can't.")
    ] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Keep the exporter's own graph.")] = False,
    precision: Annotated[
        list[str] | None,
        typer.Option(help="fp16 or int8: also write NAME.SIDE.PRECISION.onnx, and what it costs; may be repeated."),
    ] = None,
    calibrate: Annotated[
        Path | None, typer.Option(help="A folder of pictures, or a .npy array of inputs; int8 needs it.")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Print both canonical SHA-256, and exit 1 if they differ.")
    ] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="Of each worker.")] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds for each step.")] = 900.0,
    torch_python: Annotated[str | None, typer.Option(help="Interpreter that has torch; this one by default.")] = None,
    paddle_python: Annotated[str | None, typer.Option(help="Interpreter that has Paddle; this one by default.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write what was proved to this file.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing of files that are right.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show what the frameworks print.")] = False,
) -> None:
    """Write a network as ONNX and prove it. Exit 0: every file is the network; 1: one is not; 2: could not export."""

    def work() -> bool:
        from parity import run as job
        from parity.commands.terminal import say, say_lines
        from parity.zoo import NETWORKS

        name, models = job.parse_export(model, only)
        published = next((NETWORKS[each.target].input[1:] for each in models if each.twin), (3, 224, 224))
        if json is not None:
            job.check_writable(json)
        job.make_folder(out)
        size = _shape(shape) if shape else published
        options = job.Options(
            weights=weights,
            seed=seed,
            device="cpu",
            threads=threads or job.fair_share(),
            timeout=timeout,
            pythons={side: python for side, python in (("torch", torch_python), ("paddle", paddle_python)) if python},
            num_classes=num_classes,
        )
        with job.Workers(options) as workers:
            for each in models:
                _ = workers.get(each.side)  # they import their frameworks while ONNX is imported here
            try:
                from parity import export as exporting
            except ImportError as error:
                raise ParityError(f"{error}. pip install 'cnn-parity[onnx]'") from error
            request = exporting.Request(
                out, size, opset, dynamic_size, raw, precisions=tuple(precision or ()), calibrate=calibrate
            )
            try:
                files = exporting.export_models(name, models, request, options, workers)
            finally:
                if verbose:
                    say_lines(workers.log())
        for file in files:
            if not file.ok:
                say(f"{file.path}: not written: {file.reason}", err=True)
            elif not quiet:
                exact = "no float64"
                if file.distance is not None:
                    exact = f"{file.distance:.2g} of {file.allowance:.2g} in float64"
                say(
                    f"{file.path}: {file.verdict}: {file.noise:.3g}u of {file.bound:.4g}u in ONNX Runtime, {exact}; "
                    f"{file.nodes[0]} nodes (the exporter's {file.nodes[1]}); "
                    f"{file.layers[0]} of {file.layers[1]} layers' outputs are in it"
                )
                for note in file.notes:
                    typer.echo(f"{file.path}: note: {note}")
                for path, report in file.lower.items():
                    say(f"{path}: {report}")
        different = exporting.difference(files)
        if len(files) > 1 and not quiet:
            say(f"{name}: canonical files: {different or 'the same bytes from both frameworks'}")
        if verify:
            for file in files:
                typer.echo(f"{file.canonical_sha256}  {file.side}")
        if json is not None:
            exporting.write_json(name, files, json)
        return all(file.ok for file in files) and not (verify and different)

    run(work)


def _shape(text: str) -> tuple[int, int, int]:
    try:
        channels, height, width = map(int, text.split(","))
    except ValueError:
        channels = height = width = 0
    if min(channels, height, width) < 1:
        raise ParityError(f"--shape {text}: C,H,W, each at least 1; 3,224,224 for a colour picture")
    return channels, height, width
