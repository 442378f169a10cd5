"""What is no file of weights: recognised for what it is, with the way out."""

import argparse
import io
import os
import pickle
import tarfile
import zipfile

import numpy as np
import paddle
import pytest
import torch
from weights.checkpoints import beside, refused, saved

from parity.weights.checkpoint import read_weights
from parity.weights.contents import contents

# What is no file of weights


def torchscript():
    made = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), made)
    return made.getvalue()


def zipped(**files):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return made.getvalue()


def tarred():
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"))
    return made.getvalue()


def npz():
    made = io.BytesIO()
    np.savez(made, a=np.ones(3))
    return made.getvalue()


OTHERS = {
    "a web page, not the file itself": b"\n<!DOCTYPE html><html><head>",
    "a Git LFS pointer, not the file itself; run `git lfs pull`": b"version https://git-lfs.github.com/spec/v1\noid",
    "an HDF5 file, as Keras writes them": b"\x89HDF\r\n\x1a\n" + bytes(100),
    "an ONNX model or a Paddle program": b"\x08\x08\x12\x07pytorch" + bytes(100),
    "an ONNX model or a Paddle program (": b"\n\xd7\x24\x08\x00\x10" + b"\xff" * 9 + b"\x01\x1a\x15",
    "a checkpoint of TensorFlow's": b"abc" * 50 + bytes.fromhex("57fb808b247547db"),
    "the weights of a static program of Paddle's": bytes(16) + b"\x04\x00\x00\x00\x08\x05",
    "a static program of Paddle's": b'{"base_code":{"magic":"pir","trainable":',
    "a tar archive; unpack it first": tarred(),
    "compressed by gzip": b"\x1f\x8b\x08" + bytes(20),
    "JSON text": b'{"a": 1}',
    "an .npz file of numpy": npz(),
    "a zip archive of other files (a.txt)": zipped(**{"a.txt": "a"}),
    "a model of Keras's": zipped(**{"model.weights.h5": "a", "config.json": "b"}),
}


@pytest.mark.parametrize("words", OTHERS)
@pytest.mark.parametrize("ending", [".pth", ".ckpt", ".pdparams", ".safetensors"])
def test_another_kind_of_file_is_recognised_for_what_it_is(words, ending, tmp_path):
    path = tmp_path / f"w{ending}"
    path.write_bytes(OTHERS[words])
    line = refused(path)
    assert line.startswith(f"it is {words}")
    assert not {"hostile", "damaged", "two options"} & set(line.replace(",", " ").split())


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_torchscript_archive_is_told_how_to_get_its_weights(tmp_path):
    path = tmp_path / "script.pt"
    path.write_bytes(torchscript())
    assert refused(path) == (
        "it is a TorchScript archive, a program; save its weights: "
        "torch.save(torch.jit.load('script.pt').state_dict(), 'script.weights.pth')."
    )


@pytest.mark.filterwarnings("ignore")
def test_paddles_static_files_and_optimizers_are_recognised(tmp_path):
    layer = paddle.nn.Sequential(paddle.nn.Linear(2, 2))
    spec = [paddle.static.InputSpec([1, 2], "float32")]
    paddle.jit.save(layer, str(tmp_path / "net"), input_spec=spec)
    assert "the weights of a static program of Paddle's" in refused(tmp_path / "net.pdiparams")
    assert "a static program of Paddle's" in refused(next(tmp_path.glob("net.json")))
    optimizer = paddle.optimizer.Adam(parameters=layer.parameters())
    layer(paddle.ones([1, 2])).sum().backward()
    optimizer.step()
    paddle.save(optimizer.state_dict(), str(tmp_path / "o.pdopt"))
    assert refused(tmp_path / "o.pdopt").startswith("an optimizer's state, no weights of a network.")
    paddle.save({"model": layer.state_dict(), "opt": optimizer.state_dict()}, str(tmp_path / "both.pdparams"))
    assert list(read_weights(tmp_path / "both.pdparams")) == ["0.weight", "0.bias"]


