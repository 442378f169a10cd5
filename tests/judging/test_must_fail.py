"""Porting mistakes, each planted on purpose: the verdict, the layer and the words. Then right pairs, which pass."""

import math
import re

import numpy as np
import paddle
import pytest
import torch
from pairs import IMAGE, harden, small

import paddle_cnn
import torch_cnn
from parity import State, Trace, compare
from parity.backends import torch_backend
from parity.judging.explain import with_culprits
from parity.judging.judge import judge
from parity.tracing.record import record
from parity.tracing.trace import TraceWriter


@pytest.fixture
def pair(device):
    return small(device)


def culprits(comparison):
    """Return each culprit's reason, without the proof: tests/judging/test_proved.py."""
    assert not comparison.ok
    return {culprit.layer: re.sub(r" \(proved: [^)]*\)", "", culprit.explanation) for culprit in comparison.culprits}


def test_transposed_square_linear(pair):
    ours, theirs = pair
    theirs[6].weight.set_value(theirs[6].weight.numpy().T.copy())
    result = compare(ours, theirs, IMAGE, transfer=False)
    assert result.verdict == "different"
    assert (result.first_divergence.layer, result.first_divergence.where) == ("6", "inside")
    assert culprits(result) == {"6": "weight is transposed"}


def test_two_layers_weights_swapped(pair):
    ours, theirs = pair
    a, b = theirs[6].weight.clone(), theirs[8].weight.clone()
    theirs[6].weight.set_value(b)
    theirs[8].weight.set_value(a)
    found = culprits(compare(ours, theirs, IMAGE, transfer=False))
    assert found == {"6": "weight holds the reference's 8.weight", "8": "weight holds the reference's 6.weight"}


def test_permuted_channels_with_equal_means(pair):
    ours, theirs = pair
    weight = theirs[0].conv.weight
    weight.set_value(weight.numpy()[::-1].copy())
    result = compare(ours, theirs, IMAGE, transfer=False)
    means = [layer.weight.detach().cpu().numpy().mean() for layer in (ours[0].conv, theirs[0].conv)]
    assert math.isclose(*means, rel_tol=1e-5)  # what a comparison of means sees
    assert culprits(result)["0.conv"] == "weight has the right numbers, permuted along axis 0"


def test_gamma_and_beta_swapped(pair):
    ours, theirs = pair
    norm = theirs[0].batch_norm
    gamma, beta = norm.weight.clone(), norm.bias.clone()
    norm.weight.set_value(beta)
    norm.bias.set_value(gamma)
    found = culprits(compare(ours, theirs, IMAGE, transfer=False))["0.batch_norm"]
    assert found == "weight holds the reference's 0.batch_norm.bias; bias holds the reference's 0.batch_norm.weight"


def test_mean_and_variance_not_copied(pair):
    ours, theirs = pair
    norm = theirs[2].conv1.batch_norm
    norm._mean.set_value(paddle.zeros_like(norm._mean))
    norm._variance.set_value(paddle.ones_like(norm._variance))
    found = culprits(compare(ours, theirs, IMAGE, transfer=False))
    assert found == {
        "2.conv1.batch_norm": "running_mean was not copied: all of it is 0; running_var was not copied: all of it is 1"
    }


def test_eps_off_by_ten_percent(pair):
    ours, theirs = pair
    theirs[2].conv1.batch_norm._epsilon = 1.1e-5
    result = compare(ours, theirs, IMAGE)
    assert (result.first_divergence.layer, result.first_divergence.where) == ("2.conv1.batch_norm", "inside")
    assert culprits(result) == {"2.conv1.batch_norm": "eps differs: torch=1e-05, paddle=1.1e-05"}


def test_stride_moved_from_the_3x3_to_the_1x1(pair):
    ours, theirs = pair
    theirs[2].conv0.conv._stride, theirs[2].conv1.conv._stride = [2, 2], [1, 1]
    result = compare(ours, theirs, IMAGE)
    assert result.verdict == "invalid"  # a shape differs on the way
    found = culprits(result)
    assert found["2.conv0.conv"] == "stride differs: torch=[1, 1], paddle=[2, 2]"
    assert found["2.conv1.conv"] == "stride differs: torch=[2, 2], paddle=[1, 1]"


