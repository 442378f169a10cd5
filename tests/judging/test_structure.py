"""Networks of other names, granularity and order are paired by structure; weights move by the layers that own them."""

import numpy as np
import paddle
import paddle.nn.functional as PF
import pytest
import torch
import torch.nn.functional as TF
from program import run

from parity import ParityError, compare

IMAGE = np.random.default_rng(0).standard_normal((2, 3, 16, 16)).astype(np.float32)


class TorchNet(torch.nn.Module):
    """A stem, a residual block with a gate, two branches of one shape, a head."""

    def __init__(self):
        super().__init__()
        nn = torch.nn
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.conv1 = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(8)
        self.squeeze, self.excite = nn.Linear(8, 4), nn.Linear(4, 8)
        self.left, self.right = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(16, 5)

    def forward(self, x):
        x = self.stem(x)
        y = self.bn2(self.conv2(TF.relu(self.bn1(self.conv1(x)))))
        gate = TF.hardsigmoid(self.excite(TF.relu(self.squeeze(y.mean((2, 3))))))
        x = TF.relu(x + y * gate[:, :, None, None])
        x = torch.cat([self.left(x), self.right(x)], 1)
        return self.head(torch.flatten(self.pool(x), 1))


class Block(paddle.nn.Layer):
    """Convolution, normalisation and, on request, activation."""

    def __init__(self, channels, act, epsilon=1e-5):
        super().__init__()
        self._conv = paddle.nn.Conv2D(channels, 8, 3, padding=1, bias_attr=False)
        self._norm = paddle.nn.BatchNorm(8, act=act, epsilon=epsilon)

    def forward(self, x):
        return self._norm(self._conv(x))


class PaddleNet(paddle.nn.Layer):
    """The same with other names, in another order of definition and of branches; the gate is of convolutions."""

    def __init__(self, epsilon=1e-5, swap=False, act="relu"):
        super().__init__()
        nn = paddle.nn
        self.classifier = nn.Linear(16, 5)
        self.b, self.a = nn.Conv2D(8, 8, 1), nn.Conv2D(8, 8, 1)
        self.gate = nn.Sequential(nn.Conv2D(8, 4, 1), nn.ReLU(), nn.Conv2D(4, 8, 1))
        self.body = nn.LayerList([Block(3, "relu"), Block(8, act), Block(8, None, epsilon)])
        self.unused = nn.Linear(3, 3)
        self.swap = swap

    def forward(self, x):
        x = self.body[0](x)
        y = self.body[2](self.body[1](x))
        y = y * PF.relu6(self.gate(PF.adaptive_avg_pool2d(y, 1)) + 3) / 6
        x = PF.relu(y + x)
        right, left = self.b(x), self.a(x)
        x = paddle.concat([right, left] if self.swap else [left, right], 1)
        return self.classifier(x.mean((2, 3)))


def pair(**changes):
    torch.manual_seed(0)
    ours, theirs = TorchNet().eval(), PaddleNet(**changes)
    with torch.no_grad():
        for norm in (module for module in ours.modules() if isinstance(module, torch.nn.BatchNorm2d)):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
            norm.weight.uniform_(0.5, 2)
            norm.bias.normal_()
    theirs.eval()
    return ours, theirs


def test_a_right_port_of_other_names_passes():
    result = compare(*pair(), IMAGE)
    assert result.ok, str(result)
    partners = result.partners
    assert partners["stem.0"] == "body.0._conv"
    assert partners["conv2"] == "body.2._conv"
    assert (partners["squeeze"], partners["excite"]) == ("gate.0", "gate.2")
    assert (partners["left"], partners["right"]) == ("a", "b")
    assert partners["head"] == "classifier"


def test_a_wrong_port_of_other_names_is_found_at_its_layer():
    result = compare(*pair(epsilon=1.1e-5), IMAGE)
    assert not result.ok
    assert [culprit.layer for culprit in result.culprits] == ["bn2"]
    assert result.culprits[0].explanation.startswith(
        "(body.2._norm in the candidate) eps differs: torch=1e-05, paddle=1.1e-05 (proved: with eps=1.1e-05 torch "
    )


def test_an_activation_that_is_missing_in_a_block_is_found():
    result = compare(*pair(act=None), IMAGE)
    assert not result.ok
    assert any("relu() is only in the reference" in culprit.explanation for culprit in result.culprits), str(result)


class TorchStack(torch.nn.Module):
    def __init__(self, eps=1e-5):
        super().__init__()
        self.conv, self.bn, self.last = torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4, eps), torch.nn.Conv2d(4, 2, 1)

    def forward(self, x):
        return self.last(TF.relu(self.bn(self.conv(x))))


class PaddleStack(paddle.nn.Layer):
    def __init__(self, epsilon=1e-5):
        super().__init__()
        nn = paddle.nn
        self.out, self.norm, self.first = (
            nn.Conv2D(4, 2, 1),
            nn.BatchNorm(4, "relu", epsilon=epsilon),
            nn.Conv2D(3, 4, 3),
        )

    def forward(self, x):
        return self.out(self.norm(self.first(x)))


