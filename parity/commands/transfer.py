"""`parity transfer`: convert weight files between .pth, .pdparams and .safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from parity.commands import options as opt
from parity.commands.app import answers
from parity.commands.say import say


@answers
def transfer(
    source: Annotated[
        Path,
        typer.Argument(metavar="SRC", help="A .pth, .pt, .ckpt, .bin, .pdparams or .safetensors file, or an index."),
    ],
    target: Annotated[Path, typer.Argument(metavar="DST", help="The file to write; its ending sets the format.")],
    model: Annotated[str, typer.Option(help="The zoo network that the weights belong to.")],
    names: Annotated[
        Literal["twin", "torchvision", "paddle.vision"],
        typer.Option(help="The names to write; those of SRC are recognised."),
    ] = "twin",
    layout: opt.Layout = None,
    key: opt.Key = None,
    num_classes: opt.NumClasses = None,
    quiet: opt.Quiet = False,
) -> bool:
    """Convert a file of weights, bit for bit. Exit 0: written; 2: could not, and DST is unchanged."""
    from parity.weights import transfer as job

    done = job.transfer(source, target, model, names, num_classes, orientation=layout, key=key)
    if not quiet:
        notes = []
        if done.left_out:
            notes.append(f"{done.left_out} batch counters or auxiliary heads left out")
        if done.counters:
            notes.append(f"{done.counters} batch counters of zero added")
        result = f"{model}: {done.tensors} tensors, {done.bytes / 1e6:.1f} MB, {done.layout}'s names to {names}'s"
        say("; ".join([f"{result}: {target}", *notes]))
        for note in done.notes:
            say(f"note: {note}")
    return True
