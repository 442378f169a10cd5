"""Weights from one side to the other and back, what does not fit, and the hardened state."""

import re

import numpy as np
import paddle
import pytest
import torch
from pairs import small

import paddle_cnn
import torch_cnn
from parity import ParityError, State, Trace, compare
from parity.backends import paddle_backend, torch_backend
from parity.numerics.distance import root_mean_square
from parity.numerics.fixed_random import projection
from parity.tracing.record import record
from parity.weights import checkpoint
from parity.weights.hardened import hardened_state
from parity.weights.state import Slot

BACKENDS = pytest.mark.parametrize(
    ("backend", "index"), [(torch_backend, 0), (paddle_backend, 1)], ids=["torch", "paddle"]
)


def every_kind(nn):
    """One layer of each kind that has weights, in the words of either framework."""
    ours = nn is torch.nn
    return nn.Sequential(
        (nn.Conv2d if ours else nn.Conv2D)(4, 8, 3, groups=2),
        (nn.ConvTranspose2d if ours else nn.Conv2DTranspose)(8, 4, 3),
        (nn.BatchNorm2d if ours else nn.BatchNorm2D)(4),
        nn.GroupNorm(2, 4),
        nn.LayerNorm(5),
        nn.Embedding(6, 6),
        nn.Linear(7, 7),
        nn.Linear(7, 3),
        (nn.Linear(3, 3, bias=False) if ours else nn.Linear(3, 3, bias_attr=False)),
    )


def tied(nn):
    """Two layers that share one weight."""
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    net[2].weight = net[0].weight
    return net


@BACKENDS
def test_all_that_does_not_fit_is_one_sorted_error_and_nothing_is_changed(backend, index):
    network = small()[index]
    before = backend.get_state(network)
    wrong = dict(hardened_state(backend.slots(network), 1))
    del wrong["0.batch_norm.running_mean"], wrong["8.weight"]
    wrong["0.conv.weight"] = wrong["0.conv.weight"][:, :2]
    wrong["6.bias"] = wrong["6.bias"].astype(np.int64)
    wrong["6.gamma"] = wrong["spare"] = np.zeros((2, 2), np.float32)
    with pytest.raises(ParityError) as caught:
        backend.set_state(network, State(wrong), "tiny")
    assert str(caught.value).split("\n  ") == [
        "tiny: the weights do not fit; is it another network, or another num_classes?",
        "0.batch_norm.running_mean: missing from the weights, shape (8,)",
        f"0.conv.weight: shape differs: {backend.NAME}=(8, 3, 3, 3), weights=(8, 2, 3, 3)",
        "6.bias: dtype int64 is not floating point",
        "6.gamma: unexpected, the network has no such tensor",
        "8.weight: missing from the weights, shape (16, 16)",
        "spare: unexpected, the network has no such tensor",
    ]
    assert before.differences(backend.get_state(network)) == []


@BACKENDS
def test_a_linear_weight_the_wrong_way_round_is_misshapen_not_transposed(backend, index):
    network = every_kind((torch.nn, paddle.nn)[index])
    state = dict(hardened_state(backend.slots(network)))
    state["7.weight"] = state["7.weight"].T
    with pytest.raises(ParityError, match=re.escape(f"7.weight: shape differs: {backend.NAME}=(3, 7), weights=(7, 3)")):
        backend.set_state(network, State(state))


def test_another_networks_weights_show_twenty_lines_and_count_the_rest():
    with pytest.raises(ParityError) as caught:
        torch_backend.set_state(small()[0], State({f"{i:02}": np.zeros(1) for i in range(30)}))
    lines = str(caught.value).split("\n  ")
    missing = len(torch_backend.slots(small()[0]))
    assert lines[-1] == f"... and {30 + missing - 20} more"
    assert lines[1:-1] == sorted(lines[1:-1])
    assert len(lines) == 22