@pytest.mark.parametrize("reverse", [False, True])
def test_an_activation_inside_a_norm_has_the_gradient_behind_it_and_is_no_other_function(reverse):
    nets = lambda **changes: [TorchStack().eval(), PaddleStack(**changes)][:: -1 if reverse else 1]
    for net in (right := nets()):
        net.eval()
    result = compare(*right, IMAGE, gradients=True)
    assert result.ok, str(result)
    for net in (wrong := nets(epsilon=1.1e-5)):
        net.eval()
    for gradients in (False, True):
        result = compare(*wrong, IMAGE, gradients=gradients)
        assert [culprit.layer for culprit in result.culprits if culprit.layer] == [("bn", "norm")[reverse]], str(result)
        assert "eps differs" in result.culprits[0].explanation


def test_branches_concatenated_in_another_order_are_no_right_port():
    """Two branches of one shape are told apart by their place in the concatenation; the weights move by that."""
    assert compare(*pair(swap=True), IMAGE).ok  # the names of branches mean nothing: left is what comes first
    ours, theirs = pair(swap=True)
    named = {"left": "a", "right": "b"}
    result = compare(ours, theirs, IMAGE, layers=named)
    assert not result.ok
    assert result.first_divergence.layer == "cat()"


def test_values_pair_layers_where_weights_were_carried_by_hand():
    ours, theirs = pair()
    assert compare(ours, theirs, IMAGE).ok
    result = compare(ours, theirs, IMAGE, transfer=False)
    assert result.ok, str(result)


def test_a_layer_without_a_partner_is_invalid():
    class Longer(PaddleNet):
        def __init__(self):
            super().__init__()
            self.extra = paddle.nn.Linear(5, 5)

        def forward(self, x):
            return self.extra(super().forward(x))

    ours, _ = pair()
    theirs = Longer()
    theirs.eval()
    result = compare(ours, theirs, IMAGE)
    assert result.verdict == "invalid"
    assert "layers with weights have no partner: extra" in result.notes


def test_a_bias_that_one_side_lacks_is_listed():
    ours, theirs = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1)).eval(), paddle.nn.LayerDict()
    theirs = paddle.nn.Sequential(("c", paddle.nn.Conv2D(3, 4, 1, bias_attr=False)))
    theirs.eval()
    result = compare(ours, theirs, IMAGE)
    assert result.verdict == "invalid"
    assert "weights without a partner: 0.bias (reference)" in result.notes


def test_names_that_are_the_same_and_mean_other_layers():
    class Named(torch.nn.Module):
        def __init__(self, first, second):
            super().__init__()
            self.conv1, self.conv2 = torch.nn.Conv2d(*first, 3), torch.nn.Conv2d(*second, 3)
            self.order = (self.conv1, self.conv2) if first[0] == 3 else (self.conv2, self.conv1)

        def forward(self, x):
            return self.order[1](self.order[0](x))

    result = compare(Named((3, 4), (4, 5)).eval(), Named((4, 5), (3, 4)).eval(), IMAGE)
    assert result.ok, str(result)
    assert result.partners["conv1"] == "conv2"
    with pytest.raises(ParityError, match=r"conv2\.weight: shape differs"):
        compare(Named((3, 4), (4, 5)).eval(), Named((3, 4), (4, 6)).eval(), IMAGE)


def test_weight_norms_of_either_naming_are_one():
    ours = torch.nn.Sequential(torch.nn.utils.parametrizations.weight_norm(torch.nn.Conv2d(3, 4, 3)), torch.nn.ReLU())
    for name in ("0", "conv"):
        theirs = paddle.nn.Sequential((name, paddle.nn.utils.weight_norm(paddle.nn.Conv2D(3, 4, 3))))
        theirs.eval()
        result = compare(ours.eval(), theirs, IMAGE)
        assert not result.ok  # its ReLU is missing, and nothing else
        assert "weights" not in " ".join(culprit.explanation for culprit in result.culprits)
        theirs.add_sublayer("relu", paddle.nn.ReLU())
        assert compare(ours, theirs, IMAGE).ok, str(compare(ours, theirs, IMAGE))


def test_a_map_of_no_such_layer_is_one_line():
    with pytest.raises(ParityError, match=r"map: stem\.9: the reference calls no such layer; did you mean stem\."):
        compare(*pair(), IMAGE, layers={"stem.9": "body.0._conv"})


NET = """
from torch import nn
def a():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(64, 5)).eval()
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.last, self.first, self.second = nn.Linear(64, 5), nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
    def forward(self, x):
        return self.last(self.second(self.first(x).relu()).flatten(1))
def b():
    return Net().eval()
"""


