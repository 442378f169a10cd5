"""`parity pooling`: the windows of a pooling layer, and the input sizes at which rounding or the framework matter."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parity.commands.app import answers
from parity.commands.options import Json, OneModelOrNone, Plot, Timeout
from parity.commands.outputs import JsonFile, check_outputs
from parity.commands.say import say
from parity.errors import ParityError
from parity.printable import printable

if TYPE_CHECKING:
    from parity.analysis.survey import Finding
    from parity.numerics.pooling import Pool
    from parity.processes.models import Model

_MOST = 10_000  # pixels: beyond, a drawing helps nobody and a network's input fills the memory
_NAMES = {"torch": "torch", "paddle": "Paddle", "onnx": "ONNX Runtime"}
_CURE = "paddle_cnn.pooling has ceil-mode layers that place torch's windows in Paddle; docs/pooling.md has the rule."


@answers
def pooling(
    model: OneModelOrNone = None,
    size: Annotated[
        str | None,
        typer.Option(help="Pixels along one axis; of a network, its input's height and width, or a range: 200..260."),
    ] = None,
    kernel: Annotated[int | None, typer.Option(help="Pixels.")] = None,
    stride: Annotated[int | None, typer.Option(help="Pixels; by default the kernel.")] = None,
    padding: Annotated[int, typer.Option(help="Pixels on either side.")] = 0,
    dilation: Annotated[int, typer.Option(help="Pixels from tap to tap.")] = 1,
    ceil_mode: Annotated[bool, typer.Option("--ceil-mode", help="Round the number of windows up.")] = False,
    include_pad: Annotated[bool, typer.Option("--include-pad", help="Average over the padding too.")] = False,
    timeout: Timeout = 600.0,
    plot: Plot = None,
    json: Json = None,
) -> bool:
    """Show a pooling layer's windows by framework; of a network, the input sizes at which rounding or framework matter.

    Pooling that a network calls as a function is not seen.
    Exit 0: torch and Paddle place the same windows; 1: they part; 2: could not tell.
    """
    from parity.numerics.pooling import Pool

    check_outputs(plot, json)
    if plot is not None:
        from parity.reports import pooling_figure

        pooling_figure.check(plot)
    window = (kernel, stride, padding, dilation, ceil_mode, include_pad)
    if model is not None:
        if window != (None, None, 0, 1, False, False):
            raise ParityError(f"{model} has its own pooling layers: no --kernel and its like beside a network")
        return _network(model, size, timeout, plot, json)
    if kernel is None or size is None:
        raise ParityError("which pooling? Name a network (parity pooling alexnet), or --size and --kernel of one layer")
    if max(kernel, stride or 0, padding, dilation) > _MOST:
        raise ParityError(f"a window of more than {_MOST} pixels cannot be drawn")
    least, most = _range(size)
    if least != most:
        raise ParityError(f"--size {size}: a range goes with a network; give a layer one length")
    layer = Pool(kernel, kernel if stride is None else stride, padding, dilation, ceil_mode, include_pad)
    return _window(least, layer, plot, json)


def _range(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,9})(?:\.\.(\d{1,9}))?", text, re.ASCII)
    if found is None:
        raise ParityError(f"--size {text}: needs a number of pixels, or a range such as 200..260")
    least, most = int(found[1]), int(found[2] or found[1])
    if not 1 <= least <= most <= _MOST:
        raise ParityError(f"--size {text}: needs 1 <= first <= last <= {_MOST}")
    return least, most


def _window(size: int, pool: Pool, plot: Path | None, json: JsonFile | None) -> bool:
    from parity.numerics.pooling import RULES, differs, divisors, draw, sizes

    table = sizes(size, pool)
    asked = table["ceil" if pool.ceil_mode else "floor"]
    counts = {rule: count for rule, count in asked.items() if isinstance(count, int)}
    if not counts:
        raise ParityError("; ".join(str(reason) for reason in asked.values()))
    gap = differs(size, pool)
    if json is not None:
        json.write({"schema": 1, "size": size, "pool": asdict(pool), "windows": table, "differs": gap})
    if plot is not None:
        from parity.reports import pooling_figure

        pooling_figure.window(size, pool, plot)

    typer.echo(f"length {size}, {pool}\n")
    typer.echo(f"{'':5}{''.join(f'{rule:>9}' for rule in RULES)}")
    for mode, row in table.items():
        cells = "".join(f"{count if isinstance(count, int) else 'refused':>9}" for count in row.values())
        typer.echo(f"{mode:5}{cells}{'  <- this layer' if row is asked else ''}")
    for reason in dict.fromkeys(reason for reason in asked.values() if isinstance(reason, str)):
        typer.echo(reason)
    if drawn := draw(size, pool):
        typer.echo(f"\n{drawn}")
    rule = max(counts, key=counts.__getitem__)
    counted = "" if pool.include_pad else "not "
    typer.echo(f"\nAn average divides by {_listed(divisors(size, pool, rule).tolist())} (padding {counted}counted).")
    if gap is not None:
        typer.echo(f"warning: the frameworks part here, {gap}. {_extra(size, pool, counts)}".rstrip())
    elif differs(size, replace(pool, ceil_mode=not pool.ceil_mode)) is not None:
        typer.echo(f"warning: {'without' if pool.ceil_mode else 'with'} ceil_mode the frameworks part at this length.")
    if pool.dilation == 1:
        typer.echo(_rule(replace(pool, ceil_mode=True)))
    return gap is None


def _listed(numbers: Sequence[int]) -> str:
    words = [str(number) for number in numbers]
    return " ".join(words if len(words) <= 9 else [*words[:4], "..", *words[-4:]]) or "nothing"


def _extra(size: int, pool: Pool, counts: dict[str, int]) -> str:
    """Return what Paddle has in a window that torch does not make."""
    import numpy as np

    from parity.numerics.pooling import pool as pooled

    if "torch" not in counts or counts.get("paddle", 0) <= counts["torch"]:
        return ""
    pairs = {"kernel": (1, pool.kernel), "stride": (1, pool.stride), "padding": (0, pool.padding)}
    row, window = np.ones((1, size), np.float32), replace(pool, **pairs)
    most, mean = (float(pooled(row, window, kind, "paddle")[0, -1]) for kind in ("max", "avg"))
    return f"Paddle's last window sees no pixel: its maximum is {most:.3g}, its average {mean:.3g}. {_CURE}"


def _rule(pool: Pool) -> str:
    from parity.numerics.pooling import parting

    residues = parting(pool)
    if not residues:
        return "With ceil_mode, where the window fits, Paddle and torch never part."
    where = f"{', '.join(map(str, residues))} modulo {pool.stride}"
    return f"With ceil_mode, where the window fits, Paddle places one window more than torch at lengths {where}."


def _network(model: str, size: str | None, timeout: float, plot: Path | None, json: JsonFile | None) -> bool:
    from parity.commands.terminal import Progress
    from parity.processes import jobs
    from parity.processes.models import FRAMEWORKS, Model, parse_model, unknown_network
    from parity.processes.pool import Options, Workers
    from parity.processes.questions import network
    from parity.processes.workers import ask
    from parity.zoo import NETWORKS

    if ":" not in model and model not in NETWORKS:
        raise ParityError(unknown_network(model))
    named = Model("torch", model) if ":" not in model else parse_model(model)
    if named.backend not in FRAMEWORKS:
        what = "a trace is of one size" if named.backend == "trace" else "an ONNX file has no layers to call"
        raise ParityError(f"{model}: {what}; name the network it is of")
    row = NETWORKS[named.target] if named.twin else None
    published = row.input[2] if row is not None else 224
    least, most = (max(1, published - 24), published + 36) if size is None else _range(size)
    job = jobs.Survey(network(named), row and row.input[1], tuple(range(least, most + 1)))
    with Workers(Options(timeout=timeout)) as workers, Progress(model, quiet=False) as progress:
        report = lambda worker, words, done, total: progress.update(worker.backend, words, done, total)
        findings = ask(workers.get(named.backend), job, timeout, report)
    if all(len(finding.refused) == 2 for finding in findings):
        where, why = findings[-1].refused[named.backend]
        raise ParityError(f"{model}: takes no size of {least}..{most}; at {most}: {why} ({where})")
    if json is not None:
        json.write({"schema": 1, "model": model, "findings": [asdict(finding) for finding in findings]})
    if plot is not None:
        from parity.reports import pooling_figure

        pooling_figure.survey(model, findings, row and row.input[2], plot)
    _show(model, named, findings, row and row.input[2])
    return not any(finding.apart for finding in findings)


def _show(model: str, named: Model, findings: Sequence[Finding], published: int | None) -> None:
    """Print the sizes by what pooling makes of them."""
    layers = list(dict.fromkeys(layer for finding in findings for layer in finding.layers))
    first, last = findings[0].size, findings[-1].size
    count = f"{len(layers)} pooling layer{'s' * (len(layers) != 1)}"
    say(f"{model}: {count} ({_NAMES[named.backend]}), input sizes {first}..{last}")
    grouped: dict[str, list[int]] = {}
    for finding in findings:
        grouped.setdefault(_outcome(finding), []).append(finding.size)
        if finding.size == published:
            say(f"  {published}, as published: {_outcome(finding)}")
    for outcome, sizes in grouped.items():
        text = printable(f"{outcome}: {_ranges(sizes)}")
        typer.echo(textwrap.fill(text, 110, initial_indent="  ", subsequent_indent="      ", break_long_words=False))
    if not named.twin:
        typer.echo("note: layers are read; pooling that a forward calls as a function (F.max_pool2d) is not seen")
    if parted := [finding for finding in findings if finding.apart]:
        typer.echo(f"warning: torch and Paddle part at {len(parted)} of {len(findings)} sizes. {_CURE}")


def _outcome(finding: Finding) -> str:
    words = []
    places = [f"at {where} by {_NAMES[rule]}" for rule, (where, _) in finding.refused.items()]
    if len(places) == 2:  # what pooling would make of it no longer matters
        where, *elsewhere = {where for where, _ in finding.refused.values()}
        return f"refused {' and '.join(sorted(places)) if elsewhere else f'at {where}'}"
    if finding.parts:
        rest = len(finding.parts) - 1
        words.append(f"torch and Paddle part at {finding.parts[0]}{f' (and {rest} after it)' if rest else ''}")
    if finding.rounds:
        words.append(f"floor and ceil differ at {', '.join(finding.rounds)}")
    words += [f"refused {place} alone" for place in places]
    return "; ".join(words) or "same"


def _ranges(sizes: Sequence[int]) -> str:
    spans: list[list[int]] = []
    for size in sizes:
        if spans and size == spans[-1][-1] + 1:
            spans[-1] = [spans[-1][0], size]
        else:
            spans.append([size])
    return ", ".join("..".join(map(str, span)) for span in spans)
