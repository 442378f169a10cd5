"""`parity lint`: find, before a port, what in a network means something else in the other framework."""

from __future__ import annotations

from typing import Annotated

import typer

from parity.commands import options as opt
from parity.commands.app import answers
from parity.commands.outputs import check_outputs
from parity.commands.say import say


@answers
def lint(
    model: opt.BothTwins,
    input_: Annotated[
        str | None, typer.Option("--input", help="N,C,H,W: run the network, and read the functions it calls too.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 if there is a warning, not for a note.")] = False,
    timeout: opt.Timeout = 600.0,
    torch_python: opt.TorchPython = None,
    paddle_python: opt.PaddlePython = None,
    json: opt.Json = None,
) -> bool:
    """Warn of known traps in a network, one line each. Exit 0; with --strict 1 if there are any; 2: could not read it.

    It reads the layers of a network and, with --input, the functions that its forward calls. A note is about an
    exporter that is called without `parity export`, which fixes or notes the fault, or refuses it where the file would
    be wrong.
    """
    from dataclasses import asdict

    from parity.analysis.lint import lint as traps
    from parity.functions import counted
    from parity.processes.models import parse_model, parse_pair
    from parity.processes.pool import Options, Workers
    from parity.processes.questions import describe_models

    models = (parse_model(model),) if ":" in model else parse_pair(model, None)[1]
    check_outputs(json)
    options = Options(timeout=timeout, pythons=opt.interpreters(torch=torch_python, paddle=paddle_python))
    with Workers(options) as workers:
        described = describe_models(models, workers, input_)
    # A finding of both twins counts once; a dictionary preserves the order of the layers.
    findings = list(dict.fromkeys(finding for layers in described for finding in traps(layers)))
    for finding in findings:
        say(str(finding))
    warnings = [finding for finding in findings if finding.level == "warning"]
    notes = len(findings) - len(warnings)
    result = f"{len(warnings)} to look at" if warnings else "no known trap"
    if notes:
        result += f", {notes} note" if notes == 1 else f", {notes} notes"
    unread = " (--input reads functions too)" if input_ is None else ""
    say(f"{model}: {counted(name for name, *_ in described[0])} read: {result}{unread}.")
    if json is not None:
        layers = len(described[0])  # functions included
        json.write({"schema": 1, "network": model, "layers": layers, "findings": [*map(asdict, findings)]})
    return not (strict and warnings)