@pytest.mark.parametrize("ending", [".pth", ".pdparams", ".bin"])
def test_a_file_of_some_other_program_is_not_called_damaged(ending, tmp_path):
    (tmp_path / f"w{ending}").write_bytes(b"root:x:0:0:root:/root:/bin/sh\n")
    assert refused(tmp_path / f"w{ending}") == "no file of weights that is known: it begins as none of them does."


def test_an_optimizer_alone_is_told_so(tmp_path):
    content = beside()["optimizer"]
    assert refused(saved(tmp_path / "o.pth", content)).startswith("it holds no mapping of names to tensors, but state:")


def test_a_file_without_weights_says_what_it_holds(tmp_path):
    path = saved(tmp_path / "w.pth", {"epoch": 3, "args": argparse.Namespace(a=1), "out": [torch.ones(2)]})
    assert refused(path) == (
        "it holds no mapping of names to tensors, but epoch: 3; args: argparse.Namespace(a=1); out: a list of 1"
    )


def test_networks_that_hold_one_another_end(tmp_path):
    """Twice each, forty levels deep: a file of some kilobytes, and 10^12 paths."""
    module = torch.nn.Module()
    module.weight = torch.nn.Parameter(torch.ones(1))
    for _ in range(40):
        outer = torch.nn.Module()
        outer.a = outer.b = module
        module = outer
    assert "a network of more than" in refused(saved(tmp_path / "w.pth", module))


def test_dictionaries_that_hold_one_another_end(tmp_path):
    tree = {"weight": np.ones(2)}
    for _ in range(30):
        tree = {"a": tree, "b": tree}
    tree["own"] = tree
    (tmp_path / "w.pth").write_bytes(pickle.dumps(tree, 4))
    assert list(read_weights(tmp_path / "w.pth")) == ["weight"]


def test_what_is_nested_deeper_than_any_checkpoint_is_not_searched(tmp_path):
    """A file may nest mappings, and parts of a name, as deeply as it is long: their paths would take its square."""
    for depth, found in ((20, True), (40, False)):
        tree = {"weight": np.ones(2)}
        for _ in range(depth):
            tree = {"a": tree}
        (tmp_path / "w.pth").write_bytes(pickle.dumps(tree, 4))
        assert bool(
            contents(tmp_path / "w.pth").sets if found else refused(tmp_path / "w.pth").startswith("it holds no")
        )
    (tmp_path / "w.pth").write_bytes(pickle.dumps({"a." * 10_000 + "b": np.ones(2)}, 4))
    assert refused(tmp_path / "w.pth").startswith("unknown layout")


def test_a_tensor_of_a_dtype_that_numpy_lacks_is_named(tmp_path):
    path = saved(tmp_path / "w.pth", {"0.weight": torch.ones(2).to(torch.float8_e4m3fn)})
    assert "0.weight: a tensor has the dtype float8_e4m3fn, which numpy does not have" in refused(path)


def test_nothing_in_a_file_is_imported(tmp_path, monkeypatch):
    marker = tmp_path / "ran"
    (tmp_path / "evil_module.py").write_text(f"open({str(marker)!r}, 'w').close()\nclass A: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    content = b"\x80\x02}X\x01\x00\x00\x00acevil_module\nA\n)\x81}bsX\x08\x00\x00\x000.weight"
    arrays = pickle.dumps(np.ones(2), 2)[2:-1]
    (tmp_path / "w.pth").write_bytes(content + arrays + b"s.")
    assert list(read_weights(tmp_path / "w.pth")) == ["0.weight"]
    assert contents(tmp_path / "w.pth").beside == {"a": "evil_module.A"}
    assert not marker.exists()


def test_a_file_that_cannot_be_read_says_why(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    assert refused(tmp_path / "pipe.pth") == "not a file"
