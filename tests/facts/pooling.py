"""Pooling, adaptive pooling."""

import numpy as np
import paddle
import paddle.nn.functional as PF
import torch
import torch.nn.functional as TF
from differences import AGREE, agree, attempt, draw, plain, row, which
from facts.cases import LINTED, LOWEST, POOLED, PROVED, P, T, graded
from facts.convolution import TRUNCATED, truncated


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
    "the value in Paddle's extra window, which covers no pixel",
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
    "differs from top or left",
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
    "takes it; -3.4e38 where a window covers no pixel",
    "padding above half the kernel",
    LINTED,
)
def pool_wide_padding():
    name = "takes it; -3.4e38 where a window covers no pixel"

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
    return ours, truncated("mask", cases) if str(plainly).startswith("raises") else "takes it without the mask too"


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
    "factor in average pooling's gradient, in float64 too: off by at most 2^-24",
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
    "starts again after it",
    "NaN in a window of max pooling: Paddle takes the maximum of what follows it; NaN only if nothing follows",
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

    rules = {"NaN if any is": lambda k, place: np.full((1, 1, 1, 1), np.nan), "starts again after it": anew}
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
    "average and maximum, gradients too: window i spans floor(iH / o) .. ceil((i + 1)H / o); the exporters differ, see "
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
