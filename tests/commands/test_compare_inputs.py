"""`parity compare` on networks of several inputs, wrapped ones, and ones whose forward fails."""

import numpy as np
import pytest
from program import run

NETS = {
    "torch": """
import sys
from torch import nn
Base, Conv, Norm = nn.Module, nn.Conv2d, nn.SyncBatchNorm
off = lambda net: nn.DataParallel(net)
""",
    "paddle": """
import sys
from paddle import nn
Base, Conv, Norm = nn.Layer, nn.Conv2D, nn.SyncBatchNorm
off = lambda net: net
""",
}
CODE = """
class Net(Base):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.table = Conv(3, 4, 3), Norm(4), nn.Embedding(2, 4)
class Two(Net):
    def forward(self, image, ids):
        return {"image": self.norm(self.conv(image)), "ids": self.table(ids)}
class Whole(Net):
    def forward(self, inputs):
        return self.norm(self.conv(inputs["image"]))
class Raises(Net):
    def forward(self, x):
        x = self.norm(self.conv(x))
        raise ValueError("my own\\nerror")  # LINE
class Exits(Net):
    def forward(self, x):
        sys.exit(3)  # END
class Fails(Net):
    def __init__(self):
        raise KeyError("key")  # KEY
class Hidden(Net):
    def __init__(self):
        super().__init__()
        self.convs = [Conv(3, 4, 3)]
    def forward(self, x):
        return self.convs[0](x)
class Alone(Net):
    def forward(self, x):
        return self.norm(self.conv(x))
alone = lambda: off(Alone())
wrapped, whole = off(Whole()), lambda: Whole()
"""


@pytest.fixture
def desk(tmp_path, monkeypatch):
    for framework, start in NETS.items():
        (tmp_path / f"{framework}_made.py").write_text(start + CODE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def compared(*arguments):
    done = run("compare", *arguments)
    return done.returncode, done.stdout, done.stderr


def line_of(mark, framework):
    return (NETS[framework] + CODE).split("\n").index(next(x for x in CODE.split("\n") if f"# {mark}" in x)) + 1


def pair(name, other=None):
    return f"torch:torch_made.py:{name}", f"paddle:paddle_made.py:{other or name}"


@pytest.mark.parametrize(
    "inputs",
    [
        ["2,3,8,8", "1,7:int64"],
        ["ids=1,7:int64", "image=2,3,8,8"],
        ["image=image.npy", "ids=ids.npy"],
        ["all.npz"],
    ],
)
def test_a_network_of_two_inputs(desk, inputs):
    image, ids = np.ones((1, 3, 8, 8), np.float32), np.array([[0, 1]])
    np.save("image.npy", image)
    np.save("ids.npy", ids)
    np.savez("all.npz", ids=ids, image=image)
    words = [part for each in inputs for part in ("--input", each)]
    code, out, err = compared(*pair("Two"), *words, "-q")
    assert (code, err) == (0, "")
    assert "3 layers are the same function" in out


def test_one_input_that_is_a_dict_and_a_wrapper_that_is_noted(desk):
    code, out, err = compared(*pair("wrapped", "whole"), "--input", "image=2,3,8,8")
    assert (code, err) == (0, "")
    assert "note: taken off the reference before it was compared: DataParallel\n" in out


@pytest.mark.parametrize(
    ("names", "inputs", "words"),
    [
        (("Two",), ["2,3,8,8"], "inputs: Two.forward takes (image, ids); 1 given by position. Give one for each"),
        (("Two",), ["a=2,3,8,8"], "inputs: Two.forward takes (image, ids); given by name: a. Give those names"),
        (("Two",), ["image=2,3,8,8", "1"], "--input 1: name all inputs, or none: NAME=..."),
    ],
)
def test_inputs_that_do_not_fit_are_one_line(desk, names, inputs, words):
    given = [part for each in inputs for part in ("--input", each)]
    code, out, err = compared(*pair(*names), *given)
    assert (code, out) == (2, "")
    assert err.startswith(f"parity: {words}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("framework", ["torch", "paddle"])
@pytest.mark.parametrize(
    ("name", "words", "mark"),
    [
        ("Raises", "Raises: ValueError: my own error", "LINE"),
        ("Exits", "{0} worker: SystemExit: 3", "END"),
        ("Fails", "{0}:{0}_made.py:Fails: KeyError: 'key'", "KEY"),
    ],
)
def test_an_error_of_a_users_code_is_one_line_with_file_and_line(desk, framework, name, words, mark):
    model = f"{framework}:{framework}_made.py:{name}"
    code, out, err = compared(model, model, "--input", "2,3,8,8")
    assert (code, out) == (2, "")
    place = f"({desk}/{framework}_made.py:{line_of(mark, framework)})"
    assert err == f"parity: {words.format(framework)} {place}. --verbose shows the traceback\n"


def test_verbose_shows_the_traceback_of_a_users_code(desk):
    model = "torch:torch_made.py:Raises"
    done = run("compare", model, model, "--input", "2,3,8,8", "--verbose", cwd=desk)
    told = done.stdout + done.stderr
    assert "Traceback (most recent call last)" in told
    assert 'raise ValueError("my own\\nerror")  # LINE' in told
    assert "parity: Raises: ValueError: my own error (" in done.stderr


def test_layers_that_are_not_registered_are_the_reason(desk):
    for weights in ("own", "random"):
        arguments = "--input", "2,3,8,8", "--weights", weights
        code, out, err = compared(*pair("Hidden"), *arguments)
        assert (code, out) == (2, "")
        assert "convs is a plain list of layers (Conv2" in err


def test_export_of_a_wrapped_network_says_what_it_took_off_and_sync_batch_norm_is_written(desk):
    done = run("export", "torch:torch_made.py:alone", "-o", "out", "--shape", "3,16,16", cwd=desk)
    assert (done.returncode, done.stderr) == (0, "")
    assert "alone.torch.onnx: note: taken off the network before it was exported: DataParallel\n" in done.stdout
    done = run("export", "paddle:paddle_made.py:alone", "-o", "out", "--shape", "3,16,16", cwd=desk)
    assert (done.returncode, done.stderr) == (0, "")
    assert "alone.paddle.onnx: rounding: " in done.stdout


def test_export_of_a_network_of_two_inputs_is_refused_in_one_line(desk):
    done = run("export", "torch:torch_made.py:Two", "-o", "out", cwd=desk)
    assert done.returncode == 2
    assert done.stderr == (
        "parity: inputs: Two.forward takes (image, ids); 1 given by position. Give one for each, or name them "
        "(parity export takes networks of one input).\n"
    )
