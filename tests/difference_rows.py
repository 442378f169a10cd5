"""The rows of layers: each difference between torch and Paddle that matters to CNNs, and where they agree after all.

Cases are chosen apart from those that the rules were found with: a rule must predict, not remember.
"""

import inspect
import math
import warnings

import numpy as np
import paddle
import paddle.nn.functional as PF
import torch
import torch.nn.functional as TF
from differences import AGREE, agree, alike, alone, attempt, draw, plain, row, which

T, P = torch.from_numpy, paddle.to_tensor
LOWEST = -float(np.finfo(np.float32).max)
PROVED = "`parity compare` judges it layer by layer"
LINTED = "`parity lint` warns"
POOLED = (
    "`parity/pooling.py` has the closed form, `paddle_cnn/pooling.py` layers that do as torch; `parity pooling`, "
    "`parity lint` say where the two part"
)


def fill(parameter, values):
    """Put numbers into a parameter of either framework."""
    values = np.asarray(values, "f4")
    if isinstance(parameter, torch.Tensor):
        with torch.no_grad():
            parameter.copy_(T(values))
    else:
        parameter.set_value(values)


def graded(run, x, framework):
    """Return the gradient of the sum of what `run` makes of x."""
    leaf = T(np.array(x)).requires_grad_() if framework is torch else P(x, stop_gradient=False)
    run(leaf).sum().backward()
    return leaf.grad


# Convolution


