"""Weights that are a network's but for names, ones in a shape, counters and constants: they fit, and it is said."""

import warnings

import numpy as np
import paddle
import pytest
import torch

from parity import ParityError, compare
from parity.backends import paddle_backend, torch_backend
from parity.weights import checkpoint
from parity.weights.fit import fitted
from parity.weights.hardened import hardened_state
from parity.weights.state import Slot, State

IMAGE = np.random.default_rng(0).standard_normal((1, 3, 9, 9)).astype(np.float32)


def slot(*shape, kind="Conv2d", role="weight", **more):
    return Slot(shape, kind, role, **more)


def ramp(*shape, dtype=np.float32):
    return np.arange(np.prod(shape, dtype=int), dtype=dtype).reshape(shape)


def fit(state, **slots):
    return fitted(state, {name.replace("_", "."): each for name, each in slots.items()}, "net", "torch")


# What must not fit.


@pytest.mark.parametrize(
    "found, wanted",
    [
        ((2, 8), (8, 2)),
        ((1, 8), (8, 1)),
        ((4, 1, 3, 3), (1, 4, 3, 3)),  # a convolution and a transposed one
        ((4, 3, 3), (4, 1, 3, 3)),
        ((4, 1), (2, 2, 1)),
        ((8, 2, 1), (8, 3, 1, 1)),
        ((2, 2), (4,)),
    ],
)
def test_other_shapes_are_refused(found, wanted):
    with pytest.raises(ParityError, match=r"a: shape differs: torch="):
        fit({"a": ramp(*found)}, a=slot(*wanted))


def test_what_was_learned_and_has_no_partner_is_refused():
    with pytest.raises(ParityError) as error:
        fit({"a": ramp(2), "scale": ramp(2), "b.weight": ramp(2)}, a=slot(2), c=slot(3))
    assert str(error.value).splitlines() == [
        "net: the weights do not fit; is it another network, or another num_classes?",
        "  b.weight: unexpected, the network has no such tensor",
        "  c: missing from the weights, shape (3,)",
        "  scale: unexpected, the network has no such tensor",
    ]


def test_a_layer_that_is_in_a_plain_list_is_thought_of():
    with pytest.raises(ParityError, match="keeps in a plain list or dict is not one of its layers"):
        fit({"a": ramp(2), "heads.0.weight": ramp(2)}, a=slot(2))


def test_whole_numbers_where_weights_belong_are_refused():
    with pytest.raises(ParityError, match="a: dtype int64 is not floating point"):
        fit({"a": ramp(2, dtype=np.int64)}, a=slot(2))


# What fits.


@pytest.mark.parametrize(
    "found, wanted",
    [
        ((4, 1, 1, 1), (4,)),
        ((2, 8), (2, 8, 1, 1)),
        ((1, 8, 1, 1), (8,)),
        ((1, 8), (1, 8, 1, 1)),
        ((3, 3), (1, 1, 3, 3)),
        ((), (1,)),
    ],
)
def test_shapes_that_differ_by_ones_are_reshaped_and_said(found, wanted):
    for one, other in ((found, wanted), (wanted, found)):
        state, notes = fit({"a": ramp(*one)}, a=slot(*other))
        assert np.array_equal(state["a"], ramp(*other))
        assert notes == [f"shapes that differ only by ones, {one} as {other}: a"]


def test_counters_and_whole_numbers_are_left_out_and_said():
    extra = {name: np.array(3.0) for name in ("total_ops", "b.total_params", "n_averaged")}
    state, notes = fit({"a": ramp(2), "index": ramp(3, dtype=np.int64), **extra}, a=slot(2))
    assert list(state) == ["a"]
    assert notes == [
        "counters left out: total_ops, b.total_params, n_averaged",
        "constants that the network does not have are left out: index",
    ]


def test_a_moving_average_under_flat_names_is_left_out():
    state, notes = fit({"a.b": ramp(2), "ema_a_b": ramp(2)}, a_b=slot(2))
    assert list(state) == ["a.b"]
    assert notes == ["a moving average of the weights is left out: ema_a_b"]


def test_constants_on_either_side_are_said_and_kept():
    state = State({"a": ramp(2), "kernel": ramp(3)}, ["kernel"])
    assert fit(state, a=slot(2))[1] == ["constants that the network does not have are left out: kernel"]
    found, notes = fit({"a": ramp(2)}, a=slot(2), kernel=slot(3, buffer=True), ids=slot(3, buffer=True))
    assert list(found) == ["a"]
    assert notes == ["constants that are not in the weights keep the network's own values: kernel, ids"]
    found, notes = fit({"a": ramp(2), "ids": ramp(3, dtype=np.int64)}, a=slot(2), ids=slot(3, buffer=True))
    assert (list(found), notes) == (["a", "ids"], [])


