"""Files of open height and width: refused where no size will do, proved at multiples where the network takes those."""

import numpy as np
import onnxruntime
import pytest
from program import run

from parity.deploy.export import Request, export_models, other_sizes
from parity.errors import ParityError
from parity.processes.models import parse_export
from parity.processes.pool import Options, Workers

NETWORKS = """
import torch
from torch import nn

class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.pool, self.up, self.out = nn.MaxPool2d(4), nn.ConvTranspose2d(4, 4, 4, stride=4), nn.Conv2d(8, 2, 1)
    def forward(self, image):
        a = self.a(image)
        return self.out(torch.cat([a, self.up(self.b(self.pool(a)))], 1))

def unet():
    torch.manual_seed(0)
    return UNet().eval()

def down():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.PixelUnshuffle(2), nn.Conv2d(8, 2, 1)).eval()

def fixed():
    return nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.Flatten(), nn.Linear(512, 3)).eval()
"""


@pytest.fixture(scope="module")
def workers():
    with Workers(Options(device="cpu", weights="own")) as alive:
        yield alive


@pytest.fixture
def export(workers, tmp_path):
    (tmp_path / "nets.py").write_text(NETWORKS)

    def exported(network, **wanted):
        name, models = parse_export(f"torch:{tmp_path}/nets.py:{network}", None)
        request = Request(tmp_path, (3, 16, 16), dynamic_size=True, **wanted)
        (file,) = export_models(name, models, request, workers.options, workers)
        return file

    return exported


def test_a_network_of_one_size_is_refused_with_the_way_out(export, tmp_path):
    with pytest.raises(ParityError, match=r"at \(49, 38\), and at multiples of 2 to 64: .*--probe H,W"):
        export("fixed")
    assert not list(tmp_path.glob("*.onnx"))


def test_a_size_that_is_named_and_that_the_network_does_not_take_is_refused(export):
    with pytest.raises(ParityError, match=r"--probe 18,20: "):
        export("unet", probes=((18, 20),))


@pytest.mark.parametrize(("network", "multiple"), [("unet", 4), ("down", 2)])
def test_a_network_that_takes_multiples_is_proved_at_multiples(network, multiple, export):
    file = export(network)
    assert file.ok, file.reason
    assert f"height and width are free, in multiples of {multiple}: proved at 16 x 16 and " in file.notes[-1]
    image = np.random.default_rng(0).standard_normal((1, 3, 24, 40)).astype(np.float32)
    (logits,) = onnxruntime.InferenceSession(str(file.path)).run(None, {"image": image})
    assert logits.shape == ((1, 2, 24, 40) if network == "unet" else (1, 2, 12, 20))


def test_named_sizes_are_those_of_the_proof(export):
    assert export("unet", probes=((32, 16), (20, 24))).ok


def test_the_sizes_that_are_tried_are_multiples_and_not_square():
    sizes = dict(other_sizes(40, 24))
    assert list(sizes) == [1, 2, 4, 8, 16, 32, 64]
    for step, (height, width) in sizes.items():
        assert height % step == width % step == 0
        assert height != width
        assert (height, width) != (40, 24)


@pytest.mark.parametrize(
    "words, message",
    [
        (["--probe", "32,32"], "--probe names sizes for --dynamic-size"),
        (["--dynamic-size", "--probe", "3"], "H,W, each"),
    ],
)
def test_a_probe_that_cannot_be_is_one_line(words, message, tmp_path):
    done = run("export", "lenet5", "--from", "torch", "-o", tmp_path, *words)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert message in done.stderr
