"""`parity lint`: every trap it knows, planted in either framework; and the zoo, where nothing is wrong."""

import json

import paddle
import pytest
import torch
from program import run

from parity.analysis.lint import lint
from parity.analysis.traps import TRAPS
from parity.backends import paddle_backend, torch_backend
from parity.processes.models import Model
from parity.processes.pool import Options, Workers
from parity.processes.questions import describe_models
from parity.zoo import NETWORKS

T, P = torch.nn, paddle.nn


def found(network):
    """Return (layer, row, setting, level) of each finding."""
    backend = torch_backend if isinstance(network, torch.nn.Module) else paddle_backend
    layers = [(name, *backend.describe(layer)) for name, layer in backend.layers(network)]
    return [(finding.layer, finding.link.partition("#")[2], finding.trap, finding.level) for finding in lint(layers)]


def adaptive_notes():
    """Return what is said of adaptive average pooling: lint knows neither the map nor whether its size stays open."""
    return dict.fromkeys(("adaptive-uneven", "adaptive-dynamic", "adaptive-dynamic-paddle"), "note")


PLANTED = [
    (
        lambda: T.MaxPool2d(2, 5, 1, ceil_mode=True),
        "pool-ceil",
        "ceil_mode=True, input height 1 or 2 or 3 or 4 modulo 5",
    ),
    (
        lambda: P.AvgPool2D(2, 3, ceil_mode=True),
        "pool-ceil",
        "ceil_mode=True, input height 0 modulo 3, width 0 modulo 3",
    ),
    (lambda: P.MaxPool2D((3, 2), (2, 4), ceil_mode=True), "pool-ceil", "width 0 or 3 modulo 4"),
    (lambda: T.AvgPool2d(3, padding=1), "avg-pool-default", "padding=[1, 1], count_include_pad=True"),
    (lambda: P.AvgPool2D(3, padding=1), "avg-pool-default", "padding=[1, 1], count_include_pad=False"),
    (lambda: T.AvgPool2d(3, divisor_override=4), "avg-pool-divisor", "divisor_override=4"),
    (lambda: P.AvgPool2D(3, padding=[0, 1, 0, 1], exclusive=False), "avg-pool-four-paddings", "padding=[0, 1, 0, 1]"),
    (lambda: P.Conv2D(2, 3, 3, padding=[0, 1, 0, 1]), "conv-four-paddings", "padding=[0, 1, 0, 1]"),
    (lambda: P.Conv2D(2, 3, 3, 2, padding="SAME"), "conv-same-stride", "padding='same', stride=[2, 2]"),
    (lambda: T.Conv2d(2, 3, 3, padding="same", dilation=2), "conv-same-dilation", "padding='same', dilation=[2, 2]"),
    (lambda: P.Conv2D(2, 3, 3, padding="same", dilation=2), "conv-same-dilation", "padding='same', dilation=[2, 2]"),
    (lambda: T.Conv2d(2, 3, 3, padding=(1, 2), padding_mode="reflect"), "conv-padding-mode-pair", "'reflect'"),
    (lambda: T.MaxPool2d(3, dilation=2), "max-pool-dilation", "dilation=[2, 2]"),
    (lambda: P.MaxPool2D(2, padding=2), "pool-wide-padding", "padding=[2, 2], kernel_size=[2, 2]"),
    (lambda: T.BatchNorm2d(3, track_running_stats=False), "bn-batch-statistics", "track_running_stats=False"),
    (lambda: P.BatchNorm2D(3, use_global_stats=False), "bn-batch-statistics", "use_global_stats=False"),
    (lambda: P.BatchNorm2D(3, use_global_stats=True), "bn-global-statistics", "use_global_stats=True"),
    (lambda: T.BatchNorm2d(3, momentum=None), "bn-no-momentum", "momentum=None"),
    (lambda: T.BatchNorm2d(3, eps=0), "bn-no-eps", "eps=0"),
    (lambda: T.LayerNorm(3, eps=0.01), "layer-norm-eps", "eps=0.01"),
    (lambda: T.InstanceNorm2d(3), "instance-norm-affine", "affine=False"),
    (lambda: P.InstanceNorm2D(3), "instance-norm-affine", "affine=True"),
    (lambda: P.Dropout(0.2, mode="downscale_in_infer"), "dropout-mode", "mode downscale_in_infer"),
    (lambda: T.Softmax(), "softmax-axis", "dim=None"),
    (lambda: T.LogSoftmax(1), "softmax-clip", ""),
    (lambda: P.Softmax(), "softmax-nan", "dim=-1"),
    (lambda: P.Upsample([4, 4], mode="bilinear", align_mode=1), "interpolate-align-mode", "align_mode=1"),
]


