"""The networks of the catalogue as one writes them: names, layers and order as in the articles' own code.

`sources.py` reads this file as text, translates it to Paddle, renames it, and plants a mistake in a class.
"""

import torch
import torch.nn.functional as F
from torch import nn


class Vgg(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2, 2)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(8)
        self.relu2 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(2, 2)
        self.conv3 = nn.Conv2d(8, 16, 3, padding=1)
        self.bn3 = nn.BatchNorm2d(16)
        self.relu3 = nn.ReLU()
        self.pool3 = nn.MaxPool2d(2, 2)
        self.avgpool = nn.AdaptiveAvgPool2d((2, 2))
        self.fc1 = nn.Linear(64, 16)
        self.act1 = nn.ReLU()
        self.drop = nn.Dropout(0.5)
        self.fc2 = nn.Linear(16, 16)
        self.act2 = nn.ReLU()
        self.fc3 = nn.Linear(16, 10)

    def forward(self, x):
        x = self.pool1(self.relu1(self.bn1(self.conv1(x))))
        x = self.pool2(self.relu2(self.bn2(self.conv2(x))))
        x = self.pool3(self.relu3(self.bn3(self.conv3(x))))
        x = torch.flatten(self.avgpool(x), 1)
        x = self.drop(self.act1(self.fc1(x)))
        x = self.act2(self.fc2(x))
        return self.fc3(x)


class Bottleneck(nn.Module):
    def __init__(self, inputs, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 16, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.downsample = None
        if stride > 1 or inputs != 16:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, 16, 1, stride=stride, bias=False),
                nn.BatchNorm2d(16),
            )

    def forward(self, x):
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out = out + identity
        return self.relu(out)


class Residual(nn.Module):
    def __init__(self, depth=2):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = nn.Sequential(*[Bottleneck(16 if i else 8, 8, 1) for i in range(depth)])
        self.layer2 = nn.Sequential(*[Bottleneck(16, 8, 1 if i else 2) for i in range(depth)])
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(16, 16)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer2(self.layer1(x))
        x = torch.flatten(self.avgpool(x), 1)
        return self.fc(x)


class Mixed(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.branch1 = nn.Conv2d(inputs, 4, 1)
        self.branch3_reduce = nn.Conv2d(inputs, 4, 1)
        self.branch3 = nn.Conv2d(4, 4, 3, padding=1)
        self.branch7_reduce = nn.Conv2d(inputs, 4, 1)
        self.branch7_a = nn.Conv2d(4, 4, (1, 7), padding=(0, 3))
        self.branch7_b = nn.Conv2d(4, 4, (7, 1), padding=(3, 0))
        self.pool = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=True)
        self.branch_pool = nn.Conv2d(inputs, 4, 1)

    def forward(self, x):
        a = F.relu(self.branch1(x))
        b = F.relu(self.branch3(F.relu(self.branch3_reduce(x))))
        c = F.relu(self.branch7_reduce(x))
        c = F.relu(self.branch7_b(F.relu(self.branch7_a(c))))
        d = F.relu(self.branch_pool(self.pool(x)))
        return torch.cat([a, b, c, d], dim=1)


class Inception(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8, eps=0.001)
        self.mixed1 = Mixed(8)
        self.pool = nn.MaxPool2d(3, stride=2)
        self.mixed2 = Mixed(16)
        self.fc = nn.Linear(16, 10)

    def forward(self, x):
        x = F.relu(self.norm(self.stem(x)))
        x = self.pool(self.mixed1(x))
        x = self.mixed2(x)
        x = x.mean((2, 3))
        return self.fc(x)