def test_the_command_line_pairs_maps_and_prints_pairs(tmp_path):
    (tmp_path / "net.py").write_text(NET)
    words = ("compare", "torch:net.py:a", "torch:net.py:b", "--input", "1,3,8,8")
    printed = run(*words, "--print-map", cwd=tmp_path)
    assert (printed.returncode, printed.stdout) == (0, "'0': first\n'2': second\n'4': last\n")
    (tmp_path / "map.yaml").write_text(printed.stdout)
    done = run(*words, "--map", "map.yaml", "--quiet", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    (tmp_path / "map.yaml").write_text("'0': second\n'2': first\n")
    assert run(*words, "--map", "map.yaml", "--quiet", cwd=tmp_path).returncode == 1
    for text, message in (
        ("- 0", "are wanted"),
        ("'9': first", "no such layer"),
        ("a: b: c", "map.yaml"),
        ("0: x\n2: x", "one partner"),
    ):
        (tmp_path / "map.yaml").write_text(text)
        done = run(*words, "--map", "map.yaml", cwd=tmp_path)
        assert done.returncode == 2
        assert message in done.stderr
        assert done.stderr.count("\n") == 1


def test_weights_that_a_function_takes_move_to_the_layer_of_the_other_network():
    class Given(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(4, 5)

        def forward(self, x):
            return TF.linear(self.conv(x).mean((2, 3)), self.fc.weight, self.fc.bias)

    class Called(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            self.stem, self.classifier = paddle.nn.Conv2D(3, 4, 3), paddle.nn.Linear(4, 5)

        def forward(self, x):
            return self.classifier(self.stem(x).mean((2, 3)))

    theirs = Called()
    theirs.eval()
    result = compare(Given().eval(), theirs, IMAGE)
    assert result.ok, str(result)


class Scale(torch.nn.Module):
    """A layer of people's own, that computes by functions."""

    def __init__(self):
        super().__init__()
        self.gamma = torch.nn.Parameter(torch.rand(4) + 0.5)

    def forward(self, x):
        return (x.permute(0, 2, 3, 1) * self.gamma).permute(0, 3, 1, 2)


class Scaled(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.scale, self.last = torch.nn.Conv2d(3, 4, 3), Scale(), torch.nn.Conv2d(4, 4, 1)
        self.token = torch.nn.Parameter(torch.rand(1, 4, 1, 1))

    def forward(self, x):
        x = self.scale(self.conv(x))
        return self.last(torch.cat([x, self.token.expand(len(x), 4, 1, x.shape[3])], 2))


class ScaledInTheBlock(paddle.nn.Layer):
    """Its block owns what is a layer's in the other network."""

    def __init__(self):
        super().__init__()
        self.end, self.stem = paddle.nn.Conv2D(4, 4, 1), paddle.nn.Conv2D(3, 4, 3)
        self.gamma_1, self.start = self.create_parameter([4]), self.create_parameter([1, 4, 1, 1])

    def forward(self, x):
        x = (self.stem(x).transpose([0, 2, 3, 1]) * self.gamma_1).transpose([0, 3, 1, 2])
        return self.end(paddle.concat([x, self.start.expand([x.shape[0], 4, 1, x.shape[3]])], 2))


def test_a_blocks_own_weights_are_a_layers_of_the_other_network():
    ours, theirs = Scaled().eval(), ScaledInTheBlock()
    theirs.eval()
    result = compare(ours, theirs, IMAGE)
    assert result.ok, str(result)
    theirs.gamma_1.set_value(theirs.gamma_1 * 0 + 1)
    result = compare(ours, theirs, IMAGE, transfer=False)
    assert [(culprit.layer, culprit.explanation) for culprit in result.culprits] == [
        ("scale.mul()", "(mul() in the candidate) gamma was not copied: all of it is 1")
    ]


def test_gradients_of_parts_of_a_split_are_no_wrong_alarm():
    """Paddle 3.3 raises a SystemError where it is asked for one."""

    def net(nn, conv, chunk, cat):
        class Split(nn):
            def __init__(self):
                super().__init__()
                self.conv = conv(3, 4, 3)

            def forward(self, x):
                a, b = chunk(self.conv(x), 2, 1)
                return cat([a, b * 3], 1)

        return Split()

    ours = net(torch.nn.Module, torch.nn.Conv2d, torch.chunk, torch.cat).eval()
    theirs = net(paddle.nn.Layer, paddle.nn.Conv2D, paddle.chunk, paddle.concat)
    theirs.eval()
    result = compare(ours, theirs, IMAGE, gradients=True)
    assert result.ok, str(result)


def test_heads_of_one_shape_are_told_apart_by_the_output_that_they_make():
    def net(nn, linear, names):
        class Heads(nn):
            def __init__(self):
                super().__init__()
                for name in names:
                    setattr(self, name, linear(16, 5))

            def forward(self, x):
                made = {name: getattr(self, name)(x) for name in names}  # called in the order of their names
                return [made[name] for name in sorted(names, key=lambda name: name[-1])]

        return Heads()

    ours = net(torch.nn.Module, torch.nn.Linear, ("a1", "b2")).eval()
    theirs = net(paddle.nn.Layer, paddle.nn.Linear, ("c2", "d1"))
    theirs.eval()
    result = compare(ours, theirs, IMAGE)
    assert result.ok, str(result)
    assert (result.partners["a1"], result.partners["b2"]) == ("d1", "c2")
