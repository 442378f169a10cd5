"""`parity weights`, and files of weights that other verbs are given: what is said of them, by the user's own name."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from program import run

from parity.weights import blueprint
from parity.weights.hardened import hardened_state
from parity.weights.pth import write_pth

pytestmark = pytest.mark.core


@pytest.fixture
def lenet():
    return dict(hardened_state(blueprint.slots("lenet5")))


def both(state, path):
    """Write two sets of weights to a file, under two beginnings of their names."""
    write_pth({f"{part}.{name}": array for part in ("Student", "Teacher") for name, array in state.items()}, path)
    return path


def test_what_is_in_a_file_is_shown(lenet, tmp_path):
    write_pth({f"module.{name}": array for name, array in lenet.items()}, tmp_path / "w.pth.tar")
    done = run("weights", "w.pth.tar", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[:4] == [
        "w.pth.tar: torch zip",
        "10 tensors, 44,426 numbers, 0.18 MB",
        "all names begin with module.",
        "layout: torch: torch.save wrote it",
    ]
    assert lines[4].split() == ["name", "shape", "dtype", "bytes"]
    assert lines[5].split()[0] == f"module.{next(iter(lenet))}"
    assert len(lines) == 15


def test_the_json_has_all_of_it(lenet, tmp_path):
    write_pth(lenet, tmp_path / "w.pth")
    done = run("weights", tmp_path / "w.pth", "--json", "-")
    told = json.loads(done.stdout)
    assert {name: told[name] for name in ("schema", "kind", "key", "sets", "layout", "numbers", "bytes", "beside")} == {
        "schema": 1,
        "kind": "torch zip",
        "key": "",
        "sets": {"": 10},
        "layout": "torch",
        "numbers": 44426,
        "bytes": 4 * 44426,
        "beside": {},
    }
    first = next(iter(lenet))
    assert told["tensors"][0] == {
        "name": first,
        "shape": list(lenet[first].shape),
        "dtype": "float32",
        "bytes": lenet[first].nbytes,
    }


@pytest.mark.parametrize("columns", [80, 100])
def test_the_table_fits_the_terminal(columns, tmp_path):
    long = {f"{'block.' * 8}layer{i}.weight": np.ones((512, 512, 3, 3), np.float32)[:1] for i in range(2)}
    write_pth(long, tmp_path / "w.pth")
    script = f"import pty; pty.spawn([{sys.executable!r}, '-m', 'parity', 'weights', 'w.pth'])"
    environment = {**os.environ, "COLUMNS": str(columns), "NO_COLOR": "1"}
    shown = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    rows = [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in shown.stdout.splitlines()]
    assert len(rows) == 7
    assert max(map(len, rows)) <= columns
    assert ("float32" in shown.stdout) is (columns == 100)


def test_two_parts_are_shown_and_a_key_takes_one(lenet, tmp_path):
    path = both(lenet, tmp_path / "w.pth")
    words = "all names begin with Student. or Teacher., and are the same behind it; --key takes one of them"
    assert words in run("weights", path).stdout
    assert "10 tensors, 44,426 numbers" in run("weights", path, "--key", "Teacher").stdout
    done = run("weights", path, "--key", "Nobody")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"parity: {path}: --key Nobody: there is no such part; it holds Student, Teacher\n"


def test_transfer_asks_for_a_key_and_says_what_it_read(lenet, tmp_path):
    path = both(lenet, tmp_path / "w.pth")
    done = run("transfer", path, tmp_path / "o.pdparams", "--model", "lenet5")
    assert done.returncode == 2
    assert done.stderr.startswith(f"parity: {path}: its names begin with Student. (10 tensors), Teacher. (10 tensors).")
    assert not (tmp_path / "o.pdparams").exists()
    done = run("transfer", path, tmp_path / "o.pdparams", "--model", "lenet5", "--key", "Teacher")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("lenet5: 10 tensors, 0.2 MB, ")


@pytest.mark.extras
def test_compare_takes_a_key_says_what_it_stripped_and_names_the_users_file(lenet, tmp_path):
    path = both(lenet, tmp_path / "w.ckpt")
    done = run("compare", "lenet5", "--weights", path, "--key", "Student")
    assert (done.returncode, done.stderr) == (0, "")
    write_pth({f"module.{name}": array for name, array in lenet.items()}, tmp_path / "dp.pth.tar")
    done = run("compare", "lenet5", "--weights", "dp.pth.tar", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("note: weights: names read without module.") == 1
    del lenet["conv1.weight" if "conv1.weight" in lenet else next(iter(lenet))]
    write_pth(lenet, tmp_path / "less.pth")
    done = run("compare", "lenet5", "--weights", "less.pth", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"parity: {tmp_path}/less.pth: lenet5: the weights do not fit")


BLUR = """
import numpy as np, {framework} as framework
nn, kernel = framework.nn, np.full((4, 1, 3, 3), 1 / 9, np.float32)

class Net(nn.{base}):
    def __init__(self):
        super().__init__()
        self.conv = nn.{conv}(3, 4, 3)
        {keep}

    def forward(self, x):
        y = self.conv(x)
        return nn.functional.conv2d(y, {kernel}, groups=4)
"""
BLURS = {
    "torch": {
        "base": "Module",
        "conv": "Conv2d",
        "keep": "self.register_buffer('kernel', framework.from_numpy(kernel))",
        "kernel": "self.kernel",
    },
    "paddle": {
        "base": "Layer",
        "conv": "Conv2D",
        "keep": "self.constants = [framework.to_tensor(kernel)]",
        "kernel": "self.constants[0].astype(y.dtype)",
    },
}


@pytest.mark.extras
def test_a_buffer_in_a_file_that_is_a_constant_in_one_of_the_networks_is_a_note(tmp_path):
    for framework, words in BLURS.items():
        (tmp_path / f"{framework}_blur.py").write_text(BLUR.format(framework=framework, **words))
    wave = np.linspace(-1, 1, 108, dtype=np.float32).reshape(4, 3, 3, 3)
    weights = {"conv.weight": wave, "conv.bias": wave[:, 0, 0, 0], "kernel": np.full((4, 1, 3, 3), 1 / 9, np.float32)}
    write_pth(weights, tmp_path / "w.pth")
    models = ("torch:torch_blur.py:Net", "paddle:paddle_blur.py:Net")
    for pair in (models, models[::-1]):
        done = run("compare", *pair, "--input", "1,3,8,8", "--weights", "w.pth", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert "note: weights: constants that the network does not have are left out: kernel" in done.stdout
    write_pth({**weights, "scale": np.ones(4, np.float32)}, tmp_path / "w.pth")
    done = run("compare", *models, "--input", "1,3,8,8", "--weights", "w.pth", cwd=tmp_path)
    assert done.returncode == 2
    assert "scale: unexpected, the network has no such tensor" in done.stderr
