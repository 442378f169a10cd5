"""`parity bench`: what the project's own work costs, as ratios measured in one run."""

from __future__ import annotations

import itertools
import json as jsonlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from parity.commands.app import app, run
from parity.temporary import temporary_folder


class _Group(TyperGroup):
    """Takes `bench resnet50` for `bench latency resnet50`: what is no verb of bench is a model."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        verb = [] if args[0] in self.commands or args[0].startswith("-") else ["latency"]
        return super().resolve_command(ctx, [*verb, *args])


bench = typer.Typer(cls=_Group, no_args_is_help=True, help="Measure, as ratios in one run; latency unless told what.")
app.add_typer(bench, name="bench")


# Scripts: importing them would load both frameworks here.
_FLOOR, _EXPORT_FLOOR, _TRAINING_STEP = (
    Path(__file__).with_name(name) for name in ("floor.py", "export_floor.py", "training_step.py")
)

_Row = tuple[dict[str, Any], Sequence[str]]


def _show(head: Sequence[str], rows: Callable[[], Iterable[_Row]], json: Path | None) -> None:
    """Run a benchmark: measure the rows, print them as a table, and write them to `json`."""

    def work() -> bool:
        from parity.atomic import check_writable
        from parity.commands.terminal import stdout
        from parity.tables import Table

        if json is not None:
            check_writable(json)
        table, found = Table(*head, box=None), list[dict[str, Any]]()
        for row, cells in rows():
            found.append(row)
            table.add_row(*cells)
        stdout().print(table)
        _write(found, json)
        return True

    run(work)


def _write(found: Any, json: Path | None) -> None:
    from parity.atomic import atomic

    if json is not None:
        with atomic(json) as part:
            _ = part.write_text(jsonlib.dumps(found, indent=1) + "\n")


def _turns(commands: Mapping[str, Sequence[str]], rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """Return the median wall time in seconds and peak memory in MB of each command, all taking turns."""
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            runs[name].append(measured(command))
    wall, memory = ({name: statistics.median(run[i] for run in taken) for name, taken in runs.items()} for i in (0, 1))
    return wall, memory


def measured(command: Sequence[str]) -> tuple[float, float]:
    """Run a command and return its wall time in seconds and the peak memory of all its processes together in MB.

    Memory is resident set size, sampled every 10 ms, pages that processes share counted for each of them.
    """
    import psutil

    start, peak = time.perf_counter(), 0
    with tempfile.TemporaryFile() as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        tree = psutil.Process(process.pid)
        while process.poll() is None:
            total = 0
            try:
                for each in [tree, *tree.children(recursive=True)]:
                    total += each.memory_info().rss
            except psutil.NoSuchProcess:
                continue
            peak = max(peak, total)
            time.sleep(0.01)
        wall = time.perf_counter() - start
        if process.returncode:
            _ = log.seek(0)
            raise RuntimeError(f"{' '.join(command)}: exit {process.returncode}: {log.read().decode()[-500:]}")
    return wall, peak / 1e6


@bench.command()
def verify(
    models: Annotated[list[str], typer.Argument(help="Zoo names.")],
    batch: Annotated[list[int] | None, typer.Option(min=1, help="Images at a time; may be repeated.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each, taking turns; medians are shown.")] = 5,
    json: Annotated[Path | None, typer.Option(help="Write the numbers to this file.")] = None,
) -> None:
    """Hold `parity compare` against the bare floor: both frameworks in one process, the same four forwards."""

    def rows() -> Iterator[_Row]:
        from parity.run import parse_pair
        from parity.zoo import NETWORKS

        for model in models:
            _ = parse_pair(model, None)  # before hours are spent on those ahead of a wrong one
        for model, n in itertools.product(models, batch or [1]):
            shape = ",".join(map(str, (n, *NETWORKS[model].input[1:])))
            commands = {
                "floor": [sys.executable, str(_FLOOR), model, shape],
                "compare": [sys.executable, "-m", "parity", "compare", model, "--input", shape, "--quiet"],
            }
            wall, memory = _turns(commands, rounds)
            row = {
                "model": model,
                "batch": n,
                "rounds": rounds,
                "seconds": wall,
                "time_ratio": wall["compare"] / wall["floor"],
                "megabytes": memory,
                "memory_ratio": memory["compare"] / memory["floor"],
            }
            times = f"{wall['floor']:.2f}", f"{wall['compare']:.2f}", f"{row['time_ratio']:.2f}"
            sizes = f"{memory['floor']:.0f}", f"{memory['compare']:.0f}", f"{row['memory_ratio']:.2f}"
            yield row, (model, str(n), *times, *sizes)

    _show(("model", "batch", "floor s", "compare s", "ratio", "floor MB", "compare MB", "ratio"), rows, json)


@bench.command()
def export(
    models: Annotated[list[str], typer.Argument(help="Zoo names.")],
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each, taking turns; medians are shown.")] = 3,
    json: Annotated[Path | None, typer.Option(help="Write the numbers to this file.")] = None,
) -> None:
    """Hold `parity export`, which proves its files, against both exporters alone, one process each."""

    def rows() -> Iterator[_Row]:
        from parity.run import parse_pair

        for model in models:
            _ = parse_pair(model, None)
        for model in models:
            with temporary_folder() as here:
                commands = {
                    "torch": [sys.executable, str(_EXPORT_FLOOR), "torch", model, str(here)],
                    "paddle": [sys.executable, str(_EXPORT_FLOOR), "paddle", model, str(here)],
                    "parity": [sys.executable, "-m", "parity", "export", model, "--out", str(here), "--quiet"],
                }
                wall, memory = _turns(commands, rounds)
            ratio = wall["parity"] / (wall["torch"] + wall["paddle"])
            row = {"model": model, "rounds": rounds, "seconds": wall, "time_ratio": ratio, "megabytes": memory}
            yield row, (model, *(f"{value:.2f}" for value in (*wall.values(), ratio)), f"{memory['parity']:.0f}")

    _show(("model", "torch's s", "Paddle's s", "parity export s", "ratio", "MB"), rows, json)


_FORMATS = ("safetensors", "pth", "pdparams")


@bench.command()
def memory(
    models: Annotated[list[str], typer.Argument(help="Zoo names of DenseNets.")],
    batch: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 16,
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each, taking turns; medians are shown.")] = 3,
    json: Annotated[Path | None, typer.Option(help="Write the numbers to this file.")] = None,
) -> None:
    """Hold a training step with `memory_efficient` against one without: peak memory and time of the whole process."""

    def rows() -> Iterator[_Row]:
        from parity.errors import ParityError
        from parity.run import parse_pair
        from parity.zoo import NETWORKS

        for model in models:
            _ = parse_pair(model, None)
            if NETWORKS[model].family != "densenet" or model == "densenet_d2l":
                raise ParityError(f"{model} takes no memory_efficient; the DenseNets but densenet_d2l do")
        for model, side in itertools.product(models, ("torch", "paddle")):
            shape = ",".join(map(str, (batch, *NETWORKS[model].input[1:])))
            step = [sys.executable, str(_TRAINING_STEP), side, model, shape]
            wall, peak = (list(taken.values()) for taken in _turns({"0": [*step, "0"], "1": [*step, "1"]}, rounds))
            row = {
                "model": model,
                "side": side,
                "batch": batch,
                "megabytes": peak,
                "memory_ratio": peak[1] / peak[0],
                "seconds": wall,
                "time_ratio": wall[1] / wall[0],
            }
            sizes = f"{peak[0]:.0f}", f"{peak[1]:.0f}", f"{row['memory_ratio']:.2f}"
            yield row, (model, side, *sizes, f"{wall[0]:.2f}", f"{wall[1]:.2f}", f"{row['time_ratio']:.2f}")

    _show(("model", "side", "MB", "saving MB", "ratio", "s", "saving s", "ratio"), rows, json)


@bench.command()
def transfer(
    models: Annotated[list[str], typer.Argument(help="Zoo names.")],
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each, taking turns; medians are shown.")] = 5,
    folder: Annotated[Path | None, typer.Option(help="Where to write; by default the system's folder for it.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the numbers to this file.")] = None,
) -> None:
    """Hold `parity transfer` between every two formats against `cp` of the same file.

    "all" is the whole process, start of the interpreter and imports included; "proper" the conversion alone.
    """

    def rows() -> Iterator[_Row]:
        from parity import blueprint
        from parity.state import hardened_state
        from parity.transfer import transfer as convert

        for model in models:
            slots = blueprint.slots(model)
            with temporary_folder(folder) as here:
                files = {kind: here / f"{model}.{kind}" for kind in _FORMATS}
                hardened_state(slots).save(files["safetensors"])
                for kind in _FORMATS[1:]:
                    _ = convert(files["safetensors"], files[kind], model)
                for source, target in itertools.permutations(_FORMATS, 2):
                    made = here / f"made.{target}"
                    command = [sys.executable, "-m", "parity", "transfer", str(files[source]), str(made)]
                    taken: dict[str, list[float]] = {"cp": [], "all": [], "proper": [], "peak": []}
                    for _ in range(rounds):
                        os.sync()  # what one run leaves to the disk is not to slow the next
                        taken["cp"].append(measured(["cp", str(files[source]), str(here / "copy")])[0])
                        os.sync()
                        wall, peak = measured([*command, "--model", model, "--quiet"])
                        taken["all"].append(wall)
                        taken["peak"].append(peak)
                        os.sync()
                        start = time.perf_counter()
                        _ = convert(files[source], made, model)
                        taken["proper"].append(time.perf_counter() - start)
                    middle = {what: statistics.median(values) for what, values in taken.items()}
                    size = files[source].stat().st_size / 1e6
                    row = {
                        "model": model,
                        "from": source,
                        "to": target,
                        "rounds": rounds,
                        "megabytes": size,
                        "seconds": {what: middle[what] for what in ("cp", "all", "proper")},
                        "speed_ratio": middle["cp"] / middle["all"],
                        "speed_ratio_proper": middle["cp"] / middle["proper"],
                        "peak_megabytes": middle["peak"],
                        "memory_ratio": middle["peak"] / size,
                    }
                    ratios = f"{row['speed_ratio']:.2f}", f"{row['speed_ratio_proper']:.2f}"
                    times = f"{middle['all']:.2f}", ratios[0], f"{middle['proper']:.2f}", ratios[1]
                    memory = f"{middle['peak']:.0f}", f"{row['memory_ratio']:.2f}"
                    yield row, (model, source, target, f"{size:.0f}", f"{middle['cp']:.2f}", *times, *memory)

    head = "model", "from", "to", "MB", "cp s", "all s", "of cp's speed", "proper s", "of cp's speed", "peak MB"
    _show((*head, "of the file"), rows, json)


@bench.command()
def forward(
    models: Annotated[list[str], typer.Argument(help="Zoo names that torchvision has.")],
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each, taking turns; medians are shown.")] = 20,
    json: Annotated[Path | None, typer.Option(help="Write the numbers to this file.")] = None,
) -> None:
    """Hold each twin's forward against torchvision's, and paddle.vision's where that is the same network."""

    def rows() -> Iterator[_Row]:
        from parity.commands import rival
        from parity.errors import ParityError
        from parity.names import check_layout
        from parity.zoo import NETWORKS, near

        for model in models:
            if model not in NETWORKS:
                raise ParityError(f"unknown network {model!r}; {near(model)}")
            check_layout(model, "torchvision")
        for model, (framework, project) in itertools.product(models, _PROJECTS.items()):
            try:
                check_layout(model, project)
            except ParityError:
                continue  # paddle.vision has none, or another
            command = [sys.executable, str(rival.__file__), framework, model, str(rounds)]
            one = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=one)
            if done.returncode:
                raise ParityError(f"{model}: {project} cannot be run: {done.stderr.strip().splitlines()[-1]}")
            taken = jsonlib.loads(done.stdout[done.stdout.rindex("{") :])
            twin, theirs = (statistics.median(taken[who]) for who in ("twin", "rival"))
            row = {
                "model": model,
                "against": project,
                "rounds": rounds,
                "seconds": {"theirs": theirs, "twin": twin},
                "time_ratio": twin / theirs,
            }
            yield row, (model, project, f"{theirs * 1e3:.1f}", f"{twin * 1e3:.1f}", f"{twin / theirs:.3f}")

    _show(("model", "against", "theirs ms", "twin ms", "ratio"), rows, json)


