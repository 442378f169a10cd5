"""What one framework's exporter makes of tasks, held against the framework by two runtimes: a script, in its process.

Run as `export_process.py torch|paddle FOLDER`: tasks come as JSON on stdin, a line of JSON goes out for each.
"""

import json
import os
import sys
from pathlib import Path

from facts.export_operators import KINDS, OPERATORS


def main(backend, folder):
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what exporters print, from C too
    tasks = json.load(sys.stdin)
    export = {"torch": _export_torch, "paddle": _export_paddle}[backend]
    for task in tasks:
        answers.write(json.dumps((_pools if "pools" in task else _one)(backend, export, task, Path(folder))) + "\n")


def _numbers(*shape):
    import numpy as np

    return (np.random.default_rng([*shape]).standard_normal(shape)).astype("f4")


def _one(backend, export, task, folder):
    import numpy as np
    import onnx

    code, shape, *other = OPERATORS[task["name"]][backend == "paddle"], *OPERATORS[task["name"]][2:]
    training = "training mode" in task["name"]
    example = _numbers(*shape)
    x = _numbers(*other[0]) if other else example
    if "of NaN" in task["name"]:
        x = np.full_like(x, np.nan)
    try:
        network = _network(backend, code, training)
        file = folder / "model.onnx"
        export(network, [example], file, task["opset"], bool(other))
    except BaseException as error:  # paddle2onnx raises SystemExit
        return {"export": f"raises {type(error).__name__}"}
    if training:
        network.eval()
    right = _run(backend, network, [x])[0]
    written = onnx.load(str(file)).opset_import[0].version
    found = {"export": "written" if written == task["opset"] else f"written at opset {written}"}
    for runtime in (_onnxruntime, _reference):
        try:
            found[runtime.__name__[1:]] = _verdict(right, runtime(file.read_bytes(), [x])[0])
        except Exception as error:
            found[runtime.__name__[1:]] = f"raises {type(error).__name__}"
    return found


def _pools(backend, export, task, folder):
    import onnx
    import onnx.utils

    chosen = task["cells"]
    inputs = [_numbers(1, 2, cell[0], cell[0]) for cell in chosen]
    if backend == "torch":
        import torch.nn.functional as functional
    else:
        import paddle.nn.functional as functional
    if task["pools"] == "max":
        pool, more = functional.max_pool2d, {}
    else:
        counted = task["pools"] == KINDS[1]
        pool, more = (
            functional.avg_pool2d,
            {"count_include_pad": counted} if backend == "torch" else {"exclusive": not counted},
        )

    def forward(xs):
        return [pool(x, k, s, p, ceil_mode=c, **more) for x, (_, k, s, p, c) in zip(xs, chosen, strict=True)]

    network = _function(backend, forward)
    file = folder / "pools.onnx"
    export(network, inputs, file, task["opset"], False)
    outputs = _run(backend, network, inputs)
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


def _function(backend, forward):
    if backend == "torch":
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


def _network(backend, code, training):
    if backend == "torch":
        import torch
        import torch.nn.functional as TF

        torch.manual_seed(0)
        words = {"T": torch.nn, "TF": TF}
    else:
        import paddle
        import paddle.nn.functional as PF

        paddle.seed(0)
        words = {"P": paddle.nn, "PF": PF}
    network = eval(code, {**words, "F": lambda forward: _function(backend, forward)})
    (network.train if training else network.eval)()
    return network


def _run(backend, network, inputs):
    if backend == "torch":
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


if __name__ == "__main__":
    main(*sys.argv[1:])
