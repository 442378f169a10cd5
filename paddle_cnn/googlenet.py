"""GoogLeNet in PaddlePaddle; the twin of `torch_cnn/googlenet.py`.

Papers:
    Szegedy et al., Going Deeper with Convolutions, https://arxiv.org/abs/1409.4842
    Ioffe and Szegedy, Batch Normalization, https://arxiv.org/abs/1502.03167 (googlenet)
Sources:
    Dive into Deep Learning, PyTorch edition, 5.9, https://github.com/ShusenTang/Dive-into-DL-PyTorch (googlenet_d2l)
    torchvision, whose layer names `googlenet` keeps and whose checkpoint it loads
Deviations from the first paper: no auxiliary heads, no local response normalisation.
    `googlenet_d2l`: no dropout; one channel and ten classes.
    `googlenet`: BatchNorm (eps 0.001) after convolutions without bias, 3x3 convolutions where the paper has 5x5, a 2x2
    window in the last max pooling, dropout 0.2: facts of torchvision's checkpoint. Scaling the input to the range of
    that checkpoint (torchvision's `transform_input`) is left to the caller.
Ceil mode: Paddle and PyTorch part where a last window starts in the padding, which needs stride > kernel - padding.
    The windows of `googlenet`, (kernel, stride, padding) = (3, 2, 0), (3, 1, 1) and (2, 2, 0), never do: both make the
    same shapes at every input from 15x15 on. Below 15, PyTorch refuses a map smaller than its window; Paddle makes a
    1x1 map of it.
"""

import paddle
from paddle import nn

WIDTHS = {  # 1x1; 1x1 then 3x3; 1x1 then 5x5; 1x1 after pooling
    "3a": (64, (96, 128), (16, 32), 32),
    "3b": (128, (128, 192), (32, 96), 64),
    "4a": (192, (96, 208), (16, 48), 64),
    "4b": (160, (112, 224), (24, 64), 64),
    "4c": (128, (128, 256), (24, 64), 64),
    "4d": (112, (144, 288), (32, 64), 64),
    "4e": (256, (160, 320), (32, 128), 128),
    "5a": (256, (160, 320), (32, 128), 128),
    "5b": (384, (192, 384), (48, 128), 128),
}


class Inception(nn.Layer):
    """Four paths side by side: 1x1; 1x1 then 3x3; 1x1 then 5x5; 3x3 max pooling then 1x1; ReLU after each convolution.

    Shape: N x in_channels x H x W to N x (c1 + c2[1] + c3[1] + c4) x H x W.
    """

    def __init__(self, in_channels, c1, c2, c3, c4):
        super().__init__()
        if len(c2) != 2 or len(c3) != 2 or min(in_channels, c1, *c2, *c3, c4) < 1:
            raise ValueError(
                "Inception: c2 and c3 are pairs and every width is at least 1, "
                f"got in_channels={in_channels}, c1={c1}, c2={c2}, c3={c3}, c4={c4}"
            )
        self.path1 = nn.Sequential(nn.Conv2D(in_channels, c1, 1), nn.ReLU())
        self.path2 = nn.Sequential(
            nn.Conv2D(in_channels, c2[0], 1), nn.ReLU(), nn.Conv2D(c2[0], c2[1], 3, padding=1), nn.ReLU()
        )
        self.path3 = nn.Sequential(
            nn.Conv2D(in_channels, c3[0], 1), nn.ReLU(), nn.Conv2D(c3[0], c3[1], 5, padding=2), nn.ReLU()
        )
        self.path4 = nn.Sequential(nn.MaxPool2D(3, stride=1, padding=1), nn.Conv2D(in_channels, c4, 1), nn.ReLU())

    def forward(self, inputs):
        return paddle.concat([self.path1(inputs), self.path2(inputs), self.path3(inputs), self.path4(inputs)], axis=1)


class GoogLeNetD2L(nn.Layer):
    """GoogLeNet of the article: five modules of plain Inception blocks, linear classifier.

    Shape: N x in_channels x H x W to N x num_classes. `second_relu=False` leaves the two convolutions of the second
    module bare, as one article does; the weights keep their names.
    """

    def __init__(self, num_classes=10, in_channels=1, second_relu=True):
        super().__init__()
        activation = nn.ReLU if second_relu else nn.Identity
        self.b1 = nn.Sequential(
            nn.Conv2D(in_channels, 64, 7, stride=2, padding=3),  # N x 64 x 48 x 48, for 96 x 96
            nn.ReLU(),
            nn.MaxPool2D(3, stride=2, padding=1),  # N x 64 x 24 x 24
        )
        self.b2 = nn.Sequential(
            nn.Conv2D(64, 64, 1),
            activation(),
            nn.Conv2D(64, 192, 3, padding=1),  # N x 192 x 24 x 24
            activation(),
            nn.MaxPool2D(3, stride=2, padding=1),  # N x 192 x 12 x 12
        )
        self.b3 = nn.Sequential(
            Inception(192, *WIDTHS["3a"]),
            Inception(256, *WIDTHS["3b"]),  # N x 480 x 12 x 12
            nn.MaxPool2D(3, stride=2, padding=1),  # N x 480 x 6 x 6
        )
        self.b4 = nn.Sequential(
            Inception(480, *WIDTHS["4a"]),
            Inception(512, *WIDTHS["4b"]),
            Inception(512, *WIDTHS["4c"]),
            Inception(512, *WIDTHS["4d"]),
            Inception(528, *WIDTHS["4e"]),  # N x 832 x 6 x 6
            nn.MaxPool2D(3, stride=2, padding=1),  # N x 832 x 3 x 3
        )
        self.b5 = nn.Sequential(
            Inception(832, *WIDTHS["5a"]),
            Inception(832, *WIDTHS["5b"]),  # N x 1024 x 3 x 3
            nn.AdaptiveAvgPool2D(1),  # N x 1024 x 1 x 1
        )
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(1024, num_classes)

    def forward(self, inputs):
        y = self.b5(self.b4(self.b3(self.b2(self.b1(inputs)))))
        return self.fc(self.flatten(y))