class Squeeze(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(width, width // 4, 1)
        self.act = nn.ReLU()
        self.expand = nn.Conv2d(width // 4, width, 1)
        self.gate = nn.Hardsigmoid()

    def forward(self, x):
        s = self.gate(self.expand(self.act(self.reduce(self.avgpool(x)))))
        return x * s


class Inverted(nn.Module):
    def __init__(self, inputs, width, outputs, stride):
        super().__init__()
        self.expand = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width, eps=0.001)
        self.act1 = nn.Hardswish()
        self.depthwise = nn.Conv2d(width, width, 3, stride=stride, padding=1, groups=width, bias=False)
        self.bn2 = nn.BatchNorm2d(width, eps=0.001)
        self.act2 = nn.Hardswish()
        self.se = Squeeze(width)
        self.project = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs, eps=0.001)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x):
        y = self.act1(self.bn1(self.expand(x)))
        y = self.act2(self.bn2(self.depthwise(y)))
        y = self.se(y)
        y = self.bn3(self.project(y))
        return x + y if self.residual else y


class Mobile(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8, eps=0.001)
        self.act = nn.Hardswish()
        self.block1 = Inverted(8, 16, 8, 1)
        self.block2 = Inverted(8, 16, 12, 2)
        self.block3 = Inverted(12, 24, 12, 1)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Linear(12, 12)
        self.act1 = nn.Hardswish()
        self.drop = nn.Dropout(0.2)
        self.fc2 = nn.Linear(12, 10)

    def forward(self, x):
        x = self.act(self.bn(self.stem(x)))
        x = self.block3(self.block2(self.block1(x)))
        x = torch.flatten(self.avgpool(x), 1)
        return self.fc2(self.drop(self.act1(self.fc1(x))))


