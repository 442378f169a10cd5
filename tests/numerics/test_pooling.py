"""The rules of numerics.pooling against torch, Paddle and ONNX Runtime run for real, each in a process of its own.

A process of its own, because a framework that meets a window it did not expect may die of it (Paddle 3.3.1 does, with a
kernel larger than the padded input and `return_mask=True`; plain pooling, as here, raises). Then the sweep fails, and
says at which pool.

By default a sample of the lengths of every pool; `pytest -m zoo` takes every cell, the ones docs/pooling.md counts.
"""

import itertools
import os
import random
import re
import signal
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.errors import ParityError
from parity.numerics.pooling import (
    RULES,
    Pool,
    differs,
    draw,
    output_shape,
    output_size,
    parting,
    pool,
    rounds,
    sizes,
    windows,
)

pytestmark = pytest.mark.core

LENGTHS = range(1, 41)
SWEEP = [
    Pool(kernel, stride, padding, ceil_mode=ceil_mode)
    for kernel in range(1, 8)
    for stride in range(1, 6)
    for padding in range(kernel // 2 + 1)
    for ceil_mode in (False, True)
]
OPERATIONS = (("max", False), ("avg", False), ("avg", True))  # kind, include_pad
NOTES = Path(__file__).parents[2] / "docs" / "pooling.md"


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


@pytest.fixture(scope="module", autouse=True)
def _processes_end():
    yield
    for executor in PROCESSES.values():
        executor.shutdown()


def die(progress):
    progress.write_text("its first window")
    os.kill(os.getpid(), signal.SIGSEGV)


@pytest.fixture
def progress(tmp_path):
    path = tmp_path / "progress"
    path.write_text("its start")
    return path


def test_a_process_that_dies_fails_the_sweep_and_names_the_window(progress):
    with pytest.raises(pytest.fail.Exception, match="died at its first window"):
        apart(progress, die)


def eight(window):
    return range(1, 9)


@pytest.mark.extras
def test_the_sweep_can_fail(progress):
    """Torch held against Paddle's rule parts where `differs` says, and where the two keep another of 0.0 and -0.0."""
    pools = [Pool(2, 2, 1, ceil_mode=True), Pool(5, 2), Pool(3, 2, 1, ceil_mode=True)]
    by_size = 3 * sum(differs(size, window) is not None for size in range(1, 9) for window in pools)
    agreed, parted, _ = along(progress, 0, "torch", "paddle", eight, pools)
    assert parted > by_size > 0
    assert agreed.total() + parted == 3 * 8 * 3


def test_a_wrong_value_is_seen():
    array, window = pixels((1, 2, 6, 6)), Pool(3, 2)
    right = pool(array, window, "max", "torch")
    assert verdict(lambda _: right, array, window, "max", "torch") == "ok"
    assert verdict(lambda _: np.nextafter(right, 9), array, window, "max", "torch") != "ok"
    assert verdict(lambda _: right.astype(np.float64), array, window, "max", "torch") != "ok"
    zeros = np.zeros((1, 1, 2, 2), np.float32)
    assert verdict(lambda _: -zeros, zeros, Pool(1, 1), "avg", "torch") != "ok"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: Pool(0, 0, -1), "kernel is 0.*stride is 0.*padding is -1"),
        (lambda: Pool((3, 3, 3), 1), r"kernel is \(3, 3, 3\), needs a whole number >= 1 or a pair"),
        (lambda: Pool(2.0, 1), "kernel is 2.0"),
        (lambda: output_size(8, Pool(2, 2), "caffe"), "unknown rule 'caffe'; known: torch, paddle, onnx"),
        (lambda: output_size(0, Pool(2, 2), "torch"), "input length is 0, needs at least 1"),
        (lambda: output_size(8, Pool((2, 3), 2), "torch"), r"pool of kernel \(2, 3\).* has two axes"),
        (
            lambda: output_size(8, Pool(2, 2, 2), "torch"),
            "torch refuses kernel 2.*padding may be at most half the kernel, 1",
        ),
        (lambda: output_size(8, Pool(2, 2, 2), "onnx"), "onnx refuses .*padding must be smaller than the kernel"),
        (
            lambda: output_size(4, Pool(5, 1), "torch"),
            "torch refuses .* at length 4: 0 windows; .* spans 5, .* input 4",
        ),
        (lambda: output_size(3, Pool(5, 1), "paddle"), "paddle refuses .* at length 3: -1 windows"),
        (lambda: output_size(8, Pool(2, 2, dilation=2), "paddle"), "paddle refuses .*: its pooling has no dilation"),
        (lambda: rounds(8, Pool(2, 2), "caffe"), "unknown rule"),
        (lambda: pool(np.zeros((2, 2)), Pool(2, 2), "min", "torch"), "unknown kind 'min'; known: max, avg"),
        (lambda: pool(np.zeros(4), Pool(2, 2), "max", "torch"), r"float64 \(4,\), needs .* height x width"),
        (lambda: pool(np.zeros((2, 2), int), Pool(2, 2), "max", "torch"), "array is int64"),
        (lambda: pool(np.zeros((4, 4)), Pool(2, 2, 0, 2), "avg", "torch"), "torch refuses .* no dilation"),
    ],
)
def test_what_a_framework_refuses_is_refused(wrong, words):
    with pytest.raises(ParityError, match=words) as caught:
        wrong()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("framework", ["torch", "paddle"])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.extras