class ConvBNReLU(nn.Layer):
    """Convolution without bias, BatchNorm with eps 0.001, ReLU.

    Shape: N x in_channels x H x W to N x out_channels x H' x W', H' = (H + 2 padding - kernel_size) // stride + 1.
    """

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0):
        super().__init__()
        self.conv = nn.Conv2D(in_channels, out_channels, kernel_size, stride, padding, bias_attr=False)
        self.bn = nn.BatchNorm2D(out_channels, epsilon=0.001)
        self.relu = nn.ReLU()

    def forward(self, inputs):
        return self.relu(self.bn(self.conv(inputs)))


class InceptionBN(nn.Layer):
    """Inception with BatchNorm, and a 3x3 convolution in the third branch where the plain block has 5x5.

    Shape: N x in_channels x H x W to N x (c1 + c2[1] + c3[1] + c4) x H x W.
    """

    def __init__(self, in_channels, c1, c2, c3, c4):
        super().__init__()
        if len(c2) != 2 or len(c3) != 2 or min(in_channels, c1, *c2, *c3, c4) < 1:
            raise ValueError(
                "InceptionBN: c2 and c3 are pairs and every width is at least 1, "
                f"got in_channels={in_channels}, c1={c1}, c2={c2}, c3={c3}, c4={c4}"
            )
        self.branch1 = ConvBNReLU(in_channels, c1, 1)
        self.branch2 = nn.Sequential(ConvBNReLU(in_channels, c2[0], 1), ConvBNReLU(c2[0], c2[1], 3, padding=1))
        self.branch3 = nn.Sequential(ConvBNReLU(in_channels, c3[0], 1), ConvBNReLU(c3[0], c3[1], 3, padding=1))
        self.branch4 = nn.Sequential(
            nn.MaxPool2D(3, stride=1, padding=1, ceil_mode=True), ConvBNReLU(in_channels, c4, 1)
        )

    def forward(self, inputs):
        return paddle.concat(
            [self.branch1(inputs), self.branch2(inputs), self.branch3(inputs), self.branch4(inputs)], axis=1
        )


class GoogLeNet(nn.Layer):
    """GoogLeNet with BatchNorm: stem, nine Inception blocks, global average pooling, dropout, linear classifier.

    Shape: N x in_channels x H x W to N x num_classes, for H and W of 15 and more.
    """

    def __init__(self, num_classes=1000, in_channels=3):
        super().__init__()
        self.conv1 = ConvBNReLU(in_channels, 64, 7, stride=2, padding=3)  # N x 64 x 112 x 112, for 224 x 224
        self.maxpool1 = nn.MaxPool2D(3, stride=2, ceil_mode=True)  # N x 64 x 56 x 56
        self.conv2 = ConvBNReLU(64, 64, 1)
        self.conv3 = ConvBNReLU(64, 192, 3, padding=1)  # N x 192 x 56 x 56
        self.maxpool2 = nn.MaxPool2D(3, stride=2, ceil_mode=True)  # N x 192 x 28 x 28
        self.inception3a = InceptionBN(192, *WIDTHS["3a"])
        self.inception3b = InceptionBN(256, *WIDTHS["3b"])  # N x 480 x 28 x 28
        self.maxpool3 = nn.MaxPool2D(3, stride=2, ceil_mode=True)  # N x 480 x 14 x 14
        self.inception4a = InceptionBN(480, *WIDTHS["4a"])
        self.inception4b = InceptionBN(512, *WIDTHS["4b"])
        self.inception4c = InceptionBN(512, *WIDTHS["4c"])
        self.inception4d = InceptionBN(512, *WIDTHS["4d"])
        self.inception4e = InceptionBN(528, *WIDTHS["4e"])  # N x 832 x 14 x 14
        self.maxpool4 = nn.MaxPool2D(2, stride=2, ceil_mode=True)  # N x 832 x 7 x 7
        self.inception5a = InceptionBN(832, *WIDTHS["5a"])
        self.inception5b = InceptionBN(832, *WIDTHS["5b"])  # N x 1024 x 7 x 7
        self.avgpool = nn.AdaptiveAvgPool2D(1)  # N x 1024 x 1 x 1
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(1024, num_classes)

    def forward(self, inputs):
        y = self.maxpool1(self.conv1(inputs))
        y = self.maxpool2(self.conv3(self.conv2(y)))
        y = self.maxpool3(self.inception3b(self.inception3a(y)))
        y = self.inception4c(self.inception4b(self.inception4a(y)))
        y = self.maxpool4(self.inception4e(self.inception4d(y)))
        y = self.avgpool(self.inception5b(self.inception5a(y)))
        return self.fc(self.dropout(self.flatten(y)))


def googlenet_d2l(num_classes=10, in_channels=1, second_relu=True):
    return GoogLeNetD2L(num_classes, in_channels, second_relu)


def googlenet(num_classes=1000, in_channels=3):
    return GoogLeNet(num_classes, in_channels)


NETWORKS = (googlenet_d2l, googlenet)