def shuffle(x, groups):
    n, c, h, w = x.shape
    x = x.reshape((n, groups, c // groups, h, w))
    x = x.transpose(1, 2)
    return x.reshape((n, c, h, w))


class Unit(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()

    def forward(self, x):
        x1, x2 = torch.chunk(x, 2, dim=1)
        x2 = self.relu1(self.bn1(self.conv1(x2)))
        x2 = self.bn2(self.depthwise(x2))
        x2 = self.relu2(self.bn3(self.conv2(x2)))
        out = torch.cat([x1, x2], dim=1)
        return shuffle(out, 2)


class Shuffle(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 12, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(12)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.stage = nn.Sequential(Unit(6), Unit(6), Unit(6))
        self.fc = nn.Linear(12, 10)

    def forward(self, x):
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        x = self.stage(x)
        x = x.mean((2, 3))
        return self.fc(x)


class DenseLayer(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(inputs, 8, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(8)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(8, 4, 3, padding=1, bias=False)

    def forward(self, x):
        y = self.conv1(self.relu1(self.norm1(x)))
        y = self.conv2(self.relu2(self.norm2(y)))
        return torch.cat([x, y], dim=1)


class Transition(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.relu = nn.ReLU()
        self.conv = nn.Conv2d(inputs, 8, 1, bias=False)
        self.pool = nn.AvgPool2d(2, stride=2)

    def forward(self, x):
        return self.pool(self.conv(self.relu(self.norm(x))))


class Dense(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv0 = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.block1 = nn.Sequential(DenseLayer(8), DenseLayer(12), DenseLayer(16))
        self.transition = Transition(20)
        self.block2 = nn.Sequential(DenseLayer(8), DenseLayer(12))
        self.norm5 = nn.BatchNorm2d(16)
        self.classifier = nn.Linear(16, 10)

    def forward(self, x):
        x = self.conv0(x)
        x = self.block2(self.transition(self.block1(x)))
        x = F.relu(self.norm5(x))
        x = F.adaptive_avg_pool2d(x, 1)
        x = torch.flatten(x, 1)
        return self.classifier(x)


class DoubleConv(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU()

    def forward(self, x):
        x = self.relu1(self.bn1(self.conv1(x)))
        return self.relu2(self.bn2(self.conv2(x)))


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down1 = DoubleConv(3, 6)
        self.pool = nn.MaxPool2d(2)
        self.down2 = DoubleConv(6, 8)
        self.middle = DoubleConv(8, 8)
        self.up2 = nn.ConvTranspose2d(8, 8, 2, stride=2)
        self.merge2 = DoubleConv(16, 6)
        self.merge1 = DoubleConv(12, 6)
        self.head = nn.Conv2d(6, 2, 1)

    def forward(self, x):
        a = self.down1(x)
        b = self.down2(self.pool(a))
        y = self.middle(self.pool(b))
        y = self.merge2(torch.cat([b, self.up2(y)], dim=1))
        y = F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=True)
        y = self.merge1(torch.cat([a, y], dim=1))
        return torch.sigmoid(self.head(y))


class Pyramid(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, 6, 1)
        self.conv2 = nn.Conv2d(inputs, 6, 3, padding=2, dilation=2)
        self.conv3 = nn.Conv2d(inputs, 6, 3, padding=4, dilation=4)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.conv4 = nn.Conv2d(inputs, 6, 1)
        self.project = nn.Conv2d(24, 8, 1)

    def forward(self, x):
        a, b, c = self.conv1(x), self.conv2(x), self.conv3(x)
        d = F.interpolate(self.conv4(self.pool(x)), size=x.shape[2:], mode="nearest")
        return F.relu(self.project(torch.cat([a, b, c, d], dim=1)))


class Segmentation(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(2, 8)
        self.act1 = nn.LeakyReLU(0.1)
        self.conv2 = nn.Conv2d(8, 8, 3, stride=2, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(8)
        self.act2 = nn.PReLU(8)
        self.pyramid = Pyramid(8)
        self.low = nn.Conv2d(8, 4, 1)
        self.head = nn.Conv2d(12, 3, 3, padding=1)
        self.aux = nn.Conv2d(8, 3, 1)

    def forward(self, x):
        low = self.act1(self.norm1(self.conv1(x)))
        y = self.act2(self.norm2(self.conv2(low)))
        z = self.pyramid(y)
        z = F.interpolate(z, size=low.shape[2:], mode="bilinear", align_corners=False)
        z = self.head(torch.cat([z, self.low(low)], dim=1))
        z = F.interpolate(z, size=x.shape[2:], mode="bilinear", align_corners=False)
        return F.softmax(z, dim=1), self.aux(y)


class Basic(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.swish = nn.SiLU()
        self.conv2 = nn.Conv2d(width, width, 1)

    def forward(self, x, keep):
        y = self.conv2(self.swish(self.bn1(self.conv1(x))))
        return F.dropout(y, 1 - keep, training=self.training) + x


class Exchange(nn.Module):
    def __init__(self, widths=(6, 8, 10)):
        super().__init__()
        self.branches = nn.ModuleList([Basic(width) for width in widths])
        self.from2to1, self.from3to1 = nn.Conv2d(8, 6, 1), nn.Conv2d(10, 6, 1)
        self.from1to2, self.from3to2 = nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.Conv2d(10, 8, 1)

    def forward(self, maps):
        a, b, c = [branch(x, 0.9) for branch, x in zip(self.branches, maps, strict=True)]
        y = a + F.interpolate(self.from2to1(b), size=a.shape[2:], mode="nearest")
        y = y + F.interpolate(self.from3to1(c), size=a.shape[2:], mode="nearest")
        z = self.from1to2(a) + F.interpolate(self.from3to2(c), size=b.shape[2:], mode="nearest") + b
        return [F.relu(y), F.relu(z)]


class Fusion(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=2)
        self.second = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.third = nn.Conv2d(8, 10, 3, stride=2, padding=1)
        self.exchange = nn.Sequential(Exchange())
        self.head1, self.head2 = nn.Linear(6, 4), nn.Linear(8, 4)

    def forward(self, x):
        a = F.silu(self.stem(F.pad(x, [0, 1, 0, 1])))
        b = F.silu(self.second(a))
        y, z = self.exchange([a, b, F.silu(self.third(b))])
        return {"high": self.head1(y.mean((2, 3))), "low": self.head2(z.mean((2, 3)))}
