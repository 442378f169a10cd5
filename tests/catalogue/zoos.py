"""Five of the networks with the idioms of Paddle's own model zoos: another ancestry than networks.py.

BatchNorm with the activation inside, regularisers in ParamAttr, blocks in plain lists beside `add_sublayer`, a switch
for the activation, layers that are defined and never called, drop path, a convolution that pads by itself.
"""

import paddle
import paddle.nn.functional as F
from paddle import nn

OWNERS = {
    "Vgg": (
        (r"^_conv_block_(\d)\._conv", r"conv\1"), (r"^_conv_block_(\d)\._bn", r"bn\1"),
        (r"^_fc1", "fc1"), (r"^_fc2", "fc2"), (r"^_out", "fc3"),
    ),
    "Residual": (
        (r"^conv\._conv", "conv1"), (r"^conv\._batch_norm", "bn1"),
        (r"^bb_(\d)_(\d)\.", lambda m: f"layer{int(m[1]) + 1}.{m[2]}."),
        (r"\.short\._conv", ".downsample.0"), (r"\.short\._batch_norm", ".downsample.1"),
        (r"\.conv(\d)\._conv", lambda m: f".conv{int(m[1]) + 1}"),
        (r"\.conv(\d)\._batch_norm", lambda m: f".bn{int(m[1]) + 1}"),
        (r"^out", "fc"),
    ),
    "Mobile": (
        (r"^conv1\.conv", "stem"), (r"^conv1\.bn", "bn"), (r"^conv(\d)\.", lambda m: f"block{int(m[1]) - 1}."),
        (r"\.expand_conv\.conv", ".expand"), (r"\.expand_conv\.bn", ".bn1"),
        (r"\.bottleneck_conv\.conv", ".depthwise"), (r"\.bottleneck_conv\.bn", ".bn2"),
        (r"\.linear_conv\.conv", ".project"), (r"\.linear_conv\.bn", ".bn3"),
        (r"\.mid_se\.conv1", ".se.reduce"), (r"\.mid_se\.conv2", ".se.expand"),
        (r"^last_conv", "fc1"), (r"^out", "fc2"),
    ),
    "UNet": (
        (r"^encode\.double_conv\.", "down1."), (r"^encode\.down_sample_list\.0\.", "down2.+"),
        (r"^encode\.down_sample_list\.1\.", "middle.+"), (r"^decode\.0\.double_conv\.", "merge2."),
        (r"^decode\.1\.double_conv\.", "merge1."), (r"^decode\.0\.deconv", "up2"), (r"^cls", "head"),
        (r"\.\+1\.", ".0."), (r"\.\+2\.", ".1."),
        (r"\.(\d)\._conv", lambda m: f".conv{int(m[1]) + 1}"),
        (r"\.(\d)\._batch_norm", lambda m: f".bn{int(m[1]) + 1}"),
    ),
    "Fusion": (
        (r"^stem\.conv", "stem"), (r"^tr(\d)\.conv", lambda m: ("second", "third")[int(m[1]) - 1]),
        (r"^stage\.fuse\.residual_(\d)_(\d)", r"exchange.0.from\2to\1"),
        (r"^stage\.branches\.branch\.(\d)\.", r"exchange.0.branches.\1."),
        (r"\.cbn\._conv", ".conv1"), (r"\.cbn\._bn", ".bn1"), (r"\.linear", ".conv2"),
        (r"^out(\d)", r"head\1"),
    ),
}  # fmt: skip


class ConvBlock(nn.Layer):
    def __init__(self, inputs, outputs, groups=1):
        super().__init__()
        self.groups = groups
        self._conv = nn.Conv2D(
            inputs,
            outputs,
            kernel_size=3,
            stride=1,
            padding="SAME",
            weight_attr=paddle.ParamAttr(regularizer=paddle.regularizer.L2Decay(1e-4)),
        )
        self._bn = nn.BatchNorm(outputs, act="relu")
        self._pool = nn.MaxPool2D(kernel_size=2, stride=2, padding=0)

    def forward(self, inputs):
        return self._pool(self._bn(self._conv(inputs)))


