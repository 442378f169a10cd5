"""AnyNet and RegNet in PaddlePaddle; the twin of `torch_cnn/regnet.py`.

Papers:
    Radosavovic et al., Designing Network Design Spaces, https://arxiv.org/abs/2003.13678
    Hu et al., Squeeze-and-Excitation Networks, https://arxiv.org/abs/1709.01507 (regnet_y_*)
Source: torchvision, whose names these networks keep, so its checkpoints load as they are.
Deviations from torchvision: widths are computed in plain Python, not in float32 tensors; the bottleneck ratio is the
paper's, which divides the width, not its inverse; stages whose numbers do not fit are refused with all their numbers.
"""

from math import log

from paddle import nn


def quantised_widths(w0, wa, wm, depth):
    """Return the width of each of `depth` blocks: w0 + wa x block, moved to the nearest w0 x wm^k, then multiple of 8.

    Raises:
        ValueError: If w0 is not a positive multiple of 8, wa is negative, or wm is not above 1.
    """
    if w0 <= 0 or w0 % 8 or wa < 0 or wm <= 1:
        raise ValueError(f"RegNet: w0={w0}, wa={wa}, wm={wm}: w0 is a positive multiple of 8, wa >= 0, wm > 1")
    powers = [round(log((w0 + wa * block) / w0) / log(wm)) for block in range(depth)]
    return [round(w0 * wm**power / 8) * 8 for power in powers]


