"""The same networks as another author writes them: blocks, functions in place of layers, other names, other orders.

`OWNERS` says, for each network, which layer of networks.py owns the weights of a layer here. The tool never sees it.
"""

import torch
import torch.nn.functional as F
from torch import nn

OWNERS = {
    "Vgg": (
        (r"^features\.(\d)\.conv", lambda m: f"conv{int(m[1]) + 1}"),
        (r"^features\.(\d)\.norm", lambda m: f"bn{int(m[1]) + 1}"),
        (r"^classifier\.0", "fc1"), (r"^classifier\.2", "fc2"), (r"^classifier\.4", "fc3"),
    ),
    "Residual": (
        (r"^stem\.conv", "conv1"), (r"^stem\.norm", "bn1"),
        (r"^stages\.(\d)\.(\d)\.", lambda m: f"layer{int(m[1]) + 1}.{m[2]}."),
        (r"(\d)\.shortcut\.conv", r"\1.downsample.0"), (r"(\d)\.shortcut\.norm", r"\1.downsample.1"),
        (r"\.(reduce|spatial|expand)\.(conv|norm)", lambda m: "." + {"conv": "conv", "norm": "bn"}[m[2]]
            + {"reduce": "1", "spatial": "2", "expand": "3"}[m[1]]),
        (r"^classifier", "fc"),
    ),
    "Inception": (
        (r"^conv\.", "stem."), (r"^bn\.", "norm."), (r"^first\.", "mixed1."), (r"^second\.", "mixed2."),
        (r"\.pooled\.conv", ".branch_pool"), (r"\.single\.conv", ".branch1"),
        (r"\.square\.0\.conv", ".branch3_reduce"), (r"\.square\.1\.conv", ".branch3"),
        (r"\.long\.0\.conv", ".branch7_reduce"), (r"\.long\.1\.conv", ".branch7_a"), (r"\.long\.2\.conv", ".branch7_b"),
        (r"^logits", "fc"),
    ),
    "Mobile": (
        (r"^first\.conv", "stem"), (r"^first\.bn", "bn"),
        (r"^blocks\.(\d)\.", lambda m: f"block{int(m[1]) + 1}."),
        (r"\.pw\.conv", ".expand"), (r"\.pw\.bn", ".bn1"), (r"\.dw\.conv", ".depthwise"), (r"\.dw\.bn", ".bn2"),
        (r"\.pwl\.conv", ".project"), (r"\.pwl\.bn", ".bn3"),
        (r"\.gate\.fc1", ".se.reduce"), (r"\.gate\.fc2", ".se.expand"),
        (r"^head\.0", "fc1"), (r"^head\.1", "fc2"),
    ),
    "Shuffle": (
        (r"^stem\.0", "conv1"), (r"^stem\.1", "bn1"), (r"^units\.", "stage."),
        (r"\.branch\.0", ".conv1"), (r"\.branch\.1", ".bn1"), (r"\.branch\.3", ".depthwise"), (r"\.branch\.4", ".bn2"),
        (r"\.branch\.5", ".conv2"), (r"\.branch\.6", ".bn3"), (r"^out", "fc"),
    ),
    "Dense": (
        (r"^first", "conv0"), (r"^layers\.([012])\.", r"block1.\1."), (r"^layers\.3\.", "block2.0."),
        (r"^layers\.4\.", "block2.1."), (r"\.bottleneck\.norm", ".norm1"), (r"\.bottleneck\.conv", ".conv1"),
        (r"\.grow\.norm", ".norm2"), (r"\.grow\.conv", ".conv2"), (r"^shrink\.", "transition."),
        (r"^last_norm", "norm5"), (r"^fc", "classifier"),
    ),
    "UNet": (
        (r"^encoder\.0\.", "down1."), (r"^encoder\.1\.", "down2."), (r"^encoder\.2\.", "middle."),
        (r"^decoder\.0\.", "merge2."), (r"^decoder\.1\.", "merge1."), (r"^upsample", "up2"), (r"^out", "head"),
        (r"\.body\.0", ".conv1"), (r"\.body\.1", ".bn1"), (r"\.body\.3", ".conv2"), (r"\.body\.4", ".bn2"),
    ),
    "Segmentation": (
        (r"^backbone\.0", "conv1"), (r"^backbone\.1", "norm1"), (r"^deeper\.0", "conv2"), (r"^deeper\.1", "norm2"),
        (r"^deeper\.2", "act2"), (r"^aspp\.rates\.([012])", lambda m: f"pyramid.conv{int(m[1]) + 1}"),
        (r"^aspp\.image", "pyramid.conv4"), (r"^aspp\.out", "pyramid.project"), (r"^skip", "low"),
        (r"^classify", "head"), (r"^auxiliary", "aux"),
    ),
}  # fmt: skip