def test_every_kind_of_layer_goes_over_and_comes_back_bit_for_bit():
    ours, theirs, again = every_kind(torch.nn), every_kind(paddle.nn), every_kind(torch.nn)
    slots = torch_backend.slots(ours)
    assert slots == paddle_backend.slots(theirs)
    state = hardened_state(slots)
    torch_backend.set_state(ours, state)
    paddle_backend.set_state(theirs, torch_backend.get_state(ours))
    torch_backend.set_state(again, paddle_backend.get_state(theirs))
    for read in (torch_backend.get_state(ours), paddle_backend.get_state(theirs), torch_backend.get_state(again)):
        assert list(read) == list(state)
        assert state.differences(read) == []
        assert read.digest() == state.digest()
    with torch.no_grad():
        for a, b in zip(ours.state_dict().values(), again.state_dict().values(), strict=True):
            assert torch.equal(a, b)


def test_a_square_linear_is_transposed_because_of_its_kind_and_nothing_else_is():
    theirs = every_kind(paddle.nn)
    state = hardened_state(paddle_backend.slots(theirs))
    paddle_backend.set_state(theirs, state)
    for name, turned in (("5.weight", False), ("6.weight", True), ("8.weight", True)):
        held = theirs[int(name[0])].weight.numpy()
        assert held.shape == state[name].shape
        assert np.array_equal(held, state[name].T if turned else state[name])
        assert not np.array_equal(state[name], state[name].T)


def test_batch_norm_statistics_are_weights_and_batch_counts_are_not():
    for backend, network in zip((torch_backend, paddle_backend), small(), strict=True):
        roles = {slot.role for slot in backend.slots(network).values() if slot.kind == "BatchNorm2d"}
        assert roles == {"weight", "bias", "running_mean", "running_var"}
    ours, theirs = small()
    assert np.array_equal(ours[0].batch_norm.running_var.numpy(), theirs[0].batch_norm._variance.numpy())
    assert np.array_equal(ours[0].batch_norm.running_mean.numpy(), theirs[0].batch_norm._mean.numpy())
    assert int(ours[0].batch_norm.num_batches_tracked) == 0


@BACKENDS
def test_nan_infinities_subnormals_and_signed_zeros_are_kept(backend, index):
    network = every_kind((torch.nn, paddle.nn)[index])
    state = dict(hardened_state(backend.slots(network)))
    odd = np.array([0x7FC00001, 0xFFC12345, 0x7F800000, 0xFF800000, 0x80000000, 1, 0x807FFFFF], np.uint32)
    state["6.bias"] = odd.view(np.float32)
    backend.set_state(network, State(state))
    assert State(state).differences(backend.get_state(network)) == []


def untied(nn):
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))


@BACKENDS
def test_two_tensors_for_what_a_network_ties_are_refused_with_both_names(backend, index):
    network = tied((torch.nn, paddle.nn)[index])
    before = backend.get_state(network)
    state = hardened_state(backend.slots(untied((torch.nn, paddle.nn)[index])))
    with pytest.raises(ParityError, match=r"2\.weight: differs from 0\.weight in the weights; the network ties them"):
        backend.set_state(network, state)
    assert before.differences(backend.get_state(network)) == []


@BACKENDS
def test_a_tensor_that_two_layers_share_has_both_names_and_is_one(backend, index):
    network = tied((torch.nn, paddle.nn)[index])
    slots = backend.slots(network)
    assert {name: slot.tied for name, slot in slots.items()} == {
        "0.weight": "", "0.bias": "", "2.weight": "0.weight", "2.bias": "",
    }  # fmt: skip
    for state in (hardened_state(slots), backend.get_state(network)):
        assert state["2.weight"] is state["0.weight"]
        backend.set_state(network, state)
        assert network[0].weight is network[2].weight
        assert state.differences(backend.get_state(network)) == []


