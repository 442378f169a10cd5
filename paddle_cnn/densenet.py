"""DenseNet in PaddlePaddle; the twin of `torch_cnn/densenet.py`.

Papers:
    Huang et al., Densely Connected Convolutional Networks, https://arxiv.org/abs/1608.06993
    Pleiss et al., Memory-Efficient Implementation of DenseNets, https://arxiv.org/abs/1707.06990 (memory_efficient)
Source: Dive into Deep Learning, section DenseNet (conv_block, DenseBlock, transition_block, densenet_d2l); torchvision
(densenet121 and its kin: the same names, so its checkpoints load as they are).
Deviations from torchvision: a dense layer takes its inputs as arguments, not as a list; the last ReLU, the pooling and
the dropout are layers; a recomputed BatchNorm counts its batch once, where torchvision's counts it twice.
"""

import paddle
from paddle import nn
from paddle.distributed.fleet.utils import recompute

FROZEN = {"_momentum": 1.0}  # with this, the share that is kept, a BatchNorm's statistics stay as they are
he_normal = nn.initializer.KaimingNormal()
ones = nn.initializer.Constant(1.0)
zeros = nn.initializer.Constant(0.0)


def conv_block(in_channels, out_channels):
    """Return BatchNorm, ReLU and a biased 3x3 convolution: N x in_channels x H x W to N x out_channels x H x W."""
    return nn.Sequential(nn.BatchNorm2D(in_channels), nn.ReLU(), nn.Conv2D(in_channels, out_channels, 3, padding=1))


class DenseBlock(nn.Layer):
    """The article's dense block: after each `conv_block`, its input and its output are concatenated.

    Shape: N x in_channels x H x W to N x (in_channels + num_convs x growth) x H x W.
    """

    def __init__(self, num_convs, in_channels, growth):
        super().__init__()
        self.net = nn.Sequential(*[conv_block(in_channels + i * growth, growth) for i in range(num_convs)])

    def forward(self, inputs):
        y = inputs
        for block in self.net:
            y = paddle.concat([y, block(y)], axis=1)
        return y


def transition_block(in_channels, out_channels):
    """Return BatchNorm, ReLU, a biased 1x1 convolution, and average pooling to half the map, rounded down."""
    return nn.Sequential(
        nn.BatchNorm2D(in_channels), nn.ReLU(), nn.Conv2D(in_channels, out_channels, 1), nn.AvgPool2D(2, stride=2)
    )


def recomputed(function, norm, inputs):
    """Return `function(*inputs)`, whose inner results are computed again in backward instead of kept until then.

    Left alone, both frameworks let `norm`, the BatchNorm inside, count the batch in its running statistics twice.
    """
    first = True

    def run(*inputs):
        nonlocal first
        usual = {name: getattr(norm, name) for name in FROZEN}
        for name in FROZEN:
            setattr(norm, name, usual[name] if first else FROZEN[name])
        first = False
        try:
            return function(*inputs)
        finally:  # torch leaves the second run by an exception, once it has what it needs
            for name in FROZEN:
                setattr(norm, name, usual[name])

    return recompute(run, *inputs, use_reentrant=False, preserve_rng_state=False)


class PlainDenseLayer(nn.Layer):
    """Concatenation, BatchNorm, ReLU, 3x3 convolution: the dense layer without bottleneck.

    Shape: any number of N x C x H x W, together in_channels, to N x growth x H x W. `memory_efficient=True` recomputes
    everything but the dropout in backward.
    """

    def __init__(self, in_channels, growth, drop_rate=0.0, memory_efficient=False):
        super().__init__()
        self.norm1 = nn.BatchNorm2D(in_channels)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2D(in_channels, growth, 3, padding=1, bias_attr=False)
        self.dropout = nn.Dropout(drop_rate) if drop_rate > 0 else None
        self.memory_efficient = memory_efficient

    def joined(self, *inputs):
        return self.conv1(self.relu1(self.norm1(paddle.concat(inputs, axis=1))))

    def forward(self, *inputs):
        y = recomputed(self.joined, self.norm1, inputs) if self.memory_efficient else self.joined(*inputs)
        return self.dropout(y) if self.dropout is not None else y


class DenseLayer(nn.Layer):
    """Concatenation, BatchNorm, ReLU, 1x1 convolution to bn_size x growth; BatchNorm, ReLU, 3x3 convolution to growth.

    Shape: any number of N x C x H x W, together in_channels, to N x growth x H x W. `memory_efficient=True` recomputes
    the first half, whose inputs grow with the depth of the block, in backward.
    """

    def __init__(self, in_channels, growth, bn_size=4, drop_rate=0.0, memory_efficient=False):
        super().__init__()
        self.norm1 = nn.BatchNorm2D(in_channels)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2D(in_channels, bn_size * growth, 1, bias_attr=False)
        self.norm2 = nn.BatchNorm2D(bn_size * growth)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2D(bn_size * growth, growth, 3, padding=1, bias_attr=False)
        self.dropout = nn.Dropout(drop_rate) if drop_rate > 0 else None
        self.memory_efficient = memory_efficient

    def joined(self, *inputs):
        return self.conv1(self.relu1(self.norm1(paddle.concat(inputs, axis=1))))

    def forward(self, *inputs):
        y = recomputed(self.joined, self.norm1, inputs) if self.memory_efficient else self.joined(*inputs)
        y = self.conv2(self.relu2(self.norm2(y)))
        return self.dropout(y) if self.dropout is not None else y


