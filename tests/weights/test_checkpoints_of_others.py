"""Checkpoints as training scripts leave them: the weights are found, or asked for; nothing runs."""

import json
import pickle

import numpy as np
import paddle
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from weights.checkpoints import ARRAYS, OTHER, PLAIN, SLOTS, beside, given, network, refused, same, saved

from parity import ParityError
from parity.backends import torch_backend
from parity.weights.checkpoint import open_weights, read_weights
from parity.weights.contents import contents
from parity.weights.state import Slot


@pytest.mark.parametrize("container", ["state_dict", "model", "net", "model_state_dict", "module", "generator", "xyz"])
@pytest.mark.parametrize("legacy", [False, True])
def test_weights_are_found_among_all_that_lies_beside_them(container, legacy, tmp_path):
    path = tmp_path / "model_best.pth.tar"
    saved(path, {container: PLAIN, **beside()}, _use_new_zipfile_serialization=not legacy)
    same(read_weights(path))
    found, notes = given(path)
    same(found)
    assert notes == []


def test_what_lies_beside_is_told_and_never_built(tmp_path):
    saved(tmp_path / "w.ckpt", {"model": PLAIN, **beside()})
    told = contents(tmp_path / "w.ckpt").beside
    assert told["epoch"] == "7"
    assert told["best"] == "float64 71.5"
    assert told["args"] == "argparse.Namespace(lr=0.1, name=run)"
    assert told["settings"].endswith(".Settings(rate=0.1)")
    assert told["colour"].endswith(("Colour.RED", "Colour"))
    assert told["optimizer"] == "an optimizer's state of 2"
    assert told["rng"] == "a uint8 tensor"
    assert told.keys() == beside().keys()


@pytest.mark.parametrize("ending", [".pth", ".pt", ".pth.tar", ".tar", ".ckpt", ".bin", ".pdparams", ".weird"])
def test_a_file_of_torchs_is_known_by_its_content(ending, tmp_path):
    path = saved(tmp_path / f"w{ending}", {"net": PLAIN})
    same(read_weights(path))
    assert open_weights(path).framework == "torch"
    if ending != ".pdparams":
        safetensors.torch.save_file(PLAIN, path)
        same(read_weights(path))


def test_two_sets_of_weights_are_listed_and_asked_for(tmp_path):
    path = saved(tmp_path / "w.pth", {"model": PLAIN, "ema": {"average": OTHER}, "epoch": 1})
    words = "it holds several sets of weights: model (9 tensors), ema.average (9 tensors). Name one: --key model"
    assert refused(path) == words
    with pytest.raises(ParityError, match="several sets of weights"):
        read_weights(path)
    same(read_weights(path, "model"))
    for key in ("ema.average", "average"):
        same(read_weights(path, key), OTHER)
        found, notes = given(path, key)
        same(found, OTHER)
        assert notes == ["weights read from 'ema.average'; also there: model"]
    assert refused(path, "generator") == "--key generator: there is no such part; it holds model, ema.average, 0, 1, 3"
    told = contents(path)
    assert (told.key, told.sets, told.tensors) == (None, {"model": 9, "ema.average": 9}, ())


def test_of_two_networks_the_one_that_fits_is_taken_and_said(tmp_path):
    critic = {"layers.0.weight": torch.ones(2, 2), "layers.0.bias": torch.ones(2)}
    path = saved(tmp_path / "gan.pth", {"discriminator": critic, "generator": PLAIN})
    found, notes = given(path)
    same(found)
    assert notes == ["weights read from 'generator'; also there: discriminator"]


def test_a_network_in_parts_is_joined(tmp_path):
    nn = torch.nn
    whole = nn.ModuleDict({"encoder": nn.Linear(2, 3), "decoder": nn.Linear(3, 2)})
    path = saved(
        tmp_path / "w.pth", {"encoder": whole["encoder"].state_dict(), "decoder": whole["decoder"].state_dict()}
    )
    same(given(path, slots=torch_backend.slots(whole))[0], {n: t.numpy() for n, t in whole.state_dict().items()})


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "_layers.", "model.", "backbone.", "module._orig_mod.net."]
)
def test_a_beginning_that_all_names_share_is_stripped_and_said(prefix, tmp_path):
    content = {f"{prefix}{name}": tensor for name, tensor in PLAIN.items()}
    path = saved(tmp_path / "w.pth", {"state_dict": {**content, "n_averaged": torch.tensor(3)}})
    found, notes = given(path)
    same({name: array for name, array in found.items() if name != "n_averaged"})
    assert notes == [f"names read without {prefix}"]
    assert f"{prefix}0.weight" in read_weights(path)


