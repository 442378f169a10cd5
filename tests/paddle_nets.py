"""What a user brings: callables that make a network, here in Paddle; torch_nets.py has the same."""

import numpy as np
from paddle import nn


class Net(nn.Layer):
    def __init__(self, eps):
        super().__init__()
        self.conv = nn.Conv2D(3, 4, 3)
        self.norm = nn.BatchNorm2D(4, epsilon=eps)
        self.act = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        return self.fc(self.flatten(self.pool(self.act(self.norm(self.conv(x))))))


def net(eps=1e-5):
    made = Net(eps)
    for name, parameter in made.named_parameters():
        if name not in ("norm._mean", "norm._variance"):
            values = wave(tuple(parameter.shape))
            parameter.set_value(values.T if name == "fc.weight" else values)
    return made


def eps_off_by_ten_percent():
    return net(1.1e-5)


def wave(shape):
    return np.sin(np.arange(1, 1 + np.prod(shape), dtype=np.float32)).reshape(shape)


def wide():
    return nn.Sequential(nn.Conv2D(3, 4, 7))
