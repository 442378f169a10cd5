"""Torch's, Paddle's and ONNX Runtime's pooling held against a rule, at every cell that is asked for.

Each in a process of its own, because a framework that meets a window it did not expect may die of it (Paddle 3.3.1
does, with a kernel larger than the padded input and `return_mask=True`; plain pooling, as here, raises). Then the sweep
fails, and says at which pool.
"""

import itertools
import os
import random
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import cache
from multiprocessing import get_context

import numpy as np
import pytest

from parity.errors import ParityError
from parity.numerics.pooling import RULES, Pool, pool, sizes

LENGTHS = range(1, 41)
SWEEP = [
    Pool(kernel, stride, padding, ceil_mode=ceil_mode)
    for kernel in range(1, 8)
    for stride in range(1, 6)
    for padding in range(kernel // 2 + 1)
    for ceil_mode in (False, True)
]
OPERATIONS = (("max", False), ("avg", False), ("avg", True))  # kind, include_pad


class Refused(Exception):
    """The framework raised."""


def torch_runner(window, kind):
    import torch
    from torch.nn import functional

    torch.set_num_threads(1)
    sizes = (window.kernel, window.stride, window.padding)

    def run(array):
        try:
            if kind == "max":
                return functional.max_pool2d(torch.tensor(array), *sizes, window.dilation, window.ceil_mode).numpy()
            return functional.avg_pool2d(torch.tensor(array), *sizes, window.ceil_mode, window.include_pad).numpy()
        except RuntimeError as error:
            raise Refused from error

    return run


def paddle_runner(window, kind):
    import paddle
    from paddle.nn import functional

    paddle.set_device("cpu")
    sizes = (window.kernel, window.stride, window.padding)

    def run(array):
        try:
            if kind == "max":
                return functional.max_pool2d(paddle.to_tensor(array), *sizes, ceil_mode=window.ceil_mode).numpy()
            options = {"ceil_mode": window.ceil_mode, "exclusive": not window.include_pad}
            return functional.avg_pool2d(paddle.to_tensor(array), *sizes, **options).numpy()
        except ValueError as error:
            raise Refused from error

    return run


def onnx_runner(window, kind, opset=19):
    import onnxruntime
    from onnx import TensorProto, helper

    onnxruntime.set_default_logger_severity(4)
    both = window.axes
    attributes = {
        "kernel_shape": [axis.kernel for axis in both],
        "strides": [axis.stride for axis in both],
        "pads": [axis.padding for axis in both] * 2,
        "ceil_mode": int(window.ceil_mode),
    }
    if window.dilation not in (1, (1, 1)):
        attributes["dilations"] = [axis.dilation for axis in both]
    if kind == "avg":
        attributes["count_include_pad"] = int(window.include_pad)
    node = helper.make_node("MaxPool" if kind == "max" else "AveragePool", ["x"], ["y"], **attributes)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", "c", "h", "w"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "pool", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    raised = onnxruntime.capi.onnxruntime_pybind11_state.Fail
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except raised:
        session = None  # too much padding: refused for every input

    def run(array):
        if session is None:
            raise Refused
        try:
            return session.run(None, {"x": array})[0]
        except raised as error:
            raise Refused from error

    return run


RUNNERS = {"torch": torch_runner, "paddle": paddle_runner, "onnx": onnx_runner}


def verdict(run, array, window, kind, rule):
    """Return "ok" or "refused" where framework and rule agree, else how they part."""
    try:
        real = run(array)
    except Refused:
        real = None
    try:
        ours = pool(array, window, kind, rule)
    except ParityError:
        ours = None
    if real is None or ours is None:
        return "refused" if real is ours else f"{'framework' if real is None else 'rule'} alone refuses"
    if real.shape != ours.shape or real.dtype != ours.dtype:
        return f"framework {real.dtype} {real.shape}, rule {ours.dtype} {ours.shape}"
    if kind == "max":
        same = np.array_equal(real, ours, equal_nan=True)
    else:  # the sum of at most 49 pixels below 6
        same = np.allclose(real, ours, rtol=0, atol=2e-5 if real.dtype == np.float32 else 1e-13, equal_nan=True)
    # -0.0 is not 0.0; but which of the two ONNX Runtime keeps is up to its vector code
    signs = (rule == "onnx") | np.isnan(ours) | (ours != 0) | (np.signbit(real) == np.signbit(ours))
    return "ok" if same and signs.all() else f"framework {real.tolist()}, rule {ours.tolist()}"


@cache
def pixels(shape, dtype=np.float32, special=0.0):
    """Return normal numbers, half of them rounded so that ties and both zeros occur, a share `special` of NaN, -inf."""
    source = np.random.default_rng(hash(shape) % 2**32)
    array = source.standard_normal(shape)
    array = np.where(source.random(shape) < 0.5, array.round(), array)
    array[array == 0] *= source.choice([-1, 1], np.count_nonzero(array == 0))
    unusual = source.choice([np.nan, -np.inf, np.inf], shape)
    return np.where(source.random(shape) < special, unusual, array).astype(dtype)


def some(window):
    """Return five lengths in a row, so every remainder of a stride, and one no longer than the kernel."""
    number = random.Random(str(window)).randint
    first = number(1, 36)
    return {*range(first, first + 5), number(1, window.kernel)}


def every(window):
    return LENGTHS


def beyond(window):
    return range(5, 300, 23)


def short(window):
    return range(1, 14)


def sweep(progress, framework, rule, cells):
    """Return how often framework and rule agreed, and the first three cells where they part.

    Args:
        progress: File that holds the latest window, for the case that the process dies.
        framework: Key of RUNNERS.
        rule: What it is held against.
        cells: (window, kind, arrays) each.
    """
    agreed, parted = Counter(), []
    for window, kind, arrays in cells:
        progress.write_text(f"{kind} {window}")
        run = RUNNERS[framework](window, kind)
        for array in arrays:
            found = verdict(run, array, window, kind, rule)
            if found in ("ok", "refused"):
                agreed[found] += 1
            else:
                parted.append(f"{kind} {window} at {array.shape}: {found}")
    return agreed, len(parted), parted[:3]


def along(progress, axis, framework, rule, lengths=every, pools=SWEEP):
    """Sweep pools along one axis of small images, of `lengths(pool)`; the other axis has three lines."""
    cells = []
    for window, (kind, include_pad) in itertools.product(pools, OPERATIONS):
        numbers = {name: getattr(window, name) for name in ("kernel", "stride", "padding", "dilation")}
        idle = {"kernel": 1, "stride": 1, "padding": 0, "dilation": 1}
        pairs = {name: (n, idle[name]) if axis == 0 else (idle[name], n) for name, n in numbers.items()}
        if framework == "torch" and kind == "avg" and window.dilation != 1:
            continue
        arrays = [pixels((1, 2, length, 3) if axis == 0 else (1, 2, 3, length)) for length in sorted(lengths(window))]
        cells.append((replace(window, **pairs, include_pad=include_pad), kind, arrays))
    return sweep(progress, framework, rule, cells)


def unequal(progress, framework, rule, count):
    """Sweep random pools whose axes differ, in both precisions, with NaN and infinities in a third of the images."""
    draw_number = random.Random(7).randint
    cells = []
    for i in range(count):
        kernel = (draw_number(1, 7), draw_number(1, 7))
        padding = tuple(draw_number(0, k if i % 4 == 0 else k // 2) for k in kernel)  # a quarter: more than torch takes
        stride = (draw_number(1, 5), draw_number(1, 5))
        kind, include_pad = OPERATIONS[i % 3]
        window = Pool(kernel, stride, padding, ceil_mode=bool(i % 2), include_pad=include_pad)
        shape = (2, 3, draw_number(1, 14), draw_number(1, 14))
        dtype = np.float32 if framework == "onnx" or i % 5 else np.float64
        special = 0.1 if framework != "onnx" and kind == "max" and i % 9 < 3 else 0.0
        cells.append((window, kind, [pixels(shape, dtype, special)]))
    return sweep(progress, framework, rule, cells)


PROCESSES = {}


def apart(progress, function, *arguments):
    """Return what the function returns in another process, one for each framework it is given (they take seconds to
    import); fail the test with the latest window if that dies.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    name = next((argument for argument in arguments if argument in RULES), "")
    if name not in PROCESSES:
        PROCESSES[name] = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    try:
        return PROCESSES[name].submit(function, progress, *arguments).result()
    except BrokenProcessPool:
        del PROCESSES[name]
        pytest.fail(f"the process died at {progress.read_text()}")


@cache
def census(values=True):
    """Return in how many of the sweep's cells (a pool at a length, along one axis) the rules part, and how."""
    count = Counter()
    for window, size in itertools.product(SWEEP, LENGTHS):
        found = sizes(size, window)["ceil" if window.ceil_mode else "floor"]
        torch, paddle, onnx = (n if isinstance(n, int) else None for n in found.values())
        count["cells"] += 1
        count["torch refuses"] += torch is None
        count["paddle refuses"] += paddle is None
        count["onnx refuses"] += onnx is None
        count["torch alone of the two refuses"] += torch is None and paddle is not None
        count["of these, Paddle returns an empty map"] += torch is None and paddle == 0
        count["torch and Paddle: sizes differ"] += None not in (torch, paddle) and torch != paddle
        count["torch and Paddle: same size"] += torch is not None and torch == paddle
        count["onnx and torch: same size"] += torch is not None and torch == onnx
        count["onnx and Paddle: alike where torch refuses"] += torch is None and onnx == paddle
        if not (paddle and values):
            continue
        pairs = {name: (idle, getattr(window, name)) for name, idle in {"kernel": 1, "stride": 1, "padding": 0}.items()}
        row = np.ones((1, size), np.float32)
        count["Paddle: maximum -FLT_MAX"] += (pool(row, replace(window, **pairs), "max", "paddle") < 0).any()
        for include_pad in (False, True):
            flat = replace(window, **pairs, include_pad=include_pad)
            average = pool(row, flat, "avg", "paddle")
            divisor = "padding counted" if include_pad else "padding not counted"
            count[f"Paddle: average NaN, {divisor}"] += np.isnan(average).any()
            count[f"Paddle: average 0.0 or -0.0, {divisor}"] += (average == 0).any()
            if torch is not None:
                same = np.array_equal(average[:, :torch], pool(row, flat, "avg", "torch"))
                count["torch and Paddle: averages differ where both look"] += not same
        if torch == paddle:
            defaults = pool(row, replace(window, **pairs, include_pad=True), "avg", "torch")
            count["same size, but averages by default differ"] += not np.array_equal(
                defaults, pool(row, replace(window, **pairs), "avg", "paddle")
            )
    return count