def test_a_network_whose_own_names_begin_so_keeps_them(tmp_path):
    inner = torch.nn.ModuleDict({"module": network()})
    path = saved(tmp_path / "w.pth", inner.state_dict())
    found, notes = given(path, slots=torch_backend.slots(inner))
    assert notes == []
    assert "module.0.weight" in found


@pytest.mark.parametrize("wrapper", ["module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"])
def test_a_wrapper_inside_a_name_is_stripped_and_said(wrapper, tmp_path):
    """DataParallel around the features alone, as the classic ImageNet examples have it."""
    nn = torch.nn
    net = nn.ModuleDict({"features": network(), "head": nn.Linear(2, 2)})
    plain = net.state_dict()
    inside = {name.replace("features.", f"features.{wrapper}."): t for name, t in plain.items() if "features" in name}
    path = saved(tmp_path / "w.pth", {**inside, "head.weights": plain["head.weight"]})
    assert "unknown" not in str(given(path, slots=torch_backend.slots(nn.ModuleDict({"features": network()}))))
    found, notes = given(path, slots=torch_backend.slots(nn.ModuleDict({"features": network()})))
    assert "features.0.weight" in found
    assert notes == [f"names read without {wrapper}."]


def test_student_and_teacher_are_asked_for(tmp_path):
    content = {f"Student.{n}": t for n, t in PLAIN.items()} | {f"Teacher.{n}": t for n, t in OTHER.items()}
    path = saved(tmp_path / "w.pth", content)
    assert refused(path) == (
        "its names begin with Student. (8 tensors), Teacher. (8 tensors). Name the part to take: --key Student"
    )
    same(given(path, "Student")[0])
    same(given(path, "Teacher")[0], OTHER)
    same(read_weights(path, "Teacher"), OTHER)
    assert len(read_weights(path)) == 18


def test_a_loss_with_weights_beside_the_network_is_asked_about(tmp_path):
    path = saved(
        tmp_path / "w.ckpt", {"state_dict": {**{f"model.{n}": t for n, t in PLAIN.items()}, "loss.w": torch.ones(3)}}
    )
    assert refused(path).endswith("Name the part to take: --key model")
    same(given(path, "model")[0])


def test_names_that_would_fall_together_are_not_stripped(tmp_path):
    content = {f"b.{wrapper}.0.weight": torch.ones(4, 3, 3, 3) for wrapper in ("module", "_orig_mod")}
    path = saved(tmp_path / "w.pth", content)
    assert refused(path, slots={"b.0.weight": SLOTS["0.weight"]}).startswith("unknown layout: none of its 2 names")


def test_whole_numbers_lose_the_same_beginning(tmp_path):
    slots = {**SLOTS, "index": Slot((2,), "Net", "index", buffer=True)}
    content = {f"module.{name}": tensor for name, tensor in {**PLAIN, "index": torch.tensor([1, 0])}.items()}
    found, _ = given(saved(tmp_path / "w.pth", content), slots=slots)
    assert list(found["index"]) == [1, 0]


# What networks and files call by other names, or shape with other ones, is in test_fit.py.


def test_bfloat16_of_paddle_is_widened_and_said(tmp_path):
    values = paddle.to_tensor([[1.0, 3.14], [-0.5, 7.0]]).astype("bfloat16")
    half = paddle.to_tensor([0.1, 0.2]).astype("float16")
    paddle.save({"3.weight": values, "3.bias": half}, str(tmp_path / "w.pdparams"))
    found = read_weights(tmp_path / "w.pdparams")
    assert (found["3.weight"].dtype, found["3.bias"].dtype) == (np.float32, np.float16)
    assert np.array_equal(found["3.weight"], values.astype("float32").numpy())
    _, notes = given(tmp_path / "w.pdparams")
    assert notes == ["1 of 2 tensors are bfloat16, widened to float32"]
    assert contents(tmp_path / "w.pdparams").tensors[0].dtype == "bfloat16"


