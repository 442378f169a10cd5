"""BatchNorm and the other normalisations."""

import inspect
import math

import numpy as np
import paddle
import paddle.nn.functional as PF
import torch
import torch.nn.functional as TF
from differences import AGREE, agree, alike, draw, plain, row, which
from facts.cases import LINTED, PROVED, P, T


def norms(momentum=None, eps=1e-5, **more):
    """Return a BatchNorm of 3 channels of each framework, float32; `momentum` in torch's words."""
    ours = torch.nn.BatchNorm2d(3, eps, 0.1 if momentum is None else momentum)
    theirs = paddle.nn.BatchNorm2D(3, 0.9 if momentum is None else 1 - momentum, eps, **more)
    return ours, theirs


def batch(*shape, seed=0):
    return (draw(*shape, seed=seed) * 3 + 2).astype("f4")


@row(
    "BatchNorm",
    "the weight of the new value",
    "the weight of the old value",
    "what momentum means: Paddle's 0.9 is torch's 0.1, their defaults",
    "both backends use torch's; `parity compare` notes a momentum that differs, and with `--mode train` compares it",
)
def bn_momentum():
    def keeps(momentum):
        return np.full(3, 0.0) * momentum + (1 - momentum) * batch(4, 3, 5, 6).mean((0, 2, 3))

    rules = {"the weight of the new value": lambda m: keeps(1 - m), "the weight of the old value": keeps}

    def ours(momentum):
        layer = torch.nn.BatchNorm2d(3, momentum=momentum)
        layer(T(batch(4, 3, 5, 6)))
        return layer.running_mean

    def theirs(momentum):
        layer = paddle.nn.BatchNorm2D(3, momentum=momentum)
        layer(P(batch(4, 3, 5, 6)))
        return layer._mean

    cases = [(0.2,), (0.7,), (0.95,)]
    return which(ours, cases, rules, 1e-5), which(theirs, cases, rules, 1e-5)


@row(
    "BatchNorm",
    "divides by M - 1",
    "divides by M",
    "variance that training stores, M values per channel; both normalise by M. After training the outputs of "
    "evaluation differ: "
    "1 % of the variance at M = 100",
    "`paddle_cnn/batch_norm.py` has a layer that stores torch's; `parity compare --mode train` takes the factor out, "
    "and notes it",
)
def bn_variance():
    def moved(by):
        return lambda *shape: 0.7 * np.ones(3) + 0.3 * batch(*shape).astype("f8").var((0, 2, 3), ddof=by)

    rules = {"divides by M - 1": moved(1), "divides by M": moved(0)}

    def ours(*shape):
        layer = norms(0.3)[0]
        layer(T(batch(*shape)))
        return layer.running_var

    def theirs(*shape):
        layer = norms(0.3)[1]
        layer(P(batch(*shape)))
        return layer._variance

    cases = [(2, 3, 1, 1), (3, 3, 2, 1), (2, 3, 4, 5), (5, 3, 7, 3)]
    return which(ours, cases, rules, 1e-5), which(theirs, cases, rules, 1e-5)


@row("BatchNorm", *AGREE, "training's outputs and running mean, evaluation with the same statistics", PROVED)
def bn_outputs():
    def backend(which_one):
        def run(shape, eps):
            layer = norms(0.25, eps)[which_one]
            x = (T, P)[which_one](batch(*shape))
            trained = layer(x)
            mean = layer.running_mean if which_one == 0 else layer._mean
            mean = plain(mean).copy()
            layer.eval()
            spread = np.array([0.2, 1.5, 7], "f4")
            if which_one == 0:
                layer.running_var.copy_(T(spread))
            else:
                layer._variance.set_value(spread)
            return trained, P(mean), layer(x)

        return run

    return agree(backend(0), backend(1), [((4, 3, 5, 6), 1e-3), ((2, 3, 9, 1), 1e-5), ((7, 3, 2, 2), 0.2)], 1e-5)


@row(
    "BatchNorm",
    "float64",
    "float32",
    "precision of eps in a float64 kernel: 1e-5 is 9.99999975e-6",
    "while torch traces in float64 its eps is rounded to float32 too, see contract.md",
)
def bn_eps():
    def of(kind):
        return lambda eps: np.full((1, 3, 1, 2), 1 / math.sqrt(float(kind(eps))))

    rules = {"float64": of(np.float64), "float32": of(np.float32)}

    def ours(eps):
        return TF.batch_norm(torch.ones(1, 3, 1, 2).double(), *(torch.zeros(3).double(),) * 2, eps=eps)

    def theirs(eps):
        zero = paddle.zeros([3], "float64")
        one = paddle.ones([3], "float64")
        return PF.batch_norm(paddle.ones([1, 3, 1, 2], "float64"), zero, zero, one, one * 0, epsilon=eps)

    cases = [(1e-3,), (3e-5,), (7e-4,)]
    return which(ours, cases, rules, 1e-11), which(theirs, cases, rules, 1e-11)


@row(
    "BatchNorm",
    "raises ValueError",
    "returns its input",
    "one value per channel in training: Paddle applies no gamma and beta, and does not update its statistics",
    "`parity compare` runs in evaluation; with `--mode train` torch's error is the answer",
)
def bn_one_value():
    ours, theirs = norms()
    theirs.weight.set_value(np.array([2, 3, 5], "f4"))
    theirs.bias.set_value(np.array([1, 2, 4], "f4"))
    x = batch(1, 3, 1, 1)
    found = which(lambda: theirs(P(x)), [()], {"returns its input": lambda: x}, 0)
    kept = not theirs._mean.numpy().any() and (theirs._variance.numpy() == 1).all()
    return which(lambda: ours(T(x)), [()], {}), found if kept else f"{found}; updates its statistics"


