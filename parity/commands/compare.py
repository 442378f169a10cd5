"""`parity compare`: are two networks the same function, and if not, where and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from parity.commands.app import app, run
from parity.errors import ParityError

if TYPE_CHECKING:
    from parity.run import Options

Device = Literal["auto", "cpu", "gpu", "cuda", "tensorrt"]


@app.command()
def compare(
    model: Annotated[
        str | None,
        typer.Argument(
            help="A zoo name (torch's twin against Paddle's), or the reference: torch:NAME, "
            "torch:MODULE_OR_FILE.py:callable, paddle:..., onnx:FILE.onnx, trace:FILE.safetensors."
        ),
    ] = None,
    candidate: Annotated[
        str | None, typer.Argument(help="What is to be judged, in the same words; not with a zoo name.")
    ] = None,
    weights: Annotated[
        str,
        typer.Option(
            help="'random' (hardened, by --seed), 'own' (as the callables made them), or a .safetensors, .pth, .pt or "
            ".pdparams file in the names of the twins, torchvision or paddle.vision."
        ),
    ] = "random",
    seed: Annotated[int, typer.Option(min=0, help="Of the random weights.")] = 0,
    input_: Annotated[
        str | None,
        typer.Option(
            "--input",
            help="A picture, an array.npy, or N,C,H,W; by default the photograph that comes with the project.",
        ),
    ] = None,
    num_classes: Annotated[int | None, typer.Option(min=1, help="Of a zoo network.")] = None,
    gradients: Annotated[bool, typer.Option("--gradients", help="Compare gradients too.")] = False,
    values_only: Annotated[
        bool, typer.Option("--values-only", help="Let settings differ that this input does not show.")
    ] = False,
    device: Annotated[
        Device,
        typer.Option(help="Where both run; auto takes the GPU a framework sees; cuda and tensorrt are ONNX Runtime's."),
    ] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of each worker; by default half the machine's cores.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds for the runs.")] = 600.0,
    torch_python: Annotated[str | None, typer.Option(help="Interpreter that has torch; this one by default.")] = None,
    paddle_python: Annotated[str | None, typer.Option(help="Interpreter that has Paddle; this one by default.")] = None,
    onnx_python: Annotated[
        str | None, typer.Option(help="Interpreter that has onnx and onnxruntime; this one by default.")
    ] = None,
    save_trace: Annotated[Path | None, typer.Option(help="Folder to keep both traces in.")] = None,
    all_layers: Annotated[bool, typer.Option("--all-layers", help="One row a layer, not one a stage.")] = False,
    every: Annotated[
        bool,
        typer.Option("--all", help="Every network of the zoo at its published input; goes on where it was stopped."),
    ] = False,
    json: Annotated[
        Path | None, typer.Option(help="Write the comparison to this file; with --all, each into this folder.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the verdict alone.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show what the frameworks print.")] = False,
) -> None:
    """Compare two networks layer by layer. Exit 0: the same function; 1: not; 2: could not compare."""

    def work() -> bool:
        from parity import report
        from parity import run as job
        from parity.commands.terminal import Progress, say_lines, stdout
        from parity.picture import load_input

        options = job.Options(
            weights=weights,
            seed=seed,
            device=device,
            threads=threads or job.fair_share(),
            timeout=timeout,
            pythons={
                side: python
                for side, python in (("torch", torch_python), ("paddle", paddle_python), ("onnx", onnx_python))
                if python
            },
            gradients=gradients,
            values_only=values_only,
            num_classes=num_classes,
            save_trace=save_trace,
        )
        if every:
            if model is not None or input_ is not None or weights != "random" or num_classes is not None:
                raise ParityError(
                    "--all takes every network as published: no model, --input, --weights or --num-classes"
                )
            return _sweep(options, json, quiet, verbose)
        if model is None:
            raise ParityError("which model? Name one (parity compare resnet50), or --all for the whole zoo")
        name, models = job.parse_pair(model, candidate)
        if json is not None:
            job.check_writable(json)
        with job.Workers(options) as workers:
            try:
                with Progress(name, quiet) as progress:
                    shape = None if all(each.side == "trace" for each in models) else job.input_shape(models, workers)
                    result = job.compare_models(
                        name, models, lambda: load_input(input_, shape), options, workers, progress.update
                    )
            finally:
                if verbose:
                    say_lines(workers.log())
        if json is not None:
            job.write_json(result, json)
        if quiet:
            typer.echo(report.summary(result))
        else:
            report.show(result, stdout(), all_layers)
        return result.ok

    run(work)


def _sweep(options: Options, folder: Path | None, quiet: bool, verbose: bool) -> bool:
    from parity import report
    from parity import run as job
    from parity.commands.terminal import Progress, say, say_lines, stdout
    from parity.tables import Table
    from parity.zoo import NETWORKS

    if folder is not None:
        job.make_folder(folder)
    headings = "network", "verdict", "layers", "float64 distance", "torch float32", "paddle float32"
    counts = {"passed": 0, "differ": 0, "not compared": 0}
    console = stdout()
    with job.Workers(options) as workers, Progress("zoo", quiet) as progress:
        for result in job.compare_zoo(NETWORKS, options, workers, folder, progress.update):
            # A table of one row each: rows are to appear as they are found, and widths are known.
            table = Table(*headings, box=None, show_header=not sum(counts.values()), pad_edge=False)
            for column, width in zip(table.columns, (24, 10, 7, 17, 14, 15), strict=True):
                column.width, column.no_wrap = width, True
            if isinstance(result, tuple):
                counts["not compared"] += 1
                say(f"parity: {result[0]}: {result[1]}", err=True)
                continue
            counts["passed" if result.ok else "differ"] += 1
            table.add_row(*report.zoo_row(result))
            if not quiet:
                console.print(table)
            if not result.ok:
                typer.echo(report.summary(result), err=True)
        if verbose:
            say_lines(workers.log())
    typer.echo(f"zoo: {', '.join(f'{count} {word}' for word, count in counts.items())}.")
    if counts["not compared"] and not counts["differ"]:
        raise ParityError(f"{counts['not compared']} networks could not be compared")
    return not counts["differ"]
