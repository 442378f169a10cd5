"""The operations of a CNN written out in PaddlePaddle, window by window; the twin of `torch_cnn/scratch.py`.

Source: Zhang et al., Dive into Deep Learning, https://d2l.ai, "Convolutional Neural Networks", "Batch Normalization".
Deviations: every correlation takes bias, stride and padding; `learn_kernel` writes its gradient out where the source
leaves it to autograd; `batch_norm` is told whether it trains, and returns its statistics where the source overwrites.

For reading, not for speed: a loop over windows, no layer of the framework. All of it is differentiable. Images are one
example, C x H x W or H x W, results have their dtype. `stride` and `padding` are a number, or a pair (vertical,
horizontal). Along each axis there are floor((length + 2 padding - kernel) / stride) + 1 windows.
"""

from math import prod

import paddle


def corr2d(inputs, kernel, bias=None, stride=1, padding=0):
    """Return the cross-correlation of one channel with one kernel: what networks call a convolution.

    Shape: H x W and h x w to one number a window.

    Args:
        bias: Added to every number; a number or a tensor of one.

    Raises:
        ValueError: If ranks are not these, or the kernel is larger than the padded input.
    """
    _expect("corr2d", "inputs", inputs, "H x W")
    _expect("corr2d", "kernel", kernel, "h x w")
    rows, columns = _output_shape("corr2d", inputs.shape, kernel.shape, stride, padding)
    padded = _pad(inputs, padding)
    down, across = _pair(stride)
    height, width = kernel.shape
    outputs = []
    for top in range(0, rows * down, down):
        for left in range(0, columns * across, across):
            window = padded[top : top + height, left : left + width]
            outputs.append((window * kernel).sum())
    outputs = paddle.stack(outputs).reshape([rows, columns])
    return outputs if bias is None else outputs + bias


def corr2d_multi_in(inputs, kernel, bias=None, stride=1, padding=0):
    """Return the sum over input channels of each channel's correlation with its kernel.

    Shape: C x H x W and C x h x w to one number a window.

    Raises:
        ValueError: As `corr2d`; if the numbers of channels differ.
    """
    _expect("corr2d_multi_in", "inputs", inputs, "C x H x W")
    _expect("corr2d_multi_in", "kernel", kernel, "C x h x w")
    _expect_channels("corr2d_multi_in", inputs.shape[0], kernel=kernel.shape[0])
    outputs = sum(corr2d(x, k, None, stride, padding) for x, k in zip(inputs, kernel, strict=True))
    return outputs if bias is None else outputs + bias


def corr2d_multi_in_out(inputs, kernel, bias=None, stride=1, padding=0):
    """Return one output channel for every kernel: what a convolution layer computes.

    Shape: C x H x W and K x C x h x w to K x rows x columns; bias K.

    Raises:
        ValueError: As `corr2d_multi_in`; if the bias is not one number for each kernel.
    """
    _expect("corr2d_multi_in_out", "kernel", kernel, "K x C x h x w")
    _expect_bias("corr2d_multi_in_out", bias, kernel)
    outputs = [corr2d_multi_in(inputs, k, None, stride, padding) for k in kernel]
    if bias is not None:
        outputs = [y + b for y, b in zip(outputs, bias, strict=True)]
    return paddle.stack(outputs)


def corr2d_multi_in_out_1x1(inputs, kernel, bias=None, stride=1, padding=0):
    """Return what `corr2d_multi_in_out` does for a 1x1 kernel, as one matrix product over the channels of every pixel.

    Shape: C x H x W and K x C x 1 x 1 to K x rows x columns; bias K.

    Raises:
        ValueError: As `corr2d_multi_in_out`; if the kernel is not 1x1.
    """
    _expect("corr2d_multi_in_out_1x1", "inputs", inputs, "C x H x W")
    _expect("corr2d_multi_in_out_1x1", "kernel", kernel, "K x C x 1 x 1")
    _expect_channels("corr2d_multi_in_out_1x1", inputs.shape[0], kernel=kernel.shape[1])
    _expect_bias("corr2d_multi_in_out_1x1", bias, kernel)
    if tuple(kernel.shape[2:]) != (1, 1):
        raise ValueError(f"corr2d_multi_in_out_1x1: kernel is {_by(kernel.shape[2:])}, needs 1x1")
    rows, columns = _output_shape("corr2d_multi_in_out_1x1", inputs.shape[1:], (1, 1), stride, padding)
    down, across = _pair(stride)
    pixels = _pad(inputs, padding)[:, ::down, ::across]
    matrix = kernel.reshape([kernel.shape[0], kernel.shape[1]])
    outputs = matrix @ pixels.reshape([inputs.shape[0], rows * columns])  # K x C by C x pixels
    if bias is not None:
        outputs = outputs + bias.reshape([kernel.shape[0], 1])
    return outputs.reshape([kernel.shape[0], rows, columns])


