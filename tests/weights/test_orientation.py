"""Whose orientation a .safetensors file's linear weights have: shown by the file, or asked for; never guessed."""

import numpy as np
import pytest
import safetensors.numpy

from parity import ParityError
from parity.weights import checkpoint
from parity.weights.state import Slot, State

SQUARE = np.arange(9, dtype=np.float32).reshape(3, 3)
WIDE = np.arange(6, dtype=np.float32).reshape(2, 3)
SLOTS = {"a.weight": Slot((3, 3), "Linear", "weight"), "b.weight": Slot((2, 3), "Linear", "weight")}
NORM = {"n.running_mean": Slot((3,), "BatchNorm2d", "running_mean")}


def read(folder, tensors, metadata=None, slots=None, layout=None):
    path = folder / "w.safetensors"
    safetensors.numpy.save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, path, metadata)
    return checkpoint.read(path, slots or {name: SLOTS[name] for name in tensors}, "", layout)[0]


def test_a_square_linear_without_any_sign_is_refused_and_asked_for(tmp_path):
    for metadata in (None, {"format": "np"}):
        with pytest.raises(ParityError, match=r"w\.safetensors: its linear weights are square.*--layout torch or"):
            read(tmp_path, {"a.weight": SQUARE}, metadata)
    assert np.array_equal(read(tmp_path, {"a.weight": SQUARE}, layout="torch")["a.weight"], SQUARE)
    assert np.array_equal(read(tmp_path, {"a.weight": SQUARE}, layout="paddle")["a.weight"], SQUARE.T)


@pytest.mark.parametrize("sign, framework", [("pt", "torch"), ("pd", "paddle"), ("paddle", "paddle")])
def test_the_format_in_the_metadata_shows_it(tmp_path, sign, framework):
    expected = SQUARE if framework == "torch" else SQUARE.T
    assert np.array_equal(read(tmp_path, {"a.weight": SQUARE}, {"format": sign})["a.weight"], expected)


def test_another_linear_that_is_not_square_shows_it(tmp_path):
    state = read(tmp_path, {"a.weight": SQUARE, "b.weight": WIDE})
    assert np.array_equal(state["a.weight"], SQUARE)
    state = read(tmp_path, {"a.weight": SQUARE, "b.weight": WIDE.T})
    assert np.array_equal(state["a.weight"], SQUARE.T)
    assert np.array_equal(state["b.weight"], WIDE)


@pytest.mark.parametrize("role, turned", [("running_mean", False), ("_mean", True)])
def test_the_names_of_statistics_show_it(tmp_path, role, turned):
    slots = {"a.weight": SLOTS["a.weight"], **NORM}
    state = read(tmp_path, {"a.weight": SQUARE, f"n.{role}": np.ones(3, np.float32)}, slots=slots)
    assert np.array_equal(state["a.weight"], SQUARE.T if turned else SQUARE)


def test_our_own_files_show_it(tmp_path):
    State({"a.weight": SQUARE}).save(tmp_path / "own.safetensors")
    assert np.array_equal(checkpoint.read(tmp_path / "own.safetensors", SLOTS, "")[0]["a.weight"], SQUARE)
