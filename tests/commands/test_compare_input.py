"""`parity compare` on bad input: one line that says what is wrong, and nothing left behind."""

import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from program import HERE, PADDLE, SMALL, TORCH, listing, run, script
from safetensors.numpy import save_file
from torch_nets import net, wave

from parity.weights.pdparams import write_pdparams


@pytest.fixture
def desk(tmp_path):
    """A folder with the files a user may get wrong, and a folder for temporary files beside it."""
    folder, scratch = tmp_path / "desk", tmp_path / "scratch"
    folder.mkdir()
    scratch.mkdir()
    (folder / "text.png").write_text("no picture")
    (folder / "folder.png").mkdir()
    np.save(folder / "four.npy", np.ones((1, 4, 64, 64), np.float32))
    np.save(folder / "none.npy", np.ones((0, 3, 64, 64), np.float32))
    np.save(folder / "objects.npy", np.array([{"a": 1}], dtype=object))
    np.save(folder / "good.npy", np.ones((1, 3, 64, 64), np.float32))
    (folder / "cut.npy").write_bytes((folder / "good.npy").read_bytes()[:5000])
    (folder / "header.npy").write_bytes((folder / "good.npy").read_bytes().replace(b"64, 64)", b"64, 64 "))
    os.mkfifo(folder / "pipe")
    return folder


def refused(desk, *arguments, **more):
    """Run what must fail; return its one line on stderr."""
    before = listing(desk)
    done = run("compare", *arguments, cwd=desk, TMPDIR=str(desk.with_name("scratch")), **more)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("parity: ")
    assert listing(desk) == before
    assert listing(desk.with_name("scratch")) == set()
    return done.stderr.removeprefix("parity: ").removesuffix("\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["resnet19"], r"unknown network 'resnet19'; did you mean resnet18"),
        (["torch:resnet5", "paddle:resnet50"], r"unknown network 'resnet5'; did you mean resnet50"),
        (["jax:resnet18", "paddle:resnet18"], r"unknown model 'jax:resnet18'; did you mean .* A model is a zoo name"),
        (["torch:resnet18"], r"torch:resnet18: compare it with what\?"),
        (["resnet18", "paddle:resnet18"], r"resnet18 names both twins already"),
        (["trace:gone.safetensors", "paddle:resnet18"], r"trace:gone\.safetensors: no such file"),
        (["resnet18", "--input", "gone.png"], r"--input gone\.png: No such file"),
        (["resnet18", "--input", "text.png"], r"--input text\.png: not a picture that can be read; give a JPEG or PNG"),
        (["resnet18", "--input", "folder.png"], r"--input folder\.png: Is a directory"),
        (["resnet18", "--input", "1,4,64,64"], r"--input 1,4,64,64: 4 channels .* the network takes 3"),
        (["resnet18", "--input", "four.npy"], r"--input four\.npy: 4 channels .* the network takes 3"),
        (["resnet18", "--input", "0,3,64,64"], r"--input 0,3,64,64: a shape is N,C,H,W, each at least 1"),
        (["resnet18", "--input", "none.npy"], r"--input none\.npy: .* a batch needs at least one image"),
        (["resnet18", "--input", "1,3,9000000,9000000"], r"--input 1,3,9000000,9000000: too large for this machine"),
        (["resnet18", "--input", "objects.npy"], r"--input objects\.npy: not a \.npy file of numbers"),
        (["resnet18", "--input", "cut.npy"], r"--input cut\.npy: not a \.npy file of numbers"),
        (["resnet18", "--input", "header.npy"], r"--input header\.npy: not a \.npy file of numbers"),
        (["resnet18", "--json", "gone/out.json"], r"gone/out\.json: cannot write: no such folder"),
        (["resnet18", "--json", "pipe"], r"pipe: cannot write: it is not a file"),
        (["resnet18", "--json", "folder.png"], r"folder\.png: cannot write: it is a folder"),
        (["resnet18", "--weights", "gone.safetensors"], r"gone\.safetensors: no such file"),
        (["resnet18", "--weights", "weights.ckpt"], r"weights\.ckpt: no such file"),
        (["resnet18", "--torch-python", "gone"], r"--torch-python gone: cannot start it: No such file"),
    ],
)
def test_bad_input_is_one_line(desk, arguments, words):
    outputs = [] if "--json" in arguments else ["--json", "out.json"]
    assert re.match(words, refused(desk, *arguments, *outputs))


