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
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from parity.commands.app import app, run


class _Group(TyperGroup):
    """Takes `bench resnet50` for `bench latency resnet50`: what is no verb of bench is a model."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        verb = [] if args[0] in self.commands or args[0].startswith("-") else ["latency"]
        return super().resolve_command(ctx, [*verb, *args])


bench = typer.Typer(cls=_Group, no_args_is_help=True, help="Measure, as ratios in one run; latency unless told what.")
app.add_typer(bench, name="bench")


# A script: importing it would load both frameworks here.
_FLOOR = Path(__file__).with_name("floor.py")
_TRAINING_STEP = Path(__file__).with_name("training_step.py")


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

    def work() -> bool:
        from rich.table import Table

        from parity.commands.terminal import stdout
        from parity.run import check_writable, parse_pair
        from parity.zoo import NETWORKS

        if json is not None:
            check_writable(json)
        table = Table("model", "batch", "floor s", "compare s", "ratio", "floor MB", "compare MB", "ratio", box=None)
        found: list[dict[str, Any]] = []
        for model in models:
            _ = parse_pair(model, None)
            for n in batch or [1]:
                shape = ",".join(map(str, (n, *NETWORKS[model].input[1:])))
                commands = {
                    "floor": [sys.executable, str(_FLOOR), model, shape],
                    "compare": [sys.executable, "-m", "parity", "compare", model, "--input", shape, "--quiet"],
                }
                runs: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
                for _ in range(rounds):
                    for name, command in commands.items():
                        runs[name].append(measured(command))
                wall = {name: statistics.median(run[0] for run in taken) for name, taken in runs.items()}
                memory = {name: statistics.median(run[1] for run in taken) for name, taken in runs.items()}
                row = {
                    "model": model,
                    "batch": n,
                    "rounds": rounds,
                    "seconds": wall,
                    "time_ratio": wall["compare"] / wall["floor"],
                    "megabytes": memory,
                    "memory_ratio": memory["compare"] / memory["floor"],
                }
                found.append(row)
                times = f"{wall['floor']:.2f}", f"{wall['compare']:.2f}", f"{row['time_ratio']:.2f}"
                sizes = f"{memory['floor']:.0f}", f"{memory['compare']:.0f}", f"{row['memory_ratio']:.2f}"
                table.add_row(model, str(n), *times, *sizes)
        stdout().print(table)
        if json is not None:
            _ = json.write_text(jsonlib.dumps(found, indent=1) + "\n")
        return True

    run(work)


_FORMATS = ("safetensors", "pth", "pdparams")


@bench.command()
def memory(
    models: Annotated[list[str], typer.Argument(help="Zoo names of DenseNets.")],
    batch: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 16,
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each, taking turns; medians are shown.")] = 3,
    json: Annotated[Path | None, typer.Option(help="Write the numbers to this file.")] = None,
) -> None:
    """Hold a training step with `memory_efficient` against one without: peak memory and time of the whole process."""

    def work() -> bool:
        from rich.table import Table

        from parity.atomic import check_writable
        from parity.commands.terminal import stdout
        from parity.errors import ParityError
        from parity.run import parse_pair
        from parity.zoo import NETWORKS

        if json is not None:
            check_writable(json)
        table = Table("model", "side", "MB", "saving MB", "ratio", "s", "saving s", "ratio", box=None)
        found: list[dict[str, Any]] = []
        for model in models:
            _ = parse_pair(model, None)
            if NETWORKS[model].family != "densenet" or model == "densenet_d2l":
                raise ParityError(f"{model} takes no memory_efficient; the DenseNets but densenet_d2l do")
            shape = ",".join(map(str, (batch, *NETWORKS[model].input[1:])))
            for side in ("torch", "paddle"):
                taken: dict[str, list[tuple[float, float]]] = {"0": [], "1": []}
                for _ in range(rounds):
                    for saving in taken:
                        taken[saving].append(
                            measured([sys.executable, str(_TRAINING_STEP), side, model, shape, saving])
                        )
                wall, peak = ([statistics.median(run[i] for run in runs) for runs in taken.values()] for i in (0, 1))
                row = {
                    "model": model,
                    "side": side,
                    "batch": batch,
                    "megabytes": peak,
                    "memory_ratio": peak[1] / peak[0],
                    "seconds": wall,
                    "time_ratio": wall[1] / wall[0],
                }
                found.append(row)
                sizes = f"{peak[0]:.0f}", f"{peak[1]:.0f}", f"{row['memory_ratio']:.2f}"
                table.add_row(model, side, *sizes, f"{wall[0]:.2f}", f"{wall[1]:.2f}", f"{row['time_ratio']:.2f}")
        stdout().print(table)
        if json is not None:
            _ = json.write_text(jsonlib.dumps(found, indent=1) + "\n")
        return True

    run(work)


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

    def work() -> bool:
        from rich.table import Table

        from parity import blueprint
        from parity.atomic import check_writable
        from parity.commands.terminal import stdout
        from parity.state import hardened_state
        from parity.transfer import transfer as convert

        if json is not None:
            check_writable(json)
        head = "model", "from", "to", "MB", "cp s", "all s", "of cp's speed", "proper s", "of cp's speed", "peak MB"
        table = Table(*head, "of the file", box=None)
        found: list[dict[str, Any]] = []
        for model in models:
            slots = blueprint.slots(model)
            with tempfile.TemporaryDirectory(prefix="parity-bench-", dir=folder) as here:
                files = {kind: Path(here) / f"{model}.{kind}" for kind in _FORMATS}
                hardened_state(slots).save(files["safetensors"])
                for kind in _FORMATS[1:]:
                    _ = convert(files["safetensors"], files[kind], model)
                for source, target in itertools.permutations(_FORMATS, 2):
                    made = Path(here) / f"made.{target}"
                    command = [sys.executable, "-m", "parity", "transfer", str(files[source]), str(made)]
                    taken: dict[str, list[float]] = {"cp": [], "all": [], "proper": [], "peak": []}
                    for _ in range(rounds):
                        os.sync()  # what one run leaves to the disk is not to slow the next
                        taken["cp"].append(measured(["cp", str(files[source]), str(Path(here) / "copy")])[0])
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
                    found.append(row)
                    ratios = f"{row['speed_ratio']:.2f}", f"{row['speed_ratio_proper']:.2f}"
                    times = f"{middle['all']:.2f}", ratios[0], f"{middle['proper']:.2f}", ratios[1]
                    memory = f"{middle['peak']:.0f}", f"{row['memory_ratio']:.2f}"
                    table.add_row(model, source, target, f"{size:.0f}", f"{middle['cp']:.2f}", *times, *memory)
        stdout().print(table)
        if json is not None:
            _ = json.write_text(jsonlib.dumps(found, indent=1) + "\n")
        return True

    run(work)


@bench.command()
def forward(
    models: Annotated[list[str], typer.Argument(help="Zoo names that torchvision has.")],
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each, taking turns; medians are shown.")] = 20,
    json: Annotated[Path | None, typer.Option(help="Write the numbers to this file.")] = None,
) -> None:
    """Hold each twin's forward against torchvision's, and paddle.vision's where that is the same network."""

    def work() -> bool:
        from rich.table import Table

        from parity.atomic import check_writable
        from parity.commands import rival
        from parity.commands.terminal import stdout
        from parity.errors import ParityError
        from parity.names import check_layout
        from parity.zoo import NETWORKS, near

        if json is not None:
            check_writable(json)
        table = Table("model", "against", "theirs ms", "twin ms", "ratio", box=None)
        found: list[dict[str, Any]] = []
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
            found.append(
                {
                    "model": model,
                    "against": project,
                    "rounds": rounds,
                    "seconds": {"theirs": theirs, "twin": twin},
                    "time_ratio": twin / theirs,
                }
            )
            table.add_row(model, project, f"{theirs * 1e3:.1f}", f"{twin * 1e3:.1f}", f"{twin / theirs:.3f}")
        stdout().print(table)
        if json is not None:
            _ = json.write_text(jsonlib.dumps(found, indent=1) + "\n")
        return True

    run(work)


