"""The written-out operations: one side against the other, a plain loop, the frameworks' layers and the articles."""

import numpy as np
import paddle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import paddle_cnn.scratch
import torch_cnn.scratch

BACKENDS = ((torch_cnn.scratch, torch.tensor), (paddle_cnn.scratch, paddle.to_tensor))
NINE = np.arange(9.0).reshape(3, 3)
FOUR = np.array([[0.0, 1.0], [2.0, 3.0]])

paddle.set_device("cpu")


def on_both(name, *arguments, **options):
    """Return what the operation gives on numpy arrays, once both sides have given the same, shape and dtype too."""
    results = []
    for module, tensor in BACKENDS:
        given_ = [tensor(a) if isinstance(a, np.ndarray) else a for a in arguments]
        options_ = {key: tensor(a) if isinstance(a, np.ndarray) else a for key, a in options.items()}
        result = getattr(module, name)(*given_, **options_)
        results.append([t.numpy() for t in (result if isinstance(result, tuple) else (result,))])
    for ours, other in zip(*results, strict=True):
        assert (ours.shape, ours.dtype) == (other.shape, other.dtype)
        np.testing.assert_allclose(ours, other, rtol=1e-6 if ours.dtype == np.float32 else 1e-13, atol=1e-12)
    return results[0] if len(results[0]) > 1 else results[0][0]


