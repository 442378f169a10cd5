"""Comparisons in training mode: what is wrong there alone is found, right pairs pass, nothing is left changed."""

import random

import numpy as np
import paddle
import pytest
import torch
from pairs import IMAGE, small

from paddle_cnn.batch_norm import TorchBatchNorm2D
from parity import ParityError, compare
from parity.backends import paddle_backend, torch_backend
from parity.judging.comparison import summary
from parity.numerics.arrays import same_bits

T, P = torch.nn, paddle.nn
PICTURE = IMAGE[:, :, :9, :9]


def ours(p=0.5, **norm):
    return T.Sequential(
        T.Conv2d(3, 4, 3), T.BatchNorm2d(4, **norm), T.ReLU(), T.Dropout(p), T.Conv2d(4, 2, 1), T.Dropout2d(0.4),
        T.AlphaDropout(0.2),
    ).eval()  # fmt: skip


def theirs(p=0.5, **norm):
    network = P.Sequential(
        P.Conv2D(3, 4, 3), P.BatchNorm2D(4, **norm), P.ReLU(), P.Dropout(p), P.Conv2D(4, 2, 1), P.Dropout2D(0.4),
        P.AlphaDropout(0.2),
    )  # fmt: skip
    network.eval()
    return network


def trained(reference, candidate, **options):
    return compare(reference, candidate, PICTURE, mode="train", **options)


@pytest.mark.parametrize(
    ("wrong", "layer", "reason"),
    [
        ({"momentum": 0.1}, "1", "momentum differs: torch=0.1, paddle=0.9"),
        ({"use_global_stats": True}, "1", "use_global_stats differs: torch=None, paddle=True"),
        ({"p": 0.2}, "3", "p differs: torch=0.5, paddle=0.2"),
        ({"epsilon": 1.1e-5}, "1", "eps differs: torch=1e-05, paddle=1.1e-05"),
    ],
)
def test_a_setting_that_matters_in_training_is_found(wrong, layer, reason):
    if "epsilon" not in wrong:
        assert compare(ours(), theirs(**wrong), PICTURE).ok
    result = trained(ours(), theirs(**wrong))
    assert result.verdict == "different"
    assert [culprit.layer for culprit in result.culprits] == [layer]
    assert result.culprits[0].explanation.startswith(reason)


@pytest.mark.parametrize(
    ("wrong", "proof"),
    [
        ({"momentum": 0.1}, "(proved: with momentum=0.9 torch reproduces paddle to "),
        ({"use_global_stats": True}, "(proved: with use_global_stats=True torch reproduces paddle to "),
        ({"p": 0.2}, "(proved: with p=0.2 torch reproduces paddle to "),
        ({"epsilon": 1e-3, "momentum": 0.8}, "(proved: with eps=0.001 torch reproduces paddle to "),
    ],
)
def test_a_setting_that_matters_in_training_is_proved(wrong, proof):
    (culprit,) = trained(ours(), theirs(**wrong)).culprits
    assert proof in culprit.explanation
    assert ("(proved: with momentum=0.2 torch" in culprit.explanation) == (wrong.get("momentum") == 0.8)


def own_norm(update):
    """Return a pair whose candidate updates its statistics by a function of old ones, the batch's, and momentum."""

    class Own(T.BatchNorm2d):
        def forward(self, x):
            old, n = [each.clone() for each in (self.running_mean, self.running_var)], x.numel() / x.shape[1]
            y = super().forward(x)
            batch = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
            with torch.no_grad():
                for i, each in enumerate((self.running_mean, self.running_var)):
                    each.copy_(update(i, old[i], batch[i], n))
            return y

    candidate = ours()
    candidate[1].__class__ = Own
    return ours(), candidate


UNBIASED = lambda i, new, n: new * n / (n - 1) if i else new
UPDATES = [
    (lambda i, old, new, n: old, "its statistics are not updated (proved: so reference reproduces candidate to 0"),
    (lambda i, old, new, n: 0.1 * old + 0.9 * UNBIASED(i, new, n), "the batch counts by 1 - momentum = 0.9 (proved"),
    (lambda i, old, new, n: 0.9 * old + 0.1 * new, "the variance of the batch is divided by n (proved"),
    (lambda i, old, new, n: UNBIASED(i, new, n), "its statistics are those of the batch alone (proved"),
    (lambda i, old, new, n: 0.81 * old + 0.19 * UNBIASED(i, new, n), "its statistics are updated twice (proved"),
]


@pytest.mark.parametrize(("update", "words"), UPDATES, ids=[words for _, words in UPDATES])
def test_how_statistics_are_updated_is_proved(update, words):
    (culprit,) = trained(*own_norm(update)).culprits
    assert words in culprit.explanation