def conv2d(inputs, kernel, bias=None, stride=1, padding=0):
    """Return the convolution as mathematics has it: the correlation with the kernel turned by 180 degrees.

    Shape: As `corr2d`, `corr2d_multi_in` or `corr2d_multi_in_out`, whichever takes a kernel of this rank.

    Raises:
        ValueError: As that one; if the kernel's rank is none of theirs.
    """
    correlations = {2: corr2d, 3: corr2d_multi_in, 4: corr2d_multi_in_out}
    if kernel.ndim not in correlations:
        raise ValueError(f"conv2d: kernel has shape {_by(kernel.shape)}, needs h x w, C x h x w or K x C x h x w")
    return correlations[kernel.ndim](inputs, kernel.flip([-2, -1]), bias, stride, padding)


def learn_kernel(inputs, outputs, kernel, rate=0.03, steps=10):
    """Return the kernel after gradient descent on the squared error of `corr2d(inputs, kernel)` against `outputs`.

    Shape: H x W, H - h + 1 x W - w + 1 and h x w to h x w.

    Args:
        kernel: Where to start; it stays as it is.
        rate: The step along the gradient; too large a rate diverges.

    Raises:
        ValueError: As `corr2d`; if `outputs` is not of the shape that the kernel makes.
    """
    for _ in range(steps):
        predicted = corr2d(inputs, kernel)
        if tuple(predicted.shape) != tuple(outputs.shape):
            raise ValueError(
                f"learn_kernel: outputs are {_by(outputs.shape)}, but kernel {_by(kernel.shape)} makes "
                f"{_by(predicted.shape)} of inputs {_by(inputs.shape)}"
            )
        # The loss is sum((predicted - outputs)^2); k[i, j] meets inputs[y + i, x + j] in predicted[y, x], so that the
        # gradient is itself a correlation: of the inputs, with twice the error.
        kernel = kernel - rate * corr2d(inputs, 2 * (predicted - outputs))
    return kernel


def pool2d(inputs, size, kind="max", stride=1, padding=0, include_pad=False):
    """Return the maximum or the average of every window; the number of windows is rounded down.

    Shape: ... x H x W to ... x rows x columns: every channel by itself.

    Args:
        size: The window, a number or a pair.
        kind: "max" or "avg". Padding never wins a maximum.
        stride: 1 as in the source; the frameworks' layers take the size.
        include_pad: An average divides by the pixels in the window (False, Paddle's default), or by all its places,
            padding counted as zeros (True, torch's default).

    Raises:
        ValueError: If a window is larger than the padded input or may lie in the padding alone; for another kind.
    """
    if kind not in ("max", "avg"):
        raise ValueError(f"pool2d: kind is 'max' or 'avg', got {kind!r}")
    if inputs.ndim < 2:
        raise ValueError(f"pool2d: inputs has shape {_by(inputs.shape)}, needs ... x H x W")
    (height, width), (down, across), (above, before) = _pair(size), _pair(stride), _pair(padding)
    if above >= height or before >= width:
        raise ValueError(f"pool2d: padding {_by(_pair(padding))} must be smaller than the window {_by(_pair(size))}")
    rows, columns = _output_shape("pool2d", inputs.shape[-2:], (height, width), stride, padding)
    outputs = []
    for top in range(-above, rows * down - above, down):
        for left in range(-before, columns * across - before, across):
            window = inputs[..., max(top, 0) : top + height, max(left, 0) : left + width]
            if kind == "max":
                outputs.append(window.amax([-2, -1]))
            else:
                places = height * width if include_pad else window.shape[-2] * window.shape[-1]
                outputs.append(window.sum([-2, -1]) / places)
    return paddle.stack(outputs, -1).reshape([*inputs.shape[:-2], rows, columns])