class ConvNormAct(nn.Module):
    def __init__(self, inputs, outputs, kernel, stride=1, act=True):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.act = act

    def forward(self, x):
        x = self.norm(self.conv(x))
        if self.act:
            x = F.relu(x)
        return x


class BiasedConvNormAct(ConvNormAct):
    def __init__(self, inputs, outputs, kernel):
        super().__init__(inputs, outputs, kernel)
        self.conv = nn.Conv2d(inputs, outputs, kernel, 1, kernel // 2)


class Vgg(nn.Module):
    def __init__(self):
        super().__init__()
        widths = [3, 8, 8, 16]
        self.classifier = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 10))
        self.features = nn.ModuleList([BiasedConvNormAct(widths[i], widths[i + 1], 3) for i in range(3)])

    def forward(self, x):
        for block in self.features:
            x = F.max_pool2d(block(x), 2, 2)
        x = F.adaptive_avg_pool2d(x, 2)
        return self.classifier(x.reshape((x.shape[0], -1)))


class Block(nn.Module):
    def __init__(self, inputs, width, stride):
        super().__init__()
        if stride > 1 or inputs != 16:
            self.shortcut = ConvNormAct(inputs, 16, 1, stride, act=False)
        else:
            self.shortcut = None
        self.reduce = ConvNormAct(inputs, width, 1)
        self.spatial = ConvNormAct(width, width, 3, stride)
        self.expand = ConvNormAct(width, 16, 1, act=False)

    def forward(self, x):
        short = x if self.shortcut is None else self.shortcut(x)
        y = self.expand(self.spatial(self.reduce(x)))
        return F.relu(short + y)


class Residual(nn.Module):
    def __init__(self, depth=2):
        super().__init__()
        self.classifier = nn.Linear(16, 16)
        self.stem = ConvNormAct(3, 8, 7, 2)
        stages = [
            [Block(16 if i else 8, 8, 1) for i in range(depth)],
            [Block(16, 8, 1 if i else 2) for i in range(depth)],
        ]
        self.stages = nn.ModuleList([nn.Sequential(*stage) for stage in stages])

    def forward(self, x):
        x = F.max_pool2d(self.stem(x), 3, 2, 1)
        for stage in self.stages:
            x = stage(x)
        x = x.mean((2, 3))
        return self.classifier(x)


class ConvAct(nn.Module):
    def __init__(self, inputs, outputs, kernel, padding=0):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=padding)
        self.act = nn.ReLU()

    def forward(self, x):
        return self.act(self.conv(x))