@pytest.mark.parametrize(
    "update",
    [
        lambda i, old, new, n: old * 0.5 + new,
        lambda i, old, new, n: 0.9 * old + 0.1 * UNBIASED(i, new, n) + 1e-4,
        lambda i, old, new, n: old if i else 0.9 * old + 0.1 * new,
    ],
)
def test_an_update_that_is_not_in_the_table_is_not_proved(update):
    (culprit,) = trained(*own_norm(update)).culprits
    assert "after this step" in culprit.explanation
    assert "proved" not in culprit.explanation


@pytest.mark.parametrize(
    ("dropout", "words"),
    [
        (lambda: P.Dropout(0.5, axis=0), "axis differs: torch=None, paddle=0 (proved: with axis=0"),
        (lambda: P.Dropout2D(0.5), "kind differs: torch=Dropout, paddle=Dropout2d (proved: with Dropout2d"),
        (lambda: P.AlphaDropout(0.5), "kind differs: torch=Dropout, paddle=AlphaDropout (proved: with AlphaDropout"),
        (P.Identity, "kind differs: torch=Dropout, paddle=Identity (proved: with Identity"),
    ],
)
def test_a_dropout_that_drops_other_elements_is_proved(dropout, words):
    candidate = theirs()
    candidate[3] = dropout()
    candidate.eval()
    assert compare(ours(), candidate, PICTURE).ok
    (culprit,) = trained(ours(), candidate).culprits
    assert culprit.layer == "3"
    assert culprit.explanation.startswith(words)