@pytest.mark.parametrize("make, row, setting", PLANTED, ids=[f"{i}-{row}" for i, (_, row, _) in enumerate(PLANTED)])
def test_trap_is_seen(make, row, setting):
    layer = make()
    container = T.Sequential if isinstance(layer, torch.nn.Module) else P.Sequential
    assert any(name == "0" and here == row and setting in said for name, here, said, _ in found(container(layer)))


def test_every_trap_is_planted():
    assert {trap.row for trap in TRAPS} == {row for _, row, _ in PLANTED}


@pytest.mark.parametrize(
    "make, expected",
    [  # row: level; what the exporters do is planted in test_exporter_faults.py
        (lambda: P.LeakyReLU(0.2), {"leaky-relu": "note"}),
        (lambda: T.Hardtanh(-2, 2), {"hardtanh": "warning"}),
        (lambda: T.Softplus(2), {"softplus-set": "warning"}),
        (lambda: T.Softplus(), {"softplus": "note"}),
        (lambda: P.AdaptiveAvgPool2D(3), adaptive_notes()),
        (lambda: P.LogSoftmax(1), {"softmax-clip": "warning", "log-softmax": "note"}),
        (lambda: T.AvgPool2d(2, divisor_override=3), {"avg-pool-divisor": "warning", "divisor-override": "warning"}),
        (lambda: P.Pad2D(1, mode="circular"), {"circular": "note"}),
    ],
)
def test_only_what_export_refuses_for_sure_is_a_warning(make, expected):
    assert {row: level for _, row, _, level in found(make())} == expected


def test_a_note_says_what_export_does():
    said = {row: str(each) for each in lint([("a", "LeakyReLU", {"negative_slope": 0.1})]) for row in [each.level]}
    assert said["note"].startswith("note: a: LeakyReLU: negative_slope=0.1: paddle2onnx writes a random slope; ")
    assert "`parity export` fixes this; elsewhere use maximum" in said["note"]
    (warning,) = lint([("a", "CELU", {})])
    assert "`parity export` refuses it; " in str(warning)
    assert str(warning).startswith("a: CELU: paddle2onnx")


@pytest.mark.parametrize(
    "make",
    [
        lambda: T.MaxPool2d(3, 2, ceil_mode=True),
        lambda: P.MaxPool2D(3, 2, 1, ceil_mode=True),
        lambda: P.MaxPool2D(2, 5, 1),
        lambda: T.AvgPool2d(3, 2),
        lambda: T.Conv2d(2, 3, 3, padding="same"),
        lambda: P.Conv2D(2, 3, 3, 2, 2, 2, padding_mode="reflect"),
        lambda: P.Conv2D(2, 3, 3, padding="VALID"),
        lambda: P.BatchNorm2D(3),
        lambda: T.LayerNorm(3),
        lambda: P.Dropout(0.5),
        lambda: P.Dropout(0, mode="downscale_in_infer"),
        lambda: T.Softmax(1),
        lambda: T.Upsample((4, 4)),
        lambda: P.Pad2D(1, mode="reflect"),
        lambda: T.Hardtanh(),
        lambda: T.ReLU6(),
        lambda: P.GELU(),
        lambda: P.AdaptiveAvgPool2D(1),
        lambda: T.AdaptiveAvgPool2d((1, 1)),
        lambda: P.AdaptiveMaxPool2D((None, 1)),
    ],
)
def test_right_layers_pass(make):
    assert found(make()) == []


@pytest.fixture(scope="module")
def workers():
    with Workers(Options()) as started:
        yield started


def adaptive(name):
    """Return what is noted of a network of the zoo: the exporters cannot leave height and width of these open."""
    size = {"alexnet": 6}.get(name, 7 if "vgg" in name and "d2l" not in name else None)
    return {("avgpool", row, level) for row, level in adaptive_notes().items()} if size else set()


SMALL = [name for name, row in NETWORKS.items() if row.parameters < 12e6 or name == "alexnet"]