def test_halves_are_said():
    assert fit({"a": ramp(2, dtype=np.float16)}, a=slot(2))[1] == [
        "1 of 1 tensors are float16; the network computes with their values"
    ]


# Live networks


def evaluated(network):
    network.eval()
    return network


KERNEL = np.full((4, 1, 3, 3), 1 / 9, np.float32)


class BlurTorch(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.register_buffer("kernel", torch.from_numpy(KERNEL.copy()))

    def forward(self, x):
        return torch.nn.functional.conv2d(self.conv(x), self.kernel, groups=4)


class BlurPaddle(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.conv = paddle.nn.Conv2D(3, 4, 3)
        self.constants = {"kernel": paddle.to_tensor(KERNEL)}

    def forward(self, x):
        y = self.conv(x)
        return paddle.nn.functional.conv2d(y, self.constants["kernel"].astype(y.dtype), groups=4)


def test_a_buffer_here_and_a_constant_there_is_a_note():
    ours, theirs = BlurTorch(), BlurPaddle()
    result = compare(evaluated(ours), evaluated(theirs), IMAGE)
    assert result.ok, str(result)
    assert result.notes == ("weights: constants that the network does not have are left out: kernel",)
    result = compare(theirs, ours, IMAGE)
    assert result.ok, str(result)
    assert result.notes == ("weights: constants that are not in the weights keep the network's own values: kernel",)


def test_random_weights_leave_constants_as_they_are():
    slots = torch_backend.slots(BlurTorch())
    assert slots["kernel"].buffer
    assert list(hardened_state(slots)) == ["conv.weight", "conv.bias"]


def test_statistics_are_no_constants():
    for backend, norm in ((torch_backend, torch.nn.BatchNorm2d(3)), (paddle_backend, paddle.nn.BatchNorm2D(3))):
        assert not any(each.buffer for each in backend.slots(norm).values())


@pytest.mark.parametrize("linear_first", [True, False])
def test_a_linear_and_a_convolution_of_one_pixel_have_each_others_weights(linear_first, tmp_path):
    """By a file of either framework, and between live networks: square too, where the wrong orientation would fit."""
    for size in (2, 5):
        pairs = {
            "torch": (torch_backend, torch.nn.Linear(5, size), torch.nn.Conv2d(5, size, 1)),
            "paddle": (paddle_backend, paddle.nn.Linear(5, size), paddle.nn.Conv2D(5, size, 1)),
        }
        for framework, (backend, *layers) in pairs.items():
            source, target = layers if linear_first else layers[::-1]
            given = hardened_state(backend.slots(source), 3)
            backend.set_state(source, given)
            path = tmp_path / f"w{'.pth' if framework == 'torch' else '.pdparams'}"
            (torch if framework == "torch" else paddle).save(source.state_dict(), str(path))
            for other, target_of in pairs.items():
                to = target_of[0]
                network = target_of[2 if linear_first else 1]
                state, _ = checkpoint.read(path, to.slots(network), "")
                notes = to.set_state(network, state)
                assert len(notes) == 1, other
                assert np.array_equal(to.get_state(network)["weight"].ravel(), given["weight"].ravel())
            assert backend.set_state(target, backend.get_state(source)) != []


@pytest.mark.parametrize("new", [True, False])
def test_both_namings_of_a_weight_norm_are_one(new, tmp_path):
    wrap = torch.nn.utils.parametrizations.weight_norm if new else torch.nn.utils.weight_norm
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = torch.nn.Sequential(wrap(torch.nn.Conv2d(3, 4, 3)), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 1))
        old = torch.nn.Sequential(torch.nn.utils.weight_norm(torch.nn.Conv2d(3, 4, 3)), torch.nn.ReLU(), ours[2])
    nn = paddle.nn
    theirs = nn.Sequential(nn.utils.weight_norm(nn.Conv2D(3, 4, 3)), nn.ReLU(), nn.Conv2D(4, 2, 1))
    result = compare(evaluated(ours), evaluated(theirs), IMAGE)
    assert result.ok, str(result)
    assert "shapes that differ only by ones, (4, 1, 1, 1) as (4,): 0.weight_g" in str(result)
    assert ("another spelling of a weight norm" in str(result)) is new
    for source, save, backend, target in (
        (theirs, paddle.save, torch_backend, ours),
        (old, torch.save, torch_backend, ours),
        (ours, torch.save, paddle_backend, theirs),
    ):
        path = tmp_path / f"w{'.pth' if save is torch.save else '.pdparams'}"
        save(source.state_dict(), str(path))
        state, _ = checkpoint.read(path, backend.slots(target), "")
        backend.set_state(target, state)
        assert compare(evaluated(source), evaluated(target), IMAGE, transfer=False).ok
