"""`parity bench latency`: the time of a network in every way to run it on the CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parity.atomic import atomic
from parity.commands import options as opt
from parity.commands.app import answers
from parity.commands.outputs import check_outputs
from parity.temporary import temporary_folder

if TYPE_CHECKING:
    from parity.deploy.latency import Timing


@answers
def latency(
    model: Annotated[str, typer.Argument(help="A zoo name: torch's twin and Paddle's.")],
    onnx: Annotated[
        list[Path] | None,
        typer.Option(help="An exported file of it; may be repeated. By default both frameworks', canonical and raw."),
    ] = None,
    way: Annotated[
        list[str] | None,
        typer.Option(help="Only ways whose names start with this, as 'torch eager' or 'onnx'; may be repeated."),
    ] = None,
    batch: opt.Batches = None,
    threads: Annotated[
        list[int] | None, typer.Option(min=1, help="Threads of each computing process; by default 1; may be repeated.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each way; a turn has three timed calls.")] = 15,
    torch_python: opt.TorchPython = None,
    paddle_python: opt.PaddlePython = None,
    onnx_python: opt.OnnxPython = None,
    timeout: opt.Timeout = 600.0,
    json: opt.Json = None,
    plot: opt.Plot = None,
) -> bool:
    """Time a network in every way to run it on the CPU: torch, Paddle, ONNX Runtime, taking turns in one run."""
    from parity.commands.terminal import ProgressBars
    from parity.deploy import latency as timing
    from parity.processes.models import parse_model, parse_pair
    from parity.reports import latency_figure

    check_outputs(json, plot)
    name, pair = parse_pair(model, None)
    pythons = opt.interpreters(torch=torch_python, paddle=paddle_python, onnx=onnx_python)
    rows, rates = list[timing.Timing](), dict[int, float]()
    with temporary_folder() as folder, ProgressBars(name, False) as progress:
        files, refused = list(onnx or []), dict[str, str]()
        if not files and timing.requested("onnx", way or []):
            files, refused = timing.exported(name, pair, folder, pythons, timeout, progress.update)
        models = [*pair, *(parse_model(f"onnx:{path}") for path in files)]
        for count in threads or [1]:
            timings, rates[count] = timing.measure(
                name, models, batch or [1], count, rounds, way or [], pythons, timeout, progress.update
            )
            rows += timings
            rows += [
                timing.Timing(label, n, count, refused=reason)
                for n in batch or [1]
                for label, reason in refused.items()
            ]
    _show(rows, rates)
    if json is not None:
        json.write(timing.as_json(name, rows, rates))
    if plot is not None:
        with atomic(plot) as part:
            latency_figure.plot(name, rows, part)
    return True


def _show(rows: Sequence[Timing], rates: Mapping[int, float]) -> None:
    from rich.table import Table

    from parity.commands.terminal import stdout

    table = Table("way", "batch", "threads", "p50 ms", "p99 ms", "images/s", "of matrix products", box=None)
    for row in rows:
        share = "" if row.share is None else f"{row.share:.0%}"
        numbers = (f"{row.p50:.2f}", f"{row.p99:.2f}", f"{row.images:.1f}", share)
        table.add_row(row.way, str(row.batch), str(row.threads), *(numbers if not row.refused else [row.refused]))
    stdout().print(table)
    for count, rate in rates.items():
        plural = "s" if count > 1 else ""
        typer.echo(f"{count} thread{plural}: float32 matrix products at {rate / 1e9:.0f} GFLOP/s.")
