"""parity/numerics/kernels.py against torch in float64."""

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from parity.numerics import kernels

F = torch.nn.functional
RANDOM = np.random.default_rng(0)
POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
MEAN = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def near(ours, theirs):
    assert ours.dtype == np.float64
    assert ours.shape == tuple(theirs.shape)
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-11, atol=1e-11)


def numbers(*shape):
    return RANDOM.standard_normal(shape)


def some(axes, low, high):
    return st.tuples(*[st.integers(low, high)] * axes)


@st.composite
def windowed(draw, dilated):
    """Sizes, kernel, strides, dilations and padding of one, two or three axes, at least one window in each."""
    axes = draw(st.integers(1, 3))
    sizes, kernel, strides = draw(some(axes, 1, 9)), draw(some(axes, 1, 4)), draw(some(axes, 1, 4))
    dilations = draw(some(axes, 1, 3)) if dilated else (1,) * axes
    pads = tuple(draw(st.integers(0, size // 2)) for size in kernel)
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]
    assume(all(n + 2 * p >= r for n, p, r in zip(sizes, pads, reach, strict=True)))
    return sizes, kernel, strides, dilations, pads


def frame_of(case, ceil_mode=False):
    sizes, kernel, strides, dilations, pads = case
    return kernels.frame(sizes, kernel, strides, dilations, [(pad, pad) for pad in pads], ceil_mode)


def test_a_window_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="does not fit in 2"):
        kernels.frame([2], [4], [1], [1], [(1, 0)])
    with pytest.raises(ValueError, match="does not fit in 4"):
        kernels.frame([4], [3], [1], [2], [(0, 0)])


@pytest.mark.parametrize("groups, shape", [(1, (4, 2, 3)), (2, (3, 3, 3)), (3, (6, 3, 3))])
def test_channels_and_groups_that_do_not_fit_are_refused(groups, shape):
    frame = kernels.frame([8], [3], [1], [1], [(0, 0)])
    with pytest.raises(ValueError, match="does not take 6 channels"):
        kernels.convolution(numbers(2, 6, 8), numbers(*shape), None, frame, groups)


@pytest.mark.parametrize("mode, nearest", [("area", "floor"), ("nearest", "up")])
def test_an_interpolation_that_is_not_known_is_refused(mode, nearest):
    with pytest.raises(NotImplementedError, match=f"{mode}|{nearest}"):
        kernels.interpolation(4, np.arange(4.0), mode, nearest=nearest)
    with pytest.raises(NotImplementedError, match="tf_crop"):
        kernels.places(4, 8, 2.0, "tf_crop_and_resize")


@settings(max_examples=150, deadline=None)
@given(case=windowed(dilated=True), groups=st.integers(1, 3), biased=st.booleans())
def test_convolution(case, groups, biased):
    sizes, kernel, strides, dilations, pads = case
    x, weight = numbers(2, 2 * groups, *sizes), numbers(3 * groups, 2, *kernel)
    bias = numbers(3 * groups) if biased else None
    ours = kernels.convolution(x, weight, bias, frame_of(case), groups)
    given_bias = None if bias is None else torch.from_numpy(bias)
    convolve = CONVOLVE[len(sizes)]
    near(ours, convolve(torch.from_numpy(x), torch.from_numpy(weight), given_bias, strides, pads, dilations, groups))


@settings(max_examples=150, deadline=None)
@given(case=windowed(dilated=True), ceil_mode=st.booleans())
def test_max_pool(case, ceil_mode):
    sizes, kernel, strides, dilations, pads = case
    x = numbers(2, 3, *sizes) - 5  # padding of zeros would be the largest
    theirs = POOL[len(sizes)](torch.from_numpy(x), kernel, strides, pads, dilations, ceil_mode)
    near(kernels.max_pool(x, frame_of(case, ceil_mode)), theirs)


@settings(max_examples=150, deadline=None)
@given(case=windowed(dilated=False), ceil_mode=st.booleans(), counted=st.booleans())
def test_average_pool(case, ceil_mode, counted):
    sizes, kernel, strides, _, pads = case
    # torch's own check in three axes leaves the padding out.
    assume(len(sizes) < 3 or all(n >= k for n, k in zip(sizes, kernel, strict=True)))
    x = numbers(2, 3, *sizes)
    theirs = MEAN[len(sizes)](torch.from_numpy(x), kernel, strides, pads, ceil_mode, counted)
    near(kernels.average_pool(x, frame_of(case, ceil_mode), counted), theirs)


@settings(max_examples=50, deadline=None)
@given(case=windowed(dilated=True))
def test_same_pads_are_torchs(case):
    """Of stride 1: torch has no other, and puts the odd one behind the input."""
    sizes, kernel, _, dilations, _ = case
    ones = (1,) * len(sizes)
    x, weight = numbers(1, 1, *sizes), numbers(1, 1, *kernel)
    pads = kernels.same_pads(sizes, kernel, ones, dilations, odd_before=False)
    frame = kernels.frame(sizes, kernel, ones, dilations, pads)
    assert frame.counts == sizes
    theirs = CONVOLVE[len(sizes)](torch.from_numpy(x), torch.from_numpy(weight), None, 1, "same", dilations)
    near(kernels.convolution(x, weight, None, frame), theirs)


def test_same_pads_of_larger_strides_make_as_many_windows_as_strides_begin():
    assert kernels.same_pads([7, 8], [4, 3], [2, 2], [1, 1], odd_before=False) == ((1, 2), (0, 1))
    assert kernels.same_pads([7, 8], [4, 3], [2, 2], [1, 1], odd_before=True) == ((2, 1), (1, 0))
    assert kernels.same_pads([9], [1], [3], [1], odd_before=False) == ((0, 0),)


@pytest.mark.parametrize("sizes", [(), (5,), (4, 5), (2, 3, 4)])
@pytest.mark.parametrize("eps", [0.0, 1e-5, 0.3])
def test_batch_norm(sizes, eps):
    x, weight, bias, mean = numbers(2, 4, *sizes), numbers(4), numbers(4), numbers(4)
    variance = numbers(4) ** 2 + 0.1
    tensors = [torch.from_numpy(array) for array in (x, mean, variance, weight, bias)]
    near(kernels.batch_norm(x, weight, bias, mean, variance, eps), F.batch_norm(*tensors, eps=eps))


@settings(max_examples=150, deadline=None)
@given(old=some(2, 1, 9), new=some(2, 1, 14), mode=st.sampled_from(["bilinear", "bicubic"]), corners=st.booleans())
def test_interpolation(old, new, mode, corners):
    x = numbers(2, 3, *old)
    ours = x
    for axis, (size, asked) in enumerate(zip(old, new, strict=True), 2):
        way = "align_corners" if corners else "half_pixel"
        places = kernels.places(size, asked, asked / size, way)
        kind = {"bilinear": "linear", "bicubic": "cubic"}[mode]
        ours = kernels.resized(ours, axis, kernels.interpolation(size, places, kind))
    near(ours, F.interpolate(torch.from_numpy(x), new, mode=mode, align_corners=corners))


@settings(max_examples=100, deadline=None)
@given(old=st.integers(1, 9), new=st.integers(1, 30), exact=st.booleans())
@example(old=4, new=2, exact=True)  # each lies in the middle between two
def test_nearest_interpolation(old, new, exact):
    x = numbers(1, 2, old)
    way, nearest = ("half_pixel", "round_prefer_ceil") if exact else ("asymmetric", "floor")
    places = kernels.places(old, new, new / old, way)
    assume(np.abs(places - np.round(places * 2) / 2).min() > 1e-6 or (old % new == 0 or new % old == 0))
    ours = kernels.resized(x, 2, kernels.interpolation(old, places, "nearest", nearest=nearest))
    near(ours, F.interpolate(torch.from_numpy(x), new, mode="nearest-exact" if exact else "nearest"))


def test_one_pixel_of_pytorchs_half_pixels_is_the_first():
    assert kernels.places(7, 1, 1 / 7, "pytorch_half_pixel").tolist() == [0.0]
    assert (
        kernels.places(7, 2, 2 / 7, "pytorch_half_pixel").tolist() == kernels.places(7, 2, 2 / 7, "half_pixel").tolist()
    )
