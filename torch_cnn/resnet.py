"""ResNet, ResNeXt and Wide ResNet in PyTorch; the twin of `paddle_cnn/resnet.py`.

Papers:
    He et al., Deep Residual Learning for Image Recognition, https://arxiv.org/abs/1512.03385
    Xie et al., Aggregated Residual Transformations, https://arxiv.org/abs/1611.05431 (resnext*)
    Zagoruyko and Komodakis, Wide Residual Networks, https://arxiv.org/abs/1605.07146 (wide_*)
Sources: PaddlePaddle's image classification tutorial (ConvBNLayer; BottleneckBlock of conv0, conv1, conv2, short);
    Dive into Deep Learning, PyTorch edition, 5.11, https://github.com/ShusenTang/Dive-into-DL-PyTorch (resnet18_d2l).
Deviations from the paper: stride 2 is on the 3x3 convolution, as in torchvision, whose checkpoints these networks load.
    `resnet18_d2l`: biased convolutions, no BatchNorm after the 1x1 of a shortcut, one channel and ten classes.
"""

from torch import nn


class ConvBNLayer(nn.Module):
    """Convolution without bias, BatchNorm, and ReLU where `act="relu"`.

    Shape: N x num_channels x H x W to N x num_filters x ceil(H / stride) x ceil(W / stride), for an odd `filter_size`.
    """

    def __init__(self, num_channels, num_filters, filter_size, stride=1, groups=1, act=None):
        super().__init__()
        if act not in (None, "relu"):
            raise ValueError(f"ConvBNLayer: act is 'relu' or None, got {act!r}")
        padding = (filter_size - 1) // 2
        self.conv = nn.Conv2d(num_channels, num_filters, filter_size, stride, padding, groups=groups, bias=False)
        self.batch_norm = nn.BatchNorm2d(num_filters)
        self.act = nn.ReLU() if act == "relu" else None

    def forward(self, inputs):
        y = self.batch_norm(self.conv(inputs))
        return self.act(y) if self.act is not None else y