def loop_corr2d(x, kernel, stride, padding):
    """Correlate C x H x W with K x C x h x w by the definition, in numpy."""
    x = np.pad(x, ((0, 0), (padding[0], padding[0]), (padding[1], padding[1])))
    _, height, width = x.shape
    outputs, _, h, w = kernel.shape
    y = np.zeros((outputs, (height - h) // stride[0] + 1, (width - w) // stride[1] + 1))
    for o, i, j in np.ndindex(*y.shape):
        for c, a, b in np.ndindex(*kernel.shape[1:]):
            y[o, i, j] += x[c, i * stride[0] + a, j * stride[1] + b] * kernel[o, c, a, b]
    return y


def loop_pool2d(x, size, kind, stride, padding, include_pad):
    """Pool H x W by the definition: NaN marks the padding, and the functions of numpy that skip it do the rest."""
    x = np.pad(x, ((padding[0], padding[0]), (padding[1], padding[1])), constant_values=np.nan)
    y = np.zeros([(n - k) // s + 1 for n, k, s in zip(x.shape, size, stride, strict=True)])
    for i, j in np.ndindex(*y.shape):
        window = x[i * stride[0] : i * stride[0] + size[0], j * stride[1] : j * stride[1] + size[1]]
        if kind == "avg" and include_pad:
            y[i, j] = np.nansum(window) / window.size
        else:
            y[i, j] = np.nanmax(window) if kind == "max" else np.nanmean(window)
    return y


pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


@st.composite
def correlations(draw):
    """Draw inputs, kernel, bias, stride and padding that fit each other."""
    kernel, stride = draw(pairs), draw(pairs)
    padding = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    shape = [draw(st.integers(max(1, k - 2 * p), k + 3)) for k, p in zip(kernel, padding, strict=True)]
    channels, outputs = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    source = np.random.default_rng(draw(st.integers(0, 99)))
    x = source.standard_normal((channels, *shape))
    return x, source.standard_normal((outputs, channels, *kernel)), source.standard_normal(outputs), stride, padding


# --- what must fail


@pytest.mark.parametrize(
    ("words", "name", "arguments"),
    [
        (
            "corr2d: window 3x3 does not fit the padded input 4x2 (input 2x2, padding 1x0)",
            "corr2d",
            (np.ones((2, 2)), np.ones((3, 3)), None, 1, (1, 0)),
        ),
        ("corr2d: stride 0x1 needs to be >= 1, padding 0x0 >= 0", "corr2d", (NINE, FOUR, None, (0, 1))),
        ("corr2d: stride 1x1 needs to be >= 1, padding -1x-1 >= 0", "corr2d", (NINE, FOUR, None, 1, -1)),
        ("corr2d: inputs has shape 1x3x3, needs H x W", "corr2d", (NINE[None], FOUR)),
        (
            "corr2d_multi_in: inputs have 3 channels, but kernel has 2",
            "corr2d_multi_in",
            (np.ones((3, 4, 4)), np.ones((2, 2, 2))),
        ),
        (
            "corr2d_multi_in: inputs have 3 channels, but kernel has 2",
            "conv2d",
            (np.ones((3, 4, 4)), np.ones((5, 2, 2, 2))),
        ),
        (
            "corr2d_multi_in_out: bias has shape 3, needs 5, one for each kernel",
            "corr2d_multi_in_out",
            (np.ones((2, 4, 4)), np.ones((5, 2, 2, 2)), np.ones(3)),
        ),
        (
            "corr2d_multi_in_out_1x1: kernel is 1x2, needs 1x1",
            "corr2d_multi_in_out_1x1",
            (np.ones((2, 4, 4)), np.ones((5, 2, 1, 2))),
        ),
        (
            "corr2d_multi_in_out_1x1: inputs have 3 channels, but kernel has 2",
            "corr2d_multi_in_out_1x1",
            (np.ones((3, 4, 4)), np.ones((5, 2, 1, 1))),
        ),
        ("conv2d: kernel has shape 2, needs h x w, C x h x w or K x C x h x w", "conv2d", (NINE, np.ones(2))),
        (
            "learn_kernel: outputs are 3x3, but kernel 1x2 makes 3x2 of inputs 3x3",
            "learn_kernel",
            (NINE, NINE, np.ones((1, 2))),
        ),
        ("pool2d: kind is 'max' or 'avg', got 'min'", "pool2d", (NINE, 2, "min")),
        ("pool2d: padding 2x0 must be smaller than the window 2x2", "pool2d", (NINE, 2, "max", 1, (2, 0))),
        (
            "pool2d: window 4x2 does not fit the padded input 3x3 (input 3x3, padding 0x0)",
            "pool2d",
            (NINE, (4, 2), "avg"),
        ),
        ("pool2d: inputs has shape 3, needs ... x H x W", "pool2d", (np.ones(3), 2)),
        (
            "batch_norm: inputs have shape 3x3x3, needs N x C or N x C x H x W",
            "batch_norm",
            (np.ones((3, 3, 3)), *[np.ones(3)] * 4, True),
        ),
        (
            "batch_norm: inputs have 3 channels, but beta has 2, moving_var has 4",
            "batch_norm",
            (np.ones((5, 3)), np.ones(3), np.ones(2), np.ones(3), np.ones(4), True),
        ),
        (
            "batch_norm: inputs 1x3x1x1 have one number a channel, training needs more",
            "batch_norm",
            (np.ones((1, 3, 1, 1)), *[np.ones(3)] * 4, True),
        ),
    ],
)
def test_bad_input_is_refused_in_the_same_words(words, name, arguments):
    for module, tensor in BACKENDS:
        with pytest.raises(ValueError) as caught:
            getattr(module, name)(*[tensor(a) if isinstance(a, np.ndarray) else a for a in arguments])
        assert str(caught.value) == words


# --- the articles' worked examples


def test_the_articles_correlations():
    assert on_both("corr2d", NINE, FOUR).tolist() == [[19, 25], [37, 43]]
    padded = on_both("corr2d", NINE, FOUR, padding=1)
    assert padded.tolist() == [[0, 3, 8, 4], [9, 19, 25, 10], [21, 37, 43, 16], [6, 7, 8, 0]]
    assert on_both("corr2d", NINE, FOUR, padding=1, stride=(3, 2)).tolist() == [[0, 8], [6, 8]]


def test_the_articles_channels():
    x, kernel = np.stack([NINE, NINE + 1]), np.stack([FOUR, FOUR + 1])
    assert on_both("corr2d_multi_in", x, kernel).tolist() == [[56, 72], [104, 120]]
    outputs = on_both("corr2d_multi_in_out", x, np.stack([kernel, kernel + 1, kernel + 2]))
    assert outputs.tolist() == [[[56, 72], [104, 120]], [[76, 100], [148, 172]], [[96, 128], [192, 224]]]


def test_the_articles_kernel_learned_from_an_edge():
    """Ten steps at the article's rate come close to the edge detector; two hundred find it."""
    image = np.ones((6, 8))
    image[:, 2:6] = 0
    edges = on_both("corr2d", image, np.array([[1.0, -1.0]]))
    assert edges[0].tolist() == [0, 1, 0, 0, 0, -1, 0]
    start = np.zeros((1, 2))
    np.testing.assert_allclose(on_both("learn_kernel", image, edges, start), [[1, -1]], atol=0.05)
    np.testing.assert_allclose(on_both("learn_kernel", image, edges, start, steps=200), [[1, -1]], atol=1e-9)


def test_the_articles_pools():
    assert on_both("pool2d", NINE, 2).tolist() == [[4, 5], [7, 8]]
    assert on_both("pool2d", NINE, (2, 2), "avg").tolist() == [[2, 3], [5, 6]]
    sixteen = np.arange(16.0).reshape(1, 1, 4, 4)
    assert on_both("pool2d", sixteen, 3, stride=3).tolist() == [[[[10]]]]
    assert on_both("pool2d", sixteen, 3, stride=2, padding=1).tolist() == [[[[5, 7], [13, 15]]]]
    assert on_both("pool2d", sixteen, (2, 3), stride=(2, 3), padding=(0, 1)).tolist() == [[[[5, 7], [13, 15]]]]


# --- a plain loop, and the frameworks' own layers


@settings(max_examples=30, deadline=None)
@given(correlations())
def test_correlation(case):
    """Loop, layers and ours agree, and so do convolution (kernel turned) and the single-channel forms."""
    x, kernel, bias, stride, padding = case
    expected = loop_corr2d(x, kernel, stride, padding)
    options = {"stride": stride, "padding": padding}
    y = on_both("corr2d_multi_in_out", x, kernel, bias, **options)
    np.testing.assert_allclose(y, expected + bias[:, None, None], atol=1e-12)
    layers = (
        torch.nn.functional.conv2d(torch.tensor(x[None]), torch.tensor(kernel), torch.tensor(bias), **options),
        paddle.nn.functional.conv2d(
            *(paddle.to_tensor(a) for a in (x[None], kernel, bias)), **{k: list(v) for k, v in options.items()}
        ),
    )
    for layer in layers:
        np.testing.assert_allclose(y, layer.numpy()[0], atol=1e-12)
    turned = kernel[..., ::-1, ::-1].copy()
    np.testing.assert_array_equal(on_both("conv2d", x, turned, bias, **options), y)
    np.testing.assert_allclose(on_both("corr2d_multi_in", x, kernel[0], 2.0, **options), expected[0] + 2, atol=1e-12)
    np.testing.assert_array_equal(
        on_both("conv2d", x, turned[0], **options), on_both("corr2d_multi_in", x, kernel[0], **options)
    )
    one = loop_corr2d(x[:1], kernel[:1, :1], stride, padding)[0]
    np.testing.assert_allclose(on_both("corr2d", x[0], kernel[0, 0], 3.0, **options), one + 3, atol=1e-12)
    np.testing.assert_allclose(on_both("conv2d", x[0], turned[0, 0], **options), one, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(correlations())
def test_a_1x1_kernel_is_a_matrix_product(case):
    x, kernel, bias, stride, padding = case
    kernel = kernel[:, :, :1, :1]
    y = on_both("corr2d_multi_in_out_1x1", x, kernel, bias, stride, padding)
    np.testing.assert_allclose(y, on_both("corr2d_multi_in_out", x, kernel, bias, stride, padding), atol=1e-12)


def test_turning_the_kernel_matters():
    assert on_both("conv2d", NINE, FOUR).tolist() == [[5, 11], [23, 29]] != on_both("corr2d", NINE, FOUR).tolist()


def test_precision_is_the_inputs():
    assert on_both("corr2d", NINE.astype(np.float32), FOUR.astype(np.float32)).dtype == np.float32
    assert on_both("pool2d", NINE.astype(np.float32), 2, "avg").dtype == np.float32


@settings(max_examples=40, deadline=None)
@given(
    pairs,
    pairs,
    st.tuples(st.integers(0, 2), st.integers(0, 2)),
    st.sampled_from(["max", "avg"]),
    st.booleans(),
    st.integers(0, 99),
)
def test_pooling(size, stride, padding, kind, include_pad, seed):
    """The loop for every padding below the window, the layers for as much as they take, half the window."""
    padding = tuple(min(p, k - 1) for p, k in zip(padding, size, strict=True))
    x = -np.random.default_rng(seed).random((2, 3, size[0] + seed % 4, size[1] + seed % 3))  # no zero wins a maximum
    y = on_both("pool2d", x, size, kind, stride, padding, include_pad)
    for n, c in np.ndindex(2, 3):
        np.testing.assert_allclose(y[n, c], loop_pool2d(x[n, c], size, kind, stride, padding, include_pad), atol=1e-12)
    if any(2 * p > k for p, k in zip(padding, size, strict=True)):
        return
    if kind == "max":
        layers = (
            torch.nn.functional.max_pool2d(torch.tensor(x), size, stride, padding),
            paddle.nn.functional.max_pool2d(paddle.to_tensor(x), size, stride, padding),
        )
    else:
        layers = (
            torch.nn.functional.avg_pool2d(torch.tensor(x), size, stride, padding, False, include_pad),
            paddle.nn.functional.avg_pool2d(paddle.to_tensor(x), size, stride, padding, exclusive=not include_pad),
        )
    for layer in layers:
        np.testing.assert_allclose(y, layer.numpy(), atol=1e-12)


def layers_for(shape, gamma, beta):
    """Return torch's and Paddle's float64 BatchNorm layers with these weights."""
    ours = (torch.nn.BatchNorm1d if len(shape) == 2 else torch.nn.BatchNorm2d)(shape[1], dtype=torch.float64)
    ours.load_state_dict({"weight": torch.tensor(gamma), "bias": torch.tensor(beta)}, strict=False)
    other = (paddle.nn.BatchNorm1D if len(shape) == 2 else paddle.nn.BatchNorm2D)(shape[1])
    other.to(dtype="float64")
    other.weight.set_value(paddle.to_tensor(gamma))
    other.bias.set_value(paddle.to_tensor(beta))
    return ours, other


@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 4, 5), (2, 3, 1, 1)])
def test_batch_norm(shape):
    """Three steps of training and a prediction, against both layers; torch's moving variance differs by m / (m - 1)."""
    source = np.random.default_rng(len(shape))
    gamma, beta = source.random(3) + 0.5, source.standard_normal(3)
    ours, other = layers_for(shape, gamma, beta)
    mean, var = np.zeros(3), np.ones(3)
    m = np.prod(shape) // 3
    unbiased, x = np.ones(3), np.empty(0)
    for _ in range(3):
        x = source.standard_normal(shape) * 2 + 1
        y, mean, var = on_both("batch_norm", x, gamma, beta, mean, var, True)
        batch = np.var(np.moveaxis(x, 1, 0).reshape(3, -1), axis=1)
        unbiased = 0.9 * unbiased + 0.1 * batch * m / (m - 1)
        np.testing.assert_allclose(y, ours(torch.tensor(x)).detach().numpy(), atol=1e-12)
        np.testing.assert_allclose(y, other(paddle.to_tensor(x)).numpy(), atol=1e-11)  # Paddle's epsilon is float32
    np.testing.assert_allclose(mean, ours.running_mean.numpy(), atol=1e-12)
    np.testing.assert_allclose(mean, other._mean.numpy(), rtol=1e-6)  # and its momentum
    np.testing.assert_allclose(var, other._variance.numpy(), rtol=1e-6)
    np.testing.assert_allclose(unbiased, ours.running_var.numpy(), atol=1e-12)
    assert (abs(var / ours.running_var.numpy() - 1) > 1e-3).all()
    other.eval()
    other._mean.set_value(paddle.to_tensor(mean))
    other._variance.set_value(paddle.to_tensor(var))
    y, same_mean, same_var = on_both("batch_norm", x, gamma, beta, mean, var, False)
    np.testing.assert_allclose(y, other(paddle.to_tensor(x)).numpy(), atol=1e-11)
    assert (same_mean == mean).all() and (same_var == var).all()
    ours.eval()
    y, _, _ = on_both("batch_norm", x, gamma, beta, mean, unbiased, False)
    np.testing.assert_allclose(y, ours(torch.tensor(x)).detach().numpy(), atol=1e-12)


def test_batch_norm_by_hand():
    """Two numbers, 1 and 3: mean 2, variance 1 (divided by m), so -1 and 1; gamma 2 and beta 5 make 3 and 7."""
    x, one = np.array([[1.0], [3.0]]), np.ones(1)
    y, mean, var = on_both("batch_norm", x, 2 * one, 5 * one, 0 * one, 0 * one, True, epsilon=0.0)
    assert y.tolist() == [[3], [7]]
    np.testing.assert_allclose([mean[0], var[0]], [0.2, 0.1])
    y, _, _ = on_both("batch_norm", x, one, 0 * one, one, 4 * one, False, epsilon=0.0)
    assert y.tolist() == [[0], [1]]


# --- gradients


def test_the_written_out_gradient_is_autograds():
    """One step of `learn_kernel` is one step along the gradient that either framework finds."""
    source = np.random.default_rng(5)
    x, kernel, target = source.random((5, 6)), source.random((2, 3)), source.random((4, 4))
    step = on_both("learn_kernel", x, target, kernel, rate=0.1, steps=1)
    k = torch.tensor(kernel, requires_grad=True)
    ((torch_cnn.scratch.corr2d(torch.tensor(x), k) - torch.tensor(target)) ** 2).sum().backward()
    np.testing.assert_allclose(step, kernel - 0.1 * k.grad.numpy(), atol=1e-12)
    k = paddle.to_tensor(kernel, stop_gradient=False)
    ((paddle_cnn.scratch.corr2d(paddle.to_tensor(x), k) - paddle.to_tensor(target)) ** 2).sum().backward()
    np.testing.assert_allclose(step, kernel - 0.1 * k.grad.numpy(), atol=1e-12)


def test_all_of_it_is_differentiable():
    """Padding, correlation, pooling and batch norm in a row: both sides give the inputs the same gradient, not zero."""
    source = np.random.default_rng(6)
    arrays = source.random((2, 6, 6)), source.random((3, 2, 3, 3)), source.random(3), source.random(3)
    gradients = []
    for module, tensor in BACKENDS:
        x, kernel, gamma, beta = (tensor(a) for a in arrays)
        if module is torch_cnn.scratch:
            x.requires_grad_()
        else:
            x.stop_gradient = False
        y = module.pool2d(module.corr2d_multi_in_out(x, kernel, None, 1, 1), 2, "max", 2)
        y, _, _ = module.batch_norm(y.reshape([1, 3, 3, 3]), gamma, beta, beta, gamma, True)
        (y**3).sum().backward()
        gradients.append(x.grad.numpy())
    np.testing.assert_allclose(*gradients, atol=1e-10)
    assert (gradients[0] != 0).any()
