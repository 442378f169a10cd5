"""What both exporters make of pooling and of single operators, and whether two runtimes reproduce the framework.

`measure` starts this file as a script, with one framework, in a process of its own: exporters end the process. It goes
on behind the task that did. What was found is kept in onnx_results.json; `python tests/exports.py` measures it anew.
"""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

RESULTS = Path(__file__).with_name("onnx_results.json")
OPSETS = {"torch": (18, 20, 22), "paddle": (13, 17, 21)}
KINDS = "max", "avg, padding counted", "avg, padding left out"
STRATA = "plain", "overhang", "drop"
EACH = 50


def cells():
    """Return the sample: 50 pools [size, kernel, stride, padding, ceil_mode] of each stratum, drawn from a sweep.

    "drop": Paddle makes one window more than torch. "overhang": a last window reaches past the padding, in both.
    """
    found = {name: [] for name in STRATA}
    for size, k, s, ceil in itertools.product(range(4, 29), range(1, 8), range(1, 7), (False, True)):
        for p in range(k // 2 + 1):
            if size + 2 * p < k:
                continue
            rest = (size + 2 * p - k) % s
            kind = "plain" if not (ceil and rest) else "drop" if s - rest >= k - p else "overhang"
            found[kind].append([size, k, s, p, ceil])
    chosen = random.Random(11)
    return {name: sorted(chosen.sample(all_, EACH)) for name, all_ in found.items()}


# Operators: name -> the smallest model of it, in both frameworks' words, and the shape of its input. `T` and `P` are
# torch.nn and paddle.nn, `TF` and `PF` their functional modules. A word in place of code: it has no such layer.
OPERATORS = {
    "LeakyReLU(0.3)": ("T.LeakyReLU(0.3)", "P.LeakyReLU(0.3)", (4,)),
    "ELU(0.7)": ("T.ELU(0.7)", "P.ELU(0.7)", (4,)),
    "CELU(0.7)": ("T.CELU(0.7)", "P.CELU(0.7)", (4,)),
    "SELU()": ("T.SELU()", "P.SELU()", (4,)),
    "Softplus()": ("T.Softplus()", "P.Softplus()", (4,)),
    "Softplus(beta=2)": ("T.Softplus(2)", "P.Softplus(2)", (4,)),
    "GELU()": ("T.GELU()", "P.GELU()", (4,)),
    "GELU('tanh')": ("T.GELU(approximate='tanh')", "P.GELU(True)", (4,)),
    "Hardtanh(-0.4, 0.3)": ("T.Hardtanh(-0.4, 0.3)", "P.Hardtanh(-0.4, 0.3)", (4,)),
    "Hardswish()": ("T.Hardswish()", "P.Hardswish()", (4,)),
    "Hardsigmoid()": ("T.Hardsigmoid()", "P.Hardsigmoid()", (4,)),
    "SiLU()": ("T.SiLU()", "P.Silu()", (4,)),
    "Mish()": ("T.Mish()", "P.Mish()", (4,)),
    "PReLU()": ("T.PReLU()", "P.PReLU()", (1, 2, 3, 3)),
    "ReLU6()": ("T.ReLU6()", "P.ReLU6()", (4,)),
    "ReLU() of NaN": ("T.ReLU()", "P.ReLU()", (4,)),
    "Softmax(1)": ("T.Softmax(1)", "P.Softmax(1)", (1, 5, 2, 2)),
    "LogSoftmax of logits 100 apart": (
        "F(lambda x: TF.log_softmax(x * 100, 1))",
        "F(lambda x: PF.log_softmax(x * 100, 1))",
        (1, 5),
    ),
    "pad with 0.7": (
        "F(lambda x: TF.pad(x, [1, 1, 1, 1], value=0.7))",
        "F(lambda x: PF.pad(x, [1, 1, 1, 1], value=0.7))",
        (1, 1, 2, 2),
    ),
    "pad, reflect": (
        "F(lambda x: TF.pad(x, [1, 1, 1, 1], 'reflect'))",
        "F(lambda x: PF.pad(x, [1, 1, 1, 1], 'reflect'))",
        (1, 1, 3, 3),
    ),
    "pad, circular": (
        "F(lambda x: TF.pad(x, [1, 1, 1, 1], 'circular'))",
        "F(lambda x: PF.pad(x, [1, 1, 1, 1], 'circular'))",
        (1, 1, 3, 3),
    ),
    "GroupNorm(2, 4, eps=0.3)": ("T.GroupNorm(2, 4, 0.3)", "P.GroupNorm(2, 4, 0.3)", (1, 4, 2, 2)),
    "LayerNorm(4)": ("T.LayerNorm(4)", "P.LayerNorm(4)", (2, 4)),
    "LayerNorm([3, 4])": ("T.LayerNorm([3, 4])", "P.LayerNorm([3, 4])", (2, 3, 4)),
    "InstanceNorm2d(2)": ("T.InstanceNorm2d(2)", "P.InstanceNorm2D(2)", (1, 2, 3, 3)),
    "BatchNorm2d(2), eval": ("T.BatchNorm2d(2, 0.1)", "P.BatchNorm2D(2, epsilon=0.1)", (1, 2, 2, 2)),
    "Conv2d, padding 'same'": ("T.Conv2d(1, 1, 2, padding='same')", "P.Conv2D(1, 1, 2, padding='SAME')", (1, 1, 4, 4)),
    "Conv2d, padding 'same', dilation 2": (
        "T.Conv2d(1, 1, 3, padding='same', dilation=2)",
        "P.Conv2D(1, 1, 3, padding='SAME', dilation=2)",
        (1, 1, 6, 6),
    ),
    "Conv2d, groups, stride, dilation": (
        "T.Conv2d(4, 2, 3, 2, 2, 2, 2)",
        "P.Conv2D(4, 2, 3, 2, 2, 2, 2)",
        (1, 4, 7, 7),
    ),
    "ConvTranspose2d": ("T.ConvTranspose2d(2, 1, 3, 2, 1, 1)", "P.Conv2DTranspose(2, 1, 3, 2, 1, 1)", (1, 2, 3, 3)),
    "Linear(3, 2)": ("T.Linear(3, 2)", "P.Linear(3, 2)", (2, 3)),
    "Flatten()": ("T.Flatten()", "P.Flatten()", (2, 2, 2, 2)),
    "AvgPool2d(3, divisor_override=7)": (
        "T.AvgPool2d(3, divisor_override=7)",
        "P.AvgPool2D(3, divisor_override=7)",
        (1, 1, 3, 3),
    ),
    "MaxPool2d(2, dilation=2)": ("T.MaxPool2d(2, 1, dilation=2)", "no such argument", (1, 1, 4, 4)),
    "MaxPool2d(2) of NaN": ("T.MaxPool2d(2)", "P.MaxPool2D(2)", (1, 1, 2, 2)),
    **{
        f"Adaptive{kind.title()}Pool2d({out}) of {size} x {size}": (
            f"T.Adaptive{kind.title()}Pool2d({out})",
            f"P.Adaptive{kind.title()}Pool2D({out})",
            (1, 1, size, size),
        )
        for kind in ("avg", "max")
        for size, out in ((5, 1), (6, 3), (9, 2), (9, 4), (11, 3), (12, 5), (3, 4))
    },
    "AdaptiveAvgPool2d(2), H and W dynamic, exported at 4 x 4, run at 6 x 6": (
        "T.AdaptiveAvgPool2d(2)",
        "P.AdaptiveAvgPool2D(2)",
        (1, 1, 4, 4),
        (1, 1, 6, 6),
    ),
    "AdaptiveAvgPool2d(1), H and W dynamic, exported at 4 x 4, run at 6 x 6": (
        "T.AdaptiveAvgPool2d(1)",
        "P.AdaptiveAvgPool2D(1)",
        (1, 1, 4, 4),
        (1, 1, 6, 6),
    ),
    "Upsample(scale_factor=2)": ("T.Upsample(scale_factor=2)", "P.Upsample(scale_factor=2)", (1, 1, 2, 2)),
    "Upsample(size=4), bilinear": (
        "T.Upsample([4, 4], mode='bilinear')",
        "P.Upsample([4, 4], mode='bilinear')",
        (1, 1, 2, 3),
    ),
    "Upsample(size=4), bilinear, align_corners": (
        "T.Upsample([4, 4], mode='bilinear', align_corners=True)",
        "P.Upsample([4, 4], mode='bilinear', align_corners=True)",
        (1, 1, 2, 3),
    ),
    "sum()": ("F(lambda x: x.sum())", "F(lambda x: x.sum())", (2, 2)),
    "mean()": ("F(lambda x: x.mean())", "F(lambda x: x.mean())", (2, 2)),
    "mean([2, 3])": ("F(lambda x: x.mean([2, 3]))", "F(lambda x: x.mean([2, 3]))", (1, 2, 2, 2)),
    "PixelShuffle(2)": ("T.PixelShuffle(2)", "P.PixelShuffle(2)", (1, 4, 2, 2)),
    "PixelUnshuffle(2)": ("T.PixelUnshuffle(2)", "P.PixelUnshuffle(2)", (1, 1, 4, 4)),
    "ChannelShuffle(2)": ("T.ChannelShuffle(2)", "P.ChannelShuffle(2)", (1, 4, 2, 2)),
    "Maxout(2)": ("no such layer", "P.Maxout(2)", (1, 4, 2, 2)),
    "Dropout(0.5), exported in training mode": ("T.Dropout(0.5)", "P.Dropout(0.5)", (8, 8)),
}
DEFAULT_OPSET = {"torch": 18, "paddle": 17}


def operator_tasks(side, names=None):
    """Return the tasks of a framework's operators."""
    return [
        {"name": name, "opset": DEFAULT_OPSET[side]}
        for name, row in OPERATORS.items()
        if not row[side == "paddle"].startswith("no ") and (names is None or name in names)
    ]


def pool_tasks(side, sample=None, opsets=None):
    """Return the tasks of a framework's pools: a kind, an opset, and the cells of one stratum."""
    return [
        {"pools": kind, "opset": opset, "stratum": stratum, "cells": chosen}
        for opset in opsets or OPSETS[side]
        for kind in KINDS
        for stratum, chosen in (sample or cells()).items()
    ]


def measure(side, tasks):
    """Return each task's result; one that ends its process has the signal's name for an export."""
    results = []
    while len(results) < len(tasks):
        before = len(results)
        with tempfile.TemporaryDirectory(prefix="parity-") as folder:
            done = subprocess.run(
                [sys.executable, __file__, side, folder],
                input=json.dumps(tasks[before:]),
                capture_output=True,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1", "GLOG_minloglevel": "3", "PYTHONWARNINGS": "ignore"},
                timeout=1200,
            )
        results += [json.loads(line) for line in done.stdout.splitlines()]
        if len(results) < len(tasks):
            code = done.returncode
            if not tasks[len(results)].get("name") or code == 1:
                raise RuntimeError(f"{side}: {tasks[len(results)]}: exit {code}: {done.stderr[-500:]}")
            results.append({"export": signal.Signals(-code).name if code < 0 else f"exit {code}"})
    return results


def measured(sides=("torch", "paddle"), progress=print):
    """Return all results: {"operators": {name: {side: outcome}}, "pools": [row]}, a row with counts."""
    operators, pools = {name: {} for name in OPERATORS}, []
    for side in sides:
        tasks = operator_tasks(side)
        for task, result in zip(tasks, measure(side, tasks), strict=True):
            operators[task["name"]][side] = result
        progress(f"{side}: {len(tasks)} operators")
        tasks = pool_tasks(side)
        for task, result in zip(tasks, measure(side, tasks), strict=True):
            pools.append(
                {"exporter": side, **{word: task[word] for word in ("pools", "opset", "stratum")}, **summary(result)}
            )
        progress(f"{side}: {len(tasks)} x {EACH} pools")
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


# The document's second part


def render(results):
    """Return the tables of the exporters and runtimes, as Markdown."""
    text = [_POOLS]
    opsets = {}
    for row in results["pools"]:
        counts = [f"{row[each]}/{row['cells']}" + _rest(row[f"{each} else"]) for each in _RUNTIMES]
        key = _EXPORTERS[row["exporter"]], row["pools"], row["stratum"], *counts
        opsets.setdefault(key, []).append(str(row["written"]))
    for (exporter, *words), written in opsets.items():
        text.append(f"| {' | '.join([exporter, ', '.join(written), *words])} |\n")
    text.append(_OPERATORS)
    for name, sides in results["operators"].items():
        said = [_operator(sides.get(side)) for side in ("torch", "paddle")]
        text.append(f"| `{name}` | {' | '.join(said)} |\n")
    text.append(_WRONG)
    for side in ("paddle", "torch"):
        for name, sides in results["operators"].items():
            if side in sides and (how := fault(sides[side])):
                row = OPERATORS[name]
                shapes = ", then ".join(" x ".join(map(str, shape)) for shape in row[2:])
                text.append(f"| {_EXPORTERS[side]} | {name} | `{row[side == 'paddle']}` | {shapes} | {how} |\n")
    return "".join(text)


_EXPORTERS = {"torch": "torch, dynamo", "paddle": "Paddle, paddle2onnx"}
_RUNTIMES = {"onnxruntime": "ONNX Runtime", "reference": "onnx.reference"}


def _rest(words):
    return f" ({words})" if words else ""


def _operator(result):
    if result is None:
        return "no such layer or argument"
    if "onnxruntime" not in result:
        return f"the export {_ends(result['export'])}"
    outcomes = {runtime: result[runtime] for runtime in _RUNTIMES}
    text = "; ".join(f"{_RUNTIMES[runtime]}: {said}" for runtime, said in outcomes.items())
    if set(outcomes.values()) == {"equal"}:
        text = "right in both"
    return text if result["export"] == "written" else f"{text}, {result['export']}"


def fault(result):
    """Return what is wrong with an export, "" if ONNX Runtime reproduces its framework, at the opset asked for."""
    if "onnxruntime" not in result:
        return f"loud: the export {_ends(result['export'])}"
    said = result["onnxruntime"]
    if said == "equal":
        return "" if result["export"] == "written" else f"**silent**: {result['export']}"
    return f"loud: ONNX Runtime {said}" if said.startswith("raises") else f"**silent**: {said}"


def _ends(words):
    return words if words.startswith("raises") else f"ends the process: {words}"


_POOLS = f"""## ONNX: pooling

{len(STRATA) * EACH} pools, {EACH} of each stratum, through both exporters (torch `onnx.export(dynamo=True)`;
`paddle.jit.save`, then `paddle2onnx.export`), each at three opsets: in how many cells ONNX Runtime and onnx's reference
evaluator reproduce the framework that the file came from. *plain*: no window reaches past the padding; *overhang*:
`ceil_mode`, one does; *drop*: it starts in the padding, where Paddle keeps it and torch does not.
`pytest -m zoo tests/test_exports.py` measures all of this again.

| exporter | opset | pooling | stratum | ONNX Runtime | onnx.reference |
|---|---|---|---|---|---|
"""
_OPERATORS = f"""
## ONNX: operators

Opset {DEFAULT_OPSET["torch"]} from torch, its lowest, {DEFAULT_OPSET["paddle"]} from Paddle. *right in both*:
ONNX Runtime and onnx.reference reproduce the framework.

| operator | torch, dynamo | Paddle, paddle2onnx |
|---|---|---|
"""
_WRONG = """
## ONNX: what an exporter writes wrongly

<a id="onnx-wrong"></a>The smallest model that shows it, the shape of its input, and what ONNX Runtime makes of the file
against the framework's own output. T and P are `torch.nn` and `paddle.nn`, TF and PF their `functional`, F a network of
a function. LogSoftmax and NaN: the file is right, it is Paddle that computes something else.

| exporter | operator | model | input | what happens |
|---|---|---|---|---|
"""


# In the process of one framework


def _main(side, folder):
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what exporters print, from C too
    tasks = json.load(sys.stdin)
    export = {"torch": _export_torch, "paddle": _export_paddle}[side]
    for task in tasks:
        answers.write(json.dumps((_pools if "pools" in task else _one)(side, export, task, Path(folder))) + "\n")


def _numbers(*shape):
    import numpy as np

    return (np.random.default_rng([*shape]).standard_normal(shape)).astype("f4")


def _one(side, export, task, folder):
    import numpy as np
    import onnx

    code, shape, *other = OPERATORS[task["name"]][side == "paddle"], *OPERATORS[task["name"]][2:]
    training = "training mode" in task["name"]
    example = _numbers(*shape)
    x = _numbers(*other[0]) if other else example
    if "of NaN" in task["name"]:
        x = np.full_like(x, np.nan)
    try:
        network = _network(side, code, training)
        file = folder / "model.onnx"
        export(network, [example], file, task["opset"], bool(other))
    except BaseException as error:  # paddle2onnx raises SystemExit
        return {"export": f"raises {type(error).__name__}"}
    if training:
        network.eval()
    right = _run(side, network, [x])[0]
    written = onnx.load(str(file)).opset_import[0].version
    found = {"export": "written" if written == task["opset"] else f"written at opset {written}"}
    for runtime in (_onnxruntime, _reference):
        try:
            found[runtime.__name__[1:]] = _verdict(right, runtime(file.read_bytes(), [x])[0])
        except Exception as error:
            found[runtime.__name__[1:]] = f"raises {type(error).__name__}"
    return found


def _pools(side, export, task, folder):
    import onnx
    import onnx.utils

    chosen = task["cells"]
    inputs = [_numbers(1, 2, cell[0], cell[0]) for cell in chosen]
    if side == "torch":
        import torch.nn.functional as functional
    else:
        import paddle.nn.functional as functional
    if task["pools"] == "max":
        pool, more = functional.max_pool2d, {}
    else:
        counted = task["pools"] == KINDS[1]
        pool, more = (
            functional.avg_pool2d,
            {"count_include_pad": counted} if side == "torch" else {"exclusive": not counted},
        )

    def forward(xs):
        return [pool(x, k, s, p, ceil_mode=c, **more) for x, (_, k, s, p, c) in zip(xs, chosen, strict=True)]

    network = _function(side, forward)
    file = folder / "pools.onnx"
    export(network, inputs, file, task["opset"], False)
    outputs = _run(side, network, inputs)
    model = onnx.load(str(file))
    found = []
    whole = onnx.utils.Extractor(model)
    for i, (x, right) in enumerate(zip(inputs, outputs, strict=True)):
        part = whole.extract_model([model.graph.input[i].name], [model.graph.output[i].name])
        row = {}
        for runtime in (_onnxruntime, _reference):
            try:
                row[runtime.__name__[1:]] = _verdict(right, runtime(part.SerializeToString(), [x])[0])
            except Exception as error:
                row[runtime.__name__[1:]] = f"raises {type(error).__name__}"
        found.append(row)
    return {"cells": found, "opset": model.opset_import[0].version}


def _verdict(right, seen):
    import numpy as np

    if right.shape != seen.shape:
        return "another shape"
    finite = np.abs(right[np.isfinite(right)])
    near = np.allclose(right, seen, rtol=1e-5, atol=1e-5 * (finite.max() if finite.size else 1), equal_nan=True)
    return "equal" if near else "other values"


def _onnxruntime(file, inputs):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return session.run(None, {each.name: x for each, x in zip(session.get_inputs(), inputs, strict=True)})


def _reference(file, inputs):
    import onnx
    import onnx.reference

    evaluator = onnx.reference.ReferenceEvaluator(onnx.load_from_string(file))
    return evaluator.run(None, dict(zip(evaluator.input_names, inputs, strict=True)))


def _function(side, forward):
    if side == "torch":
        import torch

        class Function(torch.nn.Module):  # pyright: ignore[reportRedeclaration]
            def forward(self, x):
                return forward(x)
    else:
        import paddle

        class Function(paddle.nn.Layer):
            def forward(self, x):
                return forward(x)

    return Function()


def _network(side, code, training):
    if side == "torch":
        import torch
        import torch.nn.functional as TF

        torch.manual_seed(0)
        words = {"T": torch.nn, "TF": TF}
    else:
        import paddle
        import paddle.nn.functional as PF

        paddle.seed(0)
        words = {"P": paddle.nn, "PF": PF}
    network = eval(code, {**words, "F": lambda forward: _function(side, forward)})
    (network.train if training else network.eval)()
    return network


def _run(side, network, inputs):
    if side == "torch":
        import torch

        with torch.no_grad():
            tensors = list(map(torch.from_numpy, inputs))
        made = network(tensors[0] if len(tensors) == 1 else tensors)
        made = made if isinstance(made, (list, tuple)) else [made]
        return [tensor.detach().numpy() for tensor in made]
    import paddle

    with paddle.no_grad():
        tensors = list(map(paddle.to_tensor, inputs))
        made = network(tensors[0] if len(tensors) == 1 else tensors)
    made = made if isinstance(made, (list, tuple)) else [made]
    return [tensor.detach().numpy() for tensor in made]


def _export_torch(network, inputs, file, opset, dynamic):
    import torch

    tensors = list(map(torch.from_numpy, inputs))
    shapes = [{2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC} for _ in inputs] if dynamic else None
    torch.onnx.export(
        network,
        (tensors[0] if len(tensors) == 1 else tensors,),
        str(file),
        dynamo=True,
        opset_version=opset,
        dynamic_shapes=shapes,
        external_data=False,
        verbose=False,
    )


def _export_paddle(network, inputs, file, opset, dynamic):
    import paddle
    import paddle2onnx

    specs = [
        paddle.static.InputSpec([*x.shape[:2], None, None] if dynamic else list(x.shape), "float32", f"x{i}")
        for i, x in enumerate(inputs)
    ]
    prefix = str(file.with_suffix(""))
    for old in file.parent.glob(f"{file.stem}.*"):  # a failed export leaves an old file in place
        old.unlink()
    paddle.jit.save(network, prefix, input_spec=specs if len(specs) == 1 else [specs])
    weights = f"{prefix}.pdiparams"
    # In two steps: paddle.onnx.export would have pip install packages.
    paddle2onnx.export(
        f"{prefix}.json",
        weights if Path(weights).exists() else "",
        str(file),
        opset_version=opset,
        optimize_tool="None",
    )
    if not file.exists():
        raise FileNotFoundError(file)


def versions() -> dict[str, str]:
    """Return the versions that a measurement is of."""
    from importlib.metadata import version

    names: Iterable[str] = ("torch", "paddlepaddle", "onnx", "onnxruntime", "onnxscript", "paddle2onnx")
    return {name: version(name) for name in names}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _main(*sys.argv[1:])
    else:
        RESULTS.write_text(json.dumps({"versions": versions(), **measured()}, indent=1) + "\n")
