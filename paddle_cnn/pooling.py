"""Pooling under `ceil_mode` that places torch's windows: no twin, because torch's own layers are the twins.

    torch.nn.MaxPool2d(3, 3, 1, ceil_mode=True)    TorchCeilMaxPool2D(3, 3, 1)
    torch.nn.AvgPool2d(2, 2, 1, ceil_mode=True)    TorchCeilAvgPool2D(2, 2, 1)

Paddle keeps a last window that starts in the padding on the right, where it sees no pixel (a maximum of -FLT_MAX, an
average of NaN or 0); torch drops it. These layers crop it. They are the same on every input where Paddle's own is not
wrong. Exported by paddle2onnx they are the same too, at any height and width: ONNX Runtime drops such windows by
itself, and nothing is left to crop. Written for Paddle 2.6 and 3.3.
"""

import paddle
from paddle import nn


class TorchCeilMaxPool2D(nn.MaxPool2D):
    """Maximum over windows, their number rounded up as torch does.

    Args:
        kernel_size, stride, padding: In pixels, a number or a pair (height, width); stride None is the kernel's.

    Shape: N x C x H x W to N x C x H' x W', H' = min(ceil((H + 2 padding - kernel) / stride), (H + padding - 1) //
    stride) + 1.

    Raises:
        ValueError: Where torch raises: for padding over half the kernel; run eagerly, for an input without a window.
    """

    def __init__(self, kernel_size, stride=None, padding=0):
        super().__init__(kernel_size, stride, padding, ceil_mode=True)
        self._axes = _axes(kernel_size, stride, padding)

    def forward(self, x):
        height, width = _kept(x, self._axes)
        return super().forward(x)[:, :, :height, :width]


class TorchCeilAvgPool2D(nn.AvgPool2D):
    """Average over windows, their number rounded up as torch does.

    Args:
        kernel_size, stride, padding: In pixels, a number or a pair (height, width); stride None is the kernel's.
        exclusive: Leave the padding out of the average. Torch's default and this layer's is to count it.

    Shape, errors: As TorchCeilMaxPool2D.
    """

    def __init__(self, kernel_size, stride=None, padding=0, exclusive=False):
        super().__init__(kernel_size, stride, padding, ceil_mode=True, exclusive=exclusive)
        self._axes = _axes(kernel_size, stride, padding)

    def forward(self, x):
        height, width = _kept(x, self._axes)
        return super().forward(x)[:, :, :height, :width]


def _axes(kernel_size, stride, padding):
    """Return (kernel, stride, padding) of the vertical and of the horizontal axis."""
    numbers = (kernel_size, kernel_size if stride is None else stride, padding)
    axes = list(zip(*[(each, each) if isinstance(each, int) else tuple(each) for each in numbers], strict=True))
    if any(pad > kernel // 2 for kernel, _, pad in axes):
        raise ValueError(f"padding {padding} is more than half the kernel {kernel_size}")
    return axes


def _kept(x, axes):
    """Return how many windows may start before the padding on the right, down and across; Paddle may place fewer."""
    (kernel, stride, padding), (across, step, side) = axes
    height, width = x.shape[2], x.shape[3]
    refused = paddle.in_dynamic_mode() and (
        height + 2 * padding - kernel <= -stride or width + 2 * side - across <= -step
    )
    if refused:
        raise ValueError(f"no window of {kernel} x {across} fits an input of {height} x {width}")
    return (height + padding - 1) // stride + 1, (width + side - 1) // step + 1
