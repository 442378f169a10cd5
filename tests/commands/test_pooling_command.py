"""`parity pooling`: wrong usage, one layer, networks surveyed against networks run for real, figures."""

import json
import sys
from dataclasses import asdict

import numpy as np
import paddle
import pytest
import torch
from program import run

import torch_cnn
from parity.analysis.survey import SizeReport, survey, walk
from parity.backends import paddle_backend, torch_backend
from parity.errors import ParityError
from parity.numerics.pooling import Pool
from parity.reports import pooling_figure


def pooling(*words):
    return run("pooling", *words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "which pooling? Name a network (parity pooling alexnet), or --size and --kernel of one layer"),
        (["--size", 9], "which pooling?"),
        (["--kernel", 9], "which pooling?"),
        (
            ["--size", 9, "--kernel", 0, "--padding", -1],
            "pool: kernel is 0, needs a whole number >= 1 or a pair of them; ",
        ),
        (["--size", "9..12", "--kernel", 3], "--size 9..12: a range is for a network"),
        (["--size", "nine", "--kernel", 3], "--size nine: give a number of pixels, or a range such as 200..260"),
        (["--size", "-3", "--kernel", 3], "--size -3: give a number"),
        (["--size", "٣", "--kernel", 3], "--size ٣: give a number"),
        (["--size", 0, "--kernel", 3], "--size 0: give 1 <= first <= last <= 10000"),
        (["--size", 10**8, "--kernel", 3], "give 1 <= first <= last"),
        (["--size", 9, "--kernel", 10**8], "a window of more than 10000 pixels cannot be drawn"),
        (
            ["--size", 1, "--kernel", 7, "--stride", 1],
            "torch refuses kernel 7, stride 1, padding 0 at length 1: -5 windows",
        ),
        (["alexnet", "--kernel", 3], "alexnet has its own pooling layers"),
        (["alexnet", "--ceil-mode"], "alexnet has its own pooling layers"),
        (["alexnet", "--size", "260..200"], "--size 260..200: give 1 <= first <= last"),
        (["alexnett"], "unknown network 'alexnett'; did you mean alexnet"),
        (["caffe:x.py:f"], "unknown model 'caffe:x.py:f'"),
        (["trace:nowhere"], "trace:nowhere: no such file"),
        (["torch:nowhere.py:build"], "nowhere.py"),
        (["--size", 9, "--kernel", 3, "--json", "nowhere/x.json"], "nowhere/x.json: cannot write: no such folder"),
        (["--size", 9, "--kernel", 3, "--plot", "x.bmp"], "x.bmp: draws .png, .svg, .pdf"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(words, message):
    done = pooling(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("parity: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_trace_is_of_one_size(tmp_path):
    (tmp_path / "a.trace").touch()
    assert "a trace has one size" in pooling(f"trace:{tmp_path}/a.trace").stderr
    assert "an ONNX file has no layers to call" in pooling(f"onnx:{tmp_path}/a.trace").stderr


def test_no_matplotlib_is_said_before_the_work(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    done = pooling("--size", 9, "--kernel", 3, "--plot", tmp_path / "x.png")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--plot needs matplotlib: pip install matplotlib" in done.stderr


def test_a_network_that_refuses_every_size_proves_nothing():
    done = pooling("lenet5", "--size", "40..42")
    assert done.returncode == 2
    assert "lenet5: takes no size of 40..42; at 42: classifier.0: Linear takes 256 features" in done.stderr


def test_one_layer_at_112():
    done = pooling("--size", 112, "--kernel", 3, "--stride", 2, "--padding", 1)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0] == "length 112, kernel 3, stride 2, padding 1"
    assert lines[2].split() == ["torch", "paddle", "onnx"]
    assert lines[3].split() == ["floor", "56", "56", "56", "<-", "this", "layer"]
    assert lines[4].split() == ["ceil", "57", "57", "57"]
    assert "warning" not in done.stdout
    assert "Paddle and torch never differ" in done.stdout


def test_where_they_part_it_warns_and_exits_1(tmp_path):
    words = "--size", 28, "--kernel", 3, "--stride", 5, "--padding", 1
    done = pooling(*words, "--ceil-mode", "--include-pad", "--json", tmp_path / "x.json")
    assert done.returncode == 1
    assert "29..31                                 ---  paddle only" in done.stdout
    assert "warning: the frameworks differ here, windows: torch 6, paddle 7, onnx 6." in done.stdout
    assert "its maximum is -3.4e+38, its average nan" in done.stdout  # 29 to 28, padding counted: nothing over 0
    assert "lengths 2, 3, 4 modulo 5" in done.stdout
    found = json.loads((tmp_path / "x.json").read_text())
    assert found["windows"]["ceil"] == {"torch": 6, "paddle": 7, "onnx": 6}
    assert found["pool"] == asdict(Pool(3, 5, 1, ceil_mode=True, include_pad=True))
    done = pooling(*words)
    assert done.returncode == 0
    assert "warning: with ceil_mode the frameworks differ here." in done.stdout


def test_a_layer_that_torch_alone_refuses():
    done = pooling("--size", 3, "--kernel", 5, "--stride", 3)
    assert done.returncode == 1
    assert "torch refuses kernel 5, stride 3, padding 0 at length 3: 0 windows" in done.stdout
    assert "windows: torch refused, paddle 1, onnx 1" in done.stdout


def chain(nn, conv, pool, average, adaptive, **more):
    return nn.Sequential(
        conv(3, 4, 3, padding=1, **more),
        pool(2, 2, 1, ceil_mode=True),
        nn.ReLU(),
        average(3, ceil_mode=True, padding=1),
        conv(4, 4, 1),
        pool(3, 2, 1),
        adaptive(1),
        nn.Flatten(),
        nn.Linear(4, 2),
    ).eval()


def torch_chain():
    nn = torch.nn
    return chain(nn, nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)


def paddle_chain():
    nn = paddle.nn
    network = chain(nn, nn.Conv2D, nn.MaxPool2D, nn.AvgPool2D, nn.AdaptiveAvgPool2D)
    network.eval()
    return network


def real_windows(network, layers, make, size):
    """Return what the pooling layers of a network run for real put out."""
    found, hooks = [], []
    for name, layer in layers:
        if "Pool" in type(layer).__name__ and "Adaptive" not in type(layer).__name__:
            register = getattr(layer, "register_forward_hook", None) or layer.register_forward_post_hook
            hooks.append(register(lambda _, __, output, name=name: found.append((name, tuple(output.shape[2:])))))
    network(make(np.zeros((1, 3, size, size), np.float32)))
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("size", range(20, 33))
def test_a_walk_is_what_each_framework_does(size):
    """Under both rules, from either framework's network: the shapes of the real run, without it."""
    networks = {"torch": (torch_backend, torch_chain()), "paddle": (paddle_backend, paddle_chain())}
    real = {
        "torch": real_windows(networks["torch"][1], networks["torch"][1].named_modules(), torch.tensor, size),
        "paddle": real_windows(networks["paddle"][1], networks["paddle"][1].named_sublayers(), paddle.to_tensor, size),
    }
    for backend, network in networks.values():
        for rule in ("torch", "paddle"):
            steps, refusal = walk(backend, network, (1, 3, size, size), rule)
            assert refusal is None
            assert [(step.layer, step.windows) for step in steps] == real[rule]
        (found,) = survey(backend, network, None, [size])
        gaps = [ours[0] for ours, theirs in zip(real["torch"], real["paddle"], strict=True) if ours != theirs]
        assert list(found.parts) == gaps
        assert found.differs == bool(gaps)


@pytest.mark.parametrize("name", ["alexnet", "googlenet", "densenet_cifar_40_12", "regnet_x_400mf"])
def test_a_network_of_the_zoo_is_walked_as_it_runs(name):
    size = 67
    network = torch_cnn.build(name).eval()
    steps, refusal = walk(torch_backend, network, (1, 3, size, size), "torch")
    assert refusal is None
    assert [(step.layer, step.windows) for step in steps] == real_windows(
        network, network.named_modules(), torch.tensor, size
    )


def test_a_survey_leaves_the_network_as_it_was():
    network = torch_chain().train()
    before = [dict(layer.__dict__) for layer in network.modules()]
    list(survey(torch_backend, network, 3, [9, 1]))
    assert [dict(layer.__dict__) for layer in network.modules()] == before


def test_a_layer_called_again_and_one_with_indices():
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.pool = torch.nn.MaxPool2d(2, return_indices=True)

        def forward(self, x):
            return self.pool(self.pool(x)[0])[0]

    steps, refusal = walk(torch_backend, Twice(), (1, 1, 10, 9), "torch")
    assert refusal is None
    assert [(step.layer, step.size, step.windows) for step in steps] == [
        ("pool", (10, 9), (5, 4)),
        ("pool (call 2)", (5, 4), (2, 2)),
    ]


def test_branches_that_no_longer_fit_are_a_refusal():
    class Forked(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = torch.nn.MaxPool2d(2), torch.nn.MaxPool2d(2, ceil_mode=True)

        def forward(self, x):
            return self.one(x) + self.two(x)

    even, odd = survey(torch_backend, Forked(), 3, [8, 9])
    assert even == SizeReport(8, ("one", "two"), (), (), {})
    assert odd.rounds == ("one", "two")
    assert set(odd.refused) == {"torch", "paddle"}
    assert odd.refused["torch"][0] == "RuntimeError"


def test_alexnet_by_size(tmp_path):
    """The published size is the one at which rounding never matters."""
    done = pooling("alexnet", "--size", "221..229", "--json", tmp_path / "x.json", "--plot", tmp_path / "x.png")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "alexnet: 3 pooling layers (torch), input sizes 221..229",
        "  224, as published: same",
        "  floor and ceil differ at features.2, features.5, features.12: 221..222",
        "  same: 223..226",
        "  floor and ceil differ at features.2: 227..229",
    ]
    found = json.loads((tmp_path / "x.json").read_text())
    assert [each["size"] for each in found["findings"]] == list(range(221, 230))
    assert found["findings"][3]["rounds"] == []
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_a_network_that_differs_exits_1(tmp_path):
    source = tmp_path / "net.py"
    source.write_text(
        "from torch import nn\n\n\ndef build():\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2, 2, 1, ceil_mode=True), nn.MaxPool2d(2))\n"
    )
    done = pooling(f"torch:{source}:build", "--size", "8..11")
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    assert lines[1:4] == [
        "  same: 8",
        "  torch and Paddle differ at 1: 9",
        "  floor and ceil differ at 2: 10",
    ]
    assert lines[-1].startswith("warning: torch and Paddle differ at 2 of 4 sizes. paddle_cnn.pooling has")


@pytest.mark.parametrize("window", [Pool(3, 5, 1, ceil_mode=True), Pool(5, 3), Pool(3, 2, 1, 2)])
def test_a_layer_is_drawn_whoever_refuses_it(window, tmp_path):
    path = tmp_path / "x.svg"
    for size in (7, 3, 28):
        pooling_figure.window(size, window, path)
        assert b"<svg" in path.read_bytes()


def test_what_nobody_places_cannot_be_drawn(tmp_path):
    with pytest.raises(ParityError, match="places a window"):
        pooling_figure.window(3, Pool(7, 1), tmp_path / "x.png")


def test_a_network_without_pooling_cannot_be_drawn(tmp_path):
    with pytest.raises(ParityError, match="has no pooling layer to draw"):
        pooling_figure.survey("x", [SizeReport(9, (), (), (), {})], None, tmp_path / "x.png")
