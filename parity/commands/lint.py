"""`parity lint`: what in a network means something else in the other framework, before anything is ported."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated

import typer

from parity.commands.app import app, run


@app.command()
def lint(
    model: Annotated[
        str,
        typer.Argument(
            help="A zoo name (both twins), torch:NAME, torch:MODULE_OR_FILE.py:callable, or paddle:... alike.",
        ),
    ],
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 if there is a warning; a note is none.")] = False,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds for building the network.")] = 600.0,
    torch_python: Annotated[str | None, typer.Option(help="Interpreter that has torch; this one by default.")] = None,
    paddle_python: Annotated[str | None, typer.Option(help="Interpreter that has Paddle; this one by default.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the findings to this file.")] = None,
) -> None:
    """Warn of known traps in a network, a line each. Exit 0; with --strict 1 if there are any; 2: could not read it.

    Reads the layers a network is made of; what its forward calls as functions it does not see. A note is about an
    exporter that is called without `parity export`, which mends or notes that, or refuses it where it comes out wrong.
    """

    def work() -> bool:
        from dataclasses import asdict

        from parity import run as job
        from parity.atomic import atomic
        from parity.commands.terminal import say
        from parity.lint import lint as traps

        models = (job.parse_model(model),) if ":" in model else job.parse_pair(model, None)[1]
        if json is not None:
            job.check_writable(json)
        pythons = {side: python for side, python in (("torch", torch_python), ("paddle", paddle_python)) if python}
        with job.Workers(job.Options(timeout=timeout, pythons=pythons)) as workers:
            described = job.describe_models(models, workers)
        # The same finding in both twins is one; a dictionary keeps the order of the layers.
        findings = list(dict.fromkeys(finding for layers in described for finding in traps(layers)))
        for finding in findings:
            say(str(finding))
        warnings = [finding for finding in findings if finding.level == "warning"]
        notes = len(findings) - len(warnings)
        found = f"{len(warnings)} to look at" if warnings else "no known trap"
        if notes:
            found += f", {notes} note" if notes == 1 else f", {notes} notes"
        say(f"{model}: {len(described[0])} layers read: {found}.")
        if json is not None:
            report = {"schema": 1, "network": model, "layers": len(described[0]), "findings": [*map(asdict, findings)]}
            with atomic(json) as part:
                _ = part.write_text(jsonlib.dumps(report, indent=1) + "\n")
        return not (strict and warnings)

    run(work)
