"""`parity transfer`: convert weight files between .pth, .pdparams and .safetensors."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from parity.commands.app import app, run


@app.command()
def transfer(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="A .pth, .pt, .pdparams or .safetensors file.")],
    target: Annotated[Path, typer.Argument(metavar="DST", help="What to write; its ending says in which format.")],
    model: Annotated[str, typer.Option(help="The zoo network that the weights belong to.")],
    names: Annotated[
        Literal["twin", "torchvision", "paddle.vision"],
        typer.Option(help="Whose names to write; those of SRC are recognised."),
    ] = "twin",
    num_classes: Annotated[int | None, typer.Option(min=1, help="Of a zoo network.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing.")] = False,
) -> None:
    """Convert a file of weights, bit for bit. Exit 0: written; 2: could not, and DST is as it was."""

    def work() -> bool:
        from parity import transfer as job
        from parity.commands.terminal import say

        done = job.transfer(source, target, model, names, num_classes, read_legacy=by_torch)
        if not quiet:
            notes = [f"{done.left_out} batch counters or auxiliary heads left out"] * bool(done.left_out)
            notes += [f"{done.counters} batch counters of zero added"] * bool(done.counters)
            what = f"{model}: {done.tensors} tensors, {done.bytes / 1e6:.1f} MB, {done.layout}'s names to {names}'s"
            say("; ".join([f"{what}: {target}", *notes]))
        return True

    run(work)


def by_torch(source: Path, plain: Path) -> None:
    """Have torch, in a worker, read a .pth file of any of its formats and write it to `plain`, a .safetensors file.

    Raises:
        ParityError: If torch is not there or refuses the file.
    """
    from parity import jobs
    from parity.workers import Worker, ask

    with Worker("torch", sys.executable, 1) as worker:
        ask(worker, jobs.Read(source.resolve(), plain), 600.0)
