"""`parity transfer`: convert weight files between .pth, .pdparams and .safetensors."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from parity.commands.app import answers
from parity.commands.options import Layout, NumClasses, Quiet
from parity.commands.say import say


@answers
def transfer(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="A .pth, .pt, .pdparams or .safetensors file.")],
    target: Annotated[Path, typer.Argument(metavar="DST", help="The file to write; its ending sets the format.")],
    model: Annotated[str, typer.Option(help="The zoo network that the weights belong to.")],
    names: Annotated[
        Literal["twin", "torchvision", "paddle.vision"],
        typer.Option(help="The names to write; those of SRC are recognised."),
    ] = "twin",
    layout: Layout = None,
    num_classes: NumClasses = None,
    quiet: Quiet = False,
) -> bool:
    """Convert a file of weights, bit for bit. Exit 0: written; 2: could not, and DST is unchanged."""
    from parity.weights import transfer as job

    done = job.transfer(source, target, model, names, num_classes, read_legacy=by_torch, orientation=layout)
    if not quiet:
        notes = []
        if done.left_out:
            notes.append(f"{done.left_out} batch counters or auxiliary heads left out")
        if done.counters:
            notes.append(f"{done.counters} batch counters of zero added")
        result = f"{model}: {done.tensors} tensors, {done.bytes / 1e6:.1f} MB, {done.layout}'s names to {names}'s"
        say("; ".join([f"{result}: {target}", *notes]))
    return True


def by_torch(source: Path, plain: Path) -> None:
    """Convert a .pth file of any format to `plain`, a .safetensors file, by torch in a worker.

    Raises:
        ParityError: If torch is not installed or refuses the file.
    """
    from parity.processes import jobs
    from parity.processes.workers import Worker, ask

    with Worker("torch", sys.executable, 1) as worker:
        ask(worker, jobs.Read(source.resolve(), plain), 600.0)
