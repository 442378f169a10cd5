"""`parity transfer`: what it refuses leaves the target as it was; what it writes is the same, bit for bit, anywhere."""

import itertools
import os
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import paddle
import pytest
import safetensors.numpy
import safetensors.torch
import torch
import torchvision
from program import run

import parity.numerics.arrays
from parity.backends import paddle_backend, torch_backend
from parity.errors import ParityError
from parity.numerics.arrays import alongside, pieces
from parity.weights import blueprint
from parity.weights.checkpoint import read_weights
from parity.weights.hardened import hardened_state
from parity.weights.pdparams import write_pdparams
from parity.weights.pth import write_pth
from parity.weights.state import Slot, State
from parity.weights.transfer import _converted, transfer
from parity.zoo import NETWORKS

ENDINGS = (".safetensors", ".pth", ".pdparams")
ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def lenet(tmp_path):
    """The twin's file of weights, and what is in it."""
    state = hardened_state(blueprint.slots("lenet5"))
    state.save(tmp_path / "lenet.safetensors")
    return tmp_path / "lenet.safetensors", state


def refused(target, words, *arguments, **options):
    """The refusal leaves what was there, and nothing beside it."""
    before = {path: path.read_bytes() for path in target.parent.iterdir()} if target.parent.is_dir() else {}
    with pytest.raises(ParityError, match=words):
        transfer(arguments[0], target, *arguments[1:], **options)
    assert ({path: path.read_bytes() for path in target.parent.iterdir()} if before else {}) == before


def test_files_that_cannot_be_are_refused_in_a_line_each(lenet, tmp_path):
    source, _ = lenet
    good = tmp_path / "out.pth"
    _ = good.write_bytes(b"what was there")
    refused(good, r"no\.pth: no such file", tmp_path / "no.pth", "lenet5")
    refused(good, "weights.ckpt: no such file", tmp_path / "weights.ckpt", "lenet5")
    refused(tmp_path / "out.onnx", "out.onnx: unknown kind of weights file; .* are written", source, "lenet5")
    refused(tmp_path / "none" / "out.pth", "cannot write: no such folder", source, "lenet5")
    refused(good, "unknown network 'lenet6'; did you mean lenet5", source, "lenet6")
    refused(good, "torchvision has no lenet5; only the twins have", source, "lenet5", "torchvision")
    refused(good, r"10 of its 10 .* lenet5: the weights do not fit", source, "lenet5", num_classes=7)
    refused(good, "unknown layout: none of its 10 names", source, "resnet18")
    os.mkfifo(tmp_path / "pipe.pth")
    with pytest.raises(ParityError, match="cannot write: it is not a file"):
        transfer(source, tmp_path / "pipe.pth", "lenet5")


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_damaged_source_leaves_the_target_as_it_was(ending, lenet, tmp_path):
    source = tmp_path / f"source{ending}"
    target = tmp_path / "out.safetensors"
    _ = target.write_bytes(b"what was there")
    transfer(lenet[0], source, "lenet5")
    whole = source.read_bytes()
    _ = source.write_bytes(whole[:-3000])
    refused(target, f"source{ending}: ", source, "lenet5")
    if ending != ".pdparams":  # which has no checksum
        _ = source.write_bytes(whole.replace(whole[100_000:100_008], bytes(8)))
        refused(target, f"source{ending}: damaged: ", source, "lenet5")


def test_a_pth_that_names_anything_but_tensors_is_refused(tmp_path):
    class Call:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "was_run"),))

    torch.save({"conv.weight": Call()}, tmp_path / "evil.pth")
    refused(
        tmp_path / "out.pth",
        r"evil\.pth: hostile: it asks for posix\.mkdir",
        tmp_path / "evil.pth",
        "lenet5",
    )
    refused(tmp_path / "out.pth", r"evil\.pth: .* it asks for posix\.mkdir", tmp_path / "evil.pth", "lenet5")
    assert not (tmp_path / "was_run").exists()


