"""The closed forms of numerics.pooling: sizes, windows, where the rules part, what is refused, drawings."""

import re
from dataclasses import replace

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