def batch_norm(inputs, gamma, beta, moving_mean, moving_var, training, epsilon=1e-5, momentum=0.9):
    """Return the normalised inputs, and the moving mean and variance after them.

    Shape: N x C or N x C x H x W to the same; everything else C. With m numbers a channel, both the normalisation and
    the moving variance divide by m, as in the source and in Paddle; torch's layer keeps a variance divided by m - 1.

    Args:
        training: Normalise by the statistics of `inputs` and move the others towards them; or by the moving ones.
        momentum: The share of the moving statistics that is kept (Paddle's convention; torch's is 1 - momentum).

    Raises:
        ValueError: If ranks or channels are not these, or a channel has but one number to train on.
    """
    if inputs.ndim not in (2, 4):
        raise ValueError(f"batch_norm: inputs have shape {_by(inputs.shape)}, needs N x C or N x C x H x W")
    channels = inputs.shape[1]
    per_channel = {"gamma": gamma, "beta": beta, "moving_mean": moving_mean, "moving_var": moving_var}
    for name, values in per_channel.items():
        _expect("batch_norm", name, values, "C")
    _expect_channels("batch_norm", channels, **{name: values.shape[0] for name, values in per_channel.items()})
    mean, var = moving_mean, moving_var
    if training:
        if prod(inputs.shape) == channels:
            raise ValueError(f"batch_norm: inputs {_by(inputs.shape)} have one number a channel, training needs more")
        others = [0] if inputs.ndim == 2 else [0, 2, 3]  # all but the channels
        mean = inputs.mean(others)
        var = ((inputs - _along(mean, inputs)) ** 2).mean(others)
        moving_mean = momentum * moving_mean + (1 - momentum) * mean
        moving_var = momentum * moving_var + (1 - momentum) * var
    normal = (inputs - _along(mean, inputs)) / paddle.sqrt(_along(var, inputs) + epsilon)
    return _along(gamma, inputs) * normal + _along(beta, inputs), moving_mean, moving_var


def _along(values, inputs):
    """Return C numbers so shaped that they meet the channels of the inputs: 1 x C or 1 x C x 1 x 1."""
    return values.reshape([1, -1] + [1] * (inputs.ndim - 2))


def _pair(extent):
    return (extent, extent) if isinstance(extent, int) else extent


def _pad(inputs, padding):
    """Return the inputs with zeros around their last two axes."""
    (above, before), (height, width) = _pair(padding), inputs.shape[-2:]
    padded = inputs.new_zeros([*inputs.shape[:-2], height + 2 * above, width + 2 * before])
    padded[..., above : above + height, before : before + width] = inputs
    return padded


def _output_shape(name, shape, window, stride, padding):
    """Return how many windows lie along either axis; ValueError if there is no room for one."""
    stride, padding = _pair(stride), _pair(padding)
    if min(stride) < 1 or min(padding) < 0:
        raise ValueError(f"{name}: stride {_by(stride)} needs to be >= 1, padding {_by(padding)} >= 0")
    padded = [length + 2 * p for length, p in zip(shape, padding, strict=True)]
    if any(k > length or k < 1 for k, length in zip(window, padded, strict=True)):
        raise ValueError(
            f"{name}: window {_by(window)} does not fit the padded input {_by(padded)} "
            f"(input {_by(shape)}, padding {_by(padding)})"
        )
    return [(length - k) // s + 1 for length, k, s in zip(padded, window, stride, strict=True)]


def _expect(name, what, tensor, form):
    if tensor.ndim != len(form.split(" x ")):
        raise ValueError(f"{name}: {what} has shape {_by(tensor.shape)}, needs {form}")


def _expect_channels(name, channels, **others):
    wrong = [f"{what} has {number}" for what, number in others.items() if number != channels]
    if wrong:
        raise ValueError(f"{name}: inputs have {channels} channels, but {', '.join(wrong)}")


def _expect_bias(name, bias, kernel):
    if bias is not None and tuple(bias.shape) != (kernel.shape[0],):
        raise ValueError(f"{name}: bias has shape {_by(bias.shape)}, needs {kernel.shape[0]}, one for each kernel")


def _by(shape):
    """Return a shape as people write it: 3x3."""
    return "x".join(str(length) for length in shape)