def test_a_tensor_that_reaches_out_of_its_storage_is_refused(tmp_path):
    write_pth({"w": np.zeros((2, 3), np.float32)}, tmp_path / "w.pth")
    with zipfile.ZipFile(tmp_path / "w.pth") as archive:
        parts = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    program = parts["archive/data.pkl"].replace(b"K\x02K\x03\x86", b"K\x02K\x04\x86")
    assert program != parts["archive/data.pkl"]
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        for name, content in {**parts, "archive/data.pkl": program}.items():
            archive.writestr(name, content)
    with pytest.raises(ParityError, match=r"w\.pth: w: a tensor claims the shape \(2, 4\), more than the file holds"):
        read_weights(tmp_path / "w.pth")


def test_the_program_says_one_line_and_exits_2(lenet, tmp_path):
    done = run("transfer", lenet[0], tmp_path / "out.pth", "--model", "resnet18")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"parity: {lenet[0]}: unknown layout: none of its 10 names")
    assert done.stderr.count("\n") == 1
    done = run("transfer", lenet[0], tmp_path / "out.pth", "--model", "lenet5", "--names", "keras")
    assert done.returncode == 2
    assert not (tmp_path / "out.pth").exists()


def test_no_framework_is_imported(lenet, tmp_path):
    words = [str(lenet[0]), *(str(tmp_path / f"a{ending}") for ending in (".pth", ".pdparams", ".safetensors"))]
    script = (
        "import sys; from pathlib import Path; from parity.weights.transfer import transfer\n"
        "paths = [Path(word) for word in sys.argv[1:]]\n"
        "for pair in zip(paths, paths[1:]): transfer(*pair, 'lenet5')\n"
        "assert not {'torch', 'paddle', 'torch_cnn', 'paddle_cnn'} & set(sys.modules)"
    )
    _ = subprocess.run([sys.executable, "-c", script, *words], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)


@pytest.mark.parametrize("model, layout", [("googlenet", "torchvision"), ("densenet121", "paddle.vision")])
def test_every_way_there_and_back_is_bit_for_bit(model, layout, tmp_path):
    state = hardened_state(blueprint.slots(model))
    state.save(tmp_path / "first.safetensors")
    for names, ending, other in ((layout, *pair) for pair in itertools.permutations(ENDINGS, 2)):
        there, on, back = tmp_path / f"there{ending}", tmp_path / f"on{other}", tmp_path / "back.safetensors"
        transfer(tmp_path / "first.safetensors", there, model, names)
        transfer(there, on, model)
        transfer(on, back, model)
        assert back.read_bytes() == (tmp_path / "first.safetensors").read_bytes(), (ending, other)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_precisions_stay_what_they_are(dtype, lenet, tmp_path):
    state = State({name: array.astype(dtype) for name, array in lenet[1].items()})
    state.save(tmp_path / "a.safetensors")
    for source, target in itertools.pairwise(["a.safetensors", "b.pth", "c.pdparams", "d.safetensors"]):
        transfer(tmp_path / source, tmp_path / target, "lenet5")
    assert state.differences(State.load(tmp_path / "d.safetensors")) == []


def test_a_square_linear_is_transposed_because_of_its_kind_and_nothing_else_is():
    square = np.arange(16, dtype=np.float32).reshape(4, 4)
    slots = {"fc.weight": Slot((4, 4), "Linear", "weight"), "table.weight": Slot((4, 4), "Embedding", "weight")}
    written = _converted(dict.fromkeys(slots, square), slots, "", "twin", "paddle")
    assert np.array_equal(written["fc.weight"], square.T)
    assert np.array_equal(written["table.weight"], square)
    assert np.array_equal(_converted(dict.fromkeys(slots, square), slots, "", "twin", "torch")["fc.weight"], square)


