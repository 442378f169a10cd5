"""`parity list`: the zoo."""

from __future__ import annotations

import json as jsonlib
import math
from pathlib import Path
from typing import Annotated

import typer

from parity.commands.app import app, run


@app.command("list")
def list_(
    name: Annotated[str, typer.Argument(help="Part of a name.")] = "",
    family: Annotated[str | None, typer.Option(help="lenet, alexnet, vgg, ...")] = None,
    max_gmacs: Annotated[float, typer.Option(min=0, help="Most multiplications, in 10^9.")] = math.inf,
    max_params: Annotated[float, typer.Option(min=0, help="Most parameters, in millions.")] = math.inf,
    json: Annotated[Path | None, typer.Option(help="Write the list to this file.")] = None,
) -> None:
    """Show the networks that exist as twins."""

    def work() -> bool:
        from parity.atomic import atomic
        from parity.commands.terminal import stdout
        from parity.errors import ParityError
        from parity.tables import Table
        from parity.zoo import NETWORKS

        families = list(dict.fromkeys(network.family for network in NETWORKS.values()))
        if family is not None and family not in families:
            raise ParityError(f"--family {family}: unknown; known: {', '.join(families)}")
        found = [
            network
            for network in NETWORKS.values()
            if name.lower() in network.name
            and family in (None, network.family)
            and network.macs <= max_gmacs * 1e9
            and network.parameters <= max_params * 1e6
        ]
        if json is not None:
            with atomic(json) as part:
                _ = part.write_text(jsonlib.dumps([network._asdict() for network in found], indent=1) + "\n")
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("name", "family"):
            table.add_column(heading, no_wrap=True)
        for heading in ("input", "output", "parameters", "MACs"):
            table.add_column(heading, justify="right", no_wrap=True)
        for network in found:
            shapes = ("x".join(map(str, shape)) for shape in (network.input, network.output))
            table.add_row(network.name, network.family, *shapes, f"{network.parameters:,}", f"{network.macs:,}")
        console = stdout()
        console.print(table)
        console.print(f"{len(found)} of {len(NETWORKS)} networks", highlight=False)
        return True

    run(work)
