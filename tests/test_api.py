"""The public functions: wrong words are one ParityError, live networks stay as they were, and README's examples run."""

import re
import shutil
from pathlib import Path

import numpy as np
import paddle
import pytest
import torch
from PIL import Image
from torch import nn

import parity
from parity import ParityError
from parity.analysis.summary import Summary
from parity.deploy.classify import Predictions

ROOT = Path(parity.__file__).parents[1]


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.pool, self.flat = nn.AdaptiveAvgPool2d(1), nn.Flatten()

    def forward(self, image):
        return self.flat(self.pool(self.norm(self.conv(image))))


def small_paddle():
    pd = paddle.nn
    return pd.Sequential(pd.Conv2D(3, 4, 3), pd.BatchNorm2D(4), pd.AdaptiveAvgPool2D(1), pd.Flatten())


# Must be refused


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda folder: parity.export(Small(), folder, weights="random"), "a live network has its weights"),
        (lambda folder: parity.export(Small(), folder, num_classes=3), "a live network has its weights"),
        (lambda folder: parity.export(Small(), folder, shape=(3, 8)), "shape (3, 8): C,H,W"),
        (lambda folder: parity.export(Small(), folder, name="a/b", shape=(3, 8, 8)), "--name a/b: the start of a file"),
        (lambda folder: parity.export("resnet19", folder), "unknown network 'resnet19'; did you mean resnet18"),
        (lambda folder: parity.export(3, folder), "int is neither a torch.nn.Module nor a paddle.nn.Layer"),
        (lambda folder: parity.export(Small(), folder, shape=(3, 8, 8), mean="x"), "--mean: 'x'"),
        (lambda folder: parity.export(Small(), folder, shape=(3, 2, 2)), "conv"),
        (lambda folder: parity.summary(Small(), (3, 8, 8)), "a shape is N,C,H,W"),
        (lambda folder: parity.summary(Small(), (1, 3, 2, 2)), "conv"),
        (lambda folder: parity.summary(Small(), num_classes=3), "num_classes is for networks of the zoo"),
        (lambda folder: parity.summary("onnx:" + str(ROOT / "README.md")), "an ONNX file has no layers to call"),
        (lambda folder: parity.lint("resnet19"), "unknown network 'resnet19'"),
        (lambda folder: parity.lint(object()), "object is neither"),
        (lambda folder: parity.predict(folder / "x.onnx", ROOT / "parity" / "astronaut.png"), "no such file"),
        (lambda folder: parity.predict(folder / "x.onnx", []), "none was given"),
        (lambda folder: parity.predict(folder / "x.onnx", "a.png", top=0), "each at least 1"),
        (lambda folder: parity.read_weights(folder / "x.pth"), "no such file"),
    ],
)
def test_wrong_words_are_one_line(call, message, tmp_path):
    with pytest.raises(ParityError) as error:
        call(tmp_path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


# What a user gets


@pytest.mark.parametrize("build", [Small, small_paddle])
def test_a_live_network_is_exported_and_stays_as_it_was(build, tmp_path):
    network = build()
    network.train()
    before = {name: np.array(tensor.numpy()) for name, tensor in network.state_dict().items()}
    threads = torch.get_num_threads()
    (file,) = parity.export(network, tmp_path, name="mine", shape=(3, 9, 8), mean=0.5, std=0.25, channels="bgr")
    assert (file.ok, file.path.name) == (True, f"mine.{file.backend}.onnx")
    assert file.path.is_file()
    assert network.training
    assert torch.get_num_threads() == threads
    after = network.state_dict()
    assert list(after) == list(before)
    assert all((np.array(after[name].numpy()) == array).all() for name, array in before.items())
    network.eval()
    Image.effect_noise((20, 18), 60).convert("RGB").save(tmp_path / "a.png")
    found = parity.predict(file.path, tmp_path / "a.png", labels=list("abcd"), top=4)
    assert isinstance(found, Predictions)
    assert found.preparation.startswith("BGR, 0..1, mean 0.5, std 0.25; ")
    assert found.preparation.endswith("9x8 cut from the middle; from the file's metadata")
    assert sum(guess.probability for guess in found.pictures[0].classes) == pytest.approx(1)


def test_a_summary_is_the_same_live_and_by_name_of_either_framework(tmp_path):
    shape = (1, 3, 16, 16)
    live, other = parity.summary(Small(), shape), parity.summary(small_paddle(), "1,3,16,16")
    assert isinstance(live, Summary)
    assert (live.parameters, live.macs, live.output) == (other.parameters, other.macs, other.output)
    by_name = parity.summary("lenet5")
    assert (by_name.parameters, by_name.macs) == (44426, 281640)
    assert len(parity.summary("lenet5", depth=1).rows) < len(by_name.rows)


def test_lint_finds_the_same_live_as_by_name(tmp_path):
    code = "from torch import nn\ndef build():\n    return nn.Sequential(nn.AvgPool2d(3, 2, 1))\n"
    (tmp_path / "net.py").write_text(code)
    (found,) = parity.lint(nn.Sequential(nn.AvgPool2d(3, 2, 1)))
    assert (found.level, found.layer) == ("warning", "0")
    assert parity.lint(f"torch:{tmp_path / 'net.py'}:build") == (found,)
    assert parity.lint(Small()) == ()


def test_weights_are_read_under_their_own_names(tmp_path):
    network, theirs = Small(), small_paddle()
    torch.save(network.state_dict(), tmp_path / "a.pth")
    paddle.save(theirs.state_dict(), str(tmp_path / "a.pdparams"))
    state = parity.read_weights(tmp_path / "a.pth")
    assert (state["conv.weight"] == network.conv.weight.detach().numpy()).all()
    state = parity.read_weights(str(tmp_path / "a.pdparams"))
    assert (state["0.weight"] == theirs[0].weight.numpy()).all()


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md", "docs/python-api.md"])
def test_the_examples_of_a_page_run_and_show_every_function(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    shutil.copy(ROOT / "parity" / "astronaut.png", tmp_path / "pictures" / "cat.jpg")
    torch.save(Small().state_dict(), "weights.pth")
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.M | re.S)
    assert len(blocks) >= 2
    names = {"torch_model": Small().eval(), "paddle_layer": small_paddle(), "image": np.ones((1, 3, 8, 8), np.float32)}
    for block in blocks:
        if "paddle_layer" in block:  # of other names than torch's: the same network twice shows the call
            names["paddle_layer"] = Small().eval()
        exec(compile(block, page, "exec"), names)
    assert {name for name in parity.__all__ if name.islower()} <= set(re.findall(r"\w+", "\n".join(blocks)))


def test_live_networks_are_taken_out_of_their_wrappers_and_functions_are_read_with_an_input():
    class Pooled(torch.nn.Module):
        def forward(self, x):
            return torch.nn.functional.avg_pool2d(x, 3, 2, 1)

    wrapped = torch.nn.DataParallel(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), Pooled()))
    assert next(row.layer for row in parity.summary(wrapped, (1, 3, 8, 8)).rows) == "0"
    assert parity.lint(wrapped) == ()
    (finding,) = parity.lint(wrapped, (1, 3, 8, 8))
    assert finding.layer == "1.avg_pool2d()"
    with pytest.raises(ParityError, match="takes 3 channels"):
        parity.lint(wrapped, "1,4,8,8")