def test_ceil_mode_on(pair):
    ours, theirs = pair
    theirs[1].ceil_mode = True
    image = IMAGE[:, :, :32, :30]  # on odd sizes rounding up changes nothing
    found = culprits(compare(ours, theirs, IMAGE))
    assert found == {"1": "ceil_mode differs: torch=False, paddle=True; same output on this input"}
    assert compare(ours, theirs, IMAGE, values_only=True).ok
    result = compare(ours, theirs, image)
    assert result.verdict == "invalid"
    assert "shape differs" in next(layer for layer in result.layers if layer.layer == "1").reason
    assert culprits(result)["1"].startswith("ceil_mode differs: torch=False, paddle=True")


def test_one_relu_missing(pair):
    ours, theirs = pair
    theirs[2].conv0.act = None
    result = compare(ours, theirs, IMAGE)
    assert (result.first_divergence.layer, result.first_divergence.where) == ("2.conv0", "between")
    assert result.unmatched["reference"] == ("2.conv0.act",)
    ((layer, words),) = culprits(result).items()
    assert layer == "2.conv0"
    assert "2.conv0.act is only in the reference" in words


def test_residual_added_twice(pair):
    ours, theirs = pair

    class Twice(type(theirs[3])):
        def forward(self, inputs):
            y = self.conv2(self.conv1(self.conv0(inputs)))
            return self.relu(inputs + y + inputs)

    theirs[3].__class__ = Twice
    result = compare(ours, theirs, IMAGE)
    assert (result.first_divergence.layer, result.first_divergence.where) == ("3.relu", "between")
    assert culprits(result) == {
        "3": "the forward code of 3 (BottleneckBlock) differs, what it calls is right; "
        "between 3.add() and 3.relu: 3.add() (Add) with 2.relu is applied, which the reference does not do; "
        "3.add() (call 1) is only in the candidate"
    }


def test_a_layer_in_training_mode(pair):
    ours, theirs = pair
    theirs[2].conv1.batch_norm.train()
    found = culprits(compare(ours, theirs, IMAGE))
    assert found == {"2.conv1.batch_norm": "in training mode in paddle: call .eval() on the network"}


def test_nan_on_one_side(pair):
    ours, theirs = pair
    theirs[8].bias.set_value(paddle.full_like(theirs[8].bias, float("nan")))
    result = compare(ours, theirs, IMAGE, transfer=False)
    assert result.verdict == "invalid"
    assert result.first_divergence.layer == "8"
    assert "nan in the candidate at index (0, 0)" in next(layer for layer in result.layers if layer.layer == "8").reason


def test_nan_on_both_sides_proves_nothing(pair):
    ours, theirs = pair
    with torch.no_grad():
        ours[8].bias[3] = float("nan")
    result = compare(ours, theirs, IMAGE)
    assert result.verdict == "invalid"
    assert "NaN on both sides at index (0, 3)" in next(layer for layer in result.layers if layer.layer == "8").reason
    assert "8" in culprits(result)


def test_a_missing_layer(pair):
    ours, theirs = pair
    theirs = paddle.nn.Sequential(*list(theirs)[:-1])
    theirs.eval()
    result = compare(ours, theirs, IMAGE, transfer=False)
    assert result.verdict == "invalid"
    assert result.unmatched["reference"] == ("8",)
    assert "layers with weights have no partner: 8" in result.notes
    assert "8 is only in the reference" in culprits(result)[""]


def test_conv1_is_not_paired_with_conv10():
    made = []
    for nn in (torch.nn, paddle.nn):
        names = ("conv1", "conv2") if nn is torch.nn else ("conv10", "conv2")
        conv = nn.Conv2d if nn is torch.nn else nn.Conv2D
        net = nn.Sequential()
        for name in names:
            (net.add_module if nn is torch.nn else net.add_sublayer)(name, conv(3, 3, 3))
        made.append(net)
    result = compare(*made, IMAGE, transfer=False)
    assert result.verdict == "different"  # a pair by their place, whatever they are called
    assert [(layer.layer, layer.partner) for layer in result.layers[:2]] == [("conv1", "conv10"), ("conv2", "conv2")]
    assert culprits(result)["conv1"].startswith("(conv10 in the candidate) weight differs in 81 of 81 elements")
    assert compare(*made, IMAGE).ok  # the weights move by structure


