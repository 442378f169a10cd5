"""What both exporters make of pooling and of single operators, and whether two runtimes reproduce the framework.

`measure` starts facts/export_process.py with one framework, in a process of its own: exporters end the process. It goes
on behind the task that did. What was found is kept in facts/export_results.json; `python tests/exports.py` measures it
anew.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from facts.export_operators import EACH, OPERATORS, operator_tasks, pool_tasks

FACTS = Path(__file__).parent / "facts"
RESULTS = FACTS / "export_results.json"


def measure(backend, tasks):
    """Return each task's result; one that ends its process has the signal's name for an export."""
    results = []
    path = os.pathsep.join(filter(None, [str(FACTS.parent), os.environ.get("PYTHONPATH")]))
    while len(results) < len(tasks):
        before = len(results)
        with tempfile.TemporaryDirectory(prefix="parity-") as folder:
            done = subprocess.run(
                [sys.executable, str(FACTS / "export_process.py"), backend, folder],
                input=json.dumps(tasks[before:]),
                capture_output=True,
                text=True,
                env={
                    **os.environ,
                    "PYTHONPATH": path,
                    "OMP_NUM_THREADS": "1",
                    "GLOG_minloglevel": "3",
                    "PYTHONWARNINGS": "ignore",
                },
                timeout=1200,
            )
        results += [json.loads(line) for line in done.stdout.splitlines()]
        if len(results) < len(tasks):
            code = done.returncode
            if not tasks[len(results)].get("name") or code == 1:
                raise RuntimeError(f"{backend}: {tasks[len(results)]}: exit {code}: {done.stderr[-500:]}")
            results.append({"export": signal.Signals(-code).name if code < 0 else f"exit {code}"})
    return results


def measured(backends=("torch", "paddle"), progress=print):
    """Return all results: {"operators": {name: {backend: outcome}}, "pools": [row]}, a row with counts."""
    operators, pools = {name: {} for name in OPERATORS}, []
    for backend in backends:
        tasks = operator_tasks(backend)
        for task, result in zip(tasks, measure(backend, tasks), strict=True):
            operators[task["name"]][backend] = result
        progress(f"{backend}: {len(tasks)} operators")
        tasks = pool_tasks(backend)
        for task, result in zip(tasks, measure(backend, tasks), strict=True):
            pools.append(
                {"exporter": backend, **{word: task[word] for word in ("pools", "opset", "stratum")}, **summary(result)}
            )
        progress(f"{backend}: {len(tasks)} x {EACH} pools")
    return {"operators": operators, "pools": pools}


def summary(result):
    """Return a pool task's counts of equal cells, and a sentence's worth about the others."""
    if "cells" not in result:
        return result
    found = {"written": result["opset"], "cells": len(result["cells"])}
    for runtime in ("onnxruntime", "reference"):
        outcomes = [cell[runtime] for cell in result["cells"]]
        found[runtime] = outcomes.count("equal")
        rest = Counter(outcome for outcome in outcomes if outcome != "equal")
        found[f"{runtime} else"] = ", ".join(f"{count} {outcome}" for outcome, count in sorted(rest.items()))
    return found


def kept():
    """Return the results on file."""
    return json.loads(RESULTS.read_text())


def versions() -> dict[str, str]:
    """Return the versions that a measurement is of."""
    from importlib.metadata import version

    names: Iterable[str] = ("torch", "paddlepaddle", "onnx", "onnxruntime", "onnxscript", "paddle2onnx")
    return {name: version(name) for name in names}


def as_text(results):
    """Return the results as JSON with an operator, or a row of pools, a line."""
    parts = [f'"versions": {json.dumps(results["versions"])}']
    lines = [f"{json.dumps(name)}: {json.dumps(found)}" for name, found in results["operators"].items()]
    parts.append('"operators": {\n' + ",\n".join(lines) + "\n}")
    parts.append('"pools": [\n' + ",\n".join(map(json.dumps, results["pools"])) + "\n]")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    _ = RESULTS.write_text(as_text({"versions": versions(), **measured()}))