@pytest.mark.parametrize("legacy", [False, True])
def test_a_network_pickled_whole_is_read_without_its_code(legacy, tmp_path):
    net = network()
    net.add_module("again", net[0])
    net.register_buffer("constant", torch.ones(2))
    net.register_buffer("hidden", torch.ones(2), persistent=False)
    path = saved(tmp_path / "w.pt", {"model": net, "ema": None}, _use_new_zipfile_serialization=not legacy)
    found = read_weights(path)
    assert found.keys() == net.state_dict().keys()
    same(found, {name: tensor.numpy() for name, tensor in net.state_dict().items()})
    same(read_weights(saved(tmp_path / "whole.pth", network())))


def test_a_large_array_that_paddle_cut_is_joined(tmp_path):
    flat = np.arange(12, dtype=np.float32)
    table = {"UnpackBigParamInfor@@": {"w": {"OriginShape": (3, 4), "slices": ["w@@.0", "w@@.1"]}}}
    (tmp_path / "w.pdparams").write_bytes(pickle.dumps({"w@@.0": flat[:7], "w@@.1": flat[7:], **table}, 2))
    assert np.array_equal(read_weights(tmp_path / "w.pdparams")["w"], flat.reshape(3, 4))


# Shards


def sharded(folder, save, ending):
    names = list(ARRAYS)
    halves = {f"model-0000{i}-of-00002.{ending}": names[i::2] for i in (0, 1)}
    for file, part in halves.items():
        save({name: PLAIN[name] for name in part}, folder / file)
    index = folder / f"model.{ending}.index.json"
    table = {name: file for file, part in halves.items() for name in part}
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": table}))
    return index, list(halves)


@pytest.mark.parametrize("save, ending", [(safetensors.torch.save_file, "safetensors"), (torch.save, "bin")])
def test_all_shards_are_read_by_their_index_or_their_folder(save, ending, tmp_path):
    index, parts = sharded(tmp_path, save, ending)
    for path in (index, tmp_path):
        same(read_weights(path))
    same(given(index)[0])
    assert contents(tmp_path).kind.startswith("2 shards, the first a ")
    (tmp_path / parts[1]).unlink()
    assert refused(index) == f"of its 2 shards 1 are missing: {parts[1]}."


@pytest.mark.parametrize("elsewhere", ["../w.safetensors", "/etc/passwd", "a/b.safetensors", "..", "a\\b.safetensors"])
def test_a_shard_outside_the_folder_is_refused(elsewhere, tmp_path):
    index, _ = sharded(tmp_path, safetensors.torch.save_file, "safetensors")
    (tmp_path.parent / "w.safetensors").write_bytes((tmp_path / "model-00000-of-00002.safetensors").read_bytes())
    index.write_text(json.dumps({"weight_map": {"0.weight": elsewhere}}))
    assert "leaves the folder" in refused(index)


@pytest.mark.parametrize("text", ["", "[", "{}", "[]", '{"weight_map": []}', '{"weight_map": {"a": 1}}', "[" * 99999])
def test_an_index_that_is_none_is_refused(text, tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text(text)
    assert refused(tmp_path / "model.safetensors.index.json").startswith("no index of shards: ")


def test_a_tensor_that_its_shard_lacks_is_named(tmp_path):
    index, parts = sharded(tmp_path, safetensors.torch.save_file, "safetensors")
    index.write_text(json.dumps({"weight_map": {"0.weight": parts[0], "none": parts[0]}}))
    assert refused(index) == f"1 tensors of the index are not in their shards: none in {parts[0]}."


def test_a_folder_of_several_files_is_asked_about(tmp_path):
    for name in ("a.pth", "b.pth"):
        saved(tmp_path / name, PLAIN)
    assert refused(tmp_path) == "a folder; of its files of weights name one: a.pth, b.pth"
    (tmp_path / "b.pth").unlink()
    same(read_weights(tmp_path))
