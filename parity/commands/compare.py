"""`parity compare`: are two networks the same function, and if not, where and why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from parity.commands import options as opt
from parity.commands.app import answers
from parity.commands.outputs import JsonFile, check_outputs
from parity.commands.say import say, say_lines
from parity.errors import ParityError
from parity.judging.comparison import summary

if TYPE_CHECKING:
    from parity.judging.comparison import Comparison
    from parity.processes.models import Model
    from parity.processes.pool import Options


@answers
def compare(
    model: Annotated[
        str | None,
        typer.Argument(
            help="A zoo name (torch's twin and Paddle's), or the reference: torch:NAME, "
            "torch:MODULE_OR_FILE.py:callable or callable(literals), paddle:..., onnx:FILE.onnx, "
            "trace:FILE.safetensors."
        ),
    ] = None,
    candidate: Annotated[
        str | None, typer.Argument(help="The candidate, in the same form; not with a zoo name.")
    ] = None,
    weights: opt.Weights = "auto",
    layout: opt.Layout = None,
    key: opt.Key = None,
    seed: opt.Seed = 0,
    input_: opt.Inputs = None,
    num_classes: opt.NumClasses = None,
    gradients: Annotated[bool, typer.Option("--gradients", help="Compare gradients too.")] = False,
    mode: Annotated[
        Literal["eval", "train"],
        typer.Option(
            help="train: BatchNorm by the batch, its updated statistics, dropout by the same masks on both sides."
        ),
    ] = "eval",
    values_only: Annotated[
        bool,
        typer.Option("--values-only", help="Pass settings that differ but not in their output on this input."),
    ] = False,
    map_: Annotated[
        Path | None,
        typer.Option(
            "--map",
            help="YAML of 'reference layer: candidate layer', where neither names nor structure show the pairs.",
        ),
    ] = None,
    print_map: Annotated[bool, typer.Option("--print-map", help="Print the pairs of layers as such a file.")] = False,
    device: opt.Device = "auto",
    threads: opt.Threads = None,
    timeout: opt.Timeout = 600.0,
    torch_python: opt.TorchPython = None,
    paddle_python: opt.PaddlePython = None,
    onnx_python: opt.OnnxPython = None,
    save_trace: Annotated[Path | None, typer.Option(help="Folder to save both traces in.")] = None,
    repro: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for the first culprit's input, weights and expected output, and a script that shows the "
            "difference with the candidate's framework alone.",
        ),
    ] = None,
    all_layers: Annotated[
        bool, typer.Option("--all-layers", help="One row for each layer, not for each stage.")
    ] = False,
    every: Annotated[
        bool,
        typer.Option(
            "--all",
            help="Every network of the zoo at its published input; --json is then a folder with a file for each, "
            "and a stopped run continues where it was.",
        ),
    ] = False,
    json: opt.Json = None,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> bool:
    """Compare two networks layer by layer. Exit 0: the same function; 1: not; 2: could not compare."""
    from parity.commands.terminal import stdout, width
    from parity.processes.models import FRAMEWORKS, parse_pair, settled_weights
    from parity.processes.pool import Options, fair_share
    from parity.reports import text
    from parity.runs.layer_map import read_map, written_map

    options = Options(
        weights="random" if weights == "auto" else weights,
        layout=layout,
        key=key,
        seed=seed,
        device=device,
        threads=threads or fair_share(),
        timeout=timeout,
        pythons=opt.interpreters(torch=torch_python, paddle=paddle_python, onnx=onnx_python),
        gradients=gradients,
        mode=mode,
        values_only=values_only,
        num_classes=num_classes,
        layers={} if map_ is None else read_map(map_),
        save_trace=save_trace,
        repro=repro,
    )
    if every:
        if repro is not None:
            raise ParityError("--all --repro: this reproduces one network's difference; name the network")
        if model is not None or input_ or weights not in ("auto", "random") or num_classes is not None:
            raise ParityError("--all takes every network as published: no model, --input, --weights or --num-classes")
        return _sweep(options, json, quiet, verbose)
    if model is None:
        raise ParityError("which model? Name one (parity compare resnet50), or use --all for the whole zoo")
    name, pair = parse_pair(model, candidate)
    options = replace(options, weights=settled_weights(weights, pair))
    check_outputs(json)
    result = _compared(name, pair, input_, options, quiet, verbose)
    if json is not None:
        json.write_text(result.to_json())
    if print_map:
        for line in written_map(result.partners).splitlines():
            say(line)
    elif quiet:
        say(summary(result))
    else:
        if options.weights == "random" and not all(each.twin or each.backend not in FRAMEWORKS for each in pair):
            say(f"weights: random, seed {seed}, the same for both (see --weights)")
        text.show(result, stdout(), all_layers, width())
    return result.ok


def _compared(
    name: str, models: tuple[Model, Model], input_: list[str] | None, options: Options, quiet: bool, verbose: bool
) -> Comparison:
    from parity.commands.terminal import ProgressBars
    from parity.processes.pool import Workers
    from parity.processes.questions import input_shape
    from parity.runs.compare import compare_models
    from parity.runs.inputs import from_words

    with Workers(options) as workers:
        try:
            with ProgressBars(name, quiet) as progress:
                shape = None if all(each.backend == "trace" for each in models) else input_shape(models, workers)
                return compare_models(
                    name, models, lambda: from_words(input_ or (), shape), options, workers, progress.update
                )
        finally:
            if verbose:
                say_lines(workers.log())


def _sweep(options: Options, json: JsonFile | None, quiet: bool, verbose: bool) -> bool:
    from parity.atomic import make_folder
    from parity.commands.terminal import ProgressBars, stdout
    from parity.processes.pool import Workers
    from parity.reports import text
    from parity.reports.tables import Table
    from parity.runs.sweep import compare_zoo
    from parity.zoo import NETWORKS

    folder = None if json is None else json.path
    if json is not None and json.stream is not None:
        raise ParityError("--all --json -: this writes a file for each network; name a folder")
    if folder is not None:
        make_folder(folder)
    headings = "network", "verdict", "layers", "float64", "torch", "paddle"
    counts = {"passed": 0, "differ": 0, "not compared": 0}
    console = stdout()
    with Workers(options) as workers, ProgressBars("zoo", quiet) as progress:
        # How long a network takes, roughly: its start, its arithmetic, and writing and judging its weights.
        costs = [2e9 + network.macs + 50 * network.parameters for network in NETWORKS.values()]
        names = progress.each(list(NETWORKS), costs)
        for result in compare_zoo(names, options, workers, folder, progress.update):
            # One table for each row, with fixed widths: a row appears as soon as it is known.
            table = Table(*headings, box=None, show_header=not sum(counts.values()), pad_edge=False)
            for column, columns in zip(table.columns, (24, 10, 7, 8, 7, 7), strict=True):
                column.width, column.no_wrap = columns, True
            if isinstance(result, tuple):
                counts["not compared"] += 1
                say(f"parity: {result[0]}: {result[1]}", err=True)
                continue
            counts["passed" if result.ok else "differ"] += 1
            table.add_row(*text.zoo_row(result))
            if not quiet:
                console.print(table)
            if not result.ok:
                say(summary(result), err=True)
        if verbose:
            say_lines(workers.log())
    say(f"zoo: {', '.join(f'{count} {word}' for word, count in counts.items())}.")
    if counts["not compared"] and not counts["differ"]:
        raise ParityError(f"{counts['not compared']} networks could not be compared")
    return not counts["differ"]