def test_a_wrong_option_is_a_wrong_usage():
    for arguments in (["resnet18", "--device", "tpu"], ["resnet18", "--seed", "-1"], ["resnet18", "--no-such"]):
        done = run("compare", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("Usage: parity compare")


def test_an_image_too_small_for_a_layer(desk, recorded):
    outputs = ("--json", "out.json", "--save-trace", "traces")
    line = refused(desk, recorded[0], f"{PADDLE}:wide", "--input", "1,3,4,4", *outputs)
    assert line == "0: Conv2d: a window of 7x7 does not fit its input of 4x4 (padding 0x0). Use a larger image."


def test_a_wrong_number_of_channels_for_a_users_network(desk, recorded):
    line = refused(desk, recorded[0], f"{PADDLE}:net", "--input", "four.npy")
    assert line == "conv: Conv2d takes 3 channels, its input's shape is (1, 4, 64, 64)."


def test_weights_of_another_network_are_all_named(desk, recorded):
    weights = {"conv.weight": wave((4, 3, 5, 5)), "head.weight": wave((4, 4))}
    save_file(weights, desk / "other.safetensors")
    lines = refused(desk, recorded[0], f"{PADDLE}:net", *SMALL, "--weights", "other.safetensors")
    first, *others = lines.split("\n")
    assert first.startswith(f"{desk}/other.safetensors: net: the weights do not fit; is it another network")
    found = [line.strip() for line in others]
    assert found == sorted(found)
    assert "conv.weight: shape differs: paddle=(4, 3, 3, 3), weights=(4, 3, 5, 5)" in found
    assert "head.weight: unexpected, the network has no such tensor" in found
    assert "fc.bias: missing from the weights, shape (4,)" in found


@pytest.mark.parametrize("ending", ["safetensors", "pdparams", "pth"])
def test_truncated_weights(desk, recorded, ending):
    path = desk / f"weights.{ending}"
    if ending == "pth":
        torch.save(net().state_dict(), path)
    else:
        write = {"safetensors": save_file, "pdparams": write_pdparams}[ending]
        write({"conv.weight": wave((4, 3, 3, 3))}, path)
    path.write_bytes(path.read_bytes()[:-40])
    model = f"{TORCH}:net" if ending == "pth" else f"{PADDLE}:net"
    line = refused(desk, recorded[0], model, *SMALL, "--weights", path.name, "--save-trace", "traces")
    assert path.name in line
    assert "\n" not in line


@pytest.mark.parametrize(("backend", "model"), [("torch", TORCH), ("paddle", PADDLE)])
def test_a_gpu_that_is_not_there(desk, recorded, backend, model):
    line = refused(desk, recorded[0], f"{model}:net", *SMALL, "--device", "gpu", CUDA_VISIBLE_DEVICES="")
    assert re.match(rf"--device gpu: {backend} \S+ \(.*\) sees no GPU\. .*use --device cpu\.", line)


def test_an_interpreter_without_torch(desk, recorded, tmp_path):
    packages = tmp_path / "packages"
    packages.mkdir()
    site = Path(np.__file__).parents[1]
    for name in ("numpy", "numpy.libs", "safetensors"):
        (packages / name).symlink_to(site / name)
    python = script(tmp_path / "python", f'PYTHONPATH={packages} exec {sys.executable} -S "$@"')
    line = refused(desk, recorded[0], f"{TORCH}:net", *SMALL, "--torch-python", python)
    assert line.endswith("cannot import the torch backend: ModuleNotFoundError: No module named 'torch'")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("misbehaving.py:gone", "AttributeError: module 'misbehaving' has no attribute 'gone'"),
        ("misbehaving.py:makes_a_number", "returned an object of type int, which is not a network"),
        ("misbehaving.py:raises_over_three_lines", "ValueError: one two three (misbehaving.py:"),
    ],
)
def test_a_callable_that_makes_no_network(desk, recorded, spec, words):
    shutil.copy(HERE / "misbehaving.py", desk)
    line = refused(desk, recorded[0], f"paddle:{spec}", *SMALL)
    assert line.replace(f"{desk}/", "").startswith(f"paddle:{spec}: {words}")