def test_an_empty_trace(tmp_path):
    for name in ("a", "b"):
        TraceWriter(tmp_path / name).close({"framework": name}, [])
    result = judge("nothing", Trace(tmp_path / "a"), Trace(tmp_path / "b"))
    assert not result.ok
    assert result.verdict == "invalid"
    assert result.notes == ("nothing was compared: the two share no layer, or the network gave no output",)


def test_one_weight_off_by_one_unit_in_the_last_place():
    weight = np.linspace(0.1, 1, 5, dtype=np.float32)
    off = weight.copy()
    off[3] = np.nextafter(off[3], 2)
    assert State({"w": weight}).differences({"w": off}) == ["w"]
    assert State({"w": weight}).differences({"w": weight.astype(np.float64)}) == ["w"]
    assert State({"w": np.zeros(1)}).differences({"w": -np.zeros(1)}) == ["w"]
    assert State({"w": weight}).differences({"w": weight.copy()}) == []
    assert State({"w": weight}).digest() != State({"w": off}).digest()


def test_a_shape_that_would_broadcast():
    class Column(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            self.linear = paddle.nn.Linear(4, 1)

        def forward(self, inputs):
            return self.linear(inputs)

    class Flat(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(4, 1)

        def forward(self, inputs):
            return self.linear(inputs)[:, 0]

    result = compare(Flat(), Column(), IMAGE[0, 0, :5, :4])
    assert result.verdict == "invalid"
    root = result.layers[-1]
    assert (root.layer, root.reason) == ("", "output 0: shape differs: reference (5,), candidate (5, 1)")
    assert culprits(result) == {
        "": "the forward code of the network (Flat) differs, what it calls is right; between linear and its end: "
        "slice() (slice) is missing; slice() is only in the reference"
    }


def test_a_forward_is_not_said_to_call_what_is_right_where_nothing_it_calls_was_compared():
    class Skipped(torch.nn.Sequential):
        def forward(self, x):
            return x

    def network(block):
        return torch.nn.Sequential(torch.nn.Conv2d(3, 3, 3), block).eval()

    relu = torch.nn.ReLU()
    result = compare(network(torch.nn.Sequential(relu)), network(Skipped(relu)), IMAGE)
    assert "first divergence: between 1: nothing it calls was compared" in str(result)
    assert culprits(result)["1"].startswith("the forward code of 1 (Sequential) differs, nothing it calls was compared")
    assert "agree, its" not in str(result)
    assert "is right" not in str(result)


def test_layers_of_other_names_in_one_place_are_a_pair():
    def network(name, act):
        block = torch.nn.Sequential()
        block.add_module(name, act)
        return torch.nn.Sequential(torch.nn.Conv2d(3, 3, 3), block).eval()

    result = compare(network("a", torch.nn.ReLU()), network("b", torch.nn.Tanh()), IMAGE)
    assert culprits(result) == {"1.a": "(1.b in the candidate) kind differs: reference=ReLU, candidate=Tanh"}
    assert compare(network("a", torch.nn.ReLU()), network("b", torch.nn.ReLU()), IMAGE).ok


def test_a_layer_called_by_keyword_is_the_culprit_and_not_the_forward_that_calls_it():
    """It cannot be replayed from its recorded tensors, but its inputs agree and its output does not."""

    class Scale(torch.nn.Module):
        def __init__(self, factor):
            super().__init__()
            self.factor = factor

        def forward(self, x):
            return self.factor * x

    class Network(torch.nn.Sequential):
        def forward(self, x):
            return self[1](x=self[0](x))

    layer = torch.nn.Conv2d(3, 3, 3)
    result = compare(Network(layer, Scale(2.0)), Network(layer, Scale(2.5)), IMAGE, transfer=False)
    assert culprits(result) == {"1.mul()": "other differs: reference=2.0, candidate=2.5"}
    assert "is right" not in str(result)


def test_an_input_that_differs_at_the_first_layer_is_behind_no_output_that_agrees(tmp_path):
    class Scaled(torch.nn.Sequential):
        def forward(self, x):
            return super().forward(2 * x)

    layer = torch.nn.Conv2d(3, 3, 3)
    result = compare(torch.nn.Sequential(layer), Scaled(layer), IMAGE, transfer=False)
    assert "first divergence: between 0: nothing before it was compared, its input does not agree" in str(result)
    # The layer itself was compared: given the reference's input, it is right.
    assert culprits(result) == {
        "": "the forward code of the network (Sequential) differs, what it calls is right; "
        "between the input and 0: mul() (Mul by 2) is applied, which the reference does not do; "
        "mul() is only in the candidate"
    }
    for name, network in (("a", torch.nn.Sequential(layer)), ("b", Scaled(layer))):
        record(torch_backend, network, [IMAGE], tmp_path / name)
    with Trace(tmp_path / "a") as a, Trace(tmp_path / "b") as b:
        not_replayed = with_culprits(judge("scaled", a, b), a, b, {}, None)
    assert culprits(not_replayed) == {
        "0": "the forward code of the network differs, nothing it calls was compared; "
        "between the input and 0: mul() (Mul by 2) is applied, which the reference does not do; "
        "mul() is only in the candidate"
    }


def test_a_comparison_is_short_where_pytest_prints_it_and_its_text_begins_with_the_verdict(pair):
    ours, theirs = pair
    theirs[2].conv1.batch_norm._epsilon = 1.1e-5
    result = compare(ours, theirs, IMAGE)
    assert repr(result) == f"<Comparison Sequential: different, layer calls: {len(result.layers)}, culprits: 1>"
    assert str(result).startswith("Sequential: different: 2.conv1.batch_norm: eps differs: torch=1e-05, paddle=1.1e-05")


def test_the_right_pair_passes(pair):
    result = compare(*pair, IMAGE)
    assert result.verdict == "rounding"
    assert (result.culprits, result.first_divergence) == ((), None)
    assert result.unmatched == {"reference": (), "candidate": ()}


def test_a_network_against_itself_is_exact(pair):
    assert compare(pair[0], pair[0], IMAGE, transfer=False).verdict == "exact"


def test_every_order_of_sides_works(pair):
    ours, theirs = pair
    assert compare(theirs, ours, IMAGE).ok
    assert compare(theirs, theirs, IMAGE, transfer=False).ok


def test_gradients_are_compared(pair):
    ours, theirs = pair
    assert compare(ours, theirs, IMAGE, gradients=True).ok

    class NoGradient(type(theirs[7])):
        def forward(self, x):
            return super().forward(x).detach()

    theirs[7].__class__ = NoGradient
    assert compare(ours, theirs, IMAGE).ok
    result = compare(ours, theirs, IMAGE, gradients=True)
    assert result.verdict == "different"
    assert [culprit.layer for culprit in result.culprits] == ["7"]


def test_a_layer_derived_from_a_linear_is_one():
    """Paddle stores its weight transposed all the same; a square one shows whether that is known."""
    linears = [type("Mine", (nn.Linear,), {})(4, 4) for nn in (torch.nn, paddle.nn)]
    result = compare(
        *[nn.Sequential(linear) for nn, linear in zip((torch.nn, paddle.nn), linears, strict=True)], IMAGE[0, 0, :5, :4]
    )
    assert result.ok, str(result)
    assert result.layers[0].kind == "Linear"


def test_several_mistakes_are_all_found(pair):
    ours, theirs = pair
    theirs[0].batch_norm._epsilon = 1e-3
    theirs[3].conv2.batch_norm._epsilon = 1e-4
    theirs[8].weight.set_value(theirs[8].weight.numpy().T.copy())
    assert list(culprits(compare(ours, theirs, IMAGE, transfer=False))) == ["0.batch_norm", "3.conv2.batch_norm", "8"]


def test_eps_in_one_batch_norm_of_resnet50_is_found_at_that_layer(device):
    """And the clean pair passes with two orders of magnitude to spare, in every layer."""
    ours, theirs = harden(torch_cnn.build("resnet50"), paddle_cnn.build("resnet50"), device)
    image = IMAGE[:1]
    clean = compare(ours, theirs, image)
    assert clean.ok
    assert max(layer.distance / layer.allowance for layer in clean.layers) < 1e-2
    theirs.layer3[2].conv1.batch_norm._epsilon = 1.1e-5
    result = compare(ours, theirs, image)
    assert result.first_divergence.layer == "layer3.2.conv1.batch_norm"
    assert culprits(result) == {"layer3.2.conv1.batch_norm": "eps differs: torch=1e-05, paddle=1.1e-05"}
