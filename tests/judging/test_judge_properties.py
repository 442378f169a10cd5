"""The judge alone, on made-up arrays: equal passes, a change beyond the allowance fails, whatever else there is."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.judging.bounds import allowance
from parity.judging.judge import judge
from parity.numerics.distance import distance, scales
from parity.tracing.measured import measured_noise
from parity.tracing.trace import Call, Trace, TraceWriter

FINITE = st.floats(-10, 10, allow_subnormal=True)
SPECIAL = st.sampled_from([0.0, -0.0, 5e-324, 1e-310, -1e-300, 1e9, -3.4e38, 1e300, math.inf, -math.inf])


@st.composite
def tensors(draw):
    """A tensor with at least one ordinary element, and whatever else."""
    numbers = draw(st.lists(st.one_of(FINITE, SPECIAL), max_size=12))
    at = draw(st.integers(0, len(numbers)))
    ordinary = draw(st.floats(0.5, 10)) * draw(st.sampled_from([-1, 1]))
    return np.array([*numbers[:at], ordinary, *numbers[at:]]), at


def one_layer(folder, name, array):
    writer = TraceWriter(folder / name)
    stored = writer.add(array)
    noise = measured_noise(array, array)
    call = {"inputs": (), "noise": (noise,), "terms": 1, "replayable": False, "gradients": {}, "gradient_noise": {}}
    calls = [
        Call(layer, 0, "ReLU", leaf, {}, outputs=(stored,), **call) for layer, leaf in (("act", True), ("", False))
    ]
    writer.close({"framework": name, "input_sha256": "", "state_sha256": ""}, calls)
    return Trace(folder / name)


def verdict(folder, expected, actual):
    with one_layer(folder, "a", expected) as ours, one_layer(folder, "b", actual) as theirs:
        return judge("made up", ours, theirs).verdict


@settings(max_examples=200, deadline=None)
@given(tensors())
def test_equal_passes_and_a_changed_element_fails_whatever_else_there_is(tmp_path_factory, made):
    array, at = made
    folder = tmp_path_factory.mktemp("traces")
    assert verdict(folder, array, array.copy()) == "exact"
    gap = distance(array, array)
    allowed = allowance(1.0, gap.peak, array.size)
    scale = np.broadcast_to(scales(array), array.shape)[at]
    assert scale < 1e5  # huge elements are no scale for an ordinary one
    for by in (1.5, 100):
        changed = array.copy()
        changed[at] += by * allowed * scale
        assert verdict(folder, array, changed) == "different"
    changed = array.copy()
    changed[at] += 0.5 * allowed * scale
    assert verdict(folder, array, changed) in ("exact", "rounding")


@settings(max_examples=100, deadline=None)
@given(tensors(), st.integers(0, 12), st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 1e300]))
def test_a_special_value_on_one_side_fails(tmp_path_factory, made, at, value):
    array, _ = made
    at %= array.size
    changed = array.copy()
    changed[at] = value
    same = array[at] == value or max(abs(array[at]), abs(value)) < 1e-9  # as small as that beside an ordinary one
    assert same or verdict(tmp_path_factory.mktemp("traces"), array, changed) in ("different", "invalid")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(allow_nan=True), min_size=1, max_size=9), st.integers(0, 8))
def test_a_nan_on_both_sides_is_no_pass(tmp_path_factory, numbers, at):
    array = np.array(numbers)
    array[at % array.size] = math.nan
    assert verdict(tmp_path_factory.mktemp("traces"), array, array.copy()) == "invalid"


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=9),
    st.integers(0, 8),
    st.sampled_from(["i1", "u1", "i2", "i4", "i8", "?"]),
)
def test_any_integer_that_changes_fails(tmp_path_factory, numbers, at, dtype):
    array = np.array(numbers).astype(dtype)
    changed = array.copy()
    changed[at % array.size] = ~array[at % array.size]
    folder = tmp_path_factory.mktemp("traces")
    assert verdict(folder, array, array.copy()) == "exact"
    assert verdict(folder, array, changed) == "different"


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i4", "?"])
@pytest.mark.parametrize("shape", [(0,), (3, 0, 2)])
def test_no_elements_are_no_pass(tmp_path, dtype, shape):
    assert verdict(tmp_path, np.zeros(shape, dtype), np.zeros(shape, dtype)) == "invalid"
    assert verdict(tmp_path, np.zeros((), dtype), np.zeros((), dtype)) == "exact"