def test_torchvisions_network_loads_what_is_written_strictly(tmp_path):
    hardened_state(blueprint.slots("resnet18")).save(tmp_path / "a.safetensors")
    done = run(
        "transfer", tmp_path / "a.safetensors", tmp_path / "b.pth", "--model", "resnet18", "--names", "torchvision"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"resnet18: 102 tensors, 46.8 MB, twin's names to torchvision's: {tmp_path / 'b.pth'}; "
        "20 batch counters of zero added\n"
    )
    for mapped in (False, True):
        content = torch.load(tmp_path / "b.pth", weights_only=True, mmap=mapped)
        network = torchvision.models.resnet18()
        network.load_state_dict(content, strict=True)
        assert all(value.data_ptr() % 64 == 0 for value in content.values())
    assert list(content) == list(network.state_dict())
    transfer(tmp_path / "b.pth", tmp_path / "c.safetensors", "resnet18", "torchvision")
    network.load_state_dict(safetensors.torch.load_file(tmp_path / "c.safetensors"), strict=True)


def test_paddles_networks_take_what_is_written(tmp_path):
    state = hardened_state(blueprint.slots("densenet121"))
    state.save(tmp_path / "a.safetensors")
    for layout, network in (
        ("twin", paddle_backend.build("densenet121")),
        ("paddle.vision", paddle.vision.models.densenet121()),
    ):
        transfer(tmp_path / "a.safetensors", tmp_path / "b.pdparams", "densenet121", layout)
        assert network.set_state_dict(paddle.load(str(tmp_path / "b.pdparams"))) == ([], [])
        first = network.features.conv0 if layout == "twin" else network.conv1_func._conv
        last = network.classifier if layout == "twin" else network.out
        assert np.array_equal(first.weight.numpy(), state["features.conv0.weight"])
        assert np.array_equal(last.weight.numpy(), state["classifier.weight"].T)


def test_the_twins_themselves_take_what_is_written(lenet, tmp_path):
    source, state = lenet
    transfer(source, tmp_path / "b.pth", "lenet5")
    network = torch_backend.build("lenet5")
    network.load_state_dict(torch.load(tmp_path / "b.pth", weights_only=True), strict=True)
    assert state.differences(torch_backend.get_state(network)) == []


@pytest.mark.parametrize("form", ["plain", "wrapped", "parameters", "with an optimizer", "legacy"])
def test_what_torch_saves_is_read_in_each_of_its_forms(form, lenet, tmp_path):
    """The last two are left to torch itself."""
    network = torch_backend.build("lenet5")
    torch_backend.set_state(network, lenet[1])
    content = {
        "plain": network.state_dict(),
        "wrapped": {"epoch": 3, "loss": 0.5, "note": None, "state_dict": network.state_dict()},
        "parameters": dict(network.named_parameters()),
        "with an optimizer": {"optimizer": {"state": {0: torch.zeros(2)}}, "state_dict": network.state_dict()},
        "legacy": network.state_dict(),
    }[form]
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=form != "legacy")
    transfer(tmp_path / "a.pth", tmp_path / "b.safetensors", "lenet5")
    assert lenet[1].differences(State.load(tmp_path / "b.safetensors")) == []


def test_views_of_one_storage_are_read_as_torch_reads_them(tmp_path):
    whole = torch.arange(24.0).reshape(4, 6)
    made = {"turned": whole.T, "part": whole[1:, 2:4], "number": torch.tensor(3.0), "none": torch.zeros(0, 2)}
    torch.save(made, tmp_path / "a.pth")
    found = read_weights(tmp_path / "a.pth")
    assert {name: array.tolist() for name, array in found.items()} == {name: t.tolist() for name, t in made.items()}


@pytest.mark.parametrize("protocol", [2, 4])
def test_what_paddle_saves_is_read(protocol, lenet, tmp_path):
    network = paddle_backend.build("lenet5")
    paddle_backend.set_state(network, lenet[1])
    paddle.save(network.state_dict(), str(tmp_path / "a.pdparams"), protocol=protocol)
    transfer(tmp_path / "a.pdparams", tmp_path / "b.safetensors", "lenet5")
    assert lenet[1].differences(State.load(tmp_path / "b.safetensors")) == []


def test_a_pth_is_mapped_once_so_that_its_memory_counts_once(lenet, tmp_path, monkeypatch):
    transfer(lenet[0], tmp_path / "a.pth", "lenet5")
    monkeypatch.setattr("parity.weights.pth.mapped_file", None)  # the map of `open_weights` is left
    transfer(tmp_path / "a.pth", tmp_path / "b.safetensors", "lenet5")
    assert (tmp_path / "b.safetensors").read_bytes() == lenet[0].read_bytes()


