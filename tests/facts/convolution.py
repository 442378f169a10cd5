"""Convolution: where torch and Paddle differ, and where they agree after all."""

import math

import paddle
import paddle.nn.functional as PF
import torch
import torch.nn.functional as TF
from differences import AGREE, agree, alone, draw, row, which
from facts.cases import LINTED, PROVED, P, T, fill


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


@row(
    "convolution",
    *AGREE,
    "padding='same' at stride 1: if the total is odd, the extra pixel is at the right and at the bottom",
    PROVED,
)
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
    "padding='same' at a stride above 1; the extra pixel is at the right and at the bottom",
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


@row("convolution", "uses the dilation", "computes with dilation 1", "padding='same' with a dilation above 1", LINTED)
def conv_same_dilation():
    def spelt(size, k, dilation):
        total = dilation * (k - 1)
        before, after = total // 2, total - total // 2
        x = TF.pad(T(draw(1, 2, size, size)), (before, after, before, after))
        return TF.conv2d(x, T(draw(3, 2, k, k)), dilation=dilation)

    rules = {"uses the dilation": spelt, "computes with dilation 1": lambda size, k, dilation: spelt(size, k, 1)}
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


def truncated(what, cases):
    code, found = alone(SHAPES, what, cases)
    predicted = [[math.trunc((size + 2 * p - k) / s) + 1] * 2 for size, k, s, p in cases]
    if found != predicted:
        return f"maps of sizes {found}"
    return TRUNCATED if code else f"{TRUNCATED}, which can be read"


@row(
    "convolution",
    "raises RuntimeError",
    TRUNCATED,
    "a kernel larger than the padded input: C's division rounds toward zero, and nothing is checked",
    "none: check H + 2p >= d(k - 1) + 1 yourself; `parity compare` reports a worker that dies",
)
def conv_large_kernel():
    # with padding too Paddle may ask for memory without end: (3, 8, 1, 1) hung or aborted
    cases = [(4, 7, 1, 0), (5, 6, 1, 0), (4, 6, 3, 0), (3, 7, 2, 0)]
    ours = which(
        lambda size, k, s, p: TF.conv2d(torch.ones(1, 3, size, size), torch.ones(2, 3, k, k), None, s, p), cases, {}
    )
    return ours, truncated("conv", cases)


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