def test_some_lengths_of_every_pool(framework, axis, progress):
    """Shape, value and refusal: kernel 1-7, stride 1-5, padding to half the kernel, floor and ceil."""
    agreed, parted, examples = apart(progress, along, axis, framework, framework, some)
    assert parted == 0, "\n".join(examples)
    assert agreed.total() == 3 * sum(len(some(window)) for window in SWEEP)
    assert agreed["refused"] > 0


@pytest.mark.extras
def test_some_lengths_of_every_pool_in_onnx_runtime(progress):
    agreed, parted, examples = apart(progress, along, 1, "onnx", "onnx", some)
    assert parted == 0, "\n".join(examples)
    assert agreed["ok"] > 3000


def test_some_lengths_are_of_every_remainder():
    assert len(SWEEP) == len(set(SWEEP)) == 190
    for window in SWEEP:
        assert {length % window.stride for length in some(window)} == set(range(window.stride))
    lost = [window for window in SWEEP if parting(window) and not any(differs(n, window) for n in some(window))]
    assert not lost, "a pool at which torch and Paddle part, and no length shows it"


@pytest.mark.zoo
@pytest.mark.parametrize("framework", ["torch", "paddle"])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.extras
def test_every_cell_along_one_axis(framework, axis, progress):
    """Length 1-40 of every pool: the cells that docs/pooling.md counts."""
    agreed, parted, examples = apart(progress, along, axis, framework, framework)
    assert parted == 0, "\n".join(examples)
    assert agreed.total() == 7600 * 3
    assert agreed["refused"] == 3 * census()[f"{framework} refuses"]


@pytest.mark.zoo
@pytest.mark.extras
def test_every_cell_along_one_axis_in_onnx_runtime(progress):
    agreed, parted, examples = apart(progress, along, 1, "onnx", "onnx")
    assert parted == 0, "\n".join(examples)
    assert agreed.total() == 7600 * 3
    assert agreed["refused"] == 3 * census()["onnx refuses"]