_PROJECTS = {"torch": "torchvision", "paddle": "paddle.vision"}


@bench.command()
def latency(
    model: Annotated[str, typer.Argument(help="A zoo name: torch's twin and Paddle's.")],
    onnx: Annotated[list[Path] | None, typer.Option(help="An exported file of it; may be repeated.")] = None,
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
        from rich.table import Table

        from parity import latency as timing
        from parity.atomic import atomic
        from parity.commands.terminal import Progress, stdout
        from parity.run import check_writable, parse_model, parse_pair

        for path in (json, plot):
            if path is not None:
                check_writable(path)
        name, pair = parse_pair(model, None)
        models = [*pair, *(parse_model(f"onnx:{path}") for path in onnx or [])]
        pythons = {"torch": torch_python, "paddle": paddle_python, "onnx": onnx_python}
        rows, rates = list[timing.Row](), dict[int, float]()
        with Progress(name, False) as progress:
            for count in threads or [1]:
                found, rates[count] = timing.measure(
                    name, models, batch or [1], count, rounds, way or [],
                    {side: python for side, python in pythons.items() if python}, timeout, progress.update,
                )  # fmt: skip
                rows += found
        table = Table("way", "batch", "threads", "p50 ms", "p99 ms", "images/s", "of matrix products", box=None)
        for row in rows:
            share = "" if row.share is None else f"{row.share:.0%}"
            numbers = (f"{row.p50:.2f}", f"{row.p99:.2f}", f"{row.images:.1f}", share)
            table.add_row(row.way, str(row.batch), str(row.threads), *(numbers if not row.refused else [row.refused]))
        stdout().print(table)
        for count, rate in rates.items():
            typer.echo(f"{count} thread{'s' * (count > 1)}: float32 matrix products at {rate / 1e9:.0f} GFLOP/s.")
        if json is not None:
            with atomic(json) as part:
                _ = part.write_text(jsonlib.dumps(timing.as_json(name, rows, rates), indent=1) + "\n")
        if plot is not None:
            with atomic(plot) as part:
                timing.plot(name, rows, part)
        return True

    run(work)
