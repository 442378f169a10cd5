"""VGG in PyTorch; the twin of `paddle_cnn/vgg.py`.

Paper: Simonyan and Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition,
    https://arxiv.org/abs/1409.1556
Sources:
    Dive into Deep Learning, PyTorch edition, 5.7, https://github.com/ShusenTang/Dive-into-DL-PyTorch (vgg11_d2l*)
    torchvision, whose layer names the others keep and whose checkpoints they load
Deviations from the paper: `vgg11_d2l*`: one channel and ten classes. `vgg11_d2l` has no activation between its linear
    layers, only dropout, as its article prints it; `vgg11_d2l_small` has ReLU there and a quarter of the maps.
    The others average their last maps to 7x7, so that any input from 32x32 on runs; `*_bn` put BatchNorm after every
    convolution.
"""

from torch import nn

DEPTHS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}  # convolutions per block
WIDTHS = (64, 128, 256, 512, 512)


def vgg_block(num_convs, in_channels, out_channels, batch_norm=False):
    """Return `num_convs` 3x3 convolutions, each with ReLU (after BatchNorm, where asked), and a 2x2 max pooling.

    Shape: N x in_channels x H x W to N x out_channels x floor(H / 2) x floor(W / 2), for H and W of 2 and more.
    """
    if min(num_convs, in_channels, out_channels) < 1:
        raise ValueError(
            "vgg_block: num_convs, in_channels and out_channels are at least 1, "
            f"got num_convs={num_convs}, in_channels={in_channels}, out_channels={out_channels}"
        )
    layers = []
    for i in range(num_convs):
        layers.append(nn.Conv2d(in_channels if i == 0 else out_channels, out_channels, 3, padding=1))
        if batch_norm:
            layers.append(nn.BatchNorm2d(out_channels))
        layers.append(nn.ReLU())
    layers.append(nn.MaxPool2d(2, stride=2))
    return nn.Sequential(*layers)


class VGGD2L(nn.Module):
    """VGG-11 of the articles: five VGG blocks, then three linear layers with ReLU between them where `relu` is true.

    Shape: N x in_channels x 224 x 224 to N x num_classes.
    """

    def __init__(self, widths, relu, num_classes=10, in_channels=1):
        super().__init__()
        blocks = []
        channels = in_channels
        for num_convs, width in zip(DEPTHS[11], widths, strict=True):
            blocks.append(vgg_block(num_convs, channels, width))  # 112, 56, 28, 14, 7
            channels = width
        self.features = nn.Sequential(*blocks)
        self.flatten = nn.Flatten()
        layers = []
        features = channels * 7 * 7
        for _ in range(2):
            layers.append(nn.Linear(features, 4096))
            if relu:
                layers.append(nn.ReLU())
            layers.append(nn.Dropout(0.5))
            features = 4096
        self.classifier = nn.Sequential(*layers, nn.Linear(4096, num_classes))

    def forward(self, inputs):
        return self.classifier(self.flatten(self.features(inputs)))


class VGG(nn.Module):
    """Five VGG blocks, laid out as one sequence, average pooling to 7x7, then three linear layers.

    Shape: N x in_channels x H x W to N x num_classes, for H and W of 32 and more.
    """

    def __init__(self, depths, batch_norm, num_classes=1000, in_channels=3):
        super().__init__()
        layers = []
        channels = in_channels
        for num_convs, width in zip(depths, WIDTHS, strict=True):
            layers.extend(vgg_block(num_convs, channels, width, batch_norm).children())  # 112, 56, 28, 14, 7, for 224
            channels = width
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(7)  # N x 512 x 7 x 7
        self.flatten = nn.Flatten()  # N x 25088
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(4096, num_classes),
        )

    def forward(self, inputs):
        return self.classifier(self.flatten(self.avgpool(self.features(inputs))))


def vgg11_d2l(num_classes=10, in_channels=1):
    return VGGD2L(WIDTHS, False, num_classes, in_channels)


def vgg11_d2l_small(num_classes=10, in_channels=1):
    return VGGD2L([width // 4 for width in WIDTHS], True, num_classes, in_channels)


def vgg11(num_classes=1000, in_channels=3):
    return VGG(DEPTHS[11], False, num_classes, in_channels)


def vgg13(num_classes=1000, in_channels=3):
    return VGG(DEPTHS[13], False, num_classes, in_channels)


def vgg16(num_classes=1000, in_channels=3):
    return VGG(DEPTHS[16], False, num_classes, in_channels)


def vgg19(num_classes=1000, in_channels=3):
    return VGG(DEPTHS[19], False, num_classes, in_channels)


def vgg11_bn(num_classes=1000, in_channels=3):
    return VGG(DEPTHS[11], True, num_classes, in_channels)


def vgg13_bn(num_classes=1000, in_channels=3):
    return VGG(DEPTHS[13], True, num_classes, in_channels)


def vgg16_bn(num_classes=1000, in_channels=3):
    return VGG(DEPTHS[16], True, num_classes, in_channels)


def vgg19_bn(num_classes=1000, in_channels=3):
    return VGG(DEPTHS[19], True, num_classes, in_channels)


NETWORKS = (vgg11_d2l, vgg11_d2l_small, vgg11, vgg13, vgg16, vgg19, vgg11_bn, vgg13_bn, vgg16_bn, vgg19_bn)