@BACKENDS
def test_tied_and_untied_networks_take_each_others_weights_where_these_are_equal(backend, index, tmp_path):
    nn = (torch.nn, paddle.nn)[index]
    ours, theirs = tied(nn), untied(nn)
    backend.get_state(ours).save(tmp_path / "w.safetensors")
    state = State.load(tmp_path / "w.safetensors")
    for network in (theirs, ours):
        backend.set_state(network, state)
        assert state.differences(backend.get_state(network)) == []
    backend.set_state(ours, backend.get_state(theirs))
    x = projection((2, 4)).astype(np.float32)
    assert compare(ours, theirs, x).verdict == compare(theirs, ours, x).verdict == "exact"


def test_a_tied_network_takes_its_own_state_dict_and_a_file_with_one_of_the_names(tmp_path):
    for backend, nn, save in ((torch_backend, torch.nn, torch.save), (paddle_backend, paddle.nn, paddle.save)):
        network = tied(nn)
        own = {name: value.detach() if nn is torch.nn else value for name, value in network.state_dict().items()}
        assert list(own) == ["0.weight", "0.bias", "2.weight", "2.bias"]
        for left_out in (None, "0.weight", "2.weight"):
            held = {name: value for name, value in own.items() if name != left_out}
            path = tmp_path / f"w{'.pth' if nn is torch.nn else '.pdparams'}"
            save(held, str(path))
            slots = backend.slots(network)
            state = checkpoint.read(path, slots, "")[0]
            backend.set_state(network, State(state))
            assert backend.get_state(network).differences(state) == []


def test_a_layer_under_two_paths_has_its_weights_under_both():
    for backend, nn in ((torch_backend, torch.nn), (paddle_backend, paddle.nn)):
        layer = nn.Linear(3, 3)
        network = nn.Sequential(layer, nn.ReLU(), layer)
        assert list(backend.slots(network)) == list(network.state_dict())
        assert backend.slots(network)["2.bias"].tied == "0.bias"


def test_a_tensor_that_paddle_shares_between_embedding_and_linear_is_transposed():
    network = paddle.nn.Sequential(paddle.nn.Embedding(4, 4), paddle.nn.Linear(4, 4))
    network[1].weight = network[0].weight
    slots = paddle_backend.slots(network)
    assert (slots["1.weight"].tied, slots["1.weight"].transposed) == ("0.weight", True)
    state = hardened_state(slots)
    assert np.array_equal(state["1.weight"], state["0.weight"].T)
    paddle_backend.set_state(network, state)
    assert state.differences(paddle_backend.get_state(network)) == []
    with pytest.raises(ParityError, match=r"1\.weight: differs from 0\.weight"):
        paddle_backend.set_state(network, State({**state, "1.weight": state["0.weight"]}))


def test_a_layer_that_holds_itself_has_its_weights_once():
    network = torch.nn.Sequential(torch.nn.Linear(2, 2))
    network.add_module("again", network)
    assert list(torch_backend.slots(network)) == ["0.weight", "0.bias"]


def test_a_state_is_a_copy_of_the_network():
    for backend, network in zip((torch_backend, paddle_backend), small(), strict=True):
        state = backend.get_state(network)
        digest = state.digest()
        backend.set_state(network, hardened_state(backend.slots(network), 1))
        assert state.digest() == digest
        assert backend.get_state(network).digest() != digest


@BACKENDS
@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_float_types_enter_a_float32_network_by_value(backend, index, dtype):
    network = every_kind((torch.nn, paddle.nn)[index])
    state = {name: array.astype(dtype) for name, array in hardened_state(backend.slots(network)).items()}
    backend.set_state(network, State(state))
    for name, array in backend.get_state(network).items():
        assert array.dtype == np.float32
        assert np.array_equal(array, state[name].astype(np.float32))