class Vgg(nn.Layer):
    def __init__(self):
        super().__init__()
        self._fc1 = nn.Linear(64, 16)
        self._fc2 = nn.Linear(16, 16)
        self._out = nn.Linear(16, 10)
        self._drop = nn.Dropout(p=0.5, mode="upscale_in_train")
        self._pool = nn.AdaptiveAvgPool2D(2)
        self._conv_block_1 = ConvBlock(3, 8)
        self._conv_block_2 = ConvBlock(8, 8)
        self._conv_block_3 = ConvBlock(8, 16)

    def forward(self, inputs):
        x = self._conv_block_1(inputs)
        x = self._conv_block_2(x)
        x = self._conv_block_3(x)
        x = paddle.flatten(self._pool(x), start_axis=1, stop_axis=-1)
        x = self._fc1(x)
        x = F.relu(x)
        x = self._drop(x)
        x = self._fc2(x)
        return self._out(F.relu(x))


class ConvBNLayer(nn.Layer):
    def __init__(self, inputs, outputs, kernel, stride=1, act=None):
        super().__init__()
        self._pool2d_avg = nn.AvgPool2D(kernel_size=2, stride=2, padding=0, ceil_mode=True)
        self._conv = nn.Conv2D(inputs, outputs, kernel, stride, (kernel - 1) // 2, bias_attr=False)
        self._batch_norm = nn.BatchNorm(outputs, act=act)

    def forward(self, inputs):
        y = self._conv(inputs)
        y = self._batch_norm(y)
        return y


def drop_path(x, rate, training):
    if rate == 0.0 or not training:
        return x
    keep = 1 - rate
    return x / keep * paddle.floor(keep + paddle.rand([x.shape[0], 1, 1, 1]))


class BottleneckBlock(nn.Layer):
    def __init__(self, inputs, width, stride, shortcut):
        super().__init__()
        self.conv0 = ConvBNLayer(inputs, width, 1, act="relu")
        self.conv1 = ConvBNLayer(width, width, 3, stride, act="relu")
        self.conv2 = ConvBNLayer(width, 16, 1, act=None)
        if not shortcut:
            self.short = ConvBNLayer(inputs, 16, 1, stride)
        self.shortcut = shortcut

    def forward(self, inputs):
        y = self.conv0(inputs)
        conv1 = self.conv1(y)
        conv2 = self.conv2(conv1)
        if self.shortcut:
            short = inputs
        else:
            short = self.short(inputs)
        conv2 = drop_path(conv2, 0.1, self.training)
        y = paddle.add(x=short, y=conv2)
        y = F.relu(y)
        return y


class Residual(nn.Layer):
    def __init__(self, depth=2):
        super().__init__()
        self.conv = ConvBNLayer(3, 8, 7, 2, act="relu")
        self.pool2d_max = nn.MaxPool2D(kernel_size=3, stride=2, padding=1)
        self.block_list = []
        for block in range(2):
            shortcut = False
            for i in range(depth):
                inputs = 8 if block == i == 0 else 16
                bottleneck_block = self.add_sublayer(
                    f"bb_{block}_{i}", BottleneckBlock(inputs, 8, 2 if block and i == 0 else 1, shortcut)
                )
                self.block_list.append(bottleneck_block)
                shortcut = True
        self.pool2d_avg = nn.AdaptiveAvgPool2D(1)
        self.pool2d_avg_channels = 16
        self.out = nn.Linear(
            16,
            16,
            weight_attr=paddle.ParamAttr(initializer=nn.initializer.Uniform(-0.1, 0.1)),
            bias_attr=paddle.ParamAttr(learning_rate=2.0),
        )

    def forward(self, inputs):
        y = self.conv(inputs)
        y = self.pool2d_max(y)
        for block in self.block_list:
            y = block(y)
        y = self.pool2d_avg(y)
        y = paddle.reshape(y, shape=[-1, self.pool2d_avg_channels])
        y = self.out(y)
        return y


class ConvBNAct(nn.Layer):
    def __init__(self, in_c, out_c, filter_size, stride, padding, num_groups=1, if_act=True, act=None):
        super().__init__()
        self.if_act = if_act
        self.act = act
        self.conv = nn.Conv2D(in_c, out_c, filter_size, stride, padding, groups=num_groups, bias_attr=False)
        self.bn = nn.BatchNorm(
            num_channels=out_c,
            act=None,
            epsilon=0.001,
            param_attr=paddle.ParamAttr(regularizer=paddle.regularizer.L2Decay(0.0)),
            bias_attr=paddle.ParamAttr(regularizer=paddle.regularizer.L2Decay(0.0)),
        )

    def forward(self, x):
        x = self.conv(x)
        x = self.bn(x)
        if self.if_act:
            if self.act == "relu":
                x = F.relu(x)
            elif self.act == "hardswish":
                x = F.hardswish(x)
        return x


class SEModule(nn.Layer):
    def __init__(self, channel, reduction=4):
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2D(1)
        self.conv1 = nn.Conv2D(channel, channel // reduction, 1, 1, 0)
        self.conv2 = nn.Conv2D(channel // reduction, channel, 1, 1, 0)

    def forward(self, inputs):
        outputs = self.avg_pool(inputs)
        outputs = self.conv1(outputs)
        outputs = F.relu(outputs)
        outputs = self.conv2(outputs)
        outputs = F.hardsigmoid(outputs, slope=0.1666667, offset=0.5)
        return paddle.multiply(x=inputs, y=outputs)


class ResidualUnit(nn.Layer):
    def __init__(self, in_c, mid_c, out_c, stride):
        super().__init__()
        self.if_shortcut = stride == 1 and in_c == out_c
        self.expand_conv = ConvBNAct(in_c, mid_c, 1, 1, 0, act="hardswish")
        self.bottleneck_conv = ConvBNAct(mid_c, mid_c, 3, stride, 1, num_groups=mid_c, act="hardswish")
        self.mid_se = SEModule(mid_c)
        self.linear_conv = ConvBNAct(mid_c, out_c, 1, 1, 0, if_act=False, act=None)

    def forward(self, inputs):
        x = self.expand_conv(inputs)
        x = self.bottleneck_conv(x)
        x = self.mid_se(x)
        x = self.linear_conv(x)
        if self.if_shortcut:
            x = paddle.add(inputs, x)
        return x


class Mobile(nn.Layer):
    def __init__(self):
        super().__init__()
        self.conv1 = ConvBNAct(3, 8, 3, 2, 1, act="hardswish")
        self.block_list = []
        for i, (inputs, middle, outputs, stride) in enumerate([(8, 16, 8, 1), (8, 16, 12, 2), (12, 24, 12, 1)]):
            self.block_list.append(self.add_sublayer(f"conv{i + 2}", ResidualUnit(inputs, middle, outputs, stride)))
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.last_conv = nn.Conv2D(12, 12, 1, bias_attr=True)
        self.dropout = nn.Dropout(p=0.2, mode="upscale_in_train")
        self.out = nn.Linear(12, 10)

    def forward(self, inputs):
        x = self.conv1(inputs)
        for block in self.block_list:
            x = block(x)
        x = self.pool(x)
        x = self.last_conv(x)
        x = F.hardswish(x)
        x = self.dropout(x)
        x = paddle.reshape(x, shape=[x.shape[0], x.shape[1]])
        x = self.out(x)
        return x


class ConvBNReLU(nn.Layer):
    def __init__(self, inputs, outputs):
        super().__init__()
        self._conv = nn.Conv2D(inputs, outputs, 3, padding="same")
        self._batch_norm = nn.BatchNorm2D(outputs)
        self._relu = nn.ReLU()

    def forward(self, x):
        return self._relu(self._batch_norm(self._conv(x)))


class Encoder(nn.Layer):
    def __init__(self):
        super().__init__()
        self.double_conv = nn.Sequential(ConvBNReLU(3, 6), ConvBNReLU(6, 6))
        steps = [[nn.MaxPool2D(2, 2), ConvBNReLU(width, 8), ConvBNReLU(8, 8)] for width in (6, 8)]
        self.down_sample_list = nn.LayerList([nn.Sequential(*step) for step in steps])

    def forward(self, x):
        short_cuts = []
        x = self.double_conv(x)
        for down_sample in self.down_sample_list:
            short_cuts.append(x)
            x = down_sample(x)
        return x, short_cuts


class UpSampling(nn.Layer):
    def __init__(self, inputs, outputs, use_deconv):
        super().__init__()
        self.use_deconv = use_deconv
        self.double_conv = nn.Sequential(ConvBNReLU(inputs, outputs), ConvBNReLU(outputs, outputs))
        if use_deconv:
            self.deconv = nn.Conv2DTranspose(8, 8, kernel_size=2, stride=2, padding=0)

    def forward(self, x, short_cut):
        if self.use_deconv:
            x = self.deconv(x)
        else:
            x = F.interpolate(x, short_cut.shape[2:], mode="bilinear", align_corners=True)
        return self.double_conv(paddle.concat([short_cut, x], axis=1))


class UNet(nn.Layer):
    def __init__(self):
        super().__init__()
        self.cls = nn.Conv2D(6, 2, kernel_size=1, stride=1, padding=0)
        self.decode = nn.LayerList([UpSampling(16, 6, True), UpSampling(12, 6, False)])
        self.encode = Encoder()

    def forward(self, x):
        x, short_cuts = self.encode(x)
        for up, short_cut in zip(self.decode, reversed(short_cuts), strict=True):
            x = up(x, short_cut)
        return F.sigmoid(self.cls(x))


class Swish(nn.Layer):
    def __init__(self, inputs, outputs, stride, padding=1):
        super().__init__()
        self.conv = nn.Conv2D(inputs, outputs, 3, stride, padding)

    def forward(self, x):
        x = self.conv(x)
        return x * F.sigmoid(x)


class ConvBN(nn.Layer):
    def __init__(self, width, act):
        super().__init__()
        self._conv = nn.Conv2D(width, width, 3, padding=1, bias_attr=False)
        self._bn = nn.BatchNorm(width, act=act)

    def forward(self, x):
        return self._bn(self._conv(x))


class Branch(nn.Layer):
    def __init__(self, width):
        super().__init__()
        self.linear = nn.Conv2D(width, width, 1)
        self.cbn = ConvBN(width, act="swish")

    def forward(self, inputs):
        y = self.linear(self.cbn(inputs))
        return paddle.add(inputs, y)


class Branches(nn.Layer):
    def __init__(self, widths):
        super().__init__()
        self.funcs = [self.add_sublayer(f"branch.{i}", Branch(width)) for i, width in enumerate(widths)]

    def forward(self, inputs):
        return [func(x) for func, x in zip(self.funcs, inputs, strict=True)]


class FuseLayers(nn.Layer):
    def __init__(self, widths):
        super().__init__()
        self.residuals = {}
        for i in (0, 1):
            for j in {0, 1, 2} - {i}:
                kernel, stride = (1, 1) if i < j else (3, 2)
                layer = nn.Conv2D(widths[j], widths[i], kernel, stride, padding=kernel // 2)
                self.residuals[i, j] = self.add_sublayer(f"residual_{i + 1}_{j + 1}", layer)

    def forward(self, inputs):
        outs = []
        for i, residual in enumerate(inputs[:2]):
            for j in (0, 1, 2):
                if i > j:
                    residual = residual + self.residuals[i, j](inputs[j])
                elif i < j:
                    y = self.residuals[i, j](inputs[j])
                    residual = residual + F.interpolate(y, residual.shape[-2:], mode="nearest")
            outs.append(F.relu(residual))
        return outs


class Stage(nn.Layer):
    def __init__(self, widths):
        super().__init__()
        self.branches, self.fuse = Branches(widths), FuseLayers(widths)

    def forward(self, inputs):
        return self.fuse(self.branches(inputs))


class Fusion(nn.Layer):
    def __init__(self):
        super().__init__()
        self.out2, self.out1 = nn.Linear(8, 4), nn.Linear(6, 4)
        self.stage = Stage((6, 8, 10))
        self.tr2 = Swish(8, 10, 2)
        self.tr1 = Swish(6, 8, 2)
        self.stem = Swish(3, 6, 2, padding="SAME")

    def forward(self, inputs):
        x = self.stem(inputs)
        half = self.tr1(x)
        outs = self.stage([x, half, self.tr2(half)])
        high, low = [F.adaptive_avg_pool2d(each, 1).flatten(1) for each in outs]
        return {"low": self.out2(low), "high": self.out1(high)}