def conv(framework):
    def run(size, k, stride, padding, dilation, groups):
        x, w, b = draw(2, 6, size, size + 3), draw(12, 6 // groups, k, k), draw(12)
        if framework is torch:
            return TF.conv2d(T(x), T(w), T(b), stride, padding, dilation, groups)
        return PF.conv2d(P(x), P(w), P(b), stride, padding, dilation, groups)

    return run


@row(
    "convolution",
    *AGREE,
    "cross-correlation over zeros; strides, dilation, groups, unequal sides; floor((H + 2p - d(k - 1) - 1) / s) + 1",
    PROVED,
)
def conv_plain():
    cases = [(11, 3, 2, 1, 2, 3), (23, 4, 3, 2, 1, 1), (14, 5, 1, 0, 2, 2), (9, 2, 2, 3, 3, 6), (13, 7, 4, 3, 1, 2)]
    return agree(conv(torch), conv(paddle), cases)


@row("convolution", *AGREE, "padding='same' at stride 1: of an odd total the extra pixel lies right and below", PROVED)
def conv_same():
    def spelt(size, k):
        x, w = T(draw(1, 2, size, size)), T(draw(3, 2, k, k))
        before, after = (k - 1) // 2, k // 2
        return TF.conv2d(TF.pad(x, (before, after, before, after)), w)

    cases = [(9, 2), (10, 4), (13, 6), (12, 7)]
    ours = which(
        lambda size, k: TF.conv2d(T(draw(1, 2, size, size)), T(draw(3, 2, k, k)), padding="same"),
        cases,
        {AGREE[0]: spelt},
    )
    theirs = which(
        lambda size, k: PF.conv2d(P(draw(1, 2, size, size)), P(draw(3, 2, k, k)), padding="SAME"),
        cases,
        {AGREE[0]: spelt},
    )
    return ours, theirs


@row(
    "convolution",
    "raises ValueError",
    "ceil(H / s) windows, as TensorFlow",
    "padding='same' at a stride above 1; the extra pixel lies right and below",
    LINTED,
)
def conv_same_stride():
    def spelt(size, k, stride):
        total = max((-(-size // stride) - 1) * stride + k - size, 0)
        before, after = total // 2, total - total // 2
        x = TF.pad(T(draw(1, 2, size, size)), (before, after, before, after))
        return TF.conv2d(x, T(draw(3, 2, k, k)), stride=stride)

    cases = [(10, 3, 2), (11, 4, 3), (17, 5, 4), (9, 2, 3)]
    return (
        which(lambda size, k, stride: torch.nn.Conv2d(2, 3, k, stride, padding="same"), cases, {}),
        which(
            lambda size, k, stride: PF.conv2d(P(draw(1, 2, size, size)), P(draw(3, 2, k, k)), None, stride, "SAME"),
            cases,
            {"ceil(H / s) windows, as TensorFlow": spelt},
        ),
    )


@row("convolution", "dilated as told", "computes with dilation 1", "padding='same' with a dilation above 1", LINTED)
def conv_same_dilation():
    def spelt(size, k, dilation):
        total = dilation * (k - 1)
        before, after = total // 2, total - total // 2
        x = TF.pad(T(draw(1, 2, size, size)), (before, after, before, after))
        return TF.conv2d(x, T(draw(3, 2, k, k)), dilation=dilation)

    rules = {"dilated as told": spelt, "computes with dilation 1": lambda size, k, dilation: spelt(size, k, 1)}
    cases = [(12, 3, 2), (11, 5, 2), (15, 3, 4), (9, 4, 3)]

    def ours(size, k, dilation):
        return TF.conv2d(T(draw(1, 2, size, size)), T(draw(3, 2, k, k)), padding="same", dilation=dilation)

    def theirs(size, k, dilation):
        return PF.conv2d(P(draw(1, 2, size, size)), P(draw(3, 2, k, k)), padding="SAME", dilation=dilation)

    return which(ours, cases, rules), which(theirs, cases, rules)


SHAPES = """
import json, sys, paddle, paddle.nn.functional as F
def conv(x, k, s, p): return F.conv2d(x, paddle.ones([2, 3, k, k]), None, s, p)
def mask(x, k, s, p): return F.max_pool2d(x, k, s, p, return_mask=True)[0]
run = {"conv": conv, "mask": mask}[json.loads(sys.argv[1])]
maps = [run(paddle.ones([1, 3, size, size]), k, s, p) for size, k, s, p in json.loads(sys.argv[2])]
print(json.dumps([y.shape[2:] for y in maps]), flush=True)
maps[0].numpy()
"""
TRUNCATED = "a map of size trunc((H + 2p - k) / s) + 1; reading a negative one raises or ends the process"


def _truncated(what, cases):
    code, found = alone(SHAPES, what, cases)
    predicted = [[math.trunc((size + 2 * p - k) / s) + 1] * 2 for size, k, s, p in cases]
    if found != predicted:
        return f"maps of sizes {found}"
    return TRUNCATED if code else f"{TRUNCATED}, which can be read"


@row(
    "convolution",
    "raises RuntimeError",
    TRUNCATED,
    "a kernel larger than the padded input: C's division, toward zero, and no check",
    "none: check H + 2p >= d(k - 1) + 1 yourself; `parity compare` reports a worker that dies",
)
def conv_large_kernel():
    # with padding too Paddle may ask for memory without end: (3, 8, 1, 1) hung or aborted
    cases = [(4, 7, 1, 0), (5, 6, 1, 0), (4, 6, 3, 0), (3, 7, 2, 0)]
    ours = which(
        lambda size, k, s, p: TF.conv2d(torch.ones(1, 3, size, size), torch.ones(2, 3, k, k), None, s, p), cases, {}
    )
    return ours, _truncated("conv", cases)


@row(
    "convolution",
    "raises RuntimeError",
    "[top, bottom, left, right]",
    "a padding of four numbers",
    "none of the twins has one; in torch F.pad first",
)
def conv_four_paddings():
    def spelt(top, bottom, left, right):
        return TF.conv2d(TF.pad(T(draw(1, 2, 8, 9)), (left, right, top, bottom)), T(draw(3, 2, 3, 3)))

    cases = [(1, 2, 0, 3), (0, 1, 2, 2), (3, 0, 0, 1)]
    return (
        which(lambda *four: TF.conv2d(T(draw(1, 2, 8, 9)), T(draw(3, 2, 3, 3)), padding=four), cases, {}),
        which(
            lambda *four: PF.conv2d(P(draw(1, 2, 8, 9)), P(draw(3, 2, 3, 3)), padding=list(four)),
            cases,
            {"[top, bottom, left, right]": spelt},
        ),
    )


def padded(framework):
    """Return a convolution layer of one padding_mode, its weights fixed."""

    def run(mode, padding, stride=1):
        make = torch.nn.Conv2d if framework is torch else paddle.nn.Conv2D
        made = make(2, 3, 3, stride, padding, padding_mode=mode)
        fill(made.weight, draw(3, 2, 3, 3))
        fill(made.bias, draw(3))
        return made((T if framework is torch else P)(draw(1, 2, 7, 8).astype("f4")))

    return run


@row(
    "convolution", *AGREE, "padding_mode reflect, replicate, circular of the layers, one padding for both axes", PROVED
)
def conv_padding_modes():
    cases = [(mode, p, s) for mode in ("reflect", "replicate", "circular") for p, s in ((2, 1), (1, 2))]
    return agree(padded(torch), padded(paddle), cases)


@row("convolution", "takes it", "raises TypeError", "padding_mode with a padding for each axis", LINTED)
def conv_padding_mode_pair():
    def spelt(mode, padding):
        x = TF.pad(T(draw(1, 2, 7, 8).astype("f4")), (padding[1], padding[1], padding[0], padding[0]), mode)
        return TF.conv2d(x, T(draw(3, 2, 3, 3).astype("f4")), T(draw(3).astype("f4")))

    cases = [("reflect", (1, 3)), ("circular", (2, 0))]
    rules = {"takes it": spelt}
    return which(padded(torch), cases, rules), which(padded(paddle), cases, rules)


@row("convolution", *AGREE, "transposed: stride, padding, output_padding, dilation, groups", PROVED)
def conv_transposed():
    def ours(k, s, p, extra, d, g):
        return TF.conv_transpose2d(T(draw(1, 4, 5, 7)), T(draw(4, 6 // g, k, k)), None, s, p, extra, g, d)

    def theirs(k, s, p, extra, d, g):
        x, w = P(draw(1, 4, 5, 7)), P(draw(4, 6 // g, k, k))
        return PF.conv2d_transpose(x, w, None, s, p, extra, groups=g, dilation=d)

    return agree(ours, theirs, [(3, 2, 1, 1, 1, 1), (4, 3, 0, 2, 2, 2), (5, 2, 2, 0, 1, 2), (2, 4, 1, 3, 3, 1)])


# Pooling


def pool(framework, kind, **more):
    """Return a pooling of one map, float64, by size, kernel, stride, padding and ceil_mode."""

    def run(size, k, s, p, ceil=False):
        x = draw(1, 2, size, size + 1)
        if framework is torch:
            return {"max": TF.max_pool2d, "avg": TF.avg_pool2d}[kind](T(x), k, s, p, ceil_mode=ceil, **more)
        return {"max": PF.max_pool2d, "avg": PF.avg_pool2d}[kind](P(x), k, s, p, ceil_mode=ceil, **more)

    return run


FLOORED = [(21, 3, 2, 1), (26, 6, 5, 3), (23, 7, 4, 0), (31, 2, 5, 1), (22, 5, 1, 2)]


@row("pooling", *AGREE, "max pooling without ceil_mode, padding up to half the kernel: bit for bit", PROVED)
def max_pool():
    return agree(pool(torch, "max"), pool(paddle, "max"), FLOORED, 0)


@row(
    "pooling",
    *AGREE,
    "average pooling, torch `count_include_pad` = not Paddle `exclusive`: either divisor, ceil_mode's overhanging "
    "windows too",
    PROVED,
)
def avg_pool():
    cases = [*FLOORED, (22, 3, 2, 0, True), (24, 6, 5, 2, True), (27, 7, 3, 1, True)]
    for inside in (False, True):
        found = agree(
            pool(torch, "avg", count_include_pad=inside), pool(paddle, "avg", exclusive=not inside), cases, 1e-9
        )
        if found != AGREE:
            return found
    return AGREE


DROPS, KEEPS = "drops a last window that starts in the padding behind", "keeps it"


@row(
    "pooling",
    DROPS,
    KEEPS,
    "ceil_mode: Paddle's map is larger by 1 where r = (H + 2p - k) mod s > 0 and s - r >= k - p. Never for s <= k - p: "
    "kernel 2 stride 2 and kernel 3 stride 2 are safe",
    POOLED,
)
def pool_ceil():
    def keeps(size, k, s, p):
        return -(-(size + 2 * p - k) // s) + 1

    def drops(size, k, s, p):
        count = keeps(size, k, s, p)
        return count - ((count - 1) * s >= size + p)

    cases = [(size, k, s, p) for size in range(21, 34, 3) for k, s, p in ((6, 5, 3), (2, 5, 1), (4, 6, 2), (1, 3, 0))]
    rules = {DROPS: drops, KEEPS: keeps}

    def counted(framework):
        return lambda size, k, s, p: pool(framework, "max")(size, k, s, p, True).shape[2]

    return which(counted(torch), cases, rules), which(counted(paddle), cases, rules)


@row(
    "pooling",
    *AGREE,
    "ceil_mode where the stride is at most kernel - padding, as in SqueezeNet and GoogLeNet",
    "`parity lint` says nothing then; a test holds GoogLeNet to it",
)
def pool_ceil_usual():
    cases = [(size, k, s, p, True) for size in range(25, 33) for k, s, p in ((6, 4, 2), (4, 2, 1), (7, 4, 3))]
    return agree(pool(torch, "max"), pool(paddle, "max"), cases, 0)


@row(
    "pooling",
    "no such window",
    "max: -3.4e38; average: NaN, or 0 or -0",
    "what Paddle's extra window holds: it sees no pixel",
    POOLED,
)
def pool_ceil_values():
    cases = [(21, 2, 5, 1), (26, 4, 6, 2), (23, 1, 3, 0)]

    def extra(framework):
        seen = set()
        for size, k, s, p in cases:
            kept = pool(torch, "max")(size, k, s, p, True).shape[2]
            largest = plain(pool(framework, "max")(size, k, s, p, True))[0, 0, kept:]
            means = plain(pool(framework, "avg")(size, k, s, p, True))[0, 0, kept:]
            seen |= {f"max {value:.2g}" for value in largest.ravel()}
            seen |= {"nan or 0" if np.isnan(value) or value == 0 else f"mean {value}" for value in means.ravel()}
        if not seen:
            return "no such window"
        return "max: -3.4e38; average: NaN, or 0 or -0" if seen == {"max -3.4e+38", "nan or 0"} else str(sorted(seen))

    return extra(torch), extra(paddle)


@row(
    "pooling",
    "counts the padding",
    "leaves the padding out",
    "average pooling's default divisor",
    f"the twins pool averages without padding; {LINTED}",
)
def avg_pool_default():
    rules = {
        "counts the padding": pool(torch, "avg", count_include_pad=True),
        "leaves the padding out": pool(torch, "avg", count_include_pad=False),
    }
    cases = [(22, 6, 5, 3), (19, 3, 2, 1), (23, 7, 3, 2)]
    return which(pool(torch, "avg"), cases, rules), which(pool(paddle, "avg"), cases, rules)


@row(
    "pooling",
    "sum / divisor",
    "average * k * k / divisor",
    "divisor_override: equal only where the divisor was k * k",
    LINTED,
)
def avg_pool_divisor():
    rules = {
        "sum / divisor": lambda *case: pool(torch, "avg", divisor_override=1)(*case) / 7,
        "average * k * k / divisor": lambda size, k, s, p: (
            pool(torch, "avg", count_include_pad=False)(size, k, s, p) * k * k / 7
        ),
    }
    cases = [(22, 6, 5, 3), (21, 3, 2, 1)]
    found = which(pool(torch, "avg", divisor_override=7, count_include_pad=False), cases, rules)
    return found, which(pool(paddle, "avg", divisor_override=7, exclusive=True), cases, rules)


@row(
    "pooling",
    "raises RuntimeError",
    "divides by windows cut off at H + top, W + left",
    "average pooling with a padding of [top, bottom, left, right] and exclusive=False: wrong where bottom or right "
    "is another",
    LINTED,
)
def avg_pool_four_paddings():
    name = "divides by windows cut off at H + top, W + left"

    def divided(low, high):
        def run(top, bottom, left, right, k, s):
            x = np.pad(draw(1, 1, 8, 9), ((0, 0), (0, 0), (top, bottom), (left, right)))
            sums = plain(TF.avg_pool2d(T(x), k, s, divisor_override=1))
            ends = []
            for size, before, after, count in ((8, top, bottom, sums.shape[2]), (9, left, right, sums.shape[3])):
                starts = np.arange(count) * s - before
                ends.append(np.minimum(starts + k, size + (before if low else after)) - starts)
            return sums / np.multiply.outer(*ends)

        return run

    cases = [(0, 2, 1, 0, 4, 1), (0, 1, 0, 2, 3, 2), (1, 2, 0, 1, 5, 3)]

    def theirs(top, bottom, left, right, k, s):
        return PF.avg_pool2d(P(draw(1, 1, 8, 9)), k, s, [top, bottom, left, right], exclusive=False)

    ours = which(lambda *case: TF.avg_pool2d(T(draw(1, 1, 8, 9)), case[4], case[5], case[:4]), cases, {})
    return ours, which(theirs, cases, {name: divided(True, False), "divides by all": divided(False, True)})


@row("pooling", "takes it", "raises TypeError", "dilation of max pooling", LINTED)
def max_pool_dilation():
    cases = [(3, 2), (2, 3)]
    return (
        which(
            lambda k, d: TF.max_pool2d(T(draw(1, 1, 9, 9)), k, 1, dilation=d),
            cases,
            {
                "takes it": lambda k, d: (
                    T(draw(1, 1, 9, 9))
                    .unfold(2, d * (k - 1) + 1, 1)
                    .unfold(3, d * (k - 1) + 1, 1)[..., ::d, ::d]
                    .amax((4, 5))
                )
            },
        ),
        which(lambda k, d: PF.max_pool2d(P(draw(1, 1, 9, 9)), k, 1, dilation=d), cases, {}),
    )


@row(
    "pooling",
    "raises RuntimeError",
    "takes it; -3.4e38 where a window sees no pixel",
    "padding above half the kernel",
    LINTED,
)
def pool_wide_padding():
    name = "takes it; -3.4e38 where a window sees no pixel"

    def spelt(size, k, p):
        x = np.pad(draw(1, 1, size, size), ((0, 0), (0, 0), (p, p), (p, p)), constant_values=LOWEST)
        return TF.max_pool2d(T(x), k, 1)

    cases = [(6, 2, 2), (5, 3, 4), (7, 4, 3)]
    return (
        which(lambda size, k, p: TF.max_pool2d(T(draw(1, 1, size, size)), k, 1, p), cases, {}),
        which(lambda size, k, p: PF.max_pool2d(P(draw(1, 1, size, size)), k, 1, p), cases, {name: spelt}),
    )


@row(
    "pooling",
    "raises RuntimeError",
    TRUNCATED,
    "return_mask=True with a kernel larger than the input; without the mask Paddle raises where the size is negative",
    POOLED,
)
def pool_large_kernel():
    cases = [(4, 7, 1, 0), (3, 8, 1, 1), (5, 6, 1, 0), (4, 6, 3, 0)]
    ours = which(
        lambda size, k, s, p: TF.max_pool2d(torch.ones(1, 3, size, size), k, s, p, return_indices=True), cases, {}
    )
    plainly = attempt(lambda: PF.max_pool2d(paddle.ones([1, 3, 4, 4]), 7, 1))
    return ours, _truncated("mask", cases) if str(plainly).startswith("raises") else "takes it without the mask too"


@row("pooling", "int64", "int32", "dtype of max pooling's indices; the indices are the same", PROVED)
def max_pool_indices():
    x = draw(1, 2, 11, 13)
    ours = TF.max_pool2d(T(x), 4, 3, 2, return_indices=True)[1].numpy()
    theirs = PF.max_pool2d(P(x), 4, 3, 2, return_mask=True)[1].numpy()
    if not np.array_equal(ours, theirs):
        return "other indices", "other indices"
    return str(ours.dtype), str(theirs.dtype)


@row(
    "pooling",
    "1 / n",
    "float32(1 / n)",
    "what average pooling's gradient is multiplied by, in float64 too: 2^-24 off at most",
    "Paddle's float64 run here computes it exactly",
)
def avg_pool_gradient():
    rules = {
        "1 / n": lambda k: np.full((1, 1, 3 * k, 2 * k), 1 / k**2),
        "float32(1 / n)": lambda k: np.full((1, 1, 3 * k, 2 * k), np.float64(np.float32(1 / k**2))),
    }
    found = []
    for framework, kind in ((torch, TF.avg_pool2d), (paddle, PF.avg_pool2d)):

        def run(k, framework=framework, kind=kind):
            return graded(lambda x: kind(x, k, k), draw(1, 1, 3 * k, 2 * k), framework)

        found.append(which(run, [(3,), (5,), (6,), (9,), (10,)], rules, 1e-12))
    return tuple(found)


@row(
    "pooling",
    "NaN if any is",
    "starts anew behind it",
    "NaN in a window of max pooling: Paddle's maximum is of what follows it, NaN only if nothing does",
    "`parity compare` calls NaN `invalid`, on either side or both",
)
def max_pool_nan():
    def lines(framework, function):
        def run(k, place):
            x = draw(1, 1, k, k)
            x.ravel()[place] = np.nan
            return function((T if framework is torch else P)(x), k)

        return run

    def anew(k, place):
        behind = draw(1, 1, k, k).ravel()[place + 1 :]
        return np.full((1, 1, 1, 1), behind.max() if behind.size else np.nan)

    rules = {"NaN if any is": lambda k, place: np.full((1, 1, 1, 1), np.nan), "starts anew behind it": anew}
    cases = [(k, place) for k in (2, 3, 6) for place in (0, 1, k, k * k - 2, k * k - 1)]
    return which(lines(torch, TF.max_pool2d), cases, rules), which(lines(paddle, PF.max_pool2d), cases, rules)


@row("pooling", "-inf", "-3.4e38", "a window of -inf alone", PROVED)
def max_pool_lowest():
    x = np.full((1, 1, 6, 6), -np.inf)
    rules = {"-inf": lambda k: np.full((1, 1, 6 // k, 6 // k), -np.inf)}
    rules["-3.4e38"] = lambda k: np.full((1, 1, 6 // k, 6 // k), LOWEST)
    cases = [(2,), (3,)]
    return which(lambda k: TF.max_pool2d(T(x), k), cases, rules), which(lambda k: PF.max_pool2d(P(x), k), cases, rules)


@row("pooling", *AGREE, "of equal elements the first, row by row, gets the gradient; zeros behind a ReLU too", PROVED)
def max_pool_ties():
    def ties(framework, function):
        def run(k, s, seed):
            x = np.maximum(np.random.default_rng(seed).integers(-3, 3, (1, 2, 9, 10)), 0).astype("f8")
            return graded(lambda leaf: function(leaf, k, s), x, framework)

        return run

    cases = [(k, s, seed) for k, s in ((2, 2), (3, 2), (4, 1)) for seed in range(5)]
    return agree(ties(torch, TF.max_pool2d), ties(paddle, PF.max_pool2d), cases)


@row(
    "adaptive pooling",
    *AGREE,
    "average and maximum, gradients too: window i spans floor(iH / o) .. ceil((i + 1)H / o); the exporters part, see "
    "below",
    PROVED,
)
def adaptive_pool():
    def spelt(kind, height, width, out):
        x = draw(1, 2, height, width)
        rows, columns = ([(i * n // out, -(-(i + 1) * n // out)) for i in range(out)] for n in (height, width))
        reduce = {"avg": np.mean, "max": np.max}[kind]
        return np.array([[[[reduce(plane[a:b, c:d]) for c, d in columns] for a, b in rows] for plane in x[0]]], x.dtype)

    cases = [(kind, 17, 11, out) for kind in ("avg", "max") for out in (1, 2, 3, 5, 7, 12, 19)]
    ours = {"avg": TF.adaptive_avg_pool2d, "max": TF.adaptive_max_pool2d}
    theirs = {"avg": PF.adaptive_avg_pool2d, "max": PF.adaptive_max_pool2d}
    found = (
        which(lambda kind, h, w, out: ours[kind](T(draw(1, 2, h, w)), out), cases, {AGREE[0]: spelt}),
        which(lambda kind, h, w, out: theirs[kind](P(draw(1, 2, h, w)), out), cases, {AGREE[0]: spelt}),
    )
    gradients = agree(
        lambda kind, h, w, out: graded(lambda x: ours[kind](x, out), draw(1, 2, h, w), torch),
        lambda kind, h, w, out: graded(lambda x: theirs[kind](x, out), draw(1, 2, h, w), paddle),
        cases,
    )
    return found if found != AGREE else gradients


# Normalisation


def norms(momentum=None, eps=1e-5, **more):
    """Return a BatchNorm of 3 channels of each framework, float32; `momentum` in torch's words."""
    ours = torch.nn.BatchNorm2d(3, eps, 0.1 if momentum is None else momentum)
    theirs = paddle.nn.BatchNorm2D(3, 0.9 if momentum is None else 1 - momentum, eps, **more)
    return ours, theirs


def batch(*shape, seed=0):
    return (draw(*shape, seed=seed) * 3 + 2).astype("f4")


@row(
    "BatchNorm",
    "the part of the new value",
    "the part that is kept",
    "what momentum says: Paddle's 0.9 is torch's 0.1, their defaults",
    "both sides speak torch's; `parity compare` names a momentum that differs",
)
def bn_momentum():
    def keeps(momentum):
        return np.full(3, 0.0) * momentum + (1 - momentum) * batch(4, 3, 5, 6).mean((0, 2, 3))

    rules = {"the part of the new value": lambda m: keeps(1 - m), "the part that is kept": keeps}

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
    "variance that training writes down, M values a channel; both normalise by M. After training the outputs of "
    "evaluation differ: "
    "1 % of the variance at M = 100",
    "`paddle_cnn/batch_norm.py` has a layer that writes torch's; `parity compare` gives both sides the same statistics",
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
    def side(which_one):
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

    return agree(side(0), side(1), [((4, 3, 5, 6), 1e-3), ((2, 3, 9, 1), 1e-5), ((7, 3, 2, 2), 0.2)], 1e-5)


@row(
    "BatchNorm",
    "float64",
    "float32",
    "precision that eps is kept in within a float64 kernel: 1e-5 is 9.99999975e-6",
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
    "one value a channel in training: Paddle leaves out gamma and beta, and its statistics alone",
    "`parity compare` runs in evaluation",
)
def bn_one_value():
    ours, theirs = norms()
    theirs.weight.set_value(np.array([2, 3, 5], "f4"))
    theirs.bias.set_value(np.array([1, 2, 4], "f4"))
    x = batch(1, 3, 1, 1)
    found = which(lambda: theirs(P(x)), [()], {"returns its input": lambda: x}, 0)
    kept = not theirs._mean.numpy().any() and (theirs._variance.numpy() == 1).all()
    return which(lambda: ours(T(x)), [()], {}), found if kept else f"{found}; moves its statistics"


@row(
    "BatchNorm",
    "no such switch",
    "evaluation: of the batch, and moves them",
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
    words += ", and moves them" if theirs._mean.numpy().any() else ", and leaves them"
    return _switch("use_global_stats"), f"evaluation: {words}"


def _switch(word):
    return "has the switch" if word in inspect.signature(torch.nn.BatchNorm2d).parameters else "no such switch"


@row(
    "BatchNorm",
    "no such switch",
    "training: its own, and leaves them",
    "use_global_stats=True: which statistics training uses; torch's layer.eval() does that",
    LINTED,
)
def bn_global_statistics():
    theirs = norms(use_global_stats=True)[1]
    x = batch(4, 3, 5, 6)
    words = "its own" if alike(x / math.sqrt(1 + 1e-5), theirs(P(x)).numpy(), 1e-5) else "of the batch"
    words += ", and moves them" if theirs._mean.numpy().any() else ", and leaves them"
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
    "where the statistics live: Paddle's parameters() counts them, untrained, and it keeps no count of batches",
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


# Linear, dropout


@row(
    "Linear",
    "[out, in]",
    "[in, out]",
    "orientation of the weight",
    "transposed because its layer is a Linear, never because a shape fits",
)
def linear_weight():
    def shapes(made, order):
        found = {tuple(made(a, b).weight.shape) == order(a, b) for a, b in ((3, 5), (7, 2))}
        return found == {True}

    words = {"[out, in]": lambda a, b: (b, a), "[in, out]": lambda a, b: (a, b)}
    return tuple(
        next((name for name, order in words.items() if shapes(made, order)), "another")
        for made in (torch.nn.Linear, paddle.nn.Linear)
    )


@row(
    "Linear",
    "x W^T",
    "x W",
    "what a square weight, copied as it is, computes: nothing complains",
    "`parity compare` names a transposed weight",
)
def linear_square():
    w, x = draw(6, 6).astype("f4"), draw(3, 6).astype("f4")
    ours, theirs = torch.nn.Linear(6, 6, bias=False), paddle.nn.Linear(6, 6, bias_attr=False)
    ours.load_state_dict({"weight": T(w)})
    missing, unexpected = theirs.set_state_dict({"weight": w})
    rules = {"x W^T": lambda: x @ w.T, "x W": lambda: x @ w}
    found = which(lambda: theirs(P(x)), [()], rules, 1e-5)
    return which(lambda: ours(T(x)), [()], rules, 1e-5), f"complains: {found}" if missing or unexpected else found


def dropped(framework, p, training, **mode):
    x = draw(40, 50) + 5
    if framework is torch:
        return TF.dropout(T(x), p, training).numpy() / x
    return PF.dropout(P(x), p, training=training, **mode).numpy() / x


def _dropout(framework, **mode):
    seen = set()
    for p in (0.3, 0.6):
        factors = np.unique(dropped(framework, p, True, **mode).round(6))
        kept = {round(1 / (1 - p), 6): "x / (1 - p)", 1.0: "x"}.get(float(factors[-1]), str(factors))
        after = np.unique(dropped(framework, p, False, **mode).round(6))
        used = {1.0: "x", round(1 - p, 6): "x (1 - p)"}.get(float(after[0]), str(after))
        seen.add(f"training: {kept}; evaluation: {used}")
    return " or ".join(sorted(seen))


@row("Dropout", "training: x / (1 - p); evaluation: x", "training: x / (1 - p); evaluation: x", "the default", PROVED)
def dropout_default():
    return _dropout(torch), _dropout(paddle)


@row(
    "Dropout",
    "no such mode",
    "training: x; evaluation: x (1 - p)",
    "mode='downscale_in_infer', what survives; paddle.vision's alexnet, squeezenet, googlenet and inception_v3 have it",
    f"the twins have none of it; {LINTED}; `parity compare` names the mode",
)
def dropout_mode():
    has = "mode" in inspect.signature(torch.nn.Dropout).parameters
    return "has modes" if has else "no such mode", _dropout(paddle, mode="downscale_in_infer")


@row("Dropout", *AGREE, "Dropout2d drops whole maps, and divides the others by 1 - p", PROVED)
def dropout_maps():
    def maps(function, wrap):
        y = plain(function(wrap(np.ones((20, 30, 2, 3))), 0.4, True))
        whole = (y == y[:, :, :1, :1]).all()
        return AGREE[0] if whole and alike(np.unique(y), [0, 1 / 0.6]) else str(np.unique(y))

    return maps(TF.dropout2d, T), maps(PF.dropout2d, P)


# Activations, softmax


ACTIVATIONS = (
    *("relu", "relu6", "hardswish", "silu", "mish", "elu", "selu", "celu", "leaky_relu", "softplus", "softsign"),
    *("tanhshrink", "hardshrink", "softshrink", "sigmoid", "tanh", "hardtanh", "log_sigmoid", "gelu"),
)


@row("activations", *AGREE, f"{', '.join(ACTIVATIONS)} (erf and tanh), prelu: in float64, defaults too", PROVED)
def activations():
    x = np.concatenate([draw(60) * 5, [0.0, 25, -25]])

    def ours(name):
        if name == "tanh form":
            return TF.gelu(T(x), approximate="tanh")
        if name == "prelu":
            return TF.prelu(T(x)[None, :, None], T(draw(63)))
        return getattr(TF, {"log_sigmoid": "logsigmoid"}.get(name, name))(T(x))

    def theirs(name):
        if name == "tanh form":
            return PF.gelu(P(x), approximate=True)
        if name == "prelu":
            return PF.prelu(P(x)[None, :, None], P(draw(63)))
        return getattr(PF, name)(P(x))

    return agree(ours, theirs, [(name,) for name in [*ACTIVATIONS, "tanh form", "prelu"]])


@row(
    "activations",
    "x / 6 + 1 / 2",
    "0.1666667 x + 1 / 2",
    "hard sigmoid between -3 and 3: 2e-7 of its slope",
    "Paddle's float64 run here computes it exactly",
)
def hardsigmoid():
    rules = {
        "x / 6 + 1 / 2": lambda x: x / 6 + 0.5,
        "0.1666667 x + 1 / 2": lambda x: float(np.float32(0.1666667)) * x + 0.5,
    }
    cases = [(np.array([0.7, -2.3]),), (np.array([2.9]),)]
    found = which(lambda x: TF.hardsigmoid(T(x)), cases, rules, 1e-9)
    return found, which(lambda x: PF.hardsigmoid(P(x)), cases, rules, 1e-9)


@row(
    "activations",
    "as it is set",
    "rounded to float32",
    "a setting within a float64 kernel: ELU's and CELU's alpha, Softshrink's lambda, Hardtanh's bounds; eps of "
    "BatchNorm, InstanceNorm and LayerNorm likewise, GroupNorm's not",
    "while `parity` traces torch in float64, its own are rounded too (tests/test_right_ports.py)",
)
def float32_settings():
    x = np.array([-2.3, -0.2, 0.4, 1.7])

    def exact(name, a):
        if name == "elu":
            return np.where(x > 0, x, a * np.expm1(x))
        if name == "celu":
            return np.where(x > 0, x, a * np.expm1(x / a))
        return np.clip(x, -a, a) if name == "hardtanh" else np.sign(x) * np.maximum(np.abs(x) - a, 0)

    def run(functions, wrap):
        return lambda name, a: getattr(functions, name)(wrap(x), *([-a, a] if name == "hardtanh" else [a]))

    cases = [(name, 0.3) for name in ("elu", "celu", "hardtanh", "softshrink")]
    rules = {"as it is set": exact, "rounded to float32": lambda name, a: exact(name, float(np.float32(a)))}
    return which(run(TF, T), cases, rules, 1e-12), which(run(PF, P), cases, rules, 1e-12)


@row(
    "activations",
    "NaN",
    "0",
    "relu(NaN): a network that has diverged may look healthy in Paddle",
    "`parity compare` calls NaN `invalid`",
)
def relu_nan():
    def lines(function, wrap):
        def run(length, place, dtype):
            x = draw(length).astype(dtype)
            x[place] = np.nan
            return function(wrap(x))[place : place + 1]

        return run

    rules = {"NaN": lambda *_: np.array([np.nan]), "0": lambda *_: np.array([0.0])}
    cases = [(n, at, dtype) for n in (1, 5, 19, 70) for at in {0, n // 2, n - 1} for dtype in ("f4", "f8")]
    return which(lines(TF.relu, T), cases, rules), which(lines(PF.relu, P), cases, rules)


@row(
    "activations",
    "the slope",
    "1",
    "gradient of leaky_relu at 0",
    "nothing: an exact 0 is rare, and its gradient a convention",
)
def leaky_relu_gradient():
    rules = {"the slope": lambda a: np.full(3, a), "1": lambda a: np.ones(3)}
    cases = [(0.3,), (0.02,)]
    found = which(lambda a: graded(lambda x: TF.leaky_relu(x, a), np.zeros(3), torch), cases, rules)
    return found, which(lambda a: graded(lambda x: PF.leaky_relu(x, a), np.zeros(3), paddle), cases, rules)


@row(
    "activations",
    "0",
    "1",
    "gradient of clip (torch clamp) at its bounds; relu, relu6, hardtanh: 0 in both",
    "nothing, as above",
)
def clip_gradient():
    rules = {"0": lambda a, b: np.zeros(2), "1": lambda a, b: np.ones(2)}
    cases = [(-0.5, 2.0), (1.0, 7.0)]
    found = which(lambda a, b: graded(lambda x: x.clamp(a, b), np.array([a, b]), torch), cases, rules)
    return found, which(lambda a, b: graded(lambda x: x.clip(a, b), np.array([a, b]), paddle), cases, rules)


@row(
    "activations",
    "one of them",
    "all, in equal parts",
    "which of equal elements gets the gradient of max over an axis",
    "nothing, as above",
)
def max_gradient():
    def share(run, framework):
        def measure(count):
            return np.sort(plain(graded(run, np.full((1, count), 2.0), framework)).ravel())

        return measure

    rules = {"one of them": lambda n: np.eye(n)[-1], "all, in equal parts": lambda n: np.full(n, 1 / n)}
    cases = [(2,), (5,)]
    found = which(share(lambda x: x.max(1).values, torch), cases, rules)
    return found, which(share(lambda x: x.max(axis=1), paddle), cases, rules)


@row("softmax", "axis 1 of 4-D, with a warning", "the last axis", "default axis of the layer", LINTED)
def softmax_axis():
    x = draw(2, 3, 4, 5)
    rules = {
        "axis 1 of 4-D, with a warning": lambda: TF.softmax(T(x), 1),
        "the last axis": lambda: TF.softmax(T(x), -1),
    }
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        ours = which(lambda: torch.nn.Softmax()(T(x)), [()], rules)
    if not told:
        ours += " now without"
    return ours, which(lambda: paddle.nn.Softmax()(P(x)), [()], rules)


@row(
    "softmax",
    "z - max z",
    "max(z - max z, -64)",
    "logits as softmax, log_softmax and cross entropy use them; a loss of Paddle's never exceeds about 64",
    LINTED,
)
def softmax_clip():
    def clipped(low):
        def run(gap, size):
            z = np.maximum(logits(gap, size) - logits(gap, size).max(), low)
            return z - np.log(np.exp(z).sum())

        return run

    def logits(gap, size):
        z = draw(size)
        z[0] = -gap
        return z

    rules = {"z - max z": clipped(-np.inf), "max(z - max z, -64)": clipped(-64)}
    cases = [(70.0, 5), (90.0, 11), (400.0, 3)]
    found = which(lambda *case: TF.log_softmax(T(logits(*case)), 0), cases, rules)
    return found, which(lambda *case: PF.log_softmax(P(logits(*case)), 0), cases, rules)


HIDES = "hides it, but in the tail of rows of 8 and more"


@row(
    "softmax",
    "NaN",
    HIDES,
    "a NaN among the logits, float32, last axis, CPU: in rows of L >= 8 Paddle shows it behind the last multiple of "
    "8 only, and at 0 "
    "if 8 does not divide L (its vectors hold 8 floats)",
    "`parity compare` calls NaN `invalid`, at the layer where it arises",
)
def softmax_nan():
    def lines(function, wrap):
        def run(length, place):
            z = draw(2, length).astype("f4")
            z[1, place] = np.nan
            return bool(np.isnan(plain(function(wrap(z), -1))).any())

        return run

    def hides(length, place):
        return length < 8 or place >= length // 8 * 8 or (place == 0 and length % 8 > 0)

    rules = {"NaN": lambda *_: True, HIDES: hides}
    cases = [(n, place) for n in (5, 7, 8, 11, 17, 26, 32, 45) for place in range(0, n, 2)]
    return which(lines(TF.softmax, T), cases, rules), which(lines(PF.softmax, P), cases, rules)


@row(
    "argmax",
    "the NaN",
    "the largest number",
    "what argmax finds in a row with a NaN",
    "`parity compare` compares arrays, no argmax",
)
def argmax_nan():
    def lines(size, place):
        x = draw(size)
        x[place] = np.nan
        return x

    rules = {"the NaN": lambda size, place: place, "the largest number": lambda *case: np.nanargmax(lines(*case))}
    cases = [(5, 1), (12, 7), (33, 20)]
    found = which(lambda *case: T(lines(*case)).argmax(), cases, rules)
    return found, which(lambda *case: P(lines(*case)).argmax(), cases, rules)


# Resizing, padding, flatten


@row(
    "interpolation",
    *AGREE,
    "nearest, bilinear, bicubic, either align_corners, by size or by factor; align_mode=0, Paddle's default",
    PROVED,
)
def interpolate():
    def ours(mode, corners, how):
        return TF.interpolate(
            T(draw(1, 2, 7, 6)), mode=mode, **how, **({} if corners is None else {"align_corners": corners})
        )

    def theirs(mode, corners, how):
        return PF.interpolate(P(draw(1, 2, 7, 6)), mode=mode, align_corners=bool(corners), **how)

    ways = {"scale_factor": 3}, {"scale_factor": 1.7}, {"scale_factor": 0.45}, {"size": [5, 13]}
    modes = ("nearest", None), ("bilinear", False), ("bilinear", True), ("bicubic", False), ("bicubic", True)
    return agree(ours, theirs, [(*mode, how) for mode in modes for how in ways])


@row(
    "interpolation",
    "i = (o + 1/2) / f - 1/2",
    "i = o / f",
    "where output pixel o samples: Paddle's align_mode=1, bilinear",
    LINTED,
)
def interpolate_align_mode():
    def at(place):
        def run(factor, size):
            line = draw(size)
            where = np.clip([place(o, factor) for o in range(size * factor)], 0, size - 1)
            return np.interp(where, np.arange(size), line)

        return run

    rules = {"i = (o + 1/2) / f - 1/2": at(lambda o, f: (o + 0.5) / f - 0.5), "i = o / f": at(lambda o, f: o / f)}

    def both(function, wrap, **more):
        def run(factor, size):
            x = np.broadcast_to(draw(size), (1, 1, size, size)).copy()
            return function(wrap(x), scale_factor=factor, mode="bilinear", **more)[0, 0, 0]

        return run

    cases = [(2, 7), (3, 5)]
    return which(both(TF.interpolate, T), cases, rules), which(both(PF.interpolate, P, align_mode=1), cases, rules)


@row(
    "interpolation",
    "float64",
    "float32",
    "where an output's pixel lies in a float64 input, reckoned in: bilinear, 2e-6 apart for 9 pixels of noise, 2e-4 "
    "for 512",
    "Paddle's float64 run here computes it exactly",
)
def interpolate_place():
    def exact(kind, size, target):
        x = draw(size)
        scale = kind(size) / kind(target)
        at = np.maximum((np.arange(target).astype(kind) + kind(0.5)) * scale - kind(0.5), 0)
        low = at.astype(int)
        part = (at - low.astype(kind)).astype(np.float64)
        return x[low] * (1 - part) + x[np.minimum(low + 1, size - 1)] * part

    def run(interpolate, wrap):
        def one(size, target):
            return interpolate(wrap(draw(size)[None, None, None]), size=[1, target], mode="bilinear")[0, 0, 0]

        return one

    rules = {
        "float64": lambda size, target: exact(np.float64, size, target),
        "float32": lambda size, target: exact(np.float32, size, target),
    }
    cases = [(size, target) for size in (9, 40) for target in (17, 61)]
    return which(run(TF.interpolate, T), cases, rules, 1e-12), which(run(PF.interpolate, P), cases, rules, 1e-12)


@row(
    "interpolation",
    "takes it",
    "raises ValueError",
    "mode='area' by scale_factor; by size the two agree",
    "none of the twins has one",
)
def interpolate_area():
    x = draw(1, 2, 8, 12)
    if not alike(plain(TF.interpolate(T(x), (5, 3), mode="area")), plain(PF.interpolate(P(x), (5, 3), mode="area"))):
        return "another area", "another area"
    rules = {"takes it": lambda f: TF.interpolate(T(x), (int(8 * f), int(12 * f)), mode="area")}
    cases = [(0.5,), (0.25,)]
    found = which(lambda f: TF.interpolate(T(x), scale_factor=f, mode="area"), cases, rules)
    return found, which(lambda f: PF.interpolate(P(x), scale_factor=f, mode="area"), cases, rules)


@row(
    "interpolation", "align_corners=False", "align_corners=True", "default of grid_sample", "none of the twins has one"
)
def grid_sample():
    x, grid = draw(1, 2, 5, 6), np.tanh(draw(1, 4, 3, 2))
    rules = {
        f"align_corners={on}": lambda on=on: TF.grid_sample(T(x), T(grid), align_corners=on) for on in (False, True)
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = which(lambda: TF.grid_sample(T(x), T(grid)), [()], rules)
    return ours, which(lambda: PF.grid_sample(P(x), P(grid)), [()], rules)


@row(
    "padding order",
    *AGREE,
    "F.pad of a 4-D tensor with 4 numbers: left, right, top, bottom; constant, reflect, replicate, circular",
    PROVED,
)
def pad_four():
    cases = [
        (pad, mode) for mode in ("constant", "reflect", "replicate", "circular") for pad in ([1, 2, 3, 0], [0, 3, 1, 2])
    ]
    return agree(
        lambda pad, mode: TF.pad(T(draw(1, 2, 5, 6)), pad, mode=mode),
        lambda pad, mode: PF.pad(P(draw(1, 2, 5, 6)), pad, mode=mode),
        cases,
    )


@row(
    "padding order",
    "from the last axis",
    "from the first axis",
    "F.pad with two numbers for every axis; Paddle's pad_from_left_axis=False is torch's",
    "none of the twins has one",
)
def pad_all():
    def first(*pad):
        return np.pad(draw(2, 3, 4), np.reshape(pad, (3, 2)))

    rules = {
        "from the first axis": first,
        "from the last axis": lambda *pad: np.pad(draw(2, 3, 4), np.reshape(pad, (3, 2))[::-1]),
    }
    cases = [(1, 0, 2, 3, 0, 4), (0, 2, 0, 1, 3, 0)]
    return which(lambda *pad: TF.pad(T(draw(2, 3, 4)), pad), cases, rules), which(
        lambda *pad: PF.pad(P(draw(2, 3, 4)), list(pad)), cases, rules
    )


@row("flatten", *AGREE, "the layer starts at axis 1, the function at 0; any part, row by row", PROVED)
def flatten():
    def ours(case):
        x = T(draw(2, 3, 4, 5))
        return torch.nn.Flatten()(x) if case == "layer" else torch.flatten(x, *case)

    def theirs(case):
        x = P(draw(2, 3, 4, 5))
        return paddle.nn.Flatten()(x) if case == "layer" else paddle.flatten(x, *case)

    return agree(ours, theirs, [("layer",), ((),), ((2,),), ((1, 2),), ((-3, -2),)], 0)


# Empty batches, dtypes, memory, GPU flags


@row(
    "empty batches",
    *AGREE,
    "N = 0 through convolution, pools, BatchNorm, Linear, softmax, interpolation: empty maps of the right shape",
    "nothing: it works",
)
def empty_batch():
    x = np.zeros((0, 3, 9, 9), "f4")
    ours = {
        "conv": lambda: TF.conv2d(T(x), torch.zeros(5, 3, 3, 3)),
        "max": lambda: TF.max_pool2d(T(x), 2),
        "adaptive": lambda: TF.adaptive_avg_pool2d(T(x), 2),
        "norm": lambda: norms()[0](T(x)),
        "linear": lambda: TF.linear(T(x), torch.zeros(4, 9)),
        "softmax": lambda: TF.softmax(T(x), 1),
        "bigger": lambda: TF.interpolate(T(x), scale_factor=2),
    }
    theirs = {
        "conv": lambda: PF.conv2d(P(x), paddle.zeros([5, 3, 3, 3])),
        "max": lambda: PF.max_pool2d(P(x), 2),
        "adaptive": lambda: PF.adaptive_avg_pool2d(P(x), 2),
        "norm": lambda: norms()[1](P(x)),
        "linear": lambda: PF.linear(P(x), paddle.zeros([9, 4])),
        "softmax": lambda: PF.softmax(P(x), 1),
        "bigger": lambda: PF.interpolate(P(x), scale_factor=2),
    }
    return agree(lambda name: ours[name](), lambda name: theirs[name](), [(name,) for name in ours], 0)


@row(
    "dtypes",
    "takes it",
    "raises RuntimeError",
    "relu and max pooling of int32, on a CPU",
    "the project feeds floating numbers",
)
def dtype_int():
    x = np.arange(-8, 8, dtype="i4").reshape(1, 1, 4, 4)
    right = {"takes it": lambda name: np.maximum(x, 0) if name == "relu" else x[:, :, 1::2, 1::2]}
    cases = [("relu",), ("max",)]
    ours = {"relu": lambda: TF.relu(T(x)), "max": lambda: TF.max_pool2d(T(x), 2)}
    theirs = {"relu": lambda: PF.relu(P(x)), "max": lambda: PF.max_pool2d(P(x), 2)}
    return which(lambda name: ours[name](), cases, right), which(lambda name: theirs[name](), cases, right)


@row(
    "dtypes",
    "raises RuntimeError",
    "cuts the fraction off",
    "mean of whole numbers",
    "the project feeds floating numbers",
)
def dtype_mean():
    cases = [([3, 4],), ([1, 1, 3],), ([7, 8, 8],)]
    rules = {"cuts the fraction off": lambda x: sum(x) // len(x)}
    return which(lambda x: torch.tensor(x).mean(), cases, rules), which(lambda x: P(x).mean(), cases, rules)


@row(
    "dtypes",
    "takes it",
    "raises RuntimeError",
    "convolution of float16, on a CPU",
    "float64 and float32 judge; `precision` names a side that runs in less",
)
def dtype_half():
    x, w = draw(1, 2, 5, 5).astype("f2"), draw(3, 2, 3, 3).astype("f2")
    right = {"takes it": lambda: TF.conv2d(T(x).double(), T(w).double())}
    return which(lambda: TF.conv2d(T(x), T(w)), [()], right, 2e-3), which(
        lambda: PF.conv2d(P(x), P(w)), [()], right, 2e-3
    )


@row(
    "memory",
    "shares it",
    "copies it",
    "memory of an array given to torch.from_numpy, paddle.to_tensor",
    "`record` notices layers that are overwritten",
)
def memory():
    def of(wrap):
        x = np.zeros(3)
        tensor = wrap(x)
        x[0] = 1
        return "shares it" if plain(tensor)[0] else "copies it"

    return of(T), of(P)


@row(
    "TF32",
    "matmul off, cuDNN convolution on",
    "no flag of its own",
    "defaults of the flags that let a GPU cut float32 factors to 10 bits; read without a GPU, no kernel was run",
    "the workers set NVIDIA_TF32_OVERRIDE=0 and torch's flags off; no GPU result is `rounding` with TF32 on",
)
def tf32():
    from paddle.base import core

    flags = [name for name in core.globals().keys() if "tf32" in name.lower()]  # noqa: SIM118  (no mapping)
    words, flagged = {True: "on", False: "off"}, torch.backends
    ours = f"matmul {words[flagged.cuda.matmul.allow_tf32]}, cuDNN convolution {words[flagged.cudnn.allow_tf32]}"
    return ours, ", ".join(flags) or "no flag of its own"
