"""`parity pooling`: the windows of a pooling layer, and the input sizes at which rounding or the framework matters."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parity.commands import options as opt
from parity.commands.app import answers
from parity.commands.outputs import JsonFile, check_outputs
from parity.commands.say import say
from parity.errors import ParityError
from parity.printable import printable

if TYPE_CHECKING:
    from parity.analysis.survey import SizeReport
    from parity.numerics.pooling import Pool
    from parity.processes.models import Model

_MOST = 10_000  # pixels: a larger drawing is no help, and a larger input fills the memory
_NAMES = {"torch": "torch", "paddle": "Paddle", "onnx": "ONNX Runtime"}
_REMEDY = "paddle_cnn.pooling has ceil-mode layers that place torch's windows in Paddle; docs/pooling.md has the rule."


@answers
def pooling(
    model: opt.OneModelOrNone = None,
    size: Annotated[
        str | None,
        typer.Option(help="Pixels along one axis; for a network, the input's height and width, or a range: 200..260."),
    ] = None,
    kernel: Annotated[int | None, typer.Option(help="Pixels.")] = None,
    stride: Annotated[int | None, typer.Option(help="Pixels; by default the kernel.")] = None,
    padding: Annotated[int, typer.Option(help="Pixels before and after.")] = 0,
    dilation: Annotated[int, typer.Option(help="Pixels from tap to tap.")] = 1,
    ceil_mode: Annotated[bool, typer.Option("--ceil-mode", help="Round the number of windows up.")] = False,
    include_pad: Annotated[bool, typer.Option("--include-pad", help="Include the padding in averages.")] = False,
    timeout: opt.Timeout = 600.0,
    plot: opt.Plot = None,
    json: opt.Json = None,
) -> bool:
    """Show a pooling layer's windows by framework; of a network, the sizes at which rounding or framework matters.

    It does not see pooling that a network calls as a function.
    Exit 0: torch and Paddle place the same windows; 1: they differ; 2: unknown.
    """
    from parity.numerics.pooling import Pool

    check_outputs(plot, json)
    if plot is not None:
        from parity.reports import pooling_figure

        pooling_figure.check(plot)
    window = (kernel, stride, padding, dilation, ceil_mode, include_pad)
    if model is not None:
        if window != (None, None, 0, 1, False, False):
            raise ParityError(f"{model} has its own pooling layers: give no --kernel or other setting with a network")
        return _network(model, size, timeout, plot, json)
    if kernel is None or size is None:
        raise ParityError("which pooling? Name a network (parity pooling alexnet), or --size and --kernel of one layer")
    if max(kernel, stride or 0, padding, dilation) > _MOST:
        raise ParityError(f"a window of more than {_MOST} pixels cannot be drawn")
    least, most = _range(size)
    if least != most:
        raise ParityError(f"--size {size}: a range is for a network; give one length for a layer")
    layer = Pool(kernel, kernel if stride is None else stride, padding, dilation, ceil_mode, include_pad)
    return _window(least, layer, plot, json)


def _range(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,9})(?:\.\.(\d{1,9}))?", text, re.ASCII)
    if match is None:
        raise ParityError(f"--size {text}: give a number of pixels, or a range such as 200..260")
    least, most = int(match[1]), int(match[2] or match[1])
    if not 1 <= least <= most <= _MOST:
        raise ParityError(f"--size {text}: give 1 <= first <= last <= {_MOST}")
    return least, most


def _window(size: int, pool: Pool, plot: Path | None, json: JsonFile | None) -> bool:
    from parity.numerics.pooling import RULES, differs, divisors, draw, sizes

    table = sizes(size, pool)
    requested = table["ceil" if pool.ceil_mode else "floor"]
    counts = {rule: count for rule, count in requested.items() if isinstance(count, int)}
    if not counts:
        raise ParityError("; ".join(str(reason) for reason in requested.values()))
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
        typer.echo(f"{mode:5}{cells}{'  <- this layer' if row is requested else ''}")
    for reason in dict.fromkeys(reason for reason in requested.values() if isinstance(reason, str)):
        typer.echo(reason)
    if drawing := draw(size, pool):
        typer.echo(f"\n{drawing}")
    rule = max(counts, key=counts.__getitem__)
    counted = "" if pool.include_pad else "not "
    typer.echo(f"\nAn average divides by {_listed(divisors(size, pool, rule).tolist())} (padding {counted}counted).")
    if gap is not None:
        typer.echo(f"warning: the frameworks differ here, {gap}. {_extra(size, pool, counts)}".rstrip())
    elif differs(size, replace(pool, ceil_mode=not pool.ceil_mode)) is not None:
        typer.echo(f"warning: {'without' if pool.ceil_mode else 'with'} ceil_mode the frameworks differ here.")
    if pool.dilation == 1:
        typer.echo(_rule(replace(pool, ceil_mode=True)))
    return gap is None


def _listed(numbers: Sequence[int]) -> str:
    texts = [str(number) for number in numbers]
    return " ".join(texts if len(texts) <= 9 else [*texts[:4], "..", *texts[-4:]]) or "nothing"


def _extra(size: int, pool: Pool, counts: dict[str, int]) -> str:
    """Return the values of Paddle's window that torch does not have."""
    import numpy as np

    from parity.numerics.pooling import pool as pooled

    if "torch" not in counts or counts.get("paddle", 0) <= counts["torch"]:
        return ""
    pairs = {"kernel": (1, pool.kernel), "stride": (1, pool.stride), "padding": (0, pool.padding)}
    row, window = np.ones((1, size), np.float32), replace(pool, **pairs)
    most, mean = (float(pooled(row, window, kind, "paddle")[0, -1]) for kind in ("max", "avg"))
    return f"Paddle's last window sees no pixel: its maximum is {most:.3g}, its average {mean:.3g}. {_REMEDY}"


