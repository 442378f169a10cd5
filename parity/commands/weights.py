"""`parity weights`: what is in a file of weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parity.commands import options as opt
from parity.commands.app import answers
from parity.commands.outputs import check_outputs
from parity.commands.say import say
from parity.reports.columns import Column, fitted

if TYPE_CHECKING:
    from parity.weights.contents import Contents

_COLUMNS = (Column("name", right=False), Column("shape"), Column("dtype", spare=2), Column("bytes", spare=1))


@answers
def weights(
    file: Annotated[
        Path,
        typer.Argument(
            help="A .pth, .pt, .pth.tar, .ckpt, .bin, .pdparams or .safetensors file, an index of shards, or a folder."
        ),
    ],
    key: opt.Key = None,
    json: opt.Json = None,
) -> bool:
    """Show what is in a file of weights: names, shapes, dtypes, and what lies beside. Nothing in it is run.

    No framework is needed. A narrow terminal shows fewer columns.
    """
    from dataclasses import asdict

    from parity.commands.terminal import stdout, width
    from parity.weights.contents import contents

    check_outputs(json)
    found = contents(file, key)
    if json is not None:
        totals = {"numbers": found.numbers, "bytes": found.bytes}
        json.write({"schema": 1, **asdict(found), **totals})
    for line in _summary(found):
        say(line)
    rows = [
        (tensor.name, "x".join(map(str, tensor.shape)) or "one number", tensor.dtype, f"{tensor.bytes:,}")
        for tensor in found.tensors
    ]
    if rows:
        stdout().print(fitted(_COLUMNS, rows, width()), soft_wrap=True)
    return True


def _summary(found: Contents) -> list[str]:
    from parity.weights.unwrap import groups

    lines = [f"{found.file}: {found.kind}"]
    if found.key is None:
        sets = [f"  {name or '(the file itself)'}: {count} tensors" for name, count in found.sets.items()]
        lines += ["several sets of weights; --key NAME shows one of them:", *sets]
    else:
        others = [name for name in found.sets if name != found.key]
        told = f"weights: {found.key}; " if found.key else ""
        lines.append(f"{told}{len(found.tensors)} tensors, {found.numbers:,} numbers, {found.bytes / 1e6:.2f} MB")
        lines += [f"other sets of weights: {', '.join(others)}"] if others else []
        names = [tensor.name for tensor in found.tensors]
        beginnings = groups(names)
        rests = [{name.partition(".")[2] for name in names if name.startswith(f"{group}.")} for group in beginnings]
        if sum(beginnings.values()) == len(names) > 1 and all(rest == rests[0] for rest in rests):
            told = f"all names begin with {'. or '.join(beginnings)}."
            lines.append(told if len(rests) == 1 else f"{told}, and are the same behind it; --key takes one of them")
    lines.append(f"layout: {found.layout or 'not known'}: {found.why}")
    return lines + [f"beside: {name}: {words}" for name, words in found.beside.items()]