class DenseLayerBlock(nn.Layer):
    """Dense layers, each of which takes the block's input and the output of every layer before it.

    Shape: N x in_channels x H x W to N x (in_channels + num_layers x growth) x H x W. `options` go to every `layer`.
    """

    def __init__(self, num_layers, in_channels, growth, layer=DenseLayer, **options):
        super().__init__()
        for i in range(num_layers):
            setattr(self, f"denselayer{i + 1}", layer(in_channels + i * growth, growth, **options))

    def forward(self, inputs):
        features = [inputs]
        for layer in self.children():
            features.append(layer(*features))
        return paddle.concat(features, axis=1)


class Transition(nn.Layer):
    """BatchNorm, ReLU, 1x1 convolution without bias, average pooling.

    Shape: N x in_channels x H x W to N x out_channels x floor(H / 2) x floor(W / 2).
    """

    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.norm = nn.BatchNorm2D(in_channels)
        self.relu = nn.ReLU()
        self.conv = nn.Conv2D(in_channels, out_channels, 1, bias_attr=False)
        self.pool = nn.AvgPool2D(2, stride=2)

    def forward(self, inputs):
        return self.pool(self.conv(self.relu(self.norm(inputs))))


class DenseNetD2l(nn.Layer):
    """Stem, four dense blocks with halving transitions between, BatchNorm, ReLU, global average pooling, classifier.

    Shape: N x in_channels x H x W to N x num_classes.
    """

    def __init__(self, num_convs, growth, num_classes=10, in_channels=1):
        super().__init__()
        self.conv = nn.Conv2D(in_channels, 64, 7, stride=2, padding=3)  # N x 64 x 48 x 48, for 96 x 96
        self.norm0 = nn.BatchNorm2D(64)
        self.relu0 = nn.ReLU()
        self.max_pool = nn.MaxPool2D(3, stride=2, padding=1)  # N x 64 x 24 x 24
        channels, blocks = 64, []
        for i, n in enumerate(num_convs):
            blocks.append(DenseBlock(n, channels, growth))  # 192 x 24 x 24, 224 x 12 x 12, 240 x 6 x 6, 248 x 3 x 3
            channels += n * growth
            if i < len(num_convs) - 1:
                blocks.append(transition_block(channels, channels // 2))  # 96 x 12 x 12, 112 x 6 x 6, 120 x 3 x 3
                channels //= 2
        self.blocks = nn.Sequential(*blocks)
        self.norm1 = nn.BatchNorm2D(channels)
        self.relu1 = nn.ReLU()
        self.avg_pool = nn.AdaptiveAvgPool2D(1)  # N x channels x 1 x 1
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, inputs):
        y = self.blocks(self.max_pool(self.relu0(self.norm0(self.conv(inputs)))))
        y = self.avg_pool(self.relu1(self.norm1(y)))
        return self.fc(self.flatten(y))


class DenseNet(nn.Layer):
    """Stem, dense blocks with transitions between, BatchNorm, ReLU, global average pooling, linear classifier.

    Shape: what `stem` takes to N x num_classes. `stem` gives `channels`; a transition leaves 1 / `reduction` of its
    channels, rounded down; `options` go to every `layer`.
    """

    def __init__(self, stem, channels, depths, growth, layer, reduction, num_classes, **options):
        super().__init__()
        self.features = stem
        for i, depth in enumerate(depths):
            setattr(self.features, f"denseblock{i + 1}", DenseLayerBlock(depth, channels, growth, layer, **options))
            channels += depth * growth
            if i < len(depths) - 1:
                setattr(self.features, f"transition{i + 1}", Transition(channels, channels // reduction))
                channels //= reduction
        setattr(self.features, f"norm{len(depths) + 1}", nn.BatchNorm2D(channels))
        self.relu = nn.ReLU()
        self.avg_pool = nn.AdaptiveAvgPool2D(1)  # N x channels x 1 x 1
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, inputs):
        y = self.avg_pool(self.relu(self.features(inputs)))
        return self.classifier(self.flatten(y))


def initialise(network):
    """Give a DenseNet its published initial weights: convolutions He-normal, BatchNorm 1 and 0, linear bias 0."""

    def reset(layer):
        if isinstance(layer, nn.Conv2D):
            he_normal(layer.weight)
        elif isinstance(layer, nn.BatchNorm2D):
            ones(layer.weight)
            zeros(layer.bias)
        elif isinstance(layer, nn.Linear):
            zeros(layer.bias)

    network.apply(reset)


def densenet_d2l(num_classes=10, in_channels=1):
    return DenseNetD2l((4, 4, 4, 4), 32, num_classes, in_channels)


def densenet_cifar(
    depth, growth, bottleneck=False, num_classes=10, in_channels=3, drop_rate=0.0, memory_efficient=False
):
    """Return a DenseNet for 32x32 images, or a DenseNet-BC where `bottleneck`: three blocks, `depth` weighted layers.

    Raises:
        ValueError: If no such network has this depth: 4 more than a multiple of 3, DenseNet-BC of 6.
    """
    name, unit = ("DenseNet-BC", 6) if bottleneck else ("DenseNet", 3)
    if depth < unit + 4 or (depth - 4) % unit:
        below = max(depth - (depth - 4) % unit, unit + 4)
        raise ValueError(
            f"{name} of depth {depth}: (depth - 4) = {depth - 4} is not a positive multiple of {unit}; "
            f"the nearest depths are {below} and {below + unit}"
        )
    channels = 2 * growth if bottleneck else 16
    layer, reduction = (DenseLayer, 2) if bottleneck else (PlainDenseLayer, 1)
    depths = ((depth - 4) // unit,) * 3
    options = {"drop_rate": drop_rate, "memory_efficient": memory_efficient}
    stem = nn.Sequential()
    stem.conv0 = nn.Conv2D(in_channels, channels, 3, padding=1, bias_attr=False)  # N x channels x 32 x 32; then 16, 8
    return DenseNet(stem, channels, depths, growth, layer, reduction, num_classes, **options)


def densenet_cifar_40_12(num_classes=10, in_channels=3, drop_rate=0.0, memory_efficient=False):
    return densenet_cifar(40, 12, False, num_classes, in_channels, drop_rate, memory_efficient)


def densenet_cifar_100_12(num_classes=10, in_channels=3, drop_rate=0.0, memory_efficient=False):
    return densenet_cifar(100, 12, False, num_classes, in_channels, drop_rate, memory_efficient)


def densenet_cifar_100_24(num_classes=10, in_channels=3, drop_rate=0.0, memory_efficient=False):
    return densenet_cifar(100, 24, False, num_classes, in_channels, drop_rate, memory_efficient)


def densenet_bc_cifar_100_12(num_classes=10, in_channels=3, drop_rate=0.0, memory_efficient=False):
    return densenet_cifar(100, 12, True, num_classes, in_channels, drop_rate, memory_efficient)


def densenet_bc_cifar_250_24(num_classes=10, in_channels=3, drop_rate=0.0, memory_efficient=False):
    return densenet_cifar(250, 24, True, num_classes, in_channels, drop_rate, memory_efficient)


def densenet_bc_cifar_190_40(num_classes=10, in_channels=3, drop_rate=0.0, memory_efficient=False):
    return densenet_cifar(190, 40, True, num_classes, in_channels, drop_rate, memory_efficient)


def _imagenet(depths, growth, channels, num_classes, in_channels, drop_rate, memory_efficient):
    options = {"drop_rate": drop_rate, "memory_efficient": memory_efficient}
    stem = nn.Sequential()
    stem.conv0 = nn.Conv2D(in_channels, channels, 7, stride=2, padding=3, bias_attr=False)  # 112 x 112, for 224 x 224
    stem.norm0 = nn.BatchNorm2D(channels)
    stem.relu0 = nn.ReLU()
    stem.pool0 = nn.MaxPool2D(3, stride=2, padding=1)  # N x channels x 56 x 56; then 28, 14, 7
    return DenseNet(stem, channels, depths, growth, DenseLayer, 2, num_classes, **options)


def densenet121(num_classes=1000, in_channels=3, drop_rate=0.0, memory_efficient=False):
    return _imagenet((6, 12, 24, 16), 32, 64, num_classes, in_channels, drop_rate, memory_efficient)


def densenet161(num_classes=1000, in_channels=3, drop_rate=0.0, memory_efficient=False):
    return _imagenet((6, 12, 36, 24), 48, 96, num_classes, in_channels, drop_rate, memory_efficient)


def densenet169(num_classes=1000, in_channels=3, drop_rate=0.0, memory_efficient=False):
    return _imagenet((6, 12, 32, 32), 32, 64, num_classes, in_channels, drop_rate, memory_efficient)


def densenet201(num_classes=1000, in_channels=3, drop_rate=0.0, memory_efficient=False):
    return _imagenet((6, 12, 48, 32), 32, 64, num_classes, in_channels, drop_rate, memory_efficient)


NETWORKS = (
    densenet_d2l,
    densenet_cifar_40_12,
    densenet_cifar_100_12,
    densenet_cifar_100_24,
    densenet_bc_cifar_100_12,
    densenet_bc_cifar_250_24,
    densenet_bc_cifar_190_40,
    densenet121,
    densenet161,
    densenet169,
    densenet201,
)