_PROJECTS = {"torch": "torchvision", "paddle": "paddle.vision"}


@bench.command()
def latency(
    model: Annotated[str, typer.Argument(help="A zoo name: torch's twin and Paddle's.")],
    onnx: Annotated[
        list[Path] | None,
        typer.Option(help="An exported file of it; may be repeated. Without: both frameworks', canonical and raw."),
    ] = None,
    way: Annotated[
        list[str] | None,
        typer.Option(help="Only ways whose names begin so, as 'torch eager' or 'onnx'; may be repeated."),
    ] = None,
    batch: Annotated[list[int] | None, typer.Option(min=1, help="Images at a time; may be repeated.")] = None,
    threads: Annotated[list[int] | None, typer.Option(min=1, help="Of an operator; may be repeated.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each, three timed calls a turn.")] = 15,
    torch_python: Annotated[str | None, typer.Option(help="Interpreter that has torch.")] = None,
    paddle_python: Annotated[str | None, typer.Option(help="Interpreter that has Paddle.")] = None,
    onnx_python: Annotated[str | None, typer.Option(help="Interpreter that has onnx and onnxruntime.")] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds for each answer of a worker.")] = 600.0,
    json: Annotated[Path | None, typer.Option(help="Write the numbers to this file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw them to this PNG.")] = None,
) -> None:
    """Time a network in every way to run it on the CPU: torch, Paddle, ONNX Runtime, taking turns in one run."""

    def work() -> bool:
        from parity import latency as timing
        from parity.atomic import atomic
        from parity.commands.terminal import Progress, stdout
        from parity.run import check_writable, parse_model, parse_pair
        from parity.tables import Table

        for path in (json, plot):
            if path is not None:
                check_writable(path)
        name, pair = parse_pair(model, None)
        chosen = {"torch": torch_python, "paddle": paddle_python, "onnx": onnx_python}
        pythons = {side: python for side, python in chosen.items() if python}
        rows, rates = list[timing.Row](), dict[int, float]()
        with temporary_folder() as here, Progress(name, False) as progress:
            files, refused = list(onnx or []), dict[str, str]()
            if not files and timing.wanted("onnx", way or []):
                files, refused = timing.exported(name, pair, here, pythons, timeout, progress.update)
            models = [*pair, *(parse_model(f"onnx:{path}") for path in files)]
            for count in threads or [1]:
                found, rates[count] = timing.measure(
                    name, models, batch or [1], count, rounds, way or [], pythons, timeout, progress.update
                )
                rows += found
                rows += [
                    timing.Row(label, n, count, refused=why) for n in batch or [1] for label, why in refused.items()
                ]
        table = Table("way", "batch", "threads", "p50 ms", "p99 ms", "images/s", "of matrix products", box=None)
        for row in rows:
            share = "" if row.share is None else f"{row.share:.0%}"
            numbers = (f"{row.p50:.2f}", f"{row.p99:.2f}", f"{row.images:.1f}", share)
            table.add_row(row.way, str(row.batch), str(row.threads), *(numbers if not row.refused else [row.refused]))
        stdout().print(table)
        for count, rate in rates.items():
            typer.echo(f"{count} thread{'s' * (count > 1)}: float32 matrix products at {rate / 1e9:.0f} GFLOP/s.")
        _write(timing.as_json(name, rows, rates), json)
        if plot is not None:
            with atomic(plot) as part:
                timing.plot(name, rows, part)
        return True

    run(work)
