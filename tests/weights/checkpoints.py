"""A small network, its checkpoint as a training script leaves it, and what a network gets from a file."""

import argparse
import collections
import enum
import pathlib

import numpy as np
import pytest
import torch

from parity import ParityError
from parity.backends import torch_backend
from parity.weights import checkpoint


def network():
    torch.manual_seed(0)
    nn = torch.nn
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


NET = network()
PLAIN = NET.state_dict()
SLOTS = torch_backend.slots(NET)
ARRAYS = {name: tensor.numpy() for name, tensor in PLAIN.items()}
OTHER = {name: tensor + 1 for name, tensor in PLAIN.items()}


class Colour(enum.Enum):
    RED = 1


class Settings:
    def __init__(self):
        self.rate = 0.1

    def __setstate__(self, state):
        raise AssertionError("was built")


def saved(path, content, **options):
    torch.save(content, path, **options)
    return path


def same(found, expected=None):
    expected = ARRAYS if expected is None else expected
    assert {name for name in found if "num_batches" not in name} == {n for n in expected if "num_batches" not in n}
    for name, array in found.items():
        assert np.array_equal(array, np.asarray(expected[name])), name


def given(path, key=None, slots=SLOTS):
    """Return what a network of these slots gets from a file, and the notes."""
    state, notes = checkpoint.read(path, slots, "", key=key)
    return dict(state), notes


def refused(path, key=None, slots=SLOTS):
    with pytest.raises(ParityError) as error:
        given(path, key, slots)
    line = str(error.value)
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    return line.removeprefix(f"{path}: ")


def beside():
    """Return what training scripts save beside the weights."""
    twin = network()
    optimizer = torch.optim.Adam(twin.parameters())
    sum(p.sum() for p in twin.parameters()).backward()
    optimizer.step()
    return {
        "epoch": 7,
        "best": np.float64(71.5),
        "seen": np.int64(3),
        "args": argparse.Namespace(lr=0.1, name="run"),
        "settings": Settings(),
        "colour": Colour.RED,
        "path": pathlib.PurePosixPath("a/b"),
        "optimizer": optimizer.state_dict(),
        "schedule": torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2]).state_dict(),
        "history": collections.defaultdict(list, loss=[1.0, 0.5]),
        "rng": torch.get_rng_state(),
        "classes": {1, 2},
        "labels": np.array(["cat", "dog"]),
        "dtype": torch.float32,
        "device": torch.device("cpu"),
        "ordered": collections.OrderedDict(a=1),
    }
