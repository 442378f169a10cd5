"""Small pairs of networks, one in each framework, with the same hardened weights."""

import numpy as np
import paddle
import torch

import paddle_cnn.resnet
import torch_cnn.resnet
from parity.backends import paddle_backend, torch_backend
from parity.numerics.fixed_random import projection
from parity.weights.hardened import hardened_state

IMAGE = projection((2, 3, 33, 31)).astype(np.float32)


def harden(ours, theirs, device="cpu"):
    """Give both networks one hardened state and put them where they are to run, in evaluation mode."""
    state = hardened_state(torch_backend.slots(ours))
    torch_backend.set_state(ours, state)
    paddle_backend.set_state(theirs, state)
    ours.eval()
    theirs.eval()
    return (
        torch_backend.place(ours, torch_backend.use(device, 1)),
        paddle_backend.place(theirs, paddle_backend.use(device, 1)),
    )


def small(device="cpu"):
    """A stem, a bottleneck with a shortcut convolution, one without, and a square linear layer."""
    made = []
    for nn, blocks, pools in (
        (torch.nn, torch_cnn.resnet, (torch.nn.MaxPool2d, torch.nn.AdaptiveAvgPool2d)),
        (paddle.nn, paddle_cnn.resnet, (paddle.nn.MaxPool2D, paddle.nn.AdaptiveAvgPool2D)),
    ):
        made.append(
            nn.Sequential(
                blocks.ConvBNLayer(3, 8, 3, act="relu"),
                pools[0](3, stride=2, padding=1),
                blocks.BottleneckBlock(8, 4, 2, shortcut=False),
                blocks.BottleneckBlock(16, 4, 1),
                pools[1](1),
                nn.Flatten(),
                nn.Linear(16, 16),
                nn.ReLU(),
                nn.Linear(16, 16),
            )
        )
    return harden(*made, device)