def test_a_digest_sees_names_types_shapes_and_bits_and_no_order():
    a, b = np.arange(6, dtype=np.float32), np.ones((2, 3), np.float32)
    digest = State({"a": a, "b": b}).digest()
    assert State({"b": b, "a": a}).digest() == digest
    assert State({"a": a, "b": np.asfortranarray(b)}).digest() == digest
    others = [{"a": b, "b": a}, {"a": a, "c": b}, {"a": a}, {"a": a, "b": b.T}, {"a": a, "b": b.astype(np.float64)}]
    others += [{"a": a.view(np.int32), "b": b}, {"a": -a, "b": b}]
    assert digest not in {State(other).digest() for other in others}


# Hardened states.


SLOTS = {
    "stem.weight": Slot((8, 3, 3, 3), "Conv2d", "weight"),
    "stem.bias": Slot((8,), "Conv2d", "bias"),
    "norm.weight": Slot((8,), "BatchNorm2d", "weight"),
    "norm.bias": Slot((8,), "BatchNorm2d", "bias"),
    "norm.running_mean": Slot((8,), "BatchNorm2d", "running_mean"),
    "norm.running_var": Slot((8,), "BatchNorm2d", "running_var"),
    "fc.weight": Slot((5, 7), "Linear", "weight"),
    "fc.bias": Slot((5,), "Linear", "bias"),
}


def test_a_hardened_state_is_the_same_on_every_machine():
    state = hardened_state(SLOTS, seed=7)
    assert state.digest() == "ae9cc2351f739def1baca0e2ec1149135125f28d8ee2e982f2179c3362370b26"
    assert list(state) == list(SLOTS)
    assert all(array.dtype == np.float32 for array in state.values())
    assert {name: array.shape for name, array in state.items()} == {name: slot.shape for name, slot in SLOTS.items()}


def test_each_tensor_is_drawn_by_seed_and_name_alone():
    state = hardened_state(SLOTS, 7)
    fewer = hardened_state({name: SLOTS[name] for name in ("fc.bias", "stem.weight")}, 7)
    assert state.differences({**state, **fewer}) == []
    assert state.differences(hardened_state(SLOTS, 8)) == sorted(SLOTS)
    assert not np.array_equal(state["stem.bias"], state["norm.bias"])


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_in_a_hardened_state_a_mistake_shows(name):
    """Nothing is 0 or 1, nothing repeats, nothing is the default, and variances stay positive."""
    slots = torch_backend.slots(torch_cnn.build(name))
    assert slots == paddle_backend.slots(paddle_cnn.build(name))
    for key, array in hardened_state(slots).items():
        assert np.isfinite(array).all(), key
        assert not np.isin(array, (0, 1)).any(), key
        assert array.std() > 1e-3, key
        if slots[key].role == "running_var":
            assert 0.5 <= array.min() <= array.max() <= 1.5
        if slots[key].kind == "BatchNorm2d" and slots[key].role == "weight":
            assert 0.15 <= array.min() <= array.max() <= 1.2
        if array.ndim == 4:
            assert array.var() * array[0].size == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize(("name", "last"), [("resnet18", "conv1"), ("resnet50", "conv2")])
def test_only_the_last_norm_of_each_residual_branch_is_damped(name, last):
    slots = torch_backend.slots(torch_cnn.build(name))
    state = hardened_state(slots)
    gammas = [key for key in slots if slots[key].kind == "BatchNorm2d" and slots[key].role == "weight"]
    damped = [key for key in gammas if state[key].max() < 0.6]
    assert damped == [key for key in gammas if key.endswith(f".{last}.batch_norm.weight")]


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_activations_keep_their_size_through_all_layers(name, tmp_path):
    network = torch_backend.build(name)
    torch_backend.set_state(network, hardened_state(torch_backend.slots(network)))
    record(torch_backend, network, [projection((1, 3, 64, 64))], tmp_path / "trace")
    with Trace(tmp_path / "trace") as trace:
        sizes = {
            call.layer: root_mean_square(trace.tensor(output))
            for call in trace.calls
            if call.leaf
            for output in call.outputs
        }
    assert len(sizes) > 60
    assert {layer: size for layer, size in sizes.items() if not 0.1 <= size <= 10} == {}
