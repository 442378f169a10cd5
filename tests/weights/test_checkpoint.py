"""Weight files as the frameworks write them: either twin takes them, bit for bit."""

import pickle
import re
from collections import OrderedDict

import numpy as np
import paddle
import pytest
import safetensors.numpy
import safetensors.torch
import torch
import torchvision
from weights.weight_files import BIAS, READERS, TENSORS, WEIGHT, bits_of, torch_file

import paddle_cnn
import torch_cnn
from parity import ParityError, State
from parity.backends import paddle_backend, torch_backend
from parity.numerics.fixed_random import projection
from parity.weights import checkpoint
from parity.weights.checkpoint import read_weights
from parity.weights.hardened import hardened_state
from parity.weights.pdparams import write_pdparams
from parity.weights.state import Slot


def read_any(path, slots, family=""):
    """What a session makes of a file."""
    return checkpoint.read(path, slots, family)[0]


def fill(twins, path):
    """Give both twins a file's weights; return the two states they hold then."""
    states = []
    for backend, twin in zip((torch_backend, paddle_backend), twins, strict=True):
        state = read_any(path, backend.slots(twin), "resnet")
        assert list(state) == list(backend.slots(twin))
        backend.set_state(twin, state)
        states.append(backend.get_state(twin))
    assert states[0].differences(states[1]) == []
    return states[0]


@pytest.fixture(scope="module")
def twins():
    return torch_backend.build("resnet18", num_classes=10), paddle_backend.build("resnet18", num_classes=10)


IMAGE = projection((2, 3, 64, 64))


def outputs(backend, network):
    network.eval()
    with backend.double(network), backend.autograd(False):
        return backend.to_numpy(network(backend.to_tensor(IMAGE, network)))


