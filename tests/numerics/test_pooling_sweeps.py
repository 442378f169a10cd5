"""The rules of numerics.pooling against torch, Paddle and ONNX Runtime run for real, each in a process of its own.

By default a sample of the lengths of every pool; `pytest -m zoo` takes every cell, the ones docs/pooling.md counts.
"""

import itertools
import os
import random
import re
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numerics.pool_sweeps import (
    OPERATIONS,
    PROCESSES,
    SWEEP,
    along,
    apart,
    beyond,
    census,
    onnx_runner,
    pixels,
    short,
    some,
    unequal,
    verdict,
)

from parity.numerics.pooling import RULES, Pool, differs, parting, pool

pytestmark = pytest.mark.core

NOTES = Path(__file__).parents[2] / "docs" / "pooling.md"


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


def stated():
    return dict(re.findall(r"^\| (.+?) \| ([\d,]+) \|", NOTES.read_text(), re.MULTILINE))


def test_the_notes_hold_the_sizes():
    assert {what: f"{number:,}" for what, number in census(values=False).items()}.items() <= stated().items()


@pytest.mark.zoo
def test_the_notes_hold_every_number():
    assert stated() == {what: f"{number:,}" for what, number in census().items()}