@pytest.mark.parametrize("framework", RULES)
@pytest.mark.extras
def test_the_rules_predict_beyond_the_sweep(framework, progress):
    """Longer inputs, larger kernels and strides than any rule was read off from."""
    number = random.Random(11).randint
    kernels = [number(8, 30) for _ in range(20)]
    pools = [Pool(k, number(1, 20), number(0, k // 2), ceil_mode=i % 4 > 0) for i, k in enumerate(kernels)]
    agreed, parted, examples = apart(progress, along, 0, framework, framework, beyond, pools)
    assert parted == 0, "\n".join(examples)
    assert agreed.total() == 20 * 13 * 3
    assert any(differs(size, window) for size in beyond(None) for window in pools)


@pytest.mark.parametrize("framework", RULES)
@pytest.mark.parametrize("count", [120, pytest.param(400, marks=pytest.mark.zoo)])
@pytest.mark.extras
def test_pools_whose_axes_differ(framework, count, progress):
    agreed, parted, examples = apart(progress, unequal, framework, framework, count)
    assert parted == 0, "\n".join(examples)
    assert agreed.total() == count
    assert agreed["ok"] > count / 2


@pytest.mark.parametrize("framework", ["torch", "onnx"])
@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.zoo)])
@pytest.mark.extras
def test_dilation(framework, step, progress):
    """Torch: maximum only; ONNX Runtime: averages too, from opset 19."""
    pools = [
        Pool(k, s, p, d, c)
        for k, s, d, c in itertools.product((1, 2, 3, 4), (1, 2, 3, 5), (2, 3), (False, True))
        for p in range(k + 1)
    ]
    agreed, parted, examples = apart(progress, along, 0, framework, framework, short, pools[::step])
    assert parted == 0, "\n".join(examples)
    assert agreed["ok"] > 1000 / step


@pytest.mark.parametrize("opset", [11, 18, 22])
@pytest.mark.extras
def test_onnx_runtime_at_other_opsets(opset):
    """One rule, but for the divisor of averages that include the padding, under a kernel larger than padded input."""
    parted = set()
    for window, (kind, include_pad) in itertools.product(random.Random(opset).sample(SWEEP, 20), OPERATIONS):
        window = replace(window, include_pad=include_pad)
        run = onnx_runner(window, kind, opset)
        for length in (1, 2, 5, 8, 13, 19):
            found = verdict(run, pixels((1, 2, length, length)), window, kind, "onnx")
            if found not in ("ok", "refused"):
                parted.add((kind, include_pad, length + 2 * window.padding < window.kernel))
    assert parted == ({("avg", True, True)} if opset < 19 else set())


@pytest.mark.extras
def test_paddles_window_in_the_padding():
    """Kernel 3, stride 5, no padding on 4 pixels: the second window starts at 5."""
    window = Pool((1, 3), (1, 5), ceil_mode=True)
    row = np.arange(1.0, 5.0, dtype=np.float32).reshape(1, 4)
    least = -np.finfo(np.float32).max
    assert pool(row, window, "max", "paddle").tolist() == [[3.0, least]]
    average = pool(row, window, "avg", "paddle")
    assert average.tolist() == [[2.0, 0.0]] and np.signbit(average[0, 1])  # 0 / -1
    at_the_edge = pool(row, Pool((1, 2), (1, 4), ceil_mode=True), "avg", "paddle")
    assert at_the_edge[0, 0] == 1.5 and np.isnan(at_the_edge[0, 1])  # 0 / 0
    assert pool(row, window, "max", "torch").tolist() == pool(row, window, "max", "onnx").tolist() == [[3.0]]


