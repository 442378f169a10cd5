"""What one network writes in another form is right: beside a mistake elsewhere it is not blamed."""

import numpy as np
import paddle
import paddle.nn.functional as PF
import pytest
import torch
import torch.nn.functional as TF
from torch import nn

from parity import compare

IMAGE = np.random.default_rng(0).standard_normal((2, 3, 12, 12)).astype(np.float32)


class Ours(nn.Module):
    """Three convolutions whose results a form makes one map of; a normalisation; a head."""

    def __init__(self, form, names=("a", "b", "c")):
        super().__init__()
        for name in names:
            setattr(self, name, nn.Conv2d(3, 8, 3, padding=1))
        self.norm, self.fc, self.form = nn.BatchNorm2d(8), nn.Linear(8, 5), form
        self.names = names

    def forward(self, x):
        maps = [getattr(self, name)(x) for name in self.names]
        return self.fc(self.norm(self.form(*maps)).mean((2, 3)))


class Theirs(paddle.nn.Layer):
    """The same with other names, and with a wrong eps where it is asked for one."""

    def __init__(self, form, epsilon=1e-5):
        super().__init__()
        self.first, self.second, self.third = (paddle.nn.Conv2D(3, 8, 3, padding=1) for _ in range(3))
        self.bn, self.head, self.form = paddle.nn.BatchNorm2D(8, epsilon=epsilon), paddle.nn.Linear(8, 5), form

    def forward(self, x):
        y = self.bn(self.form(self.first(x), self.second(x), self.third(x)))
        return self.head(y.mean((2, 3)))


def scores(q, k, before):
    """Return attention's scores, scaled before the product or behind it."""
    q, k = q.flatten(2), k.flatten(2)
    if before:
        return (q * 0.3).swapaxes(1, 2) @ k
    return (q.transpose([0, 2, 1]) @ k) * 0.3


FORMS = {
    "SiLU": (lambda a, b, c: TF.silu(a) + b * c, lambda a, b, c: a * PF.sigmoid(a) + b * c),
    "sum": (lambda a, b, c: (a * 2 + b.abs()) + c.relu(), lambda a, b, c: (PF.relu(c) + a * 2) + b.abs()),
    "hard swish": (lambda a, b, c: TF.hardswish(a) + b * c, lambda a, b, c: a * PF.relu6(a + 3) / 6 + b * c),
    "hard swish of the reference": (
        lambda a, b, c: (a + 3).clamp(0, 6) * a / 6 + b * c,
        lambda a, b, c: PF.hardswish(a) + b * c,
    ),
    "padding": (
        lambda a, b, c: TF.avg_pool2d(TF.pad(a, (1, 1, 1, 1)), 3, 1) + b * c,
        lambda a, b, c: PF.avg_pool2d(a, 3, 1, 1, exclusive=False) + b * c,
    ),
    "attention": (
        lambda a, b, c: (c.flatten(2) @ scores(a, b, True).softmax(-1).mT).view_as(c),
        lambda a, b, c: (c.flatten(2) @ PF.softmax(scores(a, b, False), -1).transpose([0, 2, 1])).reshape(c.shape),
    ),
}


def pair(form, **wrong):
    torch.manual_seed(0)
    ours, theirs = Ours(FORMS[form][0]).eval(), Theirs(FORMS[form][1], **wrong)
    theirs.eval()
    return ours, theirs


@pytest.mark.parametrize("form", FORMS)
def test_another_form_is_blamed_for_nothing(form):
    result = compare(*pair(form), IMAGE)
    assert result.ok, str(result)
    assert result.notes == ()
    result = compare(*pair(form), IMAGE, gradients=True)
    assert result.ok, str(result)
    result = compare(*pair(form, epsilon=0.1), IMAGE)
    assert not result.ok
    assert [culprit.layer for culprit in result.culprits] == ["norm"], str(result)


@pytest.mark.parametrize("form", FORMS)
def test_another_form_behind_a_mistake_is_blamed_for_nothing(form):
    ours, theirs = pair(form)
    assert compare(ours, theirs, IMAGE).ok  # the weights have moved
    theirs.second.weight.set_value(theirs.second.weight.flip([2, 3]))
    result = compare(ours, theirs, IMAGE, transfer=False)
    assert [culprit.layer for culprit in result.culprits] == ["b"], str(result)


def test_a_wrong_form_is_found_in_the_same_places():
    wrong = lambda a, b, c: a * PF.sigmoid(1.702 * a) + b * c
    ours, theirs = Ours(FORMS["SiLU"][0]).eval(), Theirs(wrong)
    theirs.eval()
    result = compare(ours, theirs, IMAGE)
    assert not result.ok
    assert result.culprits, str(result)
    assert {culprit.layer for culprit in result.culprits} <= {"", "silu()", "add()"}, str(result)


def test_outputs_in_another_order_of_their_keys_are_not_exchanged():
    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.up, self.low = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 1)

        def forward(self, x):
            y = self.stem(x)
            return {"low": self.low(y), "up": self.up(y)}

    class Ends(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            self.conv, self.e1, self.e2 = (paddle.nn.Conv2D(*each) for each in ((3, 8, 3), (8, 4, 1), (8, 4, 1)))

        def forward(self, x):
            y = self.conv(x)
            return {"up": self.e1(y), "low": self.e2(y)}

    ours, theirs = Heads().eval(), Ends()
    theirs.eval()
    assert compare(ours, theirs, IMAGE).ok
    theirs.e1.bias.set_value(theirs.e1.bias + 1)
    result = compare(ours, theirs, IMAGE, transfer=False)
    assert [culprit.layer for culprit in result.culprits] == ["up"], str(result)


def test_branches_called_in_another_order_hide_no_factor():
    """The sum and the ReLU behind it are partners by what they read and what reads them."""
    wrong = lambda a, b, c: PF.relu((c * 0.5 + b) + a)

    class Ordered(Theirs):
        def forward(self, x):
            c, a, b = self.third(x), self.first(x), self.second(x)
            return self.head(self.bn(self.form(a, b, c)).mean((2, 3)))

    ours, theirs = Ours(lambda a, b, c: TF.relu(a + b + c)).eval(), Ordered(wrong)
    theirs.eval()
    result = compare(ours, theirs, IMAGE, layers={"a": "first", "b": "second", "c": "third"})
    assert [culprit.layer for culprit in result.culprits] == [""], str(result)
    assert "c is scaled by 0.5 (proved" in str(result) or "Mul by 0.5" in str(result), str(result)