@row(
    "BatchNorm",
    "no such switch",
    "evaluation: of the batch, and updates its own",
    "use_global_stats=False: which statistics evaluation uses. torch's track_running_stats=False keeps none",
    LINTED,
)
def bn_batch_statistics():
    theirs = norms(use_global_stats=False)[1]
    theirs.eval()
    x = batch(4, 3, 5, 6)
    y = theirs(P(x)).numpy()
    expected = plain(TF.batch_norm(T(x), None, None, training=True))
    words = "of the batch" if alike(expected, y, 1e-5) else "its own"
    words += ", and updates its own" if theirs._mean.numpy().any() else ", unchanged"
    return _switch("use_global_stats"), f"evaluation: {words}"


def _switch(word):
    return "has the switch" if word in inspect.signature(torch.nn.BatchNorm2d).parameters else "no such switch"


@row(
    "BatchNorm",
    "no such switch",
    "training: its own, unchanged",
    "use_global_stats=True: which statistics training uses; torch's layer.eval() does that",
    LINTED,
)
def bn_global_statistics():
    theirs = norms(use_global_stats=True)[1]
    x = batch(4, 3, 5, 6)
    words = "its own" if alike(x / math.sqrt(1 + 1e-5), theirs(P(x)).numpy(), 1e-5) else "of the batch"
    words += ", and updates its own" if theirs._mean.numpy().any() else ", unchanged"
    return _switch("use_global_stats"), f"training: {words}"


@row("BatchNorm", "averages all batches", "raises TypeError", "momentum=None", LINTED)
def bn_no_momentum():
    def ours(count):
        layer = torch.nn.BatchNorm2d(3, momentum=None)
        for seed in range(count):
            layer(T(batch(4, 3, 5, 6, seed=seed)))
        return layer.running_mean

    def averages(count):
        return np.mean([batch(4, 3, 5, 6, seed=seed).mean((0, 2, 3)) for seed in range(count)], 0)

    def theirs(count):
        return paddle.nn.BatchNorm2D(3, momentum=None)(P(batch(4, 3, 5, 6)))

    cases = [(2,), (3,)]
    return which(ours, cases, {"averages all batches": averages}, 1e-5), which(theirs, cases, {})


@row(
    "BatchNorm",
    "buffers running_mean, running_var, num_batches_tracked",
    "parameters _mean, _variance",
    "where the statistics are: Paddle's parameters() includes them, not trained, and it keeps no count of batches",
    "a State calls them running_mean and running_var, and counts no batches; the parameters counted are the trained "
    "ones",
)
def bn_where():
    ours, theirs = norms()
    kept = ", ".join(name for name, _ in ours.named_buffers())
    held = ", ".join(name for name, tensor in theirs.named_parameters() if tensor.stop_gradient)
    return f"buffers {kept}", f"parameters {held}"


@row("BatchNorm", "raises ValueError", "NaN", "eps=0 in training, a constant channel", LINTED)
def bn_no_eps():
    ours, theirs = norms(eps=0.0)
    x = np.full((4, 3, 5, 6), 1.5, "f4")
    nothing = {"NaN": lambda: np.full((4, 3, 5, 6), np.nan)}
    return which(lambda: ours(T(x)), [()], nothing), which(lambda: theirs(P(x)), [()], nothing)


@row(
    "normalisation",
    *AGREE,
    "GroupNorm, LayerNorm, InstanceNorm, local response norm (odd and even sizes, above C)",
    PROVED,
)
def norm_others():
    names = "group", "layer", "instance", *((size, alpha, beta, k) for size, alpha, beta, k in LRN)

    def ours(case):
        x = T(draw(2, 6, 5, 7))
        if case == "group":
            return TF.group_norm(x, 3, eps=0.01)
        if case == "layer":
            return TF.layer_norm(x, (5, 7), eps=5e-4)
        if case == "instance":
            return TF.instance_norm(x, eps=0.01)
        return TF.local_response_norm(x, *case)

    def theirs(case):
        x = P(draw(2, 6, 5, 7))
        if case == "group":
            return PF.group_norm(x, 3, epsilon=0.01)
        if case == "layer":
            return PF.layer_norm(x, (5, 7), epsilon=5e-4)
        if case == "instance":
            return PF.instance_norm(x, eps=0.01)
        return PF.local_response_norm(x, *case)

    return agree(ours, theirs, [(name,) for name in names], 1e-6)


@row("normalisation", "takes it", "raises ValueError", "LayerNorm with an eps above 1e-3", LINTED)
def layer_norm_eps():
    def spelt(eps):
        x = draw(3, 8)
        return (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + eps)

    cases, rules = [(2e-3,), (0.1,)], {"takes it": spelt}
    ours = which(lambda eps: TF.layer_norm(T(draw(3, 8)), (8,), eps=eps), cases, rules)
    return ours, which(lambda eps: PF.layer_norm(P(draw(3, 8)), (8,), epsilon=eps), cases, rules)


LRN = (2, 0.3, 0.75, 2.0), (3, 0.02, 0.5, 1.0), (6, 0.7, 0.9, 0.5), (9, 0.1, 0.75, 1.0)


@row("normalisation", "no", "yes", "InstanceNorm2d trains a scale and a shift by default", LINTED)
def instance_norm_affine():
    said = {True: "yes", False: "no"}
    ours, theirs = torch.nn.InstanceNorm2d(3), paddle.nn.InstanceNorm2D(3)
    return said[bool(list(ours.parameters()))], said[bool(list(theirs.parameters()))]
