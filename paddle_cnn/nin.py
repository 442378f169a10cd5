"""Network in Network in PaddlePaddle; the twin of `torch_cnn/nin.py`.

Paper: Lin et al., Network in Network, https://arxiv.org/abs/1312.4400
Source: Dive into Deep Learning, PyTorch edition, 5.8, https://github.com/ShusenTang/Dive-into-DL-PyTorch.
Deviations from the paper: kernels and widths of AlexNet; one channel, ten classes; dropout once, before the last block.
"""

from paddle import nn


def nin_block(in_channels, out_channels, kernel_size, stride, padding):
    """Return a convolution and two 1x1 convolutions, each with ReLU.

    Shape: N x in_channels x H x W to N x out_channels x H' x W', H' = (H + 2 padding - kernel_size) // stride + 1.
    """
    if min(in_channels, out_channels, kernel_size, stride) < 1 or padding < 0:
        raise ValueError(
            "nin_block: in_channels, out_channels, kernel_size and stride are at least 1 and padding at least 0, "
            f"got in_channels={in_channels}, out_channels={out_channels}, kernel_size={kernel_size}, "
            f"stride={stride}, padding={padding}"
        )
    return nn.Sequential(
        nn.Conv2D(in_channels, out_channels, kernel_size, stride, padding),
        nn.ReLU(),
        nn.Conv2D(out_channels, out_channels, 1),
        nn.ReLU(),
        nn.Conv2D(out_channels, out_channels, 1),
        nn.ReLU(),
    )


class GlobalAvgPool2d(nn.Layer):
    """Average pooling whose window is the whole map.

    Shape: N x C x H x W to N x C x 1 x 1.
    """

    def forward(self, inputs):
        return nn.functional.avg_pool2d(inputs, inputs.shape[2:])


class NiN(nn.Layer):
    """Four NiN blocks, the last with a map for each class, and global average pooling.

    Shape: N x in_channels x H x W to N x num_classes, for H and W of 67 and more.
    """

    def __init__(self, num_classes=10, in_channels=1):
        super().__init__()
        self.features = nn.Sequential(
            nin_block(in_channels, 96, 11, 4, 0),  # N x 96 x 54 x 54, for 224 x 224
            nn.MaxPool2D(3, stride=2),  # N x 96 x 26 x 26
            nin_block(96, 256, 5, 1, 2),  # N x 256 x 26 x 26
            nn.MaxPool2D(3, stride=2),  # N x 256 x 12 x 12
            nin_block(256, 384, 3, 1, 1),  # N x 384 x 12 x 12
            nn.MaxPool2D(3, stride=2),  # N x 384 x 5 x 5
            nn.Dropout(0.5),
            nin_block(384, num_classes, 3, 1, 1),  # N x num_classes x 5 x 5
        )
        self.avg_pool = GlobalAvgPool2d()  # N x num_classes x 1 x 1
        self.flatten = nn.Flatten()

    def forward(self, inputs):
        return self.flatten(self.avg_pool(self.features(inputs)))


def nin(num_classes=10, in_channels=1):
    return NiN(num_classes, in_channels)


NETWORKS = (nin,)
