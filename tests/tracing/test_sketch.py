"""A sketch that costs less finds the pairs that a full run finds, and leaves nothing behind in the network."""

import numpy as np
import paddle
import pytest
import torch
from catalogue.sources import SHAPE
from catalogue.verdicts import BACKENDS, ROWS, pair_of

from parity import ParityError
from parity.judging.structure import paired_owners
from parity.tracing.sketch import quick_sketch, sketch

BATCH = np.random.default_rng(0).random((5, *SHAPE[1:]), np.float32)  # more than the two that a part has
OF_OTHER_NAMES = {(row.network, row.style, row.pair): row for row in ROWS if row.style != "same"}


class Torch(torch.nn.Module):
    """A convolution, a Linear, and code between them."""

    def __init__(self, code):
        super().__init__()
        self.conv, self.fc, self.code, self.table = torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(4, 2), code, None
        self.tables = {}
        self.eval()

    def forward(self, x):
        return self.fc(self.code(self, self.conv(x)))


class Paddle(paddle.nn.Layer):
    """The same."""

    def __init__(self, code):
        super().__init__()
        self.conv, self.fc, self.code, self.table = paddle.nn.Conv2D(3, 4, 3), paddle.nn.Linear(4, 2), code, None
        self.tables = {}
        self.eval()

    def forward(self, x):
        return self.fc(self.code(self, self.conv(x)))


def mean(net, x):
    return x.mean((2, 3))


def reads_a_value(net, x):
    return x.mean((2, 3)) if float(x.max()) > -1e9 else x


def leaves_the_framework(net, x):
    return torch.from_numpy(x.numpy()).mean((2, 3))


def knows_its_batch(net, x):
    return x.mean((2, 3)).reshape([5, 4])


def keeps_a_table(net, x):
    if net.table is None:
        net.table = net.tables["mean"] = x.mean((2, 3)) * 0
    return x.mean((2, 3)) + net.table + net.tables["mean"]


def both(backend, network, inputs):
    return quick_sketch(backend, network, inputs), sketch(backend, network, inputs)


@pytest.mark.parametrize(
    "made",
    [Torch(reads_a_value), Torch(leaves_the_framework), Paddle(knows_its_batch)],
    ids=["value", "numpy", "batch"],
)
def test_code_that_cannot_do_with_less_runs_as_it_is_given(made):
    quick, full = both(BACKENDS["torch" if isinstance(made, Torch) else "paddle"], made, [BATCH])
    assert quick == full


def test_what_less_is():
    net = Torch(lambda net, x: x.mean((2, 3)) if x.is_meta else 1 / 0)
    quick = quick_sketch(BACKENDS["torch"], net, [BATCH])  # all of the batch, without arithmetic
    assert quick.shape(quick.calls[-1].outputs[0]) == (5, 2)
    quick = quick_sketch(BACKENDS["paddle"], Paddle(mean), [BATCH])
    assert quick.shape(quick.calls[-1].outputs[0]) == (2, 2)


@pytest.mark.parametrize("shapes", [[(2, 3, 8, 8)], [(5, 3, 8, 8), (4, 2)], [(5, 3, 8, 8), ()]])
def test_inputs_that_are_no_larger_batch_are_taken_whole(shapes):
    class Net(paddle.nn.Layer):
        def forward(self, x, *others):
            return x * 2

    made = Net()
    made.eval()
    quick, full = both(BACKENDS["paddle"], made, [np.ones(shape, np.float32) for shape in shapes])
    assert quick == full


@pytest.mark.parametrize("kind", [Torch, Paddle])
def test_a_table_that_code_keeps_of_its_first_input_is_not_that_of_the_sketch(kind):
    made = kind(keeps_a_table)
    weights = {id(tensor) for tensor in made.parameters()}
    _ = quick_sketch(BACKENDS[kind.__name__.lower()], made, [BATCH])
    assert made.table is None and made.tables == {} and {id(tensor) for tensor in made.parameters()} == weights
    made(torch.from_numpy(BATCH) if kind is Torch else paddle.to_tensor(BATCH))


@pytest.mark.parametrize("kind", [Torch, Paddle])
def test_code_that_fails_fails_as_it_does_in_a_full_run(kind):
    made = kind(lambda net, x: {}["k"])
    with pytest.raises(ParityError) as caught:
        _ = sketch(BACKENDS[kind.__name__.lower()], made, [BATCH])
    with pytest.raises(ParityError) as quick:
        _ = quick_sketch(BACKENDS[kind.__name__.lower()], made, [BATCH])
    assert str(quick.value) == str(caught.value) and "KeyError" in str(quick.value)


@pytest.mark.parametrize("key", OF_OTHER_NAMES, ids="-".join)
def test_the_pairs_are_those_of_full_runs(key):
    row = OF_OTHER_NAMES[key]
    backends = [BACKENDS[side] for side in row.pair.split("/")]
    sketches = [both(backend, made, [BATCH]) for backend, made in zip(backends, pair_of(row), strict=False)]
    quick, full = (paired_owners(*each, {}) for each in zip(*sketches, strict=True))
    assert quick == full and quick