@pytest.mark.parametrize("name", [n if n in SMALL else pytest.param(n, marks=pytest.mark.zoo) for n in NETWORKS])
def test_zoo_gives_no_false_alarm(name, workers):
    for layers in describe_models([Model("torch", name), Model("paddle", name)], workers):
        assert len(layers) > 8
        assert {(each.layer, each.link.partition("#")[2], each.level) for each in lint(layers)} == adaptive(name)


def test_googlenet_has_the_pools_that_never_part():
    import torch_cnn

    pools = [layer for layer in torch_cnn.build("googlenet").modules() if isinstance(layer, T.MaxPool2d)]
    assert sum(pool.ceil_mode for pool in pools) >= 4


NETWORK = """
from paddle import nn

def net():
    return nn.Sequential(
        nn.Conv2D(3, 4, 3),
        nn.LeakyReLU(0.1),
        nn.MaxPool2D(2, 3, ceil_mode=True),
        nn.Dropout(0.5, mode="downscale_in_infer"),
    )

def right():
    return nn.Sequential(nn.Conv2D(3, 4, 3), nn.ReLU())

def fixed():
    return nn.Sequential(nn.Conv2D(3, 4, 3), nn.LeakyReLU(0.1))
"""


def parity(*words, folder):
    done = run("lint", *words, cwd=folder)
    return done.returncode, done.stdout, done.stderr


def test_command_line(tmp_path):
    (tmp_path / "net.py").write_text(NETWORK)
    code, said, _ = parity("paddle:net.py:net", "--json", "found.json", folder=tmp_path)
    lines = said.splitlines()
    assert code == 0
    assert [line.split(": ")[:3] for line in lines[:3]] == [
        ["note", "1", "LeakyReLU"],
        ["2", "MaxPool2d", "ceil_mode=True, input height 0 modulo 3, width 0 modulo 3"],
        ["3", "Dropout", "mode downscale_in_infer"],
    ]
    assert lines[1].endswith("[docs/differences.md#pool-ceil]")
    assert lines[3] == "paddle:net.py:net: 5 layers read: 2 to look at, 1 note (--input reads functions too)."
    report = json.loads((tmp_path / "found.json").read_text())
    assert (report["schema"], report["network"], report["layers"]) == (1, "paddle:net.py:net", 5)
    assert [finding["layer"] for finding in report["findings"]] == ["1", "2", "3"]
    assert [finding["level"] for finding in report["findings"]] == ["note", "warning", "warning"]


def test_strict_ends_with_1_only_if_there_is_something(tmp_path):
    (tmp_path / "net.py").write_text(NETWORK)
    assert parity("paddle:net.py:net", "--strict", folder=tmp_path)[0] == 1
    assert parity("paddle:net.py:right", "--strict", folder=tmp_path)[:2] == (
        0,
        "paddle:net.py:right: 3 layers read: no known trap (--input reads functions too).\n",
    )
    code, said, _ = parity("paddle:net.py:fixed", "--strict", folder=tmp_path)
    assert code == 0  # a note is nothing to stop at
    assert said.endswith("paddle:net.py:fixed: 3 layers read: no known trap, 1 note (--input reads functions too).\n")


@pytest.mark.parametrize(
    "spec, said",
    [("resnet5", "did you mean"), ("paddle:no.py:net", "FileNotFoundError"), ("trace:x.trace", "no such file")],
)
def test_what_cannot_be_read_ends_with_2(spec, said, tmp_path):
    code, out, err = parity(spec, folder=tmp_path)
    assert (code, out) == (2, "")
    assert said in err


def test_functions_are_read_where_an_input_is_given(tmp_path):
    (tmp_path / "net.py").write_text(
        "from paddle import nn\nimport paddle.nn.functional as F\n"
        "class Net(nn.Layer):\n    def forward(self, x):\n        return F.avg_pool2d(x, 3, 2, 1)\n"
    )
    code, said, _ = parity("paddle:net.py:Net", "--input", "1,3,8,8", folder=tmp_path)
    assert code == 0
    warning, result = said.splitlines()
    assert warning.startswith("avg_pool2d(): AvgPool2d: padding=[1, 1], count_include_pad=False: torch counts")
    assert result == "paddle:net.py:Net: 1 layers and 1 function call read: 1 to look at."