cells = st.builds(
    lambda kernel, stride, padding, ceil_mode: Pool(kernel, stride, min(padding, kernel // 2), ceil_mode=ceil_mode),
    st.integers(1, 30),
    st.integers(1, 30),
    st.integers(0, 15),
    st.booleans(),
)


@given(st.integers(1, 500), cells)
def test_parting_says_where_the_rules_part(size, window):
    """Beyond the sweep, wherever the window fits: the residues are those of `differs`, and one window is the gap."""
    if size + 2 * window.padding < window.kernel:
        return
    torch, paddle, onnx = (output_size(size, window, rule) for rule in RULES)
    assert torch == onnx
    assert paddle - torch == (size % window.stride in parting(window))
    assert (differs(size, window) is None) == (paddle == torch)
    if window.stride <= window.kernel - window.padding:
        assert parting(window) == ()


@given(st.integers(1, 60), cells, st.sampled_from(RULES))
def test_windows_cover_what_they_must(size, window, rule):
    """Bounds step by the stride; under floor none passes the padding; under torch's ceil each starts before its end."""
    try:
        bounds = windows(size, window, rule)
    except ParityError:
        return
    assert len(bounds) == output_size(size, window, rule)
    assert [w.start for w in bounds] == [i * window.stride - window.padding for i in range(len(bounds))]
    fits = size + 2 * window.padding >= window.kernel
    if fits and not window.ceil_mode:
        assert bounds[-1].stop <= size + window.padding < bounds[-1].stop + window.stride
    if fits and rule != "paddle":
        assert bounds[-1].start < size + window.padding


def test_a_pair_is_its_axes():
    window = Pool((3, 2), (2, 1), (1, 0), ceil_mode=True)
    assert window.axes == (Pool(3, 2, 1, ceil_mode=True), Pool(2, 1, ceil_mode=True))
    assert output_shape((112, 9), window, "torch") == (57, 8)
    assert Pool(3, 2).axes == (Pool(3, 2), Pool(3, 2))


def test_resnets_pool_at_112():
    """The usual pool: floor and ceil differ, the frameworks never."""
    window = Pool(3, 2, 1)
    assert sizes(112, window) == {"floor": dict.fromkeys(RULES, 56), "ceil": dict.fromkeys(RULES, 57)}
    assert rounds(112, window, "paddle") and not rounds(113, window, "paddle")
    assert parting(replace(window, ceil_mode=True)) == ()


def test_differs_is_one_line():
    assert differs(5, Pool(2, 2, 1, ceil_mode=True)) == "windows: torch 3, paddle 4, onnx 3"
    assert differs(3, Pool(5, 3)) == "windows: torch refused, paddle 1, onnx 1"
    assert differs(1, Pool(7, 1)) is None  # all refuse
    assert not rounds(1, Pool(7, 1), "torch")


def test_drawing():
    assert draw(5, Pool(2, 2, 1, ceil_mode=True)).splitlines() == [
        "                p01234p~",
        "   0   -1..0    -#",
        "   1    1..2      ##",
        "   2    3..4        ##",
        "   3    5..6          --  paddle only",
    ]


def test_a_drawing_of_many_windows_shows_both_ends():
    assert draw(112, Pool(3, 2, 1, ceil_mode=True)).splitlines() == [
        "                p01234567 .. 5678901p~",
        "   0   -1..1    -##       ..",
        "   1    1..3      ###     ..",
        "   2    3..5        ###   ..",
        "   3    5..7          ### ..",
        "  53  105..107            .. ###",
        "  54  107..109            ..   ###",
        "  55  109..111            ..     ###",
        "  56  111..113            ..       #--",
    ]


def test_a_window_that_not_all_refuse_is_drawn():
    assert draw(3, Pool(5, 3)).splitlines() == ["                012~~", "   0    0..4    ###--"]
    assert draw(1, Pool(7, 1)) == ""


@given(st.integers(1, 300), cells)
def test_a_drawing_fits_its_windows(size, window):
    """Every window drawn has as many marks as the kernel, and no line is wider than both ends need."""
    for line in draw(size, window).splitlines()[1:]:
        marks = re.sub(r"[^#-]", "", line[16:].removesuffix(", onnx only"))
        assert len(marks) == window.kernel


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


def stated():
    return dict(re.findall(r"^\| (.+?) \| ([\d,]+) \|", NOTES.read_text(), re.MULTILINE))


def test_the_notes_hold_the_sizes():
    assert {what: f"{number:,}" for what, number in census(values=False).items()}.items() <= stated().items()


@pytest.mark.zoo
def test_the_notes_hold_every_number():
    assert stated() == {what: f"{number:,}" for what, number in census().items()}