def check_shortcut(block, num_channels, out_channels, stride, shortcut):
    """Raise a ValueError where the input cannot be added as it is; one channel would be broadcast without a word."""
    if shortcut and (num_channels != out_channels or stride != 1):
        raise ValueError(
            f"{block}: shortcut=True adds the input as it is, which needs stride 1 and as many channels in as out, "
            f"got stride {stride}, {num_channels} channels in, {out_channels} out"
        )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut.

    Shape: N x num_channels x H x W to N x num_filters x ceil(H / stride) x ceil(W / stride). `shortcut=True` adds the
    input as it is, which needs num_channels == num_filters and stride 1; False passes it through `short` first.
    """

    expansion = 1

    def __init__(self, num_channels, num_filters, stride, shortcut=True):
        super().__init__()
        check_shortcut("BasicBlock", num_channels, num_filters, stride, shortcut)
        self.conv0 = ConvBNLayer(num_channels, num_filters, 3, stride=stride, act="relu")
        self.conv1 = ConvBNLayer(num_filters, num_filters, 3)
        self.short = None if shortcut else ConvBNLayer(num_channels, num_filters, 1, stride=stride)
        self.relu = nn.ReLU()

    def forward(self, inputs):
        y = self.conv1(self.conv0(inputs))
        short = inputs if self.short is None else self.short(inputs)
        return self.relu(short + y)


class BottleneckBlock(nn.Module):
    """1x1, 3x3 and 1x1 convolutions to 4 x num_filters channels, and a shortcut.

    Shape: N x num_channels x H x W to N x 4 num_filters x ceil(H / stride) x ceil(W / stride). `shortcut=True` adds the
    input as it is, which needs num_channels == 4 x num_filters and stride 1; False passes it through `short` first.
    `groups` and `width_per_group` widen the 3x3 convolution (ResNeXt, Wide ResNet).
    """

    expansion = 4

    def __init__(self, num_channels, num_filters, stride, shortcut=True, groups=1, width_per_group=64):
        super().__init__()
        check_shortcut("BottleneckBlock", num_channels, num_filters * 4, stride, shortcut)
        width = num_filters * width_per_group // 64 * groups
        self.conv0 = ConvBNLayer(num_channels, width, 1, act="relu")
        self.conv1 = ConvBNLayer(width, width, 3, stride=stride, groups=groups, act="relu")
        self.conv2 = ConvBNLayer(width, num_filters * 4, 1)
        self.short = None if shortcut else ConvBNLayer(num_channels, num_filters * 4, 1, stride=stride)
        self.relu = nn.ReLU()

    def forward(self, inputs):
        y = self.conv2(self.conv1(self.conv0(inputs)))
        short = inputs if self.short is None else self.short(inputs)
        return self.relu(short + y)


class Residual(nn.Module):
    """Two biased 3x3 convolutions and a shortcut, through a biased 1x1 convolution without BatchNorm where asked.

    Shape: N x in_channels x H x W to N x out_channels x ceil(H / stride) x ceil(W / stride). Without `use_1x1conv` the
    input is added as it is, which needs in_channels == out_channels and stride 1.
    """

    def __init__(self, in_channels, out_channels, use_1x1conv=False, stride=1):
        super().__init__()
        if min(in_channels, out_channels, stride) < 1:
            raise ValueError(
                "Residual: in_channels, out_channels and stride are at least 1, "
                f"got in_channels={in_channels}, out_channels={out_channels}, stride={stride}"
            )
        if not use_1x1conv and (in_channels != out_channels or stride != 1):
            raise ValueError(
                "Residual: without use_1x1conv, in_channels equals out_channels and stride is 1, "
                f"got in_channels={in_channels}, out_channels={out_channels}, stride={stride}"
            )
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv3 = nn.Conv2d(in_channels, out_channels, 1, stride) if use_1x1conv else None
        self.relu2 = nn.ReLU()

    def forward(self, inputs):
        y = self.relu1(self.bn1(self.conv1(inputs)))
        y = self.bn2(self.conv2(y))
        short = inputs if self.conv3 is None else self.conv3(inputs)
        return self.relu2(short + y)


class ResNet(nn.Module):
    """Stem, four stages of residual blocks, global average pooling, linear classifier.

    Shape: N x in_channels x H x W to N x num_classes. `options` go to every block.
    """

    def __init__(self, block, depths, num_classes=1000, in_channels=3, **options):
        super().__init__()
        self.conv = ConvBNLayer(in_channels, 64, 7, stride=2, act="relu")  # N x 64 x 112 x 112, for 224 x 224
        self.max_pool = nn.MaxPool2d(3, stride=2, padding=1)  # N x 64 x 56 x 56
        channels = 64
        for stage, depth in enumerate(depths):
            blocks = []
            for i in range(depth):
                stride = 2 if i == 0 and stage > 0 else 1
                filters = 64 * 2**stage
                shortcut = stride == 1 and channels == filters * block.expansion
                blocks.append(block(channels, filters, stride, shortcut, **options))
                channels = filters * block.expansion
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))  # 56, 28, 14, 7
        self.avg_pool = nn.AdaptiveAvgPool2d(1)  # N x channels x 1 x 1
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, inputs):
        y = self.max_pool(self.conv(inputs))
        y = self.layer4(self.layer3(self.layer2(self.layer1(y))))
        return self.fc(self.flatten(self.avg_pool(y)))


class ResNetD2L(nn.Module):
    """ResNet-18 of the article: stem, four stages of two Residual blocks, global average pooling, linear classifier.

    Shape: N x in_channels x H x W to N x num_classes.
    """

    def __init__(self, num_classes=10, in_channels=1):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3)  # N x 64 x 112 x 112, for 224 x 224
        self.bn = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.max_pool = nn.MaxPool2d(3, stride=2, padding=1)  # N x 64 x 56 x 56
        self.layer1 = nn.Sequential(Residual(64, 64), Residual(64, 64))
        self.layer2 = nn.Sequential(Residual(64, 128, use_1x1conv=True, stride=2), Residual(128, 128))  # 28
        self.layer3 = nn.Sequential(Residual(128, 256, use_1x1conv=True, stride=2), Residual(256, 256))  # 14
        self.layer4 = nn.Sequential(Residual(256, 512, use_1x1conv=True, stride=2), Residual(512, 512))  # 7
        self.avg_pool = nn.AdaptiveAvgPool2d(1)  # N x 512 x 1 x 1
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(512, num_classes)

    def forward(self, inputs):
        y = self.max_pool(self.relu(self.bn(self.conv(inputs))))
        y = self.layer4(self.layer3(self.layer2(self.layer1(y))))
        return self.fc(self.flatten(self.avg_pool(y)))


def resnet18_d2l(num_classes=10, in_channels=1):
    return ResNetD2L(num_classes, in_channels)


def resnet18(num_classes=1000, in_channels=3):
    return ResNet(BasicBlock, (2, 2, 2, 2), num_classes, in_channels)


def resnet34(num_classes=1000, in_channels=3):
    return ResNet(BasicBlock, (3, 4, 6, 3), num_classes, in_channels)


def resnet50(num_classes=1000, in_channels=3):
    return ResNet(BottleneckBlock, (3, 4, 6, 3), num_classes, in_channels)


def resnet101(num_classes=1000, in_channels=3):
    return ResNet(BottleneckBlock, (3, 4, 23, 3), num_classes, in_channels)


def resnet152(num_classes=1000, in_channels=3):
    return ResNet(BottleneckBlock, (3, 8, 36, 3), num_classes, in_channels)


def resnext50_32x4d(num_classes=1000, in_channels=3):
    return ResNet(BottleneckBlock, (3, 4, 6, 3), num_classes, in_channels, groups=32, width_per_group=4)


def wide_resnet50_2(num_classes=1000, in_channels=3):
    return ResNet(BottleneckBlock, (3, 4, 6, 3), num_classes, in_channels, width_per_group=128)


NETWORKS = (
    resnet18_d2l,
    resnet18,
    resnet34,
    resnet50,
    resnet101,
    resnet152,
    resnext50_32x4d,
    wide_resnet50_2,
)