class Branches(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.pooled = ConvAct(inputs, 4, 1)
        self.long = nn.Sequential(
            ConvAct(inputs, 4, 1), ConvAct(4, 4, (1, 7), padding=(0, 3)), ConvAct(4, 4, (7, 1), padding=(3, 0))
        )
        self.square = nn.Sequential(ConvAct(inputs, 4, 1), ConvAct(4, 4, 3, padding=1))
        self.single = ConvAct(inputs, 4, 1)

    def forward(self, x):
        pooled = self.pooled(F.avg_pool2d(x, 3, 1, 1, count_include_pad=True))
        long = self.long(x)
        square = self.square(x)
        return torch.cat([self.single(x), square, long, pooled], dim=1)


class Inception(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = Branches(8)
        self.second = Branches(16)
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.bn = nn.BatchNorm2d(8, eps=0.001)
        self.relu = nn.ReLU()
        self.logits = nn.Linear(16, 10)

    def forward(self, x):
        x = self.relu(self.bn(self.conv(x)))
        x = F.max_pool2d(self.first(x), 3, stride=2)
        x = F.adaptive_avg_pool2d(self.second(x), 1)
        return self.logits(x.flatten(1))


class ConvBn(nn.Module):
    def __init__(self, inputs, outputs, kernel, stride=1, groups=1, act="hardswish"):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)
        self.act = act

    def forward(self, x):
        x = self.bn(self.conv(x))
        if self.act == "hardswish":
            x = F.hardswish(x)
        return x


class LinearGate(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc1 = nn.Linear(width, width // 4)
        self.fc2 = nn.Linear(width // 4, width)

    def forward(self, x):
        s = F.relu(self.fc1(x.mean((2, 3))))
        s = F.hardsigmoid(self.fc2(s))
        return x * s.unsqueeze(-1).unsqueeze(-1)


class MobileBlock(nn.Module):
    def __init__(self, inputs, width, outputs, stride):
        super().__init__()
        self.skip = stride == 1 and inputs == outputs
        self.pwl = ConvBn(width, outputs, 1, act=None)
        self.gate = LinearGate(width)
        self.dw = ConvBn(width, width, 3, stride, groups=width)
        self.pw = ConvBn(inputs, width, 1)

    def forward(self, x):
        y = self.pwl(self.gate(self.dw(self.pw(x))))
        if self.skip:
            y = y + x
        return y


class Mobile(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = ConvBn(3, 8, 3, 2)
        rows = [(8, 16, 8, 1), (8, 16, 12, 2), (12, 24, 12, 1)]
        self.blocks = nn.Sequential(*[MobileBlock(*row) for row in rows])
        self.head = nn.ModuleList([nn.Linear(12, 12), nn.Linear(12, 10)])

    def forward(self, x):
        x = self.blocks(self.first(x))
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return self.head[1](F.hardswish(self.head[0](x)))


class Branch(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.width = width
        self.branch = nn.Sequential(
            nn.Conv2d(width, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
            nn.BatchNorm2d(width),
            nn.Conv2d(width, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.shuffle = nn.ChannelShuffle(2)

    def forward(self, x):
        kept = x[:, : self.width]
        out = self.branch(x[:, self.width :])
        return self.shuffle(torch.cat([kept, out], dim=1))


class Shuffle(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 12, 3, 2, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        )
        self.units = nn.Sequential(*[Branch(6) for _ in range(3)])
        self.out = nn.Linear(12, 10)

    def forward(self, x):
        x = self.units(self.stem(x))
        x = F.adaptive_avg_pool2d(x, 1)
        return self.out(x.flatten(1))


class NormActConv(nn.Module):
    def __init__(self, inputs, outputs, kernel):
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)

    def forward(self, x):
        return self.conv(F.relu(self.norm(x)))


class Growth(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.grow = NormActConv(8, 4, 3)
        self.bottleneck = NormActConv(inputs, 8, 1)

    def forward(self, x):
        return self.grow(self.bottleneck(x))


class Dense(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 10)
        self.last_norm = nn.BatchNorm2d(16)
        self.shrink = NormActConv(20, 8, 1)
        self.layers = nn.ModuleList([Growth(width) for width in (8, 12, 16, 8, 12)])
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)

    def forward(self, x):
        maps = [self.first(x)]
        for layer in self.layers[:3]:
            maps.append(layer(torch.cat(maps, dim=1)))
        maps = [F.avg_pool2d(self.shrink(torch.cat(maps, dim=1)), 2)]
        for layer in self.layers[3:]:
            maps.append(layer(torch.cat(maps, dim=1)))
        x = F.relu(self.last_norm(torch.cat(maps, dim=1)))
        return self.fc(x.mean((2, 3)))


class Twice(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(),
        )  # fmt: skip

    def forward(self, x):
        return self.body(x)


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Conv2d(6, 2, 1)
        self.decoder = nn.ModuleList([Twice(16, 6), Twice(12, 6)])
        self.upsample = nn.ConvTranspose2d(8, 8, 2, stride=2)
        self.enlarge = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.encoder = nn.ModuleList([Twice(3, 6), Twice(6, 8), Twice(8, 8)])

    def forward(self, x):
        skips = []
        for level in self.encoder[:2]:
            x = level(x)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = self.upsample(self.encoder[2](x))
        x = self.decoder[0](torch.cat([skips[1], x], dim=1))
        x = self.decoder[1](torch.cat([skips[0], self.enlarge(x)], dim=1))
        return F.sigmoid(self.out(x))


class Aspp(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.out = nn.Conv2d(24, 8, 1)
        self.image = nn.Conv2d(inputs, 6, 1)
        self.rates = nn.ModuleList(
            [nn.Conv2d(inputs, 6, 3 if r else 1, padding=r, dilation=max(r, 1)) for r in (0, 2, 4)]
        )

    def forward(self, x):
        image = self.image(x.mean((2, 3), keepdim=True))
        image = image.expand((-1, -1, x.shape[2], x.shape[3]))
        maps = [rate(x) for rate in self.rates]
        return F.relu(self.out(torch.cat([*maps, image], dim=1)))


class Segmentation(nn.Module):
    def __init__(self):
        super().__init__()
        self.auxiliary = nn.Conv2d(8, 3, 1)
        self.classify = nn.Conv2d(12, 3, 3, padding=1)
        self.skip = nn.Conv2d(8, 4, 1)
        self.aspp = Aspp(8)
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.GroupNorm(2, 8), nn.LeakyReLU(0.1))
        self.deeper = nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.PReLU(8))

    def forward(self, x):
        low = self.backbone(x)
        high = self.deeper(low)
        aux = self.auxiliary(high)
        skip = self.skip(low)
        y = F.interpolate(self.aspp(high), scale_factor=2, mode="bilinear", align_corners=False)
        y = self.classify(torch.cat([y, skip], dim=1))
        y = F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False)
        return torch.softmax(y, dim=1), aux