class Head(T.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.drop, self.fc = T.Conv2d(3, 4, 3), T.BatchNorm2d(4), T.Dropout(0.4), T.Linear(4, 5)

    def forward(self, x):
        return self.fc(self.drop(self.norm(self.conv(x)).mean((2, 3))))


def test_a_dropout_that_is_not_called_is_the_culprit_and_not_the_code_around():
    wrong = type("Head", (Head,), {"forward": lambda self, x: self.fc(self.norm(self.conv(x)).mean((2, 3)))})
    (culprit,) = trained(Head().eval(), wrong().eval()).culprits
    assert culprit.layer == "drop"
    assert "drop (Dropout) is missing (proved: so reference reproduces candidate to" in culprit.explanation


def test_a_norm_that_code_puts_into_evaluation_mode_is_the_culprit():
    right = Head.forward
    wrong = type("Head", (Head,), {"forward": lambda self, x: (self.norm.eval(), right(self, x))[1]})
    (culprit,) = trained(Head().eval(), wrong().eval()).culprits
    assert culprit.layer == "norm"
    assert "in evaluation mode in candidate" in culprit.explanation
    assert "(proved: with training=False" in culprit.explanation


def test_a_norm_that_is_frozen_on_one_side_is_found():
    candidate = theirs()
    candidate.train()
    candidate[1].eval()
    result = trained(ours().train(), candidate)
    assert [culprit.layer for culprit in result.culprits] == ["1"]
    assert result.culprits[0].explanation.startswith("in evaluation mode in paddle, in training mode in the other")


def test_statistics_that_are_not_updated_are_found():
    class Still(P.BatchNorm2D):
        def forward(self, x):
            mean, variance = self._mean.clone(), self._variance.clone()
            y = super().forward(x)
            self._mean.set_value(mean)
            self._variance.set_value(variance)
            return y

    candidate = theirs()
    candidate[1] = Still(4)
    candidate.eval()
    result = trained(ours(), candidate)
    assert [culprit.layer for culprit in result.culprits] == ["1"]
    assert "running_mean after this step" in result.culprits[0].explanation
    assert "its statistics do not" in str(result)


def test_a_variance_that_is_biased_in_torch_is_no_difference_of_the_frameworks():
    """Only torch's unbiased against Paddle's biased one is known."""

    class Biased(T.BatchNorm2d):
        def forward(self, x):
            before, n = self.running_var.clone(), x.numel() // x.shape[1]
            y = super().forward(x)
            kept = before * (1 - self.momentum)
            self.running_var.copy_(kept + (self.running_var - kept) * (n - 1) / n)
            return y

    candidate = ours()
    candidate[1] = Biased(4)
    assert not trained(ours(), candidate.eval()).ok


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize(("reference", "candidate"), [(ours, theirs), (theirs, ours), (ours, ours), (theirs, theirs)])
def test_right_pairs_pass(reference, candidate, gradients):
    """The gradient of the first bias is zero in exact arithmetic: a BatchNorm follows."""
    result = trained(reference(), candidate(), gradients=gradients)
    assert result.ok, str(result)
    assert "in training mode" in summary(result)
    both = {reference, candidate} == {ours, theirs}
    assert any("bn-variance" in note for note in result.notes) == both


def test_a_layer_that_stores_torchs_variance_passes_without_a_note():
    candidate = theirs()
    candidate[1] = TorchBatchNorm2D(4)
    candidate.eval()
    result = trained(ours(), candidate, gradients=True)
    assert result.ok, str(result)
    assert result.notes == ()


def test_blocks_with_batch_norm_pass_with_gradients():
    result = compare(*small(), IMAGE, mode="train", gradients=True)
    assert result.ok, str(result)


def test_statistics_of_a_mean_of_zero_are_measured_by_their_input():
    """Behind a BatchNorm without a shift the mean of a convolution is zero in exact arithmetic."""
    make = lambda nn, conv, norm: nn.Sequential(conv(3, 4, 1), norm(4), conv(4, 4, 1), norm(4), conv(4, 4, 1))
    pair = make(T, T.Conv2d, T.BatchNorm2d), make(P, P.Conv2D, P.BatchNorm2D)
    result = trained(*pair, gradients=True)
    assert result.ok, str(result)


def test_batch_statistics_of_two_values_pass_with_a_note():
    def make(nn, pool, conv, norm):
        return nn.Sequential(conv(3, 64, 3), pool(1), conv(64, 64, 1), norm(64), nn.ReLU(), conv(64, 8, 1))

    pair = (
        make(T, T.AdaptiveAvgPool2d, T.Conv2d, T.BatchNorm2d),
        make(P, P.AdaptiveAvgPool2D, P.Conv2D, P.BatchNorm2D),
    )
    result = trained(*pair, gradients=True)
    assert result.ok, str(result)
    assert any("normalises by 2 values per channel" in note for note in result.notes)
    pair[1][3]._epsilon = 1e-3
    assert not trained(*pair).ok


class OurFunctions(T.Module):
    def __init__(self, p=0.3):
        super().__init__()
        self.p, self.a, self.b = p, T.Linear(9, 8), T.Linear(8, 4)

    def forward(self, x):
        x = T.functional.dropout(self.a(x), self.p, self.training)
        return T.functional.alpha_dropout(self.b(torch.relu(x)), 0.2, self.training)


class TheirFunctions(P.Layer):
    def __init__(self, p=0.3):
        super().__init__()
        self.p, self.a, self.b = p, P.Linear(9, 8), P.Linear(8, 4)

    def forward(self, x):
        x = P.functional.dropout(self.a(x), self.p, training=self.training)
        return P.functional.alpha_dropout(self.b(P.functional.relu(x)), 0.2, training=self.training)


def test_functions_have_the_same_masks():
    assert trained(OurFunctions(), TheirFunctions(), gradients=True).ok
    result = trained(OurFunctions(), TheirFunctions(0.4))
    assert result.verdict == "different"
    assert any("p differs: torch=0.3, paddle=0.4" in culprit.explanation for culprit in result.culprits), str(result)


def test_a_dropout_left_out_is_found():
    candidate = theirs()
    candidate[3] = P.Identity()
    assert compare(ours(), candidate, PICTURE).ok
    result = trained(ours(), candidate)
    assert [culprit.layer for culprit in result.culprits] == ["3"]


def test_masks_drop_about_p_and_scale_the_rest():
    x = np.ones((8, 16, 32), np.float32)

    class Last(T.Module):
        def forward(self, x):
            self.out = T.functional.dropout(x, 0.25, True)
            return self.out

    network = Last()
    assert compare(network, network, x, mode="train", transfer=False).ok
    kept = network.out.numpy()
    assert set(np.unique(kept.round(5))) == {np.float32(0), np.float32(1.33333)}
    assert 0.22 < (kept == 0).mean() < 0.28


def test_random_numbers_of_their_own_are_noted():
    class DropPath(T.Module):
        def forward(self, x):
            return x * (torch.rand(x.shape[0], 1, 1, 1, dtype=x.dtype) > 0.5) if self.training else x

    result = trained(T.Sequential(DropPath()), T.Sequential(DropPath()))
    assert sum("draws random numbers by itself (torch" in note for note in result.notes) == 2
    assert not any("draws random numbers" in note for note in trained(ours(), theirs()).notes)


def test_networks_and_random_numbers_are_as_they_were():
    pair = ours(), theirs()
    backends = torch_backend, paddle_backend
    before = [backend.get_state(network) for backend, network in zip(backends, pair, strict=True)]
    torch.manual_seed(3)
    paddle.seed(3)
    random.seed(3)
    np.random.seed(3)
    draw = lambda: (torch.rand(1).item(), paddle.rand([1]).item(), random.random(), np.random.rand())
    expected = draw()
    torch.manual_seed(3)
    paddle.seed(3)
    random.seed(3)
    np.random.seed(3)
    assert trained(*pair, transfer=False, gradients=True).reference["mode"] == "train"
    assert draw() == expected
    assert not any(layer.training for network in pair for layer in (network, network[1], network[3]))
    for backend, network, state in zip(backends, pair, before, strict=True):
        after = backend.get_state(network)
        assert all(same_bits(after[name], state[name]) for name in state)


def test_a_mode_that_does_not_exist_is_refused():
    with pytest.raises(ParityError, match="mode 'training': 'eval' or 'train'"):
        compare(ours(), theirs(), PICTURE, mode="training")