def _rule(pool: Pool) -> str:
    from parity.numerics.pooling import parting

    residues = parting(pool)
    if not residues:
        return "With ceil_mode, where the window fits, Paddle and torch never differ."
    where = f"{', '.join(map(str, residues))} modulo {pool.stride}"
    return f"With ceil_mode, where the window fits, Paddle places one window more than torch at lengths {where}."


def _network(model: str, size: str | None, timeout: float, plot: Path | None, json: JsonFile | None) -> bool:
    from parity.commands.terminal import ProgressBars
    from parity.processes import jobs
    from parity.processes.models import FRAMEWORKS, Model, parse_model, unknown_network
    from parity.processes.pool import Options, Workers
    from parity.processes.questions import network
    from parity.processes.workers import ask
    from parity.zoo import NETWORKS

    if ":" not in model and model not in NETWORKS:
        raise ParityError(unknown_network(model))
    chosen = Model("torch", model) if ":" not in model else parse_model(model)
    if chosen.backend not in FRAMEWORKS:
        reason = "a trace has one size" if chosen.backend == "trace" else "an ONNX file has no layers to call"
        raise ParityError(f"{model}: {reason}; name its network")
    row = NETWORKS[chosen.target] if chosen.twin else None
    published = row.input[2] if row is not None else 224
    least, most = (max(1, published - 24), published + 36) if size is None else _range(size)
    job = jobs.Survey(network(chosen), row and row.input[1], tuple(range(least, most + 1)))
    with Workers(Options(timeout=timeout)) as workers, ProgressBars(model, quiet=False) as progress:
        report = lambda worker, step, done, total: progress.update(worker.backend, step, done, total)
        findings = ask(workers.get(chosen.backend), job, timeout, report)
    if all(len(finding.refused) == 2 for finding in findings):
        where, reason = findings[-1].refused[chosen.backend]
        raise ParityError(f"{model}: takes no size of {least}..{most}; at {most}: {reason} ({where})")
    if json is not None:
        json.write({"schema": 1, "model": model, "findings": [asdict(finding) for finding in findings]})
    if plot is not None:
        from parity.reports import pooling_figure

        pooling_figure.survey(model, findings, row and row.input[2], plot)
    _show(model, chosen, findings, row and row.input[2])
    return not any(finding.differs for finding in findings)


def _show(model: str, chosen: Model, findings: Sequence[SizeReport], published: int | None) -> None:
    """Print the sizes, grouped by outcome."""
    layers = list(dict.fromkeys(layer for finding in findings for layer in finding.layers))
    first, last = findings[0].size, findings[-1].size
    count = f"{len(layers)} pooling layer{'' if len(layers) == 1 else 's'}"
    say(f"{model}: {count} ({_NAMES[chosen.backend]}), input sizes {first}..{last}")
    grouped: dict[str, list[int]] = {}
    for finding in findings:
        grouped.setdefault(_outcome(finding), []).append(finding.size)
        if finding.size == published:
            say(f"  {published}, as published: {_outcome(finding)}")
    for outcome, sizes in grouped.items():
        text = printable(f"{outcome}: {_ranges(sizes)}")
        typer.echo(textwrap.fill(text, 110, initial_indent="  ", subsequent_indent="      ", break_long_words=False))
    if not chosen.twin:
        typer.echo("note: only layers are seen, not pooling that a forward calls as a function (F.max_pool2d)")
    if differing := [finding for finding in findings if finding.differs]:
        typer.echo(f"warning: torch and Paddle differ at {len(differing)} of {len(findings)} sizes. {_REMEDY}")


def _outcome(finding: SizeReport) -> str:
    outcomes = []
    places = [f"at {where} by {_NAMES[rule]}" for rule, (where, _) in finding.refused.items()]
    if len(places) == 2:  # then windows no longer matter
        where, *elsewhere = {where for where, _ in finding.refused.values()}
        return f"refused {' and '.join(sorted(places)) if elsewhere else f'at {where}'}"
    if finding.parts:
        rest = len(finding.parts) - 1
        outcomes.append(f"torch and Paddle differ at {finding.parts[0]}{f' (and {rest} after it)' if rest else ''}")
    if finding.rounds:
        outcomes.append(f"floor and ceil differ at {', '.join(finding.rounds)}")
    outcomes += [f"refused {place} only" for place in places]
    return "; ".join(outcomes) or ("same" if finding.layers else "no pooling layer to compare")


def _ranges(sizes: Sequence[int]) -> str:
    spans: list[list[int]] = []
    for size in sizes:
        if spans and size == spans[-1][-1] + 1:
            spans[-1] = [spans[-1][0], size]
        else:
            spans.append([size])
    return ", ".join("..".join(map(str, span)) for span in spans)
