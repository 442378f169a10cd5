"""A small right network whose parts a mistake may replace, and the reasons for a pair that differs."""

import numpy as np
import torch
import torch.nn.functional as TF
from torch import nn

from parity import compare
from parity.numerics.fixed_random import projection

IMAGE = projection((2, 3, 12, 12)).astype(np.float32)


class Block(nn.Module):
    """A small network with a residual, a gate and a concatenation, whose parts a mistake may replace."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(4)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(4)
        self.gate = nn.Conv2d(4, 4, 1)
        self.drop = nn.Dropout(0.25)
        self.fuse = nn.Conv2d(8, 4, 1)
        self.pool = nn.AvgPool2d(3, 2, 1)
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        y = self.first(x)
        z = self.activated(self.added(self.bn2(self.conv2(y)), y))
        z = self.gated(z, torch.sigmoid(self.gate(z)), y)
        z = self.pool(self.drop(self.fuse(self.joined(z, y))))
        return self.fc(z.mean((2, 3)))

    def first(self, x):
        return TF.silu(self.bn1(self.conv1(x)))

    def activated(self, x):
        return self.relu(x)

    def added(self, x, shortcut):
        return x + shortcut

    def gated(self, x, gate, other):
        return x * gate

    def joined(self, x, y):
        return torch.cat([x, y], 1)


def filled(network):
    with torch.no_grad():
        for i, (name, tensor) in enumerate(network.state_dict().items()):
            if tensor.is_floating_point():
                numbers = torch.from_numpy(np.random.default_rng(i).normal(0.1, 0.4, tuple(tensor.shape)))
                tensor.copy_(numbers.abs() + 0.5 if "var" in name else numbers)
    return network.eval()


def planted(**methods):
    """Return a right block, and one with other methods."""
    return filled(Block()), filled(type("Block", (Block,), methods)())


def culprits(result):
    assert not result.ok
    return {culprit.layer: culprit.explanation for culprit in result.culprits}


def compared(pair, image=IMAGE, transfer=False):
    return culprits(compare(*pair, image, transfer=transfer))
