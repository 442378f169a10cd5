"""What a user brings: callables that make a network, here in PyTorch; paddle_nets.py has the same."""

import numpy as np
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, eps):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4, eps=eps)
        self.act = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        return self.fc(self.flatten(self.pool(self.act(self.norm(self.conv(x))))))


def net(eps=1e-5):
    made = Net(eps)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.from_numpy(wave(tuple(parameter.shape))))
    return made


def wave(shape):
    return np.sin(np.arange(1, 1 + np.prod(shape), dtype=np.float32)).reshape(shape)


def wide():
    return nn.Sequential(nn.Conv2d(3, 4, 7))


def evil_name(mode="zeros"):
    """Return a network whose layer's name is written to fool a terminal."""
    made = nn.Sequential()
    made.add_module("l\x1b[31m[red]x\n[/nope]\x9b2J", nn.Conv2d(3, 4, 3, padding=1, padding_mode=mode))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.from_numpy(wave(tuple(parameter.shape))))
    return made


def evil_name_too():
    return evil_name("circular")