def compatible_widths(widths, bottleneck_ratios, group_widths):
    """Return the widths and group widths of all stages, changed so that each group width divides its bottleneck width.

    A group width above the bottleneck width becomes the bottleneck width; the bottleneck width goes to the nearest
    multiple of the group width, or to the next above where that would lose more than a tenth.
    """
    fitted = []
    for width, ratio, group_width in zip(widths, bottleneck_ratios, group_widths, strict=True):
        bottleneck = max(width // ratio, 1)
        group_width = min(group_width, bottleneck)
        nearest = max((2 * bottleneck + group_width) // (2 * group_width) * group_width, group_width)
        if 10 * nearest < 9 * bottleneck:
            nearest += group_width
        fitted.append((nearest * ratio, group_width))
    return [width for width, _ in fitted], [group_width for _, group_width in fitted]


def misfit(width, bottleneck_ratio, group_width):
    """Return in words why the numbers of a stage do not fit together; the empty string if they do."""
    if min(width, bottleneck_ratio, group_width) < 1:
        return f"width {width}, bottleneck ratio {bottleneck_ratio} and group width {group_width} are not all positive"
    if width % bottleneck_ratio:
        return f"width {width} is not divisible by bottleneck ratio {bottleneck_ratio}"
    bottleneck = width // bottleneck_ratio
    if bottleneck % group_width:
        given = f"width {width} / bottleneck ratio {bottleneck_ratio} = {bottleneck}"
        return f"{given} is not divisible by group width {group_width}"
    return ""


def check_stages(widths, bottleneck_ratios, group_widths, first=1):
    """Raise one ValueError for all stages, counted from `first`, whose numbers do not fit together."""
    words = map(misfit, widths, bottleneck_ratios, group_widths)
    problems = [f"stage {first + i}: {problem}" for i, problem in enumerate(words) if problem]
    if problems:
        raise ValueError("AnyNet: " + "; ".join(problems))


def conv_norm(in_channels, out_channels, kernel, stride=1, groups=1):
    """Return a convolution without bias and BatchNorm: N x C x H x W to N x out_channels x ceil(H / stride) x ..."""
    padding = (kernel - 1) // 2
    return nn.Sequential(
        nn.Conv2D(in_channels, out_channels, kernel, stride, padding, groups=groups, bias_attr=False),
        nn.BatchNorm2D(out_channels),
    )


def conv_norm_relu(in_channels, out_channels, kernel, stride=1, groups=1):
    """Return `conv_norm` followed by ReLU."""
    return nn.Sequential(*conv_norm(in_channels, out_channels, kernel, stride, groups), nn.ReLU())


class SqueezeExcitation(nn.Layer):
    """Each channel times a weight in 0..1, computed from the means of all channels.

    Shape: N x channels x H x W to the same.
    """

    def __init__(self, channels, squeeze_channels):
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2D(1)  # N x channels x 1 x 1
        self.fc1 = nn.Conv2D(channels, squeeze_channels, 1)
        self.activation = nn.ReLU()
        self.fc2 = nn.Conv2D(squeeze_channels, channels, 1)
        self.scale_activation = nn.Sigmoid()

    def forward(self, inputs):
        y = self.fc2(self.activation(self.fc1(self.avgpool(inputs))))
        return self.scale_activation(y) * inputs


class ResBottleneckBlock(nn.Layer):
    """1x1, grouped 3x3 and 1x1 convolutions, squeeze-and-excitation before the last of them, and a shortcut.

    Shape: N x in_channels x H x W to N x width x ceil(H / stride) x ceil(W / stride). The shortcut is a 1x1 convolution
    where the shape changes. `se_ratio` times in_channels are the channels of the squeeze; 0 leaves it out.
    """

    def __init__(self, in_channels, width, stride, group_width, bottleneck_ratio=1, se_ratio=0.0):
        super().__init__()
        if misfit(width, bottleneck_ratio, group_width):
            raise ValueError(f"ResBottleneckBlock: {misfit(width, bottleneck_ratio, group_width)}")
        bottleneck = width // bottleneck_ratio
        changes = in_channels != width or stride != 1
        self.proj = conv_norm(in_channels, width, 1, stride) if changes else None
        self.f = nn.Sequential()
        self.f.a = conv_norm_relu(in_channels, bottleneck, 1)
        self.f.b = conv_norm_relu(bottleneck, bottleneck, 3, stride, groups=bottleneck // group_width)
        if se_ratio > 0:
            self.f.se = SqueezeExcitation(bottleneck, round(se_ratio * in_channels))
        self.f.c = conv_norm(bottleneck, width, 1)
        self.activation = nn.ReLU()

    def forward(self, inputs):
        short = inputs if self.proj is None else self.proj(inputs)
        return self.activation(short + self.f(inputs))


class AnyStage(nn.Sequential):
    """`depth` residual bottleneck blocks, the first at `stride`; `stage` counts from 1 and is part of their names.

    Shape: N x in_channels x H x W to N x width x ceil(H / stride) x ceil(W / stride).
    """

    def __init__(self, stage, in_channels, depth, width, group_width, bottleneck_ratio=1, stride=2, se_ratio=0.0):
        super().__init__()
        check_stages([width], [bottleneck_ratio], [group_width], first=stage)
        for i in range(depth):
            block = ResBottleneckBlock(in_channels, width, stride, group_width, bottleneck_ratio, se_ratio)
            setattr(self, f"block{stage}-{i}", block)
            in_channels, stride = width, 1


class AnyNet(nn.Layer):
    """3x3 stem, stages of residual bottleneck blocks that halve the map each, global average pooling, classifier.

    Shape: N x in_channels x H x W to N x num_classes. Depths, widths, bottleneck ratios (width over the width of the
    3x3 convolution) and group widths are given per stage.
    """

    def __init__(self, depths, widths, bottleneck_ratios, group_widths, se_ratio=0.0, num_classes=1000, in_channels=3):
        super().__init__()
        counts = len(depths), len(widths), len(bottleneck_ratios), len(group_widths)
        if len(set(counts)) > 1:
            given = "{} depths, {} widths, {} bottleneck ratios, {} group widths".format(*counts)
            raise ValueError(f"AnyNet: not one number a stage: {given}")
        check_stages(widths, bottleneck_ratios, group_widths)
        self.stem = conv_norm_relu(in_channels, 32, 3, stride=2)  # N x 32 x 112 x 112, for 224 x 224
        self.trunk_output = nn.Sequential()
        channels = 32
        for i, depth in enumerate(depths):
            stage = AnyStage(i + 1, channels, depth, widths[i], group_widths[i], bottleneck_ratios[i], 2, se_ratio)
            setattr(self.trunk_output, f"block{i + 1}", stage)  # 56, 28, 14, 7
            channels = widths[i]
        self.avgpool = nn.AdaptiveAvgPool2D(1)  # N x channels x 1 x 1
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, inputs):
        y = self.avgpool(self.trunk_output(self.stem(inputs)))
        return self.fc(self.flatten(y))


class RegNet(AnyNet):
    """The AnyNet whose `depth` block widths are the quantised linear function of w0, wa and wm, one stage a width."""

    def __init__(
        self, w0, wa, wm, depth, group_width, bottleneck_ratio=1, se_ratio=0.0, num_classes=1000, in_channels=3
    ):
        blocks = quantised_widths(w0, wa, wm, depth)
        widths = sorted(set(blocks))  # they never fall
        depths = [blocks.count(width) for width in widths]
        ratios = [bottleneck_ratio] * len(widths)
        widths, group_widths = compatible_widths(widths, ratios, [group_width] * len(widths))
        super().__init__(depths, widths, ratios, group_widths, se_ratio, num_classes, in_channels)


def regnet_x_400mf(num_classes=1000, in_channels=3):
    return RegNet(24, 24.48, 2.54, 22, 16, num_classes=num_classes, in_channels=in_channels)


def regnet_x_800mf(num_classes=1000, in_channels=3):
    return RegNet(56, 35.73, 2.28, 16, 16, num_classes=num_classes, in_channels=in_channels)


def regnet_x_1_6gf(num_classes=1000, in_channels=3):
    return RegNet(80, 34.01, 2.25, 18, 24, num_classes=num_classes, in_channels=in_channels)


def regnet_x_3_2gf(num_classes=1000, in_channels=3):
    return RegNet(88, 26.31, 2.25, 25, 48, num_classes=num_classes, in_channels=in_channels)


def regnet_x_8gf(num_classes=1000, in_channels=3):
    return RegNet(80, 49.56, 2.88, 23, 120, num_classes=num_classes, in_channels=in_channels)


def regnet_x_16gf(num_classes=1000, in_channels=3):
    return RegNet(216, 55.59, 2.1, 22, 128, num_classes=num_classes, in_channels=in_channels)


def regnet_x_32gf(num_classes=1000, in_channels=3):
    return RegNet(320, 69.86, 2.0, 23, 168, num_classes=num_classes, in_channels=in_channels)


def regnet_y_400mf(num_classes=1000, in_channels=3):
    return RegNet(48, 27.89, 2.09, 16, 8, se_ratio=0.25, num_classes=num_classes, in_channels=in_channels)


def regnet_y_800mf(num_classes=1000, in_channels=3):
    return RegNet(56, 38.84, 2.4, 14, 16, se_ratio=0.25, num_classes=num_classes, in_channels=in_channels)


def regnet_y_1_6gf(num_classes=1000, in_channels=3):
    return RegNet(48, 20.71, 2.65, 27, 24, se_ratio=0.25, num_classes=num_classes, in_channels=in_channels)


def regnet_y_3_2gf(num_classes=1000, in_channels=3):
    return RegNet(80, 42.63, 2.66, 21, 24, se_ratio=0.25, num_classes=num_classes, in_channels=in_channels)


def regnet_y_8gf(num_classes=1000, in_channels=3):
    return RegNet(192, 76.82, 2.19, 17, 56, se_ratio=0.25, num_classes=num_classes, in_channels=in_channels)


def regnet_y_16gf(num_classes=1000, in_channels=3):
    return RegNet(200, 106.23, 2.48, 18, 112, se_ratio=0.25, num_classes=num_classes, in_channels=in_channels)


def regnet_y_32gf(num_classes=1000, in_channels=3):
    return RegNet(232, 115.89, 2.53, 20, 232, se_ratio=0.25, num_classes=num_classes, in_channels=in_channels)


NETWORKS = (
    regnet_x_400mf,
    regnet_x_800mf,
    regnet_x_1_6gf,
    regnet_x_3_2gf,
    regnet_x_8gf,
    regnet_x_16gf,
    regnet_x_32gf,
    regnet_y_400mf,
    regnet_y_800mf,
    regnet_y_1_6gf,
    regnet_y_3_2gf,
    regnet_y_8gf,
    regnet_y_16gf,
    regnet_y_32gf,
)