def test_a_file_may_be_converted_onto_itself(lenet):
    source, state = lenet
    transfer(source, source, "lenet5")
    assert state.differences(State.load(source)) == []


def test_another_networks_weights_are_refused_with_what_was_recognised_and_what_was_not(tmp_path):
    hardened_state(blueprint.slots("resnet34")).save(tmp_path / "a.safetensors")
    words = r"102 of its 182 tensors have names of the twin layout\. resnet18: .*\n  layer1\.2\.conv0.*: unexp"
    refused(tmp_path / "b.pth", words, tmp_path / "a.safetensors", "resnet18")


def test_another_number_of_classes_is_reported(lenet, tmp_path):
    state = hardened_state(blueprint.slots("lenet5", num_classes=7))
    state.save(tmp_path / "seven.safetensors")
    refused(
        tmp_path / "b.pth",
        r"shape differs: network=\(10, 84\), weights=\(7, 84\)",
        tmp_path / "seven.safetensors",
        "lenet5",
    )
    transfer(tmp_path / "seven.safetensors", tmp_path / "b.pth", "lenet5", num_classes=7)


ODD = {
    "number": np.array(3.5),
    "none": np.zeros((0, 3), np.float32),
    "vector": np.arange(7, dtype=np.int64)[::2],
    "turned": np.arange(700 * 300, dtype=np.float32).reshape(700, 300).T,
    "four": np.arange(120, dtype=np.float16).reshape(2, 3, 4, 5),
    "bits": np.array([True, False]),
}


def same(found):
    assert {name: (a.dtype, a.tolist()) for name, a in found.items()} == {
        n: (a.dtype, a.tolist()) for n, a in ODD.items()
    }


@pytest.mark.parametrize("size", [64, 1 << 16])
def test_pieces_are_the_bytes_in_order_however_an_array_lies(size, monkeypatch):
    monkeypatch.setattr(parity.numerics.arrays, "PIECE", size)
    monkeypatch.setattr(parity.numerics.arrays, "_SMALL", 100)
    others = [ODD["turned"].T[::2].T, np.asfortranarray(ODD["four"])]
    with ThreadPoolExecutor(1) as pool:
        for array in [*ODD.values(), *others]:
            seen = bytearray()
            assert b"".join(alongside(pieces(array), seen.extend, pool)) == array.tobytes() == seen


def test_odd_tensors_go_through_each_format(tmp_path):
    write_pth(ODD, tmp_path / "a.pth")
    write_pdparams(ODD, tmp_path / "a.pdparams")
    State(ODD).save(tmp_path / "a.safetensors")
    same(read_weights(tmp_path / "a.pth"))
    same({name: value.numpy() for name, value in torch.load(tmp_path / "a.pth", weights_only=True).items()})
    same(read_weights(tmp_path / "a.pdparams"))
    same(paddle.load(str(tmp_path / "a.pdparams"), return_numpy=True))
    same(State.load(tmp_path / "a.safetensors"))
    same(safetensors.numpy.load_file(tmp_path / "a.safetensors"))
    same(parity.weights.state.open_tensors(tmp_path / "a.safetensors")[0])


def test_bench_refuses_a_network_that_nobody_else_has():
    done = run("bench", "forward", "lenet5")
    assert (done.returncode, done.stderr) == (2, "parity: torchvision has no lenet5; only the twins have\n")


@pytest.mark.zoo
@pytest.mark.parametrize("model", list(NETWORKS))
def test_every_network_goes_there_and_back(model, tmp_path):
    state = hardened_state(blueprint.slots(model))
    state.save(tmp_path / "a.safetensors")
    for source, target in itertools.pairwise(["a.safetensors", "b.pth", "c.pdparams", "d.safetensors"]):
        transfer(tmp_path / source, tmp_path / target, model)
    assert (tmp_path / "d.safetensors").read_bytes() == (tmp_path / "a.safetensors").read_bytes()
