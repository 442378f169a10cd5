"""`parity list`: the zoo."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from parity.commands import options as opt
from parity.commands.app import answers
from parity.commands.outputs import check_outputs
from parity.errors import ParityError


@answers
def list_(
    name: Annotated[str, typer.Argument(help="Part of a name.")] = "",
    family: Annotated[str | None, typer.Option(help="lenet, alexnet, vgg, ...")] = None,
    max_gmacs: Annotated[float, typer.Option(min=0, help="Maximum multiplications, in 10^9.")] = math.inf,
    max_params: Annotated[float, typer.Option(min=0, help="Maximum parameters, in millions.")] = math.inf,
    json: opt.Json = None,
) -> bool:
    """Show the networks that exist as twins. Exit 0, even if none is within the limits; 2: no such name or family."""
    from rich.table import Table

    from parity.commands.terminal import stdout
    from parity.zoo import NETWORKS, matches

    check_outputs(json)
    families = list(dict.fromkeys(network.family for network in NETWORKS.values()))
    if family is not None and family not in families:
        raise ParityError(f"--family {family}: unknown; known: {', '.join(families)}")
    candidates = [network for network in NETWORKS.values() if name.lower() in network.name]
    if not candidates:
        similar = ", ".join(matches(name.lower()))
        raise ParityError(
            f"no network has {name!r} in its name; {similar and f'near: {similar}; '}`parity list` shows all"
        )
    networks = [
        network
        for network in candidates
        if family in (None, network.family)
        and network.macs <= max_gmacs * 1e9
        and network.parameters <= max_params * 1e6
    ]
    if json is not None:
        json.write({"schema": 1, "networks": [network._asdict() for network in networks]})
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("name", "family"):
        table.add_column(heading, no_wrap=True)
    for heading in ("input", "output", "parameters", "MACs"):
        table.add_column(heading, justify="right", no_wrap=True)
    for network in networks:
        shapes = ("x".join(map(str, shape)) for shape in (network.input, network.output))
        table.add_row(network.name, network.family, *shapes, f"{network.parameters:,}", f"{network.macs:,}")
    console = stdout()
    console.print(table)
    console.print(f"{len(networks)} of {len(NETWORKS)} networks", highlight=False)
    return True