@pytest.mark.parametrize("ending", [".pth", ".pt", ".legacy.pth", ".wrapped.pth", ".safetensors"])
def test_torchvisions_weights_make_both_twins_torchvisions_network(ending, twins, tmp_path):
    theirs = torchvision.models.resnet18(num_classes=10)
    torch_backend.set_state(theirs, hardened_state(torch_backend.slots(theirs), 5))
    theirs.bn1.num_batches_tracked += 7
    path, content = tmp_path / f"w{ending}", theirs.state_dict()
    if ending == ".safetensors":
        safetensors.torch.save_file(content, path)
    else:
        whole = {"epoch": 3, "state_dict": content} if "wrapped" in ending else content
        torch.save(whole, path, _use_new_zipfile_serialization="legacy" not in ending)
    state = fill(twins, path)
    assert len(state) == len([name for name in content if "num_batches_tracked" not in name])
    for ours, name in (
        ("conv.conv.weight", "conv1.weight"),
        ("layer2.0.short.batch_norm.running_var", "layer2.0.downsample.1.running_var"),
        ("layer3.1.conv1.batch_norm.weight", "layer3.1.bn2.weight"),
        ("fc.weight", "fc.weight"),
    ):
        assert bits_of({"": state[ours]}) == bits_of({"": content[name].numpy()})
    if ending == ".pth":
        expected = outputs(torch_backend, theirs)
        assert np.array_equal(outputs(torch_backend, twins[0]), expected)
        np.testing.assert_allclose(outputs(paddle_backend, twins[1]), expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("make", ["paddle.vision", "the twin"])
def test_paddles_weights_make_both_twins_that_network(make, twins, tmp_path):
    if make == "the twin":
        theirs = paddle_cnn.build("resnet18", num_classes=10)
    else:
        theirs = paddle.vision.models.resnet18(num_classes=10)
    given = hardened_state(paddle_backend.slots(theirs), 6)
    paddle_backend.set_state(theirs, given)
    path = tmp_path / "w.pdparams"
    paddle.save(theirs.state_dict(), str(path))
    state = fill(twins, path)
    assert len(state) == len(theirs.state_dict())
    assert sorted(array.tobytes() for array in state.values()) == sorted(array.tobytes() for array in given.values())
    expected = outputs(paddle_backend, theirs)
    assert np.array_equal(outputs(paddle_backend, twins[1]), expected)
    np.testing.assert_allclose(outputs(torch_backend, twins[0]), expected, rtol=1e-11, atol=1e-12)


def test_a_state_file_goes_from_either_twin_to_the_other(twins, tmp_path):
    for seed, (backend, twin) in enumerate(zip((torch_backend, paddle_backend), twins, strict=True)):
        backend.set_state(twin, hardened_state(backend.slots(twin), seed))
        given = backend.get_state(twin)
        given.save(tmp_path / "w.safetensors")
        assert fill(twins, tmp_path / "w.safetensors").digest() == given.digest()


def test_a_file_that_names_a_tensor_twice_is_refused(tmp_path):
    slots = torch_backend.slots(torch_cnn.build("resnet18"))
    for twice in ({"conv1.weight", "conv.conv.weight"}, {"fc.running_mean", "fc._mean"}):
        State(dict.fromkeys(sorted({"fc.bias", *twice}), BIAS)).save(tmp_path / "w.safetensors")
        with pytest.raises(ParityError, match=" and ".join(map(re.escape, sorted(twice))) + " are two tensors for"):
            checkpoint.read(tmp_path / "w.safetensors", slots, "resnet")


def test_another_networks_file_is_named_tensor_by_tensor_and_changes_nothing(twins, tmp_path):
    theirs = torchvision.models.resnet18(num_classes=5)
    torch.save({**theirs.state_dict(), "head.weight": torch.ones(2)}, tmp_path / "w.pth")
    for backend, twin in zip((torch_backend, paddle_backend), twins, strict=True):
        before = backend.get_state(twin)
        with pytest.raises(ParityError) as caught:
            backend.set_state(twin, read_any(tmp_path / "w.pth", backend.slots(twin), "resnet"), "resnet18")
        assert str(caught.value).split("\n  ")[1:] == [
            f"fc.bias: shape differs: {backend.NAME}=(10,), weights=(5,)",
            f"fc.weight: shape differs: {backend.NAME}=(10, 512), weights=(5, 512)",
            "head.weight: unexpected, the network has no such tensor",
        ]
        assert before.differences(backend.get_state(twin)) == []


def square(nn):
    return nn.Sequential(nn.Linear(4, 4), nn.Embedding(4, 4), nn.Linear(4, 2), nn.LayerNorm(4))


def test_every_format_of_one_network_is_one_state(tmp_path):
    """A square Linear is turned in Paddle's file because it is one; a square Embedding is not."""
    ours, theirs = square(torch.nn), square(paddle.nn)
    given = hardened_state(torch_backend.slots(ours))
    torch_backend.set_state(ours, given)
    paddle_backend.set_state(theirs, given)
    given.save(tmp_path / "a.safetensors")
    safetensors.torch.save_file(ours.state_dict(), tmp_path / "b.safetensors")
    torch.save(ours.state_dict(), tmp_path / "c.pth")
    torch.save(OrderedDict(reversed(ours.state_dict().items())), tmp_path / "d.pt")
    for protocol in (2, 3, 4):
        paddle.save(theirs.state_dict(), str(tmp_path / f"e{protocol}.pdparams"), protocol=protocol)
    paddle.save(dict(theirs.state_dict()), str(tmp_path / "f.pdparams"))
    paddle.save({"StructuredToParameterName@@": {}, **theirs.state_dict()}, str(tmp_path / "g.pdparams"))
    write_pdparams({name: value.numpy() for name, value in theirs.state_dict().items()}, tmp_path / "h.pdparams")
    read = {path.name: read_any(path, torch_backend.slots(ours)) for path in sorted(tmp_path.iterdir())}
    assert len(read) == 10
    for name, state in read.items():
        assert list(state) == list(given), name
        assert given.differences(state) == [], name


def test_what_we_write_for_paddle_paddle_loads(tmp_path):
    tensors = {
        "a": WEIGHT,
        "b": WEIGHT.astype(np.float16).T,
        "c": BIAS,
        "d": np.float32(3).reshape(()),
        "e": WEIGHT[:0],
    }
    write_pdparams(tensors, tmp_path / "w.pdparams")
    loaded = paddle.load(str(tmp_path / "w.pdparams"))
    assert bits_of({name: value.numpy() for name, value in loaded.items()}) == bits_of(tensors)
    assert bits_of(read_weights(tmp_path / "w.pdparams")) == bits_of(tensors)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_arrays_of_other_float_types_are_read_as_they_are(dtype, tmp_path):
    tensors = {name: array.astype(dtype) for name, array in TENSORS.items()}
    paddle.save({name: paddle.to_tensor(array) for name, array in tensors.items()}, str(tmp_path / "a.pdparams"))
    paddle.save(tensors, str(tmp_path / "b.pdparams"))
    (tmp_path / "c.pdparams").write_bytes(pickle.dumps({name: np.asfortranarray(a) for name, a in tensors.items()}, 4))
    (tmp_path / "d.pth").write_bytes(torch_file(tensors))
    safetensors.numpy.save_file(tensors, tmp_path / "e.safetensors")
    for path in sorted(tmp_path.iterdir()):
        assert bits_of(READERS[path.suffix](path)) == bits_of(tensors), path.name


def test_bfloat16_in_a_safetensors_file_is_widened(tmp_path):
    values = torch.tensor([[1.0, 3.14], [-0.0, float("inf")], [2.0**-133, 7.0]]).bfloat16()
    safetensors.torch.save_file({"a": values, "b": values[0, 0].clone()}, tmp_path / "w.safetensors")
    state = State.load(tmp_path / "w.safetensors")
    assert (state["a"].dtype, state["b"].shape) == (np.float32, ())
    assert state.differences({"a": values.float().numpy(), "b": np.ones((), np.float32)}) == []


def test_bfloat16_in_a_torch_file_is_widened(tmp_path):
    torch.save({"a": torch.tensor([1.0, 3.14]).bfloat16()}, tmp_path / "w.pth")
    assert bits_of(read_weights(tmp_path / "w.pth")) == bits_of({"a": np.float32([1, 3.140625])})


def test_a_state_file_keeps_order_types_shapes_and_bits(tmp_path):
    """A number stays a number, an empty array keeps its shape, NaN its payload; the order is the layers'."""
    odd = np.array([0x7FC00001, 0xFFC12345, 0x80000000, 1], np.uint32).view(np.float32)
    given = State(
        {
            "z": odd,
            "count": np.array(3),
            "none": np.zeros((0, 3)),
            "f": np.asfortranarray(WEIGHT),
            "half": BIAS.astype("f2"),
        }
    )
    given.save(tmp_path / "w.safetensors")
    loaded = State.load(tmp_path / "w.safetensors")
    assert list(loaded) == list(given)
    assert given.differences(loaded) == []
    assert loaded.digest() == given.digest()


def test_batch_counts_are_left_out_and_other_integers_are_not(tmp_path):
    tensors = {"0.weight": np.ones((2, 2)), "0.num_batches_tracked": np.array(3), "num_batches_tracked": np.array(3)}
    State({**tensors, "steps": np.array(3)}).save(tmp_path / "w.safetensors")
    slots = {"0.weight": Slot((2, 2), "Conv2d", "weight")}
    assert list(checkpoint.read(tmp_path / "w.safetensors", slots, "")[0]) == ["0.weight", "steps"]


def test_paddles_names_of_other_layers_tensors_are_neutral_ones(tmp_path):
    """PReLU's `_weight` and InstanceNorm's `scale`; a tensor of that name in a layer of the user's own keeps it."""
    network = paddle.nn.Sequential(paddle.nn.PReLU(4), paddle.nn.InstanceNorm2D(4))
    network.scale = network.create_parameter([4])
    slots = paddle_backend.slots(network)
    assert list(slots) == ["scale", "0.weight", "1.weight", "1.bias"]
    paddle.save(network.state_dict(), str(tmp_path / "w.pdparams"))
    state = checkpoint.read(tmp_path / "w.pdparams", slots, "")[0]
    assert list(state) == list(slots)
    np.testing.assert_array_equal(state["0.weight"], network[0]._weight.numpy())


def test_statistics_under_paddles_names_are_batch_norms(tmp_path):
    norm = paddle.nn.Sequential(paddle.nn.BatchNorm2D(3))
    for network, prefix in ((norm, "0."), (norm[0], "")):
        given = hardened_state(paddle_backend.slots(network), 3)
        paddle_backend.set_state(network, given)
        paddle.save(network.state_dict(), str(tmp_path / "w.pdparams"))
        read = read_any(tmp_path / "w.pdparams", paddle_backend.slots(network))
        assert [f"{prefix}{role}" for role in ("weight", "bias", "running_mean", "running_var")] == list(read)
        assert given.differences(read) == []
